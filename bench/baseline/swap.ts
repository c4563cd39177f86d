// Swap slots of one area as a careful user would write them in TypeScript over typed arrays, by the same rules as the core: a cache of
// 64 slots each way, clusters of 512 (or runs, on a rotational area), the linear scan, use counts and the swap cache's mark. One CPU
// and one area, no counts beyond 62: less than the core does. It hands out the same slots, and keeps what an evicted page has left.

const CACHE = 64;
const CLUSTER = 512;
const COLUMNS = 32;
const LATENCY_LIMIT = 256;
const TRUNK_SHIFT = 14;
const HELD = 0x40;
const FREE = 0x80000000;
const NONE = 0x7fffffff;

// Where a scan goes on.
const CHECK = 0;
const LINEAR = 1;
const DONE = 2;
const NOTHING = 3;
type Next = typeof CHECK | typeof LINEAR | typeof DONE | typeof NOTHING;

export class PlainSwap {
  private readonly map: Uint8Array;
  /** The frame that caches a slot, or the shadow of the page that was evicted to it. */
  private readonly cached: Int32Array;
  /** FREE and the next free cluster, or the slots in use. */
  private readonly clusters: Uint32Array;
  private readonly cache = new Uint32Array(CACHE);
  private readonly returned = new Uint32Array(CACHE);
  private freeHead = NONE;
  private freeTail = NONE;
  private left = 0;
  private cursor = 0;
  private returns = 0;
  private active = false;
  private lowest = 1;
  private highest: number;
  private used = 0;
  private cluster = NONE;
  private clusterSlot = 0;
  private runLeft = 0;
  private slot = 0;
  private base = 0;
  private budget = 0;
  private got = 0;
  private many = false;
  /** nr_swap_pages */
  available: number;

  /** @param slots with the header @param start where the first scan begins */
  constructor(
    private readonly slots: number,
    private readonly rotational: boolean,
    private start: number,
    private readonly random: (below: number) => number,
  ) {
    this.map = new Uint8Array(slots);
    this.cached = new Int32Array(slots);
    this.highest = slots - 1;
    this.available = slots - 1;
    const count = Math.ceil(slots / CLUSTER);
    this.clusters = new Uint32Array(count);
    this.clusters[0] = 1;
    this.clusters[count - 1]! += count * CLUSTER - slots;
    for (let column = 0; column < COLUMNS; column++) {
      for (let cluster = column; cluster < count; cluster += COLUMNS) {
        if (this.clusters[cluster] === 0) this.listFree(cluster);
      }
    }
  }

  private listFree(cluster: number): void {
    this.clusters[cluster] = FREE | NONE;
    if (this.freeTail === NONE) this.freeHead = cluster;
    else this.clusters[this.freeTail] = FREE | cluster;
    this.freeTail = cluster;
  }

  /** A slot that the swap cache holds, 0 when there is none. */
  take(): number {
    if (this.available > 5 * CACHE) this.active = true;
    else if (this.available < 2 * CACHE && this.active) this.giveUpCache();
    let slot = 0;
    if (this.active) {
      if (this.left === 0) {
        this.cursor = 0;
        this.left = this.scan(CACHE);
      }
      if (this.left > 0) {
        this.left--;
        slot = this.cache[this.cursor++]!;
      }
    }
    // While the cache is not in use its first place takes the only slot.
    if (slot === 0 && this.scan(1) === 1) slot = this.cache[0]!;
    return slot;
  }

  dup(slot: number): void {
    this.map[slot]!++;
  }

  /** The swap cache lets go of a slot. */
  uncache(slot: number): void {
    this.cached[slot] = 0;
    this.map[slot]! &= ~HELD;
    if (this.map[slot] === 0) this.giveBack(slot);
  }

  /** The swap cache lets go of a slot that one pte holds; the page's shadow stays there. */
  evicted(slot: number, shadow: number): void {
    this.cached[slot] = shadow;
    this.map[slot] = 1;
  }

