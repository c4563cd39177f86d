// The paths that an access can take, and for each a scenario in which (nearly) every access takes that one. A row is a line of this
// table: to add a path, add a line. Whether the accesses were on their path is told by counters of other parts than the one that counts
// faults, and a test holds every row to 95 %.

import type { FaultName } from "#dist/counters.js";
import type { Scenario } from "#dist/index.js";
import { type Change, type Rig, STREAM } from "./rig.js";
import { concat, pass } from "./streams.js";

export interface PathRow {
  path: string;
  /** How the path is isolated. */
  how: string;
  scenario: (pages: number) => Scenario;
  /** The accesses of the whole run; at least as many as are made. */
  stream: (pages: number) => Uint32Array;
  /** Brings a booted machine to where the measured accesses begin. */
  prepare: (rig: Rig, pages: number) => void;
  /** Measured accesses. */
  accesses: (pages: number) => number;
  /** Kind that the path's faults are counted as; a TLB miss is no fault. */
  kind: FaultName | "tlbMiss";
  /** Of the measured accesses, those that took the path. */
  onPath: (change: Change) => number;
}

type Device = "zram-lz4" | "nvme" | "hdd";

interface Limits {
  swap?: Swap;
  /** memory.max in pages. */
  memoryMax?: number;
}

type Swap = Omit<NonNullable<Scenario["host"]["swap"]>[number], "size">[];

// Pages beyond those that are measured; touching one of them makes the cgroup reclaim.
const SPARE_PAGES = 64;
const PAGE_BYTES = 4096;
// A device takes 1,023 writes before reclaim waits for it: 16 of them hold a quarter of 65,536 pages in the swap cache, for as
// long as no write ends.
const SLOW_DISKS: Swap = Array.from({ length: 16 }, () => ({ kind: "hdd", writeNs: "1s", priority: 0 }));

function one(pages: number, { swap = [], memoryMax }: Limits = {}): Scenario {
  const memory = (pages + SPARE_PAGES) * PAGE_BYTES;
  return {
    host: {
      memory: 2 * memory + 2 ** 24,
      swap: swap.map((device) => ({ ...device, size: 2 * memory })),
    },
    vms: [
      {
        name: "guest",
        memory,
        ...(memoryMax !== undefined && { memoryMax: memoryMax * PAGE_BYTES }),
        guest: { tasks: [{ workload: { kind: "trace", file: STREAM } }] },
      },
    ],
  };
}

const once = (pages: number): number => pages;

function written(pages: number): Uint32Array {
  return pass(0, pages, true);
}

/** Every page written, then one page more, then every page read. */
function writtenThenRead(pages: number): Uint32Array {
  return concat(written(pages), pass(pages, pages + 1, true), pass(0, pages, false));
}

/** Touches all pages, then one more under a limit of `keep` pages, so that the rest is reclaimed; then nothing is limited. */
function reclaimedDownTo(rig: Rig, pages: number, keep: number): void {
  rig.run(pages);
  rig.limit(keep);
  rig.run(1);
  rig.limit(undefined);
}

const cacheHits = ({ swappedPages, swapIns }: Change): number => -swappedPages - swapIns;

// Swap-in from `device` with free memory at hand.
function swapIn(device: Device, name: string): PathRow {
  return {
    path: `swap-in, ${name}`,
    how: `All but a few pages reclaimed to ${name}, the limit lifted, then read in order.`,
    scenario: (pages) => one(pages, { swap: [{ kind: device }] }),
    stream: writtenThenRead,
    prepare: (rig, pages) => reclaimedDownTo(rig, pages, SPARE_PAGES),
    accesses: once,
    kind: "major",
    onPath: ({ deviceReads }) => deviceReads,
  };
}

// The same at the limit: each page that comes in needs room, and every 32nd fault reclaims it.
function swapInAtLimit(device: Device, name: string): PathRow {
  return {
    path: `swap-in at the limit, ${name}`,
    how: `Memory for half of the pages, which are written in order again and again; room is made by the faults.`,
    scenario: (pages) => one(pages, { swap: [{ kind: device }], memoryMax: pages / 2 }),
    stream: (pages) => concat(written(pages), written(pages), written(pages)),
    prepare: (rig, pages) => rig.run(2 * pages),
    accesses: once,
    kind: "major",
    onPath: ({ deviceReads }) => deviceReads,
  };
}

export const PATH_ROWS: readonly PathRow[] = [
  {
    path: "TLB miss",
    how: "Every page resident and mapped, read in order: more pages than the TLB has entries.",
    scenario: (pages) => one(pages),
    stream: (pages) => concat(written(pages), ...Array.from({ length: 17 }, () => pass(0, pages, false))),
    prepare: (rig, pages) => rig.run(2 * pages),
    accesses: (pages) => 16 * pages,
    kind: "tlbMiss",
    onPath: ({ tlbMisses }) => tlbMisses,
  },
  {
    path: "EPT fault, page present",
    how: "Every page resident, all sptes dropped, then read in order.",
    scenario: (pages) => one(pages),
    stream: (pages) => concat(written(pages), pass(0, pages, false)),
    prepare: (rig, pages) => {
      rig.run(pages);
      rig.zapAll();
    },
    accesses: once,
    kind: "minor",
    // Counted as minor and neither new to the host nor brought back by it.
    onPath: (change) => change.faults.minor.count - change.firstTouches - cacheHits(change),
  },
  {
    path: "first touch",
    how: "Every page written for the first time, in order.",
    scenario: (pages) => one(pages),
    stream: written,
    prepare: () => {},
    accesses: once,
    kind: "minor",
    onPath: ({ firstTouches }) => firstTouches,
  },
  {
    path: "swap-cache hit",
    how: "Reclaim has unmapped pages and submitted their writes to disks that take a second; the limit is lifted, they are read.",
    scenario: (pages) => one(pages, { swap: SLOW_DISKS }),
    stream: writtenThenRead,
    prepare: (rig, pages) => reclaimedDownTo(rig, pages, pages),
    // The oldest pages, which reclaim took first.
    accesses: (pages) => pages / 4,
    kind: "minor",
    onPath: cacheHits,
  },
  swapIn("zram-lz4", "zram"),
  swapIn("nvme", "nvme"),
  swapIn("hdd", "hdd"),
  swapInAtLimit("zram-lz4", "zram"),
  swapInAtLimit("nvme", "nvme"),
];
