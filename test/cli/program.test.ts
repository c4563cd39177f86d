// The command line from its arguments to output and exit code, on simulations made by hand. The files are real.

import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { main } from "#dist/cli/program.js";
import { PagevisorError } from "#dist/errors.js";
import type { RunResult } from "#dist/result.js";
import { MIB, recordingTerminal } from "./made.js";
import { type Fake, fake } from "./simulation.js";

const test = suite<{ folder: string; file: string }>("program");

test.before.each((context) => {
  context.folder = mkdtempSync(join(tmpdir(), "pagevisor-"));
  context.file = join(context.folder, "small.json");
  const scenario = {
    name: "small",
    host: { memory: "32MiB" },
    vms: [{ name: "db", memory: "16MiB" }],
  };
  writeFileSync(context.file, JSON.stringify(scenario));
});

test.after.each(({ folder }) => {
  rmSync(folder, { recursive: true });
});

interface Outcome {
  exitCode: number;
  out: string;
  err: string;
}

async function pagevisor(args: string[], simulation: Fake = fake()): Promise<Outcome> {
  const terminal = recordingTerminal();
  const exitCode = await main(args, terminal, simulation.create);
  return { exitCode, ...terminal.written };
}

/** One line on standard error, nothing on standard output, exit code 2. */
function assertRefused({ exitCode, out, err }: Outcome, message: RegExp): void {
  assert.is(exitCode, 2);
  assert.is(out, "");
  assert.match(err, message);
  assert.match(err, /^pagevisor: [^\n]+\n$/);
}

