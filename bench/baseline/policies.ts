// The idealized policies as a careful user would write them in TypeScript: typed arrays indexed by page, intrusive lists, one class a
// policy. Belady keeps its pages in a binary heap by next use.

const PAGE = 0x7fffffff;
const RESIDENT = 128;

/** Lists of pages in two arrays; the list's own node comes after the pages. */
export class Lists {
  readonly next: Uint32Array;
  readonly previous: Uint32Array;
  readonly length: Uint32Array;

  constructor(
    private readonly pages: number,
    lists: number,
  ) {
    this.next = new Uint32Array(pages + lists);
    this.previous = new Uint32Array(pages + lists);
    this.length = new Uint32Array(lists);
    for (let list = 0; list < lists; list++) {
      this.next[pages + list] = pages + list;
      this.previous[pages + list] = pages + list;
    }
  }

  add(list: number, page: number): void {
    this.insert(this.pages + list, page);
    this.length[list]!++;
  }

  insert(node: number, page: number): void {
    const { next, previous } = this;
    const after = next[node]!;
    next[page] = after;
    previous[page] = node;
    next[node] = page;
    previous[after] = page;
  }

  addTail(list: number, page: number): void {
    this.insert(this.tail(list), page);
    this.length[list]!++;
  }

  remove(list: number, page: number): void {
    const { next, previous } = this;
    const after = next[page]!;
    const before = previous[page]!;
    next[before] = after;
    previous[after] = before;
    this.length[list]!--;
  }

  tail(list: number): number {
    return this.previous[this.pages + list]!;
  }

  /** Takes the tail off. */
  pop(list: number): number {
    const page = this.tail(list);
    this.remove(list, page);
    return page;
  }
}

abstract class Plain {
  protected readonly states: Uint8Array;
  protected used = 0;

  constructor(
    protected readonly pages: number,
    protected readonly capacity: number,
  ) {
    this.states = new Uint8Array(pages);
  }

  protected abstract hit(page: number): void;
  /** The page enters, after another has left if memory is full. */
  protected abstract miss(page: number, full: boolean): void;

  run(trace: Uint32Array): number {
    const { states, capacity } = this;
    let misses = 0;
    for (let index = 0; index < trace.length; index++) {
      const page = trace[index]! & PAGE;
      if ((states[page]! & RESIDENT) !== 0) {
        this.hit(page);
        continue;
      }
      misses++;
      const full = this.used >= capacity;
      this.miss(page, full);
      if (!full) this.used++;
    }
    return misses;
  }
}

class Fifo extends Plain {
  protected readonly lists = new Lists(this.pages, 1);
  protected hit(_page: number): void {}
  protected miss(page: number, full: boolean): void {
    if (full) this.states[this.lists.pop(0)] = 0;
    this.states[page] = RESIDENT;
    this.lists.add(0, page);
  }
}

class Lru extends Fifo {
  protected override hit(page: number): void {
    this.lists.remove(0, page);
    this.lists.add(0, page);
  }
}

class Clock extends Fifo {
  protected override hit(page: number): void {
    this.states[page] = RESIDENT | 1;
  }
  protected override miss(page: number, full: boolean): void {
    const { lists, states } = this;
    if (full) {
      let victim = lists.pop(0);
      while ((states[victim]! & 1) !== 0) {
        states[victim] = RESIDENT;
        lists.add(0, victim);
        victim = lists.pop(0);
      }
      states[victim] = 0;
    }
    states[page] = RESIDENT;
    lists.add(0, page);
  }
}

class Sieve extends Fifo {
  private hand = this.pages;
  protected override hit(page: number): void {
    this.states[page] = RESIDENT | 1;
  }
  protected override miss(page: number, full: boolean): void {
    const { lists, states } = this;
    if (full) {
      let hand = this.hand === this.pages ? lists.tail(0) : this.hand;
      while ((states[hand]! & 1) !== 0) {
        states[hand] = RESIDENT;
        hand = lists.previous[hand]!;
        if (hand === this.pages) hand = lists.tail(0);
      }
      this.hand = lists.previous[hand]!;
      states[hand] = 0;
      lists.remove(0, hand);
    }
    states[page] = RESIDENT;
    lists.add(0, page);
  }
}

