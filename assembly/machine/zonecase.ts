import { arenaCommit, arenaInit, arenaReserve, PART_WORKLOADS } from "../memory/arena";
import { PFN_NONE } from "../memory/layout";
import { E_NO_MEMORY, OK } from "../memory/status";
import { addToFreeList, checkBuddy, freeOnePage, rmqueueSmallest } from "../mm/buddy";
import { compoundHead, compoundOrder, getPage, splitPage } from "../mm/compound";
import { freeOrder, pageType } from "../mm/freeblock";
import { MIGRATE_MOVABLE } from "../mm/gfp";
import { mmAddZone, mmCreate, mmLayout, mmZone, mmZoneAt, mmZones } from "../mm/instance";
import { listHead } from "../mm/list";
import { pageNext, pageOf, pageRefs } from "../mm/page";
import {
  allocPagesNoReclaim,
  checkBlocks,
  freePages,
  isolateFreePage,
  putbackIsolatedPage,
  putPage,
} from "../mm/pagealloc";
import {
  checkPcp,
  pcpAppend,
  pcpBatch,
  pcpCount,
  pcpDiff,
  pcpDrain,
  pcpFreeFactor,
  pcpHigh,
  pcpList,
  setPcp,
} from "../mm/pcp";
import {
  blockType,
  PAGEBLOCK_PAGES,
  setBlockMovable,
  setBlockType,
  setZoneBoost,
  setZoneFlags,
  setZoneHighatomic,
  setZoneLowmemReserve,
  setZoneNrFree,
  setZonePresent,
  setZoneWatermark,
  zoneBoost,
  zoneCountFree,
  zoneCpus,
  zoneCreate,
  zoneEndPfn,
  zoneFlags,
  zoneFreeList,
  zoneHighatomic,
  zoneIndex,
  zoneModFree,
  zoneNrFree,
  zonePcp,
  zoneStartPfn,
} from "../mm/zone";

// A page allocator on its own, set up to a state that was captured somewhere else and then driven call by call: no host, no
// time. Set-up first (zones, then zoneCaseReady(), then lists), then the operations; readers at any time. The operations are the
// ones that a machine's host uses.

const CPUS: usize = 4;
const SLOTS: usize = 8;
const CASE: usize = memory.data(16, 8);
const NONE: u32 = 0xffffffff;

function mm(): usize {
  return <usize>load<u32>(CASE);
}

/** The allocator of the case. */
export function zoneCaseMm(): usize {
  return mm();
}

function zoneOf(index: u32): usize {
  for (let place: u32 = 0; place < mmZones(mm()); place++) {
    if (zoneIndex(mmZoneAt(mm(), place)) === index) return mmZoneAt(mm(), place);
  }
  assert(false);
  return 0;
}

/** Starts a case over the frames below `pfnEnd` on `cpus` CPUs. Zones are added next. */
export function zoneCaseBegin(pfnEnd: u32, cpus: u32): i32 {
  arenaInit();
  store<u32>(CASE, <u32>mmCreate(0, pfnEnd));
  store<u32>(CASE, cpus, CPUS);
  return mm() === 0 ? E_NO_MEMORY : OK;
}

/** Adds a zone; zones come in index order. */
export function zoneCaseZone(
  index: u32,
  start: u32,
  spanned: u32,
  present: u32,
  managed: u32,
  min: u32,
  low: u32,
  high: u32,
): i32 {
  const zone = zoneCreate(index, start, spanned, managed, load<u32>(CASE, CPUS));
  if (zone === 0) return E_NO_MEMORY;
  setZonePresent(zone, present);
  setZoneWatermark(zone, 0, min);
  setZoneWatermark(zone, 1, low);
  setZoneWatermark(zone, 2, high);
  mmAddZone(mm(), zone);
  return OK;
}

/**
 * Reserves room for a script of `words` operations over `slots` slots; before zoneCaseReady(). Returns its address: one u32 an
 * operation, bit 31 a free, bits 24..27 the order, bits 0..23 the slot.
 */
export function zoneCaseScript(words: u32, slots: u32): usize {
  store<u32>(CASE, <u32>arenaReserve(PART_WORKLOADS, (<u64>slots) << 2), SLOTS);
  return arenaReserve(PART_WORKLOADS, (<u64>words) << 2);
}

/** Runs the first `words` operations at `script` on CPU 0: what a loop of calls would do, without the calls. Returns refusals. */
export function zoneCaseRun(script: usize, words: u32, gfp: u32): u32 {
  const slots = <usize>load<u32>(CASE, SLOTS);
  let refused: u32 = 0;
  for (let index: u32 = 0; index < words; index++) {
    const word = load<u32>(script + ((<usize>index) << 2));
    const slot = slots + ((<usize>(word & 0xffffff)) << 2);
    const order = (word >> 24) & 15;
    if (word >> 31) {
      const pfn = load<u32>(slot);
      if (pfn !== PFN_NONE) freePages(mm(), 0, pfn, order);
      store<u32>(slot, PFN_NONE);
    } else {
      const pfn = allocPagesNoReclaim(mm(), 0, order, gfp);
      if (pfn === PFN_NONE) refused++;
      store<u32>(slot, pfn);
    }
  }
  return refused;
}

