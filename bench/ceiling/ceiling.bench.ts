// The core beside bare kernels in C that do the same work with nothing around it, and beside plain TypeScript: the same streams, in turns.
// A kernel knows one VM, no time, no costs, no events and no statistics.

import { Machine, type Scenario } from "#dist/index.js";
import { plainGuest, replay, TLB_ENTRIES } from "../accesses.bench.js";
import { type FaultCosts, PlainPaging } from "../baseline/faults.js";
import { type Contender, median, race } from "../measure.js";
import { figure, NONE, ratio, type Setting, type SuiteReport, table } from "../report.js";
import { Rig, STREAM } from "../rig.js";
import { pass } from "../streams.js";
import { KernelBlocks } from "./blocks.js";
import { type KernelCall, Kernels } from "./kernels.js";
import { wholeFaults } from "./wholeguest.js";

const ROUNDS = 5;
const MI = 2 ** 20;
/** Operations in which mostly single pages go from 80 to 40 percent of 16 Mi pages and back: freeing costs twice what taking does. */
const SWING = 3_250_000;

export interface CeilingRow {
  path: string;
  work: "accesses" | "faults" | "free lists" | "blocks";
  pages: number;
  /** Name of the kernels' stream, or of the mix of orders. */
  stream: string;
  frames?: number;
  /** What the kernel is called in its plain and in its fastest form. */
  kernels: readonly [string, string];
  /** Operations of one timed call of ours, and of the kernels. */
  ours: number;
  theirs: number;
}

export function ceilingRows(): CeilingRow[] {
  const accesses = (path: string, stream: string, bits: number, pages = 2 ** bits): CeilingRow => ({
    ...{
      path,
      work: "accesses",
      pages,
      stream,
      kernels: ["k1_walk4", "k1_stp"],
      ours: 16 * MI,
      theirs: 16 * MI,
    },
  });
  const faults = (path: string, kind: string, bits: number): CeilingRow => ({
    ...{
      path,
      work: "faults",
      pages: 2 ** bits,
      stream: `${kind}_${bits}`,
      kernels: ["k2_walk4", "k2_tuned"],
    },
    // Long enough for the caches to be the contender's own again: a kernel begins with them as its warm-up leaves them.
    ...{ frames: 2 ** bits / (kind === "zipf" ? 8 : 2), ours: 4 * MI, theirs: 8 * MI },
  });
  const blocks = (work: "free lists" | "blocks"): CeilingRow[] =>
    [MI, 16 * MI].flatMap((pages) =>
      (["uni", "geo"] as const).map((mix) => ({
        path: `${work}, ${mix === "uni" ? "any order" : "mostly single pages"}, ${pages / MI} Mi pages`,
        ...{ work, pages, stream: mix, kernels: [`k3_soa_${mix}`, `k3_packed_${mix}`] as const },
        ...{ ours: SWING, theirs: 8 * MI },
      })),
    );
  return [
    accesses("all TLB hits", "hot_12", 12, 1024),
    accesses("zipf, 1 GiB", "zipf_18", 18),
    accesses("uniform, 1 GiB", "uni_18", 18),
    accesses("zipf, 16 GiB", "zipf_22", 22),
    accesses("uniform, 16 GiB", "uni_22", 22),
    faults("faults, zipf, 16 MiB", "zipf", 12),
    faults("faults, uniform, 16 MiB", "uni", 12),
    faults("faults, zipf, 1 GiB", "zipf", 18),
    faults("faults, uniform, 1 GiB", "uni", 18),
    faults("faults, zipf, 16 GiB", "zipf", 22),
    faults("faults, uniform, 16 GiB", "uni", 22),
    ...blocks("free lists"),
    ...blocks("blocks"),
  ];
}

/** The scenario of a row of accesses or faults; the latter has a limit, a policy that evicts one page at a time, and swap that costs nothing. */
export function ceilingScenario({ work, pages, frames }: CeilingRow): Scenario {
  const bytes = pages * 4096;
  const workload = { kind: "trace" as const, file: STREAM, loop: true };
  const guest = { tasks: [{ prefault: true, workload }] };
  if (work === "accesses")
    return { host: { memory: 2 * bytes + 2 ** 24 }, vms: [{ name: "guest", memory: bytes, guest }] };
  return {
    host: {
      memory: 2 * frames! * 4096 + bytes / 128 + 2 ** 24,
      swap: [{ kind: "zram-lz4", size: 2 * bytes, readNs: 0, writeNs: 0 }],
      reclaim: { policy: "clock" },
    },
    costs: { swapInCpuNs: 0, swapOutCpuNs: 0 },
    vms: [{ name: "guest", memory: bytes, memoryMax: frames! * 4096, guest }],
  };
}

interface CeilingResult {
  path: string;
  millionsPerSecond: number;
  plainKernel: number;
  bestKernel: number;
  overPlainKernel: number;
  overBestKernel: number;
  overPlainTypeScript?: number;
  /** Over plain TypeScript that does all of a fault's steps. */
  overSameModel?: number;
}

/** The plain pager in the state in which the core's guest begins: every page written once, in order. */
export function plainPaging({ pages, frames }: CeilingRow, costs: FaultCosts): PlainPaging {
  const plain = new PlainPaging(pages, frames!, TLB_ENTRIES, costs);
  plain.run(pass(0, pages, true), 0, pages);
  return plain;
}

