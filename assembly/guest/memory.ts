import { dropAtOnce } from "../kvm/notifier";
import { gfnToIndex, vmPages } from "../kvm/vm";
import { arenaReserve, PART_FRAMES } from "../memory/arena";
import { PFN_BASE, PFN_NONE } from "../memory/layout";
import { checkBuddy } from "../mm/buddy";
import { GFP_USER_PAGE, ZONE_DMA, ZONE_DMA32, ZONE_NORMAL } from "../mm/gfp";
import { mmAddZone, mmCreate, mmFree, mmLayout, mmZoneAt, mmZones } from "../mm/instance";
import { checkList, listAddTail, listHead, listLength, listRemove } from "../mm/list";
import { LIST_CACHE, pageIndex, pageOf, pagePrivate, pageRefs, setPageOwner } from "../mm/page";
import {
  allocPagesNoReclaim,
  checkBlocks,
  drainAllPages,
  fastFlags,
  freePages,
  pageFromFreelist,
  pcpSetup,
  zoneReleaseAll,
} from "../mm/pagealloc";
import { checkPcp, pcpAllowed } from "../mm/pcp";
import { hostBalanced, watermarksSetAll } from "../mm/watermark";
import { zoneCpus, zoneCreate, zoneStart } from "../mm/zone";
import { actorClock, actorSpend, STAGE_CPU } from "../sim/actor";
import { COST_BUDDY_ALLOC_NS, COST_BUDDY_SLOW_NS, COST_PCP_ALLOC_NS, cost } from "../sim/costs";
import {
  checkBooks,
  GUEST_CACHE_DROPPED,
  GUEST_FAULTS,
  guestCountAdd,
  noteAlloc,
  noteBlock,
  noteFree,
  noteIsolated,
  noteReleased,
} from "./books";
import {
  FREE_ORACLE,
  GUEST_CACHE,
  GUEST_CPUS,
  GUEST_TABLE,
  GUEST_VPNS,
  guestCreate,
  guestDesign,
  guestHints,
  guestMm,
  guestOwe,
  guestPay,
  guestVm,
  pfnToGfn,
} from "./guest";
import { oomSleeps } from "./oom";
import { HINT_ORDER, HINT_PAGES, hintsLayout, hintsReturn } from "./pagehints";

// A guest's own memory management: an instance of mm/ over the guest's frames, the page table of its tasks, its page cache. Zones as a PC
// has them: DMA below 16 MiB, DMA32 below 4 GiB, Normal above.
// Left out: the guest's swap, reclaim other than of its page cache, memory that khugepaged keeps free, page tables in guest memory.

/** No frame yet: the task sleeps, and goes on with oomSleepsOn() when it is woken. */
export const PFN_LATER: u32 = 0xffffffff;

// PAGE_ALLOC_COSTLY_ORDER: for larger blocks nobody is asked to give way.
const COSTLY_ORDER: u32 = 3;

const ZONE_DMA_END: u32 = 4096;
const ZONE_DMA32_END: u32 = 1 << 20;

/** Gives VM `vm` memory management of its own for tasks with `vpns` pages together; 0 when memory is exhausted. */
export function guestMemoryCreate(vm: usize, vcpus: u32, vpns: u32): usize {
  const mm = mmCreate(PFN_BASE, PFN_BASE + vmPages(vm));
  const guest = mm === 0 ? <usize>0 : guestCreate(vm, mm, vcpus, vpns);
  if (guest === 0) return 0;
  const pages = vmPages(vm);
  if (!addZone(mm, ZONE_DMA, 0, min<u32>(pages, ZONE_DMA_END), vcpus)) return 0;
  if (!addZone(mm, ZONE_DMA32, ZONE_DMA_END, min<u32>(pages, ZONE_DMA32_END), vcpus)) return 0;
  return addZone(mm, ZONE_NORMAL, ZONE_DMA32_END, pages, vcpus) ? guest : 0;
}

function addZone(mm: usize, index: u32, start: u32, end: u32, cpus: u32): bool {
  if (end <= start) return true;
  const zone = zoneCreate(index, PFN_BASE + start, end - start, end - start, cpus);
  if (zone !== 0) mmAddZone(mm, zone);
  return zone !== 0;
}