/**
 * Runs the first `words` operations at `script` on the free lists of the last zone alone, for movable blocks: no watermark, no lists of a CPU,
 * no references. Returns refusals.
 */
export function zoneCaseListsRun(script: usize, words: u32): u32 {
  const zone = mmZoneAt(mm(), mmZones(mm()) - 1);
  const slots = <usize>load<u32>(CASE, SLOTS);
  let refused: u32 = 0;
  for (let index: u32 = 0; index < words; index++) {
    const word = load<u32>(script + ((<usize>index) << 2));
    const slot = slots + ((<usize>(word & 0xffffff)) << 2);
    const order = (word >> 24) & 15;
    if (word >> 31) {
      const pfn = load<u32>(slot);
      if (pfn !== PFN_NONE) freeOnePage(mm(), zone, 0, pfn, order, MIGRATE_MOVABLE, 0);
      store<u32>(slot, PFN_NONE);
    } else {
      const pfn = rmqueueSmallest(mm(), zone, order, MIGRATE_MOVABLE);
      if (pfn === PFN_NONE) refused++;
      else zoneModFree(zone, 0, -(<i32>(1 << order)));
      store<u32>(slot, pfn);
    }
  }
  return refused;
}

/** Isolates and puts back the first block of a list, `times` times. Returns how often the watermark refused. */
export function zoneCaseIsolateRun(index: u32, order: u32, type: u32, times: u32): u32 {
  let refused: u32 = 0;
  for (let time: u32 = 0; time < times; time++) {
    const pfn = zoneCaseIsolate(index, order, type, 0);
    if (pfn === NONE) return times;
    if (pfn === 0) refused++;
    else putbackIsolatedPage(mm(), 0, pfn, order);
  }
  return refused;
}

/** All zones are there: lays the page records out. */
export function zoneCaseReady(): i32 {
  mmLayout(mm());
  return arenaCommit();
}

export function zoneCaseZoneState(index: u32, boost: u32, nrFree: u32, highatomic: u32, flags: u32): void {
  const zone = zoneOf(index);
  setZoneBoost(zone, boost);
  setZoneNrFree(zone, nrFree);
  setZoneHighatomic(zone, highatomic);
  setZoneFlags(zone, flags);
  zoneCountFree(zone);
}

export function zoneCaseReserve(index: u32, highest: u32, pages: u32): void {
  setZoneLowmemReserve(zoneOf(index), highest, pages);
}

export function zoneCasePcp(
  index: u32,
  cpu: u32,
  batch: u32,
  high: u32,
  freeFactor: u32,
  threshold: u32,
  diff: i32,
): void {
  const zone = zoneOf(index);
  setPcp(zonePcp(zone, cpu), batch, high, freeFactor, threshold, diff);
  zoneCountFree(zone);
}

/** Appends a block at the tail of a per-CPU list. */
export function zoneCasePcpPage(index: u32, cpu: u32, list: u32, pfn: u32, type: u32): void {
  pcpAppend(mm(), zonePcp(zoneOf(index), cpu), list, pfn, type);
}

/** Appends a free block at the tail of its list. */
export function zoneCaseFree(index: u32, order: u32, type: u32, pfn: u32): void {
  addToFreeList(mm(), zoneOf(index), pfn, order, type, true);
}

/** Type of the pageblock at `pfn`, and its pages in use that count as movable. */
export function zoneCaseBlock(index: u32, pfn: u32, type: u32, movable: u32): void {
  setBlockType(zoneOf(index), pfn, type);
  setBlockMovable(zoneOf(index), pfn, movable);
}

/** A block's pfn, 0 when the request is refused. */
export function zoneCaseAlloc(cpu: u32, order: u32, gfp: u32): u32 {
  return allocPagesNoReclaim(mm(), cpu, order, gfp);
}

export function zoneCaseFreePages(cpu: u32, pfn: u32, order: u32): void {
  freePages(mm(), cpu, pfn, order);
}

/** get_page(), put_page() and split_page() of a block that was taken. */
export function zoneCaseGetPage(pfn: u32): void {
  getPage(mm(), pfn);
}

export function zoneCasePutPage(cpu: u32, pfn: u32): void {
  putPage(mm(), cpu, pfn);
}

export function zoneCaseSplit(pfn: u32, order: u32): void {
  splitPage(mm(), pfn, order);
}

/** First page of the compound page that `pfn` belongs to, `pfn` itself when it is single. */
export function zoneCaseHead(pfn: u32): u32 {
  return compoundHead(mm(), pfn);
}

export function zoneCaseRefs(pfn: u32): u32 {
  return pageRefs(pageOf(mm(), pfn));
}

