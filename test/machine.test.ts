// At stake: what a user of the library is promised of a machine, call by call: where a run ends and what it returns, what is counted
// from when, how tasks start and share pages, which mistakes are refused with which code, and that no trap of the core gets out raw.

import { createHash } from "node:crypto";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { PagevisorError } from "#dist/errors.js";
import { Machine, type Progress } from "#dist/machine.js";
import type { FaultKind, RunResult, TaskResult } from "#dist/result.js";
import { resolveScenario, type Scenario } from "#dist/scenario.js";
import {
  assertSame,
  coreModule,
  create,
  debugModule,
  memoryOf,
  refusal,
  roomy,
  small,
  snapshotOf,
  type Task,
  vm,
  vmOf,
} from "./scenes.js";

const WASM_PAGE = 65_536;

const scan = (pages: number, others: Partial<Task> = {}, writes = 1): Task => ({
  workload: { kind: "sequential", pages, writes },
  ...others,
});
const endless = (pages: number, others: Partial<Task> = {}): Task => ({
  workload: { kind: "uniform", pages },
  ...others,
});

function kinds(result: RunResult, name?: string): FaultKind[] {
  return Object.values(vmOf(result, name).faults);
}

function taskOf(result: RunResult, name: string): TaskResult {
  return result.vms.flatMap(({ tasks }) => tasks).find((task) => task.name === name)!;
}

// Runs and results

test("run returns what happened in the call, result everything since boot", async () => {
  const machine = await create(...small(3000));
  const first = machine.run({ accesses: 2500 });
  const second = machine.run({ time: "3ms" });
  const third = machine.run();
  const all = machine.result();
  assert.is(first.accesses, 2500);
  assert.is(all.accesses, 6000);
  const parts = [first, second, third];
  const sum = (of: (result: RunResult) => number): number =>
    parts.reduce((total, part) => total + of(part), 0);
  const counters: ((result: RunResult) => number)[] = [
    (result) => result.accesses,
    (result) => result.virtualTimeNs,
    (result) => result.host.swap.in,
    (result) => result.host.swap.out,
    (result) => result.host.reclaim.scanned,
    (result) => result.host.reclaim.reclaimedDirect + result.host.reclaim.reclaimedKswapd,
    (result) => result.host.devices[0]!.reads,
    (result) => result.host.devices[0]!.busyNs,
    ...[0, 1].flatMap((index) => [
      (result: RunResult) => result.vms[index]!.accesses,
      (result: RunResult) => result.vms[index]!.vcpuBlockedNs,
      (result: RunResult) => result.vms[index]!.faults.minor.count,
      (result: RunResult) => result.vms[index]!.faults.major.count,
      (result: RunResult) => result.vms[index]!.faults.major.stages.deviceNs,
      (result: RunResult) => result.vms[index]!.notifier.unmapped,
      (result: RunResult) => result.vms[index]!.tasks[0]!.accesses,
      (result: RunResult) => result.vms[index]!.tasks[0]!.runNs,
    ]),
  ];
  for (const [index, counter] of counters.entries())
    assert.is(sum(counter), counter(all), `counter ${index}`);
  // Levels are those of the moment, largest latencies those of the call.
  assert.equal(third.vms[0]!.memory, all.vms[0]!.memory);
  assert.is(
    Math.max(...parts.map((part) => part.vms[1]!.faults.major.latency.max)),
    all.vms[1]!.faults.major.latency.max,
  );
  assert.ok(
    first.vms[1]!.faults.major.latency.max < all.vms[1]!.faults.major.latency.max ||
      third.vms[1]!.faults.major.count > 0,
  );
  assert.is(all.digest, third.digest);
  assert.equal([all.status, all.stoppedBy], [third.status, third.stoppedBy]);
  assert.is(all.wall.ms, first.wall.ms + second.wall.ms + third.wall.ms);
});

test("stages sum to count × mean, percentiles are in order and throughput is accesses by time", async () => {
  const machine = await create(...small(5000));
  const parts = [machine.run({ accesses: 4000 }), machine.run(), machine.result()];
  for (const result of parts) {
    for (const one of result.vms) {
      assert.is(one.throughput, (one.accesses * 1e9) / one.virtualTimeNs);
      assert.is(one.virtualTimeNs, result.virtualTimeNs);
      const { residentPages, swappedPages, untouchedPages, peakResidentPages } = one.memory;
      assert.is(residentPages + swappedPages + untouchedPages, 512);
      assert.ok(peakResidentPages >= residentPages);
      assert.ok(one.stall.fullNs <= one.stall.someNs && one.stall.someNs <= one.virtualTimeNs);
    }
    for (const { count, latency, stages } of result.vms.flatMap(({ name }) => kinds(result, name))) {
      const total = Object.values(stages).reduce((sum, ns) => sum + ns, 0);
      assert.is(latency.mean, count === 0 ? 0 : total / count);
      const { p50, p90, p99, p999, max } = latency;
      assert.equal(
        [p50, p90, p99, p999, max],
        [p50, p90, p99, p999, max].sort((a, b) => a - b),
      );
    }
  }
});

