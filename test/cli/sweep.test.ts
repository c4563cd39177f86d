// At stake: rows that a program reads and a sweep that goes on after Ctrl-C. An interrupted and resumed output must be, byte for byte
// but for wall times, what one run writes; the output of another sweep must never be added to.

import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { main } from "#dist/cli/program.js";
import { splitValues } from "#dist/cli/sweep.js";
import type { SweepRow } from "#dist/sweep/row.js";
import { roomy } from "../scenes.js";
import { recordingTerminal } from "./made.js";

const test = suite("sweep", { folder: "", file: "", out: "" });
test.before.each((context) => {
  context.folder = mkdtempSync(join(tmpdir(), "pagevisor-sweep-"));
  context.file = join(context.folder, "scenario.json");
  context.out = join(context.folder, "rows");
  const scenario = roomy([{ workload: { kind: "uniform", pages: 500, writes: 0.5, accesses: 3000 } }]);
  const swap = [{ kind: "nvme", size: "4MiB" }];
  writeFileSync(context.file, JSON.stringify({ ...scenario, host: { memory: "8MiB", swap } }));
});
test.after.each(({ folder }) => rmSync(folder, { recursive: true }));

const VARY = ["--vary", "host.memory=4MiB,1MiB,8KiB", "--vary", "vms.db.vcpus=1,2", "--workers", "1"];

async function pagevisor(args: string[], terminal = recordingTerminal()) {
  const exitCode = await main(["sweep", ...args], terminal);
  return { exitCode, ...terminal.written };
}

const withoutWall = (text: string): string => text.replace(/"wall":\{[^}]*\}/g, "");
const linesOf = (text: string): string[] => text.trimEnd().split("\n");

test("a table by default: a line for each point, the error of one that failed below, exit code 1", async ({
  file,
}) => {
  const { exitCode, out, err } = await pagevisor([file, ...VARY]);
  assert.equal([exitCode, err], [1, ""]);
  const lines = linesOf(out);
  assert.match(lines[0]!, /^host\.memory +vms\.db\.vcpus +ratio +throughput +major p99 +swap-ins/);
  assert.match(lines[1]!, /^4MiB +1 +0\.\d\d +100\.0% /);
  assert.match(lines[3]!, /^1MiB +1 +1\.\d\d +\d+\.\d% +\d/);
  assert.match(lines[5]!, /^8KiB +1 +error$/);
  assert.match(out, /^point 4: host\.memory: /m);
});

test("a preset with memory that goes offline: a second table says what became of it, by design", async () => {
  const { exitCode, out } = await pagevisor([
    ...["headlines/apf-offline", "--workers", "1", "--vary", "vms.guest.guest.tasks.store.count=127"],
    ...["--vary", "vms.guest.asyncPf.pin=held,mapping-2013,released"],
  ]);
  assert.is(exitCode, 0);
  const [head, ...lines] = linesOf(out).slice(5);
  assert.match(head!, / event +moved +failed +passes +time +held: in vain +held: moved +ended$/);
  const [held, mapping, released] = lines.map((line) => {
    assert.match(line, / done$/);
    const cells = line.replaceAll(",", "").replaceAll("–", "0").split(/ +/).slice(3, -1);
    return cells.map(Number.parseFloat);
  });
  const [moved, failed, passes, ms, vain] = [0, 1, 2, 3, 4] as const;
  for (const row of [held!, mapping!]) {
    assert.ok(row[moved]! > 3000 && row[failed]! > 20 && row[passes]! > 200, `${row}`);
    assert.ok(row[vain]! >= 10 * row[failed]! && row[ms]! > 1.5 * released![ms]!, `${row}`);
  }
  assert.equal([released![failed], released![vain]], [0, 0]);
  assert.ok(released![passes]! < 30);
});

