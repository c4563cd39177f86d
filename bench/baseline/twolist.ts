// The active and the inactive list of one cgroup in plain TypeScript: second chance, refault distances, cost of swapping, priorities.
// Left out: the lag of the cgroup's counters, which are right here whenever a reclaim begins.

import {
  ACTIVE,
  FIRST_PRIORITY,
  LISTED,
  PlainReclaim,
  REFERENCED,
  TARGET,
  WORKINGSET,
  YOUNG,
} from "./reclaim.js";

const INACTIVE_LIST = 0;
const ACTIVE_LIST = 1;
const CHUNK = 32;
const SWAPPINESS = 60;
const SHADOW = 0x80000000;
const WAS_WORKINGSET = 0x40000000;
const AGE_MASK = 0x1fffffff;
const PAGES_PER_GIB = 2 ** 18;

function inactiveIsLow(inactive: number, active: number): boolean {
  const gib = Math.floor((inactive + active) / PAGES_PER_GIB);
  return inactive * (gib === 0 ? 1 : Math.floor(Math.sqrt(10 * gib))) < active;
}

export class PlainTwoList extends PlainReclaim {
  private age = 0;
  private anonCost = 0;
  private activated = 0;
  private activatedBefore = 0;
  // As the cgroup's counters have them, which are brought up to date when a reclaim begins.
  private inactive = 0;
  private active = 0;
  private readonly taken = new Uint32Array(CHUNK);
  private readonly kept = new Uint32Array(CHUNK);

  constructor(pages: number, limit: number) {
    super(pages, limit, 2);
  }

  protected list(page: number): void {
    const { flags } = this;
    flags[page]! |= LISTED;
    this.lists.add((flags[page]! & ACTIVE) !== 0 ? ACTIVE_LIST : INACTIVE_LIST, page);
  }

  protected refault(page: number, shadow: number): void {
    const distance = (this.age - shadow) & AGE_MASK;
    if (distance > this.active) return;
    this.flags[page]! |= ACTIVE;
    this.age++;
    this.activated++;
    if ((shadow & WAS_WORKINGSET) === 0) return;
    this.flags[page]! |= WORKINGSET;
    this.noteCost(1);
  }

  private noteCost(pages: number): void {
    this.anonCost += pages;
    if (this.anonCost > Math.floor((this.inactive + this.active) / 4)) this.anonCost >>= 1;
  }

  protected reclaim(): void {
    const { length } = this.lists;
    this.inactive = length[INACTIVE_LIST]!;
    this.active = length[ACTIVE_LIST]!;
    let freed = 0;
    for (let priority = FIRST_PRIORITY; priority >= 0 && freed < TARGET; priority--)
      freed += this.round(priority);
    this.activatedBefore = this.activated;
  }

  private scanCount(size: number, priority: number, anonCost: number): number {
    const scan = size >>> priority;
    if (priority === 0) return scan;
    const all = 3 * anonCost;
    const anon = Math.floor((SWAPPINESS * (all + 1)) / (2 * anonCost + 1));
    const file = Math.floor(((200 - SWAPPINESS) * (all + 1)) / (anonCost + 1));
    return Math.floor((scan * anon) / Math.max(anon + file, 1));
  }

  private round(priority: number): number {
    const { length } = this.lists;
    const deactivate = this.activated !== this.activatedBefore || inactiveIsLow(this.inactive, this.active);
    const cost = this.anonCost;
    let inactive = this.scanCount(length[INACTIVE_LIST]!, priority, cost);
    let active = this.scanCount(length[ACTIVE_LIST]!, priority, cost);
    let freed = 0;
    while (inactive !== 0 && freed < TARGET) {
      const wanted = Math.min(inactive, CHUNK);
      inactive -= wanted;
      freed += this.shrinkInactive(wanted);
      const deactivated = Math.min(active, CHUNK);
      active -= deactivated;
      if (deactivated !== 0 && deactivate) this.shrinkActive(deactivated);
    }
    if (inactiveIsLow(this.inactive, this.active)) this.shrinkActive(CHUNK);
    return freed;
  }

  private shrinkInactive(wanted: number): number {
    const { lists, flags, taken, kept } = this;
    this.flushAdded();
    const count = Math.min(wanted, lists.length[INACTIVE_LIST]!);
    for (let place = 0; place < count; place++) taken[place] = lists.pop(INACTIVE_LIST);
    let stay = 0;
    for (let place = 0; place < count; place++) {
      const page = taken[place]!;
      const was = flags[page]!;
      flags[page] = was & ~(YOUNG | REFERENCED | LISTED);
      if ((was & YOUNG) === 0) {
        this.evictPage(
          page,
          (SHADOW | (this.age & AGE_MASK) | ((was & WORKINGSET) !== 0 ? WAS_WORKINGSET : 0)) >>> 0,
        );
        this.age++;
        continue;
      }
      flags[page]! |= (was & REFERENCED) !== 0 ? REFERENCED | ACTIVE : REFERENCED;
      kept[stay++] = page;
    }
    for (let place = 0; place < stay; place++) {
      if ((flags[kept[place]!]! & ACTIVE) !== 0) this.age++;
      this.list(kept[place]!);
    }
    if (count !== 0) this.noteCost(count - stay);
    return count - stay;
  }

  private shrinkActive(wanted: number): void {
    const { lists, flags } = this;
    this.flushAdded();
    for (let left = Math.min(wanted, lists.length[ACTIVE_LIST]!); left > 0; left--) {
      const page = lists.pop(ACTIVE_LIST);
      flags[page] = (flags[page]! & ~(YOUNG | ACTIVE)) | WORKINGSET;
      this.list(page);
    }
  }
}
