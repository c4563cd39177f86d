// KVM's MMUs at guest sizes of 64 MiB, 1 GiB and 16 GiB: a walk for every access, a fault for every access, and the reverse map. What is asked
// is whether a cost grows with the guest. So the same work is done in each: as many pages of as many leaf tables, from all over the guest. Beside it pages that
// are all over the guest in another sense, each of them anywhere: these are more tables and more lines of memory the larger the guest is. How many lines a fault
// changes, and what a load takes that waits for its line in a set of as many, is measured in the same run.

import { Core } from "#dist/core.js";
import type { Scenario } from "#dist/index.js";
import { median, race, untimed } from "../measure.js";
import { type Column, figure, type Setting, type SuiteReport, table, whole } from "../report.js";
import { faultCount, Rig, STREAM } from "../rig.js";
import { Chase, linesChanged } from "./workingset.js";

const MIB_PAGES = 256;
export const SIZES_MIB = [64, 1024, 16_384] as const;
const TOUCHES = 1 << 16;
/** The work that is the same in all guests: 128 pages of each of 32 leaf tables. */
const SAME_PAGES = 4096;
const SAME_TABLES = 32;
const TABLE_PAGES = 512;
const LOADS = 1 << 18;
const MMUS = ["tdp", "legacy"] as const;

type Mmu = (typeof MMUS)[number];

/** One pass over a set of pages. */
export interface Touched {
  /** ns an access, each of which walks. */
  walkNs: number;
  /** ns a fault on a page that the host has. */
  faultNs: number;
  faults: number;
  /** Tables of sptes that the faults of a pass made. */
  tables: number;
  /** Lines of memory that the faults of a pass changed. */
  lines: number;
  /** ns a load that waits for the one before it, in as many lines. */
  loadNs: number;
}

export interface WalkRow {
  mmu: Mmu;
  guestMiB: number;
  same: Touched;
  anywhere: Touched;
}

export interface RmapRow {
  entries: number;
  lists: number;
  nsPerEntry: number;
  nsPerList: number;
}

/** Pages of a guest in random order, each at most once while there are enough: all of `pages`, beginning at `first`. */
export function touches(first: number, pages: number, count: number): Uint32Array {
  // A step that has no divisor in common with a power of two visits every page of a power of two once.
  const step = 0x9e3779b1;
  return Uint32Array.from({ length: count }, (_, index) => first + ((Math.imul(index, step) >>> 0) % pages));
}

/** Pages of SAME_TABLES leaf tables at equal distances over a guest of `pages`, in random order. */
export function sameTouches(pages: number): Uint32Array {
  const share = SAME_PAGES / SAME_TABLES;
  const tables = pages / TABLE_PAGES;
  return touches(0, SAME_PAGES, SAME_PAGES).map((page) => {
    const table = Math.floor((Math.floor(page / share) * tables) / SAME_TABLES);
    return table * TABLE_PAGES + (page % share);
  });
}

/** A guest of `mib` MiB whose pages are all there, on a TLB of one entry. */
export function guest(mmu: Mmu, mib: number): Scenario {
  const workload = { kind: "trace" as const, file: STREAM, loop: true };
  return {
    host: { memory: `${mib + Math.ceil(mib / 32) + 64}MiB` },
    vms: [
      {
        name: "vm",
        memory: `${mib}MiB`,
        mmu,
        tlb: { entries: 1, ways: 1 },
        guest: { tasks: [{ prefault: true, workload }] },
      },
    ],
  };
}