  /** What the page that was evicted to a slot has left, 0 for nothing. */
  shadow(slot: number): number {
    return this.cached[slot]!;
  }

  /** Slots that are not free, those in the caches among them. */
  get taken(): number {
    return this.slots - 1 - this.available;
  }

  /** One user less. Returns the slots that have become free. */
  drop(slot: number): number {
    return --this.map[slot]! === 0 ? this.giveBack(slot) : 0;
  }

  private giveBack(slot: number): number {
    this.cached[slot] = 0;
    this.map[slot] = HELD;
    if (!this.active) {
      this.free(slot);
      return 1;
    }
    let freed = 0;
    if (this.returns === CACHE) {
      for (; freed < CACHE; freed++) this.free(this.returned[freed]!);
      this.returns = 0;
    }
    this.returned[this.returns++] = slot;
    return freed;
  }

  private giveUpCache(): void {
    this.active = false;
    for (; this.left > 0; this.left--) this.free(this.cache[this.cursor++]!);
    this.cursor = 0;
    for (let index = 0; index < this.returns; index++) this.free(this.returned[index]!);
    this.returns = 0;
  }

  private free(slot: number): void {
    this.map[slot] = 0;
    if (!this.rotational) {
      const cluster = Math.floor(slot / CLUSTER);
      const used = --this.clusters[cluster]!;
      if (used === 0) this.listFree(cluster);
    }
    if (slot < this.lowest) this.lowest = slot;
    if (slot > this.highest) this.highest = slot;
    this.available++;
    this.used--;
  }

  private get full(): boolean {
    return this.available * 2 < this.slots - 1;
  }

  /** Fills the cache with up to `wanted` slots. */
  private scan(wanted: number): number {
    const goal = Math.min(wanted, this.available);
    if (goal === 0) return 0;
    this.available -= goal;
    this.budget = LATENCY_LIMIT;
    this.got = 0;
    this.many = false;
    let next: Next = this.begin();
    while (next < DONE) {
      if (next === LINEAR) {
        next = this.linear();
      } else {
        next = this.check();
        if (next === CHECK) next = this.grab(goal);
      }
    }
    if (next === DONE) this.goOnFrom(this.slot + 1);
    this.available += goal - this.got;
    return this.got;
  }

  private begin(): Next {
    this.slot = this.start;
    this.base = this.start;
    if (!this.rotational) return this.fromCluster() ? CHECK : LINEAR;
    if (this.runLeft-- === 0) {
      this.runLeft = CLUSTER - 1;
      if (this.slots - 1 - this.used >= CLUSTER) this.findRun();
    }
    return CHECK;
  }

  private findRun(): void {
    let slot = this.lowest;
    let last = slot + CLUSTER - 1;
    this.slot = slot;
    this.base = slot;
    for (; last <= this.highest; slot++) {
      if (this.map[slot] !== 0) {
        last = slot + CLUSTER;
      } else if (slot === last) {
        this.slot = slot - (CLUSTER - 1);
        this.start = this.slot;
        return;
      }
      if (--this.budget < 0) this.budget = LATENCY_LIMIT;
    }
  }

  private fromCluster(): boolean {
    const { map } = this;
    for (;;) {
      if (this.cluster === NONE) {
        if (this.freeHead === NONE) return false;
        this.cluster = this.freeHead;
        this.clusterSlot = this.cluster * CLUSTER;
      }
      const end = Math.min(this.slots, (this.cluster + 1) * CLUSTER);
      let slot = this.clusterSlot;
      while (slot < end && map[slot] !== 0) slot++;
      if (slot < end) {
        this.clusterSlot = slot + 1;
        this.slot = slot;
        this.base = slot;
        return true;
      }
      this.cluster = NONE;
    }
  }

