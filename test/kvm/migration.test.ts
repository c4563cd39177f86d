// At stake: pages that get other frames while guests use them. A page keeps its contents and its bits; one that something else holds stays
// where it is, after ten passes; of a range that goes offline every frame is free in the end, or everything is as before. The debug core
// walks all structures after each step, so a migration entry that is left behind, or a reference too many, is found.

import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { Machine } from "#dist/index.js";
import type { Scenario } from "#dist/scenario.js";
import { parameters } from "../reference/report.js";
import { debugModule } from "../scenes.js";

const PAGES = 64;

function scenario(memory = "16MiB", pages = PAGES): Scenario {
  return {
    host: { memory, cpus: 2, swap: [{ kind: "nvme", size: "8MiB" }] },
    check: { integrity: true },
    trace: { events: ["mm_migrate_pages*", "set_migration_pte", "remove_migration_pte"], capacity: 4096 },
    vms: [{ name: "db", memory: pages * 4096, vcpus: 2 }],
  };
}

async function machineOf(given = scenario()): Promise<Machine> {
  return Machine.create(given, { module: await debugModule });
}

const frameOf = (machine: Machine, gfn: number) => machine.inspect({ vm: "db", gfn }).frame?.pfn;
const counts = (machine: Machine) => machine.result().host.migrate;

test("a page that migrates has another frame, its contents and its bits, and its next access faults once", async () => {
  const machine = await machineOf();
  for (let gfn = 0; gfn < 8; gfn++) machine.access("db", 0, gfn, gfn % 2 === 0 ? "write" : "read");
  const before = Array.from({ length: 8 }, (_, gfn) => machine.inspect({ vm: "db", gfn }));
  const { moved, failed } = machine.migrate("db", { gfn: 0, pages: 8 });
  assert.equal([moved, failed], [4, 0]); // reads of pages never written map the page of zeroes, which stays
  machine.check();
  for (const gfn of [0, 2, 4, 6]) {
    const after = machine.inspect({ vm: "db", gfn });
    assert.is.not(after.frame!.pfn, before[gfn]!.frame!.pfn);
    assert.equal(after.stamp, before[gfn]!.stamp);
    const bits = (value: string) => BigInt(value) & 0xfffn;
    assert.is(bits(after.pte!.value), bits(before[gfn]!.pte!.value));
    assert.is(after.frame!.refs, 1);
    assert.is(after.sptes[0]!.spte, "0x0");
    assert.is(machine.access("db", 0, gfn, "read").exits, 1);
    assert.is(machine.access("db", 0, gfn, "write").exits, 0);
  }
});

test("a pinned page is unmapped ten times and stays where it is", async () => {
  const machine = await machineOf();
  for (let gfn = 0; gfn < 6; gfn++) machine.access("db", 0, gfn, "write");
  assert.is(machine.pin("db", { gfn: 2, pages: 2 }).pages, 2);
  const before = [2, 3].map((gfn) => machine.inspect({ vm: "db", gfn }));
  machine.traceText();
  const { moved, failed } = machine.migrate("db", { gfn: 0, pages: 6 });
  assert.equal([moved, failed], [4, 2]);
  assert.equal(counts(machine), { attempted: 6, succeeded: 4, failedPinned: 2 });
  const trace = machine.traceText();
  assert.is(trace.match(/: set_migration_pte:/g)!.length, 6 + 9 * 2);
  assert.is(trace.match(/: remove_migration_pte:/g)!.length, 6 + 9 * 2);
  assert.match(trace, /nr_succeeded=4 nr_failed=2 .* mode=MIGRATE_SYNC reason=syscall_or_cpuset/);
  machine.check();
  for (const [at, gfn] of [2, 3].entries()) {
    const { pte, frame, stamp } = machine.inspect({ vm: "db", gfn });
    assert.is(frame!.refs, 2);
    const { pte: entry, frame: held, stamp: written } = before[at]!;
    assert.equal([pte, frame!.pfn, frame!.maps, stamp], [entry, held!.pfn, 1, written]);
  }
  assert.is(machine.unpin("db").pages, 2);
  assert.is(machine.migrate("db", { gfn: 2, pages: 2 }).moved, 2);
  machine.check();
});

