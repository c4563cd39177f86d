import { COMING, Policy, RESIDENT } from "./policy";
import { checkQueue, queueAdd, queueRemove, queueReset, queueTail } from "./queue";

// ARC, the adaptive replacement cache: pages seen once (T1) and more often (T2), the numbers of pages that each has evicted (B1, B2),
// and a target for the size of T1 that a reference to either kind of ghost moves its way. Source: Megiddo and Modha, FAST 2003.
//
//   B1 <-- T1 | T2 --> B2        queues by number: T1 0, T2 1, B1 2, B2 3; the tails of T1 and T2 lie towards the ghosts
//
// invariant: T1 + T2 = used; T1 + B1 <= capacity and T1 + T2 + B1 + B2 <= 2 × capacity while used <= capacity
// invariant: 0 <= target <= capacity

const T1: u8 = 0;
const T2: u8 = 1;
const B1: u8 = 2;
const B2: u8 = 3;
/** The queue that a page is on, in its state; KNOWN tells it from a page that is on none. */
const QUEUE: u8 = 3;
const KNOWN: u8 = 4;

@unmanaged
export class Arc extends Policy {
  t1: u32;
  t2: u32;
  b1: u32;
  b2: u32;
  /** Pages that T1 should have, a real number. */
  target: f64;

  layout(at: u64): u64 {
    return this.place(at, 4);
  }

  adopt(old: Arc): void {
    this.adoptPages(old, 4);
  }

  reset(): void {
    this.clearStates();
    this.target = 0;
    for (let queue: u8 = T1; queue <= B2; queue++) {
      this.grow(queue, 0 - this.length(queue));
      queueReset(this.links, this.pages + queue);
    }
  }

  length(queue: u8): u32 {
    return load<u32>(changetype<usize>(this) + ((<usize>queue) << 2), offsetof<Arc>("t1"));
  }

  // Adds to a queue's length, modulo 2^32.
  grow(queue: u8, by: u32): void {
    const at = changetype<usize>(this) + ((<usize>queue) << 2);
    store<u32>(at, load<u32>(at, offsetof<Arc>("t1")) + by, offsetof<Arc>("t1"));
  }

  add(queue: u8, page: u32): void {
    this.grow(queue, 1);
    queueAdd(this.links, this.pages + queue, page);
  }

  remove(queue: u8, page: u32): void {
    this.grow(queue, <u32>-1);
    queueRemove(this.links, page);
  }

  hit(page: u32): void {
    const state = this.state(page);
    if (state & T2) {
      queueRemove(this.links, page);
      queueAdd(this.links, this.pages + T2, page);
      return;
    }
    this.remove(T1, page);
    this.setState(page, RESIDENT | KNOWN | T2);
    this.add(T2, page);
  }

  evict(page: u32): u32 {
    const victim = this.choose(page);
    this.trim();
    return victim;
  }

  choose(page: u32): u32 {
    const state = this.state(page);
    if ((state & (KNOWN | RESIDENT)) === KNOWN) {
      this.recall(page);
      return this.replace((state & QUEUE) === B2);
    }
    if (state === COMING) return this.replace(false); // the limit has fallen: one more has to go
    if (this.t1 + this.b1 < this.capacity) {
      if (this.used + this.b1 + this.b2 >= 2 * this.capacity) this.drop(B2);
      return this.replace(false);
    }
    if (this.drop(B1)) return this.replace(false);
    const victim = queueTail(this.links, this.pages + T1);
    this.forget(victim);
    return victim;
  }

  // A ghost is referenced: the target moves its way, and the page comes off its queue.
  recall(page: u32): void {
    const b1 = <f64>this.b1;
    const b2 = <f64>this.b2;
    const queue = this.state(page) & QUEUE;
    if (queue === B1) this.target = min<f64>(this.target + max<f64>(b2 / b1, 1), <f64>this.capacity);
    else this.target = max<f64>(this.target - max<f64>(b1 / b2, 1), 0);
    this.remove(queue, page);
    this.setState(page, COMING);
  }

  // REPLACE of the paper: the tail of T1 or T2 becomes a ghost.
  replace(fromB2: bool): u32 {
    const t1 = <f64>this.t1;
    const first = this.t1 > 0 && (t1 > this.target || (fromB2 && t1 === this.target));
    const queue = first || this.t2 === 0 ? T1 : T2;
    const victim = queueTail(this.links, this.pages + queue);
    this.remove(queue, victim);
    this.leave(victim, KNOWN | (queue + B1));
    this.add(queue + B1, victim);
    return victim;
  }

  // Forgets the oldest ghost of a queue; false when it has none.
  drop(queue: u8): bool {
    if (this.length(queue) === 0) return false;
    this.forget(queueTail(this.links, this.pages + queue));
    return true;
  }

  enter(page: u32): void {
    if (this.state(page) & KNOWN) this.recall(page);
    const queue = this.state(page) === COMING ? T2 : T1;
    this.join(page, KNOWN | queue);
    this.add(queue, page);
    this.trim();
  }

  // Needed when pages went by forget() or when the capacity has fallen: the ghosts keep their bounds.
  trim(): void {
    const capacity = this.capacity;
    this.target = min<f64>(this.target, <f64>capacity);
    while (this.t1 + this.b1 > capacity && this.drop(B1));
    while (this.used + this.b1 + this.b2 > 2 * capacity && (this.drop(B2) || this.drop(B1)));
  }

  forget(page: u32): void {
    const state = this.state(page);
    if (state & KNOWN) this.remove(state & QUEUE, page);
    if (state & RESIDENT) this.leave(page, 0);
    else this.setState(page, 0);
  }

  check(): void {
    const most = this.pages;
    const links = this.links;
    for (let queue: u8 = T1; queue <= B2; queue++) {
      const state: u8 = KNOWN | queue | (queue < B1 ? RESIDENT : 0);
      assert(checkQueue(links, this.pages + queue, this.states, 0xff, state, most) === this.length(queue));
    }
    assert(this.t1 + this.t2 === this.checkUsed());
    if (this.used <= this.capacity) {
      assert(this.t1 + this.b1 <= this.capacity);
      assert(this.used + this.b1 + this.b2 <= 2 * this.capacity);
    }
    assert(this.target >= 0 && this.target <= <f64>this.capacity);
  }
}
