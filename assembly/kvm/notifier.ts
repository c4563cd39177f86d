import { STEP_AGAIN, STEP_BLOCKED, STEP_DONE } from "../memory/status";
import { notifierRegister } from "../mm/notifier";
import { spaceHva, spaceRss, spaceSwapents } from "../mm/space";
import { HUGE_PAGES, thpFirst, thpMapped } from "../mm/thp";
import { zapRange } from "../mm/zap";
import { actorClock, actorGoesOn, actorSpend, STAGE_RECLAIM } from "../sim/actor";
import { COST_NOTIFIER_INVALIDATE_NS, COST_RMAP_PER_SPTE_NS, cost } from "../sim/costs";
import { lockWrite, unlockWrite } from "../sim/lock";
import { emit, TRACE_KVM_AGE_HVA, TRACE_KVM_UNMAP_HVA_RANGE } from "../sim/trace";
import { waitqueueWakeAll } from "../sim/waitqueue";
import { flushRemoteTlbs } from "./flush";
import { vmInvalidateBegin, vmInvalidateEnd, vmInvalidateExtend } from "./invalidation";
import { memslotFirst, memslotGfnOf, memslotPages } from "./memslot";
import {
  memslotByHva,
  memslotCount,
  memslotNextInHva,
  memslotNotifiers,
  memslotWaiters,
  setMemslotNotifiers,
} from "./memslots";
import { mmuAgeRange, mmuZapRange } from "./mmu";
import { announce2008, invalidateEnd2008 } from "./notifier2008";
import { VM_AGED, VM_UNMAPPED, VM_YOUNG, vmCountAdd } from "./stats";
import { tlbFlush } from "./tlb";
import { NOTIFIER_PC, vcpuNext } from "./vcpu";
import { NOTIFIER_2008, vmMm, vmMmuLock, vmNotifier, vmSlots, vmSpace, vmStats, vmVcpuList } from "./vm";
import { vmAt } from "./vmtable";

// KVM's side of the MMU notifier, today's form: invalidate_range_start zaps and flushes under mmu_lock and opens the range,
// invalidate_range_end closes it and moves the sequence on; a fault that overlaps starts over (fault.ts). An spte holds no
// page reference. Aging clears the accessed bit, without mmu_lock and without a flush (KVM_ELIDE_TLB_FLUSH_IF_YOUNG).
// A VM with the design of 2008 goes through notifier2008.ts.

const IDLE: u32 = 0;
const ZAP: u32 = 1;
const UNLOCK: u32 = 2;
const CLOSE: u32 = 3;
const CLOSED: u32 = 4;

function goto(actor: usize, pc: u32): void {
  store<u32>(actor, pc, NOTIFIER_PC);
}

// kvm_mmu_notifier_invalidate_range_start(). Slots do not change until the event's end; an event that concerns none takes no lock.
function invalidateStart(actor: usize, spaceId: u32, start: u32, end: u32): i32 {
  const vm = vmAt(spaceId);
  if (vmNotifier(vm) === NOTIFIER_2008) {
    announce2008(vm, start, end); // it has no such callback
    return STEP_DONE;
  }
  const slots = vmSlots(vm);
  while (true) {
    const pc = load<u32>(actor, NOTIFIER_PC);
    if (pc === IDLE) {
      setMemslotNotifiers(slots, memslotNotifiers(slots) + 1);
      emit(TRACE_KVM_UNMAP_HVA_RANGE, actorClock(actor), hvaOf(vm, start), hvaEnd(vm, end), 0, 0);
      if (memslotNextInHva(slots, start, end, 0) === memslotCount(slots)) return STEP_DONE;
      goto(actor, ZAP);
      if (!lockWrite(vmMmuLock(vm), actor)) return STEP_BLOCKED;
    } else if (pc === ZAP) {
      zapPages(vm, actor, start, end);
      goto(actor, UNLOCK);
      // yield: mmu_lock is held for writing until the zap and its flush have taken their time
      if (!actorGoesOn(actor)) return STEP_AGAIN;
    } else {
      assert(pc === UNLOCK);
      unlockWrite(vmMmuLock(vm), actor);
      goto(actor, IDLE);
      return STEP_DONE;
    }
  }
}

function hvaOf(vm: usize, index: u32): u64 {
  return spaceHva(vmSpace(vm), index);
}

function hvaEnd(vm: usize, end: u32): u64 {
  return spaceHva(vmSpace(vm), end - 1) + 4096;
}

// kvm_unmap_gfn_range() for every slot that pages start..end-1 back.
function zapPages(vm: usize, actor: usize, start: u32, end: u32): void {
  vmInvalidateBegin(vm);
  const zapped = zapSlots(vm, actor, start, end);
  actorSpend(actor, STAGE_RECLAIM, cost(COST_NOTIFIER_INVALIDATE_NS));
  if (zapped === 0) return;
  vmCountAdd(vmStats(vm), VM_UNMAPPED, zapped);
  actorSpend(actor, STAGE_RECLAIM, zapped * cost(COST_RMAP_PER_SPTE_NS));
  flushRemoteTlbs(vm, actor);
}

