import { EVENT_STEP, EVENT_WAKE, eventNothingBefore, eventPost } from "./events";

// An actor: everything that can act in the host (a vCPU, kswapd, a worker). Its program counters and locals live in its record, one
// region a floor, so that a step leaves nothing on the stack; this file owns the first region.
//
//   0      4    8       16      20    24         32        40      44          48        128
//   +------+----+-------+-------+-----+----------+---------+-------+-----------+---------+-------…
//   | kind | id | clock | state | cpu | vruntime | onCpuAt | stage | waitNext  | stages  | mm, kvm, guest
//   +------+----+-------+-------+-----+----------+---------+-------+-----------+---------+-------…
//
// Time moves an actor only through actorSpend() and actorWaitUntil(), and each names the stage that the time belongs to;
// so the stages of a fault sum to its latency exactly.

const KIND: usize = 0;
const ID: usize = 4;
const CLOCK: usize = 8;
const STATE: usize = 16;
const CPU: usize = 20;
const VRUNTIME: usize = 24;
const ON_CPU_AT: usize = 32;
const BLOCK_STAGE: usize = 40;
const WAIT_NEXT: usize = 44;
const STAGES: usize = 48;
const BLOCKED_NS: usize = 128;
const NEXT: usize = 136;
const WAIT_MODE: usize = 140;
const SPIN_LOCKS: usize = 144;
const LAST_CPU: usize = 148;
const STATE_SINCE: usize = 152;
const ONLY_CPU: usize = 160; // + 1
export const ACTOR_BYTES: usize = 168;

export const ACTOR_VCPU: u32 = 0;
export const ACTOR_KSWAPD: u32 = 1;
/** The thread of a VM's process that is no vCPU. */
export const ACTOR_MONITOR: u32 = 2;
/** The thread of a VM's process that serves its balloon device. */
export const ACTOR_BALLOON: u32 = 3;
/** A kernel worker that brings pages in for asynchronous page faults. */
export const ACTOR_WORKER: u32 = 4;
/** The thread of a VM's process that supplies missing pages. */
export const ACTOR_PAGER: u32 = 5;
/** The kernel thread that merges pages. */
export const ACTOR_KSMD: u32 = 6;

/** Running the guest: takes turns, has no event of its own. */
export const ACTOR_GUEST: u32 = 0;
/** On a CPU in the host: its next step is in the event queue. */
export const ACTOR_HOST: u32 = 1;
/** On a CPU, spinning for a lock. */
export const ACTOR_SPINNING: u32 = 2;
/** Asleep in the host until it is woken. */
export const ACTOR_BLOCKED: u32 = 3;
/** Wants a CPU. */
export const ACTOR_RUNNABLE: u32 = 4;
/** A vCPU whose guest has nothing to run (HLT). */
export const ACTOR_HALTED: u32 = 5;

export const STAGE_EXIT: u32 = 0;
export const STAGE_LOCK: u32 = 1;
export const STAGE_RECLAIM: u32 = 2;
export const STAGE_ALLOC: u32 = 3;
export const STAGE_CPU: u32 = 4;
export const STAGE_QUEUE: u32 = 5;
export const STAGE_DEVICE: u32 = 6;
export const STAGE_MAP: u32 = 7;
export const STAGE_FLUSH: u32 = 8;
/** Under asynchronous page faults: the task, or its vCPU, waits for the page and for its turn. */
export const STAGE_ASYNC: u32 = 9;
export const STAGE_COUNT: u32 = 10;

export const CPU_NONE: u32 = 0xffffffff;

export function actorInit(actor: usize, kind: u32, id: u32): void {
  store<u32>(actor, kind, KIND);
  store<u32>(actor, id, ID);
  store<u32>(actor, ACTOR_BLOCKED, STATE);
  store<u32>(actor, CPU_NONE, CPU);
  store<u32>(actor, CPU_NONE, LAST_CPU);
  setActorOnlyCpu(actor, CPU_NONE);
}

export function actorKind(actor: usize): u32 {
  return load<u32>(actor, KIND);
}

/** Rank among all actors; ties of time are decided by it. */
export function actorId(actor: usize): u32 {
  return load<u32>(actor, ID);
}

