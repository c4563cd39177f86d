// A guest that does not fit its memory in plain TypeScript over typed arrays, as a careful user would write it: a TLB that every eviction
// flushes, four levels of tables, a clock that takes one page out for each page that comes in, swap slots handed out last in first out,
// counters and virtual time. One VM and nobody else: no locks, no page allocator, no LRU lists, no swap cache, no charge, no notifier.
//
// entry   31          7   6   5   1   0        host    a frame while the page is resident, else its slot
//         +------------+---+---+---+---+       tag     gfn << 1 | D, good while its generation is the TLB's
//         | table/frame| D | A | W | P |
//         +------------+---+---+---+---+

const PRESENT = 1;
const WRITABLE = 2;
const ACCESSED = 32;
const DIRTY = 64;
const SHIFT = 7;
const NONE = 0xffff_ffff;
const PAGE_MASK = 0x7fff_ffff;

export interface FaultCosts {
  hitNs: number;
  missNs: number;
  majorNs: number;
  writeProtectNs: number;
}

export class PlainPaging {
  clock = 0;
  misses = 0;
  major = 0;
  writeProtect = 0;
  evicted = 0;
  private readonly tables: Uint32Array;
  private tablesTaken = 1;
  private readonly tags: Uint32Array;
  private readonly generations: Uint32Array;
  private generation = 1;
  private readonly host: Uint32Array;
  /** The policy's bit: used since the hand came by. It sees every access. */
  private readonly used: Uint8Array;
  private readonly gfnOf: Uint32Array;
  private framesTaken = 0;
  private hand = 0;
  private readonly freeSlots: Uint32Array;
  private slotsFree: number;

  constructor(
    pages: number,
    private readonly frames: number,
    tlbEntries: number,
    private readonly costs: FaultCosts,
  ) {
    const leaves = Math.ceil(pages / 512);
    this.tables = new Uint32Array(512 * (leaves + Math.ceil(leaves / 512) + 3));
    this.tags = new Uint32Array(tlbEntries);
    this.generations = new Uint32Array(tlbEntries);
    this.host = new Uint32Array(pages).fill(NONE);
    this.used = new Uint8Array(pages);
    this.gfnOf = new Uint32Array(frames);
    this.freeSlots = Uint32Array.from({ length: pages }, (_, slot) => pages - 1 - slot);
    this.slotsFree = pages;
  }

  /** Place of the leaf entry; tables that are missing are made. */
  private leafOf(gfn: number): number {
    const { tables } = this;
    let table = 0;
    for (let shift = 27; shift > 0; shift -= 9) {
      const at = (table << 9) + ((gfn >>> shift) & 511);
      if (tables[at] === 0) {
        tables[at] = (this.tablesTaken << SHIFT) | WRITABLE | PRESENT;
        this.tablesTaken++;
      }
      table = tables[at]! >>> SHIFT;
    }
    return (table << 9) + (gfn & 511);
  }

  private evict(): number {
    const { used, gfnOf, frames } = this;
    let hand = this.hand;
    while (used[gfnOf[hand]!] === 1) {
      used[gfnOf[hand]!] = 0;
      hand = hand + 1 === frames ? 0 : hand + 1;
    }
    this.hand = hand + 1 === frames ? 0 : hand + 1;
    const gfn = gfnOf[hand]!;
    this.tables[this.leafOf(gfn)] = 0;
    this.generation++;
    this.slotsFree--;
    this.host[gfn] = this.freeSlots[this.slotsFree]!;
    this.evicted++;
    return hand;
  }

  /** The page comes in, and another goes when all frames are taken. */
  private fault(gfn: number, leaf: number, write: number): void {
    const slot = this.host[gfn]!;
    const first = slot === NONE;
    const frame = this.framesTaken < this.frames ? this.framesTaken++ : this.evict();
    if (!first) {
      this.freeSlots[this.slotsFree] = slot;
      this.slotsFree++;
      this.major++;
      this.clock += this.costs.majorNs;
    }
    this.host[gfn] = frame;
    this.gfnOf[frame] = gfn;
    this.used[gfn] = 0; // it enters with the access that brought it, which is no second use
    // What comes in for a read is mapped for reading: it is clean in swap.
    this.tables[leaf] = ((frame << SHIFT) | (write << 1) | PRESENT) >>> 0;
  }

  /** Executes accesses `from`..`to` - 1 of `stream`. */
  run(stream: Uint32Array, from: number, to: number): void {
    const { tables, tags, generations, used } = this;
    const { hitNs, missNs, writeProtectNs } = this.costs;
    const mask = tags.length - 1;
    for (let at = from; at < to; at++) {
      const access = stream[at]!;
      const write = access >>> 31;
      const gfn = access & PAGE_MASK;
      const set = gfn & mask;
      if (generations[set] === this.generation && (tags[set]! ^ ((gfn << 1) | write)) >>> 0 <= 1 - write) {
        used[gfn] = 1;
        this.clock += hitNs;
        continue;
      }
      const leaf = this.leafOf(gfn);
      let entry = tables[leaf]!;
      if ((entry & PRESENT) === 0) {
        this.fault(gfn, leaf, write);
        entry = tables[leaf]!;
      } else {
        if (write && (entry & WRITABLE) === 0) {
          this.writeProtect++;
          this.clock += writeProtectNs;
          entry |= WRITABLE;
        }
        used[gfn] = 1;
      }
      entry |= ACCESSED | (write * DIRTY);
      tables[leaf] = entry;
      tags[set] = (gfn << 1) | ((entry >>> 6) & 1);
      generations[set] = this.generation;
      this.clock += missNs;
      this.misses++;
    }
  }
}
