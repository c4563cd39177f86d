// Swap as a whole: which area slots are taken from (mm.md 3.2), the slot caches on the way to pages and back (3.4), and when a slot
// is free again (3.5). A slot has at most one pte: guests share no pages.

import type { ResolvedSwap } from "#dist/scenario.js";
import { Rng } from "./rng.js";
import { type Slot, SwapArea } from "./swaparea.js";
import { Scan } from "./swapscan.js";
import { ACTIVATE, BATCH, byArea, DEACTIVATE, SlotCache } from "./swapslots.js";
import type { Timeline } from "./time.js";

// The machine's stream of random numbers for swap.
const STREAM = 0x4000_0000;

export class Swap {
  readonly areas: SwapArea[];
  readonly total: number;
  /** nr_swap_pages: slots that can be had. */
  free: number;
  /** Makes the swap cache let go of a slot that no pte needs; set by the host, whose pages these are. */
  reclaim: (slot: Slot, cpu: number) => boolean = () => false;
  /** Freed slots have gone back to their areas; set by the host. */
  flushed: (cpu: number, slots: number) => void = () => {};
  /** What has happened, to know what the random machines have met. */
  readonly met = {
    readAheadByAddress: 0,
    readAheadBySlot: 0,
    readAheadWanted: 0,
    slotsChangedHands: 0,
    clusterSlots: 0,
    runs: 0,
    linearScans: 0,
    randomStretches: 0,
    slotCacheRefills: 0,
    slotCacheFlushes: 0,
    slotCachesGivenUp: 0,
    slotsReclaimed: 0,
  };
  /** Areas with free slots (swap_avail_heads): highest priority first, among equals whose turn it is first. */
  private readonly available: SwapArea[] = [];
  private readonly caches: SlotCache[];
  private active = false;
  private readonly rng: Rng;

  constructor(figures: readonly ResolvedSwap[], cpus: number, seed: number, timeline: Timeline) {
    this.rng = new Rng(seed, STREAM);
    this.areas = figures.map((each, type) => new SwapArea(type, each, cpus, timeline, this.rng));
    this.caches = Array.from({ length: cpus }, () => new SlotCache());
    this.total = this.areas.reduce((sum, { size }) => sum + size, 0);
    this.free = this.total;
    for (const area of this.areas) this.enqueue(area);
  }

  /** vm_swap_full(): more than half of all slots are used. */
  get full(): boolean {
    return this.free * 2 < this.total;
  }

  /** A rotational area makes readahead go by slots. */
  get rotational(): boolean {
    return this.areas.some((area) => area.rotational);
  }

  // Behind the last area of at least its priority.
  private enqueue(area: SwapArea): void {
    const behind = this.available.findIndex(({ priority }) => priority < area.priority);
    this.available.splice(behind < 0 ? this.available.length : behind, 0, area);
  }

  private dequeue(area: SwapArea): void {
    this.available.splice(this.available.indexOf(area), 1);
  }

  /** folio_alloc_swap(): a slot for a page that goes into the swap cache, on `cpu`. */
  take(cpu: number): Slot | null {
    this.decide();
    if (this.active) {
      const cache = this.caches[cpu]!;
      if (cache.ready.length === 0) {
        cache.ready = this.request(BATCH, cpu);
        if (cache.ready.length > 0) this.met.slotCacheRefills++;
      }
      const slot = cache.ready.shift();
      if (slot !== undefined) return slot;
    }
    return this.request(1, cpu)[0] ?? null;
  }

  // Whether the slot caches are worth their slots.
  private decide(): void {
    const cpus = this.caches.length;
    if (!this.active) {
      this.active = this.free > cpus * ACTIVATE;
    } else if (this.free < cpus * DEACTIVATE) {
      this.active = false;
      this.met.slotCachesGivenUp++;
      for (const cache of this.caches) {
        this.giveBack(cache.ready.splice(0));
        this.giveBack(cache.returned.splice(0));
      }
    }
  }

  // get_swap_pages(): up to `wanted` slots of the first area that has any. An area that is tried goes behind its equals first; the
  // walk goes on with the one that was its next, and tries none twice.
  private request(wanted: number, cpu: number): Slot[] {
    const goal = Math.min(wanted, this.free);
    if (goal === 0) return [];
    this.free -= goal;
    const tried = new Set<SwapArea>();
    let got: Slot[] = [];
    let area = this.available[0];
    while (area !== undefined && got.length === 0) {
      const next: SwapArea | undefined = this.available[this.available.indexOf(area) + 1];
      tried.add(area);
      this.dequeue(area);
      this.enqueue(area);
      got = this.scan(area, goal, cpu);
      if (area.full) this.dequeue(area);
      const rest = next === undefined ? [] : this.available.slice(this.available.indexOf(next));
      area = rest.find((other) => !tried.has(other));
    }
    this.free += goal - got.length;
    return got;
  }

  private scan(area: SwapArea, wanted: number, cpu: number): Slot[] {
    const isFull = (): boolean => this.full;
    return new Scan(area, cpu, wanted, {
      get full() {
        return isFull();
      },
      reclaim: (slot) => {
        const gone = this.reclaim(slot, cpu);
        if (gone) this.met.slotsReclaimed++;
        return gone;
      },
      random: (bound) => {
        this.met.randomStretches++;
        return this.rng.below(bound);
      },
      note: (how) => {
        this.met[how]++;
      },
    }).run();
  }

  /** A pte or the swap cache has let go of the slot, on `cpu`; without either it waits in the CPU's cache to become free. */
  release(slot: Slot, cpu: number): void {
    if (slot.swapped || slot.cached !== null) return;
    slot.reserved = true;
    slot.shadow = null;
    if (!this.active) {
      this.giveBack([slot]);
      this.flushed(cpu, 1);
      return;
    }
    const { returned } = this.caches[cpu]!;
    if (returned.length === BATCH) {
      this.met.slotCacheFlushes++;
      this.giveBack(returned.splice(0));
      this.flushed(cpu, BATCH);
    }
    returned.push(slot);
  }

  private giveBack(slots: readonly Slot[]): void {
    for (const slot of this.areas.length > 1 ? byArea(slots) : slots) {
      const { area } = slot;
      if (area.full) this.enqueue(area);
      area.give(slot);
      this.free++;
    }
  }
}
