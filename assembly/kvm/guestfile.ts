import { arenaReserve, arenaTake, PART_RECORDS } from "../memory/arena";
import { PFN_NONE } from "../memory/layout";
import { mmSpace, mmSpaces } from "../mm/instance";
import { PG_FILE, PG_SWAPCACHE, pageOf, pageTest } from "../mm/page";
import {
  fileCreate,
  fileExtend,
  fileHost,
  fileLayout,
  fileLookup,
  fileShared,
  fileSize,
  setFileHost,
} from "../mm/pagecache";
import { ENTRY_NONE, PTE_NONE, pteEntry, pteOfEntry } from "../mm/pte";
import {
  setSpaceFile,
  setSpacePte,
  spaceAccount,
  spaceFile,
  spaceId,
  spacePte,
  spaceSlotLost,
} from "../mm/space";
import { swapCount, swapFree } from "../mm/swapmap";
import { actorCpu, STAGE_LOCK } from "../sim/actor";
import { checkMutex, mutexLock, mutexOwner, mutexUnlock } from "../sim/mutex";
import { memslotFirst, memslotIndex, memslotPages } from "./memslot";
import { gfnToMemslot } from "./memslots";
import { setVmGuestFile, vmGfnEnd, vmGuestFile, vmId, vmMm, vmSlots, vmSpace, vmVcpus } from "./vm";

// A VM of 2007 whose pages can be swapped out: they stand in the page cache of the VM's file, at the index of their gfn without aliases, and each gfn of
// a slot has a word for the swap entry of its page (struct kvm_page_info). The process maps none of them, so the entries stand in the places
// of its page-table entries, which it does not need.
//
// record   0           12       16    20       24          28
//          +-----------+--------+------+--------+-----------+
//          | kvm->lock | zapAll | zaps | leaked | truncated |      zaps: of each vCPU, u32
//          +-----------+--------+------+--------+-----------+
//
// All anonymous inodes are one inode: unless a VM has a mapping of its own, its file is every VM's, and says that it belongs to the VM created last.
//
// invariant: with a mapping of its own, a gfn is in the page cache, or has an entry, or neither
// invariant: an entry stands with one gfn of one VM, and that is a use of its slot

const LOCK: usize = 0;
const ZAP_ALL: usize = 12;
const ZAPS: usize = 16;
const LEAKED: usize = 20;
const TRUNCATED: usize = 24;
const GUEST_FILE_BYTES: usize = 28;

/** Gives the VM, whose vCPUs are known, a file of its own, or the one that the other VMs share. False when memory is exhausted. */
export function guestFileCreate(vm: usize, shared: bool, zapAll: bool): bool {
  const record = arenaTake(PART_RECORDS, GUEST_FILE_BYTES);
  if (record === 0) return false;
  const file = shared ? sharedFile(vm) : fileCreate(false);
  if (file === 0) return false;
  setFileHost(file, vmId(vm)); // inode->i_private = kvm
  setVmGuestFile(vm, record);
  setSpaceFile(vmSpace(vm), file);
  store<u32>(record, zapAll ? 1 : 0, ZAP_ALL);
  return true;
}

// The one file of all VMs that share it.
function sharedFile(vm: usize): usize {
  const mm = vmMm(vm);
  for (let id: u32 = 0; id < mmSpaces(mm); id++) {
    const file = spaceFile(mmSpace(mm, id));
    if (file !== 0 && fileShared(file)) return file;
  }
  return fileCreate(true);
}

/** All slots are known: the file is as long as the longest of its VMs. */
export function guestFileExtend(vm: usize): void {
  if (vmGuestFile(vm) !== 0) fileExtend(spaceFile(vmSpace(vm)), vmGfnEnd(vm));
}

export function guestFileLayout(vm: usize): void {
  const record = vmGuestFile(vm);
  if (record === 0) return;
  fileLayout(spaceFile(vmSpace(vm)));
  store<u32>(record, <u32>arenaReserve(PART_RECORDS, (<u64>vmVcpus(vm)) << 2), ZAPS);
}

/** kvm->lock, under which faults are handled; a mutex since the pages can be swapped. */
export function kvmLock(vm: usize): usize {
  return vmGuestFile(vm) + LOCK;
}

/** The actor takes the lock, unless it has it. False: it sleeps, and has it when it is woken. */
export function kvmLockTake(vm: usize, actor: usize): bool {
  return mutexOwner(kvmLock(vm)) === actor || mutexLock(kvmLock(vm), actor, STAGE_LOCK);
}

