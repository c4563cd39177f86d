import { PFN_NONE } from "../memory/layout";
import { freeOnePage } from "./buddy";
import { rmqueueAny } from "./fallback";
import { pageType, setPageType } from "./freeblock";
import { MIGRATE_ISOLATE, MIGRATE_MOVABLE, MIGRATE_PCPTYPES } from "./gfp";
import {
  checkList,
  LIST_BYTES,
  listAddHead,
  listAddTail,
  listHead,
  listLength,
  listRemove,
  listReplaceFirst,
  listShift,
  listTail,
} from "./list";
import { LIST_PCP, pageOf, pageOrder, setPageOrder } from "./page";
import {
  blockType,
  PAGEBLOCK_ORDER,
  PCP_LIST_OFFSET,
  PCP_LISTS,
  ZONE_RECLAIM_ACTIVE,
  zoneFlags,
  zoneModFree,
  zonePcp,
} from "./zone";

// Per-CPU page lists (struct per_cpu_pages): short lists of free pages that a CPU takes from and gives to without the zone.
// Orders 0..3, and whole pageblocks. Follows rmqueue_pcplist(), free_unref_page_commit() and free_pcppages_bulk().
//
// record   0       4      8            12      16          20     24
//          +-------+------+------------+-------+-----------+------+-----------+
//          | batch | high | freeFactor | count | threshold | diff | lists × 14|
//          +-------+------+------------+-------+-----------+------+-----------+
//
// list     3 × order + type for orders 0..3; 12 pageblocks that are not movable, 13 those that are
// count    in pages; threshold and diff belong to the zone's free counter (zone.ts)
//
// invariant: count is the pages on the lists; a page on them remembers the type it will be given back with

const BATCH: usize = 0;
const HIGH: usize = 4;
const FREE_FACTOR: usize = 8;
const COUNT: usize = 12;
const THRESHOLD: usize = 16;
const DIFF: usize = 20;

/** PAGE_ALLOC_COSTLY_ORDER: the largest order but pageblocks that stands on per-CPU lists. */
const PCP_ORDER_MAX: u32 = 3;
/** CONFIG_PCP_BATCH_SCALE_MAX: how often a flush may double. */
const BATCH_SCALE_MAX: u32 = 5;

export function pcpBatch(pcp: usize): u32 {
  return load<u32>(pcp, BATCH);
}

export function pcpHigh(pcp: usize): u32 {
  return load<u32>(pcp, HIGH);
}

export function pcpFreeFactor(pcp: usize): u32 {
  return load<u32>(pcp, FREE_FACTOR);
}

/** Pages on the lists. */
export function pcpCount(pcp: usize): u32 {
  return load<u32>(pcp, COUNT);
}

/** Difference of the zone's free counter that the CPU holds. */
export function pcpDiff(pcp: usize): i32 {
  return load<i32>(pcp, DIFF);
}

export function setPcp(pcp: usize, batch: u32, high: u32, freeFactor: u32, threshold: u32, diff: i32): void {
  store<u32>(pcp, batch, BATCH);
  store<u32>(pcp, high, HIGH);
  store<u32>(pcp, freeFactor, FREE_FACTOR);
  store<u32>(pcp, threshold, THRESHOLD);
  store<i32>(pcp, diff, DIFF);
}

/** Other limits for lists that are in use: what stands on them stays (zone_set_pageset_high_and_batch()). */
export function setPcpLimits(pcp: usize, batch: u32, high: u32): void {
  store<u32>(pcp, batch, BATCH);
  store<u32>(pcp, high, HIGH);
}

export function pcpList(pcp: usize, list: u32): usize {
  assert(list < PCP_LISTS);
  return pcp + PCP_LIST_OFFSET + <usize>list * LIST_BYTES;
}

/** pcp_allowed_order(). */
export function pcpAllowed(order: u32): bool {
  return order <= PCP_ORDER_MAX || order === PAGEBLOCK_ORDER;
}

