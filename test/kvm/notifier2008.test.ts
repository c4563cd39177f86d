// At stake: the story that the proposal of February 2008 tells of itself. Reclaim may take a page away after get_user_pages has returned it and
// before an spte with its reverse map names it: the spte then keeps a frame that no notifier will name again. No contents are lost by
// that, for the spte owns a reference; memory stays pinned. Today's design throws the same attempts away. Neither is written in
// anywhere: both come out of the steps, and so they are looked for in many machines.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { Machine } from "#dist/machine.js";
import type { Scenario } from "#dist/scenario.js";
import { create, debugModule, EXAMPLES, refusal, roomy, type Vm, vmOf } from "../scenes.js";

const module = await debugModule;

type Design = "seq-retry" | "notifier-2008";

/** Two vCPUs fault while the limit, or kswapd, takes pages away; the way from the frame to its spte is long. */
function crowded(
  mmuNotifier: Design,
  seed: number,
  onViolation: "stop" | "count" = "count",
): Promise<Machine> {
  const workload = { kind: "uniform" as const, pages: 400, writes: 0.5, accesses: 3000 };
  const scenario = roomy(
    [{ count: 4, region: "r", workload }],
    {
      seed,
      host: { memory: "8MiB", cpus: 4, swap: [{ kind: "nvme", size: "8MiB" }] },
      costs: { eptMapNs: 400_000 },
      check: { integrity: true, onViolation },
      trace: { events: ["kvm_*"], capacity: 2 ** 16 },
    },
    { mmu: "legacy", mmuNotifier, vcpus: 4, memoryMax: "400KiB" },
  );
  return create(scenario, { module });
}

interface Sum {
  pins: number;
  retries: number;
  wrong: number;
  checked: number;
  flushes: number;
  unmapped: number;
}

async function sum(design: Design): Promise<Sum> {
  const total: Sum = { pins: 0, retries: 0, wrong: 0, checked: 0, flushes: 0, unmapped: 0 };
  for (let seed = 1; seed <= 6; seed++) {
    const machine = await crowded(design, seed);
    for (let slice = 0; slice < 6; slice++) {
      machine.run({ accesses: 2000 });
      machine.check();
    }
    const { integrity, notifier } = vmOf(machine.result());
    total.pins += integrity.unreachablePins;
    total.retries += notifier.retries;
    total.wrong += integrity.lostWrites + integrity.staleReads;
    total.checked += integrity.checked;
    total.flushes += notifier.flushes;
    total.unmapped += notifier.unmapped;
  }
  return total;
}

test("a page taken away between get_user_pages and its reverse map stays pinned, and nothing is lost", async () => {
  const { pins, retries, wrong, checked } = await sum("notifier-2008");
  assert.ok(pins > 0, `${pins} pins`);
  assert.is(retries, 0);
  assert.is(wrong, 0);
  assert.ok(checked > 10_000, `${checked} reads`);
});

test("today's design starts such faults over and pins nothing", async () => {
  const { pins, retries, wrong } = await sum("seq-retry");
  assert.is(pins, 0);
  assert.ok(retries > 0, `${retries} retries`);
  assert.is(wrong, 0);
});

test("a pin under check ends the run as a violation, with the frame that it keeps", async () => {
  for (let seed = 1; ; seed++) {
    assert.ok(seed < 20, "no pin in twenty machines");
    const machine = await crowded("notifier-2008", seed, "stop");
    const result = machine.run();
    if (vmOf(result).integrity.unreachablePins === 0) continue;
    assert.is(result.status, "violation");
    const [violation] = result.violations!;
    assert.is(violation!.kind, "unreachablePin");
    assert.ok(violation!.got >= 1024, "a frame of the host");
    break;
  }
});

test("aging by the calls of 2008 flushes when the page was young, today's does not", async () => {
  const flushed = async (design: Design): Promise<number> => {
    const { flushes, unmapped } = await sum(design);
    return flushes - unmapped;
  };
  // Unmapping flushes at most once an spte in both; what is above that is aging.
  assert.ok((await flushed("notifier-2008")) > (await flushed("seq-retry")));
});

test("a discard between get_user_pages and the reverse map: the vCPU goes on reading what is gone; never under today's rule", async () => {
  const scenario = JSON.parse(
    readFileSync(join(EXAMPLES, "headlines/discards-2008.json"), "utf8"),
  ) as Scenario & { vms: [Vm] };
  const wrong = async (mmuNotifier: Design): Promise<{ stale: number; pins: number }> => {
    const sum = { stale: 0, pins: 0 };
    for (let seed = 1; seed <= 6; seed++) {
      const machine = await create(
        { ...scenario, seed, vms: [{ ...scenario.vms[0], mmuNotifier }] },
        { module },
      );
      const { lostWrites, staleReads, unreachablePins } = vmOf(machine.run()).integrity;
      machine.check();
      assert.is(lostWrites, 0);
      sum.stale += staleReads;
      sum.pins += unreachablePins;
    }
    return sum;
  };
  const { stale, pins } = await wrong("notifier-2008");
  assert.ok(stale > 0 && pins > 0, `${stale} stale reads, ${pins} pins`);
  assert.equal(await wrong("seq-retry"), { stale: 0, pins: 0 });
});

test("discarded memory reads as zeroes, and that is no violation", async () => {
  for (const mmuNotifier of ["seq-retry", "notifier-2008"] as const) {
    const machine = await create(
      roomy([], { check: { integrity: true } }, { mmu: "legacy", mmuNotifier, vcpus: 2 }),
      { module },
    );
    for (let gfn = 0; gfn < 8; gfn++) machine.access("db", 0, gfn, "write");
    machine.advise("db", "dontneed", { gfn: 0, pages: 8 });
    for (let gfn = 0; gfn < 4; gfn++) assert.is(machine.access("db", 1, gfn, "read").status, "done");
    machine.access("db", 0, 4, "write");
    machine.advise("db", "write", { gfn: 5 });
    for (const gfn of [4, 5]) assert.is(machine.access("db", 1, gfn, "read").status, "done");
    assert.equal(machine.inspect({ vm: "db", gfn: 7 }).stamp, { expected: 0, found: 0 });
    const { checked, ...wrong } = vmOf(machine.result()).integrity;
    assert.is(checked, 6);
    assert.equal(wrong, { lostWrites: 0, staleReads: 0, unreachablePins: 0 });
  }
});

test("the design of 2008 needs a reverse map", async () => {
  const scenario = roomy(
    [{ workload: { kind: "uniform", pages: 10 } }],
    {},
    { mmuNotifier: "notifier-2008" },
  );
  const message = await refusal(() => create(scenario), "E_SCENARIO");
  assert.match(
    message,
    /^vms\[0\]\.mmuNotifier: "notifier-2008" goes by the reverse map, and mmu "tdp" has none\./,
  );
});

test.run();
