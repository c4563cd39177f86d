import { PFN_NONE } from "../memory/layout";
import { notifyFreed } from "./freehook";
import { MIGRATE_ISOLATE, MIGRATE_PCPTYPES, MIGRATE_TYPES } from "./gfp";
import { mmReporting, mmReportOrder } from "./instance";
import { checkList, listAddHead, listAddTail, listHead, listRemove, listShift } from "./list";
import {
  LIST_BUDDY,
  PG_BUDDY,
  pageFlags,
  pageNext,
  pageOf,
  pageOrder,
  pageRefs,
  pageTest,
  pageType,
  setPageFlags,
  setPageOrder,
  setPageType,
} from "./page";
import {
  blockType,
  MAX_ORDER,
  PAGEBLOCK_ORDER,
  setZoneFreeOrders,
  zoneFreeList,
  zoneFreeOrders,
  zoneFreePages,
  zoneModFree,
  zoneSpans,
} from "./zone";

// The buddy allocator of a zone: free blocks of 2^order pages, orders 0..10, aligned to their size, one list an order and
// migratetype. Follows __rmqueue_smallest(), expand() and __free_one_page(), down to the order of the lists: blocks leave from
// the head; a split puts the upper half at the head; a freed block goes to the tail when its next merge is likely.
// Left out: shuffling, capture by compaction.
//
// A free block's page record: PG_BUDDY, its order, and the type of the list that it is on; PG_REPORTED when the host has been told that
// the block is free, until it leaves its list. The zone has a bit for each list that is not empty, so that the smallest block that will do is
// found at once.
//
// invariant: a page flagged PG_BUDDY heads a free block and is on the list of its order and type; tails carry nothing
// invariant: two free buddies of one order stand unmerged only where an isolated or reserved pageblock keeps them apart
// invariant: the zone's bits (zoneFreeOrders()) are set for the lists that have a block, and for no others
// invariant: the sizes of the blocks that are not isolated sum to the zone's free pages

/** The block is put at the tail of its list. */
export const FREE_TO_TAIL: u32 = 1;
/** Free page reporting is not told: it gives the block back itself. */
export const FREE_SKIP_NOTIFY: u32 = 2;

/** May blocks of the two types be merged above pageblock size? */
function mergeable(type: u32): bool {
  return type < MIGRATE_PCPTYPES;
}

/** Puts a block on a list; head or tail. */
export function addToFreeList(mm: usize, zone: usize, pfn: u32, order: u32, type: u32, toTail: bool): void {
  const page = pageOf(mm, pfn);
  assert(pageFlags(page) === 0);
  setPageFlags(page, PG_BUDDY);
  setPageOrder(page, order);
  setPageType(page, type);
  listed(mm, zone, pfn, order, type, toTail);
}

function listed(mm: usize, zone: usize, pfn: u32, order: u32, type: u32, toTail: bool): void {
  const list = zoneFreeList(zone, order, type);
  if (toTail) listAddTail(mm, list, LIST_BUDDY, pfn);
  else listAddHead(mm, list, LIST_BUDDY, pfn);
  setZoneFreeOrders(zone, type, zoneFreeOrders(zone, type) | (1 << order));
}

/** Takes a free block off its list; it is no longer free. */
export function delFromFreeList(mm: usize, zone: usize, pfn: u32): void {
  const page = pageOf(mm, pfn);
  assert(pageTest(page, PG_BUDDY));
  const order = pageOrder(page);
  unlisted(mm, zone, pfn, order, pageType(page));
  setPageFlags(page, 0);
}

function unlisted(mm: usize, zone: usize, pfn: u32, order: u32, type: u32): void {
  const list = zoneFreeList(zone, order, type);
  listRemove(mm, list, pfn);
  if (listHead(list) === PFN_NONE) setZoneFreeOrders(zone, type, zoneFreeOrders(zone, type) & ~(1 << order));
}

/** Moves a free block to the tail of another type's list; its order stays (move_to_free_list()). */
export function moveToFreeList(mm: usize, zone: usize, pfn: u32, type: u32): void {
  const page = pageOf(mm, pfn);
  assert(pageTest(page, PG_BUDDY));
  const order = pageOrder(page);
  unlisted(mm, zone, pfn, order, pageType(page));
  setPageType(page, type);
  listed(mm, zone, pfn, order, type, true);
}

/** True when a free block of exactly `order` starts at `pfn` in the zone. */
export function isFreeBlock(mm: usize, zone: usize, pfn: u32, order: u32): bool {
  if (!zoneSpans(zone, pfn)) return false;
  const page = pageOf(mm, pfn);
  return pageTest(page, PG_BUDDY) && pageOrder(page) === order;
}

