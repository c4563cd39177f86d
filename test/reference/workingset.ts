// Pages that come back (mm.md 4.6), and what is noted about the LRU lists of a cgroup or, as the root's, of the host: costs, a clock
// of evictions and activations, and counters that each round of reclaim brings up to date.

import type { Host } from "./host.js";
import type { Page, Vm } from "./vm.js";

export class Lruvec {
  anonCost = 0;
  /** nonresident_age */
  age = 0;
  /** Pages that came back and started active; and as many when the last reclaim ended. */
  activated = 0;
  snapshot = 0;
  /** The lists when the counters were brought up to date. */
  inactive = 0;
  active = 0;

  /** lru_note_cost(): file pages cost nothing, there are none. */
  noteCost(pages: number): void {
    this.anonCost += pages;
    if (this.anonCost > Math.floor((this.inactive + this.active) / 4))
      this.anonCost = Math.floor(this.anonCost / 2);
  }
}

/** What an evicted page has left in the place of its slot. */
export interface Shadow {
  age: number;
  workingset: boolean;
  /** Evicted for the host, not for its cgroup's limit. */
  host: boolean;
}

/** The clock moves on for the cgroup and for the host. */
export function grow(host: Host, vm: Vm | null): void {
  if (vm !== null) vm.lruvec.age++;
  host.lruvec.age++;
}

/** The page is evicted for the limit of `memcg`, null for the host. */
export function evicted(host: Host, page: Page, memcg: Vm | null): Shadow {
  const { age } = memcg?.lruvec ?? host.lruvec;
  grow(host, memcg);
  return { age, workingset: page.workingset, host: memcg === null };
}

/** The page comes back to its VM. */
export function refault(host: Host, page: Page, shadow: Shadow | null): void {
  if (shadow === null) return;
  host.counts.refaults++;
  host.stats.events(host.cpu, 1);
  const { vm } = page;
  const { age, active } = shadow.host ? host.lruvec : vm.lruvec;
  if (age - shadow.age > (host.swap.free === 0 ? 0 : active)) return;
  page.active = true;
  grow(host, vm);
  host.counts.workingsetActivated++;
  host.stats.events(host.cpu, 1);
  vm.lruvec.activated++;
  host.lruvec.activated++;
  if (!shadow.workingset) return;
  page.workingset = true;
  vm.lruvec.noteCost(1);
  host.lruvec.noteCost(1);
  host.counts.workingsetRestored++;
  host.stats.events(host.cpu, 1);
}

/** mem_cgroup_flush_stats() */
export function flushCounters(host: Host): void {
  host.lruvec.inactive = 0;
  host.lruvec.active = 0;
  for (const { lruvec, inactive, active } of host.vms) {
    lruvec.inactive = inactive.length;
    lruvec.active = active.length;
    host.lruvec.inactive += inactive.length;
    host.lruvec.active += active.length;
  }
}
