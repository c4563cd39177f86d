// Entries of the guest's own page tables, 8 bytes with the architecture's bit positions (4 levels, long mode).
//
//   63   62..52   51        12  11..9  8   7    6   5   4..3   2   1   0
//   +---+--------+------------+------+---+----+---+---+------+---+---+---+
//   |NX | avail. | gfn        |avail.| G | PS | D | A |cache | U | W | P |
//   +---+--------+------------+------+---+----+---+---+------+---+---+---+
//
// D and G count in a leaf only; PS at level 2 and 3 makes one of 2 MiB or 1 GiB, and is reserved at level 4. NX is reserved while the CPU does not
// use it, and so are the bits of a physical address that the CPU does not have.

export const GPTE_PRESENT: u64 = 1 << 0;
export const GPTE_WRITE: u64 = 1 << 1;
export const GPTE_USER: u64 = 1 << 2;
export const GPTE_ACCESSED: u64 = 1 << 5;
export const GPTE_DIRTY: u64 = 1 << 6;
export const GPTE_PAGE_SIZE: u64 = 1 << 7;
export const GPTE_NX: u64 = (<u64>1) << 63;

const GFN_MASK: u64 = 0x000ffffffffff000;
const GFN_SHIFT: u64 = 12;
/** Physical addresses of the simulated CPU have so many bits. */
const PHYSICAL_BITS: u64 = 44;

/** Levels of the guest's tables. */
export const GUEST_LEVELS: u32 = 4;

/** The guest frame that the entry names. */
export function gpteGfn(gpte: u64): u32 {
  return <u32>((gpte & GFN_MASK) >> GFN_SHIFT);
}

export function gpteOf(gfn: u32, bits: u64): u64 {
  return ((<u64>gfn) << GFN_SHIFT) | bits;
}

/** True for an entry of `level` that maps memory, false for one that names a table. */
export function gpteIsLeaf(gpte: u64, level: u32): bool {
  return level === 1 || (level < GUEST_LEVELS && (gpte & GPTE_PAGE_SIZE) !== 0);
}

/** A bit is set that must not be. @param nx the CPU uses the NX bit (EFER.NX) */
export function gpteReserved(gpte: u64, level: u32, nx: bool): bool {
  let reserved = GFN_MASK & ~(((<u64>1) << PHYSICAL_BITS) - 1);
  if (!nx) reserved |= GPTE_NX;
  if (level === GUEST_LEVELS) reserved |= GPTE_PAGE_SIZE;
  else if (level > 1 && (gpte & GPTE_PAGE_SIZE) !== 0) {
    // The frame of a large page is aligned; bit 12 is the memory type's.
    reserved |= (((<u64>1) << (GFN_SHIFT + 9 * (level - 1))) - 1) & ~(((<u64>1) << (GFN_SHIFT + 1)) - 1);
  }
  return (gpte & reserved) !== 0;
}