/** __rmqueue_smallest(): a block from the lists of one type, splitting a larger one. PFN_NONE when none is large enough. */
export function rmqueueSmallest(mm: usize, zone: usize, order: u32, type: u32): u32 {
  const larger = zoneFreeOrders(zone, type) >> order;
  if (larger === 0) return PFN_NONE;
  const from = order + <u32>ctz(larger);
  const pfn = takeFirst(mm, zone, from, type);
  for (let half = from; half > order; ) {
    half--;
    addToFreeList(mm, zone, pfn + (1 << half), half, type, false);
  }
  setPageType(pageOf(mm, pfn), type);
  return pfn;
}

// Takes the first block off a list that has one: what its record says of order and type is known.
function takeFirst(mm: usize, zone: usize, order: u32, type: u32): u32 {
  const list = zoneFreeList(zone, order, type);
  const pfn = listShift(mm, list);
  if (listHead(list) === PFN_NONE) setZoneFreeOrders(zone, type, zoneFreeOrders(zone, type) & ~(1 << order));
  setPageFlags(pageOf(mm, pfn), 0);
  return pfn;
}

/** __free_one_page(): gives a block back to the lists of `type` and merges it with its free buddies. */
export function freeOnePage(
  mm: usize,
  zone: usize,
  cpu: u32,
  pfn: u32,
  order: u32,
  type: u32,
  flags: u32,
): void {
  assert(order < MAX_ORDER && (pfn & ((1 << order) - 1)) === 0);
  assert(!pageTest(pageOf(mm, pfn), PG_BUDDY) && pageRefs(pageOf(mm, pfn)) === 0);
  if (type !== MIGRATE_ISOLATE) zoneModFree(zone, cpu, 1 << order);
  while (order < MAX_ORDER - 1) {
    const buddy = pfn ^ (1 << order);
    if (!isFreeBlock(mm, zone, buddy, order)) break;
    if (order >= PAGEBLOCK_ORDER) {
      const other = blockType(zone, buddy);
      if (type !== other && (!mergeable(type) || !mergeable(other))) break;
    }
    delFromFreeList(mm, zone, buddy);
    pfn &= buddy;
    order++;
  }
  const toTail = (flags & FREE_TO_TAIL) !== 0 || mergeLikely(mm, zone, pfn, order);
  addToFreeList(mm, zone, pfn, order, type, toTail);
  if (order >= mmReportOrder(mm) && (flags & FREE_SKIP_NOTIFY) === 0) notifyFreed(mmReporting(mm));
}

// buddy_merge_likely(): would the pair, once whole, merge again? Then this block is better left alone, at the tail.
function mergeLikely(mm: usize, zone: usize, pfn: u32, order: u32): bool {
  if (order >= MAX_ORDER - 2) return false;
  const pair = pfn & ~(1 << order);
  return isFreeBlock(mm, zone, pair ^ (2 << order), order + 1);
}

export function checkBuddy(mm: usize, zone: usize): void {
  let free: u32 = 0;
  for (let order: u32 = 0; order < MAX_ORDER; order++) {
    for (let type: u32 = 0; type < MIGRATE_TYPES; type++) {
      const list = zoneFreeList(zone, order, type);
      checkList(mm, list, LIST_BUDDY);
      assert(((zoneFreeOrders(zone, type) >> order) & 1) === (listHead(list) === PFN_NONE ? 0 : 1));
      for (let pfn = listHead(list); pfn !== PFN_NONE; pfn = pageNext(pageOf(mm, pfn))) {
        const page = pageOf(mm, pfn);
        assert(pageTest(page, PG_BUDDY) && pageOrder(page) === order && pageRefs(page) === 0);
        assert(pageType(page) === type && (pfn & ((1 << order) - 1)) === 0);
        if (order < MAX_ORDER - 1) checkUnmerged(mm, zone, pfn, order, type);
        if (type !== MIGRATE_ISOLATE) free += 1 << order;
      }
    }
  }
  assert(free === zoneFreePages(zone));
}

// Freed pages keep the type that their pageblock had at the time, a merge asks for the type that the other one has now: a block of a
// pageblock set aside meanwhile may stand on the list of its old type and is kept apart all the same.
function checkUnmerged(mm: usize, zone: usize, pfn: u32, order: u32, type: u32): void {
  const buddy = pfn ^ (1 << order);
  if (!isFreeBlock(mm, zone, buddy, order)) return;
  assert(order >= PAGEBLOCK_ORDER);
  const listed = mergeable(type) && mergeable(pageType(pageOf(mm, buddy)));
  assert(!listed || !mergeable(blockType(zone, pfn)) || !mergeable(blockType(zone, buddy)));
}
