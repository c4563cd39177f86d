import { arenaTake, PART_RECORDS } from "../memory/arena";
import { rngAdvance, rngBelow, rngBits, rngSeed } from "../sim/rng";
import { mmSwapState, setMmSwapState } from "./instance";

// What the swap code of one mm instance has once: which areas have free slots, whether the slot caches are in use, the
// window of cluster readahead, and one slot cache a CPU (swapslots.ts).
//
// record   0      4        8            12          16     20           24           28      32    40
//          +------+--------+------------+-----------+------+------------+------------+-------+-----+----------+---------+
//          | cpus | active | rotational | maxWindow | hits | prevOffset | prevWindow | avail | rng | types[]  | caches …|
//          +------+--------+------------+-----------+------+------------+------------+-------+-----+----------+---------+
//
// avail: number of entries of types[], which lists the areas with free slots in the order in which they will be tried.

const CPUS: usize = 0;
const ACTIVE: usize = 4;
const ROTATIONAL: usize = 8;
const MAX_WINDOW: usize = 12;
const HITS: usize = 16;
const PREV_OFFSET: usize = 20;
const PREV_WINDOW: usize = 24;
const AVAIL: usize = 28;
const RNG: usize = 32; // u64
const TYPES: usize = 40; // u32 × AVAIL_MAX
const AVAIL_MAX: u32 = 24;
const CACHES: usize = TYPES + 4 * <usize>AVAIL_MAX;

/** SWAP_SLOTS_CACHE_SIZE: slots that a CPU takes, or gives back, at a time. */
export const SLOT_CACHE_SIZE: u32 = 64;
/** A CPU's cache: nr, cur, nRet, then the slots to hand out and the slots to give back. */
export const SLOT_CACHE_BYTES: usize = 16 + 2 * 4 * <usize>SLOT_CACHE_SIZE;

// Streams of random numbers: tasks use theirs by number, from 0 on.
const STREAM_SWAP: u32 = 0x40000000;
// swapin_readahead_hits starts at 4: the first window is a full one.
const FIRST_HITS: u32 = 4;
/** Largest window in pages that can be chosen: an actor's record has room for the frames of one. */
export const WINDOW_MAX: u32 = 32;
// page_cluster 3: windows of up to 8 pages.
const DEFAULT_WINDOW: u32 = 8;

/** Takes the record for a host of `cpus` CPUs. False when memory is exhausted. */
export function swapStateCreate(mm: usize, cpus: u32, seed: u32): bool {
  const state = arenaTake(PART_RECORDS, CACHES + <usize>cpus * SLOT_CACHE_BYTES);
  if (state === 0) return false;
  store<u32>(state, cpus, CPUS);
  store<u32>(state, FIRST_HITS, HITS);
  store<u32>(state, DEFAULT_WINDOW, MAX_WINDOW);
  store<u64>(state, rngSeed(seed, STREAM_SWAP), RNG);
  setMmSwapState(mm, state);
  return true;
}

/** CPUs of the host: each has its own slot cache and its own cluster in every area. */
export function swapCpus(mm: usize): u32 {
  return load<u32>(mmSwapState(mm), CPUS);
}

/** Address of the slot cache of `cpu`. */
export function slotCacheOf(mm: usize, cpu: u32): usize {
  assert(cpu < swapCpus(mm));
  return mmSwapState(mm) + CACHES + <usize>cpu * SLOT_CACHE_BYTES;
}

/** swap_slot_cache_active. */
export function slotCacheActive(mm: usize): bool {
  return load<u32>(mmSwapState(mm), ACTIVE) !== 0;
}

export function setSlotCacheActive(mm: usize, active: bool): void {
  store<u32>(mmSwapState(mm), active ? 1 : 0, ACTIVE);
}

/** nr_rotate_swap: rotational areas; while there is one, readahead goes by slots instead of by addresses. */
export function swapRotational(mm: usize): u32 {
  return load<u32>(mmSwapState(mm), ROTATIONAL);
}

export function setSwapRotational(mm: usize, areas: u32): void {
  store<u32>(mmSwapState(mm), areas, ROTATIONAL);
}

/** 2^page_cluster: the largest readahead window in pages, a power of two. */
export function readaheadMax(mm: usize): u32 {
  return load<u32>(mmSwapState(mm), MAX_WINDOW);
}

export function setReadaheadMax(mm: usize, pages: u32): void {
  assert(pages !== 0 && pages <= WINDOW_MAX && (pages & (pages - 1)) === 0);
  store<u32>(mmSwapState(mm), pages, MAX_WINDOW);
}

/** swapin_readahead_hits: pages of earlier windows that were used since the last window was chosen. */
export function readaheadHits(mm: usize): u32 {
  return load<u32>(mmSwapState(mm), HITS);
}

export function setReadaheadHits(mm: usize, hits: u32): void {
  store<u32>(mmSwapState(mm), hits, HITS);
}

/** Slot of the last fault whose window was chosen without hits. */
export function readaheadPrevOffset(mm: usize): u32 {
  return load<u32>(mmSwapState(mm), PREV_OFFSET);
}

export function setReadaheadPrevOffset(mm: usize, offset: u32): void {
  store<u32>(mmSwapState(mm), offset, PREV_OFFSET);
}

/** last_readahead_pages. */
export function readaheadPrevWindow(mm: usize): u32 {
  return load<u32>(mmSwapState(mm), PREV_WINDOW);
}

export function setReadaheadPrevWindow(mm: usize, pages: u32): void {
  store<u32>(mmSwapState(mm), pages, PREV_WINDOW);
}

/** A random number in 0..bound-1. */
export function swapRandom(mm: usize, bound: u32): u32 {
  const state = mmSwapState(mm);
  const word = rngAdvance(load<u64>(state, RNG));
  store<u64>(state, word, RNG);
  return rngBelow(rngBits(word), bound);
}

/** Areas on the available list. */
export function availCount(mm: usize): u32 {
  return load<u32>(mmSwapState(mm), AVAIL);
}

/** Type of the area at `position` of the available list. */
export function availType(mm: usize, position: u32): u32 {
  assert(position < availCount(mm));
  return load<u32>(mmSwapState(mm) + ((<usize>position) << 2), TYPES);
}

/** Puts `type` at `position` of the available list; those from there on move back. */
export function availInsert(mm: usize, position: u32, type: u32): void {
  const state = mmSwapState(mm);
  const count = availCount(mm);
  assert(position <= count && count < AVAIL_MAX);
  const at = state + TYPES + ((<usize>position) << 2);
  memory.copy(at + 4, at, (<usize>(count - position)) << 2);
  store<u32>(at, type);
  store<u32>(state, count + 1, AVAIL);
}

/** Takes the area at `position` off the available list. */
export function availRemove(mm: usize, position: u32): void {
  const state = mmSwapState(mm);
  const count = availCount(mm);
  assert(position < count);
  const at = state + TYPES + ((<usize>position) << 2);
  memory.copy(at, at + 4, (<usize>(count - 1 - position)) << 2);
  store<u32>(state, count - 1, AVAIL);
}
