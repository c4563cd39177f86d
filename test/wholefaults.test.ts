// At stake: that the plain TypeScript which the bench sets beside the core's faults is the core's model, and not less. Both run the same scenario and stream; whatever a
// machine tells of it must be the same, down to the numbers of the slots.

import { test } from "uvu";
import * as assert from "uvu/assert";
import { coreModule } from "#dist/core.js";
import { type HostResult, Machine, type Scenario, type VmResult } from "#dist/index.js";
import type { WholeFaults, WholePage } from "../bench/baseline/wholefaults.js";
import { wholeFaults } from "../bench/ceiling/wholeguest.js";
import { Rig, STREAM } from "../bench/rig.js";
import { uniformStream, zipfStream } from "../bench/streams.js";

const PAGE = 4096;
const PAGES = 4096;
const PIECES = [1, 2, 1000, 20_000, 19_000];
const LENGTH = 45_000;

interface Case {
  name: string;
  frames: number;
  stream: Uint32Array;
  costs?: Scenario["costs"];
  readNs?: number;
  writeNs?: number;
  seed?: number;
  tlbEntries?: number;
  pages?: number;
  hostMiB?: number;
}

const CASES: Case[] = [
  { name: "zipf, swap that costs nothing", frames: 512, stream: zipfStream(LENGTH, PAGES, 0.99, 0.3) },
  { name: "uniform, swap that costs nothing", frames: 2048, stream: uniformStream(LENGTH, PAGES, 0.3) },
  {
    ...{ name: "zipf, prices of all kinds", frames: 1000, stream: zipfStream(LENGTH, PAGES, 0.8, 0.5) },
    costs: {
      ...{ swapInCpuNs: 911, swapOutCpuNs: 1513, vmExitNs: 517, eptMapNs: 703, notifierInvalidateNs: 257 },
      ...{ rmapPerSpteNs: 53, reclaimScanPageNs: 211, tlbFlushAllNs: 199, memDramNs: 101, tlbWalk2dNs: 59 },
      ...{ guestSwitchNs: 1301, minorFaultNs: 997 },
    },
    ...{ readNs: 1700, writeNs: 7001, seed: 7, tlbEntries: 64 },
  },
  {
    ...{ name: "uniform, faults that take as long as a disk's", frames: 3000 },
    ...{ stream: uniformStream(LENGTH, PAGES, 0.1), readNs: 3_000_000_000, writeNs: 1_000_003, seed: 12_345 },
  },
  {
    // Many stretches of slots, so that the scan draws where it goes on; a host of several batches of free frames.
    ...{ name: "uniform, a larger guest", frames: 4096, pages: 32_768, hostMiB: 600 },
    stream: uniformStream(LENGTH, 32_768, 0.4),
  },
];

function scenarioOf(row: Case): Scenario {
  const bytes = (row.pages ?? PAGES) * PAGE;
  const guest = {
    tasks: [{ prefault: true, workload: { kind: "trace" as const, file: STREAM, loop: true } }],
  };
  return {
    seed: row.seed ?? 1,
    host: {
      memory: (row.hostMiB ?? 48) * 2 ** 20,
      swap: [{ kind: "zram-lz4", size: 2 * bytes, readNs: row.readNs ?? 0, writeNs: row.writeNs ?? 0 }],
      reclaim: { policy: "clock" },
    },
    costs: row.costs ?? { swapInCpuNs: 0, swapOutCpuNs: 0 },
    vms: [
      {
        ...{ name: "guest", memory: bytes, memoryMax: row.frames * PAGE, guest },
        ...(row.tlbEntries !== undefined && { tlb: { entries: row.tlbEntries } }),
      },
    ],
  };
}

/** What a result of the machine says of what the plain model knows. */
function told(vm: VmResult, { memory, reclaim, swap, devices }: HostResult) {
  const { unmapped, retries } = vm.notifier;
  const { reads, writes, busyNs } = devices[0]!;
  const { scanned, reclaimedDirect } = reclaim;
  return {
    ...{ accesses: vm.accesses, memory: vm.memory, stall: vm.stall, faults: vm.faults },
    notifier: { unmapped, retries },
    host: {
      ...{ memory, swap, reclaim: { scanned, reclaimedDirect }, device: { reads, writes, busyNs } },
    },
  };
}