class S3fifo extends Plain {
  private readonly lists = new Lists(this.pages, 3); // small, main, ghosts
  private readonly mainMost = this.capacity - Math.floor(this.capacity / 10);
  private readonly ghostsMost = Math.floor((this.capacity * 9) / 10);
  protected hit(page: number): void {
    if ((this.states[page]! & 3) < 3) this.states[page]!++;
  }
  protected miss(page: number, full: boolean): void {
    const { lists, states } = this;
    const known = states[page] === 8;
    if (known) lists.remove(2, page);
    if (full) while (!this.evict()) {}
    states[page] = known ? RESIDENT | 4 : RESIDENT;
    lists.add(known ? 1 : 0, page);
  }
  private evict(): boolean {
    const { lists, states } = this;
    if (lists.length[1]! > this.mainMost || lists.length[0] === 0) {
      const page = lists.pop(1);
      if ((states[page]! & 3) === 0) {
        states[page] = 0;
        return true;
      }
      states[page]!--;
      lists.add(1, page);
      return false;
    }
    while (lists.length[0]! > 0) {
      const page = lists.pop(0);
      if ((states[page]! & 3) < 2) {
        if (lists.length[2]! >= this.ghostsMost) states[lists.pop(2)] = 0;
        states[page] = 8;
        lists.add(2, page);
        return true;
      }
      states[page] = RESIDENT | 4;
      lists.add(1, page);
    }
    return false;
  }
}

class TwoQ extends Plain {
  private readonly lists = new Lists(this.pages, 3); // in, main, out
  protected hit(page: number): void {
    if ((this.states[page]! & 1) === 0) return;
    this.lists.remove(1, page);
    this.lists.add(1, page);
  }
  protected miss(page: number, full: boolean): void {
    const { lists, states, capacity } = this;
    const known = states[page] === 2;
    if (known) lists.remove(2, page);
    if (full && lists.length[0]! > Math.floor(capacity / 4)) {
      const victim = lists.pop(0);
      if (lists.length[2]! >= Math.floor(capacity / 2)) states[lists.pop(2)] = 0;
      states[victim] = 2;
      lists.add(2, victim);
    } else if (full) {
      states[lists.pop(1)] = 0;
    }
    states[page] = known ? RESIDENT | 1 : RESIDENT;
    lists.add(known ? 1 : 0, page);
  }
}

class Arc extends Plain {
  private readonly lists = new Lists(this.pages, 4); // T1, T2, B1, B2; a page's state is its list + 1
  private target = 0;
  protected hit(page: number): void {
    this.lists.remove((this.states[page]! & 7) - 1, page);
    this.lists.add(1, page);
    this.states[page] = RESIDENT | 2;
  }
  protected miss(page: number, full: boolean): void {
    const { lists, states, capacity } = this;
    const { length } = lists;
    const ghost = states[page]!;
    if (ghost !== 0) {
      const [b1, b2] = [length[2]!, length[3]!];
      if (ghost === 3) this.target = Math.min(this.target + Math.max(b2 / b1, 1), capacity);
      else this.target = Math.max(this.target - Math.max(b1 / b2, 1), 0);
      lists.remove(ghost - 1, page);
      if (full) this.replace(ghost === 4);
      states[page] = RESIDENT | 2;
      lists.add(1, page);
      return;
    }
    if (full) {
      if (length[0]! + length[2]! >= capacity) {
        if (length[2]! > 0) {
          states[lists.pop(2)] = 0;
          this.replace(false);
        } else {
          states[lists.pop(0)] = 0;
        }
      } else {
        if (this.used + length[2]! + length[3]! >= 2 * capacity && length[3]! > 0) states[lists.pop(3)] = 0;
        this.replace(false);
      }
    }
    states[page] = RESIDENT | 1;
    lists.add(0, page);
  }
  private replace(fromB2: boolean): void {
    const { lists, states, target } = this;
    const t1 = lists.length[0]!;
    const from = (t1 > 0 && (t1 > target || (fromB2 && t1 === target))) || lists.length[1] === 0 ? 0 : 1;
    const victim = lists.pop(from);
    states[victim] = from + 3;
    lists.add(from + 2, victim);
  }
}

