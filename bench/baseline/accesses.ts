// The same accesses in plain TypeScript over typed arrays, as a careful user would write them for one guest that is resident: a
// direct-mapped TLB, four levels of tables, accessed and dirty bits, and a clock. Everything the hot loop needs is in locals and in
// 32-bit entries, for those are what JavaScript engines are fast with.
//
// entry   31          7   6   5   1   0
//         +------------+---+---+---+---+
//         | table/frame| D | A | W | P |
//         +------------+---+---+---+---+
// tag     gfn << 1 | D: the leaf's dirty bit is known to be set; NO_TAG where there is none

const PRESENT = 1;
const WRITABLE = 2;
const ACCESSED = 32;
const DIRTY = 64;
const SHIFT = 7;
const NO_TAG = 0xffff_ffff;
const PAGE_MASK = 0x7fff_ffff;

/** What an access costs in virtual ns, with its translation in the TLB and without. */
export interface AccessCosts {
  hitNs: number;
  missNs: number;
}

export class PlainGuest {
  clock = 0;
  misses = 0;
  private readonly tables: Uint32Array;
  private readonly tags: Uint32Array;
  private tablesTaken = 1;

  constructor(
    readonly pages: number,
    tlbEntries: number,
    private readonly costs: AccessCosts,
  ) {
    const leaves = Math.ceil(pages / 512);
    this.tables = new Uint32Array(512 * (leaves + Math.ceil(leaves / 512) + 2));
    this.tags = new Uint32Array(tlbEntries).fill(NO_TAG);
    for (let gfn = 0; gfn < pages; gfn++) this.map(gfn, gfn);
  }

  private map(gfn: number, frame: number): void {
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
    tables[(table << 9) + (gfn & 511)] = (frame << SHIFT) | WRITABLE | PRESENT;
  }

  /**
   * Executes accesses `from`..`to` - 1 of `stream` that begin before `until`.
   *
   * @returns accesses executed
   */
  run(stream: Uint32Array, from: number, to: number, until: number): number {
    const { tables, tags } = this;
    const { hitNs, missNs } = this.costs;
    const mask = tags.length - 1;
    let clock = this.clock;
    let misses = 0;
    let at = from;
    while (at < to && clock < until) {
      const access = stream[at]!;
      const write = access >>> 31;
      const gfn = access & PAGE_MASK;
      const set = gfn & mask;
      // Equal, or equal but for a dirty bit that a read does not need: at most 1 for a read, 0 for a write.
      if ((tags[set]! ^ ((gfn << 1) | write)) >>> 0 <= 1 - write) {
        clock += hitNs;
        at++;
        continue;
      }
      const table3 = tables[gfn >>> 27]! >>> SHIFT;
      const table2 = tables[(table3 << 9) + ((gfn >>> 18) & 511)]! >>> SHIFT;
      const table1 = tables[(table2 << 9) + ((gfn >>> 9) & 511)]! >>> SHIFT;
      const leaf = (table1 << 9) + (gfn & 511);
      const old = tables[leaf]!;
      const wanted = PRESENT | (write << 1);
      if ((old & wanted) !== wanted)
        throw new Error("the baseline has no faults: every page is mapped writable");
      const entry = old | ACCESSED | (write * DIRTY);
      if (entry !== old) tables[leaf] = entry;
      tags[set] = (gfn << 1) | ((entry >>> 6) & 1);
      clock += missNs;
      misses++;
      at++;
    }
    this.clock = clock;
    this.misses += misses;
    return at - from;
  }
}
