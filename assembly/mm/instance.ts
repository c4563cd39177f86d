import { arenaReserve, arenaTake, PART_INTEGRITY, PART_RECORDS } from "../memory/arena";
import { WAITQUEUE_BYTES } from "../sim/waitqueue";
import { MAX_ZONES } from "./gfp";
import { LRUVEC_BYTES } from "./lruvec";
import { MEM_MAP_BYTES, memMapCreate, memMapLayout, mmPfnEnd, mmPfnFirst } from "./page";
import { ZERO_PFN } from "./pte";
import { MAX_ORDER, zoneFreePages, zoneLayout, zoneMinFree, zoneResetMinFree, zoneSpans } from "./zone";

// An instance of memory management: the page records of a range of frames, its zones, address spaces, swap areas and
// counters. The host has one.
//
// record   0 .. 19      20        24 .. 39   40      44       48          52      56        60 …
//          +------------+---------+----------+-------+--------+-----------+-------+---------+--------+
//          | memory map | zones n | zones    | kswapd| spaces | spaces n  | areas | areas n | counts …
//          +------------+---------+----------+-------+--------+-----------+-------+---------+--------+

const ZONE_COUNT: usize = MEM_MAP_BYTES;
const ZONES: usize = 24; // u32 × MAX_ZONES, in index order
const KSWAPD: usize = 40;
const SPACES: usize = 44;
const SPACE_COUNT: usize = 48;
const AREAS: usize = 52;
const AREA_COUNT: usize = 56;
const SWAP_FREE: usize = 60;
const SWAP_TOTAL: usize = 64;
const SWAPPINESS: usize = 68;
const WATERMARK_SCALE: usize = 72;
const STAMPS: usize = 76;
const WRITEBACK: usize = 80;
const KSWAPD_FAILURES: usize = 84;
const SWAP_STATE: usize = 88;
const ZERO_PAGE: usize = 92;
const LRU_BATCHES: usize = 96;
const STOCKS: usize = 100;
const IDEALIZED: usize = 104; // policy + 1
const MEMCG_STATS: usize = 108;
const PAGE_WAITERS: usize = 112;
const THROTTLED: usize = PAGE_WAITERS + WAITQUEUE_BYTES;
const LRUVEC: usize = THROTTLED + WAITQUEUE_BYTES;
const REPORT_ORDER: usize = LRUVEC + LRUVEC_BYTES; // MAX_ORDER: nobody waits for free blocks
const REPORTING: usize = REPORT_ORDER + 4;
const HINTING: usize = REPORT_ORDER + 8;
const GENERATIONS: usize = REPORT_ORDER + 12;
const NODES: usize = REPORT_ORDER + 16;
export const MM_KSM: usize = REPORT_ORDER + 20;
const COUNTS: usize = (REPORT_ORDER + 24 + 7) & ~7;

export const MM_SCANNED: u32 = 0;
export const MM_RECLAIMED_DIRECT: u32 = 1;
export const MM_RECLAIMED_KSWAPD: u32 = 2;
export const MM_SWAP_OUT: u32 = 3;
export const MM_SWAP_IN: u32 = 4;
export const MM_SWAP_ALLOC_FAILED: u32 = 5;
/** Pages that came back after reclaim had taken them; those that started active; those of them that had been active. */
export const MM_REFAULTS: u32 = 6;
export const MM_WORKINGSET_ACTIVATED: u32 = 7;
export const MM_WORKINGSET_RESTORED: u32 = 8;
/** Pages given to migration, those that were moved, those that something else held to the last pass. */
export const MM_MIGRATE_ATTEMPTED: u32 = 9;
export const MM_MIGRATE_SUCCEEDED: u32 = 10;
export const MM_MIGRATE_FAILED: u32 = 11;
/** Compaction for an order: requests that were neither skipped nor deferred, those that found no block, those that did. */
export const MM_COMPACT_STALL: u32 = 12;
export const MM_COMPACT_FAIL: u32 = 13;
export const MM_COMPACT_SUCCESS: u32 = 14;
/** Frames that its two scanners have looked at, and those that they have taken. */
export const MM_COMPACT_MIGRATE_SCANNED: u32 = 15;
export const MM_COMPACT_FREE_SCANNED: u32 = 16;
export const MM_COMPACT_ISOLATED: u32 = 17;
export const MM_COUNTS: u32 = 18;
const MM_BYTES: usize = COUNTS + 8 * <usize>MM_COUNTS;

