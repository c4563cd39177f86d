import { arenaReserve, arenaTake, PART_INTEGRITY, PART_RECORDS, PART_SWAP } from "../memory/arena";
import { PFN_NONE, SLOT_NONE } from "../memory/layout";
import { DEVICE_BYTES, deviceLayout, deviceStart } from "../sim/device";
import {
  mmAddArea,
  mmArea,
  mmAreas,
  mmSwapFree,
  mmSwapTotal,
  mmSwapTurn,
  setMmSwapFree,
  setMmSwapTotal,
  setMmSwapTurn,
} from "./instance";
import { ENTRY_NONE, entryOffset, entryType, swapEntry } from "./pte";

// Swap areas: swap_info_struct with its swap_map, one byte a slot, and the swap cache, one pfn a slot.
// Areas are used by priority; areas of one priority take turns, one slot each. Within an area the search goes on where the
// last one ended. Left out for now: clusters, per-CPU slot caches, continuation of counts, readahead.
//
// record   0      4       8     12     16         20     24     28       32
//          +------+-------+-----+------+----------+------+------+--------+--------+
//          | type | slots | map | cache| priority | used | next | stamps | device …
//          +------+-------+-----+------+----------+------+------+--------+--------+
// map      +-----+---+---+---+----+---+
//          | BAD | 0 | 2 | 65| .. | 0 |     count in the low 6 bits, SWAP_HAS_CACHE 0x40
//          +-----+---+---+---+----+---+
//
// invariant: used is the number of slots whose byte is neither 0 nor SWAP_MAP_BAD
// invariant: SWAP_HAS_CACHE is set exactly where the cache names a frame, or a reader is about to put one there

const TYPE: usize = 0;
const SLOTS: usize = 4;
const MAP: usize = 8;
const CACHE: usize = 12;
const PRIORITY: usize = 16;
const USED: usize = 20;
const NEXT: usize = 24;
const STAMPS: usize = 28;
const TURN: usize = 32;
const DEVICE: usize = 40;
const AREA_BYTES: usize = DEVICE + DEVICE_BYTES;

const SWAP_MAP_BAD: u8 = 0x3f;
const SWAP_COUNT: u8 = 0x3f;
const SWAP_HAS_CACHE: u8 = 0x40;

/** Takes the record of an area of `slots` slots, the header included; the device is set up by the caller. */
export function swapCreate(mm: usize, slots: u32, priority: i32): usize {
  const area = arenaTake(PART_RECORDS, AREA_BYTES);
  if (area === 0) return 0;
  store<u32>(area, mmAddArea(mm, area), TYPE);
  store<u32>(area, slots, SLOTS);
  store<i32>(area, priority, PRIORITY);
  return area;
}

export function swapLayout(area: usize, stamped: bool): void {
  const slots = <u64>load<u32>(area, SLOTS);
  store<u32>(area, <u32>arenaReserve(PART_SWAP, slots), MAP);
  store<u32>(area, <u32>arenaReserve(PART_SWAP, slots << 2), CACHE);
  if (stamped) swapStampsLayout(area);
  deviceLayout(area + DEVICE);
}

/** Reserves a content stamp (u32) a slot. */
export function swapStampsLayout(area: usize): void {
  store<u32>(area, <u32>arenaReserve(PART_INTEGRITY, (<u64>load<u32>(area, SLOTS)) << 2), STAMPS);
}

/** swapon: the area's slots become available; after the arena is committed. */
export function swapStart(mm: usize, area: usize): void {
  store<u8>(<usize>load<u32>(area, MAP) + SLOT_NONE, SWAP_MAP_BAD);
  store<u32>(area, 1, NEXT);
  const usable = load<u32>(area, SLOTS) - 1;
  setMmSwapFree(mm, mmSwapFree(mm) + usable);
  setMmSwapTotal(mm, mmSwapTotal(mm) + usable);
  deviceStart(area + DEVICE);
}

export function swapDevice(area: usize): usize {
  return area + DEVICE;
}

/** Slots in use. */
export function swapUsed(area: usize): u32 {
  return load<u32>(area, USED);
}

/** Address of the area that `entry` lies in. */
export function swapArea(mm: usize, entry: u32): usize {
  return mmArea(mm, entryType(entry));
}

function byteOf(area: usize, slot: u32): usize {
  assert(slot !== SLOT_NONE && slot < load<u32>(area, SLOTS));
  return <usize>load<u32>(area, MAP) + slot;
}

/** vm_swap_full(): more than half of all slots are used. */
export function swapFull(mm: usize): bool {
  return <u64>mmSwapFree(mm) * 2 < <u64>mmSwapTotal(mm);
}

// The area to use next: the highest priority that has a free slot; among equals the one that waited longest for its turn.
function chooseArea(mm: usize): usize {
  let best: usize = 0;
  for (let type: u32 = 0; type < mmAreas(mm); type++) {
    const area = mmArea(mm, type);
    if (load<u32>(area, USED) === load<u32>(area, SLOTS) - 1) continue;
    if (best === 0) {
      best = area;
      continue;
    }
    const priority = load<i32>(area, PRIORITY);
    const bestPriority = load<i32>(best, PRIORITY);
    if (
      priority > bestPriority ||
      (priority === bestPriority && load<u32>(area, TURN) < load<u32>(best, TURN))
    ) {
      best = area;
    }
  }
  return best;
}

