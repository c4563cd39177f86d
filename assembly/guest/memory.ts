import { dropAtOnce } from "../kvm/notifier";
import { gfnToIndex, vmId, vmPages } from "../kvm/vm";
import { arenaReserve, arenaTake, PART_FRAMES, PART_RECORDS } from "../memory/arena";
import { PFN_BASE, PFN_NONE } from "../memory/layout";
import { checkBuddy } from "../mm/buddy";
import { GFP_USER_PAGE, ZONE_DMA, ZONE_DMA32, ZONE_NORMAL } from "../mm/gfp";
import { mmAddZone, mmCreate, mmFree, mmLayout, mmZoneAt, mmZones } from "../mm/instance";
import { checkList, LIST_BYTES, listAddTail, listHead, listLength, listRemove } from "../mm/list";
import {
  LIST_CACHE,
  pageIndex,
  pageMaps,
  pageOf,
  pagePrivate,
  pageRefs,
  setPageMaps,
  setPageOwner,
  setPagePrivate,
} from "../mm/page";
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

// A guest's own memory management: an instance of mm/ over the guest's frames, the page table of its tasks, its page cache, and the
// books of what it has freed and what the host knows of that. Zones as a PC has them: DMA below 16 MiB, DMA32 below 4 GiB, Normal above.
// Frame `pfn` of the instance is gfn `pfn - PFN_BASE`, so that no frame is number 0.
// Left out: the guest's swap, reclaim other than of its page cache, memory that khugepaged keeps free, page tables in guest memory.
//
// record   0    4      8       12      16         28          32        36      40       44     48
//          +----+------+-------+-------+----------+-----------+---------+-------+--------+------+----------+
//          | mm | vpns | table | cpus  | page cache (a list)  | reporting| hinting| balloon| debt| counters…
//          +----+------+-------+-------+----------+-----------+---------+-------+--------+------+----------+
//
// table     per page of the tasks' regions (vpn): the frame that holds it, PFN_NONE before the first touch; 4 bytes each
// debt      ns of guest CPU time that a hook in the free path has taken and nobody has paid yet
//
// Of a frame's record, private is when it was freed, in units of 1,024 ns, while the host does not know of that; maps is 1 while the host
// has taken its contents away.
//
// invariant: unreported === frames whose private is not 0; all of them are free

const MM: usize = 0;
const VPNS: usize = 4;
const TABLE: usize = 8;
const CPUS: usize = 12;
const CACHE: usize = 16;
const REPORTING: usize = 28;
const HINTING: usize = 32;
const BALLOON: usize = 36;
const DEBT: usize = 40; // u64
const UNREPORTED: usize = 48;
const ISOLATED: usize = 52;
const DESIGN: usize = 56;
const MIN_ORDER: usize = 60;
const VM: usize = 64;
const DEVICE: usize = 68;
const ORDERS_KNOWN: usize = 72; // u64 × 11: pages reported, by the order of their block
const COUNTS: usize = ORDERS_KNOWN + 8 * 11;

/** Frees that hinting has put into its arrays, and those that it has dropped. */
export const GUEST_CAPTURED: u32 = 0;
export const GUEST_DROPPED: u32 = 1;
export const GUEST_SCANS: u32 = 2;
export const GUEST_SCAN_NS: u32 = 3;
export const GUEST_ISOLATED: u32 = 4;
export const GUEST_ISOLATE_FAILED: u32 = 5;
export const GUEST_REQUESTS: u32 = 6;
export const GUEST_BLOCKS: u32 = 7;
export const GUEST_REPORTED: u32 = 8;
export const GUEST_DISCARDED: u32 = 9;
export const GUEST_RELEASED: u32 = 10;
export const GUEST_RELEASE_NS: u32 = 11;
export const GUEST_REFAULTS: u32 = 12;
export const GUEST_ISOLATED_PEAK: u32 = 13;
export const GUEST_FREED: u32 = 14;
export const GUEST_CACHE_DROPPED: u32 = 15;
export const GUEST_KILLED: u32 = 16;
export const GUEST_INFLATED: u32 = 17;
export const GUEST_DEFLATED: u32 = 18;
export const GUEST_BALLOON_REQUESTS: u32 = 19;
export const GUEST_COUNTS: u32 = 20;
const GUEST_BYTES: usize = COUNTS + 8 * <usize>GUEST_COUNTS;

export const FREE_OFF: u32 = 0;
export const FREE_HINTING_2019: u32 = 1;
export const FREE_HINTING_2019_MIN_ORDER: u32 = 2;
export const FREE_REPORTING: u32 = 3;
export const FREE_ORACLE: u32 = 4;

