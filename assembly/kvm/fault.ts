import { STEP_AGAIN, STEP_BLOCKED, STEP_DONE } from "../memory/status";
import { allocated, allocStep, allocTableBegin } from "../mm/alloc";
import { compoundHead } from "../mm/compound";
import {
  FAULT_SPURIOUS,
  FAULT_WRITE_PROTECT,
  faultBegin,
  faultKind,
  faultPfn,
  faultStep,
  faultWritable,
} from "../mm/fault";
import { pagePut } from "../mm/free";
import { lruMarkAccessed } from "../mm/lrubatch";
import { PTE_WRITE, ptePfn, ptePresent, ZERO_PFN } from "../mm/pte";
import { spacePte } from "../mm/space";
import {
  ACTOR_GUEST,
  ACTOR_HOST,
  actorBlockedNs,
  actorClearStages,
  actorClock,
  actorGoesOn,
  actorSpend,
  STAGE_EXIT,
  STAGE_FLUSH,
  STAGE_MAP,
  setActorState,
} from "../sim/actor";
import { COST_EPT_MAP_NS, COST_TLB_FLUSH_ALL_NS, COST_VM_EXIT_NS, cost } from "../sim/costs";
import { DIGEST_FAULT, digestAdd } from "../sim/digest";
import { lockRead, lockWrite, unlockRead, unlockWrite } from "../sim/lock";
import {
  emit,
  TRACE_FAST_PAGE_FAULT,
  TRACE_KVM_ENTRY,
  TRACE_KVM_EXIT,
  TRACE_KVM_PAGE_FAULT,
} from "../sim/trace";
import { dirtyMark } from "./dirtylog";
import { noteViolation, VIOLATION_UNREACHABLE_PIN } from "./integrity";
import { memslotIndex, memslotInvalid, memslotReadOnly } from "./memslot";
import { mmuMap, mmuReady } from "./mmu";
import { addSpare, spareCount } from "./spare";
import { SPTE_NONE, SPTE_NPT, SPTE_WRITE, spteAllows, spteMayWrite, sptePresent } from "./spte";
import {
  faultRecord,
  VM_BLOCKED_NS,
  VM_MMIO_EXITS,
  VM_RETRIES,
  VM_UNREACHABLE_PINS,
  vmCountAdd,
} from "./stats";
import {
  PF_EMULATED,
  PF_GFN,
  PF_KIND,
  PF_PC,
  PF_PENDING,
  PF_PINNED,
  PF_PRESENT,
  PF_SEQ,
  PF_SLOW,
  PF_START,
  PF_WRITE,
  PF_ZAPS,
  setVcpuBlockedSeen,
  setVcpuFlushRequest,
  setVcpuMode,
  VCPU_IN_FAULT,
  VCPU_IN_GUEST,
  vcpuBlockedSeen,
  vcpuFlushRequested,
  vcpuIndex,
  vcpuMemslot,
  vcpuVm,
} from "./vcpu";
import {
  gfnToIndex,
  vmExpected,
  vmFormat,
  vmId,
  vmInvalidateRetry,
  vmInvalidateSeq,
  vmIsLegacy,
  vmMm,
  vmMmuLock,
  vmSpace,
  vmSpteRefs,
  vmStats,
  vmZaps,
} from "./vm";
import { LEVEL_4K, walkAny, walkMissing, walkSpte } from "./walk";

// The fault path of the direct MMUs: direct_page_fault() with the retry rule of the notifier. Synchronous: the vCPU's thread
// sleeps while the host swaps in. The access that faulted is repeated when the fault has been handled; only when that
// repetition succeeds is the fault counted, once, by the most expensive thing it needed.
//
//   EXIT → CHECK → TOPUP → RESOLVE → RESOLVED → LOCK → MAP → UNLOCK → guest
//     ^                       |                   |
//     +------ the range was invalidated meanwhile: try again

const CHECK: u32 = 0;
const TOPUP: u32 = 1;
const TOPUP_ALLOC: u32 = 2;
const RESOLVE: u32 = 3;
const RESOLVING: u32 = 4;
const LOCKED: u32 = 5;
const UNLOCK: u32 = 6;
const RESOLVED: u32 = 7;

/** Part of eptMapNs, one in so many, that passes between the frame's arrival and mmu_lock. */
const MAP_BEFORE_LOCK: u32 = 4;

