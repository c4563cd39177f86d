// From boot to the end of a run: warm-up first, progress of the whole run although it is cut into slices, an end that is clean.

import { test } from "uvu";
import * as assert from "uvu/assert";
import { drive, type Plan } from "#dist/cli/drive.js";
import { type ProgressReport, silent } from "#dist/cli/progress.js";
import type { RunResult } from "#dist/result.js";
import { fake, SMALL } from "./simulation.js";

const PLAN: Plan = {
  label: "run",
  limit: undefined,
  signal: new AbortController().signal,
  progress: silent,
};

test("the warm-up comes before the run, and the progress is ended after both", async () => {
  const story: string[] = [];
  const onRun = (): void => void story.push("run");
  const duration = { warmUp: { accesses: 100 } };
  const machine = await fake({ onRun, duration }).create(SMALL, { baseDir: "." });
  machine.warmUp = async () => void story.push("warm up");
  const progress: ProgressReport = {
    begin: (label) => story.push(`begin ${label}`),
    update() {},
    end: () => story.push("end"),
  };
  await drive(machine, { ...PLAN, progress });
  assert.equal(story, ["begin run, warm-up", "warm up", "begin run", "run", "end"]);
});

test("progress is ended when the run fails", async () => {
  let ended = false;
  const progress: ProgressReport = {
    ...silent,
    end: () => {
      ended = true;
    },
  };
  const onRun = (): void => {
    throw new Error("trap");
  };
  const machine = await fake({ onRun }).create(SMALL, { baseDir: "." });
  await drive(machine, { ...PLAN, progress }).then(
    () => assert.unreachable(),
    () => assert.ok(ended),
  );
});

test("slices report the progress of the whole run", async () => {
  const shares: (number | null)[] = [];
  const progress: ProgressReport = { ...silent, update: ({ share }) => void shares.push(share) };
  const machine = await fake().create(SMALL, { baseDir: "." });
  const { runAsync } = machine;
  machine.runAsync = async (limit, options) => {
    const slice = await runAsync(limit, options);
    options?.onProgress?.({ accesses: slice.accesses, virtualTimeNs: slice.virtualTimeNs, share: 1 });
    return slice;
  };
  const series = { everyNs: 100_000, sample: () => {} };
  await drive(machine, { ...PLAN, progress, series, limit: { accesses: 4000 } });
  assert.equal(shares, [0.25, 0.5, 0.75, 1]);
});

test("a run that ends exactly at a multiple of the interval has no line twice", async () => {
  const times: number[] = [];
  const series = { everyNs: 500_000, sample: (now: RunResult) => void times.push(now.virtualTimeNs) };
  await drive(await fake().create(SMALL, { baseDir: "." }), { ...PLAN, series });
  assert.equal(times, [500_000, 1_000_000]);
});

test("a run that is cut into slices gives the result of the whole", async () => {
  const whole = await drive(await fake().create(SMALL, { baseDir: "." }), PLAN);
  const cut = await drive(await fake().create(SMALL, { baseDir: "." }), {
    ...PLAN,
    series: { everyNs: 70_000, sample: () => {} },
    trace: () => {},
  });
  assert.equal(cut, whole);
});

test("an interrupt between two slices ends the run with what there is", async () => {
  const interrupt = new AbortController();
  let samples = 0;
  const sample = (): void => {
    samples += 1;
    if (samples === 3) interrupt.abort();
  };
  const machine = await fake().create(SMALL, { baseDir: "." });
  const result = await drive(machine, {
    ...PLAN,
    signal: interrupt.signal,
    series: { everyNs: 100_000, sample },
  });
  assert.is(result.status, "interrupted");
  assert.is(result.accesses, 3000);
});

test.run();
