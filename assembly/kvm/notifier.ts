import { STEP_AGAIN, STEP_BLOCKED, STEP_DONE } from "../memory/status";
import { notifierRegister } from "../mm/notifier";
import { actorClock, actorGoesOn, actorSpend, STAGE_RECLAIM } from "../sim/actor";
import { COST_NOTIFIER_INVALIDATE_NS, COST_RMAP_PER_SPTE_NS, cost } from "../sim/costs";
import { lockWrite, unlockWrite } from "../sim/lock";
import { emit, TRACE_KVM_AGE_HVA, TRACE_KVM_UNMAP_HVA_RANGE } from "../sim/trace";
import { flushRemoteTlbs } from "./flush";
import { mmuAgeRange, mmuZapRange } from "./mmu";
import { VM_AGED, VM_UNMAPPED, VM_YOUNG, vmCountAdd } from "./stats";
import { NOTIFIER_PC } from "./vcpu";
import { indexToGfn, indexToHva, vmInvalidateBegin, vmInvalidateEnd, vmMmuLock, vmStats } from "./vm";
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

// kvm_mmu_notifier_invalidate_range_start()
function invalidateStart(actor: usize, spaceId: u32, index: u32): i32 {
  const vm = vmAt(spaceId);
  while (true) {
    const pc = load<u32>(actor, NOTIFIER_PC);
    if (pc === IDLE) {
      goto(actor, ZAP);
      if (!lockWrite(vmMmuLock(vm), actor)) return STEP_BLOCKED;
    } else if (pc === ZAP) {
      zap(vm, actor, index);
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

function zap(vm: usize, actor: usize, index: u32): void {
  const gfn = indexToGfn(vm, index);
  const time = actorClock(actor);
  vmInvalidateBegin(vm, gfn, gfn + 1);
  const hva = indexToHva(vm, index);
  emit(TRACE_KVM_UNMAP_HVA_RANGE, time, hva, hva + 4096, 0, 0);
  const zapped = mmuZapRange(vm, gfn, gfn + 1, actor);
  actorSpend(actor, STAGE_RECLAIM, cost(COST_NOTIFIER_INVALIDATE_NS));
  if (zapped === 0) return;

  vmCountAdd(vmStats(vm), VM_UNMAPPED, zapped);
  actorSpend(actor, STAGE_RECLAIM, zapped * cost(COST_RMAP_PER_SPTE_NS));
  flushRemoteTlbs(vm, actor);
}

// kvm_mmu_notifier_invalidate_range_end()
function invalidateEnd(actor: usize, spaceId: u32, index: u32): i32 {
  const vm = vmAt(spaceId);
  assert(index !== u32.MAX_VALUE);
  if (load<u32>(actor, NOTIFIER_PC) === IDLE) {
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
  return STEP_DONE;
}

// kvm_mmu_notifier_clear_flush_young()
function clearFlushYoung(spaceId: u32, index: u32, time: u64): bool {
  const vm = vmAt(spaceId);
  const gfn = indexToGfn(vm, index);
  const hva = indexToHva(vm, index);
  emit(TRACE_KVM_AGE_HVA, time, hva, hva + 4096, 0, 0);
  vmCountAdd(vmStats(vm), VM_AGED, 1);
  const young = mmuAgeRange(vm, gfn, gfn + 1, time);
  if (young) vmCountAdd(vmStats(vm), VM_YOUNG, 1);
  return young;
}

/** Fills in the hooks that memory management calls. */
export function notifierInit(): void {
  notifierRegister(invalidateStart, invalidateEnd, clearFlushYoung);
}
