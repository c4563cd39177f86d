import { HUGE_PAGES, thpFirst, thpMapped } from "../mm/thp";
import { actorClock } from "../sim/actor";
import { flushRemoteTlbs, freeObsoleteRoots } from "./flush";
import { guestTablesLayout } from "./guesttables";
import {
  checkLegacy,
  legacyAgeRange,
  legacyLeaves,
  legacyMap,
  legacyMapMmio,
  legacyWriteProtect,
  legacyZapRange,
} from "./legacy";
import {
  legacyCreate,
  legacyLayout,
  legacyLoadRoot,
  legacyMakeAvailable,
  legacyNewest,
  legacyRmap,
  legacySlotsChanged,
  legacyZapAll,
  mmuPagesDefault,
} from "./legacypages";
import { KVM_MEM_LOG_DIRTY_PAGES, memslotFlags, memslotHolds, memslotIndex, memslotPages } from "./memslot";
import { gfnToMemslot, memslotAt, memslotCount } from "./memslots";
import { spteIsMmio, spteMmioGfn } from "./mmiospte";
import { traceSpteRequested, traceZapAllFast } from "./mmutrace";
import { rmapFirst, rmapNext } from "./rmap";
import { shadowCreate, vmGuestTableFrames, vmGuestTables } from "./roots";
import { shadowMapMmio, shadowMissing } from "./shadow";
import { spLevel, spOlder, spTable } from "./shadowpage";
import { checkShadow, shadowStart } from "./shadowstart";
import { addSpare, spareCount } from "./spare";
import { SPTE_NONE, SPTE_PAGE_SIZE, spteMayWrite, sptePresent } from "./spte";
import {
  checkTdp,
  tdpAgeRange,
  tdpLoadRoot,
  tdpMap,
  tdpMapMmio,
  tdpWriteProtect,
  tdpZapAll,
  tdpZapRange,
} from "./tdp";
import {
  vmFormat,
  vmHuge,
  vmIsLegacy,
  vmIsShadow,
  vmPages,
  vmSlots,
  vmSpace,
  vmSpteRefs,
  vmUnalias,
  vmVcpuList,
  vmZapped,
} from "./vm";
import { LEVEL_2M, LEVEL_4K, TABLE_ENTRIES, walkAny, walkMissing, walkSpte } from "./walk";

// Which MMU a VM has: chosen once at boot, asked for once an operation. Accesses do not come here: they walk the same tables
// whoever builds them (walk.ts).

export const MMU_TDP: u32 = 0;
export const MMU_LEGACY: u32 = 1;
export const MMU_SHADOW: u32 = 2;

/** Takes the records of the VM's MMU. `limit`: pages of sptes that the legacy MMU may have, 0 for KVM's own choice. */
export function mmuCreate(vm: usize, kind: u32, limit: u32): bool {
  if (kind === MMU_TDP) return true;
  const pages = limit === 0 ? mmuPagesDefault(vmPages(vm)) : limit;
  if (kind === MMU_SHADOW && !shadowCreate(vm, pages)) return false;
  return legacyCreate(vm, limit);
}

export function mmuLayout(vm: usize): void {
  if (vmIsLegacy(vm)) legacyLayout(vm);
  if (vmIsShadow(vm)) guestTablesLayout(vmGuestTables(vm), vmGuestTableFrames(vm));
}

/** The slots have changed, and with them how many pages of sptes there may be. */
export function mmuSlotsChanged(vm: usize): void {
  if (!vmIsLegacy(vm)) return;
  let pages: u32 = 0;
  for (let place: u32 = 0; place < memslotCount(vmSlots(vm)); place++) {
    pages += memslotPages(memslotAt(vmSlots(vm), place));
  }
  legacySlotsChanged(vm, pages);
}

/** Loads the root table, which costs `frame`; under shadow paging the guest first maps its memory. */
export function mmuLoadRoot(vm: usize, frame: u32): void {
  if (vmIsShadow(vm)) {
    addSpare(vmVcpuList(vm), frame);
    shadowStart(vm);
    return;
  }
  if (vmIsLegacy(vm)) legacyLoadRoot(vm, frame);
  else tdpLoadRoot(vm, frame);
}

