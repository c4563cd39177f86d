// The frames of a host and what memory management keeps of them, in plain TypeScript over typed arrays: a record a frame, one CPU's lists of free frames, two LRU lists with the
// batches in front of them, the clocks of evictions that tell which page comes back soon, and the lagging counter of a cgroup's changes.
// One CPU, one cgroup of anonymous pages that none but its policy reclaims. Left out: the zone's free blocks, which hand their frames out in rising order, and
// the CPU's lists running over, which takes more frees in a row than there are here.
//
// record   0       1      2      3       4      5      6      7        lists   head, tail, length: one row a list
//          +-------+------+------+-------+------+------+------+---+
//          | flags | refs | maps | index | next | prev | list |   |    frame 0 is none
//          +-------+------+------+-------+------+------+------+---+

export const REFERENCED = 1;
export const UPTODATE = 2;
const LRU = 4;
const ACTIVE = 8;
const WORKINGSET = 16;
export const EXCLUSIVE = 32;

const FLAG_NAMES = ["referenced", "uptodate", "lru", "active", "workingset", "anon-exclusive"];

const LIST_NAMES = ["none", "inactive", "active", "pcp", "pcp"];
const INACTIVE_LIST = 1;
const ACTIVE_LIST = 2;
export const MOVABLE = 3;
export const UNMOVABLE = 4;

export const REFS = 1;
export const MAPS = 2;
export const INDEX = 3;
export const SHIFT = 3;
const NEXT = 4;
const PREV = 5;
const LIST = 6;

const BATCH_PAGES = 15;
const CHANGES_MOST = 64;

const SHADOW = 1 << 31;
const SHADOW_WORKINGSET = 1 << 30;
const SHADOW_HOST = 1 << 29;
const AGE_MASK = SHADOW_HOST - 1;

export class PlainFrames {
  readonly records: Int32Array;
  private readonly lists = new Int32Array(5 * 3);
  /** Free frames of the zone, and the fewest there were. */
  zoneFree: number;
  zoneMinFree = 0;
  refaults = 0;
  activatedRefaults = 0;
  restored = 0;
  /** New pages that are on no list yet, and pages that are to become active. */
  private readonly added = new Int32Array(BATCH_PAGES);
  private addedCount = 0;
  private readonly activated = new Int32Array(BATCH_PAGES);
  private activatedCount = 0;
  private readonly batch: number;
  private readonly low: number;
  private nextFrame = 1;
  private hostAge = 0;
  private cgroupAge = 0;
  /** Length of the active list when the counters were last brought up to date, which reclaim by lists does: never here. */
  private readonly activeSeen = 0;
  private changes = 0;
  private enough = 0;

  constructor(frames: number) {
    this.records = new Int32Array((frames + 1) << SHIFT);
    this.zoneFree = frames;
    // zone_batchsize(), and the low watermark with a watermark_scale_factor of 10
    const quarter = Math.max(Math.min(frames >> 10, 256) >> 2, 1);
    this.batch = Math.max((1 << (31 - Math.clz32(quarter + (quarter >> 1)))) - 1, 1);
    const least = Math.min(Math.max(Math.floor(Math.sqrt(frames * 64)), 128), 262_144) >> 2;
    this.low = least + Math.max(least >> 2, Math.floor(frames / 1000));
  }

  /** Takes a frame from the CPU's list, which the zone refills; it has one reference. */
  take(list: number): number {
    if (this.zoneFree <= this.low) throw new Error("kswapd would be woken, which there is not");
    if (this.lists[3 * list] === 0) this.refill(list);
    const { records } = this;
    const frame = this.lists[3 * list]!;
    this.unlink(list, frame);
    const at = frame << SHIFT;
    records[at] = 0;
    records[at + REFS] = 1;
    records[at + MAPS] = 0;
    return frame;
  }

