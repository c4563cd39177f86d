import { aheadFrom } from "../kvm/ahead";
import { allowAtOnce } from "../kvm/atonce";
import { memslotsLast } from "../kvm/memslots";
import { KVM_CONTEXT_END, TLB_PFNS, TLB_SET_MASK, TLB_WAYS } from "../kvm/vcpu";
import { vmSlots } from "../kvm/vm";
import { vmAt } from "../kvm/vmtable";
import { ACTOR_BYTES } from "../sim/actor";
import { EVENT_BYTES, eventsCapacity, eventsHeap, eventsPosted } from "../sim/events";
import { vcpuAt } from "./lookup";

// For the tests that compare machines whose plain faults go through in one go with machines whose faults all go by steps
// (kvm/atonce.ts): the switches, and which memory may differ: what a vCPU's machines of steps have left behind, the frames beside its TLB,
// which are kept and read only where contents are checked, the memslot found last, and the numbers that pending events were given.

/** From now on plain faults go through in one go, or by steps. */
export function atOnceAllow(allow: bool): void {
  allowAtOnce(allow);
}

/** From now on faults look ahead (kvm/ahead.ts) in guests that have so many pages. */
export function atOnceAheadFrom(pages: u32): void {
  aheadFrom(pages);
}

/** Events that were ever posted: a fault by steps posts one. */
export function atOncePosted(): f64 {
  return <f64>eventsPosted();
}

/** Where the locals of a vCPU's machines of steps lie. */
export function atOnceLocals(vm: u32, vcpu: u32): usize {
  return vcpuAt(vmAt(vm), vcpu) + ACTOR_BYTES;
}

export const AT_ONCE_LOCALS_BYTES: u32 = <u32>(KVM_CONTEXT_END - ACTOR_BYTES);

/** Where the frames beside a vCPU's TLB lie. */
export function atOnceFrames(vm: u32, vcpu: u32): usize {
  return <usize>load<u32>(vcpuAt(vmAt(vm), vcpu), TLB_PFNS);
}

export function atOnceFramesBytes(vm: u32, vcpu: u32): u32 {
  const actor = vcpuAt(vmAt(vm), vcpu);
  return ((load<u32>(actor, TLB_SET_MASK) + 1) * load<u32>(actor, TLB_WAYS)) << 2;
}

/** Where a VM keeps the memslot found last. */
export function atOnceLastSlot(vm: u32): usize {
  return memslotsLast(vmSlots(vmAt(vm)));
}

/** Where the queue of events lies. */
export function atOnceEvents(): usize {
  return eventsHeap();
}

export function atOnceEventsBytes(): u32 {
  return eventsCapacity() * <u32>EVENT_BYTES;
}
