// At stake: a request, a list or a mark of a capture that is read and not compared, and a damaged capture that reaches the core. Captures
// that agree have one value changed at a time: each change must be found where it is.

import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { coreModule } from "#dist/core.js";
import { PagevisorError } from "#dist/errors.js";
import { replayBalloon } from "#dist/validate/balloon.js";
import { readCase, readSteps } from "#dist/validate/cases.js";
import { HostCase } from "#dist/validate/hostcase.js";
import { replayReport } from "#dist/validate/report.js";
import type { CaseInput } from "#dist/validate/result.js";
import { ROOT } from "../scenes.js";

const module = await coreModule();

function capture(name: string): CaseInput {
  const directory = join(ROOT, "test/fixtures/captures", name);
  return { name, caseJson: readCase(directory).caseJson, steps: readSteps(directory) };
}

const report = capture("report-320m-s5");
const balloon = capture("balloon-224m");

// biome-ignore lint/suspicious/noExplicitAny: captures are changed at paths that their types do not know
type Loose = any;

/** The case with step `index` changed. */
function changed(input: CaseInput, index: number, change: (step: Loose) => unknown): CaseInput {
  const steps = structuredClone(input.steps) as Loose[];
  change(steps[index]);
  return { ...input, steps };
}

const indexOf = (input: CaseInput, ev: string, from = 0): number =>
  input.steps.findIndex((step, index) => index >= from && step.ev === ev);

for (const [what, ev, field, change] of [
  ["a block in a request", "report", "pages[3]", (step) => (step.pages[3][0] += 1024)],
  ["the order of a block", "report", "pages[3]", (step) => (step.pages[3][1] = 9)],
  [
    "the order of the blocks",
    "report",
    "pages[0]",
    (step) => ([step.pages[0], step.pages[1]] = [step.pages[1], step.pages[0]]),
  ],
  ["that another pass is due", "pass_end", "again", (step) => (step.again = !step.again)],
  ["the free pages", "pass_end", "state[1].nr_free_pages", (step) => (step.state[1].nr_free_pages += 1)],
  [
    "a list at the end",
    "pass_end",
    "state[1].free_lists[1][1]",
    (step) => step.state[1].free_lists[1][1].reverse(),
  ],
  ["a mark", "pass_end", "state[1].reported", (step) => step.state[1].reported.pop()],
] as [string, string, string, (step: Loose) => unknown][]) {
  test(`reporting: ${what} is compared`, () => {
    const index = indexOf(report, ev);
    const { agree, steps, first } = replayReport(changed(report, index, change), module);
    assert.is(agree, steps - 1);
    assert.equal([first!.step, first!.field], [index, field]);
  });
}

test("reporting: a request that the capture does not have is a difference, and so is one that the model does not make", () => {
  const index = indexOf(report, "report");
  const fewer = { ...report, steps: report.steps.filter((_, place) => place !== index) };
  assert.ok(replayReport(fewer, module).first !== undefined);
  const more = {
    ...report,
    steps: [...report.steps.slice(0, index), report.steps[index]!, ...report.steps.slice(index)],
  };
  const { agree, steps } = replayReport(more, module);
  assert.ok(agree < steps);
});

test("reporting: a mark in the beginning is heeded: its block is not reported again", () => {
  const begin = report.steps.findIndex(
    ({ ev, state }) => ev === "pass_begin" && (state as Loose)[1].reported,
  );
  const index = indexOf(report, "report", begin);
  const { first } = replayReport(
    changed(report, begin, (step) => step.state[1].reported.push((report.steps[index] as Loose).pages[0][0])),
    module,
  );
  assert.is(first!.step, index);
});

