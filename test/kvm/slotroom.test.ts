// At stake: slots that nobody foresaw when the machine began. They must work as those of the scenario do, under every MMU, notifier and kind of page; all
// that moves in the core's memory to make room must be the same afterwards, in forks and snapshots too; what cannot be had must change nothing.
// Random memory maps beside a plain model of the process' mappings, with contents checked.

import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { Machine, type OutsidePolicy, PagevisorError } from "#dist/index.js";
import type { Scenario } from "#dist/scenario.js";
import { generator } from "../../bench/mm/buddy.bench.js";
import { parameters } from "../reference/report.js";
import { debugModule, lasting, type Vm } from "../scenes.js";

const HVA = 0x7e0000000000;
const PAGE = 4096;
const BOOT = 64;
const SHADOW: Partial<Vm> = { memory: 64 * PAGE, memoryMax: 240 * PAGE };
const HOST = { memory: "8MiB", swap: [{ kind: "zram-lz4" as const, size: "8MiB" }] };

async function machineOf(vm: Partial<Vm> = {}, others: Partial<Scenario> = {}): Promise<Machine> {
  return Machine.create(
    {
      host: { memory: "8MiB", cpus: 2, swap: [{ kind: "zram-lz4", size: "8MiB" }], ...others.host },
      check: { integrity: true },
      vms: [
        {
          name: "vm",
          memory: BOOT * PAGE,
          memoryMax: 200 * PAGE,
          vcpus: 2,
          memslots: [{ gfn: 0, pages: BOOT, hva: HVA }],
          ...vm,
        },
      ],
    },
    { module: await debugModule },
  );
}

interface Slot {
  gfn: number;
  pages: number;
  hva: number;
}

/** The process' mappings in the order in which they were made, in pages from HVA on. */
class Mappings {
  private readonly made = [{ start: 0, end: BOOT }];

  /** Is there memory for the slot, or can there be? */
  map(start: number, pages: number): boolean {
    const end = start + pages;
    if (this.made.some((each) => start >= each.start && end <= each.end)) return true;
    if (this.made.some((each) => start < each.end && each.start < end)) return false;
    const last = this.made.at(-1)!;
    if (last.end === start) last.end = end;
    else this.made.push({ start, end });
    return true;
  }
}

const GFNS = [0, 48, 64, 500, 1024, 1100, 4096, 262_136];
const change = fc.record({
  kind: fc.constant("set" as const),
  id: fc.integer({ min: 1, max: 7 }),
  gfn: fc.constantFrom(...GFNS),
  pages: fc.constantFrom(0, 1, 16, 40),
  at: fc.constantFrom(0, 30, 60, BOOT, 104, 200, 512, 3000, -600, -1),
});
const touch = fc.record({
  kind: fc.constantFrom("read" as const, "write" as const),
  vcpu: fc.nat(1),
  gfn: fc.tuple(fc.constantFrom(...GFNS), fc.nat(45)).map(([gfn, beyond]) => gfn + beyond),
});
const give = fc.record({ kind: fc.constant("pageout" as const), gfn: fc.constantFrom(...GFNS) });

function verdict(slots: Map<number, Slot>, id: number, { gfn, pages, hva }: Slot): string {
  const slot = slots.get(id);
  if (pages === 0) return slot === undefined ? "EINVAL" : "delete";
  if (slot !== undefined && (slot.hva !== hva || slot.pages !== pages)) return "EINVAL";
  if (slot !== undefined && slot.gfn === gfn) return "nothing";
  const overlaps = [...slots].some(
    ([other, each]) => other !== id && gfn < each.gfn + each.pages && each.gfn < gfn + pages,
  );
  if (overlaps) return "EEXIST";
  return slot === undefined ? "create" : "move";
}

/** How the access faults; "unmapped" where a guest under shadow paging has no page table. */
function faultOf(
  machine: Machine,
  { vcpu, gfn, kind }: { vcpu: number; gfn: number; kind: "read" | "write" },
  shadow: boolean,
): string | null {
  try {
    return machine.access("vm", vcpu, gfn, kind).fault;
  } catch (error) {
    if (!shadow || !(error instanceof PagevisorError) || error.code !== "E_STEP") throw error;
    return "unmapped";
  }
}

