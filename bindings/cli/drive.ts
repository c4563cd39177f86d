// Takes a machine from boot to the end of its run: warm-up, then the run, in slices when somebody wants to look in
// between (a time series) or when something has to be taken out in time (trace records).

import type { Limit, Machine, Progress } from "../machine.js";
import type { RunResult } from "../result.js";
import { parseTime } from "../units.js";
import type { ProgressReport } from "./progress.js";

/** The part of a machine that the commands use; tests hand in their own. */
export type Simulation = Pick<
  Machine,
  "scenario" | "warmUp" | "runAsync" | "result" | "traceText" | "dispose"
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
  /** Takes the ftrace text part by part. */
  trace?: (text: string) => void;
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

interface Counted {
  accesses: number;
  timeNs: number;
}

/** Runs to the end in slices that depend on virtual time and accesses only, so what is written is the same every time. */
async function runSliced(machine: Simulation, { series, trace, ...plan }: Plan): Promise<void> {
  const total = await totalLimit(machine, plan.limit);
  const done: Counted = { accesses: 0, timeNs: 0 };
  let sampledNs = -1;
  let goesOn = true;
  while (goesOn) {
    const mark = series ? (Math.floor(done.timeNs / series.everyNs) + 1) * series.everyNs : total.timeNs;
    const slice = await machine.runAsync(
      finite({
        accesses: Math.min(total.accesses - done.accesses, trace ? TRACE_ACCESSES : Number.POSITIVE_INFINITY),
        timeNs: Math.min(mark, total.timeNs) - done.timeNs,
      }),
      { signal: plan.signal, onProgress: (progress) => plan.progress.update(whole(progress, done, total)) },
    );
    done.accesses += slice.accesses;
    done.timeNs += slice.virtualTimeNs;
    const cut = slice.status === "done" && (slice.stoppedBy === "time" || slice.stoppedBy === "accesses");
    goesOn = cut && done.timeNs < total.timeNs && done.accesses < total.accesses;
    trace?.(machine.traceText());
    if ((done.timeNs >= mark || !goesOn) && done.timeNs > sampledNs) {
      series?.sample(machine.result());
      sampledNs = done.timeNs;
    }
  }
}

/** What ends the whole run; infinite where only the tasks do. Throws `E_ENDLESS`, which a slice's own limit would hide. */
async function totalLimit(machine: Simulation, limit: Limit | undefined): Promise<Counted> {
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

/** The progress of the whole run from that of a slice; its share is unknown when only the tasks end the run. */
function whole(slice: Progress, before: Counted, total: Counted): Progress {
  const accesses = before.accesses + slice.accesses;
  const virtualTimeNs = before.timeNs + slice.virtualTimeNs;
  const share = Math.max(accesses / total.accesses, virtualTimeNs / total.timeNs);
  return { accesses, virtualTimeNs, share: share > 0 ? share : null };
}
