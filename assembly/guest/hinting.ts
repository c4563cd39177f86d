import { arenaTake, PART_RECORDS } from "../memory/arena";
import { freeOnePage } from "../mm/buddy";
import { compoundHead, compoundOrder } from "../mm/compound";
import { freeOrder, isFree } from "../mm/freeblock";
import { hintingRegister } from "../mm/freehook";
import { mmZone, mmZoneAt, mmZones, setMmHinting } from "../mm/instance";
import { mmPfnEnd, PG_HEAD, PG_TAIL, pageOf, pageRefs, pageTest } from "../mm/page";
import { isolateFreePage } from "../mm/pagealloc";
import { pcpDrain } from "../mm/pcp";
import { blockType, MAX_ORDER } from "../mm/zone";
import { COST_ISOLATE_PAGE_NS, COST_MEM_HIT_NS, cost } from "../sim/costs";
import {
  GUEST_CAPTURED,
  GUEST_DROPPED,
  GUEST_ISOLATE_FAILED,
  GUEST_ISOLATED,
  GUEST_SCAN_NS,
  GUEST_SCANS,
  guestCountAdd,
  noteIsolated,
} from "./books";
import { guestArray, guestHinting, guestMm, guestOwe } from "./guest";

// Free page hinting as its 2019 patch has it (v8). Every freed block is noted in an array of its CPU; when the array is full, a scan
// replaces pages by the free blocks that hold them and drops duplicates; when it is still full, the CPU's thread takes what is free off
// the free lists, sends it to the host in one request, and gives it back. Follows guest_free_page(), scan_array(), pack_array(),
// get_buddy_page(), hinting_fn() and hyperlist_ready(), step by step and with all they do not do: a free that finds the array full is
// forgotten; a page that was taken again keeps its place; the second array is not bounded.
//
// record   0       4     8     12       16       20    24    28         32      36       40              8040
//          +-------+-----+-----+--------+--------+-----+-----+----------+-------+--------+---------------+------------------+
//          | guest | cpu | idx | hypIdx | cursor | pfn | end | minOrder | woken | behind | kvm_pt × 1000 | hyperlist × 1000 |
//          +-------+-----+-----+--------+--------+-----+-----+----------+-------+--------+---------------+------------------+
//
// kvm_pt, hyperlist   (pfn, order) each; pfn 0 is an empty place. Both have 1000 places in the patch, or guestArray() of them
// cursor, pfn, end    where the thread's walk stands: entry, its next frame, its last one; `end` 0: the entry has not begun
// minOrder            0 in the patch; the reviewer's proposal sends larger blocks only

const GUEST: usize = 0;
const CPU: usize = 4;
const INDEX: usize = 8;
const ISOLATED: usize = 12;
const CURSOR: usize = 16;
const NEXT_PFN: usize = 20;
const END_PFN: usize = 24;
const MIN_ORDER: usize = 28;
const WOKEN: usize = 32;
const BEHIND: usize = 36;
const CAPTURED: usize = 40;
// MAX_FGPT_ENTRIES, the most that guestArray() may be.
const HINTING_ENTRIES: u32 = 1000;
const ENTRY_BYTES: usize = 8;
const LIST: usize = CAPTURED + <usize>HINTING_ENTRIES * ENTRY_BYTES;
const HINTING_BYTES: usize = LIST + <usize>HINTING_ENTRIES * ENTRY_BYTES;

const PFN: usize = 0;
const ORDER: usize = 4;

/** hintingStep(): there is more to do. */
export const HINTING_GOES_ON: u32 = 0;
/** The host has to answer a request now: hintingRequest(). */
export const HINTING_REQUEST: u32 = 1;
/** The thread sleeps until the array is full again. */
export const HINTING_SLEEPS: u32 = 2;
/** The patch would write behind the end of its second array now. */
export const HINTING_OVERFLOW: u32 = 3;

/** Takes the records of all CPUs of `guest` and listens to its frees; 0 when memory is exhausted. */
export function hintingCreate(guest: usize, cpus: u32, minOrder: u32): usize {
  const records = arenaTake(PART_RECORDS, <u64>cpus * HINTING_BYTES);
  if (records === 0) return 0;
  for (let cpu: u32 = 0; cpu < cpus; cpu++) {
    const hinting = records + <usize>cpu * HINTING_BYTES;
    store<u32>(hinting, <u32>guest, GUEST);
    store<u32>(hinting, cpu, CPU);
    store<u32>(hinting, minOrder, MIN_ORDER);
  }
  setMmHinting(guestMm(guest), guest);
  return records;
}

/** The record of one CPU. */
export function hintingOf(guest: usize, cpu: u32): usize {
  return guestHinting(guest) + <usize>cpu * HINTING_BYTES;
}

