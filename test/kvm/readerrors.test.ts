// At stake: a page that its swap device cannot read. What each design makes of it comes out of its steps: a page that is not up to date stays in the swap
// cache, today's kernel has no page for KVM (SIGBUS, -EFAULT), that of 2007 returns NULL and lets the guest fault again. Nothing loops for ever, the run says
// what it could not read, and a machine whose devices have no errors is the same as before.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { Machine } from "#dist/machine.js";
import type { Scenario } from "#dist/scenario.js";
import { create, debugModule, EXAMPLES, refusal, type Task, type Vm, vmOf } from "../scenes.js";

const module = await debugModule;
const ON = { cpu: 0 };

type Kind = "nvme" | "zram-lz4";

function faulty(
  kind: Kind,
  readErrors: number | undefined,
  vm: Partial<Vm> = {},
  seed = 1,
  policy: "two-list" | "clock" = "two-list",
): Promise<Machine> {
  const scenario: Scenario = {
    seed,
    host: {
      memory: "8MiB",
      cpus: 4,
      swap: [{ name: "disk", kind, size: "4MiB", ...(readErrors !== undefined && { readErrors }) }],
      reclaim: { policy },
    },
    vms: [{ name: "guest", memory: "1MiB", ...vm }],
  };
  return create(scenario, { module });
}

/** Sweeps over more pages than the limit leaves it, so that each comes back from swap. */
const sweep = (passes: number): Task => ({
  workload: { kind: "sequential", pages: 200, writes: 1, passes },
});

const DESIGNS: [name: string, vm: Partial<Vm>][] = [
  ["tdp", { mmu: "tdp" }],
  ["legacy", { mmu: "legacy" }],
  ["shadow", { mmu: "shadow" }],
  ["notifier-2008", { mmu: "shadow", mmuNotifier: "notifier-2008" }],
  ["asyncPf 2010", { asyncPf: { design: "2010" } }],
  ["asyncPf upstream", { asyncPf: { design: "upstream" } }],
];

for (const [name, vm] of DESIGNS) {
  for (const kind of ["nvme", "zram-lz4"] as const) {
    test(`${name}, ${kind}: the run ends where the page is needed, and says so`, async () => {
      const machine = await faulty(kind, 1, { ...vm, memoryMax: "400KiB", guest: { tasks: [sweep(3)] } });
      const result = machine.run();
      machine.check();
      assert.is(result.status, "readError");
      assert.is(result.stoppedBy, "readError");
      const { page } = result.readError!;
      assert.equal(result.readError, { vm: "guest", page, device: "disk" });
      const { reads, readErrors = 0 } = result.host.devices[0]!;
      assert.ok(readErrors >= 1 && readErrors <= reads, `${readErrors} of ${reads}`);
      assert.is(vmOf(result).faults.major.count, 0, "no page has come back");
      const { frame, swap, sptes } = machine.inspect({ vm: "guest", gfn: page });
      assert.ok(swap !== null, "the entry stays");
      assert.is(frame?.flags.includes("uptodate") ?? false, false);
      assert.is(sptes.filter(({ spte }) => BigInt(spte) !== 0n).length, 0);
      // The machine has come to its end: nothing more happens, also in a copy.
      const again = machine.fork().run({ accesses: 10 });
      assert.equal([again.status, again.accesses, again.digest], ["readError", 0, result.digest]);
      assert.is(machine.access("guest", 0, 0, "read", ON).status, "readError");
    });
  }
}

test("a page that is not up to date stays in the swap cache of a device with a queue, and nowhere with compressed memory", async () => {
  for (const kind of ["nvme", "zram-lz4"] as const) {
    const machine = await faulty(kind, 1, { memoryMax: "400KiB", guest: { tasks: [sweep(3)] } });
    const { page } = machine.run().readError!;
    assert.is(machine.inspect({ vm: "guest", gfn: page }).frame !== null, kind === "nvme", kind);
  }
});

