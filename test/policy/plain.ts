// The idealized policies word for word as their rules say, over lists that are searched from end to end: nothing here is clever, and
// nothing is shared with the core. A list's first element is its head, the newest.

/** A policy of which memory holds `capacity` pages; the capacity may change between two references. */
export interface Plain {
  capacity: number;
  /** Resident pages, in any order. */
  resident(): number[];
  hit(page: number): void;
  /** Memory is full and `page` is about to enter. Returns the page that went. */
  evict(page: number): number;
  enter(page: number): void;
  forget(page: number): void;
}

function drop(list: number[], page: number): boolean {
  const at = list.indexOf(page);
  if (at >= 0) list.splice(at, 1);
  return at >= 0;
}

function toHead(list: number[], page: number): void {
  drop(list, page);
  list.unshift(page);
}

/** A queue whose tail goes. */
class Fifo implements Plain {
  protected readonly queue: number[] = [];
  constructor(public capacity: number) {}
  resident(): number[] {
    return this.queue;
  }
  hit(_page: number): void {}
  evict(_page: number): number {
    return this.queue.pop()!;
  }
  enter(page: number): void {
    this.queue.unshift(page);
  }
  forget(page: number): void {
    drop(this.queue, page);
  }
}

class Lru extends Fifo {
  override hit(page: number): void {
    toHead(this.queue, page);
  }
}

class Clock extends Fifo {
  private readonly referenced = new Set<number>();
  override hit(page: number): void {
    this.referenced.add(page);
  }
  override evict(_page: number): number {
    while (this.referenced.delete(this.queue.at(-1)!)) this.queue.unshift(this.queue.pop()!);
    return this.queue.pop()!;
  }
  override forget(page: number): void {
    super.forget(page);
    this.referenced.delete(page);
  }
}

class Sieve extends Fifo {
  private readonly visited = new Set<number>();
  /** Undefined: it starts again at the tail. */
  private hand: number | undefined;
  override hit(page: number): void {
    this.visited.add(page);
  }
  override evict(_page: number): number {
    while (true) {
      const page = this.hand ?? this.queue.at(-1)!;
      this.hand = this.queue[this.queue.indexOf(page) - 1];
      if (this.visited.delete(page)) continue;
      drop(this.queue, page);
      return page;
    }
  }
  override forget(page: number): void {
    if (this.hand === page) this.hand = this.queue[this.queue.indexOf(page) - 1];
    super.forget(page);
    this.visited.delete(page);
  }
}

class S3fifo implements Plain {
  private readonly small: number[] = [];
  private readonly main: number[] = [];
  private ghost: number[] = [];
  private readonly counts = new Map<number, number>();
  private coming: number | undefined;
  constructor(public capacity: number) {}
  resident(): number[] {
    return [...this.small, ...this.main];
  }
  hit(page: number): void {
    this.counts.set(page, this.counts.get(page)! + 1);
  }
  evict(page: number): number {
    if (drop(this.ghost, page)) this.coming = page;
    const share = this.capacity - Math.floor(this.capacity / 10);
    while (true) {
      const victim = this.main.length > share || this.small.length === 0 ? this.fromMain() : this.fromSmall();
      if (victim !== undefined) return victim;
    }
  }
  private fromSmall(): number | undefined {
    while (this.small.length > 0) {
      const page = this.small.pop()!;
      if (this.counts.get(page)! < 2) {
        this.counts.delete(page);
        this.ghost.unshift(page);
        this.ghost = this.ghost.slice(0, Math.floor((this.capacity * 9) / 10));
        return page;
      }
      this.counts.set(page, 0);
      this.main.unshift(page);
    }
    return undefined;
  }
  private fromMain(): number {
    while (true) {
      const page = this.main.pop()!;
      const count = this.counts.get(page)!;
      if (count === 0) {
        this.counts.delete(page);
        return page;
      }
      this.counts.set(page, Math.min(count, 3) - 1);
      this.main.unshift(page);
    }
  }
  enter(page: number): void {
    const known = drop(this.ghost, page) || this.coming === page;
    this.coming = undefined;
    this.ghost = this.ghost.slice(0, Math.floor((this.capacity * 9) / 10));
    (known ? this.main : this.small).unshift(page);
    this.counts.set(page, 0);
  }
  forget(page: number): void {
    for (const list of [this.small, this.main, this.ghost]) drop(list, page);
    this.counts.delete(page);
  }
}

class TwoQ implements Plain {
  private readonly a1in: number[] = [];
  private readonly am: number[] = [];
  private a1out: number[] = [];
  private coming: number | undefined;
  constructor(public capacity: number) {}
  resident(): number[] {
    return [...this.a1in, ...this.am];
  }
  hit(page: number): void {
    if (this.am.includes(page)) toHead(this.am, page);
  }
  evict(page: number): number {
    if (drop(this.a1out, page)) this.coming = page;
    if (this.a1in.length <= Math.floor(this.capacity / 4) && this.am.length > 0) return this.am.pop()!;
    const victim = this.a1in.pop()!;
    this.a1out.unshift(victim);
    this.a1out = this.a1out.slice(0, Math.floor(this.capacity / 2));
    return victim;
  }
  enter(page: number): void {
    const known = drop(this.a1out, page) || this.coming === page;
    this.coming = undefined;
    this.a1out = this.a1out.slice(0, Math.floor(this.capacity / 2));
    (known ? this.am : this.a1in).unshift(page);
  }
  forget(page: number): void {
    for (const list of [this.a1in, this.am, this.a1out]) drop(list, page);
  }
}

