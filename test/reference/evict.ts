// One isolated page under reclaim, after the table of mm.md 4.4 (rows that need file pages, huge pages or pins left out).

import type { Host } from "./host.js";
import { ageSecondary, invalidateEnd, invalidateStart } from "./notifier.js";
import type { Actor, Process } from "./time.js";
import type { Page, Vm } from "./vm.js";
import { evicted } from "./workingset.js";

/** "write": kept, and its write goes to the plug. */
export type Outcome = "freed" | "keep" | "write" | "activate";

/** What reclaim is at. */
export interface Batch {
  /** The cgroup over its limit, null for the host. */
  memcg: Vm | null;
  /** Pages of the present batch that were written. */
  written: number;
}

/** folio_referenced(): looks at and clears the accessed bits of both page tables. */
export function young(host: Host, actor: Actor, page: Page): boolean {
  const pte = page.vm.ptes.get(page.gfn)!;
  const primary = pte.page !== null && pte.accessed;
  if (pte.page !== null) pte.accessed = false;
  const secondary = ageSecondary(page);
  actor.spend("reclaim", host.costs.ageRmapPageNs);
  return primary || secondary;
}

export function* evict(host: Host, actor: Actor, page: Page, sc: Batch): Process<Outcome> {
  if (page.locked) return "keep"; // row 1
  page.locked = true;
  if (page.writeback) {
    page.reclaim = true; // row 6
    return activate(host, actor, page);
  }
  // Row 8: the first use since the last look earns a second chance, the second one the active list.
  const before = page.referenced;
  page.referenced = page.mapped && young(host, actor, page);
  if (page.referenced && before) return activate(host, actor, page);
  if (page.referenced) {
    host.unlock(page, actor.clock);
    return "keep";
  }
  if (page.slot === null) {
    const slot = host.swap.take(actor.cpu!.index);
    if (slot === null) {
      host.counts.swapAllocFailed++;
      return activate(host, actor, page); // row 13
    }
    host.stats.events(host.cpu, 1); // MEMCG_SWAP
    host.enterSwapCache(page, slot);
    slot.owner = page.vm;
    page.dirty = true;
  }
  yield "step";
  if (page.mapped) yield* unmap(host, actor, page); // row 14
  return yield* pageout(host, actor, page, sc);
}

function activate(host: Host, actor: Actor, page: Page): Outcome {
  if (host.swap.full) host.tryFreeSwap(page, actor.cpu!.index);
  page.active = true;
  host.stats.events(host.cpu, 1); // PGACTIVATE
  host.unlock(page, actor.clock);
  return "activate";
}

function* unmap(host: Host, actor: Actor, page: Page): Process {
  const { vm, gfn } = page;
  const slot = page.slot!;
  yield* invalidateStart(host, actor, page);
  const pte = vm.ptes.get(gfn)!;
  if (pte.page !== null && pte.dirty) page.dirty = true;
  vm.ptes.set(gfn, { page: null, slot });
  slot.swapped = true;
  page.mapped = false;
  host.stats.events(host.cpu, 1); // NR_ANON_MAPPED
  actor.spend("reclaim", host.costs.swapOutCpuNs);
  yield "step";
  yield* invalidateEnd(host, actor, page);
}

// Rows 17 and 20.
function* pageout(host: Host, actor: Actor, page: Page, sc: Batch): Process<Outcome> {
  const { device } = page.slot!.area;
  if (page.dirty) {
    if (page.holders > 0 || page.batches > 0) {
      host.unlock(page, actor.clock);
      return "keep";
    }
    page.dirty = false;
    host.counts.swapOut++;
    sc.written++;
    host.stats.events(host.cpu, 1); // NR_WRITEBACK
    if (!device.synchronous) {
      page.writeback = true;
      page.reclaim = true;
      host.writeback++;
      host.unlock(page, actor.clock);
      return "write";
    }
    host.stats.events(host.cpu, 1);
    actor.spend("reclaim", device.synchronousNs(true));
    yield "step";
  }
  if (page.holders > 0 || page.dirty || page.batches > 0) {
    host.unlock(page, actor.clock);
    return "keep";
  }
  host.leaveSwapCache(page, actor.cpu!.index, evicted(host, page, sc.memcg));
  host.unlock(page, actor.clock);
  host.free(page);
  return "freed";
}
