import { Policy, RESIDENT } from "./policy";
import { checkQueue, queueAdd, queuePrevious, queueRemove, queueReset, queueTail } from "./queue";

// A policy that somebody outside the core has written. Pages stand in a queue and enter at its head. When one must go and none is chosen,
// the oldest pages, up to a batch of them, are laid out as columns, and one imported call asks for each whether it goes. Those that do stay
// where they are and go one by one, the others begin anew at the head, unused.
//
//   head  newest … … oldest  tail        a batch of candidates       head  kept … newest … chosen  tail → go
//                  └─ batch ─┘      →    EVICT KEEP EVICT …      →
//
// rows     0         8      12     16        columns  u32 × 64  u32 × 64  u32 × 64  u8 × 64    u8 × 64  u8 × 64
//          +---------+------+------+                  +-------+---------+---------+----------+--------+---------+
//          | lastUse | uses | pad  | × pages          | page  | age     | uses    | accessed | dirty  | choices |
//          +---------+------+------+                  +-------+---------+---------+----------+--------+---------+
//
// Whoever fails to choose (the call says so, a choice is none, or all are kept for ever) is not asked again until outsideClear(): the
// oldest page goes in place of what it would have chosen, so that the step under way ends soundly, and the upper floor stops the run.
//
// invariant: `chosen` pages have CHOSEN set, and they are the last ones of the queue
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
  /** Pages that have been chosen and are still there. */
  chosen: u32;
  /** References so far. */
  clock: u64;
  rows: usize;

  layout(at: u64): u64 {
    this.rows = <usize>at;
    return this.place(at + ((<u64>this.pages) << ROW_SHIFT), 1);
  }

  reset(): void {
    this.clearStates();
    this.clock = 0;
    this.chosen = 0;
    queueReset(this.links, this.pages);
  }

  hit(page: u32): void {
    const row = this.row(page);
    const uses = load<u32>(row, USES);
    this.clock++;
    store<u64>(row, this.clock, LAST_USE);
    store<u32>(row, uses + u32(uses !== u32.MAX_VALUE), USES);
    this.setState(page, this.state(page) | ACCESSED);
  }

  evict(page: u32): u32 {
    assert(page < this.pages && this.used > 0);
    if (this.chosen === 0) this.choose();
    const victim = queueTail(this.links, this.pages);
    this.forget(victim);
    return victim;
  }

  enter(page: u32): void {
    this.join(page, 0);
    this.clock++;
    store<u64>(this.row(page), this.clock, LAST_USE);
    store<u32>(this.row(page), 1, USES);
    queueAdd(this.links, this.pages, page);
  }

  forget(page: u32): void {
    if (!this.resident(page)) return;
    if (this.state(page) & CHOSEN) this.chosen--;
    this.leave(page, 0);
    queueRemove(this.links, page);
  }

  /** The reference that has just been made wrote to the page. */
  wrote(page: u32): void {
    assert(this.resident(page));
    this.setState(page, this.state(page) | DIRTY);
  }

  check(): void {
    const length = checkQueue(this.links, this.pages, this.states, RESIDENT, RESIDENT, this.used);
    assert(length === this.checkUsed());
    let page = queuePrevious(this.links, this.pages);
    for (let place: u32 = 0; place < length; place++) {
      assert(((this.state(page) & CHOSEN) !== 0) === place < this.chosen);
      page = queuePrevious(this.links, page);
    }
  }

  row(page: u32): usize {
    return this.rows + ((<usize>page) << ROW_SHIFT);
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

  /** Fills the columns from the tail on; every page is kept unless the choice says otherwise. Returns the candidates. */
  layOut(): u32 {
    const batch = load<u32>(CALL, BATCH);
    let count: u32 = 0;
    memory.fill(COLUMNS + OUTSIDE_CHOICES, OUTSIDE_KEEP, OUTSIDE_BATCH_MAX);
    for (
      let page = queuePrevious(this.links, this.pages);
      page !== this.pages && count < batch;
      page = queuePrevious(this.links, page)
    ) {
      const state = this.state(page);
      const row = this.row(page);
      const word = COLUMNS + ((<usize>count) << 2);
      const byte = COLUMNS + count;
      store<u32>(word, page, OUTSIDE_PAGE);
      store<u32>(word, <u32>min<u64>(this.clock - load<u64>(row, LAST_USE), u32.MAX_VALUE), OUTSIDE_AGE);
      store<u32>(word, load<u32>(row, USES), OUTSIDE_USES);
      store<u8>(byte, u8((state & ACCESSED) !== 0), OUTSIDE_ACCESSED);
      store<u8>(byte, u8((state & DIRTY) !== 0), OUTSIDE_DIRTY);
      count++;
    }
    return count;
  }

  // Goes through the queue as layOut() did: what the columns say by now is the outside's.
  carryOut(candidates: u32): void {
    const links = this.links;
    let newer = queuePrevious(links, this.pages);
    for (let index: u32 = 0; index < candidates; index++) {
      const page = newer;
      newer = queuePrevious(links, page);
      if (load<u8>(COLUMNS + index, OUTSIDE_CHOICES) === OUTSIDE_EVICT) {
        this.setState(page, this.state(page) | CHOSEN);
        this.chosen++;
      } else {
        this.setState(page, this.state(page) & ~ACCESSED);
        queueRemove(links, page);
        queueAdd(links, this.pages, page);
      }
    }
  }
}

/** Bytes of the record. */
export const OUTSIDE_BYTES: usize = offsetof<Outside>();
