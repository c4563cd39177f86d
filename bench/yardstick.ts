// How fast the machine is at the moment: the same plain TypeScript, cache misses included, before and after everything else. Figures of two
// runs can be compared only when their yardsticks agree; on a shared machine they have been seen to differ by a factor of two.

import { PlainGuest } from "./baseline/accesses.js";
import { median, race } from "./measure.js";
import { figure } from "./report.js";
import { zipfStream } from "./streams.js";

const PAGES = 262_144; // 1 GiB: tables larger than a second-level cache
const ACCESSES = 2_097_152;
const TLB_ENTRIES = 2048;

/** Makes the yardstick; each call then measures, in M accesses per CPU second. */
export function yardstick(): () => number {
  const stream = zipfStream(ACCESSES, PAGES, 0.99, 0.3);
  const guest = new PlainGuest(PAGES, TLB_ENTRIES, { hitNs: 100, missNs: 155 });
  const run = (): void => {
    guest.run(stream, 0, ACCESSES, Number.POSITIVE_INFINITY);
  };
  return () => {
    const [seconds] = race([{ name: "yardstick", run }]);
    return ACCESSES / median(seconds!) / 1e6;
  };
}

export function yardstickLine(before: number, after: number): string {
  return `yardstick (plain TypeScript, zipf, 1 GiB): ${figure(before)} M accesses/s before, ${figure(after)} after`;
}
