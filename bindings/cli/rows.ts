// The same run with less and less host memory: five rows, and one sentence computed from them.
// Who runs a scenario is the caller's choice, so a test can hand in results.

import { PagevisorError } from "../errors.js";
import type { RunResult } from "../result.js";
import { formatBytes, formatNs } from "../units.js";
import { relativeThroughput, throughput, throughputCell } from "./compared.js";
import { count, share, time } from "./numbers.js";
import { allKinds, faultCount, sumStages, totalNs } from "./stages.js";
import { type Column, table, WIDTH, wrap } from "./table.js";
import type { Colors } from "./terminal.js";

/** Percent of the scenario's host memory; the first row is the run that was made already. */
export const PERCENTS: readonly number[] = [100, 90, 80, 70, 60];

const PAGE_BYTES = 4096;

export interface Row {
  percent: number;
  /** Host memory, bytes: whole 4 KiB pages. */
  memory: number;
  /** Null when the host does not start with this little memory. */
  result: RunResult | null;
}

/** Runs the scenario with `memory` bytes of host memory. */
export type RunWithMemory = (memory: number, percent: number) => Promise<RunResult>;

/**
 * Makes the rows below `first`, one run after the other. Ends early, without the row that was cut short, when a run
 * is interrupted.
 */
export async function measureRows(first: RunResult, run: RunWithMemory): Promise<Row[]> {
  const full = first.scenario.host.memory;
  const rows: Row[] = [{ percent: 100, memory: full, result: first }];
  for (const percent of PERCENTS.slice(1)) {
    const memory = Math.floor((full * percent) / 100 / PAGE_BYTES) * PAGE_BYTES;
    const result = await run(memory, percent).catch(refused);
    if (result?.status === "interrupted") break;
    rows.push({ percent, memory, result });
  }
  return rows;
}

/** A host too small to start is a row, every other error is passed on. */
function refused(error: unknown): null {
  if (error instanceof PagevisorError && error.code === "E_SCENARIO") return null;
  throw error;
}

/** The rows as a table and the sentence below it, lines joined by newlines, one at the end. */
export function rowsText(rows: Row[], colors: Colors): string {
  const [head = "", ...lines] = table(...columnsAndCells(rows));
  return `${[colors.bold(head), ...lines, "", ...wrap(sentence(rows), WIDTH)].join("\n")}\n`;
}

function columnsAndCells(rows: Row[]): [Column[], string[][]] {
  const vm = vmOfMostMajorFaults(rows);
  const p99 = vm === null ? "major p99" : `major p99 (${vm})`;
  const heads = ["Host memory", "", "throughput", p99, "swap-ins"];
  const columns = heads.map((head, index): Column => ({ head, align: index === 0 ? "left" : "right" }));
  const cells = rows.map((row) => {
    const major = row.result?.vms.find(({ name }) => name === vm)?.faults.major;
    return [
      `${row.percent}%`.padStart("100%".length),
      formatBytes(row.memory),
      row.result === null ? "too small" : throughputCell(row.result, rows[0]?.result),
      time(major?.latency.p99 ?? 0),
      count(row.result?.host.swap.in ?? 0),
    ];
  });
  return [columns, cells];
}

/** The guest that read most from swap over all rows, the one that less memory hurts; null when none did. */
function vmOfMostMajorFaults(rows: Row[]): string | null {
  const faults = new Map<string, number>();
  for (const vm of rows.flatMap((row) => row.result?.vms ?? [])) {
    faults.set(vm.name, (faults.get(vm.name) ?? 0) + vm.faults.major.count);
  }
  let most: string | null = null;
  for (const [name, total] of faults) {
    if (total > (most === null ? 0 : (faults.get(most) ?? 0))) most = name;
  }
  return most;
}

/** What the rows say: where the time of the first row's faults went, and where throughput halves. */
export function sentence(rows: Row[]): string {
  return `${whereTimeWent(rows[0])}; ${whereItHalves(rows)}.`;
}

function whereTimeWent(first: Row | undefined): string {
  const kinds = first?.result ? allKinds(first.result) : [];
  const stages = sumStages(kinds);
  const largest = stages[0];
  if (largest === undefined) return "No access faulted";
  const total = totalNs(stages);
  return (
    `At 100% of the memory, ${share(largest.ns, total)} of the ${formatNs(total)} that ` +
    `${count(faultCount(kinds))} faults took went to ${largest.name}`
  );
}

function whereItHalves(rows: Row[]): string {
  if (throughput(rows[0]?.result) === 0) return "there is no throughput to compare";
  for (const row of rows) {
    const at = `at the ${row.percent}% row (${formatBytes(row.memory)})`;
    if (row.result === null) return `the host does not start ${at}`;
    if (row.result.status === "oom") return `memory runs out ${at}`;
    if (row.result.status === "readError") return `a page cannot be read ${at}`;
    const relative = relativeThroughput(row.result, rows[0]?.result);
    if (relative !== null && relative <= 0.5) return `throughput falls to half or less ${at}`;
  }
  return "throughput stays above half in every row";
}
