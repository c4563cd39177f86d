import { arenaReserve, arenaTake, PART_FRAMES, PART_RECORDS } from "../memory/arena";
import { PFN_NONE } from "../memory/layout";
import { GFP_NOMEMALLOC } from "../mm/gfp";
import { mmPfnEnd, mmPfnFirst, pageOf, pageRefs } from "../mm/page";
import { allocPagesNoReclaim, freePages } from "../mm/pagealloc";
import { MAX_ORDER } from "../mm/zone";

// Hints for a migration (VIRTIO_BALLOON_F_FREE_PAGE_HINT): on the host's command the driver takes all that it gets in the largest blocks,
// hands each to the host, and holds them, so that nobody writes to them, until the host is done. Follows report_free_page_func(),
// get_free_page_and_send() and return_free_pages_to_mm(). The driver never waits for the device: the queue is a ring of descriptors.
//
// record   0    4       8        12     16     20    24     28        32
//          +----+-------+--------+------+------+-----+------+---------+-------+
//          | mm | asked | active | held | ring | head| tail | capacity| list  |
//          +----+-------+--------+------+------+-----+------+---------+-------+
//
// asked       the command that the host has written last; active is the one that the driver is at
// list        first frames of the blocks that are held, the latest last
// ring        head..tail-1 are with the device: a frame, or HINT_COMMAND and an id
//
// invariant: tail - head <= capacity; a block is never given to a ring without room for the id that ends the hints

const MM: usize = 0;
const ASKED: usize = 4;
const ACTIVE: usize = 8;
const HELD: usize = 12;
const RING: usize = 16;
const HEAD: usize = 20;
const TAIL: usize = 24;
const CAPACITY: usize = 28;
const LIST: usize = 32;
const SENDING: usize = 36;
const HINTS_BYTES: usize = 40;

/** Commands: no more hints are wanted; the blocks may go back. From 2 on: a number of a round of hints. */
export const HINT_STOP: u32 = 0;
export const HINT_DONE: u32 = 1;
export const HINT_FIRST_ID: u32 = 2;
/** Set in an entry of the ring that is a command's id, not a block. */
export const HINT_COMMAND: u32 = 0x80000000;

export const HINT_ORDER: u32 = MAX_ORDER - 1;
export const HINT_PAGES: u32 = 1 << HINT_ORDER;

// hintsStep(): there is more to do; a descriptor was added as well; nothing to do.
export const HINTS_GO_ON: u32 = 0;
export const HINTS_ADDED: u32 = 1;
export const HINTS_SLEEP: u32 = 2;

/** Takes the record; `ring` are the queue's descriptors. 0 when memory is exhausted. */
export function hintsCreate(mm: usize, ring: u32): usize {
  const hints = arenaTake(PART_RECORDS, HINTS_BYTES + 4 * <u64>ring);
  if (hints === 0) return 0;
  store<u32>(hints, <u32>mm, MM);
  store<u32>(hints, ring, CAPACITY);
  store<u32>(hints, <u32>(hints + HINTS_BYTES), RING);
  return hints;
}

export function hintsLayout(hints: usize): void {
  const mm = <usize>load<u32>(hints, MM);
  const blocks = (mmPfnEnd(mm) - mmPfnFirst(mm)) >> HINT_ORDER;
  store<u32>(hints, <u32>arenaReserve(PART_FRAMES, ((<u64>blocks) << 2) + 8), LIST);
}

/** Blocks that the driver holds. */
export function hintsHeld(hints: usize): u32 {
  return load<u32>(hints, HELD);
}

/** The host has written a command (the configuration's free_page_hint_cmd_id). */
export function hintsCommand(hints: usize, command: u32): void {
  store<u32>(hints, command, ASKED);
}

/** Is there work for the driver? */
export function hintsDue(hints: usize): bool {
  const asked = load<u32>(hints, ASKED);
  if (load<u32>(hints, SENDING) !== 0) return true;
  if (asked === HINT_DONE) return hintsHeld(hints) !== 0;
  return asked !== HINT_STOP && asked !== load<u32>(hints, ACTIVE);
}

