import { FAULT_MINOR, FAULT_SPURIOUS, FAULT_WRITE_PROTECT } from "../mm/fault";
import { pagePut } from "../mm/free";
import { pageGet, pageOf } from "../mm/page";
import { PTE_WRITE, ptePfn, ptePresent, ZERO_PFN } from "../mm/pte";
import { spacePte } from "../mm/space";
import { actorClock } from "../sim/actor";
import { flushRemoteTlbs } from "./flush";
import { vmInvalidating } from "./invalidation";
import { spteSet } from "./leafbits";
import {
  checkLegacyPages,
  legacyDrop,
  legacyGetPage,
  legacyLink,
  legacyLoadRoot,
  legacyNewest,
  legacyRmap,
  legacyUnlink,
} from "./legacypages";
import {
  KVM_MEM_LOG_DIRTY_PAGES,
  memslotFlags,
  memslotHolds,
  memslotIndex,
  memslotReadOnly,
  memslotUnbacked,
} from "./memslot";
import { gfnToMemslot } from "./memslots";
import { checkMmio } from "./mmio";
import { traceGetPage, traceMarkMmio, traceSetSpte } from "./mmutrace";
import { checkRmapList, rmapAdd, rmapCount, rmapFirst, rmapHead, rmapNext } from "./rmap";
import { vmPrivateRoots } from "./roots";
import { roleDirect, spEntryGfn, spLevel, spOfTable, spOlder, spOwner, spTable } from "./shadowpage";
import { takeSpare } from "./spare";
import {
  SPTE_NONE,
  SPTE_WRITE,
  spteAge,
  spteAllows,
  spteIsLeaf,
  spteOfFault,
  sptePfn,
  sptePresent,
  spteTableAddress,
  spteWriteProtect,
  spteYoung,
} from "./spte";
import { vcpuIndex } from "./vcpu";
import {
  vmFormat,
  vmGfnEnd,
  vmIsShadow,
  vmLevels,
  vmMm,
  vmRoot,
  vmSlots,
  vmSpace,
  vmSpteRefs,
  vmTablePool,
  vmUnalias,
} from "./vm";
import { checkWalk, entryOf, LEVEL_2M, LEVEL_4K, levelPages, TABLE_ENTRIES, tableGfn } from "./walk";

// The legacy MMU on direct maps (mmu.c with tdp_mmu=N): pages of sptes with a reverse map. A fault holds mmu_lock for writing, and maps the
// neighbours along that the host has already; unmapping and aging go through the reverse map.

/** PTE_PREFETCH_NUM */
const PREFETCH_PAGES: u32 = 8;

/**
 * __direct_map(): maps `gfn` to `pfn` at `level`; the tables on the way have been set aside.
 * @param prefetch nobody has touched the page yet
 * @returns FAULT_SPURIOUS when the entry was there, FAULT_WRITE_PROTECT when it only gained rights, else FAULT_MINOR
 */
export function legacyMap(
  vm: usize,
  vcpu: usize,
  gfn: u32,
  pfn: u32,
  level: u32,
  writable: bool,
  prefetch: bool,
): u32 {
  const entry = entryFor(vm, vcpu, gfn, level);
  const kind = setSpte(vm, vcpu, entry, gfn, pfn, level, writable, prefetch);
  if (kind !== FAULT_SPURIOUS && level === LEVEL_4K) mapNeighbours(vm, vcpu, entry, gfn);
  return kind;
}

/** The same for a frame without a slot, which gets the MMIO spte `spte`. */
export function legacyMapMmio(vm: usize, vcpu: usize, gfn: u32, spte: u64): void {
  const entry = entryFor(vm, vcpu, gfn, LEVEL_4K);
  assert(!sptePresent(load<u64>(entry)));
  spteSet(vm, entry, spte);
  traceMarkMmio(vm, entry, actorClock(vcpu));
}

