// The executable as a process, on real scenarios: exit codes, streams, signals, a reader that goes away. Every bad input that a user
// can give ends as one line on standard error that names the place, what was given and what is allowed.

import { spawn, spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { RunResult } from "#dist/result.js";
import { EXAMPLES, ROOT, small } from "../scenes.js";

const CLI = fileURLToPath(import.meta.resolve("#dist/cli.js"));

interface Ended {
  status: number | null;
  stdout: string;
  stderr: string;
}

const test = suite("", { folder: "" });
test.before.each((context) => {
  context.folder = mkdtempSync(join(tmpdir(), "pagevisor-process-"));
});
test.after.each(({ folder }) => rmSync(folder, { recursive: true }));

function pagevisor(args: string[], cwd?: string): Ended {
  return spawnSync(process.execPath, [CLI, ...args], { encoding: "utf8", ...(cwd !== undefined && { cwd }) });
}

/** Starts the process, and what it has written when it ends. */
function start(args: string[]) {
  const child = spawn(process.execPath, [CLI, ...args], { stdio: ["ignore", "pipe", "pipe"] });
  const written = { stdout: "", stderr: "" };
  child.stdout.on("data", (chunk: Buffer) => (written.stdout += chunk.toString()));
  child.stderr.on("data", (chunk: Buffer) => (written.stderr += chunk.toString()));
  const ended = new Promise<Ended>((resolve) =>
    child.on("close", (status) => resolve({ status, ...written })),
  );
  return { child, ended };
}

/** Writes the scenario `value` into the folder. Returns the file. */
function scenarioIn(folder: string, value: unknown): string {
  const file = join(folder, "scenario.json");
  writeFileSync(file, JSON.stringify(value));
  return file;
}

/** A valid scenario of one VM of 1 MiB, for a mistake to be put in. */
function valid(
  changes: Record<string, unknown> = {},
  vm: Record<string, unknown> = {},
  workload: unknown = undefined,
) {
  const task = { workload: workload ?? { kind: "uniform", pages: 100, accesses: 100 } };
  return {
    host: { memory: "2MiB" },
    vms: [{ name: "db", memory: "1MiB", guest: { tasks: [task] }, ...vm }],
    ...changes,
  };
}

/** A scenario that would run for hours. */
const forever = valid(
  { host: { memory: "8MiB" } },
  { memory: "2MiB" },
  { kind: "uniform", pages: 500, accesses: 1e12 },
);

test("output is plain when it is piped, and the exit code is 0", () => {
  const { status, stdout, stderr } = pagevisor(["presets"]);
  assert.is(status, 0);
  assert.is(stderr, "");
  assert.match(stdout, /^overcommit/m);
  assert.not.ok(stdout.includes("\u001b"));
});

test("help begins with an example, for the whole and for a command", () => {
  for (const args of [["--help"], ["run", "--help"]]) {
    const { status, stdout, stderr } = pagevisor(args);
    assert.equal([status, stderr], [0, ""]);
    assert.match(stdout, /^Example:\n {2}pagevisor \S/);
  }
});

test("README.md shows what npm start prints", () => {
  const { status, stdout } = pagevisor(["run", join(EXAMPLES, "overcommit.json")]);
  assert.is(status, 0);
  const printed = new Set(stdout.split("\n"));
  const [, excerpt] = /prints one page\. Parts of it:\n\n```\n(.*?)^```$/ms.exec(
    readFileSync(join(ROOT, "README.md"), "utf8"),
  )!;
  const shown = excerpt!.trimEnd().split("\n");
  assert.ok(shown.length > 15);
  const wrong = shown.filter((line) => line !== "…" && line !== "overcommit" && !printed.has(line));
  assert.equal(wrong, [], "lines of README.md that npm start does not print");
});

test("a preset runs by its name, from any folder, and says the same twice", ({ folder }) => {
  const first = pagevisor(["run", "overcommit", "--no-rows", "--accesses", "200000"], folder);
  assert.equal([first.status, first.stderr], [0, ""]);
  assert.match(first.stdout, /^overcommit\n/);
  assert.match(first.stdout, /status {5}done: the limit of accesses is reached/);
  const second = pagevisor(["run", "overcommit", "--no-rows", "--accesses", "200000"]);
  const withoutSpeed = (text: string): string => text.replace(/^ {2}speed.*$/m, "");
  assert.is(withoutSpeed(second.stdout), withoutSpeed(first.stdout));
});

test("--json prints the result and nothing else", () => {
  const { status, stdout, stderr } = pagevisor([
    "run",
    "overcommit",
    "--json",
    "--accesses",
    "100000",
    "--seed",
    "5",
  ]);
  assert.equal([status, stderr], [0, ""]);
  const result = JSON.parse(stdout) as RunResult;
  assert.equal([result.schema, result.status, result.stoppedBy], ["pagevisor.result/1", "done", "accesses"]);
  assert.equal([result.accesses, result.seed, result.scenario.seed], [100_000, 5, 5]);
  assert.is(result.inputs[0]!.file, "traces/sqlite_build_query.u32.gz");
  assert.match(result.digest, /^[0-9a-f]{16}$/);
});

test("the schema that is printed describes the preset that is run", () => {
  const schema = JSON.parse(pagevisor(["schema"]).stdout) as { properties: Record<string, unknown> };
  assert.ok("host" in schema.properties && "vms" in schema.properties);
});

test("replay runs a trace file, without rows", ({ folder }) => {
  const trace = join(folder, "t.u32.gz");
  writeFileSync(trace, gzipSync((small(2000)[1].files as Record<string, Uint8Array>)["start.u32"]!));
  const { status, stdout } = pagevisor([
    "replay",
    trace,
    "--guest-memory",
    "2MiB",
    "--host-memory",
    "400KiB",
  ]);
  assert.is(status, 0);
  assert.match(stdout, /^replay of t\.u32\.gz \(/);
  assert.match(stdout, /simulated {2}2,000 accesses in/);
  assert.not.match(stdout, /^Host memory/m);
});

test("a series and a trace file are written beside the page", ({ folder }) => {
  const [series, trace] = [join(folder, "s.ndjson"), join(folder, "t.txt")];
  const args = ["--series", series, "--every", "100us", "--trace", trace, "--no-rows", "--accesses", "50000"];
  assert.is(pagevisor(["run", "overcommit", ...args]).status, 0);
  const samples = readFileSync(series, "utf8").trimEnd().split("\n");
  assert.ok(samples.length > 10);
  const times = samples.map((line) => (JSON.parse(line) as { t: number }).t);
  assert.equal(times.slice(0, 3), [100_000, 200_000, 300_000]);
  const records = readFileSync(trace, "utf8");
  assert.match(records, /^# tracer: nop\n#\n/);
  assert.is(records.match(/^# tracer/gm)!.length, 1);
  assert.match(records, /: kvm_exit: vcpu 0 reason EPT_VIOLATION /);
});

// Results that are no success

test("out of memory in mid-run is a result: everything is printed, exit 1", ({ folder }) => {
  const file = scenarioIn(
    folder,
    valid({ host: { memory: "512KiB" } }, {}, { kind: "sequential", pages: 256, writes: 1 }),
  );
  const page = pagevisor(["run", file]);
  assert.equal([page.status, page.stderr], [1, ""]);
  assert.match(page.stdout, /status {5}oom: host\.memory/);
  assert.match(page.stdout, /^Faults /m);
  assert.match(page.stdout, /^Host\n/m);
  const json = pagevisor(["run", file, "--json"]);
  assert.is(json.status, 1);
  const result = JSON.parse(json.stdout) as RunResult;
  assert.equal([result.status, result.oom], ["oom", { where: "host.memory" }]);
  assert.ok(result.accesses > 20);
});

test("Ctrl-C prints the results so far and exits with 130", async ({ folder }) => {
  const series = join(folder, "s.ndjson");
  const file = scenarioIn(folder, forever);
  for (const json of [false, true]) {
    const { child, ended } = start([
      "run",
      file,
      "--series",
      series,
      "--every",
      "10ms",
      ...(json ? ["--json"] : []),
    ]);
    // Its first line is there when the run has got somewhere; by then the process listens.
    while (!existsSync(series) || statSync(series).size === 0) await sleep(10);
    child.kill("SIGINT");
    const { status, stdout, stderr } = await ended;
    assert.equal([status, stderr], [130, ""]);
    rmSync(series);
    if (json) {
      const result = JSON.parse(stdout) as RunResult;
      assert.equal([result.status, result.stoppedBy], ["interrupted", "signal"]);
      assert.ok(result.accesses > 0);
    } else {
      assert.match(stdout, /status {5}interrupted: by Ctrl-C; these are the results so far/);
      assert.match(stdout, /simulated {2}[\d,]+ accesses in/);
      assert.not.match(stdout, /^Host memory/m);
    }
  }
});

test("Ctrl-C ends a run that writes a trace; what it has written is whole lines", async ({ folder }) => {
  const trace = join(folder, "interrupted.txt");
  const { child, ended } = start(["run", scenarioIn(folder, forever), "--trace", trace, "--json"]);
  while (!existsSync(trace)) await sleep(10);
  await sleep(150);
  child.kill("SIGINT");
  const { status, stdout } = await ended;
  assert.is(status, 130);
  assert.is((JSON.parse(stdout) as RunResult).stoppedBy, "signal");
  const text = readFileSync(trace, "utf8");
  assert.ok(text.endsWith("\n"));
  for (const line of text
    .trimEnd()
    .split("\n")
    .filter((line) => !line.startsWith("#"))) {
    assert.match(line, /^ *\S.* \[\d+\] .*: \w+: /);
  }
});

test("a reader that closes the pipe early ends the process quietly", async () => {
  for (const args of [["run", "--help"], ["schema"], ["run", "overcommit", "--accesses", "1000"]]) {
    const { child, ended } = start(args);
    child.stdout.destroy();
    const { status, stderr } = await ended;
    assert.equal([status, stderr], [0, ""], args.join(" "));
  }
});

// Bad input

function assertRefused({ status, stdout, stderr }: Ended, ...parts: (string | RegExp)[]): void {
  assert.is(stdout, "");
  assert.match(stderr, /^pagevisor: [^\n]+\n$/);
  assert.is(status, 2, stderr);
  assert.not.match(stderr, /\bat .*\.js:\d+|Error:/);
  for (const part of parts) {
    if (typeof part === "string") assert.ok(stderr.includes(part), `${stderr} does not say: ${part}`);
    else assert.match(stderr, part);
  }
}

const SIZE = "Allowed: a multiple of 4KiB from 4KiB to 8TiB, in bytes or with a unit (B, KiB, MiB, GiB, TiB)";
const TRACE = "Allowed: little-endian u32 records, plain or gzip";
const FILE = "vms[0].guest.tasks[0].workload.file: ";
const words = (...pages: number[]): Uint8Array => new Uint8Array(new Uint32Array(pages).buffer);

interface Bad {
  what: string;
  scenario: unknown;
  says: (string | RegExp)[];
  /** Content of the file t.u32 beside the scenario; absent: there is none. */
  trace?: Uint8Array;
}

const trace = { kind: "trace", file: "t.u32" };
const zipf = (theta: unknown): unknown => ({ kind: "zipf", pages: 9, theta, accesses: 9 });

for (const { what, scenario, says, trace: bytes } of [
  {
    what: "an unknown key",
    scenario: valid({}, { memroyMax: "1MiB" }),
    says: ['vms[0].memroyMax: unknown key; did you mean "memoryMax"? Allowed: name, memory, '],
  },
  {
    what: "a wrong unit",
    scenario: valid({ host: { memory: "64MB" } }),
    says: ['host.memory: "64MB" has an unknown unit; did you mean "64MiB"?', SIZE],
  },
  {
    what: "a negative size",
    scenario: valid({}, { memory: "-1MiB" }),
    says: ['vms[0].memory: "-1MiB" is negative.', SIZE],
  },
  {
    what: "a size of zero",
    scenario: valid({}, { memory: 0 }),
    says: ["vms[0].memory: 0 is not a positive size.", SIZE],
  },
  {
    what: "memory that is not a multiple of 4 KiB",
    scenario: valid({}, { memory: "1023KiB" }),
    says: ['vms[0].memory: "1023KiB" is not a multiple of 4KiB.', SIZE],
  },
  {
    what: "no VMs",
    scenario: { host: { memory: "2MiB" }, vms: [] },
    says: ["vms: an empty list is not allowed. Allowed: a list of at least 1 VM"],
  },
  {
    what: "two VMs of one name",
    scenario: { host: { memory: "2MiB" }, vms: [...valid().vms, ...valid().vms] },
    says: ['vms[1].name: "db" is already the name of vms[0]. Allowed: a name of its own'],
  },
  {
    what: "a duration of zero",
    scenario: valid({ duration: { time: "0s" } }),
    says: ['duration.time: "0s" is too short. Allowed: a time of at least 1ns'],
  },
  {
    what: "a duration of no accesses",
    scenario: valid({ duration: { accesses: 0 } }),
    says: ["duration.accesses: 0 is not allowed. Allowed: a whole number of at least 1"],
  },
  {
    what: "a host smaller than its own watermarks",
    scenario: valid({ host: { memory: "64KiB" } }),
    says: ["host.memory: 64KiB is not larger than the host's own watermarks", /at least \d+KiB is needed/],
  },
  {
    what: "a scenario that does not fit the arena",
    scenario: valid({ host: { memory: "2TiB" } }),
    says: [/needs 14(\.\d+)?GiB of simulator state, one machine holds 4GiB/, "Make host.memory"],
  },
  {
    what: "an endless scenario without a limit",
    scenario: valid({}, {}, { kind: "uniform", pages: 9 }),
    says: [
      "duration: no task of the scenario ever ends and no limit is given; set duration.accesses or duration.time",
    ],
  },
  {
    what: "a trace that is missing",
    scenario: valid({}, {}, trace),
    says: [`${FILE}"t.u32": no such file `, "t.u32", TRACE],
  },
  {
    what: "an empty trace",
    scenario: valid({}, {}, trace),
    trace: words(),
    says: [`${FILE}"t.u32": empty. ${TRACE}`],
  },
  {
    what: "a truncated gzip",
    scenario: valid({}, {}, trace),
    trace: gzipSync(words(...Array.from({ length: 999 }, (_, index) => (index * 7) % 100))).subarray(0, -9),
    says: [`${FILE}"t.u32": truncated or corrupt gzip. ${TRACE}`],
  },
  {
    what: "a trace with a byte count that is no multiple of 4",
    scenario: valid({}, {}, trace),
    trace: words(1, 2).subarray(0, 7),
    says: [`${FILE}"t.u32": 7 bytes are not a multiple of 4. ${TRACE}`],
  },
  {
    what: "a page number outside the guest",
    scenario: valid({}, {}, trace),
    trace: words(1, 256),
    says: [`${FILE}page 256 of "t.u32" is outside the 256 pages (1MiB) of "db". Allowed: pages 0..255`],
  },
  {
    what: "a theta of zero",
    scenario: valid({}, {}, zipf(0)),
    says: ["vms[0].guest.tasks[0].workload.theta: 0 is not allowed. Allowed: a number above 0"],
  },
  {
    what: "a negative theta",
    scenario: valid({}, {}, zipf(-1)),
    says: ["vms[0].guest.tasks[0].workload.theta: -1 is not allowed. Allowed: a number above 0"],
  },
] as Bad[]) {
  test(`refused in one line: ${what}`, ({ folder }) => {
    if (bytes !== undefined) writeFileSync(join(folder, "t.u32"), bytes);
    const file = scenarioIn(folder, scenario);
    assertRefused(pagevisor(["run", file, "--json"]), ...says);
  });
}

test("refused in one line: mistakes on the command line", ({ folder }) => {
  assertRefused(pagevisor(["run", "no-such-preset"]), 'no scenario file and no preset "no-such-preset"');
  assertRefused(pagevisor(["run", "overcommit", "--jsno"]), "Did you mean --json?");
  assertRefused(pagevisor(["run", "overcommit", "--set", "vms.cahce.memory=1MiB"]), 'did you mean "cache"?');
  assertRefused(pagevisor(["run", "overcommit", "--set", "host.memory=tiny"]), "host.memory");
  assertRefused(pagevisor(["run", "overcommit", "--seed", "-1"]), "--seed");
  assertRefused(
    pagevisor(["replay", join(folder, "t"), "--guest-memory", "1MiB", "--host-memory", "1MiB"]),
    TRACE,
  );
  const broken = join(folder, "broken.json");
  writeFileSync(broken, '{ "host": ');
  assertRefused(
    pagevisor(["run", broken]),
    "broken.json:1:11: not JSON: expected a value, found the end of the file",
  );
});

test.run();
