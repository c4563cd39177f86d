// At stake: what every design promises, whatever its figures: no page with live contents is dropped; what was taken off the free lists comes
// back; what the host knows is not told again; and the host drops exactly what it is told, in that order.

import { test } from "uvu";
import * as assert from "uvu/assert";
import { Machine } from "#dist/index.js";
import type { Scenario } from "#dist/scenario.js";
import { Zones } from "../mm/zones.js";
import { create, debugModule, type Task, type Vm, vmOf } from "../scenes.js";

type FreePages = NonNullable<NonNullable<Vm["guest"]>["freePages"]>;

const second = 1_000_000_000;
const DESIGNS: FreePages[] = [
  { design: "hinting-2019" },
  { design: "hinting-2019", arrayEntries: 50 },
  { design: "hinting-2019-min-order", minOrder: 4, arrayEntries: 50 },
  { design: "reporting" },
  { design: "oracle" },
];
const nameOf = ({ design, arrayEntries }: FreePages): string =>
  arrayEntries === undefined ? design : `${design} with ${arrayEntries} places`;

/** Orders 9 and 10. */
const LARGE = [0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1];
/** Steps of allocating and freeing under each design, each of one page; GIVEBACK_STEPS=1000000 for as many. */
const STEPS = Number(process.env.GIVEBACK_STEPS ?? 100_000);

for (const freePages of DESIGNS) {
  test(`${nameOf(freePages)}: no page with live contents is dropped`, async () => {
    const tasks: Task[] = [
      // An access is an allocation of a page, or its free.
      { workload: { kind: "churn", pages: 3000, freed: 0.6, accesses: STEPS } },
      { workload: { kind: "process", pages: 1500, repeat: Math.ceil(STEPS / 6000), pause: "2ms" } },
      // Blocks that are large enough for every design, not counted.
      { workload: { kind: "churn", pages: 3072, orders: LARGE, freed: 1, pause: "3ms", accesses: STEPS } },
    ];
    const scenario: Scenario = {
      host: { memory: "24MiB", swap: [{ kind: "zram-lz4", size: "256MiB" }] },
      costs: { reportDelayNs: "1ms" },
      check: { integrity: true },
      vms: [{ name: "db", memory: "144MiB", guest: { freePages, tasks } }],
    };
    const { status, vms } = (await create(scenario)).run();
    const { integrity, freePages: figures } = vms[0]!;
    assert.is(status, "done");
    assert.equal([integrity.lostWrites, integrity.staleReads], [0, 0]);
    // Each page that was freed had been allocated; the large blocks are half of their accesses.
    assert.ok(2 * figures.freed - STEPS >= STEPS, `${figures.freed} pages`);
    assert.ok(integrity.checked >= STEPS / 3, `${integrity.checked} reads`);
    assert.ok(figures.discarded > STEPS / 50, `${figures.discarded} pages`);
  });
}

/** A guest that frees all that it has used, 30,000 pages, and then does nothing. */
function once(freePages: FreePages): Scenario {
  const tasks: Task[] = [
    { name: "job", workload: { kind: "process", pages: 30_000 } },
    { name: "idle", workload: { kind: "compute", time: "100s" } },
  ];
  return { host: { memory: "512MiB" }, vms: [{ name: "db", memory: "192MiB", guest: { freePages, tasks } }] };
}

for (const freePages of [...DESIGNS, { design: "hinting-2019", arrayEntries: 20 } as const]) {
  test(`${nameOf(freePages)}: what was isolated comes back, and nothing is told twice`, async () => {
    const machine = await Machine.create(once(freePages), { module: await debugModule });
    machine.run({ time: 8 * second });
    const { freePages: told, guestMemory } = vmOf(machine.result());
    const { frames } = machine.inspect({ vm: "db" }).guest!;
    const untold = await create(once({ design: "off" }));
    untold.run({ time: 8 * second });
    const expected = untold.inspect({ vm: "db" }).guest!.frames;
    assert.is(frames.isolated, 0);
    assert.is(frames.free + frames.perCpu, expected.free + expected.perCpu);
    assert.is(frames.free, guestMemory.freePages);
    if (freePages.design === "reporting" || freePages.arrayEntries === 20)
      assert.ok(told.isolatedPeakPages > 0);
    machine.run({ time: 60 * second });
    assert.equal(vmOf(machine.result()).freePages, told);
    machine.check();
  });
}

/** The ranges that the host drops, as [first page, pages], the first page counted from that of the first range. */
function dropped(machine: Machine): [number, number][] {
  const hex = /mmu notifier unmap range: 0x([0-9a-f]+) -- 0x([0-9a-f]+)/g;
  const pages = [...machine.traceText().matchAll(hex)].map(([, start, end]) => [
    Number(BigInt(`0x${start}`) / 4096n),
    Number(BigInt(`0x${end}`) / 4096n),
  ]);
  return pages.map(([start, end]) => [start! - pages[0]![0]!, end! - start!]);
}

/** An allocator of its own, as that of a guest of 192 MiB begins. */
function fresh(): Zones {
  const zones = [
    { index: 0, start: 1024, pages: 4096, marks: [29, 36, 43] as const },
    { index: 1, start: 1024 + 4096, pages: 45_056, marks: [345, 431, 517] as const },
  ];
  return new Zones(zones, 1, {}, (call) => call.reportCaseBegin!(9) | call.balloonCaseBegin!(0));
}

const idle = (more: object): Scenario => ({
  host: { memory: "512MiB" },
  trace: { events: ["kvm_unmap_hva_range"], capacity: 8192 },
  vms: [
    {
      name: "db",
      memory: "192MiB",
      guest: { tasks: [{ workload: { kind: "compute", time: "5s" } }], ...more },
    },
  ],
});

test("the host drops the blocks of each report in the order of the request", async () => {
  const zones = fresh();
  zones.call.reportCasePass!();
  const expected: [number, number][] = [];
  for (let blocks = zones.call.reportCaseStep!(0); blocks !== 0; blocks = zones.call.reportCaseStep!(0)) {
    const words = zones.words(zones.call.reportCaseRequest!(), 2 * blocks);
    for (let block = 0; block < blocks; block++)
      expected.push([words[2 * block]!, 2 ** words[2 * block + 1]!]);
  }
  assert.is(expected.length, 44);
  const machine = await create(idle({ freePages: { design: "reporting" } }));
  machine.run({ time: 4 * second });
  const [first] = expected[0]!;
  assert.equal(
    dropped(machine),
    expected.map(([pfn, pages]) => [pfn - first, pages]),
  );
});

test("the host drops the pages of each inflation in the order of the request, and none of a deflation", async () => {
  const zones = fresh();
  const expected: number[] = [];
  while (expected.length < 2048) {
    const pages = zones.call.balloonCaseFill!(0, 256);
    expected.push(...zones.words(zones.call.balloonCaseRequest!(), pages));
  }
  const machine = await create(idle({ balloon: { target: "8MiB" } }));
  machine.run({ time: 1 * second });
  const all = expected.map((pfn) => [pfn - expected[0]!, 1]);
  assert.equal(dropped(machine), all);
  const fork = machine.fork({ set: { "vms.db.guest.balloon.target": "4KiB" } });
  fork.run({ time: 1 * second });
  assert.is(vmOf(fork.result()).balloon.deflated, 2047);
  assert.equal(fork.traceCounts().kvm_unmap_hva_range, 2048);
});

test.run();
