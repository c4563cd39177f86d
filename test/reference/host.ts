// The host of the reference model: what its actors share, and the small operations on pages that reclaim and faults both need.

import type { CostKey } from "#dist/costkeys.js";
import type { Device } from "./device.js";
import { Frames } from "./frames.js";
import { LruBatches } from "./lrubatch.js";
import { MemcgStats } from "./memcgstat.js";
import { Stocks } from "./stock.js";
import type { Swap } from "./swap.js";
import type { Slot } from "./swaparea.js";
import type { Actor, Process } from "./time.js";
import type { Page, Vcpu, Vm } from "./vm.js";
import { Window } from "./window.js";
import { Lruvec, type Shadow } from "./workingset.js";

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
  /** The window of pages read ahead by slot. */
  readonly window = new Window(0);
  readonly lru = new LruBatches(this);
  readonly lruvec = new Lruvec();
  readonly stocks = new Stocks();
  readonly stats: MemcgStats;
  readonly counts = {
    scanned: 0,
    reclaimedDirect: 0,
    reclaimedKswapd: 0,
    swapOut: 0,
    swapIn: 0,
    swapAllocFailed: 0,
    refaults: 0,
    workingsetActivated: 0,
    workingsetRestored: 0,
  };

  constructor(
    pages: number,
    cpus: number,
    watermarkScaleFactor: number,
    readonly numaNodes: number,
    readonly swappiness: number,
    readonly pageClusterPages: number,
    readonly costs: Costs,
    readonly swap: Swap,
    readonly vms: Vm[],
    /** Wakes a sleeping actor at a time. */
    readonly wake: (actor: Actor, time: number) => void,
    readonly wakeKswapd: (time: number) => void,
  ) {
    this.stats = new MemcgStats(cpus);
    swap.flushed = (cpu, slots) => this.stats.events(cpu, slots);
    swap.reclaim = (slot, cpu) => this.reclaimSlot(slot, cpu);
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
    if (page.vm.lists(page)) {
      page.vm.removeFromList(page);
      this.stats.events(this.cpu, 1);
    }
    page.vm.usage--;
    this.frames.giveBack(this.cpu, page.pfn);
  }

  /** A fault lets go of a page; nobody else may hold it any more. */
  drop(page: Page): void {
    page.holders--;
    if (page.zero) return;
    this.freeUnused(page);
  }

  /** Frees a page that nobody holds any more. */
  freeUnused(page: Page): void {
    if (this.held(page)) return;
    this.stats.events(this.cpu, 1); // PGPGOUT
    this.free(page);
  }

  held(page: Page): boolean {
    return page.holders > 0 || page.mapped || page.slot !== null || page.isolated || page.batches > 0;
  }

  /** The work for a page was in vain, nobody has seen it: things have changed, and the fault starts over. */
  discard(page: Page): null {
    this.free(page);
    return null;
  }

  /** Returns what the last page to leave the slot has left. */
  enterSwapCache(page: Page, slot: Slot): Shadow | null {
    const { shadow } = slot;
    slot.shadow = null;
    this.stats.events(this.cpu, 1); // NR_SWAPCACHE
    page.slot = slot;
    slot.cached = page;
    slot.reserved = false;
    return shadow;
  }

  leaveSwapCache(page: Page, cpu: number, shadow: Shadow | null = null): void {
    const slot = page.slot!;
    this.stats.events(cpu, 1);
    slot.shadow = shadow;
    page.slot = null;
    page.readahead = false;
    slot.cached = null;
    this.swap.release(slot, cpu);
  }

  /** folio_free_swap(): a page of the swap cache gives up a slot that no pte needs; it is then the only copy. */
  tryFreeSwap(page: Page, cpu: number): boolean {
    if (page.slot === null || page.writeback || page.slot.swapped) return false;
    this.leaveSwapCache(page, cpu);
    page.dirty = true;
    return true;
  }

  // __try_to_reclaim_swap()
  private reclaimSlot({ cached: page }: Slot, cpu: number): boolean {
    if (page === null || page.locked) return false;
    page.holders++;
    const freed = this.tryFreeSwap(page, cpu);
    this.drop(page);
    return freed;
  }

  /** The read of a page of the swap cache begins, the device having a tag; `reader` if the vCPU is going to wait for it. */
  submitRead(vcpu: Vcpu, page: Page, reader: boolean): void {
    const { device } = page.slot!.area;
    this.counts.swapIn++;
    if (device.synchronous) {
      vcpu.spend("cpu", device.synchronousNs(false));
      this.unlock(page, vcpu.clock);
      return;
    }
    const served = (time: number, start: number): void => {
      // The wait is split; a reader that has not begun to wait still reads ahead.
      if (reader && vcpu.state === "asleep" && vcpu.sleepStage === "device") vcpu.sleptUntil("queue", start);
      this.complete(device, time);
      this.unlock(page, time);
    };
    device.submit(vcpu.clock, { write: false, served });
  }
}
