// The generation lists of one cgroup in plain TypeScript: aging by a walk of the page table with its filters, eviction from the oldest
// generation, looks around. Pages that are used through page tables have no tiers but the last, so the feedback loop is left out.

import { Lists } from "./policies.js";

const PRESENT = 1;
const YOUNG = 2;
const REFERENCED = 4;
const WORKINGSET = 8;
const ACTIVE = 16;
const LISTED = 32;

/** Pages that are moved to the lists together. */
const BATCH = 15;
/** Pages that a reclaim is asked for. */
const TARGET = 32;
const FIRST_PRIORITY = 12;

/** One process at its limit: pages indexed in typed arrays, the batch of new pages. */
abstract class PlainReclaim {
  /** What an evicted page left; 0 nothing. */
  protected readonly shadows: Uint32Array;
  protected readonly flags: Uint8Array;
  protected readonly lists: Lists;
  protected readonly added = new Uint32Array(BATCH);
  protected batched = 0;
  protected resident = 0;
  /** Pages that came back. */
  swappedIn = 0;
  /** Pages that went. */
  swappedOut = 0;

  constructor(
    protected readonly pages: number,
    private readonly limit: number,
    lists: number,
  ) {
    this.shadows = new Uint32Array(pages);
    this.flags = new Uint8Array(pages);
    this.lists = new Lists(pages, lists);
  }

  /** Writes to the pages in order. */
  run(words: Uint32Array): void {
    const { flags } = this;
    for (let index = 0; index < words.length; index++) {
      const page = words[index]!;
      if ((flags[page]! & PRESENT) !== 0) flags[page]! |= YOUNG;
      else this.fault(page);
      this.touched(page);
    }
  }

  /** What the hardware notes elsewhere. */
  protected touched(_page: number): void {}

  private fault(page: number): void {
    this.touched(page);
    while (this.resident >= this.limit) this.reclaim();
    this.resident++;
    this.flags[page] = 0;
    const shadow = this.shadows[page]!;
    if (shadow !== 0) {
      this.swappedIn++;
      this.refault(page, shadow);
    }
    this.flags[page]! |= PRESENT | YOUNG;
    this.enter(page);
    this.added[this.batched++] = page;
    if (this.batched === BATCH) this.flushAdded();
  }

  protected flushAdded(): void {
    for (let place = 0; place < this.batched; place++) this.list(this.added[place]!);
    this.batched = 0;
  }

  protected evictPage(page: number, shadow: number): void {
    this.flags[page] = 0;
    this.shadows[page] = shadow;
    this.resident--;
    this.swappedOut++;
  }

  /** A new page is about to join the batch. */
  protected enter(_page: number): void {}
  /** A page that left `shadow` comes back. */
  protected abstract refault(page: number, shadow: number): void;
  /** Puts a page where its flags say. */
  protected abstract list(page: number): void;
  protected abstract reclaim(): void;
}

const SLOTS = 4;
const KEPT_GENERATIONS = 2;
const MIN_BATCH = 64;
const MAX_BATCH = 4096;
const USED_MAX = 3;
const TABLE = 512;
const PER_LINE = 8;
const KEY_BITS = 15;
const FILTER_WORDS = 2 ** KEY_BITS / 32;
const GOLDEN_RATIO = 0x61c8864680b583ebn;
const SHADOW = 0x80000000;
const WAS_USED = 0x40000000;
const FORGOTTEN = ~(REFERENCED | WORKINGSET);

/** A double-buffered Bloom filter of page tables. */
class Filters {
  private readonly bits = [0, 1].map(() => new Uint32Array(FILTER_WORDS));
  private readonly ready = [false, false];
  private readonly keys: Uint32Array;

  constructor(tables: number) {
    this.keys = Uint32Array.from({ length: tables }, (_, table) =>
      Number(((BigInt(table * 8) * GOLDEN_RATIO) & 0xffff_ffff_ffff_ffffn) >> BigInt(64 - 2 * KEY_BITS)),
    );
  }

  clear(seq: number): void {
    this.ready[seq & 1] = true;
    this.bits[seq & 1]!.fill(0);
  }

  note(seq: number, table: number, total: number, young: number): void {
    if (young * PER_LINE < total || !this.ready[seq & 1]) return;
    const bits = this.bits[seq & 1]!;
    for (const bit of this.both(table)) bits[bit >>> 5]! |= 1 << (bit & 31);
  }

  passes(seq: number, table: number): boolean {
    if (!this.ready[seq & 1]) return true;
    const bits = this.bits[seq & 1]!;
    return this.both(table).every((bit) => ((bits[bit >>> 5]! >>> (bit & 31)) & 1) !== 0);
  }

