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
      { ...disk, size: 42 * PAGE_BYTES },
      { ...disk, size: 50 * PAGE_BYTES },
    ],
    [
      {
        pages: 40,
        limit: 17,
        vcpus: [
          [250, "w0-2 w3 w0 w2 r2 w36-39 w5-27"],
          [250, "r31 r15-27 w39 w38 r4-7 r25 w10-29"],
        ],
      },
      {
        pages: 41,
        limit: 25,
        vcpus: [[250, "w5-15 r30 r39 w28-39 w3-9 w16-39 r10 r28 w9 r11-31 w30-40 w4-13 w28-34 w12"]],
      },
      {
        pages: 33,
        limit: 20,
        vcpus: [
          [0, "w3 r28 w22-32 w13-21 r10 r23 w15 w24-32 r11-24 w7-19 w17-32"],
          [250, "w23 r0-21 w18 w13 w28-32 w18 w6-10 r6 w27-28 w26"],
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
