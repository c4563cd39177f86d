// Linux' two lists as a careful user would write them in TypeScript: typed arrays indexed by page, one process that writes its pages
// under a limit, swap that takes no time. The rules are those of the core (docs/model.md), counters that lag behind included.

const BATCH = 32;
const ADDED = 15;
const CHANGES = 64;
/** Swap slots that a CPU gives back at once. */
const RETURNED = 64;
const PRIORITY = 12;
const SWAPPINESS = 60;

const SWAPPED = 1;
const PRESENT = 2;

const REFERENCED = 1;
const ACTIVE = 2;
const WORKINGSET = 4;

const INACTIVE_LIST = 0;
const ACTIVE_LIST = 1;

export class PlainTwoList {
  /** Pages evicted so far, and pages that came back. */
  evicted = 0;
  returned = 0;
  private readonly state: Uint8Array;
  private readonly flags: Uint8Array;
  private readonly young: Uint8Array;
  /** The clock of evictions by the time the page was evicted. */
  private readonly stamps: Uint32Array;
  /** Lists of pages; the nodes behind the pages are the lists' own. */
  private readonly next: Uint32Array;
  private readonly previous: Uint32Array;
  private readonly length = [0, 0];
  private readonly added = new Uint32Array(ADDED);
  private addedPages = 0;
  private waiting = 0;
  private usage = 0;
  private cost = 0;
  private age = 0;
  private activated = 0;
  private snapshot = 0;
  private changes = 0;
  private enough = 0;
  private inactiveSeen = 0;
  private activeSeen = 0;

  constructor(
    private readonly pages: number,
    private readonly limit: number,
  ) {
    this.state = new Uint8Array(pages);
    this.flags = new Uint8Array(pages);
    this.young = new Uint8Array(pages);
    this.stamps = new Uint32Array(pages);
    this.next = new Uint32Array(pages + 2);
    this.previous = new Uint32Array(pages + 2);
    for (const list of [INACTIVE_LIST, ACTIVE_LIST]) {
      this.next[pages + list] = pages + list;
      this.previous[pages + list] = pages + list;
    }
  }

  /** Writes the pages in turn. */
  run(words: Uint32Array): void {
    const { state, young } = this;
    for (let index = 0; index < words.length; index++) {
      const page = words[index]! & 0x7fff_ffff;
      if (state[page] === PRESENT) young[page] = 1;
      else this.fault(page);
    }
  }

  private fault(page: number): void {
    while (this.usage >= this.limit) this.reclaim();
    this.usage++;
    this.events(3);
    if (this.state[page] === SWAPPED) this.comeBack(page);
    else this.flags[page] = 0;
    this.state[page] = PRESENT;
    this.young[page] = 1;
    this.added[this.addedPages++] = page;
    if (this.addedPages === ADDED) this.drain();
  }

  private comeBack(page: number): void {
    this.events(2);
    const workingset = this.flags[page]! & WORKINGSET;
    this.flags[page] = 0;
    this.returned++;
    if (this.waiting === RETURNED) {
      this.events(RETURNED);
      this.waiting = 0;
    }
    this.waiting++;
    if (this.age - this.stamps[page]! > this.activeSeen) return;
    this.flags[page] = ACTIVE | workingset;
    this.age++;
    this.activated++;
    this.events(1);
    if (workingset === 0) return;
    this.note(1);
    this.events(1);
  }

  private drain(): void {
    for (let place = 0; place < this.addedPages; place++) this.add(this.added[place]!);
    this.events(this.addedPages);
    this.addedPages = 0;
  }

  private add(page: number): void {
    const list = this.flags[page]! & ACTIVE ? ACTIVE_LIST : INACTIVE_LIST;
    const head = this.pages + list;
    const after = this.next[head]!;
    this.next[page] = after;
    this.previous[page] = head;
    this.next[head] = page;
    this.previous[after] = page;
    this.length[list]!++;
  }

