// Compaction on paper: two scanners over a list of frames, what they remember of a zone, and when they are refused. It knows free frames and
// pages, nothing of free lists: free blocks are what free frames next to each other make, always merged as far as they can be.

const BLOCK = 512;
const MAX_ORDER = 10;
const BATCH = 32;
const PASSES = 10;

/** What a frame holds when a compaction begins. */
export interface FrameSeen {
  free: boolean;
  /** On an LRU list, and not held by anybody who shows. */
  isolable: boolean;
  /** Nobody holds it once it is unmapped. */
  moves: boolean;
}

export interface ZoneSeen {
  start: number;
  frames: FrameSeen[];
  /** Pageblocks in which free frames are looked for. */
  movable: (pfn: number) => boolean;
  watermarks: [min: number, low: number];
}

export type Mode = "async" | "sync-light" | "sync";

export interface Compacted {
  result: string;
  moved: number;
  failed: number;
  /** Of each scan: whose, range, frames looked at, frames taken. */
  scans: string[];
  /** Frames that pages have left, and where they have gone. */
  moves: [from: number, to: number][];
}

const blockStart = (pfn: number): number => pfn - (pfn % BLOCK);
const blockEnd = (pfn: number): number => blockStart(pfn) + BLOCK;

export class CompactModel {
  private considered = 0;
  private shift = 0;
  private orderFailed = MAX_ORDER + 1;
  private cachedMigrate = { async: 0, sync: 0 };
  private cachedFree = Number.POSITIVE_INFINITY;
  private readonly skips = new Set<number>();

  run(zone: ZoneSeen, order: number | null, mode: Mode): Compacted {
    const nothing = { moved: 0, failed: 0, scans: [], moves: [] };
    const daring = mode === "sync" || order === null;
    if (!daring && this.refuses(order)) return { result: "deferred", ...nothing };
    if (order !== null) {
      const verdict = suits(zone, order);
      if (verdict === "success") this.reset(order);
      if (verdict !== "go") return { result: verdict, ...nothing };
      if (order >= this.orderFailed && this.shift === 6 && this.considered >= 64) this.forget();
    }
    const end = zone.start + zone.frames.length;
    const sync = mode === "async" ? "async" : "sync";
    const from = daring ? zone.start : Math.max(zone.start, this.cachedMigrate[sync]);
    const down = daring ? blockStart(end - 1) : Math.min(blockStart(end - 1), this.cachedFree);
    const run = new Run(zone, order, mode, from, down, this.skips, {
      migrate: (pfn) => {
        for (const kind of mode === "async" ? (["async"] as const) : (["async", "sync"] as const))
          this.cachedMigrate[kind] = Math.max(this.cachedMigrate[kind], pfn);
      },
      free: (pfn) => {
        this.cachedFree = Math.min(this.cachedFree, pfn);
      },
    });
    const done = run.all();
    if (run.met) {
      this.cachedMigrate = { async: 0, sync: 0 };
      this.cachedFree = Number.POSITIVE_INFINITY;
    }
    if (run.highestLeft > this.cachedFree) this.cachedFree = blockStart(run.highestLeft);
    if (order !== null && done.result === "success") this.reset(order);
    else if (order !== null && mode !== "async" && done.result !== "contended") {
      this.considered = 0;
      this.shift = Math.min(this.shift + 1, 6);
      this.orderFailed = Math.min(this.orderFailed, order);
    }
    return done;
  }

  private refuses(order: number): boolean {
    if (order < this.orderFailed) return false;
    this.considered = Math.min(this.considered + 1, 2 ** this.shift);
    return this.considered < 2 ** this.shift;
  }

  private reset(order: number): void {
    [this.considered, this.shift] = [0, 0];
    this.orderFailed = Math.max(this.orderFailed, order + 1);
  }

  private forget(): void {
    this.skips.clear();
    this.cachedMigrate = { async: 0, sync: 0 };
    this.cachedFree = Number.POSITIVE_INFINITY;
  }
}

