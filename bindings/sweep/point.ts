// One point of a sweep, from its scenario to its result. The same in a worker and in the caller's thread.

import { PagevisorError } from "../errors.js";
import type { Trace } from "../files.js";
import type { Limit } from "../limit.js";
import { Machine } from "../machine.js";
import type { Scenario } from "../scenario.js";
import type { Outcome } from "./row.js";

/** What all points of a sweep share. */
export interface Shared {
  module: WebAssembly.Module;
  traces: Map<string, Trace>;
  limit: Limit | undefined;
}

/** Runs `scenario` to its end. Never throws: an error is an outcome. */
export async function runPoint(scenario: Scenario, shared: Shared, signal?: AbortSignal): Promise<Outcome> {
  try {
    const { module, traces, limit } = shared;
    const machine = await Machine.create(scenario, { module, traces });
    try {
      const options = signal === undefined ? {} : { signal };
      await machine.warmUp(options);
      await machine.runAsync(limit, options);
      return { result: machine.result(), error: null };
    } finally {
      machine.dispose();
    }
  } catch (error) {
    return failed(error);
  }
}

/** The outcome of a point that ended with `error`. */
export function failed(error: unknown): Outcome {
  const code = error instanceof PagevisorError ? error.code : "E_INTERNAL";
  const message = error instanceof Error ? error.message : String(error);
  return { result: null, error: { code, message } };
}
