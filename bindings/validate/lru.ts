// Replays a capture of reclaim (format mm-lru-1): a process alone in a memory cgroup, with memory.max set or memory.reclaim written.
// What is compared is which pages were evicted. After each write to memory.reclaim they are compared one by one, from the
// lists of the dump before it. Where the limit drives reclaim, one page of another process in a shared batch shifts all that
// follows, so there the pages evicted in the whole case are compared, with a tolerance; with generation lists always, because a dump
// does not tell which pages have been promoted in their flags only.

import { Core } from "../core.js";
import { Agreement } from "./agreement.js";
import { LruCase, type LruCaseCore, MULTI_GENERATION } from "./lrucase.js";
import { type LruCapture, type LruState, type LruStep, lruCaseSchema, lruStepSchema } from "./lrufile.js";
import type { CaseInput, CaseResult, SkippedCase } from "./result.js";
import { readShape, wrongShape } from "./shape.js";

const CLASSIC = "active/inactive";
const PAGE_BYTES = 4096;
/** How far the pages evicted in a whole case may be off: two boots of one kernel differ by as much. */
const TOLERANCE = 0.03;
/** The same for generation lists, where a page more or less in a batch moves the beginning of a generation. */
const TOLERANCE_GENERATIONS = 0.05;

/** Replays a case of format mm-lru-1. */
export function replayLru(input: CaseInput, module: WebAssembly.Module): CaseResult | SkippedCase {
  return replayLruOn(() => new Core(module), input);
}

/** Replays `input` on cores that `fresh` makes, each used once. */
export function replayLruOn(
  fresh: () => LruCaseCore,
  { name, caseJson, steps: raw }: CaseInput,
): CaseResult | SkippedCase {
  const captured = readShape(lruCaseSchema, caseJson, "case.json");
  const generations = captured.lru === MULTI_GENERATION;
  if (!generations && captured.lru !== CLASSIC)
    return { name, why: `lru "${captured.lru}" is not modelled in this version` };
  const steps = raw.map((step, index) => {
    const where = `step ${String(step.i ?? `at place ${index}`)}`;
    const read = readShape(lruStepSchema, step, where);
    checkStep(read, captured, where);
    return read;
  });

  const agreement = new Agreement();
  if (generations) wholeCase(new LruCase(fresh(), captured), steps, agreement, TOLERANCE_GENERATIONS);
  else if (steps.some(isReclaim)) eachReclaim(fresh, captured, steps, agreement);
  else wholeCase(new LruCase(fresh(), captured), steps, agreement, TOLERANCE);
  return agreement.result(name, captured.format);
}

const isReclaim = ({ op, file }: LruStep): boolean => op === "echo" && file === "memory.reclaim";

/** Pages that a step has moved to swap, by their numbers. */
function evicted(changes: readonly number[][]): number[] {
  return changes.filter((change) => change.length === 3).map(([page]) => page!);
}

/** Every write to memory.reclaim on its own, on lists as the dump before it shows them. */
function eachReclaim(
  fresh: () => LruCaseCore,
  captured: LruCapture,
  steps: readonly LruStep[],
  agreement: Agreement,
): void {
  let dump: LruState | undefined;
  let activated = 0;
  for (const step of steps) {
    if (isReclaim(step) && dump !== undefined) {
      const one = new LruCase(fresh(), captured);
      one.setUp(dump, activated);
      one.reclaim(pagesOf(step));
      agreement.begin(step.i);
      agreement.compare("evicted", evicted(step.chg ?? []), evicted(one.changes()));
    }
    activated += step.vm?.workingset_activate_anon ?? 0;
    if (step.state !== undefined) dump = step.state;
  }
}

/** The whole case in one go; what other processes had in the shared batch is taken from the dumps. */
function wholeCase(one: LruCase, steps: readonly LruStep[], agreement: Agreement, tolerance: number): void {
  let expected = 0;
  let got = 0;
  for (const step of steps) {
    run(one, step);
    if (step.state !== undefined) one.setForeign(step.state);
    expected += evicted(step.chg ?? []).length;
    got += evicted(one.changes()).length;
  }
  agreement.begin(steps.at(-1)?.i ?? 0);
  agreement.compareWithin("evicted", expected, got, tolerance);
}

function run(one: LruCase, step: LruStep): void {
  const { op, args, file } = step;
  const [from = 0, to = 0] = args;
  if (op === "join") one.join();
  else if (op === "write" || op === "read") {
    for (let page = from; page < to; page++) one.touch(page, op === "write");
  } else if (op === "writes" || op === "reads") {
    for (const page of args) one.touch(page, op === "writes");
  } else if (op === "echo" && file === "memory.max") one.limit(pagesOf(step));
  else if (op === "echo") one.reclaim(pagesOf(step));
}

function pagesOf({ value = 0 }: LruStep): number {
  return Math.floor(value / PAGE_BYTES);
}

/** The core trusts what it is told: pages have to be there, and files be known. */
function checkStep({ op, args, file, value }: LruStep, { pages }: LruCapture, where: string): void {
  const range = op === "write" || op === "read";
  if (range && args.length < 2) throw wrongShape(where, "args", "two pages are needed");
  const touched = range
    ? args.slice(0, 2).map((end) => end - 1)
    : op === "writes" || op === "reads"
      ? args
      : [];
  for (const page of touched) {
    if (page >= pages) throw wrongShape(where, "args", `page ${page} is not there`, `0..${pages - 1}`);
  }
  if (op !== "echo") return;
  if (file !== "memory.max" && file !== "memory.reclaim") {
    throw wrongShape(where, "file", `"${String(file)}" is not known`, "memory.max, memory.reclaim");
  }
  if (value === undefined) throw wrongShape(where, "value", "missing", "a number of bytes");
}