test("the result names scenario, version, seed and the hashes of its files", async () => {
  const [scenario, options] = small(1000, { seed: 77, name: "named" });
  const machine = await create(scenario, options);
  const result = machine.result();
  assert.equal(result.scenario, resolveScenario(scenario));
  assert.equal(machine.scenario, result.scenario);
  assert.is(result.schema, "pagevisor.result/1");
  assert.is(result.seed, 77);
  assert.match(result.digest, /^[0-9a-f]{16}$/);
  const bytes = (options.files as Record<string, Uint8Array>)["start.u32"]!;
  assert.equal(result.inputs, [
    { file: "start.u32", sha256: createHash("sha256").update(bytes).digest("hex") },
  ]);
  assert.equal(JSON.parse(JSON.stringify(result)), result);
});

// Limits

test("a run ends exactly at its limit of accesses or of virtual time, whichever comes first", async () => {
  const machine = await create(roomy([endless(400)]));
  for (const accesses of [1, 2, 999, 65_536, 65_537]) {
    const result = machine.run({ accesses });
    assert.is(result.accesses, accesses);
    assert.equal([result.status, result.stoppedBy], ["done", "accesses"]);
  }
  for (const [time, ns] of [
    ["1us", 1000],
    [1, 1],
    [12_345, 12_345],
    ["2.5ms", 2_500_000],
  ] as const) {
    const result = machine.run({ time });
    assert.is(result.virtualTimeNs, ns);
    assert.equal([result.status, result.stoppedBy], ["done", "time"]);
  }
  assert.is(machine.run({ accesses: 10, time: "1s" }).stoppedBy, "accesses");
  assert.is(machine.run({ accesses: 1e9, time: "1ms" }).stoppedBy, "time");
});

test("virtual time is that of what has happened, to a quantum", async () => {
  const task: Task = { prefault: true, workload: { kind: "sequential", pages: 100, passes: 1000 } };
  const machine = await create(roomy([task], { costs: { memDramNs: 100 } }));
  // No access faults, none misses the TLB but the first of each page: 100 ns each.
  const { virtualTimeNs, vms } = machine.run({ accesses: 50_000 });
  assert.ok(Math.abs(virtualTimeNs - 5_000_000) <= 20_000, String(virtualTimeNs));
  assert.is(vms[0]!.throughput, (50_000 * 1e9) / virtualTimeNs);
  const rest = machine.run();
  const all = machine.result();
  assert.ok(taskOf(rest, "sequential-0").endNs! <= all.virtualTimeNs, "nothing ends after the end");
  assert.ok(Math.abs(all.virtualTimeNs - 10_000_000) <= 20_000, String(all.virtualTimeNs));
});

test("without a limit the scenario's duration counts, from now", async () => {
  const machine = await create(roomy([endless(400)], { duration: { accesses: 5000, time: "1s" } }));
  for (let call = 0; call < 3; call++) assert.is(machine.run().accesses, 5000);
  assert.is(machine.run({ accesses: 7 }).accesses, 7);
  assert.is(machine.result().accesses, 15_007);
});

for (const [limit, message] of [
  [{ accesses: 0 }, "limit.accesses: 0 is not a number of accesses; allowed: a whole number from 1"],
  [{ accesses: -1 }, "limit.accesses: -1 is not"],
  [{ accesses: 1.5 }, "limit.accesses: 1.5 is not"],
  [{ accesses: Number.NaN }, "limit.accesses: NaN is not"],
  [{ accesses: Number.POSITIVE_INFINITY }, "limit.accesses: Infinity is not"],
  [{ accesses: 2 ** 53 }, "limit.accesses: 9007199254740992 is not"],
  [{ time: 0 }, 'limit.time: 0 is not a virtual time; allowed: ns above 0, or a string such as "10ms"'],
  [{ time: "0s" }, 'limit.time: "0s" is not'],
  [{ time: -5 }, "limit.time: -5 is not"],
  [{ time: "soon" }, 'limit.time: "soon" is not'],
  [{ accesses: 5, time: 0.5 }, "limit.time: 0.5 is not"],
] as const) {
  test(`a limit that is none is refused: ${JSON.stringify(limit)} ${Object.values(limit).join()}`, async () => {
    const machine = await create(roomy([endless(400)]));
    assert.ok((await refusal(() => machine.run(limit), "E_LIMIT")).startsWith(message));
    assert.ok((await refusal(() => machine.runAsync(limit), "E_LIMIT")).startsWith(message));
    assert.is(machine.result().accesses, 0);
  });
}

