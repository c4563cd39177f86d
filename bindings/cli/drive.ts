// Takes a machine from boot to the end of its run: warm-up, then the run, in slices when somebody wants to look in
// between (a time series) or when something has to be taken out in time (trace records).

import type { Limit, Machine, Progress } from "../machine.js";
import type { RunResult } from "../result.js";
import { pieces } from "../ticks.js";
import type { ProgressReport } from "./progress.js";

/** The part of a machine that the commands use; tests hand in their own. */
export type Simulation = Pick<
  Machine,
  "scenario" | "warmUp" | "runAsync" | "result" | "traceText" | "traceEvents" | "histograms" | "dispose"
>;

export interface Plan {
  /** Shown with the progress: "run", "90%". */
  label: string;
  /** Undefined: the scenario's own duration, or until its tasks end. */
  limit: Limit | undefined;
  signal: AbortSignal;
  progress: ProgressReport;
  /** Called when virtual time has passed a multiple of `everyNs`, and at the end, with everything since the warm-up. */
  series?: { everyNs: number; sample: (result: RunResult) => void };
  /** Takes trace records from the machine, part by part. */
  trace?: (machine: Simulation) => void;
}

/** Accesses between two looks at the ring of trace records: 64 records each fill a ring of the default capacity. */
const TRACE_ACCESSES = 1024;

/**
 * Runs `machine` as `plan` says. An interrupted run ends early with status `interrupted`.
 *
 * @returns the result since the end of the warm-up
 */
export async function drive(machine: Simulation, plan: Plan): Promise<RunResult> {
  const { signal, progress } = plan;
  const onProgress = (now: Progress): void => progress.update(now);
  try {
    if (machine.scenario.duration.warmUp !== null) {
      progress.begin(`${plan.label}, warm-up`);
      await machine.warmUp({ signal, onProgress });
    }
    progress.begin(plan.label);
    if (plan.series === undefined && plan.trace === undefined) {
      await machine.runAsync(plan.limit, { signal, onProgress });
    } else {
      await runSliced(machine, plan);
    }
  } finally {
    progress.end();
  }
  return machine.result();
}

/** Runs to the end in pieces; where the cuts are depends on virtual time and accesses only, so what is written is the same every time. */
async function runSliced(machine: Simulation, { series, trace, ...plan }: Plan): Promise<void> {
  let sampledNs = -1;
  for await (const { virtualTimeNs, atMark, last } of pieces(machine, {
    every: { everyNs: series?.everyNs ?? Number.POSITIVE_INFINITY },
    ...(trace && { accesses: TRACE_ACCESSES }),
    ...(plan.limit && { limit: plan.limit }),
    signal: plan.signal,
    onProgress: (progress) => plan.progress.update(progress),
  })) {
    trace?.(machine);
    if ((atMark || last) && virtualTimeNs > sampledNs) {
      series?.sample(machine.result());
      sampledNs = virtualTimeNs;
    }
  }
}