  private both(table: number): number[] {
    const key = this.keys[table]!;
    return [key & (2 ** KEY_BITS - 1), key >>> KEY_BITS];
  }
}

export class PlainGenerations extends PlainReclaim {
  private max = SLOTS - 1;
  private min = 0;
  private readonly sizes = new Uint32Array(SLOTS);
  /** Slot of the generation plus one, 0 off the lists. */
  private readonly gens: Uint8Array;
  /** Slot of the list that a page lies on. */
  private readonly places: Uint8Array;
  private readonly used: Uint8Array;
  private readonly tables: Uint8Array;
  private readonly filters: Filters;
  private ran = false;
  private walked = false;
  private freed = 0;
  private readonly taken = new Uint32Array(MIN_BATCH);
  private readonly kept = new Uint32Array(MIN_BATCH);
  private readonly activated = new Uint32Array(BATCH);
  private activating = 0;

  constructor(pages: number, limit: number) {
    super(pages, limit, SLOTS);
    this.gens = new Uint8Array(pages);
    this.places = new Uint8Array(pages);
    this.used = new Uint8Array(pages);
    const tables = Math.ceil(pages / TABLE);
    this.tables = new Uint8Array(tables);
    this.filters = new Filters(tables);
  }

  protected override touched(page: number): void {
    this.ran = true;
    this.tables[page >>> 9] = 1;
  }

  protected override enter(page: number): void {
    this.flags[page]! |= ACTIVE;
  }

  protected refault(page: number, shadow: number): void {
    this.used[page] = 0;
    if ((shadow & ~(SHADOW | WAS_USED)) >>> 2 !== this.min) return;
    this.used[page] = USED_MAX;
    this.flags[page]! |= WORKINGSET;
  }

  protected list(page: number): void {
    const slot = this.max % SLOTS;
    this.flags[page] = (this.flags[page]! & ~ACTIVE) | LISTED;
    this.gens[page] = slot + 1;
    this.places[page] = slot;
    this.sizes[slot]!++;
    this.lists.add(slot, page);
  }

  private unlist(page: number): void {
    this.lists.remove(this.places[page]!, page);
    this.sizes[this.gens[page]! - 1]!--;
    this.gens[page] = 0;
    this.flags[page]! &= ~LISTED;
  }

  private move(page: number, slot: number, toTail: boolean): void {
    this.lists.remove(this.places[page]!, page);
    if (toTail) this.lists.addTail(slot, page);
    else this.lists.add(slot, page);
    this.places[page] = slot;
  }

  private forget(page: number): void {
    this.used[page] = 0;
    this.flags[page]! &= FORGOTTEN;
  }

  private promote(page: number): void {
    if (this.gens[page] === 0) {
      this.flags[page]! |= REFERENCED;
      return;
    }
    this.forget(page);
    const slot = this.max % SLOTS;
    this.sizes[this.gens[page]! - 1]!--;
    this.sizes[slot]!++;
    this.gens[page] = slot + 1;
  }

  private drain(): void {
    this.flushAdded();
    this.flushActivated();
  }

  private flushActivated(): void {
    for (let place = 0; place < this.activating; place++) {
      const page = this.activated[place]!;
      if ((this.flags[page]! & LISTED) === 0) continue;
      this.unlist(page);
      this.list(page);
    }
    this.activating = 0;
  }

  protected reclaim(): void {
    this.freed = 0;
    for (let priority = FIRST_PRIORITY; priority >= 0 && this.freed < TARGET; priority--) this.pass(priority);
  }

  private total(): number {
    return this.sizes[0]! + this.sizes[1]! + this.sizes[2]! + this.sizes[3]!;
  }

  private agingNeeded(): boolean {
    const { min, max, sizes } = this;
    if (min + KEPT_GENERATIONS !== max) return min + KEPT_GENERATIONS > max;
    const total = this.total();
    if (sizes[max % SLOTS]! * KEPT_GENERATIONS > total) return true;
    return sizes[min % SLOTS]! * (KEPT_GENERATIONS + 2) < total;
  }

  private pass(priority: number): void {
    this.drain();
    this.walked = false;
    const start = this.max;
    for (let scanned = 0; ; ) {
      const wanted = this.total() >>> priority;
      if (this.agingNeeded()) {
        if (priority < FIRST_PRIORITY) this.makeGeneration();
        else if (this.min + KEPT_GENERATIONS > this.max) return;
      }
      if (wanted === 0) return;
      const batch = this.batch();
      scanned += batch;
      if (batch === 0 || scanned >= wanted || this.max - start > 1 || this.freed >= TARGET) return;
    }
  }

