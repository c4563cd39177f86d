// What the two kinds of LRU lists in plain TypeScript share: one process at its limit, typed arrays indexed by page, the batch of new
// pages. Who owns a frame, where swap puts a page and what time passes is left out.

import { Lists } from "./policies.js";

export const PRESENT = 1;
export const YOUNG = 2;
export const REFERENCED = 4;
export const WORKINGSET = 8;
export const ACTIVE = 16;
export const LISTED = 32;

/** Pages that are moved to the lists together. */
export const BATCH = 15;
/** Pages that a reclaim is asked for. */
export const TARGET = 32;
export const FIRST_PRIORITY = 12;

export abstract class PlainReclaim {
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