test("several seeds with contents checked: a table at the end says in how many of them something was wrong", async () => {
  const sweep = (more: string[]) =>
    pagevisor(["headlines/lost-writes-2007", "--seeds", "2", "--workers", "1", ...more]);
  const [, , , , empty, head, ...rates] = linesOf((await sweep(["--time", "60ms"])).out).slice(1);
  assert.is(empty, "");
  assert.match(head!, /^vms\.db\.hostPaging2007\.zapAllVcpus +lost writes +stale reads +unreachable pins$/);
  assert.match(rates[0]!, /^false +2 of 2: \d+ +2 of 2: \d+ +0 of 2$/);
  assert.match(rates[1]!, /^true +0 of 2 +0 of 2 +0 of 2$/);
  assert.is(rates.length, 2);
  assert.is(linesOf((await sweep(["--time", "1ms", "--set", "check.integrity=false"])).out).length, 5);
});

test("--ndjson: a whole result a line, in the order of the points", async ({ file }) => {
  const { exitCode, out } = await pagevisor([file, ...VARY, "--seeds", "2", "--ndjson", "--accesses", "900"]);
  assert.is(exitCode, 1);
  const rows = linesOf(out).map((line) => JSON.parse(line) as SweepRow & { schema: string; sweep: string });
  assert.equal(
    rows.map(({ point }) => point.index),
    [...Array(12).keys()],
  );
  assert.equal(rows[1]!.point, { index: 1, set: { "host.memory": "4MiB", "vms.db.vcpus": "1" }, seed: 2 });
  assert.is(rows[0]!.schema, "pagevisor.sweep/1");
  assert.is(new Set(rows.map(({ sweep }) => sweep)).size, 1);
  assert.equal([rows[0]!.result!.accesses, rows[0]!.error], [900, null]);
  assert.equal([rows[8]!.result, rows[8]!.error!.code], [null, "E_SCENARIO"]);
});

