// Many runs of one scenario: rows in the order of the points, whatever the number of workers, no faster than they are taken.

import { coreModule } from "../core.js";
import { PagevisorError } from "../errors.js";
import { show } from "../problems.js";
import type { Scenario } from "../scenario.js";
import { type Lanes, type OpenLanes, ownThread } from "./lanes.js";
import { type Plan, type PlanOptions, planSweep } from "./plan.js";
import type { SweepRow } from "./row.js";

const WORKERS_MAX = 1024;

/** Who runs a sweep's points. */
export interface RunPlanOptions {
  /** Worker threads; 1 runs in the caller's own. Default: as many as the machine runs at once. A browser has one. */
  workers?: number;
  /** Ends the sweep early: no further row comes. */
  signal?: AbortSignal;
  /** A compiled core, as for `Machine.create`. */
  module?: WebAssembly.Module;
}

/** What a sweep varies, and who runs its points. */
export type SweepOptions = PlanOptions & RunPlanOptions;

/**
 * Runs `scenario` once for every combination of the varied values and every seed.
 *
 * A point that fails is a row with its error and does not end the sweep. Leaving the loop early ends the workers.
 *
 * @throws PagevisorError E_SWEEP, E_SCENARIO, E_FILE, E_LIMIT, all before the first point runs
 */
export function sweep(
  scenario: Scenario,
  options: SweepOptions = {},
): AsyncGenerator<SweepRow, void, undefined> {
  return sweepIn(ownThread, scenario, options);
}

/** {@link sweep} in lanes that `open` gets ready. */
export async function* sweepIn(
  open: OpenLanes,
  scenario: Scenario,
  options: SweepOptions,
): AsyncGenerator<SweepRow, void, undefined> {
  checkWorkers(options.workers);
  yield* runPlan(open, await planSweep(scenario, options), 0, options);
}

/** Checks a number of workers. Throws `E_SWEEP`. */
export function checkWorkers(workers: number | undefined): void {
  if (workers === undefined || (Number.isInteger(workers) && workers >= 1 && workers <= WORKERS_MAX)) return;
  throw new PagevisorError(
    "E_SWEEP",
    `workers: ${show(workers)} is not allowed. Allowed: a whole number from 1 to ${WORKERS_MAX}`,
  );
}

/** The rows of `plan` from the point `from` on, in lanes that `open` gets ready. */
export async function* runPlan(
  open: OpenLanes,
  plan: Plan,
  from: number,
  { workers, signal, module }: RunPlanOptions,
): AsyncGenerator<SweepRow, void, undefined> {
  if (signal?.aborted || from >= plan.points) return;
  const shared = { module: module ?? (await coreModule()), traces: plan.traces, limit: plan.limit };
  const lanes = await open(shared, { points: plan.points - from, workers, signal });
  const onAbort = (): void => void lanes.close();
  signal?.addEventListener("abort", onAbort);
  try {
    yield* rowsInOrder(plan, from, lanes, signal);
  } finally {
    signal?.removeEventListener("abort", onAbort);
    await lanes.close();
  }
}

/** The rows from `from` on; begins no more points than the window of `lanes` ahead of who takes the rows. */
export async function* rowsInOrder(
  plan: Plan,
  from: number,
  lanes: Lanes,
  signal: AbortSignal | undefined,
): AsyncGenerator<SweepRow, void, undefined> {
  const pending: ReturnType<Lanes["run"]>[] = [];
  let next = from;
  for (let index = from; index < plan.points; index++) {
    for (; next < plan.points && pending.length < lanes.window; next++) {
      pending.push(lanes.run(plan.scenarioAt(next)));
    }
    const outcome = await pending.shift()!;
    // An outcome that an abort has cut short is none.
    if (signal?.aborted) return;
    yield { point: plan.pointAt(index), ...outcome };
  }
}
