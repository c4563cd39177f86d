// Numbers that every floor shares: the page size, the sentinels, alignment.

export const PAGE_SHIFT: u32 = 12;
export const PAGE_BYTES: u32 = 4096;

/** No frame. Frame numbers start at PFN_BASE, so zeroed memory reads as "none". */
export const PFN_NONE: u32 = 0;
/** No guest frame: 0 is one. */
export const GFN_NONE: u32 = 0xffffffff;
/** First pfn of an mm instance: aligned to the largest buddy block, and never 0. */
export const PFN_BASE: u32 = 1024;
/** No swap slot: slot 0 of every area is its header. */
export const SLOT_NONE: u32 = 0;
/** Virtual time that never comes. */
export const TIME_NEVER: u64 = u64.MAX_VALUE;

/** Rounds `value` up to a multiple of `unit`, a power of two. */
export function alignUp(value: u64, unit: u64): u64 {
  return (value + unit - 1) & ~(unit - 1);
}

/** Units of `unit` (any positive number) that hold `value`. */
export function unitsFor(value: u64, unit: u64): u64 {
  return (value + unit - 1) / unit;
}
