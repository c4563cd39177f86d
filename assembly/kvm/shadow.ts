import { FAULT_MINOR, FAULT_SPURIOUS, FAULT_WRITE_PROTECT } from "../mm/fault";
import { pageGet, pageOf } from "../mm/page";
import { PTE_WRITE, ptePfn, ptePresent, ZERO_PFN } from "../mm/pte";
import { spacePte } from "../mm/space";
import { actorClock } from "../sim/actor";
import { flushRemoteTlbs } from "./flush";
import { GPTE_ACCESSED, GPTE_DIRTY, GPTE_PRESENT, gpteGfn, gpteReserved } from "./gpte";
import { guestTableAt } from "./guesttables";
import {
  gpteAccess,
  walkAccess,
  walkCr3,
  walkGfn,
  walkLevel,
  walkPage,
  walkRights,
  walkTable,
} from "./guestwalk";
import { vmInvalidating } from "./invalidation";
import { spteSet } from "./leafbits";
import { legacyDrop, legacyFind, legacyGetPage, legacyLink, legacyRmap, legacyUnlink } from "./legacypages";
import { memslotIndex, memslotReadOnly } from "./memslot";
import { gfnToMemslot } from "./memslots";
import { traceMarkMmio, traceSetSpte } from "./mmutrace";
import { rmapAdd } from "./rmap";
import { setVcpuRoot, vcpuRoot, vmGuestTables, vmPrivateRoots } from "./roots";
import {
  roleShadow,
  setSpEntryGfn,
  setSpFloods,
  spAccess,
  spEntryGfn,
  spGfn,
  spIndirect,
  spOfTable,
  spRole,
  spTable,
  spUnsync,
} from "./shadowpage";
import {
  ACC_ALL,
  ACC_WRITE,
  SPTE_NONE,
  SPTE_WRITE,
  spteLeaf,
  sptePfn,
  sptePresent,
  spteTableAddress,
} from "./spte";
import { protectTable, syncPage, tryToUnsync } from "./unsync";
import { GUEST_WALK, vcpuIndex } from "./vcpu";
import { vmFormat, vmMm, vmSlots, vmSpace, vmSpteRefs, vmTablePool } from "./vm";
import { entryOf, LEVEL_4K, tableGfn } from "./walk";

// Shadow paging (paging_tmpl.h): a page of sptes stands for each of the guest's tables that is walked, and says what the guest's table allows and
// where the host has it. What the guest's walk has found stands in the vCPU's record (guestwalk.ts). Below a large leaf of the guest's, pages map directly.

const LEVELS: u32 = 4;
/** PTE_PREFETCH_NUM */
const PREFETCH_PAGES: u32 = 8;

function owner(vm: usize, vcpu: usize): u32 {
  return vmPrivateRoots(vm) ? vcpuIndex(vcpu) + 1 : 0;
}

// What the page of sptes of `level` on the way stands for.
function childGfn(walk: usize, level: u32): u32 {
  return level >= walkLevel(walk) ? walkTable(walk, level) : tableGfn(walkGfn(walk), level);
}

function childRole(vm: usize, vcpu: usize, walk: usize, level: u32): u32 {
  const direct = level < walkLevel(walk);
  return roleShadow(level, direct ? walkAccess(walk) : walkRights(walk, level), direct, owner(vm, vcpu));
}

/** Pages of sptes that have to be made before what the vCPU's walk has found can be mapped. */
export function shadowMissing(vm: usize, vcpu: usize): u32 {
  const walk = vcpu + GUEST_WALK;
  let missing: u32 = 0;
  for (let level: u32 = LEVEL_4K; level <= LEVELS; level++) {
    if (legacyFind(vm, childGfn(walk, level), childRole(vm, vcpu, walk, level)) === 0) missing++;
  }
  return missing;
}

