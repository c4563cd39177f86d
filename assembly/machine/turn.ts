import {
  EVENT_CORRUPTS,
  EVENT_FAULTED,
  EVENT_HANDLED,
  EVENT_VIOLATION,
  guestEvent,
  guestMsrAwaited,
  guestMsrHandled,
  guestSwitch,
  guestWriteMsr,
} from "../guest/apfevent";
import {
  guestCurrent,
  guestEnd,
  guestFifo,
  guestPick,
  guestResched,
  guestSleep,
  guestSliceEnd,
  guestUnfinished,
} from "../guest/sched";
import {
  GUEST_HANDLER,
  GUEST_TICK_PENDING,
  setTaskWork,
  taskAccesses,
  taskAddAccesses,
  taskAfter,
  taskCompute,
  taskConsume,
  taskFault,
  taskFirstGfn,
  taskForce,
  taskId,
  taskKernel,
  taskKthread,
  taskLimit,
  taskManual,
  taskOwn,
  taskPrefault,
  taskRoot,
  taskStartAt,
  taskStream,
  taskStreamLeft,
  taskThinkNs,
  taskThinks,
  taskVcpu,
  taskWork,
  taskWorkLimit,
} from "../guest/task";
import { ACCESS_FAULT, ACCESS_VIOLATION, accessRun, accessStop } from "../kvm/access";
import {
  APF_CPL,
  ATTENTION_EXCEPTION,
  ATTENTION_MSR,
  ATTENTION_READY,
  ATTENTION_SWITCH,
  ATTENTION_TICK,
  apfAttended,
  vcpuAttention,
} from "../kvm/apf";
import { CPL_IRQS_OFF, CPL_NO_TASK } from "../kvm/apfcondition";
import { vcpuLeaves } from "../kvm/destroy";
import { faultResume, faultSaved, faultSuspend } from "../kvm/faultsave";
import { guestEnter } from "../kvm/guestspace";
import { vcpuLeaveGuest } from "../kvm/run";
import { VM_ACCESSES, vmCountAdd } from "../kvm/stats";
import { stepIrqsOff, stepPending, stepRun } from "../kvm/step";
import {
  setVcpuMode,
  setVcpuUser,
  VCPU_HALTED,
  vcpuApf,
  vcpuFaultPending,
  vcpuIndex,
  vcpuVm,
} from "../kvm/vcpu";
import { vmId, vmSpace, vmStats } from "../kvm/vm";
import { vmEnding } from "../kvm/vmend";
import { vmAt, vmTableCount } from "../kvm/vmtable";
import { TIME_NEVER } from "../memory/layout";
import { psiStop } from "../mm/psi";
import { spacePsi } from "../mm/space";
import { ACTOR_HALTED, actorClock, setActorClock, setActorState } from "../sim/actor";
import { COST_GUEST_TICK_NS, cost } from "../sim/costs";
import { DIGEST_TASK, digestAdd } from "../sim/digest";
import {
  EVENT_GUEST_TICK,
  EVENT_GUEST_WAKE,
  EVENT_TASK_START,
  eventPost,
  setEventHorizon,
} from "../sim/events";
import { workloadFill } from "../workload/fill";
import { PAGED_SLEEP, pagedOver, pagedPauseNs, pagedRun, pagedStop } from "../workload/paged";
import { PAGED_WAITS } from "../workload/pagedtask";
import { givebackBegin, THREAD_CORRUPTS, THREAD_KICKS, threadRun } from "./giveback";
import { plannedBegin } from "./planned";
import {
  epoch,
  finiteLeft,
  now,
  prefaultsLeft,
  STOP_STEP,
  STOP_TASKS,
  STOP_VIOLATION,
  setEpoch,
  setFiniteLeft,
  setNow,
  setPrefaultsLeft,
  setStop,
  stopOnViolation,
  stopReason,
  taskAt,
  taskCount,
} from "./state";

// A turn: a vCPU runs its guest from its clock until the next event of the machine or the end of its quantum, until it
// faults, or until its guest has nothing to run.

