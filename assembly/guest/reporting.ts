import { arenaTake, PART_RECORDS } from "../memory/arena";
import { PFN_NONE } from "../memory/layout";
import { isFreeBlock } from "../mm/buddy";
import { isReported, setReported } from "../mm/freeblock";
import { reportingRegister } from "../mm/freehook";
import { MIGRATE_ISOLATE, MIGRATE_TYPES, WMARK_LOW } from "../mm/gfp";
import { mmZone, mmZoneAt, mmZones, setMmReporting } from "../mm/instance";
import { listHead, listRotate } from "../mm/list";
import { LIST_NONE, pageList, pageNext, pageOf } from "../mm/page";
import { isolateFreePage, putbackIsolatedPage } from "../mm/pagealloc";
import { watermarkOk, watermarkPages } from "../mm/watermark";
import { MAX_ORDER, zoneFreeBlocks, zoneFreeList } from "../mm/zone";

// Free page reporting (mm/page_reporting.c): the guest tells the host of large free blocks, a request of at most 32 at a time, and
// marks what it has told. A free that ends in a large block asks for a pass; a pass begins two seconds later and looks at a part of each
// list only, so that what is freed and used again soon is never told. Follows page_reporting_process_zone(), page_reporting_cycle() and
// page_reporting_drain(). The blocks of a request are isolated, on no list, until the host has answered.
// Left out: a device that fails.
//
// record   0    4       8          12         16   20      24      28     32       36       40
//          +----+-------+----------+----------+----+-------+-------+------+--------+--------+----------------------+
//          | mm | state | minOrder | capacity | pc | place | order | type | offset | budget | (pfn, order) × capacity
//          +----+-------+----------+----------+----+-------+-------+------+--------+--------+----------------------+
//
// place      of the zone that the pass is at
// offset     places of the request that are still empty; it is filled from its end
// budget     full requests that the present list may still have; below 0 the pass asks for another one
//
// invariant: the blocks at offset..capacity-1 are isolated

const MM: usize = 0;
const STATE: usize = 4;
const MIN_ORDER: usize = 8;
const CAPACITY: usize = 12;
const PC: usize = 16;
const PLACE: usize = 20;
const ORDER: usize = 24;
const TYPE: usize = 28;
const OFFSET: usize = 32;
const BUDGET: usize = 36; // i32
const ENTRIES: usize = 40;
const ENTRY_BYTES: usize = 8;

/** PAGE_REPORTING_CAPACITY. */
export const REPORTING_CAPACITY: u32 = 32;
/** The part of a list that a pass may report, beside its first request: one in so many. */
const BUDGET_SHARE: u32 = 16;

// A free that asks for a pass while one waits changes nothing; while one runs, that one asks for the next at its end.
export const REPORTING_IDLE: u32 = 0;
export const REPORTING_REQUESTED: u32 = 1;
export const REPORTING_ACTIVE: u32 = 2;

const ZONE: u32 = 0;
const LIST: u32 = 1;
const WALK: u32 = 2;
const SENT: u32 = 3; // a full request: the list goes on
const LEFTOVER: u32 = 4;
const OVER: u32 = 5;

/** Takes the record and listens to what is freed in `mm`, from order `minOrder` on; 0 when memory is exhausted. */
export function reportingCreate(mm: usize, minOrder: u32): usize {
  const reporting = arenaTake(PART_RECORDS, ENTRIES + <u64>REPORTING_CAPACITY * ENTRY_BYTES);
  if (reporting === 0) return 0;
  store<u32>(reporting, <u32>mm, MM);
  store<u32>(reporting, minOrder, MIN_ORDER);
  store<u32>(reporting, REPORTING_CAPACITY, CAPACITY);
  store<u32>(reporting, REPORTING_CAPACITY, OFFSET);
  store<u32>(reporting, OVER, PC);
  setMmReporting(mm, reporting, minOrder);
  return reporting;
}

function capacity(reporting: usize): u32 {
  return load<u32>(reporting, CAPACITY);
}

export function reportingState(reporting: usize): u32 {
  return load<u32>(reporting, STATE);
}

/** Address of the present request, (pfn, order) a block, u32 each, in the order in which the host reads them. */
export function reportingRequest(reporting: usize): usize {
  return reporting + ENTRIES + <usize>load<u32>(reporting, OFFSET) * ENTRY_BYTES;
}

/** Blocks of the present request. */
export function reportingBlocks(reporting: usize): u32 {
  return capacity(reporting) - load<u32>(reporting, OFFSET);
}

/** Asks for a pass (__page_reporting_request()). */
export function reportingAsk(reporting: usize): void {
  store<u32>(reporting, REPORTING_REQUESTED, STATE);
}

/** A pass begins; the state was REPORTING_REQUESTED. */
export function reportingBegin(reporting: usize): void {
  assert(reportingState(reporting) === REPORTING_REQUESTED && reportingBlocks(reporting) === 0);
  store<u32>(reporting, REPORTING_ACTIVE, STATE);
  store<u32>(reporting, 0, PLACE);
  store<u32>(reporting, ZONE, PC);
}

/**
 * Goes on with a pass, on `cpu`, up to its next request or its end. What the last request held goes back to its lists first, reported.
 *
 * @returns blocks of the request that the host has to answer now; 0 when the pass is over. Then the state is REPORTING_REQUESTED when
 *   another pass is due, else REPORTING_IDLE.
 */
