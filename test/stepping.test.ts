// At stake: a machine that is driven step by step. One access, one call of the monitor: each says what it took, and the machine behaves as if
// it had been run. Checked against the machine's own counters, a plain set of written pages, and the structures of the debug core.

import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { type Advice, Machine } from "#dist/index.js";
import type { Scenario } from "#dist/scenario.js";
import { parameters } from "./reference/report.js";
import { debugModule, refusal } from "./scenes.js";

const PAGES = 64;
/** One CPU for all: a page in another CPU's LRU batch is on no list yet, and advice leaves it alone. */
const ON = { cpu: 0 };

function scenario(vcpus = 1, others: Partial<Scenario["vms"][number]> = {}): Scenario {
  return {
    host: { memory: "4MiB", cpus: 2, swap: [{ kind: "zram-lz4", size: "4MiB" }] },
    check: { integrity: true },
    vms: [{ name: "db", memory: PAGES * 4096, vcpus, ...others }],
  };
}

async function driven(vcpus = 1, others: Partial<Scenario["vms"][number]> = {}): Promise<Machine> {
  return Machine.create(scenario(vcpus, others), { module: await debugModule });
}

test("a vCPU that is told to run on another CPU while it waits for its own takes that one", async () => {
  const machine = await driven(2);
  machine.access("db", 0, 53, "write", { cpu: 0 });
  machine.access("db", 1, 16, "write", { cpu: 1 });
  machine.advise("db", "cold", { gfn: 50 }, { cpu: 1 });
  assert.is(machine.access("db", 0, 30, "write", { cpu: 0 }).exits, 1);
  machine.check();
});

test("touching N pages once takes N faults, and touching them again none", async () => {
  const machine = await driven();
  for (const expected of [1, 0]) {
    for (let gfn = 0; gfn < PAGES; gfn++) assert.is(machine.access("db", 0, gfn, "write").exits, expected);
  }
  const { faults } = machine.result().vms[0]!;
  assert.is(faults.minor.count, PAGES);
  machine.check();
});

test("vCPUs that touch the same pages install each entry once", async () => {
  const machine = await driven(3);
  const exits = [0, 1, 2].map((vcpu) =>
    Array.from({ length: PAGES }, (_, gfn) => machine.access("db", vcpu, gfn, "write").exits).reduce(
      (a, b) => a + b,
    ),
  );
  assert.equal(exits, [PAGES, 0, 0]);
  machine.check();
});

test("the stages of an access' fault sum to its time, but for the access itself", async () => {
  const machine = await driven();
  const { fault, ns, stages } = machine.access("db", 0, 5, "write");
  const sum = Object.values(stages).reduce((total, part) => total + part, 0);
  assert.is(fault, "minor");
  assert.is(ns - sum, 100 + 55); // memDramNs, tlbWalk2dNs
});

test("the first pageout of pages that the guest used evicts none, the second one all", async () => {
  const machine = await driven();
  for (let gfn = 0; gfn < PAGES; gfn++) machine.access("db", 0, gfn, "write", ON);
  const range = { gfn: 0, pages: PAGES };
  machine.advise("db", "pageout", range, ON);
  assert.is(machine.result().host.swap.out, 0);
  machine.advise("db", "pageout", range, ON);
  assert.is(machine.result().host.swap.out, PAGES);
  assert.is(machine.access("db", 0, 7, "read").fault, "major");
  assert.equal(machine.advise("db", "read", { gfn: 8, pages: 4 }).faults, { minor: 0, major: 4 });
  assert.is(machine.access("db", 0, 8, "read").fault, "minor");
  machine.check();
});

test("a page marked idle with a warm TLB stays idle however often it is used: no flush was sent", async () => {
  const machine = await driven();
  machine.access("db", 0, 3, "read", ON);
  machine.access("db", 0, 3, "write");
  machine.advise("db", "pageout", { gfn: 3 }, ON);
  machine.access("db", 0, 3, "write");
  machine.advise("db", "pageout", { gfn: 3 }, ON);
  assert.is(machine.result().host.swap.out, 1, "the page was in use, and went");
});

test("one backing under k slots: one page dropped is k frames unmapped by one call", async () => {
  const hva = 0x7e0000000000;
  const slots = [0, 1000, 2000, 3000].map((gfn) => ({ gfn, pages: PAGES / 4, hva }));
  const machine = await driven(1, { memslots: slots });
  for (const { gfn } of slots) machine.access("db", 0, gfn + 2, "write");
  const before = machine.traceCounts()["kvm_unmap_hva_range"];
  machine.advise("db", "dontneed", { gfn: 1002 });
  assert.is(machine.result().vms[0]!.notifier.unmapped, slots.length);
  assert.is(machine.traceCounts()["kvm_unmap_hva_range"]! - before!, 1);
  for (const { gfn } of slots) assert.is(machine.access("db", 0, gfn + 2, "read").exits, 1);
  machine.check();
});

