// In how many of its seeds a point has met what is wrong, as a table behind the one of the figures.

import type { RunResult } from "../result.js";
import type { Plan } from "../sweep/plan.js";
import type { SweepRow } from "../sweep/row.js";
import { violationsOf } from "./sweepfigures.js";
import { type Column, table } from "./table.js";

interface Kind {
  head: string;
  /** How often it was met in a run. */
  times(result: RunResult): number;
}

const CONTENTS: Kind[] = [
  { head: "lost writes", times: (result) => violationsOf(result).lostWrites },
  { head: "stale reads", times: (result) => violationsOf(result).staleReads },
  { head: "unreachable pins", times: (result) => violationsOf(result).unreachablePins },
];

const MEMORY: Kind = { head: "out of memory", times: ({ status }) => Number(status === "oom") };

/**
 * A line for each combination of the varied values: `3 of 100: 7` says that 3 of its 100 seeds met 7 together. None unless there are several seeds
 * and contents were checked.
 *
 * @param names the varied paths
 * @param set the cells that say which combination a row belongs to
 */
export function seedLines(
  { seeds }: Plan,
  names: Column[],
  rows: SweepRow[],
  set: (row: SweepRow) => string[],
): string[] {
  const results = rows.flatMap(({ result }) => result ?? []);
  if (seeds === 1 || !results.some(({ scenario }) => scenario.check.integrity)) return [];
  const kinds = [...CONTENTS, ...(results.some((result) => MEMORY.times(result) > 0) ? [MEMORY] : [])];
  const firsts = rows.filter(({ point }) => point.index % seeds === 0);
  const cells = firsts.map(({ point: { index } }) => {
    const runs = rows.filter(({ point }) => point.index >= index && point.index < index + seeds);
    const ended = runs.flatMap(({ result }) => result ?? []);
    return [...set(runs[0]!), ...kinds.map((kind) => rate(ended, kind))];
  });
  const heads = kinds.map(({ head }): Column => ({ head, align: "right" }));
  return ["", ...table([...names, ...heads], cells)];
}

function rate(results: RunResult[], { times }: Kind): string {
  const met = results.map(times).filter((count) => count > 0);
  const sum = met.reduce((total, count) => total + count, 0);
  const more = sum > met.length ? `: ${sum}` : "";
  return `${met.length} of ${results.length}${more}`;
}
