// The filter of recorded page traces: a fully associative LRU of the pages used last, like a very small TLB with dirty bits.
//
// invariant: the list holds the pages used last, newest first, each once

export class PageFilter {
  readonly #pages: number[] = [];
  readonly #dirty: boolean[] = [];

  /** @param size pages; 0 keeps every reference */
  constructor(readonly size: number) {}

  /** Whether the reference is kept: its page is not in the list, or this is the first write to a page that came by a read. */
  keeps(page: number, write: boolean): boolean {
    if (this.size === 0) return true;
    const at = this.#pages.indexOf(page);
    const known = at >= 0;
    const dirty = known && this.#dirty[at]!;
    const from = known ? at : Math.min(this.#pages.length, this.size - 1);
    for (let index = from; index > 0; index--) {
      this.#pages[index] = this.#pages[index - 1]!;
      this.#dirty[index] = this.#dirty[index - 1]!;
    }
    this.#pages[0] = page;
    this.#dirty[0] = dirty || write;
    return !known || (write && !dirty);
  }
}
