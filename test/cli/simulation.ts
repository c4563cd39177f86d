// A simulation made by hand, for the tests of the command line: 1 access takes 100 ns, nothing ever faults.

import type { CreateSimulation } from "#dist/cli/run.js";
import { PagevisorError } from "#dist/errors.js";
import type { RunResult } from "#dist/result.js";
import type { ResolvedScenario, Scenario } from "#dist/scenario.js";
import { parseSize } from "#dist/units.js";
import { MIB, madeResult, madeVm } from "./made.js";

/** A scenario for tests that do not look at it. */
export const SMALL: Scenario = { host: { memory: 32 * MIB }, vms: [{ name: "db", memory: 16 * MIB }] };

const NS_PER_ACCESS = 100;

export interface FakeOptions {
  /** Accesses after which the tasks have ended; infinite for endless tasks. */
  accesses?: number;
  /** Status with which the run ends. */
  status?: RunResult["status"];
  duration?: { accesses?: number; time?: number; warmUp?: { accesses: number } };
  /** Called before each slice. */
  onRun?: () => void;
}

export interface Fake {
  create: CreateSimulation;
  /** The scenarios that machines were built from. */
  built: Record<string, unknown>[];
  /** The limits that runs were started with. */
  limits: unknown[];
  disposed: number;
}

/** Builds simulations that all behave as `options` say. */
export function fake(options: FakeOptions = {}): Fake {
  const end = options.accesses ?? 10_000;
  const made: Fake = {
    built: [],
    limits: [],
    disposed: 0,
    create: async (scenario) => {
      made.built.push(scenario as Record<string, unknown>);
      const {
        name = null,
        seed = 1,
        host,
      } = scenario as { name?: string; seed?: number; host?: { memory: string } };
      const reading = parseSize(host?.memory ?? 32 * MIB);
      const resolved = {
        name,
        description: null,
        seed,
        duration: { accesses: null, time: null, warmUp: null, ...options.duration },
        host: { memory: reading.ok ? reading.value : 0 },
      } as unknown as ResolvedScenario;
      let done = 0;
      let traced = 0;
      let status: RunResult["status"] = "done";
      let stoppedBy = "tasks";
      const resultOf = (accesses: number): RunResult =>
        madeResult({
          scenario: resolved,
          seed,
          accesses,
          virtualTimeNs: accesses * NS_PER_ACCESS,
          status,
          stoppedBy,
          vms: [madeVm("db", { accesses })],
        });
      return {
        scenario: resolved,
        warmUp: async () => {},
        runAsync: async (given, { signal } = {}) => {
          options.onRun?.();
          const limit = given ?? options.duration ?? {};
          const most = Math.min(
            limit.accesses ?? Number.POSITIVE_INFINITY,
            Math.floor(Number(limit.time ?? Number.POSITIVE_INFINITY) / NS_PER_ACCESS),
          );
          if (end === Number.POSITIVE_INFINITY && most === Number.POSITIVE_INFINITY) {
            throw new PagevisorError("E_ENDLESS", "nothing ends this run: give --accesses or --time");
          }
          if (signal?.aborted) {
            status = "interrupted";
            stoppedBy = "signal";
            return resultOf(0);
          }
          made.limits.push(given);
          const before = done;
          done = Math.min(end, before + most);
          status = done === end ? (options.status ?? "done") : "done";
          stoppedBy = done === end ? "tasks" : limit.accesses === done - before ? "accesses" : "time";
          return resultOf(done - before);
        },
        result: () => resultOf(done),
        traceEvents: () => ({ events: [], lost: 0 }),
        histograms: () => [],
        traceText: () => {
          const text = `${done - traced} accesses\n`;
          traced = done;
          return text;
        },
        dispose: () => {
          made.disposed += 1;
        },
      };
    },
  };
  return made;
}
