// What a cost that grows with the guest is explained by: the lines of memory that a piece of work changes, and what a load takes that has to
// wait for the one before it, in as many lines.

import { generator } from "../mm/buddy.bench.js";

const LINE_BYTES = 64;
const LINE_WORDS = LINE_BYTES / 4;

/** Number of lines in which two copies of one memory differ. Lines that were read, or written with what they held, are not among them. */
export function linesChanged(before: ArrayBuffer, after: ArrayBuffer): number {
  const [was, is] = [new BigUint64Array(before), new BigUint64Array(after)];
  const words = LINE_BYTES / 8;
  let lines = 0;
  for (let line = 0; line < is.length; line += words) {
    for (let word = line; word < line + words; word++) {
      if (was[word] === is[word]) continue;
      lines++;
      break;
    }
  }
  return lines;
}

/** Loads each of which waits for the one before it, through `lines` lines in random order, round and round. */
export class Chase {
  private readonly next: Uint32Array;
  private at = 0;

  constructor(lines: number) {
    // Sattolo's shuffle: one cycle through all of them.
    const random = generator(11);
    const order = Uint32Array.from({ length: lines }, (_, line) => line);
    for (let last = lines - 1; last > 0; last--) {
      const other = random(last);
      [order[last], order[other]] = [order[other]!, order[last]!];
    }
    this.next = new Uint32Array(lines * LINE_WORDS);
    for (const [line, to] of order.entries()) this.next[line * LINE_WORDS] = to * LINE_WORDS;
  }

  /** The line at which it has come after so many loads. */
  run(loads: number): number {
    const { next } = this;
    let { at } = this;
    for (let load = 0; load < loads; load++) at = next[at]!;
    this.at = at;
    return at / LINE_WORDS;
  }
}
