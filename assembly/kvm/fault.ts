import { STEP_AGAIN, STEP_BLOCKED, STEP_DONE } from "../memory/status";
import { allocated, allocStep, allocTableBegin } from "../mm/alloc";
import {
  FAULT_MAJOR,
  FAULT_MINOR,
  FAULT_NOIO,
  FAULT_NOWAIT,
  FAULT_SPURIOUS,
  FAULT_WRITE_PROTECT,
  faultBegin,
  faultGaveUp,
  faultGoOn,
  faultKind,
  faultMode,
  faultNowait,
  faultPfn,
  faultStep,
  faultWritable,
} from "../mm/fault";
import { pagePut } from "../mm/free";
import {
  ACTOR_HOST,
  actorClearStages,
  actorClock,
  actorGoesOn,
  actorSpend,
  STAGE_EXIT,
  STAGE_MAP,
  setActorState,
} from "../sim/actor";
import { COST_EPT_MAP_NS, COST_VM_EXIT_NS, cost } from "../sim/costs";
import { DIGEST_FAULT, digestAdd } from "../sim/digest";
import { lockRead, unlockRead } from "../sim/lock";
import { emit, TRACE_KVM_EXIT, TRACE_KVM_PAGE_FAULT } from "../sim/trace";
import { APF_NO_IO, apfRule } from "./apf";
import { apfOn } from "./apfcondition";
import { apfSetupBegin, apfSetupResult, apfSetupStep, SETUP_HALT, SETUP_SYNC } from "./apfsetup";
import { SPTE_READ, SPTE_WRITE, spteLeaf, sptePresent } from "./spte";
import { faultRecord, VM_APF_SYNC_NO_READAHEAD, VM_RETRIES, vmCountAdd } from "./stats";
import { tdpLinkOne, tdpMissing, tdpSet, tdpSpte } from "./tdp";
import {
  PF_ACCESS_GFN,
  PF_ACCESS_WRITE,
  PF_GFN,
  PF_HALT,
  PF_KIND,
  PF_PC,
  PF_PENDING,
  PF_PREFETCH,
  PF_SEQ,
  PF_START,
  PF_WRITE,
  SPARE_COUNT,
  SPARE_PFNS,
  setVcpuMode,
  VCPU_IN_FAULT,
  vcpuApf,
  vcpuIndex,
  vcpuVm,
} from "./vcpu";
import {
  gfnToIndex,
  vmId,
  vmInvalidateRetry,
  vmInvalidateSeq,
  vmMm,
  vmMmuLock,
  vmSpace,
  vmStats,
} from "./vm";

// The fault path of the TDP MMU: kvm_tdp_page_fault() with the retry rule of the notifier. The vCPU's thread
// sleeps while the host swaps in, or the fault becomes asynchronous (apfsetup.ts). The access that faulted is repeated when the fault has been handled; only when that
// repetition succeeds is the fault counted, once, by the most expensive thing it needed.
//
//   EXIT → CHECK → TOPUP → RESOLVE → LOCK → MAP → UNLOCK → guest
//     ^                       ├─ ASYNC        |      the page is on its way: the guest is told, or the vCPU is halted
//     |                       |               |
//     +---- the range was invalidated meanwhile: try again

const CHECK: u32 = 0;
const TOPUP: u32 = 1;
const TOPUP_ALLOC: u32 = 2;
const RESOLVE: u32 = 3;
const RESOLVING: u32 = 4;
const LOCKED: u32 = 5;
const UNLOCK: u32 = 6;
const ASYNC: u32 = 7;

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
  if (load<u32>(vcpu, PF_PREFETCH) !== 0) return;
  if (kind > load<u32>(vcpu, PF_KIND)) store<u32>(vcpu, kind, PF_KIND);
}

function allows(spte: u64, write: bool): bool {
  const wanted = write ? SPTE_READ | SPTE_WRITE : SPTE_READ;
  return (spte & wanted) === wanted;
}

