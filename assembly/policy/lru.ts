import { queueAdd, queueRemove } from "./queue";
import { TailQueue } from "./tailqueue";

// Least recently used: one queue, a hit moves its page to the head, the tail is evicted.

@unmanaged
export class Lru extends TailQueue {
  hit(page: u32): void {
    queueRemove(this.links, page);
    queueAdd(this.links, this.pages, page);
  }
}
