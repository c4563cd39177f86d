// What has become of a sweep's events that migrate pages, as a table behind the one of its figures.

import type { EventResult, VmResult } from "../result.js";
import type { SweepRow } from "../sweep/row.js";
import { count, NONE, time } from "./numbers.js";
import { type Column, table } from "./table.js";

const HEADS = ["moved", "failed", "passes", "time", "held: in vain", "held: moved", "ended"];

/**
 * A line for each event of each row that has migrated pages; none without such events.
 *
 * @param names the varied paths
 * @param point the cells that say which point a row is
 */
export function eventLines(names: Column[], rows: SweepRow[], point: (row: SweepRow) => string[]): string[] {
  const cells = rows.flatMap((row) =>
    (row.result?.events ?? [])
      .filter(({ failed }) => failed !== undefined)
      .map((event) => [...point(row), event.do, ...eventCells(event, row.result!.vms)]),
  );
  if (cells.length === 0) return [];
  const figures = HEADS.map((head): Column => ({ head, align: "right" }));
  return ["", ...table([...names, { head: "event", align: "left" }, ...figures], cells)];
}

function eventCells({ pages, failed = 0, passes, ns, error }: EventResult, vms: VmResult[]): string[] {
  const held = (what: "stayed" | "moved"): string =>
    count(vms.reduce((sum, { asyncPf }) => sum + asyncPf.held[what], 0));
  return [
    ...[count(pages), count(failed), passes === undefined ? NONE : count(passes), time(ns ?? 0)],
    ...[held("stayed"), held("moved"), ns === null ? "not yet" : (error ?? "done")],
  ];
}
