import { PFN_NONE } from "../memory/layout";
import { STEP_AGAIN, STEP_DONE } from "../memory/status";
import { actorClock, actorCpu, actorGoesOn } from "../sim/actor";
import {
  emit,
  TRACE_MM_COMPACTION_BEGIN,
  TRACE_MM_COMPACTION_END,
  TRACE_MM_COMPACTION_FINISHED,
  TRACE_MM_COMPACTION_MIGRATEPAGES,
  TRACE_MM_COMPACTION_SUITABLE,
  TRACE_MM_COMPACTION_TRY_TO_COMPACT_PAGES,
} from "../sim/trace";
import {
  blockStart,
  COMPACT_COMPLETE,
  COMPACT_CONTENDED,
  COMPACT_CONTINUE,
  COMPACT_DEFERRED,
  COMPACT_NO_SUITABLE_PAGE,
  COMPACT_PARTIAL_SKIPPED,
  COMPACT_SKIPPED,
  COMPACT_SUCCESS,
  cachedFree,
  cachedMigrate,
  compactDefer,
  compactDeferReset,
  compactDeferred,
  compactForget,
  compactMet,
  compactRestarting,
  ORDER_ALL,
  RUN_ANY_BLOCK,
  RUN_ASYNC,
  RUN_DARING,
  RUN_WHOLE_BLOCKS,
  returnFree,
} from "./compactzone";
import {
  COMPACT_FAILED,
  COMPACT_FLAGS,
  COMPACT_FREE_PFN,
  COMPACT_FREE_SCANNED,
  COMPACT_LAST_MIGRATED,
  COMPACT_MIGRATE_PFN,
  COMPACT_MIGRATE_SCANNED,
  COMPACT_MODE,
  COMPACT_MOVED,
  COMPACT_ORDER,
  COMPACT_PC,
  COMPACT_PLACE,
  COMPACT_REST,
  COMPACT_RESULT,
  COMPACT_WANTED,
  COMPACT_WHOLE,
  COMPACT_ZONE,
} from "./context";
import { stealable } from "./fallback";
import { targetsRelease } from "./freescanner";
import { MIGRATE_ISOLATE, MIGRATE_MOVABLE, WMARK_LOW, WMARK_MIN, ZONE_MOVABLE } from "./gfp";
import {
  MM_COMPACT_FAIL,
  MM_COMPACT_STALL,
  MM_COMPACT_SUCCESS,
  mmCountAdd,
  mmZoneAt,
  mmZones,
} from "./instance";
import { listLength } from "./list";
import { lruAddDrain, lruAddDrainAll } from "./lrubatch";
import { MIGRATE_ASYNC, MIGRATE_SYNC } from "./migrate";
import {
  migratesBegin,
  migratesLeft,
  migratesMoved,
  migratesPutback,
  migratesStarved,
  migratesStep,
  REASON_COMPACTION,
} from "./migratepages";
import { isolateMigratepages, orderEnd } from "./migratescanner";
import { pcpDrain } from "./pcp";
import { watermarkOk, watermarkPages } from "./watermark";
import {
  MAX_ORDER,
  PAGEBLOCK_ORDER,
  zoneEndPfn,
  zoneFreeList,
  zoneFreePages,
  zoneIndex,
  zoneStartPfn,
} from "./zone";

// Compaction: pages move from a zone's start to free frames at its end, until a block of the wanted order is free or the two scanners meet
// (try_to_compact_pages(), compact_zone()). A request for an order takes the zones from the highest down; one for everything
// (compact_memory) takes them all.
//
//   ZONE: deferred? suitable? → LOOK: finished? the next 32 pages → MIGRATE → LOOK → … → ZONE
//
// The mode is that of migration, and how much is dared: async gives up a block of the order at its first page that cannot be moved; sync is the
// highest priority, is never deferred, begins at the zone's ends, ignores the hints, and takes free frames from any pageblock.
// Pages of processes are movable: so is the block that is wanted.
//
// Left out: kcompactd, and compaction within an allocation (nothing of this host's waits for a larger block); capture.

const ZONE: u32 = 0;
const LOOK: u32 = 1;
const MIGRATE: u32 = 2;

/** sysctl_extfrag_threshold: at or below, an allocation fails for lack of memory, above for fragmentation. */
const EXTFRAG_THRESHOLD: i32 = 500;
/** PAGE_ALLOC_COSTLY_ORDER */
const COSTLY_ORDER: u32 = 3;