export function actorClock(actor: usize): u64 {
  return load<u64>(actor, CLOCK);
}

/** Guest execution moves a vCPU's clock without a stage. */
export function setActorClock(actor: usize, clock: u64): void {
  assert(clock >= load<u64>(actor, CLOCK));
  store<u64>(actor, clock, CLOCK);
}

export function actorState(actor: usize): u32 {
  return load<u32>(actor, STATE);
}

export function setActorState(actor: usize, state: u32): void {
  setActorStateAt(actor, state, load<u64>(actor, CLOCK));
}

/** The same for a state that was entered at `time`. */
export function setActorStateAt(actor: usize, state: u32, time: u64): void {
  store<u32>(actor, state, STATE);
  store<u64>(actor, time, STATE_SINCE);
}

/** Clock at which the present state was entered. */
export function actorStateSince(actor: usize): u64 {
  return load<u64>(actor, STATE_SINCE);
}

export function actorCpu(actor: usize): u32 {
  return load<u32>(actor, CPU);
}

export function setActorCpu(actor: usize, cpu: u32): void {
  store<u32>(actor, cpu, CPU);
  if (cpu !== CPU_NONE) store<u32>(actor, cpu, LAST_CPU);
}

export function actorLastCpu(actor: usize): u32 {
  return load<u32>(actor, LAST_CPU);
}

/** The one CPU that the actor may run on (sched_setaffinity()), CPU_NONE for any. */
export function actorOnlyCpu(actor: usize): u32 {
  return load<u32>(actor, ONLY_CPU) - 1;
}

export function setActorOnlyCpu(actor: usize, cpu: u32): void {
  store<u32>(actor, cpu + 1, ONLY_CPU);
}

export function actorVruntime(actor: usize): u64 {
  return load<u64>(actor, VRUNTIME);
}

export function setActorVruntime(actor: usize, vruntime: u64): void {
  store<u64>(actor, vruntime, VRUNTIME);
}

export function actorOnCpuAt(actor: usize): u64 {
  return load<u64>(actor, ON_CPU_AT);
}

export function setActorOnCpuAt(actor: usize, time: u64): void {
  store<u64>(actor, time, ON_CPU_AT);
}

/** Next actor of the machine's list of all actors. */
export function actorNext(actor: usize): usize {
  return <usize>load<u32>(actor, NEXT);
}

export function setActorNext(actor: usize, next: usize): void {
  store<u32>(actor, <u32>next, NEXT);
}

/** Next actor in the one queue in which this actor waits. */
export function actorWaitNext(actor: usize): usize {
  return <usize>load<u32>(actor, WAIT_NEXT);
}

export function setActorWaitNext(actor: usize, next: usize): void {
  store<u32>(actor, <u32>next, WAIT_NEXT);
}

export function actorWaitMode(actor: usize): u32 {
  return load<u32>(actor, WAIT_MODE);
}

export function setActorWaitMode(actor: usize, mode: u32): void {
  store<u32>(actor, mode, WAIT_MODE);
}

/** Spin locks held; while there is one the actor cannot be preempted. */
export function actorSpinLocks(actor: usize): u32 {
  return load<u32>(actor, SPIN_LOCKS);
}

export function setActorSpinLocks(actor: usize, locks: u32): void {
  store<u32>(actor, locks, SPIN_LOCKS);
}

/** Total ns for which the actor wanted to run and could not: asleep for I/O or memory, or waiting for a CPU. */
export function actorBlockedNs(actor: usize): u64 {
  return load<u64>(actor, BLOCKED_NS);
}

/** Total ns of `stage` since actorClearStages(). */
export function actorStageNs(actor: usize, stage: u32): u64 {
  assert(stage < STAGE_COUNT);
  return load<u64>(actor + ((<usize>stage) << 3), STAGES);
}

export function actorClearStages(actor: usize): void {
  for (let stage: u32 = 0; stage < STAGE_COUNT; stage++) {
    store<u64>(actor + ((<usize>stage) << 3), 0, STAGES);
  }
}

