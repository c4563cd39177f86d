// A fault of the host's page table on behalf of a vCPU: do_anonymous_page() and do_wp_page(); swapin.ts has do_swap_page(). After
// every wait the pte is looked at again.

import { allocate } from "./alloc.js";
import type { Host } from "./host.js";
import { invalidateEnd, invalidateStart } from "./notifier.js";
import { swappedIn } from "./swapin.js";
import type { Process } from "./time.js";
import { Page, type Present, type Vcpu, ZERO_PFN } from "./vm.js";

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
      const pfn = yield* allocate(host, vcpu, vm, "process");
      if (vm.leafTables.has(table)) {
        host.frames.giveBack(host.cpu, pfn);
        if (vm.charges("process")) {
          vm.usage--;
          host.stats.events(host.cpu, 2);
        }
      }
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
        host.stats.events(host.cpu, 1); // PGFAULT
      }
      pte.accessed = true;
      if (write) pte.dirty = true;
      pte.page.holders++;
      return { page: pte.page, writable: pte.writable };
    }
    const page =
      pte === undefined
        ? yield* zeroed(host, vcpu, gfn, write)
        : yield* swappedIn(host, { vcpu, gfn, write, slot: pte.slot });
    if (page !== null) return { page, writable: write };
  }
}

// A first touch. A read is served by the page of zeroes and takes no frame.
function* zeroed(host: Host, vcpu: Vcpu, gfn: number, write: boolean): Process<Page | null> {
  if (!write) {
    vcpu.spend("alloc", host.costs.minorFaultNs);
    const zeroes = new Page(ZERO_PFN, vcpu.vm, gfn);
    zeroes.holders++;
    vcpu.vm.map(zeroes, gfn, false, false);
    host.stats.events(host.cpu, 1); // PGFAULT
    vcpu.needed("minor");
    return zeroes;
  }
  const page = new Page(yield* allocate(host, vcpu, vcpu.vm), vcpu.vm, gfn);
  vcpu.spend("alloc", host.costs.minorFaultNs);
  yield "step";
  if (vcpu.vm.ptes.has(gfn)) return host.discard(page);
  page.holders++;
  host.lru.add(page, vcpu.cpu!.index);
  page.vm.map(page, gfn, write, true);
  host.stats.events(host.cpu, 2); // PGFAULT, NR_ANON_MAPPED
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
    vm.map(page, page.gfn, true, true);
    host.stats.events(host.cpu, 2);
    host.lru.add(page, vcpu.cpu!.index);
    vcpu.needed("minor");
  } else {
    host.discard(page);
  }
  yield* invalidateEnd(host, vcpu, zeroes);
}