const ZONE_DMA_END: u32 = 4096;
const ZONE_DMA32_END: u32 = 1 << 20;
const STAMP_SHIFT: u64 = 10;

// Guests by the number of their VM; 0 for one without memory management of its own.
const GUESTS: usize = memory.data(4 * 4096, 8);

export function guestMemoryInit(): void {
  memory.fill(GUESTS, 0, 4 * 4096);
}

/** The guest's memory management, 0 when its pages are placed directly. */
export function guestMemory(vm: usize): usize {
  return <usize>load<u32>(GUESTS + ((<usize>vmId(vm)) << 2));
}

/** Gives VM `vm` memory management of its own for tasks with `vpns` pages together; 0 when memory is exhausted. */
export function guestMemoryCreate(vm: usize, vcpus: u32, vpns: u32): usize {
  const guest = arenaTake(PART_RECORDS, GUEST_BYTES);
  const mm = mmCreate(PFN_BASE, PFN_BASE + vmPages(vm));
  if (guest === 0 || mm === 0) return 0;
  store<u32>(guest, <u32>mm, MM);
  store<u32>(guest, vpns, VPNS);
  store<u32>(guest, vcpus, CPUS);
  store<u32>(guest, <u32>vm, VM);
  store<u32>(GUESTS + ((<usize>vmId(vm)) << 2), <u32>guest);
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
  store<u32>(guest, <u32>arenaReserve(PART_FRAMES, (<u64>load<u32>(guest, VPNS)) << 2), TABLE);
}

/** Boot of the guest: all of its frames are free. */
export function guestMemoryStart(guest: usize): void {
  const mm = guestMm(guest);
  for (let place: u32 = 0; place < mmZones(mm); place++) zoneStart(mmZoneAt(mm, place));
  watermarksSetAll(mm, 10);
  for (let place: u32 = 0; place < mmZones(mm); place++) {
    pcpSetup(mmZoneAt(mm, place), load<u32>(guest, CPUS));
    zoneReleaseAll(mm, mmZoneAt(mm, place));
  }
}

export function guestMm(guest: usize): usize {
  return <usize>load<u32>(guest, MM);
}

export function guestVm(guest: usize): usize {
  return <usize>load<u32>(guest, VM);
}

export function guestVpns(guest: usize): u32 {
  return load<u32>(guest, VPNS);
}

/** How free memory is told to the host, FREE_*. */
export function guestDesign(guest: usize): u32 {
  return load<u32>(guest, DESIGN);
}

/** Least order of a block that is told. */
export function guestMinOrder(guest: usize): u32 {
  return load<u32>(guest, MIN_ORDER);
}

export function setGuestDesign(guest: usize, design: u32, minOrder: u32): void {
  store<u32>(guest, design, DESIGN);
  store<u32>(guest, minOrder, MIN_ORDER);
}

/** Record of reporting.ts, 0 for none. */
export function guestReporting(guest: usize): usize {
  return <usize>load<u32>(guest, REPORTING);
}

export function setGuestReporting(guest: usize, reporting: usize): void {
  store<u32>(guest, <u32>reporting, REPORTING);
}

/** Record of balloon.ts, 0 for none. */
export function guestBalloon(guest: usize): usize {
  return <usize>load<u32>(guest, BALLOON);
}

export function setGuestBalloon(guest: usize, balloon: usize): void {
  store<u32>(guest, <u32>balloon, BALLOON);
}

/** Records of hinting.ts, one a CPU, 0 for none. */
export function guestHinting(guest: usize): usize {
  return <usize>load<u32>(guest, HINTING);
}

export function setGuestHinting(guest: usize, records: usize): void {
  store<u32>(guest, <u32>records, HINTING);
}

/** Actor of balloondev.ts, 0 for none. */
export function guestDevice(guest: usize): usize {
  return <usize>load<u32>(guest, DEVICE);
}

export function setGuestDevice(guest: usize, device: usize): void {
  store<u32>(guest, <u32>device, DEVICE);
}

export function guestCount(guest: usize, counter: u32): u64 {
  assert(counter < GUEST_COUNTS);
  return load<u64>(guest + ((<usize>counter) << 3), COUNTS);
}

export function guestCountAdd(guest: usize, counter: u32, amount: u64): void {
  const at = guest + ((<usize>counter) << 3);
  store<u64>(at, load<u64>(at, COUNTS) + amount, COUNTS);
}

