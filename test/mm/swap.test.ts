// At stake: what happens to a swap slot while somebody is busy with it, where the random machines (model.test.ts) seldom come. The
// plain model says whether a machine meets the situation, the asserts of the debug core whether it stands it.

import { readFileSync } from "node:fs";
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { Core } from "#dist/core.js";
import { resolveScenario, type Scenario } from "#dist/scenario.js";
import { boot } from "../reference/agree.js";
import type { Case } from "../reference/cases.js";
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

function caseOf(swap: NonNullable<Scenario["host"]["swap"]>, guests: Guest[], accesses: number): Case {
  const scenario: Scenario = {
    seed: 0,
    host: { memory: HOST_PAGES * PAGE_BYTES, cpus: 1, quantum: 1, swap },
    costs: CHEAP,
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
  const disk = { servers: 1, rotational: true, readNs: 1 };
  const subject = caseOf(
    [
      { ...disk, size: 12 * PAGE_BYTES, writeNs: 19_114 },
      {
        ...disk,
        size: 15 * PAGE_BYTES,
        writeNs: 1,
        servers: 4,
        priority: 0,
        readBytesPerUs: 4990,
        writeBytesPerUs: 4990,
      },
    ],
    [
      {
        pages: 13,
        limit: 7,
        vcpus: [
          [3000, "w2-4 w6 w8-12 r0 w1-2 w8"],
          [250, "w10 w9 w9 w1 w12 r0 w1-12 r0 w1-12 r0 w1 r0"],
        ],
      },
      {
        pages: 10,
        limit: 3,
        vcpus: [
          [0, "w2 w9 r0 w1-9 r0"],
          [0, "r0-9"],
        ],
      },
      { pages: 9, limit: 3, vcpus: [[0, "w1 w4 w7 r0-1"]] },
    ],
    100,
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

test.run();
