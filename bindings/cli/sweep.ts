// `pagevisor sweep`: many runs of one scenario, as a table or row by row into a file that an interrupted sweep goes on in.

import { readFileSync } from "node:fs";
import { type Command, InvalidArgumentError, Option } from "commander";
import { PagevisorError } from "../errors.js";
import { planSweep } from "../sweep/plan.js";
import type { SweepRow } from "../sweep/row.js";
import { checkWorkers, runPlan } from "../sweep/sweep.js";
import { workerThreads } from "../sweep/threads.js";
import { EXIT } from "./exit.js";
import { addScenarioOptions, applyFlags, limitOf, type RunFlags, readPositive } from "./options.js";
import { OutFile } from "./outfile.js";
import { progressOn } from "./progress.js";
import type { Source } from "./source.js";
import { csv, type LineFormat, ndjson, readOutput, sweepTable } from "./sweepout.js";
import type { Terminal } from "./terminal.js";

/** What commander makes of the options. */
export interface SweepFlags extends Pick<RunFlags, "set" | "seed" | "accesses" | "time"> {
  vary?: [path: string, values: string[]][];
  seeds?: number;
  workers?: number;
  ndjson?: boolean;
  csv?: boolean;
  output?: string;
  resume?: boolean;
}

export const SWEEP_HELP = `\
Each combination of the values is a point; the last --vary turns fastest, and each
point runs with every seed. Without --vary, the scenario's key "sweep" says what to
vary. Everything is checked before the first point runs; a point that fails then
is a row with its error and does not end the sweep. Rows come in the order of the
points and are the same whatever the number of workers.

In the table, "ratio" is the memory that the guests have touched by that of the
host, throughput is relative to the first row, "major p99" and "stalled" are those
of the guest that has most of it. With several seeds and contents checked
(check.integrity), a second table says in how many of the seeds something was wrong,
and how often: "3 of 100: 7". --ndjson prints a line for each point: sweep,
point (index, set, seed), result as run --json prints it or null, and error or
null. --csv prints the figures of the table, sizes in 4 KiB pages, times in ns.

Ctrl-C ends a sweep with the rows so far; the same command with --resume goes on in
its output. A sweep of another scenario, version or set of points is refused.

Exit codes: 0 done; 1 a point failed or ran out of memory; 2 wrong usage or input;
3 a violation was found; 130 interrupted.`;

/** Adds the options of `sweep` to `command`. */
export function addSweepOptions(command: Command): Command {
  command
    .addOption(
      new Option(
        "--vary <path=v1,v2,…>",
        "values of a path of the scenario, as in host.memory=1GiB,2GiB; may be repeated",
      ).argParser(readVary),
    )
    .addOption(new Option("--seeds <n>", "runs of each point, with different seeds").argParser(readPositive))
    .addOption(
      new Option("--workers <n>", "threads (default: as many as the machine has)").argParser(readPositive),
    );
  addScenarioOptions(command);
  return command
    .addOption(new Option("--ndjson", "print one JSON object a point, as soon as its row is due"))
    .addOption(new Option("--csv", "print comma-separated values, as soon as a row is due"))
    .addOption(new Option("-o, --output <file>", "write the rows to a file"))
    .addOption(new Option("--resume", "go on in the file of --output, after the rows that it has"));
}

/**
 * Runs the sweep and prints its rows.
 *
 * @returns the exit code
 * @throws PagevisorError for input that is wrong, before anything runs or is written
 */