// order_to_pindex()
function listOf(order: u32, type: u32): u32 {
  if (order === PAGEBLOCK_ORDER) return type === MIGRATE_MOVABLE ? 13 : 12;
  return 3 * order + type;
}

/** Order of the blocks on list number `list`. */
export function pcpListOrder(list: u32): u32 {
  return list >= 12 ? PAGEBLOCK_ORDER : list / 3;
}

/** Puts a block at the tail of a list, remembering `type`; for set-up. */
export function pcpAppend(mm: usize, pcp: usize, list: u32, pfn: u32, type: u32): void {
  const page = pageOf(mm, pfn);
  setPageOrder(page, pcpListOrder(list));
  setPageType(mm, pfn, type);
  listAddTail(mm, pcpList(pcp, list), LIST_PCP, pfn);
  store<u32>(pcp, load<u32>(pcp, COUNT) + (1 << pcpListOrder(list)), COUNT);
}

/** A single page of `type` stands on the lists of `cpu`. */
export function pcpHolds(zone: usize, cpu: u32, type: u32): bool {
  return listHead(pcpList(zonePcp(zone, cpu), listOf(0, type))) !== PFN_NONE;
}

/** A single page of `type` stands on the lists of `cpu`, and for taking it and giving another one the zone is not needed. */
export function pcpSteady(zone: usize, cpu: u32, type: u32): bool {
  const pcp = zonePcp(zone, cpu);
  if (load<u32>(pcp, FREE_FACTOR) !== 0 || !pcpHolds(zone, cpu, type)) return false;
  return load<u32>(pcp, COUNT) < highOf(zone, pcp, false);
}

/** With pcpSteady(): pcpAlloc() of a single page of `type`, then pcpFree() of page `pfn` of that type. Returns the page taken. */
export function pcpReplace(mm: usize, zone: usize, cpu: u32, type: u32, pfn: u32): u32 {
  setPageType(mm, pfn, type);
  setPageOrder(pageOf(mm, pfn), 0);
  return listReplaceFirst(mm, pcpList(zonePcp(zone, cpu), listOf(0, type)), LIST_PCP, pfn);
}

/** rmqueue_pcplist(): a block from the CPU's lists, refilled from the zone when empty. PFN_NONE: the zone has none. */
export function pcpAlloc(mm: usize, zone: usize, cpu: u32, order: u32, type: u32, allocFlags: u32): u32 {
  const pcp = zonePcp(zone, cpu);
  store<u32>(pcp, load<u32>(pcp, FREE_FACTOR) >> 1, FREE_FACTOR);
  const list = pcpList(pcp, listOf(order, type));
  if (listHead(list) === PFN_NONE) refill(mm, zone, cpu, order, type, allocFlags);
  if (listHead(list) === PFN_NONE) return PFN_NONE;
  const pfn = listShift(mm, list);
  store<u32>(pcp, load<u32>(pcp, COUNT) - (1 << order), COUNT);
  return pfn;
}

// rmqueue_bulk(): blocks for a list, appended at its tail.
function refill(mm: usize, zone: usize, cpu: u32, order: u32, type: u32, allocFlags: u32): void {
  const pcp = zonePcp(zone, cpu);
  let blocks = load<u32>(pcp, BATCH);
  if (blocks > 1) blocks = max<u32>(blocks >> order, 2);
  let taken: u32 = 0;
  while (taken < blocks) {
    const pfn = rmqueueAny(mm, zone, order, type, allocFlags);
    if (pfn === PFN_NONE) break;
    setPageOrder(pageOf(mm, pfn), order);
    listAddTail(mm, pcpList(pcp, listOf(order, type)), LIST_PCP, pfn);
    taken++;
  }
  store<u32>(pcp, load<u32>(pcp, COUNT) + (taken << order), COUNT);
  zoneModFree(zone, cpu, -(<i32>(taken << order)));
}

