// The fault-path latency table: for each path what it costs the guest in virtual time, stage by stage, and what it costs the simulator.
// The state before the measured accesses is prepared once; every timed call runs a copy of it, so all calls do the same work.

import type { FaultStages } from "#dist/index.js";
import { PATH_ROWS, type PathRow } from "./faultpath.rows.js";
import { type Contender, median, race, speedup, spread, untimed } from "./measure.js";
import { type Column, NONE, percent, ratio, type Setting, type SuiteReport, table, whole } from "./report.js";
import { type Change, faultCount, Rig } from "./rig.js";

/** Pages a row works on: 256 MiB. */
const PAGES = 65_536;

/** What a row's accesses were, all in virtual ns. */
export interface PathResult {
  path: string;
  /** Events counted: faults, or TLB misses. */
  counted: number;
  /** Those of them that took the path. */
  onPath: number;
  latency: { mean: number; p50: number; p99: number };
  /** Mean ns an event; sums to the mean latency. */
  stages: Partial<FaultStages> & { walkNs?: number };
}

interface TimedPath extends PathResult {
  cpuNsPerFault: number;
  /** (largest - smallest) / median of the rounds. */
  spread: number;
  speedupOverOther?: number;
}

/** A machine that stands where the row's accesses begin. */
function prepared(row: PathRow, module: WebAssembly.Module, pages: number): Rig {
  const rig = Rig.boot(module, row.scenario(pages), row.stream(pages));
  row.prepare(rig, pages);
  return rig;
}

/** Runs a row's accesses once, on `pages` pages, and says what they were. */
export function runPath(row: PathRow, module: WebAssembly.Module, pages: number): PathResult {
  const rig = prepared(row, module, pages);
  const before = rig.read();
  rig.run(row.accesses(pages));
  const change = rig.since(before);
  const { kind } = row;
  if (kind === "tlbMiss") return tlbResult(row, rig, change);
  const { latency, stages, count } = change.faults[kind];
  const means = Object.entries(stages).map(([stage, ns]) => [stage, ns / count]);
  return {
    path: row.path,
    counted: faultCount(change.faults),
    onPath: row.onPath(change),
    latency: { mean: latency.mean, p50: latency.p50, p99: latency.p99 },
    stages: Object.fromEntries(means) as FaultStages,
  };
}

// A miss is not recorded one by one: each costs the same walk, which is what the accesses took beyond the memory itself.
function tlbResult(row: PathRow, { core }: Rig, change: Change): PathResult {
  const memoryNs = change.accesses * core.call.cost(core.constant("COST_MEM_DRAM_NS"));
  const walkNs = (change.runNs - memoryNs) / change.tlbMisses;
  return {
    path: row.path,
    counted: change.accesses + faultCount(change.faults),
    onPath: row.onPath(change),
    latency: { mean: walkNs, p50: walkNs, p99: walkNs },
    stages: { walkNs },
  };
}

function contender(name: string, row: PathRow, module: WebAssembly.Module): Contender {
  const start = prepared(row, module, PAGES);
  const twin = start.twin();
  return {
    name,
    run: () => {
      untimed(() => start.copyTo(twin));
      twin.run(row.accesses(PAGES));
    },
  };
}

function timePath(row: PathRow, { module, against }: Setting): TimedPath {
  const result = runPath(row, module, PAGES);
  const contenders = [contender("pagevisor", row, module)];
  if (against !== undefined) contenders.push(contender("other build", row, against));
  const [ours, other] = race(contenders);
  return {
    ...result,
    cpuNsPerFault: (median(ours!) * 1e9) / result.counted,
    spread: spread(ours!),
    ...(other !== undefined && { speedupOverOther: speedup(ours!, other) }),
  };
}

const STAGES = [
  "walk",
  "exit",
  "lock",
  "reclaim",
  "alloc",
  "cpu",
  "queue",
  "device",
  "map",
  "flush",
] as const;

export async function faultPath(setting: Setting): Promise<SuiteReport> {
  const rows = PATH_ROWS.map((row) => timePath(row, setting));
  const stageNs = ({ stages }: PathResult, stage: (typeof STAGES)[number]): number =>
    stages[`${stage}Ns`] ?? 0;
  const used = STAGES.filter((stage) => rows.some((row) => stageNs(row, stage) > 0));
  const columns: Column<TimedPath>[] = [
    { head: "path", cell: ({ path }) => path, align: "left" },
    { head: "counted", cell: ({ counted }) => whole(counted) },
    { head: "on path", cell: ({ onPath, counted }) => percent(onPath / counted) },
    { head: "p50", cell: ({ latency }) => whole(latency.p50) },
    { head: "p99", cell: ({ latency }) => whole(latency.p99) },
    { head: "mean", cell: ({ latency }) => whole(latency.mean) },
    ...used.map((stage) => ({
      head: stage,
      cell: (row: TimedPath) => (stageNs(row, stage) === 0 ? NONE : whole(stageNs(row, stage))),
    })),
    { head: "CPU ns", cell: ({ cpuNsPerFault }) => whole(cpuNsPerFault) },
    ...(setting.against === undefined
      ? []
      : [{ head: "over other", cell: ({ speedupOverOther }: TimedPath) => ratio(speedupOverOther) }]),
  ];
  const notes = [
    "Virtual ns; the stages are means and sum to the mean. CPU ns: what one of them costs the simulator, its access included.",
    ...PATH_ROWS.map(({ path, how }) => `  ${path}: ${how}`),
  ];
  return {
    title: "fault paths: virtual latency and the simulator's cost",
    rows,
    text: [...table(columns, rows), ...notes],
  };
}
