import { TIME_NEVER } from "../memory/layout";

// What a machine has exactly one of: the host's mm, the lists of actors and tasks, how far the run has come and why it
// stopped. It lies in linear memory like everything else, so that a copy of the memory is a copy of the machine.

const HOST: usize = 0;
const ACTORS: usize = 4; // first actor
const LAST_ACTOR: usize = 8;
const ACTOR_COUNT: usize = 12;
const CPUS: usize = 16; // address of the CPU records
const CPU_COUNT: usize = 20;
const TASKS: usize = 24; // address of the task table
const TASK_COUNT: usize = 28;
const QUANTUM: usize = 32;
const STOP: usize = 36;
const OOM_VM: usize = 40;
const FINITE_LEFT: usize = 44;
const PREFAULTS_LEFT: usize = 48;
const SEED: usize = 52;
const NOW: usize = 56; // u64
const TIME_LIMIT: usize = 64; // u64
const EPOCH: usize = 72; // u64
const TURN_CPU: usize = 80; // the CPU whose turn was cut by the access limit, or CPU_NONE
const TURN_END: usize = 88; // u64
const INTEGRITY: usize = 96;
const STOP_ON_VIOLATION: usize = 100;
const STARTED: usize = 104;
const OOM_LIMIT: usize = 108;
const READ_ERROR_PAGE: usize = 112;
const READ_ERROR_DEVICE: usize = 116;
const STATE_BYTES: usize = 120;
const STATE: usize = memory.data(120, 8);

const TASK_TABLE: usize = memory.data(4 * 65536, 8);
export const MAX_TASKS: u32 = 65536;

/** The call's budget is used up; the run goes on with the next call. */
export const STOP_NONE: u32 = 0;
/** Every task that can end has ended. */
export const STOP_TASKS: u32 = 1;
export const STOP_ACCESSES: u32 = 2;
export const STOP_TIME: u32 = 3;
export const STOP_OOM: u32 = 4;
export const STOP_VIOLATION: u32 = 5;
/** Nothing will ever happen again: nothing is left to run. */
export const STOP_IDLE: u32 = 6;
/** The single access, or the call of a monitor, that somebody outside waits for has been made. */
export const STOP_STEP: u32 = 7;
/** A policy from outside has failed to choose. */
export const STOP_POLICY: u32 = 8;
/** A page was needed that its device could not read. */
export const STOP_READ_ERROR: u32 = 9;

export function stateInit(): void {
  memory.fill(STATE, 0, STATE_BYTES);
  store<u64>(STATE, TIME_NEVER, TIME_LIMIT);
  store<u32>(STATE, 0xffffffff, TURN_CPU);
}

export function host(): usize {
  return <usize>load<u32>(STATE, HOST);
}

export function setHost(mm: usize): void {
  store<u32>(STATE, <u32>mm, HOST);
}

export function firstActor(): usize {
  return <usize>load<u32>(STATE, ACTORS);
}

export function lastActor(): usize {
  return <usize>load<u32>(STATE, LAST_ACTOR);
}

export function setActors(first: usize, last: usize): void {
  store<u32>(STATE, <u32>first, ACTORS);
  store<u32>(STATE, <u32>last, LAST_ACTOR);
}

export function actorCount(): u32 {
  return load<u32>(STATE, ACTOR_COUNT);
}

export function setActorCount(actors: u32): void {
  store<u32>(STATE, actors, ACTOR_COUNT);
}

export function cpuRecords(): usize {
  return <usize>load<u32>(STATE, CPUS);
}

export function cpuCount(): u32 {
  return load<u32>(STATE, CPU_COUNT);
}

export function setCpus(records: usize, count: u32): void {
  store<u32>(STATE, <u32>records, CPUS);
  store<u32>(STATE, count, CPU_COUNT);
}

/** Tasks of all VMs, in the order in which they were added. */
export function taskCount(): u32 {
  return load<u32>(STATE, TASK_COUNT);
}

export function taskAt(index: u32): usize {
  assert(index < load<u32>(STATE, TASK_COUNT));
  return <usize>load<u32>(TASK_TABLE + ((<usize>index) << 2));
}

export function addTask(task: usize): void {
  const index = load<u32>(STATE, TASK_COUNT);
  assert(index < MAX_TASKS);
  store<u32>(TASK_TABLE + ((<usize>index) << 2), <u32>task);
  store<u32>(STATE, index + 1, TASK_COUNT);
}

