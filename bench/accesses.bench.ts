// Accesses of a guest that is wholly resident: what the simulator costs when nothing faults. Generated rows contain the drawing of the
// accesses; rows fed by a stream contain only TLB, walk, bits and clock, and run beside the same in plain TypeScript.

import { Machine, type Scenario } from "#dist/index.js";
import { PlainGuest } from "./baseline/accesses.js";
import { type Contender, median, race, speedup, spread } from "./measure.js";
import { figure, NONE, percent, ratio, type Setting, type SuiteReport, table, verdict } from "./report.js";
import { Rig, STREAM } from "./rig.js";
import { pass, sequentialStream, uniformStream, zipfStream } from "./streams.js";

const PAGES = 262_144; // 1 GiB
export const TLB_ENTRIES = 2048;
const WRITES = 0.3;
const THETA = 0.99;
/** Accesses of one timed call, and of a stream before it repeats. */
const ACCESSES = 10_000_000;
const STREAM_ACCESSES = 4_194_304;

export interface AccessRow {
  name: string;
  /** Where the accesses come from: the core's own workload, or a stream given to it. */
  fedBy: "workload" | "stream";
  scenario: Scenario;
  stream: Uint32Array | undefined;
  /** Pages of the guest. */
  pages: number;
  /** Least M accesses per CPU second. */
  floor?: number;
}

type Workload = NonNullable<NonNullable<Scenario["vms"][number]["guest"]>["tasks"]>[number]["workload"];

function resident(pages: number, workload: Workload): Scenario {
  const bytes = pages * 4096;
  return {
    host: { memory: 2 * bytes + 2 ** 24 },
    vms: [{ name: "guest", memory: bytes, guest: { tasks: [{ prefault: true, workload }] } }],
  };
}

/** The rows for a guest of `pages` pages and streams of `length` accesses. */
export function accessRows(pages = PAGES, length = STREAM_ACCESSES): AccessRow[] {
  const hot = TLB_ENTRIES;
  const workloads: [string, Workload, number, number?][] = [
    ["all TLB hits", { kind: "uniform", pages: hot, writes: WRITES }, hot],
    ["zipf", { kind: "zipf", pages, theta: THETA, writes: WRITES }, pages, 30],
    ["uniform", { kind: "uniform", pages, writes: WRITES }, pages],
    ["sequential", { kind: "sequential", pages, writes: WRITES, passes: 2 ** 20 }, pages],
  ];
  const streams: [string, Uint32Array, number][] = [
    ["all TLB hits", uniformStream(length, hot, WRITES), hot],
    ["zipf", zipfStream(length, pages, THETA, WRITES), pages],
    ["uniform", uniformStream(length, pages, WRITES), pages],
    ["sequential", sequentialStream(length, pages, WRITES), pages],
  ];
  const replay: Workload = { kind: "trace", file: STREAM, loop: true };
  return [
    ...workloads.map(([name, workload, size, floor]) => ({
      ...{
        name,
        fedBy: "workload" as const,
        scenario: resident(size, workload),
        stream: undefined,
        pages: size,
      },
      ...(floor !== undefined && { floor }),
    })),
    ...streams.map(([name, stream, size]) => ({
      ...{ name, fedBy: "stream" as const, scenario: resident(size, replay), stream, pages: size },
    })),
  ];
}

/** The plain guest in the state in which the core's guest begins: every page written once, in order. */
export function plainGuest(rig: Rig, pages: number): PlainGuest {
  const hitNs = rig.core.call.cost(rig.core.constant("COST_MEM_DRAM_NS"));
  const missNs = hitNs + rig.core.call.cost(rig.core.constant("COST_TLB_WALK2D_NS"));
  const guest = new PlainGuest(pages, TLB_ENTRIES, { hitNs, missNs });
  guest.run(pass(0, pages, true), 0, pages, Number.POSITIVE_INFINITY);
  return guest;
}

interface AccessResult {
  workload: string;
  fedBy: string;
  guestMiB: number;
  tlbMissShare: number;
  accessesPerUs: number;
  /** (largest - smallest) / median of the rounds. */
  spread: number;
  plainAccessesPerUs?: number;
  speedupOverPlain?: number;
  speedupOverOther?: number;
  floor?: number;
}

