// At stake: what the host gets of a guest's free memory, and what the guest pays. The story of free page hinting and its review, step by
// step, and what replaced it.

import { test } from "uvu";
import * as assert from "uvu/assert";
import type { VmResult } from "#dist/result.js";
import type { Scenario } from "#dist/scenario.js";
import { create, type Task, type Vm, vmOf } from "../scenes.js";

type Design = "off" | "hinting-2019" | "hinting-2019-min-order" | "reporting" | "oracle";

const second = 1_000_000_000;

/** One guest of `memory` on a host with room for it. */
function guest(design: Design, memory: string, tasks: Task[], others: Partial<Vm> = {}, host = {}): Scenario {
  const { guest: more, ...rest } = others;
  return {
    host: { memory: "512MiB", ...host },
    vms: [{ name: "db", memory, ...rest, guest: { freePages: { design }, tasks, ...more } }],
  };
}

const process = (pages: number, others = {}): Task["workload"] => ({ kind: "process", pages, ...others });

/** Tasks that end `pages` pages' worth of frees, then nothing for `idle`. */
const thenIdle = (workload: Task["workload"], idle: string): Task[] => [
  { name: "job", workload },
  { name: "idle", start: { after: "db/job" }, workload: process(1, { repeat: 2, pause: idle }) },
];

test("hinting: what 1000 frees leave of a region is a few large blocks, and nothing is told", async () => {
  const { freePages } = vmOf(
    (await create(guest("hinting-2019", "64MiB", [{ workload: process(8000) }]))).run(),
  );
  assert.is(freePages.captured, 8000);
  assert.is(freePages.dropped, 0);
  // The scans find the pages inside blocks and keep one place a block, so the array fills much slower than pages are freed.
  assert.ok(freePages.scans >= 7 && freePages.scans <= 10, `${freePages.scans} scans`);
  assert.is(freePages.requests, 0);
  assert.is(freePages.neverReported, 8000);
});

test("hinting: frees that come while the thread is at work are forgotten", async () => {
  const churn = { kind: "churn" as const, pages: 12_000, freed: 0.5, accesses: 60_000 };
  const { freePages } = vmOf((await create(guest("hinting-2019", "64MiB", [{ workload: churn }]))).run());
  assert.ok(freePages.requests > 0);
  assert.ok(freePages.dropped > 0);
  assert.is(freePages.captured + freePages.dropped, freePages.freed);
  assert.ok(freePages.isolatedPeakPages > 0);
  assert.ok(freePages.scanNs > 0);
});

test("the review: scattered frees cost a request for a few pages of 4 KiB; blocks of a least order are hardly there", async () => {
  const churn = { kind: "churn" as const, pages: 32_768, freed: 0.001 };
  const run = async (design: Design, minOrder?: number): Promise<VmResult["freePages"]> => {
    const scenario = guest(design, "256MiB", [{ workload: churn }]);
    if (minOrder !== undefined) scenario.vms[0]!.guest!.freePages = { design, minOrder };
    return vmOf((await create(scenario)).run({ accesses: 150_000 })).freePages;
  };
  const hinting = await run("hinting-2019");
  assert.ok(hinting.requests > 20, `${hinting.requests} requests`);
  assert.ok(hinting.pagesReported / hinting.requests < 20, `${hinting.pagesReported} pages`);
  assert.ok(hinting.pagesByOrder[0]! > 0.9 * hinting.pagesReported);
  assert.ok(
    hinting.released < 0.1 * hinting.freed,
    "most pages are in use again before the thread comes to them",
  );
  for (const minOrder of [9, 10]) assert.is((await run("hinting-2019-min-order", minOrder)).requests, 0);
  const oracle = await run("oracle");
  assert.equal([oracle.requests, oracle.released], [0, oracle.freed]);
});

test("hinting: more blocks than the second array has places stop the run, and the violation says so", async () => {
  const tasks: Task[] = [
    // 999 blocks of 8 pages wait in the array of vCPU 0.
    {
      name: "first",
      vcpu: 0,
      workload: { kind: "churn", pages: 7992, orders: [0, 0, 0, 1], accesses: 7992 },
    },
    // Their memory is taken by single pages, half of which are freed again.
    {
      name: "second",
      vcpu: 1,
      start: { after: "db/first" },
      workload: { kind: "churn", pages: 7400, freed: 0.5, pause: "10s" },
    },
    // A few more frees on vCPU 0: its thread finds several free blocks for each entry.
    { name: "third", vcpu: 0, start: { after: "db/first", delay: "2s" }, workload: process(300) },
  ];
  const machine = await create(guest("hinting-2019", "36MiB", tasks, { vcpus: 2 }));
  const { status, violations } = machine.run();
  assert.is(status, "violation");
  assert.equal(
    violations!.map(({ kind, vm, vcpu }) => [kind, vm, vcpu]),
    [["arrayOverflow", "db", 0]],
  );
  assert.ok(violations![0]!.gfn < 9216);
});

