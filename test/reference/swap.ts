// Swap areas: which area a slot comes from (mm.md 3.2) and which slot of it. A slot is used while a pte holds it or the swap cache
// has a page for it. Left out as in the core: clusters and slot caches; within an area the search goes on where it last ended.

import type { ResolvedSwap } from "#dist/scenario.js";
import { Device } from "./device.js";
import type { Timeline } from "./time.js";
import type { Page } from "./vm.js";

export interface Slot {
  area: SwapArea;
  offset: number;
  /** A pte holds it. */
  swapped: boolean;
  /** The page that the swap cache has for it. */
  cached: Page | null;
}

export class SwapArea {
  /** By offset; offset 0 is the header. */
  readonly slots: Slot[];
  readonly size: number;
  used = 0;
  readonly device: Device;
  next = 1;

  constructor(
    readonly type: number,
    readonly figures: ResolvedSwap,
    timeline: Timeline,
  ) {
    this.size = figures.size / 4096;
    this.slots = Array.from({ length: this.size + 1 }, (_, offset) => ({
      area: this,
      offset,
      swapped: false,
      cached: null,
    }));
    this.device = new Device(figures, timeline);
  }
}

export class Swap {
  readonly areas: SwapArea[];
  readonly total: number;
  free: number;
  /** Areas with free slots (swap_avail_heads): highest priority first, among equals whose turn it is first. */
  private readonly available: SwapArea[] = [];

  constructor(figures: readonly ResolvedSwap[], timeline: Timeline) {
    this.areas = figures.map((each, type) => new SwapArea(type, each, timeline));
    this.total = this.areas.reduce((sum, { size }) => sum + size, 0);
    this.free = this.total;
    for (const area of this.areas) this.enqueue(area);
  }

  /** vm_swap_full(): more than half of all slots are used. */
  get full(): boolean {
    return this.free * 2 < this.total;
  }

  // Behind the last area of at least its priority.
  private enqueue(area: SwapArea): void {
    const behind = this.available.findIndex(({ figures }) => figures.priority < area.figures.priority);
    this.available.splice(behind < 0 ? this.available.length : behind, 0, area);
  }

  /** get_swap_pages(1): a slot for a page that goes into the swap cache. */
  take(page: Page): Slot | null {
    const area = this.available.shift();
    if (area === undefined) return null;
    this.enqueue(area);
    const after = area.slots.slice(area.next);
    const slot = [...after, ...area.slots.slice(1)].find(
      ({ swapped, cached }) => !swapped && cached === null,
    )!;
    slot.cached = page;
    area.next = slot.offset + 1;
    area.used++;
    this.free--;
    if (area.used === area.size) this.available.splice(this.available.indexOf(area), 1);
    return slot;
  }

  /** A pte or the swap cache has let go of the slot. */
  release(slot: Slot): void {
    if (slot.swapped || slot.cached !== null) return;
    const { area } = slot;
    if (area.used === area.size) this.enqueue(area);
    area.used--;
    this.free++;
  }
}
