import { arenaReserve, arenaTake, PART_RECORDS, PART_SPTES } from "../memory/arena";
import { tableFree } from "../mm/free";
import { actorClock } from "../sim/actor";
import { aliasedPages } from "./alias";
import { flushRemoteTlbs } from "./flush";
import { spteSet } from "./leafbits";
import { traceGetPage, tracePrepareZap } from "./mmutrace";
import { pteListAdd, pteListAt, pteListCount, pteListFirst, pteListRemove } from "./ptelist";
import { spteReleased } from "./release";
import { RMAP_BYTES, rmapLayout, rmapPool, rmapRemove } from "./rmap";
import { FAULT_PAGES, rootsForget, rootsUnload, vmFrameMaps, vmShadowNeed } from "./roots";
import {
  firstUnsync,
  roleDirect,
  setSpHashNext,
  setSpNewer,
  setSpOlder,
  setSpRootCount,
  setSpUnsync,
  spEntryGfn,
  spGfn,
  spGive,
  spHashNext,
  spIndirect,
  spLevel,
  spNewer,
  spNextUnsync,
  spOfTable,
  spOlder,
  spParents,
  spRole,
  spRootCount,
  spTable,
  spTake,
  spUnsync,
  tablesMax,
  tablesUsed,
} from "./shadowpage";
import { takeSpare } from "./spare";
import { SPTE_NONE, spteIsLeaf, sptePresent, spteTable, spteTableAddress } from "./spte";
import {
  setVmLegacy,
  setVmRoot,
  vmAliases,
  vmFormat,
  vmGfnEnd,
  vmIsShadow,
  vmLegacy,
  vmLevels,
  vmMm,
  vmPages,
  vmRoot,
  vmSpteRefs,
  vmTablePool,
  vmTables,
  vmUnalias,
} from "./vm";
import { LEVEL_4K, levelPages, linkTable, setDirectory, TABLE_ENTRIES } from "./walk";

// The pages of sptes of the legacy MMU: found again by what they map and their role, linked by entries that they know
// (parent_ptes), limited in number, and the oldest zapped first. They map a VM directly, or shadow the guest's tables (shadow.ts).
//
// record   0      4        8        12      16     24
//          +------+--------+--------+-------+------+------+
//          | hash | newest | oldest | limit | iter | rmap | chosen |      chosen: the limit that the monitor has set, 0 for KVM's own
//          +------+--------+--------+-------+------+------+--------+
//
// invariant: every table in use is in the hash and in the order of creation, once
// invariant: an entry that links a table stands in the table's list of parents

const HASH: usize = 0;
const NEWEST: usize = 4;
const OLDEST: usize = 8;
const LIMIT: usize = 12;
const ITERATOR: usize = 16;
const RMAP: usize = 24;
const CHOSEN: usize = RMAP + RMAP_BYTES;
const LEGACY_BYTES: usize = CHOSEN + 4;

/** KVM_MMU_HASH_SHIFT */
const HASH_SHIFT: u32 = 12;
const GOLDEN_RATIO_32: u32 = 0x61c88647;
/** KVM_MEMSLOT_PAGES_TO_MMU_PAGES_RATIO, and the least. */
const PAGES_PER_MMU_PAGE: u32 = 50;
const MMU_PAGES_MIN: u32 = 64;
/** KVM_MIN_FREE_MMU_PAGES, KVM_REFILL_PAGES */
const FREE_MIN: u32 = 5;
const REFILL: u32 = 25;
const SPARE_DESCRIPTORS: u32 = 16;
/** Entries of a descriptor. */
const DESCRIPTOR_ENTRIES: u32 = 14;

/** Takes the record; false when memory is exhausted. `limit` 0: what KVM chooses for the size of the VM. */
export function legacyCreate(vm: usize, limit: u32): bool {
  const legacy = arenaTake(PART_RECORDS, LEGACY_BYTES);
  if (legacy === 0) return false;
  setVmLegacy(vm, legacy);
  store<u32>(legacy, limit, CHOSEN);
  store<u32>(legacy, limit === 0 ? mmuPagesDefault(vmPages(vm)) : limit, LIMIT);
  return true;
}

/** n_max_mmu_pages of a VM whose slots have `pages` pages, unless its monitor sets another number. */
export function mmuPagesDefault(pages: u32): u32 {
  return max<u32>(pages / PAGES_PER_MMU_PAGE, MMU_PAGES_MIN);
}

