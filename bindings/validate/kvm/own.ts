// The monitor's own memory on the machine: a slot that no guest touches, in which the monitor does what it did in the capture.
//
// pages    0           first        pages             behind
//          +-----------+------------+-----------------+----------------+
//          | the first | added      | of others (15)  | files          |
//          +-----------+------------+-----------------+----------------+

import type { CapturedGuest } from "./guest.js";
import type { MonitorActivity } from "./monitor.js";

/** No guest frame and no slot of a capture lies there. */
const GFN = 0x400000;
const HVA = 0x10000000;
const PAGE_BYTES = 4096;
/** PAGEVEC_SIZE */
const BATCH_PAGES = 15;

/** The slot, none when the monitor has no pages in the cgroup. */
export function ownSlot({ pages, files }: MonitorActivity): { gfn: number; pages: number; hva: number }[] {
  return pages + files === 0 ? [] : [{ gfn: GFN, pages: pages + BATCH_PAGES + files, hva: HVA }];
}

/** Addresses of the pages of files. They stand as anonymous pages that look unused. */
export function ownFiles({ pages, files }: MonitorActivity): { hva: number; pages: number } {
  return { hva: HVA + (pages + BATCH_PAGES) * PAGE_BYTES, pages: files };
}

/** The monitor while an experiment is repeated. */
export class OwnMemory {
  private added: number;
  private files = 0;

  constructor(
    private readonly guest: CapturedGuest,
    private readonly activity: MonitorActivity,
  ) {
    this.added = activity.first;
  }

  /** Before the guest runs. */
  begin(cpu: number): void {
    const { first, filled, pages } = this.activity;
    this.use(pages, filled, "write", cpu);
    this.use(pages, filled, "dontneed", cpu);
    this.use(0, first, "write", cpu);
  }

  /** Within a step, behind its command. */
  within(step: number, cpu: number): void {
    const own = this.activity.steps.get(step);
    if (own === undefined) return;
    this.readBack(own.reads, cpu);
    this.use(this.added, own.added, "write", cpu);
    this.added += own.added;
    this.write(own.files, cpu);
  }

  /** What the step's counters have besides. */
  counted(step: number, cpu: number): void {
    this.readBack(this.activity.steps.get(step)?.counted ?? [], cpu);
  }

  /** Before the next step. */
  behind(step: number, cpu: number): void {
    const own = this.activity.steps.get(step);
    if (own === undefined) return;
    this.readBack(own.behind, cpu);
    this.readBack(
      own.used.filter((page) => page < this.added),
      cpu,
    );
    this.write(own.recorded, cpu);
  }

  private readBack(pages: readonly number[], cpu: number): void {
    for (const page of pages) this.use(page, 1, "read", cpu);
  }

  private write(files: number, cpu: number): void {
    const at = this.activity.pages + BATCH_PAGES + this.files;
    this.use(at, files, "write", cpu);
    this.use(at, files, "cold", cpu);
    this.files += files;
  }

  private use(start: number, pages: number, what: "read" | "write" | "cold" | "dontneed", cpu: number): void {
    this.guest.adviseAt(GFN + start, what, pages, cpu);
  }
}