/** Pages reported in blocks of `order`. */
export function guestReportedOrder(guest: usize, order: u32): u64 {
  return load<u64>(guest + ((<usize>order) << 3), ORDERS_KNOWN);
}

/** Frames that were freed, are free, and that the host does not know of. */
export function guestUnreported(guest: usize): u32 {
  return load<u32>(guest, UNREPORTED);
}

/** Guest CPU time that the free path's hook takes; paid by whoever frees. */
export function guestOwe(guest: usize, ns: u64): void {
  store<u64>(guest, load<u64>(guest, DEBT) + ns, DEBT);
}

/** The vCPU pays what the free path's hook has taken. */
export function guestPay(guest: usize, vcpu: usize): void {
  const debt = load<u64>(guest, DEBT);
  if (debt === 0) return;
  actorSpend(vcpu, STAGE_CPU, <u32>debt);
  store<u64>(guest, 0, DEBT);
}

function pay(guest: usize, vcpu: usize, ns: u32): void {
  actorSpend(vcpu, STAGE_CPU, ns);
  guestPay(guest, vcpu);
}

export function pfnToGfn(pfn: u32): u32 {
  return pfn - PFN_BASE;
}

function entryAt(guest: usize, vpn: u32): usize {
  assert(vpn < load<u32>(guest, VPNS));
  return <usize>load<u32>(guest, TABLE) + ((<usize>vpn) << 2);
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
 * @returns its first frame, PFN_NONE when the guest is out of memory
 */
export function guestAlloc(guest: usize, vcpu: usize, cpu: u32, order: u32, gfp: u32): u32 {
  const mm = guestMm(guest);
  const free = mmFree(mm);
  let pfn = pageFromFreelist(mm, cpu, order, gfp, fastFlags(mm, gfp));
  if (pfn === PFN_NONE) {
    while (listLength(guest + CACHE) !== 0 && !hostBalanced(mm)) cacheDrop(guest, cpu, actorClock(vcpu));
    pfn = allocPagesNoReclaim(mm, cpu, order, gfp);
  }
  if (pfn === PFN_NONE) {
    drainAllPages(mm);
    pfn = allocPagesNoReclaim(mm, cpu, order, gfp);
  }
  const slow = mmFree(mm) !== free && pcpAllowed(order);
  pay(
    guest,
    vcpu,
    cost(slow ? COST_BUDDY_SLOW_NS : pcpAllowed(order) ? COST_PCP_ALLOC_NS : COST_BUDDY_ALLOC_NS),
  );
  if (pfn !== PFN_NONE) noteAlloc(guest, pfn, order);
  return pfn;
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

/** First touch of a task's page. PFN_NONE: the guest is out of memory. */
export function guestFault(guest: usize, vcpu: usize, cpu: u32, vpn: u32, cached: bool): u32 {
  assert(guestPage(guest, vpn) === PFN_NONE);
  const pfn = guestAlloc(guest, vcpu, cpu, 0, GFP_USER_PAGE);
  if (pfn === PFN_NONE) return PFN_NONE;
  store<u32>(entryAt(guest, vpn), pfn);
  setPageOwner(pageOf(guestMm(guest), pfn), 0, vpn);
  if (cached) listAddTail(guestMm(guest), guest + CACHE, LIST_CACHE, pfn);
  return pfn;
}

/** The page of a task goes; nothing happens if it was never touched. */
export function guestUnmap(guest: usize, vcpu: usize, cpu: u32, vpn: u32, cached: bool): void {
  const pfn = guestPage(guest, vpn);
  if (pfn === PFN_NONE) return;
  store<u32>(entryAt(guest, vpn), PFN_NONE);
  if (cached) listRemove(guestMm(guest), guest + CACHE, pfn);
  guestFree(guest, vcpu, cpu, pfn, 0);
}

// The oldest page of the page cache is clean: it goes at once.
function cacheDrop(guest: usize, cpu: u32, time: u64): void {
  const mm = guestMm(guest);
  const pfn = listHead(guest + CACHE);
  listRemove(mm, guest + CACHE, pfn);
  store<u32>(entryAt(guest, pageIndex(pageOf(mm, pfn))), PFN_NONE);
  noteFree(guest, pfn, 0, time);
  freePages(mm, cpu, pfn, 0);
  guestOwe(guest, cost(COST_PCP_ALLOC_NS));
  guestCountAdd(guest, GUEST_CACHE_DROPPED, 1);
}

/** The books of a block that leaves the free memory, whoever takes it. */
export function noteAlloc(guest: usize, pfn: u32, order: u32): void {
  const mm = guestMm(guest);
  for (let at = pfn; at < pfn + (1 << order); at++) {
    const page = pageOf(mm, at);
    if (pagePrivate(page) !== 0) {
      setPagePrivate(page, 0);
      store<u32>(guest, load<u32>(guest, UNREPORTED) - 1, UNREPORTED);
    }
    if (pageMaps(page) === 0) continue;
    setPageMaps(page, 0);
    guestCountAdd(guest, GUEST_REFAULTS, 1);
  }
}

/** The books of a block that becomes free at `time`. */
export function noteFree(guest: usize, pfn: u32, order: u32, time: u64): void {
  const mm = guestMm(guest);
  const stamp = <u32>(time >> STAMP_SHIFT) | 1;
  for (let at = pfn; at < pfn + (1 << order); at++) {
    assert(pagePrivate(pageOf(mm, at)) === 0);
    setPagePrivate(pageOf(mm, at), stamp);
  }
  store<u32>(guest, load<u32>(guest, UNREPORTED) + (1 << order), UNREPORTED);
  guestCountAdd(guest, GUEST_FREED, 1 << order);
}

/** The host has dropped what it had of a free block, at `time`; `pages` it had. */
export function noteReleased(guest: usize, pfn: u32, order: u32, pages: u32, time: u64): void {
  const mm = guestMm(guest);
  for (let at = pfn; at < pfn + (1 << order); at++) {
    const page = pageOf(mm, at);
    const stamp = pagePrivate(page);
    if (stamp === 0) continue; // never used, or released before
    setPageMaps(page, 1);
    setPagePrivate(page, 0);
    store<u32>(guest, load<u32>(guest, UNREPORTED) - 1, UNREPORTED);
    guestCountAdd(guest, GUEST_RELEASED, 1);
    guestCountAdd(guest, GUEST_RELEASE_NS, (<u64>(<u32>(time >> STAMP_SHIFT) - (stamp & ~1))) << STAMP_SHIFT);
  }
  guestCountAdd(guest, GUEST_DISCARDED, pages);
}

/** The host takes a request with `blocks` blocks, or pages of the balloon; noteBlock() tells of each block. */
export function noteRequest(guest: usize, blocks: u32, report: bool): void {
  if (!report) {
    guestCountAdd(guest, GUEST_BALLOON_REQUESTS, 1);
    return;
  }
  guestCountAdd(guest, GUEST_REQUESTS, 1);
  guestCountAdd(guest, GUEST_BLOCKS, blocks);
}

export function noteBlock(guest: usize, order: u32): void {
  guestCountAdd(guest, GUEST_REPORTED, 1 << order);
  const at = guest + ((<usize>order) << 3);
  store<u64>(at, load<u64>(at, ORDERS_KNOWN) + (1 << order), ORDERS_KNOWN);
}

/** A block was taken off the free lists for a request, or has come back (`pages` negative). */
export function noteIsolated(guest: usize, pages: i32): void {
  const isolated = load<u32>(guest, ISOLATED) + pages;
  store<u32>(guest, isolated, ISOLATED);
  const peak = guest + ((<usize>GUEST_ISOLATED_PEAK) << 3);
  if (isolated > load<u64>(peak, COUNTS)) store<u64>(peak, isolated, COUNTS);
}

export function checkGuestMemory(guest: usize): void {
  const mm = guestMm(guest);
  for (let place: u32 = 0; place < mmZones(mm); place++) {
    const zone = mmZoneAt(mm, place);
    checkBuddy(mm, zone);
    checkBlocks(mm, zone);
    for (let cpu: u32 = 0; cpu < zoneCpus(zone); cpu++) checkPcp(mm, zone, cpu);
  }
  checkList(mm, guest + CACHE, LIST_CACHE);
  for (let vpn: u32 = 0; vpn < load<u32>(guest, VPNS); vpn++) {
    const pfn = guestPage(guest, vpn);
    if (pfn === PFN_NONE) continue;
    const page = pageOf(mm, pfn);
    assert(pageRefs(page) === 1 && pagePrivate(page) === 0);
    assert(pageIndex(page) === vpn); // no frame backs two pages
  }
  let unreported: u32 = 0;
  for (let gfn: u32 = 0; gfn < vmPages(guestVm(guest)); gfn++) {
    if (pagePrivate(pageOf(mm, PFN_BASE + gfn)) === 0) continue;
    unreported++;
    assert(pageRefs(pageOf(mm, PFN_BASE + gfn)) === 0);
  }
  assert(unreported === load<u32>(guest, UNREPORTED));
}
