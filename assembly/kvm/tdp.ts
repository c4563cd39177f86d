import { FAULT_MINOR, FAULT_SPURIOUS, FAULT_WRITE_PROTECT } from "../mm/fault";
import { tableFree } from "../mm/free";
import { actorClock } from "../sim/actor";
import { flushRemoteTlbs } from "./flush";
import { spteSet } from "./leafbits";
import {
  traceGetPage,
  traceMarkMmio,
  tracePrepareZap,
  traceSetSpte,
  traceSplitHugePage,
  traceSpteChanged,
} from "./mmutrace";
import { spteReleased } from "./release";
import { roleDirect, spGfn, spGive, spLevel, spOfTable, spTable, spTake, tablesUsed } from "./shadowpage";
import { takeSpare } from "./spare";
import {
  SPTE_NONE,
  SPTE_PAGE_SIZE,
  SPTE_REMOVED,
  SPTE_WRITE,
  spteAge,
  spteAllows,
  spteIsLeaf,
  spteOfFault,
  sptePfn,
  sptePresent,
  spteSplit,
  spteTableAddress,
  spteWriteProtect,
  spteYoung,
} from "./spte";
import { setVmRoot, vmForgetDirectory, vmFormat, vmLevels, vmMm, vmRoot, vmTablePool } from "./vm";
import {
  checkWalk,
  entryOf,
  LEVEL_1G,
  LEVEL_2M,
  LEVEL_4K,
  levelPages,
  linkTable,
  setDirectory,
  TABLE_ENTRIES,
  tableGfn,
  walkAny,
} from "./walk";

// The TDP MMU (tdp_mmu.c): direct tables without rmap. A fault holds mmu_lock for reading and installs an entry by one exchange, which
// one step does here; unmapping and aging walk the root.
//
// invariant: a present entry never changes to another frame in one step

/** Loads the root; `frame` is what it costs. */
export function tdpLoadRoot(vm: usize, frame: u32): void {
  setVmRoot(vm, spTable(spTake(vmTablePool(vm), 0, roleDirect(vmLevels(vm)), frame)));
}

// __handle_changed_spte(): the one place where an entry changes.
function change(vm: usize, entry: usize, gfn: u32, level: u32, spte: u64, time: u64): void {
  const old = load<u64>(entry);
  if (spteIsLeaf(old, level) && spteIsLeaf(spte, level)) {
    assert(!sptePresent(old) || !sptePresent(spte) || sptePfn(old) === sptePfn(spte));
  }
  spteSet(vm, entry, spte);
  traceSpteChanged(vm, gfn, level, old, spte, time);
}

/**
 * kvm_tdp_mmu_map(): maps `gfn` to `pfn` at `level`; the tables on the way have been set aside.
 * @param prefetch nobody has touched the page yet
 * @returns FAULT_SPURIOUS when the entry was there, FAULT_WRITE_PROTECT when it only gained rights, else FAULT_MINOR
 */
export function tdpMap(
  vm: usize,
  vcpu: usize,
  gfn: u32,
  pfn: u32,
  level: u32,
  writable: bool,
  prefetch: bool,
): u32 {
  const time = actorClock(vcpu);
  const entry = entryFor(vm, vcpu, gfn, level);
  const old = load<u64>(entry);
  // An entry that another vCPU installed with as many rights stays: fewer rights come only through the notifier.
  const there = sptePresent(old) && spteIsLeaf(old, level);
  if (there && (spteAllows(old, true) || !writable)) {
    traceSetSpte(vm, entry, gfn, level, time);
    return FAULT_SPURIOUS;
  }
  change(vm, entry, gfn, level, spteOfFault(vmFormat(vm), pfn, level, writable, prefetch), time);
  if (sptePresent(old) && !there) replaced(vm, vcpu, gfn, spteTableAddress(old));
  traceSetSpte(vm, entry, gfn, level, time);
  return there ? FAULT_WRITE_PROTECT : FAULT_MINOR;
}

/** The same for a frame without a slot, which gets the MMIO spte `spte`. */
export function tdpMapMmio(vm: usize, vcpu: usize, gfn: u32, spte: u64): void {
  const entry = entryFor(vm, vcpu, gfn, LEVEL_4K);
  assert(!sptePresent(load<u64>(entry)));
  if (load<u64>(entry) !== spte) change(vm, entry, gfn, LEVEL_4K, spte, actorClock(vcpu));
  traceMarkMmio(vm, entry, actorClock(vcpu));
}

