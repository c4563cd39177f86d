import { unitsFor } from "../memory/layout";
import { Policy, RESIDENT } from "./policy";
import { queueAdd, queueNext, queuePrevious, queueRemove, queueReset, queueSet } from "./queue";

// What policies with a hand share: a bit, clear at entry and set by a hit. The hand goes from the tail to the head and round again; it
// clears a set bit and moves on, and evicts the first page whose bit is clear. The policy's own file says where a page enters.
//
// In the queue stand places, not pages. A page takes the place that was given up last, so those that follow each other in the queue lie side by side in
// memory, and so does what is known of the pages that came to them in turn: the hand goes along memory, not across it.
//
//   links   {next, previous} × (room + 1)     placePages  u32 × room          pagePlaces  u32 × pages
//           the last one is queue.ts' own     the page, or the next free      good while the page is resident
//           node, and is passed over          place, NO_PLACE for the last
//
// invariant: the hand is on the place of a resident page or on the queue's own node
// Measured: with a look at the pages that the hand comes to next (kvm/ahead.ts), 1.35 to 1.45 times the accesses a second of a guest of 1 GiB that faults all
// the time when it came in.

const REFERENCED: u8 = 1;
/** The state of a page that was hit. */
export const HAND_HIT: u8 = RESIDENT | REFERENCED;

const NO_PLACE: u32 = 0xffffffff;

// Steps that hands have made in all; only differences mean something.
const STEPS: usize = memory.data(4, 4);

/** Steps that hands have made, modulo 2^32. */
export function handSteps(): u32 {
  return load<u32>(STEPS);
}

/** A hand has made so many steps; or a policy that has none has let so many pages go. */
export function handStepped(steps: u32): void {
  store<u32>(STEPS, load<u32>(STEPS) + steps);
}

@unmanaged
export class HandQueue extends Policy {
  hand: u32;
  /** Places from here on were never taken. */
  fresh: u32;
  /** The place that was given up last. */
  spare: u32;
  placePages: usize;
  pagePlaces: usize;

  layout(at: u64): u64 {
    this.states = <usize>at;
    const links = at + (unitsFor(this.pages, 8) << 3);
    const placePages = links + ((<u64>this.room + 1) << 3);
    const pagePlaces = placePages + ((<u64>this.room) << 2);
    this.links = <usize>links;
    this.placePages = <usize>placePages;
    this.pagePlaces = <usize>pagePlaces;
    return pagePlaces + ((<u64>this.pages) << 2);
  }

  adopt(old: HandQueue): void {
    memory.copy(this.states, old.states, old.pages);
    memory.copy(this.placePages, old.placePages, (<usize>old.room) << 2);
    memory.copy(this.pagePlaces, old.pagePlaces, (<usize>old.pages) << 2);
    for (let place: u32 = 0; place <= old.room; place++) {
      const next = this.sameNode(old, queueNext(old.links, place));
      const previous = this.sameNode(old, queuePrevious(old.links, place));
      queueSet(this.links, this.sameNode(old, place), next, previous);
    }
    this.hand = this.sameNode(old, old.hand);
  }

  /** What was `node`: places stay, the queue's own node comes after them. */
  sameNode(old: HandQueue, node: u32): u32 {
    return node === old.room ? this.room : node;
  }

  reset(): void {
    this.clearStates();
    this.hand = this.room;
    this.fresh = 0;
    this.spare = NO_PLACE;
    queueReset(this.links, this.room);
  }

  hit(page: u32): void {
    this.setState(page, HAND_HIT);
  }

  evict(page: u32): u32 {
    assert(page < this.pages && this.used > 0);
    const own = this.room;
    let hand = this.hand;
    let at: u32 = 0;
    let steps: u32 = 1;
    while (true) {
      if (hand !== own) {
        at = this.placePage(hand);
        if ((this.state(at) & REFERENCED) === 0) break;
        this.setState(at, RESIDENT);
      }
      hand = queuePrevious(this.links, hand);
      steps++;
    }
    handStepped(steps);
    this.hand = queuePrevious(this.links, hand);
    this.giveUp(at, hand);
    return at;
  }

  /** Writes the pages at `most` places from the one at address `from` on, in the hand's order, to `to`. Returns their number. */
  ahead(from: usize, to: usize, most: u32): u32 {
    let place = load<u32>(from);
    let pages: u32 = 0;
    for (let step: u32 = 0; step < most && place <= this.room; step++) {
      const page = place < this.room ? this.placePage(place) : NO_PLACE;
      store<u32>(to + ((<usize>pages) << 2), page);
      // A place that was given up meanwhile holds the number of another one, or of none.
      pages += page < this.pages ? 1 : 0;
      place = queuePrevious(this.links, place);
    }
    // A place that nobody has taken since the queue has grown leads anywhere.
    store<u32>(from, place <= this.room ? place : this.hand);
    return pages;
  }

  forget(page: u32): void {
    if (!this.resident(page)) return;
    const place = load<u32>(this.pagePlaces + ((<usize>page) << 2));
    if (this.hand === place) this.hand = queuePrevious(this.links, place);
    this.giveUp(page, place);
  }

  /** The page enters, on the side of `node` that is nearer to the tail. */
  enterAt(page: u32, node: u32): void {
    this.join(page, 0);
    let place = this.spare;
    if (place !== NO_PLACE) this.spare = this.placePage(place);
    else place = this.fresh++;
    assert(place < this.room);
    store<u32>(this.placePages + ((<usize>place) << 2), page);
    store<u32>(this.pagePlaces + ((<usize>page) << 2), place);
    queueAdd(this.links, node, place);
  }

  /** The page at a place; of one that is free, the next such place. */
  placePage(place: u32): u32 {
    return load<u32>(this.placePages + ((<usize>place) << 2));
  }

  private giveUp(page: u32, place: u32): void {
    this.leave(page, 0);
    queueRemove(this.links, place);
    store<u32>(this.placePages + ((<usize>place) << 2), this.spare);
    this.spare = place;
  }

  check(): void {
    const own = this.room;
    let length: u32 = 0;
    for (let place = queueNext(this.links, own); place !== own; place = queueNext(this.links, place)) {
      assert(queuePrevious(this.links, queueNext(this.links, place)) === place);
      const page = this.placePage(place);
      assert((this.state(page) & ~REFERENCED) === RESIDENT);
      assert(load<u32>(this.pagePlaces + ((<usize>page) << 2)) === place);
      length++;
      assert(length <= this.used);
    }
    assert(length === this.checkUsed());
    for (let place = this.spare; place !== NO_PLACE; place = this.placePage(place)) length++;
    assert(length === this.fresh);
    assert(this.hand === own || this.resident(this.placePage(this.hand)));
  }
}
