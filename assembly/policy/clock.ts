import { HandQueue } from "./handqueue";

// CLOCK, second chance: a reference bit and a hand that goes round. A page enters right behind the hand, where it is looked at last.

@unmanaged
export class Clock extends HandQueue {
  enter(page: u32): void {
    this.enterAt(page, this.hand);
  }
}
