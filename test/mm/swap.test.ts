// At stake: what happens to a swap slot while somebody is busy with it, where the random machines (model.test.ts) seldom come. The
// plain model says whether a machine meets the situation, the asserts of the debug core whether it stands it.

import { readFileSync } from "node:fs";
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { Core } from "#dist/core.js";
import { resolveScenario, type Scenario } from "#dist/scenario.js";
import { boot } from "../reference/agree.js";
import { BARE_METAL, type Case } from "../reference/cases.js";
import { ReferenceMachine } from "../reference/machine.js";

const PAGE_BYTES = 4096;
const HOST_PAGES = 20_000;
const CHEAP = {
  vmExitNs: 1,
  memDramNs: 1,
  tlbWalk2dNs: 1,
  minorFaultNs: 1,
  eptMapNs: 1,
  swapInCpuNs: 1,
  swapOutCpuNs: 1,
  swapCacheHitNs: 1,
  tlbFlushAllNs: 1,
  shootdownBaseNs: 1,
  shootdownPerCpuNs: 1,
  notifierInvalidateNs: 1,
  rmapPerSpteNs: 1,
  ageRmapPageNs: 1,
  reclaimScanPageNs: 1,
  hostSwitchNs: 1,
};

const BANDWIDTH = { readBytesPerUs: 2674, writeBytesPerUs: 2674 };

interface Guest {
  pages: number;
  limit: number;
  /** By vCPU: think time, and pages as "w3" or "r3", "w3-5" for three of them. */
  vcpus: [number, string][];
}

function words(accesses: string): Uint32Array {
  return Uint32Array.from(
    accesses.split(" ").flatMap((each) => {
      const [first, last] = each.slice(1).split("-").map(Number);
      const bit = each.startsWith("w") ? 0x8000_0000 : 0;
      return Array.from({ length: (last ?? first!) - first! + 1 }, (_, index) => first! + index + bit);
    }),
  );
}

function caseOf(
  swap: NonNullable<Scenario["host"]["swap"]>,
  guests: Guest[],
  accesses: number,
  {
    host = {},
    costs = CHEAP,
  }: { host?: Partial<Scenario["host"]>; costs?: NonNullable<Scenario["costs"]> } = {},
): Case {
  const scenario: Scenario = {
    seed: 0,
    host: { memory: HOST_PAGES * PAGE_BYTES, cpus: 1, quantum: 1, swap, ...host },
    costs,
    vms: guests.map(({ pages, limit, vcpus }, vm) => ({
      name: `vm${vm}`,
      memory: pages * PAGE_BYTES,
      memoryMax: limit * PAGE_BYTES,
      vcpus: vcpus.length,
      tlb: { entries: 1, ways: 1 },
      guest: {
        tasks: vcpus.map(([thinkTime], vcpu) => ({
          vcpu,
          region: "all",
          workload: { kind: "trace", file: `${vm}.${vcpu}`, loop: true, thinkTime },
        })),
      },
    })),
    check: { integrity: true },
  };
  const streams = guests.map(({ vcpus }) => vcpus.map(([, text]) => words(text)));
  return { scenario: resolveScenario(scenario), streams, accesses };
}

function debugCore(subject: Case): Core {
  const path = new URL("../../../build/debug.wasm", import.meta.url);
  return boot(new WebAssembly.Module(readFileSync(path)), subject);
}

