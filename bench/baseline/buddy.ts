// The page allocator as a careful user would write it in TypeScript over typed arrays, one array a field: the same zone with its
// watermarks and inexact counter, the same per-CPU lists, free lists an order and migratetype, splitting and merging, so that it hands
// out the same pages in the same order (test/bench.test.ts). One zone and one CPU; what a script of movable requests never needs is
// left out: fallback between types, reserves for atomic requests, compound pages.

const ORDERS = 11;
const TYPES = 5;
const PCP_TYPES = 3;
const PCP_LISTS = 14;
const PCP_ORDER_MAX = 3;
const MOVABLE = 1;
const ISOLATE = 4;
const PAGEBLOCK_ORDER = 9;
const BATCH_SCALE_MAX = 5;
const NONE = 0xffffffff;

export interface PlainLimits {
  min: number;
  low: number;
  batch: number;
  high: number;
  threshold: number;
}

function pcpAllowed(order: number): boolean {
  return order <= PCP_ORDER_MAX || order === PAGEBLOCK_ORDER;
}

function pcpListOf(order: number, type: number): number {
  if (order === PAGEBLOCK_ORDER) return type === MOVABLE ? 13 : 12;
  return 3 * order + type;
}

function pcpOrder(list: number): number {
  return list >= 12 ? PAGEBLOCK_ORDER : Math.floor(list / 3);
}

export class PlainBuddy {
  private readonly next: Uint32Array;
  private readonly previous: Uint32Array;
  /** Order + 1 of the free block that begins here, 0 where none does. */
  private readonly state: Uint8Array;
  /** Migratetype of the list that a block is on, or will be given back to. */
  private readonly types: Uint8Array;
  private readonly refs: Uint16Array;
  private readonly blockTypes: Uint8Array;
  // Free lists [order][type], then the CPU's.
  private readonly heads = new Uint32Array(ORDERS * TYPES + PCP_LISTS).fill(NONE);
  private readonly tails = new Uint32Array(ORDERS * TYPES + PCP_LISTS).fill(NONE);
  private counted: number;
  private difference = 0;
  private listed = 0;
  private freeFactor = 0;

  constructor(
    private readonly pages: number,
    private readonly limits: PlainLimits,
  ) {
    this.next = new Uint32Array(pages);
    this.previous = new Uint32Array(pages);
    this.state = new Uint8Array(pages);
    this.types = new Uint8Array(pages);
    this.refs = new Uint16Array(pages);
    this.blockTypes = new Uint8Array(pages >> PAGEBLOCK_ORDER).fill(MOVABLE);
    for (let page = 0; page < pages; page += 1 << (ORDERS - 1)) {
      this.addFree(page, ORDERS - 1, MOVABLE, true);
    }
    this.counted = pages;
  }

  private addHead(list: number, page: number): void {
    const head = this.heads[list]!;
    this.next[page] = head;
    this.previous[page] = NONE;
    if (head === NONE) this.tails[list] = page;
    else this.previous[head] = page;
    this.heads[list] = page;
  }

  private addTail(list: number, page: number): void {
    const tail = this.tails[list]!;
    this.previous[page] = tail;
    this.next[page] = NONE;
    if (tail === NONE) this.heads[list] = page;
    else this.next[tail] = page;
    this.tails[list] = page;
  }

  private unlink(list: number, page: number): void {
    const next = this.next[page]!;
    const previous = this.previous[page]!;
    if (previous === NONE) this.heads[list] = next;
    else this.next[previous] = next;
    if (next === NONE) this.tails[list] = previous;
    else this.previous[next] = previous;
  }

  private addFree(page: number, order: number, type: number, toTail: boolean): void {
    this.state[page] = order + 1;
    this.types[page] = type;
    if (toTail) this.addTail(order * TYPES + type, page);
    else this.addHead(order * TYPES + type, page);
  }

  private removeFree(page: number, order: number): void {
    this.unlink(order * TYPES + this.types[page]!, page);
    this.state[page] = 0;
  }

  private count(pages: number): void {
    this.difference += pages;
    if (Math.abs(this.difference) > this.limits.threshold) {
      this.counted += this.difference;
      this.difference = 0;
    }
  }

  private watermarkOk(order: number, mark: number): boolean {
    if (this.counted - ((1 << order) - 1) <= mark) return false;
    if (order === 0) return true;
    for (let from = order; from < ORDERS; from++) {
      for (let type = 0; type < PCP_TYPES; type++) {
        if (this.heads[from * TYPES + type] !== NONE) return true;
      }
    }
    return false;
  }

  private takeSmallest(order: number, type: number): number {
    for (let from = order; from < ORDERS; from++) {
      const page = this.heads[from * TYPES + type]!;
      if (page === NONE) continue;
      this.removeFree(page, from);
      for (let half = from; half > order; ) {
        half--;
        this.addFree(page + (1 << half), half, type, false);
      }
      this.types[page] = type;
      return page;
    }
    return NONE;
  }

  private giveBack(page: number, order: number, type: number, toTail: boolean): void {
    if (type !== ISOLATE) this.count(1 << order);
    while (order < ORDERS - 1) {
      const buddy = page ^ (1 << order);
      if (buddy >= this.pages || this.state[buddy] !== order + 1) break;
      if (order >= PAGEBLOCK_ORDER) {
        const other = this.blockTypes[buddy >> PAGEBLOCK_ORDER]!;
        if (type !== other && (type >= PCP_TYPES || other >= PCP_TYPES)) break;
      }
      this.removeFree(buddy, order);
      page &= buddy;
      order++;
    }
    this.addFree(page, order, type, toTail || this.mergeLikely(page, order));
  }

  private mergeLikely(page: number, order: number): boolean {
    if (order >= ORDERS - 2) return false;
    const other = (page & ~(1 << order)) ^ (2 << order);
    return other < this.pages && this.state[other] === order + 2;
  }

