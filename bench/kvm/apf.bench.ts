// Asynchronous page faults: a guest with memory for half of its pages, on a device slow enough that its tasks take turns while pages come. Beside
// each design the same run in which vCPUs sleep: what a fault costs the simulator more when the guest is told of it, twice.

import { Machine, type Scenario } from "#dist/index.js";
import { type Contender, median, race, speedup } from "../measure.js";
import { figure, ratio, type Setting, type SuiteReport, table } from "../report.js";
import { faultCount } from "../rig.js";

const MIB = 2 ** 20;
const ACCESSES = 400_000;
const TASKS = 16;

export const APF_DESIGNS = ["off", "2010", "upstream"] as const;
type Design = (typeof APF_DESIGNS)[number];

export function apfScenario(design: Design, bytes = 64 * MIB): Scenario {
  const workload = { kind: "sequential" as const, pages: bytes / 4096, writes: 0.3, passes: 2 ** 20 };
  return {
    host: { memory: 2 * bytes + 16 * MIB, swap: [{ kind: "nvme", size: 2 * bytes }] },
    vms: [
      {
        name: "guest",
        memory: bytes,
        memoryMax: bytes / 2,
        asyncPf: { design },
        guest: {
          tasks: [
            { name: "first", region: "all", prefault: true, workload },
            { name: "others", count: TASKS - 1, region: "all", workload },
          ],
        },
      },
    ],
  };
}

export interface ApfRow {
  design: Design;
  /** Completions consumed, each of a fault that the guest had been told of, a CPU second. */
  roundTripsPerUs: number;
  faultsPerUs: number;
  /** Faults that the guest was told of, a major fault; one of them may then find its page read along with another. */
  toldPerMajor: number;
  /** Time of the same accesses against the run in which vCPUs sleep. */
  timesOff: number;
}

export async function measureApf(
  module: WebAssembly.Module,
  bytes?: number,
  accesses = ACCESSES,
  rounds?: number,
): Promise<ApfRow[]> {
  const machines = await Promise.all(
    APF_DESIGNS.map((design) => Machine.create(apfScenario(design, bytes), { module })),
  );
  const contenders = machines.map((machine, index): Contender => {
    machine.run({ accesses });
    return { name: APF_DESIGNS[index]!, run: () => void machine.run({ accesses }) };
  });
  const times = race(contenders, rounds);
  return machines.map((machine, index) => {
    const { asyncPf, faults } = machine.run({ accesses }).vms[0]!;
    const us = median(times[index]!) * 1e6;
    return {
      design: APF_DESIGNS[index]!,
      roundTripsPerUs: asyncPf.ready / us,
      faultsPerUs: faultCount(faults) / us,
      toldPerMajor: asyncPf.notPresent / faults.major.count,
      timesOff: 1 / speedup(times[index]!, times[0]!),
    };
  });
}

export async function apf({ module }: Setting): Promise<SuiteReport> {
  const rows = await measureApf(module);
  const columns = [
    { head: "design", cell: ({ design }: ApfRow) => design, align: "left" as const },
    { head: "M round trips/s", cell: ({ roundTripsPerUs }: ApfRow) => figure(roundTripsPerUs) },
    { head: "M faults/s", cell: ({ faultsPerUs }: ApfRow) => figure(faultsPerUs) },
    { head: "told a major fault", cell: ({ toldPerMajor }: ApfRow) => figure(toldPerMajor) },
    { head: "times the time of off", cell: ({ timesOff }: ApfRow) => ratio(timesOff) },
  ];
  const note = `${TASKS} tasks on one vCPU, each in order over 64 MiB, memory for half of it, nvme. A round trip: the guest is told that a page is missing, and that it is there.`;
  return {
    title: "async page faults: what telling the guest costs",
    rows,
    text: [...table(columns, rows), "", note],
  };
}
