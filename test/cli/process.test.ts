// The executable as a process: exit codes, streams and a reader that goes away. Commands that need no simulation suffice.

import { spawn, spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { test } from "uvu";
import * as assert from "uvu/assert";

const CLI = fileURLToPath(import.meta.resolve("#dist/cli.js"));

function pagevisor(...args: string[]) {
  return spawnSync(process.execPath, [CLI, ...args], { encoding: "utf8" });
}

test("output is plain when it is piped, and the exit code is 0", () => {
  const { status, stdout, stderr } = pagevisor("presets");
  assert.is(status, 0);
  assert.is(stderr, "");
  assert.match(stdout, /^overcommit/m);
  assert.not.ok(stdout.includes("\u001b"));
});

test("wrong usage is one line on standard error, exit code 2", () => {
  const { status, stdout, stderr } = pagevisor("run", "no-such-preset");
  assert.is(status, 2);
  assert.is(stdout, "");
  assert.match(stderr, /^pagevisor: [^\n]+\n$/);
});

test("a reader that closes the pipe early ends the process quietly", async () => {
  const child = spawn(process.execPath, [CLI, "run", "--help"], { stdio: ["ignore", "pipe", "pipe"] });
  child.stdout.destroy();
  let errors = "";
  child.stderr.on("data", (chunk: Buffer) => {
    errors += chunk.toString();
  });
  const status = await new Promise((resolve) => child.on("close", resolve));
  assert.is(errors, "");
  assert.is(status, 0);
});

test.run();