test("a slot that another VM takes while a page for it is allocated is not read ahead", () => {
  const disk = { servers: 2, rotational: true, readNs: 1, writeNs: 1 };
  const subject = caseOf(
    [
      { ...disk, size: 59 * PAGE_BYTES },
      { ...disk, size: 47 * PAGE_BYTES },
    ],
    [
      {
        pages: 36,
        limit: 17,
        vcpus: [
          [
            0,
            "r32-35 r30-35 r29-35 w17-35 w30-35 r14 r16 w8 w9 w35 w18-35 r30 r2-23 r34 w19 r22-33 w20 r9-18",
          ],
          [250, "w16 r34 r2-9 r31-35 w10-19 w9 r28-35 w19 w3 w28 w23-28 w17-30 w9-16 w6 w32 w0 w0"],
        ],
      },
      {
        pages: 38,
        limit: 16,
        vcpus: [
          [500, "w24-30 w32-37 w19-29 w30-37 w13-15 r32 w5-12 w25-33 w33-37 r14-16 w19-34 w29-37 w30 r12"],
          [250, "r29 r24-26 w3-12 w24-26 r12-28 w5-18 w8-9 r14 r17 r35-37 r36 r2-5 w21 w0 w12 w33"],
        ],
      },
      {
        pages: 36,
        limit: 26,
        vcpus: [
          [250, "r33-35 w4-14 w15 w10 w18-34 r25-35 w22 r32 w28 w16-35 w8 r1 r10-17"],
          [
            0,
            "w10-22 w8 r27 r2-18 r12-30 w13 w18 w15-31 w29-34 w11-29 w6-27 r33-35 w3 w30-35 r29-35 r7 r2 w2 w15",
          ],
        ],
      },
    ],
    360,
  );
  const model = new ReferenceMachine(subject.scenario, subject.streams);
  model.run(subject.accesses);
  assert.ok(model.host.swap.met.slotsChangedHands > 0, "the model met it");

  const core = debugCore(subject);
  core.call.machineRun(subject.accesses, 1_000_000);
  core.call.checkAll();
});

test("areas of equal priority whose last free slot the scan passes over do not follow each other for ever", () => {
  // A scan without a cluster begins behind the CPU's start, which in an area of one slot is that slot.
  const tiny = { size: PAGE_BYTES, priority: 1, readNs: 1, writeNs: 1, servers: 1 };
  const subject = caseOf(
    [tiny, tiny, { ...tiny, size: 100 * PAGE_BYTES, priority: 0 }],
    [{ pages: 60, limit: 24, vcpus: [[0, "w0-59"]] }],
    120,
  );
  const core = debugCore(subject);
  const accesses = core.constant("STOP_ACCESSES");
  assert.is(core.call.machineRun(subject.accesses, 1_000_000), accesses);
  core.call.checkAll();
  const used = [0, 1, 2].map((type) => {
    core.call.reportDevice(type);
    return core.f64(core.call.reportTable(), 128)[core.constant("REPORT_DEVICE_SLOTS_USED")]!;
  });
  assert.equal(used.slice(0, 2), [0, 0]);
  assert.ok(used[2]! > 0, "the area behind them is used");
});

test("a swap-in that starts over goes on at once", () => {
  // Nothing can come between the look that finds the pte changed and the next one: a turn given up there lets the other vCPU's
  // reclaim age the page first.
  const subject = caseOf(
    [
      { size: 12 * PAGE_BYTES, rotational: true, readNs: 1, writeNs: 5474, servers: 1, ...BANDWIDTH },
      { size: 16_000 * PAGE_BYTES, rotational: false, readNs: 1, writeNs: 53_127, servers: 1 },
    ],
    [
      {
        pages: 56,
        limit: 3,
        vcpus: [
          [0, "r0-55 r0"],
          [0, `${"r10 ".repeat(5)}${"r11 ".repeat(14)}r7-9 r12-14 r7-9 r0-55`],
        ],
      },
    ],
    38,
    { host: { cpus: 2, reclaim: { swappiness: 1, pageClusterPages: 1 } }, costs: BARE_METAL },
  );
  const model = new ReferenceMachine(subject.scenario, subject.streams);
  const core = debugCore(subject);
  const row = core.f64(core.call.reportTable(), 128);
  for (let made = 1; made <= subject.accesses; made++) {
    model.run(1);
    core.call.machineRun(1, 1_000_000);
    core.call.checkAll();
    core.call.reportHost();
    assert.is(row[core.constant("REPORT_HOST_NOW")], model.now, `time after access ${made}`);
    for (const [gfn, pte] of model.vms[0]!.ptes) {
      if (pte.page === null) continue;
      core.call.reportPage(0, gfn);
      const got = row[core.constant("REPORT_PAGE_ACCESSED")];
      assert.is(got, Number(pte.accessed), `accessed bit of gfn ${gfn} after access ${made}`);
    }
  }
});

test.run();