// PFERR bits of the error code. EPT has none of the hardware's: a read shows as a user access, a write as a write; NPT's accesses are
// all the user's. The fault is of the page that the guest touches, not of a table of the guest's.
const PFERR_PRESENT: u64 = 1;
const PFERR_WRITE: u64 = 2;
const PFERR_USER: u64 = 4;
const PFERR_GUEST_FINAL: u64 = (<u64>1) << 32;

/** The vCPU leaves the guest at its clock because of an access to `gfn`. A fault that is still pending goes on. */
export function pageFaultBegin(vcpu: usize, gfn: u32, write: bool): void {
  const clock = actorClock(vcpu);
  if (load<u32>(vcpu, PF_PENDING) === 0) {
    actorClearStages(vcpu);
    store<u64>(vcpu, clock, PF_START);
    store<u32>(vcpu, FAULT_SPURIOUS, PF_KIND);
    store<u32>(vcpu, 1, PF_PENDING);
  }
  store<u32>(vcpu, gfn, PF_GFN);
  store<u32>(vcpu, write ? 1 : 0, PF_WRITE);
  setActorState(vcpu, ACTOR_HOST);
  setVcpuMode(vcpu, VCPU_IN_FAULT);
  exit(vcpu);
}

function exit(vcpu: usize): void {
  const time = actorClock(vcpu);
  const gpa = (<u64>load<u32>(vcpu, PF_GFN)) << 12;
  const vm = vcpuVm(vcpu);
  const write = load<u32>(vcpu, PF_WRITE) !== 0;
  const present = sptePresent(walkSpte(vm, load<u32>(vcpu, PF_GFN)));
  store<u32>(vcpu, present ? 1 : 0, PF_PRESENT);
  let error = PFERR_GUEST_FINAL | (present ? PFERR_PRESENT : 0) | (write ? PFERR_WRITE : 0);
  if (!write || vmFormat(vm) === SPTE_NPT) error |= PFERR_USER;
  emit(TRACE_KVM_EXIT, time, vcpuIndex(vcpu), error, gpa, vmFormat(vm));
  emit(TRACE_KVM_PAGE_FAULT, time, vcpuIndex(vcpu), gpa, error, 0);
  actorSpend(vcpu, STAGE_EXIT, cost(COST_VM_EXIT_NS));
  store<u32>(vcpu, CHECK, PF_PC);
}

function goto(vcpu: usize, pc: u32): void {
  store<u32>(vcpu, pc, PF_PC);
}

function needed(vcpu: usize, kind: u32): void {
  if (kind > load<u32>(vcpu, PF_KIND)) store<u32>(vcpu, kind, PF_KIND);
}

/** Goes on with the vCPU's fault. STEP_DONE: the vCPU is back in the guest. Returns STEP_*. */
export function pageFaultStep(vcpu: usize): i32 {
  const vm = vcpuVm(vcpu);
  const mm = vmMm(vm);
  const gfn = load<u32>(vcpu, PF_GFN);
  const write = load<u32>(vcpu, PF_WRITE) !== 0;
  while (true) {
    const pc = load<u32>(vcpu, PF_PC);
    if (pc === CHECK) {
      if (fastPageFault(vcpu, vm, gfn, write)) return enterGuest(vcpu);
      goto(vcpu, TOPUP);
    } else if (pc === TOPUP) {
      if (spareCount(vcpu) < walkMissing(vm, gfn, LEVEL_4K)) {
        allocTableBegin(vcpu, vmSpace(vm));
        goto(vcpu, TOPUP_ALLOC);
      } else {
        goto(vcpu, RESOLVE);
      }
    } else if (pc === TOPUP_ALLOC) {
      const step = allocStep(mm, vcpu);
      if (step !== STEP_DONE) return step;
      addSpare(vcpu, allocated(vcpu));
      goto(vcpu, TOPUP);
    } else if (pc === RESOLVE) {
      const seq = vmInvalidateSeq(vm);
      store<u32>(vcpu, seq, PF_SEQ);
      store<u32>(vcpu, vmZaps(vm), PF_ZAPS);
      const slot = vcpuMemslot(vcpu, gfn);
      if (vmInvalidateRetry(vm, seq, gfn) || (slot !== 0 && memslotInvalid(slot))) {
        if (!retry(vcpu)) return STEP_AGAIN;
        continue;
      }
      if (slot === 0 || (write && memslotReadOnly(slot))) return emulate(vcpu);
      const index = memslotIndex(slot, gfn);
      const pte = spacePte(vmSpace(vm), index);
      store<u32>(vcpu, ptePresent(pte) && (pte & PTE_WRITE) !== 0 ? 0 : 1, PF_SLOW);
      faultBegin(vcpu, vmSpace(vm), index, write);
      goto(vcpu, RESOLVING);
    } else if (pc === RESOLVING) {
      const step = faultStep(mm, vcpu);
      if (step !== STEP_DONE) return step;
      needed(vcpu, faultKind(vcpu));
      if (load<u32>(vcpu, PF_SLOW) !== 0) accessed(vcpu); // FOLL_TOUCH
      actorSpend(vcpu, STAGE_MAP, beforeLock());
      goto(vcpu, RESOLVED);
      // yield: the frame is held, no spte names it yet; the page may be taken away here (the 2008 get_user_pages window)
      if (!actorGoesOn(vcpu)) return STEP_AGAIN;
    } else if (pc === RESOLVED) {
      goto(vcpu, LOCKED);
      if (!lock(vm, vcpu)) return STEP_BLOCKED;
    } else if (pc === LOCKED) {
      if (stale(vcpu, vm, gfn)) {
        unlock(vm, vcpu);
        release(vcpu);
        if (!retry(vcpu)) return STEP_AGAIN;
        continue;
      }
      if (!mmuReady(vm, vcpu, gfn, LEVEL_4K)) {
        unlock(vm, vcpu);
        release(vcpu);
        goto(vcpu, TOPUP);
        continue;
      }
      map(vcpu, vm, gfn);
      goto(vcpu, UNLOCK);
      if (!actorGoesOn(vcpu)) return STEP_AGAIN; // yield: mmu_lock is held for reading
    } else {
      assert(pc === UNLOCK);
      unlock(vm, vcpu);
      release(vcpu); // sptes hold no references
      return enterGuest(vcpu);
    }
  }
}