test("a run that nothing would end is refused, with a limit it runs", async () => {
  const text =
    "duration: no task of the scenario ever ends and no limit is given; set duration.accesses or duration.time, " +
    "or give a task an end (accesses, time, passes, a trace that does not loop)";
  const file = { "a.u32": new Uint8Array(new Uint32Array([1, 2]).buffer) };
  const tasks: Task[] = [
    endless(400),
    { workload: { kind: "zipf", pages: 9, theta: 0.9 } },
    { workload: { kind: "hotcold", pages: 9, hot: 2, hotProbability: 0.9 } },
    { workload: { kind: "compute" } },
    { workload: { kind: "trace", file: "a.u32", loop: true } },
  ];
  for (const task of tasks) {
    const machine = await create(roomy([task]), { files: file });
    assert.is(await refusal(() => machine.run(), "E_ENDLESS"), text);
    assert.is(await refusal(() => machine.runAsync(), "E_ENDLESS"), text);
    assert.is(machine.run({ time: "1ms" }).stoppedBy, "time");
  }
  // A task that waits for an endless one never ends either.
  const waiting = await create(roomy([endless(9, { name: "a" }), scan(9, { start: { after: "db/a" } })]));
  await refusal(() => waiting.run(), "E_ENDLESS");
});

test("a run ends when every task that can end has, whatever the endless ones do", async () => {
  const machine = await create(
    roomy([endless(100), scan(50), { workload: { kind: "compute", time: "1ms" } }]),
  );
  const result = machine.run();
  assert.equal([result.status, result.stoppedBy], ["done", "tasks"]);
  assert.is(taskOf(result, "sequential-1").accesses, 50);
  assert.is(taskOf(result, "compute-2").work, 1_000_000);
  assert.is(taskOf(result, "uniform-0").endNs, null);
  await refusal(() => machine.run(), "E_ENDLESS");
  assert.is(machine.run({ accesses: 10 }).accesses, 10);
});

test("a machine whose tasks are done does nothing more", async () => {
  const machine = await create(roomy([scan(50)]));
  assert.is(machine.run().accesses, 50);
  const again = machine.run();
  assert.equal([again.accesses, again.status, again.stoppedBy], [0, "done", "tasks"]);
  assert.is(machine.run({ accesses: 5 }).accesses, 0);
  const later = machine.run({ time: "1ms" });
  assert.ok(later.stoppedBy === "time" || later.stoppedBy === "tasks");
  assert.is(later.accesses, 0);
});

test("a machine without tasks has nothing to do", async () => {
  const machine = await create({ host: { memory: "8MiB" }, vms: [{ name: "db", memory: "2MiB" }] });
  const { accesses, status, vms } = machine.run();
  assert.equal([accesses, status, vms[0]!.tasks], [0, "done", []]);
});

// runAsync

test("runAsync gives the event loop its turn and reports how far it has come", async () => {
  const machine = await create(roomy([endless(500)]));
  let ticks = 0;
  const timer = setInterval(() => ticks++, 1);
  const seen: Progress[] = [];
  const result = await machine.runAsync(
    { accesses: 30_000_000 },
    { onProgress: (progress) => seen.push(progress) },
  );
  clearInterval(timer);
  assert.is(result.accesses, 30_000_000);
  // 16 ms are promised between two looks; a machine that is busy with other things gets half of them.
  assert.ok(ticks >= Math.floor(result.wall.ms / 32) - 1, `${ticks} turns in ${result.wall.ms} ms`);
  assert.ok(seen.length >= Math.floor(result.wall.ms / 32) - 1, `${seen.length} reports`);
  for (const [index, { accesses, virtualTimeNs, share }] of seen.entries()) {
    assert.ok(accesses > (seen[index - 1]?.accesses ?? 0) && accesses <= 30_000_000);
    assert.ok(virtualTimeNs > (seen[index - 1]?.virtualTimeNs ?? 0) && virtualTimeNs <= result.virtualTimeNs);
    assert.is(share, accesses / 30_000_000);
  }
});

