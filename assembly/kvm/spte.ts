// Secondary page-table entries of EPT, 8 bytes, with the hardware's and KVM's bit positions.
//
//   63   58  57        51            12  11    9   8        5..3   2   1   0
//   +---+---+---+-----+----------------+---+---+---+---+-------+---+---+---+
//   |SVE|MMU|HOST|    | pfn            |PRS|   | D | A | memtyp| X | W | R |
//   +---+---+---+-----+----------------+---+---+---+---+-------+---+---+---+
//        writable
//
// A leaf names a simulated frame. An entry above the leaves names the table below it by its place in linear memory
// (tables lie at multiples of 4 KiB there); the frame that the table costs the host stands in the table's header.
//
// invariant: MMU-writable => host-writable; W => MMU-writable

export const SPTE_NONE: u64 = 0;
export const SPTE_READ: u64 = 1 << 0;
export const SPTE_WRITE: u64 = 1 << 1;
export const SPTE_EXEC: u64 = 1 << 2;
export const SPTE_WRITE_BACK: u64 = 6 << 3;
export const SPTE_ACCESSED: u64 = 1 << 8;
export const SPTE_DIRTY: u64 = 1 << 9;
/** SPTE_MMU_PRESENT_MASK: the test for "present". */
export const SPTE_MMU_PRESENT: u64 = 1 << 11;
export const SPTE_HOST_WRITABLE: u64 = (<u64>1) << 57;
export const SPTE_MMU_WRITABLE: u64 = (<u64>1) << 58;
export const SPTE_SUPPRESS_VE: u64 = (<u64>1) << 63;

const PFN_MASK: u64 = 0x000ffffffffff000;
const PFN_SHIFT: u64 = 12;

export function sptePresent(spte: u64): bool {
  return (spte & SPTE_MMU_PRESENT) !== 0;
}

export function sptePfn(spte: u64): u32 {
  return <u32>((spte & PFN_MASK) >> PFN_SHIFT);
}

/** make_spte() for a 4 KiB leaf: accessed if it is for an access, and dirty where it is writable. */
export function spteLeaf(pfn: u32, writable: bool, accessed: bool): u64 {
  let spte = SPTE_MMU_PRESENT | SPTE_READ | SPTE_EXEC | SPTE_WRITE_BACK | SPTE_SUPPRESS_VE;
  if (accessed) spte |= SPTE_ACCESSED;
  if (writable) spte |= SPTE_WRITE | SPTE_HOST_WRITABLE | SPTE_MMU_WRITABLE | SPTE_DIRTY;
  return spte | ((<u64>pfn) << PFN_SHIFT);
}

/** An entry that links the table at `address`. */
export function spteTable(address: usize): u64 {
  assert((address & 0xfff) === 0);
  return SPTE_MMU_PRESENT | SPTE_READ | SPTE_WRITE | SPTE_EXEC | SPTE_ACCESSED | <u64>address;
}

/** Address of the table that an entry above the leaves links. */
export function spteTableAddress(spte: u64): usize {
  return <usize>(spte & PFN_MASK);
}
