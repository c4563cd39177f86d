// What a sweep gives out: a point, and what became of it.

import type { RunResult } from "../result.js";

/** One run of a sweep. */
export interface SweepPoint {
  /** Its place in the order of the points, from 0. */
  index: number;
  /** The value of each varied path, as it was given. */
  set: Record<string, unknown>;
  /** The seed of its run, a whole number 0..2^32-1. */
  seed: number;
}

/** Why a point has no result. */
export interface SweepError {
  /** An error's code, as `PagevisorError` has it. */
  code: string;
  /** Its message. */
  message: string;
}

/** What became of a point: its result, or the error that it ended with. */
export type Outcome = { result: RunResult; error: null } | { result: null; error: SweepError };

/** A point with what became of it. */
export type SweepRow = { point: SweepPoint } & Outcome;
