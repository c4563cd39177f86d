import { arenaReserve, arenaTake, PART_FRAMES, PART_INTEGRITY, PART_RECORDS } from "../memory/arena";
import { PFN_BASE } from "../memory/layout";
import { WAITQUEUE_BYTES } from "../sim/waitqueue";
import { PAGE_RECORD_SHIFT } from "./page";

// An instance of memory management: one zone with its page records, free lists, watermarks and counters. The host has one.
//
// record   0       4        8         12     16        20     24    28     32        …
//          +-------+--------+---------+------+---------+------+-----+------+---------+-----------+-----------+--------+
//          | pages | pfnEnd | managed | free | minFree | MIN  | LOW | HIGH | kswapd  | queues …  | free areas| counts |
//          +-------+--------+---------+------+---------+------+-----+------+---------+-----------+-----------+--------+
//
// free area, 12 bytes, one an order: head, tail, blocks

const PAGES: usize = 0;
const PFN_END: usize = 4;
const MANAGED: usize = 8;
const FREE: usize = 12;
const MIN_FREE: usize = 16;
const WATERMARK_MIN: usize = 20;
const WATERMARK_LOW: usize = 24;
const WATERMARK_HIGH: usize = 28;
const KSWAPD: usize = 32;
const SPACES: usize = 36;
const SPACE_COUNT: usize = 40;
const AREAS: usize = 44;
const AREA_COUNT: usize = 48;
const SWAP_FREE: usize = 52;
const SWAP_TOTAL: usize = 56;
const SWAPPINESS: usize = 60;
const WATERMARK_SCALE: usize = 64;
const STAMPS: usize = 68;
const WRITEBACK: usize = 72;
const KSWAPD_FAILURES: usize = 76;
const SWAP_STATE: usize = 80;
const ZERO_PAGE: usize = 84;
const PAGE_WAITERS: usize = 88;
const THROTTLED: usize = PAGE_WAITERS + WAITQUEUE_BYTES;
const FREE_AREAS: usize = THROTTLED + WAITQUEUE_BYTES;
export const MAX_ORDER: u32 = 11;
const FREE_AREA_BYTES: usize = 12;
const COUNTS: usize = FREE_AREAS + <usize>MAX_ORDER * FREE_AREA_BYTES + 4;

export const MM_SCANNED: u32 = 0;
export const MM_RECLAIMED_DIRECT: u32 = 1;
export const MM_RECLAIMED_KSWAPD: u32 = 2;
export const MM_SWAP_OUT: u32 = 3;
export const MM_SWAP_IN: u32 = 4;
export const MM_SWAP_ALLOC_FAILED: u32 = 5;
export const MM_COUNTS: u32 = 6;
const MM_BYTES: usize = COUNTS + 8 * <usize>MM_COUNTS;

const MAX_SPACES: u32 = 4096;
/** Swap areas an instance can have: the swap type has 5 bits, a few are special (MAX_SWAPFILES). */
export const MAX_AREAS: u32 = 23;

/** Takes the record of an instance of `managed` pages; 0 when memory is exhausted. */
export function mmCreate(managed: u32): usize {
  const mm = arenaTake(PART_RECORDS, MM_BYTES + 4 * <u64>MAX_SPACES + 4 * <u64>MAX_AREAS);
  if (mm === 0) return 0;
  store<u32>(mm, PFN_BASE + managed, PFN_END);
  store<u32>(mm, managed, MANAGED);
  store<u32>(mm, <u32>(mm + MM_BYTES), SPACES);
  store<u32>(mm, <u32>(mm + MM_BYTES + 4 * <usize>MAX_SPACES), AREAS);
  store<u32>(mm, 60, SWAPPINESS);
  store<u32>(mm, 10, WATERMARK_SCALE);
  return mm;
}

/** Reserves the page records. */
export function mmLayout(mm: usize): void {
  const base = arenaReserve(PART_FRAMES, (<u64>load<u32>(mm, MANAGED)) << PAGE_RECORD_SHIFT, 64);
  store<u32>(mm, <u32>(base - ((<usize>PFN_BASE) << PAGE_RECORD_SHIFT)), PAGES);
}

