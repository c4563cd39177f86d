import { FAULT_SAVE_BYTES } from "../kvm/faultsave";
import { KVM_CONTEXT_END } from "../kvm/vcpu";
import { arenaTake, PART_RECORDS } from "../memory/arena";
import { TIME_NEVER } from "../memory/layout";

// A task of a guest: what the guest's scheduler switches between on one vCPU.
//
// record   0    4      8       12     16         24      32     40       48      56       64
//          +----+------+-------+------+----------+-------+------+--------+-------+--------+-------+
//          | id | vcpu | state | next | vruntime | since | runNs| readyNs| waitNs| startNs| endNs |
//          +----+------+-------+------+----------+-------+------+--------+-------+--------+-------+
//          72         80      88     96          104      112     116      120     124
//          | accesses | limit | work | workLimit | startAt | after | waiters| first  | workload |
//          128     132    136      140         144      148
//          | force | think| stream | streamLeft| thinks | flags | own | root| sleeper | fault …
//
// sleeper     the task among those that wait for a page: apfsleep.ts
// fault       its access that has faulted, while the task is not on its vCPU: kvm/faultsave.ts
// stream      address of the next access, streamLeft of them are there (workload/fill.ts puts more)
// first       first gfn of the task's region, first page of it when the guest has memory management of its own
// root        under shadow paging, the frame of the task's table of level 4 when it has an address space of its own; else 0
// own         record of paged.ts or kthread.ts: what the task does in such a guest; 0 for none

const ID: usize = 0;
const VCPU: usize = 4;
const STATE: usize = 8;
const NEXT: usize = 12;
const VRUNTIME: usize = 16;
const SINCE: usize = 24;
const RUN_NS: usize = 32;
const READY_NS: usize = 40;
const WAIT_NS: usize = 48;
const START_NS: usize = 56;
const END_NS: usize = 64;
const ACCESSES: usize = 72;
const LIMIT: usize = 80;
const WORK: usize = 88;
const WORK_LIMIT: usize = 96;
const START_AT: usize = 104;
const AFTER: usize = 112;
const FIRST_GFN: usize = 120;
const WORKLOAD: usize = 124;
const FORCE: usize = 128;
const THINK_NS: usize = 132;
const STREAM: usize = 136;
const STREAM_LEFT: usize = 140;
const THINKS: usize = 144;
const FLAGS: usize = 148;
const OWN: usize = 152;
const ROOT: usize = 156;
const SLEEPER: usize = 160;
export const SLEEPER_BYTES: usize = 16;
const FAULT: usize = SLEEPER + SLEEPER_BYTES;
const TASK_BYTES: usize = FAULT + FAULT_SAVE_BYTES;

export const TASK_PENDING: u32 = 0;
export const TASK_READY: u32 = 1;
export const TASK_RUNNING: u32 = 2;
export const TASK_ENDED: u32 = 3;
/** Asleep in the guest until it is woken. */
export const TASK_WAITING: u32 = 4;

/** Uses the CPU without touching memory. */
export const TASK_COMPUTE: u32 = 1;
/** Writes a region once before time starts; not part of the result. */
export const TASK_PREFAULT: u32 = 2;
/** Runs in kernel mode: the host may not put it to sleep, unless the guest has said that it may always. */
export const TASK_KERNEL: u32 = 4;
/** A kernel thread of the guest: kthread.ts. It never ends, and is not part of the result. */
export const TASK_KTHREAD: u32 = 8;
/** It starts when somebody outside says so. */
export const TASK_MANUAL: u32 = 16;
/** It has an address space of its own, or that of another task. */
export const TASK_SPACE: u32 = 32;

// The guest floor's region of a vCPU's record: guest/sched.ts.
export const GUEST_CURRENT: usize = KVM_CONTEXT_END;
export const GUEST_TASKS: usize = KVM_CONTEXT_END + 4;
export const GUEST_LAST: usize = KVM_CONTEXT_END + 8;
export const GUEST_TICK_PENDING: usize = KVM_CONTEXT_END + 12;
export const GUEST_SLICE_END: usize = KVM_CONTEXT_END + 16; // u64
export const GUEST_TIMESLICE: usize = KVM_CONTEXT_END + 24;
// The handler of an event of asynchronous page faults: guest/apfevent.ts, guest/apfsleep.ts.
export const GUEST_HANDLER: usize = KVM_CONTEXT_END + 28;
export const GUEST_HANDLER_TOKEN: usize = KVM_CONTEXT_END + 32;
export const GUEST_SLEEPERS: usize = KVM_CONTEXT_END + 36;
// Tasks run in the order of becoming ready, and how many have: guest/sched.ts.
export const GUEST_FIFO: usize = KVM_CONTEXT_END + 40;
export const GUEST_PLACES: usize = KVM_CONTEXT_END + 48; // u64
export const VCPU_BYTES: usize = KVM_CONTEXT_END + 56;