/**
 * Under mmu_lock: makes room among the pages of sptes, which may zap the oldest. False: tables are missing on the way to `gfn` for
 * which no frame has been set aside; they have gone meanwhile.
 */
export function mmuReady(vm: usize, vcpu: usize, gfn: u32, level: u32): bool {
  if (vmIsLegacy(vm)) {
    const room = legacyMakeAvailable(vm, vcpu);
    assert(room);
  }
  return spareCount(vcpu) >= mmuMissing(vm, vcpu, gfn, level);
}

/** Tables that have to be set aside before the vCPU's fault can map `gfn` at `level`. */
export function mmuMissing(vm: usize, vcpu: usize, gfn: u32, level: u32): u32 {
  return vmIsShadow(vm) ? shadowMissing(vm, vcpu) : walkMissing(vm, gfn, level);
}

/** Address of the first entry that maps `gfn` in any vCPU's tables, 0 when none does. */
export function mmuFirst(vm: usize, gfn: u32): usize {
  if (vmIsShadow(vm)) return rmapFirst(legacyRmap(vm), gfn, LEVEL_4K);
  const entry = walkAny(vm, gfn);
  return entry !== 0 && sptePresent(load<u64>(entry)) ? entry : 0;
}

/** The entry after `entry`, of the walk that mmuFirst() began; 0 at the end. */
export function mmuNext(vm: usize, gfn: u32, entry: usize): usize {
  return vmIsShadow(vm) ? rmapNext(legacyRmap(vm), gfn, LEVEL_4K, entry) : 0;
}

/** An entry that maps `gfn`, SPTE_NONE when none does. */
export function mmuSpte(vm: usize, gfn: u32): u64 {
  if (!vmIsShadow(vm)) return walkSpte(vm, gfn);
  const entry = rmapFirst(legacyRmap(vm), gfn, LEVEL_4K);
  return entry === 0 ? SPTE_NONE : load<u64>(entry);
}

/**
 * Maps `gfn` to `pfn`, a leaf of `level`; mmu_lock is held and the tables have been set aside. @param prefetch nobody has touched the
 * page yet. Returns FAULT_SPURIOUS, FAULT_WRITE_PROTECT or FAULT_MINOR.
 */
export function mmuMap(
  vm: usize,
  vcpu: usize,
  gfn: u32,
  pfn: u32,
  level: u32,
  writable: bool,
  prefetch: bool,
): u32 {
  traceSpteRequested(gfn, pfn, level, actorClock(vcpu));
  return vmIsLegacy(vm)
    ? legacyMap(vm, vcpu, gfn, pfn, level, writable, prefetch)
    : tdpMap(vm, vcpu, gfn, pfn, level, writable, prefetch);
}

/** The same for `gfn`, or what the guest's tables say of the vCPU's access, where no slot is: the MMIO spte `spte`. */
export function mmuMapMmio(vm: usize, vcpu: usize, gfn: u32, spte: u64): void {
  if (vmIsShadow(vm)) shadowMapMmio(vm, vcpu, spte);
  else if (vmIsLegacy(vm)) legacyMapMmio(vm, vcpu, gfn, spte);
  else tdpMapMmio(vm, vcpu, gfn, spte);
}

/** An MMIO spte of `gfn`, SPTE_NONE when there is none: only for looking, under shadow paging every entry is looked at. */
export function mmuMmio(vm: usize, gfn: u32): u64 {
  const format = vmFormat(vm);
  if (!vmIsShadow(vm)) {
    const spte = walkSpte(vm, gfn);
    return spteIsMmio(spte, format) ? spte : SPTE_NONE;
  }
  for (let sp = legacyNewest(vm); sp !== 0; sp = spOlder(sp)) {
    if (spLevel(sp) !== LEVEL_4K) continue;
    for (let index: u32 = 0; index < TABLE_ENTRIES; index++) {
      const spte = load<u64>(spTable(sp) + ((<usize>index) << 3));
      if (spteIsMmio(spte, format) && spteMmioGfn(spte) === gfn) return spte;
    }
  }
  return SPTE_NONE;
}

