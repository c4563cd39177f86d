import { PFN_NONE } from "../memory/layout";
import { STEP_AGAIN, STEP_BLOCKED, STEP_DONE } from "../memory/status";
import { actorClock, actorCpu, actorGoesOn, actorSpend, STAGE_CPU } from "../sim/actor";
import { COST_SWAP_IN_CPU_NS, cost } from "../sim/costs";
import {
  deviceReadFails,
  deviceSubmit,
  deviceSynchronous,
  deviceSynchronousNs,
  deviceWaitTag,
} from "../sim/device";
import { DIGEST_SWAP_IN, digestAdd } from "../sim/digest";
import { emit, TRACE_SWAP_READPAGE } from "../sim/trace";
import { allocated, allocBegin, allocStep } from "./alloc";
import {
  READAHEAD_END,
  READAHEAD_NEXT,
  READAHEAD_OWN,
  READAHEAD_PC,
  READAHEAD_PLUG,
  READAHEAD_PLUGGED,
  READAHEAD_SUBMITTED,
} from "./context";
import { faultEntry, faultIndex, faultSpace } from "./faultstate";
import { pageFree, pagePut } from "./free";
import { MM_SWAP_IN, mmCountAdd, mmSpace, mmStamped, setFrameStamp } from "./instance";
import { lruAddDrain, lruCacheFault } from "./lrubatch";
import { mappingFirst, mappingOfPage, mappingPages, mappingReadahead } from "./mapping";
import {
  PG_READAHEAD,
  PG_UPTODATE,
  pageClear,
  pageIndex,
  pageOf,
  pageOwner,
  pagePrivate,
  pageSet,
  pageTest,
  setPageOwner,
} from "./page";
import { pageTrylock, pageUnlock } from "./pagelock";
import { ENTRY_NONE, entryOffset, entryType, pteEntry, pteSwapped, swapEntry } from "./pte";
import { spaceFirst, spaceId, spaceMappings, spacePte } from "./space";
import { areaSlots, slotOwner, slotStamp, swapArea, swapDevice } from "./swaparea";
import { swapCacheAdd } from "./swapcache";
import { swapCacheLookup, swapCachePrepare, swapCacheShadow, swapCount } from "./swapmap";
import {
  readaheadHits,
  readaheadMax,
  readaheadPrevOffset,
  readaheadPrevWindow,
  setReadaheadHits,
  setReadaheadPrevOffset,
  setReadaheadPrevWindow,
  swapRotational,
} from "./swapstate";
import { workingsetRefault } from "./workingset";

// Reading ahead from swap: swapin_readahead(). With only areas that are not rotational the window follows the addresses of
// the mapping (swap_vma_readahead()); as soon as one is rotational it follows the slots (swap_cluster_readahead()). The
// pages of a window are allocated one after another and their reads submitted together at the end.
//
// state of a mapping   0                4        8
//                      +----------------+--------+------+
//                      | last page + 1  | window | hits |     zero before the first fault
//                      +----------------+--------+------+

const LAST: usize = 0;
const WINDOW: usize = 4;
const HITS: usize = 8;

// A mapping that has not faulted yet counts as having had 4 hits.
const FIRST_HITS: u32 = 4;
// SWAP_RA_ORDER_CEILING: windows by address have at most 32 pages.
const WINDOW_CEILING: u32 = 32;
// SWAP_RA_HITS_MAX
const HITS_MAX: u32 = 63;
const TABLE_PAGES: u32 = 512;

const NEXT: u32 = 0;
const ALLOC: u32 = 1;
const SUBMIT: u32 = 2;

// __swapin_nr_pages(): the window's size by the hits of the last one; without hits, two pages for a neighbour of the last.
function windowSize(previous: u32, at: u32, hits: u32, most: u32, before: u32): u32 {
  let pages: u32 = 4;
  if (hits === 0) pages = at === previous + 1 || at === previous - 1 ? 2 : 1;
  else while (pages < hits + 2) pages <<= 1;
  return max<u32>(min<u32>(pages, most), before / 2);
}

