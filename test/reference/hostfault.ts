// A fault of the host's page table on behalf of a vCPU: do_anonymous_page(), do_swap_page() (mm.md 3.7) and do_wp_page(). After every
// wait the pte is looked at again.

import { allocate } from "./alloc.js";
import type { Host } from "./host.js";
import type { Slot } from "./swap.js";
import type { Process } from "./time.js";
import { Page, type Vcpu } from "./vm.js";

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
      if (vm.leafTables.has(table)) host.frames.giveBack(host.cpu, pfn);
      vm.leafTables.add(table);
      continue;
    }
    const pte = vm.ptes.get(gfn);
    if (pte?.page) {
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
    // Only a first touch makes a page writable that is merely read.
    if (page !== null) return { page, writable: write || pte === undefined };
  }
}

// A first touch. Left out as in the core: the zero page, a first read allocates too.
function* zeroed(host: Host, vcpu: Vcpu, gfn: number, write: boolean): Process<Page | null> {
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
  yield* host.tag(device, vcpu);
  host.counts.swapIn++;
  vcpu.needed("major");
  const served = (time: number, start: number): void => {
    vcpu.sleptUntil("queue", start);
    host.complete(device, time);
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