test("the share of a run is that of the limit that is nearer, the last task's where only tasks end it", async () => {
  const shares = async (
    scenario: Scenario,
    limit?: { accesses?: number; time?: string },
  ): Promise<Set<string>> => {
    const machine = await create(scenario);
    const found = new Set<string>();
    await machine.runAsync(limit, { onProgress: ({ share }) => found.add(typeof share) });
    return found;
  };
  const long: Task = { workload: { kind: "uniform", pages: 500, accesses: 8_000_000 } };
  assert.equal([...(await shares(roomy([long])))], ["number"]);
  assert.equal([...(await shares(roomy([long]), { time: "100s", accesses: 6_000_000 }))], ["number"]);
});

test("an aborted run is interrupted with what there is, and the machine goes on", async () => {
  const whole = (await create(...small(20_000))).run();
  const machine = await create(...small(20_000));
  const before = await machine.runAsync(undefined, { signal: AbortSignal.abort() });
  assert.equal([before.status, before.stoppedBy, before.accesses], ["interrupted", "signal", 0]);

  const abort = new AbortController();
  setTimeout(() => abort.abort(), 5);
  const scenario = roomy([endless(500)]);
  const forever = await create(scenario);
  const result = await forever.runAsync({ time: "100s" }, { signal: abort.signal });
  assert.equal([result.status, result.stoppedBy], ["interrupted", "signal"]);
  assert.ok(result.accesses > 0);
  assert.is(forever.result().status, "interrupted");
  const more = forever.run({ accesses: 1000 });
  assert.equal([more.status, more.stoppedBy, more.accesses], ["done", "accesses", 1000]);

  const rest = await machine.runAsync();
  assert.equal([rest.status, rest.stoppedBy], ["done", "tasks"]);
  assertSame(machine.result(), whole);
});

test("two machines run side by side without touching each other", async () => {
  const machines = [await create(...small(20_000)), await create(...small(20_000))];
  const [a, b] = await Promise.all(machines.map((machine) => machine.runAsync()));
  assertSame(a!, b!);
});

// Warm-up

const warming: Scenario = roomy([{ workload: { kind: "uniform", pages: 400, writes: 1 } }], {
  duration: { accesses: 3000, warmUp: { accesses: 2000 } },
});

test("the warm-up is left out of the result, and comes once", async () => {
  const machine = await create(warming);
  await machine.warmUp();
  assert.is(machine.result().accesses, 0);
  assert.is(machine.result().virtualTimeNs, 0);
  assert.is(vmOf(machine.result()).faults.minor.count, 0);
  assert.ok(vmOf(machine.result()).memory.residentPages > 390);
  await machine.warmUp();
  const result = machine.run();
  assert.is(result.accesses, 3000);
  assert.is(machine.result().accesses, 3000);
  assert.ok(vmOf(result).faults.minor.count < 10);
  assert.is(vmOf(machine.result()).faults.minor.count, vmOf(result).faults.minor.count);
});

test("the first run of the scenario's duration begins with its warm-up", async () => {
  const explicit = await create(warming);
  await explicit.warmUp();
  explicit.run();
  for (const run of [(machine: Machine) => machine.run(), (machine: Machine) => machine.runAsync()]) {
    const machine = await create(warming);
    assert.is((await run(machine)).accesses, 3000);
    assertSame(machine.result(), explicit.result());
    assert.is((await run(machine)).accesses, 3000);
    assert.is(machine.result().accesses, 6000);
  }
  const plain = await create({ ...warming, duration: {} });
  plain.run({ accesses: 5000 });
  assert.is(explicit.result().digest, plain.result().digest, "a warm-up is a run like any other");
});

test("an interrupted warm-up", async () => {
  const machine = await create(warming);
  await machine.warmUp({ signal: AbortSignal.abort() });
  assert.is(machine.result().accesses, 0);
});

// Tasks

test("prefault: time and counters start after it", async () => {
  const task = (prefault: boolean): Task => ({
    prefault,
    workload: { kind: "uniform", pages: 400, writes: 0.5, accesses: 2000 },
  });
  const warm = await create(roomy([task(true)]));
  const atStart = warm.result();
  assert.equal([atStart.accesses, atStart.virtualTimeNs], [0, 0]);
  assert.is(vmOf(atStart).memory.residentPages, 400);
  const result = warm.run();
  assert.is(result.accesses, 2000);
  assert.equal(
    kinds(result).map(({ count }) => count),
    [0, 0, 0, 0],
  );
  assert.is(taskOf(result, "uniform-0").startNs, 0);
  assert.is(taskOf(result, "uniform-0").endNs, taskOf(result, "uniform-0").runNs);
  // Nothing but accesses, with and without a TLB miss.
  const cold = await create(roomy([task(false)]));
  assert.ok(cold.run().virtualTimeNs > result.virtualTimeNs + 390 * 2000);
});

