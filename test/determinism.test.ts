// At stake: that a run is a function of its scenario, its files and its seed. The digest of `npm start` must not depend on anything
// else: the build, what is observed, how the run is cut into calls, whether it went through a snapshot or a fork. Where a case would
// take too long with the example's 4.6 million accesses, it runs small(): the example's shape with a few thousand.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { bootCore } from "#dist/boot.js";
import { Core, coreModule } from "#dist/core.js";
import { virtualNow } from "#dist/counters.js";
import { loadTraces } from "#dist/files.js";
import { type CreateOptions, type Limit, Machine } from "#dist/machine.js";
import type { RunResult } from "#dist/result.js";
import { digestOf } from "#dist/results.js";
import { resolveScenario, type Scenario } from "#dist/scenario.js";
import { assertSame, create, debugModule, EXAMPLES, example, ROOT, roomy, small } from "./scenes.js";

/** The digest of `npm start`. */
const DIGEST = await digestAfterRun(example());

async function digestAfterRun(scenario: Scenario, options: CreateOptions = {}): Promise<string> {
  const machine = await create(scenario, options);
  const { digest, stoppedBy } = machine.run();
  assert.is(stoppedBy, "tasks");
  machine.dispose();
  return digest;
}

/** Runs to the end in pieces: each call gets the next limit, the last one again and again. Returns the calls it took. */
function runInPieces(machine: Machine, limits: readonly Limit[]): number {
  for (let call = 0; ; call++) {
    const { stoppedBy } = machine.run(limits[Math.min(call, limits.length - 1)]);
    if (stoppedBy === "tasks") return call + 1;
    assert.ok(stoppedBy === "accesses" || stoppedBy === "time", stoppedBy);
  }
}

/** The small scenario's result from one call, after a look that it has what it is to have. */
async function smallResult(accesses: number): Promise<RunResult> {
  const machine = await create(...small(accesses));
  const result = machine.run();
  const { host, vms } = result;
  assert.ok(host.swap.in > 50 && host.swap.out > 100 && host.reclaim.reclaimedDirect > 0);
  assert.ok(vms.every(({ faults }) => faults.minor.count > 0));
  return result;
}

test("ten runs of the example have one digest", async () => {
  for (let run = 1; run < 10; run++) assert.is(await digestAfterRun(example()), DIGEST);
});

test("the digest of the example is the one that CHANGELOG.md names: a change that moves it says so there", () => {
  const [, written] = /`npm start` has the digest `([0-9a-f]{16})`/.exec(
    readFileSync(join(ROOT, "CHANGELOG.md"), "utf8"),
  )!;
  assert.is(DIGEST, written);
});

test("another seed has another digest", async () => {
  assert.is.not(await digestAfterRun({ ...example(), seed: 2 }), DIGEST);
});

test("release and debug build have one digest, and every structure is whole at the end", async () => {
  const machine = await create(example(), { module: await debugModule });
  assert.is(machine.run().digest, DIGEST);
  machine.check();
});

test("what is observed does not move the digest: tracepoints, integrity", async () => {
  const trace = { events: ["*"] };
  for (const changes of [
    { trace },
    { trace: { events: ["mm_vmscan_*"], capacity: 16 } },
    { check: { integrity: true } },
    { trace, check: { integrity: true, onViolation: "count" as const } },
  ]) {
    assert.is(await digestAfterRun({ ...example(), ...changes }), DIGEST, JSON.stringify(changes));
  }
});

test("runAsync has the digest of run, however often it is asked how far it has come", async () => {
  const machine = await create(example());
  let calls = 0;
  const result = await machine.runAsync(undefined, { onProgress: () => calls++ });
  assert.is(result.digest, DIGEST);
  const sliced = await create(example());
  while ((await sliced.runAsync({ time: "7ms" })).stoppedBy !== "tasks");
  assert.is(sliced.result().digest, DIGEST);
});

test("the example cut into pieces has the digest of the whole", async () => {
  const pieces: Limit[][] = [
    [{ accesses: 1000 }, { accesses: 1 }, { accesses: 99_999 }],
    [{ time: 1 }, { time: "1us" }, { time: "333us" }, { time: "1ms" }],
    [{ accesses: 1_000_000, time: "3ms" }, { accesses: 77_777 }],
  ];
  for (const limits of pieces) {
    const machine = await create(example());
    assert.ok(runInPieces(machine, limits) > 40);
    assert.is(machine.result().digest, DIGEST, JSON.stringify(limits));
  }
});

test("a small run cut into pieces of any size has the result of the whole", async () => {
  const whole = await smallResult(1000);
  const microseconds = Array.from({ length: 1000 }, () => ({ time: "1us" }));
  const pieces: [Limit[], number][] = [
    [[{ accesses: 1 }], 1999],
    [[{ accesses: 7 }], 285],
    [[{ accesses: 1000 }], 2],
    [[...microseconds, { time: "20us" }], 1200],
    [[{ time: "1ms" }], 6],
    [[{ accesses: 3 }, { time: "100us" }, { accesses: 50, time: "2us" }, { accesses: 11 }], 100],
  ];
  for (const [limits, calls] of pieces) {
    const machine = await create(...small(1000));
    assert.ok(runInPieces(machine, limits) >= calls, JSON.stringify(limits.at(-1)));
    assertSame(machine.result(), whole, JSON.stringify(limits.at(-1)));
  }
});

