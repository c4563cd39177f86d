import { arenaReserve, arenaTake, PART_RECORDS, PART_WORKLOADS } from "../memory/arena";

// A workload: what a task's accesses are drawn from. Everything it needs to go on is in its record: the number of accesses
// drawn so far and one word of random state.
//
// record   0      4       8        12       16     24    32       36       40      44     48         52       56      60
//          +------+-------+--------+--------+------+-----+--------+--------+-------+------+----------+--------+-------+-----+
//          | kind | pages | writes | stride | drawn| rng | buffer | thinks | table | size | hotLimit | phase… | offset| mean|
//          +------+-------+--------+--------+------+-----+--------+--------+-------+------+----------+--------+-------+-----+
//
// writes, hotLimit   probabilities in units of 2^-26
// stride, offset     rank r stands for page (r × stride + offset) mod pages: a seeded permutation; stride 1, offset 0: none
// table              of zipf: the alias table; of a trace: its words; size: words of the trace, pages of the hot set

const KIND: usize = 0;
const PAGES: usize = 4;
const WRITES: usize = 8;
const STRIDE: usize = 12;
const DRAWN: usize = 16;
const RNG: usize = 24;
const BUFFER: usize = 32;
const THINKS: usize = 36;
const TABLE: usize = 40;
const SIZE: usize = 44;
const HOT_LIMIT: usize = 48;
const OFFSET: usize = 52;
const PHASE: usize = 56; // u64
const THINK_MEAN: usize = 64;
const STREAM: usize = 68;
const THETA: usize = 72; // f64
const WORKLOAD_BYTES: usize = 80;

export const WORKLOAD_TRACE: u32 = 0;
export const WORKLOAD_ZIPF: u32 = 1;
export const WORKLOAD_UNIFORM: u32 = 2;
export const WORKLOAD_SEQUENTIAL: u32 = 3;
export const WORKLOAD_HOTCOLD: u32 = 4;

/** Accesses drawn at a time. */
export const WORKLOAD_BATCH: u32 = 1024;
/** Probabilities are given in units of one in this many. */
export const PROBABILITY_ONE: u32 = 1 << 26;

/** Takes the record of a workload over `pages` pages; 0 when memory is exhausted. */
export function workloadCreate(kind: u32, pages: u32, writes: u32, stream: u32): usize {
  const workload = arenaTake(PART_RECORDS, WORKLOAD_BYTES);
  if (workload === 0) return 0;
  store<u32>(workload, kind, KIND);
  store<u32>(workload, pages, PAGES);
  store<u32>(workload, writes, WRITES);
  store<u32>(workload, stream, STREAM);
  store<u32>(workload, 1, STRIDE);
  return workload;
}

export function workloadLayout(workload: usize): void {
  if (load<u32>(workload, KIND) !== WORKLOAD_TRACE) {
    store<u32>(workload, <u32>arenaReserve(PART_WORKLOADS, WORKLOAD_BATCH << 2), BUFFER);
  }
  if (load<u32>(workload, THINK_MEAN) !== 0) {
    store<u32>(workload, <u32>arenaReserve(PART_WORKLOADS, WORKLOAD_BATCH << 2), THINKS);
  }
}

export function workloadKind(workload: usize): u32 {
  return load<u32>(workload, KIND);
}

export function workloadPages(workload: usize): u32 {
  return load<u32>(workload, PAGES);
}

export function workloadWrites(workload: usize): u32 {
  return load<u32>(workload, WRITES);
}

/** Number of the random stream that belongs to this workload. */
export function workloadStream(workload: usize): u32 {
  return load<u32>(workload, STREAM);
}

/** Accesses drawn so far. */
export function workloadDrawn(workload: usize): u64 {
  return load<u64>(workload, DRAWN);
}

export function setWorkloadDrawn(workload: usize, accesses: u64): void {
  store<u64>(workload, accesses, DRAWN);
}

export function workloadRng(workload: usize): u64 {
  return load<u64>(workload, RNG);
}

export function setWorkloadRng(workload: usize, state: u64): void {
  store<u64>(workload, state, RNG);
}

export function workloadBuffer(workload: usize): usize {
  return <usize>load<u32>(workload, BUFFER);
}

/** Buffer of think times, 0 when they are constant. */
export function workloadThinks(workload: usize): usize {
  return <usize>load<u32>(workload, THINKS);
}

/** Mean of exponential think times, ns; 0 for none. */
export function workloadThinkMean(workload: usize): u32 {
  return load<u32>(workload, THINK_MEAN);
}

export function setWorkloadThinkMean(workload: usize, ns: u32): void {
  store<u32>(workload, ns, THINK_MEAN);
}

export function workloadTable(workload: usize): usize {
  return <usize>load<u32>(workload, TABLE);
}

export function setWorkloadTable(workload: usize, table: usize): void {
  store<u32>(workload, <u32>table, TABLE);
}

/** Words of a trace; pages of a hot set. */
export function workloadSize(workload: usize): u32 {
  return load<u32>(workload, SIZE);
}

export function setWorkloadSize(workload: usize, size: u32): void {
  store<u32>(workload, size, SIZE);
}

export function workloadStride(workload: usize): u32 {
  return load<u32>(workload, STRIDE);
}

export function workloadOffset(workload: usize): u32 {
  return load<u32>(workload, OFFSET);
}

export function setWorkloadPermutation(workload: usize, stride: u32, offset: u32): void {
  store<u32>(workload, stride, STRIDE);
  store<u32>(workload, offset, OFFSET);
}

/** Probability of the hot set, and the accesses after which it moves on (0: never). */
export function setWorkloadHot(workload: usize, limit: u32, phaseAccesses: u64): void {
  store<u32>(workload, limit, HOT_LIMIT);
  store<u64>(workload, phaseAccesses, PHASE);
}

export function workloadHotLimit(workload: usize): u32 {
  return load<u32>(workload, HOT_LIMIT);
}

export function workloadPhase(workload: usize): u64 {
  return load<u64>(workload, PHASE);
}

/** Skew of zipf. */
export function workloadTheta(workload: usize): f64 {
  return load<f64>(workload, THETA);
}

export function setWorkloadTheta(workload: usize, theta: f64): void {
  store<f64>(workload, theta, THETA);
}
