// At stake: a field of a capture that is read and not compared, and a damaged capture that reaches the core, which checks nothing. A
// capture that agrees has one value changed at a time: each change must be found where it is.

import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { coreModule } from "#dist/core.js";
import { PagevisorError } from "#dist/errors.js";
import { replayBuddy } from "#dist/validate/buddy.js";
import { readCase, readSteps } from "#dist/validate/cases.js";
import type { CaseInput } from "#dist/validate/result.js";

const ROOT = join(dirname(fileURLToPath(import.meta.resolve("#dist/index.js"))), "..");
const FIXTURES = join(ROOT, "test/fixtures/captures");

type Step = Record<string, unknown>;

/** A copy of `list` with another entry at `index`. */
function replaced<T>(list: readonly T[], index: number, entry: T): T[] {
  return list.map((each, place) => (place === index ? entry : each));
}

function refusal(work: () => unknown): string {
  try {
    work();
  } catch (error) {
    assert.instance(error, PagevisorError);
    assert.is((error as PagevisorError).code, "E_FILE");
    assert.not.match((error as PagevisorError).message, "\n");
    return (error as PagevisorError).message;
  }
  return assert.unreachable("nothing was refused") as never;
}

/** A case of test/fixtures/captures that may be changed. */
function capture(name: string): { caseJson: Step; steps: Step[]; input: CaseInput } {
  const directory = join(FIXTURES, name);
  const { caseJson } = readCase(directory);
  const steps = readSteps(directory);
  return { caseJson, steps, input: { name, caseJson, steps } };
}

/** The places of one leaf of each kind in `value`: of a list, its first element that has one. */
function leafPaths(value: unknown, path: (string | number)[] = []): (string | number)[][] {
  if (typeof value !== "object" || value === null) return [path];
  const kinds = new Map<string, (string | number)[]>();
  for (const [key, part] of Object.entries(value)) {
    for (const found of leafPaths(part, [...path, Array.isArray(value) ? Number(key) : key])) {
      const kind = found.filter((step) => typeof step === "string").join(".");
      if (!kinds.has(kind)) kinds.set(kind, found);
    }
  }
  return [...kinds.values()];
}

/** Another number that may stand at the same place. */
function other(value: number): number {
  return value === 1 ? 2 : value ^ 1;
}

function change(value: unknown, path: (string | number)[]): void {
  const holder = path.slice(0, -1).reduce((part, key) => (part as Step)[key], value) as Step;
  const key = path.at(-1)!;
  const leaf = holder[key];
  holder[key] = typeof leaf === "number" ? other(leaf) : `not ${String(leaf)}`;
}

