import { INVALIDATION, NOTIFIER_NO_RETRY, vmNotifier } from "./vm";

// What the notifier has under way in a VM, and how a fault learns of it: the sequence count and the open range, in the VM's record.
//
// record   0     4             8       12     16
//          +-----+-------------+-------+------+
//          | seq | in progress | start | end  |
//          +-----+-------------+-------+------+
//
// invariant: the range is the hull of all that has been opened since none was

const SEQ: usize = INVALIDATION;
const IN_PROGRESS: usize = INVALIDATION + 4;
const RANGE_START: usize = INVALIDATION + 8;
const RANGE_END: usize = INVALIDATION + 12;

/** mmu_invalidate_seq. */
export function vmInvalidateSeq(vm: usize): u32 {
  return load<u32>(vm, SEQ);
}

/** mmu_invalidate_in_progress. */
export function vmInvalidating(vm: usize): u32 {
  return load<u32>(vm, IN_PROGRESS);
}

/** invalidate_range_start of an event that concerns the VM; its ranges follow. mmu_lock is held for writing. */
export function vmInvalidateBegin(vm: usize): void {
  const nested = load<u32>(vm, IN_PROGRESS);
  if (nested === 0) {
    store<u32>(vm, u32.MAX_VALUE, RANGE_START);
    store<u32>(vm, 0, RANGE_END);
  }
  store<u32>(vm, nested + 1, IN_PROGRESS);
}

/** The open range grows to the convex hull of itself and [start, end). */
export function vmInvalidateExtend(vm: usize, start: u32, end: u32): void {
  store<u32>(vm, min<u32>(load<u32>(vm, RANGE_START), start), RANGE_START);
  store<u32>(vm, max<u32>(load<u32>(vm, RANGE_END), end), RANGE_END);
}

/** invalidate_range_end: the sequence moves on, the range closes when the last nested one does. mmu_lock is held for writing. */
export function vmInvalidateEnd(vm: usize): void {
  assert(load<u32>(vm, IN_PROGRESS) > 0);
  store<u32>(vm, load<u32>(vm, SEQ) + 1, SEQ);
  store<u32>(vm, load<u32>(vm, IN_PROGRESS) - 1, IN_PROGRESS);
}

/** `times` invalidations of one frame each have begun and ended, of `gfn` last. */
export function vmInvalidated(vm: usize, times: u32, gfn: u32): void {
  assert(load<u32>(vm, IN_PROGRESS) === 0);
  store<u32>(vm, load<u32>(vm, SEQ) + times, SEQ);
  store<u32>(vm, gfn, RANGE_START);
  store<u32>(vm, gfn + 1, RANGE_END);
}

/** mmu_invalidate_retry_gfn(): must a fault that sampled `seq` start over? Only the open range is looked at by gfn. */
export function vmInvalidateRetry(vm: usize, seq: u32, gfn: u32): bool {
  if (vmNotifier(vm) === NOTIFIER_NO_RETRY) return false;
  if (load<u32>(vm, IN_PROGRESS) !== 0) {
    if (gfn >= load<u32>(vm, RANGE_START) && gfn < load<u32>(vm, RANGE_END)) return true;
  }
  return load<u32>(vm, SEQ) !== seq;
}