const MAX_SPACES: u32 = 4096;
/** Swap areas an instance can have: the swap type has 5 bits, a few are special (MAX_SWAPFILES). */
export const MAX_AREAS: u32 = 23;

/** Takes the record of an instance of the frames pfnFirst..pfnEnd-1; 0 when memory is exhausted. Its zones are added. */
export function mmCreate(pfnFirst: u32, pfnEnd: u32): usize {
  const mm = arenaTake(PART_RECORDS, MM_BYTES + 4 * <u64>MAX_SPACES + 4 * <u64>MAX_AREAS);
  if (mm === 0) return 0;
  memMapCreate(mm, pfnFirst, pfnEnd);
  store<u32>(mm, <u32>(mm + MM_BYTES), SPACES);
  store<u32>(mm, <u32>(mm + MM_BYTES + 4 * <usize>MAX_SPACES), AREAS);
  store<u32>(mm, 60, SWAPPINESS);
  store<u32>(mm, 10, WATERMARK_SCALE);
  store<u32>(mm, MAX_ORDER, REPORT_ORDER);
  store<u32>(mm, 1, NODES);
  return mm;
}

/** Reserves the page records and what belongs to the zones. */
export function mmLayout(mm: usize): void {
  memMapLayout(mm);
  for (let place: u32 = 0; place < mmZones(mm); place++) zoneLayout(mmZoneAt(mm, place));
}

/** Adds a zone; zones come in index order. */
export function mmAddZone(mm: usize, zone: usize): void {
  const count = load<u32>(mm, ZONE_COUNT);
  assert(count < MAX_ZONES);
  store<u32>(mm + ((<usize>count) << 2), <u32>zone, ZONES);
  store<u32>(mm, count + 1, ZONE_COUNT);
}

/** NUMA nodes: this one, and others of which it is only known that reclaim goes through them too. */
export function mmNodes(mm: usize): u32 {
  return load<u32>(mm, NODES);
}

export function setMmNodes(mm: usize, nodes: u32): void {
  assert(nodes > 0);
  store<u32>(mm, nodes, NODES);
}

/** Populated zones. */
export function mmZones(mm: usize): u32 {
  return load<u32>(mm, ZONE_COUNT);
}

export function mmZoneAt(mm: usize, place: u32): usize {
  assert(place < load<u32>(mm, ZONE_COUNT));
  return <usize>load<u32>(mm + ((<usize>place) << 2), ZONES);
}

/** The zone that frame `pfn` lies in. */
export function mmZone(mm: usize, pfn: u32): usize {
  let place: u32 = 0;
  while (!zoneSpans(mmZoneAt(mm, place), pfn)) place++;
  return mmZoneAt(mm, place);
}

/** Reserves a content stamp (u32) a frame. */
export function mmStampsLayout(mm: usize): void {
  const first = mmPfnFirst(mm);
  const base = arenaReserve(PART_INTEGRITY, (<u64>(mmPfnEnd(mm) - first)) << 2);
  store<u32>(mm, <u32>(base - ((<usize>first) << 2)), STAMPS);
}

/** Free pages of all zones, without those on per-CPU lists. */
export function mmFree(mm: usize): u32 {
  let pages: u32 = 0;
  for (let place: u32 = 0; place < mmZones(mm); place++) pages += zoneFreePages(mmZoneAt(mm, place));
  return pages;
}

/** Least free pages since mmResetMinFree(), zone by zone. */
export function mmMinFree(mm: usize): u32 {
  let pages: u32 = 0;
  for (let place: u32 = 0; place < mmZones(mm); place++) pages += zoneMinFree(mmZoneAt(mm, place));
  return pages;
}

export function mmResetMinFree(mm: usize): void {
  for (let place: u32 = 0; place < mmZones(mm); place++) zoneResetMinFree(mmZoneAt(mm, place));
}

/** watermark_scale_factor, in 1/10,000 of the managed pages. */
export function mmWatermarkScale(mm: usize): u32 {
  return load<u32>(mm, WATERMARK_SCALE);
}

