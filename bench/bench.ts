// The entry of `npm run bench`: which suites to run, on which build of the core, and in which form to print what they found.

import { readFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { coreModule } from "#dist/core.js";
import { VERSION } from "#dist/index.js";
import { accesses } from "./accesses.bench.js";
import { boot } from "./boot.bench.js";
import { boundary } from "./boundary.bench.js";
import { ceiling } from "./ceiling/ceiling.bench.js";
import { explorer } from "./explorer.bench.js";
import { faultPath } from "./faultpath.bench.js";
import { faults } from "./faults.bench.js";
import { hinting } from "./guest/hinting.bench.js";
import { apf } from "./kvm/apf.bench.js";
import { mmu } from "./kvm/mmu.bench.js";
import { memory } from "./memory.bench.js";
import { buddy } from "./mm/buddy.bench.js";
import { mglru } from "./mm/mglru.bench.js";
import { migrate } from "./mm/migrate.bench.js";
import { swap } from "./mm/swap.bench.js";
import { twoList } from "./mm/twolist.bench.js";
import { observe } from "./observe.bench.js";
import { outside } from "./policy/outside.bench.js";
import { policies } from "./policy/policies.bench.js";
import { hostLine, type Suite, type SuiteReport, thisHost } from "./report.js";
import { sizes } from "./size.bench.js";
import { stop } from "./stop.bench.js";
import { sweeps } from "./sweep.bench.js";
import { yardstick, yardstickLine } from "./yardstick.js";

const SUITES: Readonly<Record<string, Suite>> = {
  accesses,
  size: (setting) => sizes(setting),
  faults,
  boot,
  boundary,
  "fault-path": faultPath,
  kvm: mmu,
  "async-pf": apf,
  "free-pages": hinting,
  migrate,
  buddy,
  swap,
  sweep: sweeps,
  stop,
  policies,
  outside,
  "two-list": twoList,
  mglru,
  observe,
  explorer,
  memory,
};

const HELP = `npm run bench -- [SUITE …] [options]

  npm run bench -- fault-path              the fault-path latency table
  npm run -s bench -- --json accesses      one JSON document on stdout

Suites (all when none is named): ${Object.keys(SUITES).join(", ")}

  --json            print one JSON document and nothing else
  --core FILE       run this build of the core instead of the package's own
  --against FILE    run another build beside it, and print how many times faster the first is
  --ceiling DIR     run the suite "ceiling" too: the bare kernels in C of that folder, beside the core (needs gcc)
  --plot FILE       where the suite "size" draws its rows, an SVG
  --help            print this

Times are CPU time. Single figures vary with what else the machine does; ratios vary less. The yardstick, measured before and
after, tells how fast the machine was meanwhile.
`;

/** The command line is wrong: the message says what and what is allowed. */
class UsageError extends Error {}

interface Options {
  suites: string[];
  json: boolean;
  help: boolean;
  core: string | undefined;
  against: string | undefined;
  ceiling: string | undefined;
  plot: string | undefined;
}

function optionsOf(args: string[]): Options {
  const options = {
    json: { type: "boolean", default: false },
    help: { type: "boolean", default: false },
    core: { type: "string" },
    against: { type: "string" },
    ceiling: { type: "string" },
    plot: { type: "string" },
  } as const;
  const { values, positionals } = parsed(() => parseArgs({ args, options, allowPositionals: true }));
  const known = values.ceiling === undefined ? Object.keys(SUITES) : [...Object.keys(SUITES), "ceiling"];
  for (const name of positionals) {
    if (!known.includes(name)) throw new UsageError(`no suite ${name}; there are ${known.join(", ")}`);
  }
  const suites = positionals.length === 0 ? known : positionals;
  return {
    suites,
    ...values,
    core: values.core,
    against: values.against,
    ceiling: values.ceiling,
    plot: values.plot,
  };
}

function parsed<T>(parse: () => T): T {
  try {
    return parse();
  } catch (cause) {
    throw new UsageError(cause instanceof Error ? cause.message : String(cause), { cause });
  }
}

function compile(file: string): WebAssembly.Module {
  try {
    return new WebAssembly.Module(readFileSync(file));
  } catch (cause) {
    throw new UsageError(`${file}: ${cause instanceof Error ? cause.message : String(cause)}`, { cause });
  }
}

async function main(args: string[]): Promise<void> {
  const { suites, json, help, core, against, ceiling: folder, plot } = optionsOf(args);
  if (help) {
    process.stdout.write(HELP);
    return;
  }
  const setting = {
    module: core === undefined ? await coreModule() : compile(core),
    against: against === undefined ? undefined : compile(against),
    plot,
  };
  const host = thisHost();
  if (!json) process.stdout.write(`pagevisor ${VERSION}: ${hostLine(host)}\n`);
  const speed = yardstick();
  const before = speed();
  const reports: Record<string, SuiteReport["rows"]> = {};
  for (const name of suites) {
    const suite = name === "ceiling" ? ceiling(folder!) : SUITES[name]!;
    const { title, rows, text } = await suite(setting);
    reports[name] = rows;
    if (!json) process.stdout.write(`\n${title}\n\n${text.join("\n")}\n`);
  }
  const after = speed();
  if (!json) process.stdout.write(`\n${yardstickLine(before, after)}\n`);
  if (json) {
    const yardstick = { before, after };
    const document = { schema: "pagevisor.bench/1", version: VERSION, host, yardstick, suites: reports };
    process.stdout.write(`${JSON.stringify(document, null, 2)}\n`);
  }
}

try {
  await main(process.argv.slice(2));
} catch (error) {
  if (!(error instanceof UsageError)) throw error;
  process.stderr.write(`bench: ${error.message}\n`);
  process.exitCode = 2;
}