// fast_page_fault(): a write to an entry that was there, and only not writable, is let through without a lock, when the entry may be
// made writable or another vCPU has done so. True: the access can be repeated.
function fastPageFault(vcpu: usize, vm: usize, gfn: u32, write: bool): bool {
  if (!write || load<u32>(vcpu, PF_PRESENT) === 0) return false;
  const leaf = walkAny(vm, gfn);
  const old = leaf === 0 ? SPTE_NONE : load<u64>(leaf);
  if (!sptePresent(old)) return false;
  const spurious = spteAllows(old, true);
  const fixed = !spurious && spteMayWrite(old, vmFormat(vm));
  const spte = fixed ? old | SPTE_WRITE : old;
  if (fixed) {
    store<u64>(leaf, spte);
    dirtyMark(vcpuMemslot(vcpu, gfn), gfn);
    needed(vcpu, FAULT_WRITE_PROTECT);
  }
  const error = PFERR_PRESENT | PFERR_WRITE | (vmFormat(vm) === SPTE_NPT ? PFERR_USER : 0);
  const outcome = ((<u64>(spurious ? 1 : 0)) << 62) | ((<u64>(fixed ? 1 : 0)) << 63);
  const gpa = ((<u64>gfn) << 12) | <u64>(leaf & 0xfff);
  emit(TRACE_FAST_PAGE_FAULT, actorClock(vcpu), vcpuIndex(vcpu) | (error << 16) | outcome, gpa, old, spte);
  return spurious || fixed;
}

// The TDP MMU installs entries by exchange and needs the lock for reading only.
function lock(vm: usize, vcpu: usize): bool {
  return vmIsLegacy(vm) ? lockWrite(vmMmuLock(vm), vcpu) : lockRead(vmMmuLock(vm), vcpu);
}

function unlock(vm: usize, vcpu: usize): void {
  if (vmIsLegacy(vm)) unlockWrite(vmMmuLock(vm), vcpu);
  else unlockRead(vmMmuLock(vm), vcpu);
}

// The page has been used (kvm_set_page_accessed()); that of zeroes keeps no such notes.
function accessed(vcpu: usize): void {
  if (faultPfn(vcpu) === ZERO_PFN) return;
  const mm = vmMm(vcpuVm(vcpu));
  lruMarkAccessed(mm, vcpu, compoundHead(mm, faultPfn(vcpu)));
}

// kvm_release_pfn_clean(): the page was used, and is let go of.
function release(vcpu: usize): void {
  accessed(vcpu);
  pagePut(vmMm(vcpuVm(vcpu)), faultPfn(vcpu), vcpu);
}

// is_page_fault_stale(): the page may have gone since it was asked for, or the slot.
function stale(vcpu: usize, vm: usize, gfn: u32): bool {
  return vmInvalidateRetry(vm, load<u32>(vcpu, PF_SEQ), gfn) || vmZaps(vm) !== load<u32>(vcpu, PF_ZAPS);
}