test("a pinned page is unmapped and kept in the swap cache by eviction, and never written", async () => {
  const machine = await machineOf();
  for (let gfn = 0; gfn < 16; gfn++) machine.access("db", 0, gfn, "write", { cpu: 0 });
  machine.pin("db", { gfn: 4, pages: 8 }, { cpu: 0 });
  for (let time = 0; time < 2; time++) machine.advise("db", "pageout", { gfn: 0, pages: 16 }, { cpu: 0 });
  assert.is(machine.result().host.swap.out, 8);
  machine.check();
  assert.is(machine.access("db", 0, 5, "read", { cpu: 0 }).fault, "minor");
});

test("a range goes offline: every frame is free and stays so", async () => {
  const machine = await machineOf();
  for (let gfn = 0; gfn < PAGES; gfn++) machine.access("db", gfn % 2, gfn, "write");
  const [zone] = machine.hostZones();
  const frame = Math.floor(frameOf(machine, 5)! / zone!.unit) * zone!.unit;
  const inside = (pfn: number | undefined) => pfn !== undefined && pfn >= frame && pfn < frame + zone!.unit;
  const there = Array.from({ length: PAGES }, (_, gfn) => frameOf(machine, gfn)).filter(inside).length;
  assert.ok(there > 0);
  const step = machine.offline({ frame, frames: zone!.unit });
  assert.equal([step.error, step.moved, step.failed], [null, there, 0]);
  assert.is(step.pages.length, there);
  for (const { page, now, became, vm, frame: old } of step.pages) {
    assert.equal([vm, became, inside(old), inside(now!)], ["db", "moved", true, false]);
    assert.is(frameOf(machine, page), now);
  }
  machine.check();
  for (let gfn = 0; gfn < PAGES; gfn++) {
    assert.not(inside(frameOf(machine, gfn)));
    machine.access("db", 0, gfn, "write");
    machine.advise("db", "dontneed", { gfn });
    machine.access("db", 1, gfn, "write");
    assert.not(inside(frameOf(machine, gfn)));
  }
  machine.check();
});

test("a range with a pinned page does not go offline, and is as before", async () => {
  const machine = await machineOf();
  for (let gfn = 0; gfn < PAGES; gfn++) machine.access("db", 0, gfn, "write");
  const [zone] = machine.hostZones();
  machine.pin("db", { gfn: 7 });
  const pinned = frameOf(machine, 7)!;
  const frame = Math.floor(pinned / zone!.unit) * zone!.unit;
  const free = machine.result().host.memory.freePages;
  const { pageblocks } = machine.inspect().zones[0]!;
  const step = machine.offline({ frame, frames: zone!.unit }, { timeout: "10ms" });
  assert.is(step.error, "EINTR");
  assert.ok(step.failed > 0 && step.passes >= 20 && step.ns >= 10e6);
  assert.is(frameOf(machine, 7), pinned);
  const stayed = step.pages.filter(({ became }) => became === "stayed");
  assert.equal(stayed, [{ frame: pinned, vm: "db", page: 7, became: "stayed", now: pinned }]);
  machine.check();
  const after = machine.inspect().zones[0]!;
  assert.equal(after.pageblocks, pageblocks);
  assert.ok(after.freeBlocks.isolate.every((blocks) => blocks === 0));
  // What was moved, and the lists of the CPUs that were emptied, is all that may differ.
  assert.ok(Math.abs(machine.result().host.memory.freePages - free) < 256);
  machine.unpin("db");
  assert.is(machine.offline({ frame, frames: zone!.unit }).error, null);
  assert.is(machine.inspect().zones[0]!.pageblocks.isolate, zone!.unit / 512);
  machine.check();
});