// The entry of `gfn` at `level`, with the tables on the way, the root too.
function entryFor(vm: usize, vcpu: usize, gfn: u32, level: u32): usize {
  if (vmRoot(vm) === 0) {
    legacyLoadRoot(vm, takeSpare(vcpu));
    traceGetPage(legacyNewest(vm), true, actorClock(vcpu));
  }
  let table = vmRoot(vm);
  for (let at = vmLevels(vm); at > level; at--) {
    const entry = entryOf(table, gfn, at);
    if (sptePresent(load<u64>(entry)) && spteIsLeaf(load<u64>(entry), at)) {
      legacyDrop(vm, entry, vmUnalias(vm, tableGfn(gfn, at - 1)), at, vcpu); // drop_large_spte()
      flushRemoteTlbs(vm, vcpu);
    }
    if (!sptePresent(load<u64>(entry))) {
      const sp = legacyGetPage(vm, vcpu, tableGfn(gfn, at - 1), roleDirect(at - 1));
      legacyLink(vm, entry, gfn, at, sp);
    }
    table = spteTableAddress(load<u64>(entry));
  }
  return entryOf(table, gfn, level);
}

// mmu_set_spte()
function setSpte(
  vm: usize,
  vcpu: usize,
  entry: usize,
  gfn: u32,
  pfn: u32,
  level: u32,
  writable: bool,
  prefetch: bool,
): u32 {
  const format = vmFormat(vm);
  let old = load<u64>(entry);
  let flush = false;
  if (sptePresent(old) && !spteIsLeaf(old, level)) {
    legacyUnlink(vm, entry); // a 2 MiB page takes the place of a table, which stays to be found again
    flush = true;
    old = SPTE_NONE;
  } else if (sptePresent(old) && sptePfn(old) !== pfn) {
    legacyDrop(vm, entry, vmUnalias(vm, gfn), level, vcpu);
    flush = true;
    old = SPTE_NONE;
  }
  const mapped = sptePresent(old);
  const spte = spteOfFault(format, pfn, level, writable, prefetch);
  // An entry with as many rights stays: fewer rights come only through the notifier.
  if (mapped && (spteAllows(old, true) || !writable)) return FAULT_SPURIOUS;
  spteSet(vm, entry, spte);
  traceSetSpte(vm, entry, gfn, level, actorClock(vcpu));
  if (flush) flushRemoteTlbs(vm, vcpu);
  if (mapped) return FAULT_WRITE_PROTECT;
  rmapAdd(legacyRmap(vm), vmUnalias(vm, gfn), level, entry);
  if (vmSpteRefs(vm) && pfn !== ZERO_PFN) pageGet(pageOf(vmMm(vm), pfn));
  return FAULT_MINOR;
}

// direct_pte_prefetch(): of the aligned group of eight around `entry`, runs of entries that are not present are filled with what the host
// has writable, each up to the first page that it does not have. A run that begins with such a page ends it all.
function mapNeighbours(vm: usize, vcpu: usize, entry: usize, gfn: u32): void {
  if (vmInvalidating(vm) !== 0) return;
  const first = gfn & ~(PREFETCH_PAGES - 1);
  const base = entry - ((<usize>(gfn - first)) << 3);
  let start = PREFETCH_PAGES;
  for (let index: u32 = 0; index <= PREFETCH_PAGES; index++) {
    const at = base + ((<usize>index) << 3);
    const stop = index === PREFETCH_PAGES || at === entry || sptePresent(load<u64>(at));
    if (!stop) {
      if (start === PREFETCH_PAGES) start = index;
      continue;
    }
    if (start === PREFETCH_PAGES) continue;
    if (!mapRun(vm, vcpu, base, first, start, index)) return;
    start = PREFETCH_PAGES;
  }
}

// direct_pte_prefetch_many(). False: not even the first page of the run is there, or may be mapped writable without a fault: in a slot that is
// read-only or logs dirty pages none may.
function mapRun(vm: usize, vcpu: usize, base: usize, first: u32, start: u32, end: u32): bool {
  const slot = gfnToMemslot(vmSlots(vm), vmUnalias(vm, first + start));
  if (slot === 0 || memslotUnbacked(slot) || !memslotHolds(slot, vmUnalias(vm, first + end - 1)))
    return false;
  if (memslotReadOnly(slot) || memslotFlags(slot) & KVM_MEM_LOG_DIRTY_PAGES) return false;
  for (let index = start; index < end; index++) {
    const gfn = first + index;
    const frame = vmUnalias(vm, gfn);
    if (!memslotHolds(slot, frame)) return true;
    const pte = spacePte(vmSpace(vm), memslotIndex(slot, frame));
    if (!ptePresent(pte) || (pte & PTE_WRITE) === 0) return index !== start;
    setSpte(vm, vcpu, base + ((<usize>index) << 3), gfn, ptePfn(pte), LEVEL_4K, true, true);
  }
  return true;
}

