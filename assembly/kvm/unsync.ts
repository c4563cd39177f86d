import { PG_REFERENCED, pageOf, pageSet } from "../mm/page";
import { ZERO_PFN } from "../mm/pte";
import { actorClock } from "../sim/actor";
import { flushRemoteTlbs } from "./flush";
import { GPTE_ACCESSED, GPTE_DIRTY, GPTE_PRESENT, gpteGfn, gpteReserved } from "./gpte";
import { guestTableAt } from "./guesttables";
import { gpteAccess } from "./guestwalk";
import { spteSet } from "./leafbits";
import {
  legacyBelow,
  legacyDrop,
  legacyRmap,
  legacyShadows,
  legacyUnlink,
  legacyZapPage,
} from "./legacypages";
import { spteMmioAccess, spteMmioGfn } from "./mmiospte";
import { traceSyncPage, traceUnsyncPage } from "./mmutrace";
import { rmapFirst, rmapNext } from "./rmap";
import { vcpuRoot, vmGuestTables } from "./roots";
import {
  firstUnsync,
  setSpFloods,
  setSpUnsync,
  spAccess,
  spEntryGfn,
  spFloods,
  spGfn,
  spLevel,
  spNextUnsync,
  spTable,
  spUnsync,
} from "./shadowpage";
import {
  ACC_USER,
  ACC_WRITE,
  SPTE_NONE,
  SPTE_WRITE,
  spteHostWritable,
  spteIsLeaf,
  spteLeaf,
  spteMmuWritable,
  sptePfn,
  sptePresent,
  spteYoung,
} from "./spte";
import { vmFormat, vmMm, vmTablePool } from "./vm";
import { LEVEL_4K, TABLE_ENTRIES } from "./walk";

// How pages of sptes follow the guest's tables. A frame that holds a shadowed table is write-protected. A write to a table of level 1 lets its pages
// go unsync: the frame becomes writable, and the pages are brought in step again when the guest flushes its TLB, which it must
// do before it may rely on what it has written. A write to a table above is emulated, and what it changes is zapped.
//
// invariant: no writable spte maps a frame whose table is shadowed by a page that is in sync

const MMIO_ACCESS: u32 = ACC_WRITE | ACC_USER;
/** Writes through one page to a table before the page is zapped. */
const FLOODS_MAX: u32 = 3;

/** A table above level 1 in `gfn` is shadowed: writes are emulated (kvm_slot_page_track_is_active()). */
export function writeTracked(vm: usize, gfn: u32): bool {
  for (let sp = legacyShadows(vm, gfn, 0); sp !== 0; sp = legacyShadows(vm, gfn, sp)) {
    if (spLevel(sp) > LEVEL_4K) return true;
  }
  return false;
}

/** rmap_write_protect(): nothing that maps `gfn` may write, and nothing makes it writable without mmu_lock. True: flush. */
export function protectTable(vm: usize, gfn: u32): bool {
  const rmap = legacyRmap(vm);
  const bits = SPTE_WRITE | spteMmuWritable(vmFormat(vm));
  let changed = false;
  for (
    let entry = rmapFirst(rmap, gfn, LEVEL_4K);
    entry !== 0;
    entry = rmapNext(rmap, gfn, LEVEL_4K, entry)
  ) {
    const spte = load<u64>(entry);
    if ((spte & bits) === 0) continue;
    spteSet(vm, entry, spte & ~bits);
    changed = true;
  }
  return changed;
}

/**
 * mmu_try_to_unsync_pages(): before an entry for `gfn` becomes writable. False: it must not.
 * @param allowed pages may go unsync, as for a write of the guest's
 */
export function tryToUnsync(vm: usize, gfn: u32, allowed: bool, time: u64): bool {
  if (writeTracked(vm, gfn)) return false;
  for (let sp = legacyShadows(vm, gfn, 0); sp !== 0; sp = legacyShadows(vm, gfn, sp)) {
    if (spUnsync(sp)) continue;
    if (!allowed) return false;
    traceUnsyncPage(sp, time);
    setSpUnsync(vmTablePool(vm), sp, true);
  }
  return true;
}

/** kvm_sync_page(): the entries of `sp` become what the guest's table says; what it does not say any more goes. True: flush. */
export function syncPage(vm: usize, sp: usize, actor: usize): bool {
  assert(spUnsync(sp) && spLevel(sp) === LEVEL_4K);
  const pool = vmTablePool(vm);
  const time = actorClock(actor);
  traceSyncPage(sp, time);
  let flush = protectTable(vm, spGfn(sp));
  setSpUnsync(pool, sp, false);
  const table = guestTableAt(vmGuestTables(vm), spGfn(sp));
  for (let index: u32 = 0; index < TABLE_ENTRIES; index++) {
    const entry = spTable(sp) + ((<usize>index) << 3);
    if (load<u64>(entry) === SPTE_NONE) continue;
    const gpte = load<u64>(table + ((<usize>index) << 3));
    if (!sptePresent(load<u64>(entry))) {
      syncMmio(vm, sp, entry, gpte);
      continue;
    }
    if (syncEntry(vm, sp, entry, spEntryGfn(pool, sp, index), gpte, actor)) flush = true;
  }
  return flush;
}

