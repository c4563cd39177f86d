// The window of pages that are read ahead from swap (mm.md 3.6): its size follows from how many pages of the last one were wanted.

const FIRST_HITS = 4;

/** What one mapping, or the slots of all areas together, remember of the last window. */
export class Window {
  pages = 0;
  /** Pages of the window that somebody has wanted since. */
  hits = FIRST_HITS;

  /** @param last where the last fault was; for a mapping null before the first one, for slots 0 */
  constructor(public last: number | null) {}

  /** The size of the next window (__swapin_nr_pages()), for a fault at `at`, and the window begins with no hits. */
  next(at: number, most: number): number {
    const neighbour = this.last !== null && Math.abs(at - this.last) === 1;
    let pages = 4;
    if (this.hits === 0) pages = neighbour ? 2 : 1;
    else while (pages < this.hits + 2) pages *= 2;
    this.pages = Math.max(Math.min(pages, most), Math.floor(this.pages / 2));
    this.hits = 0;
    return this.pages;
  }
}
