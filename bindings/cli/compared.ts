// Runs beside each other: throughput as a share of the first one's.

import type { RunResult } from "../result.js";
import { NONE, share } from "./numbers.js";

/** Accesses per ns of virtual time; 0 when nothing ran. */
export function throughput(result: RunResult | null | undefined): number {
  if (!result || result.virtualTimeNs === 0) return 0;
  return result.accesses / result.virtualTimeNs;
}

/** Throughput as a share of that of `first`; null when that has none. */
export function relativeThroughput(
  result: RunResult | null,
  first: RunResult | null | undefined,
): number | null {
  const whole = throughput(first);
  return whole > 0 ? throughput(result) / whole : null;
}

/** The share in percent, or the status of a run that did not end as it should. */
export function throughputCell(result: RunResult, first: RunResult | null | undefined): string {
  if (result.status !== "done") return result.status;
  const relative = relativeThroughput(result, first);
  return relative === null ? NONE : share(relative, 1);
}
