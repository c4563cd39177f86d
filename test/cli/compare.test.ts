// At stake: a comparison that somebody decides by. Runs of one scenario with other seeds must be one column, whatever file they come from; the
// change must be against the first column and admit when the seeds alone may explain it; a file that is no result must be refused.

import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { changeOf, compareCommand, compareText, type comparison } from "#dist/cli/compare.js";
import { groupsOf, spreadOf } from "#dist/cli/groups.js";
import { leavesOf } from "#dist/cli/leaves.js";
import { readResults, type StoredResult } from "#dist/cli/resultfile.js";
import { PLAIN } from "#dist/cli/terminal.js";
import type { RunResult } from "#dist/result.js";
import { create, refusal, small } from "../scenes.js";
import { madeResult, madeVm, recordingTerminal } from "./made.js";

const test = suite("", { folder: "" });
test.before.each((context) => {
  context.folder = mkdtempSync(join(tmpdir(), "pagevisor-compare-"));
});
test.after.each(({ folder }) => rmSync(folder, { recursive: true }));

/** A made result of a scenario with this host memory and seed, and so many pages swapped in. */
function made(memory: number, seed: number, swapIn: number, given: Partial<RunResult> = {}): RunResult {
  const result = madeResult({ seed, vms: [madeVm("db", { throughput: 1000 * swapIn })], ...given });
  return {
    ...result,
    scenario: { ...result.scenario, seed, host: { ...result.scenario.host, memory } },
    host: { ...result.host, swap: { ...result.host.swap, in: swapIn } },
  };
}

const stored = (file: string, result: RunResult, set?: Record<string, unknown>): StoredResult => ({
  file,
  result,
  set,
});

const swapIns = ({ host }: RunResult): number => host.swap.in;

test("runs that differ in the seed alone are one group; another memory, version or a second time the same seed is another", () => {
  const groups = groupsOf([
    stored("a.json", made(8, 1, 10)),
    stored("b.json", made(4, 1, 30)),
    stored("dir/a2.json", made(8, 2, 20)),
    stored("c.json", made(8, 1, 11)),
    stored("d.json", made(8, 3, 90)),
    stored("e.json", made(8, 1, 10, { version: "9.9.9" })),
  ]);
  assert.equal(
    groups.map(({ name, results }) => [name, results.map(swapIns)]),
    [
      ["a and 2 more", [10, 20, 90]],
      ["b", [30]],
      ["c", [11]],
      ["e", [10]],
    ],
  );
  assert.equal(spreadOf(groups[0]!.results, swapIns), { median: 20, min: 10, max: 90 });
  const even = [made(8, 1, 4), made(8, 2, 1), made(8, 3, 2), made(8, 4, 8)];
  assert.equal(spreadOf(even, swapIns), { median: 3, min: 1, max: 8 });
  assert.is(
    spreadOf(even, ({ oom }) => oom?.where.length),
    undefined,
  );
});

test("rows of a sweep are named by what was set, and names that two groups have are told apart by the column", () => {
  const groups = groupsOf([
    stored("s.ndjson", made(8, 1, 1), { "host.memory": "8MiB" }),
    stored("s.ndjson", made(8, 2, 1), { "host.memory": "8MiB" }),
    stored("s.ndjson", made(4, 1, 1), { "host.memory": "4MiB", "check.integrity": true }),
    stored("x/r.json", made(2, 1, 1)),
    stored("y/r.json", made(1, 1, 1)),
  ]);
  assert.equal(
    groups.map(({ name }) => name),
    ["host.memory=8MiB", "host.memory=4MiB check.integrity=true", "r (3)", "r (4)"],
  );
});

test("the change is against the first column, and says when the ranges overlap", () => {
  const first = [made(8, 1, 100), made(8, 2, 120), made(8, 3, 110)];
  const near = [made(4, 1, 115), made(4, 2, 125), made(4, 3, 130)];
  const far = [made(2, 1, 220), made(2, 2, 221), made(2, 3, 222)];
  const groups = groupsOf([...first, ...near, ...far].map((result, index) => stored(`${index}`, result)));
  const text = compareText(groups, false, PLAIN);
  const lines = text.split("\n").filter((line) => line.startsWith("swapped in"));
  assert.equal(lines.length, 2, "two of three columns side by side");
  assert.match(lines[0]!, /440KiB \(400KiB\.\.480KiB\) +500KiB \(460KiB\.\.520KiB\) +~\+14%$/);
  assert.match(lines[1]!, /440KiB \(400KiB\.\.480KiB\) +884KiB \(880KiB\.\.888KiB\) +\+101%$/);
  assert.match(text, /^host\.memory +8B +4B +2B$/m);
  assert.match(text, /^seeds +3 +3 +3$/m);
  assert.ok(text.split("\n").every((line) => line.length <= 100));

  const spread = (median: number) => ({ median, min: median, max: median });
  assert.is(changeOf(spread(4), spread(3)), -0.25);
  assert.is(changeOf(spread(0), spread(0)), 0);
  assert.is(changeOf(spread(0), spread(1)), null);
  assert.is(changeOf(undefined, spread(1)), null);
});

