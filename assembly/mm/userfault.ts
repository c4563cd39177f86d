import { arenaTake, PART_RECORDS } from "../memory/arena";
import { ACTOR_BLOCKED, actorClock, actorState, actorWaitNext, STAGE_DEVICE } from "../sim/actor";
import { EVENT_PAGER, eventPost } from "../sim/events";
import {
  WAITQUEUE_BYTES,
  waitqueueEmpty,
  waitqueueFirst,
  waitqueueSleep,
  waitqueueTake,
  waitqueueWakeAll,
} from "../sim/waitqueue";
import { setSpaceUserfault } from "./space";

// Pages that a process supplies itself: a range of its memory registered with userfaultfd (UFFDIO_REGISTER_MODE_MISSING). A fault that
// finds nothing there asks the process' server and sleeps until the page has been put there (handle_userfault(), UFFDIO_COPY); two that
// want one page ask twice. The server looks at what was asked for when nobody has asked for a while. Left out: write protection, minor
// faults, polling.
//
// record   0       4     8         16      20      24       32
//          +-------+-----+---------+-------+-------+--------+--------+
//          | first | end | waiters | quiet | timer | last   | server |
//          +-------+-----+---------+-------+-------+--------+--------+
//
// invariant: while somebody waits, the timer runs or has run down, and then the server is about to take the requests

const FIRST: usize = 0;
const END: usize = 4;
const WAITERS: usize = 8;
const QUIET: usize = WAITERS + WAITQUEUE_BYTES;
const TIMER: usize = 20;
const LAST: usize = 24; // u64
const SERVER: usize = 32;
const USERFAULT_BYTES: u64 = 40;

const TIMER_OFF: u32 = 0;
const TIMER_RUNS: u32 = 1;
const TIMER_DOWN: u32 = 2;

/** Makes the record of a space whose missing pages `server` supplies; the range is empty. 0 when memory is exhausted. */
export function userfaultCreate(space: usize, server: usize): usize {
  const record = arenaTake(PART_RECORDS, USERFAULT_BYTES);
  if (record === 0) return 0;
  store<u32>(record, <u32>server, SERVER);
  setSpaceUserfault(space, record);
  return record;
}

/** Pages first..end-1 are supplied from now on, after `quiet` ns without a request. */
export function userfaultRegister(record: usize, first: u32, end: u32, quiet: u32): void {
  store<u32>(record, first, FIRST);
  store<u32>(record, end, END);
  store<u32>(record, quiet, QUIET);
}

/** The range ends to be supplied at `time`: who waits looks again. */
export function userfaultUnregister(record: usize, time: u64): void {
  store<u32>(record, 0, END);
  waitqueueWakeAll(record + WAITERS, time);
}

export function userfaultCovers(record: usize, index: u32): bool {
  return index >= load<u32>(record, FIRST) && index < load<u32>(record, END);
}

/** The actor whose faults put the pages there. */
export function userfaultServer(record: usize): usize {
  return <usize>load<u32>(record, SERVER);
}

/** The actor asks for the page that its fault is at, and sleeps. */
export function userfaultAsk(record: usize, actor: usize): void {
  const clock = actorClock(actor);
  store<u64>(record, max<u64>(clock, load<u64>(record, LAST)), LAST);
  if (load<u32>(record, TIMER) === TIMER_OFF) {
    store<u32>(record, TIMER_RUNS, TIMER);
    eventPost(clock + load<u32>(record, QUIET), EVENT_PAGER, <u32>record);
  }
  waitqueueSleep(record + WAITERS, actor, STAGE_DEVICE);
}

/** The timer has run down at `time`. False: somebody has asked meanwhile, so that it runs on. */
export function userfaultQuiet(record: usize, time: u64): bool {
  const due = load<u64>(record, LAST) + load<u32>(record, QUIET);
  if (due > time) {
    eventPost(due, EVENT_PAGER, <u32>record);
    return false;
  }
  store<u32>(record, TIMER_DOWN, TIMER);
  return true;
}

/** The server is to take the requests. */
export function userfaultDue(record: usize): bool {
  return load<u32>(record, TIMER) === TIMER_DOWN;
}

/** Takes everybody who waits, as a list through actorWaitNext() in the order of asking; they sleep until they are woken one by one. */
export function userfaultTake(record: usize): usize {
  store<u32>(record, TIMER_OFF, TIMER);
  return waitqueueTake(record + WAITERS);
}

export function checkUserfault(record: usize): void {
  const waiters = record + WAITERS;
  assert(waitqueueEmpty(waiters) || load<u32>(record, TIMER) !== TIMER_OFF);
  for (let actor = waitqueueFirst(waiters); actor !== 0; actor = actorWaitNext(actor)) {
    assert(actorState(actor) === ACTOR_BLOCKED);
  }
}
