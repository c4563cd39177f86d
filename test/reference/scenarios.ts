// Random whole scenarios for the properties that hold for every run: several VMs and vCPUs, every kind of task, shared regions,
// tasks that wait for others, think times, limits, tight hosts, devices of every speed. Every task that others wait for ends.

import fc from "fast-check";
import type { Scenario } from "#dist/index.js";
import type { ResolvedWorkload } from "#dist/workload.js";

const PAGE_BYTES = 4096;
const LEAST_HOST_PAGES = 110;

type Vm = Scenario["vms"][number];
type Task = NonNullable<NonNullable<Vm["guest"]>["tasks"]>[number];
type Workload = Task["workload"];

/** A scenario, its trace files, and how to cut its run. */
export interface Whole {
  scenario: Scenario;
  files: Record<string, Uint8Array>;
  /** Accesses after which the run ends, if its tasks do not end it. */
  accesses: number;
  /** Sizes of slices, used in turn. */
  accessSlices: number[];
  timeSlicesNs: number[];
}

const writes = fc.constantFrom(0, 0.3, 1);
const thinkTime = fc.oneof(
  { weight: 3, arbitrary: fc.constant(0) },
  { weight: 1, arbitrary: fc.integer({ min: 1, max: 30_000 }) },
  { weight: 1, arbitrary: fc.integer({ min: 1, max: 30_000 }).map((exponential) => ({ exponential })) },
);
const pages = fc.integer({ min: 2, max: 120 });
const end = fc.integer({ min: 1, max: 500 });
const common = { pages, writes, thinkTime };

// Endless ones are made finite where another task waits for them.
const workload: fc.Arbitrary<Workload> = fc.oneof(
  fc.record({
    kind: fc.constant("zipf" as const),
    ...common,
    theta: fc.constantFrom(0.5, 0.99, 1.4),
    scatter: fc.boolean(),
  }),
  fc.record({ kind: fc.constant("uniform" as const), ...common }),
  fc.record({ kind: fc.constant("sequential" as const), ...common, passes: fc.integer({ min: 1, max: 4 }) }),
  fc
    .record({
      kind: fc.constant("hotcold" as const),
      ...common,
      hotProbability: fc.constantFrom(0, 0.5, 0.9, 1),
      phaseAccesses: fc.option(fc.integer({ min: 1, max: 200 }), { nil: null }),
      scatter: fc.boolean(),
    })
    .map((each) => ({ ...each, hot: Math.ceil(each.pages / 4) })),
  fc.record({ kind: fc.constant("compute" as const), time: fc.integer({ min: 1, max: 3_000_000 }) }),
  fc.record({
    kind: fc.constant("trace" as const),
    file: fc.constantFrom("short", "long"),
    loop: fc.boolean(),
    writes: fc.constantFrom("as-recorded" as const, "all" as const),
    thinkTime,
  }),
);

const task = fc.record({
  workload,
  accesses: fc.option(end, { nil: null }),
  count: fc.constantFrom(1, 1, 1, 2),
  vcpu: fc.option(fc.nat({ max: 3 }), { nil: null }),
  start: fc.oneof(
    { weight: 3, arbitrary: fc.constant(0) },
    { weight: 1, arbitrary: fc.integer({ min: 0, max: 2_000_000 }) },
    // A task before this one, and the delay.
    { weight: 2, arbitrary: fc.record({ after: fc.nat({ max: 7 }), delay: fc.constantFrom(0, 1, 50_000) }) },
  ),
  region: fc.option(fc.constantFrom("a", "b"), { nil: null }),
  prefault: fc.boolean(),
  mode: fc.constantFrom("user" as const, "user" as const, "kernel" as const),
});

// Small limits and few workers, so that each of them is reached.
const asyncPf = fc.record({
  design: fc.constantFrom("off" as const, "2010" as const, "halt-only" as const, "upstream" as const),
  perVcpu: fc.option(fc.constantFrom(1, 2, 7), { nil: undefined }),
  sendAlways: fc.option(fc.boolean(), { nil: undefined }),
  workers: fc.option(fc.constantFrom(1, 2), { nil: undefined }),
  pin: fc.option(fc.constantFrom("released" as const, "held" as const), { nil: undefined }),
  tokenRule: fc.option(fc.constantFrom("2.6.38" as const, "now" as const), { nil: undefined }),
});

const vm = fc.record({
  vcpus: fc.integer({ min: 1, max: 4 }),
  spare: fc.integer({ min: 0, max: 600 }),
  limit: fc.option(fc.double({ min: 0.05, max: 1, noNaN: true }), { nil: null }),
  memcg: fc.option(
    fc.record({
      chargeTables: fc.boolean(),
      chargeKvmTables: fc.boolean(),
      chargeBatch: fc.constantFrom(1, 4, 64),
      overheadPages: fc.constantFrom(0, 5),
    }),
    { nil: undefined, freq: 2 },
  ),
  tlb: fc.constantFrom({ entries: 4, ways: 1 }, { entries: 64, ways: 4 }, { entries: 2048, ways: 1 }),
  timeslice: fc.constantFrom(5000, 100_000, 4_000_000),
  tasks: fc.array(task, { minLength: 1, maxLength: 4, size: "max" }),
  asyncPf,
});

