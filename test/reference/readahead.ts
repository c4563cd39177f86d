// Reading ahead from swap (mm.md 3.6): which pages are read along with the one that is missing. As long as no area is rotational the
// window follows the addresses of the mapping, otherwise the slots. The pages are set aside one after another, and their reads begin
// together at the end.

import { allocate } from "./alloc.js";
import type { Host } from "./host.js";
import type { Slot } from "./swaparea.js";
import type { Process } from "./time.js";
import { Page, type Vcpu, type Vm } from "./vm.js";
import { refault } from "./workingset.js";

const HITS_MAX = 63;
const TABLE = 512;

/** An access to a page that is in swap. */
export interface Missing {
  vcpu: Vcpu;
  gfn: number;
  write: boolean;
  /** What the pte held when the fault began. */
  slot: Slot;
}

/** A fault has found `page` in the swap cache. */
export function noteHit(host: Host, vm: Vm, gfn: number, page: Page): void {
  const { readahead: ahead } = page;
  page.readahead = false;
  if (ahead) host.swap.met.readAheadWanted++;
  if (host.swap.rotational) {
    if (ahead) host.window.hits++;
    return;
  }
  if (ahead) vm.window.hits = Math.min(vm.window.hits + 1, HITS_MAX);
  vm.window.last = gfn;
}

// The aligned stretch of slots around the fault's.
function bySlot(host: Host, { slot }: Missing): number[] {
  const { window, pageClusterPages: most } = host;
  if (most === 1) return [];
  // Where the last fault was counts only if its window had no hits.
  const { hits } = window;
  const pages = window.next(slot.offset, most);
  if (hits === 0) window.last = slot.offset;
  if (pages === 1) return [];
  const first = slot.offset - (slot.offset % pages);
  return range(Math.max(first, 1), Math.min(first + pages, slot.area.size + 1));
}

// From the fault on in the direction of the last two, or around it; within the mapping and one page table.
function byAddress(host: Host, { vcpu: { vm }, gfn }: Missing): number[] {
  const { window } = vm;
  if (host.pageClusterPages === 1) return [];
  const { last } = window;
  const pages = window.next(gfn, host.pageClusterPages);
  window.last = gfn;
  if (pages === 1) return [];
  let back = Math.floor((pages - 1) / 2);
  if (last !== null && gfn === last + 1) back = 0;
  if (last !== null && gfn === last - 1) back = pages - 1;
  const table = gfn - (gfn % TABLE);
  return range(Math.max(gfn - back, table), Math.min(gfn - back + pages, table + TABLE, vm.pages));
}

function range(first: number, end: number): number[] {
  return Array.from({ length: end - first }, (_, index) => first + index);
}

/** Reads the window around a missing page. Returns the missing page itself if this was what read it. */
export function* readAhead(host: Host, missing: Missing): Process<Page | null> {
  const { vcpu, slot: wanted } = missing;
  const slots = host.swap.rotational;
  const slotAt = (at: number): Slot | null => (slots ? wanted.area.slot(at) : vcpu.vm.swappedTo(at));
  const unread = (slot: Slot | null): slot is Slot => slot?.swapped === true && slot.cached === null;
  const plug: Page[] = [];
  let own: Page | null = null;
  const places = slots ? bySlot(host, missing) : byAddress(host, missing);
  for (const at of places) {
    const before = slotAt(at);
    if (!unread(before)) continue;
    // Whose page it is pays for it.
    const vm = before.owner!;
    const page = new Page(yield* allocate(host, vcpu, vm), vm, at);
    const slot = slotAt(at);
    if (unread(slot) && slot.owner === vm) {
      refault(host, page, host.enterSwapCache(page, slot));
      page.locked = true;
      page.holders++;
      page.readahead = slot !== wanted;
      if (slot === wanted) own = page;
      else host.swap.met[slots ? "readAheadBySlot" : "readAheadByAddress"]++;
      host.lru.add(page, vcpu.cpu!.index);
      plug.push(page);
    } else {
      if (unread(slot)) host.swap.met.slotsChangedHands++;
      host.discard(page);
    }
    vcpu.spend("cpu", host.costs.swapInCpuNs);
    yield "step";
  }
  for (const page of plug) {
    yield* host.tag(page.slot!.area.device, vcpu);
    host.submitRead(vcpu, page, page === own);
    host.drop(page);
  }
  if (places.length > 0) host.lru.drain(vcpu.cpu!.index);
  return own;
}
