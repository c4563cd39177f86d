import { arenaTake, PART_ASYNC_PF } from "../memory/arena";
import { PFN_NONE } from "../memory/layout";
import { STEP_AGAIN, STEP_BLOCKED, STEP_DONE, STEP_READ_ERROR } from "../memory/status";
import { ACTOR_MM } from "../mm/context";
import { faultBegin, faultKind, faultPfn, faultStep, faultTakesOver } from "../mm/fault";
import { spaceHva } from "../mm/space";
import {
  ACTOR_HALTED,
  ACTOR_WORKER,
  actorBlock,
  actorClearStages,
  actorClock,
  actorInit,
  actorStageNs,
  actorState,
  actorWake,
  STAGE_COUNT,
  STAGE_QUEUE,
  setActorClock,
} from "../sim/actor";
import { EVENT_VCPU_KICK, eventPost } from "../sim/events";
import { emit, TRACE_KVM_ASYNC_PF_COMPLETED } from "../sim/trace";
import {
  APF_KICKED,
  APF_READY_PENDING,
  ATTENTION_READY,
  apfAttend,
  apfRules,
  apfVcpu,
  RULES_BUSY,
  RULES_IDLE,
  RULES_MADE,
  RULES_VM,
  RULES_WAIT_HEAD,
  RULES_WAIT_TAIL,
  RULES_WORKERS,
  vmApfRules,
  WORK_CANCELLED,
  WORK_DONE_NEXT,
  WORK_GFN,
  WORK_INDEX,
  WORK_KIND,
  WORK_OWNER,
  WORK_PFN,
  WORK_READING,
  WORK_RUNNING,
  WORK_STAGES,
  WORK_STATE,
  WORK_WAITING,
} from "./apf";
import { apfPinTake } from "./apfpin";
import { workDone, workFree } from "./apfqueue";
import { NOTIFIER_PC } from "./vcpu";
import { vmMm, vmSpace } from "./vm";
import { threadIdle } from "./vmend";

// The workers that bring pages in: async_pf_execute() in kernel threads of a pool. A worker faults the page in as the VM's process
// would, for writing whatever the guest wanted, and waits for the device; how many wait at once is what the review of 2010 asked.
// A work that finds every worker busy waits in the pool, first come, first served.
//
//   BEGIN → FAULT (steps of the primary MMU) → COMPLETE → the next work, or idle
//
// invariant: busy <= the pool's limit; while a work waits, the limit is reached

const PC: usize = NOTIFIER_PC + 24;
const WORK: usize = NOTIFIER_PC + 28;
const NEXT: usize = NOTIFIER_PC + 32; // idle workers
const POOL: usize = NOTIFIER_PC + 36;
const MADE_NEXT: usize = NOTIFIER_PC + 40; // the worker made before
export const WORKER_BYTES: usize = NOTIFIER_PC + 44;

const BEGIN: u32 = 0;
const FAULT: u32 = 1;
const COMPLETE: u32 = 2;

// Workers of all VMs: made, busy, the most that were busy at once.
const MADE: usize = 0;
const BUSY: usize = 4;
const PEAK: usize = 8;
const LAST_MADE: usize = 12;
const WORKERS: usize = memory.data(16, 8);

/** Numbers of workers follow those of all other actors. */
export const WORKER_ID_BASE: u32 = 1 << 20;

export function workersInit(): void {
  memory.fill(WORKERS, 0, 16);
}

export function workersMade(): u32 {
  return load<u32>(WORKERS, MADE);
}

/** The most workers that had a work at once. */
export function workersPeak(): u32 {
  return load<u32>(WORKERS, PEAK);
}

/** A new interval for workersPeak(). */
export function workersResetPeak(): void {
  store<u32>(WORKERS, load<u32>(WORKERS, BUSY), PEAK);
}

