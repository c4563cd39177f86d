// The host's frames: one zone, the lists of each CPU in front of it, and the part of the page allocator that does not reclaim
// (mm.md 1.7). Only single pages are asked for.

import { Pcp, type PcpSizes, pcpSizes } from "./pcp.js";
import { FreeCounter, type Mark } from "./watermarks.js";
import { type Migratetype, Zone } from "./zone.js";

const FIRST_PFN = 1024;

export class Frames {
  readonly zone: Zone;
  readonly pcps: Pcp[];
  readonly counter: FreeCounter;
  readonly sizes: PcpSizes;

  constructor(pages: number, cpus: number, watermarkScaleFactor: number, onLru: (pfn: number) => boolean) {
    this.zone = new Zone(FIRST_PFN, pages, watermarkScaleFactor, onLru);
    this.counter = new FreeCounter(pages, cpus);
    this.sizes = pcpSizes(pages, this.zone.watermarks.of("low"), cpus);
    this.pcps = Array.from({ length: cpus }, (_, cpu) => new Pcp(cpu, this.sizes, this.zone, this.counter));
    // At boot the first CPU hands the zone's blocks over one by one, past the lists of the CPUs.
    for (const size of this.zone.release()) this.counter.add(0, size);
  }

  /** Free pages of the zone; those on the CPUs' lists are not among them. */
  get free(): number {
    return this.counter.exact;
  }

  /** zone_watermark_ok() for a single page: reads the inexact counter. */
  above(mark: Mark): boolean {
    return this.counter.seen > this.zone.watermarks.of(mark);
  }

  /**
   * get_page_from_freelist(): a frame if `mark` stays free. At the low mark pageblocks are first kept from mixing types.
   *
   * @param cpu where the request comes from
   */
  take(cpu: number, type: Migratetype, mark: Mark): number | null {
    if (!this.above(mark)) return null;
    const pcp = this.pcps[cpu]!;
    const unmixed = mark === "low" ? pcp.take(type, true) : null;
    return unmixed ?? pcp.take(type, false);
  }

  giveBack(cpu: number, pfn: number): void {
    this.pcps[cpu]!.giveBack(pfn);
  }

  /** drain_all_pages() */
  drainAll(): void {
    for (const pcp of this.pcps) pcp.drain();
  }
}
