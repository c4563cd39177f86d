import { STEP_AGAIN, STEP_DONE } from "../memory/status";
import { actorClock, actorSpend, STAGE_ASYNC, STAGE_EXIT } from "../sim/actor";
import { COST_APF_READY_NS, COST_VM_EXIT_NS, cost } from "../sim/costs";
import { emit, TRACE_KVM_ASYNC_PF_READY, TRACE_KVM_INJ_EXCEPTION, TRACE_KVM_INJ_VIRQ } from "../sim/trace";
import {
  APF_AREA_FLAGS,
  APF_AREA_GFN,
  APF_AREA_TOKEN,
  APF_BY_GFN,
  APF_CACHE,
  APF_EXCEPTION,
  APF_EXCEPTION_TOKEN,
  APF_LATE,
  APF_LATE_TOKEN,
  APF_LEFT_GUEST,
  APF_PC,
  APF_READY_FAULT,
  APF_READY_PENDING,
  APF_SCHEDULE_FIRST,
  APF_WORK,
  ATTENTION_EXCEPTION,
  ATTENTION_INTERRUPT,
  ATTENTION_READY,
  apfAttend,
  apfAttended,
  apfRule,
  EXCEPTION_READY,
  WORK_ALL,
  WORK_CR3,
  WORK_GFN,
  WORK_TOKEN,
  WORK_TOLD,
  WORK_VA,
} from "./apf";
import { apfEnabled, apfMayDequeue } from "./apfcondition";
import { apfDoneEmpty, workFree, workNextDone, workOfToken, workUnqueue } from "./apfqueue";
import { apfAreaWritten, apfTell } from "./apfsetup";
import { apfTableRemove } from "./apftable";
import { pageFaultStep } from "./fault";
import { prefetchBegin, prefetchEnd } from "./faultend";
import { faultCredit } from "./faultsave";
import { guestAccessBegin, guestAccessStep } from "./guestwrite";
import { gfnToMemslot } from "./memslots";
import { VM_APF_READY, vmCountAdd } from "./stats";
import { CR3, vcpuApf, vcpuIndex, vcpuVm } from "./vcpu";
import { vmSlots, vmStats, vmUnalias } from "./vm";

// Completions are consumed on their vCPU, before its guest goes on: kvm_check_async_pf_completion() with
// kvm_arch_async_page_ready(), which maps the page, accessed bit clear, and kvm_arch_async_page_present(), which tells the guest.
// Today only a guest that was told that the page was not present is told that it is there.
//
//   NEXT → MAP (a fault without an access) → PRESENT → TELL (write the shared area) → NEXT

const NEXT: u32 = 0;
const MAP: u32 = 1;
const PRESENT: u32 = 2;
const TELLING: u32 = 3;
const LATE: u32 = 4;

// HYPERVISOR_CALLBACK_VECTOR of a Linux guest.
const READY_VECTOR: u64 = 0xf3;

/** The vCPU is about to look at its completions. */
export function apfReadyBegin(vcpu: usize): void {
  store<u32>(vcpuApf(vcpu), NEXT, APF_PC);
}

/** Goes on with them; after STEP_DONE the guest may go on. Returns STEP_*. */
export function apfReadyStep(vcpu: usize): i32 {
  const apf = vcpuApf(vcpu);
  const vm = vcpuVm(vcpu);
  while (true) {
    const pc = load<u32>(apf, APF_PC);
    if (pc === NEXT) {
      if (!next(apf, vcpu)) return STEP_DONE;
    } else if (pc === MAP) {
      // What comes of it does not matter: the access tries again.
      const step = pageFaultStep(vcpu);
      if (step !== STEP_DONE) return step;
      prefetchEnd(vcpu);
      store<u32>(apf, PRESENT, APF_PC);
      return STEP_AGAIN; // yield: the page is mapped, and may be taken away again before the guest sees it
    } else if (pc === PRESENT) {
      if (present(apf, vcpu)) continue;
      finish(apf, vcpu);
    } else if (pc === TELLING) {
      const step = guestAccessStep(vm, vcpu);
      if (step !== STEP_DONE) return step;
      tell(apf, vcpu);
      finish(apf, vcpu);
    } else {
      const step = guestAccessStep(vm, vcpu);
      if (step !== STEP_DONE) return step;
      store<u32>(apf, 0, APF_LATE);
      const token = load<u32>(apf, APF_LATE_TOKEN);
      const work = workOfToken(apf, token);
      if (work !== 0) store<u32>(work, 1, WORK_TOLD);
      apfTell(apf, token);
      return STEP_DONE;
    }
  }
}

