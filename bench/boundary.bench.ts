// The boundary between JavaScript and the core: one call that does nothing, and accesses of a resident guest in calls of 1 to 65,536. How accesses are cut
// into calls never changes a result; how long they take it does.

import { accessRows } from "./accesses.bench.js";
import { median, race, speedup } from "./measure.js";
import { figure, ratio, type Setting, type SuiteReport, table, whole } from "./report.js";
import { Rig } from "./rig.js";

export const CHUNKS = [1, 4, 16, 64, 256, 1024, 4096, 16_384, 65_536] as const;

const EMPTY_CALLS = 1_000_000;
/** Of the calls of one chunk together; fewer where each call brings one. */
const ACCESSES = 4_194_304;
const ACCESSES_ONE = 262_144;

export interface BoundaryRow {
  /** Accesses a call; 0: a call that does nothing. */
  chunk: number;
  nsPerCall: number;
  nsPerAccess?: number;
  /** Time an access against calls of the largest chunk. */
  timesLargest?: number;
}

function accessesOf(chunk: number, most: number): number {
  return chunk < 16 ? Math.min(most, ACCESSES_ONE) : most;
}

export function measureBoundary(module: WebAssembly.Module, most = ACCESSES, rounds?: number): BoundaryRow[] {
  const { scenario, stream } = accessRows().find(
    ({ name, fedBy }) => name === "all TLB hits" && fedBy === "stream",
  )!;
  const rigs = CHUNKS.map(() => Rig.boot(module, scenario, stream));
  const { call } = rigs[0]!.core;
  const empty = (): void => {
    for (let time = 0; time < EMPTY_CALLS; time++) call.machineMade();
  };
  const contenders = CHUNKS.map((chunk, index) => ({
    name: `${chunk} a call`,
    run: () => rigs[index]!.runIn(accessesOf(chunk, most), chunk),
  }));
  const [nothing, ...times] = race([{ name: "nothing", run: empty }, ...contenders], rounds) as [
    number[],
    ...number[][],
  ];
  const perAccess = times.map((seconds, index) =>
    seconds.map((each) => each / accessesOf(CHUNKS[index]!, most)),
  );
  return [
    { chunk: 0, nsPerCall: (median(nothing) / EMPTY_CALLS) * 1e9 },
    ...CHUNKS.map((chunk, index) => ({
      chunk,
      nsPerCall: median(perAccess[index]!) * chunk * 1e9,
      nsPerAccess: median(perAccess[index]!) * 1e9,
      timesLargest: 1 / speedup(perAccess[index]!, perAccess.at(-1)!),
    })),
  ];
}

export async function boundary({ module }: Setting): Promise<SuiteReport> {
  const rows = measureBoundary(module);
  const columns = [
    { head: "accesses a call", cell: ({ chunk }: BoundaryRow) => (chunk === 0 ? "none" : whole(chunk)) },
    { head: "ns a call", cell: ({ nsPerCall }: BoundaryRow) => figure(nsPerCall) },
    { head: "ns an access", cell: ({ nsPerAccess }: BoundaryRow) => figure(nsPerAccess) },
    { head: "times the largest", cell: ({ timesLargest }: BoundaryRow) => ratio(timesLargest) },
  ];
  const note =
    "none: an export that reads one number. Accesses: all TLB hits, by stream. The library makes 65,536 a call.";
  return { title: "boundary: calls into the core", rows, text: [...table(columns, rows), "", note] };
}
