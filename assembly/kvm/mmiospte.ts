import { ACC_USER, ACC_WRITE, SPTE_EPT, sptePresent } from "./spte";

// MMIO sptes: leaf entries for frames that no memslot holds. To the hardware they are broken, and an access that meets one exits with that reason: an EPT
// misconfiguration (writable and executable, but not readable), or a reserved bit in the formats of ordinary page tables. They hold what
// KVM then needs: the frame, the access, and the generation of the memslots in which it was true.
//
//   EPT   63  62       52 51 49 48   44 43  39 38          12 11  10    3  2 1 0
//        +---+-----------+-----+-------+------+--------------+---+-------+-------+
//        | 0 | gen 8..18 |  0  |gpa39..| 1s   | gpa 38..12   | 0 | gen   | 1 1 0 |      the A/D mode, X and R kept aside, and both
//        +---+-----------+-----+-------+------+--------------+---+ 0..7  +-------+      "writable" bits of other entries lie in the
//   NPT  | 0 | gen 8..18 |1,0,0|gpa39..| 1s   | gpa 38..12   | 0 |       | U W 1 |      generation here: only bit 11 tells them apart
//        +---+-----------+-----+-------+------+--------------+---+-------+-------+
//
// Bits 39 to 43 of the address stand five places higher, and ones in their place: an entry that the hardware takes for not present must not
// name a line that the cache can hold (L1TF). Which five is this model's choice, the ones below 2^44 bytes of memory. So is that EPT, whose lowest bits are
// taken, keeps no access, and that bit 63 is clear as in an entry that is empty.
//
// invariant: an MMIO spte is not present, so that no walk, list or counter takes it for a mapping

/** Bits of a generation that an entry has room for; the rest of the number is lost. */
const GENERATION_MASK: u64 = 0x7ffff;
const LOW_BITS: u64 = 0xff;
const LOW_SHIFT: u64 = 3;
const HIGH_BITS: u64 = 0x7ff;
const HIGH_SHIFT: u64 = 52;
const HIGH_FROM: u64 = 8;

const EPT_KIND_MASK: u64 = 7;
const EPT_MISCONFIG: u64 = 6;
const RESERVED: u64 = ((<u64>1) << 51) | 1;

const LOW_GPA: u64 = 0x0000007ffffff000;
const SLICE: u64 = 0x00000f8000000000;
const SLICE_UP: u64 = 5;

/** What is left of a generation of the memslots in an entry. */
export function mmioGeneration(generation: u64): u32 {
  return <u32>(generation & GENERATION_MASK);
}

/** The bits for it. */
export function mmioGenerationBits(generation: u64): u64 {
  const kept = generation & GENERATION_MASK;
  return ((kept & LOW_BITS) << LOW_SHIFT) | ((kept >> HIGH_FROM) << HIGH_SHIFT);
}

/** make_mmio_spte() @param access ACC_* that the guest's tables leave */
export function spteMmio(format: u32, generation: u64, gfn: u32, access: u32): u64 {
  const gpa = (<u64>gfn) << 12;
  const kind = format === SPTE_EPT ? EPT_MISCONFIG : RESERVED | (access & (ACC_WRITE | ACC_USER));
  return mmioGenerationBits(generation) | kind | (gpa & LOW_GPA) | SLICE | ((gpa & SLICE) << SLICE_UP);
}

/** is_mmio_spte() */
export function spteIsMmio(spte: u64, format: u32): bool {
  if (sptePresent(spte)) return false;
  if (format === SPTE_EPT) return (spte & EPT_KIND_MASK) === EPT_MISCONFIG;
  return (spte & RESERVED) === RESERVED;
}

/** The generation of the memslots in an MMIO spte, as far as it has room. */
export function spteMmioGeneration(spte: u64): u32 {
  return <u32>(((spte >> LOW_SHIFT) & LOW_BITS) | (((spte >> HIGH_SHIFT) & HIGH_BITS) << HIGH_FROM));
}

/** The frame that it stands for. */
export function spteMmioGfn(spte: u64): u32 {
  const gpa = (spte & LOW_GPA) | ((spte >> SLICE_UP) & SLICE);
  return <u32>(gpa >> 12);
}

/** ACC_* of it. */
export function spteMmioAccess(spte: u64, format: u32): u32 {
  return format === SPTE_EPT ? 0 : <u32>spte & (ACC_WRITE | ACC_USER);
}
