import { arenaTake, PART_RECORDS } from "../memory/arena";
import { PFN_NONE } from "../memory/layout";
import { WAITQUEUE_BYTES } from "../sim/waitqueue";
import {
  checkList,
  LIST_BYTES,
  listAddHead,
  listAddTail,
  listHead,
  listLength,
  listRemove,
  listTail,
} from "./list";
import { FILTER_BYTES, filterLayout } from "./mglrufilter";
import { TIERS_BYTES, TYPE_ANON, TYPE_FILE, TYPES, tierProtected, tiersCarryOver } from "./mglrutiers";
import {
  LIST_GENERATION,
  PAGE_USED_MAX,
  PG_ACTIVE,
  PG_DIRTY,
  PG_LAZYFREE,
  PG_LRU,
  PG_RECLAIM,
  PG_REFERENCED,
  PG_SWAPCACHE,
  PG_WORKINGSET,
  PG_WRITEBACK,
  pageClear,
  pageGen,
  pageList,
  pageNext,
  pageOf,
  pageSet,
  pageTest,
  pageUsed,
  setPageGen,
  setPageUsed,
} from "./page";

// The generation lists of one cgroup (lru_gen_struct): pages by when they were last seen in use. New and used pages belong to the
// youngest generation, eviction takes from the oldest; when too few are left between, aging makes a new youngest one. A page's generation
// stands in its flags; a page that the walk has promoted still lies on the list of its old generation until eviction comes across it.
//
// record   0      4       12          108        140     300      320       324      328       336
//          +------+-------+-----------+----------+-------+--------+---------+--------+---------+
//          | max  | min×2 | lists 4×2 | sizes 4×2| tiers | filter | ran     | walker | waiters |
//          +------+-------+-----------+----------+-------+--------+---------+--------+---------+
//
// max, min   sequence numbers of the youngest and, by type, the oldest generation; generation s has slot s mod 4
// sizes      pages by the generation in their flags
// ran        the process has been on a CPU since the last walk
// walker     the actor that walks the page table for a new generation, 0 for none
//
// invariant: min + 1 <= max < min + 4, for both types
// invariant: a page of the lists lies on exactly one, of a generation in min..max, and its flags name one in min..max
// Left out: a list for each zone, generations of the host (6.4), min_ttl.

const MAX_SEQ: usize = 0;
const MIN_SEQ: usize = 4;
const LISTS: usize = 12;
const SLOTS: u32 = 4;
const SIZES: usize = LISTS + 8 * LIST_BYTES;
const TIER_COUNTS: usize = SIZES + 8 * 4;
const FILTER: usize = TIER_COUNTS + TIERS_BYTES;
const RAN: usize = FILTER + FILTER_BYTES;
const WALKER: usize = RAN + 4;
const WAITERS: usize = WALKER + 4;
const GENERATIONS_BYTES: usize = WAITERS + WAITQUEUE_BYTES;

/** MIN_NR_GENS: what always stays, out of reach of eviction. */
export const MIN_GENERATIONS: u32 = 2;
/** MAX_NR_GENS. */
const MAX_GENERATIONS: u32 = 4;

/** Takes the record; 0 when memory is exhausted. */
export function generationsCreate(): usize {
  const gens = arenaTake(PART_RECORDS, GENERATIONS_BYTES);
  // lru_gen_init_lruvec(): the first pages find the generations 0..3.
  if (gens !== 0) store<u32>(gens, MIN_GENERATIONS + 1, MAX_SEQ);
  return gens;
}

/** Reserves what goes with a page table of `pages` entries. */
export function generationsLayout(gens: usize, pages: u32): void {
  filterLayout(gens + FILTER, pages);
}

export function generationsMax(gens: usize): u32 {
  return load<u32>(gens, MAX_SEQ);
}

export function generationsMin(gens: usize, type: u32): u32 {
  return load<u32>(gens + ((<usize>type) << 2), MIN_SEQ);
}

function setMin(gens: usize, type: u32, seq: u32): void {
  store<u32>(gens + ((<usize>type) << 2), seq, MIN_SEQ);
}

/** Generations of `type`: get_nr_gens(). */
export function generationsCount(gens: usize, type: u32): u32 {
  return generationsMax(gens) - generationsMin(gens, type) + 1;
}

