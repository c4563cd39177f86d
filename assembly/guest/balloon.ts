import { arenaTake, PART_RECORDS } from "../memory/arena";
import { PFN_NONE } from "../memory/layout";
import { GFP_NOMEMALLOC, GFP_USER_PAGE } from "../mm/gfp";
import { mmZone } from "../mm/instance";
import { checkList, LIST_BYTES, listAddHead, listHead, listLength, listRemove } from "../mm/list";
import { LIST_BALLOON, pageOf, pageRefs } from "../mm/page";
import { allocPagesNoReclaim, freePages } from "../mm/pagealloc";
import { setZoneManaged, zoneManaged } from "../mm/zone";

// The balloon driver (drivers/virtio/virtio_balloon.c): it takes pages of the guest so that the host can have them, and gives them back,
// at most 256 a request. Follows fill_balloon(), leak_balloon() and their lists. Filling: all pages are taken first, then they enter the
// balloon, last one first, and the host is told. Leaking: the latest pages leave the balloon, the host is told, and only then are they
// free. Left out: compaction of ballooned pages, reclaim to fill the balloon.
//
// record   0    4             8        12      16        20              32     36      40
//          +----+-------------+--------+-------+---------+---------------+------+-------+------------+
//          | mm | keepManaged | target | count | leaking | list of pages | busy | asked | pfns × 256 |
//          +----+-------------+--------+-------+---------+---------------+------+-------+------------+
//
// target       pages that the host wants the balloon to have (num_pages)
// asked        the host has set the target, and the balloon's driver has not come to it yet
// count, pfns  the present request; busy while it is on its way (balloon_lock)
// keepManaged  with DEFLATE_ON_OOM the pages still count as the guest's
//
// invariant: a page of the balloon is on its list and has one reference
// invariant: while a leak waits for the host, the array's pages are on no list and not free

const MM: usize = 0;
const KEEP_MANAGED: usize = 4;
const TARGET: usize = 8;
const COUNT: usize = 12;
const LEAKING: usize = 16;
const PAGES: usize = 20;
const BUSY: usize = PAGES + LIST_BYTES;
const ASKED: usize = BUSY + 4;
const PFNS: usize = BUSY + 8;

/** VIRTIO_BALLOON_ARRAY_PFNS_MAX. */
export const BALLOON_ARRAY: u32 = 256;

const GFP_BALLOON: u32 = GFP_USER_PAGE | GFP_NOMEMALLOC;

/** Takes the record of an empty balloon; 0 when memory is exhausted. */
export function balloonCreate(mm: usize, keepManaged: bool): usize {
  const balloon = arenaTake(PART_RECORDS, PFNS + 4 * <u64>BALLOON_ARRAY);
  if (balloon === 0) return 0;
  store<u32>(balloon, <u32>mm, MM);
  store<u32>(balloon, keepManaged ? 1 : 0, KEEP_MANAGED);
  return balloon;
}

/** Pages in the balloon (actual). */
export function balloonPages(balloon: usize): u32 {
  return listLength(balloon + PAGES);
}

export function balloonTarget(balloon: usize): u32 {
  return load<u32>(balloon, TARGET);
}

/** The host wants the balloon to have `pages` pages. */
export function setBalloonTarget(balloon: usize, pages: u32): void {
  store<u32>(balloon, pages, TARGET);
  if (pages !== balloonPages(balloon)) store<u32>(balloon, 1, ASKED);
}

/** Has the driver work? Pages that the balloon gives to a guest without memory make none: the host has not asked for them again. */
export function balloonAsked(balloon: usize): bool {
  return load<u32>(balloon, ASKED) !== 0;
}

/** The balloon has come to its target. */
export function balloonSettled(balloon: usize): void {
  store<u32>(balloon, 0, ASKED);
}

/** Address of the pfns of the present request, u32 each, in the order in which the host reads them. */
export function balloonRequest(balloon: usize): usize {
  return balloon + PFNS;
}