const swap = fc.record({
  kind: fc.constantFrom(
    "nvme",
    "nvme",
    "sata-ssd",
    "hdd",
    "optane",
    "zram-lz4",
    "zram-lz4",
    "zswap-zstd1",
    "remote",
  ),
  slots: fc.integer({ min: 4, max: 900 }),
  priority: fc.option(fc.nat({ max: 1 }), { nil: null }),
} as const);

const words = (length: number) =>
  fc
    .array(fc.record({ page: fc.nat({ max: 60 }), write: fc.boolean() }), {
      minLength: 1,
      maxLength: length,
      size: "max",
    })
    .map((accesses) => Uint32Array.from(accesses, ({ page, write }) => page + (write ? 0x8000_0000 : 0)))
    .map(({ buffer }) => new Uint8Array(buffer));

/** Random whole scenarios. */
export const scenarios: fc.Arbitrary<Whole> = fc
  .record({
    seed: fc.nat(),
    vms: fc.array(vm, { minLength: 1, maxLength: 3, size: "max" }),
    swap: fc.array(swap, { minLength: 0, maxLength: 3, size: "max" }),
    cpus: fc.integer({ min: 1, max: 6 }),
    quantum: fc.constantFrom(1000, 10_000, 10_000, 200_000),
    room: fc.double({ min: 0, max: 1.5, noNaN: true }),
    policy: fc.constantFrom("two-list" as const, "mglru" as const),
    swappiness: fc.constantFrom(60, 60, 1, 200),
    watermarkScaleFactor: fc.constantFrom(10, 500),
    preset: fc.constantFrom("bare-metal", "nested", "nehalem-hdd-2010"),
    short: words(10),
    long: words(300),
    accesses: fc.integer({ min: 1, max: 4000 }),
    accessSlices: fc.array(fc.integer({ min: 1, max: 700 }), { minLength: 1, maxLength: 6 }),
    timeSlicesNs: fc.array(fc.integer({ min: 20_000, max: 3_000_000 }), { minLength: 1, maxLength: 6 }),
  })
  .map(({ short, long, accesses, accessSlices, timeSlicesNs, ...recipe }) => {
    const vms = recipe.vms.map((each, index) => vmOf(each, index));
    const wanted = vms.reduce((sum, { memory }) => sum + (memory as number) / PAGE_BYTES, 0);
    const host = LEAST_HOST_PAGES + 20 * vms.length + Math.floor(wanted * recipe.room);
    const scenario: Scenario = {
      seed: recipe.seed,
      host: {
        memory: Math.ceil(host * (1 + recipe.watermarkScaleFactor / 2500)) * PAGE_BYTES,
        cpus: recipe.cpus,
        quantum: recipe.quantum,
        swap: recipe.swap.map(({ kind, slots, priority }) => ({
          kind,
          size: slots * PAGE_BYTES,
          ...(priority !== null && { priority }),
        })),
        reclaim: {
          policy: recipe.policy,
          swappiness: recipe.swappiness,
          watermarkScaleFactor: recipe.watermarkScaleFactor,
        },
      },
      costs: { preset: recipe.preset as "bare-metal" },
      vms,
      check: { integrity: true },
    };
    return { scenario, files: { short, long }, accesses, accessSlices, timeSlicesNs };
  });

type VmRecipe = typeof vm extends fc.Arbitrary<infer T> ? T : never;

function vmOf(
  { vcpus, spare, limit, memcg, tlb, timeslice, tasks, asyncPf: pf }: VmRecipe,
  index: number,
): Vm {
  const waitedFor = new Set(
    tasks.flatMap(({ start }, at) => (typeof start === "object" && at > 0 ? [start.after % at] : [])),
  );
  const placed = tasks.map((each, at): Task => {
    const { accesses, start, vcpu, region, count, prefault, mode } = each;
    // A task that waits for one that never ends would keep others from ending the run.
    const finite = waitedFor.has(at) ? (accesses ?? 50) : accesses;
    const work = each.workload.kind === "compute" ? each.workload : { ...each.workload, accesses: finite };
    return {
      name: `t${at}`,
      workload: work as Workload,
      count: waitedFor.has(at) ? 1 : count,
      start:
        typeof start === "object"
          ? at === 0
            ? 0
            : { after: `vm${index}/t${start.after % at}`, delay: start.delay }
          : start,
      prefault,
      mode,
      ...(vcpu !== null && { vcpu: vcpu % vcpus }),
      ...(region !== null && { region }),
    };
  });
  const used = placed.reduce(
    (sum, { workload: each, count }) => sum + pagesOf(each as ResolvedWorkload) * count!,
    0,
  );
  const memory = used + spare + 1;
  return {
    name: `vm${index}`,
    memory: memory * PAGE_BYTES,
    vcpus,
    tlb,
    asyncPf: Object.fromEntries(Object.entries(pf).filter(([, value]) => value !== undefined)),
    ...(memcg !== undefined && { memcg }),
    ...(limit !== null && { memoryMax: Math.max(40, Math.floor(used * limit)) * PAGE_BYTES }),
    guest: { timeslice, tasks: placed },
  };
}

function pagesOf(work: ResolvedWorkload): number {
  if (work.kind === "compute") return 0;
  return work.kind === "trace" ? 61 : work.pages;
}
