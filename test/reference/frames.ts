// The host's frames: a zone with its watermarks and the buddy allocator, free blocks as plain lists of frame numbers. Follows
// mm.md 1.2, 1.3 and 1.5; left out as in the core: migratetypes, per-CPU lists.

const FIRST_PFN = 1024;
const ORDERS = 11;

export class Frames {
  free: number;
  readonly min: number;
  readonly low: number;
  readonly high: number;
  /** Free blocks by order, the head of each list first. */
  private readonly blocks: number[][] = Array.from({ length: ORDERS }, () => []);

  constructor(pages: number, watermarkScaleFactor: number) {
    this.free = pages;
    const minFreeKbytes = Math.min(Math.max(Math.floor(Math.sqrt(pages * 4 * 16)), 128), 262_144);
    this.min = Math.floor(minFreeKbytes / 4);
    const distance = Math.max(Math.floor(this.min / 4), Math.floor((pages * watermarkScaleFactor) / 10_000));
    this.low = this.min + distance;
    this.high = this.min + 2 * distance;
    for (let pfn = FIRST_PFN; pfn < FIRST_PFN + pages; ) {
      let order = ORDERS - 1;
      while (pfn % 2 ** order !== 0 || pfn + 2 ** order > FIRST_PFN + pages) order--;
      this.blocks[order]!.push(pfn);
      pfn += 2 ** order;
    }
  }

  /** Takes one frame; watermarks are the caller's business. */
  take(): number {
    let order = this.blocks.findIndex((list) => list.length > 0);
    const pfn = this.blocks[order]!.shift()!;
    while (order > 0) {
      order--;
      this.blocks[order]!.unshift(pfn + 2 ** order);
    }
    this.free--;
    return pfn;
  }

  giveBack(frame: number): void {
    let pfn = frame;
    let order = 0;
    for (; order < ORDERS - 1; order++) {
      const list = this.blocks[order]!;
      const at = list.indexOf(pfn ^ (2 ** order));
      if (at < 0) break;
      list.splice(at, 1);
      pfn = Math.min(pfn, pfn ^ (2 ** order));
    }
    // buddy_merge_likely(): if the block's buddy came back too, the pair would merge again; then it is better left alone.
    const pair = Math.min(pfn, pfn ^ (2 ** order));
    const likely = order < ORDERS - 2 && this.blocks[order + 1]!.includes(pair ^ (2 ** (order + 1)));
    if (likely) this.blocks[order]!.push(pfn);
    else this.blocks[order]!.unshift(pfn);
    this.free++;
  }
}