/** Starts, for a block of `order` or ORDER_ALL, in MIGRATE_ASYNC, …. */
export function compactBegin(mm: usize, actor: usize, order: u32, mode: u32): void {
  assert(order === ORDER_ALL || order < MAX_ORDER);
  store<u32>(actor, order, COMPACT_ORDER);
  store<u32>(actor, mode, COMPACT_MODE);
  store<u32>(actor, flagsOf(order, mode), COMPACT_FLAGS);
  store<u32>(actor, mmZones(mm), COMPACT_PLACE);
  store<u32>(actor, COMPACT_SKIPPED, COMPACT_RESULT);
  store<u32>(actor, 0, COMPACT_MOVED);
  store<u32>(actor, 0, COMPACT_FAILED);
  store<u32>(actor, 0, COMPACT_MIGRATE_SCANNED);
  store<u32>(actor, 0, COMPACT_FREE_SCANNED);
  store<u32>(actor, ZONE, COMPACT_PC);
  if (order === ORDER_ALL) lruAddDrainAll(mm, actor);
  else emit(TRACE_MM_COMPACTION_TRY_TO_COMPACT_PAGES, actorClock(actor), order, MIGRATE_SYNC - mode, 0, 0);
}

function flagsOf(order: u32, mode: u32): u32 {
  const whole = order === ORDER_ALL;
  if (mode === MIGRATE_ASYNC) return RUN_ASYNC | (whole ? RUN_DARING : RUN_WHOLE_BLOCKS);
  if (mode !== MIGRATE_SYNC) return whole ? RUN_DARING : 0;
  return RUN_DARING | (whole ? 0 : RUN_ANY_BLOCK);
}

/** The best that came of a zone, COMPACT_*. */
export function compactResult(actor: usize): u32 {
  return load<u32>(actor, COMPACT_RESULT);
}

/** Pages that have been moved; that were isolated and could not be. */
export function compactMoved(actor: usize): u32 {
  return load<u32>(actor, COMPACT_MOVED);
}

export function compactFailed(actor: usize): u32 {
  return load<u32>(actor, COMPACT_FAILED);
}

/** Frames that the two scanners have looked at; of a free block that was taken, every one. */
export function compactMigrateScanned(actor: usize): u32 {
  return load<u32>(actor, COMPACT_MIGRATE_SCANNED);
}

export function compactFreeScanned(actor: usize): u32 {
  return load<u32>(actor, COMPACT_FREE_SCANNED);
}

/** Goes on. Returns STEP_*. */
export function compactStep(mm: usize, actor: usize): i32 {
  while (true) {
    const pc = load<u32>(actor, COMPACT_PC);
    let step = STEP_AGAIN;
    if (pc === ZONE) {
      const place = load<u32>(actor, COMPACT_PLACE);
      if (place === 0 || (!all(actor) && compactResult(actor) === COMPACT_SUCCESS)) return ended(mm, actor);
      store<u32>(actor, place - 1, COMPACT_PLACE);
      store<u32>(actor, <u32>mmZoneAt(mm, place - 1), COMPACT_ZONE);
      if (zoneBegin(mm, actor)) store<u32>(actor, LOOK, COMPACT_PC);
    } else if (pc === LOOK) {
      look(mm, actor);
    } else {
      step = migratesStep(mm, actor);
      if (step === STEP_DONE) migrated(mm, actor);
    }
    if (step === STEP_DONE || (step === STEP_AGAIN && actorGoesOn(actor))) continue;
    return step; // yield: between batches; blocks that have become free may be taken by anybody
  }
}

function all(actor: usize): bool {
  return load<u32>(actor, COMPACT_ORDER) === ORDER_ALL;
}

function zoneOf(actor: usize): usize {
  return <usize>load<u32>(actor, COMPACT_ZONE);
}

function sync(actor: usize): bool {
  return (load<u32>(actor, COMPACT_FLAGS) & RUN_ASYNC) === 0;
}

function best(actor: usize, result: u32): void {
  store<u32>(actor, max<u32>(compactResult(actor), result), COMPACT_RESULT);
}

function ended(mm: usize, actor: usize): i32 {
  const result = compactResult(actor);
  if (all(actor) || result <= COMPACT_DEFERRED) return STEP_DONE;
  mmCountAdd(mm, MM_COMPACT_STALL, 1);
  mmCountAdd(mm, result === COMPACT_SUCCESS ? MM_COMPACT_SUCCESS : MM_COMPACT_FAIL, 1);
  return STEP_DONE;
}

