// How everything here is timed: the loop is Benchmark's, its clock is the CPU time of this process, and what is compared runs in turns.
//
// Wall time on a shared machine says more about the neighbours than about the code. CPU time still suffers from a shared cache, so
// single figures are worth little and ratios of neighbours a lot: in each round every contender runs once, in alternating order,
// a ratio is taken within the round, and the median over the rounds is reported.

import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import Benchmark from "benchmark";

/** Something to be timed; `units` of work are done by one call. */
export interface Contender {
  name: string;
  run: () => void;
  /** A sample is one call, however short: each call has work of its own, and there is only so much of it. */
  once?: boolean;
}

/** Least seconds of a sample that is one call; Benchmark takes 0 for its own choice. */
const ONE_CALL = 1e-9;

export const ROUNDS = 5;

const US_PER_S = 1_000_000;
const NS_PER_US = 1000;

let untimedUs = 0;

function cpuUs(): number {
  const { user, system } = process.cpuUsage();
  return user + system;
}

/** Does work whose CPU time is not counted: what has to be set up anew for each call that is timed. Never within another. */
export function untimed<T>(work: () => T): T {
  const before = cpuUs();
  const result = work();
  untimedUs += cpuUs() - before;
  return result;
}

// The signature of process.hrtime, which is what Benchmark reads.
function cpuHrtime(since: [number, number] = [0, 0]): [number, number] {
  const us = cpuUs() - untimedUs - since[0] * US_PER_S - since[1] / NS_PER_US;
  const seconds = Math.floor(us / US_PER_S);
  return [seconds, (us - seconds * US_PER_S) * NS_PER_US];
}

// Benchmark picks its timer from the global object that it is given.
const CpuBenchmark = Benchmark.runInContext({ process: { hrtime: cpuHrtime } }) as typeof Benchmark;

setFlagsFromString("--expose-gc");
const gc = runInNewContext("gc") as () => void;

/** Frees what earlier calls have left behind, so that nobody else is charged for it. */
export function collectGarbage(): void {
  untimed(gc);
}

/**
 * Times all contenders against each other.
 *
 * @param rounds rounds; each contender is timed once in each, after a call that warms it up
 * @returns CPU seconds a call, by contender in the order given, then by round
 */
export function race(contenders: readonly Contender[], rounds = ROUNDS): number[][] {
  const seconds = contenders.map((): number[] => []);
  for (let round = 0; round < rounds; round++) {
    collectGarbage();
    const order = [...contenders.keys()];
    if (round % 2 === 1) order.reverse();
    for (const index of order) {
      const { name, run, once } = contenders[index]!;
      // One sample a round, for rounds are the samples. Each is preceded by an untimed call, Benchmark's own trial.
      const benchmark = new CpuBenchmark(name, () => run(), {
        minSamples: 1,
        maxTime: 0,
        ...(once && { minTime: ONE_CALL }),
      });
      benchmark.run({ async: false });
      if (benchmark.error !== undefined) throw benchmark.error;
      seconds[index]!.push(median(benchmark.stats.sample));
    }
  }
  return seconds;
}

export function median(values: readonly number[]): number {
  if (values.length === 0) return Number.NaN;
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

/** How many times faster `ours` is than `theirs`: the median of the ratios within the rounds. */
export function speedup(ours: readonly number[], theirs: readonly number[]): number {
  return median(ours.map((seconds, round) => theirs[round]! / seconds));
}

/** Width of the samples: (largest - smallest) / median. */
export function spread(values: readonly number[]): number {
  return (Math.max(...values) - Math.min(...values)) / median(values);
}
