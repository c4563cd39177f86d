import { VM_STALL_FULL_NS, VM_STALL_SOME_NS, vmCountAdd } from "./stats";
import { setVmStall, vmProductive, vmStalled, vmStallTime, vmStats } from "./vm";

// Pressure on memory, after Linux' PSI: a VM is stalled in part while some of its vCPUs that have work wait for memory
// (reclaim, swap-in), and in full while none of them gets work done. A halted vCPU counts as neither.
//
// The accounting moves at the clocks of the vCPUs, which may run ahead of each other by a quantum; time never goes back.

function settle(vm: usize, time: u64): u64 {
  const since = vmStallTime(vm);
  if (time <= since) return since;
  const stalled = vmStalled(vm);
  if (stalled !== 0) {
    vmCountAdd(vmStats(vm), VM_STALL_SOME_NS, time - since);
    if (vmProductive(vm) === 0) vmCountAdd(vmStats(vm), VM_STALL_FULL_NS, time - since);
  }
  return time;
}

/** A vCPU begins to get work done: it starts, or wakes from HLT. */
export function psiStart(vm: usize, time: u64): void {
  const now = settle(vm, time);
  setVmStall(vm, vmStalled(vm), vmProductive(vm) + 1, now);
}

/** A vCPU has nothing to do. */
export function psiStop(vm: usize, time: u64): void {
  const now = settle(vm, time);
  assert(vmProductive(vm) > 0);
  setVmStall(vm, vmStalled(vm), vmProductive(vm) - 1, now);
}

/** A vCPU that had work begins to wait for memory. */
export function psiStall(vm: usize, time: u64): void {
  const now = settle(vm, time);
  assert(vmProductive(vm) > 0);
  setVmStall(vm, vmStalled(vm) + 1, vmProductive(vm) - 1, now);
}

/** Its wait for memory is over. */
export function psiUnstall(vm: usize, time: u64): void {
  const now = settle(vm, time);
  assert(vmStalled(vm) > 0);
  setVmStall(vm, vmStalled(vm) - 1, vmProductive(vm) + 1, now);
}