/** The record of mglrutiers.ts. */
export function generationsTiers(gens: usize): usize {
  return gens + TIER_COUNTS;
}

/** The record of mglrufilter.ts. */
export function generationsFilter(gens: usize): usize {
  return gens + FILTER;
}

/** The process has been put on a CPU: lru_gen_use_mm(). */
export function generationsRan(gens: usize): void {
  store<u32>(gens, 1, RAN);
}

/** Tests and clears what generationsRan() has noted. */
export function generationsHaveRun(gens: usize): bool {
  const ran = load<u32>(gens, RAN) !== 0;
  store<u32>(gens, 0, RAN);
  return ran;
}

/** The actor that is making a new generation. */
export function generationsWalker(gens: usize): usize {
  return <usize>load<u32>(gens, WALKER);
}

export function setGenerationsWalker(gens: usize, actor: usize): void {
  store<u32>(gens, <u32>actor, WALKER);
}

/** Those who wait for the walker. */
export function generationsWaiters(gens: usize): usize {
  return gens + WAITERS;
}

/** List of generation `seq`, oldest page at the tail. */
export function generationList(gens: usize, seq: u32, type: u32): usize {
  return gens + LISTS + <usize>((seq % SLOTS) * TYPES + type) * LIST_BYTES;
}

// What pages of that list carry.
function kindOf(seq: u32, type: u32): u8 {
  return <u8>(LIST_GENERATION + (seq % SLOTS) * TYPES + type);
}

/** Pages of generation `seq`. */
export function generationSize(gens: usize, seq: u32, type: u32): u32 {
  return load<u32>(sizeOf(gens, seq % SLOTS, type));
}

function sizeOf(gens: usize, slot: u32, type: u32): usize {
  return gens + SIZES + ((<usize>(slot * TYPES + type)) << 2);
}

function resize(gens: usize, slot: u32, type: u32, change: u32): void {
  const size = sizeOf(gens, slot, type);
  store<u32>(size, load<u32>(size) + change);
}

/** Pages of the two youngest generations, which count as active. */
export function generationsActive(gens: usize): u32 {
  let pages: u32 = 0;
  const max = generationsMax(gens);
  for (let type: u32 = 0; type < TYPES; type++) {
    pages += generationSize(gens, max, type) + generationSize(gens, max - 1, type);
  }
  return pages;
}

export function generationsInactive(gens: usize): u32 {
  let pages: u32 = 0;
  for (let type: u32 = 0; type < TYPES; type++) {
    for (let slot: u32 = 0; slot < SLOTS; slot++) pages += load<u32>(sizeOf(gens, slot, type));
  }
  return pages - generationsActive(gens);
}

function typeOf(page: usize): u32 {
  return pageTest(page, PG_LAZYFREE) ? TYPE_FILE : TYPE_ANON;
}

/** Uses of the page beyond the first that its tier counts: folio_lru_refs(). */
export function pageUses(page: usize): u32 {
  return pageUsed(page) + (pageTest(page, PG_WORKINGSET) ? 1 : 0);
}

/** The page has as many uses as can be counted: it is protected once, whatever its tier. */
export function pageUsesFull(page: usize): bool {
  return pageUses(page) === PAGE_USED_MAX + 1;
}

/** Counts one more use of the page: folio_inc_refs(). The first two are marks. */
export function pageCountUse(page: usize): void {
  if (!pageTest(page, PG_REFERENCED)) pageSet(page, PG_REFERENCED);
  else if (!pageTest(page, PG_WORKINGSET)) pageSet(page, PG_WORKINGSET);
  else setPageUsed(page, min<u32>(pageUsed(page) + 1, PAGE_USED_MAX));
}

/** Forgets all uses that tell the tier. */
export function pageForgetUses(page: usize): void {
  setPageUsed(page, 0);
  pageClear(page, PG_REFERENCED | PG_WORKINGSET);
}

/**
 * Puts a page on the lists: lru_gen_add_folio(). An active one belongs to the youngest generation; one that cannot be evicted
 * at once, being on its way out or not in the swap cache, to the second oldest; all others to the oldest.
 * @param toTail for a page whose write has ended: the next to go
 */
