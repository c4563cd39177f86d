// KVM's MMUs at guest sizes of 64 MiB, 1 GiB and 16 GiB: a walk for every access, a fault for every access, and the reverse map. What is asked
// is whether a cost grows with the guest. A set of pages that stays the same size in a growing guest meets the same caches; pages from all over the
// guest meet ever colder ones, which is what the second column shows.

import { Core } from "#dist/core.js";
import type { Scenario } from "#dist/index.js";
import { median, race, untimed } from "../measure.js";
import { figure, type Setting, type SuiteReport, table, whole } from "../report.js";
import { faultCount, Rig, STREAM } from "../rig.js";

const MIB_PAGES = 256;
export const SIZES_MIB = [64, 1024, 16_384] as const;
const TOUCHES = 1 << 16;
const LOCAL_PAGES = 4096;
const MMUS = ["tdp", "legacy"] as const;

type Mmu = (typeof MMUS)[number];

export interface WalkRow {
  mmu: Mmu;
  guestMiB: number;
  /** ns an access, each of which walks: pages from all over the guest, and from 16 MiB of it. */
  walkNs: number;
  walkLocalNs: number;
  /** ns a fault on a page that the host has. */
  faultNs: number;
  faultLocalNs: number;
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

/** ns an access of a round whose accesses walk, and ns a fault of one in which the sptes are gone. */
export function measureTouches(
  rig: Rig,
  rounds?: number,
): { walkNs: number; faultNs: number; faults: number } {
  rig.run(TOUCHES);
  rig.zapAll();
  const before = rig.read();
  rig.run(TOUCHES);
  const faults = faultCount(rig.since(before).faults);
  const walk = (): void => rig.run(TOUCHES);
  const fault = (): void => {
    untimed(() => rig.zapAll());
    rig.run(TOUCHES);
  };
  const [walking, faulting] = race(
    [
      { name: "walk", run: walk },
      { name: "fault", run: fault },
    ],
    rounds,
  ) as [number[], number[]];
  const walkNs = (median(walking) / TOUCHES) * 1e9;
  // Of the round with faults, the accesses themselves cost what they cost in the other.
  const faultNs = ((median(faulting) - median(walking)) / faults) * 1e9;
  return { walkNs, faultNs, faults };
}

export function measureGuest(module: WebAssembly.Module, mmu: Mmu, mib: number): WalkRow {
  const pages = mib * MIB_PAGES;
  const scenario = guest(mmu, mib);
  const all = measureTouches(Rig.boot(module, scenario, touches(0, pages, TOUCHES)));
  const some = touches(pages - LOCAL_PAGES, LOCAL_PAGES, LOCAL_PAGES);
  const local = measureTouches(Rig.boot(module, scenario, some));
  return {
    mmu,
    guestMiB: mib,
    walkNs: all.walkNs,
    walkLocalNs: local.walkNs,
    faultNs: all.faultNs,
    faultLocalNs: local.faultNs,
  };
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
          { head: "walk ns", cell: (row) => ns(row.walkNs) },
          { head: "16 MiB of it", cell: (row) => ns(row.walkLocalNs) },
          { head: "fault ns", cell: (row) => ns(row.faultNs) },
          { head: "16 MiB of it", cell: (row) => ns(row.faultLocalNs) },
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