test("every field of a step of the page allocator and of a dump is compared", async () => {
  const module = await coreModule();
  const { input, steps } = capture("buddy-isolate-128m-1c-s8");
  assert.is(replayBuddy(input, module).agree, steps.length);

  const ignored = ["i", "op", "kind", "slot", "order", "gfp", "mt", "index"];
  const picked = [
    steps.findIndex(({ op, zone }) => op === "alloc" && zone !== undefined),
    steps.findIndex(({ err }) => err === "watermark"),
    steps.findIndex(({ op }) => op === "drain"),
    steps.findIndex(({ op }) => op === "dump"),
  ];
  const kinds: string[] = [];
  for (const index of picked) {
    const step = steps[index]!;
    for (const path of leafPaths(step)) {
      if (ignored.includes(String(path[0]))) continue;
      const changed = structuredClone(step);
      change(changed, path);
      const { agree, first } = replayBuddy({ ...input, steps: replaced(steps, index, changed) }, module);
      assert.is(agree, steps.length - 1, path.join("."));
      assert.is(first!.step, step.i, path.join("."));
      assert.is(first!.field.split(/[.[]/)[0], path[0], path.join("."));
      kinds.push(path.filter((part) => typeof part === "string").join("."));
    }
  }
  for (const kind of [
    "pfn",
    "err",
    "zone",
    "ff",
    "state.pcp.lists",
    "state.free_lists",
    "state.pageblock_mt",
  ]) {
    assert.ok(kinds.includes(kind), kind);
  }
});

test("the migratetype that a page on a per-CPU list remembers is compared", async () => {
  const module = await coreModule();
  const { input, steps } = capture("buddy-exhaust-128m-1c-s9");
  assert.is(replayBuddy(input, module).agree, steps.length);
  for (const key of ["mt_exceptions", "thp_mt"]) {
    const index = steps.findIndex((step) => step.op === "dump" && JSON.stringify(step).includes(key));
    const changed = structuredClone(steps[index]!);
    const { pcp } = (changed.state as { pcp: Record<string, [number, number][]>[] }[])[1]!;
    pcp[0]![key]![0]![1] = 2;
    const { first } = replayBuddy({ ...input, steps: replaced(steps, index, changed) }, module);
    assert.match(first!.field, `pcp[0].${key}`);
    assert.is(first!.step, changed.i);
  }
});

interface MadeZone {
  pcp: { count: number; cpu: number; batch: number; lists: number[][] }[];
  free_lists: number[][][];
  pageblock_mt: number[];
  start_pfn: number;
}

for (const [what, damage, message] of [
  [
    "a field that is missing",
    (zone) => Reflect.deleteProperty(zone, "start_pfn"),
    /initial\[1\]\.start_pfn: missing/,
  ],
  [
    "a batch of 0",
    (zone) => (zone.pcp[0]!.batch = 0),
    /initial\[1\]\.pcp\[0\]\.batch: 0 is not allowed. Allowed: >=1/,
  ],
  [
    "a block outside its zone",
    (zone) => zone.free_lists[0]![0]!.push(1),
    /free_lists\[0\]\[0\]: block 1 is outside the zone/,
  ],
  [
    "a block that is not aligned",
    (zone) => zone.free_lists[4]![1]!.push(4100),
    /free_lists\[4\]\[1\]: block 4100 is not aligned to its order 4/,
  ],
  [
    "a page that is free twice",
    (zone) => zone.free_lists[0]![0]!.push(zone.free_lists[10]![1]![0]!),
    /overlaps another free block/,
  ],
  [
    "a count that is not that of the lists",
    (zone) => (zone.pcp[0]!.count += 1),
    /pcp\[0\]\.count: 100 is not the 99 pages/,
  ],
  ["a CPU that is missing", (zone) => (zone.pcp[0]!.cpu = 1), /initial\[1\]\.pcp: expected CPUs 0\.\.0/],
  [
    "a pageblock too few",
    (zone) => zone.pageblock_mt.pop(),
    /pageblock_mt: expected 56 pageblocks, found 55/,
  ],
  [
    "zones that overlap",
    (zone) => (zone.start_pfn = 4000),
    /initial\[1\]\.start_pfn: inside the zone before/,
  ],
] as [string, (zone: MadeZone) => unknown, RegExp][]) {
  test(`a state with ${what} is refused before it reaches the core`, async () => {
    const { input } = capture("buddy-isolate-128m-1c-s8");
    const caseJson = structuredClone(input.caseJson) as { initial: MadeZone[] };
    damage(caseJson.initial[1]!);
    const module = await coreModule();
    const text = refusal(() => replayBuddy({ ...input, caseJson }, module));
    assert.match(text, /^case\.json: initial\[1\]/);
    assert.match(text, message);
  });
}

for (const [what, changes, message] of [
  ["an op that does not exist", { op: "compact" }, /^step 1: op: "compact" is not allowed. Allowed: .*alloc/],
  ["an order that does not exist", { order: 11 }, /^step 1: order: 11 is not allowed/],
  ["a CPU that the case does not have", { cpu: 1 }, /^step 1: cpu: the case has 1 CPUs/],
  ["no result", { pfn: undefined }, /^step 1: pfn: missing/],
] as const) {
  test(`a step with ${what} is refused`, async () => {
    const { input, steps } = capture("buddy-isolate-128m-1c-s8");
    const module = await coreModule();
    const damaged = [{ ...steps[0]!, ...changes }];
    assert.match(
      refusal(() => replayBuddy({ ...input, steps: damaged }, module)),
      message,
    );
  });
}

test("a case goes on after a difference: a block is freed where the model has put it", async () => {
  const module = await coreModule();
  const { input, steps } = capture("buddy-churn-128m-1c-s5");
  // Without the first step the model is another one from there on; it must neither stop nor trap.
  const { agree, first, steps: counted } = replayBuddy({ ...input, steps: steps.slice(1) }, module);
  assert.ok(agree < counted);
  assert.is(counted, steps.length - 1);
  assert.ok(first !== undefined);
});

test.run();
