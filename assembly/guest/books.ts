import { gfnToIndex, vmPages } from "../kvm/vm";
import { vmAt, vmTableCount } from "../kvm/vmtable";
import { PFN_BASE } from "../memory/layout";
import { swapOutRegister } from "../mm/freehook";
import { pageMaps, pageOf, pagePrivate, pageRefs, setPageMaps, setPagePrivate } from "../mm/page";
import { GUEST_BOOKS, GUEST_BOOKS_BYTES, guestMemory, guestMm, guestVm } from "./guest";

// The books of a guest that gives memory back: what was freed, what the host was told, how long that took, what came back as a fault.
//
// books    0            4          8 …                    96 …
//          +------------+----------+----------------------+---------------+
//          | unreported | isolated | pages told, by order | counters u64… |
//          +------------+----------+----------------------+---------------+
//
// Of a frame's record, private is when it was freed, in units of 1,024 ns, while the host does not know of that; maps is 1 while the host
// has taken its contents away.
//
// invariant: unreported === frames whose private is not 0; all of them are free

const UNREPORTED: usize = GUEST_BOOKS;
const ISOLATED: usize = GUEST_BOOKS + 4;
const ORDERS_KNOWN: usize = GUEST_BOOKS + 8; // u64 × 11
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
/** Free pages of the guest that the host has written to swap. */
export const GUEST_SWAPPED_FREE: u32 = 20;
/** Pages of requests that the host has answered and not dropped. */
export const GUEST_UNHEARD: u32 = 21;
/** Times that the host was sent statistics. */
export const GUEST_STATS_SENT: u32 = 22;
/** Pages that the host was told of as hints for a migration. */
export const GUEST_HINTED: u32 = 23;
/** Pages of tasks that got a frame. */
export const GUEST_FAULTS: u32 = 24;
/** Pages of the balloon that a guest without memory has got. */
export const GUEST_OOM_DEFLATED: u32 = 25;
export const GUEST_COUNTS: u32 = 26;

const STAMP_SHIFT: u64 = 10;

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

/** The host takes a request with `blocks` blocks; noteBlock() tells of each. */
export function noteRequest(guest: usize, blocks: u32): void {
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

function heard(spaceId: u32): bool {
  return spaceId < vmTableCount() && guestMemory(vmAt(spaceId)) !== 0;
}

// The host has written a page to swap that the guest has freed and that it was not told of.
function swapOut(spaceId: u32, index: u32): void {
  if (!heard(spaceId)) return;
  const vm = vmAt(spaceId);
  const guest = guestMemory(vm);
  const gfn = index - gfnToIndex(vm, 0);
  if (pagePrivate(pageOf(guestMm(guest), PFN_BASE + gfn)) !== 0) guestCountAdd(guest, GUEST_SWAPPED_FREE, 1);
}

export function booksInit(): void {
  swapOutRegister(swapOut, heard);
}

export function checkBooks(guest: usize): void {
  assert(COUNTS + 8 * <usize>GUEST_COUNTS <= GUEST_BOOKS + GUEST_BOOKS_BYTES);
  const mm = guestMm(guest);
  let unreported: u32 = 0;
  for (let gfn: u32 = 0; gfn < vmPages(guestVm(guest)); gfn++) {
    if (pagePrivate(pageOf(mm, PFN_BASE + gfn)) === 0) continue;
    unreported++;
    assert(pageRefs(pageOf(mm, PFN_BASE + gfn)) === 0);
  }
  assert(unreported === load<u32>(guest, UNREPORTED));
}
