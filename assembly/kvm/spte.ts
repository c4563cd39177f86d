// Secondary page-table entries, 8 bytes, with the hardware's and KVM's bit positions. Two formats: that of EPT, and that of NPT
// and of shadow paging, which is an ordinary page table's. Bits 0, 1, 11 and the frame are in the same place in both.
//
//   EPT   63   58   57   56   54  53 52  51        12  11      9   8   7   6..3   2   1   0
//        +---+----+----+----+----+------+-----------+---+-----+---+---+---+------+---+---+---+
//        |SVE|MMU |HOST|saved X,R|A/D   | pfn       |PRS|     | D | A |PS |memtyp| X | W | R |
//        +---+----+----+----+----+------+-----------+---+-----+---+---+---+------+---+---+---+
//            writable              mode
//   NPT   63                             51        12  11  10   9      7   6   5       2   1   0
//        +---+--------------------------+-----------+---+----+----+--+---+---+---+---+---+---+---+
//        |NX |                          | pfn       |PRS|MMU |HOST|  |PS | D | A |   | U | W | P |
//        +---+--------------------------+-----------+---+----+----+--+---+---+---+---+---+---+---+
//                                                        writable
//
// A leaf names a simulated frame. An entry above the leaves names the table below it by its place in linear memory
// (tables lie at multiples of 4 KiB there); the frame that the table costs the host stands in the table's header.
//
// invariant: MMU-writable => host-writable; W => MMU-writable

export const SPTE_EPT: u32 = 0;
export const SPTE_NPT: u32 = 1;

export const SPTE_NONE: u64 = 0;
/** REMOVED_SPTE: in a table that nobody can reach any more. Not present. */
export const SPTE_REMOVED: u64 = 0x5a0;
/** Readable, or present: the same bit. */
export const SPTE_READ: u64 = 1 << 0;
export const SPTE_WRITE: u64 = 1 << 1;
const EPT_EXEC: u64 = 1 << 2;
const EPT_WRITE_BACK: u64 = 6 << 3;
const EPT_SUPPRESS_VE: u64 = (<u64>1) << 63;
const NPT_USER: u64 = 1 << 2;
const NPT_NX: u64 = (<u64>1) << 63;
/** A leaf above 4 KiB. */
export const SPTE_PAGE_SIZE: u64 = 1 << 7;
/** SPTE_MMU_PRESENT_MASK: the test for "present". */
export const SPTE_MMU_PRESENT: u64 = 1 << 11;

// A/D bits are not used by this EPT entry; its saved R and X while it is tracked without them.
const AD_DISABLED: u64 = (<u64>1) << 52;
const SAVED_SHIFT: u64 = 54;
const SAVED_MASK: u64 = (EPT_EXEC | SPTE_READ) << SAVED_SHIFT;
const TRACKED_MASK: u64 = EPT_EXEC | SPTE_WRITE | SPTE_READ;

const PFN_MASK: u64 = 0x000ffffffffff000;
const PFN_SHIFT: u64 = 12;

export const ACC_EXEC: u32 = 1;
export const ACC_WRITE: u32 = 2;
export const ACC_USER: u32 = 4;
export const ACC_ALL: u32 = 7;

export function spteAccessed(format: u32): u64 {
  return format === SPTE_EPT ? 1 << 8 : 1 << 5;
}

/** The bit without which only the guest's kernel may use the page; EPT has none. */
export function spteUser(format: u32): u64 {
  return format === SPTE_EPT ? 0 : NPT_USER;
}

/** Position of the dirty bit. */
export function spteDirtyShift(format: u32): u64 {
  return format === SPTE_EPT ? 9 : 6;
}

export function spteDirty(format: u32): u64 {
  return (<u64>1) << spteDirtyShift(format);
}

export function spteHostWritable(format: u32): u64 {
  return (<u64>1) << (format === SPTE_EPT ? 57 : 9);
}

export function spteMmuWritable(format: u32): u64 {
  return (<u64>1) << (format === SPTE_EPT ? 58 : 10);
}

export function sptePresent(spte: u64): bool {
  return (spte & SPTE_MMU_PRESENT) !== 0;
}

export function sptePfn(spte: u64): u32 {
  return <u32>((spte & PFN_MASK) >> PFN_SHIFT);
}

/** True for an entry that maps memory at `level`, false for one that links a table. */
export function spteIsLeaf(spte: u64, level: u32): bool {
  return level === 1 || (spte & SPTE_PAGE_SIZE) !== 0;
}

/** MMU-writable, whatever W says: write access may be given back without mmu_lock. */
export function spteMayWrite(spte: u64, format: u32): bool {
  return (spte & spteMmuWritable(format)) !== 0;
}

