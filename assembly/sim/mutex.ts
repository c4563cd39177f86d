import { actorClock } from "./actor";
import {
  WAITQUEUE_BYTES,
  waitqueueEmpty,
  waitqueueFirst,
  waitqueueSleep,
  waitqueueWakeOne,
} from "./waitqueue";

// A sleeping lock (struct mutex). Who waits first gets it next: it is handed over, so that nobody overtakes.
//
// record, 12 bytes   0       4            8
//                    +-------+------------+------------+
//                    | owner | waiters: head, tail     |
//                    +-------+------------+------------+
//
// invariant: with the lock free, nobody waits

const OWNER: usize = 0;
const WAITERS: usize = 4;
export const MUTEX_BYTES: usize = WAITERS + WAITQUEUE_BYTES;

/** The actor that holds the lock, 0 for none. */
export function mutexOwner(mutex: usize): usize {
  return <usize>load<u32>(mutex, OWNER);
}

/** mutex_trylock(). */
export function mutexTrylock(mutex: usize, actor: usize): bool {
  if (mutexOwner(mutex) !== 0) return false;
  store<u32>(mutex, <u32>actor, OWNER);
  return true;
}

/** mutex_lock(). False: the actor now sleeps, which is charged to `stage`, and owns the lock when it is woken. */
export function mutexLock(mutex: usize, actor: usize, stage: u32): bool {
  assert(mutexOwner(mutex) !== actor);
  if (mutexTrylock(mutex, actor)) return true;
  waitqueueSleep(mutex + WAITERS, actor, stage);
  return false;
}

/** mutex_unlock() at the actor's clock. */
export function mutexUnlock(mutex: usize, actor: usize): void {
  assert(mutexOwner(mutex) === actor);
  store<u32>(mutex, <u32>waitqueueFirst(mutex + WAITERS), OWNER);
  waitqueueWakeOne(mutex + WAITERS, actorClock(actor));
}

export function checkMutex(mutex: usize): void {
  assert(mutexOwner(mutex) !== 0 || waitqueueEmpty(mutex + WAITERS));
}