/** Takes the record of task number `id` on `vcpu`, last in the vCPU's list; 0 when memory is exhausted. */
export function taskCreate(id: u32, vcpu: usize, flags: u32): usize {
  const task = arenaTake(PART_RECORDS, TASK_BYTES);
  if (task === 0) return 0;
  store<u32>(task, id, ID);
  store<u32>(task, <u32>vcpu, VCPU);
  store<u32>(task, flags, FLAGS);
  store<u64>(task, TIME_NEVER, START_NS);
  store<u64>(task, TIME_NEVER, END_NS);
  store<u64>(task, u64.MAX_VALUE, LIMIT);
  store<u64>(task, TIME_NEVER, WORK_LIMIT);
  const first = <usize>load<u32>(vcpu, GUEST_TASKS);
  if (first === 0) {
    store<u32>(vcpu, <u32>task, GUEST_TASKS);
  } else {
    let last = first;
    while (load<u32>(last, NEXT) !== 0) last = <usize>load<u32>(last, NEXT);
    store<u32>(last, <u32>task, NEXT);
  }
  return task;
}

/** See the record. */
export function taskRoot(task: usize): u32 {
  return load<u32>(task, ROOT);
}

export function setTaskRoot(task: usize, root: u32): void {
  store<u32>(task, root, ROOT);
}

/** It has an address space of its own. */
export function taskHasSpace(task: usize): bool {
  return (load<u32>(task, FLAGS) & TASK_SPACE) !== 0;
}

/** Before boot: it shall have one, or that of task number `as`. */
export function setTaskSpace(task: usize, as: u32): void {
  store<u32>(task, load<u32>(task, FLAGS) | TASK_SPACE, FLAGS);
  store<u32>(task, as, ROOT);
}

export function taskId(task: usize): u32 {
  return load<u32>(task, ID);
}

export function taskVcpu(task: usize): usize {
  return <usize>load<u32>(task, VCPU);
}

export function taskState(task: usize): u32 {
  return load<u32>(task, STATE);
}

export function taskNext(task: usize): usize {
  return <usize>load<u32>(task, NEXT);
}

export function taskCompute(task: usize): bool {
  return (load<u32>(task, FLAGS) & TASK_COMPUTE) !== 0;
}

export function taskPrefault(task: usize): bool {
  return (load<u32>(task, FLAGS) & TASK_PREFAULT) !== 0;
}

export function setTaskKernel(task: usize): void {
  store<u32>(task, load<u32>(task, FLAGS) | TASK_KERNEL, FLAGS);
}

export function taskKernel(task: usize): bool {
  return (load<u32>(task, FLAGS) & TASK_KERNEL) !== 0;
}

/** The task waits for somebody outside to start it, or no longer does. */
export function setTaskManual(task: usize, manual: bool): void {
  const flags = load<u32>(task, FLAGS) & ~TASK_MANUAL;
  store<u32>(task, manual ? flags | TASK_MANUAL : flags, FLAGS);
}

export function taskManual(task: usize): bool {
  return (load<u32>(task, FLAGS) & TASK_MANUAL) !== 0;
}

/** Its node in the table of sleepers. */
export function taskSleeper(task: usize): usize {
  return task + SLEEPER;
}

/** Where its fault stands while it is not on its vCPU. */
export function taskFault(task: usize): usize {
  return task + FAULT;
}

export function taskKthread(task: usize): bool {
  return (load<u32>(task, FLAGS) & TASK_KTHREAD) !== 0;
}

/** Record of paged.ts or, for a kernel thread, kthread.ts; 0 for none. */
export function taskOwn(task: usize): usize {
  return <usize>load<u32>(task, OWN);
}

export function setTaskOwn(task: usize, record: usize): void {
  store<u32>(task, <u32>record, OWN);
}

export function taskVruntime(task: usize): u64 {
  return load<u64>(task, VRUNTIME);
}

export function setTaskVruntime(task: usize, vruntime: u64): void {
  store<u64>(task, vruntime, VRUNTIME);
}

/** Changes the state at `time`; the time since the last change is booked under the old state. */
export function setTaskState(task: usize, state: u32, time: u64): void {
  const passed = time - load<u64>(task, SINCE);
  const old = load<u32>(task, STATE);
  if (old === TASK_READY) {
    store<u64>(task, load<u64>(task, READY_NS) + passed, READY_NS);
  } else if (old === TASK_RUNNING) {
    store<u64>(task, load<u64>(task, RUN_NS) + passed, RUN_NS);
    store<u64>(task, load<u64>(task, VRUNTIME) + passed, VRUNTIME);
  } else if (old === TASK_WAITING) {
    store<u64>(task, load<u64>(task, WAIT_NS) + passed, WAIT_NS);
  } else {
    assert(old === TASK_PENDING);
    store<u64>(task, time, START_NS);
  }
  if (state === TASK_ENDED) store<u64>(task, time, END_NS);
  store<u32>(task, state, STATE);
  store<u64>(task, time, SINCE);
}

