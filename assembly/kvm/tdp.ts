import { FAULT_MINOR, FAULT_SPURIOUS, FAULT_WRITE_PROTECT } from "../mm/fault";
import { tableFree } from "../mm/free";
import { actorClock } from "../sim/actor";
import { flushRemoteTlbs } from "./flush";
import { spteSet } from "./leafbits";
import {
  traceGetPage,
  tracePrepareZap,
  traceSetSpte,
  traceSplitHugePage,
  traceSpteChanged,
} from "./mmutrace";
import { spteReleased } from "./release";
import { roleDirect, spGfn, spGive, spOfTable, spTable, spTake, tablesUsed } from "./shadowpage";
import { takeSpare } from "./spare";
import {
  SPTE_NONE,
  SPTE_PAGE_SIZE,
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
import { setVmRoot, vmFormat, vmLevels, vmMm, vmRoot, vmTablePool } from "./vm";
import {
  checkWalk,
  entryOf,
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
  let table = vmRoot(vm);
  for (let at = vmLevels(vm); at > level; at--) {
    const entry = entryOf(table, gfn, at);
    const old = load<u64>(entry);
    if (!sptePresent(old)) link(vm, vcpu, entry, gfn, at);
    else if (spteIsLeaf(old, at)) tdpSplit(vm, vcpu, entry, gfn);
    table = spteTableAddress(load<u64>(entry));
  }
  const entry = entryOf(table, gfn, level);
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
  if (entry !== 0 && (load<u64>(entry) & SPTE_PAGE_SIZE) === 0) return gfn + 1;
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

/** tdp_mmu_zap_root(): frees the tables, which map nothing any more. */
export function tdpDestroy(vm: usize, actor: usize): void {
  free(vm, vmRoot(vm), vmLevels(vm), actor);
  setVmRoot(vm, 0);
}

function free(vm: usize, table: usize, level: u32, actor: usize): void {
  const sp = spOfTable(vmTablePool(vm), table);
  if (level === LEVEL_4K) setDirectory(vm, spGfn(sp), 0);
  else {
    for (let index: u32 = 0; index < TABLE_ENTRIES; index++) {
      const entry = load<u64>(table + ((<usize>index) << 3));
      if (!sptePresent(entry)) continue;
      assert(!spteIsLeaf(entry, level));
      free(vm, spteTableAddress(entry), level - 1, actor);
    }
  }
  tracePrepareZap(sp, actorClock(actor));
  tableFree(vmMm(vm), spGive(vmTablePool(vm), sp), actor);
}

/** Every table in use is reachable. */
export function checkTdp(vm: usize): void {
  assert(checkWalk(vm) === tablesUsed(vmTablePool(vm)));
}