const DESIGNS: [string, Partial<Vm>, Partial<Scenario>][] = [
  ["tdp", {}, {}],
  [
    "tdp, 5 levels, mglru",
    { pageTableLevels: 5 },
    { host: { memory: "8MiB", reclaim: { policy: "mglru" } } },
  ],
  ["legacy", { mmu: "legacy" }, {}],
  ["tdp, merging", {}, { host: { memory: "8MiB", ksm: {} } }],
  ["legacy, arc", { mmu: "legacy", memoryMax: 40 * PAGE }, { host: { ...HOST, reclaim: { policy: "arc" } } }],
  ["tdp, lfu", { memoryMax: 40 * PAGE }, { host: { ...HOST, reclaim: { policy: "lfu" } } }],
  ["shadow", { mmu: "shadow", ...SHADOW }, {}],
  [
    "shadow, roots per vCPU, bits clear",
    { mmu: "shadow", mmuRoots: "per-vcpu", guest: { accessedDirty: "clear" }, ...SHADOW },
    {},
  ],
  ["legacy, notifier of 2008", { mmu: "legacy", mmuNotifier: "notifier-2008" }, {}],
];
for (const [name, vm, others] of DESIGNS) {
  test(`${name}: slots come where nobody foresaw them, and their memory is memory`, async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(
          fc.oneof(
            { weight: 2, arbitrary: change },
            { weight: 6, arbitrary: touch },
            { weight: 1, arbitrary: give },
          ),
          { maxLength: 60 },
        ),
        async (steps) => {
          const machine = await machineOf(vm, others);
          const slots = new Map<number, Slot>([[0, { gfn: 0, pages: BOOT, hva: HVA }]]);
          const mappings = new Mappings();
          const slotOf = (gfn: number): Slot | undefined =>
            [...slots.values()].find((each) => gfn >= each.gfn && gfn < each.gfn + each.pages);
          for (const step of steps) {
            if (step.kind === "set") {
              // Under shadow paging a slot must have room for the guest's tables.
              const pages = vm.mmu === "shadow" && step.pages === 1 ? 4 : step.pages;
              const setting = { gfn: step.gfn, pages, hva: HVA + step.at * PAGE };
              let expected = verdict(slots, step.id, setting);
              if (expected === "create" && !mappings.map(step.at, pages)) expected = "ENOMEM";
              const { change: got, error } = machine.setMemslot("vm", step.id, pages === 0 ? null : setting);
              assert.is(error ?? got, expected);
              if (got === "delete") slots.delete(step.id);
              else if (got === "create" || got === "move") slots.set(step.id, setting);
            } else if (step.kind === "pageout") {
              if (slotOf(step.gfn) !== undefined) machine.advise("vm", "pageout", { gfn: step.gfn });
            } else {
              const fault = faultOf(machine, step, vm.mmu === "shadow");
              if (fault === "unmapped") {
                assert.is(slotOf(step.gfn), undefined);
                continue;
              }
              assert.is(fault === "mmio", slotOf(step.gfn) === undefined, `gfn ${step.gfn}`);
              assert.is(machine.inspect({ vm: "vm", gfn: step.gfn }).slot?.gfn, slotOf(step.gfn)?.gfn);
            }
            machine.check();
          }
          const { lostWrites, staleReads } = machine.result().vms[0]!.integrity;
          assert.equal([lostWrites, staleReads], [0, 0]);
        },
      ),
      parameters(8),
    );
  });
}

/** Every page of the slot at `gfn`, written by one vCPU and read by the other. Returns the faults. */
function sweep(machine: Machine, gfn: number, pages: number): number {
  let faults = 0;
  for (let page = 0; page < pages; page++) faults += machine.access("vm", 0, gfn + page, "write").exits;
  for (let page = 0; page < pages; page++) faults += machine.access("vm", 1, gfn + page, "read").exits;
  return faults;
}