class Arc implements Plain {
  private readonly t1: number[] = [];
  private readonly t2: number[] = [];
  private readonly b1: number[] = [];
  private readonly b2: number[] = [];
  private p = 0;
  private coming: number | undefined;
  constructor(public capacity: number) {}
  resident(): number[] {
    return [...this.t1, ...this.t2];
  }
  hit(page: number): void {
    drop(this.t1, page);
    toHead(this.t2, page);
  }
  private adapt(page: number): "b1" | "b2" | undefined {
    const one = this.b1.length;
    const two = this.b2.length;
    if (drop(this.b1, page)) {
      this.p = Math.min(this.p + Math.max(two / one, 1), this.capacity);
      this.coming = page;
      return "b1";
    }
    if (!drop(this.b2, page)) return undefined;
    this.p = Math.max(this.p - Math.max(one / two, 1), 0);
    this.coming = page;
    return "b2";
  }
  private replace(fromB2: boolean): number {
    const first = this.t1.length > 0 && (this.t1.length > this.p || (fromB2 && this.t1.length === this.p));
    const from1 = first || this.t2.length === 0;
    const victim = (from1 ? this.t1 : this.t2).pop()!;
    (from1 ? this.b1 : this.b2).unshift(victim);
    return victim;
  }
  evict(page: number): number {
    const ghost = this.adapt(page);
    let victim: number;
    if (ghost !== undefined || this.coming === page) {
      victim = this.replace(ghost === "b2");
    } else if (this.t1.length + this.b1.length >= this.capacity) {
      victim = this.b1.pop() === undefined ? this.t1.pop()! : this.replace(false);
    } else {
      const all = this.t1.length + this.t2.length + this.b1.length + this.b2.length;
      if (all >= 2 * this.capacity) this.b2.pop();
      victim = this.replace(false);
    }
    this.keepBounds();
    return victim;
  }
  enter(page: number): void {
    this.adapt(page);
    (this.coming === page ? this.t2 : this.t1).unshift(page);
    this.coming = undefined;
    this.keepBounds();
  }
  /** When pages were forgotten or the capacity fell: as many ghosts as the paper allows, the oldest go first. */
  private keepBounds(): void {
    const { t1, t2, b1, b2, capacity } = this;
    this.p = Math.min(this.p, capacity);
    while (t1.length + b1.length > capacity && b1.length > 0) b1.pop();
    while (t1.length + t2.length + b1.length + b2.length > 2 * capacity && b1.length + b2.length > 0) {
      (b2.length > 0 ? b2 : b1).pop();
    }
  }
  forget(page: number): void {
    for (const list of [this.t1, this.t2, this.b1, this.b2]) drop(list, page);
  }
}

class Lfu implements Plain {
  private readonly counts = new Map<number, { count: number; since: number }>();
  private time = 0;
  constructor(public capacity: number) {}
  resident(): number[] {
    return [...this.counts.keys()];
  }
  hit(page: number): void {
    this.counts.set(page, { count: this.counts.get(page)!.count + 1, since: this.time++ });
  }
  evict(_page: number): number {
    const [first] = [...this.counts].sort(([, a], [, b]) => a.count - b.count || a.since - b.since);
    this.counts.delete(first![0]);
    return first![0];
  }
  enter(page: number): void {
    this.counts.set(page, { count: 1, since: this.time++ });
  }
  forget(page: number): void {
    this.counts.delete(page);
  }
}

class Belady implements Plain {
  private readonly pages = new Set<number>();
  private now = 0;
  constructor(
    public capacity: number,
    private readonly trace: readonly number[],
  ) {}
  resident(): number[] {
    return [...this.pages];
  }
  private nextUse(page: number): number {
    const at = this.trace.indexOf(page, this.now);
    // Among pages that are never used again any may go: the one with the greatest number, so that the choice can be compared.
    return at < 0 ? this.trace.length + page : at;
  }
  hit(_page: number): void {
    this.now++;
  }
  evict(_page: number): number {
    const victim = [...this.pages].reduce((a, b) => (this.nextUse(a) > this.nextUse(b) ? a : b));
    this.pages.delete(victim);
    return victim;
  }
  enter(page: number): void {
    this.pages.add(page);
    this.now++;
  }
  forget(page: number): void {
    this.pages.delete(page);
  }
}

/** Makes a policy by its name; `trace` is what will be referenced. */
export const PLAIN: Readonly<Record<string, (capacity: number, trace: readonly number[]) => Plain>> = {
  lru: (capacity) => new Lru(capacity),
  fifo: (capacity) => new Fifo(capacity),
  clock: (capacity) => new Clock(capacity),
  sieve: (capacity) => new Sieve(capacity),
  s3fifo: (capacity) => new S3fifo(capacity),
  arc: (capacity) => new Arc(capacity),
  "2q": (capacity) => new TwoQ(capacity),
  lfu: (capacity) => new Lfu(capacity),
  belady: (capacity, trace) => new Belady(capacity, trace),
};
