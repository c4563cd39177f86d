import { HandQueue } from "./handqueue";

// SIEVE: a reference bit and a hand. Pages never move, and new ones enter at the head, not at the hand. Source: Zhang et al.,
// NSDI 2024.

@unmanaged
export class Sieve extends HandQueue {
  enter(page: u32): void {
    this.enterAt(page, this.room);
  }
}
