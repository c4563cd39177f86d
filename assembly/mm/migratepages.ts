import { PFN_NONE } from "../memory/layout";
import { STEP_AGAIN, STEP_DONE } from "../memory/status";
import { actorClock, actorGoesOn } from "../sim/actor";
import { emit, TRACE_MM_MIGRATE_PAGES, TRACE_MM_MIGRATE_PAGES_START } from "../sim/trace";
import {
  MIGRATE_MODE,
  MIGRATES_FAILED,
  MIGRATES_LIMIT,
  MIGRATES_LIST,
  MIGRATES_MOVED,
  MIGRATES_NEXT,
  MIGRATES_PASS,
  MIGRATES_PC,
  MIGRATES_REASON,
  MIGRATES_RETRY,
} from "./context";
import { pagePut } from "./free";
import {
  MM_MIGRATE_ATTEMPTED,
  MM_MIGRATE_FAILED,
  MM_MIGRATE_SUCCEEDED,
  mmCountAdd,
  mmSpace,
} from "./instance";
import { listAddTail, listHead, listLength, listRemove } from "./list";
import { lruAddDrain, lruCacheAdd } from "./lrubatch";
import { lruRemove } from "./memcg";
import {
  MIGRATE_AGAIN,
  MIGRATE_NO_MEMORY,
  MIGRATED,
  migrateBegin,
  migrateResult,
  migrateStep,
} from "./migrate";
import { LIST_ISOLATED, PG_LRU, pageGet, pageNext, pageOf, pageOwner, pageTest } from "./page";
import { spaceMemcg } from "./space";

// Migration of a list of isolated pages: migrate_pages(). Ten passes are made over what can still succeed; from the fourth on a pass
// waits for locks. What fails for good is set aside, a missing frame ends the whole. Who asks has drained the batches in front of the
// LRU lists (of all CPUs, but for compaction) and keeps his own empty: pages that go back are put on their lists at once.

/** Why pages migrate (MR_*), as it prints. */
export const REASON_COMPACTION: u32 = 0;
export const REASON_MEMORY_HOTPLUG: u32 = 2;
export const REASON_SYSCALL: u32 = 3;

const PASSES: u32 = 10;
/** The first pass that waits for locks. */
const FORCED: u32 = 3;

const NEXT: u32 = 0;
const PAGE: u32 = 1;

/** Takes the page off its LRU list and puts it behind those that are to migrate. False when it is on none. */
export function migrateIsolate(mm: usize, actor: usize, pfn: u32): bool {
  const page = pageOf(mm, pfn);
  if (!pageTest(page, PG_LRU)) return false;
  lruRemove(mm, spaceMemcg(mmSpace(mm, pageOwner(page))), pfn);
  pageGet(page);
  listAddTail(mm, actor + MIGRATES_LIST, LIST_ISOLATED, pfn);
  return true;
}

/** Pages isolated so far. */
export function migrateIsolated(actor: usize): u32 {
  return listLength(actor + MIGRATES_LIST);
}

/** Starts migrating the pages of migrateIsolate(): MIGRATE_ASYNC, …; `reason`: REASON_*. */
export function migratesBegin(mm: usize, actor: usize, mode: u32, reason: u32): void {
  assert(listLength(actor + MIGRATES_FAILED) === 0);
  store<u32>(actor, mode, MIGRATE_MODE);
  store<u32>(actor, reason, MIGRATES_REASON);
  store<u32>(actor, 0, MIGRATES_MOVED);
  store<u32>(actor, 0, MIGRATES_PASS);
  store<u32>(actor, 0, MIGRATES_RETRY);
  store<u32>(actor, PASSES, MIGRATES_LIMIT);
  store<u32>(actor, listHead(actor + MIGRATES_LIST), MIGRATES_NEXT);
  store<u32>(actor, NEXT, MIGRATES_PC);
  mmCountAdd(mm, MM_MIGRATE_ATTEMPTED, migrateIsolated(actor));
  emit(TRACE_MM_MIGRATE_PAGES_START, actorClock(actor), mode, reason, 0, 0);
}

/** The migration that has just begun makes no more than one pass: what the explorer looks at. */
export function migratesOnce(actor: usize): void {
  store<u32>(actor, 1, MIGRATES_LIMIT);
}

