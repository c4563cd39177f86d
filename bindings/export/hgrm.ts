// The percentile output of HdrHistogram, `.hgrm`, which its plotters read. Values are virtual ns.

import type { LatencyHistogram } from "../histogram.js";

/** Lines for each halving of what is left to 100%, as HdrHistogram's own default. */
const TICKS_PER_HALF = 5;
/** Sub-buckets of a histogram with 3 significant digits. */
const SUB_BUCKETS = 2048;
/** Buckets up to 2^40 ns, the longest latency that is told from a longer one. */
const BUCKETS = 30;

/** The latencies of one kind of fault as the text of a `.hgrm` file, values in ns. Never throws. */
export function hgrmText({ count, buckets }: LatencyHistogram): string {
  const lines = ["       Value     Percentile TotalCount 1/(1-Percentile)", ""];
  let seen = 0;
  let level = 0;
  for (const bucket of buckets) {
    seen += bucket.count;
    const reached = (100 * seen) / count;
    while (level <= reached && level < 100) {
      lines.push(line(bucket.highestNs, level, seen));
      const halvings = Math.trunc(Math.log2(100 / (100 - level))) + 1;
      level += 100 / (TICKS_PER_HALF * 2 ** halvings);
      if (seen === count) break;
    }
  }
  if (count > 0) lines.push(line(buckets.at(-1)!.highestNs, 100, count));
  return `${[...lines, ...footer(count, buckets)].join("\n")}\n`;
}

/** Every histogram that is not empty with the name of its file, as in `db-major.hgrm`. Never throws. */
export function hgrmFiles(histograms: readonly LatencyHistogram[]): { name: string; text: string }[] {
  return histograms
    .filter(({ count }) => count > 0)
    .map((histogram) => ({ name: `${histogram.vm}-${histogram.kind}.hgrm`, text: hgrmText(histogram) }));
}

/** Formats with `digits` decimals as HdrHistogram does: a half is rounded away from zero, as the decimal text of the number has it. */
function decimals(digits: number): (value: number) => string {
  const format = new Intl.NumberFormat("en-US", {
    minimumFractionDigits: digits,
    maximumFractionDigits: digits,
    useGrouping: false,
  });
  return (value) => format.format(value);
}

const three = decimals(3);
const twelve = decimals(12);
const two = decimals(2);

function line(value: number, percentile: number, seen: number): string {
  const share = twelve(percentile / 100);
  const base = `${three(value).padStart(12)} ${share.padStart(14)} ${String(seen).padStart(10)}`;
  return percentile < 100 ? `${base} ${two(1 / (1 - percentile / 100)).padStart(14)}` : base;
}

/** Mean and deviation as HdrHistogram makes them, from the middle of each bucket; a result has the exact mean. */
function footer(count: number, buckets: LatencyHistogram["buckets"]): string[] {
  const over = (value: (middle: number) => number): number =>
    count === 0
      ? 0
      : buckets.reduce((sum, { highestNs, count: here }) => sum + here * value(middleOf(highestNs)), 0) /
        count;
  const mean = over((middle) => middle);
  const deviation = Math.sqrt(over((middle) => (middle - mean) ** 2));
  const number = (value: number): string => three(value).padStart(12);
  const whole = (value: number): string => String(value).padStart(12);
  return [
    `#[Mean    = ${number(mean)}, StdDeviation   = ${number(deviation)}]`,
    `#[Max     = ${number(buckets.at(-1)?.highestNs ?? 0)}, Total count    = ${whole(count)}]`,
    `#[Buckets = ${whole(BUCKETS)}, SubBuckets     = ${whole(SUB_BUCKETS)}]`,
  ];
}

function middleOf(highestNs: number): number {
  const unit = highestNs < SUB_BUCKETS ? 1 : 2 ** (Math.floor(Math.log2(highestNs)) - 10);
  return highestNs - unit + 1 + Math.floor(unit / 2);
}
