// What it costs to look: records of tracepoints and checked contents, each in a run of hits and in one of faults, beside the same run without.

import { Machine, type Scenario } from "#dist/index.js";
import { median, race, speedup } from "./measure.js";
import { figure, ratio, type Setting, type SuiteReport, table } from "./report.js";

const MIB = 2 ** 20;

export interface ObserveRun {
  name: string;
  scenario: Scenario;
  accesses: number;
}

/** Runs in guests of `bytes`: one that is resident and one with memory for half of it. */
export function observeRuns(bytes = 64 * MIB): ObserveRun[] {
  const pages = bytes / 4096;
  const vm = (limited: boolean): Scenario => ({
    host: { memory: 2 * bytes + 16 * MIB, swap: [{ kind: "zram-lz4", size: 2 * bytes }] },
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
    { name: "resident, uniform", scenario: vm(false), accesses: 8_000_000 },
    { name: "half of it, uniform", scenario: vm(true), accesses: 250_000 },
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

export async function observe({ module }: Setting): Promise<SuiteReport> {
  const rows: ObserveResult[] = [];
  for (const run of observeRuns()) rows.push(...(await measureObserving(run, module)));
  const columns = [
    { head: "run", cell: ({ run }: ObserveResult) => run, align: "left" as const },
    { head: "looking", cell: ({ looking }: ObserveResult) => looking, align: "left" as const },
    { head: "M accesses/s", cell: ({ accessesPerUs }: ObserveResult) => figure(accessesPerUs) },
    { head: "times the time", cell: ({ timesTheTime }: ObserveResult) => ratio(timesTheTime) },
  ];
  return { title: "observe: tracepoints and integrity", rows, text: table(columns, rows) };
}