function heldAt(hints: usize, place: u32): usize {
  return <usize>load<u32>(hints, LIST) + ((<usize>place) << 2);
}

function room(hints: usize): u32 {
  return load<u32>(hints, CAPACITY) - (load<u32>(hints, TAIL) - load<u32>(hints, HEAD));
}

function ringAt(hints: usize, count: u32): usize {
  return <usize>load<u32>(hints, RING) + ((<usize>(count % load<u32>(hints, CAPACITY))) << 2);
}

function add(hints: usize, entry: u32): u32 {
  assert(room(hints) > 0);
  const tail = load<u32>(hints, TAIL);
  store<u32>(ringAt(hints, tail), entry);
  store<u32>(hints, tail + 1, TAIL);
  return HINTS_ADDED;
}

/** The driver's next step, on `cpu`. Returns HINTS_*; hintsTaken() and hintsGiven() say which block has moved. */
export function hintsStep(hints: usize, cpu: u32): u32 {
  taken = PFN_NONE;
  given = PFN_NONE;
  const asked = load<u32>(hints, ASKED);
  const active = load<u32>(hints, ACTIVE);
  if (load<u32>(hints, SENDING) === 0) {
    if (!hintsDue(hints)) return HINTS_SLEEP;
    if (asked === HINT_DONE) {
      hintsReturn(hints, cpu);
      return HINTS_GO_ON;
    }
    store<u32>(hints, asked, ACTIVE);
    if (room(hints) === 0) return HINTS_GO_ON; // the id cannot be sent: this round has no hints
    store<u32>(hints, 1, SENDING);
    return add(hints, HINT_COMMAND | asked);
  }
  if (asked === active && takeOne(hints, cpu)) {
    if (room(hints) > 1) return add(hints, taken);
    hintsReturn(hints, cpu);
    return HINTS_GO_ON;
  }
  store<u32>(hints, 0, SENDING);
  return add(hints, HINT_COMMAND | HINT_STOP);
}

function takeOne(hints: usize, cpu: u32): bool {
  taken = allocPagesNoReclaim(<usize>load<u32>(hints, MM), cpu, HINT_ORDER, GFP_NOMEMALLOC);
  if (taken === PFN_NONE) return false;
  const held = hintsHeld(hints);
  store<u32>(heldAt(hints, held), taken);
  store<u32>(hints, held + 1, HELD);
  return true;
}

/** The block that was held last goes back, whether the host knows of it or not: the shrinker, or the end. PFN_NONE when none is held. */
export function hintsReturn(hints: usize, cpu: u32): u32 {
  given = PFN_NONE;
  const held = hintsHeld(hints);
  if (held === 0) return PFN_NONE;
  given = load<u32>(heldAt(hints, held - 1));
  store<u32>(hints, held - 1, HELD);
  freePages(<usize>load<u32>(hints, MM), cpu, given, HINT_ORDER);
  return given;
}

// First frames of the blocks that the last step has taken and given back; PFN_NONE for none.
let taken: u32 = PFN_NONE;
let given: u32 = PFN_NONE;

export function hintsTaken(): u32 {
  return taken;
}

export function hintsGiven(): u32 {
  return given;
}

/** Descriptors that the device has not looked at. */
export function hintsSent(hints: usize): u32 {
  return load<u32>(hints, TAIL) - load<u32>(hints, HEAD);
}

/** The device's next descriptor; hintsPop() gives it back to the driver. */
export function hintsNext(hints: usize): u32 {
  assert(hintsSent(hints) > 0);
  return load<u32>(ringAt(hints, load<u32>(hints, HEAD)));
}

export function hintsPop(hints: usize): void {
  assert(hintsSent(hints) > 0);
  store<u32>(hints, load<u32>(hints, HEAD) + 1, HEAD);
}

export function checkHints(hints: usize): void {
  const mm = <usize>load<u32>(hints, MM);
  assert(hintsSent(hints) <= load<u32>(hints, CAPACITY));
  for (let place: u32 = 0; place < hintsHeld(hints); place++) {
    assert(pageRefs(pageOf(mm, load<u32>(heldAt(hints, place)))) === 1);
  }
}
