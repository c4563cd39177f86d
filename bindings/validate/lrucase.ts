// A host with one process in a memory cgroup on an instance of the core.

import { PagevisorError } from "../errors.js";
import type { LruCapture, LruState } from "./lrufile.js";
import { SwapCase, type SwapCaseCore } from "./swapcase.js";

type Call = (...args: number[]) => number;

/** The functions of the core that a case needs beside those of a swap case. */
interface LruCaseFunctions {
  lrucaseCgroup: Call;
  lrucaseGenerations: Call;
  lrucaseYoungest: Call;
  lrucaseOldest: Call;
  lrucaseListed: Call;
  lrucaseCheck: Call;
  lrucaseJoin: Call;
  lrucaseMax: Call;
  lrucaseReclaim: Call;
  lrucasePlace: Call;
  lrucaseNotes: Call;
  lrucaseForeign: Call;
  lrucaseForeigners: Call;
}

/** What a case runs on: an instance of the core. */
export type LruCaseCore = SwapCaseCore;

/** What `lru` is in a case with generation lists. */
export const MULTI_GENERATION = "multi-generation";

/** One case on a fresh instance. */
export class LruCase {
  private readonly call: LruCaseFunctions;
  private readonly process: SwapCase;

  constructor(core: LruCaseCore, { lru, pages, guest, swap_pages }: LruCapture) {
    this.call = core.call as LruCaseFunctions;
    const device = { type: 0, rotational: false, synchronous: true, slots: swap_pages + 1, prio: 0 };
    this.process = new SwapCase(core, { format: "mm-swap-1", pages, guest, devices: [device] }, 0);
    if (lru === MULTI_GENERATION && this.call.lrucaseGenerations() < 0) {
      throw new PagevisorError("E_TOO_BIG", "the case does not fit an instance of the core");
    }
    this.call.lrucaseCgroup(guest.swappiness);
  }

  /** The process joins the cgroup. */
  join(): void {
    this.call.lrucaseJoin();
  }

  touch(page: number, write: boolean): void {
    this.process.touch(page, write);
  }

  /** Pages are written to memory.max. */
  limit(pages: number): void {
    this.call.lrucaseMax(pages);
  }

  /** Pages are written to memory.reclaim. */
  reclaim(pages: number): void {
    this.call.lrucaseReclaim(pages);
  }

  /** The generations that exist, oldest first: sequence number and pages, head first. */
  generations(): { seq: number; pages: number[] }[] {
    const { lrucaseOldest, lrucaseYoungest, lrucaseListed } = this.call;
    const all: { seq: number; pages: number[] }[] = [];
    for (let seq = lrucaseOldest(); seq <= lrucaseYoungest(); seq++) {
      const pages: number[] = [];
      for (let page = lrucaseListed(seq, 0); page >= 0; page = lrucaseListed(seq, pages.length))
        pages.push(page);
      all.push({ seq, pages });
    }
    return all;
  }

  /** Asserts every invariant of the case's structures, in a build with assertions. */
  check(): void {
    this.call.lrucaseCheck();
  }

  /** Pages whose state differs from that at the last call, as a step's `chg`. */
  changes(): number[][] {
    return this.process.changes();
  }

  /**
   * Sets up lists, batch and notes as a dump shows them, in a case in which nothing has happened yet.
   *
   * @param activated WORKINGSET_ACTIVATE_ANON by then
   */
  setUp(dump: LruState, activated: number): void {
    for (const [page, flags] of [...dump.lists.inactive_anon, ...dump.lists.active_anon])
      this.place(page, flags, 0);
    for (const [page, flags] of dump.batches[0]?.lru_add ?? []) this.place(page, flags, 1);
    const { anon_cost, file_cost, nonresident_age, refaults } = dump;
    this.call.lrucaseNotes(anon_cost, file_cost, nonresident_age, activated, refaults?.[0] ?? 0);
    this.changes();
  }

  private place(page: number, flags: number, batched: number): void {
    if (page === -1) this.call.lrucaseForeign();
    else this.call.lrucasePlace(page, flags, batched);
  }

  /** Pages of other processes join the CPU's batch until there are as many as in the dump. */
  setForeign({ batches }: LruState): void {
    const wanted = (batches[0]?.lru_add ?? []).filter(([page]) => page === -1).length;
    while (this.call.lrucaseForeigners() < wanted) this.call.lrucaseForeign();
  }
}
