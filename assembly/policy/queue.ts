import { PAGE_NONE } from "./policy";

// Queues of pages over the links of a policy: a circle through a node of the queue's own, so that nothing is ever at an end.
// A page is on one queue at a time. `queue` is the queue's node, at or above the number of pages.
//
//        next: towards the tail                    link   0      4          8
//   +-> queue -> newest -> … -> oldest -+                 +------+----------+
//   +-----------------------------------+                 | next | previous |
//        previous: towards the head                       +------+----------+

const NEXT: usize = 0;
const PREVIOUS: usize = 4;

function link(links: usize, node: u32): usize {
  return links + ((<usize>node) << 3);
}

/** Towards the tail; the queue's node after the oldest page. */
export function queueNext(links: usize, node: u32): u32 {
  return load<u32>(link(links, node), NEXT);
}

/** Towards the head; the queue's node after the newest page. */
export function queuePrevious(links: usize, node: u32): u32 {
  return load<u32>(link(links, node), PREVIOUS);
}

/** Writes both links of a node. */
export function queueSet(links: usize, node: u32, next: u32, previous: u32): void {
  store<u32>(link(links, node), next, NEXT);
  store<u32>(link(links, node), previous, PREVIOUS);
}

export function queueReset(links: usize, queue: u32): void {
  store<u32>(link(links, queue), queue, NEXT);
  store<u32>(link(links, queue), queue, PREVIOUS);
}

export function queueEmpty(links: usize, queue: u32): bool {
  return queueNext(links, queue) === queue;
}

/** Puts `page` on the side of `node` that is nearer to the tail; with the queue's own node that is the head. */
export function queueAdd(links: usize, node: u32, page: u32): void {
  const next = queueNext(links, node);
  store<u32>(link(links, page), next, NEXT);
  store<u32>(link(links, page), node, PREVIOUS);
  store<u32>(link(links, node), page, NEXT);
  store<u32>(link(links, next), page, PREVIOUS);
}

export function queueRemove(links: usize, page: u32): void {
  const next = queueNext(links, page);
  const previous = queuePrevious(links, page);
  store<u32>(link(links, previous), next, NEXT);
  store<u32>(link(links, next), previous, PREVIOUS);
}

/** The page at the tail; PAGE_NONE when the queue is empty. */
export function queueTail(links: usize, queue: u32): u32 {
  const tail = queuePrevious(links, queue);
  return tail === queue ? PAGE_NONE : tail;
}

/** Asserts that the links of a queue agree, and returns how many of its pages have `state` in the bits `mask` of theirs. */
export function checkQueue(links: usize, queue: u32, states: usize, mask: u8, state: u8, most: u32): u32 {
  let length: u32 = 0;
  for (let node = queueNext(links, queue); node !== queue; node = queueNext(links, node)) {
    assert(queuePrevious(links, queueNext(links, node)) === node);
    assert(queueNext(links, queuePrevious(links, node)) === node);
    assert((load<u8>(states + node) & mask) === state);
    length++;
    assert(length <= most);
  }
  return length;
}
