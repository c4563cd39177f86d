import { handStepped } from "./handqueue";
import { PAGE_NONE, Policy } from "./policy";

// A policy that somebody outside the core has written. Pages stand in a queue and enter at its head. When one must go and none is chosen,
// the oldest pages, up to a batch of them, are laid out as columns, and one imported call asks for each whether it goes. Those that do leave
// the queue and go one by one, the oldest first; the others begin anew at the head, unused.
//
//   head  newest … … oldest  tail        a batch of candidates       head  kept … newest …  tail     chosen → go
//                  └─ batch ─┘      →    EVICT KEEP EVICT …      →
//
// The queue is a ring, for it is gone through in order, and a page that goes for another reason leaves a hole in it. A ring without room
// is closed up; it has room for twice the pages, so that this is rare.
//
// rows     0         8      12      16       columns  u32 × 64  u32 × 64  u32 × 64  u8 × 64    u8 × 64  u8 × 64
//          +---------+------+-------+                 +-------+---------+---------+----------+--------+---------+
//          | lastUse | uses | place | × pages         | page  | age     | uses    | accessed | dirty  | choices |
//          +---------+------+-------+                 +-------+---------+---------+----------+--------+---------+
//                                        ring  u32 × 2 pages: page or PAGE_NONE      choice  u32 × 64: page or PAGE_NONE
//
// Whoever fails to choose (the call says so, a choice is none, or all are kept for ever) is not asked again until outsideClear(): the
// oldest page goes in place of what it would have chosen, so that the step under way ends soundly, and the upper floor stops the run.
//
// invariant: a resident page is where its place says: in the choice with CHOSEN set, else in the ring
// invariant: `chosen` pages have CHOSEN set
// invariant: what was laid out is not touched before the choice is carried out; the call must not come back into the core

/** The most candidates of one call. */
export const OUTSIDE_BATCH_MAX: u32 = 64;

/** Values of `choices`. */
export const OUTSIDE_KEEP: u8 = 0;
export const OUTSIDE_EVICT: u8 = 1;

/** What was wrong: nothing; the call said so; a choice is none of the two; page after page was kept. */
export const OUTSIDE_SOUND: u32 = 0;
export const OUTSIDE_THREW: u32 = 1;
export const OUTSIDE_BAD_CHOICE: u32 = 2;
export const OUTSIDE_NO_CHOICE: u32 = 3;

/** Where the columns begin, from outsideColumns() on. */
export const OUTSIDE_PAGE: usize = 0;
export const OUTSIDE_AGE: usize = 256;
export const OUTSIDE_USES: usize = 512;
export const OUTSIDE_ACCESSED: usize = 768;
export const OUTSIDE_DIRTY: usize = 832;
export const OUTSIDE_CHOICES: usize = 896;
const COLUMNS: usize = memory.data(960, 8);

const BATCH: usize = 0;
const FAILURE: usize = 4;
const FAILED_AT: usize = 8; // the candidate with the bad choice, or the number of pages that were looked at
const CALL: usize = memory.data(12, 8);

// How many pages may be kept in a row: CLOCK keeps each once at most, a policy that draws lots may need many with a few pages.
const PATIENCE_ROUNDS: u32 = 4;
const PATIENCE_PAGES: u32 = 1024;

const ACCESSED: u8 = 1;
const DIRTY: u8 = 2;
const CHOSEN: u8 = 4;

const LAST_USE: usize = 0; // u64
const USES: usize = 8;
const PLACE: usize = 12;
const ROW_SHIFT: usize = 4;

/** The call to the outside: chooses among the first `candidates` rows of the columns, pages of `vm`. True when it has failed. */
declare function choosePages(vm: u32, candidates: u32): bool;

type StopHook = () => void;

function unset(): void {
  assert(false);
}

let stop: StopHook = unset;

/** `hook` ends the run after the step that is under way. */
export function outsideRegister(hook: StopHook): void {
  stop = hook;
}

/** Candidates of a call, 1..OUTSIDE_BATCH_MAX. */
export function setOutsideBatch(batch: u32): void {
  assert(batch > 0 && batch <= OUTSIDE_BATCH_MAX);
  store<u32>(CALL, batch, BATCH);
}

/** Address of the columns; they stay there. */
export function outsideColumns(): usize {
  return COLUMNS;
}

/** What was wrong with the choice that stopped the run, OUTSIDE_*. */
export function outsideFailure(): u32 {
  return load<u32>(CALL, FAILURE);
}

/** With OUTSIDE_BAD_CHOICE the candidate whose choice it is, with OUTSIDE_NO_CHOICE the number of pages that were looked at. */
export function outsideFailedAt(): u32 {
  return load<u32>(CALL, FAILED_AT);
}

/** The failure has been told: the next choice is asked for again. */
export function outsideClear(): void {
  store<u32>(CALL, OUTSIDE_SOUND, FAILURE);
}

function fail(failure: u32, at: u32): void {
  store<u32>(CALL, failure, FAILURE);
  store<u32>(CALL, at, FAILED_AT);
  stop();
}

