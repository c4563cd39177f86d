import { PFN_NONE } from "../memory/layout";
import { emit, TRACE_KVM_TDP_MMU_SPTE_CHANGED } from "../sim/trace";
import {
  SPTE_ACCESSED,
  SPTE_NONE,
  SPTE_WRITE,
  sptePfn,
  sptePresent,
  spteTable,
  spteTableAddress,
} from "./spte";
import { setVmRoot, vmDirectory, vmGfnEnd, vmId, vmRoot, vmTablesTaken, vmTakeTable, vmZapped } from "./vm";

// The TDP MMU: 4 levels of 512-entry tables from gfn to frame. No rmap: unmap and age walk the root. The tables are the
// truth; a directory of leaf tables beside them spares the walk its upper levels, tdpEnsure() writes both.
//
//   gfn   35      27 26      18 17       9 8        0
//         +---------+----------+----------+----------+
//         | level 4 | level 3  | level 2  | level 1  |
//         +---------+----------+----------+----------+
//
// invariant: directory[gfn >> 9] is the table that the walk from the root reaches, or 0 where it reaches none

const LEVEL_BITS: u32 = 9;
export const TDP_LEVELS: u32 = 4;

/** Address of the leaf entry of `gfn`, 0 when its table is not there. */
export function tdpLeaf(vm: usize, gfn: u32): usize {
  if (gfn >= vmGfnEnd(vm)) return 0;
  const table = <usize>load<u32>(vmDirectory(vm) + ((<usize>(gfn >> LEVEL_BITS)) << 2));
  return table === 0 ? 0 : table + ((<usize>(gfn & 511)) << 3);
}

/** The first gfn from `gfn` on whose leaf table is there; vmGfnEnd() or more when there is none. */
export function tdpNext(vm: usize, gfn: u32): u32 {
  let next = gfn;
  while (next < vmGfnEnd(vm) && tdpLeaf(vm, next) === 0) next = (next | 511) + 1;
  return next;
}

/** The leaf entry of `gfn`, SPTE_NONE without a table. */
export function tdpSpte(vm: usize, gfn: u32): u64 {
  const leaf = tdpLeaf(vm, gfn);
  return leaf === 0 ? SPTE_NONE : load<u64>(leaf);
}

function entryIndex(gfn: u32, level: u32): usize {
  return <usize>((gfn >> (LEVEL_BITS * (level - 1))) & 511);
}

/** Tables that are missing on the way to the leaf of `gfn`: 0 to 3 (the root is always there). */
export function tdpMissing(vm: usize, gfn: u32): u32 {
  if (tdpLeaf(vm, gfn) !== 0) return 0;
  let table = vmRoot(vm);
  let level = TDP_LEVELS;
  while (level > 1) {
    const entry = load<u64>(table + (entryIndex(gfn, level) << 3));
    if (!sptePresent(entry)) return level - 1;
    table = spteTableAddress(entry);
    level--;
  }
  return 0;
}

/** Loads the root; `pfn` is the frame that it costs. */
export function tdpLoadRoot(vm: usize, pfn: u32): void {
  setVmRoot(vm, vmTakeTable(vm, pfn));
}

/** Links the missing table nearest to the root on the way to `gfn`; `pfn` is the frame that it costs. */
export function tdpLinkOne(vm: usize, gfn: u32, pfn: u32): void {
  assert(pfn !== PFN_NONE);
  let table = vmRoot(vm);
  for (let level = TDP_LEVELS; level > 1; level--) {
    const at = table + (entryIndex(gfn, level) << 3);
    const entry = load<u64>(at);
    if (sptePresent(entry)) {
      table = spteTableAddress(entry);
      continue;
    }
    const child = vmTakeTable(vm, pfn);
    store<u64>(at, spteTable(child));
    if (level === 2) store<u32>(vmDirectory(vm) + ((<usize>(gfn >> LEVEL_BITS)) << 2), <u32>child);
    return;
  }
  assert(false);
}

/** Sets the leaf entry of `gfn`, whose table is there. A present entry never changes to another frame in one step. */
export function tdpSet(vm: usize, gfn: u32, spte: u64, time: u64): void {
  const leaf = tdpLeaf(vm, gfn);
  assert(leaf !== 0);
  const old = load<u64>(leaf);
  assert(!sptePresent(old) || !sptePresent(spte) || sptePfn(old) === sptePfn(spte));
  store<u64>(leaf, spte);
  emit(TRACE_KVM_TDP_MMU_SPTE_CHANGED, time, vmId(vm), gfn, old, spte);
}

/** Clears the accessed bit of `gfn`; true when it was set (age_gfn_range()). The TLBs keep what they have. */
export function tdpAge(vm: usize, gfn: u32): bool {
  const leaf = tdpLeaf(vm, gfn);
  if (leaf === 0) return false;
  const spte = load<u64>(leaf);
  if (!sptePresent(spte) || (spte & SPTE_ACCESSED) === 0) return false;
  store<u64>(leaf, spte & ~SPTE_ACCESSED);
  return true;
}

/** Clears the write bit of `gfn` for the dirty log; true when it was set. The caller flushes the TLBs. */
export function tdpWriteProtect(vm: usize, gfn: u32, time: u64): bool {
  const spte = tdpSpte(vm, gfn);
  if ((spte & SPTE_WRITE) === 0 || !sptePresent(spte)) return false;
  tdpSet(vm, gfn, spte & ~SPTE_WRITE, time);
  return true;
}

/** kvm_mmu_zap_all_fast(): no gfn is mapped any more; the tables stay. Returns the entries that were there; the caller flushes the TLBs. */
export function tdpZapAll(vm: usize, time: u64): u32 {
  let zapped: u32 = 0;
  vmZapped(vm);
  for (let gfn = tdpNext(vm, 0); gfn < vmGfnEnd(vm); gfn = tdpNext(vm, gfn + 1)) {
    if (!sptePresent(tdpSpte(vm, gfn))) continue;
    tdpSet(vm, gfn, SPTE_NONE, time);
    zapped++;
  }
  return zapped;
}

/** The directory against the tables; every table reachable exactly once. */
export function checkTdp(vm: usize): void {
  const root = vmRoot(vm);
  if (root === 0) return;
  let tables: u32 = 1;
  for (let index4: usize = 0; index4 < 512; index4++) {
    const entry4 = load<u64>(root + (index4 << 3));
    if (!sptePresent(entry4)) continue;
    tables++;
    for (let index3: usize = 0; index3 < 512; index3++) {
      const entry3 = load<u64>(spteTableAddress(entry4) + (index3 << 3));
      if (!sptePresent(entry3)) continue;
      tables++;
      for (let index2: usize = 0; index2 < 512; index2++) {
        const entry2 = load<u64>(spteTableAddress(entry3) + (index2 << 3));
        if (!sptePresent(entry2)) continue;
        tables++;
        const slot = (index4 << 18) + (index3 << 9) + index2;
        assert(load<u32>(vmDirectory(vm) + (slot << 2)) === <u32>spteTableAddress(entry2));
      }
    }
  }
  assert(tables === vmTablesTaken(vm));
}