  private fromPcp(order: number): number {
    this.freeFactor >>= 1;
    const list = ORDERS * TYPES + pcpListOf(order, MOVABLE);
    if (this.heads[list] === NONE) {
      const { batch } = this.limits;
      const blocks = batch > 1 ? Math.max(batch >> order, 2) : batch;
      let taken = 0;
      for (; taken < blocks; taken++) {
        const page = this.takeSmallest(order, MOVABLE);
        if (page === NONE) break;
        this.addTail(list, page);
      }
      this.listed += taken << order;
      this.count(-(taken << order));
    }
    const page = this.heads[list]!;
    if (page === NONE) return NONE;
    this.unlink(list, page);
    this.listed -= 1 << order;
    return page;
  }

  private toPcp(page: number, order: number): void {
    const type = this.blockTypes[page >> PAGEBLOCK_ORDER]!;
    if (type === ISOLATE) {
      this.giveBack(page, order, type, false);
      return;
    }
    this.types[page] = type;
    const list = pcpListOf(order, type >= PCP_TYPES ? MOVABLE : type);
    this.addHead(ORDERS * TYPES + list, page);
    this.listed += 1 << order;
    const all = this.freeFactor !== 0 && order !== 0 && order <= PCP_ORDER_MAX;
    const high = all ? 0 : this.limits.high;
    if (this.listed < high) return;
    this.flush(all ? this.listed : this.flushPages(high), list);
  }

  private flushPages(high: number): number {
    const { batch } = this.limits;
    if (high < batch) return 1;
    const most = high - batch;
    const scaled = batch << this.freeFactor;
    if (scaled < most && this.freeFactor < BATCH_SCALE_MAX) this.freeFactor++;
    return Math.max(Math.min(scaled, most), batch);
  }

  private flush(pages: number, first: number): void {
    let left = Math.min(pages, this.listed);
    for (let list = first; left > 0; list = list + 1 === PCP_LISTS ? 0 : list + 1) {
      const order = pcpOrder(list);
      while (left > 0) {
        const page = this.tails[ORDERS * TYPES + list]!;
        if (page === NONE) break;
        this.unlink(ORDERS * TYPES + list, page);
        this.listed -= 1 << order;
        left -= 1 << order;
        this.giveBack(page, order, this.types[page]!, false);
      }
    }
  }

  private take(order: number, mark: number): number {
    if (!this.watermarkOk(order, mark)) return NONE;
    let page = NONE;
    if (pcpAllowed(order)) page = this.fromPcp(order);
    if (page !== NONE) return page;
    page = this.takeSmallest(order, MOVABLE);
    if (page !== NONE) this.count(-(1 << order));
    return page;
  }

  /** First page of a block, or 0xffffffff. */
  alloc(order: number): number {
    let page = this.take(order, this.limits.low);
    if (page === NONE) page = this.take(order, this.limits.min);
    if (page !== NONE) this.refs[page] = 1;
    return page;
  }

  release(page: number, order: number): void {
    const refs = this.refs[page]! - 1;
    this.refs[page] = refs;
    if (refs !== 0) return;
    if (pcpAllowed(order)) this.toPcp(page, order);
    else this.giveBack(page, order, this.blockTypes[page >> PAGEBLOCK_ORDER]!, false);
  }

  /** Gives what stands on the CPU's lists back. */
  drain(): void {
    if (this.listed !== 0) this.flush(this.listed, 0);
  }

  /** Takes the first movable block of an order off its list and puts it back, as reporting does. False: the watermark refused. */
  isolate(order: number): boolean {
    const page = this.heads[order * TYPES + MOVABLE]!;
    if (page === NONE) return false;
    const block = page >> PAGEBLOCK_ORDER;
    if (this.blockTypes[block] !== ISOLATE) {
      if (!this.watermarkOk(0, this.limits.min + (1 << order))) return false;
      this.count(-(1 << order));
    }
    this.removeFree(page, order);
    if (order >= PAGEBLOCK_ORDER - 1) {
      for (let at = block; at < (page + (1 << order)) >> PAGEBLOCK_ORDER; at++) {
        if (this.blockTypes[at]! < PCP_TYPES) this.blockTypes[at] = MOVABLE;
      }
    }
    this.giveBack(page, order, this.blockTypes[block]!, true);
    return true;
  }

  /** The same script as run()'s on the free lists alone: no watermark, no lists of a CPU, no references. */
  runLists(script: Uint32Array, slots: Uint32Array): number {
    let refused = 0;
    for (let index = 0; index < script.length; index++) {
      const word = script[index]!;
      const slot = word & 0xffffff;
      const order = (word >>> 24) & 15;
      if (word >>> 31) {
        const page = slots[slot]!;
        if (page !== NONE) this.giveBack(page, order, MOVABLE, false);
        slots[slot] = NONE;
      } else {
        const page = this.takeSmallest(order, MOVABLE);
        if (page === NONE) refused++;
        else this.count(-(1 << order));
        slots[slot] = page;
      }
    }
    return refused;
  }

  /** The script of zoneCaseRun(): bit 31 a free, bits 24..27 the order, bits 0..23 the slot. */
  run(script: Uint32Array, slots: Uint32Array): number {
    let refused = 0;
    for (let index = 0; index < script.length; index++) {
      const word = script[index]!;
      const slot = word & 0xffffff;
      const order = (word >>> 24) & 15;
      if (word >>> 31) {
        const page = slots[slot]!;
        if (page !== NONE) this.release(page, order);
        slots[slot] = NONE;
      } else {
        const page = this.alloc(order);
        if (page === NONE) refused++;
        slots[slot] = page;
      }
    }
    return refused;
  }
}