export function generationsAdd(mm: usize, gens: usize, pfn: u32, toTail: bool): void {
  const page = pageOf(mm, pfn);
  const type = typeOf(page);
  let seq = generationsMin(gens, type);
  if (pageTest(page, PG_ACTIVE)) {
    seq = generationsMax(gens);
  } else if (type === TYPE_ANON && !pageTest(page, PG_SWAPCACHE)) {
    seq++;
  } else if (pageTest(page, PG_RECLAIM) && pageTest(page, PG_DIRTY | PG_WRITEBACK)) {
    seq++;
  }
  pageClear(page, PG_ACTIVE);
  pageSet(page, PG_LRU);
  setPageGen(page, (seq % SLOTS) + 1);
  resize(gens, seq % SLOTS, type, 1);
  const list = generationList(gens, seq, type);
  if (toTail) listAddTail(mm, list, kindOf(seq, type), pfn);
  else listAddHead(mm, list, kindOf(seq, type), pfn);
}

/**
 * Takes a page off its list: lru_gen_del_folio().
 * @param reclaiming by eviction; otherwise a page of the two youngest generations stays marked active
 */
export function generationsRemove(mm: usize, gens: usize, pfn: u32, reclaiming: bool): void {
  const page = pageOf(mm, pfn);
  assert(pageTest(page, PG_LRU) && pageGen(page) !== 0);
  const place = <u32>pageList(page) - LIST_GENERATION;
  const slot = pageGen(page) - 1;
  listRemove(mm, gens + LISTS + <usize>place * LIST_BYTES, pfn);
  resize(gens, slot, place % TYPES, <u32>-1);
  pageClear(page, PG_LRU);
  setPageGen(page, 0);
  const max = generationsMax(gens);
  if (!reclaiming && (slot === max % SLOTS || slot === (max - 1) % SLOTS)) pageSet(page, PG_ACTIVE);
}

/**
 * The page has been seen in use: it belongs to the youngest generation from now on, by its flags. Of one that is on no list only that
 * it was used is noted. Source: folio_update_gen().
 */
export function generationsPromote(gens: usize, page: usize): void {
  if (pageGen(page) === 0) {
    pageSet(page, PG_REFERENCED);
    return;
  }
  const slot = generationsMax(gens) % SLOTS;
  pageForgetUses(page);
  const type = (<u32>pageList(page) - LIST_GENERATION) % TYPES;
  resize(gens, pageGen(page) - 1, type, <u32>-1);
  resize(gens, slot, type, 1);
  setPageGen(page, slot + 1);
}

/** Slot of the youngest generation, as pageGen() has it. */
export function youngestGen(gens: usize): u32 {
  return (generationsMax(gens) % SLOTS) + 1;
}

/** Generations that are younger than the page's, by its flags: 0 for the youngest. */
export function generationAge(gens: usize, page: usize): u32 {
  return (generationsMax(gens) + 1 - pageGen(page)) % SLOTS;
}

// Moves a page between the lists of one type.
function relist(mm: usize, gens: usize, pfn: u32, from: u32, to: u32, type: u32, toTail: bool): void {
  listRemove(mm, generationList(gens, from, type), pfn);
  const list = generationList(gens, to, type);
  if (toTail) listAddTail(mm, list, kindOf(to, type), pfn);
  else listAddHead(mm, list, kindOf(to, type), pfn);
}

// folio_inc_gen(): a page of the oldest list moves to the list of the next generation, or to that of the one it was promoted to.
function moveOn(mm: usize, gens: usize, pfn: u32, type: u32, toTail: bool): void {
  const page = pageOf(mm, pfn);
  const seq = generationsMin(gens, type);
  if (pageGen(page) !== (seq % SLOTS) + 1) {
    relist(mm, gens, pfn, seq, pageGen(page) - 1, type, toTail);
    return;
  }
  pageForgetUses(page);
  resize(gens, seq % SLOTS, type, <u32>-1);
  resize(gens, (seq + 1) % SLOTS, type, 1);
  setPageGen(page, ((seq + 1) % SLOTS) + 1);
  relist(mm, gens, pfn, seq, seq + 1, type, toTail);
}

/** A page of the oldest list that was promoted goes where its flags say. False when it was not. */
export function generationsSettle(mm: usize, gens: usize, pfn: u32, type: u32): bool {
  const page = pageOf(mm, pfn);
  const seq = generationsMin(gens, type);
  if (pageGen(page) === (seq % SLOTS) + 1) return false;
  relist(mm, gens, pfn, seq, pageGen(page) - 1, type, false);
  return true;
}

