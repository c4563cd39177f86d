import {
  ACTOR_SPINNING,
  actorClock,
  actorResume,
  actorSpinLocks,
  actorWaitMode,
  actorWaitNext,
  setActorSpinLocks,
  setActorState,
  setActorWaitMode,
  setActorWaitNext,
} from "./actor";

// A spinning reader-writer lock (mmu_lock). Waiters queue first come, first served; a run of readers at the head enters together.
//
// record, 16 bytes   0        4         8          12
//                    +--------+---------+----------+----------+
//                    | writer | readers | waitHead | waitTail |
//                    +--------+---------+----------+----------+
//
// invariant: not both a writer and readers
// invariant: with the lock free, nobody waits

const WRITER: usize = 0;
const READERS: usize = 4;
const WAIT_HEAD: usize = 8;
const WAIT_TAIL: usize = 12;
export const LOCK_BYTES: usize = 16;

const MODE_READ: u32 = 0;
const MODE_WRITE: u32 = 1;

function wait(lock: usize, actor: usize, mode: u32): void {
  setActorWaitMode(actor, mode);
  setActorWaitNext(actor, 0);
  const tail = <usize>load<u32>(lock, WAIT_TAIL);
  if (tail === 0) store<u32>(lock, <u32>actor, WAIT_HEAD);
  else setActorWaitNext(tail, actor);
  store<u32>(lock, <u32>actor, WAIT_TAIL);
  setActorState(actor, ACTOR_SPINNING);
}

function own(actor: usize): void {
  setActorSpinLocks(actor, actorSpinLocks(actor) + 1);
}

/** Nobody holds the lock, or waits for it. */
export function lockFree(lock: usize): bool {
  return load<u32>(lock, WRITER) === 0 && load<u32>(lock, READERS) === 0;
}

/** Takes the lock for reading. False: the actor now spins, and owns the lock when its next step comes. */
export function lockRead(lock: usize, actor: usize): bool {
  if (load<u32>(lock, WRITER) !== 0 || load<u32>(lock, WAIT_HEAD) !== 0) {
    wait(lock, actor, MODE_READ);
    return false;
  }
  store<u32>(lock, load<u32>(lock, READERS) + 1, READERS);
  own(actor);
  return true;
}

/** Takes the lock for writing. False: the actor now spins, and owns the lock when its next step comes. */
export function lockWrite(lock: usize, actor: usize): bool {
  if (load<u32>(lock, WRITER) !== 0 || load<u32>(lock, READERS) !== 0) {
    wait(lock, actor, MODE_WRITE);
    return false;
  }
  store<u32>(lock, <u32>actor, WRITER);
  own(actor);
  return true;
}

function grant(lock: usize, time: u64): void {
  let actor = <usize>load<u32>(lock, WAIT_HEAD);
  while (actor !== 0) {
    const write = actorWaitMode(actor) === MODE_WRITE;
    if (write && load<u32>(lock, READERS) !== 0) break;
    const next = actorWaitNext(actor);
    if (write) store<u32>(lock, <u32>actor, WRITER);
    else store<u32>(lock, load<u32>(lock, READERS) + 1, READERS);
    own(actor);
    actorResume(actor, time);
    actor = next;
    if (write) break;
  }
  store<u32>(lock, <u32>actor, WAIT_HEAD);
  if (actor === 0) store<u32>(lock, 0, WAIT_TAIL);
}

function disown(actor: usize): void {
  assert(actorSpinLocks(actor) > 0);
  setActorSpinLocks(actor, actorSpinLocks(actor) - 1);
}

/** Drops a read lock at the actor's clock. */
export function unlockRead(lock: usize, actor: usize): void {
  const readers = load<u32>(lock, READERS);
  assert(readers > 0);
  store<u32>(lock, readers - 1, READERS);
  disown(actor);
  if (readers === 1 && load<u32>(lock, WAIT_HEAD) !== 0) grant(lock, actorClock(actor));
}

/** Drops a write lock at the actor's clock. */
export function unlockWrite(lock: usize, actor: usize): void {
  assert(load<u32>(lock, WRITER) === <u32>actor);
  store<u32>(lock, 0, WRITER);
  disown(actor);
  if (load<u32>(lock, WAIT_HEAD) !== 0) grant(lock, actorClock(actor));
}

export function checkLock(lock: usize): void {
  const held = load<u32>(lock, WRITER) !== 0 || load<u32>(lock, READERS) !== 0;
  assert(load<u32>(lock, WRITER) === 0 || load<u32>(lock, READERS) === 0);
  assert(held || load<u32>(lock, WAIT_HEAD) === 0);
}
