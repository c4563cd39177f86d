// Reads the counters of a core into plain rows, and subtracts two readings: what happened between them. No counter is
// interpreted here beyond its name.

import type { Core } from "./core.js";
import type { FaultKind, Latency } from "./result.js";

export const FAULT_NAMES = ["minor", "major", "spurious", "writeProtect"] as const;
/** The kinds of faults, as docs/result.md tells them apart. */
export type FaultName = (typeof FAULT_NAMES)[number];

/** The stages of a fault, in the order of the core's numbers for them. */
export const STAGE_NAMES = [
  "exit",
  "lock",
  "reclaim",
  "alloc",
  "cpu",
  "queue",
  "device",
  "map",
  "flush",
  "async",
] as const;
const KIND_CONSTANTS: Record<FaultName, string> = {
  minor: "FAULT_MINOR",
  major: "FAULT_MAJOR",
  spurious: "FAULT_SPURIOUS",
  writeProtect: "FAULT_WRITE_PROTECT",
};

interface FaultReading {
  count: number;
  sumNs: number;
  maxNs: number;
  markMaxNs: number;
  stageNs: number[];
  /** Counts by bucket; empty while there was no fault. */
  histogram: Uint32Array;
}

export interface VmReading {
  row: Float64Array;
  /** What the guest's own memory management counts. */
  guest: Float64Array;
  faults: Record<FaultName, FaultReading>;
}

/** Everything a core counts, at one moment. */
export interface Reading {
  vms: VmReading[];
  host: Float64Array;
  devices: Float64Array[];
  tasks: Float64Array[];
}

const ROW = 128;

function row(core: Core, write: () => unknown): Float64Array {
  write();
  return core.f64(core.call.reportTable(), ROW).slice();
}

/** Reads all counters; `tasks` are the numbers of the tasks to read. */
export function readCounters(core: Core, vms: number, devices: number, tasks: readonly number[]): Reading {
  const { call } = core;
  return {
    vms: Array.from({ length: vms }, (_, id) => readVm(core, id)),
    host: row(core, () => call.reportHost()),
    devices: Array.from({ length: devices }, (_, type) => row(core, () => call.reportDevice(type))),
    tasks: tasks.map((task) => row(core, () => call.reportTask(task))),
  };
}

/** Virtual time since the machine was made, ns: one of the host's counters, for those who need no other. */
export function virtualNow(core: Core): number {
  core.call.reportHost();
  return core.f64(core.call.reportTable(), ROW)[core.constant("REPORT_HOST_NOW")]!;
}

function readVm(core: Core, id: number): VmReading {
  const { call } = core;
  const counters = row(core, () => call.reportVm(id));
  const first = core.constant("REPORT_VM_FAULTS");
  const fields = core.constant("REPORT_FAULT_FIELDS");
  const faults = {} as Record<FaultName, FaultReading>;
  for (const name of FAULT_NAMES) {
    const kind = core.constant(KIND_CONSTANTS[name]);
    const at = first + kind * fields;
    const count = counters[at]!;
    const length = count === 0 ? 0 : call.reportHistogramCounts() >>> 0;
    faults[name] = {
      count,
      sumNs: counters[at + 1]!,
      maxNs: counters[at + 2]!,
      markMaxNs: counters[at + 3]!,
      stageNs: Array.from(counters.subarray(at + 4, at + fields)),
      histogram: core.u32(call.reportHistogram(id, kind), length).slice(),
    };
  }
  return { row: counters, guest: row(core, () => call.reportGuest(id)), faults };
}

/**
 * One kind of fault between two readings.
 *
 * @param sinceMark the largest latency is the one since the last mark, not since boot
 */
export function faultBetween(
  core: Core,
  before: FaultReading,
  after: FaultReading,
  sinceMark: boolean,
): FaultKind {
  const count = after.count - before.count;
  const stages = Object.fromEntries(
    STAGE_NAMES.map((stage, index) => [`${stage}Ns`, after.stageNs[index]! - before.stageNs[index]!]),
  ) as unknown as FaultKind["stages"];
  const sumNs = after.sumNs - before.sumNs;
  const maxNs = count === 0 ? 0 : sinceMark ? after.markMaxNs : after.maxNs;
  return { count, latency: latency(core, before.histogram, after.histogram, count, sumNs, maxNs), stages };
}

// Percentiles as HdrHistogram reports them: the largest value that falls into the bucket of the rank.
function latency(
  core: Core,
  before: Uint32Array,
  after: Uint32Array,
  count: number,
  sumNs: number,
  maxNs: number,
): Latency {
  const wanted = [0.5, 0.9, 0.99, 0.999];
  const found = [0, 0, 0, 0];
  if (count > 0) {
    let seen = 0;
    let next = 0;
    for (let index = 0; index < after.length && next < wanted.length; index++) {
      const here = after[index]! - (before[index] ?? 0);
      if (here === 0) continue;
      seen += here;
      while (next < wanted.length && seen >= Math.ceil(wanted[next]! * count)) {
        found[next] = Math.min(core.call.reportHistogramHighest(index), maxNs);
        next++;
      }
    }
  }
  const [p50 = 0, p90 = 0, p99 = 0, p999 = 0] = found;
  return { mean: count === 0 ? 0 : sumNs / count, p50, p90, p99, p999, max: maxNs };
}
