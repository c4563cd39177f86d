// How free slots of an area are found (mm.md 3.3): in the CPU's cluster, in the present run of a rotational area, or by looking at
// every slot. One scan takes up to 64 slots within one instant; it ends early when it has looked at enough of them.

import { CLUSTER, type Slot, type SwapArea } from "./swaparea.js";

const LATENCY_LIMIT = 256;
const TRUNK = 2 ** 14;

/** What a scan needs to know of swap as a whole. */
export interface Surroundings {
  /** More than half of all slots are used, those that this scan is about to take included. */
  readonly full: boolean;
  /** Makes the swap cache let go of a slot that no pte needs. False: its page is busy, or there is none. */
  reclaim(slot: Slot): boolean;
  random(bound: number): number;
  /** How a slot was looked for. */
  note(how: "clusterSlots" | "runs" | "linearScans"): void;
}

type Next = "check" | "take" | "linear" | "end" | "nothing";

export class Scan {
  private readonly got: Slot[] = [];
  private at: number;
  private base: number;
  private budget = LATENCY_LIMIT;
  /** The budget has been used up once. */
  private long = false;

  constructor(
    private readonly area: SwapArea,
    private readonly cpu: number,
    private readonly wanted: number,
    private readonly swap: Surroundings,
  ) {
    this.base = area.rotational ? area.next : area.places[cpu]!.base;
    this.at = this.base;
  }

  run(): Slot[] {
    let next = this.area.rotational ? this.startRun() : this.goToCluster() ? "check" : "linear";
    while (next !== "end" && next !== "nothing") {
      if (next === "linear") next = this.linear();
      else if (next === "check") next = this.check();
      else next = this.take();
    }
    if (next === "end") this.remember(this.at + 1);
    return this.got;
  }

  // One slot has been looked at. True: that was too much at a time, a break is made.
  private looked(): boolean {
    this.budget--;
    if (this.budget >= 0) return false;
    this.budget = LATENCY_LIMIT;
    return true;
  }

  private goToCluster(): boolean {
    const offset = this.area.inCluster(this.cpu);
    if (offset === null) return false;
    this.at = offset;
    this.base = offset;
    this.swap.note("clusterSlots");
    return true;
  }

  // When a run of 512 slots is used up the next one is searched from the start of the area, if as many slots are free at all.
  private startRun(): Next {
    const { area } = this;
    if (area.runLeft > 0) {
      area.runLeft--;
      return "check";
    }
    area.runLeft = CLUSTER - 1;
    if (area.size - area.used < CLUSTER) return "check";
    this.at = area.lowest;
    this.base = area.lowest;
    let free = 0;
    for (let offset = area.lowest; offset + (CLUSTER - 1 - free) <= area.highest; offset++) {
      free = area.isFree(offset) ? free + 1 : 0;
      if (free === CLUSTER) {
        this.at = offset - (CLUSTER - 1);
        area.next = this.at;
        this.swap.note("runs");
        break;
      }
      this.looked();
    }
    return "check";
  }

  /** Can the slot reached be taken? */
  private check(): Next {
    const { area, got } = this;
    while (!area.rotational && area.conflicts(this.cpu, this.at)) {
      if (got.length > 0) return "end";
      if (!this.goToCluster()) return "linear";
    }
    if (area.highest === 0) return "nothing";
    if (this.at > area.highest) {
      this.at = area.lowest;
      this.base = area.lowest;
    }
    if (area.isFree(this.at)) return "take";
    if (this.swap.full && area.isIdle(this.at)) {
      return this.swap.reclaim(area.slot(this.at)) ? "check" : "linear";
    }
    return got.length > 0 ? "end" : "linear";
  }

  private take(): Next {
    const { area, at } = this;
    this.got.push(area.take(at));
    if (this.got.length === this.wanted || at >= area.highest) return "end";
    this.budget--;
    if (this.budget < 0) return "end";
    if (!area.rotational) {
      if (this.goToCluster()) return "check";
    } else if (area.runLeft > 0) {
      this.at++;
      if (area.isFree(this.at)) {
        area.runLeft--;
        return "check";
      }
    }
    return this.nearby();
  }

  // Without a cluster or run that goes on, a few slots more are looked at.
  private nearby(): Next {
    if (this.long) return "end";
    const limit = this.at < this.base ? this.base : this.area.highest;
    for (; this.at <= limit; this.at++) {
      this.budget--;
      if (this.budget <= 0) break;
      if (this.area.isFree(this.at)) return "check";
    }
    return "end";
  }

  // To the end of the area, then from its start to where the scan began.
  private linear(): Next {
    const { area } = this;
    this.swap.note("linearScans");
    for (let offset = this.at + 1; offset <= area.highest; offset++) {
      if (this.suits(offset)) return "check";
    }
    for (let offset = area.lowest; offset < this.base; offset++) {
      if (this.suits(offset)) return "check";
    }
    return "nothing";
  }

  private suits(offset: number): boolean {
    this.at = offset;
    if (this.looked()) this.long = true;
    return this.area.isFree(offset) || (this.swap.full && this.area.isIdle(offset));
  }

  // A CPU that leaves its 16,384 slots goes on in others, at random.
  private remember(offset: number): void {
    const { area } = this;
    if (area.rotational) {
      area.next = offset;
      return;
    }
    const place = area.places[this.cpu]!;
    if (Math.floor(place.base / TRUNK) === Math.floor(offset / TRUNK)) {
      place.base = offset;
    } else if (area.highest > area.lowest) {
      const anywhere = area.lowest + this.swap.random(area.highest - area.lowest + 1);
      place.base = Math.max(area.lowest, anywhere - (anywhere % TRUNK));
    }
  }
}
