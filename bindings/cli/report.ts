// `pagevisor report`: runs a scenario and writes one HTML file about it.

import { type Command, InvalidArgumentError, Option } from "commander";
import { PagevisorError } from "../errors.js";
import { Machine } from "../machine.js";
import { recordRun, reportHtml } from "../report/index.js";
import { exitOfStatus } from "./exit.js";
import { addScenarioOptions, applyFlags, limitOf, type RunFlags, readList } from "./options.js";
import { OutFile } from "./outfile.js";
import { progressOn } from "./progress.js";
import type { Source } from "./source.js";
import type { Terminal } from "./terminal.js";

export interface ReportFlags extends Pick<RunFlags, "set" | "seed" | "accesses" | "time"> {
  output: string;
  vcpus?: string[];
  moments?: number;
}

/** For the command's help. */
export const REPORT_HELP = `\
The file shows memory by state, latencies of faults, swap traffic and what vCPUs did
over virtual time, the figures of the printed page, and the scenario. It holds all it
needs and asks for nothing over the network. Ctrl-C writes what there is.`;

const MOMENTS_MAX = 4096;

/** Adds the options of `report` to `command`. */
export function addReportOptions(command: Command): Command {
  command
    .addOption(new Option("-o, --output <file>", "HTML file, as in report.html").makeOptionMandatory())
    .addOption(
      new Option(
        "--vcpus <names>",
        "vCPUs whose time is shown, as in db/0,db/1 (default: the first eight)",
      ).argParser(readList),
    )
    .addOption(
      new Option("--moments <n>", "most points of a curve (default: 400)").argParser((text) => {
        const value = Number(text);
        if (/^\d+$/.test(text) && value >= 2 && value <= MOMENTS_MAX) return value;
        throw new InvalidArgumentError(`Allowed is a whole number from 2 to ${MOMENTS_MAX}.`);
      }),
    );
  return addScenarioOptions(command);
}

/**
 * Runs the scenario and writes its report.
 *
 * @returns the exit code
 * @throws PagevisorError for input that is wrong
 */
export async function reportCommand(source: Source, flags: ReportFlags, terminal: Terminal): Promise<number> {
  const scenario = applyFlags(source.scenario, flags);
  const machine = await Machine.create(scenario, { baseDir: source.baseDir });
  const file = new OutFile(flags.output);
  const progress = progressOn(terminal.bar);
  try {
    checkVcpus(machine, flags.vcpus);
    progress.begin(source.label);
    const limit = limitOf(flags);
    const record = await recordRun(machine, {
      signal: terminal.signal,
      onProgress: (now) => progress.update(now),
      ...(limit && { limit }),
      ...(flags.moments !== undefined && { moments: flags.moments - (flags.moments % 2) }),
    });
    const title = machine.scenario.name ?? source.label;
    file.write(reportHtml(record, { title, ...(flags.vcpus && { vcpus: flags.vcpus }) }));
    progress.end();
    const { status, digest } = machine.result();
    terminal.out(`${flags.output}: ${status}, digest ${digest}\n`);
    return exitOfStatus(status);
  } finally {
    progress.end();
    machine.dispose();
    file.close();
  }
}

function checkVcpus(machine: Machine, names: readonly string[] | undefined): void {
  const known = machine.vcpus().map(({ vm, vcpu }) => `${vm}/${vcpu}`);
  const unknown = names?.find((name) => !known.includes(name));
  if (unknown === undefined) return;
  throw new PagevisorError("E_USAGE", `--vcpus: there is no vCPU "${unknown}". Allowed: ${known.join(", ")}`);
}