test("prefault under overcommit: what does not fit has been swapped out before time starts", async () => {
  const host = { memory: "1MiB", swap: [{ kind: "nvme" as const, size: "8MiB" }] };
  const machine = await create({ host, vms: [vm("db", [{ ...endless(400), prefault: true }])] });
  const start = machine.result();
  const { residentPages, swappedPages } = vmOf(start).memory;
  assert.is(residentPages + swappedPages, 400);
  assert.ok(swappedPages > 150);
  assert.equal([start.host.swap.in, start.host.swap.out, start.host.reclaim.scanned], [0, 0, 0]);
  assert.ok(vmOf(machine.run({ accesses: 1000 })).faults.major.count > 100);
});

test("a task starts at its time, or when another one has ended", async () => {
  const machine = await create(
    roomy(
      [
        scan(100, { name: "first", vcpu: 0, start: "70us" }),
        scan(50, { name: "second", vcpu: 1, start: { after: "db/first", delay: "33us" } }),
        scan(10, { name: "third", vcpu: 0, start: { after: "db/second" } }),
      ],
      {},
      { vcpus: 2 },
    ),
  );
  const result = machine.run();
  const [first, second, third] = ["first", "second", "third"].map((name) => taskOf(result, name));
  assert.is(first!.startNs, 70_000);
  assert.is(second!.startNs, first!.endNs! + 33_000);
  assert.is(third!.startNs, second!.endNs);
  assert.equal([first!.accesses, second!.accesses, third!.accesses], [100, 50, 10]);
  for (const task of [first!, second!, third!])
    assert.is(task.endNs! - task.startNs!, task.runNs + task.readyNs + task.waitNs);
});

test("tasks of one region share its pages, others have pages of their own", async () => {
  const machine = await create(
    roomy([
      scan(100, { name: "a", region: "heap" }),
      scan(60, { name: "b", region: "heap", start: { after: "db/a" } }),
      scan(40, { name: "c", start: { after: "db/b" } }),
    ]),
  );
  const result = machine.run();
  assert.is(vmOf(result).memory.residentPages, 140);
  assert.is(vmOf(result).faults.minor.count, 140);
  assert.is(result.accesses, 200);
});

test("compute has its CPU time and touches nothing", async () => {
  const compute = (time: string, others: Partial<Task> = {}): Task => ({
    workload: { kind: "compute", time },
    ...others,
  });
  const alone = (await create(roomy([compute("3ms")]))).run();
  assert.is(alone.accesses, 0);
  assert.is(vmOf(alone).memory.residentPages, 0);
  assert.is(taskOf(alone, "compute-0").work, 3_000_000);
  assert.is(taskOf(alone, "compute-0").endNs, 3_000_000);

  // Two on one vCPU share it, slice by slice; work is what each of them got.
  const shared = (await create(roomy([compute("20ms"), compute("20ms")]))).run();
  const [a, b] = [taskOf(shared, "compute-0"), taskOf(shared, "compute-1")];
  assert.equal([a.work, b.work], [20_000_000, 20_000_000]);
  assert.ok(a.endNs! > 35_000_000 && b.endNs! > a.endNs!);
  assert.ok(b.endNs! < 40_000_000 + 20 * 1200);
  assert.ok(a.readyNs > 12_000_000 && b.readyNs > 12_000_000);
});

test("think time is time of the guest's CPU beside every access", async () => {
  const task = (thinkTime: number | { exponential: number }): Task => ({
    prefault: true,
    workload: { kind: "uniform", pages: 100, accesses: 10_000, thinkTime },
  });
  const time = async (thinkTime: number | { exponential: number }): Promise<number> =>
    taskOf((await create(roomy([task(thinkTime)]))).run(), "uniform-0").endNs!;
  const none = await time(0);
  assert.is(await time(500), none + 10_000 * 500);
  const drawn = await time({ exponential: 500 });
  assert.ok(Math.abs(drawn - none - 5_000_000) < 250_000, String(drawn - none));
});

test("writes are as recorded in a trace, or all", async () => {
  const files = { "t.u32": new Uint8Array(new Uint32Array([0, 1 + 0x8000_0000, 2, 3]).buffer) };
  const dirty = async (writes: "as-recorded" | "all"): Promise<number> => {
    const host = { memory: "8MiB" };
    const tasks: Task[] = [{ workload: { kind: "trace", file: "t.u32", writes } }];
    const checks = { check: { integrity: true } };
    const machine = await create({ host, vms: [vm("db", tasks)], ...checks }, { files });
    return 4 - vmOf(machine.run()).integrity.checked;
  };
  assert.is(await dirty("as-recorded"), 1);
  assert.is(await dirty("all"), 4);
});