// RET_PF_EMULATE: no memory is there to be mapped, or it may not be written: the monitor answers, and the access is over.
function emulate(vcpu: usize): i32 {
  store<u32>(vcpu, 1, PF_EMULATED);
  vmCountAdd(vmStats(vcpuVm(vcpu)), VM_MMIO_EXITS, 1);
  return enterGuest(vcpu);
}

/** The access that has to be repeated was answered by the monitor: it is over now. */
export function pageFaultEmulated(vcpu: usize): bool {
  if (load<u32>(vcpu, PF_EMULATED) === 0) return false;
  store<u32>(vcpu, 0, PF_EMULATED);
  store<u32>(vcpu, 0, PF_PENDING);
  return true;
}

// RET_PF_RETRY: back to the guest, whose access faults again. Returns whether the vCPU may go on at once.
function retry(vcpu: usize): bool {
  vmCountAdd(vmStats(vcpuVm(vcpu)), VM_RETRIES, 1);
  exit(vcpu);
  return actorGoesOn(vcpu);
}

// direct_page_fault() under mmu_lock
function map(vcpu: usize, vm: usize, gfn: u32): void {
  const slot = vcpuMemslot(vcpu, gfn);
  const writable = faultWritable(vcpu) && !memslotReadOnly(slot);
  needed(vcpu, mmuMap(vm, vcpu, gfn, faultPfn(vcpu), LEVEL_4K, writable, false));
  if (writable) dirtyMark(slot, gfn);
  actorSpend(vcpu, STAGE_MAP, cost(COST_EPT_MAP_NS) - beforeLock());
  // Where an spte owns a reference, one whose page the host has taken away meanwhile keeps the frame: no notifier will name it.
  if (vmSpteRefs(vm) && faultPfn(vcpu) !== ZERO_PFN && !hostMaps(vm, gfn, faultPfn(vcpu))) {
    vmCountAdd(vmStats(vm), VM_UNREACHABLE_PINS, 1);
    if (vmExpected(vm) === 0) return;
    noteViolation(VIOLATION_UNREACHABLE_PIN, vm, gfn, vcpuIndex(vcpu), actorClock(vcpu), 0, faultPfn(vcpu));
    store<u32>(vcpu, 1, PF_PINNED);
  }
}

function beforeLock(): u32 {
  return cost(COST_EPT_MAP_NS) / MAP_BEFORE_LOCK;
}

function hostMaps(vm: usize, gfn: u32, pfn: u32): bool {
  const pte = spacePte(vmSpace(vm), gfnToIndex(vm, gfn));
  return ptePresent(pte) && ptePfn(pte) === pfn;
}

/** vcpu_enter_guest(): takes a requested flush; then the vCPU runs the guest from its clock on. */
export function enterGuest(vcpu: usize): i32 {
  if (vcpuFlushRequested(vcpu)) {
    setVcpuFlushRequest(vcpu, false);
    actorSpend(vcpu, STAGE_FLUSH, cost(COST_TLB_FLUSH_ALL_NS));
  }
  const vm = vcpuVm(vcpu);
  const blocked = actorBlockedNs(vcpu);
  vmCountAdd(vmStats(vm), VM_BLOCKED_NS, blocked - vcpuBlockedSeen(vcpu));
  setVcpuBlockedSeen(vcpu, blocked);
  emit(TRACE_KVM_ENTRY, actorClock(vcpu), vcpuIndex(vcpu), 0, 0, 0);
  setActorState(vcpu, ACTOR_GUEST);
  setVcpuMode(vcpu, VCPU_IN_GUEST);
  return STEP_DONE;
}

/**
 * The access has been repeated with success, beginning at the vCPU's clock: the fault is over and counts. False when contents are
 * checked and it has pinned a frame that nothing can reach.
 */
export function pageFaultComplete(vcpu: usize): bool {
  const vm = vcpuVm(vcpu);
  const kind = load<u32>(vcpu, PF_KIND);
  const end = actorClock(vcpu);
  faultRecord(vmStats(vm), kind, end - load<u64>(vcpu, PF_START), vcpu);
  store<u32>(vcpu, 0, PF_PENDING);
  digestAdd(DIGEST_FAULT, end, vmId(vm), load<u32>(vcpu, PF_GFN), vcpuIndex(vcpu), kind);
  const pinned = load<u32>(vcpu, PF_PINNED) !== 0;
  store<u32>(vcpu, 0, PF_PINNED);
  return !pinned;
}