export function kvmLockDrop(vm: usize, actor: usize): void {
  mutexUnlock(kvmLock(vm), actor);
}

/** writepage zaps the page in the tables of every vCPU, and flushes all of them. */
export function zapsAllVcpus(vm: usize): bool {
  return load<u32>(vmGuestFile(vm), ZAP_ALL) !== 0;
}

/** Entries that writepage has zapped in the tables of vCPU `index`. */
export function vcpuZaps(vm: usize, index: u32): u32 {
  return load<u32>(<usize>load<u32>(vmGuestFile(vm), ZAPS) + ((<usize>index) << 2));
}

export function vcpuZapped(vm: usize, index: u32): void {
  const at = <usize>load<u32>(vmGuestFile(vm), ZAPS) + ((<usize>index) << 2);
  store<u32>(at, load<u32>(at) + 1);
}

/** Pages that nobody will ever give back: their insertion failed after they had been read. */
export function pagesLeaked(vm: usize): u32 {
  return vmGuestFile(vm) === 0 ? 0 : load<u32>(vmGuestFile(vm), LEAKED);
}

export function pageLeaked(vm: usize): void {
  store<u32>(vmGuestFile(vm), pagesLeaked(vm) + 1, LEAKED);
}

/** Pages that the VM's end has truncated while another VM's entries led to them. */
export function pagesTruncated(vm: usize): u32 {
  return vmGuestFile(vm) === 0 ? 0 : load<u32>(vmGuestFile(vm), TRUNCATED);
}

export function noteTruncated(vm: usize): void {
  store<u32>(vmGuestFile(vm), pagesTruncated(vm) + 1, TRUNCATED);
}

/** phys_mem[].entry of page `index` of the VM's memory, ENTRY_NONE for none. */
export function physMemEntry(vm: usize, index: u32): u32 {
  const word = spacePte(vmSpace(vm), index);
  return word === PTE_NONE ? ENTRY_NONE : pteEntry(word);
}

export function setPhysMemEntry(vm: usize, index: u32, entry: u32): void {
  const old = physMemEntry(vm, index);
  assert((old === ENTRY_NONE) !== (entry === ENTRY_NONE));
  setSpacePte(vmSpace(vm), index, entry === ENTRY_NONE ? PTE_NONE : pteOfEntry(entry, false));
  spaceAccount(vmSpace(vm), 0, entry === ENTRY_NONE ? -1 : 1);
}

/** The frame that the page cache has at `gfn`, which is no alias; PFN_NONE for none. */
export function cachedPage(vm: usize, gfn: u32): u32 {
  const file = spaceFile(vmSpace(vm));
  return gfn < fileSize(file) ? fileLookup(file, gfn) : PFN_NONE;
}

/**
 * kvm_free_physmem_slot(): the entries of the slot's pages are given up. Pages that are in the page cache stay there, whoever maps that gfn next.
 */
export function freePhysMem(vm: usize, slot: usize, actor: usize): void {
  const first = memslotFirst(slot);
  for (let index = first; index < first + memslotPages(slot); index++) {
    const entry = physMemEntry(vm, index);
    if (entry === ENTRY_NONE) continue;
    setPhysMemEntry(vm, index, ENTRY_NONE);
    swapFree(vmMm(vm), actorCpu(actor), entry);
  }
}

/** The entry is written over: its slot is used for ever. */
export function entryLost(vm: usize, index: u32): void {
  assert(fileShared(spaceFile(vmSpace(vm))));
  setPhysMemEntry(vm, index, ENTRY_NONE);
  spaceSlotLost(vmSpace(vm));
}

export function checkGuestFile(vm: usize): void {
  checkMutex(kvmLock(vm));
  const space = vmSpace(vm);
  const own = !fileShared(spaceFile(space));
  if (own) assert(fileHost(spaceFile(space)) === spaceId(space));
  for (let gfn: u32 = 0; gfn < vmGfnEnd(vm); gfn++) {
    const pfn = cachedPage(vm, gfn);
    if (pfn !== PFN_NONE)
      assert(pageTest(pageOf(vmMm(vm), pfn), PG_FILE) && !pageTest(pageOf(vmMm(vm), pfn), PG_SWAPCACHE));
    const slot = gfnToMemslot(vmSlots(vm), gfn);
    if (slot === 0) continue;
    const entry = physMemEntry(vm, memslotIndex(slot, gfn));
    if (entry === ENTRY_NONE) continue;
    assert(swapCount(vmMm(vm), entry) === 1);
    if (own) assert(pfn === PFN_NONE);
  }
}