export function guestMemoryLayout(guest: usize): void {
  mmLayout(guestMm(guest));
  if (guestHints(guest) !== 0) hintsLayout(guestHints(guest));
  store<u32>(guest, <u32>arenaReserve(PART_FRAMES, (<u64>load<u32>(guest, GUEST_VPNS)) << 2), GUEST_TABLE);
}

/** Boot of the guest: all of its frames are free. */
export function guestMemoryStart(guest: usize): void {
  const mm = guestMm(guest);
  for (let place: u32 = 0; place < mmZones(mm); place++) zoneStart(mmZoneAt(mm, place));
  watermarksSetAll(mm, 10);
  for (let place: u32 = 0; place < mmZones(mm); place++) {
    pcpSetup(mmZoneAt(mm, place), load<u32>(guest, GUEST_CPUS));
    zoneReleaseAll(mm, mmZoneAt(mm, place));
  }
}

function pay(guest: usize, vcpu: usize, ns: u32): void {
  actorSpend(vcpu, STAGE_CPU, ns);
  guestPay(guest, vcpu);
}

function entryAt(guest: usize, vpn: u32): usize {
  assert(vpn < load<u32>(guest, GUEST_VPNS));
  return <usize>load<u32>(guest, GUEST_TABLE) + ((<usize>vpn) << 2);
}

/** The frame of a task's page, PFN_NONE before its first touch. */
export function guestPage(guest: usize, vpn: u32): u32 {
  return load<u32>(entryAt(guest, vpn));
}

/** Address of the table's entry of page `vpn`; the entries of a region follow each other. */
export function guestEntry(guest: usize, vpn: u32): usize {
  return entryAt(guest, vpn);
}

/**
 * Takes a block of the guest on `cpu`; the vCPU pays for it. Below the low watermark the page cache gives way, oldest pages first.
 * @returns its first frame; PFN_NONE when the guest is out of memory; PFN_LATER when the balloon gives way
 */
export function guestAlloc(guest: usize, vcpu: usize, cpu: u32, order: u32, gfp: u32): u32 {
  const mm = guestMm(guest);
  const free = mmFree(mm);
  let pfn = pageFromFreelist(mm, cpu, order, gfp, fastFlags(mm, gfp));
  if (pfn === PFN_NONE) {
    while (listLength(guest + GUEST_CACHE) !== 0 && !hostBalanced(mm))
      cacheDrop(guest, cpu, actorClock(vcpu));
    pfn = allocPagesNoReclaim(mm, cpu, order, gfp);
  }
  if (pfn === PFN_NONE) {
    drainAllPages(mm);
    pfn = allocPagesNoReclaim(mm, cpu, order, gfp);
  }
  while (pfn === PFN_NONE && hintGivesWay(guest, vcpu, cpu)) pfn = allocPagesNoReclaim(mm, cpu, order, gfp);
  if (pfn === PFN_NONE && order <= COSTLY_ORDER && oomSleeps(guest, vcpu)) return PFN_LATER;
  const slow = mmFree(mm) !== free && pcpAllowed(order);
  pay(
    guest,
    vcpu,
    cost(slow ? COST_BUDDY_SLOW_NS : pcpAllowed(order) ? COST_PCP_ALLOC_NS : COST_BUDDY_ALLOC_NS),
  );
  if (pfn !== PFN_NONE) noteAlloc(guest, pfn, order);
  return pfn;
}

// The shrinker of hints (virtio_balloon_shrinker_scan()): a block goes back, whether the host has done with it or not.
function hintGivesWay(guest: usize, vcpu: usize, cpu: u32): bool {
  const hints = guestHints(guest);
  const pfn = hints === 0 ? PFN_NONE : hintsReturn(hints, cpu);
  if (pfn === PFN_NONE) return false;
  noteFree(guest, pfn, HINT_ORDER, actorClock(vcpu));
  noteIsolated(guest, -(<i32>HINT_PAGES));
  return true;
}

