// What validation says about captured cases, and what replays one of them. The shape is that of `pagevisor validate --json`.

import type { ErrorCode } from "../errors.js";

/** A field of a step for which the model and the capture do not agree. */
export interface Difference {
  /** The step's own number in the capture. */
  step: number;
  /** The field, or the path into it: `pfn`, `state[1].free_lists[3][1]`. */
  field: string;
  /** What the capture holds; null where it holds nothing. */
  expected: unknown;
  /** What the model says; null where it says nothing. */
  got: unknown;
}

/** Agreement with one captured case. */
export interface CaseResult {
  /** Its folder's or file's name. */
  name: string;
  /** The capture's format, which says who replays it. */
  format: string;
  /** Steps of which every compared field agrees. */
  agree: number;
  /** Steps of which at least one field was compared. */
  steps: number;
  /** Names of the fields that were compared, without indexes. */
  compared: string[];
  /** The first difference; absent when everything agrees. */
  first?: Difference;
}

/** A case that was found and not replayed. */
export interface SkippedCase {
  /** Its folder's or file's name. */
  name: string;
  /** Why it was not replayed, in words. */
  why: string;
  /** How the trace of a table can be made, where the table says so. */
  madeBy?: string;
}

/** A case that could not be read or replayed to its end. */
export interface FailedCase {
  /** Its folder's or file's path. */
  path: string;
  /** The error's code. */
  code: ErrorCode;
  /** What is wrong with it, and where, in words. */
  why: string;
}

/** Agreement with all cases that were found. */
export interface ValidateResult {
  /** Names this format. */
  schema: "pagevisor.validate/1";
  /** Number of steps that agree, over all cases. */
  agree: number;
  /** Number of steps of which something was compared, over all cases. */
  steps: number;
  /** Cases that were found and not replayed. */
  skipped: SkippedCase[];
  /** Cases that could not be read or replayed to their ends; nothing of them counts. */
  failed: FailedCase[];
  /** Cases that were replayed, in the order of their paths. */
  cases: CaseResult[];
}

/** A captured case as it was read: nothing but its being JSON objects has been checked. */
export interface CaseInput {
  /** Its folder's name. */
  name: string;
  /** What case.json holds. */
  caseJson: unknown;
  /** The lines of steps.jsonl, in order. */
  steps: readonly Record<string, unknown>[];
  /** The text of another file of the case; undefined when it has no such file. */
  text?: (file: string) => string | undefined;
}

/**
 * Replays a case through the model, or says why it cannot be.
 *
 * @throws PagevisorError E_FILE for a case that is not of the format, with the place in case.json or the step;
 *   E_TOO_BIG for one that does not fit an instance
 */
export type Replayer = (
  input: CaseInput,
  module: WebAssembly.Module,
) => CaseResult | SkippedCase | Promise<CaseResult | SkippedCase>;