/** host.quantum: the longest turn of a vCPU in the guest, ns. */
export function quantum(): u32 {
  return load<u32>(STATE, QUANTUM);
}

export function setQuantum(ns: u32): void {
  store<u32>(STATE, ns, QUANTUM);
}

export function stopReason(): u32 {
  return load<u32>(STATE, STOP);
}

export function setStop(reason: u32): void {
  store<u32>(STATE, reason, STOP);
}

/** The machine has come to its end: no run goes on. */
export function stoppedForGood(): bool {
  return stopReason() === STOP_OOM || stopReason() === STOP_READ_ERROR;
}

/** VM whose vCPU found no memory, or whose page could not be read; after STOP_OOM or STOP_READ_ERROR. */
export function oomVm(): u32 {
  return load<u32>(STATE, OOM_VM);
}

/** True when that was at the VM's own limit, false when the host was out of memory. */
export function oomOverLimit(): bool {
  return load<u32>(STATE, OOM_LIMIT) !== 0;
}

export function setOom(vm: u32, overLimit: bool): void {
  store<u32>(STATE, vm, OOM_VM);
  store<u32>(STATE, overLimit ? 1 : 0, OOM_LIMIT);
}

/** After STOP_READ_ERROR: the page of its memory. */
export function readErrorPage(): u32 {
  return load<u32>(STATE, READ_ERROR_PAGE);
}

/** The swap area that holds it. */
export function readErrorDevice(): u32 {
  return load<u32>(STATE, READ_ERROR_DEVICE);
}

export function setReadError(vm: u32, page: u32, device: u32): void {
  store<u32>(STATE, vm, OOM_VM);
  store<u32>(STATE, page, READ_ERROR_PAGE);
  store<u32>(STATE, device, READ_ERROR_DEVICE);
}

/** Tasks that can end and have not. */
export function finiteLeft(): u32 {
  return load<u32>(STATE, FINITE_LEFT);
}

export function setFiniteLeft(tasks: u32): void {
  store<u32>(STATE, tasks, FINITE_LEFT);
}

/** Prefaulting tasks that have not ended. */
export function prefaultsLeft(): u32 {
  return load<u32>(STATE, PREFAULTS_LEFT);
}

export function setPrefaultsLeft(tasks: u32): void {
  store<u32>(STATE, tasks, PREFAULTS_LEFT);
}

export function seed(): u32 {
  return load<u32>(STATE, SEED);
}

export function setSeed(value: u32): void {
  store<u32>(STATE, value, SEED);
}

/** Nothing that is still to come is earlier, absolute ns. */
export function now(): u64 {
  return load<u64>(STATE, NOW);
}

export function setNow(time: u64): void {
  assert(time >= load<u64>(STATE, NOW));
  store<u64>(STATE, time, NOW);
}

/** Time at which the run stops, absolute ns. */
export function timeLimit(): u64 {
  return load<u64>(STATE, TIME_LIMIT);
}

export function setTimeLimit(time: u64): void {
  store<u64>(STATE, time, TIME_LIMIT);
}

/** Absolute time at which the guests' tasks began: virtual time 0 of everything that is printed. */
export function epoch(): u64 {
  return load<u64>(STATE, EPOCH);
}

export function setEpoch(time: u64): void {
  store<u64>(STATE, time, EPOCH);
}

/** CPU whose turn goes on with the next call, 0xffffffff for none. */
export function turnCpu(): u32 {
  return load<u32>(STATE, TURN_CPU);
}

/** Clock at which that turn ends. */
export function turnEnd(): u64 {
  return load<u64>(STATE, TURN_END);
}

export function setTurn(cpu: u32, end: u64): void {
  store<u32>(STATE, cpu, TURN_CPU);
  store<u64>(STATE, end, TURN_END);
}

export function integrity(): bool {
  return load<u32>(STATE, INTEGRITY) !== 0;
}

export function stopOnViolation(): bool {
  return load<u32>(STATE, STOP_ON_VIOLATION) !== 0;
}

export function setCheck(on: bool, stop: bool): void {
  store<u32>(STATE, on ? 1 : 0, INTEGRITY);
  store<u32>(STATE, stop ? 1 : 0, STOP_ON_VIOLATION);
}

/** boot() has ended with success. */
export function started(): bool {
  return load<u32>(STATE, STARTED) !== 0;
}

export function setStarted(): void {
  store<u32>(STATE, 1, STARTED);
}
