import { setGuestFifo } from "../guest/sched";
import { setTaskManual, TASK_ENDED, taskManual, taskPrefault, taskState } from "../guest/task";
import { vcpuNext } from "../kvm/vcpu";
import { vmVcpuList } from "../kvm/vm";
import { vmAt } from "../kvm/vmtable";
import { EVENT_TASK_START, eventPost } from "../sim/events";
import { finiteLeft, now, STOP_TASKS, setFiniteLeft, setStop, taskAt, taskCount } from "./state";
import { taskFinite } from "./turn";

// How the tasks of a guest are scheduled, and tasks that somebody outside starts.

/** The guest of a VM runs its tasks first in, first out; at set-up. */
export function configFifo(vm: u32): void {
  for (let vcpu = vmVcpuList(vmAt(vm)); vcpu !== 0; vcpu = vcpuNext(vcpu)) setGuestFifo(vcpu);
}

/** The task waits for taskStart(); at set-up. */
export function configManual(task: u32): void {
  setTaskManual(taskAt(task), true);
}

/** Starts a task now. False: it does not wait for that. */
export function taskStart(id: u32): bool {
  const task = taskAt(id);
  if (!taskManual(task)) return false;
  setTaskManual(task, false);
  setFiniteLeft(finiteTasks());
  eventPost(now(), EVENT_TASK_START, <u32>task);
  return true;
}

/** A VM has ended, and whoever waits for its tasks waits in vain. */
export function tasksGone(): void {
  const before = finiteLeft();
  setFiniteLeft(finiteTasks());
  if (before !== 0 && finiteLeft() === 0) setStop(STOP_TASKS);
}

/** Tasks that will end and have not. */
export function finiteTasks(): u32 {
  let finite: u32 = 0;
  for (let index: u32 = 0; index < taskCount(); index++) {
    const task = taskAt(index);
    if (!taskPrefault(task) && taskState(task) !== TASK_ENDED && taskFinite(task)) finite++;
  }
  return finite;
}
