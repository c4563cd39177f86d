import { checkLeafBits } from "./leafbits";
import { checkMmio } from "./mmio";
import { SPTE_NONE, SPTE_PAGE_SIZE, sptePfn, sptePresent, spteTable, spteTableAddress } from "./spte";
import { vmDirectory, vmFormat, vmGfnEnd, vmIsShadow, vmLevels, vmRoot } from "./vm";

// The tables that map a VM, the same for every MMU: 4 or 5 levels of 512 entries from gfn to frame. The tables are the truth; a directory
// of leaf tables beside them spares the walk its upper levels.
//
//   gfn   35      27 26      18 17       9 8        0
//         +---------+----------+----------+----------+
//         | level 4 | level 3  | level 2  | level 1  |     level 5: always entry 0, for a gfn has 32 bits
//         +---------+----------+----------+----------+
//
// invariant: directory[gfn >> 9] is the leaf table that the walk from the root reaches, or 0 where it reaches none; it ends with the last slot
// invariant: where a 2 MiB leaf stands at level 2, there is no leaf table

const LEVEL_BITS: u32 = 9;
export const TABLE_ENTRIES: u32 = 512;
export const LEVEL_4K: u32 = 1;
export const LEVEL_2M: u32 = 2;
export const LEVEL_1G: u32 = 3;

/** Pages that an entry of `level` maps. */
export function levelPages(level: u32): u32 {
  assert(level >= 1 && level <= 4);
  return 1 << (LEVEL_BITS * (level - 1));
}

/** Address of the entry for `gfn` in a table of `level`. */
export function entryOf(table: usize, gfn: u32, level: u32): usize {
  if (level > 4) return table;
  return table + ((<usize>((gfn >> (LEVEL_BITS * (level - 1))) & 511)) << 3);
}

/** First gfn that the table of `level` maps in which `gfn` lies. */
export function tableGfn(gfn: u32, level: u32): u32 {
  return level >= 4 ? 0 : gfn & ~((1 << (LEVEL_BITS * level)) - 1);
}

/** Address of the 4 KiB leaf entry of `gfn`, 0 when its table is not there. */
export function walkLeaf(vm: usize, gfn: u32): usize {
  if (gfn >= vmGfnEnd(vm)) return walkFar(vm, gfn);
  const table = <usize>load<u32>(vmDirectory(vm) + ((<usize>(gfn >> LEVEL_BITS)) << 2));
  return table === 0 ? 0 : table + ((<usize>(gfn & 511)) << 3);
}

// The same by the tables, where the directory does not reach: beyond all slots only MMIO sptes stand.
function walkFar(vm: usize, gfn: u32): usize {
  if (vmIsShadow(vm)) return 0;
  const entry = walkTo(vm, gfn, LEVEL_2M);
  if (entry === 0 || !sptePresent(load<u64>(entry))) return 0;
  return entryOf(spteTableAddress(load<u64>(entry)), gfn, LEVEL_4K);
}

/** Address of the entry for `gfn` at `level`, 0 when the walk does not come that far. */
export function walkTo(vm: usize, gfn: u32, level: u32): usize {
  if (level === LEVEL_4K) return walkLeaf(vm, gfn);
  let table = vmRoot(vm);
  if (table === 0) return 0; // the VM has ended, or has no root at the moment
  for (let at = vmLevels(vm); at > level; at--) {
    const entry = load<u64>(entryOf(table, gfn, at));
    if (!sptePresent(entry)) return 0;
    table = spteTableAddress(entry);
  }
  return entryOf(table, gfn, level);
}

/** Address of the 2 MiB leaf that maps `gfn`, 0 when none does. */
export function walkHuge(vm: usize, gfn: u32): usize {
  const entry = walkTo(vm, gfn, LEVEL_2M);
  return entry !== 0 && (load<u64>(entry) & SPTE_PAGE_SIZE) !== 0 ? entry : 0;
}

/** Address of the leaf entry that the hardware's walk for `gfn` ends at: 4 KiB, present or not, or 2 MiB; 0 for none. */
export function walkAny(vm: usize, gfn: u32): usize {
  const leaf = walkLeaf(vm, gfn);
  return leaf !== 0 ? leaf : walkHuge(vm, gfn);
}

/** The first gfn from `gfn` on that a leaf entry, present or not, translates; vmGfnEnd() or more when there is none. */
export function walkNext(vm: usize, gfn: u32): u32 {
  let next = gfn;
  while (next < vmGfnEnd(vm) && walkAny(vm, next) === 0) next = (next | 511) + 1;
  return next;
}

/** The leaf entry that translates `gfn`, SPTE_NONE where there is none. */
export function walkSpte(vm: usize, gfn: u32): u64 {
  const leaf = walkAny(vm, gfn);
  return leaf === 0 ? SPTE_NONE : load<u64>(leaf);
}

