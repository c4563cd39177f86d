import { PFN_NONE } from "../memory/layout";
import { STEP_AGAIN, STEP_BLOCKED, STEP_DONE, STEP_READ_ERROR } from "../memory/status";
import { allocated, allocBegin, allocStep } from "../mm/alloc";
import { FAULT_ENTRY, FAULT_INDEX, FAULT_KIND, FAULT_PC, FAULT_PFN, FAULT_WRITABLE } from "../mm/context";
import { FAULT_MAJOR, FAULT_MINOR, FAULT_SPURIOUS } from "../mm/fault";
import { pageFree, pagePut } from "../mm/free";
import { mmStamped, setFrameStamp } from "../mm/instance";
import { lruCacheFault, lruMarkAccessed } from "../mm/lrubatch";
import {
  PG_DIRTY,
  PG_LOCKED,
  PG_SWAPCACHE,
  PG_UPTODATE,
  PG_WRITEBACK,
  pageClear,
  pageGet,
  pageOf,
  pageOwner,
  pagePrivate,
  pageSet,
  pageTest,
  setPageOwner,
} from "../mm/page";
import { fileAdd } from "../mm/pagecache";
import { pageTrylock, pageUnlock, pageWaitLocked, pageWaitWritten } from "../mm/pagelock";
import { ENTRY_NONE } from "../mm/pte";
import { swapNoteRead, swapSubmitRead } from "../mm/readahead";
import { spaceFile, spaceId } from "../mm/space";
import { swapArea, swapDevice } from "../mm/swaparea";
import { swapCacheAdd, swapCacheDelete } from "../mm/swapcache";
import { swapCacheLookup, swapCachePrepare, swapFree } from "../mm/swapmap";
import {
  actorClock,
  actorCpu,
  actorGoesOn,
  actorSpend,
  STAGE_ALLOC,
  STAGE_CPU,
  STAGE_DEVICE,
  STAGE_LOCK,
} from "../sim/actor";
import { COST_MINOR_FAULT_NS, COST_SWAP_CACHE_HIT_NS, COST_SWAP_IN_CPU_NS, cost } from "../sim/costs";
import { deviceSynchronous, deviceWaitTag } from "../sim/device";
import { cachedPage, pageLeaked, physMemEntry, setPhysMemEntry } from "./guestfile";
import { VM_GFN_TO_PAGE_FAILED, VM_WRITEBACK_WAITS, vmCountAdd } from "./stats";
import { PF_UNREAD, vcpuVm } from "./vcpu";
import { gfnToIndex, vmMm, vmSpace, vmStats } from "./vm";

// gfn_to_page() and kvm_swapin_page() of 2007, under kvm->lock: the page of a gfn, from the page cache of the VM's file, from swap, or new and zeroed. What it returns
// is held by nobody: the lock alone keeps it.
//
//   FIND ─ in the page cache ──────────────────────────────────────────────→ found
//    ├─ no entry ─→ ZERO ─────────────────────────────────────→ inserted ────→ found
//    └─ entry ────→ LOOKUP ─ in the swap cache ────→ LOCK → TAKE → inserted ─→ found
//                    ^  └─ READ → SUBMIT ────────────^  |
//                    └──────────── was under writeback ─┘
//
// The entry is given up before the page is inserted: an insertion that fails then loses the page.
//
// A page that its device could not read stays in the swap cache, the function returns NULL, and the guest's access faults again: it finds the same page, until
// reclaim has dropped it and it is read once more. Nothing in the design ends that; a simulation has to, and gives up after UNREAD_TRIES times.

const UNREAD_TRIES: u32 = 16;

const FIND: u32 = 0;
const ZERO: u32 = 1;
const LOOKUP: u32 = 2;
const READ: u32 = 3;
const SUBMIT: u32 = 4;
const LOCK: u32 = 5;
const TAKE: u32 = 6;
const WRITTEN: u32 = 7;
const DONE: u32 = 8;

/** Starts looking for the page of `gfn`, which is no alias and has a slot. */
export function gfnToPageBegin(vcpu: usize, gfn: u32): void {
  store<u32>(vcpu, FIND, FAULT_PC);
  store<u32>(vcpu, gfn, FAULT_INDEX);
  store<u32>(vcpu, FAULT_SPURIOUS, FAULT_KIND);
  store<u32>(vcpu, 1, FAULT_WRITABLE);
  store<u32>(vcpu, PFN_NONE, FAULT_PFN);
}

function goto(vcpu: usize, pc: u32): void {
  store<u32>(vcpu, pc, FAULT_PC);
}

function needed(vcpu: usize, kind: u32): void {
  if (kind > load<u32>(vcpu, FAULT_KIND)) store<u32>(vcpu, kind, FAULT_KIND);
}