async function machineOf(row: AccessRow, module: WebAssembly.Module): Promise<Machine> {
  const bytes = row.stream === undefined ? new Uint8Array() : new Uint8Array(row.stream.buffer);
  return Machine.create(row.scenario, { module, files: { [STREAM]: bytes } });
}

/** Times a row beside the plain TypeScript, where it is fed by a stream, and another build, where there is one. */
export async function measureRow(row: AccessRow, { module, against }: Setting): Promise<AccessResult> {
  const machine = await machineOf(row, module);
  const contenders: Contender[] = [{ name: "pagevisor", run: () => machine.run({ accesses: ACCESSES }) }];
  if (against !== undefined) {
    const other = await machineOf(row, against);
    contenders.push({ name: "other build", run: () => other.run({ accesses: ACCESSES }) });
  }
  const { stream } = row;
  if (stream !== undefined) {
    const guest = plainGuest(Rig.boot(module, row.scenario, stream), row.pages);
    contenders.push({ name: "plain TypeScript", run: () => replay(guest, stream, ACCESSES) });
  }
  const times = race(contenders);
  const [ours, ...others] = times;
  const plain = stream === undefined ? undefined : others.at(-1);
  const other = against === undefined ? undefined : others[0];
  const rate = (seconds: number[]): number => ACCESSES / median(seconds) / 1e6;
  return {
    workload: row.name,
    fedBy: row.fedBy,
    guestMiB: row.pages / 256,
    tlbMissShare: missShare(row, module),
    accessesPerUs: rate(ours!),
    spread: spread(ours!),
    ...(plain !== undefined && { plainAccessesPerUs: rate(plain), speedupOverPlain: speedup(ours!, plain) }),
    ...(other !== undefined && { speedupOverOther: speedup(ours!, other) }),
    ...(row.floor !== undefined && { floor: row.floor }),
  };
}

/** `accesses` accesses of the stream, in pieces as large as the calls into the core. */
export function replay(guest: PlainGuest, stream: Uint32Array, accesses: number): void {
  let at = 0;
  for (let left = accesses; left > 0; ) {
    const count = Math.min(left, 65_536, stream.length - at);
    guest.run(stream, at, at + count, Number.POSITIVE_INFINITY);
    at = (at + count) % stream.length;
    left -= count;
  }
}

function missShare(row: AccessRow, module: WebAssembly.Module): number {
  const rig = Rig.boot(module, row.scenario, row.stream);
  rig.run(1_000_000);
  const before = rig.read();
  rig.run(1_000_000);
  return rig.since(before).tlbMisses / 1_000_000;
}

export async function accesses(setting: Setting): Promise<SuiteReport> {
  const rows: AccessResult[] = [];
  for (const row of accessRows()) rows.push(await measureRow(row, setting));
  const columns = [
    { head: "workload", cell: ({ workload }: AccessResult) => workload, align: "left" as const },
    { head: "fed by", cell: ({ fedBy }: AccessResult) => fedBy, align: "left" as const },
    { head: "guest", cell: ({ guestMiB }: AccessResult) => `${guestMiB} MiB` },
    { head: "TLB misses", cell: ({ tlbMissShare }: AccessResult) => percent(tlbMissShare) },
    { head: "M accesses/s", cell: ({ accessesPerUs }: AccessResult) => figure(accessesPerUs) },
    { head: "plain TS", cell: ({ plainAccessesPerUs }: AccessResult) => figure(plainAccessesPerUs) },
    { head: "over plain TS", cell: ({ speedupOverPlain }: AccessResult) => ratio(speedupOverPlain) },
    ...(setting.against === undefined
      ? []
      : [{ head: "over other", cell: ({ speedupOverOther }: AccessResult) => ratio(speedupOverOther) }]),
    {
      head: "floor",
      cell: ({ accessesPerUs, floor }: AccessResult) => verdict(accessesPerUs, floor),
      align: "left" as const,
    },
  ];
  const notes = [
    `Everything resident, ${WRITES * 100} % writes, zipf ${THETA}. A second is a CPU second. ${NONE}: no such row.`,
    "workload: the core draws the accesses too. stream: it replays a stream, and so does the plain TypeScript.",
  ];
  return { title: "accesses: a resident guest", rows, text: [...table(columns, rows), ...notes] };
}
