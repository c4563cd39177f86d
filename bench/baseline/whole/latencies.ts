// Statistics of faults by kind in plain TypeScript over typed arrays: count, sum, maximum, where the time went, and a histogram with three significant
// digits (HdrHistogram with 2,048 sub-buckets).

import type { FaultKind, Latency } from "#dist/index.js";

export const STAGES = ["exit", "lock", "reclaim", "alloc", "cpu", "queue", "device", "map", "flush", "async"];
const SUB_BITS = 10;
const BUCKETS = (40 - SUB_BITS + 1) << SUB_BITS;
const QUANTILES = [0.5, 0.9, 0.99, 0.999];

export class PlainLatencies {
  readonly counts: Float64Array;
  private readonly sums: Float64Array;
  private readonly longest: Float64Array;
  private readonly stages: Float64Array;
  private readonly histograms: Uint32Array;

  constructor(kinds: number) {
    this.counts = new Float64Array(kinds);
    this.sums = new Float64Array(kinds);
    this.longest = new Float64Array(kinds);
    this.stages = new Float64Array(kinds * STAGES.length);
    this.histograms = new Uint32Array(kinds * BUCKETS);
  }

  clear(): void {
    for (const array of [this.counts, this.sums, this.longest, this.stages, this.histograms]) array.fill(0);
  }

  /** Counts a fault of `kind` that took `ns`, spread over `stages`. */
  record(kind: number, ns: number, stages: Float64Array): void {
    this.counts[kind]!++;
    this.sums[kind]! += ns;
    if (ns > this.longest[kind]!) this.longest[kind] = ns;
    const totals = this.stages;
    const first = kind * 10;
    for (let stage = 0; stage < 10; stage++) totals[first + stage]! += stages[stage]!;
    this.histograms[kind * BUCKETS + bucketOf(ns)]!++;
  }

  of(kind: number): FaultKind {
    const count = this.counts[kind]!;
    const max = this.longest[kind]!;
    const found = QUANTILES.map((share) => Math.min(max, this.quantile(kind, Math.ceil(share * count))));
    const [p50 = 0, p90 = 0, p99 = 0, p999 = 0] = found;
    const latency: Latency = { mean: count === 0 ? 0 : this.sums[kind]! / count, p50, p90, p99, p999, max };
    const first = kind * STAGES.length;
    const stages = Object.fromEntries(STAGES.map((name, at) => [`${name}Ns`, this.stages[first + at]!]));
    return { count, latency, stages: stages as unknown as FaultKind["stages"] };
  }

  // The largest value of the bucket of the fault that comes at `rank` by its latency; 0 for none.
  private quantile(kind: number, rank: number): number {
    if (rank === 0) return 0;
    let seen = 0;
    let bucket = -1;
    while (seen < rank) seen += this.histograms[kind * BUCKETS + ++bucket]!;
    if (bucket < 2 << SUB_BITS) return bucket;
    const exponent = (bucket >> SUB_BITS) - 1;
    return (bucket - (exponent << SUB_BITS) + 1) * 2 ** exponent - 1;
  }
}

function bucketOf(value: number): number {
  if (value < 2 << SUB_BITS) return value;
  if (value < 2 ** 31) {
    const exponent = 31 - Math.clz32(value) - SUB_BITS;
    return (exponent << SUB_BITS) + (value >> exponent);
  }
  if (value >= 2 ** 40) return BUCKETS - 1;
  const exponent = 62 - Math.clz32(value / 2 ** 31) - SUB_BITS;
  return (exponent << SUB_BITS) + Math.floor(value / 2 ** exponent);
}
