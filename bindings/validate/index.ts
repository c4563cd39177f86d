// Validation: captured cases replayed through the model, tables of misses counted again, and how many of their steps agree.

import { coreModule } from "../core.js";
import { PagevisorError } from "../errors.js";
import { nextTask } from "../eventloop.js";
import { type CapturedCase, caseText, findCases, readCase, readSteps } from "./cases.js";
import { REPLAYERS } from "./registry.js";
import type { CaseResult, Replayer, SkippedCase, ValidateResult } from "./result.js";
import { compareTable, type TableResult, withoutTrace } from "./table.js";
import { readTable, readTableTrace, requireDirectory } from "./tables.js";

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
 * @returns also what could not be read or replayed, with the reason: one such case does not keep the others from being compared
 * @throws PagevisorError E_FILE for a path without a case, and for `traces` that are not there
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
    failed: [],
    cases: [],
  };
  const add = (replayed: CaseResult): void => {
    result.cases.push(replayed);
    result.agree += replayed.agree;
    result.steps += replayed.steps;
  };
  if (options.traces !== undefined) requireDirectory(options.traces);
  for (const { path, table } of findCases(paths)) {
    if (signal?.aborted) break;
    try {
      const replayed = table ? await countAgain(path, options) : await replayAt(path, replayers, options);
      if (replayed.compared !== undefined) add(replayed.compared);
      result.skipped.push(...replayed.skipped);
    } catch (cause) {
      if (!(cause instanceof PagevisorError) || cause.code === "E_INTERNAL") throw cause;
      result.failed.push({ path, code: cause.code, why: cause.message });
    }
    await nextTask(); // so that the signal can come
  }
  return result;
}

async function replayAt(
  path: string,
  replayers: ReadonlyMap<string, Replayer>,
  { module }: ValidateOptions,
): Promise<TableResult> {
  const captured = readCase(path);
  const { name, format } = captured;
  const replay = replayers.get(format);
  if (replay === undefined) {
    const why = `format ${format} is not modelled in this version`;
    return { compared: undefined, skipped: [{ name, why }] };
  }
  const replayed = await replayCase(captured, replay, module ?? (await coreModule()));
  return "why" in replayed
    ? { compared: undefined, skipped: [replayed] }
    : { compared: replayed, skipped: [] };
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
