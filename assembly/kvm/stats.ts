import { arenaReserve, PART_STATISTICS } from "../memory/arena";
import { FAULT_KINDS } from "../mm/fault";
import {
  actorStageNs,
  STAGE_COUNT,
  STAGE_CPU,
  STAGE_EXIT,
  STAGE_FLUSH,
  STAGE_MAP,
  STAGE_RECLAIM,
} from "../sim/actor";
import { HISTOGRAM_BYTES, histogramRecord } from "../sim/histogram";

// Statistics of one VM: plain counters, and for each kind of fault its count, latency and stages.
//
// counters   u64 × VM_COUNTS
// fault      0       8       16      24        32              112
//            +-------+-------+-------+---------+---------------+------------+
//            | count | sumNs | maxNs | markMax | stages u64 ×10| histogram  |
//            +-------+-------+-------+---------+---------------+------------+
//
// invariant: the stages of a kind sum to its sumNs

export const VM_ACCESSES: u32 = 0;
export const VM_BLOCKED_NS: u32 = 1;
export const VM_UNMAPPED: u32 = 2;
export const VM_AGED: u32 = 3;
export const VM_YOUNG: u32 = 4;
export const VM_FLUSHES: u32 = 5;
export const VM_RETRIES: u32 = 6;
export const VM_CHECKED: u32 = 7;
export const VM_LOST_WRITES: u32 = 8;
export const VM_STALE_READS: u32 = 9;
export const VM_UNREACHABLE_PINS: u32 = 10;
export const VM_STALL_SOME_NS: u32 = 11;
export const VM_STALL_FULL_NS: u32 = 12;
export const VM_TLB_MISSES: u32 = 13;
export const VM_MMIO_EXITS: u32 = 14;
export const VM_APF_NOT_PRESENT: u32 = 15;
export const VM_APF_READY: u32 = 16;
export const VM_APF_HALTED: u32 = 17;
export const VM_APF_REPEATED: u32 = 18;
export const VM_APF_CANCELLED: u32 = 19;
// Faults that waited themselves, by the cause.
export const VM_APF_SYNC_LIMIT: u32 = 20;
export const VM_APF_SYNC_KERNEL_MODE: u32 = 21;
export const VM_APF_SYNC_DISABLED: u32 = 22;
export const VM_APF_SYNC_REINJECTION: u32 = 23;
export const VM_APF_SYNC_NO_READAHEAD: u32 = 24;
export const VM_APF_SYNC_ALLOCATION: u32 = 25;
// Pages that works held: attempts to move them that were in vain, and those that have moved; contexts of mapping-2013.
export const VM_APF_HELD_STAYED: u32 = 26;
export const VM_APF_HELD_MOVED: u32 = 27;
export const VM_APF_CONTEXTS: u32 = 28;
export const VM_APF_CONTEXTS_FREED: u32 = 29;
// writepage of 2007 and what follows from it.
export const VM_WRITEPAGE_CALLS: u32 = 30;
export const VM_WRITEPAGE_TRYLOCK_FAILED: u32 = 31;
export const VM_WRITEPAGE_ACTIVATED: u32 = 32;
export const VM_WRITEPAGE_SWAP_FULL: u32 = 33;
export const VM_WRITEPAGE_NO_SLOT: u32 = 34;
export const VM_WRITEBACK_WAITS: u32 = 35;
export const VM_GFN_TO_PAGE_FAILED: u32 = 36;
export const VM_STALE_SPTES: u32 = 37;
/** MMIO sptes made (pf_mmio_spte_created). */
export const VM_MMIO_SPTES: u32 = 38;
export const VM_COUNTS: u32 = 39;

const FAULTS: usize = 8 * <usize>VM_COUNTS;
const COUNT: usize = 0;
const SUM: usize = 8;
const MAX: usize = 16;
const MARK_MAX: usize = 24;
const STAGES: usize = 32;
const HISTOGRAM: usize = STAGES + 8 * <usize>STAGE_COUNT;
const FAULT_BYTES: usize = HISTOGRAM + 8;
export const VM_STATS_BYTES: usize = FAULTS + FAULT_BYTES * <usize>FAULT_KINDS;

export function statsLayout(stats: usize): void {
  for (let kind: u32 = 0; kind < FAULT_KINDS; kind++) {
    store<u32>(fault(stats, kind), <u32>arenaReserve(PART_STATISTICS, HISTOGRAM_BYTES), HISTOGRAM);
  }
}

