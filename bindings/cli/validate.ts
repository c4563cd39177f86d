// `pagevisor validate`: how far the model agrees with captured cases, one line a case and the first step that differs.

import { basename } from "node:path";
import { PagevisorError } from "../errors.js";
import { type ValidateOptions, validate } from "../validate/index.js";
import type { CaseResult, Difference, ValidateResult } from "../validate/result.js";
import { EXIT } from "./exit.js";
import { WIDTH } from "./table.js";
import type { Colors, Terminal } from "./terminal.js";

export interface ValidateFlags {
  json?: boolean;
  traces?: string;
}

/** For the command's help. */
export const VALIDATE_HELP = `\
A case is a directory with case.json and steps.ndjson or steps.ndjson.gz; PATH is
one, or a directory that holds cases at any depth. Every step is replayed through
the model and every field of it compared; a step agrees when all of them are
equal. Cases of a format that is not modelled in this version are skipped.

An experiment with KVM is a directory with scenario.json, summary.json and
trace.txt: its script is repeated on a machine, and every pair of a step and a
quantity (faults, their order, what was unmapped, swap slots) is a step.

A table of misses is NAME.json beside its page trace NAME.u32.gz: every count of
it, a policy's misses in one size of memory, is a step. A trace that is not there
is looked for in the directory of --traces.

A case that cannot be read does not stop the others.

Exit codes: 0 every step agrees; 1 a step differs; 2 nothing could be compared, or
a case could not be read; 130 interrupted (Ctrl-C prints the cases so far).`;

/** Characters of either side of a difference. */
const VALUE_WIDTH = 36;
/** Characters before the place where two values begin to differ. */
const VALUE_BEFORE = 12;

/**
 * Validates `paths` and prints the agreement. `options` are for tests.
 *
 * @returns the exit code
 * @throws PagevisorError for a case that cannot be read, when all others have been printed
 */
export async function validateCommand(
  paths: readonly string[],
  flags: ValidateFlags,
  terminal: Terminal,
  options: ValidateOptions = {},
): Promise<number> {
  const traces = flags.traces === undefined ? {} : { traces: flags.traces };
  const result = await validate(paths, { signal: terminal.signal, ...traces, ...options });
  const { agree, steps, cases, skipped, failed } = result;
  terminal.out(flags.json ? `${JSON.stringify(result, null, 2)}\n` : validateText(result, terminal.colors));
  if (terminal.signal.aborted) return EXIT.interrupted;
  if (failed.length > 0) {
    const more = failed.length === 1 ? "" : ` (and ${failed.length - 1} more, see above)`;
    throw new PagevisorError(failed[0]!.code, `${failed[0]!.why}${more}`);
  }
  if (cases.length === 0) {
    const formats = [...new Set(skipped.map(({ why }) => why))].join("; ");
    throw new PagevisorError("E_FILE", `${paths.join(", ")}: nothing was compared: ${formats}`);
  }
  return agree === steps ? EXIT.done : EXIT.disagreement;
}

/** The result as text. */
export function validateText(
  { agree, steps, skipped, failed, cases }: ValidateResult,
  colors: Colors,
): string {
  const lines = [
    ...cases.flatMap((result) => caseLines(result, colors)),
    ...skipped.map(({ name, why }) => colors.dim(`${name}: skipped, ${why}`)),
    ...failed.map(({ path, why }) => colors.red(`${basename(path)}: failed, ${why}`)),
  ];
  const counts = [`${cases.length} ${cases.length === 1 ? "case" : "cases"}: ${agreement(agree, steps)}`];
  if (skipped.length > 0) counts.push(`${skipped.length} skipped`);
  if (failed.length > 0) counts.push(`${failed.length} failed`);
  return `${[...lines, "", colors.bold(counts.join("; "))].join("\n")}\n`;
}

function caseLines({ name, agree, steps, first }: CaseResult, colors: Colors): string[] {
  const line = `${name}: ${agreement(agree, steps)}`;
  return first === undefined ? [line] : [colors.red(line), ...differenceLines(first)];
}

function agreement(agree: number, steps: number): string {
  return `agree ${agree} of ${steps} ${steps === 1 ? "step" : "steps"}`;
}

/** One line if it is short enough, else three. */
function differenceLines({ step, field, expected, got }: Difference): string[] {
  const [left, right] = shortened(JSON.stringify(expected), JSON.stringify(got));
  const head = `  first at step ${step}, ${field}:`;
  const line = `${head} expected ${left}, got ${right}`;
  if (line.length <= WIDTH) return [line];
  return [head, `    expected ${left}`, `    got      ${right}`];
}

/** Both values cut to the part around the place where they begin to differ. */
function shortened(expected: string, got: string): [string, string] {
  let same = 0;
  while (same < expected.length && expected[same] === got[same]) same += 1;
  const longest = Math.max(expected.length, got.length);
  const begin = longest <= VALUE_WIDTH ? 0 : Math.max(0, same - VALUE_BEFORE);
  const part = (text: string): string => {
    const shown = text.slice(begin, begin + VALUE_WIDTH);
    return `${begin > 0 ? "…" : ""}${shown}${begin + VALUE_WIDTH < text.length ? "…" : ""}`;
  };
  return [part(expected), part(got)];
}
