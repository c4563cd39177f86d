import { arenaReserve, PART_EVENTS } from "../memory/arena";
import { TIME_NEVER } from "../memory/layout";

// The event queue: a binary heap in (time, sequence) order. Events of one instant come in the order in which they were
// posted; ties are never left to luck.
//
// entry, 24 bytes   0      8      16    20
//                   +------+------+-----+-----+
//                   | time | seq  |kind | arg |
//                   +------+------+-----+-----+
//
// invariant: a parent is not later than its children
// invariant: count <= capacity; the capacity follows from what can be pending at once (one event an actor, one a request)

const HEAP: usize = 0; // u32 address
const COUNT: usize = 4;
const CAPACITY: usize = 8;
const SEQUENCE: usize = 16; // u64
const POPPED_KIND: usize = 24;
const POPPED_ARG: usize = 28;
const HORIZON: usize = 32; // u64
const EVENTS: usize = memory.data(40, 8);

const TIME: usize = 0;
const SEQ: usize = 8;
const KIND: usize = 16;
const ARG: usize = 20;
export const EVENT_BYTES: usize = 24;

/** An actor that keeps its CPU goes on with its next step. */
export const EVENT_STEP: u32 = 0;
/** A sleeping actor becomes runnable. */
export const EVENT_WAKE: u32 = 1;
/** A device has served a request. */
export const EVENT_IO: u32 = 2;
/** A task of a guest starts. */
export const EVENT_TASK_START: u32 = 3;
/** The periodic tick of a halted vCPU. */
export const EVENT_GUEST_TICK: u32 = 4;
/** A monitor has another call to make. */
export const EVENT_CALL: u32 = 5;
/** A vCPU has an access to make beside those of its guest. */
export const EVENT_ACCESS: u32 = 6;
/** A kernel thread of a guest, or a task that sleeps, goes on. */
export const EVENT_GUEST_WAKE: u32 = 7;
/** A halted vCPU has something to do. */
export const EVENT_VCPU_KICK: u32 = 8;
/** Nobody has asked a pager for a page for a while. */
export const EVENT_PAGER: u32 = 9;

/** Makes room for `capacity` events in a machine that lives; after arenaCommit() eventsMove() is called with the address. */
export function eventsGrow(capacity: u32): usize {
  if (capacity <= load<u32>(EVENTS, CAPACITY)) return 0;
  const heap = arenaReserve(PART_EVENTS, <u64>capacity * EVENT_BYTES);
  store<u32>(EVENTS, capacity, CAPACITY);
  return heap;
}

/** The queue moves to where eventsGrow() has made room. */
export function eventsMove(heap: usize): void {
  if (heap === 0) return;
  memory.copy(heap, <usize>load<u32>(EVENTS, HEAP), <usize>load<u32>(EVENTS, COUNT) * EVENT_BYTES);
  store<u32>(EVENTS, <u32>heap, HEAP);
}

/** Address of the queue. */
export function eventsHeap(): usize {
  return <usize>load<u32>(EVENTS, HEAP);
}

/** Events that were ever posted. */
export function eventsPosted(): u64 {
  return load<u64>(EVENTS, SEQUENCE);
}

/** Events that can be pending at once. */
export function eventsCapacity(): u32 {
  return load<u32>(EVENTS, CAPACITY);
}

export function eventsLayout(capacity: u32): void {
  store<u32>(EVENTS, <u32>arenaReserve(PART_EVENTS, <u64>capacity * EVENT_BYTES), HEAP);
  store<u32>(EVENTS, capacity, CAPACITY);
  store<u32>(EVENTS, 0, COUNT);
  store<u64>(EVENTS, 0, SEQUENCE);
}

function before(a: usize, time: u64, seq: u64): bool {
  const other = load<u64>(a, TIME);
  return other < time || (other === time && load<u64>(a, SEQ) < seq);
}

// Three words by hand: memory.copy of 24 bytes leaves WebAssembly for a call into the engine.
function moveEntry(to: usize, from: usize): void {
  store<u64>(to, load<u64>(from));
  store<u64>(to, load<u64>(from, 8), 8);
  store<u64>(to, load<u64>(from, 16), 16);
}

/** Time of the earliest event, TIME_NEVER when there is none. */
export function eventNextTime(): u64 {
  return load<u32>(EVENTS, COUNT) === 0 ? TIME_NEVER : load<u64>(<usize>load<u32>(EVENTS, HEAP), TIME);
}

/** Up to when the acting actor may go on whatever the queue says: the scheduler sets it before each step. */
export function setEventHorizon(time: u64): void {
  store<u64>(EVENTS, time, HORIZON);
}