function fault(stats: usize, kind: u32): usize {
  assert(kind < FAULT_KINDS);
  return stats + FAULTS + <usize>kind * FAULT_BYTES;
}

export function vmCount(stats: usize, counter: u32): u64 {
  assert(counter < VM_COUNTS);
  return load<u64>(stats + ((<usize>counter) << 3));
}

export function vmCountAdd(stats: usize, counter: u32, amount: u64): void {
  const at = stats + ((<usize>counter) << 3);
  store<u64>(at, load<u64>(at) + amount);
}

/** Counts a fault of `kind` that took `ns`; its stages are the actor's. */
export function faultRecord(stats: usize, kind: u32, ns: u64, actor: usize): void {
  const at = fault(stats, kind);
  note(at, 1, ns, ns);
  let sum: u64 = 0;
  for (let stage: u32 = 0; stage < STAGE_COUNT; stage++) {
    const total = at + ((<usize>stage) << 3);
    const part = actorStageNs(actor, stage);
    sum += part;
    store<u64>(total, load<u64>(total, STAGES) + part, STAGES);
  }
  assert(sum === ns);
  histogramRecord(<usize>load<u32>(at, HISTOGRAM), ns);
}

/** `faults` faults of `kind` that took up to `most` ns each, whose latencies faultLatency() has counted; their stages were these alone, in all. */
export function faultsRecord(
  stats: usize,
  kind: u32,
  faults: u64,
  most: u64,
  exit: u64,
  reclaim: u64,
  cpu: u64,
  map: u64,
  flush: u64,
): void {
  const at = fault(stats, kind);
  note(at, faults, exit + reclaim + cpu + map + flush, most);
  addStage(at, STAGE_EXIT, exit);
  addStage(at, STAGE_RECLAIM, reclaim);
  addStage(at, STAGE_CPU, cpu);
  addStage(at, STAGE_MAP, map);
  addStage(at, STAGE_FLUSH, flush);
}

/** One of them took `ns`. */
export function faultLatency(stats: usize, kind: u32, ns: u64): void {
  histogramRecord(<usize>load<u32>(fault(stats, kind), HISTOGRAM), ns);
}

function note(at: usize, faults: u64, ns: u64, most: u64): void {
  store<u64>(at, load<u64>(at, COUNT) + faults, COUNT);
  store<u64>(at, load<u64>(at, SUM) + ns, SUM);
  if (most > load<u64>(at, MAX)) store<u64>(at, most, MAX);
  if (most > load<u64>(at, MARK_MAX)) store<u64>(at, most, MARK_MAX);
}

function addStage(at: usize, stage: u32, ns: u64): void {
  const total = at + ((<usize>stage) << 3);
  store<u64>(total, load<u64>(total, STAGES) + ns, STAGES);
}

export function faultCount(stats: usize, kind: u32): u64 {
  return load<u64>(fault(stats, kind), COUNT);
}

export function faultSumNs(stats: usize, kind: u32): u64 {
  return load<u64>(fault(stats, kind), SUM);
}

export function faultMaxNs(stats: usize, kind: u32): u64 {
  return load<u64>(fault(stats, kind), MAX);
}

/** Largest latency since statsMark(). */
export function faultMarkMaxNs(stats: usize, kind: u32): u64 {
  return load<u64>(fault(stats, kind), MARK_MAX);
}

export function faultStageNs(stats: usize, kind: u32, stage: u32): u64 {
  assert(stage < STAGE_COUNT);
  return load<u64>(fault(stats, kind) + ((<usize>stage) << 3), STAGES);
}

export function faultHistogram(stats: usize, kind: u32): usize {
  return <usize>load<u32>(fault(stats, kind), HISTOGRAM);
}

/** Starts a new interval for the largest latency; a lasting one forgets what was before it (the end of a warm-up). */
export function statsMark(stats: usize, lasting: bool): void {
  for (let kind: u32 = 0; kind < FAULT_KINDS; kind++) {
    store<u64>(fault(stats, kind), 0, MARK_MAX);
    if (lasting) store<u64>(fault(stats, kind), 0, MAX);
  }
}

export function checkStats(stats: usize): void {
  for (let kind: u32 = 0; kind < FAULT_KINDS; kind++) {
    let sum: u64 = 0;
    for (let stage: u32 = 0; stage < STAGE_COUNT; stage++) sum += faultStageNs(stats, kind, stage);
    assert(sum === faultSumNs(stats, kind));
  }
}
