import {
  ACTOR_GUEST,
  actorClock,
  actorSpend,
  actorState,
  actorWaitUntil,
  STAGE_EXIT,
  STAGE_FLUSH,
} from "../sim/actor";
import {
  COST_SHOOTDOWN_BASE_NS,
  COST_SHOOTDOWN_PER_CPU_NS,
  COST_TLB_FLUSH_ALL_NS,
  COST_VM_EXIT_NS,
  cost,
} from "../sim/costs";
import { VM_FLUSHES, vmCountAdd } from "./stats";
import { tlbFlush } from "./tlb";
import { setVcpuFlushRequest, vcpuNext, vcpuVm } from "./vcpu";
import { vmStats, vmVcpuList } from "./vm";

// The TLB shootdown of a VM.

/**
 * kvm_flush_remote_tlbs(): every vCPU drops its translations. One that runs the guest has run up to its clock, so the flush
 * takes effect there and the sender waits for it; one that does not run takes the request at its next entry.
 */
export function flushRemoteTlbs(vm: usize, actor: usize): void {
  if (kickAll(vm, actor)) vmCountAdd(vmStats(vm), VM_FLUSHES, 1);
}

/** KVM_REQ_MMU_FREE_OBSOLETE_ROOTS: every vCPU leaves its root, and what its TLB has from there; no flush is asked for by its name. */
export function freeObsoleteRoots(vm: usize, actor: usize): void {
  kickAll(vm, actor);
}

// True when a vCPU had to be kicked out of the guest.
function kickAll(vm: usize, actor: usize): bool {
  let kicked: u32 = 0;
  let boundary: u64 = 0;
  for (let vcpu = vmVcpuList(vm); vcpu !== 0; vcpu = vcpuNext(vcpu)) {
    if (!drop(vcpu)) continue;
    kicked++;
    boundary = max<u64>(boundary, actorClock(vcpu));
    leave(vcpu);
  }
  if (kicked !== 0) wait(actor, kicked, boundary);
  return kicked !== 0;
}

/** The same for one vCPU: the others of its VM keep their translations. */
export function flushTlb(vcpu: usize, actor: usize): void {
  if (!drop(vcpu)) return;
  const boundary = actorClock(vcpu);
  leave(vcpu);
  vmCountAdd(vmStats(vcpuVm(vcpu)), VM_FLUSHES, 1);
  wait(actor, 1, boundary);
}

// True when the vCPU runs the guest, and has to be kicked out of it.
function drop(vcpu: usize): bool {
  tlbFlush(vcpu);
  if (actorState(vcpu) === ACTOR_GUEST) return true;
  setVcpuFlushRequest(vcpu, true);
  return false;
}

function leave(vcpu: usize): void {
  actorSpend(vcpu, STAGE_EXIT, cost(COST_VM_EXIT_NS));
  actorSpend(vcpu, STAGE_FLUSH, cost(COST_TLB_FLUSH_ALL_NS));
}

function wait(actor: usize, kicked: u32, boundary: u64): void {
  actorWaitUntil(actor, STAGE_FLUSH, boundary);
  actorSpend(actor, STAGE_FLUSH, cost(COST_SHOOTDOWN_BASE_NS) + kicked * cost(COST_SHOOTDOWN_PER_CPU_NS));
}
