import { mmArea, mmAreas, mmSwapFree, setMmSwapFree } from "./instance";
import { memcgEvents } from "./memcgstat";
import { ENTRY_NONE, entryOffset, entryType } from "./pte";
import {
  areaHighest,
  areaLowest,
  areaMap,
  availAdd,
  SWAP_HAS_CACHE,
  setAreaBits,
  setSwapUsed,
  slotByte,
  slotCached,
  swapArea,
  swapUsed,
} from "./swaparea";
import { clusterPut } from "./swapcluster";
import { SLOT_CACHE_SIZE, setSlotCacheActive, slotCacheActive, slotCacheOf, swapCpus } from "./swapstate";

// The slot caches, one a CPU: slots are taken from the areas 64 at a time, and given back 64 at a time. A slot in either
// half is marked SWAP_HAS_CACHE in the map although no page is there; what is given back never feeds what is handed out.
//
// record   0    4     8      16               272
//          +----+-----+------+----------------+----------------+
//          | nr | cur | nRet | slots: u32 × 64| ret: u32 × 64  |
//          +----+-----+------+----------------+----------------+
//
// invariant: slots[cur .. cur+nr-1] and ret[0 .. nRet-1] are distinct entries whose byte is exactly SWAP_HAS_CACHE and
//            which no frame caches
// invariant: while the caches are not active all of them are empty

// The only entry that goes back while the caches are not in use.
const ONE: usize = memory.data(4, 4);

const NR: usize = 0;
const CUR: usize = 4;
const N_RET: usize = 8;
const SLOTS: usize = 16;
const RET: usize = SLOTS + 4 * <usize>SLOT_CACHE_SIZE;

// THRESHOLD_ACTIVATE_SWAP_SLOTS_CACHE and THRESHOLD_DEACTIVATE_SWAP_SLOTS_CACHE, free slots a CPU.
const ACTIVATE: u32 = 5 * SLOT_CACHE_SIZE;
const DEACTIVATE: u32 = 2 * SLOT_CACHE_SIZE;

/** Slots that the cache of `cpu` can still hand out. */
export function slotsLeft(mm: usize, cpu: u32): u32 {
  return load<u32>(slotCacheOf(mm, cpu), NR);
}

/** Slots that it has handed out of its last 64. */
export function slotsTaken(mm: usize, cpu: u32): u32 {
  return load<u32>(slotCacheOf(mm, cpu), CUR);
}

/** Freed slots that it has not given back yet. */
export function slotsReturned(mm: usize, cpu: u32): u32 {
  return load<u32>(slotCacheOf(mm, cpu), N_RET);
}

/** The entry that will be handed out after `index` others. */
export function slotWaiting(mm: usize, cpu: u32, index: u32): u32 {
  assert(index < slotsLeft(mm, cpu));
  return load<u32>(slotCacheOf(mm, cpu) + ((<usize>(slotsTaken(mm, cpu) + index)) << 2), SLOTS);
}

/** Freed entry number `index`, oldest first. */
export function slotReturned(mm: usize, cpu: u32, index: u32): u32 {
  assert(index < slotsReturned(mm, cpu));
  return load<u32>(slotCacheOf(mm, cpu) + ((<usize>index) << 2), RET);
}

/**
 * check_cache_active(): the caches come into use with many free slots and are given up, with all that they hold, when few
 * are left.
 */
export function slotCacheCheck(mm: usize): bool {
  const free = mmSwapFree(mm);
  if (!slotCacheActive(mm)) {
    if (free > swapCpus(mm) * ACTIVATE) setSlotCacheActive(mm, true);
  } else if (free < swapCpus(mm) * DEACTIVATE) {
    setSlotCacheActive(mm, false);
    for (let cpu: u32 = 0; cpu < swapCpus(mm); cpu++) drain(mm, slotCacheOf(mm, cpu));
  }
  return slotCacheActive(mm);
}

// drain_slots_cache_cpu()
function drain(mm: usize, cache: usize): void {
  freeEntries(mm, cache + SLOTS + ((<usize>load<u32>(cache, CUR)) << 2), load<u32>(cache, NR));
  store<u32>(cache, 0, CUR);
  store<u32>(cache, 0, NR);
  freeEntries(mm, cache + RET, load<u32>(cache, N_RET));
  store<u32>(cache, 0, N_RET);
}

/** The next slot of the cache of `cpu`, ENTRY_NONE when it is empty. */
export function slotPop(mm: usize, cpu: u32): u32 {
  const cache = slotCacheOf(mm, cpu);
  const left = load<u32>(cache, NR);
  if (left === 0) return ENTRY_NONE;
  const cur = load<u32>(cache, CUR);
  store<u32>(cache, left - 1, NR);
  store<u32>(cache, cur + 1, CUR);
  return load<u32>(cache + ((<usize>cur) << 2), SLOTS);
}

/** Where a refill of the empty cache of `cpu` writes its entries. */
export function slotRefill(mm: usize, cpu: u32): usize {
  const cache = slotCacheOf(mm, cpu);
  assert(load<u32>(cache, NR) === 0);
  store<u32>(cache, 0, CUR);
  return cache + SLOTS;
}

/** The refill has brought `slots` entries. */
export function slotRefilled(mm: usize, cpu: u32, slots: u32): void {
  assert(slots <= SLOT_CACHE_SIZE);
  store<u32>(slotCacheOf(mm, cpu), slots, NR);
}