test("a guest grows slot by slot to many times its size, a fault a page, and evicts as before", async () => {
  for (const mmu of ["tdp", "legacy"] as const) {
    const machine = await machineOf(
      { mmu, memoryMax: 4000 * PAGE },
      { host: { memory: "32MiB", swap: [{ kind: "zram-lz4", size: "32MiB" }] } },
    );
    for (let id = 1; id <= 24; id++) {
      const slot = { gfn: 1000 * id, pages: 128 };
      assert.is(machine.setMemslot("vm", id, slot).change, "create");
      assert.is(sweep(machine, slot.gfn, slot.pages), 128);
    }
    machine.check();
    const { residentPages, untouchedPages } = machine.result().vms[0]!.memory;
    assert.equal([residentPages, untouchedPages], [24 * 128, BOOT]);
    machine.writeCgroup("vm", "memory.max", 1000 * PAGE);
    machine.check();
    assert.ok(sweep(machine, 1000, 128) >= 128, "the first one has gone to swap");
    machine.check();
    assert.is(machine.result().vms[0]!.integrity.lostWrites, 0);
  }
});

test("shadow paging: the guest maps what comes, with tables in the slot's last frames, and its tasks find it", async () => {
  for (const pageTables of ["per-task", "shared"] as const) {
    const machine = await machineOf({
      mmu: "shadow",
      memory: "1MiB",
      memoryMax: "8MiB",
      memslots: [{ gfn: 0, pages: 256, hva: HVA }],
      guest: { pageTables, tasks: [{ workload: { kind: "uniform", pages: 64, writes: 0.5 } }] },
    });
    machine.run({ accesses: 200 });
    const slots = [
      { gfn: 256, pages: 64 }, // the guest's leaf table is there
      { gfn: 5000, pages: 600 },
      { gfn: 2 ** 27 + 100, pages: 40 }, // under another entry of the table of level 4
    ];
    for (const [id, slot] of slots.entries()) {
      assert.is(machine.setMemslot("vm", id + 1, slot).change, "create");
      machine.check();
      for (const mode of ["write", "read"] as const) {
        for (let page = 0; page < slot.pages; page += 7) {
          const { fault } = machine.access("vm", page & 1, slot.gfn + page, mode);
          if (mode === "read" && (page & 1) === 0) assert.is(fault, null);
        }
      }
      machine.check();
    }
    const { gfn, pages } = slots[1]!;
    assert.throws(
      () => machine.editPageTable("vm", 0, { gfn: gfn + pages - 1 }, { clear: 2 }),
      /holds a page table/,
    );
    machine.editPageTable("vm", 0, { gfn, pages: 20 }, { clear: 0x60 });
    assert.is(machine.access("vm", 0, gfn + 7, "write").exits, 1);
    machine.run({ accesses: 500 });
    machine.writeCgroup("vm", "memory.max", 300 * PAGE);
    machine.run({ accesses: 500 });
    machine.check();
    assert.is(machine.setMemslot("vm", 2, null).change, "delete");
    assert.is(machine.access("vm", 0, gfn, "read").fault, "mmio");
    assert.is(machine.setMemslot("vm", 2, { gfn, pages }).change, "create");
    for (let page = 0; page < pages; page += 7) machine.access("vm", 0, gfn + page, "read");
    machine.check();
    const { lostWrites, staleReads } = machine.result().vms[0]!.integrity;
    assert.equal([lostWrites, staleReads], [0, 0]);

    const fork = machine.fork();
    const restored = await Machine.restore(machine.snapshot(), { module: await debugModule });
    const [first, ...others] = [machine, fork, restored].map((each) => {
      each.setMemslot("vm", 9, { gfn: 20_000, pages: 700 });
      sweep(each, 20_000, 700);
      each.check();
      return lasting(each.run({ accesses: 300 }));
    });
    for (const other of others) assert.equal(other, first);
    // A slot without room for its tables, and with address spaces of tasks one beyond the kernel's part of them.
    assert.is(machine.setMemslot("vm", 10, { gfn: 2 ** 25, pages: 2 }).error, "ENOMEM");
    const high = machine.setMemslot("vm", 10, { gfn: 2 ** 30, pages: 16 });
    assert.is(high.error ?? high.change, pageTables === "shared" ? "create" : "ENOMEM");
    machine.check();
  }
});