/** The merged free blocks: the order of each by its first frame. */
function blocksOf({ start, frames }: ZoneSeen): Map<number, number> {
  const runs = new Uint32Array(frames.length + 1);
  for (let at = frames.length - 1; at >= 0; at--) runs[at] = frames[at]!.free ? runs[at + 1]! + 1 : 0;
  const blocks = new Map<number, number>();
  for (let at = 0; at < frames.length; ) {
    let order = MAX_ORDER;
    while (order >= 0 && ((start + at) % 2 ** order !== 0 || runs[at]! < 2 ** order)) order--;
    if (order >= 0) blocks.set(start + at, order);
    at += order < 0 ? 1 : 2 ** order;
  }
  return blocks;
}

function suits(zone: ZoneSeen, order: number): "success" | "skipped" | "go" {
  const free = zone.frames.filter((frame) => frame.free).length;
  const blocks = blocksOf(zone);
  const [min, low] = zone.watermarks;
  const fits = [...blocks.values()].some((each) => each >= order);
  if (fits && free - 2 ** order + 1 > min) return "success";
  if (free <= (order > 3 ? low : min) + 2 * 2 ** order) return "skipped";
  if (order <= 3 || fits) return "go";
  const index = 1000 - Math.floor((1000 + Math.floor((free * 1000) / 2 ** order)) / blocks.size);
  return index >= 0 && index <= 500 ? "skipped" : "go";
}

interface Passed {
  migrate: (pfn: number) => void;
  free: (pfn: number) => void;
}

/** One run of the scanners through a zone. */
class Run {
  private readonly batch: number[] = [];
  /** Frames to move to, the next one last. */
  private readonly targets: number[] = [];
  private readonly scans: string[] = [];
  private readonly moves: [number, number][] = [];
  /** Frames that pages have left and that no free list has yet. */
  private readonly leaving: number[] = [];
  private readonly whole: boolean;
  private blocks: Map<number, number>;
  private failed = 0;
  private last = -1;
  met = false;
  highestLeft = -1;

  constructor(
    private readonly zone: ZoneSeen,
    private readonly order: number | null,
    private readonly mode: Mode,
    private migrate: number,
    private free: number,
    private readonly skips: Set<number>,
    private readonly passed: Passed,
  ) {
    this.whole = migrate === zone.start;
    this.blocks = blocksOf(zone);
  }

  all(): Compacted {
    let result = this.finished();
    while (result === null) {
      const rest = this.last >= 0 && this.last === blockStart(this.migrate);
      this.gather(rest);
      if (this.batch.length > 0) {
        this.last = Math.max(this.zone.start, blockStart(this.migrate - 1));
        const starved = !this.move();
        const left = this.batch.length;
        this.failed += left;
        this.batch.length = 0;
        if (starved && !this.meeting()) {
          result = "contended";
          break;
        }
        if (left > 0 && this.gives) {
          this.migrate = this.orderEnd(this.migrate - 1);
          this.last = -1;
        }
      }
      this.drain();
      result = this.finished();
    }
    this.highestLeft = Math.max(-1, ...this.targets);
    return { result, moved: this.moves.length, failed: this.failed, scans: this.scans, moves: this.moves };
  }

  /** All of a block of the order, or nothing. */
  private get gives(): boolean {
    return this.mode === "async" && this.order !== null;
  }

  private get heeds(): boolean {
    return this.mode !== "sync" && this.order !== null;
  }

  private at(pfn: number): FrameSeen {
    return this.zone.frames[pfn - this.zone.start]!;
  }

  /** Order of the free block that begins at `pfn`; -1 when none does. */
  private orderAt(pfn: number): number {
    return this.blocks.get(pfn) ?? -1;
  }

  private orderEnd(pfn: number): number {
    const size = 2 ** this.order!;
    return pfn - (pfn % size) + size;
  }

  private meeting(): boolean {
    return blockStart(this.free) <= blockStart(this.migrate);
  }

  private finished(): string | null {
    if (this.meeting()) {
      this.met = true;
      return this.whole ? "complete" : "partial-skipped";
    }
    if (this.order === null || this.migrate % BLOCK !== 0) return null;
    return [...this.blocks.values()].some((each) => each >= this.order!) ? "success" : null;
  }

