// Columns and wrapped text: aligned, without trailing blanks, never wider than the page.

import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { table, WIDTH, wrap } from "#dist/cli/table.js";
import { parameters } from "../reference/report.js";

const COLUMNS = [
  { head: "Guests", align: "left" as const },
  { head: "kind", align: "left" as const },
  { head: "count", align: "right" as const },
];

test("columns are two blanks apart and aligned by their kind", () => {
  assert.equal(
    table(COLUMNS, [
      ["db", "minor", "1,000"],
      ["", "write-protect", "–"],
    ]),
    ["Guests  kind           count", "db      minor          1,000", "        write-protect      –"],
  );
});

test("a name that is too long is cut, the numbers stay", () => {
  const [, row] = table(COLUMNS, [["n".repeat(200), "minor", "1,000"]]);
  assert.is(row!.length, WIDTH);
  assert.match(row!, /^n+… {2}minor {2}1,000$/);
});

test("wrapped text keeps every word and the width", () => {
  fc.assert(
    fc.property(fc.array(fc.stringMatching(/^[a-z]{1,40}$/), { maxLength: 50 }), (words) => {
      const lines = wrap(words.join("  "), WIDTH);
      assert.equal(
        lines.flatMap((line) => line.split(" ")),
        words,
      );
      assert.ok(lines.every((line) => line.length <= WIDTH));
    }),
    parameters(100),
  );
});

test("a word longer than the width stands alone", () => {
  assert.equal(wrap("a bbbbbbbb c", 4), ["a", "bbbbbbbb", "c"]);
});

test.run();