/** The slots have `pages` pages from now on (kvm_mmu_change_mmu_pages()), unless its monitor has set the number. Under shadow paging there is room for so many, or for all that the guest's tables can need. */
export function legacySlotsChanged(vm: usize, pages: u32): void {
  const legacy = vmLegacy(vm);
  if (load<u32>(legacy, CHOSEN) !== 0) return;
  let limit = mmuPagesDefault(pages);
  const room = tablesMax(vmTablePool(vm));
  if (vmIsShadow(vm) && room < vmShadowNeed(vm)) limit = min<u32>(limit, room - FAULT_PAGES);
  store<u32>(legacy, limit, LIMIT);
}

/** By how many pages of sptes the limit would grow if the slots had `pages` pages. */
export function legacyLimitGrows(vm: usize, pages: u32): u32 {
  const legacy = vmLegacy(vm);
  const limit = mmuPagesDefault(pages);
  return load<u32>(legacy, CHOSEN) !== 0 || limit <= load<u32>(legacy, LIMIT)
    ? 0
    : limit - load<u32>(legacy, LIMIT);
}

/** Descriptors that lists can need when `pages` more frames can be mapped, and `tables` pages of sptes more can be made: see shadowLists(). */
export function shadowListsMore(vm: usize, pages: u32, tables: u32): u32 {
  const maps = vmFrameMaps(vm);
  if (maps === 1) return 2 * tables;
  const entries = max<u32>(tables * TABLE_ENTRIES, pages * maps);
  if (vmSpteRefs(vm)) return entries + 2 * tables;
  return pages + entries / DESCRIPTOR_ENTRIES + 1 + 2 * tables;
}

export function legacyLayout(vm: usize): void {
  const legacy = vmLegacy(vm);
  store<u32>(legacy, <u32>arenaReserve(PART_SPTES, 4 << HASH_SHIFT), HASH);
  // In a direct map a page is mapped, and a table linked, by one entry: only what aliases show too needs descriptors, two for five entries.
  const descriptors = SPARE_DESCRIPTORS + 2 * aliasedPages(vmAliases(vm)) + shadowLists(vm);
  rmapLayout(legacy + RMAP, vmGfnEnd(vm), vmTables(vm), descriptors, vmSpteRefs(vm));
}

// Several entries may map the same frame: a list that ever had two keeps a descriptor until it is empty, and of 2008's descriptors each may be
// down to one entry. Tables have as many lists of parents.
function shadowLists(vm: usize): u32 {
  if (!vmIsShadow(vm)) return 0;
  const maps = vmFrameMaps(vm);
  const tables = tablesMax(vmTablePool(vm));
  const most = <u64>vmPages(vm) * maps;
  const entries = <u32>min<u64>(<u64>tables * TABLE_ENTRIES, most);
  if (maps === 1) return 2 * tables;
  if (vmSpteRefs(vm)) return entries + 2 * tables;
  return min<u32>(entries, vmPages(vm)) + entries / DESCRIPTOR_ENTRIES + 2 * tables;
}

/** The VM's reverse map. */
export function legacyRmap(vm: usize): usize {
  return vmLegacy(vm) + RMAP;
}

/** The newest page of sptes; the others follow through spOlder(). */
export function legacyNewest(vm: usize): usize {
  return <usize>load<u32>(vmLegacy(vm), NEWEST);
}

function oldest(vm: usize): usize {
  return <usize>load<u32>(vmLegacy(vm), OLDEST);
}

/** Loads the root; `frame` is what it costs. */
export function legacyLoadRoot(vm: usize, frame: u32): void {
  const sp = enter(vm, 0, roleDirect(vmLevels(vm)), frame);
  setSpRootCount(sp, 1);
  setVmRoot(vm, spTable(sp));
}

function bucket(vm: usize, gfn: u32): usize {
  const index = (gfn * GOLDEN_RATIO_32) >>> (32 - HASH_SHIFT);
  return <usize>load<u32>(vmLegacy(vm), HASH) + ((<usize>index) << 2);
}

/** The page of sptes for `gfn` and `role`, 0 when there is none. */
export function legacyFind(vm: usize, gfn: u32, role: u32): usize {
  let sp = <usize>load<u32>(bucket(vm, gfn));
  while (sp !== 0 && (spGfn(sp) !== gfn || spRole(sp) !== role)) sp = spHashNext(sp);
  return sp;
}

/** The page of sptes after `sp` (0: the first) that shadows the guest's table in frame `gfn` (for_each_gfn_valid_sp()); 0 at the end. */
export function legacyShadows(vm: usize, gfn: u32, sp: usize): usize {
  let next = sp === 0 ? <usize>load<u32>(bucket(vm, gfn)) : spHashNext(sp);
  while (next !== 0 && (spGfn(next) !== gfn || !spIndirect(next))) next = spHashNext(next);
  return next;
}

