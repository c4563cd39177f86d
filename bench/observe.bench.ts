// What it costs to look: records of tracepoints and checked contents, each in a run of hits and in runs of faults, beside the same run without.
// And what it costs not to look: the same run on the core beside cores that have no records, no tracepoints, or no checks.

import { Machine, type Scenario } from "#dist/index.js";
import { median, race, speedup } from "./measure.js";
import { figure, percent, ratio, type Setting, type SuiteReport, table } from "./report.js";
import { coreWithout, type Part } from "./without.js";

const MIB = 2 ** 20;

export interface ObserveRun {
  name: string;
  scenario: Scenario;
  accesses: number;
}

/** Runs in guests of `bytes`: one that is resident, and two with memory for half of it. */
export function observeRuns(bytes = 64 * MIB): ObserveRun[] {
  const pages = bytes / 4096;
  const vm = (limited: boolean, policy: "two-list" | "clock"): Scenario => ({
    host: {
      memory: 2 * bytes + 16 * MIB,
      swap: [{ kind: "zram-lz4", size: 2 * bytes }],
      reclaim: { policy },
    },
    vms: [
      {
        name: "guest",
        memory: bytes,
        ...(limited && { memoryMax: bytes / 2 }),
        guest: { tasks: [{ prefault: true, workload: { kind: "uniform", pages, writes: 0.3 } }] },
      },
    ],
  });
  return [
    { name: "resident, uniform", scenario: vm(false, "two-list"), accesses: 8_000_000 },
    { name: "half of it, uniform", scenario: vm(true, "two-list"), accesses: 250_000 },
    { name: "half of it, clock", scenario: vm(true, "clock"), accesses: 250_000 },
  ];
}

const WAYS: readonly (readonly [string, Pick<Scenario, "trace" | "check">])[] = [
  ["neither", {}],
  ["one tracepoint's records", { trace: { events: ["kvm_exit"] } }],
  ["all records", { trace: { events: ["*"] } }],
  ["integrity", { check: { integrity: true } }],
  ["both", { trace: { events: ["*"] }, check: { integrity: true } }],
];

export interface ObserveResult {
  run: string;
  looking: string;
  accessesPerUs: number;
  timesTheTime: number;
}

export async function measureObserving(
  { name, scenario, accesses }: ObserveRun,
  module: WebAssembly.Module,
): Promise<ObserveResult[]> {
  const contenders = await Promise.all(
    WAYS.map(async ([way, more]) => {
      const machine = await Machine.create({ ...scenario, ...more }, { module });
      machine.run({ accesses });
      return { name: way, run: () => void machine.run({ accesses }) };
    }),
  );
  const times = race(contenders);
  return contenders.map(({ name: looking }, index) => ({
    run: name,
    looking,
    accessesPerUs: accesses / median(times[index]!) / 1e6,
    timesTheTime: speedup(times[0]!, times[index]!),
  }));
}

const LACKING: readonly (readonly [string, Part])[] = [
  ["records", "records"],
  ["tracepoints and their counters", "tracepoints"],
  ["integrity", "integrity"],
];
/** Machines of each core, one after another: where in memory one lies makes more of a difference than what is looked for. */
const MACHINES = 9;
const ROUNDS_EACH = 3;

interface LackingResult {
  run: string;
  without: string;
  /** What the whole core takes beyond the one without; negative when it takes less. */
  cost: number;
}

/** The first core in turns with the others, which lack something that nobody has asked for in the run. What it takes beyond each, by core and round. */
export async function measureLacking(
  { name, scenario, accesses }: ObserveRun,
  cores: readonly WebAssembly.Module[],
  each = MACHINES,
): Promise<number[][]> {
  const costs = cores.slice(1).map((): number[] => []);
  for (let machine = 0; machine < each; machine++) {
    const contenders = await Promise.all(
      cores.map(async (module) => {
        const booted = await Machine.create(scenario, { module });
        booted.run({ accesses });
        return { name, run: () => void booted.run({ accesses }) };
      }),
    );
    const [whole, ...others] = race(contenders, ROUNDS_EACH);
    others.forEach((times, index) => {
      costs[index]!.push(...times.map((seconds, round) => whole![round]! / seconds - 1));
    });
  }
  return costs;
}

export async function observe({ module }: Setting): Promise<SuiteReport> {
  const rows: ObserveResult[] = [];
  for (const run of observeRuns()) rows.push(...(await measureObserving(run, module)));
  const columns = [
    { head: "run", cell: ({ run }: ObserveResult) => run, align: "left" as const },
    { head: "looking", cell: ({ looking }: ObserveResult) => looking, align: "left" as const },
    { head: "M accesses/s", cell: ({ accessesPerUs }: ObserveResult) => figure(accessesPerUs) },
    { head: "times the time", cell: ({ timesTheTime }: ObserveResult) => ratio(timesTheTime) },
  ];
  const cores = [module, ...LACKING.map(([, part]) => coreWithout(part)), module];
  const lacking: LackingResult[] = [];
  for (const run of observeRuns()) {
    const costs = await measureLacking(run, cores);
    const names = [...LACKING.map(([what]) => what), "nothing: the same core again"];
    lacking.push(
      ...costs.map((cost, index) => ({ run: run.name, without: names[index]!, cost: median(cost) })),
    );
  }
  const off = [
    { head: "run", cell: ({ run }: LackingResult) => run, align: "left" as const },
    { head: "beside a core without", cell: ({ without }: LackingResult) => without, align: "left" as const },
    { head: "takes more time by", cell: ({ cost }: LackingResult) => percent(cost) },
  ];
  const note = `Off: the median over ${ROUNDS_EACH} rounds with each of ${MACHINES} machines. At most 1 % is asked for records; the last row tells what the figures are good for.`;
  return {
    title: "observe: tracepoints and integrity, on and off",
    rows: [...rows, ...lacking],
    text: [...table(columns, rows), "", ...table(off, lacking), "", note],
  };
}
