// A buddy allocator as a careful user would write it in TypeScript over typed arrays: one array a field, intrusive lists an order,
// splitting and merging. One migratetype, no per-CPU lists, no watermarks: less than the core does.

const ORDERS = 11;
const NONE = 0xffffffff;

export class PlainBuddy {
  private readonly next: Uint32Array;
  private readonly previous: Uint32Array;
  /** Order + 1 of the free block that begins here, 0 where none does. */
  private readonly state: Uint8Array;
  private readonly heads = new Uint32Array(ORDERS).fill(NONE);
  free = 0;

  constructor(private readonly pages: number) {
    this.next = new Uint32Array(pages);
    this.previous = new Uint32Array(pages);
    this.state = new Uint8Array(pages);
    for (let page = 0; page < pages; page += 1 << (ORDERS - 1)) this.insert(page, ORDERS - 1);
    this.free = pages;
  }

  private insert(page: number, order: number): void {
    const head = this.heads[order]!;
    this.next[page] = head;
    this.previous[page] = NONE;
    if (head !== NONE) this.previous[head] = page;
    this.heads[order] = page;
    this.state[page] = order + 1;
  }

  private remove(page: number, order: number): void {
    const next = this.next[page]!;
    const previous = this.previous[page]!;
    if (previous === NONE) this.heads[order] = next;
    else this.next[previous] = next;
    if (next !== NONE) this.previous[next] = previous;
    this.state[page] = 0;
  }

  /** First page of a block, or 0xffffffff. */
  alloc(order: number): number {
    for (let from = order; from < ORDERS; from++) {
      const page = this.heads[from]!;
      if (page === NONE) continue;
      this.remove(page, from);
      while (from > order) {
        from--;
        this.insert(page + (1 << from), from);
      }
      this.free -= 1 << order;
      return page;
    }
    return NONE;
  }

  release(page: number, order: number): void {
    this.free += 1 << order;
    while (order < ORDERS - 1) {
      const buddy = (page ^ (1 << order)) >>> 0;
      if (buddy >= this.pages || this.state[buddy] !== order + 1) break;
      this.remove(buddy, order);
      page &= buddy;
      order++;
    }
    this.insert(page >>> 0, order);
  }

  /** Takes the first block of an order off its list and puts it back, as reporting does. */
  isolate(order: number): boolean {
    const page = this.heads[order]!;
    if (page === NONE) return false;
    this.remove(page, order);
    this.free -= 1 << order;
    this.release(page, order);
    return true;
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