test("--csv: names, then as many cells in each line, also where an error holds commas", async ({ file }) => {
  const { out } = await pagevisor([file, ...VARY, "--csv"]);
  const [head, ...rows] = linesOf(out).map((line) => line.match(/("([^"]|"")*"|[^,]*)(,|$)/g)!.slice(0, 16));
  assert.is(rows.length, 6);
  assert.match(head!.join(""), /^sweep,index,host\.memory,vms\.db\.vcpus,seed,status,error,digest,ratio,/);
  for (const row of rows) assert.is(row.length, 16);
  assert.is(rows[4]![5], "error,");
});

test("an interrupted sweep goes on in its output: the same rows as at one go, whatever was cut short", async (context) => {
  for (const format of ["--ndjson", "--csv"]) {
    const args = [context.file, ...VARY, "--seeds", "2", format, "--output", context.out];
    await pagevisor(args);
    const whole = readFileSync(context.out, "utf8");
    const lines = whole.split("\n");
    // Begun anew without a file, inside the first line, after a row, inside a row, and with nothing left to do.
    const cuts = [0, 10, lines.slice(0, 3).join("\n").length + 1, lines.slice(0, 7).join("\n").length + 25];
    for (const cut of [...cuts, whole.length]) {
      writeFileSync(context.out, whole.slice(0, cut));
      const { exitCode, err } = await pagevisor([...args, "--resume"]);
      assert.is(err, "");
      assert.is(
        withoutWall(readFileSync(context.out, "utf8")),
        withoutWall(whole),
        `${format}, cut at ${cut}`,
      );
      assert.is(exitCode, cut === whole.length ? 0 : 1);
    }
    rmSync(context.out);
    await pagevisor([...args, "--resume"]);
    assert.is(withoutWall(readFileSync(context.out, "utf8")), withoutWall(whole));
  }
});

test("Ctrl-C ends with 130, after the rows that were printed", async ({ file }) => {
  for (const workers of ["1", "2"]) {
    const terminal = recordingTerminal();
    const print = terminal.out;
    terminal.out = (text) => {
      print(text);
      if (linesOf(terminal.written.out).length === 3) terminal.interrupt.abort();
    };
    const args = [file, "--seeds", "100000", "--workers", workers, "--ndjson"];
    const { exitCode, out } = await pagevisor(args, terminal);
    assert.is(exitCode, 130);
    const rows = linesOf(out).map((line) => JSON.parse(line) as SweepRow);
    assert.equal(
      rows.map(({ point, result }) => [point.index, result!.status]),
      [0, 1, 2].map((index) => [index, "done"]),
    );
  }
});

test("the output of another sweep is refused and left as it is", async ({ file, out }) => {
  await pagevisor([file, ...VARY, "--ndjson", "-o", out]);
  const before = readFileSync(out, "utf8");
  const refused = async (args: string[], wrong: RegExp): Promise<void> => {
    const { exitCode, err } = await pagevisor([file, ...args, "-o", out, "--resume"]);
    assert.is(exitCode, 2);
    assert.match(err, wrong);
    assert.is(readFileSync(out, "utf8"), before);
  };
  await refused([...VARY, "--ndjson", "--seeds", "2"], /rows:1: a row of sweep "[0-9a-f]{16}", this is "/);
  await refused([...VARY, "--ndjson", "--set", "host.cpus=1"], /rows:1: a row of sweep /);
  await refused([...VARY, "--csv"], /rows:1: other columns\. Allowed: /);
  await refused([...VARY], /--resume .*--ndjson or --csv/);
});

test("lines that are missing or no rows are refused with their number", async ({ file, out }) => {
  const args = [file, ...VARY, "--ndjson", "-o", out];
  await pagevisor(args);
  const lines = readFileSync(out, "utf8").split("\n");
  writeFileSync(out, [lines[0], lines[2], ""].join("\n"));
  assert.match((await pagevisor([...args, "--resume"])).err, /rows:2: point 2 instead of 1\./);
  writeFileSync(out, [lines[0], "{", ""].join("\n"));
  assert.match((await pagevisor([...args, "--resume"])).err, /rows:2:2: not JSON/);
});

test("wrong usage ends with 2 and one line, and runs nothing", async ({ file }) => {
  for (const [args, wrong] of [
    [[file], /nothing to vary/],
    [[file, "--vary", "host.memory"], /path=v1,v2/],
    [[file, "--vary", "host.memory=1MiB,"], /path=v1,v2/],
    [[file, "--vary", "host.memry=1,2"], /point 0 .*did you mean "memory"/],
    [[file, "--vary", "vms.db.vcpus=1,none"], /point 1 .*"none"/],
    [[file, "--vary", "seed=1,2", "--vary", "seed=3,4"], /given twice/],
    [[file, "--seeds", "2", "--ndjson", "--csv"], /--ndjson and --csv/],
    [[file, "--seeds", "0"], /1 or more/],
    [[file, "--seeds", "2", "--workers", "5000"], /1 to 1024/],
  ] as [string[], RegExp][]) {
    const { exitCode, out, err } = await pagevisor(args);
    assert.equal([exitCode, out], [2, ""], args.join(" "));
    assert.match(err, wrong);
    assert.match(err, /^pagevisor: [^\n]+\n$/);
  }
});

test("values are split at commas outside of JSON", () => {
  assert.equal(splitValues("1,2"), ["1", "2"]);
  assert.equal(splitValues('["a,b"],{"x":[1,2]},"],",3'), ['["a,b"]', '{"x":[1,2]}', '"],"', "3"]);
  assert.equal(splitValues("a,"), ["a", ""]);
});

test("the preset shows the curve: nine points, from 120 to 40% of what the guests touch", async () => {
  const { exitCode, out } = await pagevisor(["overcommit-curve", "--accesses", "100000"]);
  assert.is(exitCode, 0);
  assert.is(linesOf(out).length, 10);
});

test.run();
