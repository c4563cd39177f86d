// The line of the progress bar: share, rate, time left, and what is left out while they are unknown.

import { test } from "uvu";
import * as assert from "uvu/assert";
import { progressOn, progressText, silent } from "#dist/cli/progress.js";

const at = (share: number | null) => ({ accesses: 20_000_000, virtualTimeNs: 5e9, share });

test("a known share is a bar with rate and time left", () => {
  assert.is(
    progressText("overcommit", at(0.5), 2000),
    "overcommit [===============               ] 50%  10.0M accesses/s  2s left",
  );
});

test("an unknown share shows accesses and rate", () => {
  assert.is(progressText("run", at(null), 2000), "run  20.0M accesses  10.0M accesses/s");
});

test("nothing done yet has no time left, and no rate that is not a number", () => {
  const text = progressText("run", { accesses: 0, virtualTimeNs: 0, share: 0 }, 0);
  assert.is(text, "run [                              ] 0%  0.0M accesses/s");
});

test("a share above 1 does not overflow the bar", () => {
  assert.match(progressText("run", at(1.01), 2000), /\[={30}\] 100%/);
});

test("without a terminal nothing is drawn", () => {
  assert.is(progressOn(null), silent);
});

test.run();
