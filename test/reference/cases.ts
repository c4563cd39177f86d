// Random machines for the comparison of the core with the reference model: small enough that every list runs empty and every device
// runs full now and then, and that a failing case can be read.

import fc from "fast-check";
import { COST_KEYS, type CostKey } from "#dist/costkeys.js";
import { type ResolvedScenario, resolveScenario, type Scenario } from "#dist/scenario.js";
import { Watermarks } from "./watermarks.js";

const PAGE_BYTES = 4096;
const ACCESSES = 160;
// A larger VM needs longer until its pages have been out and in again.
const LARGE_VM = 110;

/** A machine and what its vCPUs do. */
export interface Case {
  scenario: ResolvedScenario;
  /** By VM and vCPU: words of a trace. */
  streams: Uint32Array[][];
  /** To be made and compared. */
  accesses: number;
}

/** What a case is made of; the sizes follow from it. */
interface Recipe {
  seed: number;
  quantum: number;
  numaNodes: number;
  swappiness: number;
  pageClusterPages: number;
  watermarkScaleFactor: number;
  costs: Record<CostKey, number>;
  swap: NonNullable<Scenario["host"]["swap"]>;
  vms: VmRecipe[];
  /** Pages of the host above what it needs to start, as a share of what the guests could use. */
  room: number;
  extraCpus: number;
  /** Pages of the host at least. */
  leastPages: number;
  integrity: boolean;
}

type Memcg = ResolvedScenario["vms"][number]["memcg"];

interface VmRecipe {
  pages: number;
  /** Distance of the pages in gfns: above 1 the guest's page tables are thinly used. */
  spacing: number;
  /** Share of the pages that memoryMax allows, null for no limit. */
  limit: number | null;
  memcg: Memcg;
  tlb: { entries: number; ways: number };
  vcpus: { stream: { page: number; write: boolean }[]; thinkNs: number }[];
}

// The prices of a current server (docs/costs.md), or anything, so that no sum can be right by accident.
export const BARE_METAL: Record<CostKey, number> = {
  vmExitNs: 500,
  exitUserNs: 1600,
  hltExitNs: 5000,
  memDramNs: 100,
  tlbWalk2dNs: 55,
  minorFaultNs: 1000,
  eptMapNs: 700,
  swapInCpuNs: 900,
  swapOutCpuNs: 1500,
  swapCacheHitNs: 700,
  tlbFlushAllNs: 200,
  shootdownBaseNs: 1000,
  shootdownPerCpuNs: 200,
  notifierInvalidateNs: 250,
  rmapPerSpteNs: 50,
  ageRmapPageNs: 250,
  reclaimScanPageNs: 200,
  guestSwitchNs: 1200,
  guestTickNs: 4_000_000,
  hostSwitchNs: 1500,
  guestExceptionNs: 150,
  memHitNs: 2,
  zero4kNs: 340,
  pcpAllocNs: 30,
  buddyAllocNs: 94,
  buddySlowNs: 600,
  isolatePageNs: 150,
  virtqKickNs: 6000,
  irqInjectIdleNs: 1100,
  balloonInflatePageNs: 2250,
  madviseDontneedNs: 1150,
  madvisePerPageNs: 108,
  reportDelayNs: 2_000_000_000,
  apfInjectNs: 600,
  apfReadyNs: 1600,
  ageLinearPteNs: 25,
  ksmScanPageNs: 1200,
  hugeFaultNs: 260_000,
  shadowFaultNs: 3500,
  shadowPtWriteNs: 2500,
  scanFrameNs: 50,
  migratePageNs: 13_100,
};

const price = fc.integer({ min: 1, max: 4000 });
const costs = fc.oneof(
  fc.constant(BARE_METAL),
  fc.record(Object.fromEntries(COST_KEYS.map((key) => [key, price])) as Record<CostKey, typeof price>),
);

const priority = fc.option(fc.nat({ max: 1 }), { nil: undefined, freq: 3 });
// Soon full; with slot caches that come into use and may be given up again; with a few clusters of 512 slots, or none; with
// clusters in several columns and stretches of 16,384 slots.
const slots = fc.oneof(
  { weight: 2, arbitrary: fc.integer({ min: 1, max: 12 }) },
  { weight: 6, arbitrary: fc.integer({ min: 12, max: 150 }) },
  { weight: 4, arbitrary: fc.integer({ min: 321, max: 700 }) },
  { weight: 3, arbitrary: fc.integer({ min: 1000, max: 3000 }) },
  { weight: 2, arbitrary: fc.integer({ min: 16_000, max: 70_000 }) },
);
const deviceOf = (size: fc.Arbitrary<number>) =>
  fc
    .record({
      slots: size,
      priority,
      readNs: fc.integer({ min: 1, max: 100_000 }),
      writeNs: fc.integer({ min: 1, max: 100_000 }),
      servers: fc.integer({ min: 1, max: 4 }),
      bytesPerUs: fc.option(fc.integer({ min: 50, max: 5000 }), { nil: undefined }),
      nature: fc.constantFrom("synchronous", "synchronous", "parallel", "parallel", "rotational"),
    })
    .map(({ slots: count, priority: rank, bytesPerUs, nature, ...figures }) => ({
      ...figures,
      size: count * PAGE_BYTES,
      synchronous: nature === "synchronous",
      rotational: nature === "rotational",
      ...(rank !== undefined && { priority: rank }),
      ...(bytesPerUs !== undefined && { readBytesPerUs: bytesPerUs, writeBytesPerUs: bytesPerUs }),
    }));

