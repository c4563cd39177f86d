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

/** Parameters of fc.assert for `numRuns` cases, or for the one that the environment names. */
export function parameters<T>(numRuns: number): fc.Parameters<T> {
  const { REPLAY_SEED: seed, REPLAY_PATH: path } = process.env;
  const replay = seed === undefined ? {} : { seed: Number(seed), ...(path !== undefined && { path }) };
  return { numRuns, reporter: report, ...replay };
}