export function setMmWatermarkScale(mm: usize, factor: u32): void {
  store<u32>(mm, factor, WATERMARK_SCALE);
}

/** vm.swappiness, 0..200. */
export function mmSwappiness(mm: usize): u32 {
  return load<u32>(mm, SWAPPINESS);
}

export function setMmSwappiness(mm: usize, swappiness: u32): void {
  store<u32>(mm, swappiness, SWAPPINESS);
}

/** The kswapd actor; 0 before there is one. */
export function mmKswapd(mm: usize): usize {
  return <usize>load<u32>(mm, KSWAPD);
}

export function setMmKswapd(mm: usize, actor: usize): void {
  store<u32>(mm, <u32>actor, KSWAPD);
}

/** Runs of kswapd in a row that reclaimed nothing. */
export function mmKswapdFailures(mm: usize): u32 {
  return load<u32>(mm, KSWAPD_FAILURES);
}

export function setMmKswapdFailures(mm: usize, failures: u32): void {
  store<u32>(mm, failures, KSWAPD_FAILURES);
}

/** Frames under writeback. */
export function mmWriteback(mm: usize): u32 {
  return load<u32>(mm, WRITEBACK);
}

export function setMmWriteback(mm: usize, pages: u32): void {
  store<u32>(mm, pages, WRITEBACK);
}

export function mmSpaces(mm: usize): u32 {
  return load<u32>(mm, SPACE_COUNT);
}

export function mmSpace(mm: usize, index: u32): usize {
  assert(index < load<u32>(mm, SPACE_COUNT));
  return <usize>load<u32>(<usize>load<u32>(mm, SPACES) + ((<usize>index) << 2));
}

/** Registers an address space; returns its number. */
export function mmAddSpace(mm: usize, space: usize): u32 {
  const index = load<u32>(mm, SPACE_COUNT);
  assert(index < MAX_SPACES);
  store<u32>(<usize>load<u32>(mm, SPACES) + ((<usize>index) << 2), <u32>space);
  store<u32>(mm, index + 1, SPACE_COUNT);
  return index;
}

export function mmAreas(mm: usize): u32 {
  return load<u32>(mm, AREA_COUNT);
}

export function mmArea(mm: usize, type: u32): usize {
  assert(type < load<u32>(mm, AREA_COUNT));
  return <usize>load<u32>(<usize>load<u32>(mm, AREAS) + ((<usize>type) << 2));
}

/** Registers a swap area; returns its type. */
export function mmAddArea(mm: usize, area: usize): u32 {
  const type = load<u32>(mm, AREA_COUNT);
  assert(type < MAX_AREAS);
  store<u32>(<usize>load<u32>(mm, AREAS) + ((<usize>type) << 2), <u32>area);
  store<u32>(mm, type + 1, AREA_COUNT);
  return type;
}

/** nr_swap_pages: slots that can be had. */
export function mmSwapFree(mm: usize): u32 {
  return load<u32>(mm, SWAP_FREE);
}

export function setMmSwapFree(mm: usize, slots: u32): void {
  store<u32>(mm, slots, SWAP_FREE);
}

/** total_swap_pages. */
export function mmSwapTotal(mm: usize): u32 {
  return load<u32>(mm, SWAP_TOTAL);
}

export function setMmSwapTotal(mm: usize, slots: u32): void {
  store<u32>(mm, slots, SWAP_TOTAL);
}

/** Address of the record of swapstate.ts. */
export function mmSwapState(mm: usize): usize {
  return <usize>load<u32>(mm, SWAP_STATE);
}

export function setMmSwapState(mm: usize, state: usize): void {
  store<u32>(mm, <u32>state, SWAP_STATE);
}

/** Address of the per-CPU stocks of charges (stock.ts). */
export function mmStocks(mm: usize): usize {
  return <usize>load<u32>(mm, STOCKS);
}

export function setMmStocks(mm: usize, stocks: usize): void {
  store<u32>(mm, <u32>stocks, STOCKS);
}

/** Address of the record of memcgstat.ts. */
export function mmMemcgStats(mm: usize): usize {
  return <usize>load<u32>(mm, MEMCG_STATS);
}