/** free_swap_slot(): the last user of `entry` is gone, its byte is SWAP_HAS_CACHE. It becomes free when the cache overflows. */
export function slotFree(mm: usize, cpu: u32, entry: u32): void {
  assert(load<u8>(slotByte(swapArea(mm, entry), entryOffset(entry))) === SWAP_HAS_CACHE);
  const cache = slotCacheOf(mm, cpu);
  if (!slotCacheActive(mm)) {
    store<u32>(ONE, entry);
    freeEntries(mm, ONE, 1);
    memcgEvents(mm, cpu, 1); // MEMCG_SWAP
    return;
  }
  if (load<u32>(cache, N_RET) >= SLOT_CACHE_SIZE) {
    freeEntries(mm, cache + RET, SLOT_CACHE_SIZE);
    memcgEvents(mm, cpu, SLOT_CACHE_SIZE);
    store<u32>(cache, 0, N_RET);
  }
  const index = load<u32>(cache, N_RET);
  store<u32>(cache + ((<usize>index) << 2), entry, RET);
  store<u32>(cache, index + 1, N_RET);
}

// swapcache_free_entries(): the areas one after another.
function freeEntries(mm: usize, entries: usize, count: u32): void {
  if (mmAreas(mm) > 1) sortByType(entries, count);
  const end = entries + ((<usize>count) << 2);
  for (let at = entries; at < end; ) at = freeOfArea(mm, at, end);
}

// swap_entry_free() and swap_range_free() for the entries that follow of one area: the slots can be had again. Returns the address of
// the first entry of another area.
function freeOfArea(mm: usize, entries: usize, end: usize): usize {
  const type = entryType(load<u32>(entries));
  const area = mmArea(mm, type);
  const map = areaMap(area);
  const full = areaHighest(area) === 0;
  let lowest = areaLowest(area);
  let highest = areaHighest(area);
  let at = entries;
  while (at < end && entryType(load<u32>(at)) === type) {
    const slot = entryOffset(load<u32>(at));
    assert(load<u8>(map + slot) === SWAP_HAS_CACHE && load<u32>(slotCached(area, slot)) === 0);
    store<u8>(map + slot, 0);
    clusterPut(area, slot);
    lowest = min<u32>(lowest, slot);
    highest = max<u32>(highest, slot);
    at += 4;
  }
  const slots = <u32>((at - entries) >> 2);
  setAreaBits(area, lowest, highest);
  if (full) availAdd(mm, area);
  setMmSwapFree(mm, mmSwapFree(mm) + slots);
  setSwapUsed(area, swapUsed(area) - slots);
  return at;
}

// sort(): heapsort from the leaves up. It is not stable, and the order within an area decides in which order clusters
// become free, so this follows lib/sort.c comparison by comparison.
function sortByType(entries: usize, count: u32): void {
  let built = count / 2;
  let end = count;
  if (built === 0) return;
  while (true) {
    if (built > 0) {
      built--;
    } else {
      end--;
      if (end === 0) return;
      swapEntries(entries, 0, end);
    }
    siftDown(entries, built, end);
  }
}

function siftDown(entries: usize, from: u32, end: u32): void {
  let at = from;
  let child: u32 = 2 * at + 1;
  while (child + 1 < end) {
    at = typeAt(entries, child) >= typeAt(entries, child + 1) ? child : child + 1;
    child = 2 * at + 1;
  }
  if (child + 1 === end) at = child; // the last leaf has no sibling
  while (at !== from && typeAt(entries, from) >= typeAt(entries, at)) at = (at - 1) / 2;
  const place = at;
  while (at !== from) {
    at = (at - 1) / 2;
    swapEntries(entries, at, place);
  }
}

function typeAt(entries: usize, index: u32): u32 {
  return entryType(load<u32>(entries + ((<usize>index) << 2)));
}

function swapEntries(entries: usize, one: u32, other: u32): void {
  const first = entries + ((<usize>one) << 2);
  const second = entries + ((<usize>other) << 2);
  const entry = load<u32>(first);
  store<u32>(first, load<u32>(second));
  store<u32>(second, entry);
}

/** Entries of all caches against the maps. Returns their number. */
export function checkSlotCaches(mm: usize): u32 {
  let held: u32 = 0;
  for (let cpu: u32 = 0; cpu < swapCpus(mm); cpu++) {
    assert(slotsTaken(mm, cpu) + slotsLeft(mm, cpu) <= SLOT_CACHE_SIZE);
    assert(slotsReturned(mm, cpu) <= SLOT_CACHE_SIZE);
    for (let index: u32 = 0; index < slotsLeft(mm, cpu); index++) checkHeld(mm, slotWaiting(mm, cpu, index));
    for (let index: u32 = 0; index < slotsReturned(mm, cpu); index++) {
      checkHeld(mm, slotReturned(mm, cpu, index));
    }
    held += slotsLeft(mm, cpu) + slotsReturned(mm, cpu);
  }
  assert(slotCacheActive(mm) || held === 0);
  return held;
}

function checkHeld(mm: usize, entry: u32): void {
  const area = mmArea(mm, entryType(entry));
  assert(load<u8>(slotByte(area, entryOffset(entry))) === SWAP_HAS_CACHE);
  assert(load<u32>(slotCached(area, entryOffset(entry))) === 0);
}
