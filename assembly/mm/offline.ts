import { EBUSY, EINTR, OK, STEP_AGAIN, STEP_DONE } from "../memory/status";
import { actorClock, actorCpu, actorGoesOn, actorSpend, STAGE_RECLAIM } from "../sim/actor";
import { COST_SCAN_FRAME_NS, cost } from "../sim/costs";
import {
  OFFLINE_END,
  OFFLINE_FAILED,
  OFFLINE_MOVED,
  OFFLINE_PASSES,
  OFFLINE_PC,
  OFFLINE_START,
  OFFLINE_STATUS,
  OFFLINE_UNTIL,
} from "./context";
import { moveFreepagesBlock } from "./fallback";
import { freeOrder, isFree } from "./freeblock";
import { MIGRATE_ISOLATE, MIGRATE_MOVABLE } from "./gfp";
import { mmWatermarkScale, mmZone } from "./instance";
import { lruAddDrainAll } from "./lrubatch";
import { MIGRATE_SYNC } from "./migrate";
import {
  migrateIsolate,
  migrateIsolated,
  migratesBegin,
  migratesLeft,
  migratesMoved,
  migratesPasses,
  migratesPutback,
  migratesStep,
  REASON_MEMORY_HOTPLUG,
} from "./migratepages";
import { PG_SLAB, PG_TABLE, pageOf, pageRefs, pageTest } from "./page";
import { drainAllPages } from "./pagealloc";
import { watermarksSetAll } from "./watermark";
import {
  blockType,
  MAX_ORDER,
  PAGEBLOCK_PAGES,
  setBlockType,
  setZoneManaged,
  setZonePresent,
  zoneManaged,
  zoneModFree,
  zonePresent,
} from "./zone";

// A range of frames goes offline: offline_pages(). Its pageblocks become MIGRATE_ISOLATE, so that nothing is allocated from them any
// more and what is freed in them stays there; then what is in use is migrated away, 256 pages at a time, over and over, until every
// frame is free, or the time given is over (a signal, in the kernel, or its limit of 120 s up to 2013). Frames that are offline stand
// on the isolated free lists for ever and count as neither present nor managed.
//
//   ISOLATE → LOOK → MIGRATE → LOOK → … → all free, or undone
//
// Left out: notifiers, huge free pages.
// A page that is on no list at the moment (on its way to one, or isolated by reclaim) is waited for.
//
// invariant: without success every pageblock has its type again, and its free blocks their lists

const ISOLATE: u32 = 0;
const LOOK: u32 = 1;
const MIGRATE: u32 = 2;

/** NR_OFFLINE_AT_ONCE_PAGES */
const AT_ONCE: u32 = 256;
/** Ranges are of whole blocks of the largest order, so that no free block stands across an end. */
export const OFFLINE_UNIT: u32 = 1 << (MAX_ORDER - 1);

/** Starts with frames `start`..`end`-1 of one zone, both multiples of OFFLINE_UNIT; given up at `until`. */
export function offlineBegin(actor: usize, start: u32, end: u32, until: u64): void {
  assert(start % OFFLINE_UNIT === 0 && end % OFFLINE_UNIT === 0 && start < end);
  store<u32>(actor, start, OFFLINE_START);
  store<u32>(actor, end, OFFLINE_END);
  store<u64>(actor, until, OFFLINE_UNTIL);
  store<u32>(actor, 0, OFFLINE_MOVED);
  store<u32>(actor, 0, OFFLINE_FAILED);
  store<u32>(actor, 0, OFFLINE_PASSES);
  store<u32>(actor, OK, OFFLINE_STATUS);
  store<u32>(actor, ISOLATE, OFFLINE_PC);
}

/** OK, EBUSY for a page that cannot be moved, EINTR when the time was over. */
export function offlineStatus(actor: usize): i32 {
  return load<i32>(actor, OFFLINE_STATUS);
}

/** Pages moved. */
export function offlineMoved(actor: usize): u32 {
  return load<u32>(actor, OFFLINE_MOVED);
}

/** Pages that a round could not move, each counted once a round. */
export function offlineFailed(actor: usize): u32 {
  return load<u32>(actor, OFFLINE_FAILED);
}

/** Passes over pages that were to migrate. */
export function offlinePasses(actor: usize): u32 {
  return load<u32>(actor, OFFLINE_PASSES);
}