/** Reserves a content stamp (u32) a frame. */
export function mmStampsLayout(mm: usize): void {
  const base = arenaReserve(PART_INTEGRITY, (<u64>load<u32>(mm, MANAGED)) << 2);
  store<u32>(mm, <u32>(base - ((<usize>PFN_BASE) << 2)), STAMPS);
}

/** Address of the record of frame `pfn`. */
export function pageOf(mm: usize, pfn: u32): usize {
  assert(pfn >= PFN_BASE && pfn < load<u32>(mm, PFN_END));
  return <usize>load<u32>(mm, PAGES) + ((<usize>pfn) << PAGE_RECORD_SHIFT);
}

export function mmPfnEnd(mm: usize): u32 {
  return load<u32>(mm, PFN_END);
}

export function mmManaged(mm: usize): u32 {
  return load<u32>(mm, MANAGED);
}

export function mmFree(mm: usize): u32 {
  return load<u32>(mm, FREE);
}

export function setMmFree(mm: usize, pages: u32): void {
  store<u32>(mm, pages, FREE);
  if (pages < load<u32>(mm, MIN_FREE)) store<u32>(mm, pages, MIN_FREE);
}

/** Least free pages since mmResetMinFree(). */
export function mmMinFree(mm: usize): u32 {
  return load<u32>(mm, MIN_FREE);
}

export function mmResetMinFree(mm: usize): void {
  store<u32>(mm, load<u32>(mm, FREE), MIN_FREE);
}

export function mmWatermarkMin(mm: usize): u32 {
  return load<u32>(mm, WATERMARK_MIN);
}

export function mmWatermarkLow(mm: usize): u32 {
  return load<u32>(mm, WATERMARK_LOW);
}

export function mmWatermarkHigh(mm: usize): u32 {
  return load<u32>(mm, WATERMARK_HIGH);
}

export function setMmWatermarks(mm: usize, min: u32, low: u32, high: u32): void {
  store<u32>(mm, min, WATERMARK_MIN);
  store<u32>(mm, low, WATERMARK_LOW);
  store<u32>(mm, high, WATERMARK_HIGH);
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

/** A read of a page that was never written maps the shared page of zeroes. */
export function mmZeroPage(mm: usize): bool {
  return load<u32>(mm, ZERO_PAGE) !== 0;
}

export function setMmZeroPage(mm: usize, shared: bool): void {
  store<u32>(mm, shared ? 1 : 0, ZERO_PAGE);
}

/** Sleepers on locked pages. */
export function mmPageWaiters(mm: usize): usize {
  return mm + PAGE_WAITERS;
}

/** Reclaimers that wait for writeback to make progress. */
export function mmThrottled(mm: usize): usize {
  return mm + THROTTLED;
}

export function mmFreeArea(mm: usize, order: u32): usize {
  assert(order < MAX_ORDER);
  return mm + FREE_AREAS + <usize>order * FREE_AREA_BYTES;
}

export function mmCount(mm: usize, counter: u32): u64 {
  assert(counter < MM_COUNTS);
  return load<u64>(mm + ((<usize>counter) << 3), COUNTS);
}

export function mmCountAdd(mm: usize, counter: u32, amount: u32): void {
  const at = mm + ((<usize>counter) << 3);
  store<u64>(at, load<u64>(at, COUNTS) + amount, COUNTS);
}

/** True when frames carry content stamps. */
export function mmStamped(mm: usize): bool {
  return load<u32>(mm, STAMPS) !== 0;
}

/** Content stamp of a frame: the number of the last write to it; 0 is a zeroed page. Only with mmStamped(). */
export function frameStamp(mm: usize, pfn: u32): u32 {
  return load<u32>(<usize>load<u32>(mm, STAMPS) + ((<usize>pfn) << 2));
}

export function setFrameStamp(mm: usize, pfn: u32, stamp: u32): void {
  store<u32>(<usize>load<u32>(mm, STAMPS) + ((<usize>pfn) << 2), stamp);
}

/** Frames carry no stamps any more. */
export function mmDropStamps(mm: usize): void {
  store<u32>(mm, 0, STAMPS);
}