// kvm_mmu_get_page() with what a page that shadows a table needs: a new one protects the table, one that may differ is brought in step.
function getPage(vm: usize, vcpu: usize, gfn: u32, role: u32): usize {
  const created = legacyFind(vm, gfn, role) === 0;
  const sp = legacyGetPage(vm, vcpu, gfn, role);
  if (!spIndirect(sp)) return sp;
  let flush = false;
  if (created) flush = protectTable(vm, gfn);
  else if (spUnsync(sp)) flush = syncPage(vm, sp, vcpu);
  if (flush) flushRemoteTlbs(vm, vcpu);
  return sp;
}

/** kvm_mmu_load(): the vCPU walks from the page that shadows the table in its CR3. */
export function shadowLoadRoot(vm: usize, vcpu: usize, cr3: u32): void {
  const role = roleShadow(LEVELS, ACC_ALL, false, owner(vm, vcpu));
  setVcpuRoot(vcpu, getPage(vm, vcpu, cr3, role));
}

/** The page that shadows the table in `cr3` for this vCPU, 0 when there is none. */
export function shadowRootFor(vm: usize, vcpu: usize, cr3: u32): usize {
  return legacyFind(vm, cr3, roleShadow(LEVELS, ACC_ALL, false, owner(vm, vcpu)));
}

/**
 * FNAME(fetch)(): maps what the vCPU's walk has found to `pfn`; mmu_lock is held and the pages of sptes have been set aside.
 * @param write the access writes @param prefetch nobody has touched the page yet
 * @returns FAULT_*, and SHADOW_PROTECTED beside when the access writes to a table that stays protected
 */
export function shadowMap(
  vm: usize,
  vcpu: usize,
  pfn: u32,
  writable: bool,
  write: bool,
  prefetch: bool,
): u32 {
  const walk = vcpu + GUEST_WALK;
  const sp = pageFor(vm, vcpu);
  const index = walkPage(walk) & 511;
  const entry = spTable(sp) + ((<usize>index) << 3);
  const kind = setSpte(vm, vcpu, sp, index, walkGfn(walk), pfn, walkAccess(walk), writable, prefetch);
  const stays =
    write && (load<u64>(entry) & SPTE_WRITE) === 0 && (walkAccess(walk) & ACC_WRITE) !== 0 && writable;
  if (kind !== FAULT_SPURIOUS && !prefetch && spIndirect(sp)) mapNeighbours(vm, vcpu, sp, index);
  return stays ? kind | SHADOW_PROTECTED : kind;
}

/** The same where the guest's frame has no slot: its entry becomes the MMIO spte `spte`. */
export function shadowMapMmio(vm: usize, vcpu: usize, spte: u64): void {
  const sp = pageFor(vm, vcpu);
  const index = walkPage(vcpu + GUEST_WALK) & 511;
  const entry = spTable(sp) + ((<usize>index) << 3);
  if (sptePresent(load<u64>(entry))) {
    legacyDrop(vm, entry, spEntryGfn(vmTablePool(vm), sp, index), LEVEL_4K, vcpu); // the guest has given the page another frame
    flushRemoteTlbs(vm, vcpu);
  }
  spteSet(vm, entry, spte);
  traceMarkMmio(vm, entry, actorClock(vcpu));
}

// The page of sptes in which what the vCPU's walk has found has its leaf, with those on the way.
function pageFor(vm: usize, vcpu: usize): usize {
  const walk = vcpu + GUEST_WALK;
  const page = walkPage(walk);
  if (vcpuRoot(vcpu) === 0) shadowLoadRoot(vm, vcpu, walkCr3(walk));
  let sp = vcpuRoot(vcpu);
  for (let level = LEVELS; level > LEVEL_4K; level--) {
    setSpFloods(sp, 0);
    const entry = entryOf(spTable(sp), page, level);
    const gfn = childGfn(walk, level - 1);
    const role = childRole(vm, vcpu, walk, level - 1);
    if (sptePresent(load<u64>(entry))) {
      const child = spOfTable(vmTablePool(vm), spteTableAddress(load<u64>(entry)));
      if (spGfn(child) !== gfn || spRole(child) !== role) {
        legacyUnlink(vm, entry); // validate_direct_spte()
        flushRemoteTlbs(vm, vcpu);
      }
    }
    if (!sptePresent(load<u64>(entry))) legacyLink(vm, entry, page, level, getPage(vm, vcpu, gfn, role));
    sp = spOfTable(vmTablePool(vm), spteTableAddress(load<u64>(entry)));
  }
  return sp;
}