/** Goes on. Returns STEP_*. */
export function offlineStep(mm: usize, actor: usize): i32 {
  while (true) {
    const pc = load<u32>(actor, OFFLINE_PC);
    let step = STEP_AGAIN;
    if (pc === ISOLATE) {
      if (!isolate(mm, actor)) return ended(actor, EBUSY);
      store<u32>(actor, LOOK, OFFLINE_PC);
    } else if (pc === LOOK) {
      if (look(mm, actor)) return ended(actor, OK);
      if (actorClock(actor) >= load<u64>(actor, OFFLINE_UNTIL)) {
        migratesPutback(mm, actor);
        undo(mm, actor);
        return ended(actor, EINTR);
      }
      if (migrateIsolated(actor) !== 0) {
        migratesBegin(mm, actor, MIGRATE_SYNC, REASON_MEMORY_HOTPLUG);
        store<u32>(actor, MIGRATE, OFFLINE_PC);
      }
    } else {
      step = migratesStep(mm, actor);
      if (step === STEP_DONE) {
        add(actor, OFFLINE_MOVED, migratesMoved(actor));
        add(actor, OFFLINE_FAILED, migratesLeft(actor));
        add(actor, OFFLINE_PASSES, migratesPasses(actor));
        migratesPutback(mm, actor);
        store<u32>(actor, LOOK, OFFLINE_PC);
      }
    }
    if (step === STEP_DONE || (step === STEP_AGAIN && actorGoesOn(actor))) continue;
    return step;
  }
}

function add(actor: usize, at: usize, amount: u32): void {
  store<u32>(actor + at, load<u32>(actor + at) + amount);
}

function ended(actor: usize, status: i32): i32 {
  store<i32>(actor, status, OFFLINE_STATUS);
  return STEP_DONE;
}

// start_isolate_page_range(): all pageblocks, or none.
function isolate(mm: usize, actor: usize): bool {
  lruAddDrainAll(mm, actor);
  drainAllPages(mm);
  const start = load<u32>(actor, OFFLINE_START);
  const end = load<u32>(actor, OFFLINE_END);
  const zone = mmZone(mm, start);
  for (let pfn = start; pfn < end; pfn++) {
    if (pageTest(pageOf(mm, pfn), PG_TABLE | PG_SLAB)) return false; // has_unmovable_pages()
    if (blockType(zone, pfn) !== MIGRATE_MOVABLE) return false;
  }
  setType(mm, actor, MIGRATE_ISOLATE);
  actorSpend(actor, STAGE_RECLAIM, (end - start) * cost(COST_SCAN_FRAME_NS));
  return true;
}

function undo(mm: usize, actor: usize): void {
  setType(mm, actor, MIGRATE_MOVABLE);
}

// Every pageblock of the range and its free blocks; free pages count where something can be allocated from them.
function setType(mm: usize, actor: usize, type: u32): void {
  const start = load<u32>(actor, OFFLINE_START);
  const end = load<u32>(actor, OFFLINE_END);
  const zone = mmZone(mm, start);
  for (let pfn = start; pfn < end; pfn += PAGEBLOCK_PAGES) {
    setBlockType(zone, pfn, type);
    const moved = <i32>moveFreepagesBlock(mm, zone, pfn, type);
    if (moved !== 0) zoneModFree(zone, actorCpu(actor), type === MIGRATE_ISOLATE ? -moved : moved);
  }
}

// Isolates what is to be migrated next. True: every frame is free, and offline now.
function look(mm: usize, actor: usize): bool {
  lruAddDrainAll(mm, actor);
  drainAllPages(mm);
  const start = load<u32>(actor, OFFLINE_START);
  const end = load<u32>(actor, OFFLINE_END);
  let free = true;
  let looks: u32 = 0;
  let pfn = start;
  while (pfn < end && migrateIsolated(actor) < AT_ONCE) {
    const page = pageOf(mm, pfn);
    looks++;
    if (isFree(mm, pfn)) {
      pfn += 1 << freeOrder(mm, pfn);
      continue;
    }
    free = false;
    if (pageRefs(page) !== 0) migrateIsolate(mm, actor, pfn);
    pfn++;
  }
  actorSpend(actor, STAGE_RECLAIM, looks * cost(COST_SCAN_FRAME_NS));
  if (!free) return false;
  const zone = mmZone(mm, start);
  setZonePresent(zone, zonePresent(zone) - (end - start));
  setZoneManaged(zone, zoneManaged(zone) - (end - start));
  watermarksSetAll(mm, mmWatermarkScale(mm));
  return true;
}