test("what is in no slot, and a write to a read-only one, goes to the monitor", async () => {
  const machine = await driven(1, {
    memslots: [
      { gfn: 0, pages: 32 },
      { gfn: 100, pages: 32, flags: ["read-only"] },
    ],
  });
  assert.equal(
    ["read", "write"].map((mode) => machine.access("db", 0, 50, mode as "read").fault),
    ["mmio", "mmio"],
  );
  assert.is(machine.access("db", 0, 2 ** 31 - 1, "read").fault, "mmio");
  assert.is(machine.access("db", 0, 101, "write").fault, "mmio");
  assert.is(machine.access("db", 0, 101, "read").fault, "minor");
  assert.is(machine.access("db", 0, 101, "write").fault, "mmio");
  machine.check();
});

test("the dirty log over random writes is the set of pages written since it was last taken", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(
        fc.oneof(
          { weight: 12, arbitrary: fc.tuple(fc.constantFrom("read", "write"), fc.nat(PAGES - 1)) },
          { weight: 2, arbitrary: fc.tuple(fc.constant("get"), fc.constant(0)) },
          { weight: 1, arbitrary: fc.tuple(fc.constantFrom("pageout", "dontneed"), fc.nat(PAGES - 1)) },
        ),
        { minLength: 5, maxLength: 120 },
      ),
      async (steps) => {
        const machine = await driven(1, {
          memslots: [{ gfn: 700, pages: PAGES, flags: ["log-dirty-pages"] }],
        });
        let written = new Set<number>();
        for (const [what, page] of steps) {
          const gfn = 700 + page;
          if (what === "get") {
            const { dirty } = machine.dirtyLog("db", 0);
            assert.equal(
              [...written].filter((each) => !dirty.includes(each)),
              [],
              "written and not in the log",
            );
            written = new Set();
          } else if (what === "read" || what === "write") {
            machine.access("db", 0, gfn, what);
            if (what === "write") written.add(gfn);
          } else {
            machine.advise("db", what as Advice, { gfn });
          }
          machine.check();
        }
      },
    ),
    parameters(20),
  );
});

test("what the monitor writes through a file looks unused, stays in its CPU's batch, and is reclaimed before what it has touched", async () => {
  const machine = await driven();
  const story = (gfn: number) => machine.inspect({ vm: "db", gfn });
  const accessed = (gfn: number) => (BigInt(story(gfn).pte!.value) & 0x20n) !== 0n;
  machine.advise("db", "write", { gfn: 0, pages: 15 }, ON);
  assert.is(machine.advise("db", "file", { gfn: 15, pages: 12 }, ON).faults.minor, 12);
  assert.equal([accessed(14), accessed(15), accessed(26)], [true, false, false]);
  assert.is.not(story(15).frame!.list, story(14).frame!.list, "twelve pages wait behind the first batch");
  machine.advise("db", "file", { gfn: 27, pages: PAGES - 27 }, ON);
  assert.is(story(15).frame!.list, story(14).frame!.list, "the fifteenth page has the batch flushed");
  assert.is(machine.advise("db", "file", { gfn: 15 }, ON).faults.minor, 0, "it is there");
  machine.check();

  const { reclaimedPages } = machine.writeCgroup("db", "memory.reclaim", 32 * 4096, ON);
  const swapped = Array.from({ length: PAGES }, (_, gfn) => gfn).filter(
    (gfn) => story(gfn).pte!.state === "swapped",
  );
  assert.is(swapped.length, reclaimedPages);
  assert.ok(swapped[0]! >= 15, "what was touched gets a second chance");
  assert.is(machine.advise("db", "file", { gfn: swapped[0]! }, ON).faults.major, 1);
  machine.check();
});

test("a vCPU that is far behind the monitor makes any number of accesses before it comes up to it", async () => {
  const machine = await driven();
  for (let gfn = 0; gfn < PAGES; gfn++) machine.access("db", 0, gfn, "write", { cpu: 0 });
  for (let round = 0; round < 20; round++) machine.advise("db", "cold", { gfn: 0, pages: PAGES }, { cpu: 1 });
  for (let round = 0; round < 200; round++) {
    assert.is(machine.access("db", 0, round % PAGES, "read", { cpu: 0 }).exits, 0);
  }
  machine.check();
  assert.is(machine.access("db", 0, 3, "write", { cpu: 1 }).exits, 0);
});