/** Pages that have been moved. */
export function migratesMoved(actor: usize): u32 {
  return load<u32>(actor, MIGRATES_MOVED);
}

/** It ended because there was no frame to move a page to. */
export function migratesStarved(actor: usize): bool {
  return migrateResult(actor) === MIGRATE_NO_MEMORY;
}

/** Passes that were made. */
export function migratesPasses(actor: usize): u32 {
  return load<u32>(actor, MIGRATES_PASS);
}

/** Goes on. STEP_DONE: all is over; what could not be moved is isolated until migratesPutback(). Returns STEP_*. */
export function migratesStep(mm: usize, actor: usize): i32 {
  const list = actor + MIGRATES_LIST;
  while (true) {
    const pfn = load<u32>(actor, MIGRATES_NEXT);
    if (load<u32>(actor, MIGRATES_PC) === NEXT) {
      if (pfn === PFN_NONE) {
        const pass = load<u32>(actor, MIGRATES_PASS) + 1;
        store<u32>(actor, pass, MIGRATES_PASS);
        if (pass === load<u32>(actor, MIGRATES_LIMIT) || load<u32>(actor, MIGRATES_RETRY) === 0)
          return ended(mm, actor);
        store<u32>(actor, 0, MIGRATES_RETRY);
        store<u32>(actor, listHead(list), MIGRATES_NEXT);
        continue;
      }
      const forced = load<u32>(actor, MIGRATES_PASS) >= FORCED;
      const compacts = load<u32>(actor, MIGRATES_REASON) === REASON_COMPACTION;
      migrateBegin(actor, pfn, load<u32>(actor, MIGRATE_MODE), forced, compacts);
      store<u32>(actor, PAGE, MIGRATES_PC);
    }
    const step = migrateStep(mm, actor);
    if (step === STEP_AGAIN && actorGoesOn(actor)) continue;
    if (step !== STEP_DONE) return step;
    store<u32>(actor, NEXT, MIGRATES_PC);
    store<u32>(actor, pageNext(mm, pfn), MIGRATES_NEXT);
    const result = migrateResult(actor);
    if (result === MIGRATED) {
      listRemove(mm, list, pfn);
      pagePut(mm, pfn, actor);
      store<u32>(actor, migratesMoved(actor) + 1, MIGRATES_MOVED);
    } else if (result === MIGRATE_AGAIN) {
      store<u32>(actor, 1, MIGRATES_RETRY);
    } else if (result === MIGRATE_NO_MEMORY) {
      return ended(mm, actor);
    } else {
      listRemove(mm, list, pfn);
      listAddTail(mm, actor + MIGRATES_FAILED, LIST_ISOLATED, pfn);
    }
  }
}

/** Pages that could not be moved; before migratesPutback(). */
export function migratesLeft(actor: usize): u32 {
  return listLength(actor + MIGRATES_LIST) + listLength(actor + MIGRATES_FAILED);
}

function ended(mm: usize, actor: usize): i32 {
  const moved = migratesMoved(actor);
  const left = migratesLeft(actor);
  mmCountAdd(mm, MM_MIGRATE_SUCCEEDED, moved);
  mmCountAdd(mm, MM_MIGRATE_FAILED, left);
  const how = <u64>load<u32>(actor, MIGRATE_MODE) | ((<u64>load<u32>(actor, MIGRATES_REASON)) << 8);
  emit(TRACE_MM_MIGRATE_PAGES, actorClock(actor), moved, left, how, 0);
  return STEP_DONE;
}

/** putback_movable_pages(): what is left goes back to its LRU lists. */
export function migratesPutback(mm: usize, actor: usize): void {
  putback(mm, actor, actor + MIGRATES_FAILED);
  putback(mm, actor, actor + MIGRATES_LIST);
  lruAddDrain(mm, actor);
}

function putback(mm: usize, actor: usize, list: usize): void {
  for (let pfn = listHead(list); pfn !== PFN_NONE; pfn = listHead(list)) {
    listRemove(mm, list, pfn);
    lruCacheAdd(mm, actor, pfn);
    pagePut(mm, pfn, actor);
  }
}
