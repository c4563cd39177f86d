// The zone of the reference model: its free blocks as plain lists of frame numbers, by order and migratetype, and the migratetypes
// of its pageblocks. Follows mm.md 1.2 to 1.4 for single pages; left out: pageblocks set aside for atomic requests, isolation.

import { Watermarks } from "./watermarks.js";

const ORDERS = 11;
const PAGEBLOCK_ORDER = 9;
const PAGEBLOCK_PAGES = 2 ** PAGEBLOCK_ORDER;

export const UNMOVABLE = 0;
export const MOVABLE = 1;
export const RECLAIMABLE = 2;
export type Migratetype = typeof UNMOVABLE | typeof MOVABLE | typeof RECLAIMABLE;
export const MIGRATETYPES = [UNMOVABLE, MOVABLE, RECLAIMABLE] as const;

/** Where a request looks when the lists of its own type are empty. */
const FALLBACKS: Record<Migratetype, readonly Migratetype[]> = {
  [UNMOVABLE]: [RECLAIMABLE, MOVABLE],
  [MOVABLE]: [RECLAIMABLE, UNMOVABLE],
  [RECLAIMABLE]: [UNMOVABLE, MOVABLE],
};

/** A free block on a list of another type than the request's. */
interface Candidate {
  pfn: number;
  order: number;
  from: Migratetype;
}

export class Zone {
  readonly watermarks: Watermarks;
  /** A steal has raised the boost and kswapd has not been told yet (ZONE_BOOSTED_WATERMARK). */
  boosted = false;
  /** kswapd is at work (ZONE_RECLAIM_ACTIVE). */
  reclaimActive = false;
  readonly counts = { stolen: 0, boosts: 0, claimed: 0 };
  /** Free blocks by migratetype and order, the head of each list first. */
  readonly blocks = MIGRATETYPES.map(() => Array.from({ length: ORDERS }, (): number[] => []));
  /** Migratetype of each pageblock, by pfn / 512; movable where nothing has been said. */
  private readonly pageblocks = new Map<number, Migratetype>();
  private readonly end: number;

  /** @param onLru is the frame in use by a page that is on an LRU list? */
  constructor(
    private readonly first: number,
    pages: number,
    watermarkScaleFactor: number,
    private readonly onLru: (pfn: number) => boolean,
  ) {
    this.end = first + pages;
    this.watermarks = new Watermarks(pages, watermarkScaleFactor);
  }

  /** Boot: everything becomes free in the largest aligned blocks, lowest first. Returns their sizes in that order. */
  release(): number[] {
    const sizes: number[] = [];
    for (let pfn = this.first; pfn < this.end; pfn += sizes.at(-1)!) {
      let order = ORDERS - 1;
      while (pfn % 2 ** order !== 0 || pfn + 2 ** order > this.end) order--;
      this.list(MOVABLE, order).push(pfn);
      sizes.push(2 ** order);
    }
    return sizes;
  }

  private list(type: Migratetype, order: number): number[] {
    return this.blocks[type]![order]!;
  }

  pageblockType(pfn: number): Migratetype {
    return this.pageblocks.get(Math.floor(pfn / PAGEBLOCK_PAGES)) ?? MOVABLE;
  }

  private setPageblockType(pfn: number, type: Migratetype): void {
    this.pageblocks.set(Math.floor(pfn / PAGEBLOCK_PAGES), type);
  }

  /**
   * __rmqueue(): a frame from the lists of `type`, which other types fill when they are empty.
   *
   * @param wholeBlocks only whole pageblocks may change their type (ALLOC_NOFRAGMENT)
   */
  take(type: Migratetype, wholeBlocks: boolean): number | null {
    for (;;) {
      const pfn = this.takeSmallest(type);
      if (pfn !== null) return pfn;
      const candidate = this.candidate(type, wholeBlocks ? PAGEBLOCK_ORDER : 0);
      if (candidate === null) return null;
      this.steal(candidate, type);
    }
  }

  private takeSmallest(type: Migratetype): number | null {
    let order = this.blocks[type]!.findIndex((list) => list.length > 0);
    if (order < 0) return null;
    const pfn = this.list(type, order).shift()!;
    while (order > 0) {
      order--;
      this.list(type, order).unshift(pfn + 2 ** order);
    }
    return pfn;
  }

