import { TIME_NEVER } from "../memory/layout";
import { actorClock, actorSpend, STAGE_CPU } from "../sim/actor";
import { COST_GUEST_SWITCH_NS, cost } from "../sim/costs";
import {
  GUEST_CURRENT,
  GUEST_FIFO,
  GUEST_LAST,
  GUEST_PLACES,
  GUEST_SLICE_END,
  GUEST_TASKS,
  GUEST_TIMESLICE,
  setTaskState,
  setTaskVruntime,
  TASK_ENDED,
  TASK_PENDING,
  TASK_READY,
  TASK_RUNNING,
  TASK_WAITING,
  taskId,
  taskKthread,
  taskNext,
  taskSince,
  taskState,
  taskVruntime,
} from "./task";

// The guest's scheduler on one vCPU: fair by virtual run time, the least first, ties by number, with a granularity of the
// timeslice; a task that wakes does not wait for the end of another's slice. Time for which the vCPU is blocked in the host passes for the task that runs on it.
//
// Or first in, first out: a task runs until it sleeps or ends, without slices and without a tick, and those that are ready stand in a queue. The
// place in the queue then takes the virtual run time's part.

export function setGuestTimeslice(vcpu: usize, ns: u32): void {
  store<u32>(vcpu, ns, GUEST_TIMESLICE);
}

/** Tasks of the vCPU run first in, first out. */
export function setGuestFifo(vcpu: usize): void {
  store<u32>(vcpu, 1, GUEST_FIFO);
}

export function guestFifo(vcpu: usize): bool {
  return load<u32>(vcpu, GUEST_FIFO) !== 0;
}

// The last place of the queue.
function nextPlace(vcpu: usize): u64 {
  const place = load<u64>(vcpu, GUEST_PLACES);
  store<u64>(vcpu, place + 1, GUEST_PLACES);
  return place;
}

/** The task that runs on the vCPU, 0 for none. */
export function guestCurrent(vcpu: usize): usize {
  return <usize>load<u32>(vcpu, GUEST_CURRENT);
}

/** Clock at which the current task's slice is over. */
export function guestSliceEnd(vcpu: usize): u64 {
  return load<u64>(vcpu, GUEST_SLICE_END);
}

function leastReady(vcpu: usize): usize {
  let best: usize = 0;
  for (let task = <usize>load<u32>(vcpu, GUEST_TASKS); task !== 0; task = taskNext(task)) {
    if (taskState(task) !== TASK_READY) continue;
    if (best === 0 || taskVruntime(task) < taskVruntime(best)) best = task;
  }
  return best;
}

/** Puts the ready task with the least virtual run time on the vCPU. 0: there is none, the guest halts. */
export function guestPick(vcpu: usize): usize {
  assert(load<u32>(vcpu, GUEST_CURRENT) === 0);
  const task = leastReady(vcpu);
  if (task === 0) return 0;
  setTaskState(task, TASK_RUNNING, actorClock(vcpu));
  store<u32>(vcpu, <u32>task, GUEST_CURRENT);
  const last = load<u32>(vcpu, GUEST_LAST);
  if (last !== 0 && last !== <u32>task) actorSpend(vcpu, STAGE_CPU, cost(COST_GUEST_SWITCH_NS));
  store<u32>(vcpu, <u32>task, GUEST_LAST);
  const end = guestFifo(vcpu) ? TIME_NEVER : actorClock(vcpu) + load<u32>(vcpu, GUEST_TIMESLICE);
  store<u64>(vcpu, end, GUEST_SLICE_END);
  return task;
}

/** At the end of a slice: the current task goes back among the ready ones if one of them has run less. */
export function guestResched(vcpu: usize): void {
  const task = guestCurrent(vcpu);
  const clock = actorClock(vcpu);
  if (leastReady(vcpu) !== 0) {
    setTaskState(task, TASK_READY, clock);
    store<u32>(vcpu, 0, GUEST_CURRENT);
  } else {
    store<u64>(vcpu, clock + load<u32>(vcpu, GUEST_TIMESLICE), GUEST_SLICE_END);
  }
}

