import { actorClock } from "../sim/actor";
import {
  emit,
  TRACE_KVM_MMU_PAGETABLE_WALK,
  TRACE_KVM_MMU_PAGING_ELEMENT,
  TRACE_KVM_MMU_SET_ACCESSED_BIT,
  TRACE_KVM_MMU_SET_DIRTY_BIT,
  TRACE_KVM_MMU_WALKER_ERROR,
} from "../sim/trace";
import { GPTE_ACCESSED, GPTE_DIRTY, GUEST_LEVELS } from "./gpte";
import { WALK_MAPPED, walkEntryRead, walkError, walkLevel, walkPage, walkSet, walkTable } from "./guestwalk";

// The tracepoints of a walk of the guest's tables (system kvmmmu).

/** A walk has ended: for a fault with `error`, with what it has read, and with the fault or the bits that it has set. */
export function traceWalk(vcpu: usize, walk: usize, error: u32): void {
  const time = actorClock(vcpu);
  const page = walkPage(walk);
  emit(TRACE_KVM_MMU_PAGETABLE_WALK, time, (<u64>page) << 12, error, 0, 0);
  const last = walkLevel(walk);
  for (let level = GUEST_LEVELS; level >= last; level--) {
    emit(TRACE_KVM_MMU_PAGING_ELEMENT, time, walkEntryRead(walk, level), level, 0, 0);
  }
  if (walkError(walk) !== WALK_MAPPED) {
    emit(TRACE_KVM_MMU_WALKER_ERROR, time, walkError(walk), 0, 0, 0);
    return;
  }
  for (let level = GUEST_LEVELS; level >= last; level--) {
    const set = walkSet(walk, level);
    const index = (page >> (9 * (level - 1))) & 511;
    const gpa = ((<u64>walkTable(walk, level)) << 12) + ((<u64>index) << 3);
    if (set & GPTE_ACCESSED) emit(TRACE_KVM_MMU_SET_ACCESSED_BIT, time, gpa, 0, 0, 0);
    if (set & GPTE_DIRTY) emit(TRACE_KVM_MMU_SET_DIRTY_BIT, time, gpa, 0, 0, 0);
  }
}
