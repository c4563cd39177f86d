// Many short runs, as a sweep makes them: how many a second, how much of that is setting machines up, and what the process holds after the
// hundredth and after the last. Wall time for the workers' sake; boot is timed in this thread.

import type { Scenario } from "#dist/index.js";
import { sweep } from "#dist/node.js";
import { race, speedup } from "./measure.js";
import { figure, percent, type Setting, type SuiteReport, table } from "./report.js";
import { Rig } from "./rig.js";

const MIB = 2 ** 20;
const RUNS = 1000;
const WARM_RUNS = 100;
const ACCESSES = 100_000;

interface SweepResult {
  workers: number;
  runs: number;
  runsPerSecond: number;
  /** Share of a run's CPU time; measured in this thread only. */
  bootShare?: number;
  mibAfterWarm: number;
  mibAfterAll: number;
}

/** A guest of 64 MiB, all of whose pages fit the host, and 100,000 accesses. */
export function sweptScenario(accesses = ACCESSES): Scenario {
  const workload = { kind: "zipf" as const, pages: 16_384, theta: 0.99, writes: 0.3, accesses };
  return {
    host: { memory: 96 * MIB, swap: [{ kind: "nvme", size: 64 * MIB }] },
    vms: [{ name: "guest", memory: 64 * MIB, guest: { tasks: [{ workload }] } }],
  };
}

/** Runs the sweep; what the process holds is taken after `warmRuns` and after the last. */
export async function sweepRow(
  setting: Setting,
  workers: number,
  runs = RUNS,
  warmRuns = WARM_RUNS,
): Promise<SweepResult> {
  const began = performance.now();
  let mibAfterWarm = 0;
  let done = 0;
  for await (const { error } of sweep(sweptScenario(), { seeds: runs, workers, module: setting.module })) {
    if (error !== null) throw new Error(error.message);
    done += 1;
    if (done === warmRuns) mibAfterWarm = residentMib();
  }
  const seconds = (performance.now() - began) / 1000;
  return { workers, runs: done, runsPerSecond: done / seconds, mibAfterWarm, mibAfterAll: residentMib() };
}

function residentMib(): number {
  return process.memoryUsage().rss / MIB;
}

/** Share of a run that goes by before its first access. */
function bootShare({ module }: Setting): number {
  const [boot, whole] = race([
    { name: "boot", run: () => Rig.boot(module, sweptScenario()) },
    { name: "boot and run", run: () => Rig.boot(module, sweptScenario()).run(ACCESSES) },
  ]);
  return 1 / speedup(boot!, whole!);
}

export async function sweeps(setting: Setting): Promise<SuiteReport> {
  const rows = [
    { ...(await sweepRow(setting, 1)), bootShare: bootShare(setting) },
    await sweepRow(setting, 2),
  ];
  const columns = [
    { head: "workers", cell: ({ workers }: SweepResult) => String(workers) },
    { head: "runs", cell: ({ runs }: SweepResult) => String(runs) },
    { head: "runs/s", cell: ({ runsPerSecond }: SweepResult) => figure(runsPerSecond) },
    { head: "boot", cell: (row: SweepResult) => (row.bootShare === undefined ? "" : percent(row.bootShare)) },
    { head: `MiB after ${WARM_RUNS}`, cell: ({ mibAfterWarm }: SweepResult) => figure(mibAfterWarm) },
    { head: "MiB at the end", cell: ({ mibAfterAll }: SweepResult) => figure(mibAfterAll) },
  ];
  const notes = [
    "64 MiB guest, 100,000 accesses a run; wall time. boot: share of a run's CPU time. MiB: resident memory of the process.",
  ];
  return { title: "sweeps of short runs", rows, text: [...table(columns, rows as SweepResult[]), ...notes] };
}