/**
 * kvm_mmu_hugepage_adjust(): the level at which `gfn` is mapped to `pfn`. 2 MiB where the VM may, the slot covers them and does not log, guest and
 * host addresses are congruent, and the host itself maps them whole. Under shadow paging never: no larger than the guest's own entry, of 4 KiB.
 */
export function mmuLevel(vm: usize, gfn: u32, pfn: u32): u32 {
  if (!vmHuge(vm) || vmIsShadow(vm) || vmUnalias(vm, gfn) !== gfn) return LEVEL_4K;
  const slot = gfnToMemslot(vmSlots(vm), gfn);
  const first = thpFirst(gfn);
  if (slot === 0 || !memslotHolds(slot, first) || !memslotHolds(slot, first + HUGE_PAGES - 1))
    return LEVEL_4K;
  if (memslotFlags(slot) & KVM_MEM_LOG_DIRTY_PAGES) return LEVEL_4K;
  const index = memslotIndex(slot, gfn);
  if (((index ^ gfn) | (pfn ^ gfn)) & (HUGE_PAGES - 1)) return LEVEL_4K;
  return thpMapped(vmSpace(vm), index) ? LEVEL_2M : LEVEL_4K;
}

/**
 * May a write to `slot` go through its write-protected leaf `spte` without a lock? Not through one of 2 MiB while the slot logs: only what is
 * written becomes writable, which takes a split.
 */
export function mmuMayWrite(vm: usize, slot: usize, spte: u64): bool {
  if (spte & SPTE_PAGE_SIZE && memslotFlags(slot) & KVM_MEM_LOG_DIRTY_PAGES) return false;
  return spteMayWrite(spte, vmFormat(vm));
}

/** Drops every leaf that maps something of [start, end); mmu_lock is held for writing, the caller flushes. Returns how many. */
export function mmuZapRange(vm: usize, start: u32, end: u32, actor: usize): u32 {
  return vmIsLegacy(vm) ? legacyZapRange(vm, start, end, actor) : tdpZapRange(vm, start, end, actor);
}

/** Clears the accessed bits of [start, end); true when one was set. Flushes nothing. */
export function mmuAgeRange(vm: usize, start: u32, end: u32, time: u64): bool {
  return vmIsLegacy(vm) ? legacyAgeRange(vm, start, end) : tdpAgeRange(vm, start, end, time);
}

/** Takes W from every leaf that maps something of [start, end). Returns how many; the caller flushes if any. */
export function mmuWriteProtect(vm: usize, start: u32, end: u32, time: u64): u32 {
  return vmIsLegacy(vm) ? legacyWriteProtect(vm, start, end) : tdpWriteProtect(vm, start, end, time);
}

/**
 * kvm_mmu_zap_all_fast(): drops all tables of the VM with every leaf, and their frames go back to the host. A fault that began before starts over, and
 * loads another root. mmu_lock is held for writing; mmuZapped() follows. Returns the leaves.
 */
export function mmuZapAll(vm: usize, actor: usize): u32 {
  traceZapAllFast(vm, actorClock(actor));
  vmZapped(vm);
  return vmIsLegacy(vm) ? legacyZapAll(vm, actor) : tdpZapAll(vm, actor);
}

/** What vCPUs know of tables that are gone goes too. Only the legacy MMU flushes for it: a vCPU that loads another root does so by itself. */
export function mmuZapped(vm: usize, actor: usize): void {
  if (vmIsLegacy(vm)) flushRemoteTlbs(vm, actor);
  else freeObsoleteRoots(vm, actor);
}

/** References that the VM's sptes own to pages: none in today's design. */
export function mmuHeld(vm: usize): u32 {
  return vmSpteRefs(vm) ? legacyLeaves(vm) : 0;
}

export function checkMmu(vm: usize): void {
  if (vmIsLegacy(vm)) {
    checkLegacy(vm);
    if (vmIsShadow(vm)) checkShadow(vm);
  } else checkTdp(vm);
}