// What the guest's table says by `gpte`, KVM's rights of the tables above included.
function gpteRights(sp: usize, gpte: u64): u32 {
  return spAccess(sp) & gpteAccess(gpte) & (gpte & GPTE_DIRTY ? ~0 : ~ACC_WRITE);
}

// An MMIO spte stays as it is, its generation too, or goes when the guest's entry says something else. No TLB has it.
function syncMmio(vm: usize, sp: usize, entry: usize, gpte: u64): void {
  const spte = load<u64>(entry);
  const stays =
    gpte & GPTE_PRESENT && !gpteReserved(gpte, LEVEL_4K, true) && gpteGfn(gpte) === spteMmioGfn(spte);
  const access = gpteRights(sp, gpte) & MMIO_ACCESS;
  if (!stays || spteMmioAccess(spte, vmFormat(vm)) !== access) spteSet(vm, entry, SPTE_NONE);
}

// FNAME(sync_page)() of one entry. True: flush.
function syncEntry(vm: usize, sp: usize, entry: usize, gfn: u32, gpte: u64, actor: usize): bool {
  const format = vmFormat(vm);
  const wanted = GPTE_PRESENT | GPTE_ACCESSED;
  if ((gpte & wanted) !== wanted || gpteReserved(gpte, LEVEL_4K, true) || gpteGfn(gpte) !== gfn) {
    legacyDrop(vm, entry, gfn, LEVEL_4K, actor);
    return true;
  }
  const old = load<u64>(entry);
  const access = gpteRights(sp, gpte);
  const hostWritable = (old & spteHostWritable(format)) !== 0;
  const protect = (access & ACC_WRITE) !== 0 && !tryToUnsync(vm, gfn, false, 0);
  const spte = spteLeaf(format, sptePfn(old), LEVEL_4K, access, hostWritable, protect, true);
  const young = spteYoung(old, format);
  if (young && sptePfn(old) !== ZERO_PFN) pageSet(pageOf(vmMm(vm), sptePfn(old)), PG_REFERENCED);
  spteSet(vm, entry, spte);
  return spte !== old;
}

/** mmu_sync_children(): pages that the vCPU can walk to are brought in step. Returns the pages. */
export function syncRoot(vm: usize, vcpu: usize): u32 {
  const root = vcpuRoot(vcpu);
  if (root === 0) return 0;
  let synced: u32 = 0;
  let flush = false;
  let sp = firstUnsync(vmTablePool(vm));
  while (sp !== 0) {
    const next = spNextUnsync(sp);
    if (legacyBelow(vm, sp, root)) {
      synced++;
      if (syncPage(vm, sp, vcpu)) flush = true;
    }
    sp = next;
  }
  if (flush) flushRemoteTlbs(vm, vcpu);
  return synced;
}

/** kvm_mmu_track_write(): the guest has written the entry for `index` of the table in `gfn`. Returns the pages zapped. */
export function tableWritten(vm: usize, gfn: u32, index: u32, actor: usize): u32 {
  let flush = false;
  for (let sp = legacyShadows(vm, gfn, 0); sp !== 0; sp = legacyShadows(vm, gfn, sp)) {
    if (spUnsync(sp)) continue;
    flush = true;
    if (spLevel(sp) > LEVEL_4K) setSpFloods(sp, spFloods(sp) + 1);
    const entry = spTable(sp) + ((<usize>index) << 3);
    const old = load<u64>(entry);
    if (old === SPTE_NONE) continue;
    if (!sptePresent(old)) spteSet(vm, entry, SPTE_NONE);
    else if (spteIsLeaf(old, spLevel(sp)))
      legacyDrop(vm, entry, spEntryGfn(vmTablePool(vm), sp, index), spLevel(sp), actor);
    else legacyUnlink(vm, entry);
  }
  const zapped = zapFlooded(vm, gfn, actor);
  if (flush) flushRemoteTlbs(vm, actor);
  return zapped;
}

// Pages that are written to again and again no longer serve as tables (detect_write_flooding()).
function zapFlooded(vm: usize, gfn: u32, actor: usize): u32 {
  let zapped: u32 = 0;
  let sp = legacyShadows(vm, gfn, 0);
  while (sp !== 0) {
    if (spFloods(sp) < FLOODS_MAX) {
      sp = legacyShadows(vm, gfn, sp);
      continue;
    }
    legacyZapPage(vm, sp, actor);
    zapped++;
    sp = legacyShadows(vm, gfn, 0); // zapping may have taken others along
  }
  return zapped;
}

/** No writable entry for the frame of a table whose pages are in sync. */
export function checkProtected(vm: usize, sp: usize): void {
  if (spUnsync(sp)) return;
  const rmap = legacyRmap(vm);
  const gfn = spGfn(sp);
  for (
    let entry = rmapFirst(rmap, gfn, LEVEL_4K);
    entry !== 0;
    entry = rmapNext(rmap, gfn, LEVEL_4K, entry)
  ) {
    assert((load<u64>(entry) & (SPTE_WRITE | spteMmuWritable(vmFormat(vm)))) === 0);
  }
}
