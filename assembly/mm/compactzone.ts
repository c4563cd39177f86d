import {
  emit,
  TRACE_MM_COMPACTION_DEFER_COMPACTION,
  TRACE_MM_COMPACTION_DEFER_RESET,
  TRACE_MM_COMPACTION_DEFERRED,
} from "../sim/trace";
import {
  clearBlockSkips,
  MAX_ORDER,
  PAGEBLOCK_PAGES,
  setBlockSkip,
  ZONE_COMPACT,
  zoneEndPfn,
  zoneIndex,
  zoneStartPfn,
} from "./zone";

// What a zone remembers of its compactions: where the scanners stopped, which pageblocks were of no use, and how often to refuse after a
// failure.
//
// at ZONE_COMPACT    0            4       8             12              16             20          24
//                    +------------+-------+-------------+---------------+--------------+-----------+-------+
//                    | considered | shift | orderFailed | migrate async | migrate sync | free      | flush |
//                    +------------+-------+-------------+---------------+--------------+-----------+-------+
//
// considered   requests for orderFailed or more since the last failure, at most 2^shift
// orderFailed  the least order that has failed, and 1; 0: none
// migrate, free   pfn at which the next run begins; 0: at the zone's end
// flush        a run has come to its end: the next time that kswapd goes to sleep, all pageblocks are worth a look again
//
// invariant: shift is 0..6, and considered at most 2^shift

const CONSIDERED: usize = ZONE_COMPACT;
const SHIFT: usize = ZONE_COMPACT + 4;
const ORDER_FAILED: usize = ZONE_COMPACT + 8;
const CACHED_MIGRATE_ASYNC: usize = ZONE_COMPACT + 12;
const CACHED_MIGRATE_SYNC: usize = ZONE_COMPACT + 16;
const FREE: usize = ZONE_COMPACT + 20;
const FLUSH: usize = ZONE_COMPACT + 24;

/** As the order: everything is to be compacted (writing to compact_memory). */
export const ORDER_ALL: u32 = 0xffffffff;

// What came of it, in the kernel's order: the larger the better.
export const COMPACT_SKIPPED: u32 = 1;
export const COMPACT_DEFERRED: u32 = 2;
export const COMPACT_NO_SUITABLE_PAGE: u32 = 3;
export const COMPACT_CONTINUE: u32 = 4;
/** The scanners have met, after a run over the whole zone, or over the rest of it. */
export const COMPACT_COMPLETE: u32 = 5;
export const COMPACT_PARTIAL_SKIPPED: u32 = 6;
/** No frame could be had to move pages to. */
export const COMPACT_CONTENDED: u32 = 7;
/** A block of the wanted order is there. */
export const COMPACT_SUCCESS: u32 = 8;

// How a run goes about it (compact_control).

/** It waits for nothing. */
export const RUN_ASYNC: u32 = 1;
/** All of a block of the wanted order moves, or nothing of it. */
export const RUN_WHOLE_BLOCKS: u32 = 2;
/** The highest priority: never deferred, from the zone's ends, whatever is remembered of pageblocks. */
export const RUN_DARING: u32 = 4;
/** Free frames come from pageblocks of any type. */
export const RUN_ANY_BLOCK: u32 = 8;

/** COMPACT_MAX_DEFER_SHIFT */
const SHIFT_MAX: u32 = 6;

/** First frame of the pageblock that holds `pfn`, and the frame behind it. */
export function blockStart(pfn: u32): u32 {
  return pfn & ~(PAGEBLOCK_PAGES - 1);
}

export function blockEnd(pfn: u32): u32 {
  return blockStart(pfn) + PAGEBLOCK_PAGES;
}

function orderFailed(zone: usize): u32 {
  const failed = load<u32>(zone, ORDER_FAILED);
  return failed === 0 ? MAX_ORDER : failed - 1;
}

/** compaction_deferred(): is a request for `order` to be refused after what others have come to? It counts as one. */
export function compactDeferred(zone: usize, order: u32, time: u64): bool {
  if (order < orderFailed(zone)) return false;
  const limit: u32 = 1 << load<u32>(zone, SHIFT);
  const considered = min<u32>(load<u32>(zone, CONSIDERED) + 1, limit);
  store<u32>(zone, considered, CONSIDERED);
  if (considered >= limit) return false;
  trace(TRACE_MM_COMPACTION_DEFERRED, zone, order, time);
  return true;
}