/** A bucket for each count that occurs, in a chain by count; list 0 of the chain is its end. */
class Lfu extends Plain {
  private readonly buckets = this.capacity + 1;
  private readonly lists = new Lists(this.pages, this.buckets);
  private readonly chain = new Lists(0, this.buckets);
  private readonly counts = new Uint32Array(this.buckets);
  private readonly bucketOf = new Uint32Array(this.pages);
  private readonly free = Uint32Array.from({ length: this.capacity }, (_, index) => index + 1);
  private frees = this.capacity;

  private after(bucket: number, count: number): number {
    const next = this.chain.next[bucket]!;
    if (this.counts[next] === count) return next;
    const made = this.free[--this.frees]!;
    this.counts[made] = count;
    this.chain.insert(bucket, made);
    return made;
  }
  private put(bucket: number, page: number): void {
    this.lists.add(bucket, page);
    this.bucketOf[page] = bucket;
  }
  private take(page: number): void {
    const bucket = this.bucketOf[page]!;
    this.lists.remove(bucket, page);
    if (this.lists.length[bucket] !== 0) return;
    this.chain.remove(bucket, bucket);
    this.free[this.frees++] = bucket;
  }
  protected hit(page: number): void {
    const bucket = this.bucketOf[page]!;
    const count = this.counts[bucket]! + 1;
    if (this.lists.length[bucket] === 1 && this.counts[this.chain.next[bucket]!] !== count) {
      this.counts[bucket] = count;
      return;
    }
    const next = this.after(bucket, count);
    this.take(page);
    this.put(next, page);
  }
  protected miss(page: number, full: boolean): void {
    if (full) {
      const victim = this.lists.tail(this.chain.next[0]!);
      this.take(victim);
      this.states[victim] = 0;
    }
    this.states[page] = RESIDENT;
    this.put(this.after(0, 1), page);
  }
}

class Belady extends Plain {
  private readonly keys = new Uint32Array(this.pages);
  private readonly heap = new Uint32Array(this.capacity);
  private readonly place = new Uint32Array(this.pages);
  private nextUses = new Uint32Array(0);
  private now = 0;

  override run(trace: Uint32Array): number {
    const later = new Uint32Array(this.pages).fill(0xffffffff);
    this.nextUses = new Uint32Array(trace.length);
    for (let index = trace.length - 1; index >= 0; index--) {
      const page = trace[index]! & PAGE;
      this.nextUses[index] = later[page]!;
      later[page] = index;
    }
    return super.run(trace);
  }
  /** The key only grows: the page rises. */
  protected hit(page: number): void {
    this.keys[page] = this.nextUses[this.now++]!;
    this.rise(this.place[page]!, page);
  }
  protected miss(page: number, full: boolean): void {
    this.keys[page] = this.nextUses[this.now++]!;
    this.states[page] = RESIDENT;
    if (!full) {
      this.rise(this.used, page);
      return;
    }
    this.states[this.heap[0]!] = 0;
    this.sink(page);
  }
  private rise(from: number, page: number): void {
    const { heap, keys, place } = this;
    let at = from;
    while (at > 0) {
      const up = (at - 1) >> 1;
      if (keys[heap[up]!]! >= keys[page]!) break;
      heap[at] = heap[up]!;
      place[heap[at]!] = at;
      at = up;
    }
    heap[at] = page;
    place[page] = at;
  }
  private sink(page: number): void {
    const { heap, keys, place, used } = this;
    let at = 0;
    while (true) {
      let down = 2 * at + 1;
      if (down >= used) break;
      if (down + 1 < used && keys[heap[down + 1]!]! > keys[heap[down]!]!) down++;
      if (keys[heap[down]!]! <= keys[page]!) break;
      heap[at] = heap[down]!;
      place[heap[at]!] = at;
      at = down;
    }
    heap[at] = page;
    place[page] = at;
  }
}

/** Makes a policy by its name. */
export const PLAIN_POLICIES: Readonly<Record<string, new (pages: number, capacity: number) => Plain>> = {
  lru: Lru,
  fifo: Fifo,
  clock: Clock,
  sieve: Sieve,
  s3fifo: S3fifo,
  arc: Arc,
  "2q": TwoQ,
  lfu: Lfu,
  belady: Belady,
};