// The entries of all slots that pages start..end-1 back; the open range covers them. Returns how many there were.
function zapSlots(vm: usize, actor: usize, start: u32, end: u32): u32 {
  const slots = vmSlots(vm);
  let zapped: u32 = 0;
  for (
    let place = memslotNextInHva(slots, start, end, 0);
    place < memslotCount(slots);
    place = memslotNextInHva(slots, start, end, place + 1)
  ) {
    const slot = memslotByHva(slots, place);
    const first = max<u32>(start, memslotFirst(slot));
    const behind = min<u32>(end, memslotFirst(slot) + memslotPages(slot));
    const gfn = memslotGfnOf(slot, first);
    const gfnEnd = gfn + (behind - first);
    vmInvalidateExtend(vm, gfn, gfnEnd);
    zapped += mmuZapRange(vm, gfn, gfnEnd, actor);
  }
  return zapped;
}

// kvm_mmu_notifier_invalidate_range_end()
function invalidateEnd(actor: usize, spaceId: u32, start: u32, end: u32): i32 {
  const vm = vmAt(spaceId);
  if (vmNotifier(vm) === NOTIFIER_2008) return invalidateEnd2008(actor, vm, start, end);
  const slots = vmSlots(vm);
  if (load<u32>(actor, NOTIFIER_PC) === IDLE) {
    if (memslotNextInHva(slots, start, end, 0) === memslotCount(slots)) return ended(slots, actor);
    goto(actor, CLOSE);
    if (!lockWrite(vmMmuLock(vm), actor)) return STEP_BLOCKED;
  }
  if (load<u32>(actor, NOTIFIER_PC) === CLOSE) {
    vmInvalidateEnd(vm);
    actorSpend(actor, STAGE_RECLAIM, cost(COST_NOTIFIER_INVALIDATE_NS));
    goto(actor, CLOSED);
    // yield: mmu_lock is held for writing
    if (!actorGoesOn(actor)) return STEP_AGAIN;
  }
  assert(load<u32>(actor, NOTIFIER_PC) === CLOSED);
  unlockWrite(vmMmuLock(vm), actor);
  goto(actor, IDLE);
  return ended(slots, actor);
}

function ended(slots: usize, actor: usize): i32 {
  const open = memslotNotifiers(slots) - 1;
  assert(open !== u32.MAX_VALUE);
  setMemslotNotifiers(slots, open);
  if (open === 0) waitqueueWakeAll(memslotWaiters(slots), actorClock(actor));
  return STEP_DONE;
}

/** Drops pages start..end-1 of the VM's memory in no time and at no price. For what no host can do. Returns the pages that there were. */
export function dropAtOnce(vm: usize, actor: usize, start: u32, end: u32): u32 {
  const space = vmSpace(vm);
  const before = spaceRss(space) + spaceSwapents(space);
  vmInvalidateBegin(vm);
  if (zapSlots(vm, actor, start, end) !== 0) {
    for (let vcpu = vmVcpuList(vm); vcpu !== 0; vcpu = vcpuNext(vcpu)) tlbFlush(vcpu);
  }
  zapRange(vmMm(vm), actor, space, start, end);
  vmInvalidateEnd(vm);
  return before - (spaceRss(space) + spaceSwapents(space));
}

// kvm_mmu_notifier_clear_flush_young(). Where the host maps 2 MiB whole, it is the whole that has been used or not, however small KVM maps it.
function clearFlushYoung(actor: usize, spaceId: u32, index: u32): bool {
  const vm = vmAt(spaceId);
  const slots = vmSlots(vm);
  const time = actorClock(actor);
  const whole = thpMapped(vmSpace(vm), index);
  const start = whole ? thpFirst(index) : index;
  const end = start + (whole ? HUGE_PAGES : 1);
  emit(TRACE_KVM_AGE_HVA, time, hvaOf(vm, start), hvaEnd(vm, end), 0, 0);
  vmCountAdd(vmStats(vm), VM_AGED, 1);
  let young = false;
  for (
    let place = memslotNextInHva(slots, start, end, 0);
    place < memslotCount(slots);
    place = memslotNextInHva(slots, start, end, place + 1)
  ) {
    const slot = memslotByHva(slots, place);
    const first = max<u32>(start, memslotFirst(slot));
    const behind = min<u32>(end, memslotFirst(slot) + memslotPages(slot));
    const gfn = memslotGfnOf(slot, first);
    if (mmuAgeRange(vm, gfn, gfn + (behind - first), time)) young = true;
  }
  if (young) vmCountAdd(vmStats(vm), VM_YOUNG, 1);
  if (young && vmNotifier(vm) === NOTIFIER_2008) flushRemoteTlbs(vm, actor); // kvm_age_hva() of 2008
  return young;
}

/** Fills in the hooks that memory management calls. */
export function notifierInit(): void {
  notifierRegister(invalidateStart, invalidateEnd, clearFlushYoung);
}
