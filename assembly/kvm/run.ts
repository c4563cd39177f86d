import { STEP_BLOCKED, STEP_DONE } from "../memory/status";
import { psiStop } from "../mm/psi";
import { spacePsi } from "../mm/space";
import {
  ACTOR_GUEST,
  ACTOR_HALTED,
  ACTOR_HOST,
  actorBlockedNs,
  actorClock,
  actorSpend,
  STAGE_FLUSH,
  setActorState,
} from "../sim/actor";
import { COST_TLB_FLUSH_ALL_NS, cost } from "../sim/costs";
import { emit, TRACE_KVM_ENTRY } from "../sim/trace";
import { APF_LEFT_GUEST, ATTENTION_READY, vcpuAttention } from "./apf";
import { apfReadyBegin, apfReadyStep } from "./apfready";
import { pageFaultStep } from "./fault";
import { pageFaultToHalt } from "./faultend";
import { VM_BLOCKED_NS, vmCountAdd } from "./stats";
import {
  setVcpuBlockedSeen,
  setVcpuFlushRequest,
  setVcpuMode,
  VCPU_APF_HALTED,
  VCPU_IN_FAULT,
  VCPU_IN_GUEST,
  VCPU_IN_READY,
  vcpuApf,
  vcpuBlockedSeen,
  vcpuFlushRequested,
  vcpuIndex,
  vcpuMode,
  vcpuVm,
} from "./vcpu";
import { vmSpace, vmStats } from "./vm";
import { vmEnding } from "./vmend";

// The loop of a vCPU in the host (vcpu_run()): a fault or a look at completions, then whatever was requested meanwhile, then the
// guest, or a halt.

/** Goes on with what the vCPU does in the host. STEP_DONE: it is back in the guest. Returns STEP_*. */
export function vcpuStep(vcpu: usize): i32 {
  while (true) {
    const faulting = vcpuMode(vcpu) === VCPU_IN_FAULT;
    const step = faulting ? pageFaultStep(vcpu) : apfReadyStep(vcpu);
    if (step !== STEP_DONE) return step;
    if (vcpuAttention(vcpu) & ATTENTION_READY) {
      leaveForReady(vcpu);
      continue;
    }
    if (faulting && pageFaultToHalt(vcpu) && !vmEnding(vcpuVm(vcpu))) return halt(vcpu);
    enterGuest(vcpu);
    return STEP_DONE;
  }
}

function leaveForReady(vcpu: usize): void {
  setActorState(vcpu, ACTOR_HOST);
  setVcpuMode(vcpu, VCPU_IN_READY);
  apfReadyBegin(vcpu);
}

/** A vCPU that runs its guest leaves it to look at its completions; its next step is vcpuStep(). */
export function vcpuLeaveGuest(vcpu: usize): void {
  store<u32>(vcpuApf(vcpu), 1, APF_LEFT_GUEST);
  leaveForReady(vcpu);
}

/** The vCPU, about to run its guest, looks at its completions first if it is asked to. True: its next step is vcpuStep(). */
export function vcpuReadyFirst(vcpu: usize): bool {
  if ((vcpuAttention(vcpu) & ATTENTION_READY) === 0) return false;
  leaveForReady(vcpu);
  return true;
}

// KVM_REQ_APF_HALT: the vCPU stops although its guest has not asked for it, until a completion or an interrupt comes.
function halt(vcpu: usize): i32 {
  psiStop(spacePsi(vmSpace(vcpuVm(vcpu))), actorClock(vcpu));
  setActorState(vcpu, ACTOR_HALTED);
  setVcpuMode(vcpu, VCPU_APF_HALTED);
  return STEP_BLOCKED;
}

/** vcpu_enter_guest(): takes a requested flush; then the vCPU runs the guest from its clock on. */
export function enterGuest(vcpu: usize): void {
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
}
