// The host of the reference model: what its actors share, and the small operations on pages that reclaim and faults both need.

import type { CostKey } from "#dist/costkeys.js";
import type { Device } from "./device.js";
import { Frames } from "./frames.js";
import type { Slot, Swap } from "./swap.js";
import type { Actor, Process } from "./time.js";
import type { Page, Vm } from "./vm.js";

export type Costs = Record<CostKey, number>;

export class Host {
  readonly frames: Frames;
  /** Number of the CPU on which the present step runs. */
  cpu = 0;
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
    cpus: number,
    watermarkScaleFactor: number,
    readonly swappiness: number,
    readonly costs: Costs,
    readonly swap: Swap,
    readonly vms: Vm[],
    /** Wakes a sleeping actor at a time. */
    readonly wake: (actor: Actor, time: number) => void,
    readonly wakeKswapd: (time: number) => void,
  ) {
    this.frames = new Frames(pages, cpus, watermarkScaleFactor, (pfn) => this.onLru(pfn));
  }

  private onLru(pfn: number): boolean {
    return this.vms.some(({ inactive, active }) => [...inactive, ...active].some((page) => page.pfn === pfn));
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

  /** Waits until the device can take one more request. */
  *tag(device: Device, actor: Actor): Process {
    while (!device.hasTag) {
      device.tagWaiters.push(actor);
      actor.sleep("queue");
      yield "sleep";
    }
  }

  /** A request of the device has been served. */
  complete(device: Device, time: number): void {
    device.complete(time);
    const waiter = device.tagWaiters.shift();
    if (waiter !== undefined) this.wake(waiter, time);
  }

  /** The page's frame becomes free. */
  free(page: Page): void {
    page.vm.removeFromList(page);
    page.vm.usage--;
    this.frames.giveBack(this.cpu, page.pfn);
  }

  /** A fault lets go of a page; nobody else may hold it any more. */
  drop(page: Page): void {
    page.holders--;
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
