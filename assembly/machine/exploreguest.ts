import { guestMsrWanted } from "../guest/apfevent";
import { guestSleepers, sleeperDummies, sleeperToken } from "../guest/apfsleep";
import { guestCurrent, guestUnfinished } from "../guest/sched";
import {
  GUEST_HANDLER,
  GUEST_HANDLER_TOKEN,
  GUEST_TASKS,
  setTaskManual,
  TASK_ENDED,
  TASK_READY,
  TASK_WAITING,
  taskAccesses,
  taskFault,
  taskId,
  taskNext,
  taskState,
  taskVruntime,
} from "../guest/task";
import { APF_AREA_GFN, APF_ID, ATTENTION_MSR, ATTENTION_WRITTEN, vcpuAttention } from "../kvm/apf";
import { faultSaved, faultSavedGfn } from "../kvm/faultsave";
import { vcpuApf, vcpuNext } from "../kvm/vcpu";
import { vmVcpuList } from "../kvm/vm";
import { vmAt } from "../kvm/vmtable";
import { EVENT_ACCESS, EVENT_TASK_START } from "../sim/events";
import { mixToken } from "./exploreapf";
import { vcpuAt } from "./lookup";
import { dispatch } from "./scheduler";
import { now, setFiniteLeft, taskAt } from "./state";
import { mix } from "./statehash";
import { finiteTasks } from "./tasks";

// Guests as the explorer has them: tasks that run on a vCPU, first in, first out, and what a guest does beside its tasks, at any moment
// before, between or after everything else: an act.
//
// act   0       4      8       12
//       +-------+------+-------+------+
//       | actor | kind | value | due  |      due: it has not been begun
//       +-------+------+-------+------+

const ACTS_MOST: u32 = 8;
const ACT_BYTES: usize = 16;
const ACTS: usize = memory.data(8 * 16, 8);

const ACTOR: usize = 0;
const KIND: usize = 4;
const VALUE: usize = 8;
const DUE: usize = 12;

/** The guest writes bits to MSR_KVM_ASYNC_PF_EN; its area stays where it is. */
export const ACT_MSR: u32 = 0;
/** So many faults of the vCPU have gone by: where its tokens go on. */
export const ACT_ATTEMPTS: u32 = 1;

/** Acts are numbered from here on among actors. */
export const EXPLORE_ACT_BASE: u32 = 1 << 24;

function act(index: u32): usize {
  assert(index < ACTS_MOST);
  return ACTS + <usize>index * ACT_BYTES;
}

/** Program `index` has an act of vCPU `vcpu` to be done. */
export function exploreAct(index: u32, vm: u32, vcpu: u32, kind: u32, value: u32): void {
  const actor = vcpuAt(vmAt(vm), vcpu);
  assert(vcpuApf(actor) !== 0);
  store<u32>(act(index), <u32>actor, ACTOR);
  store<u32>(act(index), kind, KIND);
  store<u32>(act(index), value, VALUE);
  store<u32>(act(index), 1, DUE);
}

/** It has been done, and what came of it handled. */
export function exploreActDone(index: u32): bool {
  if (load<u32>(act(index), DUE) !== 0) return false;
  if (load<u32>(act(index), KIND) !== ACT_MSR) return true;
  return (vcpuAttention(load<u32>(act(index), ACTOR)) & (ATTENTION_MSR | ATTENTION_WRITTEN)) === 0;
}

/** Number of the first act from `index` on that could be done now; ACTS_MOST for none. */
export function actDue(index: u32): u32 {
  while (index < ACTS_MOST && load<u32>(act(index), DUE) === 0) index++;
  return index;
}

export function actsMost(): u32 {
  return ACTS_MOST;
}

export function actDo(index: u32): void {
  const actor = <usize>load<u32>(act(index), ACTOR);
  const apf = vcpuApf(actor);
  const value = load<u32>(act(index), VALUE);
  store<u32>(act(index), 0, DUE);
  if (load<u32>(act(index), KIND) === ACT_ATTEMPTS) {
    store<u32>(apf, value, APF_ID);
    return;
  }
  guestMsrWanted(actor, ((<u64>load<u32>(apf, APF_AREA_GFN)) << 12) | value);
  dispatch(EVENT_ACCESS, actor, now());
}

/** Task `id` may run from now on. */
export function exploreTask(id: u32): void {
  setTaskManual(taskAt(id), false);
  setFiniteLeft(finiteTasks());
  dispatch(EVENT_TASK_START, taskAt(id), now());
}

export function exploreTaskDone(id: u32): bool {
  return taskState(taskAt(id)) === TASK_ENDED;
}

/** The task sleeps until its page is there. */
export function exploreTaskSleeps(id: u32): bool {
  return taskState(taskAt(id)) === TASK_WAITING;
}

/** Under which token, after exploreTaskSleeps(). */
export function exploreTaskToken(id: u32): u32 {
  return <u32>sleeperToken(taskAt(id));
}

/** The guest of `vcpu`, which is in it, has something to do: a task, an event, or to halt. */
export function guestGoesOn(vcpu: usize): bool {
  return load<u32>(vcpu, GUEST_TASKS) !== 0 && (vcpuAttention(vcpu) !== 0 || guestUnfinished(vcpu));
}

/** Dummies of the guest of VM `vm`: a page was ready before its task slept, and that task has not come yet. */
export function exploreDummies(vm: u32): u32 {
  const vcpu = vmVcpuList(vmAt(vm));
  return guestSleepers(vcpu) === 0 ? 0 : sleeperDummies(vcpu);
}

/** The tasks of VM `vm`, and where its guest is in a handler, for the hash of a state; acts stand among the programs. */
export function mixGuest(vm: usize): void {
  for (let vcpu = vmVcpuList(vm); vcpu !== 0; vcpu = vcpuNext(vcpu)) {
    const first = <usize>load<u32>(vcpu, GUEST_TASKS);
    if (first === 0) continue;
    const handler = load<u32>(vcpu, GUEST_HANDLER);
    mix(handler);
    if (handler !== 0) mixToken(vcpu, load<u32>(vcpu, GUEST_HANDLER_TOKEN));
    const current = guestCurrent(vcpu);
    mix(current === 0 ? 0 : taskId(current) + 1);
    for (let task = first; task !== 0; task = taskNext(task)) mixTask(vcpu, task, first);
    mix(guestSleepers(vcpu) === 0 ? 0 : sleeperDummies(vcpu));
  }
}

function mixTask(vcpu: usize, task: usize, first: usize): void {
  mix(taskState(task) | ((<u64>taskAccesses(task)) << 8));
  mix(faultSaved(taskFault(task)) ? faultSavedGfn(taskFault(task)) + 1 : 0);
  const token = sleeperToken(task);
  mix(token < 0 ? 0 : 1);
  if (token >= 0) mixToken(vcpu, <u32>token);
  // Its place among those that are ready.
  let before: u32 = 0;
  if (taskState(task) === TASK_READY) {
    for (let other = first; other !== 0; other = taskNext(other)) {
      if (taskState(other) === TASK_READY && taskVruntime(other) < taskVruntime(task)) before++;
    }
  }
  mix(before);
}

/** Acts that have not been begun, for the hash. */
export function mixActs(): void {
  for (let index: u32 = 0; index < ACTS_MOST; index++) mix(load<u32>(act(index), DUE));
}
