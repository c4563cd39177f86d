import {
  actorBlock,
  actorWaitMode,
  actorWaitNext,
  actorWake,
  setActorWaitMode,
  setActorWaitNext,
} from "./actor";

// A queue of sleeping actors, first come, first served. Record: head and tail, 8 bytes.

const HEAD: usize = 0;
const TAIL: usize = 4;
export const WAITQUEUE_BYTES: usize = 8;

export function waitqueueEmpty(queue: usize): bool {
  return load<u32>(queue, HEAD) === 0;
}

/** The sleeper that came first, 0 for none; the others follow through actorWaitNext(). */
export function waitqueueFirst(queue: usize): usize {
  return <usize>load<u32>(queue, HEAD);
}

/** The actor sleeps in `queue`; the time is charged to `stage`. */
export function waitqueueSleep(queue: usize, actor: usize, stage: u32): void {
  setActorWaitNext(actor, 0);
  const tail = <usize>load<u32>(queue, TAIL);
  if (tail === 0) store<u32>(queue, <u32>actor, HEAD);
  else setActorWaitNext(tail, actor);
  store<u32>(queue, <u32>actor, TAIL);
  actorBlock(actor, stage);
}

/** Takes all sleepers out of the queue, asleep: the first of them, the others follow through actorWaitNext(). */
export function waitqueueTake(queue: usize): usize {
  const first = <usize>load<u32>(queue, HEAD);
  store<u32>(queue, 0, HEAD);
  store<u32>(queue, 0, TAIL);
  return first;
}

/** Wakes the first sleeper at `time`. */
export function waitqueueWakeOne(queue: usize, time: u64): void {
  const actor = <usize>load<u32>(queue, HEAD);
  if (actor === 0) return;
  const next = actorWaitNext(actor);
  store<u32>(queue, <u32>next, HEAD);
  if (next === 0) store<u32>(queue, 0, TAIL);
  actorWake(actor, time);
}

/** Wakes every sleeper at `time`, in the order in which they came. */
export function waitqueueWakeAll(queue: usize, time: u64): void {
  while (load<u32>(queue, HEAD) !== 0) waitqueueWakeOne(queue, time);
}

/** As waitqueueSleep(), waiting for the thing numbered `what`; many things share a queue. */
export function waitqueueSleepFor(queue: usize, actor: usize, what: u32, stage: u32): void {
  setActorWaitMode(actor, what);
  waitqueueSleep(queue, actor, stage);
}

/** Wakes those who wait for `what`, in order; the others keep their places. */
export function waitqueueWakeFor(queue: usize, what: u32, time: u64): void {
  let actor = <usize>load<u32>(queue, HEAD);
  store<u32>(queue, 0, HEAD);
  store<u32>(queue, 0, TAIL);
  while (actor !== 0) {
    const next = actorWaitNext(actor);
    if (actorWaitMode(actor) === what) {
      actorWake(actor, time);
    } else {
      setActorWaitNext(actor, 0);
      const tail = <usize>load<u32>(queue, TAIL);
      if (tail === 0) store<u32>(queue, <u32>actor, HEAD);
      else setActorWaitNext(tail, actor);
      store<u32>(queue, <u32>actor, TAIL);
    }
    actor = next;
  }
}