/** ns in the present state at `time`. */
export function taskSince(task: usize, time: u64): u64 {
  const since = load<u64>(task, SINCE);
  return time > since ? time - since : 0;
}

export function taskRunNs(task: usize): u64 {
  return load<u64>(task, RUN_NS);
}

export function taskReadyNs(task: usize): u64 {
  return load<u64>(task, READY_NS);
}

export function taskWaitNs(task: usize): u64 {
  return load<u64>(task, WAIT_NS);
}

/** TIME_NEVER before it has started. */
export function taskStartNs(task: usize): u64 {
  return load<u64>(task, START_NS);
}

/** TIME_NEVER before it has ended. */
export function taskEndNs(task: usize): u64 {
  return load<u64>(task, END_NS);
}

/** Accesses completed. */
export function taskAccesses(task: usize): u64 {
  return load<u64>(task, ACCESSES);
}

export function taskAddAccesses(task: usize, accesses: u32): void {
  store<u64>(task, load<u64>(task, ACCESSES) + accesses, ACCESSES);
}

/** Accesses after which the task ends, u64.MAX_VALUE for an endless one. */
export function taskLimit(task: usize): u64 {
  return load<u64>(task, LIMIT);
}

export function setTaskLimit(task: usize, accesses: u64): void {
  store<u64>(task, accesses, LIMIT);
}

/** CPU ns that a compute task has had. */
export function taskWork(task: usize): u64 {
  return load<u64>(task, WORK);
}

export function setTaskWork(task: usize, ns: u64): void {
  store<u64>(task, ns, WORK);
}

/** CPU ns after which a compute task ends, TIME_NEVER for an endless one. */
export function taskWorkLimit(task: usize): u64 {
  return load<u64>(task, WORK_LIMIT);
}

export function setTaskWorkLimit(task: usize, ns: u64): void {
  store<u64>(task, ns, WORK_LIMIT);
}

/** When it starts: ns after the beginning, or after the end of taskAfter(). */
export function taskStartAt(task: usize): u64 {
  return load<u64>(task, START_AT);
}

/** The task whose end starts this one, 0 for none. */
export function taskAfter(task: usize): usize {
  return <usize>load<u32>(task, AFTER);
}

export function setTaskStart(task: usize, after: usize, ns: u64): void {
  store<u32>(task, <u32>after, AFTER);
  store<u64>(task, ns, START_AT);
}

export function taskFirstGfn(task: usize): u32 {
  return load<u32>(task, FIRST_GFN);
}

export function setTaskFirstGfn(task: usize, gfn: u32): void {
  store<u32>(task, gfn, FIRST_GFN);
}

export function taskWorkload(task: usize): usize {
  return <usize>load<u32>(task, WORKLOAD);
}

export function setTaskWorkload(task: usize, workload: usize): void {
  store<u32>(task, <u32>workload, WORKLOAD);
}

/** 1 << 31 when every access is a write, else 0. */
export function taskForce(task: usize): u32 {
  return load<u32>(task, FORCE);
}

export function setTaskForce(task: usize, force: u32): void {
  store<u32>(task, force, FORCE);
}

/** Constant CPU ns beside each access. */
export function taskThinkNs(task: usize): u32 {
  return load<u32>(task, THINK_NS);
}

export function setTaskThinkNs(task: usize, ns: u32): void {
  store<u32>(task, ns, THINK_NS);
}

export function taskStream(task: usize): usize {
  return <usize>load<u32>(task, STREAM);
}

export function taskStreamLeft(task: usize): u32 {
  return load<u32>(task, STREAM_LEFT);
}

/** Address of the CPU ns beside the next access, one u32 an access; 0 when taskThinkNs() serves for all. */
export function taskThinks(task: usize): usize {
  return <usize>load<u32>(task, THINKS);
}

export function setTaskStream(task: usize, stream: usize, left: u32, thinks: usize): void {
  store<u32>(task, <u32>stream, STREAM);
  store<u32>(task, left, STREAM_LEFT);
  store<u32>(task, <u32>thinks, THINKS);
}

/** Moves the stream on by `accesses`. */
export function taskConsume(task: usize, accesses: u32): void {
  assert(accesses <= load<u32>(task, STREAM_LEFT));
  store<u32>(task, load<u32>(task, STREAM) + (accesses << 2), STREAM);
  store<u32>(task, load<u32>(task, STREAM_LEFT) - accesses, STREAM_LEFT);
  if (load<u32>(task, THINKS) !== 0) store<u32>(task, load<u32>(task, THINKS) + (accesses << 2), THINKS);
}