/** Passes over the `pages` accesses of a rig's stream, with the sptes there and without. */
export function measureTouches(rig: Rig, pages: number, rounds?: number): Touched {
  const passes = TOUCHES / pages;
  rig.run(TOUCHES);
  rig.zapAll();
  const memory = rig.core.memory.buffer.slice(0);
  const before = rig.read();
  const made = rig.core.call.traceCount(rig.core.constant("TRACE_KVM_MMU_GET_PAGE"));
  rig.run(pages);
  const faults = faultCount(rig.since(before).faults);
  const tables = Number(rig.core.call.traceCount(rig.core.constant("TRACE_KVM_MMU_GET_PAGE")) - made);
  const lines = linesChanged(memory, rig.core.memory.buffer);
  const chase = new Chase(lines);
  const [walking, faulting, loading] = race(
    [
      { name: "walk", run: () => rig.run(TOUCHES) },
      {
        name: "fault",
        run: () => {
          for (let pass = 0; pass < passes; pass++) {
            untimed(() => rig.zapAll());
            rig.run(pages);
          }
        },
      },
      { name: "load", run: () => chase.run(LOADS) },
    ],
    rounds,
  ) as [number[], number[], number[]];
  return {
    walkNs: (median(walking) / TOUCHES) * 1e9,
    // Of the passes with faults, the accesses themselves cost what they cost in the others.
    faultNs: ((median(faulting) - median(walking)) / (faults * passes)) * 1e9,
    ...{ faults, tables, lines },
    loadNs: (median(loading) / LOADS) * 1e9,
  };
}

export function measureGuest(module: WebAssembly.Module, mmu: Mmu, mib: number): WalkRow {
  const pages = mib * MIB_PAGES;
  const scenario = guest(mmu, mib);
  const of = (stream: Uint32Array): Touched =>
    measureTouches(Rig.boot(module, scenario, stream), stream.length);
  const anywhere = touches(0, pages, Math.min(pages, TOUCHES));
  return { mmu, guestMiB: mib, same: of(sameTouches(pages)), anywhere: of(anywhere) };
}

/** Walks lists of `entries` entries, as many as make `total`. */
export function measureRmap(module: WebAssembly.Module, entries: number, total: number): RmapRow {
  const core = new Core(module);
  const { call } = core;
  const lists = total / entries;
  if (call.kvmCaseLists(lists, total, 0) !== 0) throw new Error(`${total} entries do not fit`);
  for (let entry = 1; entry <= total; entry++) call.kvmCaseAdd(entry % lists, entry);
  const [seconds] = race([{ name: `${entries}`, run: () => met(call.kvmCaseWalk(0, lists), total) }]) as [
    number[],
  ];
  const ns = median(seconds) * 1e9;
  return { entries, lists, nsPerEntry: ns / total, nsPerList: ns / lists };
}

function met(entries: number, expected: number): void {
  if (entries !== expected) throw new Error(`${entries} entries met, not ${expected}`);
}

function touchedColumns(what: string, of: (row: WalkRow) => Touched): Column<WalkRow>[] {
  return [
    { head: `${what}: walk ns`, cell: (row) => figure(of(row).walkNs) },
    { head: "fault ns", cell: (row) => figure(of(row).faultNs) },
    { head: "faults a table", cell: (row) => figure(of(row).faults / of(row).tables) },
    { head: "lines a fault", cell: (row) => figure(of(row).lines / of(row).faults) },
    { head: "load ns", cell: (row) => figure(of(row).loadNs) },
  ];
}

export async function mmu({ module }: Setting): Promise<SuiteReport> {
  const walks = MMUS.flatMap((kind) => SIZES_MIB.map((mib) => measureGuest(module, kind, mib)));
  const rmaps = [1, 4, 64].map((entries) => measureRmap(module, entries, 1 << 16));
  const ns = (value: number): string => figure(value);
  return {
    title: "KVM's MMUs: does a cost grow with the guest?",
    rows: [...walks, ...rmaps],
    text: [
      ...table<WalkRow>(
        [
          { head: "mmu", cell: (row) => row.mmu, align: "left" },
          { head: "guest", cell: (row) => `${whole(row.guestMiB)} MiB` },
          ...touchedColumns("same work", ({ same }) => same),
          ...touchedColumns("anywhere", ({ anywhere }) => anywhere),
        ],
        walks,
      ),
      "",
      ...table<RmapRow>(
        [
          { head: "sptes a page", cell: (row) => whole(row.entries) },
          { head: "lists", cell: (row) => whole(row.lists) },
          { head: "ns an spte", cell: (row) => ns(row.nsPerEntry) },
          { head: "ns a list", cell: (row) => ns(row.nsPerList) },
        ],
        rmaps,
      ),
    ],
  };
}
