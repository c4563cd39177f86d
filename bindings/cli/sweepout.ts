// What a sweep prints: a table for people, NDJSON with whole results or CSV with the figures for programs. The latter two come row by
// row, and each of their lines names its sweep and its point: a sweep that was interrupted goes on where its output ends.

import { PagevisorError } from "../errors.js";
import { parseJson } from "../json.js";
import { show } from "../problems.js";
import type { Plan } from "../sweep/plan.js";
import type { SweepRow } from "../sweep/row.js";
import { throughputCell } from "./compared.js";
import { count, NONE, pages, share, time } from "./numbers.js";
import { eventLines } from "./sweepevents.js";
import { type Figures, figuresOf } from "./sweepfigures.js";
import { seedLines } from "./sweepseeds.js";
import { type Column, table, WIDTH, wrap } from "./table.js";
import type { Colors } from "./terminal.js";

/** How rows become lines, and how a line says which row it is. */
export interface LineFormat {
  /** The first line, or null for none. */
  head(plan: Plan): string | null;
  line(plan: Plan, row: SweepRow): string;
  /** The sweep and the point of a line; undefined where the line has none. */
  identity(line: string, file: string, number: number): { sweep: unknown; index: unknown };
}

const SCHEMA = "pagevisor.sweep/1";

export const ndjson: LineFormat = {
  head: () => null,
  line: ({ id }, row) => JSON.stringify({ schema: SCHEMA, sweep: id, ...row }),
  identity: (line, file, number) => {
    const row = parseJson(line, file, number) as { sweep?: unknown; point?: { index?: unknown } } | null;
    return { sweep: row?.sweep, index: row?.point?.index };
  },
};

const FIGURES: (keyof Figures)[] = [
  "ratio",
  "accesses",
  "virtualTimeNs",
  "minorFaults",
  "majorFaults",
  "majorP99Ns",
  "swapIn",
  "swapOut",
  "stall",
  "lostWrites",
  "staleReads",
  "unreachablePins",
];

export const csv: LineFormat = {
  head: ({ paths }) =>
    ["sweep", "index", ...paths, "seed", "status", "error", "digest", ...FIGURES].map(csvCell).join(","),
  line: ({ id }, { point, result, error }) => {
    const figures = result === null ? null : figuresOf(result);
    const cells = [
      ...[id, point.index, ...Object.values(point.set), point.seed],
      ...[result?.status ?? "error", error?.message ?? "", result?.digest ?? ""],
      ...FIGURES.map((name) => figures?.[name] ?? ""),
    ];
    return cells.map(csvCell).join(",");
  },
  identity: (line) => {
    const [sweep, index] = line.split(",");
    return { sweep, index: /^\d+$/.test(index ?? "") ? Number(index) : index };
  },
};

function csvCell(value: unknown): string {
  const text = typeof value === "string" ? value : JSON.stringify(value);
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

/** How much of an earlier output can be kept. */
export interface Kept {
  rows: number;
  /** Its length; what comes after it is a line that was cut short. */
  bytes: number;
}

/**
 * Reads the output of an earlier run of the same sweep.
 *
 * @throws PagevisorError E_SWEEP when it is the output of another sweep, or its rows are not the first of this one; E_FILE for a line
 * that is none
 */
export function readOutput(text: string, file: string, format: LineFormat, plan: Plan): Kept {
  const whole = text.slice(0, text.lastIndexOf("\n") + 1);
  const lines = whole === "" ? [] : whole.slice(0, -1).split("\n");
  const head = format.head(plan);
  if (head !== null && lines.length > 0 && lines.shift() !== head) throw notThis(file, 1, "other columns");
  for (const [row, line] of lines.entries()) {
    const number = row + (head === null ? 1 : 2);
    const { sweep, index } = format.identity(line, file, number);
    if (sweep !== plan.id)
      throw notThis(file, number, `a row of sweep ${show(sweep)}, this is ${show(plan.id)}`);
    if (index !== row || row >= plan.points)
      throw notThis(file, number, `point ${show(index)} instead of ${row}`);
  }
  return { rows: lines.length, bytes: Buffer.byteLength(whole) };
}

function notThis(file: string, line: number, wrong: string): PagevisorError {
  return new PagevisorError(
    "E_SWEEP",
    `${file}:${line}: ${wrong}. Allowed: the output of the same scenario, files, --vary, --seeds, limits, format and version; ` +
      "leave out --resume to begin anew",
  );
}

const right = (head: string): Column => ({ head, align: "right" });

/** The rows as a table; throughput is relative to the first row that has a result. */
export function sweepTable(plan: Plan, rows: SweepRow[], colors: Colors): string {
  const names = plan.paths.map((path): Column => ({ head: path, align: "left" }));
  const seed = plan.seeds > 1 ? [right("seed")] : [];
  const columns = [
    ...names,
    ...seed,
    ...["ratio", "throughput", "major p99", "swap-ins", "swapped in", "swapped out", "stalled"].map(right),
  ];
  const first = rows.find(({ result }) => result !== null)?.result;
  const setCells = ({ point }: SweepRow): string[] =>
    Object.values(point.set).map((value) => (typeof value === "string" ? value : JSON.stringify(value)));
  const pointCells = (row: SweepRow): string[] => [
    ...setCells(row),
    ...(plan.seeds > 1 ? [String(row.point.seed)] : []),
  ];
  const cells = rows.map((row) => [
    ...pointCells(row),
    ...(row.result === null
      ? ["", "error", "", "", "", "", ""]
      : figureCells(figuresOf(row.result), throughputCell(row.result, first))),
  ]);
  const [head = "", ...lines] = table(columns, cells);
  const errors = rows.flatMap(({ point, error }) =>
    error === null ? [] : ["", ...wrap(`point ${point.index}: ${error.message}`, WIDTH).map(colors.red)],
  );
  const events = eventLines([...names, ...seed], rows, pointCells);
  const seeds = seedLines(plan, names, rows, setCells);
  return `${[colors.bold(head), ...lines, ...events, ...seeds, ...errors].join("\n")}\n`;
}

function figureCells(figures: Figures, relative: string): string[] {
  const { ratio, majorP99Ns, swapIn, swapOut, stall } = figures;
  return [
    ratio > 0 ? ratio.toFixed(2) : NONE,
    relative,
    time(majorP99Ns),
    count(swapIn),
    pages(swapIn),
    pages(swapOut),
    share(stall, 1),
  ];
}
