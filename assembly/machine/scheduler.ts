import { kthreadWoken } from "../guest/kthread";
import { guestStart, guestWake } from "../guest/sched";
import { GUEST_TICK_PENDING, taskKthread, taskOwn, taskVcpu } from "../guest/task";
import { APF_KICKED, ATTENTION_TICK, apfAttend } from "../kvm/apf";
import { workerStep, workerVm } from "../kvm/apfworker";
import { CALL_DESTROY_VM, callKind, callWatched } from "../kvm/call";
import { monitorCall, monitorStep } from "../kvm/monitor";
import { pagerStep, pagerTimer } from "../kvm/pager";
import { vcpuStep } from "../kvm/run";
import { stepTold } from "../kvm/step";
import { VCPU_APF_HALTED, vcpuApf, vcpuMode, vcpuVm } from "../kvm/vcpu";
import { vmId } from "../kvm/vm";
import { TIME_NEVER } from "../memory/layout";
import { STEP_AGAIN, STEP_BLOCKED, STEP_DONE, STEP_OOM, STEP_READ_ERROR } from "../memory/status";
import { allocOverLimit } from "../mm/alloc";
import { faultEntry, faultIndex } from "../mm/faultstate";
import { ksmdStep } from "../mm/ksmd";
import { kswapdStep } from "../mm/kswapd";
import { entryType } from "../mm/pte";
import { userfaultServer } from "../mm/userfault";
import { swapIoEnd } from "../mm/writeback";
import {
  ACTOR_BALLOON,
  ACTOR_BLOCKED,
  ACTOR_GUEST,
  ACTOR_HALTED,
  ACTOR_HOST,
  ACTOR_KSMD,
  ACTOR_KSWAPD,
  ACTOR_MONITOR,
  ACTOR_PAGER,
  ACTOR_SPINNING,
  ACTOR_VCPU,
  ACTOR_WORKER,
  actorBlockStage,
  actorClock,
  actorCpu,
  actorId,
  actorKind,
  actorNext,
  actorSleepUntil,
  actorState,
  CPU_NONE,
  STAGE_ASYNC,
  setActorClock,
} from "../sim/actor";
import { DIGEST_OOM, DIGEST_READ_ERROR, digestAdd } from "../sim/digest";
import {
  EVENT_ACCESS,
  EVENT_CALL,
  EVENT_GUEST_TICK,
  EVENT_GUEST_WAKE,
  EVENT_IO,
  EVENT_PAGER,
  EVENT_STEP,
  EVENT_TASK_START,
  EVENT_VCPU_KICK,
  EVENT_WAKE,
  eventArg,
  eventKind,
  eventNextTime,
  eventPop,
  eventPost,
  setEventHorizon,
} from "../sim/events";
import { traceActor } from "../sim/trace";
import {
  cpuAt,
  cpuContenders,
  cpuCurrent,
  cpuMoved,
  cpuNextTurn,
  cpuPreempt,
  cpuRelease,
  cpuShouldYield,
  cpuWake,
  cpuYieldFrom,
} from "./cpus";
import { deviceStep } from "./giveback";
import { callDue } from "./planned";
import {
  firstActor,
  host,
  now,
  quantum,
  STOP_ACCESSES,
  STOP_IDLE,
  STOP_NONE,
  STOP_OOM,
  STOP_POLICY,
  STOP_READ_ERROR,
  STOP_STEP,
  STOP_TIME,
  STOP_VIOLATION,
  setNow,
  setOom,
  setReadError,
  setStop,
  setTimeLimit,
  setTurn,
  stoppedForGood,
  stopReason,
  timeLimit,
  turnCpu,
  turnEnd,
} from "./state";
import { tasksGone } from "./tasks";
import { TURN_BUDGET, TURN_FAULT, TURN_HALT, tickArm, turn, turnResult } from "./turn";

// The virtual-time scheduler: whatever is due first comes next. Events (steps of actors in the host, wake-ups, I/O, timers)
// come in (time, sequence) order; a vCPU in the guest takes turns in (clock, number) order; at one instant events come
// before turns. How a run is cut into calls changes nothing: a turn that a call's budget interrupts goes on in the next
// call to the end it was given.

const MADE: usize = memory.data(8, 8);

const QUANTA_ALONE: u64 = 64;

/** Accesses made by the last machineRun(). */
export function machineMade(): u32 {
  return load<u32>(MADE);
}

/**
 * Stops runs at absolute time `ns`; infinite for never. A turn that an access budget has cut goes on in the next run: alone in the guest,
 * where cuts change nothing, it may have been given far more than that.
 */
export function machineSetTimeLimit(ns: f64): void {
  setTimeLimit(ns < 9007199254740992 ? <u64>ns : TIME_NEVER);
  const cpu = turnCpu();
  if (cpu === CPU_NONE || cpuContenders() > 1) return;
  const soonest = max<u64>(timeLimit(), actorClock(cpuCurrent(cpuAt(cpu))));
  setTurn(cpu, min<u64>(turnEnd(), soonest));
}

