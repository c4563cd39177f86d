// How much of the zone must stay free (mm.md 1.5), and the counter of free pages that is compared with it. The counter is not
// exact: each CPU keeps small differences to itself and adds them when they exceed a threshold.

const MIN_FREE_KBYTES = { least: 128, most: 262_144 };
const BOOST_FACTOR = 15_000;
const PAGEBLOCK_PAGES = 512;
const PAGES_OF_128_MIB = 32_768;
const THRESHOLD_MAX = 125;

export type Mark = "min" | "low" | "high";

export class Watermarks {
  /** What stealing has put on top of every mark. */
  boost = 0;
  private readonly marks: Record<Mark, number>;

  constructor(
    private readonly managed: number,
    scaleFactor: number,
  ) {
    const wanted = Math.floor(Math.sqrt(managed * 4 * 16));
    const minFreeKbytes = Math.min(Math.max(wanted, MIN_FREE_KBYTES.least), MIN_FREE_KBYTES.most);
    const min = Math.floor(minFreeKbytes / 4);
    const distance = Math.max(Math.floor(min / 4), Math.floor((managed * scaleFactor) / 10_000));
    this.marks = { min, low: min + distance, high: min + 2 * distance };
  }

  of(mark: Mark): number {
    return this.marks[mark] + this.boost;
  }

  /** boost_watermark(): false in a zone too small for it. */
  raiseBoost(): boolean {
    if (this.managed < 4 * PAGEBLOCK_PAGES) return false;
    const most = Math.floor((this.marks.high * BOOST_FACTOR) / 10_000);
    this.boost = Math.min(this.boost + PAGEBLOCK_PAGES, Math.max(PAGEBLOCK_PAGES, most));
    return true;
  }
}

/** NR_FREE_PAGES of the zone. */
export class FreeCounter {
  /** What the watermarks are compared with. */
  seen = 0;
  exact = 0;
  readonly differences: number[];
  readonly threshold: number;

  constructor(managed: number, cpus: number) {
    this.differences = Array.from({ length: cpus }, () => 0);
    const memory = Math.floor(managed / PAGES_OF_128_MIB);
    this.threshold = Math.min(THRESHOLD_MAX, 2 * bits(cpus) * (1 + bits(memory)));
  }

  add(cpu: number, pages: number): void {
    this.exact += pages;
    const difference = this.differences[cpu]! + pages;
    const folded = Math.abs(difference) > this.threshold;
    if (folded) this.seen += difference;
    this.differences[cpu] = folded ? 0 : difference;
  }
}

// fls(): the digits of a number in binary, none for 0.
function bits(value: number): number {
  return value === 0 ? 0 : value.toString(2).length;
}