// Bursts: a page again and again, a run of neighbours, or anywhere; and now and then all pages in turn.
function streamOver(
  pages: number,
  { sweeps, burst: longest }: Shape,
): fc.Arbitrary<{ page: number; write: boolean }[]> {
  const page = fc.nat({ max: pages - 1 });
  const burst = fc
    .record({
      first: page,
      step: fc.constantFrom(0, 1, 1, 1, 3),
      length: fc.integer({ min: 1, max: longest }),
      write: fc.boolean(),
    })
    .map(({ first, step, length, write }) =>
      Array.from({ length }, (_, index) => ({ page: (first + index * step) % pages, write })),
    );
  const single = fc.record({ page, write: fc.boolean() }).map((access) => [access]);
  const sweep = fc
    .boolean()
    .map((write) => Array.from({ length: pages }, (_, index) => ({ page: index, write })));
  return fc
    .array(
      fc.oneof(
        { weight: 6, arbitrary: burst },
        { weight: 10, arbitrary: single },
        { weight: sweeps, arbitrary: sweep },
      ),
      { minLength: 1, maxLength: 30 },
    )
    .map((parts) => parts.flat());
}

const tlb = fc
  .record({ entries: fc.constantFrom(1, 4, 16, 64, 2048), ways: fc.constantFrom(1, 1, 2, 4) })
  .map(({ entries, ways }) => ({ entries, ways: Math.min(entries, ways) }));

const memcg: fc.Arbitrary<Memcg> = fc.oneof(
  fc.constant({ chargeTables: false, chargeKvmTables: true, chargeBatch: 1, overheadPages: 0 }),
  fc.record({
    chargeTables: fc.boolean(),
    chargeKvmTables: fc.boolean(),
    chargeBatch: fc.constantFrom(1, 2, 3, 16, 64),
    overheadPages: fc.constantFrom(0, 1, 9),
  }),
);

/** What the streams of a VM are like. */
interface Shape {
  /** Weight of going through all pages, against 16 for less. */
  sweeps: number;
  /** Accesses that a burst has at most. */
  burst: number;
}

// A cgroup of fewer pages than a batch in front of the LRU holds has often nothing on its lists, and is soon out of memory.
function atLeast(pages: number, limit: fc.Arbitrary<number | null>): fc.Arbitrary<number | null> {
  return fc
    .tuple(limit, fc.constantFrom(1, 16, 20, 20, 20))
    .map(([share, least]) => share && Math.max(share, Math.min(1, least / pages)));
}

const vmOf = ({
  size,
  limit,
  ...shape
}: {
  size: fc.Arbitrary<number>;
  limit: fc.Arbitrary<number | null>;
} & Shape): fc.Arbitrary<VmRecipe> =>
  size.chain((pages) =>
    fc.record({
      pages: fc.constant(pages),
      spacing: fc.constantFrom(1, 1, 1, 1, 7, 600),
      limit: atLeast(pages, limit),
      memcg,
      tlb,
      vcpus: fc.array(
        fc.record({ stream: streamOver(pages, shape), thinkNs: fc.constantFrom(0, 0, 250, 3000) }),
        {
          minLength: 1,
          maxLength: 3,
          size: "-1",
        },
      ),
    }),
  );

const usual = {
  swap: fc.oneof(
    { weight: 1, arbitrary: fc.constant<NonNullable<Scenario["host"]["swap"]>>([]) },
    { weight: 12, arbitrary: fc.array(deviceOf(slots), { minLength: 1, maxLength: 3 }) },
  ),
  vms: fc.array(
    vmOf({
      size: fc.integer({ min: 2, max: 110 }),
      limit: fc.option(fc.double({ min: 0.02, max: 1, noNaN: true }), { nil: null, freq: 4 }),
      sweeps: 1,
      burst: 40,
    }),
    { minLength: 1, maxLength: 3, size: "-1" },
  ),
};

// A guest that fills its swap, beyond the half and until the slot caches are given up.
const crowded = {
  swap: fc.array(deviceOf(fc.integer({ min: 170, max: 400 })), { minLength: 1, maxLength: 2 }),
  vms: fc.array(
    vmOf({
      size: fc.integer({ min: 250, max: 450 }),
      limit: fc.double({ min: 0.05, max: 0.5, noNaN: true }),
      sweeps: 8,
      burst: 40,
    }),
    { minLength: 1, maxLength: 1 },
  ),
};