  private conflict(): boolean {
    const cluster = Math.floor(this.slot / CLUSTER);
    if (this.freeHead === NONE || cluster === this.freeHead || this.slot >= this.slots) return false;
    if (this.clusters[cluster]! < FREE) return false;
    this.cluster = NONE;
    return true;
  }

  private check(): Next {
    if (!this.rotational) {
      while (this.conflict()) {
        if (this.got !== 0) return DONE;
        if (!this.fromCluster()) return LINEAR;
      }
    }
    if (this.highest === 0) return NOTHING;
    if (this.slot > this.highest) {
      this.slot = this.lowest;
      this.base = this.lowest;
    }
    const byte = this.map[this.slot]!;
    if (byte === HELD && this.full) return LINEAR;
    if (byte !== 0) return this.got === 0 ? LINEAR : DONE;
    return CHECK;
  }

  private grab(wanted: number): Next {
    const { slot } = this;
    this.map[slot] = HELD;
    if (!this.rotational) this.takeFromCluster(Math.floor(slot / CLUSTER));
    if (slot === this.lowest) this.lowest++;
    if (slot === this.highest) this.highest--;
    if (++this.used === this.slots - 1) {
      this.lowest = this.slots;
      this.highest = 0;
    }
    this.cache[this.got++] = slot;
    if (this.got === wanted || slot >= this.highest || --this.budget < 0) return DONE;
    if (!this.rotational) {
      if (this.fromCluster()) return CHECK;
    } else if (this.runLeft !== 0) {
      this.slot = slot + 1;
      if (this.map[slot + 1] === 0) {
        this.runLeft--;
        return CHECK;
      }
    }
    return this.nearby();
  }

  private takeFromCluster(cluster: number): void {
    if (this.clusters[cluster]! >= FREE) {
      const next = this.clusters[cluster]! & NONE;
      this.freeHead = next;
      if (next === NONE) this.freeTail = NONE;
      this.clusters[cluster] = 0;
    }
    this.clusters[cluster]!++;
  }

  private nearby(): Next {
    if (this.many) return DONE;
    const limit = this.slot < this.base ? this.base : this.highest;
    for (; this.slot <= limit && --this.budget > 0; this.slot++) {
      if (this.map[this.slot] === 0) return CHECK;
    }
    return DONE;
  }

  private linear(): Next {
    const { base, highest, lowest } = this;
    for (let slot = this.slot + 1; slot <= highest; slot++) if (this.candidate(slot)) return CHECK;
    for (let slot = lowest; slot < base; slot++) if (this.candidate(slot)) return CHECK;
    return NOTHING;
  }

  private candidate(slot: number): boolean {
    this.slot = slot;
    if (--this.budget < 0) {
      this.budget = LATENCY_LIMIT;
      this.many = true;
    }
    const byte = this.map[slot]!;
    return byte === 0 || (byte === HELD && this.full);
  }

  // Who leaves a stretch of 16,384 slots goes on in another one.
  private goOnFrom(slot: number): void {
    if (!this.rotational && this.start >> TRUNK_SHIFT !== slot >> TRUNK_SHIFT) {
      if (this.highest <= this.lowest) return;
      const drawn = this.lowest + this.random(this.highest - this.lowest + 1);
      slot = Math.max((drawn >> TRUNK_SHIFT) << TRUNK_SHIFT, this.lowest);
    }
    this.start = slot;
  }

  /** The script of slotCaseRun(): bit 31 a free, bits 0..30 the place. Returns refusals. */
  run(script: Uint32Array, places: Uint32Array): number {
    let refused = 0;
    for (let index = 0; index < script.length; index++) {
      const word = script[index]!;
      const place = word & 0x7fffffff;
      if (word >>> 31) {
        if (places[place] !== 0) this.drop(places[place]!);
        places[place] = 0;
        continue;
      }
      const slot = this.take();
      places[place] = slot;
      if (slot === 0) {
        refused++;
      } else {
        this.dup(slot);
        this.uncache(slot);
      }
    }
    return refused;
  }
}
