// At stake: pages of equal contents come to lie in one frame, a write parts them again, and nobody reads anything but the last write.

import { test } from "uvu";
import * as assert from "uvu/assert";
import { Machine, type Scenario } from "#dist/index.js";
import { generator } from "../../bench/mm/buddy.bench.js";

const MIB = 2 ** 20;

function scenario(
  ksm: NonNullable<Scenario["host"]["ksm"]> = { run: true, pagesToScan: 100, sleep: "1ms" },
): Scenario {
  return {
    host: { memory: 16 * MIB, swap: [{ kind: "zram-lz4", size: 16 * MIB }], ksm },
    vms: [
      { name: "a", memory: MIB },
      { name: "b", memory: MIB, mmu: "legacy", memoryMax: "384KiB" },
    ],
    check: { integrity: true },
  };
}

const frame = (machine: Machine, vm: string, gfn: number): number | undefined =>
  machine.inspect({ vm, gfn }).frame?.pfn;

test("equal pages of both VMs share a frame, and a write takes one out of it", async () => {
  const machine = await Machine.create(scenario());
  for (const vm of ["a", "b"]) {
    machine.advise(vm, "write", { gfn: 0, pages: 8 }, { content: 5 });
    machine.advise(vm, "write", { gfn: 8, pages: 8 });
    machine.advise(vm, "mergeable", { gfn: 0, pages: 64 });
  }
  machine.run({ time: "100ms" });
  assert.equal([machine.ksm().sharedPages, machine.ksm().mergedPages], [1, 16]);
  const shared = frame(machine, "a", 0);
  for (const vm of ["a", "b"]) {
    for (let gfn = 0; gfn < 8; gfn++) {
      assert.is(frame(machine, vm, gfn), shared);
      machine.access(vm, 0, gfn, "read");
    }
    assert.is.not(frame(machine, vm, 8), frame(machine, vm, 9));
  }
  machine.access("a", 0, 3, "write");
  assert.is.not(frame(machine, "a", 3), shared);
  assert.is(machine.ksm().mergedPages, 15);
  for (let gfn = 0; gfn < 8; gfn++) machine.access("a", 0, gfn, "read");
  assert.is(machine.result().vms[0]!.integrity.lostWrites, 0);
});

test("without ksmd nothing is merged, and a host without the key says so", async () => {
  const machine = await Machine.create(scenario({ run: false }));
  machine.advise("a", "write", { gfn: 0, pages: 8 }, { content: 5 });
  machine.advise("a", "mergeable", { gfn: 0, pages: 8 });
  machine.run({ time: "100ms" });
  assert.is(machine.ksm().mergedPages, 0);
  const { ksm: _, ...host } = scenario().host;
  const plain = await Machine.create({ ...scenario(), host });
  assert.throws(() => plain.ksm(), /merges no pages/);
});

test("random writes of few contents, scans, advice and reclaim: every read sees the last write", async () => {
  const machine = await Machine.create(scenario());
  const random = generator(3);
  for (const vm of ["a", "b"]) machine.advise(vm, "mergeable", { gfn: 0, pages: 128 });
  let most = 0;
  for (let step = 0; step < 3000; step++) {
    const vm = random(2) === 0 ? "a" : "b";
    const gfn = random(160);
    const what = random(40);
    if (what < 14) machine.advise(vm, "write", { gfn }, { content: 1 + random(4) });
    else if (what < 38) machine.access(vm, 0, gfn, random(4) === 0 ? "write" : "read");
    else if (what === 38) machine.advise(vm, "pageout", { gfn: random(100), pages: 32 });
    else machine.run({ time: "20ms" });
    most = Math.max(most, machine.ksm().mergedPages);
  }
  const { vms, host } = machine.result();
  assert.ok(most > 50, `${most} merged at most`);
  assert.ok(host.swap.out > 100, `${host.swap.out} swapped out`);
  for (const { integrity } of vms) assert.equal([integrity.lostWrites, integrity.staleReads], [0, 0]);
});

test.run();