/** Does the entry allow the access? One that is not present has other things in those bits (mmiospte.ts). */
export function spteAllows(spte: u64, write: bool): bool {
  const wanted = SPTE_MMU_PRESENT | (write ? SPTE_READ | SPTE_WRITE : SPTE_READ);
  return (spte & wanted) === wanted;
}

/**
 * make_spte() for a leaf.
 *
 * @param level 1 for 4 KiB, 2 for 2 MiB
 * @param access ACC_*; without ACC_EXEC the page is not executable (the mitigation for huge pages takes it away)
 * @param hostWritable the primary MMU and the slot allow writing
 * @param protect the frame holds a page table of the guest's: no writing until that is undone
 * @param prefetch nobody has touched the page: it is not accessed
 */
export function spteLeaf(
  format: u32,
  pfn: u32,
  level: u32,
  access: u32,
  hostWritable: bool,
  protect: bool,
  prefetch: bool,
): u64 {
  let spte = SPTE_MMU_PRESENT | SPTE_READ | ((<u64>pfn) << PFN_SHIFT);
  if (!prefetch) spte |= spteAccessed(format);
  if (level > 1) spte |= SPTE_PAGE_SIZE;
  if (format === SPTE_EPT) {
    spte |= EPT_SUPPRESS_VE | EPT_WRITE_BACK;
    if (access & ACC_EXEC) spte |= EPT_EXEC;
  } else {
    if ((access & ACC_EXEC) === 0) spte |= NPT_NX;
    if (access & ACC_USER) spte |= NPT_USER;
  }
  if (!hostWritable) return spte;
  spte |= spteHostWritable(format);
  if ((access & ACC_WRITE) === 0 || protect) return spte;
  return spte | SPTE_WRITE | spteMmuWritable(format) | spteDirty(format);
}

/** The leaf that a fault in a direct map asks for, or, with `prefetch`, one that nobody has asked for yet. */
export function spteOfFault(format: u32, pfn: u32, level: u32, writable: bool, prefetch: bool): u64 {
  return spteLeaf(format, pfn, level, ACC_ALL, writable, false, prefetch);
}

/** An entry as `spte`, which names no frame, for frame `pfn`. */
export function spteFor(spte: u64, pfn: u32): u64 {
  assert((spte & PFN_MASK) === 0);
  return spte | ((<u64>pfn) << PFN_SHIFT);
}

/** make_huge_page_split_spte(): entry `index` of the table that takes the place of a 2 MiB leaf. */
export function spteSplit(huge: u64, index: u32): u64 {
  return (huge & ~SPTE_PAGE_SIZE) + ((<u64>index) << PFN_SHIFT);
}

/** Write-protects a leaf for dirty logging: only W goes. */
export function spteWriteProtect(spte: u64): u64 {
  return spte & ~SPTE_WRITE;
}

/** Used since the last look. */
export function spteYoung(spte: u64, format: u32): bool {
  if ((spte & AD_DISABLED) !== 0 && format === SPTE_EPT) return (spte & SPTE_READ) !== 0;
  return (spte & spteAccessed(format)) !== 0;
}

/** Takes the accessed bit away, or, in an entry without A/D bits, all access, with what it was kept aside. */
export function spteAge(spte: u64, format: u32): u64 {
  if ((spte & AD_DISABLED) === 0 || format !== SPTE_EPT) return spte & ~spteAccessed(format);
  return (spte & ~TRACKED_MASK) | ((spte & (EPT_EXEC | SPTE_READ)) << SAVED_SHIFT);
}

/** Gives a tracked entry its access back; writing only to an access that writes. */
export function spteRestore(spte: u64, format: u32, write: bool): u64 {
  const saved = (spte & SAVED_MASK) >> SAVED_SHIFT;
  const restored = (spte & ~SAVED_MASK) | saved;
  return write && spteMayWrite(spte, format) ? restored | SPTE_WRITE : restored;
}

/** A leaf of a CPU without accessed and dirty bits in EPT. */
export function spteWithoutAd(spte: u64): u64 {
  return (spte | AD_DISABLED) & ~(spteAccessed(SPTE_EPT) | spteDirty(SPTE_EPT));
}

/** An entry that links the table at `address`. */
export function spteTable(format: u32, address: usize): u64 {
  assert((address & 0xfff) === 0);
  const rights = SPTE_MMU_PRESENT | SPTE_READ | SPTE_WRITE | spteAccessed(format);
  return rights | (format === SPTE_EPT ? EPT_EXEC : NPT_USER) | <u64>address;
}

/** Address of the table that an entry above the leaves links. */
export function spteTableAddress(spte: u64): usize {
  return <usize>(spte & PFN_MASK);
}
