// A run in pieces that end at multiples of virtual time: what `machine.ticks()` and the time series of the command line are. Where the cuts
// are depends on virtual time and accesses alone, so what is seen at them is the same every time.

import { PagevisorError } from "./errors.js";
import { YIELD_MS } from "./eventloop.js";
import type { Limit } from "./limit.js";
import type { Machine } from "./machine.js";
import type { RunResult } from "./result.js";
import type { Progress } from "./running.js";
import { parseTime } from "./units.js";

/** How often to look, and how far to run. */
export interface TickOptions {
  /** Virtual time between two ticks: ns, or with a unit, as in "10ms". */
  every: number | string;
  /** How far to run, over all ticks; default: the scenario's duration, else until every task that can end has ended. */
  limit?: Limit;
  /** Ends the run: the last tick then has the status `interrupted`. */
  signal?: AbortSignal;
  /** Told how far the whole run has come, at least every 16 ms. */
  onProgress?: (progress: Progress) => void;
}

/** The state of a run at a multiple of `every`, or at its end. */
export interface Tick {
  /** Virtual ns since the first tick began. */
  virtualTimeNs: number;
  /** What happened since the tick before. `machine.result()` is everything. */
  result: RunResult;
  /** Nothing comes after it. */
  last: boolean;
}

/** The part of a machine that is needed. */
type Runner = Pick<Machine, "scenario" | "runAsync">;

interface Counted {
  accesses: number;
  timeNs: number;
}

/** {@link Machine.ticks}. @throws PagevisorError E_LIMIT for an interval that is none */
export async function* ticksOf(machine: Runner, options: TickOptions): AsyncGenerator<Tick, void, undefined> {
  const reading = parseTime(options.every);
  if (!reading.ok || reading.value <= 0) {
    throw new PagevisorError(
      "E_LIMIT",
      `every: ${JSON.stringify(options.every)} is not a virtual time; allowed: ns above 0, or a string such as "10ms"`,
    );
  }
  for await (const { atMark, last, result, virtualTimeNs } of pieces(machine, {
    ...options,
    every: { everyNs: reading.value },
  })) {
    if (atMark || last) yield { virtualTimeNs, result, last };
  }
}

export interface PieceOptions extends Omit<TickOptions, "every"> {
  /** A piece ends at each multiple of it; infinite for none. May be changed between two pieces. */
  every: { everyNs: number };
  /** Most accesses of one piece. */
  accesses?: number;
}

export interface Piece extends Tick {
  /** It ended at a multiple of the interval. */
  atMark: boolean;
}

/** Runs to the end piece by piece. */
export async function* pieces(
  machine: Runner,
  { every, accesses = Number.POSITIVE_INFINITY, limit, signal, onProgress }: PieceOptions,
): AsyncGenerator<Piece, void, undefined> {
  const total = await totalLimit(machine, limit);
  const done: Counted = { accesses: 0, timeNs: 0 };
  let last = false;
  let toldMs = performance.now();
  const tell = (progress: Progress): void => {
    onProgress?.(whole(progress, done, total));
    toldMs = performance.now();
  };
  while (!last) {
    const mark = (Math.floor(done.timeNs / every.everyNs) + 1) * every.everyNs;
    const piece = await machine.runAsync(
      finite({
        accesses: Math.min(total.accesses - done.accesses, accesses),
        timeNs: Math.min(mark, total.timeNs) - done.timeNs,
      }),
      {
        ...(signal && { signal }),
        ...(onProgress && { onProgress: tell }),
      },
    );
    done.accesses += piece.accesses;
    done.timeNs += piece.virtualTimeNs;
    const cut = piece.status === "done" && (piece.stoppedBy === "time" || piece.stoppedBy === "accesses");
    last = !(cut && done.timeNs < total.timeNs && done.accesses < total.accesses);
    // A piece may be too short to have told anything.
    if (performance.now() - toldMs >= YIELD_MS) tell({ accesses: 0, virtualTimeNs: 0, share: null });
    yield { virtualTimeNs: done.timeNs, result: piece, last, atMark: done.timeNs >= mark };
  }
}

/** What ends the whole run; infinite where only the tasks do. Throws `E_ENDLESS`, which a piece's own limit would hide. */
async function totalLimit(machine: Runner, limit: Limit | undefined): Promise<Counted> {
  if (limit === undefined) await machine.runAsync(undefined, { signal: AbortSignal.abort() });
  const { accesses, time } = limit ?? machine.scenario.duration;
  const reading = parseTime(time ?? Number.NaN);
  return {
    accesses: accesses ?? Number.POSITIVE_INFINITY,
    timeNs: reading.ok ? reading.value : Number.POSITIVE_INFINITY,
  };
}

function finite({ accesses, timeNs }: Counted): Limit {
  return {
    ...(Number.isFinite(accesses) && { accesses }),
    ...(Number.isFinite(timeNs) && { time: timeNs }),
  };
}

/** The progress of the whole run from that of a piece; its share is unknown when only the tasks end the run. */
function whole(piece: Progress, before: Counted, total: Counted): Progress {
  const accesses = before.accesses + piece.accesses;
  const virtualTimeNs = before.timeNs + piece.virtualTimeNs;
  const share = Math.max(accesses / total.accesses, virtualTimeNs / total.timeNs);
  return { accesses, virtualTimeNs, share: share > 0 ? share : null };
}