// False: nothing is to be done in this zone, and the result says why.
function zoneBegin(mm: usize, actor: usize): bool {
  const zone = zoneOf(actor);
  const order = load<u32>(actor, COMPACT_ORDER);
  const time = actorClock(actor);
  const dares = (load<u32>(actor, COMPACT_FLAGS) & RUN_DARING) !== 0;
  if (!dares && compactDeferred(zone, order, time)) {
    best(actor, COMPACT_DEFERRED);
    return false;
  }
  if (!all(actor)) {
    const suits = suitable(zone, order);
    emit(TRACE_MM_COMPACTION_SUITABLE, time, zoneIndex(zone), order, suits, 0);
    if (suits !== COMPACT_CONTINUE) {
      if (suits === COMPACT_SUCCESS) compactDeferReset(zone, order, time);
      best(actor, suits);
      return false;
    }
    if (compactRestarting(zone, order)) compactForget(zone);
  }
  const start = zoneStartPfn(zone);
  const migrate = dares ? start : cachedMigrate(zone, sync(actor));
  const free = dares ? blockStart(zoneEndPfn(zone) - 1) : cachedFree(zone);
  store<u32>(actor, migrate, COMPACT_MIGRATE_PFN);
  store<u32>(actor, free, COMPACT_FREE_PFN);
  store<u32>(actor, migrate === start ? 1 : 0, COMPACT_WHOLE);
  store<u32>(actor, PFN_NONE, COMPACT_LAST_MIGRATED);
  trace(actor, TRACE_MM_COMPACTION_BEGIN, 0);
  lruAddDrain(mm, actor);
  return true;
}

// compaction_suitable(): enough is free, if not in one piece.
function suitable(zone: usize, order: u32): u32 {
  const least = watermarkPages(zone, WMARK_MIN);
  if (watermarkOk(zone, order, least, ZONE_MOVABLE, 0)) return COMPACT_SUCCESS;
  const mark = order > COSTLY_ORDER ? watermarkPages(zone, WMARK_LOW) : least;
  if (!watermarkOk(zone, 0, mark + (2 << order), ZONE_MOVABLE, 0)) return COMPACT_SKIPPED;
  if (order <= COSTLY_ORDER) return COMPACT_CONTINUE;
  const index = fragmentation(zone, order);
  return index >= 0 && index <= EXTFRAG_THRESHOLD ? COMPACT_SKIPPED : COMPACT_CONTINUE;
}

/** fragmentation_index(): 0..1000, how much an allocation of `order` would fail for fragmentation; -1000 when it would not. */
function fragmentation(zone: usize, order: u32): i32 {
  let blocks: u32 = 0;
  let fitting: u32 = 0;
  for (let each: u32 = 0; each < MAX_ORDER; each++) {
    let found: u32 = 0;
    for (let type: u32 = 0; type < MIGRATE_ISOLATE; type++)
      found += listLength(zoneFreeList(zone, each, type));
    blocks += found;
    if (each >= order) fitting += found;
  }
  if (blocks === 0) return 0;
  if (fitting !== 0) return -1000;
  return 1000 - <i32>((1000 + ((<u64>zoneFreePages(zone) * 1000) >> order)) / blocks);
}

function trace(actor: usize, event: u32, status: u32): void {
  const zone = zoneOf(actor);
  const ends = <u64>zoneStartPfn(zone) | ((<u64>zoneEndPfn(zone)) << 32);
  const scanners =
    <u64>load<u32>(actor, COMPACT_MIGRATE_PFN) | ((<u64>load<u32>(actor, COMPACT_FREE_PFN)) << 32);
  emit(event, actorClock(actor), ends, scanners, sync(actor) ? 1 : 0, status);
}

// One round of compact_zone() until its pages are to migrate.
function look(mm: usize, actor: usize): void {
  const result = finished(actor);
  if (result !== COMPACT_CONTINUE) return zoneEnd(mm, actor, result);
  const begins = load<u32>(actor, COMPACT_MIGRATE_PFN);
  const last = load<u32>(actor, COMPACT_LAST_MIGRATED);
  // A pageblock that is looked at a second time is finished: a third time would find the same again.
  const again = last !== PFN_NONE && blockStart(last) === blockStart(begins);
  store<u32>(actor, again ? 1 : 0, COMPACT_REST);
  const pages = isolateMigratepages(mm, actor);
  if (pages === 0) return drain(mm, actor);
  const first = max<u32>(zoneStartPfn(zoneOf(actor)), blockStart(load<u32>(actor, COMPACT_MIGRATE_PFN) - 1));
  store<u32>(actor, first, COMPACT_LAST_MIGRATED);
  store<u32>(actor, pages, COMPACT_WANTED);
  migratesBegin(mm, actor, load<u32>(actor, COMPACT_MODE), REASON_COMPACTION);
  store<u32>(actor, MIGRATE, COMPACT_PC);
}