export const SHADOW_PROTECTED: u32 = 1 << 8;

// mmu_set_spte()
function setSpte(
  vm: usize,
  vcpu: usize,
  sp: usize,
  index: u32,
  gfn: u32,
  pfn: u32,
  access: u32,
  writable: bool,
  prefetch: bool,
): u32 {
  const pool = vmTablePool(vm);
  const time = actorClock(vcpu);
  const entry = spTable(sp) + ((<usize>index) << 3);
  let old = sptePresent(load<u64>(entry)) ? load<u64>(entry) : SPTE_NONE; // what an MMIO spte says does not count
  let flush = false;
  if (old !== SPTE_NONE && (sptePfn(old) !== pfn || spEntryGfn(pool, sp, index) !== gfn)) {
    legacyDrop(vm, entry, spEntryGfn(pool, sp, index), LEVEL_4K, vcpu);
    old = SPTE_NONE;
    flush = true;
  }
  const wants = writable && (access & ACC_WRITE) !== 0;
  const protect = wants && (old & SPTE_WRITE) === 0 && !tryToUnsync(vm, gfn, !prefetch, time);
  const spte = spteLeaf(vmFormat(vm), pfn, LEVEL_4K, access, writable, protect, prefetch);
  if (spte === old) return FAULT_SPURIOUS;
  if (old & SPTE_WRITE && (spte & SPTE_WRITE) === 0) flush = true;
  setSpEntryGfn(pool, sp, index, gfn);
  spteSet(vm, entry, spte);
  traceSetSpte(vm, entry, gfn, LEVEL_4K, time);
  if (flush) flushRemoteTlbs(vm, vcpu);
  if (old !== SPTE_NONE) return FAULT_WRITE_PROTECT;
  rmapAdd(legacyRmap(vm), gfn, LEVEL_4K, entry);
  if (vmSpteRefs(vm) && pfn !== ZERO_PFN) pageGet(pageOf(vmMm(vm), pfn));
  return FAULT_MINOR;
}

// FNAME(pte_prefetch)(): of the aligned group of eight, what the guest has used and the host has writable is mapped along, up to the first
// that is missing.
function mapNeighbours(vm: usize, vcpu: usize, sp: usize, index: u32): void {
  if (vmInvalidating(vm) !== 0) return;
  const table = guestTableAt(vmGuestTables(vm), spGfn(sp));
  const first = index & ~(PREFETCH_PAGES - 1);
  for (let each = first; each < first + PREFETCH_PAGES; each++) {
    const at = (<usize>each) << 3;
    if (each === index || sptePresent(load<u64>(spTable(sp) + at))) continue;
    if (!mapNeighbour(vm, vcpu, sp, each, load<u64>(table + at))) return;
  }
}

// FNAME(prefetch_gpte)()
function mapNeighbour(vm: usize, vcpu: usize, sp: usize, index: u32, gpte: u64): bool {
  const wanted = GPTE_PRESENT | GPTE_ACCESSED;
  if ((gpte & wanted) !== wanted || gpteReserved(gpte, LEVEL_4K, true)) return false;
  const gfn = gpteGfn(gpte);
  const slot = gfnToMemslot(vmSlots(vm), gfn);
  if (slot === 0) return false;
  const pte = spacePte(vmSpace(vm), memslotIndex(slot, gfn));
  if (!ptePresent(pte) || (pte & PTE_WRITE) === 0) return false;
  const access = spAccess(sp) & gpteAccess(gpte) & (gpte & GPTE_DIRTY ? ~0 : ~ACC_WRITE);
  setSpte(vm, vcpu, sp, index, gfn, ptePfn(pte), access, !memslotReadOnly(slot), true);
  return true;
}