  private makeGeneration(): void {
    this.walked = true;
    const { ran } = this;
    this.ran = false;
    if (ran && this.resident >= MIN_BATCH) this.walk();
    this.max++;
  }

  private walk(): void {
    const { tables, filters, flags, max } = this;
    filters.clear(max + 1);
    for (let table = 0; table < tables.length; table++) {
      if (tables[table] === 0) continue;
      tables[table] = 0;
      if (!filters.passes(max, table)) continue;
      const end = Math.min((table + 1) * TABLE, this.pages);
      let young = 0;
      for (let page = table * TABLE; page < end; page++) {
        if ((flags[page]! & YOUNG) === 0) continue;
        flags[page]! &= ~YOUNG;
        young++;
        this.promote(page);
      }
      filters.note(max + 1, table, end - table * TABLE, young);
    }
  }

  private batch(): number {
    const count = { isolated: 0 };
    let scanned = this.isolate(count);
    if (this.tryIncMin()) scanned++;
    if (this.max - this.min + 1 === KEPT_GENERATIONS) scanned = 0;
    this.evict(count.isolated);
    return scanned;
  }

  private isolate(count: { isolated: number }): number {
    if (this.max - this.min + 1 === KEPT_GENERATIONS) return 0;
    const { lists, flags, gens, sizes } = this;
    const slot = this.min % SLOTS;
    const next = (slot + 1) % SLOTS;
    let scanned = 0;
    while (scanned < MAX_BATCH && count.isolated < MIN_BATCH && lists.length[slot] !== 0) {
      const page = lists.tail(slot);
      scanned++;
      if (gens[page] !== slot + 1) {
        this.move(page, gens[page]! - 1, false);
      } else if (this.used[page] === USED_MAX && (flags[page]! & WORKINGSET) !== 0) {
        this.forget(page);
        sizes[slot]!--;
        sizes[next]!++;
        gens[page] = next + 1;
        this.move(page, next, true);
      } else {
        if ((flags[page]! & REFERENCED) === 0) this.forget(page);
        flags[page]! &= ~REFERENCED;
        this.unlist(page);
        this.taken[count.isolated++] = page;
      }
    }
    return count.isolated !== 0 || scanned === MAX_BATCH ? scanned : 0;
  }

  private tryIncMin(): boolean {
    const before = this.min;
    while (this.min + KEPT_GENERATIONS <= this.max && this.lists.length[this.min % SLOTS] === 0) this.min++;
    return this.min !== before;
  }

  private evict(count: number): void {
    const { taken, kept, flags } = this;
    let stay = 0;
    for (let place = 0; place < count; place++) {
      const page = taken[place]!;
      if ((flags[page]! & REFERENCED) === 0 && (flags[page]! & YOUNG) !== 0) this.lookAround(page);
      if ((flags[page]! & REFERENCED) !== 0) {
        kept[stay++] = page;
        continue;
      }
      const uses = this.used[page]! + ((flags[page]! & WORKINGSET) !== 0 ? 1 : 0);
      this.freed++;
      this.evictPage(page, (SHADOW | (uses === 0 ? 0 : WAS_USED | (uses - 1)) | (this.min << 2)) >>> 0);
    }
    for (let place = 0; place < stay; place++) {
      this.forget(kept[place]!);
      this.list(kept[place]!);
    }
  }

  private lookAround(page: number): void {
    const { flags, gens } = this;
    const table = page >>> 9;
    let start = table * TABLE;
    let end = Math.min(start + TABLE, this.pages);
    if (end - start > MIN_BATCH) {
      if (page - start < MIN_BATCH / 2) end = start + MIN_BATCH;
      else if (end - 1 - page < MIN_BATCH / 2) start = end - MIN_BATCH;
      else {
        start = page - MIN_BATCH / 2;
        end = page + MIN_BATCH / 2;
      }
    }
    const youngest = (this.max % SLOTS) + 1;
    const older: number[] = [];
    let young = 0;
    for (let at = start; at < end; at++) {
      if ((flags[at]! & YOUNG) === 0) continue;
      flags[at]! &= ~YOUNG;
      young++;
      if (gens[at] === 0) flags[at]! |= REFERENCED;
      else if (gens[at] !== youngest) older.push(at);
    }
    this.filters.note(this.max, table, end - start, young);
    const few = !this.walked && older.length < BATCH;
    for (const at of older) {
      if (!few) this.promote(at);
      else {
        this.activated[this.activating++] = at;
        if (this.activating === BATCH) this.flushActivated();
      }
    }
  }
}