test("run prints the page and five rows", async ({ file }) => {
  const simulation = fake();
  const { exitCode, out, err } = await pagevisor(["run", file], simulation);
  assert.is(exitCode, 0);
  assert.is(err, "");
  assert.match(out, /^small \(/);
  assert.match(out, /^ 60% +19.2MiB +100.0%/m);
  assert.match(out, /No access faulted; throughput stays above half in every row\.\n$/);
  const memories = simulation.built.map(({ host }) => (host as { memory: unknown }).memory);
  assert.equal(memories, ["32MiB", 30_195_712, 26_841_088, 23_486_464, 20_131_840]); // whole pages
  assert.is(simulation.disposed, 5);
});

test("--no-rows leaves the rows out", async ({ file }) => {
  const simulation = fake();
  const { out } = await pagevisor(["run", file, "--no-rows"], simulation);
  assert.not.match(out, /Host memory/);
  assert.is(simulation.built.length, 1);
});

test("--json prints exactly the result", async ({ file }) => {
  const simulation = fake();
  const { exitCode, out, err } = await pagevisor(["run", file, "--json"], simulation);
  assert.is(exitCode, 0);
  assert.is(err, "");
  const result = JSON.parse(out) as RunResult;
  assert.is(result.schema, "pagevisor.result/1");
  assert.is(out, `${JSON.stringify(result, null, 2)}\n`);
  assert.is(simulation.built.length, 1);
});

test("--set and --seed change the scenario, in the order given", async ({ file }) => {
  const simulation = fake();
  const set = ["--set", "vms.db.memory=8MiB", "--set", "vms.db.vcpus=2", "--set", "vms.db.memory=4MiB"];
  await pagevisor(["run", file, "--json", ...set, "--seed", "7"], simulation);
  const [scenario] = simulation.built;
  assert.is(scenario!.seed, 7);
  assert.equal(scenario!.vms, [{ name: "db", memory: "4MiB", vcpus: 2 }]);
});

test("limits are passed on, to the rows too", async ({ file }) => {
  const simulation = fake();
  await pagevisor(["run", file, "--accesses", "500", "--time", "2ms"], simulation);
  assert.equal(simulation.limits, Array(5).fill({ accesses: 500, time: 2_000_000 }));
});

test("without limits the scenario's duration stands", async ({ file }) => {
  const simulation = fake();
  await pagevisor(["run", file, "--no-rows"], simulation);
  assert.equal(simulation.limits, [undefined]);
});

for (const [status, exitCode] of [
  ["oom", 1],
  ["violation", 3],
  ["interrupted", 130],
] as const) {
  test(`a run that ends with ${status} prints its page without rows and exits with ${exitCode}`, async ({
    file,
  }) => {
    const simulation = fake({ status });
    const outcome = await pagevisor(["run", file], simulation);
    assert.is(outcome.exitCode, exitCode);
    assert.match(outcome.out, new RegExp(`status +${status}:`));
    assert.not.match(outcome.out, /Host memory/);
    assert.is(simulation.built.length, 1);
  });
}

test("Ctrl-C during the rows prints those that are done and exits with 130", async ({ file }) => {
  const terminal = recordingTerminal();
  let runs = 0;
  const onRun = (): void => {
    runs += 1;
    if (runs === 3) terminal.interrupt.abort();
  };
  const exitCode = await main(["run", file], terminal, fake({ onRun }).create);
  assert.is(exitCode, 130);
  assert.match(terminal.written.out, /^ 90%/m);
  assert.not.match(terminal.written.out, /^ 80%/m);
});

test("--series writes the counters at each multiple of --every and at the end", async ({ file, folder }) => {
  const series = join(folder, "series.ndjson");
  // 10,000 accesses of 100 ns are 1 ms.
  const { exitCode } = await pagevisor(["run", file, "--no-rows", "--series", series, "--every", "300us"]);
  assert.is(exitCode, 0);
  const lines = readFileSync(series, "utf8").trimEnd().split("\n");
  const samples = lines.map((line) => JSON.parse(line) as { t: number; vms: { accesses: number }[] });
  assert.equal(
    samples.map(({ t, vms }) => [t, vms[0]!.accesses]),
    [
      [300_000, 3000],
      [600_000, 6000],
      [900_000, 9000],
      [1_000_000, 10_000],
    ],
  );
});

test("a series ends at the run's own limit, be it an option or the scenario's duration", async ({
  file,
  folder,
}) => {
  const series = join(folder, "series.ndjson");
  const options = ["run", file, "--json", "--series", series, "--every", "300us"];
  for (const [args, simulation, accesses] of [
    [["--accesses", "4000"], fake({ accesses: Number.POSITIVE_INFINITY }), 4000],
    [["--time", "450us"], fake({ accesses: Number.POSITIVE_INFINITY }), 4500],
    [[], fake({ accesses: Number.POSITIVE_INFINITY, duration: { time: 700_000 } }), 7000],
    [[], fake({ accesses: Number.POSITIVE_INFINITY, duration: { accesses: 6000 } }), 6000],
  ] as const) {
    const { exitCode, out } = await pagevisor([...options, ...args], simulation);
    assert.is(exitCode, 0);
    assert.is((JSON.parse(out) as RunResult).accesses, accesses);
  }
});

test("a series of an endless run is refused as the run itself is", async ({ file, folder }) => {
  const endless = fake({ accesses: Number.POSITIVE_INFINITY });
  const args = ["run", file, "--series", join(folder, "s"), "--every", "1ms"];
  assertRefused(await pagevisor(args, endless), /nothing ends this run/);
});

test("--trace writes every part of the trace and enables all tracepoints", async ({ file, folder }) => {
  const trace = join(folder, "trace.txt");
  const simulation = fake();
  await pagevisor(["run", file, "--trace", trace], simulation);
  const parts = readFileSync(trace, "utf8").trimEnd().split("\n");
  assert.is(
    parts.reduce((sum, part) => sum + Number.parseInt(part, 10), 0),
    10_000,
  );
  const [first, ...rows] = simulation.built;
  assert.equal(first!.trace, { events: ["*"] });
  assert.ok(rows.every((scenario) => !("trace" in scenario)));
});

test("--trace leaves the scenario's own choice of tracepoints", async ({ file, folder }) => {
  const simulation = fake();
  const set = ["--set", "trace.events=kvm_*"];
  await pagevisor(["run", file, "--no-rows", "--trace", join(folder, "t"), ...set], simulation);
  assert.equal(simulation.built[0]!.trace, { events: ["kvm_*"] });
});

test("a preset runs by its name", async () => {
  const simulation = fake();
  const { exitCode } = await pagevisor(["run", "overcommit", "--json"], simulation);
  assert.is(exitCode, 0);
  assert.is(simulation.built[0]!.name, "overcommit");
});

test("replay builds a scenario of one guest and prints no rows", async () => {
  const simulation = fake();
  const sizes = ["--guest-memory", "20MiB", "--host-memory", "16MiB"];
  const { exitCode, out } = await pagevisor(["replay", "my/trace.u32.gz", ...sizes], simulation);
  assert.is(exitCode, 0);
  assert.match(out, /^replay of trace\.u32\.gz \(my\/trace\.u32\.gz\)/);
  assert.not.match(out, /Host memory/);
  const workload = { kind: "trace", file: "my/trace.u32.gz", writes: "as-recorded" };
  assert.equal(simulation.built, [
    {
      name: "replay of trace.u32.gz",
      host: { memory: 16 * MIB, swap: [{ kind: "nvme", size: 20 * MIB }] },
      vms: [{ name: "guest", memory: 20 * MIB, guest: { tasks: [{ name: "trace", workload }] } }],
    },
  ]);
});

test("replay takes a swap device, its size, all writes, a loop, and rows", async () => {
  const simulation = fake({ accesses: Number.POSITIVE_INFINITY });
  const sizes = [
    "--guest-memory",
    "20MiB",
    "--host-memory",
    "16MiB",
    "--swap",
    "hdd",
    "--swap-size",
    "64MiB",
  ];
  const rest = ["--loop", "--writes", "all", "--rows", "--accesses", "1000"];
  const { exitCode, out } = await pagevisor(["replay", "t.u32", ...sizes, ...rest], simulation);
  assert.is(exitCode, 0);
  assert.match(out, /Host memory/);
  const [scenario] = simulation.built;
  assert.equal((scenario!.host as { swap: unknown }).swap, [{ kind: "hdd", size: 64 * MIB }]);
  assert.match(JSON.stringify(scenario), /"loop":true,"writes":"all"/);
});

test("replay without swap", async () => {
  const simulation = fake();
  const sizes = ["--guest-memory", "20MiB", "--host-memory", "16MiB", "--swap", "none"];
  await pagevisor(["replay", "t.u32", ...sizes], simulation);
  assert.equal((simulation.built[0]!.host as { swap: unknown }).swap, []);
});

test("presets lists the examples with their descriptions", async () => {
  const { exitCode, out } = await pagevisor(["presets"]);
  assert.is(exitCode, 0);
  assert.match(out, /^Preset/);
  assert.match(out, /^overcommit +\w+/m);
  assert.ok(out.split("\n").every((line) => line.length <= 100));
});

test("schema prints the JSON Schema of scenarios", async () => {
  const { exitCode, out } = await pagevisor(["schema"]);
  assert.is(exitCode, 0);
  const { properties } = JSON.parse(out) as { properties: object };
  assert.ok("host" in properties && "vms" in properties);
});

test("help starts with an example, everywhere", async () => {
  for (const args of [
    ["--help"],
    ...["run", "replay", "validate", "presets", "schema"].map((name) => [name, "--help"]),
  ]) {
    const { exitCode, out, err } = await pagevisor(args);
    assert.is(exitCode, 0);
    assert.is(err, "");
    assert.match(out, /^Example:\n {2}pagevisor /);
  }
});

test("the help of run documents the rows and the fields of the series", async () => {
  const { out } = await pagevisor(["run", "--help"]);
  assert.match(out, /five rows/);
  assert.match(out, /vms\[\]\.minorMeanNs/);
});

test("--version prints the package's version", async () => {
  const { exitCode, out } = await pagevisor(["--version"]);
  assert.is(exitCode, 0);
  assert.match(out, /^\d+\.\d+\.\d+\n$/);
});

test("no command prints the help on standard error and exits with 2", async () => {
  const { exitCode, out, err } = await pagevisor([]);
  assert.is(exitCode, 2);
  assert.is(out, "");
  assert.match(err, /^Example:/);
});

for (const [args, message] of [
  [["rnu", "x"], /unknown command 'rnu' \(Did you mean run\?\)/],
  [["run"], /missing required argument 'file\|preset'/],
  [["run", "a", "b"], /too many arguments/],
  [["validate"], /missing required argument 'path'/],
  [["validate", "no-such-folder"], /no-such-folder: no such file or directory/],
  [["run", "overcommit", "--jsno"], /unknown option '--jsno' \(Did you mean --json\?\)/],
  [["run", "overcommit", "--seed", "-1"], /--seed.*'-1'.*from 0 to 4294967295/],
  [["run", "overcommit", "--seed", "4294967296"], /from 0 to 4294967295/],
  [["run", "overcommit", "--seed", "1.5"], /from 0 to 4294967295/],
  [["run", "overcommit", "--accesses", "0"], /--accesses.*1 or more/],
  [["run", "overcommit", "--accesses", "ten"], /--accesses.*1 or more/],
  [["run", "overcommit", "--time", "5 hours"], /--time.*unknown unit/],
  [["run", "overcommit", "--time", "0s"], /--time.*more than 0/],
  [["run", "overcommit", "--set", "host.memory"], /--set.*path=value/],
  [["run", "overcommit", "--set", "=1"], /--set.*path=value/],
  [["run", "overcommit", "--set", "host.memroy=1GiB"], /memroy/],
  [["run", "overcommit", "--series", "s.ndjson"], /--every/],
  [["run", "overcommit", "--every", "1ms"], /--series/],
  [["run", "overcommit", "--json", "--rows"], /--rows.*--json/],
  [["run", "no-such-thing"], /no scenario file and no preset "no-such-thing"; "pagevisor presets"/],
  [["replay", "t.u32", "--guest-memory", "1MiB"], /--host-memory/],
  [["replay", "t.u32", "--guest-memory", "lots", "--host-memory", "1MiB"], /--guest-memory/],
  [["replay", "t", "--guest-memory", "1MiB", "--host-memory", "1MiB", "--swap", "floppy"], /--swap.*nvme/],
  [
    ["replay", "t", "--guest-memory", "1MiB", "--host-memory", "1MiB", "--writes", "none"],
    /as-recorded, all/,
  ],
  [
    [
      "replay",
      "t",
      "--guest-memory",
      "1MiB",
      "--host-memory",
      "1MiB",
      "--swap",
      "none",
      "--swap-size",
      "1MiB",
    ],
    /--swap-size needs a swap device/,
  ],
] as const) {
  test(`refuses: ${args.join(" ")}`, async () => {
    assertRefused(await pagevisor([...args]), message);
  });
}

test("a scenario file that is not JSON is refused with the place of the mistake", async ({ folder }) => {
  const file = join(folder, "broken.json");
  writeFileSync(file, '{\n  "host": { "memory": 64MiB }\n}\n');
  assertRefused(
    await pagevisor(["run", file]),
    /broken\.json:2:23: not JSON: expected a value, found "64MiB"/,
  );
});

test("a scenario file that is no object, and a folder, are refused", async ({ folder }) => {
  const file = join(folder, "list.json");
  writeFileSync(file, "[]");
  assertRefused(await pagevisor(["run", file]), /list\.json: a scenario is a JSON object/);
  assertRefused(await pagevisor(["run", folder]), /cannot read/);
});

test("a series or trace that cannot be written is refused before the run", async ({ file, folder }) => {
  const simulation = fake();
  const nowhere = join(folder, "missing", "file");
  for (const args of [
    ["--trace", nowhere],
    ["--series", nowhere, "--every", "1ms"],
  ]) {
    assertRefused(await pagevisor(["run", file, ...args], simulation), /cannot write ".*missing/);
  }
  assert.equal(simulation.limits, []);
  assert.is(simulation.disposed, 2);
});

test("an error of the machine is one line with exit 2, a bug one with exit 70", async ({ file }) => {
  const failing = (error: Error): Fake => ({ ...fake(), create: () => Promise.reject(error) });
  const tooBig = new PagevisorError("E_TOO_BIG", "needs 5GiB of state, 4GiB is the limit");
  assertRefused(await pagevisor(["run", file], failing(tooBig)), /needs 5GiB/);

  const trap = await pagevisor(["run", file, "--seed", "9"], failing(new Error("unreachable")));
  assert.is(trap.exitCode, 70);
  assert.match(trap.err, /^pagevisor: internal error: unreachable\. [^\n]*--seed 9\n$/);
});

test("a bug during the run reports the seed", async ({ file }) => {
  const onRun = (): void => {
    throw new Error("unreachable");
  };
  const simulation = fake({ onRun });
  const { exitCode, err } = await pagevisor(["run", file, "--set", "seed=5"], simulation);
  assert.is(exitCode, 70);
  assert.match(err, /seed 5, command: pagevisor run .* --set seed=5\n$/);
  assert.is(simulation.disposed, 1);
});

test.run();