function met(actor: usize): bool {
  const migrate = load<u32>(actor, COMPACT_MIGRATE_PFN) >> PAGEBLOCK_ORDER;
  return load<u32>(actor, COMPACT_FREE_PFN) >> PAGEBLOCK_ORDER <= migrate;
}

// compact_finished()
function finished(actor: usize): u32 {
  const zone = zoneOf(actor);
  if (met(actor)) {
    compactMet(zone);
    return load<u32>(actor, COMPACT_WHOLE) !== 0 ? COMPACT_COMPLETE : COMPACT_PARTIAL_SKIPPED;
  }
  const pfn = load<u32>(actor, COMPACT_MIGRATE_PFN);
  if (all(actor) || pfn !== blockStart(pfn)) return COMPACT_CONTINUE;
  const order = load<u32>(actor, COMPACT_ORDER);
  const found = blockThere(zone, order) ? COMPACT_SUCCESS : COMPACT_NO_SUITABLE_PAGE;
  emit(TRACE_MM_COMPACTION_FINISHED, actorClock(actor), zoneIndex(zone), order, found, 0);
  return found === COMPACT_SUCCESS ? COMPACT_SUCCESS : COMPACT_CONTINUE;
}

// A block of the order, of the wanted type or such as would be taken whole.
function blockThere(zone: usize, order: u32): bool {
  for (; order < MAX_ORDER; order++) {
    if (listLength(zoneFreeList(zone, order, MIGRATE_MOVABLE)) !== 0) return true;
    if (stealable(zone, order, MIGRATE_MOVABLE)) return true;
  }
  return false;
}

// The pages of a batch have moved, or not.
function migrated(mm: usize, actor: usize): void {
  const moved = migratesMoved(actor);
  const left = migratesLeft(actor);
  store<u32>(actor, compactMoved(actor) + moved, COMPACT_MOVED);
  store<u32>(actor, compactFailed(actor) + left, COMPACT_FAILED);
  emit(TRACE_MM_COMPACTION_MIGRATEPAGES, actorClock(actor), moved, left, 0, 0);
  const starved = migratesStarved(actor);
  migratesPutback(mm, actor);
  store<u32>(actor, LOOK, COMPACT_PC);
  if (starved && !met(actor)) return zoneEnd(mm, actor, COMPACT_CONTENDED);
  if (left !== 0 && !sync(actor) && !all(actor)) {
    // The block of the order will not become free: what is left of it may stay.
    const pfn = orderEnd(actor, load<u32>(actor, COMPACT_MIGRATE_PFN) - 1);
    store<u32>(actor, pfn, COMPACT_MIGRATE_PFN);
    store<u32>(actor, PFN_NONE, COMPACT_LAST_MIGRATED);
  }
  drain(mm, actor);
}

// Behind a block of the order from which pages have moved: the lists of this CPU may hold what is missing for it.
function drain(mm: usize, actor: usize): void {
  const last = load<u32>(actor, COMPACT_LAST_MIGRATED);
  if (all(actor) || last === PFN_NONE) return;
  const order = load<u32>(actor, COMPACT_ORDER);
  if (last >= (load<u32>(actor, COMPACT_MIGRATE_PFN) >> order) << order) return;
  lruAddDrain(mm, actor);
  pcpDrain(mm, zoneOf(actor), actorCpu(actor));
  store<u32>(actor, PFN_NONE, COMPACT_LAST_MIGRATED);
}

function zoneEnd(mm: usize, actor: usize, result: u32): void {
  const zone = zoneOf(actor);
  const order = load<u32>(actor, COMPACT_ORDER);
  const time = actorClock(actor);
  const highest = targetsRelease(mm, actor);
  if (highest !== PFN_NONE) returnFree(zone, blockStart(highest));
  trace(actor, TRACE_MM_COMPACTION_END, result);
  best(actor, result);
  store<u32>(actor, ZONE, COMPACT_PC);
  if (all(actor)) return;
  if (result === COMPACT_SUCCESS) compactDeferReset(zone, order, time);
  else if (sync(actor) && result !== COMPACT_CONTENDED) compactDefer(zone, order, time);
}