/** Takes a slot for the swap cache (its byte is SWAP_HAS_CACHE). ENTRY_NONE when every area is full. */
export function swapAlloc(mm: usize): u32 {
  if (mmSwapFree(mm) === 0) return ENTRY_NONE;
  const area = chooseArea(mm);
  assert(area !== 0);
  toBack(mm, area);

  const slots = load<u32>(area, SLOTS);
  const map = <usize>load<u32>(area, MAP);
  let slot = load<u32>(area, NEXT);
  for (let tried: u32 = 0; tried < slots; tried++) {
    if (slot >= slots) slot = 1;
    if (load<u8>(map + slot) === 0) break;
    slot++;
  }
  assert(load<u8>(map + slot) === 0);
  store<u8>(map + slot, SWAP_HAS_CACHE);
  store<u32>(area, slot + 1, NEXT);
  store<u32>(area, load<u32>(area, USED) + 1, USED);
  setMmSwapFree(mm, mmSwapFree(mm) - 1);
  return swapEntry(load<u32>(area, TYPE), slot);
}

// The place of an area among those of its priority (swap_avail_heads): behind the others whenever it is tried, and when it has
// room again after it was full.
function toBack(mm: usize, area: usize): void {
  const turn = mmSwapTurn(mm) + 1;
  setMmSwapTurn(mm, turn);
  store<u32>(area, turn, TURN);
}

function release(mm: usize, area: usize): void {
  if (load<u32>(area, USED) === load<u32>(area, SLOTS) - 1) toBack(mm, area);
  store<u32>(area, load<u32>(area, USED) - 1, USED);
  setMmSwapFree(mm, mmSwapFree(mm) + 1);
}

/** Number of ptes that hold `entry` (__swp_swapcount()). */
export function swapCount(mm: usize, entry: u32): u32 {
  return load<u8>(byteOf(swapArea(mm, entry), entryOffset(entry))) & SWAP_COUNT;
}

/** swap_duplicate(): one more pte holds `entry`. */
export function swapDup(mm: usize, entry: u32): void {
  const at = byteOf(swapArea(mm, entry), entryOffset(entry));
  const byte = load<u8>(at);
  assert(byte !== 0 && (byte & SWAP_COUNT) < SWAP_COUNT - 1);
  store<u8>(at, byte + 1);
}

/** swap_free(): one pte less holds `entry`; the slot is free when neither a pte nor the swap cache does. */
export function swapFree(mm: usize, entry: u32): void {
  const area = swapArea(mm, entry);
  const at = byteOf(area, entryOffset(entry));
  const byte = load<u8>(at);
  assert((byte & SWAP_COUNT) > 0);
  store<u8>(at, byte - 1);
  if (byte === 1) release(mm, area);
}

/** swapcache_prepare(): claims the cache of `entry`. False when somebody else has it. */
export function swapCachePrepare(mm: usize, entry: u32): bool {
  const at = byteOf(swapArea(mm, entry), entryOffset(entry));
  const byte = load<u8>(at);
  assert(byte !== 0);
  if (byte & SWAP_HAS_CACHE) return false;
  store<u8>(at, byte | SWAP_HAS_CACHE);
  return true;
}

/** The frame that caches `entry`, PFN_NONE without one (lookup_swap_cache()). */
export function swapCacheLookup(mm: usize, entry: u32): u32 {
  const area = swapArea(mm, entry);
  return load<u32>(<usize>load<u32>(area, CACHE) + ((<usize>entryOffset(entry)) << 2));
}

/** Puts `pfn` into the cache of `entry`, whose SWAP_HAS_CACHE the caller owns. */
export function swapCacheSet(mm: usize, entry: u32, pfn: u32): void {
  const area = swapArea(mm, entry);
  assert((load<u8>(byteOf(area, entryOffset(entry))) & SWAP_HAS_CACHE) !== 0);
  store<u32>(<usize>load<u32>(area, CACHE) + ((<usize>entryOffset(entry)) << 2), pfn);
}

/** put_swap_folio(): the cache lets go of `entry`; the slot is free when no pte holds it. */
export function swapCacheClear(mm: usize, entry: u32): void {
  swapCacheSet(mm, entry, PFN_NONE);
  const area = swapArea(mm, entry);
  const at = byteOf(area, entryOffset(entry));
  const byte = load<u8>(at) & ~SWAP_HAS_CACHE;
  store<u8>(at, byte);
  if (byte === 0) release(mm, area);
}

export function slotStamp(mm: usize, entry: u32): u32 {
  const area = swapArea(mm, entry);
  return load<u32>(<usize>load<u32>(area, STAMPS) + ((<usize>entryOffset(entry)) << 2));
}

export function setSlotStamp(mm: usize, entry: u32, stamp: u32): void {
  const area = swapArea(mm, entry);
  store<u32>(<usize>load<u32>(area, STAMPS) + ((<usize>entryOffset(entry)) << 2), stamp);
}

/** Counts of the map against used, of all areas against nr_swap_pages. */
export function checkSwap(mm: usize): void {
  let unused: u32 = 0;
  for (let type: u32 = 0; type < mmAreas(mm); type++) {
    const area = mmArea(mm, type);
    const slots = load<u32>(area, SLOTS);
    let used: u32 = 0;
    for (let slot: u32 = 1; slot < slots; slot++) {
      const byte = load<u8>(<usize>load<u32>(area, MAP) + slot);
      if (byte !== 0) used++;
      const cached = load<u32>(<usize>load<u32>(area, CACHE) + ((<usize>slot) << 2));
      if (cached !== PFN_NONE) assert((byte & SWAP_HAS_CACHE) !== 0);
    }
    assert(used === load<u32>(area, USED));
    unused += slots - 1 - used;
  }
  assert(unused === mmSwapFree(mm));
}
