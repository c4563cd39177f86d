// Bytes that the simulator keeps for a page of a guest and for a frame of the host, as footprint() tells them: what one page, or one frame, more
// would take.

import { Machine, type Scenario } from "#dist/index.js";
import { figure, type Setting, type SuiteReport, table } from "./report.js";

const GIB = 2 ** 30;
const PAGES = GIB / 4096;

export interface MemoryRow {
  what: string;
  /** Bytes a guest page, without what the host has for the frames and slots that hold it. */
  perGuestPage: number;
  perHostFrame: number;
  perSwapSlot: number;
}

type More = Pick<Scenario, "check"> & { vm?: object; reclaim?: object; tables?: "shared" };

export const MEMORY_KINDS: readonly (readonly [string, More])[] = [
  ["TDP MMU", {}],
  ["legacy MMU", { vm: { mmu: "legacy" } }],
  ["shadow paging, one address space", { vm: { mmu: "shadow" }, tables: "shared" }],
  ["shadow paging", { vm: { mmu: "shadow" } }],
  ["integrity checked", { check: { integrity: true } }],
  ["policy clock", { reclaim: { policy: "clock" }, vm: { memoryMax: GIB / 2 } }],
];

async function bytesOf(
  { check, vm, reclaim, tables }: More,
  module: WebAssembly.Module,
  guest: number,
  host: number,
  swap: number,
): Promise<number> {
  const scenario = {
    host: {
      memory: host,
      swap: [{ kind: "zram-lz4", size: swap }],
      ...(reclaim !== undefined && { reclaim }),
    },
    ...(check !== undefined && { check }),
    vms: [
      {
        name: "guest",
        memory: guest,
        ...vm,
        guest: {
          ...(tables !== undefined && { pageTables: tables }),
          tasks: [{ workload: { kind: "uniform", pages: 1024, accesses: 1 } }],
        },
      },
    ],
  } as Scenario;
  const machine = await Machine.create(scenario, { module });
  return machine.footprint().bytes;
}

export async function memoryRow(
  [what, more]: readonly [string, More],
  module: WebAssembly.Module,
): Promise<MemoryRow> {
  const base = await bytesOf(more, module, GIB, GIB, 2 * GIB);
  const per = async (guest: number, host: number, swap: number): Promise<number> =>
    ((await bytesOf(more, module, guest, host, swap)) - base) / PAGES;
  return {
    what,
    perGuestPage: await per(2 * GIB, GIB, 2 * GIB),
    perHostFrame: await per(GIB, 2 * GIB, 2 * GIB),
    perSwapSlot: await per(GIB, GIB, 3 * GIB),
  };
}

export async function memory({ module }: Setting): Promise<SuiteReport> {
  const rows: MemoryRow[] = [];
  for (const kind of MEMORY_KINDS) rows.push(await memoryRow(kind, module));
  const columns = [
    { head: "machine", cell: ({ what }: MemoryRow) => what, align: "left" as const },
    { head: "bytes a guest page", cell: ({ perGuestPage }: MemoryRow) => figure(perGuestPage) },
    { head: "a host frame", cell: ({ perHostFrame }: MemoryRow) => figure(perHostFrame) },
    { head: "a swap slot", cell: ({ perSwapSlot }: MemoryRow) => figure(perSwapSlot) },
  ];
  return { title: "memory: what a page takes", rows, text: table(columns, rows) };
}