export function reportingStep(reporting: usize, cpu: u32): u32 {
  const mm = <usize>load<u32>(reporting, MM);
  while (true) {
    const pc = load<u32>(reporting, PC);
    if (pc === ZONE) {
      if (load<u32>(reporting, PLACE) === mmZones(mm)) {
        store<u32>(reporting, OVER, PC);
        if (reportingState(reporting) === REPORTING_ACTIVE) store<u32>(reporting, REPORTING_IDLE, STATE);
        return 0;
      }
      zoneBegin(reporting, mmZoneAt(mm, load<u32>(reporting, PLACE)));
    } else if (pc === LIST) {
      listBegin(reporting, mmZoneAt(mm, load<u32>(reporting, PLACE)));
    } else if (pc === WALK) {
      if (walk(reporting, mm, cpu)) {
        // yield: the zone's lock is dropped; blocks may be taken and freed until the host has answered
        store<u32>(reporting, SENT, PC);
        return reportingBlocks(reporting);
      }
      nextList(reporting);
    } else if (pc === SENT) {
      drain(reporting, mm, cpu);
      store<i32>(reporting, load<i32>(reporting, BUDGET) - 1, BUDGET);
      store<u32>(reporting, WALK, PC);
    } else {
      assert(pc === LEFTOVER);
      drain(reporting, mm, cpu);
      nextZone(reporting);
    }
    if (load<u32>(reporting, PC) === LEFTOVER) {
      if (reportingBlocks(reporting) !== 0) return reportingBlocks(reporting);
      nextZone(reporting);
    }
  }
}

// A zone that is not well above its low watermark is not touched: isolated blocks would be missed.
function zoneBegin(reporting: usize, zone: usize): void {
  const mark = watermarkPages(zone, WMARK_LOW) + (capacity(reporting) << load<u32>(reporting, MIN_ORDER));
  if (!watermarkOk(zone, 0, mark, 0, 0)) {
    nextZone(reporting);
    return;
  }
  store<u32>(reporting, load<u32>(reporting, MIN_ORDER), ORDER);
  store<u32>(reporting, 0, TYPE);
  store<u32>(reporting, LIST, PC);
}

function nextZone(reporting: usize): void {
  store<u32>(reporting, load<u32>(reporting, PLACE) + 1, PLACE);
  store<u32>(reporting, ZONE, PC);
}

function listBegin(reporting: usize, zone: usize): void {
  const blocks = zoneFreeBlocks(zone, load<u32>(reporting, ORDER));
  const share = capacity(reporting) * BUDGET_SHARE;
  store<i32>(reporting, (blocks + share - 1) / share, BUDGET);
  store<u32>(reporting, WALK, PC);
}

// Types within an order, orders from the least on; then what is left of the zone's request goes out.
function nextList(reporting: usize): void {
  const last = load<u32>(reporting, TYPE) + 1 === MIGRATE_TYPES;
  const order = load<u32>(reporting, ORDER);
  store<u32>(reporting, last ? 0 : load<u32>(reporting, TYPE) + 1, TYPE);
  if (last) store<u32>(reporting, order + 1, ORDER);
  store<u32>(reporting, last && order + 1 === MAX_ORDER ? LEFTOVER : LIST, PC);
}

/**
 * page_reporting_cycle(): takes blocks that are not reported off one list, from its head. Where it stops, the list begins from then on.
 * @returns true when the request is full and another block is there
 */
function walk(reporting: usize, mm: usize, cpu: u32): bool {
  const order = load<u32>(reporting, ORDER);
  const type = load<u32>(reporting, TYPE);
  if (type === MIGRATE_ISOLATE) return false;
  const list = zoneFreeList(mmZoneAt(mm, load<u32>(reporting, PLACE)), order, type);
  for (let pfn = listHead(list); pfn !== PFN_NONE; ) {
    const next = pageNext(mm, pfn);
    if (!isReported(mm, pfn)) {
      const spent = load<i32>(reporting, BUDGET) < 0;
      const full = load<u32>(reporting, OFFSET) === 0;
      if (spent) store<u32>(reporting, REPORTING_REQUESTED, STATE);
      if (spent || full || !isolateFreePage(mm, cpu, pfn)) {
        listRotate(mm, list, pfn);
        return full && !spent;
      }
      push(reporting, pfn, order);
    }
    pfn = next;
  }
  return false;
}

function push(reporting: usize, pfn: u32, order: u32): void {
  store<u32>(reporting, load<u32>(reporting, OFFSET) - 1, OFFSET);
  const entry = reportingRequest(reporting);
  store<u32>(entry, pfn);
  store<u32>(entry, order, 4);
}

// page_reporting_drain(): the host has answered. A block that merges on its way back is looked at again, at its new order.
function drain(reporting: usize, mm: usize, cpu: u32): void {
  for (let left = reportingBlocks(reporting); left > 0; left--) {
    const entry = reportingRequest(reporting);
    const pfn = load<u32>(entry);
    const order = load<u32>(entry, 4);
    putbackIsolatedPage(mm, cpu, pfn, order);
    if (isFreeBlock(mm, mmZone(mm, pfn), pfn, order)) setReported(mm, pfn);
    store<u32>(reporting, load<u32>(reporting, OFFSET) + 1, OFFSET);
  }
}

export function checkReporting(reporting: usize): void {
  const mm = <usize>load<u32>(reporting, MM);
  assert(reportingBlocks(reporting) === 0 || reportingState(reporting) !== REPORTING_IDLE);
  for (let place = load<u32>(reporting, OFFSET); place < capacity(reporting); place++) {
    const entry = reporting + ENTRIES + <usize>place * ENTRY_BYTES;
    assert(pageList(pageOf(mm, load<u32>(entry))) === LIST_NONE);
    assert(load<u32>(entry, 4) >= load<u32>(reporting, MIN_ORDER));
  }
}

// A pass is asked for once; who schedules it sees the state.
function freed(reporting: usize): void {
  reportingAsk(reporting);
}

export function reportingInit(): void {
  reportingRegister(freed);
}
