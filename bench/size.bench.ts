// What an access costs against the guest's size: where it stops growing, the simulator's own memory has stopped to matter.

import { writeFileSync } from "node:fs";
import { accessRows, measureRow } from "./accesses.bench.js";
import { type Plot, svgOf } from "./plot.js";
import { figure, type Setting, type SuiteReport, table } from "./report.js";

/** Sizes in MiB: from what fits the caches to what fits no level of them. */
const SIZES = [8, 64, 256, 1024, 4096, 16_384];
const PAGES_PER_MIB = 256;
const STREAM_ACCESSES = 4_194_304;
const PLOTTED = ["zipf", "uniform"];

export interface SizeRow {
  workload: string;
  guestMiB: number;
  /** CPU ns an access. */
  ns: number;
  plainNs: number;
}

export async function sizes(setting: Setting, guests: readonly number[] = SIZES): Promise<SuiteReport> {
  const rows: SizeRow[] = [];
  for (const guestMiB of guests) {
    for (const row of accessRows(guestMiB * PAGES_PER_MIB, STREAM_ACCESSES)) {
      if (row.fedBy !== "stream" || !PLOTTED.includes(row.name)) continue;
      const { accessesPerUs, plainAccessesPerUs } = await measureRow(row, { ...setting, against: undefined });
      rows.push({
        workload: row.name,
        guestMiB,
        ns: 1000 / accessesPerUs,
        plainNs: 1000 / plainAccessesPerUs!,
      });
    }
  }
  const columns = [
    { head: "workload", cell: ({ workload }: SizeRow) => workload, align: "left" as const },
    { head: "guest", cell: ({ guestMiB }: SizeRow) => sizeText(guestMiB) },
    { head: "CPU ns an access", cell: ({ ns }: SizeRow) => figure(ns) },
    { head: "plain TS", cell: ({ plainNs }: SizeRow) => figure(plainNs) },
  ];
  const notes = ["Everything resident, fed by streams, 30 % writes."];
  if (setting.plot !== undefined) {
    writeFileSync(setting.plot, svgOf(sizePlot(rows)));
    notes.push(`The plot is in ${setting.plot}.`);
  }
  return {
    title: "size: an access against the guest's size",
    rows,
    text: [...table(columns, rows), ...notes],
  };
}

/** The rows as lines, one a workload and contender. */
export function sizePlot(rows: readonly SizeRow[]): Plot {
  const sizesOf = [...new Set(rows.map(({ guestMiB }) => guestMiB))];
  const lines = PLOTTED.flatMap((workload) => {
    const own = rows.filter((row) => row.workload === workload);
    return [
      { name: workload, dashed: false, points: own.map(({ guestMiB, ns }) => ({ x: guestMiB, y: ns })) },
      {
        name: `${workload}, plain TypeScript`,
        dashed: true,
        points: own.map(({ guestMiB, plainNs }) => ({ x: guestMiB, y: plainNs })),
      },
    ];
  });
  return {
    title: "CPU time of an access against the guest's size",
    x: "guest",
    y: "CPU ns an access",
    ticks: sizesOf.map((x) => ({ x, text: sizeText(x) })),
    lines,
  };
}

function sizeText(mib: number): string {
  return mib < 1024 ? `${mib} MiB` : `${mib / 1024} GiB`;
}
