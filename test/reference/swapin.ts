// The half of a fault that brings a page back from swap: do_swap_page() (mm.md 3.7). After every wait the pte is looked at again.

import { allocate } from "./alloc.js";
import type { Host } from "./host.js";
import { type Missing, noteHit, readAhead } from "./readahead.js";
import type { Process } from "./time.js";
import { Page, type Vcpu } from "./vm.js";
import { refault } from "./workingset.js";

function stands({ vcpu, gfn, slot }: Missing): boolean {
  return vcpu.vm.swappedTo(gfn) === slot;
}

/** The page, mapped; null when things have changed meanwhile and the fault starts over. */
export function* swappedIn(host: Host, missing: Missing): Process<Page | null> {
  const { vcpu, gfn, slot } = missing;
  if (slot.cached !== null) {
    noteHit(host, vcpu.vm, gfn, slot.cached);
    return yield* fromCache(host, missing, slot.cached, "lock");
  }
  // One user of the slot and no waiting: the swap cache is not needed.
  if (slot.area.device.synchronous) return yield* bypass(host, missing);
  vcpu.needed("major");
  host.stats.events(host.cpu, 1); // PGMAJFAULT
  const own = yield* readAhead(host, missing);
  if (!stands(missing)) return null;
  // Waiting for one's own read is the device's time.
  if (slot.cached !== null) {
    return yield* fromCache(host, missing, slot.cached, slot.cached === own ? "device" : "lock");
  }
  return yield* readAlone(host, missing);
}

function* bypass(host: Host, missing: Missing): Process<Page | null> {
  const { vcpu, gfn, write, slot } = missing;
  const page = new Page(yield* allocate(host, vcpu, vcpu.vm), vcpu.vm, gfn);
  vcpu.spend("cpu", host.costs.swapInCpuNs);
  vcpu.spend("cpu", slot.area.device.synchronousNs(false));
  yield "step";
  if (!stands(missing)) return host.discard(page);
  host.counts.swapIn++;
  vcpu.needed("major");
  host.stats.events(host.cpu, 1);
  refault(host, page, slot.shadow);
  slot.swapped = false;
  host.swap.release(slot, vcpu.cpu!.index);
  page.holders++;
  host.lru.add(page, vcpu.cpu!.index);
  page.vm.map(page, gfn, write, write);
  host.stats.events(host.cpu, 2); // PGFAULT, NR_ANON_MAPPED
  return page;
}

// Without a window: the page is read by itself into the swap cache, locked meanwhile.
function* readAlone(host: Host, missing: Missing): Process<Page | null> {
  const { vcpu, gfn, slot } = missing;
  const page = new Page(yield* allocate(host, vcpu, vcpu.vm), vcpu.vm, gfn);
  vcpu.spend("cpu", host.costs.swapInCpuNs);
  if (!stands(missing) || slot.cached !== null) return host.discard(page);
  refault(host, page, host.enterSwapCache(page, slot));
  page.holders++;
  page.locked = true;
  host.lru.add(page, vcpu.cpu!.index);
  yield "step";
  yield* host.tag(slot.area.device, vcpu);
  host.submitRead(vcpu, page, true);
  host.sleepOn(page, vcpu, "device");
  yield "sleep";
  if (page.locked) yield* settled(host, vcpu, page, "lock");
  return installed(host, missing, page);
}

function* fromCache(
  host: Host,
  missing: Missing,
  page: Page,
  stage: "device" | "lock",
): Process<Page | null> {
  page.holders++;
  yield* settled(host, missing.vcpu, page, stage);
  return installed(host, missing, page);
}

// Waits until nobody reads or evicts the page. `stage` is what the first wait is for; any further one is for others.
function* settled(host: Host, vcpu: Vcpu, page: Page, stage: "device" | "lock"): Process {
  let reason = stage;
  do {
    while (page.locked) {
      host.sleepOn(page, vcpu, reason);
      yield "sleep";
      reason = "lock";
    }
    vcpu.spend("cpu", host.costs.swapCacheHitNs);
    yield "step";
  } while (page.locked);
}

// mm.md 3.7, steps 4 to 9.
function installed(host: Host, missing: Missing, page: Page): Page | null {
  const { vcpu, gfn, write, slot } = missing;
  // A new page may still be in this CPU's batch; who holds it is to be counted.
  if (write && !page.vm.lists(page)) host.lru.drain(vcpu.cpu!.index);
  if (page.slot !== slot || !stands(missing)) {
    host.drop(page);
    return null;
  }
  slot.swapped = false;
  // A write makes the slot's copy worthless; a read keeps it, so that a clean page need not be written again.
  const alone = page.holders === 1 && !page.isolated && page.batches === 0;
  if (host.swap.full || (write && alone)) host.tryFreeSwap(page, vcpu.cpu!.index);
  page.vm.map(page, gfn, write, write);
  host.stats.events(host.cpu, 2);
  vcpu.needed("minor");
  return page;
}
