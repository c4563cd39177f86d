// Breadth first through the states of a world: the first violation that is met is the end of a shortest interleaving. A state is kept as
// the way to it from the root; the machine walks that way again when the state's turn comes.

import { nextTask, YIELD_MS } from "../eventloop.js";
import type { FoundViolation, Image, World } from "./world.js";

/** A state that has been reached. */
interface Node {
  parent: number;
  /** The choice that led here from the parent. */
  choice: number;
  depth: number;
  wrong: FoundViolation | null;
  /** States that its choices lead to, in their order. */
  next: number[];
}

export interface SearchOptions {
  /** Steps at most. */
  depth: number;
  /** States at most. */
  states: number;
  /** States that are the same but for time are taken for one. */
  merge: boolean;
  /** Ends the search: what has been found by then is the result, and not complete. */
  signal?: AbortSignal | undefined;
}

/** What a search through all orders has found. */
export interface Found {
  /** Number of different states that were met. */
  states: number;
  /** Steps taken from a state to a next one. */
  edges: number;
  /** Most steps from the root to one of them. */
  depth: number;
  /** Every state has been seen. */
  complete: boolean;
  /** The nearest state with something wrong. */
  violation: FoundViolation | null;
  /** The choices that lead to it. */
  schedule: number[];
  /** Number of ways from the root to an end, and those that end in a violation; null when they are endless, or not all have been seen. */
  interleavings: { all: number; violating: number } | null;
}

export async function search(world: World, options: SearchOptions): Promise<Found> {
  const { depth, states, merge, signal } = options;
  const root = world.image();
  const nodes: Node[] = [];
  const known = new Map<string, number>();
  let here: Image | undefined;
  let edges = 0;
  let complete = true;
  const add = (parent: number, choice: number, settled: boolean): number => {
    const wrong = world.wrong(settled);
    const key = merge ? world.key() + (wrong?.kind ?? "") : String(nodes.length);
    const old = known.get(key);
    if (old !== undefined) return old;
    known.set(key, nodes.length);
    const from = nodes[parent];
    const steps = from === undefined ? 0 : from.depth + 1;
    nodes.push({ parent, choice, depth: steps, wrong: wrong ?? world.broken(), next: [] });
    return nodes.length - 1;
  };

  add(-1, -1, world.choices().length === 0);
  let lookedMs = performance.now();
  for (let at = 0; at < nodes.length; at++) {
    if (performance.now() - lookedMs >= YIELD_MS) {
      await nextTask();
      lookedMs = performance.now();
    }
    if (signal?.aborted) {
      complete = false;
      break;
    }
    const node = nodes[at]!;
    if (node.wrong !== null) continue;
    if (node.depth >= depth || nodes.length >= states) {
      complete = false;
      continue;
    }
    world.restore(root);
    for (const choice of wayTo(nodes, at)) {
      world.choices();
      world.step(choice);
    }
    here = world.image(here);
    const count = world.choices().length;
    for (let choice = 0; choice < count; choice++) {
      if (choice > 0) {
        world.restore(here);
        world.choices();
      }
      world.step(choice);
      edges++;
      node.next.push(add(at, choice, world.choices().length === 0));
    }
  }
  world.restore(root);

  const first = nodes.findIndex(({ wrong }) => wrong !== null);
  return {
    states: nodes.length,
    edges,
    depth: nodes.at(-1)!.depth,
    complete,
    violation: first < 0 ? null : nodes[first]!.wrong,
    schedule: first < 0 ? [] : wayTo(nodes, first),
    interleavings: complete ? ways(nodes) : null,
  };
}

function wayTo(nodes: readonly Node[], at: number): number[] {
  const way: number[] = [];
  for (let node = nodes[at]!; node.parent >= 0; node = nodes[node.parent]!) way.push(node.choice);
  return way.reverse();
}

// Ways from each state to an end, counted once a state. A state that is met again on the way to its own end has endless ways.
function ways(nodes: readonly Node[]): Found["interleavings"] {
  const counted = new Map<number, { all: number; violating: number } | null>();
  const count = (at: number): { all: number; violating: number } | null => {
    const old = counted.get(at);
    if (old !== undefined) return old;
    counted.set(at, null);
    const { next, wrong } = nodes[at]!;
    let sum: { all: number; violating: number } | null = { all: 0, violating: 0 };
    if (next.length === 0) sum = { all: 1, violating: wrong === null ? 0 : 1 };
    for (const one of next) {
      const more = count(one);
      sum =
        sum === null || more === null
          ? null
          : { all: sum.all + more.all, violating: sum.violating + more.violating };
    }
    counted.set(at, sum);
    return sum;
  };
  return count(0);
}
