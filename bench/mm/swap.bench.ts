// Swap slots: taken and given back in an area that is empty, half full and 95 % full, occupied at random, with clusters and on a
// rotational area. Beside the core a plain TypeScript allocator that follows the same rules runs the same script.

import { Core } from "#dist/core.js";
import { PlainSwap } from "../baseline/swap.js";
import { median, race, speedup } from "../measure.js";
import { figure, percent, ratio, type Setting, type SuiteReport, table } from "../report.js";
import { concat } from "../streams.js";
import { generator } from "./buddy.bench.js";

const GIVE = 0x80000000;

export interface SlotRow {
  slots: number;
  rotational: boolean;
  /** Share of the slots in use while operations are timed. */
  occupancy: number;
  operations: number;
}

interface SlotResult {
  what: string;
  millionsPerSecond: number;
  timesPlain: number;
}

/** What is done once, to come to the occupancy, and what is timed, which leaves it as it was. */
export interface SlotScript {
  fill: Uint32Array;
  timed: Uint32Array;
  places: number;
}

export function slotRows(slots = 2 ** 20, operations = 2 ** 19): SlotRow[] {
  return [false, true].flatMap((rotational) =>
    [0, 0.5, 0.95].map((occupancy) => ({ slots, rotational, occupancy, operations })),
  );
}

/**
 * Fills the area, gives slots back at random down to the occupancy, and then takes one for each that it gives back. An empty area
 * is one in which all that is taken is given back, in random order.
 */
export function slotScript({ slots, occupancy, operations }: SlotRow): SlotScript {
  const random = generator(11);
  const upTo = (places: number): Uint32Array => Uint32Array.from({ length: places }, (_, place) => place);
  const shuffled = (places: number): Uint32Array => {
    const order = upTo(places);
    for (let last = places - 1; last > 0; last--) {
      const other = random(last + 1);
      [order[last], order[other]] = [order[other]!, order[last]!];
    }
    return order;
  };
  const give = (place: number): number => (GIVE | place) >>> 0;
  if (occupancy === 0) {
    const order = shuffled(operations / 2);
    return {
      fill: new Uint32Array(),
      timed: concat(upTo(order.length), order.map(give)),
      places: order.length,
    };
  }
  const usable = slots - 1;
  const order = shuffled(usable);
  const held = order.subarray(0, Math.floor(usable * occupancy));
  const fill = concat(upTo(usable), order.subarray(held.length).map(give));
  const timed = new Uint32Array(operations);
  for (let at = 0; at < operations; at += 2) {
    const place = held[random(held.length)]!;
    timed[at] = give(place);
    timed[at + 1] = place;
  }
  return { fill, timed, places: usable };
}

/** A core with one area and a script's words in its memory: a function that runs words of it. */
export function coreWith(
  module: WebAssembly.Module,
  { slots, rotational }: SlotRow,
  { fill, timed, places }: SlotScript,
): { core: Core; run: (words: Uint32Array) => number; places: () => Uint32Array } {
  const core = new Core(module);
  const { call } = core;
  const failed =
    call.slotCaseBegin(1, 0) +
    call.slotCaseArea(slots, 0, rotational ? core.constant("DEVICE_ROTATIONAL") : 0);
  const at = call.slotCaseScript(Math.max(fill.length, timed.length), places);
  if (failed + call.slotCaseReady(1) !== 0) throw new Error(`${slots} slots do not fit`);
  const run = (words: Uint32Array): number => {
    core.u32(at, words.length).set(words);
    return call.slotCaseRun(at, words.length) >>> 0;
  };
  return { core, run, places: () => core.u32(call.slotCasePlaces(), places) };
}

/** The plain allocator of the same area; its scans begin where the core's do. */
export function plainWith(core: Core, { slots, rotational }: SlotRow): PlainSwap {
  const start = rotational ? core.call.swapsnapClusterNext(0) : core.call.swapsnapCpuScan(0, 0);
  return new PlainSwap(slots, rotational, start >>> 0, generator(5));
}

function measured(row: SlotRow, { module }: Setting): SlotResult {
  const script = slotScript(row);
  const { core, run } = coreWith(module, row, script);
  const plain = plainWith(core, row);
  const places = new Uint32Array(script.places);
  run(script.fill);
  plain.run(script.fill, places);
  const kind = row.rotational ? "rotational" : "clusters";
  const what = `${kind}, ${row.occupancy === 0 ? "empty" : `${percent(row.occupancy)} full`}`;
  const [own, other] = race([
    { name: what, run: () => run(script.timed) },
    { name: `${what}, plain`, run: () => plain.run(script.timed, places) },
  ]) as [number[], number[]];
  return {
    what,
    millionsPerSecond: script.timed.length / median(own) / 1e6,
    timesPlain: speedup(own, other),
  };
}

export async function swap(setting: Setting): Promise<SuiteReport> {
  const rows = slotRows().map((row) => measured(row, setting));
  const columns = [
    { head: "swap slots, area", align: "left" as const, cell: (row: SlotResult) => row.what },
    { head: "M/s", cell: (row: SlotResult) => figure(row.millionsPerSecond) },
    { head: "times plain TypeScript", cell: (row: SlotResult) => ratio(row.timesPlain) },
  ];
  const note = "One area of a million slots. The plain allocator has one CPU and one area.";
  return {
    title: "Swap slots: takings and returns a CPU second",
    rows,
    text: [...table(columns, rows), "", note],
  };
}