// Memory

test("a footprint's parts sum to it, and the memory was grown for it and no more", async () => {
  for (const changes of [{}, { check: { integrity: true } }, { trace: { events: ["*"] } }]) {
    const machine = await create(...small(100_000, changes));
    const { bytes, parts } = machine.footprint();
    assert.is(
      Object.values(parts).reduce((sum, part) => sum + part, 0),
      bytes,
    );
    assert.is(memoryOf(machine.snapshot()).memory.length, Math.ceil(bytes / WASM_PAGE) * WASM_PAGE);
    assert.is(machine.result().footprintBytes, bytes);
    assert.is(parts.integrity > 0, "check" in changes);
    assert.is(parts.trace > 0, "trace" in changes);
    for (const [name, part] of Object.entries(parts)) assert.ok(part >= 0, name);
    machine.run();
    assert.is(machine.footprint().bytes, bytes, "nothing is allocated later");
  }
});

test("the parts grow with what they are for, by what is promised for a page", async () => {
  const bytesOf = async (guestMiB: number, hostMiB: number, integrity = false): Promise<number> => {
    const check = { integrity };
    const machine = await create({
      host: { memory: `${hostMiB}MiB` },
      vms: [{ name: "db", memory: `${guestMiB}MiB` }],
      check,
    });
    return machine.footprint().bytes;
  };
  const pages = (64 * 2 ** 20) / 4096;
  const guest = ((await bytesOf(128, 64)) - (await bytesOf(64, 64))) / pages;
  const host = ((await bytesOf(64, 128)) - (await bytesOf(64, 64))) / pages;
  assert.ok(guest <= 24, `${guest} bytes a guest page`);
  assert.ok(host <= 32, `${host} bytes a frame`);
  const checkedGuest = ((await bytesOf(128, 64, true)) - (await bytesOf(64, 64, true))) / pages;
  const checkedHost = ((await bytesOf(64, 128, true)) - (await bytesOf(64, 64, true))) / pages;
  assert.ok(checkedGuest <= 24 + 12, `${checkedGuest} bytes a guest page with integrity`);
  assert.ok(checkedHost <= 32 + 4, `${checkedHost} bytes a frame with integrity`);
});

test("a scenario that does not fit is refused with what it needs", async () => {
  const need = async (scenario: Scenario): Promise<string> => {
    const said = await refusal(() => create(scenario), "E_TOO_BIG");
    const found =
      /^the scenario needs (\d+(?:\.\d+)?[MGT]iB) of simulator state, one machine holds 4GiB\. Make host\.memory, /.exec(
        said,
      );
    assert.ok(found, said);
    return found![1]!;
  };
  // 29 bytes a frame: 1 TiB of host memory takes 7.25 GiB.
  assert.match(await need(roomy([], { host: { memory: "1TiB" } })), /^7\.[23]\d*GiB$/);
  // 5 bytes a swap slot.
  const swap = [{ kind: "nvme" as const, size: "4TiB" }];
  assert.match(await need(roomy([], { host: { memory: "8MiB", swap } })), /^5(\.\d+)?GiB$/);
  assert.match(await need(roomy([], {}, { memory: "4TiB" })), /GiB$/);
  // Fits without, not with integrity: 36 instead of 24 bytes a guest page.
  const large: Scenario = { host: { memory: "8MiB" }, vms: [{ name: "db", memory: "640GiB" }] };
  assert.match(await need({ ...large, check: { integrity: true } }), /GiB$/);
});

test("a host that is smaller than its own watermarks is refused with the least it needs", async () => {
  const said = await refusal(() => create(roomy([], { host: { memory: "128KiB" } })), "E_SCENARIO");
  const found =
    /^host\.memory: 128KiB is not larger than .* at least (\d+KiB) is needed\. Raise host\.memory or /.exec(
      said,
    );
  assert.ok(found, said);
  const least = Number.parseInt(found![1]!, 10);
  assert.ok(least % 4 === 0);
  const machine = await create(roomy([endless(1)], { host: { memory: `${least}KiB` } }));
  machine.dispose();
  const below = await refusal(() => create(roomy([], { host: { memory: `${least - 4}KiB` } })), "E_SCENARIO");
  assert.ok(below.includes(`at least ${found![1]} is needed`));
  const watermarkScaleFactor = 3000;
  const wide = { memory: "8MiB", reclaim: { watermarkScaleFactor } };
  await create(roomy([], { host: wide })).then((one) => one.dispose());
  assert.match(
    await refusal(() => create(roomy([], { host: { ...wide, memory: "256KiB" } })), "E_SCENARIO"),
    /lower host\.reclaim\.watermarkScaleFactor/,
  );
});