for (const [what, index, change, message] of [
  [
    "a mark on no free block",
    0,
    (step) => (step.state[1].reported = [1]),
    /^step 0: state\[1\].reported: 1 is no free block/,
  ],
  [
    "a block that is not aligned",
    0,
    (step) => step.state[1].free_lists[10][1].push(4097),
    /^step 0: state\[1\].free_lists/,
  ],
  ["another zone at the end", 3, (step) => (step.state[1].zone = 3), /^step 3: state: a zone that the pass/],
  [
    "a block outside all zones",
    1,
    (step) => (step.pages[2][0] = 200_000_000),
    /^step 1: pages: a block outside/,
  ],
  ["an event that does not exist", 1, (step) => (step.ev = "hint"), /^step 1: ev: "hint" is not allowed/],
] as [string, number, (step: Loose) => unknown, RegExp][]) {
  test(`reporting: ${what} is refused`, () => {
    assert.throws(
      () => replayReport(changed(report, index, change), module),
      (error: unknown) => error instanceof PagevisorError && message.test(error.message),
    );
  });
}

for (const ev of ["inflate", "deflate"]) {
  test(`balloon: the pages of an ${ev} request are compared in their order`, () => {
    const index = indexOf(balloon, ev, indexOf(balloon, ev) + 1);
    const swapped = changed(balloon, index, ({ pfns }) => ([pfns[7], pfns[8]] = [pfns[8], pfns[7]]));
    const { agree, steps, first } = replayBalloon(swapped, module);
    assert.equal([agree, first!.step, first!.field], [steps - 1, index, "pfns"]);
  });
}

test("what the host drops is compared, of every report and every inflation; a deflation drops nothing", () => {
  const { agree, steps, compared } = replayReport(report, module);
  assert.equal([agree, compared.includes("discards")], [steps, true]);
  const host = new HostCase(module, 320 * 256, "reports");
  const blocks: [number, number][] = [
    [58_368, 10],
    [512, 9],
    [57_344, 10],
  ];
  assert.equal(host.report(blocks), blocks);
  assert.equal(host.report([[4096, 9]]), [[4096, 9]]);
  const other = new HostCase(module, 224 * 256, "balloon");
  assert.equal(other.pages([700, 12, 701], false), [700, 12, 701]);
  assert.equal(other.pages([701, 12], true), []);
  assert.equal(other.pages([12], false), [12]);
});

test("balloon: a request too few shows in the size of the balloon", () => {
  const index = indexOf(balloon, "inflate", 5);
  const { first } = replayBalloon(
    { ...balloon, steps: balloon.steps.filter((_, place) => place !== index) },
    module,
  );
  assert.ok(first !== undefined);
});

test("balloon: what other code took or gave back before the first request of a target is no difference", () => {
  const whole = replayBalloon(balloon, module);
  assert.is(whole.agree, whole.steps);
  // The pages that others had taken are free in this state: given back in front of the list, the driver gets them first.
  const { before } = structuredClone(balloon.caseJson) as Loose;
  const list = before[1].pcp[0].lists[1];
  const others = list.splice(0, 4);
  before[1].pcp[0].count -= 4;
  const taken = replayBalloon({ ...balloon, caseJson: { ...(balloon.caseJson as object), before } }, module);
  assert.is(taken.agree, taken.steps);

  const first = balloon.steps[indexOf(balloon, "inflate")] as Loose;
  const pfns = [...first.pfns.slice(others.length), ...others.reverse()];
  const steps = [
    { ev: "target", balloon_pages: pfns.length },
    { ev: "inflate", pfns },
  ];
  const given = replayBalloon(
    { ...balloon, steps, caseJson: { ...(balloon.caseJson as object), before } },
    module,
  );
  assert.equal([given.agree, given.steps], [2, 2]);
});

test("balloon: a page outside all zones is refused", () => {
  const index = indexOf(balloon, "inflate");
  assert.throws(
    () =>
      replayBalloon(
        changed(balloon, index, ({ pfns }) => (pfns[0] = 200_000_000)),
        module,
      ),
    (error: unknown) => error instanceof PagevisorError && error.message.startsWith(`step ${index}: pfns`),
  );
});

test.run();