// From four pageblocks on stealing boosts the watermarks; the guests want more than such a host has.
const large = {
  swap: fc.array(deviceOf(fc.integer({ min: 500, max: 4000 })), { minLength: 1, maxLength: 3 }),
  vms: fc.array(
    vmOf({
      size: fc.integer({ min: 800, max: 2200 }),
      limit: fc.option(fc.double({ min: 0.02, max: 1, noNaN: true }), { nil: null, freq: 4 }),
      sweeps: 8,
      burst: 600,
    }),
    { minLength: 1, maxLength: 3, size: "-1" },
  ),
  room: fc.double({ min: 0, max: 0.7, noNaN: true }),
  leastPages: 2048,
};

const recipeOf = ({
  swap,
  vms,
  room = fc.oneof(fc.constant(2), fc.double({ min: 0, max: 1, noNaN: true })),
  leastPages = 0,
}: {
  swap: fc.Arbitrary<Recipe["swap"]>;
  vms: fc.Arbitrary<VmRecipe[]>;
  room?: fc.Arbitrary<number>;
  leastPages?: number;
}): fc.Arbitrary<Recipe> =>
  fc.record({
    leastPages: fc.constant(leastPages),
    seed: fc.nat(),
    quantum: fc.constantFrom(1, 700, 10_000, 10_000, 100_000),
    numaNodes: fc.constantFrom(1, 1, 2, 3),
    swappiness: fc.oneof(
      { weight: 4, arbitrary: fc.constant(60) },
      { weight: 2, arbitrary: fc.integer({ min: 0, max: 200 }) },
    ),
    pageClusterPages: fc.constantFrom(1, 2, 4, 8, 8, 8, 16, 32),
    watermarkScaleFactor: fc.constantFrom(10, 10, 300, 1500),
    costs,
    swap,
    vms,
    room,
    extraCpus: fc.constantFrom(-1, 0, 0, 1),
    integrity: fc.boolean(),
  });

/** Random machines. */
export const cases: fc.Arbitrary<Case> = fc
  .oneof({ weight: 7, arbitrary: recipeOf(usual) }, { weight: 1, arbitrary: recipeOf(crowded) })
  .map(caseOf);

/** Machines with more memory: the lists of CPUs take batches, pageblocks are stolen. */
export const largeCases: fc.Arbitrary<Case> = recipeOf(large).map(caseOf);

function caseOf({ vms, room, extraCpus, leastPages, swap, costs: prices, ...rest }: Recipe): Case {
  const vcpus = vms.reduce((sum, { vcpus: those }) => sum + those.length, 0);
  const wanted = vms.reduce((sum, { pages }) => sum + pages, 0);
  const { swappiness, watermarkScaleFactor, pageClusterPages } = rest;
  const scenario: Scenario = {
    seed: rest.seed,
    host: {
      memory:
        Math.max(leastPages, hostPages(vms, watermarkScaleFactor, Math.floor(wanted * room))) * PAGE_BYTES,
      cpus: Math.max(1, vcpus + extraCpus),
      numaNodes: rest.numaNodes,
      quantum: rest.quantum,
      swap,
      reclaim: { swappiness, watermarkScaleFactor, pageClusterPages },
    },
    costs: prices,
    vms: vms.map((each, index) => ({
      name: `vm${index}`,
      memory: each.pages * each.spacing * PAGE_BYTES,
      vcpus: each.vcpus.length,
      tlb: each.tlb,
      memcg: each.memcg,
      ...(each.limit !== null && {
        memoryMax: (Math.max(1, Math.round(each.pages * each.limit)) + each.memcg.overheadPages) * PAGE_BYTES,
      }),
      guest: {
        tasks: each.vcpus.map(({ thinkNs }, vcpu) => ({
          vcpu,
          region: "all",
          workload: { kind: "trace", file: `${index}.${vcpu}`, loop: true, thinkTime: thinkNs },
        })),
      },
    })),
    check: { integrity: rest.integrity },
  };
  const word = (spacing: number) => (access: { page: number; write: boolean }) =>
    access.page * spacing + (access.write ? 0x8000_0000 : 0);
  const streams = vms.map((each) =>
    each.vcpus.map(({ stream }) => Uint32Array.from(stream, word(each.spacing))),
  );
  const accesses = Math.max(ACCESSES, ...vms.map(({ pages }) => (pages > LARGE_VM ? 3 * pages : 0)));
  return { scenario: resolveScenario(scenario), streams, accesses };
}

// A host that starts, has the page tables that the guests' pages need, and `room` pages above its HIGH watermark.
function hostPages(vms: readonly VmRecipe[], watermarkScaleFactor: number, room: number): number {
  const tables = vms.reduce((sum, { pages, spacing }) => sum + 8 + 2 * Math.ceil((pages * spacing) / 512), 0);
  const used = tables + room + 1;
  let pages = used;
  while (pages < used + new Watermarks(pages, watermarkScaleFactor).of("high")) pages++;
  return pages;
}
