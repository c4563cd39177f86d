// Pages that move to other frames: for move_pages(), for memory that goes offline, and for a compaction. Each call starts from a copy of one prepared
// machine, which is not counted. What it takes beside a page's move differs: a compaction looks for what to move and where to.

import { Machine, type Scenario } from "#dist/index.js";
import { median, race, untimed } from "../measure.js";
import { figure, type Setting, type SuiteReport, table, whole } from "../report.js";

const MIB = 2 ** 20;

export interface MigrateCase {
  what: string;
  /** What happens after a millisecond, to guests of so many bytes. */
  event: (bytes: number) => NonNullable<Scenario["events"]>[number];
  /** Every second page of one guest is given back before. */
  halved?: boolean;
}

const AT = "1ms";
/** Long enough for all that the event has to do. */
const TIME = "1s";

export const MIGRATE_CASES: readonly MigrateCase[] = [
  {
    what: "pages of a guest, in order",
    event: (bytes) => ({ at: AT, do: "migrate", vm: "stays", gfn: 0, pages: bytes / 4096 }),
  },
  { what: "memory goes offline", event: (bytes) => ({ at: AT, do: "offline", from: bytes, size: bytes }) },
  {
    what: "compaction of memory used by halves",
    event: () => ({ at: AT, do: "compact", mode: "sync" }),
    halved: true,
  },
];

/** Two guests side by side that have used all of their memory, and sleep until it is over. */
function scenario({ event }: MigrateCase, bytes: number): Scenario {
  const pages = bytes / 4096;
  const own = { region: "all", workload: { kind: "uniform" as const, pages, accesses: 1 } };
  const vm = (name: string): Scenario["vms"][number] => ({
    name,
    memory: bytes,
    guest: {
      tasks: [
        { ...own, prefault: true },
        { ...own, start: TIME },
      ],
    },
  });
  return {
    host: { memory: 4 * bytes + 32 * MIB },
    vms: [vm("stays"), vm("leaves")],
    events: [event(bytes)],
  };
}

export interface MigrateRow {
  what: string;
  pages: number;
  /** Frames looked at for what could move, and for where to, by a compaction. */
  scanned: number;
  pagesPerUs: number;
  cpuNsPerPage: number;
}

export async function migrateRow(
  one: MigrateCase,
  module: WebAssembly.Module,
  bytes = 128 * MIB,
  rounds?: number,
): Promise<MigrateRow> {
  const start = await Machine.create(scenario(one, bytes), { module });
  if (one.halved) {
    for (let gfn = 0; gfn < bytes / 4096; gfn += 2) start.advise("leaves", "dontneed", { gfn, pages: 1 });
  }
  let last = start;
  const run = (): void => {
    last = untimed(() => start.fork());
    last.run({ time: TIME });
  };
  const [seconds] = race([{ name: one.what, run }], rounds) as [number[]];
  const { migrate, compact } = last.result().host;
  const ns = (median(seconds) * 1e9) / migrate.succeeded;
  return {
    what: one.what,
    pages: migrate.succeeded,
    scanned: compact.migrateScanned + compact.freeScanned,
    pagesPerUs: 1e3 / ns,
    cpuNsPerPage: ns,
  };
}

export async function migrate({ module }: Setting): Promise<SuiteReport> {
  const rows: MigrateRow[] = [];
  for (const one of MIGRATE_CASES) rows.push(await migrateRow(one, module));
  const columns = [
    { head: "what", cell: ({ what }: MigrateRow) => what, align: "left" as const },
    { head: "pages moved", cell: ({ pages }: MigrateRow) => whole(pages) },
    { head: "frames scanned", cell: ({ scanned }: MigrateRow) => whole(scanned) },
    { head: "M pages/s", cell: ({ pagesPerUs }: MigrateRow) => figure(pagesPerUs) },
    { head: "CPU ns a page", cell: ({ cpuNsPerPage }: MigrateRow) => whole(cpuNsPerPage) },
  ];
  return { title: "migration: pages that move to other frames", rows, text: table(columns, rows) };
}
