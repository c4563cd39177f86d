// A call that a VM's monitor makes into the kernel: advice about guest memory, an access of its own, a change of the memory map. The
// scenario's events are such calls with a time, and machine.advise() and its like make one each.
//
// record   0      4       8       12    16    24   28      32       36       40      48      56     60   64        68
//          +------+-------+-------+-----+-----+----+-------+--------+--------+-------+-------+------+----+---------+
//          | kind | state | start | end | hva | id | flags | status | result | began | ended | next | vm | watched | major |
//          +------+-------+-------+-----+-----+----+-------+--------+--------+-------+-------+------+----+---------+
//
// start, end   pages of the process; of a change of the memory map gfn and number of frames
// flags        of a slot; of a write what it writes, 0 for something that no page holds yet

const KIND: usize = 0;
const STATE: usize = 4;
const START: usize = 8;
const END: usize = 12;
const HVA: usize = 16; // u64
const ID: usize = 24;
const FLAGS: usize = 28;
const STATUS: usize = 32;
const RESULT: usize = 36;
const BEGAN: usize = 40; // u64
const ENDED: usize = 48; // u64
const NEXT: usize = 56;
const VM: usize = 60;
const WATCHED: usize = 64;
const MAJOR: usize = 68;
export const CALL_BYTES: usize = 72;

/** madvise() with MADV_PAGEOUT, MADV_COLD, MADV_DONTNEED, MADV_FREE. */
export const CALL_PAGEOUT: u32 = 0;
export const CALL_COLD: u32 = 1;
export const CALL_DONTNEED: u32 = 2;
export const CALL_FREE: u32 = 3;
/** The monitor itself reads or writes each page. */
export const CALL_READ: u32 = 4;
export const CALL_WRITE: u32 = 5;

/** KVM_SET_USER_MEMORY_REGION: slot `id` becomes `end` frames from gfn `start` on; 0 frames delete it. */
export const CALL_MEMSLOT: u32 = 6;
/** KVM_GET_DIRTY_LOG of slot `id`. */
export const CALL_DIRTY_LOG: u32 = 7;

/** Writing `end` pages to the cgroup's memory.max, memory.reclaim. */
export const CALL_MEMORY_MAX: u32 = 8;
export const CALL_MEMORY_RECLAIM: u32 = 9;

/** The balloon's target becomes `end` pages. */
export const CALL_BALLOON: u32 = 10;

/** madvise() with MADV_MERGEABLE, MADV_UNMERGEABLE. */
export const CALL_MERGEABLE: u32 = 11;
export const CALL_UNMERGEABLE: u32 = 12;
/** As CALL_WRITE, but through a file that nobody maps (tmpfs): a page that comes looks unused. */
export const CALL_FILE: u32 = 13;
/** move_pages(): the pages get other frames. The result counts those moved, the flags those not. */
export const CALL_MIGRATE: u32 = 20;
/** The monitor holds a reference to each page; drops all that it holds. */
export const CALL_PIN: u32 = 21;
export const CALL_UNPIN: u32 = 22;
/** Host frames start..end-1 go offline within HVA ns. The result counts pages moved, the flags failures, the id passes. */
export const CALL_OFFLINE: u32 = 23;

/** Hints for a migration: HINT_STOP, HINT_DONE, or a round of them for any other `end`. */
export const CALL_FREE_PAGE_HINT: u32 = 24;

/**
 * The host's memory is compacted for a block of order START (ORDER_ALL: as far as can be), in the mode END (MIGRATE_ASYNC, …). The result counts pages
 * moved, the flags failures, the id is COMPACT_*, the HVA has the frames that the migrate scanner has looked at and, above, the free scanner.
 */
export const CALL_COMPACT: u32 = 25;

/** The process is killed, and the VM with it. The result counts the pages that it had, in memory or in swap. */
export const CALL_DESTROY_VM: u32 = 26;

/** As the hva of a slot: where it is backed now, or the process' usual place for its frames. */
export const HVA_USUAL: u64 = u64.MAX_VALUE;

