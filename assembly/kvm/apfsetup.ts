import { STEP_AGAIN, STEP_DONE } from "../memory/status";
import {
  FAULT_MAJOR,
  FAULT_NOIO,
  FAULT_NOWAIT,
  faultKind,
  faultMode,
  faultNowait,
  faultReading,
} from "../mm/fault";
import { actorClock, actorSpend, STAGE_ASYNC } from "../sim/actor";
import { COST_APF_INJECT_NS, cost } from "../sim/costs";
import {
  emit,
  TRACE_KVM_ASYNC_PF_NOT_PRESENT,
  TRACE_KVM_ASYNC_PF_REPEATED_FAULT,
  TRACE_KVM_INJ_EXCEPTION,
  TRACE_KVM_TRY_ASYNC_GET_PAGE,
} from "../sim/trace";
import {
  APF_AREA_FLAGS,
  APF_AREA_GFN,
  APF_BY_GFN,
  APF_CACHE,
  APF_EXCEPTION,
  APF_EXCEPTION_TOKEN,
  APF_LATE,
  APF_LATE_TOKEN,
  APF_MARKS_DIRTY,
  APF_NO_IO,
  APF_PC,
  APF_QUEUED,
  APF_SCHEDULE_FIRST,
  APF_WORK,
  ATTENTION_EXCEPTION,
  apfAttend,
  apfRule,
  apfRules,
  apfVcpu,
  EXCEPTION_NONE,
  EXCEPTION_NOT_PRESENT,
  RULES_LIMIT,
  WORK_INDEX,
  WORK_READING,
  WORK_TOKEN,
  WORK_TOLD,
} from "./apf";
import { apfMayTell, apfMayTry, apfOn, MAY_TRY } from "./apfcondition";
import { apfDoneEmpty, workQueue } from "./apfqueue";
import { apfTableAdd, apfTableFind } from "./apftable";
import { apfNextToken } from "./apftoken";
import { workSchedule } from "./apfworker";
import { guestAccessBegin, guestAccessDirty, guestAccessStep } from "./guestwrite";
import {
  VM_APF_HALTED,
  VM_APF_NOT_PRESENT,
  VM_APF_REPEATED,
  VM_APF_SYNC_ALLOCATION,
  VM_APF_SYNC_LIMIT,
  VM_APF_SYNC_NO_READAHEAD,
  vmCountAdd,
} from "./stats";
import { PF_GFN, vcpuApf, vcpuIndex, vcpuVm } from "./vcpu";
import { gfnToIndex, vmStats } from "./vm";

// A fault has found that its page must come from a device: kvm_setup_async_pf() and kvm_arch_async_page_not_present(). Either the
// guest is told, which puts the task to sleep and runs another, or the vCPU is halted until something happens, or the fault goes
// on and waits.
//
//   today   queue → not present: tell (write the area, inject) or halt → schedule the work
//   2010    queue → schedule the work → tell

/** The fault waits itself. */
export const SETUP_SYNC: u32 = 0;
/** The guest has an exception to take. */
export const SETUP_TOLD: u32 = 1;
/** The vCPU is to be halted. */
export const SETUP_HALT: u32 = 2;

const BEGIN: u32 = 0;
const TELL: u32 = 1;
const TELLING: u32 = 2;
const TOLD: u32 = 3;

const RESULT: usize = memory.data(8, 8);

/** What the setup that has just ended came to: SETUP_*. */
export function apfSetupResult(): u32 {
  return load<u32>(RESULT);
}

function ended(result: u32): i32 {
  store<u32>(RESULT, result);
  return STEP_DONE;
}

/** The vCPU's fault needs a device: starts the decision of what is done about it. */
export function apfSetupBegin(vcpu: usize): void {
  store<u32>(vcpuApf(vcpu), BEGIN, APF_PC);
}

/** Goes on with it; apfSetupResult() tells the outcome after STEP_DONE. Returns STEP_*. */
export function apfSetupStep(vcpu: usize): i32 {
  const apf = vcpuApf(vcpu);
  const vm = vcpuVm(vcpu);
  while (true) {
    const pc = load<u32>(apf, APF_PC);
    if (pc === BEGIN) {
      if (!begin(apf, vcpu)) return STEP_DONE;
      store<u32>(apf, TELL, APF_PC);
      // yield: in 2010 the work may be done before the guest is told
      return STEP_AGAIN;
    } else if (pc === TELL) {
      if (!apfMayTell(apf)) {
        halted(apf);
      } else if (apfRule(apf, APF_SCHEDULE_FIRST) && !apfDoneEmpty(apf)) {
        // The completion takes the exception's place; the guest hears of the fault afterwards.
        store<u32>(apf, 1, APF_LATE);
        store<u32>(apf, load<u32>(<usize>load<u32>(apf, APF_WORK), WORK_TOKEN), APF_LATE_TOKEN);
        return ended(SETUP_TOLD);
      } else {
        const there = guestAccessBegin(apf + APF_CACHE, vm, load<u32>(apf, APF_AREA_GFN), vcpu, true);
        if (there) store<u32>(apf, TELLING, APF_PC);
        else halted(apf);
      }
    } else if (pc === TELLING) {
      const step = guestAccessStep(vm, vcpu);
      if (step !== STEP_DONE) return step;
      const work = <usize>load<u32>(apf, APF_WORK);
      store<u32>(work, 1, WORK_TOLD);
      apfTell(apf, load<u32>(work, WORK_TOKEN));
      store<u32>(apf, TOLD, APF_PC);
    } else {
      const work = <usize>load<u32>(apf, APF_WORK);
      if (!apfRule(apf, APF_SCHEDULE_FIRST)) workSchedule(work, actorClock(vcpu));
      return ended(load<u32>(work, WORK_TOLD) !== 0 ? SETUP_TOLD : SETUP_HALT);
    }
  }
}

