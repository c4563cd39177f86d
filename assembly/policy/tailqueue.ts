import { Policy, RESIDENT } from "./policy";
import { checkQueue, queueAdd, queueRemove, queueReset, queueTail } from "./queue";

// What policies with one queue and no state but its order share: a page enters at the head, the tail is evicted. The policy's own
// file says what a hit does.

@unmanaged
export class TailQueue extends Policy {
  layout(at: u64): u64 {
    return this.place(at, 1);
  }

  adopt(old: TailQueue): void {
    this.adoptPages(old, 1);
  }

  reset(): void {
    this.clearStates();
    queueReset(this.links, this.pages);
  }

  evict(page: u32): u32 {
    assert(page < this.pages && this.used > 0);
    const victim = queueTail(this.links, this.pages);
    this.forget(victim);
    return victim;
  }

  enter(page: u32): void {
    this.join(page, 0);
    queueAdd(this.links, this.pages, page);
  }

  forget(page: u32): void {
    if (!this.resident(page)) return;
    this.leave(page, 0);
    queueRemove(this.links, page);
  }

  check(): void {
    const length = checkQueue(this.links, this.pages, this.states, 0xff, RESIDENT, this.used);
    assert(length === this.checkUsed());
  }
}