/** kvm_mmu_get_page(): the page of sptes for `gfn` and `role`, made from a frame set aside when it is not there. */
export function legacyGetPage(vm: usize, vcpu: usize, gfn: u32, role: u32): usize {
  const found = legacyFind(vm, gfn, role);
  const sp = found !== 0 ? found : enter(vm, gfn, role, takeSpare(vcpu));
  traceGetPage(sp, found === 0, actorClock(vcpu));
  return sp;
}

function enter(vm: usize, gfn: u32, role: u32, frame: u32): usize {
  const legacy = vmLegacy(vm);
  const sp = spTake(vmTablePool(vm), gfn, role, frame);
  const at = bucket(vm, gfn);
  setSpHashNext(sp, <usize>load<u32>(at));
  store<u32>(at, <u32>sp);
  const newest = <usize>load<u32>(legacy, NEWEST);
  setSpOlder(sp, newest);
  if (newest !== 0) setSpNewer(newest, sp);
  else store<u32>(legacy, <u32>sp, OLDEST);
  store<u32>(legacy, <u32>sp, NEWEST);
  return sp;
}

function leave(vm: usize, sp: usize): void {
  const legacy = vmLegacy(vm);
  const newer = spNewer(sp);
  const older = spOlder(sp);
  if (newer !== 0) setSpOlder(newer, older);
  else store<u32>(legacy, <u32>older, NEWEST);
  if (older !== 0) setSpNewer(older, newer);
  else store<u32>(legacy, <u32>newer, OLDEST);
  const at = bucket(vm, spGfn(sp));
  let other = <usize>load<u32>(at);
  if (other === sp) {
    store<u32>(at, <u32>spHashNext(sp));
    return;
  }
  while (spHashNext(other) !== sp) other = spHashNext(other);
  setSpHashNext(other, spHashNext(sp));
}

/** link_shadow_page(): the entry at `entry` for `gfn`, of `level`, links `sp`. */
export function legacyLink(vm: usize, entry: usize, gfn: u32, level: u32, sp: usize): void {
  pteListAdd(rmapPool(legacyRmap(vm)), spParents(sp), entry);
  if (vmIsShadow(vm)) {
    store<u64>(entry, spteTable(vmFormat(vm), spTable(sp)));
    return;
  }
  linkTable(vm, entry, gfn, level, spTable(sp));
  if (level > LEVEL_4K + 1) reach(spTable(sp), vm, spGfn(sp), level - 1, true);
}

// The walk reaches the leaf tables below `table`, or reaches them no more.
function reach(table: usize, vm: usize, gfn: u32, level: u32, reached: bool): void {
  if (level === LEVEL_4K) {
    setDirectory(vm, gfn, reached ? table : 0);
    return;
  }
  for (let index: u32 = 0; index < TABLE_ENTRIES; index++) {
    const entry = load<u64>(table + ((<usize>index) << 3));
    if (!sptePresent(entry) || spteIsLeaf(entry, level)) continue;
    reach(spteTableAddress(entry), vm, gfn + index * levelPages(level), level - 1, reached);
  }
}

/** drop_parent_pte(): the entry at `entry` links nothing any more. */
export function legacyUnlink(vm: usize, entry: usize): void {
  const sp = spOfTable(vmTablePool(vm), spteTableAddress(load<u64>(entry)));
  pteListRemove(rmapPool(legacyRmap(vm)), spParents(sp), entry);
  store<u64>(entry, SPTE_NONE);
  if (vmIsShadow(vm)) rootsForget(vm);
  else reach(spTable(sp), vm, spGfn(sp), spLevel(sp), false);
}

/** drop_spte(): the present leaf at `entry` goes, with its place in the reverse map under `gfn`, which is no alias. */
export function legacyDrop(vm: usize, entry: usize, gfn: u32, level: u32, actor: usize): void {
  const old = load<u64>(entry);
  assert(sptePresent(old) && spteIsLeaf(old, level));
  rmapRemove(legacyRmap(vm), gfn, level, entry);
  spteSet(vm, entry, SPTE_NONE);
  spteReleased(vm, gfn, old, actor);
}

/**
 * kvm_mmu_prepare_zap_page() and kvm_mmu_commit_zap_page(): the page's entries go, then what links it, then its frame. Tables that it
 * linked stay, to be found again. The caller flushes the TLBs. Returns the leaves dropped.
 */
