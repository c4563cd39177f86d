// A fault of the host's page table on behalf of a vCPU, and the allocation of frames: do_anonymous_page(), do_swap_page() (mm.md
// 3.7), do_wp_page(), __alloc_pages() (1.7) and the charge to the cgroup (4.5). After every wait the pte is looked at again.

import type { Host } from "./host.js";
import { invalidateEnd, invalidateStart } from "./notifier.js";
import { directReclaim, MAX_RECLAIM_RETRIES, wakeKswapd } from "./reclaim.js";
import type { Slot } from "./swap.js";
import { OutOfMemory, type Process } from "./time.js";
import { Page, type Present, type Vcpu, type Vm, ZERO_PFN } from "./vm.js";

/** A frame, charged to `vm`, or for a page table with null. */
export function* allocate(host: Host, vcpu: Vcpu, vm: Vm | null): Process<number> {
  const { frames } = host;
  for (let idle = 0; ; ) {
    if (frames.free <= frames.low) wakeKswapd(host, vcpu.clock);
    if (frames.free > frames.min) break;
    if (idle >= MAX_RECLAIM_RETRIES && host.writeback === 0) throw new OutOfMemory(false);
    idle = (yield* directReclaim(host, vcpu, null)) > 0 ? 0 : idle + 1;
  }
  const pfn = frames.take();
  if (vm === null) return pfn;

  for (let idle = 0; vm.usage >= vm.max; ) {
    if (idle >= MAX_RECLAIM_RETRIES && host.writeback === 0) {
      frames.giveBack(pfn);
      throw new OutOfMemory(true);
    }
    idle = (yield* directReclaim(host, vcpu, vm)) > 0 ? 0 : idle + 1;
  }
  vm.usage++;
  return pfn;
}

/** What a fault of the host's page table has found or made: a page, held once more, and whether it may be written. */
export interface Found {
  page: Page;
  writable: boolean;
}

/** Makes `gfn` present, and writable if need be; notes on the vCPU what that took. */
export function* faultIn(host: Host, vcpu: Vcpu, gfn: number, write: boolean): Process<Found> {
  const { vm } = vcpu;
  for (;;) {
    const table = Math.floor(gfn / 512);
    if (!vm.leafTables.has(table)) {
      const pfn = yield* allocate(host, vcpu, null);
      if (vm.leafTables.has(table)) host.frames.giveBack(pfn);
      vm.leafTables.add(table);
      continue;
    }
    const pte = vm.ptes.get(gfn);
    if (pte?.page) {
      if (write && pte.page.zero) {
        yield* copied(host, vcpu, pte);
        continue;
      }
      if (write && !pte.writable) {
        pte.writable = true; // do_wp_page(): the page belongs to this process alone
        vcpu.needed("writeProtect");
      }
      pte.accessed = true;
      if (write) pte.dirty = true;
      pte.page.holders++;
      return { page: pte.page, writable: pte.writable };
    }
    const page =
      pte === undefined
        ? yield* zeroed(host, vcpu, gfn, write)
        : yield* swappedIn(host, vcpu, gfn, write, pte.slot);
    if (page !== null) return { page, writable: write };
  }
}

// A first touch. A read is served by the page of zeroes and takes no frame.
function* zeroed(host: Host, vcpu: Vcpu, gfn: number, write: boolean): Process<Page | null> {
  if (!write) {
    vcpu.spend("alloc", host.costs.minorFaultNs);
    const zeroes = new Page(ZERO_PFN, vcpu.vm, gfn);
    zeroes.holders++;
    install(zeroes, false, false);
    vcpu.needed("minor");
    return zeroes;
  }
  const page = new Page(yield* allocate(host, vcpu, vcpu.vm), vcpu.vm, gfn);
  vcpu.spend("alloc", host.costs.minorFaultNs);
  yield "step";
  if (vcpu.vm.ptes.has(gfn)) return given(host, page);
  page.holders++;
  page.vm.addToList(page);
  install(page, write, true);
  vcpu.needed("minor");
  return page;
}

