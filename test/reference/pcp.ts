// A CPU's own lists of free pages (mm.md 1.6): pages are taken from the zone and given back to it in batches. Only single pages
// stand on them here, one list a migratetype.

import type { FreeCounter } from "./watermarks.js";
import { MIGRATETYPES, type Migratetype, type Zone } from "./zone.js";

/** How often what overflows may double. Of the captured kernels, all with small batches, none goes further. */
const FREE_FACTOR_MAX = 5;

/** Sizes of the lists of every CPU. */
export interface PcpSizes {
  batch: number;
  high: number;
}

/** zone_batchsize() and zone_highsize() */
export function pcpSizes(managed: number, low: number, cpus: number): PcpSizes {
  const quarter = Math.max(Math.floor(Math.min(Math.floor(managed / 1024), 256) / 4), 1);
  let rounded = 1;
  while (2 * rounded <= quarter + Math.floor(quarter / 2)) rounded *= 2;
  const batch = Math.max(rounded - 1, 1);
  return { batch, high: Math.max(Math.floor(low / cpus), 4 * batch) };
}

export class Pcp {
  /** How often what overflows has doubled; an allocation halves it again. */
  freeFactor = 0;
  /** By migratetype, the head of each list first. */
  readonly lists: number[][] = MIGRATETYPES.map(() => []);

  constructor(
    private readonly cpu: number,
    private readonly sizes: PcpSizes,
    private readonly zone: Zone,
    private readonly free: FreeCounter,
  ) {}

  get count(): number {
    return this.lists.reduce((sum, list) => sum + list.length, 0);
  }

  /** rmqueue_pcplist(): a list that is empty is filled with a batch first. */
  take(type: Migratetype, wholeBlocks: boolean): number | null {
    this.freeFactor = Math.floor(this.freeFactor / 2);
    const list = this.lists[type]!;
    if (list.length === 0) this.refill(list, type, wholeBlocks);
    return list.shift() ?? null;
  }

  private refill(list: number[], type: Migratetype, wholeBlocks: boolean): void {
    const { batch } = this.sizes;
    const wanted = batch > 1 ? Math.max(batch, 2) : batch;
    while (list.length < wanted) {
      const pfn = this.zone.take(type, wholeBlocks);
      if (pfn === null) break;
      list.push(pfn);
    }
    this.free.add(this.cpu, -list.length);
  }

  /** free_unref_page(): the page goes to the list of its pageblock's present type. */
  giveBack(pfn: number): void {
    const type = this.zone.pageblockType(pfn);
    this.lists[type]!.unshift(pfn);
    const { batch } = this.sizes;
    const high = this.zone.reclaimActive ? Math.min(4 * batch, this.sizes.high) : this.sizes.high;
    if (this.count >= high) this.flush(this.overflow(high), type);
  }

  // nr_pcp_free()
  private overflow(high: number): number {
    const { batch } = this.sizes;
    if (high < batch) return 1;
    const scaled = batch * 2 ** this.freeFactor;
    const most = high - batch;
    if (scaled < most && this.freeFactor < FREE_FACTOR_MAX) this.freeFactor++;
    return Math.max(Math.min(scaled, most), batch);
  }

  // free_pcppages_bulk(): list after list, the coldest page first, each until it is empty.
  private flush(pages: number, first: Migratetype): void {
    const lists = [...MIGRATETYPES.slice(first), ...MIGRATETYPES.slice(0, first)];
    let left = pages;
    for (const type of lists) {
      const list = this.lists[type]!;
      for (; left > 0 && list.length > 0; left--) {
        this.free.add(this.cpu, 1);
        this.zone.giveBack(list.pop()!, type);
      }
    }
  }

  /** drain_local_pages() */
  drain(): void {
    this.flush(this.count, MIGRATETYPES[0]);
  }
}
