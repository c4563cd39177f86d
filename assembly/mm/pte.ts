// Entries of the host process's page table (the primary MMU), x86-64 form.
//
//   63    59 58            52 51                     12 11      7   6   5   3   1   0
//   +-------+----------------+-------------------------+---------+---+---+---+---+---+
//   |       |                | pfn                     |         | D | A |   | W | P |   present
//   +-------+----------------+-------------------------+---------+---+---+---+---+---+
//   | type  | inverted offset of the slot (bits 9..58)           | 0 ..  | E |   | 0 |   swapped; E: exclusive
//   +-------+----------------------------------------------------+-------+---+---+---+
//
// Nothing mapped: 0. The offset is stored inverted, so that a swap entry never looks like a small physical address.

export const PTE_NONE: u64 = 0;
export const PTE_PRESENT: u64 = 1 << 0;
export const PTE_WRITE: u64 = 1 << 1;
export const PTE_SWP_EXCLUSIVE: u64 = 1 << 3;
export const PTE_ACCESSED: u64 = 1 << 5;
export const PTE_DIRTY: u64 = 1 << 6;

/** The shared page of zeroes: it lies in the kernel's image, has no page record and is never freed or reclaimed. */
export const ZERO_PFN: u32 = 1;

const PFN_SHIFT: u64 = 12;
const PFN_MASK: u64 = 0x000ffffffffff000;
const OFFSET_SHIFT: u64 = 9;
const OFFSET_BITS: u64 = 50;
const OFFSET_MASK: u64 = (((<u64>1) << OFFSET_BITS) - 1) << OFFSET_SHIFT;
const TYPE_SHIFT: u64 = 59;

// A swap entry in 32 bits, as page records and swap tables keep it: type in the upper 5, offset in the lower 27.
const ENTRY_TYPE_SHIFT: u32 = 27;
export const ENTRY_OFFSET_MASK: u32 = (1 << ENTRY_TYPE_SHIFT) - 1;
/** No swap entry: offset 0 is the header of its area. */
export const ENTRY_NONE: u32 = 0;

export function swapEntry(type: u32, offset: u32): u32 {
  assert(offset !== 0 && offset <= ENTRY_OFFSET_MASK);
  return (type << ENTRY_TYPE_SHIFT) | offset;
}

export function entryType(entry: u32): u32 {
  return entry >> ENTRY_TYPE_SHIFT;
}

export function entryOffset(entry: u32): u32 {
  return entry & ENTRY_OFFSET_MASK;
}

export function ptePresent(pte: u64): bool {
  return (pte & PTE_PRESENT) !== 0;
}

export function pteSwapped(pte: u64): bool {
  return pte !== PTE_NONE && (pte & PTE_PRESENT) === 0;
}

export function ptePfn(pte: u64): u32 {
  return <u32>((pte & PFN_MASK) >> PFN_SHIFT);
}

/** Maps the page of zeroes. */
export function pteZero(pte: u64): bool {
  return (pte & PTE_PRESENT) !== 0 && ptePfn(pte) === ZERO_PFN;
}

export function pteOfPfn(pfn: u32, flags: u64): u64 {
  return ((<u64>pfn) << PFN_SHIFT) | flags | PTE_PRESENT;
}

export function pteOfEntry(entry: u32, exclusive: bool): u64 {
  const offset = ~((<u64>entryOffset(entry)) << OFFSET_SHIFT) & OFFSET_MASK;
  return ((<u64>entryType(entry)) << TYPE_SHIFT) | offset | (exclusive ? PTE_SWP_EXCLUSIVE : 0);
}

export function pteEntry(pte: u64): u32 {
  assert(pteSwapped(pte));
  return swapEntry(<u32>(pte >> TYPE_SHIFT), <u32>((~pte & OFFSET_MASK) >> OFFSET_SHIFT));
}