/** A pending task may run from `time` on; it starts level with the one that has run least. */
export function guestStart(vcpu: usize, task: usize, time: u64): void {
  assert(taskState(task) === TASK_PENDING);
  setTaskVruntime(task, guestFifo(vcpu) ? nextPlace(vcpu) : leastVruntime(vcpu, time));
  setTaskState(task, TASK_READY, time);
}

// The least virtual run time at `time` among the tasks that have or want the vCPU.
function leastVruntime(vcpu: usize, time: u64): u64 {
  const current = guestCurrent(vcpu);
  const ready = leastReady(vcpu);
  let least = ready === 0 ? u64.MAX_VALUE : taskVruntime(ready);
  if (current !== 0) least = min<u64>(least, taskVruntime(current) + taskSince(current, time));
  return least === u64.MAX_VALUE ? 0 : least;
}

/** The current task sleeps until guestWake(). */
export function guestSleep(vcpu: usize): void {
  setTaskState(guestCurrent(vcpu), TASK_WAITING, actorClock(vcpu));
  store<u32>(vcpu, 0, GUEST_CURRENT);
}

/**
 * A sleeping task is ready. It comes back with at most one timeslice of credit (place_entity()), and takes the vCPU at once from a
 * task that has run longer (check_preempt_wakeup()).
 */
export function guestWake(vcpu: usize, task: usize): void {
  assert(taskState(task) === TASK_WAITING);
  const clock = actorClock(vcpu);
  if (guestFifo(vcpu)) {
    setTaskVruntime(task, nextPlace(vcpu));
    setTaskState(task, TASK_READY, clock);
    return;
  }
  const least = leastVruntime(vcpu, clock);
  const credit = min<u64>(least, load<u32>(vcpu, GUEST_TIMESLICE));
  setTaskVruntime(task, max<u64>(taskVruntime(task), least - credit));
  setTaskState(task, TASK_READY, clock);
  const current = guestCurrent(vcpu);
  if (current === 0 || taskVruntime(current) + taskSince(current, clock) <= taskVruntime(task)) return;
  store<u64>(vcpu, clock, GUEST_SLICE_END);
}

/** The current task gives way at the next boundary if another one has run less: what an interrupt that wakes a kernel thread does. */
export function guestPreempt(vcpu: usize): void {
  if (guestCurrent(vcpu) !== 0 && !guestFifo(vcpu))
    store<u64>(vcpu, min<u64>(guestSliceEnd(vcpu), actorClock(vcpu)), GUEST_SLICE_END);
}

/** The current task has ended. */
export function guestEnd(vcpu: usize): void {
  setTaskState(guestCurrent(vcpu), TASK_ENDED, actorClock(vcpu));
  store<u32>(vcpu, 0, GUEST_CURRENT);
}

/** True while a task of the vCPU has not ended. */
export function guestUnfinished(vcpu: usize): bool {
  for (let task = <usize>load<u32>(vcpu, GUEST_TASKS); task !== 0; task = taskNext(task)) {
    if (taskState(task) !== TASK_ENDED && !taskKthread(task)) return true;
  }
  return false;
}

export function checkGuest(vcpu: usize): void {
  let running: u32 = 0;
  let last: u32 = 0;
  for (let task = <usize>load<u32>(vcpu, GUEST_TASKS); task !== 0; task = taskNext(task)) {
    assert(taskKthread(task) || last === 0 || taskId(task) > last - 1);
    if (!taskKthread(task)) last = taskId(task) + 1;
    if (taskState(task) !== TASK_RUNNING) continue;
    running++;
    assert(task === guestCurrent(vcpu));
  }
  assert(running === (guestCurrent(vcpu) === 0 ? 0 : 1));
}