// Out of memory

test("no memory left at a VM's limit is a result: oom, where, everything so far", async () => {
  const machine = await create(roomy([scan(400)], {}, { memoryMax: "1MiB" }));
  const result = machine.run();
  assert.equal([result.status, result.stoppedBy, result.oom], ["oom", "oom", { where: "vms.db.memoryMax" }]);
  assert.is(result.accesses, 256);
  assert.is(vmOf(result).memory.residentPages, 256);
  assert.is(vmOf(result).faults.minor.count, 256);
  assert.ok(result.virtualTimeNs > 256 * 2200);
  // It is over: more of a run does not get anywhere, the result stays.
  const again = machine.run({ accesses: 100 });
  assert.equal([again.status, again.accesses], ["oom", 0]);
  assert.is(machine.result().accesses, 256);
});

test("memoryMax counts guest pages, and what memcg adds", async () => {
  const resident = async (memcg: NonNullable<Scenario["vms"][number]["memcg"]>): Promise<number> => {
    const machine = await create(roomy([scan(400)], {}, { memoryMax: "1MiB", memcg }));
    const { status, vms } = machine.run();
    machine.check();
    assert.is(status, "oom");
    return vms[0]!.memory.residentPages;
  };
  assert.is(await resident({}), 256);
  assert.is(await resident({ overheadPages: 10 }), 246);
  // Four levels of KVM's tables and four of the host's.
  assert.is(await resident({ chargeTables: true }), 248);
  assert.is(await resident({ chargeTables: true, chargeKvmTables: false }), 252);
  // What a CPU has in stock is given back before the limit is.
  assert.is(await resident({ chargeBatch: 64 }), 256);
  assert.is(await resident({ chargeTables: true, chargeBatch: 100, overheadPages: 10 }), 238);
});

test("no memory left on the host is a result", async () => {
  const machine = await create({
    host: { memory: "1MiB" },
    vms: [vm("a", [scan(200)]), vm("b", [scan(200)])],
  });
  const result = machine.run();
  assert.equal([result.status, result.oom], ["oom", { where: "host.memory" }]);
  assert.ok(result.accesses > 200 && result.accesses < 256);
  assert.ok(result.host.memory.minFreePages <= 32);
});

test("swap that runs full is no memory left", async () => {
  const host = { memory: "1MiB", swap: [{ kind: "nvme" as const, size: "256KiB" }] };
  const machine = await create({ host, vms: [vm("a", [scan(500)])] });
  const result = machine.run();
  assert.equal([result.status, result.oom], ["oom", { where: "host.memory" }]);
  assert.is(result.host.swap.slotsUsed, 64);
});

test("memory that runs out while regions are prefaulted is seen by the first run", async () => {
  const machine = await create(roomy([{ ...endless(400), prefault: true }], {}, { memoryMax: "1MiB" }));
  const result = machine.run({ accesses: 10 });
  assert.equal([result.status, result.oom, result.accesses], ["oom", { where: "vms.db.memoryMax" }, 0]);
});

// Mistakes

test("a machine that has been disposed of is refused everywhere", async () => {
  const machine = await create(roomy([scan(10)]));
  machine.dispose();
  machine.dispose();
  const uses: (() => unknown)[] = [
    () => machine.run(),
    () => machine.runAsync(),
    () => machine.result(),
    () => machine.fork(),
    () => machine.snapshot(),
    () => machine.footprint(),
    () => machine.traceText(),
    () => machine.traceCounts(),
    () => machine.check(),
  ];
  for (const use of uses) {
    assert.is(
      await refusal(use, "E_DISPOSED"),
      "the machine has been disposed of; create or fork another one",
    );
  }
});

test("a machine that leaves the block of its declaration has been disposed of", async () => {
  // What `using` is compiled to, which Node 20 does not read.
  const machine = await create(roomy([scan(10)]));
  machine[Symbol.dispose]();
  machine[Symbol.dispose]();
  await refusal(() => machine.run(), "E_DISPOSED");
  await refusal(() => machine.ticks({ every: 1 }).next(), "E_DISPOSED");
});