  // __rmqueue_fallback(): the largest block, because that leaves the fewest pageblocks mixed. A movable request that could take no
  // more than the block itself does least harm with the smallest.
  private candidate(type: Migratetype, leastOrder: number): Candidate | null {
    const found: Candidate[] = [];
    for (let order = leastOrder; order < ORDERS; order++) {
      const from = FALLBACKS[type].find((other) => this.list(other, order).length > 0);
      if (from !== undefined) found.push({ pfn: this.list(from, order)[0]!, order, from });
    }
    const largest = found.at(-1);
    if (largest === undefined) return null;
    return wantsWholeBlock(type, largest.order) ? largest : found[0]!;
  }

  // steal_suitable_fallback()
  private steal({ pfn, order, from }: Candidate, type: Migratetype): void {
    this.counts.stolen++;
    if (order >= PAGEBLOCK_ORDER) {
      for (let at = pfn; at < pfn + 2 ** order; at += PAGEBLOCK_PAGES) this.setPageblockType(at, type);
      this.move(pfn, order, from, type);
      return;
    }
    if (this.watermarks.raiseBoost()) {
      this.counts.boosts++;
      this.boosted = true;
    }
    const free = wantsWholeBlock(type, order) ? this.movePageblock(pfn, type) : 0;
    if (free === 0) {
      this.move(pfn, order, from, type);
      return;
    }
    // Pages in use that suit the new type count for it as the free ones do.
    const movable = this.movableInUse(pfn);
    let alike = 0;
    if (type === MOVABLE) alike = movable;
    else if (this.pageblockType(pfn) === MOVABLE) alike = PAGEBLOCK_PAGES - (free + movable);
    if (free + alike >= PAGEBLOCK_PAGES / 2) {
      this.counts.claimed++;
      this.setPageblockType(pfn, type);
    }
  }

  private move(pfn: number, order: number, from: Migratetype, to: Migratetype): void {
    const list = this.list(from, order);
    list.splice(list.indexOf(pfn), 1);
    this.list(to, order).push(pfn);
  }

  // move_freepages_block(): all free blocks of the pageblock, lowest first. Returns the pages moved: none of a pageblock that the
  // zone's end cuts.
  private movePageblock(pfn: number, to: Migratetype): number {
    const [start, end] = pageblockOf(pfn);
    if (end > this.end) return 0;
    const moved: Candidate[] = [];
    for (const from of MIGRATETYPES) {
      for (let order = 0; order < PAGEBLOCK_ORDER; order++) {
        const inside = this.list(from, order).filter((at) => at >= start && at < end);
        moved.push(...inside.map((at) => ({ pfn: at, order, from })));
      }
    }
    moved.sort((a, b) => a.pfn - b.pfn);
    for (const { pfn: at, order, from } of moved) this.move(at, order, from, to);
    return moved.reduce((sum, { order }) => sum + 2 ** order, 0);
  }

  private movableInUse(pfn: number): number {
    const [start, end] = pageblockOf(pfn);
    let pages = 0;
    for (let at = start; at < end; at++) pages += Number(this.onLru(at));
    return pages;
  }

  /** __free_one_page(): gives a frame to the lists of `type`. */
  giveBack(frame: number, type: Migratetype): void {
    let pfn = frame;
    let order = 0;
    for (; order < ORDERS - 1; order++) {
      const list = this.listWith(pfn ^ (2 ** order), order);
      if (list === undefined) break;
      list.splice(list.indexOf(pfn ^ (2 ** order)), 1);
      pfn = Math.min(pfn, pfn ^ (2 ** order));
    }
    // buddy_merge_likely(): if the block's buddy came back too, the pair would merge again; then it is better left alone.
    const pair = Math.min(pfn, pfn ^ (2 ** order));
    const likely = order < ORDERS - 2 && this.listWith(pair ^ (2 ** (order + 1)), order + 1) !== undefined;
    if (likely) this.list(type, order).push(pfn);
    else this.list(type, order).unshift(pfn);
  }

  private listWith(pfn: number, order: number): number[] | undefined {
    return MIGRATETYPES.map((type) => this.list(type, order)).find((list) => list.includes(pfn));
  }
}

// can_steal_fallback(): may the request take the free pages around the block too?
function wantsWholeBlock(type: Migratetype, order: number): boolean {
  return type !== MOVABLE || order >= Math.floor(PAGEBLOCK_ORDER / 2);
}

function pageblockOf(pfn: number): [start: number, end: number] {
  const start = pfn - (pfn % PAGEBLOCK_PAGES);
  return [start, start + PAGEBLOCK_PAGES];
}
