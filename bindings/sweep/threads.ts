// The points of a sweep in a pool of worker threads. In Node only; a browser's entry does not reach this file.

import { availableParallelism } from "node:os";
import type { Trace } from "../files.js";
import type { Scenario } from "../scenario.js";
import { type OpenLanes, ownThread } from "./lanes.js";
import { failed, type Shared } from "./point.js";
import type { Outcome, SweepRow } from "./row.js";
import { type SweepOptions, sweepIn } from "./sweep.js";

// Rows come in order, so a long point holds up those behind it; four a worker keep the others busy meanwhile.
const WINDOW_PER_WORKER = 4;

/** `workers` threads, or the caller's own where one is enough. */
export const workerThreads: OpenLanes = async (shared, options) => {
  const workers = Math.min(options.workers ?? availableParallelism(), options.points);
  if (workers === 1) return ownThread(shared, options);
  // Loaded when it is needed: everything else of the library runs without it.
  const { Piscina } = await import("piscina");
  const pool = new Piscina({
    filename: new URL("./worker.js", import.meta.url).href,
    minThreads: workers,
    maxThreads: workers,
    workerData: { ...shared, traces: inSharedMemory(shared.traces) } satisfies Shared,
  });
  let closed: Promise<void> | undefined;
  return {
    window: workers * WINDOW_PER_WORKER,
    run: (scenario) => (pool.run(scenario) as Promise<Outcome>).catch(failed),
    close: () => {
      closed ??= pool.destroy();
      return closed;
    },
  };
};

/** As `sweep` of every other place, in worker threads: what Node users of the library call. */
export function sweep(
  scenario: Scenario,
  options: SweepOptions = {},
): AsyncGenerator<SweepRow, void, undefined> {
  return sweepIn(workerThreads, scenario, options);
}

/** The traces as all threads can read them without a copy each. */
function inSharedMemory(traces: Map<string, Trace>): Map<string, Trace> {
  return new Map(
    [...traces].map(([file, trace]) => {
      const words = new Uint32Array(new SharedArrayBuffer(trace.words.byteLength));
      words.set(trace.words);
      return [file, { ...trace, words }];
    }),
  );
}