/** Has the array filled up, so that the thread of the CPU must run? hinting_should_run(). */
export function hintingDue(hinting: usize): bool {
  return load<u32>(hinting, WOKEN) !== 0;
}

/** The block that has no place in the second array; after HINTING_OVERFLOW. */
export function hintingOverflow(hinting: usize): u32 {
  return load<u32>(hinting, BEHIND);
}

/** Address of the request, (pfn, order) a block, and its length. */
export function hintingRequest(hinting: usize): usize {
  return hinting + LIST;
}

export function hintingBlocks(hinting: usize): u32 {
  return load<u32>(hinting, ISOLATED);
}

// Places of each array.
function entries(hinting: usize): u32 {
  return guestArray(<usize>load<u32>(hinting, GUEST));
}

function captured(hinting: usize, index: u32): usize {
  assert(index < HINTING_ENTRIES);
  return hinting + CAPTURED + <usize>index * ENTRY_BYTES;
}

// guest_free_page(): before the page reaches a list.
function freePage(guest: usize, cpu: u32, pfn: u32, order: u32): void {
  const hinting = hintingOf(guest, cpu);
  const index = load<u32>(hinting, INDEX);
  if (index === guestArray(guest)) {
    guestCountAdd(guest, GUEST_DROPPED, 1);
    return;
  }
  const entry = captured(hinting, index);
  store<u32>(entry, pfn, PFN);
  store<u32>(entry, order, ORDER);
  store<u32>(hinting, index + 1, INDEX);
  guestCountAdd(guest, GUEST_CAPTURED, 1);
  if (index + 1 < guestArray(guest)) return;
  const mm = guestMm(guest);
  for (let place: u32 = 0; place < mmZones(mm); place++) pcpDrain(mm, mmZoneAt(mm, place), cpu);
  scanArray(hinting);
}

// Places looked at by the scan that is going on.
let probes: u32 = 0;

/** get_buddy_page(): the free block that holds `pfn`, 0 when there is none. Adds its probes to `probes`. */
function buddyPage(mm: usize, pfn: u32): u32 {
  for (let order: u32 = 0; order < MAX_ORDER; order++) {
    const head = pfn & ~((1 << order) - 1);
    probes++;
    if (isFree(mm, head) && freeOrder(mm, head) >= order) return head;
  }
  return 0;
}

// scan_array(): pages inside free blocks become these blocks, blocks that are noted already go. What is in use stays.
function scanArray(hinting: usize): void {
  const guest = <usize>load<u32>(hinting, GUEST);
  const mm = guestMm(guest);
  probes = 0;
  const places = entries(hinting);
  for (let index: u32 = 0; index < places; index++) {
    const entry = captured(hinting, index);
    const pfn = load<u32>(entry, PFN);
    const head = pfn === 0 ? 0 : buddyPage(mm, pfn);
    if (head === 0 || isFree(mm, pfn)) continue;
    const known = exists(hinting, head);
    store<u32>(entry, known ? 0 : head, PFN);
    store<u32>(entry, freeOrder(mm, head), ORDER);
  }
  packArray(hinting);
  const ns = <u64>probes * cost(COST_MEM_HIT_NS);
  guestOwe(guest, ns);
  guestCountAdd(guest, GUEST_SCANS, 1);
  guestCountAdd(guest, GUEST_SCAN_NS, ns);
  if (load<u32>(hinting, INDEX) === places) store<u32>(hinting, 1, WOKEN);
}

// if_exist()
function exists(hinting: usize, pfn: u32): bool {
  const places = entries(hinting);
  for (let index: u32 = 0; index < places; index++) {
    probes++;
    if (load<u32>(captured(hinting, index), PFN) === pfn) return true;
  }
  return false;
}

// pack_array()
function packArray(hinting: usize): void {
  const places = entries(hinting);
  let kept: u32 = 0;
  for (let index: u32 = 0; index < places; index++) {
    const entry = captured(hinting, index);
    probes++;
    if (load<u32>(entry, PFN) === 0) continue;
    store<u64>(captured(hinting, kept), load<u64>(entry));
    kept++;
  }
  store<u32>(hinting, kept, INDEX);
  for (let index = kept; index < places; index++) store<u64>(captured(hinting, index), 0);
}

