// The command line: which commands there are, what they take, what their help says. The commands themselves are
// files of their own.

import { Command, Option } from "commander";
import { SWAP_KINDS } from "../schema.js";
import { COMPARE_HELP, type CompareFlags, compareCommand } from "./compare.js";
import { CONVERT_HELP, type ConvertFlags, convertCommand } from "./convert.js";
import { CURVE_HELP, type CurveFlags, curveCommand } from "./curve.js";
import { type Circumstances, EXIT, failureOf } from "./exit.js";
import { type ExploreFlags, explorations, exploreCommand } from "./explore.js";
import { addRunOptions, type RunFlags, readCount, readList, readPositive, readSize } from "./options.js";
import { presets } from "./presets.js";
import { type ReplayFlags, replaySource } from "./replay.js";
import { addReportOptions, REPORT_HELP, type ReportFlags, reportCommand } from "./report.js";
import { type CreateSimulation, run } from "./run.js";
import { schema } from "./schemacmd.js";
import { SERIES_HELP } from "./series.js";
import { readSource, type Source } from "./source.js";
import { addSweepOptions, SWEEP_HELP, type SweepFlags, sweepCommand } from "./sweep.js";
import type { Terminal } from "./terminal.js";
import { VALIDATE_HELP, type ValidateFlags, validateCommand } from "./validate.js";
import { packageVersion } from "./version.js";

const EXIT_HELP = `\
Exit codes: 0 done; 1 out of memory, or validate found a difference; 2 wrong
usage or input; 3 a violation was found; 130 interrupted (Ctrl-C prints the
results so far).`;

const RUN_HELP = `\
On the page, "blocked" is the time that a guest's vCPUs waited in the host,
summed over them; "stalled" is the share of the time in which at least one
runnable vCPU waited for memory. Every time is virtual but the "wall time".

After the page, run prints five rows: the same run with 100, 90, 80, 70 and 60%
of the host's memory. They are left out with --no-rows, and after a run that was
interrupted or ran out of memory. replay prints them with --rows.

--accesses and --time take the place of the scenario's duration; its warm-up
still comes first.`;

/** What the commands share while one of them runs. */
interface Invocation {
  terminal: Terminal;
  circumstances: Circumstances;
  /** Set by the command. */
  exitCode: number;
  create: CreateSimulation | undefined;
}

/**
 * Runs the command line `args` (without node and script).
 *
 * @param create builds the machines; a test hands in its own
 * @returns the exit code; errors are printed, none is thrown
 */
export async function main(args: string[], terminal: Terminal, create?: CreateSimulation): Promise<number> {
  const version = packageVersion();
  const debug = process.env.PAGEVISOR_DEBUG === "1";
  const circumstances: Circumstances = { version, args, seed: null, debug };
  const invocation: Invocation = { terminal, circumstances, exitCode: EXIT.done, create };
  try {
    await programFor(invocation).parseAsync(args, { from: "user" });
    return invocation.exitCode;
  } catch (error) {
    const failure = failureOf(error, circumstances);
    terminal.err(failure.text);
    return failure.exitCode;
  }
}

function programFor(invocation: Invocation): Command {
  const { terminal, circumstances } = invocation;
  const program = new Command("pagevisor")
    .exitOverride()
    .configureOutput({
      writeOut: (text) => terminal.out(text),
      writeErr: (text) => terminal.err(text),
      outputError: () => {}, // failureOf() prints it
    })
    .description("Simulates how a KVM host overcommits guest memory, in deterministic virtual time.")
    .version(circumstances.version, "--version", "print the version")
    .helpOption("--help", "print this help")
    .helpCommand(false)
    .addHelpText("before", example("pagevisor run overcommit"))
    .addHelpText("after", `\n${EXIT_HELP}`);
  addRun(program, invocation);
  addSweep(program, invocation);
  addCompare(program, invocation);
  addReport(program, invocation);
  addReplay(program, invocation);
  addConvert(program, invocation);
  addCurve(program, invocation);
  addValidate(program, invocation);
  addExplore(program, invocation);
  addPresets(program, invocation);
  addSchema(program, invocation);
  return program;
}

