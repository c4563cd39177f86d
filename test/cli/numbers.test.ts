// Counts, shares and rates as the page prints them, at the edges of their units.

import { test } from "uvu";
import * as assert from "uvu/assert";
import { count, pages, rate, share, time } from "#dist/cli/numbers.js";

test("counts have separators from 1,000 on", () => {
  assert.equal([0, 7, 999, 1000, 1_234_567].map(count), ["–", "7", "999", "1,000", "1,234,567"]);
});

test("rates have three digits, also where rounding reaches the next unit", () => {
  assert.equal(
    [0, 0.5, 12.34, 999.4, 999.6, 1000, 834_000, 999_499, 999_600, 10_400_000, 2.5e9].map((value) =>
      rate(value),
    ),
    [
      "–",
      "0.50/s",
      "12.3/s",
      "999/s",
      "1.00k/s",
      "1.00k/s",
      "834k/s",
      "999k/s",
      "1.00M/s",
      "10.4M/s",
      "2.50G/s",
    ],
  );
  assert.is(rate(10_400_000, "accesses"), "10.4M accesses/s");
});

test("rates that cannot be known are dashes", () => {
  assert.equal(
    [Number.NaN, Number.POSITIVE_INFINITY, -1].map((value) => rate(value)),
    ["–", "–", "–"],
  );
});

test("a share that exists is never shown as 0", () => {
  assert.equal(
    [share(0, 10), share(1, 0), share(1, 1e6), share(1, 3), share(3, 3)],
    ["–", "–", "<0.1%", "33.3%", "100.0%"],
  );
});

test("sizes and times of nothing are dashes", () => {
  assert.equal([pages(0), time(0), pages(256), time(1500)], ["–", "–", "1MiB", "1.5us"]);
});

test.run();
