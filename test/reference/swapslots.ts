// The slot cache of one CPU (mm.md 3.4): slots to hand out, and freed slots that wait to be given back together.

import type { Slot } from "./swaparea.js";

export const BATCH = 64;
/** The caches come into use with more free slots a CPU than this, and are given up with fewer than that. */
export const ACTIVATE = 5 * BATCH;
export const DEACTIVATE = 2 * BATCH;

export class SlotCache {
  ready: Slot[] = [];
  returned: Slot[] = [];
}

/**
 * The slots area by area, in the order in which they are given back: a heapsort, whose order within an area matters to the list of
 * free clusters. The hole at the root sinks to a leaf along the greater children (the left one of two equals) and the slot that is
 * to fill it rises from there.
 */
export function byArea(slots: readonly Slot[]): Slot[] {
  const heap = [...slots];
  const type = (index: number): number => heap[index]!.area.type;
  const parent = (index: number): number => Math.floor((index - 1) / 2);
  const sink = (root: number, end: number): void => {
    let hole = root;
    while (2 * hole + 1 < end) {
      const left = 2 * hole + 1;
      hole = left + 1 < end && type(left) < type(left + 1) ? left + 1 : left;
    }
    const sinking = heap[root]!;
    while (hole !== root && sinking.area.type >= type(hole)) hole = parent(hole);
    // Everything on the way moves up by one place.
    let filler = sinking;
    while (hole !== root) {
      [heap[hole], filler] = [filler, heap[hole]!];
      hole = parent(hole);
    }
    heap[root] = filler;
  };
  for (let root = Math.floor(heap.length / 2) - 1; root >= 0; root--) sink(root, heap.length);
  for (let end = heap.length - 1; end > 0; end--) {
    [heap[0], heap[end]] = [heap[end]!, heap[0]!];
    sink(0, end);
  }
  return heap;
}