/**
 * Runs for at most `accesses` accesses and about `events` events. Returns STOP_NONE when the call's events are used up,
 * STOP_ACCESSES when its accesses are, else why the run has ended.
 */
export function machineRun(accesses: u32, events: u32): u32 {
  let made: u32 = 0;
  if (!stoppedForGood()) setStop(STOP_NONE);
  store<u32>(MADE, 0);
  while (stopReason() === STOP_NONE) {
    if (turnCpu() !== CPU_NONE) {
      if (made === accesses) {
        settleNow();
        setStop(STOP_ACCESSES);
        break;
      }
      made += runTurn(accesses - made);
      continue;
    }
    const eventTime = eventNextTime();
    const cpu = cpuNextTurn();
    const turnTime = cpu === CPU_NONE ? TIME_NEVER : actorClock(cpuCurrent(cpuAt(cpu)));
    const next = min<u64>(eventTime, turnTime);
    if (next === TIME_NEVER) {
      settleIdle();
      setStop(STOP_IDLE);
    } else if (next >= timeLimit()) {
      setNow(max<u64>(now(), timeLimit()));
      setStop(STOP_TIME);
    } else {
      setNow(max<u64>(now(), next));
      if (eventTime <= turnTime) {
        if (events === 0) break;
        events--;
        eventPop();
        dispatch(eventKind(), <usize>eventArg(), eventTime);
      } else if (cpuShouldYield(cpuCurrent(cpuAt(cpu)))) {
        cpuPreempt(cpuCurrent(cpuAt(cpu)));
      } else {
        setTurn(cpu, min<u64>(eventTime, turnEndTime(turnTime)));
      }
    }
  }
  if (stopReason() === STOP_POLICY) settleNow();
  store<u32>(MADE, made);
  return stopReason();
}

// A vCPU alone in the guest, with nobody waiting for its CPU, has no one to take turns with: to cut its time into quanta would
// change nothing.
function turnEndTime(begin: u64): u64 {
  const end = begin + quantum();
  return cpuContenders() > 1 ? end : max<u64>(end, min<u64>(timeLimit(), begin + QUANTA_ALONE * quantum()));
}

// What time it is when a run stops must not depend on where turns were cut: everything before the earliest thing to come is over. Nor on
// where calls were: a turn may go beyond the time limit, where a call that ends there must leave the clock for the stop to come.
function settleNow(): void {
  const time = min<u64>(eventNextTime(), nextTurnTime());
  if (time !== TIME_NEVER) setNow(max<u64>(now(), min<u64>(time, timeLimit())));
}

// With nothing to come, it is as late as the actor that acted last.
function settleIdle(): void {
  for (let actor = firstActor(); actor !== 0; actor = actorNext(actor))
    setNow(max<u64>(now(), actorClock(actor)));
}

function runTurn(budget: u32): u32 {
  const cpu = turnCpu();
  const vcpu = cpuCurrent(cpuAt(cpu));
  traceActor(cpu, actorId(vcpu));
  // Alone in the guest, a vCPU may go through a fault within its turn, as long as nothing is due meanwhile (kvm/atonce.ts).
  setEventHorizon(cpuContenders() > 1 ? 0 : timeLimit());
  const made = turn(vcpu, turnEnd(), budget);
  const result = turnResult();
  if (result === TURN_BUDGET) return made;
  if (stopReason() === STOP_VIOLATION || stopReason() === STOP_STEP) settleNow();
  setTurn(CPU_NONE, 0);
  if (result === TURN_FAULT) eventPost(actorClock(vcpu), EVENT_STEP, <u32>vcpu);
  else if (result === TURN_HALT) cpuRelease(vcpu);
  return made;
}

/** An event happens at `time`. */
export function dispatch(kind: u32, subject: usize, time: u64): void {
  if (kind === EVENT_STEP) {
    step(subject);
  } else if (kind === EVENT_WAKE) {
    assert(actorState(subject) === ACTOR_BLOCKED);
    actorSleepUntil(subject, actorBlockStage(subject), time);
    cpuWake(subject, time);
  } else if (kind === EVENT_IO) {
    swapIoEnd(host(), subject, time);
  } else if (kind === EVENT_GUEST_TICK) {
    store<u32>(subject, 0, GUEST_TICK_PENDING);
    wakeHalted(subject, time, true);
  } else if (kind === EVENT_VCPU_KICK) {
    store<u32>(vcpuApf(subject), 0, APF_KICKED);
    wakeHalted(subject, time, false);
  } else if (kind === EVENT_GUEST_WAKE) {
    wakeHalted(taskVcpu(subject), time, true);
    if (taskKthread(subject)) kthreadWoken(taskOwn(subject));
    else guestWake(taskVcpu(subject), subject);
  } else if (kind === EVENT_CALL) {
    callDue(subject, time);
  } else if (kind === EVENT_PAGER) {
    pagerTimer(userfaultServer(subject), subject, time);
  } else if (kind === EVENT_ACCESS) {
    stepTold(subject);
    cpuMoved(subject, time);
    wakeHalted(subject, time, true);
  } else {
    assert(kind === EVENT_TASK_START);
    const vcpu = taskVcpu(subject);
    guestStart(vcpu, subject, time);
    wakeHalted(vcpu, time, true);
  }
}

