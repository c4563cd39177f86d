// Where the points of a sweep run: in the caller's thread, one at a time, or in a pool of worker threads.

import { inNode, type Trace } from "../files.js";
import type { Scenario } from "../scenario.js";
import { failed, runPoint, type Shared } from "./point.js";
import type { Outcome } from "./row.js";

export interface Lanes {
  /** Points that may be under way or done and not yet taken. */
  window: number;
  /** Never rejects. */
  run(scenario: Scenario): Promise<Outcome>;
  /** Ends what is under way; its outcomes are errors then. May be called twice. */
  close(): Promise<void>;
}

// Rows come in order, so a long point holds up those behind it; four a worker keep the others busy meanwhile.
const WINDOW_PER_WORKER = 4;

/** One point at a time, in this thread. */
export function ownThread(shared: Shared, signal: AbortSignal | undefined): Lanes {
  return { window: 1, run: (scenario) => runPoint(scenario, shared, signal), close: async () => {} };
}

/** `workers` threads. In Node only. */
export async function threads(shared: Shared, workers: number): Promise<Lanes> {
  // Named at run time, so that a bundle for the browser does not look for worker_threads.
  const name = "piscina";
  const { Piscina } = (await import(name)) as typeof import("piscina");
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
}

/** How many threads run at once here. */
export function threadsHere(): number {
  return inNode() ? process.getBuiltinModule("node:os").availableParallelism() : 1;
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