test("a slot may lie at the far end of what a gfn can be, across every table on the way", async () => {
  for (const pageTableLevels of [4, 5] as const) {
    const machine = await machineOf({ pageTableLevels });
    for (const [id, gfn] of [2 ** 27 - 8, 2 ** 31 - 16].entries()) {
      assert.is(
        machine.setMemslot("vm", id + 1, { gfn, pages: 16, hva: HVA + 2 ** 33 * (id + 1) }).change,
        "create",
      );
      assert.is(sweep(machine, gfn, 16), 16);
    }
    machine.check();
  }
});

test("a slot that comes and goes at one place takes room once", async () => {
  for (const flags of [[], ["log-dirty-pages" as const]]) {
    const machine = await machineOf();
    const slot = { gfn: 70_000, pages: 32, flags };
    machine.setMemslot("vm", 1, slot);
    const { bytes } = machine.footprint();
    for (let round = 0; round < 20; round++) {
      sweep(machine, slot.gfn, slot.pages);
      assert.is(machine.setMemslot("vm", 1, null).change, "delete");
      assert.is(machine.setMemslot("vm", 1, slot).change, "create");
    }
    machine.check();
    assert.is(machine.footprint().bytes, bytes);
  }
});

test("huge pages are mapped in a slot that came later", async () => {
  const machine = await machineOf({ hugePages: true, memoryMax: 4096 * PAGE }, { host: { memory: "32MiB" } });
  assert.is(machine.setMemslot("vm", 1, { gfn: 4096, pages: 1024 }).change, "create");
  machine.access("vm", 0, 4100, "write");
  assert.is(machine.access("vm", 0, 4700, "write").fault, "minor");
  assert.is(machine.access("vm", 0, 4200, "write").fault, null);
  assert.is(machine.result().vms[0]!.memory.residentPages, 1024);
  machine.check();
});

const outside: OutsidePolicy = {
  name: "least-used",
  batch: 8,
  choose: ({ uses }, choices) => {
    choices[uses.indexOf(Math.min(...uses))] = 1;
  },
};
for (const policy of ["lru", "fifo", "clock", "sieve", "s3fifo", "arc", "2q", "lfu", outside] as const) {
  const name = typeof policy === "string" ? policy : policy.name;
  test(`${name}: what has come later is evicted as if it had been there from the start`, async () => {
    const host = { ...HOST, reclaim: { policy } } as Scenario["host"];
    const limited = { memoryMax: 40 * PAGE };
    const first = { gfn: 0, pages: BOOT, hva: HVA };
    const later = [
      { gfn: 2048, pages: 100, hva: HVA + 2 ** 30 },
      { gfn: 4096, pages: 300, hva: HVA + 2 ** 31 },
    ];
    const whole = await machineOf(
      { ...limited, memory: (BOOT + 400) * PAGE, memslots: [first, ...later] },
      { host },
    );
    const grown = await machineOf(limited, { host });
    const next = generator(name.length);
    let evicted = 0;
    for (let round = 0; round < 900; round++) {
      if (round % 300 === 200) {
        const slot = later[Math.floor(round / 300)];
        if (slot !== undefined)
          assert.is(grown.setMemslot("vm", 1 + Math.floor(round / 300), slot).change, "create");
        grown.check();
      }
      const there = [first, ...later.slice(0, Math.floor((round + 100) / 300))];
      const { gfn, pages } = there[next(there.length)]!;
      // Some pages are hot.
      const page = gfn + (next(3) === 0 ? next(pages) : next(12));
      const mode = next(2) === 0 ? "read" : "write";
      const [got, expected] = [grown, whole].map((each) => each.access("vm", 0, page, mode).fault);
      assert.is(got, expected, `round ${round}, gfn ${page}`);
      if (got === "major") evicted++;
    }
    assert.ok(evicted > 20, `${evicted}`);
    for (const each of [grown, whole]) each.check();
    assert.is(grown.result().vms[0]!.memory.residentPages, whole.result().vms[0]!.memory.residentPages);
    assert.is(grown.result().vms[0]!.integrity.lostWrites, 0);
  });
}