@unmanaged
export class Outside extends Policy {
  /** Number of the VM whose pages these are. */
  vm: u32;
  /** Pages that have been chosen and are still there; the next one of them, and where the choice ends. */
  chosen: u32;
  nextChosen: u32;
  choiceEnd: u32;
  /** Place in the ring of the oldest entry, and entries from there on, holes included. */
  tail: u32;
  entries: u32;
  /** References so far. */
  clock: u64;
  rows: usize;
  choice: usize;

  layout(at: u64): u64 {
    this.rows = <usize>at;
    const choice = at + ((<u64>this.pages) << ROW_SHIFT);
    this.choice = <usize>choice;
    return this.place(choice + 4 * OUTSIDE_BATCH_MAX, 0); // what other policies have their links in is the ring
  }

  adopt(old: Outside): void {
    memory.copy(this.states, old.states, old.pages);
    memory.copy(this.rows, old.rows, (<usize>old.pages) << ROW_SHIFT);
    memory.copy(this.choice, old.choice, 4 * OUTSIDE_BATCH_MAX);
    this.tail = 0;
    this.entries = 0;
    for (let entry: u32 = 0; entry < old.entries; entry++) {
      const page = old.ringAt(old.placeAfter(old.tail, entry));
      if (page !== PAGE_NONE) this.append(page);
    }
  }

  reset(): void {
    this.clearStates();
    this.clock = 0;
    this.chosen = 0;
    this.nextChosen = 0;
    this.choiceEnd = 0;
    this.tail = 0;
    this.entries = 0;
  }

  hit(page: u32): void {
    this.use(page, false);
  }

  /** A reference to a resident page. */
  use(page: u32, write: bool): void {
    const row = this.row(page);
    const uses = load<u32>(row, USES);
    this.clock++;
    store<u64>(row, this.clock, LAST_USE);
    store<u32>(row, uses + u32(uses !== u32.MAX_VALUE), USES);
    this.setState(page, this.state(page) | ACCESSED | (write ? DIRTY : 0));
  }

  evict(page: u32): u32 {
    assert(page < this.pages && this.used > 0);
    if (this.chosen === 0) this.choose();
    const victim = this.chosen === 0 ? this.oldest() : this.firstChosen();
    handStepped(1);
    this.forget(victim);
    return victim;
  }

  enter(page: u32): void {
    this.join(page, 0);
    this.clock++;
    store<u64>(this.row(page), this.clock, LAST_USE);
    store<u32>(this.row(page), 1, USES);
    this.append(page);
  }

  forget(page: u32): void {
    if (!this.resident(page)) return;
    const place = load<u32>(this.row(page), PLACE);
    if (this.state(page) & CHOSEN) {
      this.chosen--;
      this.setChoiceAt(place, PAGE_NONE);
    } else {
      this.setRingAt(place, PAGE_NONE);
    }
    this.leave(page, 0);
  }

  /** The reference that has just been made wrote to the page. */
  wrote(page: u32): void {
    assert(this.resident(page));
    this.setState(page, this.state(page) | DIRTY);
  }

  check(): void {
    let chosen: u32 = 0;
    let found: u32 = 0;
    assert(this.entries <= this.ringPlaces());
    for (let place = this.nextChosen; place < this.choiceEnd; place++)
      chosen += u32(this.choiceAt(place) !== PAGE_NONE);
    for (let entry: u32 = 0; entry < this.entries; entry++)
      found += u32(this.ringAt(this.placeAfter(this.tail, entry)) !== PAGE_NONE);
    assert(chosen === this.chosen);
    assert(chosen + found === this.checkUsed());
    for (let page: u32 = 0; page < this.pages; page++) {
      if (!this.resident(page)) continue;
      const place = load<u32>(this.row(page), PLACE);
      if ((this.state(page) & CHOSEN) === 0) assert(this.ringAt(place) === page);
      else assert(place >= this.nextChosen && place < this.choiceEnd && this.choiceAt(place) === page);
    }
  }

  row(page: u32): usize {
    return this.rows + ((<usize>page) << ROW_SHIFT);
  }

  ringPlaces(): u32 {
    return this.pages << 1;
  }

  /** The place `entries` behind `place`. */
  placeAfter(place: u32, entries: u32): u32 {
    const after = place + entries;
    return after < this.ringPlaces() ? after : after - this.ringPlaces();
  }

  ringAt(place: u32): u32 {
    return load<u32>(this.links + ((<usize>place) << 2));
  }

  setRingAt(place: u32, page: u32): void {
    store<u32>(this.links + ((<usize>place) << 2), page);
  }

  choiceAt(place: u32): u32 {
    return load<u32>(this.choice + ((<usize>place) << 2));
  }

  setChoiceAt(place: u32, page: u32): void {
    store<u32>(this.choice + ((<usize>place) << 2), page);
  }