function addRun(program: Command, invocation: Invocation): void {
  const command = program
    .command("run")
    .description("run a scenario and print one page about it")
    .argument("<file|preset>", "scenario file (JSON), or the name of a preset")
    .action(async (name: string, flags: RunFlags) => {
      await runIn(invocation, readSource(name), flags, true);
    });
  addRunOptions(command)
    .addHelpText("before", example("pagevisor run overcommit --set host.memory=24MiB --no-rows"))
    .addHelpText("after", `\n${RUN_HELP}\n\n${SERIES_HELP}\n\n${EXIT_HELP}`);
}

function addSweep(program: Command, invocation: Invocation): void {
  const command = program
    .command("sweep")
    .description("run a scenario many times, with other values or seeds")
    .argument("<file|preset>", "scenario file (JSON), or the name of a preset")
    .action(async (name: string, flags: SweepFlags) => {
      invocation.exitCode = await sweepCommand(readSource(name), flags, invocation.terminal);
    });
  addSweepOptions(command)
    .addHelpText("before", example("pagevisor sweep overcommit-curve"))
    .addHelpText("after", `\n${SWEEP_HELP}`);
}

function addCompare(program: Command, invocation: Invocation): void {
  program
    .command("compare")
    .description("set results side by side and tell what differs")
    .argument("<file...>", 'what "run --json" or "sweep --ndjson" has printed')
    .addOption(new Option("--all", "list every number that differs, by its path"))
    .addOption(new Option("--json", "print the comparison as one JSON document, nothing else"))
    .addHelpText("before", example("pagevisor compare before.json after.json"))
    .addHelpText("after", `\n${COMPARE_HELP}\n\n${EXIT_HELP}`)
    .action((files: string[], flags: CompareFlags) => {
      invocation.exitCode = compareCommand(files, flags, invocation.terminal);
    });
}

function addReport(program: Command, invocation: Invocation): void {
  const command = program
    .command("report")
    .description("run a scenario and write an HTML file with its curves and figures")
    .argument("<file|preset>", "scenario file (JSON), or the name of a preset")
    .action(async (name: string, flags: ReportFlags) => {
      invocation.exitCode = await reportCommand(readSource(name), flags, invocation.terminal);
    });
  addReportOptions(command)
    .addHelpText("before", example("pagevisor report overcommit -o report.html"))
    .addHelpText("after", `\n${REPORT_HELP}\n\n${EXIT_HELP}`);
}

function addReplay(program: Command, invocation: Invocation): void {
  const command = program
    .command("replay")
    .description("run a recorded page trace in one guest")
    .argument("<trace>", "page trace: little-endian u32, bit 31 marks a write; plain or gzip")
    .addOption(sizeOption("--guest-memory <size>", "memory of the guest, as in 64MiB").makeOptionMandatory())
    .addOption(sizeOption("--host-memory <size>", "memory of the host").makeOptionMandatory())
    .addOption(new Option("--swap <kind>", "swap device").choices([...SWAP_KINDS, "none"]).default("nvme"))
    .addOption(sizeOption("--swap-size <size>", "size of the swap device (default: the guest's memory)"))
    .addOption(new Option("--loop", "start again at the end of the trace; needs --accesses or --time"))
    .addOption(
      new Option("--writes <which>", "which accesses write")
        .choices(["as-recorded", "all"])
        .default("as-recorded"),
    )
    .action(async (trace: string, flags: ReplayFlags) => {
      await runIn(invocation, replaySource(trace, flags), flags, false);
    });
  const sizes = "--guest-memory 20MiB --host-memory 16MiB";
  addRunOptions(command)
    .addHelpText("before", example(`pagevisor replay trace.u32.gz ${sizes}`))
    .addHelpText("after", `\n${RUN_HELP}\n\n${SERIES_HELP}\n\n${EXIT_HELP}`);
}

function addConvert(program: Command, invocation: Invocation): void {
  program
    .command("convert")
    .description("make a page trace of recorded memory references")
    .argument("<in>", "recording, plain or gzip; - is standard input")
    .addOption(new Option("-o, --output <file>", "page trace, as in out.u32.gz").makeOptionMandatory())
    .addOption(new Option("--from <format>", "format").choices(["lackey", "text"]).makeOptionMandatory())
    .addOption(new Option("--unit <unit>", "what a line of text holds").choices(["address", "page"]))
    .addOption(
      new Option("--filter <n>", "pages of the filter, 0 for none (default: lackey 16, text 0)").argParser(
        readCount,
      ),
    )
    .addOption(new Option("--pages <file>", "write which virtual page each page of the trace is"))
    .addHelpText("before", example("pagevisor convert ls.lackey -o ls.u32.gz --from lackey"))
    .addHelpText("after", `\n${CONVERT_HELP}\n\n${EXIT_HELP}`)
    .action(async (input: string, flags: ConvertFlags) => {
      invocation.exitCode = await convertCommand(input, flags, invocation.terminal);
    });
}

