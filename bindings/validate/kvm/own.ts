// The monitor's own memory on the machine: a slot that no guest touches, in which the monitor does what it did in the capture.
//
// pages    0           first        pages
//          +-----------+------------+----------------+
//          | the first | added      | files          |
//          +-----------+------------+----------------+

import { type CapturedGuest, VM } from "./guest.js";
import type { MonitorActivity } from "./monitor.js";

/** No guest frame and no slot of a capture lies there. */
const GFN = 0x400000;
const HVA = 0x10000000;
const PAGE_BYTES = 4096;

/** The slot, none when the monitor has no pages in the cgroup. */
export function ownSlot({ pages, files }: MonitorActivity): { gfn: number; pages: number; hva: number }[] {
  return pages + files === 0 ? [] : [{ gfn: GFN, pages: pages + files, hva: HVA }];
}

/**
 * Changes of counters that the monitor's system calls make between two steps. Memory for the kernel's own objects is counted in bytes, so that any of
 * it is enough for the counters to be brought up to date by the next one who wants them: when the monitor reads memory.stat, for which the kernel
 * takes a buffer, and when it reclaims next, because that buffer has been given back. Each stands as a read of a page of zeroes. That they are
 * enough both times is an assumption: no event of a capture shows them, and the number only has to be above what makes two CPUs' counters due.
 */
const KERNEL_CHANGES = 256;
/** PAGEVEC_SIZE */
const BATCH_PAGES = 15;

/** The VM whose monitor stands for all others on the host: its pages stand in the same batch of new pages. */
export const OTHERS = "others";

/** Pages of that VM: those of the batch, then those of zeroes. */
export function othersPages({ steps }: MonitorActivity): number {
  return BATCH_PAGES + 2 * steps.size * KERNEL_CHANGES;
}

/** Addresses of the pages of files. They stand as anonymous pages that look unused. */
export function ownFiles({ pages, files }: MonitorActivity): { hva: number; pages: number } {
  return { hva: HVA + pages * PAGE_BYTES, pages: files };
}

/** The monitor while an experiment is repeated. */
export class OwnMemory {
  private added: number;
  private files = 0;
  private changes = 0;

  constructor(
    private readonly guest: CapturedGuest,
    private readonly activity: MonitorActivity,
  ) {
    this.added = activity.first;
  }

  /** Before the guest runs. */
  begin(cpu: number): void {
    const { first, filled } = this.activity;
    if (filled > 0) this.guest.machine.advise(OTHERS, "write", { gfn: 0, pages: filled }, { cpu });
    this.use(0, first, "write", cpu);
  }

  /** Before a step. */
  before(step: number, cpu: number): void {
    const room = this.activity.steps.get(step)?.room;
    if (room !== undefined) this.guest.leaveRoom(room, cpu);
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
    this.readStat(cpu);
    this.write(own.recorded, cpu);
  }

  private readStat(cpu: number): void {
    this.kernelChanges(cpu);
    this.guest.machine.memoryStat(VM);
    this.kernelChanges(cpu);
  }

  private kernelChanges(cpu: number): void {
    if (this.activity.pages === 0) return;
    const gfn = BATCH_PAGES + this.changes * KERNEL_CHANGES;
    this.guest.machine.advise(OTHERS, "read", { gfn, pages: KERNEL_CHANGES }, { cpu });
    this.changes += 1;
  }

  private readBack(pages: readonly number[], cpu: number): void {
    for (const page of pages) this.use(page, 1, "read", cpu);
  }

  private write(files: number, cpu: number): void {
    const at = this.activity.pages + this.files;
    this.use(at, files, "file", cpu);
    this.files += files;
  }

  private use(start: number, pages: number, what: "read" | "write" | "file", cpu: number): void {
    this.guest.adviseAt(GFN + start, what, pages, cpu);
  }
}