// wp_page_copy() for the page of zeroes: a page of its own takes the pte over between the notifier's start and end. The fault then
// starts over; so does a fault that finds the pte changed meanwhile.
function* copied(host: Host, vcpu: Vcpu, old: Present): Process {
  const { vm } = vcpu;
  const zeroes = old.page;
  const page = new Page(yield* allocate(host, vcpu, vm), vm, zeroes.gfn);
  vcpu.spend("alloc", host.costs.minorFaultNs);
  yield "step";
  yield* invalidateStart(host, vcpu, zeroes);
  if (vm.ptes.get(zeroes.gfn) === old) {
    vm.addToList(page);
    install(page, true, true);
    vcpu.needed("minor");
  } else {
    given(host, page);
  }
  yield* invalidateEnd(host, vcpu, zeroes);
}

// Another vCPU was faster: the frame goes back, the fault starts over.
function given(host: Host, page: Page): null {
  host.free(page);
  return null;
}

function install(page: Page, write: boolean, writable: boolean): void {
  page.mapped = true;
  page.vm.ptes.set(page.gfn, { page, slot: null, writable, accessed: true, dirty: write });
}

function* swappedIn(host: Host, vcpu: Vcpu, gfn: number, write: boolean, slot: Slot): Process<Page | null> {
  if (slot.cached !== null) {
    const page = slot.cached;
    page.holders++;
    yield* settled(host, vcpu, page);
    return fromCache(host, vcpu, page, write, slot);
  }
  const { device } = slot.area;
  const page = new Page(yield* allocate(host, vcpu, vcpu.vm), vcpu.vm, gfn);
  vcpu.spend("cpu", host.costs.swapInCpuNs);
  if (device.synchronous) {
    // One user of the slot and no waiting: the swap cache is not needed.
    vcpu.spend("cpu", device.synchronousNs(false));
    yield "step";
    if (vcpu.vm.swappedTo(gfn) !== slot) return given(host, page);
    host.counts.swapIn++;
    vcpu.needed("major");
    slot.swapped = false;
    host.swap.release(slot);
    page.holders++;
    page.vm.addToList(page);
    install(page, write, write);
    return page;
  }
  if (vcpu.vm.swappedTo(gfn) !== slot || slot.cached !== null) return given(host, page);
  yield* read(host, vcpu, page, slot);
  if (page.locked) yield* settled(host, vcpu, page);
  return fromCache(host, vcpu, page, write, slot);
}

// Reads a page into the swap cache; it is locked meanwhile.
function* read(host: Host, vcpu: Vcpu, page: Page, slot: Slot): Process {
  const { device } = slot.area;
  host.enterSwapCache(page, slot);
  page.holders++;
  page.locked = true;
  page.vm.addToList(page);
  yield "step";
  host.counts.swapIn++;
  vcpu.needed("major");
  const served = (time: number, start: number): void => {
    vcpu.sleptUntil("queue", start);
    device.complete(time);
    host.unlock(page, time);
  };
  device.submit(vcpu.clock, { write: false, served });
  host.sleepOn(page, vcpu, "device");
  yield "sleep";
}

// Waits until nobody reads or evicts the page.
function* settled(host: Host, vcpu: Vcpu, page: Page): Process {
  do {
    while (page.locked) {
      host.sleepOn(page, vcpu, "lock");
      yield "sleep";
    }
    vcpu.spend("cpu", host.costs.swapCacheHitNs);
    yield "step";
  } while (page.locked);
}

// mm.md 3.7, steps 4 to 9.
function fromCache(host: Host, vcpu: Vcpu, page: Page, write: boolean, slot: Slot): Page | null {
  if (page.slot !== slot || vcpu.vm.swappedTo(page.gfn) !== slot) {
    host.drop(page);
    return null;
  }
  slot.swapped = false;
  // A write makes the slot's copy worthless; a read keeps it, so that a clean page need not be written again.
  const alone = page.holders === 1 && !page.isolated;
  if (host.swap.full || (write && alone)) host.tryFreeSwap(page);
  install(page, write, write);
  vcpu.needed("minor");
  return page;
}
