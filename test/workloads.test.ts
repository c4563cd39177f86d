// At stake: the accesses that everything else is measured on. Distributions are compared with what they are defined by, through the
// public face: what a guest has touched, how long it took, how often it had to fault.

import { test } from "uvu";
import * as assert from "uvu/assert";
import { Machine, type RunResult, type Scenario } from "#dist/index.js";

type Workload = NonNullable<NonNullable<Scenario["vms"][number]["guest"]>["tasks"]>[number]["workload"];

async function run(workload: Workload, more: Partial<Scenario> = {}): Promise<RunResult> {
  const machine = await Machine.create({
    host: { memory: "64MiB" },
    vms: [{ name: "guest", memory: "32MiB", guest: { tasks: [{ workload }] } }],
    ...more,
  });
  return machine.run();
}

/** Pages touched: each has faulted once, for nothing is ever taken away. */
function touched(result: RunResult): number {
  return result.vms[0]!.faults.minor.count;
}

// A draw of `accesses` from the weights leaves page r untouched with probability (1 - w_r)^accesses.
function expectedTouched(weights: readonly number[], accesses: number): number {
  const sum = weights.reduce((total, weight) => total + weight, 0);
  return weights.reduce((pages, weight) => pages + 1 - (1 - weight / sum) ** accesses, 0);
}

for (const [pages, theta, accesses] of [
  [4096, 0.99, 2000],
  [4096, 0.6, 5000],
  [8000, 1.2, 20_000],
  [31, 2, 40],
] as const) {
  test(`zipf over ${pages} pages with theta ${theta} touches as many as its definition says`, async () => {
    const weights = Array.from({ length: pages }, (_, rank) => (rank + 1) ** -theta);
    const expected = expectedTouched(weights, accesses);
    const seeds = [1, 2, 3, 4, 5, 6, 7, 8];
    let sum = 0;
    for (const seed of seeds) {
      sum += touched(await run({ kind: "zipf", pages, theta, accesses }, { seed }));
    }
    const mean = sum / seeds.length;
    // The number of pages touched spreads by less than the root of its mean.
    const allowed = (4 * Math.sqrt(expected)) / Math.sqrt(seeds.length);
    assert.ok(Math.abs(mean - expected) < allowed, `${mean} pages, expected ${expected} ± ${allowed}`);
  });
}

test("the first rank of zipf gets its share: accesses that hit a one-entry TLB twice in a row", async () => {
  const pages = 1000;
  const result = await run(
    { kind: "zipf", pages, theta: 1.5, accesses: 200_000 },
    {
      vms: [
        {
          name: "guest",
          memory: "32MiB",
          tlb: { entries: 1 },
          guest: { tasks: [{ workload: { kind: "zipf", pages, theta: 1.5, accesses: 200_000 } }] },
        },
      ],
    },
  );
  const weights = Array.from({ length: pages }, (_, rank) => (rank + 1) ** -1.5);
  const sum = weights.reduce((total, weight) => total + weight, 0);
  const repeated = weights.reduce((total, weight) => total + (weight / sum) ** 2, 0);
  // Time tells the misses: 100 ns an access, 55 ns more a walk, the faults aside.
  const { minor, writeProtect } = result.vms[0]!.faults;
  const faultNs = minor.count * minor.latency.mean + writeProtect.count * writeProtect.latency.mean;
  const walks = (result.virtualTimeNs - faultNs - 100 * result.accesses) / 55;
  const hits = 1 - walks / result.accesses;
  assert.ok(
    Math.abs(hits - repeated) < 0.01,
    `${hits} of the accesses repeat the last page, expected ${repeated}`,
  );
});

test("uniform touches as many pages as its definition says", async () => {
  const pages = 4096;
  const expected = expectedTouched(new Array<number>(pages).fill(1), 4096);
  const found = touched(await run({ kind: "uniform", pages, accesses: 4096 }));
  assert.ok(Math.abs(found - expected) < 4 * Math.sqrt(expected), `${found}, expected ${expected}`);
});

test("sequential touches page after page, once a pass", async () => {
  const once = await run({ kind: "sequential", pages: 1000 });
  assert.equal([once.accesses, touched(once)], [1000, 1000]);
  const part = await run({ kind: "sequential", pages: 1000, passes: 3, accesses: 1500 });
  assert.equal([part.accesses, touched(part)], [1500, 1000]);
});

test("hotcold keeps to its hot set, which moves on with each phase", async () => {
  const workload = { kind: "hotcold", pages: 4000, hot: 100, hotProbability: 1, accesses: 4000 } as const;
  assert.is(touched(await run(workload)), 100);
  const moving = touched(await run({ ...workload, phaseAccesses: 1000 }));
  assert.is(moving, 400);
});

test("exponential think time has the mean that is asked for", async () => {
  const workload = { kind: "uniform", pages: 16, accesses: 100_000 } as const;
  const without = await run(workload);
  const thinking = await run({ ...workload, thinkTime: { exponential: "2us" } });
  const mean = (thinking.virtualTimeNs - without.virtualTimeNs) / thinking.accesses;
  assert.ok(Math.abs(mean - 2000) < 40, `${mean} ns`);
  const fixed = await run({ ...workload, thinkTime: "2us" });
  assert.is(fixed.virtualTimeNs - without.virtualTimeNs, 2000 * fixed.accesses);
});

test("a guest that waits for swap is stalled, one with room is not", async () => {
  const workload = { kind: "uniform", pages: 4000, writes: 1, accesses: 20_000 } as const;
  const swap = [{ kind: "nvme" as const, size: "64MiB" }];
  const tight = await run(workload, { host: { memory: "8MiB", swap } });
  const { someNs, fullNs } = tight.vms[0]!.stall;
  const { deviceNs, queueNs } = tight.vms[0]!.faults.major.stages;
  assert.ok(
    deviceNs > 0 && someNs >= deviceNs && someNs <= tight.virtualTimeNs,
    `${someNs} of ${deviceNs + queueNs}`,
  );
  assert.is(fullNs, someNs, "with one vCPU, some is all");
  const roomy = await run(workload, { host: { memory: "64MiB", swap } });
  assert.equal(roomy.vms[0]!.stall, { someNs: 0, fullNs: 0 });
});

test.run();