/** kvm_unmap_gfn_range(): drops what maps [start, end), 4 KiB and 2 MiB. Returns the entries dropped. */
export function legacyZapRange(vm: usize, start: u32, end: u32, actor: usize): u32 {
  let zapped: u32 = 0;
  for (let gfn = start; gfn < end; gfn++) zapped += zapRmap(vm, gfn, LEVEL_4K, actor);
  const huge = levelPages(LEVEL_2M);
  for (let gfn = start & ~(huge - 1); gfn < end; gfn += huge) {
    zapped += zapRmap(vm, gfn, LEVEL_2M, actor);
    if (end - gfn <= huge) break;
  }
  return zapped;
}

// kvm_zap_rmap(): from the first entry on until there is none.
function zapRmap(vm: usize, gfn: u32, level: u32, actor: usize): u32 {
  const rmap = legacyRmap(vm);
  let zapped: u32 = 0;
  for (let entry = rmapFirst(rmap, gfn, level); entry !== 0; entry = rmapFirst(rmap, gfn, level)) {
    legacyDrop(vm, entry, gfn, level, actor);
    zapped++;
  }
  return zapped;
}

/** kvm_mmu_zap_pagetbl() of 2007: drops what maps `gfn` in the tables that `vcpu` walks. Returns the entries dropped. */
export function legacyZapVcpu(vm: usize, gfn: u32, vcpu: usize, actor: usize): u32 {
  const rmap = legacyRmap(vm);
  let zapped: u32 = 0;
  let entry = rmapFirst(rmap, gfn, LEVEL_4K);
  while (entry !== 0) {
    if (!vcpuWalks(vm, vcpu, entry)) {
      entry = rmapNext(rmap, gfn, LEVEL_4K, entry);
      continue;
    }
    legacyDrop(vm, entry, gfn, LEVEL_4K, actor);
    zapped++;
    entry = rmapFirst(rmap, gfn, LEVEL_4K);
  }
  return zapped;
}

// Does the entry stand in the vCPU's own tables, or in those of all?
function vcpuWalks(vm: usize, vcpu: usize, entry: usize): bool {
  if (!vmIsShadow(vm) || !vmPrivateRoots(vm)) return true;
  return spOwner(spOfTable(vmTablePool(vm), entry)) === vcpuIndex(vcpu) + 1;
}

/**
 * kvm_unmap_rmapp() of 2008: takes the successor of an entry before the entry goes, flushes for each one, and knows 4 KiB entries only.
 * Returns the entries dropped.
 */
export function legacyUnmap2008(vm: usize, gfn: u32, actor: usize): u32 {
  const rmap = legacyRmap(vm);
  let zapped: u32 = 0;
  let entry = rmapFirst(rmap, gfn, LEVEL_4K);
  while (entry !== 0) {
    const current = entry;
    entry = rmapNext(rmap, gfn, LEVEL_4K, entry);
    const pfn = sptePfn(load<u64>(current));
    if (pfn !== ZERO_PFN) pageGet(pageOf(vmMm(vm), pfn)); // the page must outlive the flush
    legacyDrop(vm, current, gfn, LEVEL_4K, actor);
    flushRemoteTlbs(vm, actor);
    pagePut(vmMm(vm), pfn, actor);
    zapped++;
  }
  return zapped;
}