/** Goes on. STEP_DONE: faultPfn() has the frame, PFN_NONE where the kernel's function returns NULL. Returns STEP_*. */
export function gfnToPageStep(vcpu: usize): i32 {
  const vm = vcpuVm(vcpu);
  const mm = vmMm(vm);
  while (true) {
    const pc = load<u32>(vcpu, FAULT_PC);
    let step = STEP_DONE;
    if (pc === DONE) return STEP_DONE;
    if (pc === FIND) find(vcpu, vm);
    else if (pc === LOOKUP) lookup(vcpu, vm);
    else if (pc === SUBMIT) step = submit(vcpu, mm);
    else if (pc === LOCK) step = lock(vcpu, vm);
    else if (pc === WRITTEN) written(vcpu, mm);
    else if (pc === TAKE) take(vcpu, vm);
    else {
      step = allocStep(mm, vcpu);
      if (step === STEP_DONE) step = pc === ZERO ? zero(vcpu, vm) : read(vcpu, vm);
    }
    if (step === STEP_DONE || (step === STEP_AGAIN && actorGoesOn(vcpu))) continue;
    return step;
  }
}

function find(vcpu: usize, vm: usize): void {
  const gfn = load<u32>(vcpu, FAULT_INDEX);
  const pfn = cachedPage(vm, gfn);
  if (pfn !== PFN_NONE) {
    found(vcpu, vm, pfn);
    return;
  }
  const entry = physMemEntry(vm, gfnToIndex(vm, gfn));
  store<u32>(vcpu, entry, FAULT_ENTRY);
  if (entry !== ENTRY_NONE) {
    goto(vcpu, LOOKUP);
    return;
  }
  allocBegin(vcpu, vmSpace(vm));
  goto(vcpu, ZERO);
}

function found(vcpu: usize, vm: usize, pfn: u32): void {
  lruMarkAccessed(vmMm(vm), vcpu, pfn);
  store<u32>(vcpu, pfn, FAULT_PFN);
  store<u32>(vcpu, 0, PF_UNREAD);
  goto(vcpu, DONE);
}

function failed(vcpu: usize, vm: usize): void {
  vmCountAdd(vmStats(vm), VM_GFN_TO_PAGE_FAILED, 1);
  store<u32>(vcpu, PFN_NONE, FAULT_PFN);
  goto(vcpu, DONE);
}

// add_to_page_cache(), and what gfn_to_page() does with a page that is new there. It stays with the VM that is charged for it, be it another one that has the
// same file. The caller's reference goes.
function inserted(vcpu: usize, vm: usize, pfn: u32): bool {
  const mm = vmMm(vm);
  const file = spaceFile(vmSpace(vm));
  if (!fileAdd(mm, file, pfn, pageOwner(pageOf(mm, pfn)), load<u32>(vcpu, FAULT_INDEX))) return false;
  pageSet(pageOf(mm, pfn), PG_DIRTY);
  found(vcpu, vm, pfn);
  pagePut(mm, pfn, vcpu);
  return true;
}

// A first touch.
function zero(vcpu: usize, vm: usize): i32 {
  const mm = vmMm(vm);
  const pfn = allocated(vcpu);
  actorSpend(vcpu, STAGE_ALLOC, cost(COST_MINOR_FAULT_NS));
  needed(vcpu, FAULT_MINOR);
  if (mmStamped(mm)) setFrameStamp(mm, pfn, 0);
  pageSet(pageOf(mm, pfn), PG_UPTODATE);
  pageGet(pageOf(mm, pfn));
  if (inserted(vcpu, vm, pfn)) {
    lruCacheFault(mm, vcpu, pfn);
    pagePut(mm, pfn, vcpu);
    return STEP_AGAIN; // yield: the page is in the page cache, kvm->lock is held
  }
  pagePut(mm, pfn, vcpu);
  pageFree(mm, pfn, vcpu);
  failed(vcpu, vm);
  return STEP_DONE;
}

// lookup_swap_cache()
function lookup(vcpu: usize, vm: usize): void {
  const pfn = swapCacheLookup(vmMm(vm), load<u32>(vcpu, FAULT_ENTRY));
  if (pfn === PFN_NONE) {
    allocBegin(vcpu, vmSpace(vm));
    goto(vcpu, READ);
    return;
  }
  pageGet(pageOf(vmMm(vm), pfn));
  store<u32>(vcpu, pfn, FAULT_PFN);
  goto(vcpu, LOCK);
}

