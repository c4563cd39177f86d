// At stake: the figures of a guest that gives memory back. Each is provoked by a guest of which it is known, to the page, what it frees and
// when: a churn that takes all blocks of 4 MiB, writes them, frees them, rests, and takes them again.

import { test } from "uvu";
import * as assert from "uvu/assert";
import type { VmResult } from "#dist/result.js";
import type { Scenario } from "#dist/scenario.js";
import { create, type Vm, vmOf } from "../scenes.js";

type FreePages = NonNullable<NonNullable<Vm["guest"]>["freePages"]>;
type Figures = VmResult["freePages"];

const second = 1_000_000_000;
const BLOCK = 1024;

/** 192 MiB: a zone DMA of 4 blocks, and DMA32 of 44. */
function blocks(freePages: FreePages, costs: Scenario["costs"] = {}): Scenario {
  const orders = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
  const churn = { kind: "churn" as const, pages: 48 * BLOCK, orders, freed: 1 };
  return {
    host: { memory: "256MiB" },
    costs,
    vms: [
      {
        name: "db",
        memory: "192MiB",
        guest: { freePages, tasks: [{ workload: { ...churn, pause: "4s" } }] },
      },
    ],
  };
}

/** The figures after each of the churn's rounds, which take 4 s and a little. */
async function rounds(scenario: Scenario, count: number): Promise<VmResult[]> {
  const machine = await create(scenario);
  const after: VmResult[] = [];
  for (let round = 0; round < count; round++) {
    machine.run({ time: (round === 0 ? 3.5 : 4) * second });
    after.push(vmOf(machine.result()));
  }
  return after;
}

const difference = (figure: (vm: VmResult) => number, before: VmResult, after: VmResult): number =>
  figure(after) - figure(before);

test("requests, blocks, and pages by the order of their block", async () => {
  const [{ freePages }] = (await rounds(blocks({ design: "reporting" }), 1)) as [VmResult];
  // A zone DMA never has the 64 MiB above its low watermark that a pass asks for. Of the 44 others, 32 are one request.
  assert.equal([freePages.requests, freePages.blocks, freePages.pagesReported], [2, 44, 44 * BLOCK]);
  assert.equal(freePages.pagesByOrder, [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 44 * BLOCK]);
});

test("pages that are freed and never told: those of the zone that is not reported", async () => {
  const [{ freePages, guestMemory }] = (await rounds(blocks({ design: "reporting" }), 1)) as [VmResult];
  assert.is(guestMemory.freePages, 48 * BLOCK);
  assert.is(freePages.neverReported, freePages.freed - freePages.released);
  // The churn had 46 blocks: two have to stay for the watermarks, one of each zone.
  assert.equal([freePages.freed, freePages.neverReported], [46 * BLOCK, 3 * BLOCK]);
});

test("the time from a free to the host's release: that of the pass moves it, by exactly that", async () => {
  const mean = async (reportDelayNs: number): Promise<number> => {
    const [{ freePages }] = (await rounds(blocks({ design: "reporting" }, { reportDelayNs }), 1)) as [
      VmResult,
    ];
    return freePages.releaseMeanNs;
  };
  const two = await mean(2 * second);
  // The driver asks for its first pass when virtual time begins.
  assert.ok(two > 1.8 * second && two < 2 * second, `${two} ns`);
  // Moments are kept in units of 1,024 ns.
  assert.ok(Math.abs((await mean(3 * second)) - two - second) <= 1024);
});

test("time that the guest spends: for each block that is taken off its list, and for each probe of a scan", async () => {
  const taken = async (isolatePageNs: number): Promise<Figures> =>
    ((await rounds(blocks({ design: "reporting" }, { isolatePageNs }), 1)) as [VmResult])[0].freePages;
  assert.is((await taken(150)).scanNs, 44 * 150);
  assert.is((await taken(400)).scanNs, 44 * 400);
  const probes = async (memHitNs: number): Promise<Figures> => {
    const scenario = blocks({ design: "hinting-2019" }, { memHitNs });
    scenario.vms[0]!.guest!.tasks = [{ workload: { kind: "process", pages: 8000 } }];
    return vmOf((await create(scenario)).run()).freePages;
  };
  const cheap = await probes(2);
  assert.ok(cheap.scans > 0 && cheap.scanNs > 0);
  assert.is((await probes(6)).scanNs, 3 * cheap.scanNs);
});

test("free memory off its lists: a request of 32 blocks, or all that an array of hinting holds", async () => {
  const [reporting] = (await rounds(blocks({ design: "reporting" }), 1)) as [VmResult];
  assert.is(reporting.freePages.isolatedPeakPages, 32 * BLOCK);
  const [hinting] = (await rounds(blocks({ design: "hinting-2019", arrayEntries: 40 }), 1)) as [VmResult];
  const { requests, pagesReported, isolatedPeakPages } = hinting.freePages;
  assert.equal([requests, isolatedPeakPages], [1, pagesReported]);
});

for (const freePages of [
  { design: "reporting" },
  { design: "hinting-2019", arrayEntries: 40 },
  { design: "oracle" },
] as const) {
  test(`refaults under ${freePages.design}: what was dropped in one round is a fault in the next, page by page`, async () => {
    const [, second, third] = (await rounds(blocks(freePages), 3)) as [VmResult, VmResult, VmResult];
    // From the second round on every block of the guest has been used.
    const dropped = difference(
      (vm) => vm.freePages.discarded,
      ...((await rounds(blocks(freePages), 2)) as [VmResult, VmResult]),
    );
    const refaults = difference((vm) => vm.freePages.refaults, second, third);
    assert.ok(dropped >= 30 * BLOCK, `${dropped} pages`);
    assert.is(refaults, dropped);
    assert.is(
      difference((vm) => vm.faults.minor.count, second, third),
      refaults,
    );
  });
}

test("a host that is not told writes free pages to swap; one that is does not", async () => {
  const reclaimed = async (design: "off" | "reporting"): Promise<[out: number, whileFree: number]> => {
    const scenario = blocks({ design });
    scenario.host.swap = [{ kind: "nvme", size: "256MiB" }];
    scenario.events = [{ at: "5s", vm: "db", do: "memoryReclaim", size: "16MiB" }];
    scenario.vms[0]!.memoryMax = "256MiB";
    scenario.vms[0]!.guest!.tasks = [
      { name: "job", workload: { kind: "process", pages: 40_000 } },
      { name: "idle", workload: { kind: "compute", time: "6s" } },
    ];
    const { host, vms } = (await create(scenario)).run();
    return [host.swap.out, vms[0]!.freePages.swappedWhileFree];
  };
  const [out, whileFree] = await reclaimed("off");
  assert.ok(out >= 4096, `${out} pages`);
  assert.is(whileFree, out, "nothing but free pages");
  const [told, free] = await reclaimed("reporting");
  assert.ok(told <= 1024 && free === told, `${told} pages: what is left is less than a block`);
});

test.run();
