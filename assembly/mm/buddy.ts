import { PFN_BASE, PFN_NONE } from "../memory/layout";
import {
  MAX_ORDER,
  mmFree,
  mmFreeArea,
  mmManaged,
  mmPfnEnd,
  mmResetMinFree,
  pageOf,
  setMmFree,
} from "./instance";
import { checkList, listAddHead, listAddTail, listHead, listLength, listRemove } from "./list";
import {
  LIST_BUDDY,
  PG_BUDDY,
  pageClear,
  pageList,
  pageNext,
  pageOrder,
  pageRefs,
  pageSet,
  pageTest,
  setPageOrder,
} from "./page";

// The buddy allocator of one zone: free blocks of 2^order pages, orders 0..10, aligned to their size.
// Follows __rmqueue_smallest(), expand() and __free_one_page(), with the order of the lists: blocks leave from the head; a
// split puts the upper half at the head; a freed block goes to the tail when its next merge is likely.
// Left out for now: migratetypes and fallback, per-CPU lists, isolation.
//
// invariant: a page flagged PG_BUDDY heads a free block and is on the list of its order; tails carry nothing
// invariant: two free buddies of one order never stand unmerged
// invariant: the blocks' sizes sum to the zone's free pages

/** Takes a block off the lists, splitting a larger one if need be. PFN_NONE when no block is large enough. */
export function buddyAlloc(mm: usize, order: u32): u32 {
  assert(order < MAX_ORDER);
  for (let from = order; from < MAX_ORDER; from++) {
    const area = mmFreeArea(mm, from);
    const pfn = listHead(area);
    if (pfn === PFN_NONE) continue;
    listRemove(mm, area, pfn);
    pageClear(pageOf(mm, pfn), PG_BUDDY);
    for (let half = from; half > order; ) {
      half--;
      addFree(mm, pfn + (1 << half), half, false);
    }
    setMmFree(mm, mmFree(mm) - (1 << order));
    return pfn;
  }
  return PFN_NONE;
}

/** Gives a block back and merges it with its free buddies. */
export function buddyFree(mm: usize, pfn: u32, order: u32): void {
  assert(order < MAX_ORDER && (pfn & ((1 << order) - 1)) === 0);
  assert(!pageTest(pageOf(mm, pfn), PG_BUDDY) && pageRefs(pageOf(mm, pfn)) === 0);
  setMmFree(mm, mmFree(mm) + (1 << order));
  while (order < MAX_ORDER - 1) {
    const buddy = pfn ^ (1 << order);
    if (!isFreeBlock(mm, buddy, order)) break;
    listRemove(mm, mmFreeArea(mm, order), buddy);
    pageClear(pageOf(mm, buddy), PG_BUDDY);
    pfn &= buddy;
    order++;
  }
  addFree(mm, pfn, order, mergeLikely(mm, pfn, order));
}

function isFreeBlock(mm: usize, pfn: u32, order: u32): bool {
  if (pfn < PFN_BASE || pfn >= mmPfnEnd(mm)) return false;
  const page = pageOf(mm, pfn);
  return pageTest(page, PG_BUDDY) && pageOrder(page) === order;
}

// buddy_merge_likely(): would the pair, once whole, merge again? Then this block is better left alone, at the tail.
function mergeLikely(mm: usize, pfn: u32, order: u32): bool {
  if (order >= MAX_ORDER - 2) return false;
  const pair = pfn & ~(1 << order);
  return isFreeBlock(mm, pair ^ (2 << order), order + 1);
}

function addFree(mm: usize, pfn: u32, order: u32, toTail: bool): void {
  const page = pageOf(mm, pfn);
  pageSet(page, PG_BUDDY);
  setPageOrder(page, order);
  const area = mmFreeArea(mm, order);
  if (toTail) listAddTail(mm, area, LIST_BUDDY, pfn);
  else listAddHead(mm, area, LIST_BUDDY, pfn);
}

/** Boot: all managed memory becomes free in the largest aligned blocks, lowest first, as __free_pages_core() hands it over. */
export function buddyStart(mm: usize): void {
  const end = mmPfnEnd(mm);
  let pfn = PFN_BASE;
  while (pfn < end) {
    let order = MAX_ORDER - 1;
    while ((pfn & ((1 << order) - 1)) !== 0 || pfn + (1 << order) > end) order--;
    addFree(mm, pfn, order, true);
    pfn += 1 << order;
  }
  setMmFree(mm, mmManaged(mm));
  mmResetMinFree(mm);
}

export function checkBuddy(mm: usize): void {
  let free: u32 = 0;
  let blocks: u32 = 0;
  for (let order: u32 = 0; order < MAX_ORDER; order++) {
    const area = mmFreeArea(mm, order);
    checkList(mm, area, LIST_BUDDY);
    for (let pfn = listHead(area); pfn !== PFN_NONE; pfn = pageNext(pageOf(mm, pfn))) {
      const page = pageOf(mm, pfn);
      assert(pageTest(page, PG_BUDDY) && pageOrder(page) === order && pageRefs(page) === 0);
      if (order < MAX_ORDER - 1) assert(!isFreeBlock(mm, pfn ^ (1 << order), order));
      free += 1 << order;
    }
    blocks += listLength(area);
  }
  assert(free === mmFree(mm));
  for (let pfn = PFN_BASE; pfn < mmPfnEnd(mm); pfn++) {
    if (pageList(pageOf(mm, pfn)) === LIST_BUDDY) blocks--;
  }
  assert(blocks === 0);
}
