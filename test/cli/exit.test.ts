// Exit codes and the line that an error becomes: one line, no stack, and for a bug what a report needs.

import { test } from "uvu";
import * as assert from "uvu/assert";
import { type Circumstances, exitOfStatus, failureOf } from "#dist/cli/exit.js";
import { type ErrorCode, PagevisorError } from "#dist/errors.js";

const RUN: Circumstances = { version: "0.1.0", args: ["run", "my file.json"], seed: 7, debug: false };

test("each status has its exit code", () => {
  assert.equal((["done", "oom", "violation", "interrupted"] as const).map(exitOfStatus), [0, 1, 3, 130]);
});

for (const code of [
  "E_SCENARIO",
  "E_FILE",
  "E_TOO_BIG",
  "E_ENDLESS",
  "E_FIXED",
  "E_LIMIT",
  "E_USAGE",
  "E_SNAPSHOT",
] satisfies ErrorCode[]) {
  test(`${code} is the user's: exit 2, one line with the message`, () => {
    const failure = failureOf(new PagevisorError(code, "vms.0.memory: 0 is not allowed"), RUN);
    assert.equal(failure, { exitCode: 2, text: "pagevisor: vms.0.memory: 0 is not allowed\n" });
  });
}

test("a message of several lines becomes one", () => {
  const failure = failureOf(new PagevisorError("E_FILE", "first\n  second\n"), RUN);
  assert.is(failure.text, "pagevisor: first second\n");
});

for (const error of [new PagevisorError("E_INTERNAL", "trap"), new TypeError("trap"), "trap"]) {
  test(`${error instanceof Error ? error.name : "a thrown string"} is a bug: exit 70, one line asking for a report`, () => {
    assert.equal(failureOf(error, RUN), {
      exitCode: 70,
      text:
        "pagevisor: internal error: trap. This is a bug; please report it with: version 0.1.0, seed 7, " +
        "command: pagevisor run 'my file.json'\n",
    });
  });
}

test("a bug before the seed is known says that it is unknown", () => {
  assert.match(failureOf(new Error("trap"), { ...RUN, seed: null }).text, /seed unknown/);
});

test("a stack is printed on demand only", () => {
  const error = new Error("trap");
  assert.not.match(failureOf(error, RUN).text, /\n\s+at /);
  assert.match(failureOf(error, { ...RUN, debug: true }).text, /\n\s+at /);
});

test.run();