/** hinting_fn(): one step of the thread's walk, on its CPU. Returns HINTING_*; guestOwe() has the time it took. */
export function hintingStep(hinting: usize): u32 {
  const guest = <usize>load<u32>(hinting, GUEST);
  const cursor = load<u32>(hinting, CURSOR);
  if (cursor === entries(hinting)) {
    store<u32>(hinting, 0, CURSOR);
    if (load<u32>(hinting, ISOLATED) > 0) return HINTING_REQUEST;
    collect(hinting);
    return HINTING_SLEEPS;
  }
  const entry = captured(hinting, cursor);
  if (load<u32>(hinting, END_PFN) === 0) {
    const pfn = load<u32>(entry, PFN);
    store<u32>(hinting, pfn, NEXT_PFN);
    store<u32>(hinting, pfn + (1 << load<u32>(entry, ORDER)), END_PFN);
  }
  if (load<u32>(hinting, NEXT_PFN) < load<u32>(hinting, END_PFN)) {
    const ns = <u64>2 * cost(COST_MEM_HIT_NS);
    guestOwe(guest, ns);
    guestCountAdd(guest, GUEST_SCAN_NS, ns);
    return walkOne(hinting, guest) ? HINTING_GOES_ON : HINTING_OVERFLOW;
  }
  store<u64>(entry, 0);
  store<u32>(hinting, 0, END_PFN);
  store<u32>(hinting, cursor + 1, CURSOR);
  return HINTING_GOES_ON;
}

// Only now frees are noted again: all that came while the thread was at work is lost.
function collect(hinting: usize): void {
  store<u32>(hinting, 0, INDEX);
  store<u32>(hinting, 0, WOKEN);
}

// One frame, under the zone's lock. False: the isolated block has no place any more.
function walkOne(hinting: usize, guest: usize): bool {
  const mm = guestMm(guest);
  const pfn = load<u32>(hinting, NEXT_PFN);
  const page = pageOf(mm, pfn);
  if (pageTest(page, PG_HEAD | PG_TAIL)) {
    const head = compoundHead(mm, pfn);
    store<u32>(hinting, head + (1 << compoundOrder(pageOf(mm, head))), NEXT_PFN);
    return true;
  }
  const head = pageRefs(page) !== 0 ? 0 : isFree(mm, pfn) ? pfn : buddyPage(mm, pfn);
  if (head === 0) {
    store<u32>(hinting, pfn + 1, NEXT_PFN);
    return true;
  }
  const order = freeOrder(mm, head);
  store<u32>(hinting, head + (1 << order), NEXT_PFN);
  if (order < load<u32>(hinting, MIN_ORDER)) return true;
  if (!isolateFreePage(mm, load<u32>(hinting, CPU), head)) {
    guestCountAdd(guest, GUEST_ISOLATE_FAILED, 1);
    return true;
  }
  guestOwe(guest, cost(COST_ISOLATE_PAGE_NS));
  guestCountAdd(guest, GUEST_ISOLATED, 1);
  noteIsolated(guest, 1 << order);
  const isolated = load<u32>(hinting, ISOLATED);
  if (isolated === entries(hinting)) {
    store<u32>(hinting, head, BEHIND);
    return false;
  }
  const place = hinting + LIST + <usize>isolated * ENTRY_BYTES;
  store<u32>(place, head, PFN);
  store<u32>(place, order, ORDER);
  store<u32>(hinting, isolated + 1, ISOLATED);
  return true;
}

/** The end of hyperlist_ready(): the host has answered, the blocks go back to the lists as any freed block does. */
export function hintingReturn(hinting: usize): void {
  const guest = <usize>load<u32>(hinting, GUEST);
  const mm = guestMm(guest);
  for (let index: u32 = 0; index < load<u32>(hinting, ISOLATED); index++) {
    const place = hinting + LIST + <usize>index * ENTRY_BYTES;
    const pfn = load<u32>(place, PFN);
    const order = load<u32>(place, ORDER);
    const zone = mmZone(mm, pfn);
    freeOnePage(mm, zone, load<u32>(hinting, CPU), pfn, order, blockType(zone, pfn), 0);
    noteIsolated(guest, -(1 << order));
  }
  store<u32>(hinting, 0, ISOLATED);
  collect(hinting);
}

export function checkHinting(hinting: usize): void {
  const mm = guestMm(<usize>load<u32>(hinting, GUEST));
  assert(load<u32>(hinting, INDEX) <= entries(hinting));
  for (let index: u32 = 0; index < load<u32>(hinting, INDEX); index++) {
    assert(load<u32>(captured(hinting, index), PFN) < mmPfnEnd(mm));
  }
  for (let index: u32 = 0; index < load<u32>(hinting, ISOLATED); index++) {
    const pfn = load<u32>(hinting + LIST + <usize>index * ENTRY_BYTES, PFN);
    assert(pageRefs(pageOf(mm, pfn)) === 0 && !isFree(mm, pfn));
  }
}

export function hintingInit(): void {
  hintingRegister(freePage);
}