  /** The last reference has gone: the frame is the next that this CPU takes. */
  free(frame: number): void {
    const at = frame << SHIFT;
    this.records[at] = 0;
    this.records[at + REFS] = 0;
    this.records[at + MAPS] = 0;
    this.linkHead(MOVABLE, frame);
  }

  private refill(list: number): void {
    for (let count = this.batch; count > 0 && this.nextFrame << SHIFT < this.records.length; count--) {
      this.linkTail(list, this.nextFrame++);
      this.zoneFree--;
    }
    if (this.zoneFree < this.zoneMinFree) this.zoneMinFree = this.zoneFree;
  }

  private linkHead(list: number, frame: number): void {
    const { records, lists } = this;
    const head = lists[3 * list]!;
    const at = frame << SHIFT;
    records[at + NEXT] = head;
    records[at + PREV] = 0;
    records[at + LIST] = list;
    if (head === 0) lists[3 * list + 1] = frame;
    else records[(head << SHIFT) + PREV] = frame;
    lists[3 * list] = frame;
    lists[3 * list + 2]!++;
  }

  private linkTail(list: number, frame: number): void {
    const { records, lists } = this;
    const tail = lists[3 * list + 1]!;
    const at = frame << SHIFT;
    records[at + NEXT] = 0;
    records[at + PREV] = tail;
    records[at + LIST] = list;
    if (tail === 0) lists[3 * list] = frame;
    else records[(tail << SHIFT) + NEXT] = frame;
    lists[3 * list + 1] = frame;
    lists[3 * list + 2]!++;
  }

  private unlink(list: number, frame: number): void {
    const { records, lists } = this;
    const at = frame << SHIFT;
    const next = records[at + NEXT]!;
    const prev = records[at + PREV]!;
    if (prev === 0) lists[3 * list] = next;
    else records[(prev << SHIFT) + NEXT] = next;
    if (next === 0) lists[3 * list + 1] = prev;
    else records[(next << SHIFT) + PREV] = prev;
    records[at + LIST] = 0;
    lists[3 * list + 2]!--;
  }

  /** Frames on lists, and on the way to the LRU's. */
  lengths(): { perCpu: number; inactive: number; active: number; batched: number } {
    const [inactive, active, movable, unmovable] = [1, 2, 3, 4].map((list) => this.lists[3 * list + 2]!);
    return {
      perCpu: movable! + unmovable!,
      inactive: inactive!,
      active: active!,
      batched: this.addedCount,
    };
  }

  /** The record of a frame, by the core's names. */
  told(frame: number): { refs: number; maps: number; list: string; flags: string[] } {
    const at = frame << SHIFT;
    const flags = FLAG_NAMES.filter((_, bit) => (this.records[at]! >> bit) & 1);
    const list = LIST_NAMES[this.records[at + LIST]!]!;
    return { refs: this.records[at + REFS]!, maps: this.records[at + MAPS]!, list, flags };
  }

  /** folio_add_lru() */
  add(frame: number): void {
    this.records[(frame << SHIFT) + REFS]!++;
    this.added[this.addedCount++] = frame;
    if (this.addedCount === BATCH_PAGES) this.flushAdded();
  }

  /** folio_mark_accessed(): marked the first time, active the second. */
  used(frame: number): void {
    const at = frame << SHIFT;
    const flags = this.records[at]!;
    if ((flags & REFERENCED) === 0) this.records[at] = flags | REFERENCED;
    else if ((flags & ACTIVE) === 0) this.usedTwice(frame);
  }

  private usedTwice(frame: number): void {
    const at = frame << SHIFT;
    const flags = this.records[at]!;
    if (flags & LRU) {
      this.records[at + REFS]!++;
      this.activated[this.activatedCount++] = frame;
      if (this.activatedCount === BATCH_PAGES) this.flushActivated();
      this.records[at]! &= ~REFERENCED;
    } else {
      this.records[at] = (this.isAdded(frame) ? flags | ACTIVE : flags) & ~REFERENCED;
    }
    this.age();
  }