/** free_unref_page(): gives a block to the CPU's lists, which overflow into the zone. */
export function pcpFree(mm: usize, zone: usize, cpu: u32, pfn: u32, order: u32): void {
  assert(pcpAllowed(order));
  const page = pageOf(mm, pfn);
  const type = blockType(zone, pfn);
  if (type === MIGRATE_ISOLATE) {
    freeOnePage(mm, zone, cpu, pfn, order, type, 0);
    return;
  }
  setPageType(mm, pfn, type);
  setPageOrder(page, order);
  const pcp = zonePcp(zone, cpu);
  const list = listOf(order, type >= MIGRATE_PCPTYPES ? MIGRATE_MOVABLE : type);
  listAddHead(mm, pcpList(pcp, list), LIST_PCP, pfn);
  store<u32>(pcp, load<u32>(pcp, COUNT) + (1 << order), COUNT);

  // After a flush, freeing a small higher-order block gives everything back: somebody needs contiguous memory.
  const freeHigh = load<u32>(pcp, FREE_FACTOR) !== 0 && order !== 0 && order <= PCP_ORDER_MAX;
  const high = highOf(zone, pcp, freeHigh);
  if (load<u32>(pcp, COUNT) < high) return;
  flush(mm, zone, cpu, flushPages(pcp, high, freeHigh), list);
}

// nr_pcp_high()
function highOf(zone: usize, pcp: usize, freeHigh: bool): u32 {
  const high = load<u32>(pcp, HIGH);
  if (high === 0 || freeHigh) return 0;
  return zoneFlags(zone) & ZONE_RECLAIM_ACTIVE ? min<u32>(load<u32>(pcp, BATCH) << 2, high) : high;
}

// nr_pcp_free(): how much overflows; it doubles with every flush that no allocation has come between.
function flushPages(pcp: usize, high: u32, freeHigh: bool): u32 {
  if (freeHigh) return load<u32>(pcp, COUNT);
  const batch = load<u32>(pcp, BATCH);
  if (high < batch) return 1;
  const most = high - batch;
  const factor = load<u32>(pcp, FREE_FACTOR);
  const scaled = batch << factor;
  if (scaled < most && factor < BATCH_SCALE_MAX) store<u32>(pcp, factor + 1, FREE_FACTOR);
  return max<u32>(min<u32>(scaled, most), batch);
}

// free_pcppages_bulk(): list after list from `first` on, each emptied from its tail before the next is touched.
function flush(mm: usize, zone: usize, cpu: u32, pages: u32, first: u32): void {
  const pcp = zonePcp(zone, cpu);
  let left = <i32>min<u32>(pages, load<u32>(pcp, COUNT));
  let list = first;
  while (left > 0) {
    const record = pcpList(pcp, list);
    const order = pcpListOrder(list);
    while (left > 0 && listTail(record) !== PFN_NONE) {
      const pfn = listTail(record);
      listRemove(mm, record, pfn);
      store<u32>(pcp, load<u32>(pcp, COUNT) - (1 << order), COUNT);
      left -= 1 << order;
      freeOnePage(mm, zone, cpu, pfn, order, pageType(mm, pfn), 0);
    }
    list = list + 1 === PCP_LISTS ? 0 : list + 1;
  }
}

/** drain_pages_zone(): everything on the CPU's lists goes back to the zone. */
export function pcpDrain(mm: usize, zone: usize, cpu: u32): void {
  const pages = load<u32>(zonePcp(zone, cpu), COUNT);
  if (pages !== 0) flush(mm, zone, cpu, pages, 0);
}

export function checkPcp(mm: usize, zone: usize, cpu: u32): void {
  const pcp = zonePcp(zone, cpu);
  let pages: u32 = 0;
  for (let list: u32 = 0; list < PCP_LISTS; list++) {
    checkList(mm, pcpList(pcp, list), LIST_PCP);
    pages += listLength(pcpList(pcp, list)) << pcpListOrder(list);
    const head = listHead(pcpList(pcp, list));
    if (head !== PFN_NONE) assert(pageOrder(pageOf(mm, head)) === pcpListOrder(list));
  }
  assert(pages === load<u32>(pcp, COUNT));
  assert(abs(load<i32>(pcp, DIFF)) <= load<i32>(pcp, THRESHOLD));
}