test("--all lists the numbers that differ by their path, and only those", () => {
  const groups = groupsOf([stored("a.json", made(8, 1, 10)), stored("b.json", made(4, 1, 30))]);
  const lines = compareText(groups, true, PLAIN).trimEnd().split("\n");
  assert.equal(
    lines.slice(-3).map((line) => line.split(/ +/)),
    [
      ["Number", "a", "b", "change"],
      ["vms.db.throughput", "10000", "30000", "+200%"],
      ["host.swap.in", "10", "30", "+200%"],
    ],
  );
  const same = groupsOf([stored("a.json", made(8, 1, 10)), stored("b.json", made(8, 1, 10))]);
  const text = compareText(same, true, PLAIN);
  assert.match(text, /^the same$/m);
  assert.match(text, /^Every number is the same\.$/m);
});

test("a run that did not end as it should says so", () => {
  const groups = groupsOf([
    stored("a.json", made(8, 1, 10)),
    stored("b.json", made(4, 1, 30, { status: "oom" })),
  ]);
  assert.match(compareText(groups, false, PLAIN), /^b: oom$/m);
});

test("real results, from run --json and from sweep --ndjson, come out as they were", async ({ folder }) => {
  const results: RunResult[] = [];
  for (const [memory, seed] of [
    ["1MiB", 1],
    ["2MiB", 1],
    ["2MiB", 2],
  ] as const) {
    const [scenario, { files }] = small(2000, { seed });
    const machine = await create({ ...scenario, host: { ...scenario.host, memory } }, { files: files! });
    results.push(machine.run());
  }
  const [a, b, c] = results as [RunResult, RunResult, RunResult];
  writeFileSync(join(folder, "a.json"), `${JSON.stringify(a, null, 2)}\n`);
  const row = (result: RunResult | null, index: number) =>
    JSON.stringify({
      schema: "pagevisor.sweep/1",
      sweep: "x",
      point: { index, set: { "host.memory": "2MiB" }, seed: 1 },
      result,
      error: null,
    });
  writeFileSync(join(folder, "rows.ndjson"), `${[row(b, 0), row(c, 1), row(null, 2)].join("\n")}\n`);
  const files = ["a.json", "rows.ndjson"].map((name) => join(folder, name));
  const printer = recordingTerminal();
  assert.is(compareCommand(files, { json: true }, printer), 0);
  const printed = JSON.parse(printer.written.out) as ReturnType<typeof comparison>;
  assert.is(printed.schema, "pagevisor.compare/1");
  assert.equal(
    printed.groups.map(({ name, seeds, digests }) => [name, seeds, digests]),
    [
      ["a", [1], [a.digest]],
      ["host.memory=2MiB", [1, 2], [b.digest, c.digest]],
    ],
  );
  assert.equal(printed.scenario, { "host.memory": [2 ** 20, 2 ** 21] });
  const figure = printed.figures.find(({ path }) => path === "vms.cache.faults.major.count")!;
  const of = ({ vms }: RunResult): number => vms[1]!.faults.major.count;
  assert.is(figure.values[0]!.median, of(a));
  assert.is(figure.values[1]!.median, (of(b) + of(c)) / 2);
  const change = (of(b) + of(c)) / 2 / of(a) - 1;
  assert.ok(Math.abs(figure.change[1]! - change) < 1e-12, `${figure.change[1]}, ${change}`);
});

test("what is no result is refused, saying where and what is wrong", async ({ folder }) => {
  const file = join(folder, "x.json");
  const said = (text: string): Promise<string> => {
    writeFileSync(file, text);
    return refusal(() => readResults(file), "E_FILE");
  };
  const result = made(8, 1, 1);
  assert.match(await said(""), /no result of pagevisor: it holds no result/);
  assert.match(await said("nonsense"), /x\.json:1:1: not JSON/);
  assert.match(await said('{ "host": 1 }'), /x\.json:1: no result of pagevisor: schema is undefined/);
  assert.match(
    await said(JSON.stringify({ ...result, vms: [{ ...result.vms[0], stall: {} }] })),
    /x\.json:1: no result of pagevisor: vms\.0\.stall\.someNs is undefined, expected /,
  );
  assert.match(
    await said(JSON.stringify({ ...result, host: null }, null, 2)),
    /x\.json: no result of pagevisor: host is null/,
  );
  await refusal(() => readResults(join(folder, "nowhere")), "E_FILE");
  await refusal(() => readResults(folder), "E_FILE");
});

test("leaves go by the names that things have", () => {
  const value = { a: 1, list: [{ name: "x", b: 2 }, { b: 3 }, 4], none: null };
  const numbers = leavesOf(value, (leaf): leaf is number => typeof leaf === "number");
  assert.equal(
    [...numbers],
    [
      ["a", 1],
      ["list.x.b", 2],
      ["list.1.b", 3],
      ["list.2", 4],
    ],
  );
});

test.run();