/** Goes on with the vCPU's fault. STEP_DONE: the vCPU may go back to the guest. Returns STEP_*. */
export function pageFaultStep(vcpu: usize): i32 {
  const vm = vcpuVm(vcpu);
  const mm = vmMm(vm);
  const gfn = load<u32>(vcpu, PF_GFN);
  const write = load<u32>(vcpu, PF_WRITE) !== 0;
  while (true) {
    const pc = load<u32>(vcpu, PF_PC);
    if (pc === CHECK) {
      // fast_page_fault(): another vCPU may have installed the entry meanwhile; no lock is taken for that.
      if (allows(tdpSpte(vm, gfn), write)) return STEP_DONE;
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
      if (vmInvalidateRetry(vm, seq, gfn)) {
        if (load<u32>(vcpu, PF_PREFETCH) !== 0) return STEP_DONE;
        if (!retry(vcpu)) return STEP_AGAIN;
        continue;
      }
      faultBegin(vcpu, vmSpace(vm), gfnToIndex(vm, gfn), write);
      if (load<u32>(vcpu, PF_PREFETCH) === 0) asyncTry(vcpu);
      goto(vcpu, RESOLVING);
    } else if (pc === RESOLVING) {
      const step = faultStep(mm, vcpu);
      if (step !== STEP_DONE) return step;
      needed(vcpu, faultKind(vcpu));
      if (faultGaveUp(vcpu)) {
        apfSetupBegin(vcpu);
        goto(vcpu, ASYNC);
        continue;
      }
      asyncNote(vcpu);
      goto(vcpu, LOCKED);
      // yield: the frame is held, the spte is not yet set; a notifier may come between
      if (!lockRead(vmMmuLock(vm), vcpu)) return STEP_BLOCKED;
    } else if (pc === LOCKED) {
      if (vmInvalidateRetry(vm, load<u32>(vcpu, PF_SEQ), gfn)) {
        unlockRead(vmMmuLock(vm), vcpu);
        pagePut(mm, faultPfn(vcpu), vcpu);
        if (load<u32>(vcpu, PF_PREFETCH) !== 0) return STEP_DONE;
        if (!retry(vcpu)) return STEP_AGAIN;
        continue;
      }
      map(vcpu, vm, gfn);
      goto(vcpu, UNLOCK);
      if (!actorGoesOn(vcpu)) return STEP_AGAIN; // yield: mmu_lock is held for reading
    } else if (pc === ASYNC) {
      const step = apfSetupStep(vcpu);
      if (step === STEP_AGAIN && actorGoesOn(vcpu)) continue;
      if (step !== STEP_DONE) return step;
      if (apfSetupResult() !== SETUP_SYNC) {
        if (apfSetupResult() === SETUP_HALT) store<u32>(vcpu, 1, PF_HALT);
        return STEP_DONE;
      }
      faultGoOn(vcpu);
      goto(vcpu, RESOLVING);
    } else {
      assert(pc === UNLOCK);
      unlockRead(vmMmuLock(vm), vcpu);
      pagePut(mm, faultPfn(vcpu), vcpu); // sptes hold no references
      return STEP_DONE;
    }
  }
}

// With asynchronous page faults the primary MMU is asked first not to wait (FOLL_NOWAIT), or in 2010 not to read.
function asyncTry(vcpu: usize): void {
  const apf = vcpuApf(vcpu);
  if (apf === 0 || !apfOn(apf)) return;
  faultNowait(vcpu, apfRule(apf, APF_NO_IO) ? FAULT_NOIO : FAULT_NOWAIT);
}

// A page that had to be read, and was there without waiting: the read was synchronous, because nothing was read ahead.
function asyncNote(vcpu: usize): void {
  if (faultMode(vcpu) !== FAULT_NOWAIT || faultKind(vcpu) !== FAULT_MAJOR) return;
  vmCountAdd(vmStats(vcpuVm(vcpu)), VM_APF_SYNC_NO_READAHEAD, 1);
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
  const accessed = load<u32>(vcpu, PF_PREFETCH) === 0;
  const spte = spteLeaf(faultPfn(vcpu), faultWritable(vcpu), accessed);
  if (!sptePresent(old)) needed(vcpu, FAULT_MINOR);
  else if (allows(spte, true) && !allows(old, true)) needed(vcpu, FAULT_WRITE_PROTECT);
  // An entry that another vCPU installed with more rights stays: fewer rights come only through the notifier.
  if (!sptePresent(old) || !allows(old, true)) tdpSet(vm, gfn, spte, actorClock(vcpu));
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

/** The fault has ended in an artificial halt: the page is on its way, and the guest could not be told. */
export function pageFaultToHalt(vcpu: usize): bool {
  const halt = load<u32>(vcpu, PF_HALT) !== 0;
  store<u32>(vcpu, 0, PF_HALT);
  return halt;
}

/** The vCPU begins to map `gfn` without an access: a fault with prefetch set. It may stand between an access and its repetition. */
export function prefetchBegin(vcpu: usize, gfn: u32): void {
  store<u32>(vcpu, load<u32>(vcpu, PF_GFN), PF_ACCESS_GFN);
  store<u32>(vcpu, load<u32>(vcpu, PF_WRITE), PF_ACCESS_WRITE);
  store<u32>(vcpu, gfn, PF_GFN);
  store<u32>(vcpu, 0, PF_WRITE);
  store<u32>(vcpu, 1, PF_PREFETCH);
  goto(vcpu, CHECK);
}

/** That mapping has ended, with or without success. */
export function prefetchEnd(vcpu: usize): void {
  store<u32>(vcpu, load<u32>(vcpu, PF_ACCESS_GFN), PF_GFN);
  store<u32>(vcpu, load<u32>(vcpu, PF_ACCESS_WRITE), PF_WRITE);
  store<u32>(vcpu, 0, PF_PREFETCH);
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
