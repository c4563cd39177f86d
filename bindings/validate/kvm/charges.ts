// What the cgroup of a capture is charged for besides the pages that the model knows of: the monitor's own memory, and the kernel's objects and tables.
// It is an input where it decides how many pages a limit leaves room for, and reclaim tells it: a step can charge so many pages until the limit is met
// for the first time, and from then on, a page at a time, as many as each reclaim has freed. Where it charged more, others gave back what they had been
// charged for (memory of the kernel's that CPUs keep in stock, which goes when another cgroup's task runs there); where fewer, the kernel took some.

import type { CapturedStep } from "./captured.js";
import type { SlotPlace } from "./quantities.js";
import { fieldOf, type TraceEvent } from "./tracetext.js";

const PAGE_BYTES = 4096;
const TABLE_PAGES = 512;

/** What a capture tells of one step. */
export interface StepCharges {
  /** Pages that can be charged in the step until the limit is met for the first time; unknown if it is not. */
  room: number | undefined;
  changes: ChargeChange[];
}

/** The cgroup is charged for so many pages more (below 0: fewer) than the model knows, from the fault of that number of the step on. */
export interface ChargeChange {
  fault: number;
  pages: number;
}

/** Follows what the guest's pages are charged, step by step. */
export class CapturedCharges {
  /** What has been charged before: guest frames, and tables below 0. */
  private readonly known = new Set<number>();
  /** Pages may have come or gone in ways that the events do not show. */
  private doubtful: boolean;

  constructor(
    private readonly slots: readonly SlotPlace[],
    hugePages: boolean,
  ) {
    this.doubtful = hugePages;
  }

  /** Steps are told in order. */
  step({ command }: CapturedStep, events: readonly TraceEvent[]): StepCharges {
    const words = command.split(/\s+/);
    if (words[0] === "madvise") this.advised(words);
    if (words[0] === "hostaccess" || words[0] === "fill") this.touched(words);
    if (!words[0]!.startsWith("access")) return { room: undefined, changes: [] };
    return this.accesses(words, events);
  }

  private accesses(words: readonly string[], events: readonly TraceEvent[]): StepCharges {
    // A guest that reads what nobody wrote maps the page of zeroes, which is not charged.
    const writes = words[words[0] === "access2" ? 6 : 7] === "w";
    const changes: ChargeChange[] = [];
    let room: number | undefined;
    let charged = 0;
    let freed = 0;
    let fault = 0;
    let faults = 0;
    let read = false;
    let gfn = 0;
    const come = (what: number): void => {
      if (!this.known.has(what)) charged += 1;
      this.known.add(what);
    };
    for (const { name, fields } of events) {
      if (name === "mm_vmscan_memcg_reclaim_begin") {
        if (room === undefined) room = charged;
        else if (charged !== freed) changes.push({ fault, pages: freed - charged });
        charged = 0;
        freed = 0;
        fault = faults;
      } else if (name === "mm_vmscan_lru_shrink_inactive") {
        freed += fieldOf({ fields }, "nr_reclaimed=", 10);
      } else if (name === "swap_readpage") {
        charged += 1;
        read = true;
        this.known.add(gfn);
      } else if (name === "kvm_page_fault") {
        faults += 1;
        read = false;
        gfn = Math.floor(fieldOf({ fields }, "address ") / PAGE_BYTES);
        const table = this.tableOf(gfn);
        if (table !== undefined) come(table);
      } else if (name === "kvm_mmu_set_spte") {
        if (read) this.known.add(gfn);
        else if (writes) come(gfn);
      }
    }
    return { room, changes: this.doubtful || !onOneCpu(words, events) ? [] : changes };
  }

  private tableOf(gfn: number): number | undefined {
    const slot = this.slots.find((each) => gfn >= each.gfn && gfn < each.gfn + each.pages);
    if (slot === undefined) return undefined;
    return -1 - Math.floor((slot.hva / PAGE_BYTES + gfn - slot.gfn) / TABLE_PAGES);
  }

  // madvise <slot> <start> <count> <advice>: pages that are given up or merged go at moments that no event shows.
  private advised([, slot, start, count, advice]: readonly string[]): void {
    if (advice === "free" || advice === "mergeable") this.doubtful = true;
    if (advice === "dontneed") for (const gfn of this.frames(slot, start, count)) this.known.delete(gfn);
  }

  // hostaccess|fill <slot> <start> <count> [r|w]
  private touched([word, slot, start, count, mode]: readonly string[]): void {
    if (word === "hostaccess" && mode === "r") return;
    for (const gfn of this.frames(slot, start, count)) {
      this.known.add(gfn);
      this.known.add(this.tableOf(gfn) ?? gfn);
    }
  }

  private frames(slot?: string, start?: string, count?: string): number[] {
    const first = this.slots.find(({ name }) => name === `slot${slot}`)?.gfn;
    if (first === undefined) return [];
    return Array.from({ length: Number(count) }, (_, page) => first + Number(start) + page);
  }
}

// What a CPU has in stock stays there when the thread moves on, and each of two vCPUs charges on a CPU of its own: the model follows both.
function onOneCpu([word]: readonly string[], events: readonly TraceEvent[]): boolean {
  return word === "access" && new Set(events.map(({ cpu }) => cpu)).size <= 1;
}