// False: it is decided already.
function begin(apf: usize, vcpu: usize): bool {
  const vm = vcpuVm(vcpu);
  const gfn = load<u32>(vcpu, PF_GFN);
  const gpa = (<u64>gfn) << 12;
  const stats = vmStats(vm);
  const refused = apfMayTry(apf);
  if (refused !== MAY_TRY) {
    vmCountAdd(stats, refused, 1);
    ended(SETUP_SYNC);
    return false;
  }
  emit(TRACE_KVM_TRY_ASYNC_GET_PAGE, actorClock(vcpu), gpa, gfn, 0, 0);
  if (apfRule(apf, APF_BY_GFN) && apfTableFind(apf, gfn) >= 0) {
    emit(TRACE_KVM_ASYNC_PF_REPEATED_FAULT, actorClock(vcpu), gpa, gfn, 0, 0);
    vmCountAdd(stats, VM_APF_REPEATED, 1);
    ended(SETUP_HALT);
    return false;
  }
  const token = apfNextToken(apf); // used up even where the setup fails
  if (load<u32>(apf, APF_QUEUED) >= load<u32>(apfRules(apf), RULES_LIMIT)) {
    vmCountAdd(stats, VM_APF_SYNC_LIMIT, 1);
    ended(SETUP_SYNC);
    return false;
  }
  const work = workQueue(apf, gfn, token);
  if (work === 0) {
    vmCountAdd(stats, VM_APF_SYNC_ALLOCATION, 1);
    ended(SETUP_SYNC);
    return false;
  }
  store<u32>(work, gfnToIndex(vm, gfn), WORK_INDEX);
  store<u32>(work, faultReading(vcpu), WORK_READING);
  store<u32>(apf, <u32>work, APF_WORK);
  actorSpend(vcpu, STAGE_ASYNC, cost(COST_APF_INJECT_NS));
  if (apfRule(apf, APF_SCHEDULE_FIRST)) workSchedule(work, actorClock(vcpu));
  emit(
    TRACE_KVM_ASYNC_PF_NOT_PRESENT,
    actorClock(vcpu),
    load<u32>(work, WORK_TOKEN),
    gpa,
    vcpuIndex(vcpu),
    0,
  );
  vmCountAdd(stats, VM_APF_NOT_PRESENT, 1);
  if (apfRule(apf, APF_BY_GFN)) apfTableAdd(apf, gfn);
  return true;
}

// The guest cannot be told.
function halted(apf: usize): void {
  store<u32>(apf, TOLD, APF_PC);
  vmCountAdd(vmStats(vcpuVm(apfVcpu(apf))), VM_APF_HALTED, 1);
}

/** KVM has written to the guest's shared area. */
export function apfAreaWritten(apf: usize): void {
  if (apfRule(apf, APF_MARKS_DIRTY)) guestAccessDirty(vcpuVm(apfVcpu(apf)), load<u32>(apf, APF_AREA_GFN));
}

/** The reason stands in the shared area: the exception that names the token is to be taken. */
export function apfTell(apf: usize, token: u32): void {
  assert(load<u32>(apf, APF_EXCEPTION) === EXCEPTION_NONE);
  apfAreaWritten(apf);
  store<u32>(apf, EXCEPTION_NOT_PRESENT, APF_AREA_FLAGS);
  store<u32>(apf, EXCEPTION_NOT_PRESENT, APF_EXCEPTION);
  store<u32>(apf, token, APF_EXCEPTION_TOKEN);
  apfAttend(apf, ATTENTION_EXCEPTION);
  const vcpu = apfVcpu(apf);
  emit(TRACE_KVM_INJ_EXCEPTION, actorClock(vcpu), vcpuIndex(vcpu), 14, 0, 0);
}

/** With asynchronous page faults the primary MMU is asked first not to wait (FOLL_NOWAIT), or in 2010 not to read. */
export function asyncTry(vcpu: usize): void {
  const apf = vcpuApf(vcpu);
  if (apf === 0 || !apfOn(apf)) return;
  faultNowait(vcpu, apfRule(apf, APF_NO_IO) ? FAULT_NOIO : FAULT_NOWAIT);
}

/** A page that had to be read, and was there without waiting: the read was synchronous, because nothing was read ahead. */
export function asyncNote(vcpu: usize): void {
  if (faultMode(vcpu) !== FAULT_NOWAIT || faultKind(vcpu) !== FAULT_MAJOR) return;
  vmCountAdd(vmStats(vcpuVm(vcpu)), VM_APF_SYNC_NO_READAHEAD, 1);
}
