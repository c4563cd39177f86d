import { PFN_NONE } from "../memory/layout";
import { entryOffset } from "./pte";
import { SLOT_SHADOW, SWAP_HAS_CACHE, slotByte, slotCached, slotContinued, swapArea } from "./swaparea";
import { slotFree } from "./swapslots";

// The use counts of slots: swap_map with its continuation, and the swap cache as seen from the slot.
//
// byte     7           6           5       0
//          +-----------+-----------+-------+
//          | CONTINUED | HAS_CACHE | count |     a second digit of base 128 counts full rounds of 63
//          +-----------+-----------+-------+
//
// A count that outgrows SWAP_MAP_MAX starts over at 0 and moves the second digit on; with 127 such rounds it can count more
// processes than an mm instance has, so one further digit is enough. Where processes never fork there is no second digit.
//
// invariant: users of a slot = count + 63 × digit, the digit counting only while CONTINUED is set; it is then at least 1
// invariant: SWAP_HAS_CACHE is set exactly where the cache names a frame or a slot cache holds the entry

const SWAP_MAP_MAX: u8 = 0x3e;
const COUNT_CONTINUED: u8 = 0x80;
const SWAP_CONT_MAX: u8 = 0x7f;
const COUNT_MASK: u8 = 0x3f;

function byteOf(mm: usize, entry: u32): usize {
  return slotByte(swapArea(mm, entry), entryOffset(entry));
}

function digitOf(mm: usize, entry: u32): usize {
  return slotContinued(swapArea(mm, entry), entryOffset(entry));
}

/** Number of ptes that hold `entry` (swp_swapcount()). */
export function swapCount(mm: usize, entry: u32): u32 {
  const byte = load<u8>(byteOf(mm, entry));
  const count = <u32>(byte & COUNT_MASK);
  if ((byte & COUNT_CONTINUED) === 0) return count;
  return count + <u32>(SWAP_MAP_MAX + 1) * load<u8>(digitOf(mm, entry));
}

/**
 * swap_duplicate(): one more pte holds `entry`. False when the count would outgrow what the area can count; the slot is then
 * unchanged.
 */
export function swapDup(mm: usize, entry: u32): bool {
  const at = byteOf(mm, entry);
  const byte = load<u8>(at);
  assert(byte !== 0);
  const count = byte & COUNT_MASK;
  assert(count <= SWAP_MAP_MAX);
  if (count < SWAP_MAP_MAX) {
    store<u8>(at, byte + 1);
    return true;
  }
  // swap_count_continued()
  const digit = digitOf(mm, entry);
  const rounds = byte & COUNT_CONTINUED ? load<u8>(digit) : 0;
  if (digit === 0 || rounds === SWAP_CONT_MAX) return false;
  store<u8>(digit, rounds + 1);
  store<u8>(at, (byte & SWAP_HAS_CACHE) | COUNT_CONTINUED);
  return true;
}

/** swap_free(): one pte less holds `entry`; without a pte and without a cached page the slot goes back through `cpu`. */
export function swapFree(mm: usize, cpu: u32, entry: u32): void {
  const at = byteOf(mm, entry);
  const byte = load<u8>(at);
  assert(swapCount(mm, entry) > 0);
  if ((byte & COUNT_MASK) !== 0) {
    setByte(mm, cpu, entry, at, byte - 1);
    return;
  }
  const digit = digitOf(mm, entry);
  const rounds = load<u8>(digit) - 1;
  store<u8>(digit, rounds);
  setByte(mm, cpu, entry, at, (byte & SWAP_HAS_CACHE) | SWAP_MAP_MAX | (rounds !== 0 ? COUNT_CONTINUED : 0));
}

/** swap_free() by the one user of a slot that nobody caches. */
export function swapFreeOnly(mm: usize, cpu: u32, entry: u32): void {
  const area = swapArea(mm, entry);
  assert(load<u8>(slotByte(area, entryOffset(entry))) === 1);
  store<u8>(slotByte(area, entryOffset(entry)), SWAP_HAS_CACHE);
  store<u32>(slotCached(area, entryOffset(entry)), PFN_NONE);
  slotFree(mm, cpu, entry);
}

// What is left of a slot's users and cache; with neither the shadow goes and the slot goes back through `cpu`. `at` is the address of
// its byte.
function setByte(mm: usize, cpu: u32, entry: u32, at: usize, byte: u8): void {
  store<u8>(at, byte === 0 ? SWAP_HAS_CACHE : byte);
  if (byte !== 0) return;
  store<u32>(slotCached(swapArea(mm, entry), entryOffset(entry)), PFN_NONE);
  slotFree(mm, cpu, entry);
}

/** swapcache_prepare(): claims the cache of `entry`. False when somebody else has it, or no pte holds the entry. */
export function swapCachePrepare(mm: usize, entry: u32): bool {
  const at = byteOf(mm, entry);
  const byte = load<u8>(at);
  if (byte & SWAP_HAS_CACHE || byte === 0) return false;
  store<u8>(at, byte | SWAP_HAS_CACHE);
  return true;
}

/** The frame that caches `entry`, PFN_NONE without one (lookup_swap_cache()). */
export function swapCacheLookup(mm: usize, entry: u32): u32 {
  const value = load<u32>(slotCached(swapArea(mm, entry), entryOffset(entry)));
  return value & SLOT_SHADOW ? PFN_NONE : value;
}

/** What the page that was evicted to `entry` has left in the cache; 0 for nothing (get_shadow_from_swap_cache()). */
export function swapCacheShadow(mm: usize, entry: u32): u32 {
  const value = load<u32>(slotCached(swapArea(mm, entry), entryOffset(entry)));
  return value & SLOT_SHADOW ? value : 0;
}

/** Puts `pfn` into the cache of `entry`, whose SWAP_HAS_CACHE the caller owns. */
export function swapCacheSet(mm: usize, entry: u32, pfn: u32): void {
  assert((load<u8>(byteOf(mm, entry)) & SWAP_HAS_CACHE) !== 0);
  store<u32>(slotCached(swapArea(mm, entry), entryOffset(entry)), pfn);
}

/** put_swap_folio(): the cache lets go of `entry` and keeps `shadow`; without a pte the slot goes back through `cpu`. */
export function swapCacheClear(mm: usize, cpu: u32, entry: u32, shadow: u32): void {
  swapCacheSet(mm, entry, shadow);
  const at = byteOf(mm, entry);
  setByte(mm, cpu, entry, at, load<u8>(at) & ~SWAP_HAS_CACHE);
}