/** Order of the compound page that begins at `pfn`, 0 when it is single. */
export function zoneCaseCompoundOrder(pfn: u32): u32 {
  return compoundOrder(pageOf(mm(), pfn));
}

/** Empties the CPU's lists of every zone. */
export function zoneCaseDrain(cpu: u32): void {
  for (let place: u32 = 0; place < mmZones(mm()); place++) pcpDrain(mm(), mmZoneAt(mm(), place), cpu);
}

/** Isolates entry `entry` of a free list. Its pfn; 0 refused by the watermark; 0xffffffff no such entry. */
export function zoneCaseIsolate(index: u32, order: u32, type: u32, entry: u32): u32 {
  let pfn = listHead(zoneFreeList(zoneOf(index), order, type));
  for (; entry > 0 && pfn !== PFN_NONE; entry--) pfn = pageNext(mm(), pfn);
  if (pfn === PFN_NONE) return NONE;
  return isolateFreePage(mm(), 0, pfn) ? pfn : 0;
}

export function zoneCasePutback(pfn: u32, order: u32): void {
  putbackIsolatedPage(mm(), 0, pfn, order);
}

/** Number of the zone of a frame. */
export function zoneCaseOf(pfn: u32): u32 {
  return zoneIndex(mmZone(mm(), pfn));
}

export const ZONE_CASE_NR_FREE: u32 = 0;
export const ZONE_CASE_BOOST: u32 = 1;
export const ZONE_CASE_HIGHATOMIC: u32 = 2;
export const ZONE_CASE_FLAGS: u32 = 3;

export function zoneCaseGet(index: u32, field: u32): u32 {
  const zone = zoneOf(index);
  if (field === ZONE_CASE_NR_FREE) return zoneNrFree(zone);
  if (field === ZONE_CASE_BOOST) return zoneBoost(zone);
  if (field === ZONE_CASE_HIGHATOMIC) return zoneHighatomic(zone);
  return zoneFlags(zone);
}

export const ZONE_CASE_PCP_COUNT: u32 = 0;
export const ZONE_CASE_PCP_FREE_FACTOR: u32 = 1;
export const ZONE_CASE_PCP_DIFF: u32 = 2;
export const ZONE_CASE_PCP_HIGH: u32 = 3;
export const ZONE_CASE_PCP_BATCH: u32 = 4;

export function zoneCasePcpGet(index: u32, cpu: u32, field: u32): i32 {
  const pcp = zonePcp(zoneOf(index), cpu);
  if (field === ZONE_CASE_PCP_COUNT) return pcpCount(pcp);
  if (field === ZONE_CASE_PCP_FREE_FACTOR) return pcpFreeFactor(pcp);
  if (field === ZONE_CASE_PCP_DIFF) return pcpDiff(pcp);
  return field === ZONE_CASE_PCP_HIGH ? pcpHigh(pcp) : pcpBatch(pcp);
}

/** First pfn of a free list, 0xffffffff when it is empty. */
export function zoneCaseListHead(index: u32, order: u32, type: u32): u32 {
  const pfn = listHead(zoneFreeList(zoneOf(index), order, type));
  return pfn === PFN_NONE ? NONE : pfn;
}

export function zoneCasePcpHead(index: u32, cpu: u32, list: u32): u32 {
  const pfn = listHead(pcpList(zonePcp(zoneOf(index), cpu), list));
  return pfn === PFN_NONE ? NONE : pfn;
}

/** Next pfn on the list of `pfn`, 0xffffffff at its end. */
export function zoneCaseNext(pfn: u32): u32 {
  const next = pageNext(mm(), pfn);
  return next === PFN_NONE ? NONE : next;
}

/** Type that a block on a per-CPU list will be given back with. */
export function zoneCasePageType(pfn: u32): u32 {
  return pageType(mm(), pfn);
}

/** Type of the pageblock that begins at `pfn`; the first one of a zone may begin before the zone does. */
export function zoneCaseBlockType(pfn: u32): u32 {
  for (let place: u32 = 0; place < mmZones(mm()); place++) {
    const zone = mmZoneAt(mm(), place);
    if (pfn < zoneEndPfn(zone) && pfn + PAGEBLOCK_PAGES > zoneStartPfn(zone)) return blockType(zone, pfn);
  }
  return NONE;
}

/** Order of a free block. */
export function zoneCaseOrder(pfn: u32): u32 {
  return freeOrder(mm(), pfn);
}

/** Walks the lists and asserts their invariants. */
export function zoneCaseCheck(): void {
  for (let place: u32 = 0; place < mmZones(mm()); place++) {
    const zone = mmZoneAt(mm(), place);
    checkBuddy(mm(), zone);
    checkBlocks(mm(), zone);
    for (let cpu: u32 = 0; cpu < zoneCpus(zone); cpu++) checkPcp(mm(), zone, cpu);
  }
}
