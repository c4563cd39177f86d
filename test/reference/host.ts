// The host of the reference model: what its actors share, and the small operations on pages that reclaim and faults both need.

import type { CostKey } from "#dist/costkeys.js";
import { Frames } from "./frames.js";
import type { Slot, Swap } from "./swap.js";
import type { Actor } from "./time.js";
import type { Page, Vm } from "./vm.js";

export type Costs = Record<CostKey, number>;

export class Host {
  readonly frames: Frames;
  /** Pages whose write has not ended. */
  writeback = 0;
  kswapdAsleep = true;
  /** Runs of kswapd in a row that freed nothing. */
  kswapdFailures = 0;
  /** Reclaimers that wait for a write to end. */
  readonly throttled: Actor[] = [];
  readonly counts = {
    scanned: 0,
    reclaimedDirect: 0,
    reclaimedKswapd: 0,
    swapOut: 0,
    swapIn: 0,
    swapAllocFailed: 0,
  };

  constructor(
    pages: number,
    watermarkScaleFactor: number,
    readonly swappiness: number,
    readonly costs: Costs,
    readonly swap: Swap,
    readonly vms: Vm[],
    /** Wakes a sleeping actor at a time. */
    readonly wake: (actor: Actor, time: number) => void,
    readonly wakeKswapd: (time: number) => void,
  ) {
    this.frames = new Frames(pages, watermarkScaleFactor);
  }

  unlock(page: Page, time: number): void {
    page.locked = false;
    for (const actor of page.waiters.splice(0)) this.wake(actor, time);
  }

  /** The actor goes to sleep until the page is unlocked. */
  sleepOn(page: Page, actor: Actor, stage: "lock" | "device"): void {
    page.waiters.push(actor);
    actor.sleep(stage);
  }

  /** The page's frame becomes free. */
  free(page: Page): void {
    page.vm.removeFromList(page);
    page.vm.usage--;
    this.frames.giveBack(page.pfn);
  }

  /** A fault lets go of a page; nobody else may hold it any more. */
  drop(page: Page): void {
    page.holders--;
    if (page.zero) return;
    const held = page.holders > 0 || page.mapped || page.slot !== null || page.isolated;
    if (!held) this.free(page);
  }

  enterSwapCache(page: Page, slot: Slot): void {
    page.slot = slot;
    slot.cached = page;
  }

  leaveSwapCache(page: Page): void {
    const slot = page.slot!;
    page.slot = null;
    slot.cached = null;
    this.swap.release(slot);
  }

  /** folio_free_swap(): a page of the swap cache gives up a slot that no pte needs; it is then the only copy. */
  tryFreeSwap(page: Page): void {
    if (page.slot === null || page.writeback || page.slot.swapped) return;
    this.leaveSwapCache(page);
    page.dirty = true;
  }
}