test("with the log on, writes to mapped pages are exactly the log, and each takes one fault after a get", async () => {
  const machine = await driven();
  for (let gfn = 0; gfn < PAGES; gfn++) machine.access("db", 0, gfn, "write");
  assert.is(
    machine.setMemslot("db", 0, { gfn: 0, pages: PAGES, flags: ["log-dirty-pages"] }).change,
    "flags",
  );
  for (const round of [0, 1]) {
    const gfns = [3 + round, 17, 40, 63];
    for (const gfn of gfns) {
      machine.access("db", 0, gfn, "read");
      assert.is(machine.access("db", 0, gfn, "write").fault, "writeProtect");
      assert.is(machine.access("db", 0, gfn, "write").exits, 0);
    }
    assert.equal(machine.dirtyLog("db", 0).dirty, gfns);
  }
  assert.equal(machine.dirtyLog("db", 0).dirty, []);
  machine.setMemslot("db", 0, { gfn: 0, pages: PAGES });
  assert.is(machine.access("db", 0, 40, "write").fault, "writeProtect", "entries stay protected");
  assert.is(machine.dirtyLog("db", 0).error, "EINVAL");
  machine.check();
});

test("inspect tells a page's story from its first touch to its slot in swap", async () => {
  const hva = 0x7e0000000000;
  const machine = await driven(1, {
    memslots: [
      { gfn: 0, pages: 32, hva },
      { gfn: 512, pages: 32, hva },
    ],
  });
  const story = () => machine.inspect({ vm: "db", gfn: 517 });
  assert.is(machine.inspect({ vm: "db", gfn: 100 }).slot, null);
  const untouched = story();
  assert.equal(untouched.slot, { id: 1, gfn: 512, pages: 32, hva: "0x7e0000000000", flags: [] });
  assert.is(untouched.hva, "0x7e0000005000");
  assert.is(untouched.pte!.state, "none");
  machine.access("db", 0, 517, "read", ON);
  assert.is(story().pte!.state, "zero");
  machine.access("db", 0, 5, "write", ON);
  const written = story();
  assert.equal(
    written.sptes.map(({ gfn, spte }) => [gfn, spte !== "0x0"]),
    [
      [5, true],
      [517, false],
    ],
    "copying the page of zeroes took its mapping away",
  );
  assert.is(written.frame!.maps, 1);
  assert.equal(written.stamp, { expected: 1, found: 1 });
  machine.advise("db", "pageout", { gfn: 5 }, ON);
  assert.is(story().pte!.state, "present");
  machine.advise("db", "pageout", { gfn: 5 }, ON);
  const swapped = story();
  assert.is(swapped.pte!.state, "swapped");
  assert.is(swapped.frame, null);
  assert.equal(swapped.swap, { area: "zram-lz4-0", slot: swapped.swap!.slot, users: 1 });
  assert.equal(swapped.stamp, { expected: 1, found: 1 });
});

test("a machine out of memory takes no step more, however often it is asked", async () => {
  const vm = { name: "db", memory: "1MiB", memoryMax: 64 * 4096 };
  const machine = await Machine.create(
    { host: { memory: "8MiB" }, vms: [vm] },
    { module: await debugModule },
  );
  for (let gfn = 0; gfn < 64; gfn++) assert.is(machine.access("db", 0, gfn, "write").status, "done");
  for (let gfn = 64; gfn < 400; gfn++) {
    assert.is(machine.access("db", 0, gfn % 128, "write").status, "oom");
    assert.is(machine.advise("db", "dontneed", { gfn: 0 }).status, "oom");
    assert.is(machine.setMemslot("db", 1, { gfn: 4096, pages: 1 }).status, "oom");
  }
  assert.is(machine.run({ time: 1000 }).status, "oom");
});

test("wrong steps are refused with the argument, what was given, what is allowed", async () => {
  const machine = await driven();
  const refused: [() => unknown, RegExp][] = [
    [() => machine.access("dc", 0, 0, "read"), /vm: there is no VM "dc"; did you mean "db"\? Allowed: "db"/],
    [() => machine.access("db", 1, 0, "read"), /vcpu: 1 is not allowed\. Allowed: a whole number 0\.\.0/],
    [() => machine.access("db", 0, -1, "read"), /gfn: -1 is not allowed/],
    [() => machine.access("db", 0, 0, "execute" as "read"), /mode: "execute" is not allowed/],
    [
      () => machine.access("db", 0, 0, "read", { cpu: 2 }),
      /cpu: 2 is not allowed\. Allowed: a whole number 0\.\.1/,
    ],
    [() => machine.advise("db", "willneed" as "cold", { gfn: 0 }), /advice: "willneed" is not allowed/],
    [() => machine.advise("db", "cold", { gfn: 64 }), /range\.gfn: 64 is in no memslot\. Allowed: 0\.\.63/],
    [() => machine.advise("db", "cold", { gfn: 60, pages: 5 }), /range\.pages: 5 is not allowed/],
    [() => machine.setMemslot("db", -1, null), /id: -1 is not allowed/],
  ];
  for (const [step, message] of refused) assert.match(await refusal(step, "E_STEP"), message);
});

test.run();