export async function sweepCommand(source: Source, flags: SweepFlags, terminal: Terminal): Promise<number> {
  const format = formatOf(flags);
  checkWorkers(flags.workers);
  const limit = limitOf(flags);
  const plan = await planSweep(applyFlags(source.scenario, flags), {
    baseDir: source.baseDir,
    ...(flags.vary !== undefined && { vary: varyOf(flags.vary) }),
    ...(flags.seeds !== undefined && { seeds: flags.seeds }),
    ...(limit !== undefined && { limit }),
  });
  if (plan.points === 1) {
    throw new PagevisorError("E_USAGE", "nothing to vary: give --vary path=v1,v2 or --seeds N, or use run");
  }
  const kept = keptOf(flags, format, (text, file) => readOutput(text, file, format!, plan));
  const file = flags.output === undefined ? undefined : new OutFile(flags.output, kept?.bytes);
  const write = (text: string): void => (file === undefined ? terminal.out(text) : file.write(text));

  const from = kept?.rows ?? 0;
  const progress = progressOn(terminal.bar);
  const rows: SweepRow[] = [];
  let exitCode: number = EXIT.done;
  let accesses = 0;
  let virtualTimeNs = 0;
  try {
    const head = format?.head(plan) ?? null;
    if (head !== null && (kept?.bytes ?? 0) === 0) write(`${head}\n`);
    progress.begin(`sweep of ${plan.points} points`);
    const { workers } = flags;
    const options = { signal: terminal.signal, ...(workers !== undefined && { workers }) };
    for await (const row of runPlan(workerThreads, plan, from, options)) {
      exitCode = Math.max(exitCode, exitOf(row));
      if (format === null) rows.push(row);
      else write(`${format.line(plan, row)}\n`);
      file?.flush();
      accesses += row.result?.accesses ?? 0;
      virtualTimeNs += row.result?.virtualTimeNs ?? 0;
      const share = (row.point.index + 1 - from) / (plan.points - from);
      progress.update({ accesses, virtualTimeNs, share });
    }
    progress.end();
    if (format === null) write(sweepTable(plan, rows, terminal.colors));
  } finally {
    progress.end();
    file?.close();
  }
  return terminal.signal.aborted ? EXIT.interrupted : exitCode;
}

function formatOf(flags: SweepFlags): LineFormat | null {
  if (flags.ndjson && flags.csv) {
    throw new PagevisorError(
      "E_USAGE",
      "--ndjson and --csv are two formats of one output: leave out one of them",
    );
  }
  if (flags.resume && (flags.output === undefined || !(flags.ndjson || flags.csv))) {
    throw new PagevisorError(
      "E_USAGE",
      "--resume goes on in a file of rows: give --output FILE with --ndjson or --csv, as for the first part",
    );
  }
  if (flags.ndjson) return ndjson;
  return flags.csv ? csv : null;
}

function varyOf(vary: [path: string, values: string[]][]): Record<string, string[]> {
  const seen = new Set<string>();
  for (const [path] of vary) {
    if (seen.has(path))
      throw new PagevisorError("E_USAGE", `--vary ${path} is given twice: list all its values in one`);
    seen.add(path);
  }
  return Object.fromEntries(vary);
}

/** What the output has already; undefined when the sweep begins anew. A file that is not there yet has nothing. */
function keptOf<Kept>(
  { resume, output }: SweepFlags,
  format: LineFormat | null,
  read: (text: string, file: string) => Kept,
): Kept | undefined {
  if (!resume || output === undefined || format === null) return undefined;
  let text: string;
  try {
    text = readFileSync(output, "utf8");
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw new PagevisorError("E_FILE", `cannot read "${output}": ${(cause as Error).message}`, { cause });
  }
  return read(text, output);
}

function exitOf({ result }: SweepRow): number {
  if (result === null || result.status === "oom" || result.status === "readError") return EXIT.oom;
  return result.status === "violation" ? EXIT.violation : EXIT.done;
}

function readVary(text: string, previous: [string, string[]][] | undefined): [string, string[]][] {
  const equals = text.indexOf("=");
  const values = splitValues(text.slice(equals + 1));
  if (equals < 1 || values.includes("")) {
    throw new InvalidArgumentError("Write path=v1,v2, as in host.memory=64MiB,96MiB.");
  }
  return [...(previous ?? []), [text.slice(0, equals), values]];
}

/** Splits at the commas that stand in no list, object or text of JSON. */
export function splitValues(text: string): string[] {
  const values: string[] = [];
  let begin = 0;
  let depth = 0;
  let quoted = false;
  for (let index = 0; index < text.length; index++) {
    const char = text[index]!;
    if (quoted && char === "\\") index += 1;
    else if (char === '"') quoted = !quoted;
    else if (!quoted && "[{".includes(char)) depth += 1;
    else if (!quoted && "]}".includes(char)) depth -= 1;
    else if (!quoted && depth === 0 && char === ",") {
      values.push(text.slice(begin, index));
      begin = index + 1;
    }
  }
  return [...values, text.slice(begin)];
}
