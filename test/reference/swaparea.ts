// A swap area (mm.md 3.1): its slots, the range in which free ones lie, and, if it is not rotational, its clusters of 512 slots and
// each CPU's place in them. Which slot is taken is the scan's business (swapscan.ts).

import type { ResolvedSwap } from "#dist/scenario.js";
import { Device } from "./device.js";
import type { Rng } from "./rng.js";
import type { Timeline } from "./time.js";
import type { Page, Vm } from "./vm.js";
import type { Shadow } from "./workingset.js";

export const CLUSTER = 512;
const COLUMNS = 32;

/** One slot for ever: what was evicted to it twice went to the same Slot. */
export interface Slot {
  area: SwapArea;
  offset: number;
  /** A pte holds it. */
  swapped: boolean;
  /** The page that the swap cache has for it. */
  cached: Page | null;
  /** It is on its way to a page, or waits in a CPU's slot cache. */
  reserved: boolean;
  /** Whose page was evicted to it last. */
  owner: Vm | null;
  /** What the page that was evicted to it has left. */
  shadow: Shadow | null;
}

/** Where a CPU is in an area with clusters. */
interface Place {
  cluster: number | null;
  /** Slot of the cluster to be looked at next. */
  next: number;
  /** Where a scan without a cluster begins. */
  base: number;
}

export class SwapArea {
  readonly device: Device;
  /** Usable slots; the header's is number 0. */
  readonly size: number;
  readonly priority: number;
  used = 0;
  /** No free slot lies outside; in a full area there is no inside. */
  lowest = 1;
  highest: number;
  /** Rotational: where the scan goes on, and how much of the present run of slots is left. */
  next = 1;
  runLeft = 0;
  /** With clusters: those without a used slot, the first to be used first. */
  readonly freeClusters: number[] = [];
  readonly places: Place[];
  /** Slots that have been in use some time, by offset. */
  private readonly slots = new Map<number, Slot>();
  /** Of each cluster the slots that are in use or cannot be used. */
  private readonly taken: number[];

  constructor(
    readonly type: number,
    figures: ResolvedSwap,
    cpus: number,
    timeline: Timeline,
    rng: Rng,
  ) {
    this.device = new Device(figures, timeline);
    this.size = figures.size / 4096;
    this.priority = figures.priority;
    this.highest = this.size;
    const end = this.size + 1;
    const count = figures.rotational === true ? 0 : Math.ceil(end / CLUSTER);
    this.taken = Array.from({ length: count }, (_, cluster) => Math.max(0, (cluster + 1) * CLUSTER - end));
    if (count > 0) this.taken[0]! += 1;
    for (let column = 0; column < COLUMNS; column++) {
      for (let cluster = column; cluster < count; cluster += COLUMNS) {
        if (this.taken[cluster] === 0) this.freeClusters.push(cluster);
      }
    }
    this.places = Array.from({ length: count > 0 ? cpus : 0 }, () => ({
      cluster: null,
      next: 0,
      base: 1 + rng.below(this.size),
    }));
  }

  get rotational(): boolean {
    return this.taken.length === 0;
  }

  get full(): boolean {
    return this.used === this.size;
  }

  slot(offset: number): Slot {
    const known = this.slots.get(offset);
    if (known !== undefined) return known;
    const slot = {
      area: this,
      offset,
      swapped: false,
      cached: null,
      reserved: false,
      owner: null,
      shadow: null,
    };
    this.slots.set(offset, slot);
    return slot;
  }

  /** Nobody has the slot. */
  isFree(offset: number): boolean {
    const slot = this.slots.get(offset);
    return slot === undefined || (!slot.swapped && slot.cached === null && !slot.reserved);
  }

  /** No pte needs the slot, but it is not free. */
  isIdle(offset: number): boolean {
    return !this.isFree(offset) && !this.slot(offset).swapped;
  }

  /** Takes a free slot. The first one of a free cluster takes the cluster off the list. */
  take(offset: number): Slot {
    const slot = this.slot(offset);
    slot.reserved = true;
    this.used++;
    if (offset === this.lowest) this.lowest++;
    if (offset === this.highest) this.highest--;
    if (this.full) {
      this.lowest = this.size + 1;
      this.highest = 0;
    }
    if (this.rotational) return slot;
    const cluster = Math.floor(offset / CLUSTER);
    if (this.freeClusters[0] === cluster) this.freeClusters.shift();
    this.taken[cluster]! += 1;
    return slot;
  }

  /** The slot is free again. The last one of a cluster puts the cluster at the end of the list. */
  give(slot: Slot): void {
    const { offset } = slot;
    slot.reserved = false;
    this.used--;
    this.lowest = Math.min(this.lowest, offset);
    this.highest = Math.max(this.highest, offset);
    if (this.rotational) return;
    const cluster = Math.floor(offset / CLUSTER);
    this.taken[cluster]! -= 1;
    if (this.taken[cluster] === 0) this.freeClusters.push(cluster);
  }

  /** The next free slot of the CPU's cluster, or of the next free cluster; null when there is neither. */
  inCluster(cpu: number): number | null {
    const place = this.places[cpu]!;
    for (;;) {
      if (place.cluster === null) {
        if (this.freeClusters.length === 0) return null;
        place.cluster = this.freeClusters[0]!;
        place.next = place.cluster * CLUSTER;
      }
      const end = Math.min((place.cluster + 1) * CLUSTER, this.size + 1);
      while (place.next < end) {
        const offset = place.next++;
        if (this.isFree(offset)) return offset;
      }
      place.cluster = null;
    }
  }

  /** A slot in the middle of the list of free clusters is not to be had; the CPU then forgets its cluster. */
  conflicts(cpu: number, offset: number): boolean {
    if (this.freeClusters.indexOf(Math.floor(offset / CLUSTER)) <= 0) return false;
    this.places[cpu]!.cluster = null;
    return true;
  }
}
