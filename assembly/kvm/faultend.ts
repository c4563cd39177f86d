import { actorClock } from "../sim/actor";
import { DIGEST_FAULT, digestAdd } from "../sim/digest";
import { faultRecord } from "./stats";
import {
  PF_ACCESS_GFN,
  PF_ACCESS_WRITE,
  PF_EMULATED,
  PF_GFN,
  PF_HALT,
  PF_KIND,
  PF_MMIO,
  PF_PC,
  PF_PENDING,
  PF_PINNED,
  PF_PREFETCH,
  PF_START,
  PF_VA,
  PF_WRITE,
  vcpuIndex,
  vcpuVm,
} from "./vcpu";
import { vmId, vmStats } from "./vm";

// What surrounds a vCPU's page fault (fault.ts): how it ends for the access that caused it, and faults that no access has caused.

/** Where a fault's handling begins, and begins again when the range was invalidated meanwhile. */
export const PAGE_FAULT_CHECK: u32 = 0;

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

/** The access that has to be repeated was answered by the monitor: it is over now. */
export function pageFaultEmulated(vcpu: usize): bool {
  if (load<u32>(vcpu, PF_EMULATED) === 0) return false;
  store<u32>(vcpu, 0, PF_EMULATED);
  store<u32>(vcpu, 0, PF_PENDING);
  return true;
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
  store<u32>(vcpu, gfn, PF_VA);
  store<u32>(vcpu, 0, PF_WRITE);
  store<u32>(vcpu, 0, PF_MMIO);
  store<u32>(vcpu, 1, PF_PREFETCH);
  store<u32>(vcpu, PAGE_FAULT_CHECK, PF_PC);
}

/** That mapping has ended, with or without success. */
export function prefetchEnd(vcpu: usize): void {
  store<u32>(vcpu, load<u32>(vcpu, PF_ACCESS_GFN), PF_GFN);
  store<u32>(vcpu, load<u32>(vcpu, PF_ACCESS_WRITE), PF_WRITE);
  store<u32>(vcpu, 0, PF_PREFETCH);
}