export function legacyZapPage(vm: usize, sp: usize, actor: usize): u32 {
  let zapped: u32 = 0;
  if (vmIsShadow(vm)) {
    zapped += zapUnsyncChildren(vm, sp, actor);
    rootsUnload(vm, sp);
    if (spUnsync(sp)) setSpUnsync(vmTablePool(vm), sp, false);
  }
  assert(spRootCount(sp) === 0);
  tracePrepareZap(sp, actorClock(actor));
  const level = spLevel(sp);
  for (let index: u32 = 0; index < TABLE_ENTRIES; index++) {
    const entry = spTable(sp) + ((<usize>index) << 3);
    const old = load<u64>(entry);
    if (!sptePresent(old)) continue;
    if (spteIsLeaf(old, level)) {
      legacyDrop(vm, entry, vmUnalias(vm, spEntryGfn(vmTablePool(vm), sp, index)), level, actor);
      zapped++;
    } else {
      legacyUnlink(vm, entry);
    }
  }
  const iterator = vmLegacy(vm) + ITERATOR;
  for (let parent = pteListFirst(spParents(sp), iterator); parent !== 0; ) {
    legacyUnlink(vm, parent);
    parent = pteListFirst(spParents(sp), iterator);
  }
  leave(vm, sp);
  tableFree(vmMm(vm), spGive(vmTablePool(vm), sp), actor);
  return zapped;
}

/**
 * kvm_zap_obsolete_pages() when all are: every page of sptes goes, the oldest first, the roots too; the next fault of each vCPU loads another one.
 * Returns the leaves dropped; the caller flushes.
 */
export function legacyZapAll(vm: usize, actor: usize): u32 {
  if (vmRoot(vm) !== 0) {
    setSpRootCount(spOfTable(vmTablePool(vm), vmRoot(vm)), 0);
    setVmRoot(vm, 0);
  }
  let zapped: u32 = 0;
  while (oldest(vm) !== 0) zapped += legacyZapPage(vm, oldest(vm), actor);
  return zapped;
}

// mmu_zap_unsync_children(): what may differ from the guest's tables is found through what is above it.
function zapUnsyncChildren(vm: usize, sp: usize, actor: usize): u32 {
  let zapped: u32 = 0;
  if (spLevel(sp) === LEVEL_4K) return zapped;
  const pool = vmTablePool(vm);
  let child = firstUnsync(pool);
  while (child !== 0) {
    const next = spNextUnsync(child);
    if (legacyBelow(vm, child, sp)) zapped += legacyZapPage(vm, child, actor);
    child = next;
  }
  return zapped;
}

/** The walk from `top` on can come to `sp`. */
export function legacyBelow(vm: usize, sp: usize, top: usize): bool {
  if (sp === top) return true;
  if (spLevel(sp) >= spLevel(top)) return false;
  const pool = vmTablePool(vm);
  const list = spParents(sp);
  for (let place: u32 = 0; place < pteListCount(list); place++) {
    if (legacyBelow(vm, spOfTable(pool, pteListAt(list, place)), top)) return true;
  }
  return false;
}

/** kvm_mmu_available_pages() */
function available(vm: usize): u32 {
  const limit = load<u32>(vmLegacy(vm), LIMIT);
  const used = tablesUsed(vmTablePool(vm));
  return limit > used ? limit - used : 0;
}

/** make_mmu_pages_available(): zaps the oldest pages of sptes but roots when few more may be made. False: none can be had. */
export function legacyMakeAvailable(vm: usize, actor: usize): bool {
  const free = available(vm);
  if (free >= FREE_MIN) return true;
  let zapped: u32 = 0;
  let sp = oldest(vm);
  while (sp !== 0 && zapped < REFILL - free) {
    if (spRootCount(sp) !== 0) {
      sp = spNewer(sp);
      continue;
    }
    legacyZapPage(vm, sp, actor);
    zapped++;
    sp = oldest(vm); // its children that differ from the guest's tables have gone with it: the next one may be among them
  }
  if (zapped !== 0) flushRemoteTlbs(vm, actor);
  return available(vm) !== 0;
}

/** Every table in use is listed and found; every entry that links a table is known to it. */
export function checkLegacyPages(vm: usize): void {
  let listed: u32 = 0;
  for (let sp = legacyNewest(vm); sp !== 0; sp = spOlder(sp)) {
    listed++;
    assert(legacyFind(vm, spGfn(sp), spRole(sp)) === sp);
    assert(spOlder(sp) !== 0 || <u32>sp === load<u32>(vmLegacy(vm), OLDEST));
    const iterator = vmLegacy(vm) + ITERATOR;
    const parent = pteListFirst(spParents(sp), iterator);
    if (parent !== 0) assert(spteTableAddress(load<u64>(parent)) === spTable(sp));
  }
  assert(listed === tablesUsed(vmTablePool(vm)));
}
