// At stake: what others build on. The public face changes only when somebody means it to: api.txt has it, and a change of one without the
// other fails here.

import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { ROOT } from "./scenes.js";

test("api.txt is the API; `npm run api` writes it", () => {
  const { status, stdout, stderr } = spawnSync(process.execPath, [join(ROOT, "scripts/api.mjs")], {
    encoding: "utf8",
    maxBuffer: 2 ** 24,
  });
  assert.is(status, 0, stderr);
  const expected = readFileSync(join(ROOT, "api.txt"), "utf8").split("\n");
  const different = stdout.split("\n").findIndex((line, index) => line !== expected[index]);
  assert.is(different, -1, `line ${different + 1}: ${stdout.split("\n")[different]}`);
  assert.is(stdout.split("\n").length, expected.length);
  assert.ok(expected.some((line) => line.startsWith("export declare class Machine")));
});

test.run();
