import { enterGuest, vcpuReadyFirst } from "../kvm/run";
import { VCPU_APF_HALTED, VCPU_HALTED, VCPU_IN_FAULT, VCPU_IN_READY, vcpuMode, vcpuVm } from "../kvm/vcpu";
import { vmSpace } from "../kvm/vm";
import { TIME_NEVER } from "../memory/layout";
import { agingProcessRan } from "../mm/mglruaging";
import { psiStart } from "../mm/psi";
import { spacePsi } from "../mm/space";
import {
  ACTOR_GUEST,
  ACTOR_HOST,
  ACTOR_RUNNABLE,
  ACTOR_VCPU,
  actorClock,
  actorCpu,
  actorId,
  actorKind,
  actorLastCpu,
  actorNext,
  actorOnCpuAt,
  actorOnlyCpu,
  actorSleepUntil,
  actorSpend,
  actorSpinLocks,
  actorState,
  actorVruntime,
  actorWaitNext,
  CPU_NONE,
  STAGE_EXIT,
  STAGE_QUEUE,
  setActorCpu,
  setActorOnCpuAt,
  setActorState,
  setActorVruntime,
  setActorWaitNext,
} from "../sim/actor";
import { COST_HLT_EXIT_NS, COST_HOST_SWITCH_NS, cost } from "../sim/costs";
import { EVENT_STEP, eventPost } from "../sim/events";
import { traceActor } from "../sim/trace";
import { cpuCount, cpuRecords, firstActor } from "./state";

// The host's CPUs and their one run queue. A kernel thread that wakes takes the CPU of a vCPU if none is idle; vCPUs share
// by virtual run time with a slice of 3 ms.
//
// record   0         4      8        12       16         24
//          +---------+------+--------+--------+----------+
//          | current | last | resched| pad    | sliceEnd | freeAt
//          +---------+------+--------+--------+----------+
//
// invariant: an actor is on at most one CPU, and that CPU names it
// invariant: while an actor is runnable, no CPU on which it may run is idle

const CURRENT: usize = 0;
const LAST: usize = 4;
const RESCHED: usize = 8;
const SLICE_END: usize = 16; // u64
const FREE_AT: usize = 24; // u64
export const CPU_BYTES: usize = 32;

// 3 ms: the default slice of the host's scheduler for a handful of runnable tasks.
const HOST_SLICE_NS: u64 = 3000000;

// Actors that want a CPU; kernel threads among them stand in a queue, first come, first served.
const DAEMON_HEAD: usize = 4;
const DAEMON_TAIL: usize = 8;
const RUNNABLE: usize = memory.data(12, 8);

function setRunnable(actor: usize): void {
  setActorState(actor, ACTOR_RUNNABLE);
  store<u32>(RUNNABLE, load<u32>(RUNNABLE) + 1);
  if (actorKind(actor) === ACTOR_VCPU) return;
  const tail = <usize>load<u32>(RUNNABLE, DAEMON_TAIL);
  setActorWaitNext(actor, 0);
  if (tail === 0) store<u32>(RUNNABLE, <u32>actor, DAEMON_HEAD);
  else setActorWaitNext(tail, actor);
  store<u32>(RUNNABLE, <u32>actor, DAEMON_TAIL);
}

function takeDaemon(actor: usize): void {
  let previous: usize = 0;
  for (let at = <usize>load<u32>(RUNNABLE, DAEMON_HEAD); at !== actor; at = actorWaitNext(at)) {
    assert(at !== 0);
    previous = at;
  }
  const next = actorWaitNext(actor);
  if (previous === 0) store<u32>(RUNNABLE, <u32>next, DAEMON_HEAD);
  else setActorWaitNext(previous, next);
  if (next === 0) store<u32>(RUNNABLE, <u32>previous, DAEMON_TAIL);
}

/** Nobody wants a CPU yet. */
export function cpusInit(): void {
  memory.fill(RUNNABLE, 0, 12);
}

export function cpuAt(index: u32): usize {
  assert(index < cpuCount());
  return cpuRecords() + <usize>index * CPU_BYTES;
}

/** The actor on the CPU, 0 when it is idle. */
export function cpuCurrent(cpu: usize): usize {
  return <usize>load<u32>(cpu, CURRENT);
}

/** The CPU whose vCPU runs the guest and comes next in (clock, number) order; CPU_NONE when no vCPU runs the guest. */
export function cpuNextTurn(): u32 {
  let best = CPU_NONE;
  let bestClock = TIME_NEVER;
  let bestId: u32 = 0;
  for (let index: u32 = 0; index < cpuCount(); index++) {
    const actor = cpuCurrent(cpuAt(index));
    if (actor === 0 || actorState(actor) !== ACTOR_GUEST) continue;
    const clock = actorClock(actor);
    if (clock < bestClock || (clock === bestClock && actorId(actor) < bestId)) {
      best = index;
      bestClock = clock;
      bestId = actorId(actor);
    }
  }
  return best;
}

