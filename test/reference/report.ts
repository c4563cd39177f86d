// How a random test fails: the seed and path that replay it, the first difference, then the smallest case as JSON.

import type fc from "fast-check";

/** For fc.assert: the lines that a reader needs, in that order. `REPLAY_SEED` and `REPLAY_PATH` run that one case again. */
export function report<T>(details: fc.RunDetails<T>): void {
  if (!details.failed) return;
  const { seed, counterexamplePath, counterexample, errorInstance, numRuns } = details;
  const message = errorInstance instanceof Error ? errorInstance.message : String(errorInstance);
  const lines = [
    message,
    `after ${numRuns} cases; replay with REPLAY_SEED=${seed} REPLAY_PATH=${counterexamplePath}`,
    JSON.stringify(counterexample, (_, value) => (value instanceof Uint32Array ? [...value] : value)),
  ];
  throw new Error(lines.join("\n"), { cause: errorInstance });
}

// Where the random cases of a test begin. The same on every run, so that what passes here passes everywhere; PROPERTY_SEED=random, or another
// number, meets other cases.
const SEED = 1;

/**
 * Parameters of fc.assert for `numRuns` cases, or for the one that the environment names.
 * @param round a test that asserts again until it has met enough counts its rounds: each has other cases
 */
export function parameters<T>(numRuns: number, round = 0): fc.Parameters<T> {
  const { REPLAY_SEED, REPLAY_PATH: path, PROPERTY_SEED = SEED } = process.env;
  if (REPLAY_SEED !== undefined) {
    return { numRuns, reporter: report, seed: Number(REPLAY_SEED), ...(path !== undefined && { path }) };
  }
  return {
    numRuns,
    reporter: report,
    ...(PROPERTY_SEED !== "random" && { seed: Number(PROPERTY_SEED) + round }),
  };
}