/** Makes records for the VM's pool until it has `wanted`. False when memory is exhausted. */
export function workersCreate(vm: usize, wanted: u32): bool {
  const rules = vmApfRules(vm);
  for (let made = load<u32>(rules, RULES_MADE); made < wanted; made++) {
    const worker = arenaTake(PART_ASYNC_PF, WORKER_BYTES);
    if (worker === 0) return false;
    const number = load<u32>(WORKERS, MADE);
    actorInit(worker, ACTOR_WORKER, WORKER_ID_BASE + number);
    store<u32>(worker, <u32>vmMm(vm), ACTOR_MM);
    store<u32>(worker, <u32>rules, POOL);
    store<u32>(worker, load<u32>(rules, RULES_IDLE), NEXT);
    store<u32>(rules, <u32>worker, RULES_IDLE);
    store<u32>(rules, made + 1, RULES_MADE);
    store<u32>(WORKERS, number + 1, MADE);
    store<u32>(worker, load<u32>(WORKERS, LAST_MADE), MADE_NEXT);
    store<u32>(WORKERS, <u32>worker, LAST_MADE);
  }
  return true;
}

/** The workers of all VMs, the last made first; 0 for none. */
export function workersFirst(): usize {
  return <usize>load<u32>(WORKERS, LAST_MADE);
}

export function workerNext(worker: usize): usize {
  return <usize>load<u32>(worker, MADE_NEXT);
}

/** The VM that a worker works for. */
export function workerVm(worker: usize): usize {
  return <usize>load<u32>(<usize>load<u32>(worker, POOL), RULES_VM);
}

/** The work that a worker is at, 0 for none. */
export function workerWork(worker: usize): usize {
  return <usize>load<u32>(worker, WORK);
}

/** schedule_work(): a worker takes the work at `time`, or it waits for one. */
export function workSchedule(work: usize, time: u64): void {
  const rules = apfRules(<usize>load<u32>(work, WORK_OWNER));
  store<u32>(work, WORK_WAITING, WORK_STATE);
  const worker = <usize>load<u32>(rules, RULES_IDLE);
  if (worker === 0 || load<u32>(rules, RULES_BUSY) >= load<u32>(rules, RULES_WORKERS)) {
    store<u32>(work, 0, WORK_DONE_NEXT);
    const tail = <usize>load<u32>(rules, RULES_WAIT_TAIL);
    if (tail === 0) store<u32>(rules, <u32>work, RULES_WAIT_HEAD);
    else store<u32>(tail, <u32>work, WORK_DONE_NEXT);
    store<u32>(rules, <u32>work, RULES_WAIT_TAIL);
    return;
  }
  store<u32>(rules, load<u32>(worker, NEXT), RULES_IDLE);
  busy(rules, 1);
  take(worker, work);
  setActorClock(worker, max<u64>(actorClock(worker), time));
  actorWake(worker, time);
}

function busy(rules: usize, change: i32): void {
  store<u32>(rules, load<u32>(rules, RULES_BUSY) + change, RULES_BUSY);
  const all = load<u32>(WORKERS, BUSY) + change;
  store<u32>(WORKERS, all, BUSY);
  if (all > load<u32>(WORKERS, PEAK)) store<u32>(WORKERS, all, PEAK);
}

function take(worker: usize, work: usize): void {
  store<u32>(worker, <u32>work, WORK);
  store<u32>(work, WORK_RUNNING, WORK_STATE);
  actorClearStages(worker);
  store<u32>(worker, BEGIN, PC);
}

/** Takes a work that waits for a worker out of the pool. */
export function workUnschedule(work: usize): void {
  const rules = apfRules(<usize>load<u32>(work, WORK_OWNER));
  let previous: usize = 0;
  let at = <usize>load<u32>(rules, RULES_WAIT_HEAD);
  while (at !== work) {
    assert(at !== 0);
    previous = at;
    at = <usize>load<u32>(at, WORK_DONE_NEXT);
  }
  const next = load<u32>(work, WORK_DONE_NEXT);
  if (previous === 0) store<u32>(rules, next, RULES_WAIT_HEAD);
  else store<u32>(previous, next, WORK_DONE_NEXT);
  if (next === 0) store<u32>(rules, <u32>previous, RULES_WAIT_TAIL);
}