  /** Puts a page at the head of the queue. */
  append(page: u32): void {
    if (this.entries === this.ringPlaces()) this.closeUp();
    const place = this.placeAfter(this.tail, this.entries);
    this.setRingAt(place, page);
    store<u32>(this.row(page), place, PLACE);
    this.entries++;
  }

  /** Takes the holes out of the ring. */
  closeUp(): void {
    let left: u32 = 0;
    for (let entry: u32 = 0; entry < this.entries; entry++) {
      const page = this.ringAt(this.placeAfter(this.tail, entry));
      if (page === PAGE_NONE) continue;
      const place = this.placeAfter(this.tail, left++);
      this.setRingAt(place, page);
      store<u32>(this.row(page), place, PLACE);
    }
    assert(left <= this.pages);
    this.entries = left;
  }

  /** The page at the tail of the queue. */
  oldest(): u32 {
    while (this.ringAt(this.tail) === PAGE_NONE) this.dropTail();
    return this.ringAt(this.tail);
  }

  dropTail(): void {
    assert(this.entries > 0);
    this.tail = this.placeAfter(this.tail, 1);
    this.entries--;
  }

  firstChosen(): u32 {
    while (this.choiceAt(this.nextChosen) === PAGE_NONE) this.nextChosen++;
    assert(this.nextChosen < this.choiceEnd);
    return this.choiceAt(this.nextChosen);
  }

  /** Asks until at least one page is chosen, until that has become hopeless. */
  choose(): void {
    if (outsideFailure() !== OUTSIDE_SOUND) return;
    const most = PATIENCE_ROUNDS * this.used + PATIENCE_PAGES;
    let looked: u32 = 0;
    while (looked < most) {
      const candidates = this.layOut();
      looked += candidates;
      if (choosePages(this.vm, candidates)) return fail(OUTSIDE_THREW, 0);
      for (let index: u32 = 0; index < candidates; index++) {
        if (load<u8>(COLUMNS + index, OUTSIDE_CHOICES) > OUTSIDE_EVICT)
          return fail(OUTSIDE_BAD_CHOICE, index);
      }
      this.carryOut(candidates);
      if (this.chosen > 0) return;
    }
    fail(OUTSIDE_NO_CHOICE, looked);
  }

  /** Writes the pages that are chosen, at most `most` from the choice at address `from` on, to `to`. Returns their number. */
  ahead(from: usize, to: usize, most: u32): u32 {
    let pages: u32 = 0;
    let place = load<u32>(from);
    for (; place < this.choiceEnd && pages < most; place++) {
      const page = this.choiceAt(place);
      if (page === PAGE_NONE) continue;
      store<u32>(to + ((<usize>pages) << 2), page);
      pages++;
    }
    store<u32>(from, place);
    return pages;
  }

  /** Fills the columns from the tail on; every page is kept unless the choice says otherwise. Returns the candidates. */
  layOut(): u32 {
    const batch = load<u32>(CALL, BATCH);
    const clock = this.clock;
    let count: u32 = 0;
    for (let entry: u32 = 0; entry < this.entries && count < batch; entry++) {
      const page = this.ringAt(this.placeAfter(this.tail, entry));
      if (page === PAGE_NONE) continue;
      const state = this.state(page);
      const row = this.row(page);
      const word = COLUMNS + ((<usize>count) << 2);
      const byte = COLUMNS + count;
      store<u32>(word, page, OUTSIDE_PAGE);
      store<u32>(word, <u32>min<u64>(clock - load<u64>(row, LAST_USE), u32.MAX_VALUE), OUTSIDE_AGE);
      store<u32>(word, load<u32>(row, USES), OUTSIDE_USES);
      store<u8>(byte, u8((state & ACCESSED) !== 0), OUTSIDE_ACCESSED);
      store<u8>(byte, u8((state & DIRTY) !== 0), OUTSIDE_DIRTY);
      store<u8>(byte, OUTSIDE_KEEP, OUTSIDE_CHOICES);
      count++;
    }
    return count;
  }

  // Goes through the ring as layOut() did: what the columns say by now is the outside's. The choices follow no pattern, so none of them is
  // branched on: a page is written at the end of the choice and at the head of the ring, and one of the two counts it in.
  carryOut(candidates: u32): void {
    let chosen: u32 = 0;
    for (let index: u32 = 0; index < candidates; index++) {
      const page = this.oldest();
      this.dropTail();
      const state = this.state(page);
      const goes = load<u8>(COLUMNS + index, OUTSIDE_CHOICES) === OUTSIDE_EVICT;
      const head = this.placeAfter(this.tail, this.entries);
      this.setChoiceAt(chosen, page);
      this.setRingAt(head, page);
      store<u32>(this.row(page), select<u32>(chosen, head, goes), PLACE);
      this.setState(page, select<u8>(state | CHOSEN, state & ~ACCESSED, goes));
      chosen += u32(goes);
      this.entries += 1 - u32(goes);
    }
    this.nextChosen = 0;
    this.chosen = chosen;
    this.choiceEnd = chosen;
  }
}

/** Bytes of the record. */
export const OUTSIDE_BYTES: usize = offsetof<Outside>();