const CALL_IDLE: u32 = 0;
const CALL_QUEUED: u32 = 1;
const CALL_DONE: u32 = 2;

/** Makes `call` one of `kind` by the monitor of VM `vm`, on pages start..end-1. */
export function callInit(call: usize, vm: u32, kind: u32, start: u32, end: u32): void {
  memory.fill(call, 0, CALL_BYTES);
  store<u32>(call, vm, VM);
  store<u32>(call, kind, KIND);
  store<u32>(call, start, START);
  store<u32>(call, end, END);
}

/** The call goes on as one of `kind` on pages start..end-1. */
export function callBecomes(call: usize, kind: u32, start: u32, end: u32): void {
  store<u32>(call, kind, KIND);
  store<u32>(call, start, START);
  store<u32>(call, end, END);
}

/** The slot that a call is about. */
export function setCallSlot(call: usize, id: u32, hva: u64, flags: u32): void {
  store<u32>(call, id, ID);
  store<u64>(call, hva, HVA);
  store<u32>(call, flags, FLAGS);
}

export function callSlot(call: usize): u32 {
  return load<u32>(call, ID);
}

export function setCallSlotId(call: usize, id: u32): void {
  store<u32>(call, id, ID);
}

export function callHva(call: usize): u64 {
  return load<u64>(call, HVA);
}

export function setCallHva(call: usize, hva: u64): void {
  store<u64>(call, hva, HVA);
}

export function callFlags(call: usize): u32 {
  return load<u32>(call, FLAGS);
}

export function callKind(call: usize): u32 {
  return load<u32>(call, KIND);
}

export function callStart(call: usize): u32 {
  return load<u32>(call, START);
}

export function callEnd(call: usize): u32 {
  return load<u32>(call, END);
}

/** What the call returned: 0, or a negative status. */
export function callStatus(call: usize): i32 {
  return load<i32>(call, STATUS);
}

export function setCallStatus(call: usize, status: i32): void {
  store<i32>(call, status, STATUS);
}

/** Pages that the call has reclaimed, found or dirtied, by its kind. */
export function callResult(call: usize): u32 {
  return load<u32>(call, RESULT);
}

export function setCallResult(call: usize, result: u32): void {
  store<u32>(call, result, RESULT);
}

/** Faults of the monitor among the result that had to read swap. */
export function callMajor(call: usize): u32 {
  return load<u32>(call, MAJOR);
}

export function callNoteMajor(call: usize): void {
  store<u32>(call, load<u32>(call, MAJOR) + 1, MAJOR);
}

export function setCallFlags(call: usize, flags: u32): void {
  store<u32>(call, flags, FLAGS);
}

/** Where the call goes on: page, or gfn. */
export function setCallStart(call: usize, start: u32): void {
  store<u32>(call, start, START);
}

export function setCallEnd(call: usize, end: u32): void {
  store<u32>(call, end, END);
}

export function callBegan(call: usize): u64 {
  return load<u64>(call, BEGAN);
}

export function setCallBegan(call: usize, time: u64): void {
  store<u64>(call, time, BEGAN);
}

export function callEnded(call: usize): u64 {
  return load<u64>(call, ENDED);
}

export function setCallEnded(call: usize, time: u64): void {
  store<u64>(call, time, ENDED);
  store<u32>(call, CALL_DONE, STATE);
}

export function callDone(call: usize): bool {
  return load<u32>(call, STATE) === CALL_DONE;
}

export function callNext(call: usize): usize {
  return <usize>load<u32>(call, NEXT);
}

/** Stands in a queue, before `next`. */
export function setCallQueued(call: usize, next: usize): void {
  store<u32>(call, CALL_QUEUED, STATE);
  store<u32>(call, <u32>next, NEXT);
}

/** Number of the VM. */
export function callVm(call: usize): u32 {
  return load<u32>(call, VM);
}

/** The run stops when the call has been made. */
export function callWatched(call: usize): bool {
  return load<u32>(call, WATCHED) !== 0;
}

export function setCallWatched(call: usize): void {
  store<u32>(call, 1, WATCHED);
}
