// At stake: that the patterns which our tracepoints are held to are the kernel's: every line that a real kernel has printed of an event that
// we print matches the same pattern.

import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { gunzipSync } from "node:zlib";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { FORMATS } from "../reference/tracepoints.js";

const CAPTURES = join("..", "shared", "traces", "kvm");
const LINE = /^ *\S.*-\d+ +\[\d{3}\] \S{5} +\d+\.\d{6}: (\w+): (.*)$/;

function textOf(folder: string): string {
  const plain = join(folder, "trace.txt");
  if (existsSync(plain)) return readFileSync(plain, "utf8");
  const packed = `${plain}.gz`;
  return existsSync(packed) ? gunzipSync(readFileSync(packed)).toString() : "";
}

test("what a real kernel has printed matches the patterns that our lines match", () => {
  if (!existsSync(CAPTURES)) {
    console.log(`skipped: ${CAPTURES} is not there`);
    return;
  }
  const seen = new Map<string, number>();
  for (const name of readdirSync(CAPTURES)) {
    for (const line of textOf(join(CAPTURES, name)).split("\n")) {
      const [, event = "", fields = ""] = LINE.exec(line) ?? [];
      const format = FORMATS[event];
      if (format === undefined) continue;
      assert.match(fields, new RegExp(`^${format}$`), `${name}: ${event}: ${fields}`);
      seen.set(event, (seen.get(event) ?? 0) + 1);
    }
  }
  // Twenty-odd events are in the captures at hand; a folder without traces would prove nothing.
  assert.ok(seen.size >= 20, `only ${[...seen.keys()].join(", ")}`);
});

test.run();
