// `pagevisor run` and what `replay` shares with it: one scenario from its source to the printed result.

import { hgrmFiles } from "../export/hgrm.js";
import { Machine } from "../machine.js";
import type { RunResult } from "../result.js";
import type { Scenario } from "../scenario.js";
import { setPath } from "../setpath.js";
import { threadsOf } from "../threads.js";
import { drive, type Plan, type Simulation } from "./drive.js";
import { EXIT, exitOfStatus } from "./exit.js";
import { applyFlags, checkFlags, limitOf, type RunFlags, withTracepoints } from "./options.js";
import { OutFile } from "./outfile.js";
import { page } from "./page.js";
import { type ProgressReport, progressOn } from "./progress.js";
import { measureRows, rowsText } from "./rows.js";
import { seriesLine } from "./series.js";
import type { Source } from "./source.js";
import type { Terminal } from "./terminal.js";

/** Builds a machine; tests hand in their own. */
export type CreateSimulation = (scenario: Scenario, options: { baseDir: string }) => Promise<Simulation>;

export interface Job {
  source: Source;
  flags: RunFlags;
  /** Whether the five rows are printed when neither `--rows` nor `--no-rows` is given. */
  rowsByDefault: boolean;
  terminal: Terminal;
  /** Told the seed as soon as it is known, for the report of a bug. */
  onSeed?: (seed: number) => void;
  create?: CreateSimulation;
}

/**
 * Runs the job and prints its result.
 *
 * @returns the exit code
 * @throws PagevisorError for input that is wrong
 */
export async function run(job: Job): Promise<number> {
  const { flags, source, terminal } = job;
  checkFlags(flags);
  const scenario = applyFlags(source.scenario, flags);
  const progress = progressOn(terminal.bar);

  const result = await runOnce(job, scenario, progress);
  if (flags.json) {
    terminal.out(`${JSON.stringify(result, null, 2)}\n`);
    return exitOfStatus(result.status);
  }
  terminal.out(page(result, source.label, terminal.colors));
  if (result.status !== "done" || !(flags.rows ?? job.rowsByDefault)) return exitOfStatus(result.status);
  return runRows(job, scenario, result, progress);
}

/** The run itself, with the files that it writes. */
async function runOnce(job: Job, scenario: Scenario, progress: ProgressReport): Promise<RunResult> {
  const { flags, source, terminal } = job;
  const traced = flags.trace === undefined ? scenario : withTracepoints(scenario);
  const machine = await create(job, traced);
  job.onSeed?.(machine.scenario.seed);
  const files: OutFile[] = [];
  const open = (path: string): OutFile => {
    const file = new OutFile(path);
    files.push(file);
    return file;
  };
  try {
    const plan: Plan = { label: source.label, limit: limitOf(flags), signal: terminal.signal, progress };
    if (flags.series !== undefined && flags.every !== undefined) {
      const series = open(flags.series);
      plan.series = {
        everyNs: flags.every,
        sample: (result) => series.write(`${seriesLine(result)}\n`),
      };
    }
    if (flags.trace !== undefined) {
      plan.trace = await traceWriter(open(flags.trace), machine);
    }
    const result = await drive(machine, plan);
    if (flags.hgrm !== undefined) {
      for (const { name, text } of hgrmFiles(machine.histograms())) open(`${flags.hgrm}${name}`).write(text);
    }
    return result;
  } finally {
    machine.dispose();
    for (const file of files) file.close();
  }
}

/** Writes trace records in the format that the file's name asks for. */
async function traceWriter(file: OutFile, { scenario }: Simulation): Promise<(machine: Simulation) => void> {
  if (!/\.(perfetto-trace|pftrace)$/.test(file.path)) return (machine) => file.write(machine.traceText());
  const { PerfettoWriter } = await import("../export/perfetto.js");
  const writer = new PerfettoWriter(threadsOf(scenario));
  file.writeBytes(writer.head());
  return (machine) => file.writeBytes(writer.packets(machine.traceEvents()));
}

/** The rows with less memory, printed below the page. */
async function runRows(
  job: Job,
  scenario: Scenario,
  first: RunResult,
  progress: ProgressReport,
): Promise<number> {
  const { flags, terminal } = job;
  const rows = await measureRows(first, async (memory, percent) => {
    const machine = await create(job, setPath(scenario, "host.memory", memory));
    try {
      const label = `${percent}% of host memory`;
      return await drive(machine, { label, limit: limitOf(flags), signal: terminal.signal, progress });
    } finally {
      machine.dispose();
    }
  });
  terminal.out(`\n${rowsText(rows, terminal.colors)}`);
  if (terminal.signal.aborted) return EXIT.interrupted;
  return rows.some((row) => row.result?.status === "violation") ? EXIT.violation : EXIT.done;
}

function create(job: Job, scenario: Scenario): Promise<Simulation> {
  const { baseDir } = job.source;
  return job.create ? job.create(scenario, { baseDir }) : Machine.create(scenario, { baseDir });
}