function setPfn(balloon: usize, place: u32, pfn: u32): void {
  assert(place < BALLOON_ARRAY);
  store<u32>(balloon + ((<usize>place) << 2), pfn, PFNS);
}

function pfnAt(balloon: usize, place: u32): u32 {
  assert(place < load<u32>(balloon, COUNT));
  return load<u32>(balloon + ((<usize>place) << 2), PFNS);
}

// adjust_managed_page_count()
function adjustManaged(balloon: usize, pfn: u32, pages: i32): void {
  if (load<u32>(balloon, KEEP_MANAGED) !== 0) return;
  const zone = mmZone(<usize>load<u32>(balloon, MM), pfn);
  setZoneManaged(zone, zoneManaged(zone) + pages);
}

/**
 * fill_balloon(): takes at most `most` pages, one request's worth, into the balloon.
 *
 * @returns pages of the request that the host is told of; fewer than asked for when the guest is out of memory ("Out of puff")
 */
export function balloonFill(balloon: usize, cpu: u32, most: u32): u32 {
  const mm = <usize>load<u32>(balloon, MM);
  const wanted = min<u32>(most, BALLOON_ARRAY);
  let taken: u32 = 0;
  for (; taken < wanted; taken++) {
    const pfn = allocPagesNoReclaim(mm, cpu, 0, GFP_BALLOON);
    if (pfn === PFN_NONE) break;
    setPfn(balloon, BALLOON_ARRAY - 1 - taken, pfn);
  }
  for (let place: u32 = 0; place < taken; place++) {
    setPfn(balloon, place, load<u32>(balloon + ((<usize>(BALLOON_ARRAY - taken + place)) << 2), PFNS));
  }
  store<u32>(balloon, taken, COUNT);
  store<u32>(balloon, 0, LEAKING);
  for (let place: u32 = 0; place < taken; place++) {
    const pfn = pfnAt(balloon, place);
    listAddHead(mm, balloon + PAGES, LIST_BALLOON, pfn);
    adjustManaged(balloon, pfn, -1);
  }
  return taken;
}

/** leak_balloon(): the latest pages, at most `most`, one request's worth, leave the balloon. Returns their number; balloonRelease() frees them. */
export function balloonLeak(balloon: usize, most: u32): u32 {
  const mm = <usize>load<u32>(balloon, MM);
  const wanted = min<u32>(min<u32>(most, BALLOON_ARRAY), balloonPages(balloon));
  store<u32>(balloon, wanted, COUNT);
  store<u32>(balloon, 1, LEAKING);
  for (let place: u32 = 0; place < wanted; place++) {
    const pfn = listHead(balloon + PAGES);
    listRemove(mm, balloon + PAGES, pfn);
    setPfn(balloon, place, pfn);
  }
  return wanted;
}

/** release_pages_balloon(): the host has answered a leak; its pages are the guest's again, the one that left last first. */
export function balloonRelease(balloon: usize, cpu: u32): void {
  assert(load<u32>(balloon, LEAKING) !== 0);
  const mm = <usize>load<u32>(balloon, MM);
  for (let place = load<u32>(balloon, COUNT); place > 0; ) {
    place--;
    const pfn = pfnAt(balloon, place);
    adjustManaged(balloon, pfn, 1);
    freePages(mm, cpu, pfn, 0);
  }
  store<u32>(balloon, 0, COUNT);
  store<u32>(balloon, 0, LEAKING);
}

/** A request is on its way: who wants to make another one waits. */
export function setBalloonBusy(balloon: usize, busy: bool): void {
  store<u32>(balloon, busy ? 1 : 0, BUSY);
}

export function balloonBusy(balloon: usize): bool {
  return load<u32>(balloon, BUSY) !== 0;
}

export function checkBalloon(balloon: usize): void {
  const mm = <usize>load<u32>(balloon, MM);
  checkList(mm, balloon + PAGES, LIST_BALLOON);
  const head = listHead(balloon + PAGES);
  if (head !== PFN_NONE) assert(pageRefs(pageOf(mm, head)) === 1);
}