// The stream over and over, a piece of it a call.
function loopedOver(plain: Pick<PlainPaging, "run">, stream: Uint32Array): (accesses: number) => void {
  let at = 0;
  return (accesses) => {
    for (let left = accesses; left > 0; ) {
      const count = Math.min(left, 65_536, stream.length - at);
      plain.run(stream, at, at + count);
      at = (at + count) % stream.length;
      left -= count;
    }
  };
}

/** What a fault takes in virtual time, as the run of the core has counted. */
function faultCosts(machine: Machine): FaultCosts {
  const { major, writeProtect } = machine.result().vms[0]!.faults;
  return { hitNs: 100, missNs: 155, majorNs: major.latency.mean, writeProtectNs: writeProtect.latency.mean };
}

interface Prepared {
  contenders: Contender[];
  /** Operations of one call of each. */
  units: number;
}

async function prepared(row: CeilingRow, kernels: Kernels, module: WebAssembly.Module): Promise<Prepared> {
  if (row.work === "free lists" || row.work === "blocks")
    return { contenders: new KernelBlocks(row, module, ROUNDS).contenders(), units: row.ours };
  const stream = kernels.stream(row.stream);
  const scenario = ceilingScenario(row);
  const files = { [STREAM]: new Uint8Array(stream.buffer) };
  const machine = await Machine.create(scenario, { module, files });
  const contenders: Contender[] = [{ name: "pagevisor", run: () => machine.run({ accesses: row.ours }) }];
  if (row.work === "faults") {
    machine.run({ accesses: 8 * MI });
    const plain = loopedOver(plainPaging(row, faultCosts(machine)), stream);
    plain(8 * MI);
    contenders.push({ name: "plain TypeScript", run: () => plain(row.ours) });
    const whole = loopedOver(wholeFaults(scenario, module), stream);
    whole(8 * MI);
    contenders.push({ name: "plain TypeScript, same model", run: () => whole(row.ours) });
  }
  if (row.work === "accesses") {
    const guest = plainGuest(Rig.boot(module, scenario, stream), row.pages);
    contenders.push({ name: "plain TypeScript", run: () => replay(guest, stream, row.ours) });
  }
  return { contenders, units: row.ours };
}

async function measureRow(
  row: CeilingRow,
  kernels: Kernels,
  module: WebAssembly.Module,
): Promise<CeilingResult> {
  const { contenders, units } = await prepared(row, kernels, module);
  const call: Omit<KernelCall, "kernel"> = {
    ...((row.work === "accesses" || row.work === "faults") && { stream: row.stream }),
    ...{ pages: row.pages, ops: row.theirs, warm: 8 * MI },
    ...(row.frames !== undefined && { frames: row.frames }),
  };
  const nsPerUnit: number[][] = [...contenders, ...row.kernels].map(() => []);
  for (let round = 0; round < ROUNDS; round++) {
    for (const [index, [seconds]] of race(contenders, 1).entries())
      nsPerUnit[index]!.push((seconds! * 1e9) / units);
    for (const [index, kernel] of row.kernels.entries()) {
      const { ns, ops } = kernels.run({ kernel, ...call });
      nsPerUnit[contenders.length + index]!.push(ns / ops);
    }
  }
  const ours = nsPerUnit[0]!;
  const over = (theirs: number[]): number => median(ours.map((ns, round) => theirs[round]! / ns));
  const [plain, best] = nsPerUnit.slice(-2) as [number[], number[]];
  return {
    path: row.path,
    millionsPerSecond: 1e3 / median(ours),
    plainKernel: 1e3 / median(plain),
    bestKernel: 1e3 / median(best),
    overPlainKernel: over(plain),
    overBestKernel: over(best),
    ...(contenders.length > 1 && { overPlainTypeScript: over(nsPerUnit[1]!) }),
    ...(contenders.length > 2 && { overSameModel: over(nsPerUnit[2]!) }),
  };
}

export function ceiling(folder: string) {
  return async ({ module }: Setting): Promise<SuiteReport> => {
    const kernels = new Kernels(folder);
    const rows: CeilingResult[] = [];
    for (const row of ceilingRows()) rows.push(await measureRow(row, kernels, module));
    const columns = [
      { head: "path", cell: ({ path }: CeilingResult) => path, align: "left" as const },
      { head: "M/s", cell: (row: CeilingResult) => figure(row.millionsPerSecond) },
      { head: "C, plain", cell: (row: CeilingResult) => figure(row.plainKernel) },
      { head: "C, best", cell: (row: CeilingResult) => figure(row.bestKernel) },
      { head: "of C, plain", cell: (row: CeilingResult) => ratio(row.overPlainKernel) },
      { head: "of C, best", cell: (row: CeilingResult) => ratio(row.overBestKernel) },
      { head: "over plain TS, bare", cell: (row: CeilingResult) => ratio(row.overPlainTypeScript) },
      { head: "over plain TS, same model", cell: (row: CeilingResult) => ratio(row.overSameModel) },
    ];
    const notes = [
      `Accesses, or taken and freed blocks, a CPU second; 30 % writes. ${NONE}: no such baseline. A fault is a swap-in that evicts one page.`,
      "Plain TypeScript, bare: tables, TLB, policy, slots and time of a fault alone. Same model: every step of the core's fault for this one case, without the digest, events, locks and other designs.",
    ];
    return { title: "ceiling: beside bare kernels in C", rows, text: [...table(columns, rows), ...notes] };
  };
}