/** kvm_age_gfn(): clears the accessed bits of what maps [start, end); true when one was set. */
export function legacyAgeRange(vm: usize, start: u32, end: u32): bool {
  let young = false;
  for (let gfn = start; gfn < end; gfn++) young = ageRmap(vm, gfn, LEVEL_4K) || young;
  const huge = levelPages(LEVEL_2M);
  for (let gfn = start & ~(huge - 1); gfn < end; gfn += huge) {
    young = ageRmap(vm, gfn, LEVEL_2M) || young;
    if (end - gfn <= huge) break;
  }
  return young;
}

function ageRmap(vm: usize, gfn: u32, level: u32): bool {
  const rmap = legacyRmap(vm);
  const format = vmFormat(vm);
  let young = false;
  for (let entry = rmapFirst(rmap, gfn, level); entry !== 0; entry = rmapNext(rmap, gfn, level, entry)) {
    const spte = load<u64>(entry);
    if (!spteYoung(spte, format)) continue;
    spteSet(vm, entry, spteAge(spte, format));
    young = true;
  }
  return young;
}

/** rmap_write_protect(): takes W from what maps [start, end). Returns the entries changed; who asks flushes. */
export function legacyWriteProtect(vm: usize, start: u32, end: u32): u32 {
  const rmap = legacyRmap(vm);
  let changed: u32 = 0;
  for (let gfn = start; gfn < end; gfn++) {
    for (let level = LEVEL_4K; level <= LEVEL_2M; level++) {
      for (let entry = rmapFirst(rmap, gfn, level); entry !== 0; entry = rmapNext(rmap, gfn, level, entry)) {
        const spte = load<u64>(entry);
        if ((spte & SPTE_WRITE) === 0) continue;
        spteSet(vm, entry, spteWriteProtect(spte));
        changed++;
      }
    }
  }
  return changed;
}

/** Present leaves but those of the page of zeroes. */
export function legacyLeaves(vm: usize): u32 {
  let leaves: u32 = 0;
  for (let sp = legacyNewest(vm); sp !== 0; sp = spOlder(sp)) {
    for (let index: u32 = 0; index < TABLE_ENTRIES; index++) {
      const spte = load<u64>(spTable(sp) + ((<usize>index) << 3));
      if (sptePresent(spte) && spteIsLeaf(spte, spLevel(sp)) && sptePfn(spte) !== ZERO_PFN) leaves++;
    }
  }
  return leaves;
}

/** Each present leaf has its entry in the reverse map, and the reverse. */
export function checkLegacy(vm: usize): void {
  checkWalk(vm);
  checkLegacyPages(vm);
  let leaves: u32 = 0;
  for (let sp = legacyNewest(vm); sp !== 0; sp = spOlder(sp)) {
    for (let index: u32 = 0; index < TABLE_ENTRIES; index++) {
      const entry = spTable(sp) + ((<usize>index) << 3);
      const spte = load<u64>(entry);
      if (!sptePresent(spte) && !vmIsShadow(vm)) checkMmio(vm, spEntryGfn(vmTablePool(vm), sp, index), spte);
      if (!sptePresent(spte) || !spteIsLeaf(spte, spLevel(sp))) continue;
      leaves++;
      assert(listed(vm, vmUnalias(vm, spEntryGfn(vmTablePool(vm), sp, index)), spLevel(sp), entry) === 1);
    }
  }
  let entries: u32 = 0;
  for (let gfn: u32 = 0; gfn < vmGfnEnd(vm); gfn++) {
    if ((gfn & 511) === 0) {
      entries += rmapCount(legacyRmap(vm), gfn, LEVEL_2M);
      if (rmapHead(legacyRmap(vm), gfn, LEVEL_4K) === 0) {
        gfn |= 511;
        continue;
      }
    }
    checkRmapList(legacyRmap(vm), gfn, LEVEL_4K);
    entries += rmapCount(legacyRmap(vm), gfn, LEVEL_4K);
  }
  assert(entries === leaves);
}

// How often `entry` stands in the list of `gfn`.
function listed(vm: usize, gfn: u32, level: u32, entry: usize): u32 {
  const rmap = legacyRmap(vm);
  let times: u32 = 0;
  for (let each = rmapFirst(rmap, gfn, level); each !== 0; each = rmapNext(rmap, gfn, level, each)) {
    if (each === entry) times++;
  }
  return times;
}