async function runIn(
  invocation: Invocation,
  source: Source,
  flags: RunFlags,
  rowsByDefault: boolean,
): Promise<void> {
  const { terminal, circumstances, create } = invocation;
  const onSeed = (seed: number): void => {
    circumstances.seed = seed;
  };
  const job = { source, flags, rowsByDefault, terminal, onSeed };
  invocation.exitCode = await run(create === undefined ? job : { ...job, create });
}

function addCurve(program: Command, invocation: Invocation): void {
  program
    .command("curve")
    .description("count the misses of replacement policies on a page trace, over sizes of memory")
    .argument("<trace>", "page trace: little-endian u32, bit 31 marks a write; plain or gzip")
    .addOption(new Option("--policy <names>", "policies, as in lru,clock,belady").argParser(readList))
    .addOption(
      new Option("--sizes <sizes>", "pages, bytes or shares, as in 500,16MiB,10%").argParser(readList),
    )
    .addOption(new Option("--json", "print the result as one JSON document, nothing else"))
    .addOption(new Option("--csv", "print a line for each policy and size"))
    .addHelpText(
      "before",
      example("pagevisor curve trace.u32.gz --policy lru,clock,belady --sizes 10%,25%,50%"),
    )
    .addHelpText("after", `\n${CURVE_HELP}\n\n${EXIT_HELP}`)
    .action(async (trace: string, flags: CurveFlags) => {
      invocation.exitCode = await curveCommand(trace, flags, invocation.terminal);
    });
}

function addValidate(program: Command, invocation: Invocation): void {
  program
    .command("validate")
    .description("compare the model with captures of a real kernel, and with tables of misses")
    .argument("<path...>", "captured case, table of misses, or a directory that holds such")
    .addOption(new Option("--traces <dir>", "where to look for traces that are not beside their tables"))
    .addOption(new Option("--json", "print the result as one JSON document, nothing else"))
    .addHelpText("before", example("pagevisor validate test/fixtures/captures"))
    .addHelpText("after", `\n${VALIDATE_HELP}`)
    .action(async (paths: string[], flags: ValidateFlags) => {
      invocation.exitCode = await validateCommand(paths, flags, invocation.terminal);
    });
}

function addExplore(program: Command, invocation: Invocation): void {
  program
    .command("explore")
    .description("try every order of the steps of a tiny machine's actors")
    .argument("<file|preset>", "exploration (JSON), or the name of one that comes with pagevisor")
    .addOption(
      new Option("--depth <n>", "steps of an interleaving at most (default: 200)").argParser(readPositive),
    )
    .addOption(new Option("--states <n>", "states at most (default: 1000000)").argParser(readPositive))
    .addOption(new Option("--no-merge", "take no two states for one, even if they differ in time alone"))
    .addOption(new Option("--replay <schedule>", "play one interleaving: 0,1,1 or what --json has printed"))
    .addOption(new Option("--json", "print the result as one JSON document, nothing else"))
    .addHelpText("before", example("pagevisor explore race-2008"))
    .addHelpText("after", `\nPresets: ${explorations().join(", ")}\n\n${EXIT_HELP}`)
    .action(async (name: string, flags: ExploreFlags) => {
      invocation.exitCode = await exploreCommand(name, flags, invocation.terminal);
    });
}

function addPresets(program: Command, invocation: Invocation): void {
  program
    .command("presets")
    .description("list the scenarios that come with pagevisor")
    .addHelpText("before", example("pagevisor presets"))
    .action(() => {
      invocation.exitCode = presets(invocation.terminal);
    });
}

function addSchema(program: Command, invocation: Invocation): void {
  program
    .command("schema")
    .description("print the JSON Schema of scenarios")
    .addHelpText("before", example("pagevisor schema > scenario.schema.json"))
    .action(() => {
      invocation.exitCode = schema(invocation.terminal);
    });
}

function sizeOption(flags: string, description: string): Option {
  return new Option(flags, description).argParser(readSize);
}

/** Help starts with an example. */
function example(command: string): string {
  return `Example:\n  ${command}\n`;
}
