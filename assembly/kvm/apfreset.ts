import { GFN_NONE } from "../memory/layout";
import { actorSpend, STAGE_EXIT } from "../sim/actor";
import { COST_VM_EXIT_NS, cost } from "../sim/costs";
import {
  APF_AREA_FLAGS,
  APF_AREA_GFN,
  APF_AREA_TOKEN,
  APF_CACHE,
  APF_DONE_HEAD,
  APF_DONE_TAIL,
  APF_ENABLED,
  APF_EXCEPTION,
  APF_EXCEPTION_TOKEN,
  APF_FLAGS,
  APF_GUEST,
  APF_LATE,
  APF_QUEUE_HEAD,
  APF_READY_FAULT,
  APF_READY_PENDING,
  ATTENTION_EXCEPTION,
  ATTENTION_INTERRUPT,
  ATTENTION_READY,
  apfAttend,
  apfAttended,
  apfRules,
  apfVcpu,
  EXCEPTION_NONE,
  RULES_FLAGS,
  TOKEN_ALL,
  WORK_ALL,
  WORK_CANCELLED,
  WORK_NEXT,
  WORK_RUNNING,
  WORK_STATE,
  WORK_WAITING,
} from "./apf";
import { apfEnabled, EN_DELIVERY_AS_INT, EN_ENABLED } from "./apfcondition";
import { apfPinDrop } from "./apfpin";
import { apfDoneEmpty, workDone, workFree, workQueue, workUnqueue } from "./apfqueue";
import { apfTableReset } from "./apftable";
import { apfKick, workUnschedule } from "./apfworker";
import { guestCacheInit } from "./guestwrite";
import { VM_APF_CANCELLED, vmCountAdd } from "./stats";
import { vcpuVm } from "./vcpu";
import { vmStats } from "./vm";

// The guest switches asynchronous page faults on or off, or its vCPU is reset: kvm_pv_enable_async_pf(),
// kvm_clear_async_pf_completion_queue(), kvm_async_pf_wakeup_all(). Whoever switches off wakes his own sleepers: of what is
// dropped no event is sent. After switching on one broadcast wakes everybody.

/** The vCPU goes by the VM's present rules: what is outstanding under the old ones is cancelled, and the guest writes the MSR. */
export function apfSwitch(apf: usize, time: u64): void {
  apfClear(apf);
  const flags = load<u32>(apfRules(apf), RULES_FLAGS);
  store<u32>(apf, flags, APF_FLAGS);
  let bits: u32 = 0;
  if (flags & APF_GUEST) bits = flags & APF_READY_FAULT ? EN_ENABLED : EN_ENABLED | EN_DELIVERY_AS_INT;
  actorSpend(apfVcpu(apf), STAGE_EXIT, cost(COST_VM_EXIT_NS));
  apfEnable(apf, bits, time);
}

/** The guest writes MSR_KVM_ASYNC_PF_EN at `time`. */
export function apfEnable(apf: usize, bits: u32, time: u64): void {
  store<u32>(apf, bits, APF_ENABLED);
  if (!apfEnabled(apf)) {
    apfClear(apf);
    return;
  }
  guestCacheInit(apf + APF_CACHE, vcpuVm(apfVcpu(apf)), load<u32>(apf, APF_AREA_GFN));
  apfWakeupAll(apf, time);
}

/** Cancels everything outstanding. A worker that is at it gives its work back when it is done. */
export function apfClear(apf: usize): void {
  const vcpu = apfVcpu(apf);
  store<u32>(apf, 0, APF_DONE_HEAD);
  store<u32>(apf, 0, APF_DONE_TAIL);
  let work = <usize>load<u32>(apf, APF_QUEUE_HEAD);
  while (work !== 0) {
    const next = <usize>load<u32>(work, WORK_NEXT);
    workUnqueue(work);
    if (load<u32>(work, WORK_ALL) === 0) vmCountAdd(vmStats(vcpuVm(vcpu)), VM_APF_CANCELLED, 1);
    if (load<u32>(work, WORK_STATE) === WORK_RUNNING) {
      store<u32>(work, 1, WORK_CANCELLED);
      apfPinDrop(work, vcpu); // cancel_work_sync() waits until the worker is through
    } else {
      if (load<u32>(work, WORK_STATE) === WORK_WAITING) workUnschedule(work);
      workFree(work, vcpu);
    }
    work = next;
  }
  apfTableReset(apf);
  store<u32>(apf, 0, APF_LATE);
  store<u32>(apf, 0, APF_READY_PENDING);
  store<u32>(apf, EXCEPTION_NONE, APF_EXCEPTION);
  store<u32>(apf, 0, APF_EXCEPTION_TOKEN);
  store<u32>(apf, 0, APF_AREA_FLAGS);
  store<u32>(apf, 0, APF_AREA_TOKEN);
  apfAttended(apf, ATTENTION_READY | ATTENTION_EXCEPTION | ATTENTION_INTERRUPT);
}

/** A broadcast is queued as a completion of its own, whatever the limit, unless a completion waits anyway. */
export function apfWakeupAll(apf: usize, time: u64): void {
  if (!apfDoneEmpty(apf)) return;
  const work = workQueue(apf, GFN_NONE, TOKEN_ALL);
  if (work === 0) return;
  store<u32>(work, 1, WORK_ALL);
  workDone(work);
  apfAttend(apf, ATTENTION_READY);
  apfKick(apf, time);
}