/** Time of what is due next. */
export function eventSoonest(): u64 {
  return min<u64>(load<u64>(EVENTS, HORIZON), eventNextTime());
}

/** True when nothing else is due before `time`: a step that ends then may be followed at once by the actor's next one. */
export function eventNothingBefore(time: u64): bool {
  return time < load<u64>(EVENTS, HORIZON) && time < eventNextTime();
}

export function eventPost(time: u64, kind: u32, arg: u32): void {
  const count = load<u32>(EVENTS, COUNT);
  assert(count < load<u32>(EVENTS, CAPACITY));
  const heap = <usize>load<u32>(EVENTS, HEAP);
  const seq = load<u64>(EVENTS, SEQUENCE);
  store<u64>(EVENTS, seq + 1, SEQUENCE);
  store<u32>(EVENTS, count + 1, COUNT);

  let index = count;
  while (index > 0) {
    const parent = (index - 1) >> 1;
    const parentAt = heap + <usize>parent * EVENT_BYTES;
    if (before(parentAt, time, seq)) break;
    moveEntry(heap + <usize>index * EVENT_BYTES, parentAt);
    index = parent;
  }
  const at = heap + <usize>index * EVENT_BYTES;
  store<u64>(at, time, TIME);
  store<u64>(at, seq, SEQ);
  store<u32>(at, kind, KIND);
  store<u32>(at, arg, ARG);
}

/** Takes the earliest event off the queue; its kind and argument are then read with eventKind() and eventArg(). */
export function eventPop(): void {
  const heap = <usize>load<u32>(EVENTS, HEAP);
  const count = load<u32>(EVENTS, COUNT) - 1;
  assert(count !== u32.MAX_VALUE);
  store<u32>(EVENTS, load<u32>(heap, KIND), POPPED_KIND);
  store<u32>(EVENTS, load<u32>(heap, ARG), POPPED_ARG);
  store<u32>(EVENTS, count, COUNT);
  if (count === 0) return;

  const last = heap + <usize>count * EVENT_BYTES;
  const time = load<u64>(last, TIME);
  const seq = load<u64>(last, SEQ);
  let index: u32 = 0;
  while (true) {
    let child = (index << 1) + 1;
    if (child >= count) break;
    let childAt = heap + <usize>child * EVENT_BYTES;
    if (child + 1 < count) {
      const right = childAt + EVENT_BYTES;
      if (before(right, load<u64>(childAt, TIME), load<u64>(childAt, SEQ))) {
        child++;
        childAt = right;
      }
    }
    if (!before(childAt, time, seq)) break;
    moveEntry(heap + <usize>index * EVENT_BYTES, childAt);
    index = child;
  }
  if (index !== count) moveEntry(heap + <usize>index * EVENT_BYTES, last);
}

/** Events that are pending; eventKindAt() and its like show each, in no order. */
export function eventCount(): u32 {
  return load<u32>(EVENTS, COUNT);
}

function entryAt(index: u32): usize {
  assert(index < load<u32>(EVENTS, COUNT));
  return <usize>load<u32>(EVENTS, HEAP) + <usize>index * EVENT_BYTES;
}

export function eventKindAt(index: u32): u32 {
  return load<u32>(entryAt(index), KIND);
}

export function eventArgAt(index: u32): u32 {
  return load<u32>(entryAt(index), ARG);
}

export function eventTimeAt(index: u32): u64 {
  return load<u64>(entryAt(index), TIME);
}

/** Takes event `index` off the queue, whatever is due before it. */
export function eventTake(index: u32): void {
  const heap = <usize>load<u32>(EVENTS, HEAP);
  const kind = eventKindAt(index);
  const arg = eventArgAt(index);
  // Its ancestors move down one place each, which keeps every other parent before its children.
  for (; index > 0; index = (index - 1) >> 1) {
    moveEntry(heap + <usize>index * EVENT_BYTES, heap + <usize>((index - 1) >> 1) * EVENT_BYTES);
  }
  store<u32>(heap, kind, KIND);
  store<u32>(heap, arg, ARG);
  eventPop();
}

export function eventKind(): u32 {
  return load<u32>(EVENTS, POPPED_KIND);
}

export function eventArg(): u32 {
  return load<u32>(EVENTS, POPPED_ARG);
}

export function checkEvents(): void {
  const heap = <usize>load<u32>(EVENTS, HEAP);
  const count = load<u32>(EVENTS, COUNT);
  assert(count <= load<u32>(EVENTS, CAPACITY));
  for (let index: u32 = 1; index < count; index++) {
    const at = heap + <usize>index * EVENT_BYTES;
    assert(before(heap + <usize>((index - 1) >> 1) * EVENT_BYTES, load<u64>(at, TIME), load<u64>(at, SEQ)));
  }
}
