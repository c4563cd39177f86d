import { TailQueue } from "./tailqueue";

// First in, first out: one queue, a hit does nothing, the tail is evicted.

@unmanaged
export class Fifo extends TailQueue {
  hit(page: u32): void {
    assert(this.resident(page));
  }
}