/** The turn is over, the vCPU stays in the guest. */
export const TURN_OVER: u32 = 0;
/** The vCPU is in the host, in a page fault or for completions: its next step is due at its clock. */
export const TURN_FAULT: u32 = 1;
/** The guest halted, or its VM ends: the vCPU leaves its CPU. */
export const TURN_HALT: u32 = 2;
/** The access budget is used up in the middle of the turn. */
export const TURN_BUDGET: u32 = 3;
/** The run stops here. */
export const TURN_STOP: u32 = 4;

// The turn is over in the middle of a handler.
const TURN_CUT: u32 = 5;

const RESULT: usize = memory.data(8, 8);

/** Why the last turn() ended. */
export function turnResult(): u32 {
  return load<u32>(RESULT);
}

function done(result: u32, accesses: u32): u32 {
  store<u32>(RESULT, result);
  return accesses;
}

/** Runs the guest of `vcpu` until its clock reaches `end`, for at most `budget` accesses. Returns the accesses made. */
export function turn(vcpu: usize, end: u64, budget: u32): u32 {
  let made: u32 = 0;
  if (vmEnding(vcpuVm(vcpu))) {
    // Who waits for an access, or a write, beside the guest's own waits in vain.
    if (stepPending(vcpu, vcpuFaultPending(vcpu)) || guestMsrAwaited(vcpu)) setStop(STOP_STEP);
    psiStop(spacePsi(vmSpace(vcpuVm(vcpu))), actorClock(vcpu));
    vcpuLeaves(vcpu);
    return done(TURN_HALT, made);
  }
  while (true) {
    const attention = vcpuAttention(vcpu);
    if (attention !== 0) {
      const result = attend(vcpu, attention, end);
      if (result === TURN_CUT) return done(TURN_OVER, made);
      if (result !== TURN_OVER) return done(result, made);
    }
    // The access that faulted comes first, whatever the time: a fault is over when its access has been repeated.
    const pending = vcpuFaultPending(vcpu);
    const clock = actorClock(vcpu);
    if (stepPending(vcpu, pending)) {
      if (!pending && clock >= end) return done(TURN_OVER, made);
      setVcpuUser(vcpu, false);
      if (vcpuApf(vcpu) !== 0)
        store<u32>(vcpuApf(vcpu), stepIrqsOff(vcpu) ? CPL_IRQS_OFF : CPL_NO_TASK, APF_CPL);
      setEventHorizon(0); // whoever made the step counts its faults
      if (!stepRun(vcpu)) return done(TURN_FAULT, made);
      vmCountAdd(vmStats(vcpuVm(vcpu)), VM_ACCESSES, 1);
      setStop(accessStop() === ACCESS_VIOLATION && stopOnViolation() ? STOP_VIOLATION : STOP_STEP);
      return done(TURN_STOP, made);
    }
    if (!pending && clock >= end) return done(TURN_OVER, made);
    let task = guestCurrent(vcpu);
    if (!pending && task !== 0 && clock >= guestSliceEnd(vcpu)) {
      guestResched(vcpu);
      task = guestCurrent(vcpu);
    }
    if (task === 0) {
      task = guestPick(vcpu);
      if (task === 0) {
        halt(vcpu);
        return done(TURN_HALT, made);
      }
      continue; // the switch has taken time
    }

    const until = min<u64>(end, guestSliceEnd(vcpu));
    if (taskKthread(task)) {
      const result = threadRun(vcpu, task, until);
      if (result === THREAD_KICKS) return done(TURN_OVER, made);
      if (result === THREAD_CORRUPTS) {
        setStop(STOP_VIOLATION);
        return done(TURN_STOP, made);
      }
      continue;
    }
    if (taskCompute(task)) {
      compute(vcpu, task, until);
    } else {
      if (budget === made) return done(TURN_BUDGET, made);
      setVcpuUser(vcpu, !taskKernel(task));
      if (taskRoot(task) !== 0) guestEnter(vcpu, taskRoot(task));
      if (vcpuApf(vcpu) !== 0) store<u32>(vcpuApf(vcpu), taskKernel(task) ? 0 : 3, APF_CPL);
      if (faultSaved(taskFault(task))) faultResume(vcpu, taskFault(task));
      const paged = taskOwn(task) !== 0;
      const accesses = paged
        ? touchPaged(vcpu, task, until, budget - made)
        : touch(vcpu, task, until, budget - made);
      made += accesses;
      const stopped = paged ? pagedStop() : accessStop();
      if (stopped === ACCESS_FAULT) return done(TURN_FAULT, made);
      if (stopped === PAGED_SLEEP || stopped === PAGED_WAITS) {
        if (stopped === PAGED_SLEEP)
          eventPost(actorClock(vcpu) + pagedPauseNs(task), EVENT_GUEST_WAKE, <u32>task);
        guestSleep(vcpu);
        return done(TURN_OVER, made);
      }
      if (stopped === ACCESS_VIOLATION && stopOnViolation()) {
        setStop(STOP_VIOLATION);
        return done(TURN_STOP, made);
      }
    }
    if (taskOver(task)) {
      endTask(vcpu, task);
      if (stopReason() === STOP_TASKS) return done(TURN_STOP, made);
      return done(TURN_OVER, made); // tasks that waited for this one may start at once
    }
  }
}

