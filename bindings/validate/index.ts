// Validation: captured cases replayed through the model, and how many of their steps agree.

import { coreModule } from "../core.js";
import { PagevisorError } from "../errors.js";
import { nextTask } from "../eventloop.js";
import { type CapturedCase, findCases, readCase, readSteps } from "./cases.js";
import { REPLAYERS } from "./registry.js";
import type { CaseResult, Replayer, SkippedCase, ValidateResult } from "./result.js";

export interface ValidateOptions {
  /** The compiled core; the one that comes with the package if undefined. */
  module?: WebAssembly.Module;
  /** Replayers by format; those of this version if undefined. */
  replayers?: ReadonlyMap<string, Replayer>;
  /** Looked at between two cases: when aborted, the result holds the cases so far. */
  signal?: AbortSignal;
}

/**
 * Replays every captured case at or below `paths` and compares each observable field of each step. Node only.
 *
 * @param paths directories: a case (with a case.json), or one that holds cases at any depth
 * @throws PagevisorError E_FILE, saying where, for a path without a case and for a case that is not readable or not of its format;
 *   E_TOO_BIG for a case that does not fit an instance
 */
export async function validate(
  paths: readonly string[],
  options: ValidateOptions = {},
): Promise<ValidateResult> {
  const { replayers = REPLAYERS, signal } = options;
  const result: ValidateResult = {
    schema: "pagevisor.validate/1",
    agree: 0,
    steps: 0,
    skipped: [],
    cases: [],
  };
  for (const directory of findCases(paths)) {
    if (signal?.aborted) break;
    const captured = readCase(directory);
    const { name, format } = captured;
    const replay = replayers.get(format);
    if (replay === undefined) {
      result.skipped.push({ name, why: `format ${format} is not modelled in this version` });
      continue;
    }
    const { module = await coreModule() } = options;
    const replayed = replayCase(captured, replay, module);
    if ("why" in replayed) {
      result.skipped.push(replayed);
      continue;
    }
    result.cases.push(replayed);
    result.agree += replayed.agree;
    result.steps += replayed.steps;
    await nextTask(); // so that the signal can come
  }
  return result;
}

/** Errors of a replayer say where in the case; here the case itself is added. */
function replayCase(
  captured: CapturedCase,
  replay: Replayer,
  module: WebAssembly.Module,
): CaseResult | SkippedCase {
  const { directory, name, caseJson } = captured;
  const steps = readSteps(directory);
  try {
    return replay({ name, caseJson, steps }, module);
  } catch (cause) {
    const what = cause instanceof Error ? cause.message : String(cause);
    const code = cause instanceof PagevisorError ? cause.code : "E_INTERNAL";
    throw new PagevisorError(code, `${directory}: ${what}`, { cause });
  }
}
