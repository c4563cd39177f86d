// At stake: a run in a thread of its own. It must be the run that this thread would make, be told of, stop when it is told to, and
// fail as `Machine` fails. What Chromium makes of the same thread is in browser/library.chromium.ts.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { Progress } from "#dist/machine.js";
import { runInWorker } from "#dist/worker.js";
import { assertSame, create, EXAMPLES, example, ROOT, refusal, roomy, small } from "./scenes.js";

const ENDLESS = roomy([{ workload: { kind: "uniform", pages: 100 } }]);

test("a run in a thread has the result of the run here, files from disk, from a record or from a function", async () => {
  const [scenario, { files }] = small(2000);
  const here = await create(scenario, { files: files! });
  here.run();
  const expected = here.result();
  const record = files as Record<string, Uint8Array>;
  assertSame(await runInWorker(scenario, { files: record }), expected);
  assertSame(await runInWorker(scenario, { files: async (name) => record[name]! }), expected);

  const whole = await create(example());
  assertSame(await runInWorker(example(), { baseDir: EXAMPLES }), whole.run());
});

test("warm-up and limit apply", async () => {
  const scenario = { ...ENDLESS, duration: { warmUp: { accesses: 1000 } } };
  const here = await create(scenario);
  await here.warmUp();
  here.run({ accesses: 500 });
  assertSame(await runInWorker(scenario, { limit: { accesses: 500 } }), here.result());
});

test("it tells how far it has come, and stops soon after it is told to", async () => {
  const interrupt = new AbortController();
  const told: Progress[] = [];
  let abortedAt = 0;
  const result = await runInWorker(ENDLESS, {
    limit: { accesses: 1e12 },
    signal: interrupt.signal,
    onProgress: (progress) => {
      told.push(progress);
      if (told.length === 5) {
        abortedAt = performance.now();
        interrupt.abort();
      }
    },
  });
  const took = performance.now() - abortedAt;
  assert.is(result.status, "interrupted");
  assert.ok(result.accesses >= told[4]!.accesses);
  for (let index = 1; index < told.length; index++) {
    assert.ok(told[index]!.accesses > told[index - 1]!.accesses);
    assert.ok(told[index]!.share! > 0 && told[index]!.share! < 1);
  }
  assert.ok(took < 1000, `${took} ms`); // 100 on an idle machine; this one may run other things
  const early = await runInWorker(ENDLESS, { limit: { accesses: 1e12 }, signal: AbortSignal.abort() });
  assert.is(early.status, "interrupted");
});

test("mistakes have the codes that they have here", async () => {
  await refusal(() => runInWorker(ENDLESS), "E_ENDLESS");
  await refusal(() => runInWorker({ ...ENDLESS, vms: [] }), "E_SCENARIO");
  await refusal(() => runInWorker(ENDLESS, { limit: { accesses: -1 } }), "E_LIMIT");
  await refusal(() => runInWorker(small(10)[0]), "E_FILE");
  await refusal(() => runInWorker(small(10)[0], { files: { "start.u32": new Uint8Array(3) } }), "E_FILE");
  const limit = { accesses: 1 };
  assert.match(
    await refusal(() => runInWorker(ENDLESS, { limit, thread: "./nowhere.js" }), "E_FILE"),
    /^the thread of pagevisor\/worker has failed: /,
  );
});

test("the files without imports are what they are said to be", () => {
  for (const name of ["inline", "workerthread"]) {
    const text = readFileSync(join(ROOT, `dist/${name}.js`), "utf8");
    assert.not.match(text, /\bimport\s*[("'{*]|(?<!")\bfrom\s*"/, name);
    assert.match(text, /^\/\*!\s*MIT License/, name);
  }
});

test.run();
