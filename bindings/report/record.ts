// A run as a report needs it: the counters at moments of virtual time that lie equally far apart. How long a run will be is often not known, so
// the distance begins small and doubles, every other moment being forgotten, whenever there are too many.

import type { LatencyHistogram } from "../histogram.js";
import type { Limit } from "../limit.js";
import type { Machine } from "../machine.js";
import type { RunResult } from "../result.js";
import type { Progress } from "../running.js";
import { pieces } from "../ticks.js";
import type { VcpuState } from "../vcpus.js";

/** A moment: everything counted from the start of the record up to it. */
export interface Moment {
  /** Virtual ns since the start. */
  timeNs: number;
  /** The counters. */
  result: RunResult;
  /** The latencies of every kind of fault. */
  histograms: LatencyHistogram[];
  /** What each vCPU does and did. */
  vcpus: VcpuState[];
}

/** A run, from its first moment to its last. */
export interface RunRecord {
  /** The state at the start. */
  first: Moment;
  /** In order; the last one is the end of the run. */
  moments: Moment[];
}

/** How far to run, and how finely to look. */
export interface RecordOptions {
  /** How far to run, after the warm-up; default: the scenario's duration. */
  limit?: Limit;
  /** Ends the run; the record then ends there. */
  signal?: AbortSignal;
  /** Told how far the run has come, at least every 16 ms. */
  onProgress?: (progress: Progress) => void;
  /** Most moments that are kept, an even number from 2. Default: 400. */
  moments?: number;
}

/** The distance to begin with: what happens within 10 us is one moment of any run. */
const SHORTEST_NS = 10_000;

/** Runs a machine to its end, the warm-up first, and keeps what it was like on the way. The digest is that of the run alone. @throws PagevisorError E_ENDLESS, E_LIMIT, E_DISPOSED */
export async function recordRun(machine: Machine, options: RecordOptions = {}): Promise<RunRecord> {
  const { limit, signal, onProgress, moments: most = 400 } = options;
  await machine.warmUp({ ...(signal && { signal }), ...(onProgress && { onProgress }) });
  const began = machine.result().virtualTimeNs;
  const momentNow = (): Moment => {
    const result = machine.result();
    return {
      timeNs: result.virtualTimeNs - began,
      result,
      histograms: machine.histograms(),
      vcpus: machine.vcpus(),
    };
  };
  const first = momentNow();
  let moments: Moment[] = [];
  const every = { everyNs: SHORTEST_NS };
  for await (const { atMark, last } of pieces(machine, {
    every,
    ...(limit && { limit }),
    ...(signal && { signal }),
    ...(onProgress && { onProgress }),
  })) {
    if (!atMark && !last) continue;
    moments.push(momentNow());
    if (moments.length >= most) {
      moments = moments.filter((_, index) => index % 2 === 1);
      every.everyNs *= 2;
    }
  }
  return { first, moments };
}