/** Chooses the window of the actor's fault. */
export function readaheadBegin(mm: usize, actor: usize): void {
  store<u32>(actor, NEXT, READAHEAD_PC);
  store<u32>(actor, 0, READAHEAD_PLUGGED);
  store<u32>(actor, 0, READAHEAD_SUBMITTED);
  store<u32>(actor, 0, READAHEAD_NEXT);
  store<u32>(actor, 0, READAHEAD_END);
  store<u32>(actor, PFN_NONE, READAHEAD_OWN);
  if (swapRotational(mm) !== 0) byCluster(mm, actor);
  else byAddress(mm, actor);
}

// swapin_nr_pages(), and the aligned stretch of slots around the fault's.
function byCluster(mm: usize, actor: usize): void {
  const most = readaheadMax(mm);
  if (most === 1) return;
  const offset = entryOffset(faultEntry(actor));
  const hits = readaheadHits(mm);
  setReadaheadHits(mm, 0);
  const pages = windowSize(readaheadPrevOffset(mm), offset, hits, most, readaheadPrevWindow(mm));
  if (hits === 0) setReadaheadPrevOffset(mm, offset);
  setReadaheadPrevWindow(mm, pages);
  if (pages === 1) return;
  const first = offset & ~(pages - 1);
  const end = min<u32>(first + pages, areaSlots(swapArea(mm, faultEntry(actor))));
  store<u32>(actor, max<u32>(first, 1), READAHEAD_NEXT);
  store<u32>(actor, end, READAHEAD_END);
}

// swap_ra_info(): the window goes on in the direction of the last fault, within the mapping and one page table.
function byAddress(mm: usize, actor: usize): void {
  const most = min<u32>(readaheadMax(mm), WINDOW_CEILING);
  if (most === 1) return;
  const space = faultSpace(actor);
  const index = faultIndex(actor);
  const mapping = mappingOfPage(spaceMappings(space), index);
  const state = mappingReadahead(mapping);
  // Page numbers are shifted by one, so that a mapping that never faulted has its last fault at no page's neighbour.
  const at = index + 1;
  const known = load<u32>(state, LAST) !== 0;
  const last = load<u32>(state, LAST);
  const hits = known ? load<u32>(state, HITS) : FIRST_HITS;
  const pages = windowSize(last, at, hits, most, load<u32>(state, WINDOW));
  store<u32>(state, at, LAST);
  store<u32>(state, pages, WINDOW);
  store<u32>(state, 0, HITS);
  if (pages === 1) return;

  let back = (pages - 1) / 2;
  if (known && at === last + 1) back = 0;
  else if (known && last === at + 1) back = pages - 1;
  const inTable = (index + spaceFirst(space)) % TABLE_PAGES;
  const tableEnd = index - inTable + TABLE_PAGES;
  const mapped = mappingFirst(mapping);
  const first = index - min<u32>(back, min<u32>(index - mapped, inTable));
  const end = min<u32>(tableEnd, mapped + mappingPages(mapping));
  store<u32>(actor, first, READAHEAD_NEXT);
  store<u32>(actor, min<u32>(index - back + pages, end), READAHEAD_END);
}

/** swap_cache_get_folio(): a fault has found `pfn` in the swap cache; a page that was read ahead earns its window a hit. */
export function readaheadHit(mm: usize, space: usize, index: u32, pfn: u32): void {
  const page = pageOf(mm, pfn);
  const ahead = pageTest(page, PG_READAHEAD);
  pageClear(page, PG_READAHEAD);
  if (swapRotational(mm) !== 0) {
    if (ahead) setReadaheadHits(mm, readaheadHits(mm) + 1);
    return;
  }
  const state = mappingReadahead(mappingOfPage(spaceMappings(space), index));
  let hits = load<u32>(state, LAST) !== 0 ? load<u32>(state, HITS) : FIRST_HITS;
  if (ahead) hits = min<u32>(hits + 1, HITS_MAX);
  store<u32>(state, hits, HITS);
  store<u32>(state, index + 1, LAST);
}

