// What the kernels' allocator does is the work of a zone's free lists; the page allocator around them has watermarks, the lists of a CPU
// and references too. Both run the script of the kernels' allocator: random takings and freeings, the level swinging between 40 and 80 percent. The filling comes before
// the clock, then each round runs a piece of its own.

import type { Core } from "#dist/core.js";
import { PlainBuddy } from "../baseline/buddy.js";
import type { Contender } from "../measure.js";
import { limitsOf, MOVABLE, zoneWith } from "../mm/buddy.bench.js";
import type { CeilingRow } from "./ceiling.bench.js";

const FREE = 2 ** 31;
const MAX_ORDER = 9;

/** The words of the script, and how many of them come before the level first reaches its upper mark. */
export function kernelScript(
  pages: number,
  mix: string,
  operations: number,
): { script: Uint32Array; filling: number; slots: number } {
  // A page is taken at most once before the level first reaches its upper mark.
  const words = new Uint32Array(pages + operations);
  let length = 0;
  const held: number[] = [];
  const orders: number[] = [];
  const spare: number[] = [];
  let state = 0x2545f491;
  let used = 0;
  let up = true;
  let filling = 0;
  while (filling === 0 || length < filling + operations) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    const draw = state >>> 0;
    if (up && used > (pages * 8) / 10) {
      up = false;
      if (filling === 0) filling = length;
    } else if (!up && used < (pages * 4) / 10) up = true;
    if (((draw & 7) !== 0) === up || held.length === 0) {
      const bits = draw >>> 8;
      const order =
        mix === "geo"
          ? bits === 0
            ? MAX_ORDER
            : Math.min(31 - Math.clz32(bits & -bits), MAX_ORDER)
          : (bits * 10) >>> 24;
      const slot = spare.pop() ?? orders.length;
      orders[slot] = order;
      held.push(slot);
      used += 2 ** order;
      words[length++] = (order << 24) | slot;
    } else {
      const place = Math.floor((draw * held.length) / 2 ** 32);
      const slot = held[place]!;
      held[place] = held[held.length - 1]!;
      held.pop();
      spare.push(slot);
      used -= 2 ** orders[slot]!;
      words[length++] = FREE | (orders[slot]! << 24) | slot;
    }
  }
  return { script: words.slice(0, length), filling, slots: orders.length };
}

export class KernelBlocks {
  private readonly script: Uint32Array;
  private readonly filling: number;
  private readonly core: Core;
  private readonly at: number;
  private readonly plain: PlainBuddy;
  private readonly held: Uint32Array;

  /** @param rounds pieces that are timed; each is preceded by one that is not */
  constructor(
    private readonly row: CeilingRow,
    module: WebAssembly.Module,
    rounds: number,
  ) {
    const { script, filling, slots } = kernelScript(row.pages, row.stream, 2 * rounds * row.ours);
    this.script = script;
    this.filling = filling;
    const { core, at } = zoneWith(module, row.pages, script, slots);
    this.core = core;
    this.at = at;
    this.plain = new PlainBuddy(row.pages, limitsOf(row.pages));
    this.held = new Uint32Array(slots).fill(0xffffffff);
  }

  contenders(): Contender[] {
    const { core, at, script, filling, plain, held } = this;
    const lists = this.row.work === "free lists";
    const run = (words: number, count: number): void => {
      if (lists) core.call.zoneCaseListsRun(words, count);
      else core.call.zoneCaseRun(words, count, MOVABLE);
    };
    const runPlain = (words: Uint32Array): void => {
      if (lists) plain.runLists(words, held);
      else plain.run(words, held);
    };
    run(at, filling);
    runPlain(script.subarray(0, filling));
    const piece = (): (() => number) => {
      let next = filling;
      return () => {
        next += this.row.ours;
        return next - this.row.ours;
      };
    };
    const [ours, theirs] = [piece(), piece()];
    const { ours: length } = this.row;
    return [
      { name: "pagevisor", once: true, run: () => run(at + 4 * ours(), length) },
      {
        name: "plain TypeScript",
        once: true,
        run: () => {
          const from = theirs();
          runPlain(script.subarray(from, from + length));
        },
      },
    ];
  }
}