// Puts a runnable actor on an idle CPU, not before `time` and not before the CPU is free.
function assign(cpu: usize, index: u32, actor: usize, time: u64): void {
  assert(cpuCurrent(cpu) === 0 && actorState(actor) === ACTOR_RUNNABLE);
  store<u32>(RUNNABLE, load<u32>(RUNNABLE) - 1);
  if (actorKind(actor) !== ACTOR_VCPU) takeDaemon(actor);
  actorSleepUntil(actor, STAGE_QUEUE, max<u64>(time, load<u64>(cpu, FREE_AT)));
  store<u32>(cpu, <u32>actor, CURRENT);
  setActorCpu(actor, index);
  if (load<u32>(cpu, LAST) !== <u32>actor && load<u32>(cpu, LAST) !== 0) {
    actorSpend(actor, STAGE_QUEUE, cost(COST_HOST_SWITCH_NS));
  }
  store<u32>(cpu, <u32>actor, LAST);
  store<u32>(cpu, 0, RESCHED);
  store<u64>(cpu, actorClock(actor) + HOST_SLICE_NS, SLICE_END);
  setActorOnCpuAt(actor, actorClock(actor));
  if (actorKind(actor) === ACTOR_VCPU) agingProcessRan(vmSpace(vcpuVm(actor)));

  if (actorKind(actor) !== ACTOR_VCPU || inHost(vcpuMode(actor))) {
    setActorState(actor, ACTOR_HOST);
    eventPost(actorClock(actor), EVENT_STEP, <u32>actor);
    return;
  }
  if (vcpuMode(actor) === VCPU_HALTED || vcpuMode(actor) === VCPU_APF_HALTED) {
    actorSpend(actor, STAGE_EXIT, cost(COST_HLT_EXIT_NS));
    psiStart(spacePsi(vmSpace(vcpuVm(actor))), actorClock(actor));
  }
  traceActor(index, actorId(actor));
  if (vcpuReadyFirst(actor)) eventPost(actorClock(actor), EVENT_STEP, <u32>actor);
  else enterGuest(actor);
}

function inHost(mode: u32): bool {
  return mode === VCPU_IN_FAULT || mode === VCPU_IN_READY;
}

/** vCPUs that run the guest, and actors that wait for a CPU: those to whom it matters when a turn ends. */
export function cpuContenders(): u32 {
  let guests = load<u32>(RUNNABLE);
  for (let index: u32 = 0; index < cpuCount(); index++) {
    const actor = cpuCurrent(cpuAt(index));
    if (actor !== 0 && actorState(actor) === ACTOR_GUEST) guests++;
  }
  return guests;
}

function idleCpu(actor: usize): u32 {
  const only = actorOnlyCpu(actor);
  if (only !== CPU_NONE) return cpuCurrent(cpuAt(only)) === 0 ? only : CPU_NONE;
  const last = actorLastCpu(actor);
  if (last !== CPU_NONE && cpuCurrent(cpuAt(last)) === 0) return last;
  let best = CPU_NONE;
  for (let index: u32 = 0; index < cpuCount(); index++) {
    const cpu = cpuAt(index);
    if (cpuCurrent(cpu) !== 0) continue;
    if (best === CPU_NONE || load<u64>(cpu, FREE_AT) < load<u64>(cpuAt(best), FREE_AT)) best = index;
  }
  return best;
}

// The least virtual run time among vCPUs that have or want a CPU: a sleeper does not come back with more credit than that.
function leastVruntime(except: usize): u64 {
  let least = TIME_NEVER;
  for (let actor = firstActor(); actor !== 0; actor = actorNext(actor)) {
    if (actor === except || actorKind(actor) !== ACTOR_VCPU) continue;
    if (actorCpu(actor) === CPU_NONE && actorState(actor) !== ACTOR_RUNNABLE) continue;
    const running = actorCpu(actor) === CPU_NONE ? 0 : actorClock(actor) - actorOnCpuAt(actor);
    least = min<u64>(least, actorVruntime(actor) + running);
  }
  return least === TIME_NEVER ? 0 : least;
}

/** A sleeping or halted actor wants a CPU at `time`. */
export function cpuWake(actor: usize, time: u64): void {
  assert(actorCpu(actor) === CPU_NONE);
  setRunnable(actor);
  const vcpu = actorKind(actor) === ACTOR_VCPU;
  if (vcpu) setActorVruntime(actor, max<u64>(actorVruntime(actor), leastVruntime(actor)));
  const idle = idleCpu(actor);
  if (idle !== CPU_NONE) {
    assign(cpuAt(idle), idle, actor, time);
    return;
  }
  if (vcpu) return;
  // A kernel thread preempts the vCPU that is furthest behind, at that vCPU's next boundary.
  let victim: usize = 0;
  for (let index: u32 = 0; index < cpuCount(); index++) {
    if (!mayRun(actor, index)) continue;
    const cpu = cpuAt(index);
    const current = cpuCurrent(cpu);
    if (actorKind(current) !== ACTOR_VCPU || load<u32>(cpu, RESCHED) !== 0) continue;
    if (victim === 0 || actorClock(current) < actorClock(cpuCurrent(victim))) victim = cpu;
  }
  if (victim !== 0) store<u32>(victim, 1, RESCHED);
}