/** defer_compaction(): a run for `order` that may wait has failed. */
export function compactDefer(zone: usize, order: u32, time: u64): void {
  store<u32>(zone, 0, CONSIDERED);
  store<u32>(zone, min<u32>(load<u32>(zone, SHIFT) + 1, SHIFT_MAX), SHIFT);
  if (order < orderFailed(zone)) store<u32>(zone, order + 1, ORDER_FAILED);
  trace(TRACE_MM_COMPACTION_DEFER_COMPACTION, zone, order, time);
}

/** compaction_defer_reset(): a block of `order` was there. */
export function compactDeferReset(zone: usize, order: u32, time: u64): void {
  store<u32>(zone, 0, CONSIDERED);
  store<u32>(zone, 0, SHIFT);
  if (order >= orderFailed(zone)) store<u32>(zone, order + 2, ORDER_FAILED);
  trace(TRACE_MM_COMPACTION_DEFER_RESET, zone, order, time);
}

/** compaction_restarting(): as often refused as can be; the hints are too old to be of use. */
export function compactRestarting(zone: usize, order: u32): bool {
  if (order < orderFailed(zone)) return false;
  const shift = load<u32>(zone, SHIFT);
  return shift === SHIFT_MAX && load<u32>(zone, CONSIDERED) >= (<u32>1) << shift;
}

function trace(event: u32, zone: usize, order: u32, time: u64): void {
  const tries = <u64>load<u32>(zone, CONSIDERED) | ((<u64>load<u32>(zone, SHIFT)) << 32);
  emit(event, time, zoneIndex(zone), order, orderFailed(zone), tries);
}

/** Where the migrate scanner begins. */
export function cachedMigrate(zone: usize, sync: bool): u32 {
  const pfn = sync ? load<u32>(zone, CACHED_MIGRATE_SYNC) : load<u32>(zone, CACHED_MIGRATE_ASYNC);
  return pfn < zoneStartPfn(zone) || pfn >= zoneEndPfn(zone) ? zoneStartPfn(zone) : pfn;
}

/** Where the free scanner begins: the first frame of a pageblock. */
export function cachedFree(zone: usize): u32 {
  const pfn = load<u32>(zone, FREE);
  return pfn < zoneStartPfn(zone) || pfn >= zoneEndPfn(zone) ? blockStart(zoneEndPfn(zone) - 1) : pfn;
}

/** update_cached_migrate(): what lies below `pfn` has been looked at; who waits for nothing finds less than who does. */
export function passMigrate(zone: usize, pfn: u32, sync: bool): void {
  if (pfn > load<u32>(zone, CACHED_MIGRATE_ASYNC)) store<u32>(zone, pfn, CACHED_MIGRATE_ASYNC);
  if (sync && pfn > load<u32>(zone, CACHED_MIGRATE_SYNC)) store<u32>(zone, pfn, CACHED_MIGRATE_SYNC);
}

/** The free scanner has been through a pageblock: the next one begins there, and nobody else looks at it. */
export function passFree(zone: usize, block: u32): void {
  setBlockSkip(zone, block);
  if (block < cachedFree(zone)) store<u32>(zone, block, FREE);
}

/** Frames that were taken for nothing lie up to this pageblock. */
export function returnFree(zone: usize, block: u32): void {
  if (block > cachedFree(zone)) store<u32>(zone, block, FREE);
}

/** The scanners have met: the next run begins at the zone's ends (reset_cached_positions()). */
export function compactMet(zone: usize): void {
  store<u32>(zone, 0, CACHED_MIGRATE_ASYNC);
  store<u32>(zone, 0, CACHED_MIGRATE_SYNC);
  store<u32>(zone, 0, FREE);
  store<u32>(zone, 1, FLUSH);
}

/** __reset_isolation_suitable(): every pageblock is worth a look again. */
export function compactForget(zone: usize): void {
  clearBlockSkips(zone);
  compactMet(zone);
  store<u32>(zone, 0, FLUSH);
}

/** reset_isolation_suitable(): kswapd goes to sleep. */
export function compactFlush(zone: usize): void {
  if (load<u32>(zone, FLUSH) !== 0) compactForget(zone);
}

export function checkCompactZone(zone: usize): void {
  assert(load<u32>(zone, SHIFT) <= SHIFT_MAX && orderFailed(zone) <= MAX_ORDER);
  assert(load<u32>(zone, CONSIDERED) <= (<u32>1) << load<u32>(zone, SHIFT));
  const free = cachedFree(zone);
  assert(free === blockStart(free));
}