// Takes the oldest completion, if the guest can take one more event. False: there is nothing (more) to do now.
function next(apf: usize, vcpu: usize): bool {
  if (apfDoneEmpty(apf) || !apfMayDequeue(apf)) {
    apfAttended(apf, ATTENTION_READY);
    return late(apf, vcpu);
  }
  const vm = vcpuVm(vcpu);
  const work = workNextDone(apf);
  store<u32>(apf, <u32>work, APF_WORK);
  if (
    load<u32>(work, WORK_ALL) !== 0 ||
    gfnToMemslot(vmSlots(vm), vmUnalias(vm, load<u32>(work, WORK_GFN))) === 0 ||
    load<u32>(work, WORK_CR3) !== load<u32>(vcpu, CR3) // kvm_arch_async_page_ready(): of another address space
  ) {
    store<u32>(apf, PRESENT, APF_PC);
  } else {
    prefetchBegin(vcpu, load<u32>(work, WORK_VA));
    store<u32>(apf, MAP, APF_PC);
  }
  return true;
}

// In 2010 the guest may hear of a fault only after its page is there; not while it is reading the reason of the exception before.
function late(apf: usize, vcpu: usize): bool {
  if (load<u32>(apf, APF_LATE) === 0 || !apfMayDequeue(apf)) return false;
  store<u32>(apf, LATE, APF_PC);
  return area(apf, vcpu);
}

// kvm_arch_async_page_present(). True: the guest is being told.
function present(apf: usize, vcpu: usize): bool {
  const work = <usize>load<u32>(apf, APF_WORK);
  const all = load<u32>(work, WORK_ALL) !== 0;
  const gpa: u64 = all ? <u64>0 : (<u64>load<u32>(work, WORK_GFN)) << 12;
  if (!all) {
    if (apfRule(apf, APF_BY_GFN)) apfTableRemove(apf, load<u32>(work, WORK_GFN));
    faultCredit(apf, vcpu, work);
    vmCountAdd(vmStats(vcpuVm(vcpu)), VM_APF_READY, 1);
  }
  emit(TRACE_KVM_ASYNC_PF_READY, actorClock(vcpu), load<u32>(work, WORK_TOKEN), gpa, vcpuIndex(vcpu), 0);
  // In 2010 whoever is told that it is ready may not have been told yet that it was missing.
  const told = all || load<u32>(work, WORK_TOLD) !== 0 || apfRule(apf, APF_SCHEDULE_FIRST);
  const left = load<u32>(apf, APF_LEFT_GUEST) !== 0;
  store<u32>(apf, 0, APF_LEFT_GUEST);
  if (!told || !apfEnabled(apf)) {
    // The price of telling contains this exit.
    if (left) actorSpend(vcpu, STAGE_EXIT, cost(COST_VM_EXIT_NS));
    return false;
  }
  store<u32>(apf, TELLING, APF_PC);
  return area(apf, vcpu);
}

// The write to the guest's shared area begins. False: it has none any more.
function area(apf: usize, vcpu: usize): bool {
  return guestAccessBegin(apf + APF_CACHE, vcpuVm(vcpu), load<u32>(apf, APF_AREA_GFN), vcpu, true);
}

function tell(apf: usize, vcpu: usize): void {
  const token = load<u32>(<usize>load<u32>(apf, APF_WORK), WORK_TOKEN);
  actorSpend(vcpu, STAGE_ASYNC, cost(COST_APF_READY_NS));
  apfAreaWritten(apf);
  if (apfRule(apf, APF_READY_FAULT)) {
    store<u32>(apf, EXCEPTION_READY, APF_AREA_FLAGS);
    store<u32>(apf, EXCEPTION_READY, APF_EXCEPTION);
    store<u32>(apf, token, APF_EXCEPTION_TOKEN);
    apfAttend(apf, ATTENTION_EXCEPTION);
    emit(TRACE_KVM_INJ_EXCEPTION, actorClock(vcpu), vcpuIndex(vcpu), 14, 0, 0);
    return;
  }
  assert(token !== 0 || load<u32>(apf, APF_AREA_TOKEN) === 0);
  store<u32>(apf, token, APF_AREA_TOKEN);
  store<u32>(apf, 1, APF_READY_PENDING);
  apfAttend(apf, ATTENTION_INTERRUPT);
  emit(TRACE_KVM_INJ_VIRQ, actorClock(vcpu), vcpuIndex(vcpu), READY_VECTOR, 0, 0);
}

// The work is consumed.
function finish(apf: usize, vcpu: usize): void {
  const work = <usize>load<u32>(apf, APF_WORK);
  store<u32>(apf, 0, APF_WORK);
  workUnqueue(work);
  workFree(work, vcpu);
  store<u32>(apf, NEXT, APF_PC);
}

/** The guest writes MSR_KVM_ASYNC_PF_ACK: it can take the next event. */
export function apfAcknowledge(apf: usize): void {
  store<u32>(apf, 0, APF_READY_PENDING);
  apfRescan(apf);
}

/** If there is something to tell the guest, it is looked at before the guest goes on. */
export function apfRescan(apf: usize): void {
  if (!apfDoneEmpty(apf) || load<u32>(apf, APF_LATE) !== 0) apfAttend(apf, ATTENTION_READY);
}
