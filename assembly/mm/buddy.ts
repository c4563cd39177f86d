import { PFN_NONE } from "../memory/layout";
import {
  freeOrder,
  isFree,
  isFreeOf,
  isReported,
  pageType,
  setFree,
  setPageType,
  setReported,
} from "./freeblock";
import { notifyFreed } from "./freehook";
import { MIGRATE_ISOLATE, MIGRATE_PCPTYPES, MIGRATE_TYPES } from "./gfp";
import { mmReporting, mmReportOrder } from "./instance";
import { checkList, linkHead, linkOnly, linkTail, listHead, unlink, unlinkFirst } from "./list";
import { LIST_NONE, pageFlags, pageList, pageNext, pageOf, pageRefs } from "./page";
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
// A free block is told by its byte (freeblock.ts): its order, the type of the list that it is on, and whether the host has been told that it is free. Its
// record and its tails' say nothing. The zone has a bit for each list that is not empty, so that the smallest block that will do is
// found at once.
//
// invariant: a frame whose byte has an order heads a free block and is on the list of its order and type; tails carry nothing
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
  assert(pageFlags(pageOf(mm, pfn)) === 0 && pageList(pageOf(mm, pfn)) === LIST_NONE);
  setFree(mm, pfn, order, type);
  const list = zoneFreeList(zone, order, type);
  if (listHead(list) === PFN_NONE) {
    linkOnly(mm, list, pfn);
    setZoneFreeOrders(zone, type, zoneFreeOrders(zone, type) | (1 << order));
  } else if (toTail) linkTail(mm, list, pfn);
  else linkHead(mm, list, pfn);
}

// The last block has left a list. A branch that is nearly never taken: what the next operation reads does not wait for this one's links.
function noteEmptied(zone: usize, list: usize, order: u32, type: u32): void {
  if (listHead(list) !== PFN_NONE) return;
  setZoneFreeOrders(zone, type, zoneFreeOrders(zone, type) & ~(1 << order));
}

/** Takes a free block off its list; it is no longer free. */
export function delFromFreeList(mm: usize, zone: usize, pfn: u32): void {
  takeFree(mm, zone, pfn, freeOrder(mm, pfn));
}

// The same of a block whose order is known.
function takeFree(mm: usize, zone: usize, pfn: u32, order: u32): void {
  const type = pageType(mm, pfn);
  unlisted(mm, zone, pfn, order, type);
  setPageType(mm, pfn, type);
}

function unlisted(mm: usize, zone: usize, pfn: u32, order: u32, type: u32): void {
  const list = zoneFreeList(zone, order, type);
  unlink(mm, list, pfn);
  noteEmptied(zone, list, order, type);
}

/** Moves a free block to the tail of another type's list; its order stays, and so does what the host was told (move_to_free_list()). */
export function moveToFreeList(mm: usize, zone: usize, pfn: u32, type: u32): void {
  const order = freeOrder(mm, pfn);
  const reported = isReported(mm, pfn);
  unlisted(mm, zone, pfn, order, pageType(mm, pfn));
  addToFreeList(mm, zone, pfn, order, type, true);
  if (reported) setReported(mm, pfn);
}

/** True when a free block of exactly `order` starts at `pfn` in the zone. */
export function isFreeBlock(mm: usize, zone: usize, pfn: u32, order: u32): bool {
  return zoneSpans(zone, pfn) && isFreeOf(mm, pfn, order);
}

/** __rmqueue_smallest(): a block from the lists of one type, splitting a larger one. PFN_NONE when none is large enough. */
export function rmqueueSmallest(mm: usize, zone: usize, order: u32, type: u32): u32 {
  const list = zoneFreeList(zone, order, type);
  return listHead(list) !== PFN_NONE
    ? takeFirst(mm, zone, list, order, type)
    : splitLarger(mm, zone, order, type);
}

function takeFirst(mm: usize, zone: usize, list: usize, order: u32, type: u32): u32 {
  const pfn = unlinkFirst(mm, list);
  setPageType(mm, pfn, type);
  noteEmptied(zone, list, order, type);
  return pfn;
}

// expand(): nothing between the two orders is free, or it would have been taken.
function splitLarger(mm: usize, zone: usize, order: u32, type: u32): u32 {
  const larger = zoneFreeOrders(zone, type) >> order;
  if (larger === 0) return PFN_NONE;
  const from = order + <u32>ctz(larger);
  const pfn = takeFirst(mm, zone, zoneFreeList(zone, from, type), from, type);
  for (let half = from; half > order; ) {
    half--;
    setFree(mm, pfn + (1 << half), half, type);
    linkOnly(mm, zoneFreeList(zone, half, type), pfn + (1 << half));
  }
  const halves: u32 = (1 << from) - (1 << order);
  setZoneFreeOrders(zone, type, zoneFreeOrders(zone, type) | halves);
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
  assert(!isFree(mm, pfn) && pageRefs(pageOf(mm, pfn)) === 0);
  if (type !== MIGRATE_ISOLATE) zoneModFree(zone, cpu, 1 << order);
  while (order < MAX_ORDER - 1) {
    const buddy = pfn ^ (1 << order);
    if (!isFreeBlock(mm, zone, buddy, order)) break;
    if (order >= PAGEBLOCK_ORDER) {
      const other = blockType(zone, buddy);
      if (type !== other && (!mergeable(type) || !mergeable(other))) break;
    }
    takeFree(mm, zone, buddy, order);
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
      checkList(mm, list, LIST_NONE);
      assert(((zoneFreeOrders(zone, type) >> order) & 1) === (listHead(list) === PFN_NONE ? 0 : 1));
      for (let pfn = listHead(list); pfn !== PFN_NONE; pfn = pageNext(mm, pfn)) {
        const page = pageOf(mm, pfn);
        assert(isFreeOf(mm, pfn, order) && pageRefs(page) === 0 && pageFlags(page) === 0);
        assert(pageType(mm, pfn) === type && (pfn & ((1 << order) - 1)) === 0);
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
  const listed = mergeable(type) && mergeable(pageType(mm, buddy));
  assert(!listed || !mergeable(blockType(zone, pfn)) || !mergeable(blockType(zone, buddy)));
}
