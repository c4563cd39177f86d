import { blockByte } from "./page";

// What is known of the block that begins at a frame, one byte a frame: whether the buddy allocator has it, and how large it is. A free that looks for a
// buddy reads this byte and, unless it merges, nothing else of the buddy's.
//
//   bit  0       4      7
//        +-------+------+----------+
//        | order | type | reported |
//        +-------+------+----------+
//
// order      of the free block that begins here, plus one; 0 where none does
// type       migratetype of the free list that the block is on, or, in use or on a CPU's list, that it will be given back to
// reported   the host has been told that the block is free (PageReported), until it leaves its list

const ORDER_MASK: u32 = 15;
const TYPE_SHIFT: u32 = 4;
const TYPE_MASK: u32 = 7 << TYPE_SHIFT;
const REPORTED: u32 = 1 << 7;

function state(mm: usize, pfn: u32): u32 {
  return load<u8>(blockByte(mm, pfn));
}

/** PageBuddy(): a free block begins at `pfn`. */
export function isFree(mm: usize, pfn: u32): bool {
  return (state(mm, pfn) & ORDER_MASK) !== 0;
}

/** The same, of exactly that order. */
export function isFreeOf(mm: usize, pfn: u32, order: u32): bool {
  return (state(mm, pfn) & ORDER_MASK) === order + 1;
}

/** Order of the free block that begins at `pfn`. */
export function freeOrder(mm: usize, pfn: u32): u32 {
  assert(isFree(mm, pfn));
  return (state(mm, pfn) & ORDER_MASK) - 1;
}

/** A free block of that order and type begins at `pfn`, of which nobody has been told. */
export function setFree(mm: usize, pfn: u32, order: u32, type: u32): void {
  store<u8>(blockByte(mm, pfn), <u8>((order + 1) | (type << TYPE_SHIFT)));
}

/** No free block begins at `pfn`; what does will be given back to lists of `type`. */
export function setPageType(mm: usize, pfn: u32, type: u32): void {
  store<u8>(blockByte(mm, pfn), <u8>(type << TYPE_SHIFT));
}

/** Migratetype of the free list that the block is on, or that it will be given back to. */
export function pageType(mm: usize, pfn: u32): u32 {
  return (state(mm, pfn) & TYPE_MASK) >> TYPE_SHIFT;
}

export function isReported(mm: usize, pfn: u32): bool {
  return (state(mm, pfn) & REPORTED) !== 0;
}

/** The host has been told of the free block at `pfn`. */
export function setReported(mm: usize, pfn: u32): void {
  assert(isFree(mm, pfn));
  store<u8>(blockByte(mm, pfn), <u8>(state(mm, pfn) | REPORTED));
}