test("bytes that are no snapshot of this version are refused", async () => {
  const machine = await create(...small(1000));
  machine.run({ accesses: 500 });
  const bytes = machine.snapshot();
  const said = (given: Uint8Array): Promise<string> => refusal(() => Machine.restore(given), "E_SNAPSHOT");
  const begin = "these bytes are not a snapshot of this version of pagevisor: ";

  const { header, memory } = memoryOf(bytes);
  const lengths = [
    0,
    5,
    8,
    11,
    12,
    100,
    header.length - 1,
    header.length,
    header.length + 1,
    bytes.length - 1,
  ];
  for (const length of [...lengths, bytes.length - WASM_PAGE, header.length + WASM_PAGE]) {
    assert.ok((await said(bytes.subarray(0, length))).startsWith(begin), `${length} bytes`);
  }
  const longer = new Uint8Array(bytes.length + WASM_PAGE);
  longer.set(bytes);
  assert.ok((await said(longer)).startsWith(begin));

  assert.is(
    await said(new TextEncoder().encode('{ "a scenario": "perhaps" }')),
    `${begin}they do not begin as one`,
  );
  const damaged = bytes.slice();
  damaged[20] = 0;
  assert.is(await said(damaged), `${begin}the header is damaged`);
  const changed = `${begin}their checksum is wrong, so something in them has changed`;
  for (const at of [12, 19, header.length, header.length + 12_345, bytes.length - 1]) {
    const flipped = bytes.slice();
    flipped[at] = flipped[at]! ^ 0x10;
    assert.is(await said(flipped), changed, `byte ${at}`);
  }
  const text = new TextDecoder().decode(header.subarray(20));
  const edited = (from: string, to: string): Uint8Array => {
    assert.ok(text.includes(from));
    const head = new Uint8Array([
      ...header.subarray(0, 20),
      ...new TextEncoder().encode(text.replace(from, to)),
    ]);
    return snapshotOf(head, memory);
  };
  const sameLength = bytes.slice();
  sameLength.set(new TextEncoder().encode(text.replace('"seed":1', '"seed":2')), 20);
  assert.is(await said(sameLength), changed);
  assert.is(
    await said(edited('"version":"0.1.0"', '"version":"0.0.9"')),
    `${begin}they are of version 0.0.9`,
  );
  assert.is(
    await refusal(() => Machine.restore("pgvsnap2" as unknown as Uint8Array), "E_SNAPSHOT"),
    `${begin}they are no Uint8Array`,
  );

  const debug = await create(small(1000)[0], { ...small(1000)[1], module: await debugModule });
  assert.is(await said(debug.snapshot()), `${begin}they are of another build`);
  // The bytes may lie anywhere in a larger buffer.
  const shifted = new Uint8Array(bytes.length + 1);
  shifted.set(bytes, 1);
  assertSame((await Machine.restore(shifted.subarray(1))).run(), machine.run());
});

test("a trap of the core does not get out raw: it is E_INTERNAL, with the trap as its cause", async () => {
  for (const module of [await coreModule(), await debugModule]) {
    const [scenario, options] = small(1000);
    const machine = await create(scenario, { ...options, module });
    machine.run({ accesses: 500 });
    const { header, memory } = memoryOf(machine.snapshot());
    const { bytes, parts } = machine.footprint();
    memory.fill(0xff, parts.tables, bytes); // every record points outside the memory
    const broken = snapshotOf(header, memory);
    let failure: unknown;
    try {
      const restored = await Machine.restore(broken, { module });
      restored.run({ accesses: 500 });
    } catch (error) {
      failure = error;
    }
    assert.instance(failure, PagevisorError);
    const { code, message, cause } = failure as PagevisorError;
    assert.is(code, "E_INTERNAL");
    assert.match(
      message,
      /^the simulator has failed \(.+\); this is a bug of pagevisor 0\.1\.0\. Please report it/,
    );
    assert.ok(cause instanceof Error);
  }
});

test("a module can be shared, and another one is not ours", async () => {
  const module = await coreModule();
  const [a, b] = [await create(roomy([scan(20)]), { module }), await create(roomy([scan(20)]))];
  assertSame(a.run(), b.run());
});

test("a vCPU that has run alone for long is not made to wait until the others have run as long", async () => {
  const compute = (start: string): Task => ({ workload: { kind: "compute" }, start });
  const machine = await create({
    host: { memory: "16MiB", cpus: 1 },
    duration: { time: "200ms" },
    vms: [vm("first", [compute("0ms")]), ...["a", "b", "c"].map((name) => vm(name, [compute("100ms")]))],
  });
  const ran = machine.run().vms.map(({ tasks }) => tasks[0]!.work / 1e6);
  const shares = [ran[0]! - 100, ...ran.slice(1)];
  for (const share of shares) assert.ok(share > 20 && share < 30, `${shares} of 100 ms`);
});

test.run();
