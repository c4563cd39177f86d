import { Policy, RESIDENT } from "./policy";
import { checkQueue, queueAdd, queuePrevious, queueRemove, queueReset } from "./queue";

// SIEVE: a bit that a hit sets, and a hand that goes from the tail to the head, clears set bits, and evicts the first page whose bit
// is clear. Pages never move, and new ones enter at the head, not at the hand. Source: Zhang et al., NSDI 2024.
//
// invariant: the hand is on a resident page, or on the queue's own node: then it starts again at the tail

const VISITED: u8 = 1;

@unmanaged
export class Sieve extends Policy {
  hand: u32;

  layout(at: u64): u64 {
    return this.place(at, 1);
  }

  reset(): void {
    this.clearStates();
    this.hand = this.pages;
    queueReset(this.links, this.pages);
  }

  hit(page: u32): void {
    this.setState(page, RESIDENT | VISITED);
  }

  evict(page: u32): u32 {
    assert(page < this.pages && this.used > 0);
    const links = this.links;
    let hand = this.hand;
    while (hand === this.pages || this.state(hand) & VISITED) {
      if (hand !== this.pages) this.setState(hand, RESIDENT);
      hand = queuePrevious(links, hand);
    }
    this.hand = hand;
    this.forget(hand);
    return hand;
  }

  enter(page: u32): void {
    this.join(page, 0);
    queueAdd(this.links, this.pages, page);
  }

  forget(page: u32): void {
    if (!this.resident(page)) return;
    if (this.hand === page) this.hand = queuePrevious(this.links, page);
    this.leave(page, 0);
    queueRemove(this.links, page);
  }

  check(): void {
    const length = checkQueue(this.links, this.pages, this.states, ~VISITED, RESIDENT, this.used);
    assert(length === this.checkUsed());
    assert(this.hand === this.pages || this.resident(this.hand));
  }
}