/** Pages that the actor holds until their reads are submitted. */
export function readaheadHeld(actor: usize): u32 {
  return load<u32>(actor, READAHEAD_PLUGGED) - load<u32>(actor, READAHEAD_SUBMITTED);
}

/** Whether the fault's window has more than the fault's own page. */
export function readaheadWindow(actor: usize): bool {
  return load<u32>(actor, READAHEAD_END) !== 0;
}

/** Whether `pfn` was read for this very fault, and its first wait begins; any later one is for somebody else. */
export function readaheadOwn(actor: usize, pfn: u32): bool {
  const own = load<u32>(actor, READAHEAD_OWN) === pfn;
  store<u32>(actor, PFN_NONE, READAHEAD_OWN);
  return own;
}

/** Goes on with the window. STEP_DONE: all its reads are submitted. Returns STEP_*. */
export function readaheadStep(mm: usize, actor: usize): i32 {
  while (true) {
    const pc = load<u32>(actor, READAHEAD_PC);
    if (pc === NEXT) {
      const entry = candidate(mm, actor);
      if (entry === ENTRY_NONE) {
        store<u32>(actor, SUBMIT, READAHEAD_PC);
      } else {
        allocBegin(actor, mmSpace(mm, slotOwner(mm, entry, spaceId(faultSpace(actor)))));
        store<u32>(actor, ALLOC, READAHEAD_PC);
      }
    } else if (pc === ALLOC) {
      const step = allocStep(mm, actor);
      if (step !== STEP_DONE) return step;
      plug(mm, actor, allocated(actor));
      store<u32>(actor, NEXT, READAHEAD_PC);
      actorSpend(actor, STAGE_CPU, cost(COST_SWAP_IN_CPU_NS));
      // yield: the page is locked in the swap cache, its read waits in the plug
      if (!actorGoesOn(actor)) return STEP_AGAIN;
    } else {
      return unplug(mm, actor);
    }
  }
}

// The entry at the window's next place, ENTRY_NONE for what is no swap entry.
function entryAt(mm: usize, actor: usize, at: u32): u32 {
  if (swapRotational(mm) !== 0) return swapEntry(entryType(faultEntry(actor)), at);
  const pte = spacePte(faultSpace(actor), at);
  return pteSwapped(pte) ? pteEntry(pte) : ENTRY_NONE;
}

// Moves on to the next entry that is neither unused nor cached. ENTRY_NONE at the window's end.
function candidate(mm: usize, actor: usize): u32 {
  const end = load<u32>(actor, READAHEAD_END);
  for (let at = load<u32>(actor, READAHEAD_NEXT); at < end; at++) {
    store<u32>(actor, at, READAHEAD_NEXT);
    const entry = entryAt(mm, actor, at);
    if (entry === ENTRY_NONE) continue;
    if (swapCacheLookup(mm, entry) === PFN_NONE && swapCount(mm, entry) !== 0) return entry;
  }
  return ENTRY_NONE;
}

// The kernel charges a page after it has claimed the slot; here the charge came with the allocation. A slot that was freed
// and taken by another space meanwhile is not the one that was paid for.
function stillWorth(mm: usize, actor: usize, entry: u32, owner: usize): bool {
  if (entry === ENTRY_NONE || swapCount(mm, entry) === 0) return false;
  return slotOwner(mm, entry, spaceId(faultSpace(actor))) === spaceId(owner);
}

