// What a suite hands back and how it is printed: rows of plain numbers for --json, and the same as aligned text with units.

import { cpus } from "node:os";

/** What the suites run. */
export interface Setting {
  /** The core under test. */
  module: WebAssembly.Module;
  /** Another build of the core to compare with; undefined for none. */
  against: WebAssembly.Module | undefined;
  /** Where a suite that draws writes its plot; undefined for nowhere. */
  plot?: string | undefined;
}

export interface SuiteReport {
  /** What was measured and how to read it. */
  title: string;
  /** One object a line, all figures raw. */
  rows: object[];
  /** The table and its notes. */
  text: string[];
}

export type Suite = (setting: Setting) => Promise<SuiteReport>;

export interface Column<Row> {
  head: string;
  cell: (row: Row) => string;
  /** Default: right. */
  align?: "left";
}

const GAP = "  ";

/** Stands where a row has no such figure. */
export const NONE = "–";

/** Rows under their heads, as wide as the widest cell of each column. */
export function table<Row>(columns: readonly Column<Row>[], rows: readonly Row[]): string[] {
  const cells = [columns.map(({ head }) => head), ...rows.map((row) => columns.map(({ cell }) => cell(row)))];
  const widths = columns.map((_, column) => Math.max(...cells.map((line) => line[column]!.length)));
  return cells.map((line) =>
    line
      .map((text, column) =>
        columns[column]!.align === "left" ? text.padEnd(widths[column]!) : text.padStart(widths[column]!),
      )
      .join(GAP)
      .trimEnd(),
  );
}

/** A whole number with thousands separators. */
export function whole(value: number): string {
  return Math.round(value)
    .toString()
    .replace(/\B(?=(\d{3})+$)/g, ",");
}

/** A figure with three digits, or a dash. */
export function figure(value: number | undefined): string {
  if (value === undefined || !Number.isFinite(value)) return NONE;
  if (Math.abs(value) >= 99.95) return whole(value);
  return value.toFixed(Math.abs(value) >= 9.995 ? 1 : 2);
}

/** A ratio: `1.84x`. */
export function ratio(value: number | undefined): string {
  return value === undefined ? NONE : `${figure(value)}x`;
}

export function percent(share: number): string {
  return `${(share * 100).toFixed(1)}%`;
}

/** A measured rate beside the least that is asked of it. */
export function verdict(value: number, floor: number | undefined): string {
  if (floor === undefined) return "";
  return value >= floor ? `>= ${floor}: holds` : `>= ${floor}: missed`;
}

/** What the figures were measured on. */
export interface Host {
  node: string;
  v8: string;
  cpu: string;
  cores: number;
}

export function thisHost(): Host {
  const all = cpus();
  return {
    node: process.version,
    v8: process.versions.v8,
    cpu: all[0]?.model.trim() ?? "unknown",
    cores: all.length,
  };
}

export function hostLine({ node, v8, cpu, cores }: Host): string {
  return `node ${node} (V8 ${v8}), ${cpu}, ${cores} ${cores === 1 ? "core" : "cores"}; CPU time, medians of rounds in turns`;
}