test("reporting: off and on give out the same frames until the first request", async () => {
  const tasks = thenIdle(process(15_000), "5s");
  const upTo = async (design: Design, time: number): Promise<[digest: string, gfns: string[]]> => {
    const trace = { events: ["kvm_mmu_spte_requested"], capacity: 65_536 };
    const machine = await create({ ...guest(design, "128MiB", tasks), trace });
    const { digest } = machine.run({ time });
    return [digest, [...machine.traceText().matchAll(/gfn [0-9a-f]+/g)].map(([gfn]) => gfn)];
  };
  const before = 1.9 * second;
  const off = await upTo("off", before);
  const reporting = await upTo("reporting", before);
  assert.ok(off[1].length >= 15_000, `${off[1].length} faults`);
  assert.equal(reporting, off);
  assert.is.not((await upTo("reporting", 3 * second))[0], (await upTo("off", 3 * second))[0]);
});

test("reporting: the host drops every block of every request, in order, and nothing is told twice", async () => {
  const scenario = guest("reporting", "192MiB", thenIdle(process(20_000), "4s"));
  const machine = await create({ ...scenario, trace: { events: ["kvm_unmap_hva_range"], capacity: 4096 } });
  machine.run({ time: 9 * second });
  const { freePages, memory } = vmOf(machine.result());
  const ranges = machine
    .traceText()
    .split("\n")
    .flatMap((line) => [
      ...line.matchAll(/start: (?:0x)?([0-9a-f]+), end: (?:0x)?([0-9a-f]+)|0x([0-9a-f]+) -- 0x([0-9a-f]+)/g),
    ])
    .map(([, a, b, c, d]) => Number(BigInt(`0x${b ?? d}`) - BigInt(`0x${a ?? c}`)) / 4096);
  assert.is(ranges.length, freePages.blocks);
  assert.is(
    ranges.reduce((sum, pages) => sum + pages, 0),
    freePages.pagesReported,
  );
  assert.ok(freePages.released > 19_000 && memory.residentPages < 1000, `${freePages.released} released`);

  machine.run({ time: 6 * second });
  assert.is(vmOf(machine.result()).freePages.requests, freePages.requests);
});

test("reporting: a discard frees frames and swap slots, and the next touch is a fault that finds zeroes", async () => {
  const scenario = guest(
    "reporting",
    "192MiB",
    [
      { name: "job", workload: process(20_000) },
      { name: "again", start: { after: "db/job", delay: "6s" }, workload: process(20_000, { writes: 0 }) },
    ],
    { memoryMax: "40MiB" },
    { swap: [{ kind: "nvme" as const, size: "256MiB" }] },
  );
  const machine = await create({ ...scenario, check: { integrity: true } });
  machine.run({ time: 1 * second });
  const swapped = machine.result().host.swap.slotsUsed;
  assert.ok(swapped > 8000, `${swapped} slots`);
  machine.run({ time: 5 * second });
  const idle = machine.result();
  assert.ok(idle.host.swap.slotsUsed < 500, `${idle.host.swap.slotsUsed} slots`);
  assert.ok(vmOf(idle).memory.residentPages < 1000);
  const again = machine.run();
  assert.ok(vmOf(again).faults.minor.count >= 19_000);
  assert.is(vmOf(again).faults.major.count < 500, true);
  assert.is(vmOf(again).integrity.lostWrites, 0);
});

test("the balloon: inflated to its target, deflated by a fork, 256 pages a request", async () => {
  const scenario = guest("off", "64MiB", [{ workload: process(1, { repeat: 3, pause: "2s" }) }], {
    guest: { balloon: { target: "16MiB" } },
  });
  const machine = await create(scenario);
  machine.run({ time: 1 * second });
  const { balloon, guestMemory } = vmOf(machine.result());
  assert.equal(balloon, { pages: 4096, requests: 16, inflated: 4096, deflated: 0, deflatedOnOom: 0 });
  const fork = machine.fork({ set: { "vms.db.guest.balloon.target": "1MiB" } });
  fork.run({ time: 1 * second });
  const after = vmOf(fork.result());
  assert.equal(after.balloon, { pages: 256, requests: 31, inflated: 4096, deflated: 3840, deflatedOnOom: 0 });
  assert.ok(after.guestMemory.freePages >= guestMemory.freePages + 3840 - 512);
});

test("a guest out of memory kills the task, and the page cache goes first", async () => {
  const cache: Task = { name: "cache", workload: { kind: "pagecache", pages: 3500 } };
  const late: Task = { start: "40ms", workload: process(2500) };
  const fits = vmOf((await create(guest("off", "16MiB", [cache, late]))).run());
  assert.ok(fits.guestMemory.cacheDropped > 1000);
  assert.equal(
    fits.tasks.map(({ killed }) => killed),
    [false, false],
  );
  const over = vmOf((await create(guest("off", "16MiB", [{ workload: process(5000) }]))).run());
  assert.equal([over.tasks[0]!.killed, over.guestMemory.killed], [true, 1]);
  assert.ok(over.tasks[0]!.accesses < 4096);
});

test("a guest that poisons free pages does not report them", async () => {
  const scenario = guest("reporting", "192MiB", thenIdle(process(20_000), "4s"));
  scenario.vms[0]!.guest!.freePages = { design: "reporting", pagePoison: true };
  assert.is(vmOf((await create(scenario)).run()).freePages.requests, 0);
});

test.run();