  private isAdded(frame: number): boolean {
    for (let place = this.addedCount - 1; place >= 0; place--) if (this.added[place] === frame) return true;
    return false;
  }

  /** lru_add_drain_all() */
  drain(): void {
    if (this.addedCount !== 0) this.flushAdded();
    if (this.activatedCount !== 0) this.flushActivated();
  }

  private flushAdded(): void {
    const { records } = this;
    const count = this.addedCount;
    this.addedCount = 0;
    for (let place = 0; place < count; place++) {
      const frame = this.added[place]!;
      const flags = records[frame << SHIFT]! | LRU;
      records[frame << SHIFT] = flags;
      this.linkHead(flags & ACTIVE ? ACTIVE_LIST : INACTIVE_LIST, frame);
    }
    this.changed(count);
    this.release(this.added, count);
  }

  private flushActivated(): void {
    const { records } = this;
    const count = this.activatedCount;
    this.activatedCount = 0;
    for (let place = 0; place < count; place++) {
      const frame = this.activated[place]!;
      const flags = records[frame << SHIFT]!;
      if ((flags & (LRU | ACTIVE)) !== LRU) continue;
      this.unlink(INACTIVE_LIST, frame);
      records[frame << SHIFT] = flags | ACTIVE;
      this.linkHead(ACTIVE_LIST, frame);
      this.changed(3);
    }
    this.release(this.activated, count);
  }

  // The references of a batch. A page that nobody else held would go here; the eviction drains the batches first, so there is none.
  private release(batch: Int32Array, count: number): void {
    for (let place = count - 1; place >= 0; place--) {
      const at = (batch[place]! << SHIFT) + REFS;
      if (this.records[at] === 1) throw new Error("a batch holds the last reference");
      this.records[at]!--;
    }
  }

  /** Takes a page off its list that is held by its pte alone. */
  isolate(frame: number): void {
    const at = frame << SHIFT;
    const flags = this.records[at]!;
    if ((flags & LRU) === 0 || this.records[at + REFS] !== 1 || this.records[at + MAPS] !== 1)
      throw new Error("the page that is to go is held by somebody");
    this.unlink(flags & ACTIVE ? ACTIVE_LIST : INACTIVE_LIST, frame);
    this.records[at] = flags & ~LRU;
  }

  private age(): void {
    this.cgroupAge = (this.cgroupAge + 1) | 0;
    this.hostAge = (this.hostAge + 1) | 0;
  }

  /** workingset_eviction(): what an evicted page leaves in its slot. The policy evicts for the host's sake, as the core's does. */
  shadow(frame: number): number {
    const stamp = this.hostAge & AGE_MASK;
    this.hostAge = (this.hostAge + 1) | 0;
    const workingset = this.records[frame << SHIFT]! & WORKINGSET ? SHADOW_WORKINGSET : 0;
    return SHADOW | SHADOW_HOST | workingset | stamp;
  }

  /** workingset_refault(): `shadow` is what the page's eviction left. */
  refault(frame: number, shadow: number, swapLeft: boolean): void {
    if (shadow === 0) return;
    this.refaults++;
    this.changed(1);
    const from = shadow & SHADOW_HOST ? this.hostAge : this.cgroupAge;
    if (((from - shadow) & AGE_MASK) > (swapLeft ? this.activeSeen : 0)) return;
    this.records[frame << SHIFT]! |= ACTIVE;
    this.age();
    this.activatedRefaults++;
    this.changed(1);
    if ((shadow & SHADOW_WORKINGSET) === 0) return;
    this.records[frame << SHIFT]! |= WORKINGSET;
    this.restored++;
    this.changed(1);
  }

  /** memcg_rstat_updated(): `events` changes by one page each; more than 64 of them count as enough to bring the counters up to date. */
  changed(events: number): void {
    this.changes += events;
    if (this.changes <= CHANGES_MOST) return;
    this.changes -= CHANGES_MOST + 1;
    if (this.enough <= 1) this.enough++;
  }
}
