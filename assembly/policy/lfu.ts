import { PAGE_NONE, Policy, RESIDENT } from "./policy";
import {
  checkQueue,
  queueAdd,
  queueEmpty,
  queueNext,
  queuePrevious,
  queueRemove,
  queueReset,
  queueTail,
} from "./queue";

// Least frequently used, with exact counts that end with the page's stay in memory: a bucket for each count that some page has, its
// pages in the order in which they reached it, and the buckets in a chain by count. Every operation takes constant time.
//
//   chain:   0 <-> bucket of count 1 <-> bucket of count 4 <-> …        bucket 0 ends the chain and holds no pages
//                    |                     |
//                  its pages             its pages                      victim: the oldest of the first bucket
//
// nodes    0 .. pages-1 | pages + bucket: its queue of pages | pages + buckets + bucket: its place in the chain
//
// invariant: counts grow along the chain, and no bucket in it is empty

@unmanaged
export class Lfu extends Policy {
  /** Buckets that there is room for, with bucket 0. */
  buckets: u32;
  /** Count of a bucket, u32 each; of a free one the next free one. */
  counts: usize;
  /** Bucket of a resident page, u32 each. */
  bucketOf: usize;
  /** The first free bucket, 0 for none. */
  free: u32;

  layout(at: u64): u64 {
    this.buckets = min<u32>(this.room, this.pages) + 1;
    const counts = this.place(at, 2 * this.buckets);
    this.counts = <usize>counts;
    this.bucketOf = <usize>(counts + ((<u64>this.buckets) << 2));
    return counts + ((<u64>this.buckets + this.pages) << 2);
  }

  adopt(old: Lfu): void {
    memory.copy(this.states, old.states, old.pages);
    for (let node: u32 = 0; node < old.pages + 2 * old.buckets; node++) {
      const from = old.links + ((<usize>node) << 3);
      const to = this.links + ((<usize>this.moved(old, node)) << 3);
      store<u32>(to, this.moved(old, load<u32>(from)));
      store<u32>(to, this.moved(old, load<u32>(from, 4)), 4);
    }
    memory.copy(this.counts, old.counts, (<usize>old.buckets) << 2);
    memory.copy(this.bucketOf, old.bucketOf, (<usize>old.pages) << 2);
    for (let bucket = this.buckets - 1; bucket >= old.buckets; bucket--) this.release(bucket);
  }

  // What was `node`: there are more buckets too.
  moved(old: Lfu, node: u32): u32 {
    const other = this.renumbered(old, node);
    return node < old.pages + old.buckets ? other : other + (this.buckets - old.buckets);
  }

  reset(): void {
    this.clearStates();
    queueReset(this.links, this.place0());
    this.setCount(0, 0);
    this.free = 0;
    for (let bucket = this.buckets - 1; bucket > 0; bucket--) this.release(bucket);
  }

  queueOf(bucket: u32): u32 {
    return this.pages + bucket;
  }

  // The chain is a queue too, whose own node is bucket 0's.
  place0(): u32 {
    return this.pages + this.buckets;
  }

  following(bucket: u32): u32 {
    return queueNext(this.links, this.place0() + bucket) - this.place0();
  }

  count(bucket: u32): u32 {
    return load<u32>(this.counts + ((<usize>bucket) << 2));
  }

  setCount(bucket: u32, count: u32): void {
    store<u32>(this.counts + ((<usize>bucket) << 2), count);
  }

  bucket(page: u32): u32 {
    return load<u32>(this.bucketOf + ((<usize>page) << 2));
  }

  // The bucket for `count`, which comes next after `bucket` in the chain.
  after(bucket: u32, count: u32): u32 {
    const next = this.following(bucket);
    if (this.count(next) === count) return next;
    const made = this.free;
    assert(made !== 0);
    this.free = this.count(made);
    this.setCount(made, count);
    queueReset(this.links, this.queueOf(made));
    queueAdd(this.links, this.place0() + bucket, this.place0() + made);
    return made;
  }

  release(bucket: u32): void {
    this.setCount(bucket, this.free);
    this.free = bucket;
  }

  put(bucket: u32, page: u32): void {
    queueAdd(this.links, this.queueOf(bucket), page);
    store<u32>(this.bucketOf + ((<usize>page) << 2), bucket);
  }

  // Takes the page off its bucket; an empty bucket leaves the chain.
  take(page: u32): void {
    const bucket = this.bucket(page);
    queueRemove(this.links, page);
    if (!queueEmpty(this.links, this.queueOf(bucket))) return;
    queueRemove(this.links, this.place0() + bucket);
    this.release(bucket);
  }

  alone(page: u32): bool {
    return queueNext(this.links, page) === queuePrevious(this.links, page);
  }

  hit(page: u32): void {
    const bucket = this.bucket(page);
    const count = this.count(bucket) + 1;
    if (this.alone(page) && this.count(this.following(bucket)) !== count) {
      this.setCount(bucket, count);
      return;
    }
    const next = this.after(bucket, count);
    this.take(page);
    this.put(next, page);
  }

  evict(page: u32): u32 {
    assert(page < this.pages && this.used > 0);
    const victim = queueTail(this.links, this.queueOf(this.following(0)));
    assert(victim !== PAGE_NONE);
    this.forget(victim);
    return victim;
  }

  enter(page: u32): void {
    this.join(page, 0);
    this.put(this.after(0, 1), page);
  }

  forget(page: u32): void {
    if (!this.resident(page)) return;
    this.leave(page, 0);
    this.take(page);
  }

  check(): void {
    let pages: u32 = 0;
    let before: u32 = 0;
    for (let bucket = this.following(0); bucket !== 0; bucket = this.following(bucket)) {
      const queue = this.queueOf(bucket);
      assert(this.count(bucket) > before);
      before = this.count(bucket);
      const length = checkQueue(this.links, queue, this.states, 0xff, RESIDENT, this.used);
      assert(length > 0);
      for (let page = queueNext(this.links, queue); page !== queue; page = queueNext(this.links, page)) {
        assert(this.bucket(page) === bucket);
      }
      pages += length;
    }
    assert(pages === this.checkUsed());
  }
}
