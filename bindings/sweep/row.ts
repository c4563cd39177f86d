// What a sweep gives out: a point, and what became of it.

import type { RunResult } from "../result.js";

/** One run of a sweep. */
export interface SweepPoint {
  /** From 0. */
  index: number;
  /** The value of each varied path, as it was given. */
  set: Record<string, unknown>;
  seed: number;
}

/** Why a point has no result. */
export interface SweepError {
  /** An error's code, as `PagevisorError` has it. */
  code: string;
  message: string;
}

/** What became of a point: its result, or the error that it ended with. */
export type Outcome = { result: RunResult; error: null } | { result: null; error: SweepError };

export type SweepRow = { point: SweepPoint } & Outcome;
