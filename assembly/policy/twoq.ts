import { COMING, Policy, RESIDENT } from "./policy";
import { checkQueue, queueAdd, queueRemove, queueReset, queueTail } from "./queue";

// 2Q: new pages pass through a FIFO of a quarter of memory (A1in); the numbers of those that leave it are kept (A1out, half as many as
// memory holds), and a page that is seen again meanwhile enters the LRU queue of the rest (Am).
// Source: Johnson and Shasha, VLDB 1994, the full version.
//
// invariant: in + main = used; at most half of the capacity are ghosts

const MAIN: u8 = 1;
const OUT: u8 = 2;

@unmanaged
export class TwoQ extends Policy {
  in: u32;
  main: u32;
  out: u32;

  inQueue(): u32 {
    return this.pages;
  }

  mainQueue(): u32 {
    return this.pages + 1;
  }

  outQueue(): u32 {
    return this.pages + 2;
  }

  layout(at: u64): u64 {
    return this.place(at, 3);
  }

  adopt(old: TwoQ): void {
    this.adoptPages(old, 3);
  }

  reset(): void {
    this.clearStates();
    this.in = 0;
    this.main = 0;
    this.out = 0;
    queueReset(this.links, this.inQueue());
    queueReset(this.links, this.mainQueue());
    queueReset(this.links, this.outQueue());
  }

  hit(page: u32): void {
    if ((this.state(page) & MAIN) === 0) return;
    queueRemove(this.links, page);
    queueAdd(this.links, this.mainQueue(), page);
  }

  evict(page: u32): u32 {
    if (this.state(page) === OUT) this.recall(page);
    this.trim(this.capacity / 2);
    const fromIn = this.in > this.capacity / 4 || this.main === 0;
    const victim = queueTail(this.links, fromIn ? this.inQueue() : this.mainQueue());
    this.forget(victim);
    if (fromIn) this.remember(victim);
    return victim;
  }

  // Takes the page off the ghosts before the victim can push it out of them.
  recall(page: u32): void {
    queueRemove(this.links, page);
    this.out--;
    this.setState(page, COMING);
  }

  remember(page: u32): void {
    const most = this.capacity / 2;
    if (most === 0) return;
    this.trim(most - 1);
    this.setState(page, OUT);
    this.out++;
    queueAdd(this.links, this.outQueue(), page);
  }

  trim(most: u32): void {
    while (this.out > most) this.forget(queueTail(this.links, this.outQueue()));
  }

  enter(page: u32): void {
    if (this.state(page) === OUT) this.recall(page);
    this.trim(this.capacity / 2);
    const main = this.state(page) === COMING;
    this.join(page, main ? MAIN : 0);
    if (main) this.main++;
    else this.in++;
    queueAdd(this.links, main ? this.mainQueue() : this.inQueue(), page);
  }

  forget(page: u32): void {
    const state = this.state(page);
    if (state & RESIDENT) {
      if (state & MAIN) this.main--;
      else this.in--;
      this.leave(page, 0);
      queueRemove(this.links, page);
    } else {
      if (state === OUT) this.recall(page);
      this.setState(page, 0);
    }
  }

  check(): void {
    const links = this.links;
    assert(checkQueue(links, this.inQueue(), this.states, 0xff, RESIDENT, this.used) === this.in);
    assert(checkQueue(links, this.mainQueue(), this.states, 0xff, RESIDENT | MAIN, this.used) === this.main);
    assert(checkQueue(links, this.outQueue(), this.states, 0xff, OUT, this.pages) === this.out);
    assert(this.in + this.main === this.checkUsed());
    assert(this.out <= this.capacity / 2);
  }
}