// The entry of `gfn` at `level`, with the tables on the way, the root too.
function entryFor(vm: usize, vcpu: usize, gfn: u32, level: u32): usize {
  if (vmRoot(vm) === 0) {
    tdpLoadRoot(vm, takeSpare(vcpu));
    traceGetPage(spOfTable(vmTablePool(vm), vmRoot(vm)), true, actorClock(vcpu));
  }
  let table = vmRoot(vm);
  for (let at = vmLevels(vm); at > level; at--) {
    const entry = entryOf(table, gfn, at);
    const old = load<u64>(entry);
    if (!sptePresent(old)) link(vm, vcpu, entry, gfn, at);
    else if (spteIsLeaf(old, at)) tdpSplit(vm, vcpu, entry, gfn);
    table = spteTableAddress(load<u64>(entry));
  }
  return entryOf(table, gfn, level);
}

// tdp_mmu_link_sp()
function link(vm: usize, vcpu: usize, entry: usize, gfn: u32, level: u32): void {
  const role = roleDirect(level - 1);
  const sp = spTake(vmTablePool(vm), tableGfn(gfn, level - 1), role, takeSpare(vcpu));
  traceGetPage(sp, true, actorClock(vcpu));
  linkTable(vm, entry, gfn, level, spTable(sp));
  traceSpteChanged(vm, gfn, level, SPTE_NONE, load<u64>(entry), actorClock(vcpu));
}

/** tdp_mmu_split_huge_page(): a table of 4 KiB entries with the rights of the 2 MiB leaf at `entry` takes its place. */
export function tdpSplit(vm: usize, vcpu: usize, entry: usize, gfn: u32): void {
  const old = load<u64>(entry);
  const sp = spTake(vmTablePool(vm), tableGfn(gfn, LEVEL_4K), roleDirect(LEVEL_4K), takeSpare(vcpu));
  traceGetPage(sp, true, actorClock(vcpu));
  for (let index: u32 = 0; index < TABLE_ENTRIES; index++) {
    spteSet(vm, spTable(sp) + ((<usize>index) << 3), spteSplit(old, index));
  }
  linkTable(vm, entry, gfn, LEVEL_2M, spTable(sp));
  traceSpteChanged(vm, gfn, LEVEL_2M, old, load<u64>(entry), actorClock(vcpu));
  traceSplitHugePage(gfn, old, LEVEL_2M, actorClock(vcpu));
}

// handle_removed_pt(): a 2 MiB leaf has taken the place of a table.
function replaced(vm: usize, vcpu: usize, gfn: u32, table: usize): void {
  setDirectory(vm, gfn, 0);
  tracePrepareZap(spOfTable(vmTablePool(vm), table), actorClock(vcpu));
  const first = tableGfn(gfn, LEVEL_4K);
  for (let index: u32 = 0; index < TABLE_ENTRIES; index++) {
    const entry = table + ((<usize>index) << 3);
    const old = load<u64>(entry);
    if (!sptePresent(old)) continue;
    change(vm, entry, first + index, LEVEL_4K, SPTE_NONE, actorClock(vcpu));
    spteReleased(vm, first + index, old, vcpu);
  }
  tableFree(vmMm(vm), spGive(vmTablePool(vm), spOfTable(vmTablePool(vm), table)), vcpu);
  flushRemoteTlbs(vm, vcpu);
}

/** First gfn after what the entry at `entry`, which maps `gfn`, covers; without an entry that of the next leaf table. */
function after(entry: usize, gfn: u32): u32 {
  if (entry !== 0 && (!sptePresent(load<u64>(entry)) || (load<u64>(entry) & SPTE_PAGE_SIZE) === 0))
    return gfn + 1;
  return tableGfn(gfn, LEVEL_4K) + levelPages(LEVEL_2M);
}

/** kvm_tdp_mmu_zap_leafs(): drops every leaf that maps something of [start, end). Returns the entries dropped. */
export function tdpZapRange(vm: usize, start: u32, end: u32, actor: usize): u32 {
  let zapped: u32 = 0;
  let gfn = start;
  while (gfn < end) {
    const entry = walkAny(vm, gfn);
    const next = after(entry, gfn);
    const old = entry === 0 ? SPTE_NONE : load<u64>(entry);
    if (sptePresent(old)) {
      change(vm, entry, gfn, old & SPTE_PAGE_SIZE ? LEVEL_2M : LEVEL_4K, SPTE_NONE, actorClock(actor));
      spteReleased(vm, gfn, old, actor);
      zapped++;
    }
    if (next <= gfn) break; // the last table of the address space
    gfn = next;
  }
  return zapped;
}

