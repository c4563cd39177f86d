// The per-CPU batches in front of the LRU lists (mm.md 4.1): new pages, and pages whose write has ended and that are to be found
// first. Each takes effect for 15 pages at a time, or when this CPU's batches are drained; a page in a batch is held by it.

import type { Host } from "./host.js";
import type { Page } from "./vm.js";
import { grow } from "./workingset.js";

const BATCH = 15;

export class LruBatches {
  private readonly added = new Map<number, Page[]>();
  private readonly rotated = new Map<number, Page[]>();
  private readonly activated = new Map<number, Page[]>();

  constructor(private readonly host: Host) {}

  add(page: Page, cpu: number): void {
    this.append(this.added, page, cpu);
  }

  rotate(page: Page, cpu: number): void {
    this.append(this.rotated, page, cpu);
  }

  /** folio_mark_accessed(): the second use makes a page active, in the batch of new pages at once. */
  mark(page: Page, cpu: number): void {
    if (page.zero) return;
    if (!page.referenced) {
      page.referenced = true;
      return;
    }
    if (page.active) return;
    if (page.vm.lists(page)) this.append(this.activated, page, cpu);
    else if (this.added.get(cpu)?.includes(page)) page.active = true;
    page.referenced = false;
    grow(this.host, page.vm);
  }

  /** lru_add_drain() */
  drain(cpu: number): void {
    for (const batches of [this.added, this.rotated, this.activated]) this.flush(batches, cpu);
  }

  private append(batches: Map<number, Page[]>, page: Page, cpu: number): void {
    const batch = batches.get(cpu) ?? [];
    batches.set(cpu, batch);
    batch.push(page);
    page.batches++;
    if (batch.length === BATCH) this.flush(batches, cpu);
  }

  private flush(batches: Map<number, Page[]>, cpu: number): void {
    const batch = (batches.get(cpu) ?? []).splice(0);
    for (const page of batch) {
      const { vm } = page;
      if (batches === this.added) {
        vm.addToList(page);
        this.host.stats.events(cpu, 1);
      } else if (batches === this.activated) {
        if (!vm.lists(page) || page.active) continue;
        this.host.stats.events(cpu, 3);
        vm.removeFromList(page);
        page.active = true;
        vm.addToList(page);
      } else if (vm.lists(page)) {
        this.host.stats.events(cpu, 2);
        vm.removeFromList(page);
        page.active = false;
        vm.inactive.push(page);
      }
    }
    // An interrupt flushes on the CPU that takes it, whoever runs there.
    const { cpu: running } = this.host;
    this.host.cpu = cpu;
    for (const page of batch.reverse()) {
      page.batches--;
      this.host.freeUnused(page);
    }
    this.host.cpu = running;
  }
}