  private pop(list: number): number {
    const head = this.pages + list;
    const page = this.previous[head]!;
    const before = this.previous[page]!;
    this.previous[head] = before;
    this.next[before] = head;
    this.length[list]!--;
    return page;
  }

  private reclaim(): void {
    let freed = 0;
    for (let priority = PRIORITY; priority >= 0 && freed < BATCH; priority--) freed += this.round(priority);
    this.snapshot = this.activated;
  }

  private round(priority: number): number {
    if (this.enough > 1) {
      this.enough = 0;
      this.inactiveSeen = this.length[INACTIVE_LIST]!;
      this.activeSeen = this.length[ACTIVE_LIST]!;
    }
    const mayDeactivate = this.activated !== this.snapshot || this.inactiveSeen < this.activeSeen;
    let inactive = this.share(this.length[INACTIVE_LIST]!, priority);
    let active = this.share(this.length[ACTIVE_LIST]!, priority);
    let freed = 0;
    while (inactive > 0 && freed < BATCH) {
      const wanted = Math.min(inactive, BATCH);
      inactive -= wanted;
      freed += this.shrinkInactive(wanted);
      const aged = Math.min(active, BATCH);
      active -= aged;
      if (aged > 0 && mayDeactivate) this.shrinkActive(aged);
    }
    if (this.inactiveSeen < this.activeSeen) this.shrinkActive(BATCH);
    return freed;
  }

  private share(size: number, priority: number): number {
    const scan = size >>> priority;
    if (priority === 0) return scan;
    const anon = 2 * this.cost;
    const file = this.cost;
    const anonShare = Math.floor((SWAPPINESS * (anon + file + 1)) / (anon + 1));
    const fileShare = Math.floor(((200 - SWAPPINESS) * (anon + file + 1)) / (file + 1));
    return Math.floor((scan * anonShare) / (anonShare + fileShare));
  }

  private shrinkInactive(wanted: number): number {
    this.drain();
    const taken = Math.min(wanted, this.length[INACTIVE_LIST]!);
    this.changed(taken);
    this.changed(taken);
    let freed = 0;
    const kept: number[] = [];
    for (let count = 0; count < taken; count++) {
      const page = this.pop(INACTIVE_LIST);
      if (this.young[page] === 0) {
        this.evict(page);
        freed++;
        continue;
      }
      this.young[page] = 0;
      if (this.flags[page]! & REFERENCED) {
        this.flags[page]! |= ACTIVE;
        this.events(1);
      }
      this.flags[page]! |= REFERENCED;
      kept.push(page);
    }
    this.changed(freed);
    for (const page of kept) {
      if (this.flags[page]! & ACTIVE) this.age++;
      this.add(page);
      this.events(1);
    }
    this.changed(freed);
    if (taken > 0) this.note(freed);
    return freed;
  }

  private evict(page: number): void {
    this.stamps[page] = this.age;
    this.age++;
    this.state[page] = SWAPPED;
    this.usage--;
    this.evicted++;
    this.events(6);
  }

  private shrinkActive(wanted: number): void {
    this.drain();
    const taken = Math.min(wanted, this.length[ACTIVE_LIST]!);
    for (let count = 0; count < taken; count++) {
      const page = this.pop(ACTIVE_LIST);
      this.young[page] = 0;
      this.flags[page] = (this.flags[page]! & ~ACTIVE) | WORKINGSET;
      this.add(page);
    }
    this.changed(taken);
    this.changed(taken);
    this.events(taken);
    this.changed(taken);
  }

  private note(pages: number): void {
    this.cost += pages;
    if (this.cost > (this.inactiveSeen + this.activeSeen) >>> 2) this.cost >>>= 1;
  }

  private changed(pages: number): void {
    this.changes += pages;
    if (this.changes <= CHANGES) return;
    if (this.enough <= 1) this.enough += Math.floor(this.changes / CHANGES);
    this.changes = 0;
  }

  private events(count: number): void {
    this.changes += count;
    if (this.changes <= CHANGES) return;
    this.changes -= CHANGES + 1;
    if (this.enough <= 1) this.enough++;
  }
}