export function setMmMemcgStats(mm: usize, stats: usize): void {
  store<u32>(mm, <u32>stats, MEMCG_STATS);
}

/** Address of the batches of lrubatch.ts. */
export function mmLruBatches(mm: usize): usize {
  return <usize>load<u32>(mm, LRU_BATCHES);
}

export function setMmLruBatches(mm: usize, batches: usize): void {
  store<u32>(mm, <u32>batches, LRU_BATCHES);
}

/** A read of a page that was never written maps the shared page of zeroes. */
export function mmZeroPage(mm: usize): bool {
  return load<u32>(mm, ZERO_PAGE) !== 0;
}

export function setMmZeroPage(mm: usize, shared: bool): void {
  store<u32>(mm, shared ? 1 : 0, ZERO_PAGE);
}

/** What is noted about the LRU lists of all cgroups together (lruvec.ts). */
export function mmLruvec(mm: usize): usize {
  return mm + LRUVEC;
}

/** Pages lie on generation lists (mglru.ts) instead of the two of each cgroup. */
export function mmGenerations(mm: usize): bool {
  return load<u32>(mm, GENERATIONS) !== 0;
}

export function setMmGenerations(mm: usize): void {
  store<u32>(mm, 1, GENERATIONS);
}

/** Idealized policies choose what goes at the limit of a cgroup. */
export function mmIdealized(mm: usize): bool {
  return load<u32>(mm, IDEALIZED) !== 0;
}

/** The policy, POLICY_*; only with mmIdealized(). */
export function mmPolicy(mm: usize): u32 {
  return load<u32>(mm, IDEALIZED) - 1;
}

export function setMmPolicy(mm: usize, kind: u32): void {
  store<u32>(mm, kind + 1, IDEALIZED);
}

/** Sleepers on locked pages. */
export function mmPageWaiters(mm: usize): usize {
  return mm + PAGE_WAITERS;
}

/** Reclaimers that wait for writeback to make progress. */
export function mmThrottled(mm: usize): usize {
  return mm + THROTTLED;
}

export function mmCount(mm: usize, counter: u32): u64 {
  assert(counter < MM_COUNTS);
  return load<u64>(mm + ((<usize>counter) << 3), COUNTS);
}

export function mmCountAdd(mm: usize, counter: u32, amount: u32): void {
  const at = mm + ((<usize>counter) << 3);
  store<u64>(at, load<u64>(at, COUNTS) + amount, COUNTS);
}

/** Least order of the free blocks that mmReporting() is told of, MAX_ORDER for none. */
export function mmReportOrder(mm: usize): u32 {
  return load<u32>(mm, REPORT_ORDER);
}

/** The listener of freehook.ts that reports free blocks, from `order` on. */
export function mmReporting(mm: usize): usize {
  return <usize>load<u32>(mm, REPORTING);
}

export function setMmReporting(mm: usize, listener: usize, order: u32): void {
  store<u32>(mm, <u32>listener, REPORTING);
  store<u32>(mm, order, REPORT_ORDER);
}

/** The listener of freehook.ts that sees every block before it is freed; 0 for none. */
export function mmHinting(mm: usize): usize {
  return <usize>load<u32>(mm, HINTING);
}

export function setMmHinting(mm: usize, listener: usize): void {
  store<u32>(mm, <u32>listener, HINTING);
}

/** True when frames carry content stamps. */
export function mmStamped(mm: usize): bool {
  return load<u32>(mm, STAMPS) !== 0;
}

/** Content stamp of a frame: the number of the last write to it; 0 is a zeroed page. Only with mmStamped(). */
export function frameStamp(mm: usize, pfn: u32): u32 {
  if (pfn === ZERO_PFN) return 0;
  return load<u32>(<usize>load<u32>(mm, STAMPS) + ((<usize>pfn) << 2));
}

export function setFrameStamp(mm: usize, pfn: u32, stamp: u32): void {
  assert(pfn !== ZERO_PFN);
  store<u32>(<usize>load<u32>(mm, STAMPS) + ((<usize>pfn) << 2), stamp);
}

/** Frames carry no stamps any more. */
export function mmDropStamps(mm: usize): void {
  store<u32>(mm, 0, STAMPS);
}
