import { Policy, RESIDENT } from "./policy";
import { checkQueue, queuePrevious, queueRemove, queueReset } from "./queue";

// What policies with a hand share: a bit, clear at entry and set by a hit. The hand goes from the tail to the head and round again; it
// clears a set bit and moves on, and evicts the first page whose bit is clear. The policy's own file says where a page enters.
//
//   queue.ts' own node stands in the round too and is passed over
//
// invariant: the hand is on a resident page or on the queue's own node

const REFERENCED: u8 = 1;

@unmanaged
export class HandQueue extends Policy {
  hand: u32;

  layout(at: u64): u64 {
    return this.place(at, 1);
  }

  adopt(old: HandQueue): void {
    this.adoptPages(old, 1);
    this.hand = this.renumbered(old, old.hand);
  }

  reset(): void {
    this.clearStates();
    this.hand = this.pages;
    queueReset(this.links, this.pages);
  }

  hit(page: u32): void {
    this.setState(page, RESIDENT | REFERENCED);
  }

  evict(page: u32): u32 {
    assert(page < this.pages && this.used > 0);
    const links = this.links;
    let hand = this.hand;
    while (hand === this.pages || this.state(hand) & REFERENCED) {
      if (hand !== this.pages) this.setState(hand, RESIDENT);
      hand = queuePrevious(links, hand);
    }
    this.hand = hand;
    this.forget(hand);
    return hand;
  }

  forget(page: u32): void {
    if (!this.resident(page)) return;
    if (this.hand === page) this.hand = queuePrevious(this.links, page);
    this.leave(page, 0);
    queueRemove(this.links, page);
  }

  check(): void {
    const length = checkQueue(this.links, this.pages, this.states, ~REFERENCED, RESIDENT, this.used);
    assert(length === this.checkUsed());
    assert(this.hand === this.pages || this.resident(this.hand));
  }
}