// The frame becomes the cached page of the entry, unless things have changed during its allocation.
function plug(mm: usize, actor: usize, pfn: u32): void {
  const at = load<u32>(actor, READAHEAD_NEXT);
  const entry = entryAt(mm, actor, at);
  store<u32>(actor, at + 1, READAHEAD_NEXT);
  const page = pageOf(mm, pfn);
  const owner = mmSpace(mm, pageOwner(page));
  if (!stillWorth(mm, actor, entry, owner) || !swapCachePrepare(mm, entry)) {
    pageFree(mm, pfn, actor);
    return;
  }
  setPageOwner(page, spaceId(owner), swapRotational(mm) !== 0 ? 0 : at);
  const shadow = swapCacheShadow(mm, entry);
  swapCacheAdd(mm, actor, pfn, entry);
  const locked = pageTrylock(mm, pfn);
  assert(locked);
  if (entry !== faultEntry(actor)) pageSet(page, PG_READAHEAD);
  else store<u32>(actor, pfn, READAHEAD_OWN);
  workingsetRefault(mm, actorCpu(actor), pfn, owner, shadow);
  lruCacheFault(mm, actor, pfn);
  const plugged = load<u32>(actor, READAHEAD_PLUGGED);
  store<u32>(actor + ((<usize>plugged) << 2), pfn, READAHEAD_PLUG);
  store<u32>(actor, plugged + 1, READAHEAD_PLUGGED);
}

// blk_finish_plug(): every read goes to its device; the cache's reference is all that the pages keep.
function unplug(mm: usize, actor: usize): i32 {
  const plugged = load<u32>(actor, READAHEAD_PLUGGED);
  for (let index = load<u32>(actor, READAHEAD_SUBMITTED); index < plugged; index++) {
    const pfn = load<u32>(actor + ((<usize>index) << 2), READAHEAD_PLUG);
    const page = pageOf(mm, pfn);
    const entry = pagePrivate(page);
    if (!swapSubmitRead(mm, actor, pfn, entry, entry === faultEntry(actor))) {
      deviceWaitTag(swapDevice(swapArea(mm, entry)), actor);
      return STEP_BLOCKED;
    }
    store<u32>(actor, index + 1, READAHEAD_SUBMITTED);
    swapNoteRead(mm, actor, pfn, entry, pageIndex(page));
    pagePut(mm, pfn, actor);
  }
  // A window of the fault's page alone is none; only another one pushes its new pages onto the LRU.
  if (readaheadWindow(actor)) lruAddDrain(mm, actor);
  return STEP_DONE;
}

/**
 * swap_readpage(): reads a locked page of the swap cache; `waits`: the actor will wait for it. A synchronous device has read it when this returns.
 * @returns false when no tag is free: the caller sleeps in deviceWaitTag() and tries again.
 */
export function swapSubmitRead(mm: usize, actor: usize, pfn: u32, entry: u32, waits: bool): bool {
  const device = swapDevice(swapArea(mm, entry));
  const time = actorClock(actor);
  if (!deviceSynchronous(device)) {
    if (!deviceSubmit(device, false, pfn, entryOffset(entry), 0, actorCpu(actor), time)) return false;
    swapTraceRead(entry, waits, time);
    return true;
  }
  swapTraceRead(entry, true, time);
  actorSpend(actor, STAGE_CPU, deviceSynchronousNs(device, false));
  if (!deviceReadFails(device)) pageSet(pageOf(mm, pfn), PG_UPTODATE);
  pageUnlock(mm, pfn, actorClock(actor));
  return true;
}

/** swap_readpage(): `sync` when the caller waits for the page. */
export function swapTraceRead(entry: u32, sync: bool, time: u64): void {
  emit(TRACE_SWAP_READPAGE, time, entryType(entry), entryOffset(entry), sync ? 1 : 0, 0);
}

/** A page is read from its slot, for page `index` of its owner: contents, counter, history. */
export function swapNoteRead(mm: usize, actor: usize, pfn: u32, entry: u32, index: u32): void {
  if (mmStamped(mm)) setFrameStamp(mm, pfn, slotStamp(mm, entry));
  mmCountAdd(mm, MM_SWAP_IN, 1);
  digestAdd(DIGEST_SWAP_IN, actorClock(actor), pageOwner(pageOf(mm, pfn)), index, pfn, entry);
}