function untold(plain: WholeFaults) {
  const { accesses, memory, stall, faults, notifier, host } = plain.result();
  return { accesses, memory, stall, faults, notifier, host };
}

/** Numbers of frames are the machine's own: the same frame of the plain model is the same frame of the machine, always. */
class Frames {
  private readonly ours = new Map<number, number>();
  private readonly theirs = new Map<number, number>();

  same(pfn: number, frame: number): boolean {
    if (!this.ours.has(pfn) && !this.theirs.has(frame)) {
      this.ours.set(pfn, frame);
      this.theirs.set(frame, pfn);
    }
    return this.ours.get(pfn) === frame && this.theirs.get(frame) === pfn;
  }
}

type PageRecord = Pick<WholePage, "refs" | "maps" | "list" | "flags">;

function record({ refs, maps, list, flags }: PageRecord): PageRecord {
  return { refs, maps, list, flags: [...flags].sort() };
}

function comparePages(
  machine: Machine,
  plain: WholeFaults,
  pages: number,
  frames: Frames,
  step: number,
): void {
  for (let gfn = 0; gfn < pages; gfn += step) {
    const { sptes, frame, swap } = machine.inspect({ vm: 0, gfn });
    const page = plain.page(gfn);
    assert.is(page.mapped, sptes[0]!.spte !== "0x0", `gfn ${gfn}`);
    assert.is(page.slot, swap?.slot ?? null, `gfn ${gfn}`);
    assert.is(page.frame !== null, frame !== null, `gfn ${gfn}`);
    if (frame === null) continue;
    assert.equal(record(page), record(frame), `gfn ${gfn}`);
    assert.ok(frames.same(frame.pfn, page.frame!), `gfn ${gfn}: frames ${frame.pfn} and ${page.frame}`);
  }
}

for (const row of CASES) {
  test(`${row.name}: the plain model tells what the machine tells, and has the same pages in the same slots`, async () => {
    const module = await coreModule();
    const scenario = scenarioOf(row);
    const machine = await Machine.create(scenario, {
      module,
      files: { [STREAM]: new Uint8Array(row.stream.buffer) },
    });
    const plain = wholeFaults(scenario, module);
    const pages = row.pages ?? PAGES;
    const frames = new Frames();
    comparePages(machine, plain, pages, frames, 61);
    let at = 0;
    for (const [run, accesses] of PIECES.entries()) {
      const before = plain.result().virtualTimeNs;
      const { virtualTimeNs } = machine.run({ accesses });
      plain.run(row.stream, at, at + accesses);
      at += accesses;
      // The first run begins while the last page is being written.
      if (run > 0) assert.is(plain.result().virtualTimeNs - before, virtualTimeNs, `run ${run}`);
      const { vms, host } = machine.result();
      assert.equal(untold(plain), told(vms[0]!, host), `run ${run}`);
      assert.is(plain.result().virtualTimeNs, vms[0]!.tasks[0]!.runNs);
      comparePages(machine, plain, pages, frames, run === PIECES.length - 1 && pages === PAGES ? 5 : 61);
    }
    const { faults } = plain.result();
    assert.ok(faults.major.count > at / 8 && faults.writeProtect.count > 100, JSON.stringify(faults));

    const { free, perCpu, tables, inactive, active, batched } = machine.inspect().frames;
    assert.equal(plain.result().frames, { free, perCpu, tables, inactive, active, batched });
    const { events } = plain.result();
    const counts = Object.entries(machine.traceCounts()).filter(([, count]) => count > 0);
    assert.equal(Object.fromEntries(counts), Object.fromEntries(Object.entries(events).sort()));
  });

  test(`${row.name}: as many TLB misses, and every page that comes back is known`, async () => {
    const module = await coreModule();
    const scenario = scenarioOf(row);
    const rig = Rig.boot(module, scenario, row.stream);
    const plain = wholeFaults(scenario, module);
    const start = rig.read();
    rig.run(LENGTH);
    plain.run(row.stream, 0, LENGTH);
    const { tlbMisses, swapIns } = rig.since(start);
    assert.is(plain.result().tlbMisses, tlbMisses);
    // The list's length at the last update of the counters is 0, so none comes back soon enough.
    assert.equal(plain.result().workingset, { refaults: swapIns, activated: 0, restored: 0 });
  });
}

test.run();
