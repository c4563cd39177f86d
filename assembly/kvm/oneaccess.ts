import { spaceReferenced } from "../mm/residency";
import { spacePolicy } from "../mm/space";
import { actorClock, setActorClock } from "../sim/actor";
import { COST_MEM_DRAM_NS, COST_TLB_WALK2D_NS, cost } from "../sim/costs";
import { pageFaultBegin } from "./fault";
import { contentRead, contentWrite } from "./integrity";
import { spteSet } from "./leafbits";
import { SPTE_PAGE_SIZE, SPTE_WRITE, spteAccessed, spteDirty } from "./spte";
import { VM_TLB_MISSES, vmCountAdd } from "./stats";
import { tlbFill, tlbLookup, tlbPfn } from "./tlb";
import { vcpuIndex } from "./vcpu";
import { vcpuAllows, vcpuGfn, vcpuKeeps, vcpuLeaf } from "./vcpuwalk";
import { gfnToIndex, vmExpected, vmFormat, vmIsShadow, vmLevels, vmSpace, vmStats } from "./vm";
import { leafPfn } from "./walk";

// One access of a vCPU through the TLB or the tables, whatever is switched on: what the loops of access.ts and watched.ts do for many, and step out
// for.

// The guest's tables have four levels and 4 KiB leaves.
const GUEST_LEVELS: u32 = 4;
const WALK_READS: u32 = 24;

export const ACCESS_END: u32 = 0;
export const ACCESS_TIME: u32 = 1;
export const ACCESS_FAULT: u32 = 2;
export const ACCESS_VIOLATION: u32 = 3;

// Why accesses stopped: read by the caller at once.
const STOP: usize = memory.data(8, 8);

/** Why the last accessRun() stopped. */
export function accessStop(): u32 {
  return load<u32>(STOP);
}

/** For callers that run accesses and other work in turns. */
export function setAccessStop(stop: u32): void {
  store<u32>(STOP, stop);
}

/** The tables serve the access as they are. */
export function translates(vcpu: usize, gfn: u32, write: u32): bool {
  const leaf = vcpuLeaf(vcpu, gfn);
  return leaf !== 0 && vcpuAllows(vcpu, load<u64>(leaf), write !== 0);
}

/**
 * Time of a walk in two dimensions: tlbWalk2dNs is that of 24 table reads, four levels of the guest's tables over four of KVM's; each
 * level of the guest's and the page itself are found through KVM's tables, whose walk is shorter by one where a 2 MiB leaf ends it.
 */
export function walkNs(vm: usize, huge: bool): u32 {
  if (vmIsShadow(vm)) return (cost(COST_TLB_WALK2D_NS) * GUEST_LEVELS) / WALK_READS; // one dimension
  const reads = (GUEST_LEVELS + 1) * (vmLevels(vm) - (huge ? 1 : 0) + 1) - 1;
  return (cost(COST_TLB_WALK2D_NS) * reads) / WALK_READS;
}

/** One access through the TLB or the tables, with its contents when they are checked. Returns ACCESS_END, ACCESS_FAULT or ACCESS_VIOLATION. */
export function accessOne(vcpu: usize, vm: usize, access: u32, base: u32, thinkNs: u32): u32 {
  const write = access >> 31;
  const gfn = base + (access & 0x7fffffff);
  const hit = tlbLookup(vcpu, gfn, write);
  let ns = cost(COST_MEM_DRAM_NS) + thinkNs;
  let pfn: u32;
  if (hit >= 0) {
    pfn = tlbPfn(vcpu, hit);
  } else {
    const leaf = vcpuLeaf(vcpu, gfn);
    if (leaf === 0 || !vcpuAllows(vcpu, load<u64>(leaf), write !== 0)) {
      pageFaultBegin(vcpu, gfn, write !== 0);
      return ACCESS_FAULT;
    }
    const format = vmFormat(vm);
    const spte = load<u64>(leaf) | spteAccessed(format) | (write ? spteDirty(format) : 0);
    spteSet(vm, leaf, spte);
    pfn = leafPfn(spte, gfn);
    if (vcpuKeeps(vcpu, spte)) tlbFill(vcpu, gfn, spte & spteDirty(format) && spte & SPTE_WRITE ? 1 : 0, pfn);
    vmCountAdd(vmStats(vm), VM_TLB_MISSES, 1);
    ns += walkNs(vm, (spte & SPTE_PAGE_SIZE) !== 0);
  }
  const time = actorClock(vcpu);
  setActorClock(vcpu, time + ns);
  if (spacePolicy(vmSpace(vm)) === 0 && vmExpected(vm) === 0) return ACCESS_END;
  const frame = vcpuGfn(vcpu, gfn, vcpuLeaf(vcpu, gfn));
  if (spacePolicy(vmSpace(vm)) !== 0) spaceReferenced(vmSpace(vm), gfnToIndex(vm, frame), write !== 0);
  if (vmExpected(vm) === 0) return ACCESS_END;
  if (write) {
    contentWrite(vm, frame, pfn, vcpuIndex(vcpu), time);
    return ACCESS_END;
  }
  return contentRead(vm, frame, pfn, vcpuIndex(vcpu), time) ? ACCESS_END : ACCESS_VIOLATION;
}