/**
 * kvm_mmu_zap_all_fast() and kvm_tdp_mmu_zap_invalidated_roots(): the root is given up with all below it, and the next fault loads another. It is
 * taken apart by a pass over what maps 1 GiB, then by one over what is left (tdp_mmu_zap_root()). Returns the leaves dropped; who asks
 * has the vCPUs leave the root.
 */
export function tdpZapAll(vm: usize, actor: usize): u32 {
  const root = vmRoot(vm);
  if (root === 0) return 0;
  setVmRoot(vm, 0);
  vmForgetDirectory(vm);
  let zapped = zapBelow(vm, root, 0, vmLevels(vm), LEVEL_1G, actor);
  zapped += zapBelow(vm, root, 0, vmLevels(vm), vmLevels(vm), actor);
  tableFree(vmMm(vm), spGive(vmTablePool(vm), spOfTable(vmTablePool(vm), root)), actor);
  return zapped;
}

// Drops the entries of `level` that are reached from `table`, which is of level `at`.
function zapBelow(vm: usize, table: usize, first: u64, at: u32, level: u32, actor: usize): u32 {
  let zapped: u32 = 0;
  for (let index: u32 = 0; index < TABLE_ENTRIES; index++) {
    const entry = table + ((<usize>index) << 3);
    const old = load<u64>(entry);
    if (!sptePresent(old)) continue;
    const gfn = first + ((<u64>index) << (9 * (at - 1)));
    if (at > level) {
      zapped += zapBelow(vm, spteTableAddress(old), gfn, at - 1, level, actor);
      continue;
    }
    traceSpteChanged(vm, gfn, at, old, SPTE_NONE, actorClock(actor));
    store<u64>(entry, SPTE_NONE);
    zapped += removed(vm, spteTableAddress(old), actor);
  }
  return zapped;
}

// handle_removed_pt() of a table that nobody walks: every entry is marked, those that were not there too. Returns the leaves dropped.
function removed(vm: usize, table: usize, actor: usize): u32 {
  const sp = spOfTable(vmTablePool(vm), table);
  const level = spLevel(sp);
  const time = actorClock(actor);
  let zapped: u32 = 0;
  tracePrepareZap(sp, time);
  for (let index: u32 = 0; index < TABLE_ENTRIES; index++) {
    const old = load<u64>(table + ((<usize>index) << 3));
    const gfn = <u64>spGfn(sp) + ((<u64>index) << (9 * (level - 1)));
    traceSpteChanged(vm, gfn, level, old, SPTE_REMOVED, time);
    if (!sptePresent(old)) continue;
    if (spteIsLeaf(old, level)) {
      spteReleased(vm, <u32>gfn, old, actor);
      zapped++;
    } else {
      zapped += removed(vm, spteTableAddress(old), actor);
    }
  }
  tableFree(vmMm(vm), spGive(vmTablePool(vm), sp), actor);
  return zapped;
}

/** age_gfn_range(): clears the accessed bits of [start, end); true when one was set. The TLBs keep what they have. */
export function tdpAgeRange(vm: usize, start: u32, end: u32, time: u64): bool {
  let young = false;
  let gfn = start;
  while (gfn < end) {
    const entry = walkAny(vm, gfn);
    const next = after(entry, gfn);
    const old = entry === 0 ? SPTE_NONE : load<u64>(entry);
    if (sptePresent(old) && spteYoung(old, vmFormat(vm))) {
      young = true;
      change(vm, entry, gfn, old & SPTE_PAGE_SIZE ? LEVEL_2M : LEVEL_4K, spteAge(old, vmFormat(vm)), time);
    }
    if (next <= gfn) break;
    gfn = next;
  }
  return young;
}

/** kvm_tdp_mmu_wrprot_slot(): takes W from every leaf of [start, end). Returns the entries changed; who asks flushes. */
export function tdpWriteProtect(vm: usize, start: u32, end: u32, time: u64): u32 {
  let protectedSptes: u32 = 0;
  let gfn = start;
  while (gfn < end) {
    const entry = walkAny(vm, gfn);
    const next = after(entry, gfn);
    const old = entry === 0 ? SPTE_NONE : load<u64>(entry);
    if (sptePresent(old) && old & SPTE_WRITE) {
      change(vm, entry, gfn, old & SPTE_PAGE_SIZE ? LEVEL_2M : LEVEL_4K, spteWriteProtect(old), time);
      protectedSptes++;
    }
    if (next <= gfn) break;
    gfn = next;
  }
  return protectedSptes;
}

/** Every table in use is reachable. */
export function checkTdp(vm: usize): void {
  assert(checkWalk(vm) === tablesUsed(vmTablePool(vm)));
}