/** Goes on with the worker's work. Returns STEP_*. */
export function workerStep(worker: usize): i32 {
  const work = <usize>load<u32>(worker, WORK);
  const vm = workerVm(worker);
  const pc = load<u32>(worker, PC);
  if (pc === BEGIN) {
    faultBegin(worker, vmSpace(vm), load<u32>(work, WORK_INDEX), true);
    faultTakesOver(worker, load<u32>(work, WORK_READING));
    store<u32>(worker, FAULT, PC);
  }
  if (pc !== COMPLETE) {
    const step = faultStep(vmMm(vm), worker);
    // A page that could not be read is nothing to a worker: it reports the work as done, and the access that is repeated learns of it.
    if (step !== STEP_DONE && step !== STEP_READ_ERROR) return step;
    if (step === STEP_DONE) apfPinTake(work, faultPfn(worker), worker, actorClock(worker));
    store<u32>(worker, COMPLETE, PC);
    return STEP_AGAIN; // yield: the page is mapped in the host, nobody has been told
  }
  complete(worker, work);
  return nextWork(worker);
}

// The page goes onto the vCPU's list, and the vCPU is told that there is something on it.
function complete(worker: usize, work: usize): void {
  if (load<u32>(work, WORK_CANCELLED) !== 0) {
    workFree(work, worker);
    return;
  }
  const vm = workerVm(worker);
  const apf = <usize>load<u32>(work, WORK_OWNER);
  store<u32>(work, faultKind(worker), WORK_KIND);
  for (let stage: u32 = 0; stage < STAGE_COUNT; stage++) {
    store<u64>(work + ((<usize>stage) << 3), actorStageNs(worker, stage), WORK_STAGES);
  }
  const first = workDone(work);
  const gpa = (<u64>load<u32>(work, WORK_GFN)) << 12;
  const hva = spaceHva(vmSpace(vm), load<u32>(work, WORK_INDEX));
  emit(TRACE_KVM_ASYNC_PF_COMPLETED, actorClock(worker), gpa, hva, 0, 0);
  if (first && load<u32>(apf, APF_READY_PENDING) === 0) apfAttend(apf, ATTENTION_READY);
  apfKick(apf, actorClock(worker));
}

/** A halted vCPU has something to do at `time`: the scheduler wakes it. */
export function apfKick(apf: usize, time: u64): void {
  if (actorState(apfVcpu(apf)) !== ACTOR_HALTED || load<u32>(apf, APF_KICKED) !== 0) return;
  store<u32>(apf, 1, APF_KICKED);
  eventPost(time, EVENT_VCPU_KICK, <u32>apfVcpu(apf));
}

function nextWork(worker: usize): i32 {
  const rules = <usize>load<u32>(worker, POOL);
  const work = <usize>load<u32>(rules, RULES_WAIT_HEAD);
  if (work !== 0 && load<u32>(rules, RULES_BUSY) <= load<u32>(rules, RULES_WORKERS)) {
    workUnschedule(work);
    take(worker, work);
    return STEP_AGAIN; // yield: another may act before the next page
  }
  store<u32>(worker, 0, WORK);
  store<u32>(worker, load<u32>(rules, RULES_IDLE), NEXT);
  store<u32>(rules, <u32>worker, RULES_IDLE);
  busy(rules, -1);
  actorBlock(worker, STAGE_QUEUE);
  threadIdle(workerVm(worker), actorClock(worker));
  return STEP_BLOCKED;
}

/** Pages that the workers' windows hold until their reads are submitted. */
export function workersHeld(vm: usize): u32 {
  const rules = vmApfRules(vm);
  // A window has at most 32 pages.
  return rules === 0 ? 0 : 32 * load<u32>(rules, RULES_BUSY);
}

export function checkWorkers(vm: usize): void {
  const rules = vmApfRules(vm);
  if (rules === 0) return;
  let idle: u32 = 0;
  for (let at = <usize>load<u32>(rules, RULES_IDLE); at !== 0; at = <usize>load<u32>(at, NEXT)) idle++;
  assert(idle + load<u32>(rules, RULES_BUSY) === load<u32>(rules, RULES_MADE));
  for (
    let at = <usize>load<u32>(rules, RULES_WAIT_HEAD);
    at !== 0;
    at = <usize>load<u32>(at, WORK_DONE_NEXT)
  ) {
    assert(load<u32>(at, WORK_STATE) === WORK_WAITING && load<u32>(at, WORK_PFN) === PFN_NONE);
  }
}