/** The stages of something that had these five alone, in one go. */
export function setActorStages(actor: usize, exit: u64, reclaim: u64, cpu: u64, map: u64, flush: u64): void {
  store<u64>(actor + ((<usize>STAGE_LOCK) << 3), 0, STAGES);
  store<u64>(actor + ((<usize>STAGE_ALLOC) << 3), 0, STAGES);
  store<u64>(actor + ((<usize>STAGE_QUEUE) << 3), 0, STAGES);
  store<u64>(actor + ((<usize>STAGE_DEVICE) << 3), 0, STAGES);
  store<u64>(actor + ((<usize>STAGE_ASYNC) << 3), 0, STAGES);
  store<u64>(actor + ((<usize>STAGE_EXIT) << 3), exit, STAGES);
  store<u64>(actor + ((<usize>STAGE_RECLAIM) << 3), reclaim, STAGES);
  store<u64>(actor + ((<usize>STAGE_CPU) << 3), cpu, STAGES);
  store<u64>(actor + ((<usize>STAGE_MAP) << 3), map, STAGES);
  store<u64>(actor + ((<usize>STAGE_FLUSH) << 3), flush, STAGES);
}

/** Adds to a stage what somebody else has spent for this actor, or what it has spent earlier; its clock stays. */
export function actorCredit(actor: usize, stage: u32, ns: u64): void {
  assert(stage < STAGE_COUNT);
  const at = actor + ((<usize>stage) << 3);
  store<u64>(at, load<u64>(at, STAGES) + ns, STAGES);
}

/** The actor works for `ns`. */
export function actorSpend(actor: usize, stage: u32, ns: u32): void {
  assert(stage < STAGE_COUNT);
  store<u64>(actor, load<u64>(actor, CLOCK) + ns, CLOCK);
  const at = actor + ((<usize>stage) << 3);
  store<u64>(at, load<u64>(at, STAGES) + ns, STAGES);
}

/** The actor waits until `time`; nothing happens if that is past. */
export function actorWaitUntil(actor: usize, stage: u32, time: u64): void {
  assert(stage < STAGE_COUNT);
  const clock = load<u64>(actor, CLOCK);
  if (time <= clock) return;
  store<u64>(actor, time, CLOCK);
  const at = actor + ((<usize>stage) << 3);
  store<u64>(at, load<u64>(at, STAGES) + (time - clock), STAGES);
}

/** As actorWaitUntil(), for time that the actor spent off its CPU. */
export function actorSleepUntil(actor: usize, stage: u32, time: u64): void {
  const clock = load<u64>(actor, CLOCK);
  if (time > clock) store<u64>(actor, load<u64>(actor, BLOCKED_NS) + (time - clock), BLOCKED_NS);
  actorWaitUntil(actor, stage, time);
}

/**
 * At the end of a step: may the actor's next step follow at once? Exactly when the scheduler would choose it; a machine of
 * steps that asks saves the way up to the scheduler and back.
 */
export function actorGoesOn(actor: usize): bool {
  return eventNothingBefore(load<u64>(actor, CLOCK));
}

/** Puts the actor to sleep at its clock; the wait is charged to `stage`. The scheduler takes its CPU when the step returns. */
export function actorBlock(actor: usize, stage: u32): void {
  assert(load<u32>(actor, SPIN_LOCKS) === 0);
  setActorState(actor, ACTOR_BLOCKED);
  store<u32>(actor, stage, BLOCK_STAGE);
}

export function actorBlockStage(actor: usize): u32 {
  return load<u32>(actor, BLOCK_STAGE);
}

/** Wakes a sleeping actor at `time`. */
export function actorWake(actor: usize, time: u64): void {
  assert(load<u32>(actor, STATE) === ACTOR_BLOCKED || load<u32>(actor, STATE) === ACTOR_HALTED);
  eventPost(time, EVENT_WAKE, <u32>actor);
}

/** Lets an actor that spins on its CPU go on at `time`. */
export function actorResume(actor: usize, time: u64): void {
  assert(load<u32>(actor, STATE) === ACTOR_SPINNING);
  actorWaitUntil(actor, STAGE_LOCK, time);
  setActorState(actor, ACTOR_HOST);
  eventPost(load<u64>(actor, CLOCK), EVENT_STEP, <u32>actor);
}