/** A page of the oldest generation is not evicted for its tier: it moves on to the tail of the next. */
export function generationsProtect(mm: usize, gens: usize, pfn: u32, type: u32, tier: u32): void {
  moveOn(mm, gens, pfn, type, true);
  tierProtected(generationsTiers(gens), type, tier);
}

/** A page of the oldest generation is being written: it moves on to the next, and comes to the tail when that has ended. */
export function generationsPostpone(mm: usize, gens: usize, pfn: u32, type: u32): void {
  moveOn(mm, gens, pfn, type, false);
  pageSet(pageOf(mm, pfn), PG_RECLAIM);
}

/** The oldest generations are given up as far as they are empty: try_to_inc_min_seq(). True when one was. */
export function generationsTryIncMin(gens: usize, canSwap: bool): bool {
  let anon = generationsMin(gens, TYPE_ANON);
  let file = firstPopulated(gens, TYPE_FILE);
  if (canSwap) {
    // Anonymous pages are never younger than the others by sequence numbers.
    anon = min<u32>(firstPopulated(gens, TYPE_ANON), file);
    file = max<u32>(anon, generationsMin(gens, TYPE_FILE));
  }
  const anonMoved = advance(gens, TYPE_ANON, anon);
  return advance(gens, TYPE_FILE, file) || anonMoved;
}

function firstPopulated(gens: usize, type: u32): u32 {
  const last = generationsMax(gens) + 1 - MIN_GENERATIONS;
  let seq = generationsMin(gens, type);
  while (seq < last && listLength(generationList(gens, seq, type)) === 0) seq++;
  return seq;
}

function advance(gens: usize, type: u32, seq: u32): bool {
  if (seq === generationsMin(gens, type)) return false;
  tiersCarryOver(generationsTiers(gens), type);
  setMin(gens, type, seq);
  return true;
}

/** A new youngest generation: inc_max_seq(). With four of them, the pages of the oldest move on to the next first. */
export function generationsIncMax(mm: usize, gens: usize): void {
  for (let type: u32 = 0; type < TYPES; type++) {
    if (generationsCount(gens, type) !== MAX_GENERATIONS) continue;
    const seq = generationsMin(gens, type);
    const list = generationList(gens, seq, type);
    while (listLength(list) !== 0) moveOn(mm, gens, listTail(list), type, true);
    advance(gens, type, seq + 1);
  }
  store<u32>(gens, generationsMax(gens) + 1, MAX_SEQ);
}

/** Asserts all invariants of the lists. */
export function checkGenerations(mm: usize, gens: usize): void {
  const max = generationsMax(gens);
  for (let type: u32 = 0; type < TYPES; type++) {
    const oldest = generationsMin(gens, type);
    assert(oldest < max && max < oldest + MAX_GENERATIONS);
    let listed: u32 = 0;
    let sized: u32 = 0;
    for (let slot: u32 = 0; slot < SLOTS; slot++) {
      checkList(mm, generationList(gens, slot, type), kindOf(slot, type));
      listed += listLength(generationList(gens, slot, type));
      sized += countIn(mm, gens, slot, type, oldest);
    }
    assert(listed === sized);
  }
}

// Pages whose flags name the slot, which must be what is counted and lie on lists of living generations.
function countIn(mm: usize, gens: usize, slot: u32, type: u32, oldest: u32): u32 {
  let pages: u32 = 0;
  for (let seq = oldest; seq < oldest + SLOTS; seq++) {
    const list = generationList(gens, seq, type);
    if (seq > generationsMax(gens)) assert(listLength(list) === 0);
    for (let pfn = listHead(list); pfn !== PFN_NONE; pfn = pageNext(mm, pfn)) {
      const page = pageOf(mm, pfn);
      assert(pageTest(page, PG_LRU) && !pageTest(page, PG_ACTIVE));
      assert(pageGen(page) !== 0 && typeOf(page) === type);
      if (pageGen(page) === slot + 1) pages++;
    }
  }
  const named = slot >= oldest % SLOTS ? slot - (oldest % SLOTS) : slot + SLOTS - (oldest % SLOTS);
  if (oldest + named > generationsMax(gens)) assert(pages === 0);
  assert(pages === load<u32>(sizeOf(gens, slot, type)));
  return pages;
}
