import { setTaskStream, taskAccesses, taskCompute, taskWorkload } from "../guest/task";
import { rngAdvance, rngBelow, rngBelowThreshold, rngBits, rngSeed } from "../sim/rng";
import { exponentialNs } from "./exponential";
import { permute } from "./permute";
import {
  setWorkloadDrawn,
  setWorkloadRng,
  WORKLOAD_BATCH,
  WORKLOAD_HOTCOLD,
  WORKLOAD_SEQUENTIAL,
  WORKLOAD_TRACE,
  WORKLOAD_UNIFORM,
  workloadBuffer,
  workloadDrawn,
  workloadHotLimit,
  workloadKind,
  workloadOffset,
  workloadPages,
  workloadPhase,
  workloadRng,
  workloadSize,
  workloadStream,
  workloadStride,
  workloadTable,
  workloadThinkMean,
  workloadThinks,
  workloadWrites,
} from "./workload";
import { ZIPF_REJECTED, zipfRank } from "./zipf";

// Draws the next batch of a task's accesses into its buffer: u32 each, bit 31 a write, bits 0..30 the page. A trace is not
// copied: its stream is the trace itself. The kind of workload is chosen once a batch, never once an access.

/** Puts the next accesses into the task's empty stream. */
export function workloadFill(task: usize): void {
  const workload = taskWorkload(task);
  const kind = workloadKind(workload);
  const drawn = workloadDrawn(workload);
  if (kind === WORKLOAD_TRACE) {
    const words = workloadSize(workload);
    const position = <u32>(drawn % <u64>words);
    let batch = words - position;
    if (workloadThinkMean(workload) !== 0) batch = min<u32>(batch, WORKLOAD_BATCH);
    setTaskStream(task, workloadTable(workload) + ((<usize>position) << 2), batch, thinks(workload, batch));
    setWorkloadDrawn(workload, drawn + batch);
    return;
  }
  if (kind === WORKLOAD_UNIFORM) uniform(workload);
  else if (kind === WORKLOAD_SEQUENTIAL) sequential(workload, drawn);
  else if (kind === WORKLOAD_HOTCOLD) hotcold(workload, drawn);
  else zipf(workload);
  setTaskStream(task, workloadBuffer(workload), WORKLOAD_BATCH, thinks(workload, WORKLOAD_BATCH));
  setWorkloadDrawn(workload, drawn + WORKLOAD_BATCH);
}

/** A new seed from now on: what was drawn and not yet used is drawn again. */
export function workloadReseed(task: usize, seed: u32): void {
  if (taskCompute(task)) return;
  const workload = taskWorkload(task);
  setWorkloadRng(workload, rngSeed(seed, workloadStream(workload)));
  setWorkloadDrawn(workload, taskAccesses(task));
  setTaskStream(task, 0, 0, 0);
}

function thinks(workload: usize, batch: u32): usize {
  const mean = workloadThinkMean(workload);
  if (mean === 0) return 0;
  const buffer = workloadThinks(workload);
  let state = workloadRng(workload);
  for (let index: u32 = 0; index < batch; index++) {
    state = rngAdvance(state);
    store<u32>(buffer + ((<usize>index) << 2), exponentialNs(rngBits(state), mean));
  }
  setWorkloadRng(workload, state);
  return buffer;
}

function access(page: u32, bits: u64, writes: u32): u32 {
  return page | ((<u32>rngBelowThreshold(bits, writes)) << 31);
}

function uniform(workload: usize): void {
  const pages = workloadPages(workload);
  const writes = workloadWrites(workload);
  const buffer = workloadBuffer(workload);
  let state = workloadRng(workload);
  for (let index: u32 = 0; index < WORKLOAD_BATCH; index++) {
    state = rngAdvance(state);
    const bits = rngBits(state);
    store<u32>(buffer + ((<usize>index) << 2), access(rngBelow(bits, pages), bits, writes));
  }
  setWorkloadRng(workload, state);
}

function sequential(workload: usize, drawn: u64): void {
  const pages = workloadPages(workload);
  const writes = workloadWrites(workload);
  const buffer = workloadBuffer(workload);
  let state = workloadRng(workload);
  let page = <u32>(drawn % <u64>pages);
  for (let index: u32 = 0; index < WORKLOAD_BATCH; index++) {
    state = rngAdvance(state);
    store<u32>(buffer + ((<usize>index) << 2), access(page, rngBits(state), writes));
    page++;
    if (page === pages) page = 0;
  }
  setWorkloadRng(workload, state);
}

function zipf(workload: usize): void {
  const pages = workloadPages(workload);
  const writes = workloadWrites(workload);
  const buffer = workloadBuffer(workload);
  const table = workloadTable(workload);
  const stride = workloadStride(workload);
  const offset = workloadOffset(workload);
  const inverse = 1 / <f64>pages;
  let state = workloadRng(workload);
  for (let index: u32 = 0; index < WORKLOAD_BATCH; ) {
    state = rngAdvance(state);
    const bits = rngBits(state);
    state = rngAdvance(state);
    const rank = zipfRank(table, bits, rngBits(state));
    if (rank === ZIPF_REJECTED) continue;
    const page = permute(rank, stride, offset, pages, inverse);
    store<u32>(buffer + ((<usize>index) << 2), access(page, bits, writes));
    index++;
  }
  setWorkloadRng(workload, state);
}

// The hot set is a window over the ranks that moves on by its own size with every phase.
function hotcold(workload: usize, drawn: u64): void {
  const pages = workloadPages(workload);
  const hot = workloadSize(workload);
  const limit = workloadHotLimit(workload);
  const phase = workloadPhase(workload);
  const writes = workloadWrites(workload);
  const stride = workloadStride(workload);
  const offset = workloadOffset(workload);
  const inverse = 1 / <f64>pages;
  const buffer = workloadBuffer(workload);
  let state = workloadRng(workload);
  for (let index: u32 = 0; index < WORKLOAD_BATCH; index++) {
    const first: u32 = phase === 0 ? 0 : <u32>((((drawn + index) / phase) * hot) % <u64>pages);
    state = rngAdvance(state);
    const choice = rngBits(state);
    state = rngAdvance(state);
    const bits = rngBits(state);
    const isHot = rngBelowThreshold(choice, limit);
    const rank = isHot ? rngBelow(bits, hot) : hot + rngBelow(bits, pages - hot);
    const place = first + rank;
    const page = permute(place >= pages ? place - pages : place, stride, offset, pages, inverse);
    store<u32>(buffer + ((<usize>index) << 2), access(page, bits, writes));
  }
  setWorkloadRng(workload, state);
}
