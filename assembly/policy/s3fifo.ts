import { COMING, PAGE_NONE, Policy, RESIDENT } from "./policy";
import { checkQueue, queueAdd, queueRemove, queueReset, queueTail } from "./queue";

// S3-FIFO: a small queue for new pages, a main queue for those that were hit twice in it or that come back soon, and the numbers of
// pages that the small queue has evicted (ghosts). All are FIFO; a hit only counts. Source: Yang et al., SOSP 2023.
//
//   new -> SMALL (a tenth) -- count >= 2 --> MAIN (the rest) -- count >= 1 --> back to its head
//            |                                ^   \-- else evicted
//            +-> GHOST (nine tenths) --seen --+
//
// invariant: small + main = used; at most nine tenths of the capacity are ghosts

const COUNT: u8 = 3;
const MAIN: u8 = 4;
const GHOST: u8 = 8;

@unmanaged
export class S3fifo extends Policy {
  small: u32;
  main: u32;
  ghosts: u32;

  smallQueue(): u32 {
    return this.pages;
  }

  mainQueue(): u32 {
    return this.pages + 1;
  }

  ghostQueue(): u32 {
    return this.pages + 2;
  }

  layout(at: u64): u64 {
    return this.place(at, 3);
  }

  adopt(old: S3fifo): void {
    this.adoptPages(old, 3);
  }

  reset(): void {
    this.clearStates();
    this.small = 0;
    this.main = 0;
    this.ghosts = 0;
    queueReset(this.links, this.smallQueue());
    queueReset(this.links, this.mainQueue());
    queueReset(this.links, this.ghostQueue());
  }

  hit(page: u32): void {
    const state = this.state(page);
    if ((state & COUNT) !== COUNT) this.setState(page, state + 1);
  }

  evict(page: u32): u32 {
    if (this.state(page) === GHOST) this.recall(page);
    this.trim(this.ghostsMost());
    const mainMost = this.capacity - this.capacity / 10;
    let victim = PAGE_NONE;
    while (victim === PAGE_NONE) {
      assert(this.small + this.main > 0);
      victim = this.main > mainMost || this.small === 0 ? this.evictMain() : this.evictSmall();
    }
    return victim;
  }

  // Takes the page off the ghosts before anything else can push it out of them.
  recall(page: u32): void {
    queueRemove(this.links, page);
    this.ghosts--;
    this.setState(page, COMING);
  }

  // PAGE_NONE when every page has moved on to the main queue.
  evictSmall(): u32 {
    const links = this.links;
    while (this.small > 0) {
      const page = queueTail(links, this.smallQueue());
      const state = this.state(page);
      queueRemove(links, page);
      this.small--;
      if ((state & COUNT) < 2) {
        this.leave(page, 0);
        this.remember(page);
        return page;
      }
      this.setState(page, RESIDENT | MAIN);
      this.main++;
      queueAdd(links, this.mainQueue(), page);
    }
    return PAGE_NONE;
  }

  evictMain(): u32 {
    const links = this.links;
    while (true) {
      const page = queueTail(links, this.mainQueue());
      const state = this.state(page);
      queueRemove(links, page);
      if ((state & COUNT) === 0) {
        this.main--;
        this.leave(page, 0);
        return page;
      }
      this.setState(page, state - 1);
      queueAdd(links, this.mainQueue(), page);
    }
  }

  remember(page: u32): void {
    const most = this.ghostsMost();
    if (most === 0) return;
    this.trim(most - 1);
    this.setState(page, GHOST);
    this.ghosts++;
    queueAdd(this.links, this.ghostQueue(), page);
  }

  ghostsMost(): u32 {
    return <u32>((<u64>this.capacity * 9) / 10);
  }

  trim(most: u32): void {
    while (this.ghosts > most) this.forget(queueTail(this.links, this.ghostQueue()));
  }

  enter(page: u32): void {
    if (this.state(page) === GHOST) this.recall(page);
    this.trim(this.ghostsMost());
    const main = this.state(page) === COMING;
    this.join(page, main ? MAIN : 0);
    if (main) this.main++;
    else this.small++;
    queueAdd(this.links, main ? this.mainQueue() : this.smallQueue(), page);
  }

  forget(page: u32): void {
    const state = this.state(page);
    if (state & RESIDENT) {
      if (state & MAIN) this.main--;
      else this.small--;
      this.leave(page, 0);
      queueRemove(this.links, page);
    } else {
      if (state === GHOST) this.recall(page);
      this.setState(page, 0);
    }
  }

  check(): void {
    const links = this.links;
    const states = this.states;
    assert(checkQueue(links, this.smallQueue(), states, ~COUNT, RESIDENT, this.used) === this.small);
    assert(checkQueue(links, this.mainQueue(), states, ~COUNT, RESIDENT | MAIN, this.used) === this.main);
    assert(checkQueue(links, this.ghostQueue(), states, 0xff, GHOST, this.pages) === this.ghosts);
    assert(this.small + this.main === this.checkUsed());
    assert(this.ghosts <= this.ghostsMost());
  }
}
