// The page allocator: blocks taken and freed at random with about half of memory in use, for two mixes of orders and two sizes
// of memory, and isolation of a free block with its return. Beside the core the same allocator in plain TypeScript runs the same script.

import { Core } from "#dist/core.js";
import { PlainBuddy, type PlainLimits } from "../baseline/buddy.js";
import { type Contender, median, race, speedup } from "../measure.js";
import { figure, ratio, type Setting, type SuiteReport, table } from "../report.js";

export const MOVABLE = 0x82008;
export const ZONE = 2;
const START = 1024;

type Mix = "uniform" | "geometric";

export interface BuddyRow {
  pages: number;
  mix: Mix;
  operations: number;
}

interface BuddyResult {
  what: string;
  millionsPerSecond: number;
  timesPlain: number;
}

export function buddyRows(small = 2 ** 20, large = 2 ** 24, operations = 2 ** 19): BuddyRow[] {
  return [small, large].flatMap((pages) =>
    (["geometric", "uniform"] as const).map((mix) => ({ pages, mix, operations })),
  );
}

// A small generator of its own, so that a script is the same in every run.
export function generator(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}

function orderOf(mix: Mix, random: (below: number) => number): number {
  if (mix === "uniform") return random(11);
  let order = 0;
  while (order < 10 && random(2) === 1) order++;
  return order;
}

/** Fills memory to one half, then takes and frees in turns. */
export function buddyScript({ pages, mix, operations }: BuddyRow): { script: Uint32Array; slots: number } {
  const random = generator(7);
  const script: number[] = [];
  const held: number[] = [];
  const orders: number[] = [];
  let used = 0;
  const take = (slot: number): void => {
    const order = orderOf(mix, random);
    orders[slot] = order;
    held.push(slot);
    used += 2 ** order;
    script.push((order << 24) | slot);
  };
  while (used < pages / 2) take(orders.length);
  while (script.length < operations || held.length === 0) {
    const place = random(held.length);
    const slot = held[place]!;
    held[place] = held[held.length - 1]!;
    held.pop();
    used -= 2 ** orders[slot]!;
    script.push(((1 << 31) | (orders[slot]! << 24) | slot) >>> 0);
    take(slot);
  }
  // All goes back, so that the script can run again.
  for (const slot of held) script.push(((1 << 31) | (orders[slot]! << 24) | slot) >>> 0);
  return { script: Uint32Array.from(script), slots: orders.length };
}

/** A zone's watermarks, and the sizes of its per-CPU lists that Linux gives a zone of 1 GiB or more. */
export function limitsOf(pages: number): PlainLimits {
  const low = Math.ceil(pages / 1000);
  return { min: low >> 1, low, batch: 63, high: 504, threshold: 125 };
}

/** A zone of `pages` free pages with a script's words in its memory. */
export function zoneWith(
  module: WebAssembly.Module,
  pages: number,
  script: Uint32Array,
  slots: number,
): { core: Core; at: number; start: number } {
  const core = new Core(module);
  const { call } = core;
  const { min, low, batch, high, threshold } = limitsOf(pages);
  call.zoneCaseBegin(START + pages, 1);
  call.zoneCaseZone(ZONE, START, pages, pages, pages, min, low, 2 * low - min);
  const at = call.zoneCaseScript(script.length, slots);
  if (call.zoneCaseReady() !== 0) throw new Error(`${pages} pages do not fit`);
  call.zoneCasePcp(ZONE, 0, batch, high, 0, threshold, 0);
  for (let pfn = START; pfn < START + pages; pfn += 512) call.zoneCaseBlock(ZONE, pfn, 1, 0);
  call.zoneCaseZoneState(ZONE, 0, pages, 0, 0);
  for (let pfn = START; pfn < START + pages; pfn += 1024) call.zoneCaseFree(ZONE, 10, 1, pfn);
  core.u32(at, script.length).set(script);
  return { core, at, start: START };
}

function measured(what: string, units: number, ours: () => void, plain: () => void): BuddyResult {
  const contenders: Contender[] = [
    { name: what, run: ours },
    { name: `${what}, plain`, run: plain },
  ];
  const [own, other] = race(contenders) as [number[], number[]];
  return { what, millionsPerSecond: units / median(own) / 1e6, timesPlain: speedup(own, other) };
}

function allocations({ module }: Setting): BuddyResult[] {
  return buddyRows().map((row) => {
    const { script, slots } = buddyScript(row);
    const { core, at } = zoneWith(module, row.pages, script, slots);
    const plain = new PlainBuddy(row.pages, limitsOf(row.pages));
    const held = new Uint32Array(slots).fill(0xffffffff);
    return measured(
      `take and free, ${row.mix} orders, ${row.pages / 2 ** 20}Mi pages`,
      script.length,
      () => core.call.zoneCaseRun(at, script.length, MOVABLE),
      () => plain.run(script, held),
    );
  });
}

function isolation({ module }: Setting): BuddyResult[] {
  const times = 2 ** 20;
  return [9, 10].map((order) => {
    const pages = 2 ** 20;
    // Taking one smaller block splits a large one, so that every order has a free block.
    const script = Uint32Array.of(9 << 24);
    const { core, at } = zoneWith(module, pages, script, 1);
    core.call.zoneCaseRun(at, 1, MOVABLE);
    core.call.zoneCaseDrain(0);
    const plain = new PlainBuddy(pages, limitsOf(pages));
    plain.run(script, new Uint32Array(1).fill(0xffffffff));
    plain.drain();
    return measured(
      `isolate and put back, order ${order}`,
      times,
      () => core.call.zoneCaseIsolateRun(ZONE, order, 1, times),
      () => {
        for (let time = 0; time < times; time++) plain.isolate(order);
      },
    );
  });
}

export async function buddy(setting: Setting): Promise<SuiteReport> {
  const rows = [...allocations(setting), ...isolation(setting)];
  const columns = [
    { head: "page allocator", align: "left" as const, cell: (row: BuddyResult) => row.what },
    { head: "M/s", cell: (row: BuddyResult) => figure(row.millionsPerSecond) },
    { head: "times plain TypeScript", cell: (row: BuddyResult) => ratio(row.timesPlain) },
  ];
  const note = "The plain allocator does the same, with one array a field: the two hand out the same pages.";
  return {
    title: "Page allocator: operations a CPU second",
    rows,
    text: [...table(columns, rows), "", note],
  };
}