  private drain(): void {
    if (this.order === null || this.last < 0) return;
    if (this.last >= this.migrate - (this.migrate % 2 ** this.order)) return;
    for (const pfn of this.leaving.splice(0)) this.at(pfn).free = true;
    this.blocks = blocksOf(this.zone);
    this.last = -1;
  }

  private gather(rest: boolean): void {
    while (blockEnd(this.migrate) <= this.free) {
      const [start, end] = [this.migrate, blockEnd(this.migrate)];
      if (start % BLOCK === 0 && this.heeds && this.skips.has(start)) {
        this.migrate = end;
      } else if (this.gives && !this.zone.movable(start)) {
        this.passed.migrate(end);
        this.migrate = end;
      } else {
        const looks = this.gatherIn(end, rest ? BLOCK : BATCH);
        this.scans.push(`migrate ${start} ${this.migrate} ${looks} ${this.batch.length}`);
        if (this.migrate === end && (this.batch.length === 0 || rest)) {
          this.skips.add(blockStart(start));
          this.passed.migrate(end);
        }
        return;
      }
    }
  }

  private gatherIn(end: number, most: number): number {
    let looks = 0;
    let give = this.gives ? this.orderEnd(this.migrate) : Number.POSITIVE_INFINITY;
    let pfn = this.migrate;
    for (; pfn < end && this.batch.length < most; ) {
      if (pfn >= give) {
        if (this.batch.length > 0) break;
        give = this.orderEnd(pfn);
      }
      looks++;
      const order = this.orderAt(pfn);
      if (order >= 0) pfn += 2 ** order;
      else if (this.at(pfn).isolable) this.batch.push(pfn++);
      else if (this.gives) {
        this.batch.length = 0;
        pfn = give;
      } else pfn++;
    }
    this.migrate = Math.min(pfn, end);
    return looks;
  }

  /** Moves what of the batch can be moved, in ten passes; the rest stays in it. False: there were no frames to move to. */
  private move(): boolean {
    for (let pass = 0; pass < PASSES && this.batch.length > 0; pass++) {
      for (const pfn of [...this.batch]) {
        if (this.targets.length === 0) this.find();
        if (this.targets.length === 0) return false;
        if (!this.at(pfn).moves) continue;
        this.moves.push([pfn, this.targets.pop()!]);
        this.leaving.push(pfn);
        this.batch.splice(this.batch.indexOf(pfn), 1);
      }
    }
    return true;
  }

  private find(): void {
    const end = this.zone.start + this.zone.frames.length;
    const wanted = this.batch.length;
    let stride = this.mode === "async" ? 32 : 1;
    let at = this.free;
    for (let block = blockStart(at); block >= blockEnd(this.migrate); block -= BLOCK) {
      if (this.suitable(block)) {
        const before = this.targets.length;
        at = this.findIn(at, Math.min(block + BLOCK, end), stride, wanted);
        if (at === Math.min(block + BLOCK, end)) {
          this.skips.add(block);
          this.passed.free(block);
          at = block - BLOCK;
        }
        if (this.targets.length >= wanted) break;
        stride = this.targets.length > before ? 1 : Math.min(stride * 2, 32);
      } else at = block - BLOCK;
    }
    this.free = at;
  }

  private suitable(block: number): boolean {
    if (this.heeds && this.skips.has(block)) return false;
    if (this.orderAt(block) >= 9) return false;
    return this.zone.movable(block) || (this.mode === "sync" && this.order !== null);
  }

  private findIn(start: number, end: number, stride: number, wanted: number): number {
    let pfn = start;
    let [looks, taken] = [0, 0];
    while (pfn < end) {
      looks++;
      const order = this.orderAt(pfn);
      if (order < 0) {
        pfn += stride;
        continue;
      }
      for (let each = 0; each < 2 ** order; each++) {
        this.targets.push(pfn + each);
        this.at(pfn + each).free = false;
      }
      this.blocks.delete(pfn);
      looks += 2 ** order - 1;
      taken += 2 ** order;
      pfn += 2 ** order;
      if (this.targets.length >= wanted) break;
      pfn += stride - 1;
    }
    this.scans.push(`free ${start} ${Math.min(pfn, end)} ${looks} ${taken}`);
    return Math.min(pfn, end);
  }
}