test("a range in which the host has page tables is refused at once", async () => {
  const machine = await machineOf();
  machine.access("db", 0, 0, "write");
  const [zone] = machine.hostZones();
  const errors = [];
  for (let frame = zone!.frame; frame < zone!.frame + zone!.frames; frame += zone!.unit)
    errors.push(machine.offline({ frame, frames: zone!.unit }).error);
  assert.ok(errors.includes("EBUSY"));
  machine.check();
});

const operation = fc.oneof(
  fc.record({ kind: fc.constantFrom("read", "write"), vcpu: fc.nat(1), gfn: fc.nat(PAGES - 1) }),
  fc.record({
    kind: fc.constantFrom("fill", "migrate", "pin", "unpin", "pageout", "dontneed", "free", "offline"),
    vcpu: fc.constant(0),
    gfn: fc.nat(15),
  }),
);

test("no order of accesses, advice, pins and migrations breaks an invariant or loses a write", async () => {
  const module = await debugModule;
  let stayed = 0;
  const play = async (gives: boolean, all: { kind: string; vcpu: number; gfn: number }[]) => {
    // Contents that were given up cannot be read again.
    const operations = all.filter(({ kind }) => gives || (kind !== "dontneed" && kind !== "free"));
    const machine = await Machine.create(scenario("16MiB"), { module });
    const [zone] = machine.hostZones();
    const cpu = 0;
    for (const { kind, vcpu, gfn } of operations) {
      const range = { gfn, pages: 8 };
      if (kind === "read" || kind === "write") machine.access("db", vcpu, gfn, kind, { cpu: vcpu });
      else if (kind === "migrate") {
        const before = Array.from({ length: 8 }, (_, at) => machine.inspect({ vm: "db", gfn: gfn + at }));
        const { moved, failed } = machine.migrate("db", range, { cpu });
        const changed = before.filter(({ frame }, at) => frameOf(machine, gfn + at) !== frame?.pfn);
        assert.is(changed.length, moved);
        if (failed > 0) assert.ok(before.some(({ frame }) => frame?.flags.includes("pinned")));
        stayed += failed;
      } else if (kind === "pin") machine.pin("db", range, { cpu });
      else if (kind === "unpin") machine.unpin("db", { cpu });
      else if (kind === "offline") {
        const blocks = Math.floor((zone!.frames - 1) / zone!.unit);
        const frame = zone!.frame + zone!.unit * (gfn % blocks);
        machine.offline({ frame, frames: zone!.unit }, { cpu, timeout: "1ms" });
      } else machine.advise("db", kind === "fill" ? "write" : (kind as "pageout"), range, { cpu });
      machine.check();
    }
    if (gives) return;
    for (let gfn = 0; gfn < PAGES; gfn++) assert.is(machine.access("db", 0, gfn, "read").status, "done");
    const { integrity } = machine.result().vms[0]!;
    assert.is(integrity.lostWrites + integrity.staleReads, 0);
  };
  const operations = fc.array(operation, { minLength: 40, maxLength: 60 });
  await fc.assert(fc.asyncProperty(fc.boolean(), operations, play), parameters(25));
  assert.ok(stayed > 0);
});

test("guests that run while their memory migrates lose nothing", async () => {
  const given = scenario("16MiB", 1024);
  given.vms[0]!.guest = {
    tasks: [{ count: 2, workload: { kind: "uniform", pages: 256, writes: 0.5, accesses: 30_000 } }],
  };
  const machine = await machineOf(given);
  for (let time = 0; time < 20; time++) {
    machine.run({ time: 50_000 });
    machine.migrate("db", { gfn: 0, pages: 512 });
    machine.check();
  }
  assert.ok(counts(machine).succeeded > 512);
  assert.is(machine.run().status, "done");
});

test.run();
