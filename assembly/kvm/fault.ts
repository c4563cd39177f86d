import { STEP_AGAIN, STEP_BLOCKED, STEP_DONE } from "../memory/status";
import { allocated, allocStep, allocTableBegin } from "../mm/alloc";
import {
  FAULT_MINOR,
  FAULT_SPURIOUS,
  FAULT_WRITE_PROTECT,
  faultBegin,
  faultKind,
  faultPfn,
  faultStep,
  faultWritable,
} from "../mm/fault";
import { pagePut } from "../mm/free";
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
import { lockRead, unlockRead } from "../sim/lock";
import { emit, TRACE_KVM_ENTRY, TRACE_KVM_EXIT, TRACE_KVM_PAGE_FAULT } from "../sim/trace";
import { dirtyMark } from "./dirtylog";
import { memslotIndex, memslotInvalid, memslotReadOnly } from "./memslot";
import { SPTE_READ, SPTE_WRITE, spteLeaf, sptePresent } from "./spte";
import { faultRecord, VM_BLOCKED_NS, VM_MMIO_EXITS, VM_RETRIES, vmCountAdd } from "./stats";
import { tdpLinkOne, tdpMissing, tdpSet, tdpSpte } from "./tdp";
import {
  PF_EMULATED,
  PF_GFN,
  PF_KIND,
  PF_PC,
  PF_PENDING,
  PF_SEQ,
  PF_START,
  PF_WRITE,
  PF_ZAPS,
  SPARE_COUNT,
  SPARE_PFNS,
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
import { vmId, vmInvalidateRetry, vmInvalidateSeq, vmMm, vmMmuLock, vmSpace, vmStats, vmZaps } from "./vm";

// The fault path of the TDP MMU: kvm_tdp_page_fault() with the retry rule of the notifier. Synchronous: the vCPU's thread
// sleeps while the host swaps in. The access that faulted is repeated when the fault has been handled; only when that
// repetition succeeds is the fault counted, once, by the most expensive thing it needed.
//
//   EXIT → CHECK → TOPUP → RESOLVE → LOCK → MAP → UNLOCK → guest
//     ^                       |               |
//     +---- the range was invalidated meanwhile: try again

const CHECK: u32 = 0;
const TOPUP: u32 = 1;
const TOPUP_ALLOC: u32 = 2;
const RESOLVE: u32 = 3;
const RESOLVING: u32 = 4;
const LOCKED: u32 = 5;
const UNLOCK: u32 = 6;

// PFERR bits of the error code: EPT reads show as user accesses.
const PFERR_WRITE: u32 = 2;
const PFERR_USER: u32 = 4;

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
  const error = load<u32>(vcpu, PF_WRITE) !== 0 ? PFERR_WRITE : PFERR_USER;
  emit(TRACE_KVM_EXIT, time, vcpuIndex(vcpu), error, gpa, 0);
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

function allows(spte: u64, write: bool): bool {
  const wanted = write ? SPTE_READ | SPTE_WRITE : SPTE_READ;
  return (spte & wanted) === wanted;
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
      // fast_page_fault(): another vCPU may have installed the entry meanwhile; no lock is taken for that.
      if (allows(tdpSpte(vm, gfn), write)) return enterGuest(vcpu);
      goto(vcpu, TOPUP);
    } else if (pc === TOPUP) {
      if (load<u32>(vcpu, SPARE_COUNT) < tdpMissing(vm, gfn)) {
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
      faultBegin(vcpu, vmSpace(vm), memslotIndex(slot, gfn), write);
      goto(vcpu, RESOLVING);
    } else if (pc === RESOLVING) {
      const step = faultStep(mm, vcpu);
      if (step !== STEP_DONE) return step;
      needed(vcpu, faultKind(vcpu));
      goto(vcpu, LOCKED);
      // yield: the frame is held, the spte is not yet set; a notifier may come between
      if (!lockRead(vmMmuLock(vm), vcpu)) return STEP_BLOCKED;
    } else if (pc === LOCKED) {
      if (stale(vcpu, vm, gfn)) {
        unlockRead(vmMmuLock(vm), vcpu);
        pagePut(mm, faultPfn(vcpu), vcpu);
        if (!retry(vcpu)) return STEP_AGAIN;
        continue;
      }
      map(vcpu, vm, gfn);
      goto(vcpu, UNLOCK);
      if (!actorGoesOn(vcpu)) return STEP_AGAIN; // yield: mmu_lock is held for reading
    } else {
      assert(pc === UNLOCK);
      unlockRead(vmMmuLock(vm), vcpu);
      pagePut(mm, faultPfn(vcpu), vcpu); // sptes hold no references
      return enterGuest(vcpu);
    }
  }
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

// kvm_tdp_mmu_map()
function map(vcpu: usize, vm: usize, gfn: u32): void {
  while (tdpMissing(vm, gfn) !== 0) tdpLinkOne(vm, gfn, takeSpare(vcpu));
  const old = tdpSpte(vm, gfn);
  const slot = vcpuMemslot(vcpu, gfn);
  const spte = spteLeaf(faultPfn(vcpu), faultWritable(vcpu) && !memslotReadOnly(slot));
  if (!sptePresent(old)) needed(vcpu, FAULT_MINOR);
  else if (allows(spte, true) && !allows(old, true)) needed(vcpu, FAULT_WRITE_PROTECT);
  // An entry that another vCPU installed with more rights stays: fewer rights come only through the notifier.
  if (!sptePresent(old) || !allows(old, true)) {
    tdpSet(vm, gfn, spte, actorClock(vcpu));
    if (allows(spte, true)) dirtyMark(slot, gfn);
  }
  actorSpend(vcpu, STAGE_MAP, cost(COST_EPT_MAP_NS));
}

function addSpare(vcpu: usize, pfn: u32): void {
  const count = load<u32>(vcpu, SPARE_COUNT);
  assert(count < 4);
  store<u32>(vcpu + ((<usize>count) << 2), pfn, SPARE_PFNS);
  store<u32>(vcpu, count + 1, SPARE_COUNT);
}

function takeSpare(vcpu: usize): u32 {
  const count = load<u32>(vcpu, SPARE_COUNT) - 1;
  assert(count < 4);
  store<u32>(vcpu, count, SPARE_COUNT);
  return load<u32>(vcpu + ((<usize>count) << 2), SPARE_PFNS);
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

/** The access has been repeated with success, beginning at the vCPU's clock: the fault is over and counts. */
export function pageFaultComplete(vcpu: usize): void {
  const vm = vcpuVm(vcpu);
  const kind = load<u32>(vcpu, PF_KIND);
  const end = actorClock(vcpu);
  faultRecord(vmStats(vm), kind, end - load<u64>(vcpu, PF_START), vcpu);
  store<u32>(vcpu, 0, PF_PENDING);
  digestAdd(DIGEST_FAULT, end, vmId(vm), load<u32>(vcpu, PF_GFN), vcpuIndex(vcpu), kind);
}
