// Validation: captured cases replayed through the model, tables of misses counted again, and how many of their steps agree.

import { coreModule } from "../core.js";
import { PagevisorError } from "../errors.js";
import { nextTask } from "../eventloop.js";
import { type CapturedCase, caseText, findCases, readCase, readSteps } from "./cases.js";
import { REPLAYERS } from "./registry.js";
import type { CaseResult, Replayer, SkippedCase, ValidateResult } from "./result.js";
import { compareTable, type TableResult, withoutTrace } from "./table.js";
import { readTable, readTableTrace } from "./tables.js";

/** With what, and how long, {@link validate} replays. */
export interface ValidateOptions {
  /** The compiled core; the one that comes with the package if undefined. */
  module?: WebAssembly.Module;
  /** Replayers by format; those of this version if undefined. */
  replayers?: ReadonlyMap<string, Replayer>;
  /** Looked at between two cases: when aborted, the result holds the cases so far. */
  signal?: AbortSignal;
  /** Where the traces of tables are looked for that do not lie beside them. */
  traces?: string;
}

/**
 * Replays every captured case at or below `paths` and compares each observable field of each step. Node only.
 *
 * @param paths directories: a case (with a case.json), or one that holds cases and tables of misses at any depth; or tables
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
  const add = (replayed: CaseResult): void => {
    result.cases.push(replayed);
    result.agree += replayed.agree;
    result.steps += replayed.steps;
  };
  for (const { path, table } of findCases(paths)) {
    if (signal?.aborted) break;
    if (table) {
      const { compared, skipped } = await countAgain(path, options);
      if (compared !== undefined) add(compared);
      result.skipped.push(...skipped);
      await nextTask();
      continue;
    }
    const captured = readCase(path);
    const { name, format } = captured;
    const replay = replayers.get(format);
    if (replay === undefined) {
      result.skipped.push({ name, why: `format ${format} is not modelled in this version` });
      continue;
    }
    const { module = await coreModule() } = options;
    const replayed = await replayCase(captured, replay, module);
    if ("why" in replayed) result.skipped.push(replayed);
    else add(replayed);
    await nextTask(); // so that the signal can come
  }
  return result;
}

async function countAgain(file: string, { module, traces }: ValidateOptions): Promise<TableResult> {
  const table = readTable(file);
  const trace = await readTableTrace(table, traces);
  if (trace === undefined) return { compared: undefined, skipped: [withoutTrace(table)] };
  return compareTable(table, trace, module ?? (await coreModule()));
}

/** Errors of a replayer say where in the case; here the case itself is added. */
async function replayCase(
  captured: CapturedCase,
  replay: Replayer,
  module: WebAssembly.Module,
): Promise<CaseResult | SkippedCase> {
  const { directory, name, caseJson, experiment } = captured;
  const steps = experiment ? [] : readSteps(directory);
  const text = (file: string) => caseText(directory, file);
  try {
    return await replay({ name, caseJson, steps, text }, module);
  } catch (cause) {
    const what = cause instanceof Error ? cause.message : String(cause);
    const code = cause instanceof PagevisorError ? cause.code : "E_INTERNAL";
    throw new PagevisorError(code, `${directory}: ${what}`, { cause });
  }
}
