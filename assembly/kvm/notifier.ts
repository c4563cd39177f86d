import { STEP_AGAIN, STEP_BLOCKED, STEP_DONE } from "../memory/status";
import { notifierRegister } from "../mm/notifier";
import { PG_DIRTY, PG_REFERENCED, pageOf, pageSet } from "../mm/page";
import { ZERO_PFN } from "../mm/pte";
import { spaceHva } from "../mm/space";
import {
  ACTOR_GUEST,
  actorClock,
  actorGoesOn,
  actorSpend,
  actorState,
  actorWaitUntil,
  STAGE_EXIT,
  STAGE_FLUSH,
  STAGE_RECLAIM,
} from "../sim/actor";
import {
  COST_NOTIFIER_INVALIDATE_NS,
  COST_RMAP_PER_SPTE_NS,
  COST_SHOOTDOWN_BASE_NS,
  COST_SHOOTDOWN_PER_CPU_NS,
  COST_TLB_FLUSH_ALL_NS,
  COST_VM_EXIT_NS,
  cost,
} from "../sim/costs";
import { DIGEST_INVALIDATE, digestAdd } from "../sim/digest";
import { lockWrite, unlockWrite } from "../sim/lock";
import { emit, TRACE_KVM_AGE_HVA, TRACE_KVM_UNMAP_HVA_RANGE } from "../sim/trace";
import { waitqueueWakeAll } from "../sim/waitqueue";
import { memslotFirst, memslotGfnOf, memslotPages } from "./memslot";
import {
  memslotByHva,
  memslotCount,
  memslotNextInHva,
  memslotNotifiers,
  memslotWaiters,
  setMemslotNotifiers,
} from "./memslots";
import { SPTE_ACCESSED, SPTE_DIRTY, SPTE_NONE, sptePfn, sptePresent } from "./spte";
import { VM_AGED, VM_FLUSHES, VM_UNMAPPED, VM_YOUNG, vmCountAdd } from "./stats";
import { tdpAge, tdpNext, tdpSet, tdpSpte } from "./tdp";
import { tlbFlush } from "./tlb";
import { NOTIFIER_PC, setVcpuFlushRequest, vcpuNext } from "./vcpu";
import {
  vmId,
  vmInvalidateBegin,
  vmInvalidateEnd,
  vmInvalidateExtend,
  vmMm,
  vmMmuLock,
  vmSlots,
  vmSpace,
  vmStats,
  vmVcpuList,
} from "./vm";
import { vmAt } from "./vmtable";

// KVM's side of the MMU notifier, today's form: invalidate_range_start zaps and flushes under mmu_lock and opens the range,
// invalidate_range_end closes it and moves the sequence on; a fault that overlaps starts over (fault.ts). An spte holds no
// page reference. Aging clears the accessed bit, without mmu_lock and without a flush (KVM_ELIDE_TLB_FLUSH_IF_YOUNG).

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
  const slots = vmSlots(vm);
  const time = actorClock(actor);
  vmInvalidateBegin(vm);
  actorSpend(actor, STAGE_RECLAIM, cost(COST_NOTIFIER_INVALIDATE_NS));
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
    for (let next = tdpNext(vm, gfn); next < gfnEnd; next = tdpNext(vm, next + 1)) {
      zapped += zap(vm, next, time);
    }
  }
  if (zapped === 0) return;
  actorSpend(actor, STAGE_RECLAIM, zapped * cost(COST_RMAP_PER_SPTE_NS));
  flushRemoteTlbs(vm, actor);
}

// Returns 1 for an entry that was there.
function zap(vm: usize, gfn: u32, time: u64): u32 {
  const spte = tdpSpte(vm, gfn);
  if (!sptePresent(spte)) return 0;
  // handle_changed_spte(): what the hardware noted in the entry passes to the page; the page of zeroes keeps no such notes.
  if (sptePfn(spte) !== ZERO_PFN) {
    const page = pageOf(vmMm(vm), sptePfn(spte));
    if (spte & SPTE_DIRTY) pageSet(page, PG_DIRTY);
    if (spte & SPTE_ACCESSED) pageSet(page, PG_REFERENCED);
  }
  tdpSet(vm, gfn, SPTE_NONE, time);
  vmCountAdd(vmStats(vm), VM_UNMAPPED, 1);
  digestAdd(DIGEST_INVALIDATE, time, vmId(vm), gfn, sptePfn(spte), 0);
  return 1;
}

/**
 * kvm_flush_remote_tlbs(): every vCPU drops its translations. One that runs the guest has run up to its clock, so the flush
 * takes effect there and the sender waits for it; one that does not run takes the request at its next entry.
 */
export function flushRemoteTlbs(vm: usize, actor: usize): void {
  let kicked: u32 = 0;
  let boundary: u64 = 0;
  for (let vcpu = vmVcpuList(vm); vcpu !== 0; vcpu = vcpuNext(vcpu)) {
    tlbFlush(vcpu);
    if (actorState(vcpu) !== ACTOR_GUEST) {
      setVcpuFlushRequest(vcpu, true);
      continue;
    }
    kicked++;
    boundary = max<u64>(boundary, actorClock(vcpu));
    actorSpend(vcpu, STAGE_EXIT, cost(COST_VM_EXIT_NS));
    actorSpend(vcpu, STAGE_FLUSH, cost(COST_TLB_FLUSH_ALL_NS));
  }
  if (kicked === 0) return;
  vmCountAdd(vmStats(vm), VM_FLUSHES, 1);
  actorWaitUntil(actor, STAGE_FLUSH, boundary);
  actorSpend(actor, STAGE_FLUSH, cost(COST_SHOOTDOWN_BASE_NS) + kicked * cost(COST_SHOOTDOWN_PER_CPU_NS));
}

// kvm_mmu_notifier_invalidate_range_end()
function invalidateEnd(actor: usize, spaceId: u32, start: u32, end: u32): i32 {
  const vm = vmAt(spaceId);
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

// kvm_mmu_notifier_clear_flush_young()
function clearFlushYoung(spaceId: u32, index: u32, time: u64): bool {
  const vm = vmAt(spaceId);
  const slots = vmSlots(vm);
  const hva = spaceHva(vmSpace(vm), index);
  emit(TRACE_KVM_AGE_HVA, time, hva, hva + 4096, 0, 0);
  vmCountAdd(vmStats(vm), VM_AGED, 1);
  let young = false;
  for (
    let place = memslotNextInHva(slots, index, index + 1, 0);
    place < memslotCount(slots);
    place = memslotNextInHva(slots, index, index + 1, place + 1)
  ) {
    if (tdpAge(vm, memslotGfnOf(memslotByHva(slots, place), index))) young = true;
  }
  if (young) vmCountAdd(vmStats(vm), VM_YOUNG, 1);
  return young;
}

/** Fills in the hooks that memory management calls. */
export function notifierInit(): void {
  notifierRegister(invalidateStart, invalidateEnd, clearFlushYoung);
}
