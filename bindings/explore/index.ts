// The explorer: the steps of a tiny machine's actors in every order. The steps are those of a run; only who comes next is not decided by
// time.

import { bootCore } from "../boot.js";
import { Core, coreModule } from "../core.js";
import { guard } from "../guard.js";
import { resolveScenario } from "../scenario.js";
import { traceCounts } from "../tracepoints.js";
import { pageState } from "./page.js";
import { checkNames, type Exploration, namesByNumber, prepare, type Walker, walkersOf } from "./program.js";
import { type Found, search } from "./search.js";
import { type FoundViolation, World } from "./world.js";

export type { Actor, Exploration, Operation } from "./program.js";
export type { ViolationKind } from "./violations.js";
export type { FoundViolation } from "./world.js";

/** How far {@link explore} goes. */
export interface ExploreOptions {
  /** Steps of an interleaving at most. Default: 200. */
  depth?: number;
  /** States at most. Default: 1,000,000. */
  states?: number;
  /** Take states that differ in time alone for one. Default: true. */
  merge?: boolean;
  /** Only this interleaving: the choices, as a result's `schedule` has them. */
  replay?: readonly number[];
  /** A compiled core. */
  module?: WebAssembly.Module;
  /** Ends the search early: the result is what has been seen by then, and not complete. */
  signal?: AbortSignal;
}

/** One step of an interleaving. */
export interface ExploredStep {
  /** Who took it. */
  actor: string;
  /** Tracepoints that the step passed. */
  did: string[];
  /** Of the step's actor, after it. */
  locks: string;
  /** The page's state after the step. */
  page: string;
}

/** What an exploration has found. */
export interface ExploreResult extends Omit<Found, "edges"> {
  /** Steps taken from a state to a next one. */
  transitions: number;
  /** The violation that takes the fewest steps; null when none was found. */
  violation: FoundViolation | null;
  /** The shortest interleaving that ends in the violation, or the one that was replayed. */
  steps: ExploredStep[];
}

/**
 * Tries every order of the actors' steps.
 *
 * @throws PagevisorError E_SCENARIO, E_STEP
 */
export async function explore(
  exploration: Exploration,
  options: ExploreOptions = {},
): Promise<ExploreResult> {
  const { scenario, look, before = [], actors } = exploration;
  checkNames(exploration);
  const { depth = 200, states = 1_000_000, merge = true, replay, signal } = options;
  const resolved = resolveScenario({ ...scenario, check: { integrity: true, onViolation: "count" } });
  const core = new Core(options.module ?? (await coreModule()));
  const tasks = guard(() => bootCore(core, resolved, new Map()));
  prepare(core, resolved, before);
  const world = new World(core, walkersOf(resolved, actors, tasks), look, namesByNumber(core, resolved));
  const root = world.image();

  const found = replay === undefined ? await search(world, { depth, states, merge, signal }) : null;
  const schedule = replay ?? found!.schedule;
  const [{ program, tasks: first }] = world.walkers as [Walker];
  const gfn = found?.violation?.gfn ?? program[0]?.[1] ?? first[0]?.first ?? 0;
  const vm = actors[0]!.vm ?? 0;
  world.restore(root);
  const steps: ExploredStep[] = [];
  for (const choice of schedule) {
    const names = world.choices();
    const actor = names[choice] ?? "nobody";
    const counts = traceCounts(core);
    world.step(choice);
    const did = Object.entries(traceCounts(core)).flatMap(([name, count]) =>
      count === counts[name] ? [] : [name],
    );
    const walker = world.walkers.findIndex(({ name }) => name === actor);
    steps.push({
      actor,
      did,
      locks: walker < 0 ? "" : world.locks(walker),
      page: pageState(core, resolved, vm, gfn),
    });
  }
  if (found !== null) {
    const { edges, ...rest } = found;
    return { ...rest, transitions: edges, steps };
  }
  const settled = world.choices().length === 0;
  return {
    states: steps.length + 1,
    transitions: steps.length,
    depth: steps.length,
    complete: false,
    violation: world.wrong(settled) ?? world.broken(),
    schedule: [...schedule],
    interleavings: null,
    steps,
  };
}