test("the monitor's own read ends the same way", async () => {
  const machine = await faulty("zram-lz4", 1, { memoryMax: "400KiB", guest: { tasks: [sweep(1)] } });
  assert.is(machine.run().status, "done");
  assert.ok(machine.inspect({ vm: "guest", gfn: 5 }).swap !== null);
  assert.is(machine.advise("guest", "read", { gfn: 5 }, ON).status, "readError");
  assert.equal(machine.run({ accesses: 1 }).readError, { vm: "guest", page: 5, device: "disk" });
  machine.check();
});

test("2007: NULL, and the guest faults again on the page that is there and not up to date, until the simulation gives up", async () => {
  const machine = await faulty("zram-lz4", 1, { mmu: "shadow", hostPaging: "writepage-2007" });
  machine.access("guest", 0, 5, "write", ON);
  for (let time = 0; time < 2; time++) machine.advise("guest", "pageout", { gfn: 5 }, ON);
  const before = vmOf(machine.result());
  const { status } = machine.access("guest", 0, 5, "read", ON);
  machine.check();
  const after = vmOf(machine.result());
  assert.is(status, "readError");
  assert.is(after.hostPaging2007!.gfnToPageFailed - before.hostPaging2007!.gfnToPageFailed, 16);
  assert.is(machine.result().host.devices[0]!.readErrors, 1, "it is read once: then it is in the swap cache");
  const { frame, swap } = machine.inspect({ vm: "guest", gfn: 5 });
  assert.ok(frame !== null && swap !== null && !frame.flags.includes("uptodate"));
});

test("2007: runs of a guest under pressure end as well, some with a read that never failed", async () => {
  const text = readFileSync(join(EXAMPLES, "headlines", "lost-writes-2007.json"), "utf8");
  const headline = JSON.parse(text) as Scenario;
  const endings = [];
  for (const readErrors of [1, 0.02, 0.002]) {
    const swap = headline.host.swap!.map((device) => ({ ...device, readErrors }));
    const machine = await create({ ...headline, seed: 2, host: { ...headline.host, swap } }, { module });
    const result = machine.run();
    machine.check();
    endings.push(result.status);
    const { gfnToPageFailed } = vmOf(result).hostPaging2007!;
    assert.is(gfnToPageFailed >= 16, result.status === "readError", `${gfnToPageFailed} failures`);
    assert.is(result.host.devices[0]!.readErrors! > 0, result.status === "readError");
  }
  assert.equal(endings, ["readError", "readError", "done"]);
});

test("a share of the reads fails, the same ones for a seed", async () => {
  const run = async (readErrors: number | undefined, seed = 1) => {
    const vm = { memoryMax: "400KiB", guest: { tasks: [sweep(20)] } };
    const machine = await faulty("zram-lz4", readErrors, vm, seed);
    const { status, digest, host, accesses } = machine.run();
    return { status, digest, accesses, reads: host.devices[0]!.reads };
  };
  const first = await run(0.01);
  assert.is(first.status, "readError");
  assert.ok(first.reads > 1, "not at once");
  assert.equal(await run(0.01), first);
  const others = await Promise.all([2, 3, 4, 5, 6].map((seed) => run(0.01, seed)));
  assert.ok(new Set(others.map(({ reads }) => reads)).size > 2, "seeds differ");
  // Without errors nothing is drawn, and plain faults go through in one go as before.
  assert.equal(await run(0), await run(undefined));
});

test("plain faults of an idealized policy, which exchange pages in one go, meet the same errors", async () => {
  const vm = { memoryMax: "400KiB", guest: { tasks: [sweep(20)] } };
  const { status, host } = (await faulty("zram-lz4", 0.01, vm, 1, "clock")).run();
  assert.is(status, "readError");
  assert.is(host.devices[0]!.readErrors, 1);
  const sound = (await faulty("zram-lz4", undefined, vm, 1, "clock")).run();
  assert.ok(host.devices[0]!.reads < sound.host.devices[0]!.reads);
});

test("a share is a number from 0 to 1", async () => {
  for (const share of [-0.1, 1.1]) await refusal(() => faulty("nvme", share), "E_SCENARIO");
});

test.run();
