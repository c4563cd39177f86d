// Latencies as the core counts them: HDR histograms with three significant digits, sparse.

import type { Core } from "./core.js";
import { FAULT_NAMES, type FaultName, type Reading } from "./counters.js";

/** Latencies of one kind of fault in one VM, virtual ns. Buckets are those of HdrHistogram with 3 significant digits. */
export interface LatencyHistogram {
  /** Name of the VM. */
  vm: string;
  /** Which faults. */
  kind: FaultName;
  /** Faults that are counted. */
  count: number;
  /** Sum of their latencies, exact. */
  sumNs: number;
  /** Their longest one, exact. */
  maxNs: number;
  /** Buckets that are not empty, rising: the largest latency that falls into one, and how many did. */
  buckets: { highestNs: number; count: number }[];
}

/** The histograms of what happened between two readings, VM after VM; `names` are the VMs'. */
export function histogramsBetween(
  core: Core,
  names: readonly string[],
  before: Reading,
  after: Reading,
): LatencyHistogram[] {
  return names.flatMap((vm, index) =>
    FAULT_NAMES.map((kind) => {
      const old = before.vms[index]!.faults[kind];
      const fault = after.vms[index]!.faults[kind];
      const count = fault.count - old.count;
      const buckets: LatencyHistogram["buckets"] = [];
      for (let bucket = 0; bucket < fault.histogram.length; bucket++) {
        const here = fault.histogram[bucket]! - (old.histogram[bucket] ?? 0);
        if (here > 0) buckets.push({ highestNs: core.call.reportHistogramHighest(bucket), count: here });
      }
      return {
        vm,
        kind,
        count,
        sumNs: fault.sumNs - old.sumNs,
        maxNs: count === 0 ? 0 : fault.maxNs,
        buckets,
      };
    }),
  );
}