// An interrupt of the guest, or something that the host has for it, ends a halt.
function wakeHalted(vcpu: usize, time: u64, interrupt: bool): void {
  if (actorState(vcpu) !== ACTOR_HALTED) return;
  if (vcpuMode(vcpu) === VCPU_APF_HALTED) {
    actorSleepUntil(vcpu, STAGE_ASYNC, time);
    if (interrupt) apfAttend(vcpuApf(vcpu), ATTENTION_TICK);
  } else {
    setActorClock(vcpu, max<u64>(actorClock(vcpu), time));
  }
  cpuWake(vcpu, time);
}

// Runs the actor's steps for as long as nothing else is due before the next of them.
function step(actor: usize): void {
  assert(actorState(actor) === ACTOR_HOST);
  const kind = actorKind(actor);
  traceActor(actorCpu(actor), actorId(actor));
  while (true) {
    if (cpuShouldYield(actor)) {
      cpuPreempt(actor);
      return;
    }
    // Turns that begin at the clock of a step come after it.
    const turnTime = nextTurnTime();
    const horizon = min<u64>(timeLimit(), turnTime === TIME_NEVER ? TIME_NEVER : turnTime + 1);
    setEventHorizon(min<u64>(horizon, cpuYieldFrom(cpuAt(actorCpu(actor)))));
    if (!stepOnce(kind, actor)) return;
    const clock = actorClock(actor);
    const stopped = stopReason() !== STOP_NONE;
    if (stopped || clock >= eventNextTime() || clock >= timeLimit() || clock > nextTurnTime()) {
      eventPost(clock, EVENT_STEP, <u32>actor);
      return;
    }
  }
}

/** One step of an actor in the host. True: it has another one, due at its clock. */
export function stepOnce(kind: u32, actor: usize): bool {
  const result = stepOf(kind, actor);
  if (result === STEP_BLOCKED) {
    if (actorState(actor) === ACTOR_HALTED) tickArm(actor);
    if (actorState(actor) !== ACTOR_SPINNING) cpuRelease(actor);
    return false;
  }
  if (result === STEP_OOM) {
    setNow(max<u64>(now(), actorClock(actor)));
    setStop(STOP_OOM);
    const vm = vmId(kind === ACTOR_WORKER ? workerVm(actor) : vcpuVm(actor));
    setOom(vm, allocOverLimit(actor));
    digestAdd(DIGEST_OOM, actorClock(actor), vm, 0, 0, 0);
    return false;
  }
  if (result === STEP_READ_ERROR) {
    setNow(max<u64>(now(), actorClock(actor)));
    setStop(STOP_READ_ERROR);
    const vm = vmId(vcpuVm(actor));
    setReadError(vm, faultIndex(actor), entryType(faultEntry(actor)));
    digestAdd(DIGEST_READ_ERROR, actorClock(actor), vm, faultIndex(actor), 0, faultEntry(actor));
    return false;
  }
  if (result === STEP_DONE && kind === ACTOR_MONITOR) {
    if (callKind(monitorCall(actor)) === CALL_DESTROY_VM) tasksGone();
    // Whoever waits for the call learns of it before anything else happens; the monitor goes on with its next one.
    if (callWatched(monitorCall(actor))) {
      setNow(max<u64>(now(), min<u64>(actorClock(actor), eventNextTime())));
      setStop(STOP_STEP);
    }
  } else if (result !== STEP_AGAIN) {
    assert(actorState(actor) === ACTOR_GUEST);
    return false;
  }
  return true;
}

function stepOf(kind: u32, actor: usize): i32 {
  if (kind === ACTOR_VCPU) return vcpuStep(actor);
  if (kind === ACTOR_WORKER) return workerStep(actor);
  if (kind === ACTOR_BALLOON) return deviceStep(actor);
  if (kind === ACTOR_PAGER) return pagerStep(actor);
  if (kind === ACTOR_KSMD) return ksmdStep(actor);
  return kind === ACTOR_KSWAPD ? kswapdStep(actor) : monitorStep(actor);
}

function nextTurnTime(): u64 {
  const cpu = cpuNextTurn();
  return cpu === CPU_NONE ? TIME_NEVER : actorClock(cpuCurrent(cpuAt(cpu)));
}