// Asynchronous page faults want something of the vCPU, whose turn goes on until `end`. TURN_OVER: nothing is in the way of its tasks.
function attend(vcpu: usize, attention: u32, end: u64): u32 {
  if (attention & ATTENTION_READY) {
    vcpuLeaveGuest(vcpu);
    return TURN_FAULT;
  }
  // An access beside the guest's own is repeated before the guest does anything.
  if (vcpuFaultPending(vcpu) && stepPending(vcpu, true)) return TURN_OVER;
  if (attention & ATTENTION_TICK) {
    // The interrupted access is not finished: another task may run first.
    apfAttended(vcpuApf(vcpu), ATTENTION_TICK);
    if (vcpuFaultPending(vcpu) && load<u32>(vcpu, GUEST_HANDLER) === 0) {
      faultSuspend(vcpu, taskFault(guestCurrent(vcpu)));
    }
  }
  // An exception is taken before the guest's next instruction, whatever that is.
  if (load<u32>(vcpu, GUEST_HANDLER) === 0 && (attention & ATTENTION_EXCEPTION) === 0) {
    if (attention & ATTENTION_SWITCH) guestSwitch(vcpu);
    if (attention & ATTENTION_MSR) guestWriteMsr(vcpu);
  }
  while (true) {
    const event = guestEvent(vcpu);
    if (event === EVENT_HANDLED) break;
    if (event === EVENT_FAULTED) return TURN_FAULT;
    if (event === EVENT_CORRUPTS || (event === EVENT_VIOLATION && stopOnViolation())) {
      setStop(STOP_VIOLATION);
      return TURN_STOP;
    }
    if (load<u32>(vcpu, GUEST_HANDLER) !== 0 && actorClock(vcpu) >= end) return TURN_CUT;
  }
  if (vcpuAttention(vcpu) & ATTENTION_READY) {
    vcpuLeaveGuest(vcpu);
    return TURN_FAULT;
  }
  if (vcpuAttention(vcpu) & (ATTENTION_SWITCH | ATTENTION_MSR)) return attend(vcpu, vcpuAttention(vcpu), end);
  if (guestMsrHandled(vcpu)) {
    setStop(STOP_STEP);
    return TURN_STOP;
  }
  return TURN_OVER;
}

function compute(vcpu: usize, task: usize, until: u64): void {
  const clock = actorClock(vcpu);
  const left = taskWorkLimit(task) === TIME_NEVER ? TIME_NEVER : taskWorkLimit(task) - taskWork(task);
  const ns = min<u64>(until - clock, left);
  setActorClock(vcpu, clock + ns);
  setTaskWork(task, taskWork(task) + ns);
}

