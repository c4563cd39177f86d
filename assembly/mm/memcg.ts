import { LIST_BYTES, listAddHead, listAddTail, listRemove } from "./list";
import { LRUVEC_BYTES } from "./lruvec";
import { generationsAdd, generationsRemove } from "./mglru";
import {
  LIST_ACTIVE,
  LIST_INACTIVE,
  LIST_INACTIVE_FILE,
  PG_ACTIVE,
  PG_LAZYFREE,
  PG_LRU,
  pageClear,
  pageOf,
  pageSet,
  pageTest,
} from "./page";

// A memory cgroup and its lruvec: what one VM is charged for, its limit, its two lists of anonymous
// pages, and the inactive file list, where pages lie whose owner has given them up (MADV_FREE); or, instead of those, the generation
// lists of mglru.ts. stock.ts charges.
// Left out for now: other file pages, memory.high and memory.low.
//
// record   0       4     8       12       16         20         32       44             56       84
//          +-------+-----+-------+--------+----------+----------+--------+--------------+--------+-------------+
//          | usage | max | batch | tables | overhead | inactive | active | inactiveFile | lruvec | generations |
//          +-------+-----+-------+--------+----------+----------+--------+--------------+--------+-------------+
//
// invariant: usage is the number of frames charged (resident guest pages, swap cache pages, with `tables` page tables), the
//            overhead and what CPUs have in stock

const USAGE: usize = 0;
const MAX: usize = 4;
const BATCH: usize = 8;
const TABLES: usize = 12;
const OVERHEAD: usize = 16;
const INACTIVE: usize = 20;
const ACTIVE: usize = INACTIVE + LIST_BYTES;
const INACTIVE_FILE: usize = ACTIVE + LIST_BYTES;
const LRUVEC: usize = INACTIVE_FILE + LIST_BYTES;
const GENERATIONS: usize = LRUVEC + LRUVEC_BYTES;
export const MEMCG_BYTES: usize = GENERATIONS + 4;

/** No limit. */
export const MEMCG_UNLIMITED: u32 = 0xffffffff;

export function memcgUsage(memcg: usize): u32 {
  return load<u32>(memcg, USAGE);
}

/** memory.max in pages, MEMCG_UNLIMITED for none. */
export function memcgMax(memcg: usize): u32 {
  return load<u32>(memcg, MAX);
}

export function setMemcgMax(memcg: usize, pages: u32): void {
  store<u32>(memcg, pages, MAX);
}

export function setMemcgUsage(memcg: usize, pages: u32): void {
  store<u32>(memcg, pages, USAGE);
}

/** Pages that a CPU charges at once. */
export function memcgBatch(memcg: usize): u32 {
  return load<u32>(memcg, BATCH);
}

/** Which page tables are charged as well (__GFP_ACCOUNT): none, all, or those of the process alone. */
export const TABLES_FREE: u32 = 0;
export const TABLES_CHARGED: u32 = 1;
export const TABLES_PROCESS: u32 = 2;

/** Frames of page tables are charged; `kvm`: of KVM's tables. */
export function memcgChargesTables(memcg: usize, kvm: bool): bool {
  const tables = load<u32>(memcg, TABLES);
  return tables === TABLES_CHARGED || (tables === TABLES_PROCESS && !kvm);
}

/** Pages charged of which there is no frame: those of the process around the guest. */
export function memcgOverhead(memcg: usize): u32 {
  return load<u32>(memcg, OVERHEAD);
}

/** What is charged beside guest pages, and how many pages at once; before anything is. */
export function memcgSetup(memcg: usize, batch: u32, tables: u32, overhead: u32): void {
  assert(memcgUsage(memcg) === memcgOverhead(memcg) && batch > 0);
  store<u32>(memcg, batch, BATCH);
  store<u32>(memcg, tables, TABLES);
  store<u32>(memcg, overhead, OVERHEAD);
  store<u32>(memcg, overhead, USAGE);
}

/** What is charged beside pages goes: the process has ended. */
export function memcgDropOverhead(memcg: usize): void {
  memcgUncharge(memcg, memcgOverhead(memcg));
  store<u32>(memcg, 0, OVERHEAD);
}

export function memcgUncharge(memcg: usize, pages: u32): void {
  assert(load<u32>(memcg, USAGE) >= pages);
  store<u32>(memcg, load<u32>(memcg, USAGE) - pages, USAGE);
}

export function lruInactive(memcg: usize): usize {
  return memcg + INACTIVE;
}

export function lruActive(memcg: usize): usize {
  return memcg + ACTIVE;
}

/** Pages that their owner has given up. */
export function lruInactiveFile(memcg: usize): usize {
  return memcg + INACTIVE_FILE;
}

/** What is noted about the lists (lruvec.ts). */
export function memcgLruvec(memcg: usize): usize {
  return memcg + LRUVEC;
}

/** The generation lists; 0 with two lists. */
export function memcgGenerations(memcg: usize): usize {
  return <usize>load<u32>(memcg, GENERATIONS);
}

export function setMemcgGenerations(memcg: usize, gens: usize): void {
  store<u32>(memcg, <u32>gens, GENERATIONS);
}

// folio_lru_list(): the list that a page's flags name.
function listOf(memcg: usize, page: usize): usize {
  if (pageTest(page, PG_ACTIVE)) return memcg + ACTIVE;
  return pageTest(page, PG_LAZYFREE) ? memcg + INACTIVE_FILE : memcg + INACTIVE;
}

/** What pages of that list carry (LIST_*). */
export function lruKind(page: usize): u8 {
  if (pageTest(page, PG_ACTIVE)) return LIST_ACTIVE;
  return pageTest(page, PG_LAZYFREE) ? LIST_INACTIVE_FILE : LIST_INACTIVE;
}

/** Puts a page on the list that its flags name. */
export function lruAdd(mm: usize, memcg: usize, pfn: u32, toTail: bool): void {
  const gens = memcgGenerations(memcg);
  if (gens !== 0) {
    generationsAdd(mm, gens, pfn, toTail);
    return;
  }
  const page = pageOf(mm, pfn);
  const list = listOf(memcg, page);
  const kind = lruKind(page);
  pageSet(page, PG_LRU);
  if (toTail) listAddTail(mm, list, kind, pfn);
  else listAddHead(mm, list, kind, pfn);
}

/** Takes a page off its list. */
export function lruRemove(mm: usize, memcg: usize, pfn: u32): void {
  const gens = memcgGenerations(memcg);
  if (gens !== 0) {
    generationsRemove(mm, gens, pfn, false);
    return;
  }
  const page = pageOf(mm, pfn);
  assert(pageTest(page, PG_LRU));
  listRemove(mm, listOf(memcg, page), pfn);
  pageClear(page, PG_LRU);
}