/** An actor that waits for a CPU may have been told to run on another one: it takes that one if it is idle. */
export function cpuMoved(actor: usize, time: u64): void {
  if (actorState(actor) !== ACTOR_RUNNABLE) return;
  const idle = idleCpu(actor);
  if (idle !== CPU_NONE) assign(cpuAt(idle), idle, actor, time);
}

function mayRun(actor: usize, cpu: u32): bool {
  return actorOnlyCpu(actor) === CPU_NONE || actorOnlyCpu(actor) === cpu;
}

function nextRunnable(index: u32): usize {
  let best: usize = 0;
  if (load<u32>(RUNNABLE) === 0) return best;
  let daemon = <usize>load<u32>(RUNNABLE, DAEMON_HEAD);
  for (; daemon !== 0; daemon = actorWaitNext(daemon)) {
    if (mayRun(daemon, index)) return daemon;
  }
  for (let actor = firstActor(); actor !== 0; actor = actorNext(actor)) {
    if (actorState(actor) !== ACTOR_RUNNABLE || !mayRun(actor, index)) continue;
    if (best === 0 || actorVruntime(actor) < actorVruntime(best)) best = actor;
  }
  return best;
}

/** The actor, which sleeps or halts, leaves its CPU at its clock; the next runnable one takes it. */
export function cpuRelease(actor: usize): void {
  handOver(actor, nextRunnable(actorCpu(actor)), actorState(actor));
}

// Takes `actor` off its CPU in `state` and puts `next` on it, if there is one.
function handOver(actor: usize, next: usize, state: u32): void {
  const index = actorCpu(actor);
  const cpu = cpuAt(index);
  assert(cpuCurrent(cpu) === actor && actorSpinLocks(actor) === 0);
  const clock = actorClock(actor);
  setActorVruntime(actor, actorVruntime(actor) + (clock - actorOnCpuAt(actor)));
  setActorCpu(actor, CPU_NONE);
  if (state === ACTOR_RUNNABLE) setRunnable(actor);
  else setActorState(actor, state);
  store<u32>(cpu, 0, CURRENT);
  store<u64>(cpu, clock, FREE_AT);
  if (next !== 0) assign(cpu, index, next, clock);
}

/**
 * Must the actor, at a boundary, leave its CPU for another: a woken kernel thread, a vCPU when its slice is over, or because it may
 * not run there any more?
 */
export function cpuShouldYield(actor: usize): bool {
  if (actorSpinLocks(actor) === 0 && !mayRun(actor, actorCpu(actor))) return true;
  if (load<u32>(RUNNABLE) === 0) return false;
  if (actorSpinLocks(actor) !== 0 || actorKind(actor) !== ACTOR_VCPU) return false;
  const cpu = cpuAt(actorCpu(actor));
  if (load<u32>(cpu, RESCHED) === 0 && actorClock(actor) < load<u64>(cpu, SLICE_END)) return false;
  return nextRunnable(actorCpu(actor)) !== 0;
}

/** Clock from which the actor on `cpu` must ask cpuShouldYield() between two steps. */
export function cpuYieldFrom(cpu: usize): u64 {
  if (load<u32>(RUNNABLE) === 0) return TIME_NEVER;
  return load<u32>(cpu, RESCHED) !== 0 ? 0 : load<u64>(cpu, SLICE_END);
}

/** Preempts the actor: whoever has waited goes first. An actor that has to move goes on at once where it may, if that CPU is idle. */
export function cpuPreempt(actor: usize): void {
  const next = nextRunnable(actorCpu(actor));
  assert(next !== actor);
  handOver(actor, next, ACTOR_RUNNABLE);
  const idle = idleCpu(actor);
  if (idle !== CPU_NONE && actorState(actor) === ACTOR_RUNNABLE)
    assign(cpuAt(idle), idle, actor, actorClock(actor));
}

export function checkCpus(): void {
  let idle: u32 = 0;
  let runnable: u32 = 0;
  for (let index: u32 = 0; index < cpuCount(); index++) {
    const actor = cpuCurrent(cpuAt(index));
    if (actor === 0) idle++;
    else assert(actorCpu(actor) === index);
  }
  for (let actor = firstActor(); actor !== 0; actor = actorNext(actor)) {
    if (actorCpu(actor) !== CPU_NONE) assert(cpuCurrent(cpuAt(actorCpu(actor))) === actor);
    if (actorKind(actor) !== ACTOR_VCPU || actorState(actor) !== ACTOR_RUNNABLE) continue;
    runnable++;
    assert(idle === 0 || actorOnlyCpu(actor) !== CPU_NONE);
  }
  let daemon = <usize>load<u32>(RUNNABLE, DAEMON_HEAD);
  for (; daemon !== 0; daemon = actorWaitNext(daemon)) {
    assert(actorState(daemon) === ACTOR_RUNNABLE && actorKind(daemon) !== ACTOR_VCPU);
    assert(idle === 0 || actorOnlyCpu(daemon) !== CPU_NONE);
    runnable++;
  }
  assert(runnable === load<u32>(RUNNABLE));
}