test("equal pages of memory that came later are merged with those from the start, and parted by a write", async () => {
  const machine = await machineOf(
    {},
    { host: { ...HOST, ksm: { run: true, pagesToScan: 200, sleep: "1ms" } } },
  );
  const gfns = [0, 3000, 5000];
  for (const gfn of gfns.slice(1))
    assert.is(machine.setMemslot("vm", gfn, { gfn, pages: 90 }).change, "create");
  for (const gfn of gfns) {
    machine.advise("vm", "write", { gfn, pages: 20 }, { content: 7 });
    machine.advise("vm", "mergeable", { gfn, pages: 60 });
  }
  machine.run({ time: "50ms" });
  machine.check();
  assert.equal([machine.ksm().sharedPages, machine.ksm().mergedPages], [1, 60]);
  for (const each of [machine.fork(), machine]) {
    for (const gfn of gfns) each.access("vm", 0, gfn + 5, "write");
    each.advise("vm", "unmergeable", { gfn: 3000, pages: 60 });
    assert.is(each.ksm().mergedPages, 38);
    for (const gfn of gfns) for (let page = 0; page < 20; page++) each.access("vm", 1, gfn + page, "read");
    each.check();
    const { lostWrites, staleReads } = each.result().vms[0]!.integrity;
    assert.equal([lostWrites, staleReads], [0, 0]);
  }
});

test("forks and snapshots of a machine that has grown go on alike", async () => {
  const machine = await machineOf({
    guest: { tasks: [{ workload: { kind: "uniform", pages: BOOT, writes: 0.5 } }] },
  });
  machine.run({ accesses: 500 });
  machine.setMemslot("vm", 1, { gfn: 50_000, pages: 100 });
  sweep(machine, 50_000, 100);
  const fork = machine.fork();
  const restored = await Machine.restore(machine.snapshot(), { module: await debugModule });
  const [first, ...others] = [machine, fork, restored].map((each) => {
    sweep(each, 50_010, 50);
    each.setMemslot("vm", 2, { gfn: 90_000, pages: 300 });
    sweep(each, 90_000, 300);
    each.check();
    return lasting(each.run({ accesses: 500 }));
  });
  for (const other of others) assert.equal(other, first);
});

test("what cannot be had is refused with ENOMEM, and changes nothing", async () => {
  const machine = await machineOf();
  const { bytes } = machine.footprint();
  sweep(machine, 0, BOOT);
  const refused = (slot: { gfn: number; pages: number; hva?: number }): void => {
    const { error, change } = machine.setMemslot("vm", 1, slot);
    assert.equal([error, change], ["ENOMEM", null]);
    machine.check();
  };
  refused({ gfn: 2 ** 20, pages: 2 ** 30 }); // its page-table entries alone are more than the 4 GiB of the core
  refused({ gfn: 1000, pages: BOOT, hva: HVA + 10 * PAGE }); // the process maps a part of it
  assert.is(machine.footprint().bytes, bytes);
  assert.is(sweep(machine, 0, BOOT), 0);

  const fixed: [Partial<Vm>, Partial<Scenario>][] = [[{ mmu: "legacy", hostPaging: "writepage-2007" }, {}]];
  for (const [vm, others] of fixed) {
    const other = await machineOf(vm, others);
    assert.is(other.setMemslot("vm", 1, { gfn: 4096, pages: 16 }).error, "ENOMEM");
    other.check();
  }
});

test("advice reaches a slot that came later", async () => {
  const machine = await machineOf();
  machine.setMemslot("vm", 1, { gfn: 3000, pages: 16 });
  sweep(machine, 3000, 16);
  assert.throws(
    () => machine.advise("vm", "cold", { gfn: 2999 }),
    /in no memslot\. Allowed: 0\.\.63, 3000\.\.3015/,
  );
  machine.advise("vm", "dontneed", { gfn: 3000, pages: 16 });
  assert.is(machine.result().vms[0]!.memory.residentPages, 0);
  machine.check();
});

test.run();
