// Entries of the host process's page table (the primary MMU), x86-64 form.
//
//   63    59 58            52 51                     12 11      7   6   5   3   1   0
//   +-------+----------------+-------------------------+---------+---+---+---+---+---+
//   |       |                | pfn                     |         | D | A |   | W | P |   present
//   +-------+----------------+-------------------------+---------+---+---+---+---+---+
//   | type  | inverted offset of the slot (bits 9..58)           | 0 ..  | E |   | 0 |   swapped; E: exclusive
//   +-------+--------------------+---+---+-----------------------+-------+---+---+---+
//   | type  |                    | D | A | pfn (bits 9..48)      | 0 ..              |   under migration, all of it inverted
//   +-------+--------------------+---+---+-----------------------+-------------------+
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

// The types of entries under migration: the last of the 5 bits' (MAX_SWAPFILES leaves them out). What the pte had stands above the
// frame's number, 40 bits of it (SWP_MIG_YOUNG_BIT, SWP_MIG_DIRTY_BIT).
const MIGRATION_READ: u64 = 29;
const MIGRATION_READ_EXCLUSIVE: u64 = 30;
const MIGRATION_WRITE: u64 = 31;
const MIGRATION_YOUNG: u64 = (<u64>1) << 40;
const MIGRATION_DIRTY: u64 = (<u64>1) << 41;

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
  // Without branches: a loop over ptes could not guess them.
  const entry =
    u32(pte !== PTE_NONE) & u32((pte & PTE_PRESENT) === 0) & u32(pte >> TYPE_SHIFT < MIGRATION_READ);
  return entry !== 0;
}

/** Maps a page that has a record. Without branches, as pteSwapped(). */
export function pteMaps(pte: u64): bool {
  return (u32(ptePresent(pte)) & u32(ptePfn(pte) !== ZERO_PFN)) !== 0;
}

/** The page is being migrated: who needs it waits. */
export function pteMigration(pte: u64): bool {
  return (pte & PTE_PRESENT) === 0 && pte >> TYPE_SHIFT >= MIGRATION_READ;
}

/** The entry that stands for a present `pte` while its page is migrated; `exclusive`: the page belongs to this process alone. */
export function pteOfMigration(pte: u64, exclusive: bool): u64 {
  assert(ptePresent(pte));
  const type = pte & PTE_WRITE ? MIGRATION_WRITE : exclusive ? MIGRATION_READ_EXCLUSIVE : MIGRATION_READ;
  let offset = <u64>ptePfn(pte);
  if (pte & PTE_ACCESSED) offset |= MIGRATION_YOUNG;
  if (pte & PTE_DIRTY) offset |= MIGRATION_DIRTY;
  return (type << TYPE_SHIFT) | (~(offset << OFFSET_SHIFT) & OFFSET_MASK);
}

function migrationOffset(pte: u64): u64 {
  assert(pteMigration(pte));
  return (~pte & OFFSET_MASK) >> OFFSET_SHIFT;
}

/** The frame whose page is under migration. */
export function migrationPfn(pte: u64): u32 {
  return <u32>migrationOffset(pte);
}

/** The page belongs to this process alone. */
export function migrationExclusive(pte: u64): bool {
  return pte >> TYPE_SHIFT !== MIGRATION_READ;
}

/** The entry after migration, mapping `pfn`: writable, young and dirty as before. */
export function pteOfMigrated(pte: u64, pfn: u32): u64 {
  const offset = migrationOffset(pte);
  let flags: u64 = pte >> TYPE_SHIFT === MIGRATION_WRITE ? PTE_WRITE : 0;
  if (offset & MIGRATION_YOUNG) flags |= PTE_ACCESSED;
  if (offset & MIGRATION_DIRTY) flags |= PTE_DIRTY;
  return pteOfPfn(pfn, flags);
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

/** pteEntry() where it may be something else: then the value says nothing. */
export function pteEntryAny(pte: u64): u32 {
  const offset = <u32>((~pte & OFFSET_MASK) >> OFFSET_SHIFT) & ENTRY_OFFSET_MASK;
  return ((<u32>(pte >> TYPE_SHIFT)) << ENTRY_TYPE_SHIFT) | offset;
}

export function pteEntry(pte: u64): u32 {
  assert(pteSwapped(pte));
  return pteEntryAny(pte);
}
