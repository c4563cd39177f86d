// The points of a sweep: every combination of the varied values, each with every seed, in the order of counting up with the seed
// turning fastest, then the last path. All of them are checked before the first one runs.

import { PagevisorError } from "../errors.js";
import { type FileSource, loadTraces, type Trace } from "../files.js";
import { boundOf, type Limit } from "../limit.js";
import { show } from "../problems.js";
import { resolveScenario, type Scenario } from "../scenario.js";
import { setPath } from "../setpath.js";
import { U32_MAX } from "../values.js";
import { VERSION } from "../version.js";
import type { SweepPoint } from "./row.js";

/** What a sweep varies. */
export interface PlanOptions {
  /** Values by dotted path. Default: those of the scenario's key `sweep`. */
  vary?: Readonly<Record<string, readonly unknown[]>>;
  /** Runs of each combination, with seeds that count up from its own. Default: the scenario's, else 1. */
  seeds?: number;
  /** How far each run goes; default: the scenario's duration. */
  limit?: Limit;
  /** As for `Machine.create`. */
  files?: FileSource;
  /** As for `Machine.create`. */
  baseDir?: string;
}

/** A sweep whose input is right. */
export interface Plan {
  /** Number of points. */
  points: number;
  /** Names of what is varied, in order. */
  paths: string[];
  seeds: number;
  /** The same for sweeps that give the same rows: a hash of version, scenario, points, limit and input files. */
  id: string;
  limit: Limit | undefined;
  /** Every trace that a point replays, by name. */
  traces: Map<string, Trace>;
  pointAt(index: number): SweepPoint;
  scenarioAt(index: number): Scenario;
}

/**
 * Checks what a sweep is asked to do and reads the traces.
 *
 * @throws PagevisorError E_SWEEP for values or seeds that are none; E_SCENARIO, E_FILE for a point whose scenario is wrong; E_LIMIT
 */
export async function planSweep(scenario: Scenario, options: PlanOptions = {}): Promise<Plan> {
  const { files, baseDir, limit } = options;
  const { sweep, ...base } = scenario;
  if (sweep !== undefined && sweep !== null) resolveScenario(scenario); // its own key is checked nowhere else
  const vary = Object.entries(options.vary ?? sweep?.vary ?? {});
  const seeds = options.seeds ?? sweep?.seeds ?? 1;
  checkVary(vary, seeds);
  if (limit !== undefined) boundOf(limit);

  const combinations = vary.reduce((product, [, values]) => product * values.length, 1);
  const setAt = (combination: number): Record<string, unknown> => setOf(vary, combination);
  const changed = (combination: number): Scenario => {
    let one: Scenario = base;
    for (const [path, value] of Object.entries(setAt(combination))) one = setPath(one, path, value);
    return one;
  };
  const traces = new Map<string, Trace>();
  const firstSeeds: number[] = [];
  for (let combination = 0; combination < combinations; combination++) {
    try {
      const resolved = resolveScenario(changed(combination));
      firstSeeds.push(resolved.seed);
      if (resolved.seed + seeds - 1 > U32_MAX) throw seedsError(seeds, resolved.seed);
      await loadTraces(resolved, files, baseDir, traces);
    } catch (error) {
      throw atPoint(error, combination * seeds, setAt(combination));
    }
  }
  const inputs = [...traces].map(([file, { sha256 }]) => [file, sha256]);
  const pointAt = (index: number): SweepPoint => {
    const combination = Math.floor(index / seeds);
    return { index, set: setAt(combination), seed: firstSeeds[combination]! + (index % seeds) };
  };
  return {
    points: combinations * seeds,
    paths: vary.map(([path]) => path),
    seeds,
    id: await hashOf([VERSION, base, vary, seeds, limit ?? null, inputs]),
    limit,
    traces,
    pointAt,
    scenarioAt: (index) => ({ ...changed(Math.floor(index / seeds)), seed: pointAt(index).seed }),
  };
}

function checkVary(vary: [string, readonly unknown[]][], seeds: number): void {
  for (const [path, values] of vary) {
    if (!Array.isArray(values) || values.length === 0) {
      throw new PagevisorError(
        "E_SWEEP",
        `vary[${show(path)}]: ${show(values)} has no values. Allowed: a list of values, one or more`,
      );
    }
  }
  if (!Number.isSafeInteger(seeds) || seeds < 1) {
    throw new PagevisorError(
      "E_SWEEP",
      `seeds: ${show(seeds)} is not allowed. Allowed: a whole number from 1`,
    );
  }
  const points = vary.reduce((product, [, values]) => product * values.length, seeds);
  if (points > U32_MAX) {
    throw new PagevisorError("E_SWEEP", `vary: ${points} points are too many. Allowed: up to ${U32_MAX}`);
  }
  if (seeds > 1 && vary.some(([path]) => path === "seed")) {
    throw new PagevisorError(
      "E_SWEEP",
      'seeds: "seed" is varied already. Allowed: one of vary.seed and seeds',
    );
  }
}

function seedsError(seeds: number, first: number): PagevisorError {
  return new PagevisorError(
    "E_SWEEP",
    `seeds: ${seeds} seeds from ${first} on go beyond ${U32_MAX}. Allowed: up to ${U32_MAX - first + 1}`,
  );
}

/** The values of the combination with this number: digits of a number whose last one turns fastest. */
function setOf(vary: [string, readonly unknown[]][], combination: number): Record<string, unknown> {
  const chosen: [string, unknown][] = [];
  let rest = combination;
  for (const [path, values] of [...vary].reverse()) {
    chosen.unshift([path, values[rest % values.length]]);
    rest = Math.floor(rest / values.length);
  }
  return Object.fromEntries(chosen);
}

/** The error of a point, saying which one it is. */
function atPoint(error: unknown, index: number, set: Record<string, unknown>): unknown {
  const entries = Object.entries(set);
  if (!(error instanceof PagevisorError) || entries.length === 0) return error;
  const values = entries.map(([path, value]) => `${path}=${typeof value === "string" ? value : show(value)}`);
  const message = `point ${index} (${values.join(", ")}): ${error.message}`;
  return new PagevisorError(error.code, message, { cause: error });
}

async function hashOf(value: unknown): Promise<string> {
  const bytes = new TextEncoder().encode(JSON.stringify(value));
  const hash = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  return Array.from(hash.subarray(0, 8), (byte) => byte.toString(16).padStart(2, "0")).join("");
}