function touch(vcpu: usize, task: usize, until: u64, budget: u32): u32 {
  if (taskStreamLeft(task) === 0) workloadFill(task);
  const wanted = min<u64>(min<u32>(taskStreamLeft(task), budget), taskLimit(task) - taskAccesses(task));
  const accesses = accessRun(
    vcpu,
    taskStream(task),
    <u32>wanted,
    taskFirstGfn(task),
    taskForce(task),
    taskThinkNs(task),
    taskThinks(task),
    until,
  );
  taskConsume(task, accesses);
  taskAddAccesses(task, accesses);
  vmCountAdd(vmStats(vcpuVm(vcpu)), VM_ACCESSES, accesses);
  return accesses;
}

function touchPaged(vcpu: usize, task: usize, until: u64, budget: u32): u32 {
  const accesses = pagedRun(vcpu, task, until, budget);
  vmCountAdd(vmStats(vcpuVm(vcpu)), VM_ACCESSES, accesses);
  return accesses;
}

function taskOver(task: usize): bool {
  if (taskOwn(task) !== 0) return pagedOver(task);
  return taskCompute(task) ? taskWork(task) >= taskWorkLimit(task) : taskAccesses(task) >= taskLimit(task);
}

/** True for a task that will end: it ends by itself, its VM does not end before, it waits for nobody outside, and so it is with every task that it waits for. */
export function taskFinite(task: usize): bool {
  for (; task !== 0; task = taskAfter(task)) {
    if (taskManual(task) || vmEnding(vcpuVm(taskVcpu(task)))) return false;
    if (taskCompute(task)) {
      if (taskWorkLimit(task) === TIME_NEVER) return false;
    } else if (taskLimit(task) === u64.MAX_VALUE) {
      return false;
    }
  }
  return true;
}

function endTask(vcpu: usize, task: usize): void {
  const clock = actorClock(vcpu);
  guestEnd(vcpu);
  digestAdd(DIGEST_TASK, clock, vmId(vcpuVm(vcpu)), taskId(task), vcpuIndex(vcpu), 0);
  if (taskPrefault(task)) {
    setPrefaultsLeft(prefaultsLeft() - 1);
    if (prefaultsLeft() !== 0) return;
    begin(max<u64>(clock, now()));
    setStop(STOP_TASKS); // whoever prefaults learns that it is done before anything else happens
    return;
  }
  for (let index: u32 = 0; index < taskCount(); index++) {
    const follower = taskAt(index);
    if (taskAfter(follower) === task) {
      eventPost(clock + taskStartAt(follower), EVENT_TASK_START, <u32>follower);
    }
  }
  setFiniteLeft(finiteLeft() - 1);
  if (finiteLeft() !== 0) return;
  setNow(max<u64>(now(), clock));
  setStop(STOP_TASKS);
}

/** Virtual time 0: every task that waits for no other is due at its start. */
export function begin(time: u64): void {
  setEpoch(time);
  plannedBegin(time);
  for (let id: u32 = 0; id < vmTableCount(); id++) givebackBegin(vmAt(id), time);
  for (let index: u32 = 0; index < taskCount(); index++) {
    const task = taskAt(index);
    if (taskPrefault(task) || taskAfter(task) !== 0 || taskManual(task)) continue;
    eventPost(epoch() + taskStartAt(task), EVENT_TASK_START, <u32>task);
  }
}

// HLT: the vCPU gives its CPU back.
function halt(vcpu: usize): void {
  const clock = actorClock(vcpu);
  psiStop(spacePsi(vmSpace(vcpuVm(vcpu))), clock);
  setActorState(vcpu, ACTOR_HALTED);
  setVcpuMode(vcpu, VCPU_HALTED);
  tickArm(vcpu);
}

/** The guest's tick will wake a vCPU that halts now, as long as a task may still come. */
export function tickArm(vcpu: usize): void {
  const clock = actorClock(vcpu);
  if (guestFifo(vcpu) || !guestUnfinished(vcpu) || load<u32>(vcpu, GUEST_TICK_PENDING) !== 0) return;
  const period = <u64>cost(COST_GUEST_TICK_NS);
  store<u32>(vcpu, 1, GUEST_TICK_PENDING);
  eventPost((clock / period + 1) * period, EVENT_GUEST_TICK, <u32>vcpu);
}
