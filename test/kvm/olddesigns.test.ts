// At stake: that the bugs which the explorer finds on tiny machines show in ordinary runs under memory pressure, over many seeds, and never where they are mended.

import { test } from "uvu";
import * as assert from "uvu/assert";
import type { Scenario } from "#dist/scenario.js";
import { create, type Vm, vmOf } from "../scenes.js";

const SEEDS = 12;

function pressed(seed: number, vm: Partial<Vm>): Scenario {
  const workload = { kind: "uniform" as const, pages: 500, writes: 0.5, accesses: 2500, thinkTime: 20_000 };
  const design = { mmu: "shadow", hostPaging: "writepage-2007", vcpus: 2 } as const;
  return {
    seed,
    host: {
      ...{ memory: "2MiB", cpus: 4, swap: [{ kind: "nvme", size: "4MiB" }] },
      reclaim: { watermarkScaleFactor: 1000 },
    },
    check: { integrity: true, onViolation: "count" },
    vms: [
      {
        name: "db",
        memory: "3MiB",
        guest: { tasks: [{ count: 2, region: "r", workload }] },
        ...design,
        ...vm,
      },
    ],
  };
}

function limited(seed: number, mmuNotifier: "notifier-2008" | "seq-retry"): Scenario {
  const workload = { kind: "uniform" as const, pages: 400, writes: 0.5, accesses: 3000 };
  const design = { mmu: "legacy", mmuNotifier, vcpus: 4, memoryMax: "400KiB" } as const;
  return {
    seed,
    host: { memory: "8MiB", cpus: 4, swap: [{ kind: "nvme", size: "8MiB" }] },
    costs: { eptMapNs: 400_000 },
    check: { integrity: true, onViolation: "count" },
    vms: [{ name: "db", memory: "2MiB", guest: { tasks: [{ count: 4, region: "r", workload }] }, ...design }],
  };
}

/** Runs in which something was wrong: contents, or pins. */
async function wrongRuns(scenario: (seed: number) => Scenario): Promise<{ contents: number; pins: number }> {
  const runs = { contents: 0, pins: 0 };
  for (let seed = 1; seed <= SEEDS; seed++) {
    const machine = await create(scenario(seed));
    const { integrity } = vmOf(machine.run());
    machine.dispose();
    if (integrity.lostWrites + integrity.staleReads > 0) runs.contents++;
    if (integrity.unreachablePins > 0) runs.pins++;
  }
  return runs;
}

test("2007 loses writes with two vCPUs, and none when all are zapped", async () => {
  assert.equal(await wrongRuns((seed) => pressed(seed, {})), { contents: SEEDS, pins: 0 });
  const mended = { hostPaging2007: { zapAllVcpus: true } };
  assert.equal(await wrongRuns((seed) => pressed(seed, mended)), { contents: 0, pins: 0 });
});

test("2008 pins pages, and today's rule none", async () => {
  assert.equal(await wrongRuns((seed) => limited(seed, "notifier-2008")), { contents: 0, pins: SEEDS });
  assert.equal(await wrongRuns((seed) => limited(seed, "seq-retry")), { contents: 0, pins: 0 });
});

test.run();
