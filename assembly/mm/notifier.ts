// The MMU notifier: how memory management tells the hypervisor, a floor above, that a page of a VM's process goes away or
// is looked at. The upper floor fills the hooks in when the module starts, as kvm_mmu_notifier_ops does.

type InvalidateHook = (actor: usize, spaceId: u32, start: u32, end: u32) => i32;
type AgeHook = (actor: usize, spaceId: u32, index: u32) => bool;

function unset(actor: usize, spaceId: u32, start: u32, end: u32): i32 {
  assert(false);
  return 0;
}

function unsetAge(actor: usize, spaceId: u32, index: u32): bool {
  assert(false);
  return false;
}

let invalidateStart: InvalidateHook = unset;
let invalidateEnd: InvalidateHook = unset;
let clearFlushYoung: AgeHook = unsetAge;

export function notifierRegister(start: InvalidateHook, end: InvalidateHook, age: AgeHook): void {
  invalidateStart = start;
  invalidateEnd = end;
  clearFlushYoung = age;
}

/** mmu_notifier_invalidate_range_start() for pages start..end-1: a step machine of the upper floor; returns STEP_*. */
export function notifyInvalidateStart(actor: usize, spaceId: u32, start: u32, end: u32): i32 {
  return invalidateStart(actor, spaceId, start, end);
}

/** mmu_notifier_invalidate_range_end() for pages start..end-1; returns STEP_*. */
export function notifyInvalidateEnd(actor: usize, spaceId: u32, start: u32, end: u32): i32 {
  return invalidateEnd(actor, spaceId, start, end);
}

/** mmu_notifier_clear_flush_young(): true when the secondary MMU has seen an access since the last call. */
export function notifyClearFlushYoung(actor: usize, spaceId: u32, index: u32): bool {
  return clearFlushYoung(actor, spaceId, index);
}