// The library hands the core at most 65,536 accesses and 4,096 events at a time; here both are far smaller.
test("the core's own calls can be of any size", async () => {
  const [scenario, options] = small(20_000);
  const resolved = resolveScenario(scenario);
  const traces = await loadTraces(resolved, options.files, EXAMPLES);
  const digests = new Set<string>();
  const calls: [number, number][] = [
    [1_000_000, 1_000_000],
    [1, 4096],
    [65_536, 1],
    [1, 1],
    [1000, 7],
    [7, 1000],
  ];
  for (const module of [await coreModule(), await debugModule]) {
    for (const [accesses, events] of calls) {
      const core = new Core(module);
      bootCore(core, resolved, traces);
      const tasks = core.constant("STOP_TASKS");
      let more = 1_000_000;
      while (core.call.machineRun(accesses, events) >>> 0 !== tasks && more > 0) more--;
      digests.add(digestOf(core));
    }
  }
  assert.equal([...digests], [await digestAfterRun(scenario, options)]);
});

test("where a limit of time stops a run, and when that is, does not depend on the calls", async () => {
  const [scenario, options] = small(20_000);
  const resolved = resolveScenario(scenario);
  const traces = await loadTraces(resolved, options.files, EXAMPLES);
  const stops = async (accesses: number, events: number): Promise<(string | number)[][]> => {
    const core = new Core(await debugModule);
    bootCore(core, resolved, traces);
    const time = core.constant("STOP_TIME");
    const found: (string | number)[][] = [];
    // The second limit is close behind the first, within a turn that has begun under it.
    for (const ns of [200_000, 200_100, 1_000_000, 1_000_001, 3_333_333]) {
      core.call.machineSetTimeLimit(ns);
      let made = 0;
      let stop = 0;
      do {
        stop = core.call.machineRun(accesses, events) >>> 0;
        made += core.call.machineMade() >>> 0;
      } while (stop !== time && stop !== core.constant("STOP_TASKS"));
      found.push([ns, stop, made, virtualNow(core), digestOf(core)]);
    }
    return found;
  };
  const whole = await stops(1_000_000, 1_000_000);
  assert.ok(whole.every(([ns, , , now]) => now === ns));
  for (const [accesses, events] of [
    [1, 4096],
    [100, 5],
    [4096, 256],
    [997, 1],
  ] as const) {
    assert.equal(await stops(accesses, events), whole, `${accesses} accesses, ${events} events`);
  }
});

test("a run of accesses leaves no turn behind that a limit of time would not end", async () => {
  const machine = await create(roomy([{ workload: { kind: "uniform", pages: 400 } }]));
  for (const accesses of [5000, 65_537, 70_000]) {
    machine.run({ accesses });
    const { accesses: made, virtualTimeNs } = machine.run({ time: "1us" });
    assert.is(virtualTimeNs, 1000);
    assert.ok(made <= 1000 / 10, `${made} accesses`);
  }
});

test("a snapshot continues as the machine does, whenever it is taken", async () => {
  const moments: Limit[] = [{ accesses: 1 }, { accesses: 100_000 }, { time: "5ms" }, { accesses: 1_500_001 }];
  const machine = await create(example());
  const restored: Machine[] = [await Machine.restore(machine.snapshot())];
  for (const moment of moments) {
    machine.run(moment);
    restored.push(await Machine.restore(machine.snapshot()));
    assertSame(restored.at(-1)!.result(), machine.result());
  }
  const result = machine.run();
  assert.is(result.digest, DIGEST);
  const ended = await Machine.restore(machine.snapshot());
  for (const [index, one] of restored.entries()) {
    const last = one.run();
    if (index === moments.length) assertSame(last, result);
    assert.is(last.digest, DIGEST, `snapshot ${index}`);
    assertSame(one.result(), machine.result(), `snapshot ${index}`);
  }
  // What the host still has to do when the guests are done: writes under way, kswapd.
  assertSame(ended.run(), machine.run());
});

test("a small run that goes through a snapshot after every millisecond has the result of the whole", async () => {
  const whole = await smallResult(1000);
  for (const module of [await coreModule(), await debugModule]) {
    const [scenario, options] = small(1000);
    let machine = await create(scenario, { ...options, module });
    while (machine.run({ time: "1ms" }).stoppedBy !== "tasks") {
      machine = await Machine.restore(machine.snapshot(), { module });
      machine.check();
    }
    // The debug build carries the texts of its assertions.
    assertSame({ ...machine.result(), footprintBytes: whole.footprintBytes }, whole);
  }
});

test("a fork without changes and its parent end with one digest", async () => {
  const machine = await create(example());
  const early = machine.fork();
  machine.run({ accesses: 1_000_000 });
  const late = machine.fork({ set: {} });
  const twice = late.fork();
  for (const one of [late, machine, early, twice]) assert.is(one.run().digest, DIGEST);
});

test("a fork and its parent share nothing: running or disposing of one leaves the other as it is", async () => {
  const machine = await create(example());
  machine.run({ accesses: 1_000_000 });
  const before = machine.result();
  const fork = machine.fork();
  const other = machine.fork({ set: { seed: 5, "costs.vmExitNs": "9us", "vms.cache.memoryMax": "4MiB" } });
  other.run();
  assertSame(machine.result(), before);
  assertSame(fork.result(), before);
  machine.run({ accesses: 1_000_000 });
  other.dispose();
  assertSame(fork.result(), before);
  machine.dispose();
  assert.is(fork.run().digest, DIGEST);
});

test.run();