/** Gives a block back; the vCPU pays for it. */
export function guestFree(guest: usize, vcpu: usize, cpu: u32, pfn: u32, order: u32): void {
  const mm = guestMm(guest);
  const free = mmFree(mm);
  noteFree(guest, pfn, order, actorClock(vcpu));
  freePages(mm, cpu, pfn, order);
  const slow = mmFree(mm) !== free && pcpAllowed(order);
  pay(
    guest,
    vcpu,
    cost(slow ? COST_BUDDY_SLOW_NS : pcpAllowed(order) ? COST_PCP_ALLOC_NS : COST_BUDDY_ALLOC_NS),
  );
  if (guestDesign(guest) === FREE_ORACLE) oracle(guest, vcpu, pfn, order);
}

// What no guest can do: the host knows of the free block at once, and it costs nobody anything.
function oracle(guest: usize, vcpu: usize, pfn: u32, order: u32): void {
  const vm = guestVm(guest);
  const start = gfnToIndex(vm, pfnToGfn(pfn));
  const pages = dropAtOnce(vm, vcpu, start, start + (1 << order));
  noteBlock(guest, order);
  noteReleased(guest, pfn, order, pages, actorClock(vcpu));
}

/** First touch of a task's page. PFN_NONE: the guest is out of memory; PFN_LATER: it will have some. */
export function guestFault(guest: usize, vcpu: usize, cpu: u32, vpn: u32, cached: bool): u32 {
  assert(guestPage(guest, vpn) === PFN_NONE);
  const pfn = guestAlloc(guest, vcpu, cpu, 0, GFP_USER_PAGE);
  if (pfn === PFN_NONE || pfn === PFN_LATER) return pfn;
  guestCountAdd(guest, GUEST_FAULTS, 1);
  store<u32>(entryAt(guest, vpn), pfn);
  setPageOwner(pageOf(guestMm(guest), pfn), 0, vpn);
  if (cached) listAddTail(guestMm(guest), guest + GUEST_CACHE, LIST_CACHE, pfn);
  return pfn;
}

/** The page of a task goes; nothing happens if it was never touched. */
export function guestUnmap(guest: usize, vcpu: usize, cpu: u32, vpn: u32, cached: bool): void {
  const pfn = guestPage(guest, vpn);
  if (pfn === PFN_NONE) return;
  store<u32>(entryAt(guest, vpn), PFN_NONE);
  if (cached) listRemove(guestMm(guest), guest + GUEST_CACHE, pfn);
  guestFree(guest, vcpu, cpu, pfn, 0);
}

// The oldest page of the page cache is clean: it goes at once.
function cacheDrop(guest: usize, cpu: u32, time: u64): void {
  const mm = guestMm(guest);
  const pfn = listHead(guest + GUEST_CACHE);
  listRemove(mm, guest + GUEST_CACHE, pfn);
  store<u32>(entryAt(guest, pageIndex(pageOf(mm, pfn))), PFN_NONE);
  noteFree(guest, pfn, 0, time);
  freePages(mm, cpu, pfn, 0);
  guestOwe(guest, cost(COST_PCP_ALLOC_NS));
  guestCountAdd(guest, GUEST_CACHE_DROPPED, 1);
}

export function checkGuestMemory(guest: usize): void {
  const mm = guestMm(guest);
  for (let place: u32 = 0; place < mmZones(mm); place++) {
    const zone = mmZoneAt(mm, place);
    checkBuddy(mm, zone);
    checkBlocks(mm, zone);
    for (let cpu: u32 = 0; cpu < zoneCpus(zone); cpu++) checkPcp(mm, zone, cpu);
  }
  checkList(mm, guest + GUEST_CACHE, LIST_CACHE);
  for (let vpn: u32 = 0; vpn < load<u32>(guest, GUEST_VPNS); vpn++) {
    const pfn = guestPage(guest, vpn);
    if (pfn === PFN_NONE) continue;
    const page = pageOf(mm, pfn);
    assert(pageRefs(page) === 1 && pagePrivate(page) === 0);
    assert(pageIndex(page) === vpn); // no frame backs two pages
  }
  checkBooks(guest);
}