// read_swap_cache_async(): another VM's readahead may have brought the page meanwhile.
function read(vcpu: usize, vm: usize): i32 {
  const mm = vmMm(vm);
  const pfn = allocated(vcpu);
  const entry = load<u32>(vcpu, FAULT_ENTRY);
  actorSpend(vcpu, STAGE_CPU, cost(COST_SWAP_IN_CPU_NS));
  if (swapCacheLookup(mm, entry) !== PFN_NONE || !swapCachePrepare(mm, entry)) {
    pageFree(mm, pfn, vcpu);
    goto(vcpu, LOOKUP);
    return STEP_DONE;
  }
  setPageOwner(pageOf(mm, pfn), spaceId(vmSpace(vm)), gfnToIndex(vm, load<u32>(vcpu, FAULT_INDEX)));
  swapCacheAdd(mm, vcpu, pfn, entry);
  const locked = pageTrylock(mm, pfn);
  assert(locked);
  lruCacheFault(mm, vcpu, pfn);
  store<u32>(vcpu, pfn, FAULT_PFN);
  needed(vcpu, FAULT_MAJOR);
  goto(vcpu, SUBMIT);
  return STEP_AGAIN; // yield: the page is locked in the swap cache, its read is about to be submitted
}

function submit(vcpu: usize, mm: usize): i32 {
  const entry = load<u32>(vcpu, FAULT_ENTRY);
  const pfn = load<u32>(vcpu, FAULT_PFN);
  const device = swapDevice(swapArea(mm, entry));
  if (!swapSubmitRead(mm, vcpu, pfn, entry, true)) {
    deviceWaitTag(device, vcpu);
    return STEP_BLOCKED;
  }
  swapNoteRead(mm, vcpu, pfn, entry, load<u32>(vcpu, FAULT_INDEX));
  goto(vcpu, LOCK);
  if (deviceSynchronous(device)) return STEP_AGAIN; // yield: the page is there, in the swap cache
  pageWaitLocked(mm, pfn, vcpu, STAGE_DEVICE);
  return STEP_BLOCKED;
}

// lock_page(), and what the lock is for.
function lock(vcpu: usize, vm: usize): i32 {
  const mm = vmMm(vm);
  const pfn = load<u32>(vcpu, FAULT_PFN);
  if (!pageTrylock(mm, pfn)) {
    pageWaitLocked(mm, pfn, vcpu, STAGE_LOCK);
    return STEP_BLOCKED;
  }
  const page = pageOf(mm, pfn);
  if (pageTest(page, PG_WRITEBACK)) {
    vmCountAdd(vmStats(vm), VM_WRITEBACK_WAITS, 1);
    goto(vcpu, WRITTEN);
    pageWaitWritten(mm, pfn, vcpu, STAGE_DEVICE);
    return STEP_BLOCKED;
  }
  if (!pageTest(page, PG_UPTODATE)) {
    pageUnlock(mm, pfn, actorClock(vcpu));
    pagePut(mm, pfn, vcpu);
    failed(vcpu, vm); // the entry stays
    const tries = load<u32>(vcpu, PF_UNREAD) + 1;
    store<u32>(vcpu, tries, PF_UNREAD);
    return tries < UNREAD_TRIES ? STEP_DONE : STEP_READ_ERROR;
  }
  actorSpend(vcpu, STAGE_CPU, cost(COST_SWAP_CACHE_HIT_NS));
  needed(vcpu, FAULT_MINOR);
  goto(vcpu, TAKE);
  return STEP_AGAIN; // yield: the page lock and kvm->lock are held
}

// The write has ended: once more from the beginning.
function written(vcpu: usize, mm: usize): void {
  const pfn = load<u32>(vcpu, FAULT_PFN);
  pageUnlock(mm, pfn, actorClock(vcpu));
  pagePut(mm, pfn, vcpu);
  goto(vcpu, LOOKUP);
}

// The page leaves the swap cache, the entry is given up, and the page goes back to the page cache.
function take(vcpu: usize, vm: usize): void {
  const mm = vmMm(vm);
  const pfn = load<u32>(vcpu, FAULT_PFN);
  const entry = load<u32>(vcpu, FAULT_ENTRY);
  const page = pageOf(mm, pfn);
  assert(pageTest(page, PG_LOCKED) && pageTest(page, PG_SWAPCACHE) && pagePrivate(page) === entry);
  swapCacheDelete(mm, actorCpu(vcpu), pfn, 0);
  pageUnlock(mm, pfn, actorClock(vcpu));
  swapFree(mm, actorCpu(vcpu), entry);
  setPhysMemEntry(vm, gfnToIndex(vm, load<u32>(vcpu, FAULT_INDEX)), ENTRY_NONE);
  pageClear(page, PG_DIRTY);
  if (inserted(vcpu, vm, pfn)) return;
  pageLeaked(vm); // its reference is never dropped
  failed(vcpu, vm);
}