/** Frame that a leaf entry translates `gfn` to. */
export function leafPfn(spte: u64, gfn: u32): u32 {
  return spte & SPTE_PAGE_SIZE ? sptePfn(spte) + (gfn & 511) : sptePfn(spte);
}

/** Tables that are missing on the way to the entry of `gfn` at `level`, the root included. */
export function walkMissing(vm: usize, gfn: u32, level: u32): u32 {
  if (walkLeaf(vm, gfn) !== 0) return 0;
  let table = vmRoot(vm);
  if (table === 0) return vmLevels(vm) - level + 1;
  for (let at = vmLevels(vm); at > level; at--) {
    const entry = load<u64>(entryOf(table, gfn, at));
    if (!sptePresent(entry) || entry & SPTE_PAGE_SIZE) return at - level;
    table = spteTableAddress(entry);
  }
  return 0;
}

/** Links `child`, a table of `level` - 1, at `entry`. */
export function linkTable(vm: usize, entry: usize, gfn: u32, level: u32, child: usize): void {
  store<u64>(entry, spteTable(vmFormat(vm), child));
  if (level === LEVEL_2M) setDirectory(vm, gfn, child);
}

/** The walk reaches leaf table `table` (0: none) for the 512 pages around `gfn`. */
export function setDirectory(vm: usize, gfn: u32, table: usize): void {
  if (!inDirectory(vm, gfn)) return;
  store<u32>(vmDirectory(vm) + ((<usize>(gfn >> LEVEL_BITS)) << 2), <u32>table);
}

function inDirectory(vm: usize, gfn: u32): bool {
  return gfn >> LEVEL_BITS <= (vmGfnEnd(vm) - 1) >> LEVEL_BITS;
}

/** The directory reaches further than before, and knows no leaf table there yet: those of MMIO sptes are entered. */
export function directoryGrown(vm: usize): void {
  if (vmRoot(vm) !== 0 && !vmIsShadow(vm)) enterTables(vm, vmRoot(vm), 0, vmLevels(vm));
}

function enterTables(vm: usize, table: usize, first: u32, level: u32): void {
  for (let index: u32 = 0; index < TABLE_ENTRIES; index++) {
    const entry = load<u64>(table + ((<usize>index) << 3));
    if (!sptePresent(entry) || entry & SPTE_PAGE_SIZE) continue;
    const gfn = level > 4 ? 0 : first + index * levelPages(level);
    if (level === LEVEL_2M) setDirectory(vm, gfn, spteTableAddress(entry));
    else enterTables(vm, spteTableAddress(entry), gfn, level - 1);
  }
}

/** The directory and the leaves' bits against the tables. Returns how many tables the walk can reach. */
export function checkWalk(vm: usize): u32 {
  const found = vmRoot(vm) === 0 ? 0 : checkTable(vm, vmRoot(vm), 0, vmLevels(vm));
  let known: u32 = 0;
  for (let at: u32 = 0; at <= (vmGfnEnd(vm) - 1) >> LEVEL_BITS; at++) {
    if (load<u32>(vmDirectory(vm) + ((<usize>at) << 2)) !== 0) known++;
  }
  assert(known === <u32>found);
  return <u32>(found >> 32);
}

// Tables below and with this one in the upper half, leaf tables in the lower.
function checkTable(vm: usize, table: usize, first: u32, level: u32): u64 {
  let found: u64 = (<u64>1) << 32;
  if (level === LEVEL_4K) {
    checkLeafBits(vm, table);
    for (let index: u32 = 0; index < TABLE_ENTRIES; index++) {
      const spte = load<u64>(table + ((<usize>index) << 3));
      if (!sptePresent(spte)) checkMmio(vm, first + index, spte);
    }
    return inDirectory(vm, first) ? found + 1 : found;
  }
  for (let index: u32 = 0; index < TABLE_ENTRIES; index++) {
    const entry = load<u64>(table + ((<usize>index) << 3));
    if (!sptePresent(entry)) continue;
    const gfn = level > 4 ? 0 : first + index * levelPages(level);
    if (level === LEVEL_2M) {
      const huge = (entry & SPTE_PAGE_SIZE) !== 0;
      const far = !inDirectory(vm, gfn);
      const leaf = far ? 0 : load<u32>(vmDirectory(vm) + ((<usize>(gfn >> LEVEL_BITS)) << 2));
      assert(leaf === (huge || far ? 0 : <u32>spteTableAddress(entry)));
      if (huge) continue;
    }
    found += checkTable(vm, spteTableAddress(entry), gfn, level - 1);
  }
  return found;
}
