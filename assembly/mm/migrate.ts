import { PFN_NONE } from "../memory/layout";
import { STEP_AGAIN, STEP_BLOCKED, STEP_DONE } from "../memory/status";
import { actorClock, actorGoesOn, actorSpend, STAGE_DEVICE, STAGE_LOCK, STAGE_RECLAIM } from "../sim/actor";
import { COST_MIGRATE_PAGE_NS, COST_RECLAIM_SCAN_PAGE_NS, cost } from "../sim/costs";
import { DIGEST_MIGRATE, digestAdd } from "../sim/digest";
import { emit, TRACE_REMOVE_MIGRATION_PTE, TRACE_SET_MIGRATION_PTE } from "../sim/trace";
import { waitqueueSleep } from "../sim/waitqueue";
import { allocated, allocStep, allocTargetBegin } from "./alloc";
import {
  MIGRATE_COMPACTS,
  MIGRATE_FORCE,
  MIGRATE_MODE,
  MIGRATE_NEW,
  MIGRATE_OLD,
  MIGRATE_PC,
  MIGRATE_RESULT,
  MIGRATE_TARGET,
  MIGRATE_WAS_MAPPED,
} from "./context";
import { pageFreeUncharged, pagePut } from "./free";
import { targetReturn, targetTake } from "./freescanner";
import { frameStamp, mmSpace, mmStamped, mmThrottled, setFrameStamp } from "./instance";
import { lruAddDrain, lruCacheAdd } from "./lrubatch";
import { memcgUsage, setMemcgUsage } from "./memcg";
import { notifyMoved, notifyStayed } from "./movehook";
import { notifyInvalidateEnd, notifyInvalidateStart } from "./notifier";
import {
  PG_ACTIVE,
  PG_ANON_EXCLUSIVE,
  PG_DIRTY,
  PG_KSM,
  PG_LAZYFREE,
  PG_MAPPING_REPLACED,
  PG_READAHEAD,
  PG_REFERENCED,
  PG_SWAPCACHE,
  PG_UPTODATE,
  PG_WORKINGSET,
  PG_WRITEBACK,
  pageClear,
  pageFlags,
  pageGet,
  pageIndex,
  pageMaps,
  pageOf,
  pageOwner,
  pagePrivate,
  pageRefs,
  pageSet,
  pageTest,
  pageUsed,
  setPageMaps,
  setPageOwner,
  setPagePrivate,
  setPageRefs,
  setPageUsed,
} from "./page";
import { pageTrylock, pageUnlock, pageWaitLocked } from "./pagelock";
import {
  ENTRY_NONE,
  migrationExclusive,
  migrationPfn,
  PTE_DIRTY,
  pteMigration,
  pteOfMigrated,
  pteOfMigration,
  ptePfn,
  ptePresent,
} from "./pte";
import { setSpacePte, spaceHva, spaceMemcg, spacePte } from "./space";
import { swapCacheSet } from "./swapmap";
import { thpMapped, thpSplitBegin, thpSplitStep } from "./thp";

// Migration of one page to another frame: unmap_and_move() of 6.1 for an anonymous page. Its caller has isolated it and holds the
// reference of that.
//
//   TARGET ─ LOCK ─ SPLIT? ─ UNMAP_START ─ UNMAP ─ UNMAP_END ─ MOVE ─ RESTORE
//                     |                                          └ more references than expected: RESTORE to the old frame
//                     └ nothing maps it: MOVE
//
// Both frames are locked from LOCK to RESTORE; in between the pte is a migration entry, and a fault that meets it waits for the lock of
// the old frame. Page-table references are gone by MOVE, so that 1 (the isolation) and 1 more in the swap cache are all that may be
// left; the count is looked at once, and what holds the page otherwise (get_user_pages, a batch in front of the lists, another
// isolation) makes the attempt fail. The charge moves with the page.
//
// A huge page is split first. Left out: pages that several processes map, NUMA nodes, file pages.

/** Never waits. */
export const MIGRATE_ASYNC: u32 = 0;
/** Waits for locks, not for writeback. */
export const MIGRATE_SYNC_LIGHT: u32 = 1;
/** Waits for writeback too. */
export const MIGRATE_SYNC: u32 = 2;

/** The page has another frame now, or was freed meanwhile: it is on no list of the caller's and its frame is free. */
export const MIGRATED: u32 = 0;
/** EAGAIN: another pass may succeed. */
export const MIGRATE_AGAIN: u32 = 1;
/** EBUSY: it is of no use to try again. */
export const MIGRATE_BUSY: u32 = 2;
/** ENOMEM: there is no frame to move it to. */
export const MIGRATE_NO_MEMORY: u32 = 3;

const TARGET: u32 = 0;
const ALLOC: u32 = 1;
const LOCK: u32 = 2;
const SPLIT: u32 = 3;
const UNMAP_START: u32 = 4;
const UNMAP: u32 = 5;
const UNMAP_END: u32 = 6;
const MOVE: u32 = 7;
const RESTORE: u32 = 8;

// What goes along with the contents: migrate_page_states().
const CARRIED =
  PG_REFERENCED |
  PG_UPTODATE |
  PG_DIRTY |
  PG_ACTIVE |
  PG_WORKINGSET |
  PG_READAHEAD |
  PG_LAZYFREE |
  PG_SWAPCACHE;

/**
 * Starts with the isolated page `pfn`.
 *
 * @param force where the mode allows it, wait for a lock
 * @param compacts the frame to move to is one of the free scanner's, not the allocator's
 */
export function migrateBegin(actor: usize, pfn: u32, mode: u32, force: bool, compacts: bool): void {
  store<u32>(actor, pfn, MIGRATE_OLD);
  store<u32>(actor, PFN_NONE, MIGRATE_NEW);
  store<u32>(actor, mode, MIGRATE_MODE);
  store<u32>(actor, force ? 1 : 0, MIGRATE_FORCE);
  store<u32>(actor, compacts ? 1 : 0, MIGRATE_COMPACTS);
  store<u32>(actor, 0, MIGRATE_WAS_MAPPED);
  store<u32>(actor, TARGET, MIGRATE_PC);
}

/** MIGRATED, MIGRATE_AGAIN, …; after migrateStep() has returned STEP_DONE. */
export function migrateResult(actor: usize): u32 {
  return load<u32>(actor, MIGRATE_RESULT);
}

/** The frame that the page has moved to. */
export function migrateTarget(actor: usize): u32 {
  return load<u32>(actor, MIGRATE_NEW);
}

function goto(actor: usize, pc: u32): void {
  store<u32>(actor, pc, MIGRATE_PC);
}

function finish(actor: usize, result: u32): i32 {
  store<u32>(actor, result, MIGRATE_RESULT);
  return STEP_DONE;
}

/** Goes on with the page. Returns STEP_*. */
export function migrateStep(mm: usize, actor: usize): i32 {
  const pfn = load<u32>(actor, MIGRATE_OLD);
  const page = pageOf(mm, pfn);
  while (true) {
    const pc = load<u32>(actor, MIGRATE_PC);
    let step = STEP_AGAIN;
    if (pc === TARGET) {
      if (pageRefs(page) === 1) return finish(actor, MIGRATED); // freed meanwhile
      if (!compacts(actor)) allocTargetBegin(actor, mmSpace(mm, pageOwner(page)));
      goto(actor, ALLOC);
      continue;
    } else if (pc === ALLOC) {
      step = compacts(actor) ? STEP_DONE : allocStep(mm, actor);
      if (step !== STEP_DONE) return step;
      const target = compacts(actor) ? targetTake(mm, actor, mmSpace(mm, pageOwner(page))) : allocated(actor);
      if (target === PFN_NONE) return finish(actor, MIGRATE_NO_MEMORY);
      store<u32>(actor, target, MIGRATE_NEW);
      actorSpend(actor, STAGE_RECLAIM, cost(COST_RECLAIM_SCAN_PAGE_NS));
      goto(actor, LOCK);
    } else if (pc === LOCK) {
      step = lock(mm, actor);
      if (step === STEP_DONE) return STEP_DONE;
    } else if (pc === SPLIT) {
      step = thpSplitStep(actor);
      if (step === STEP_DONE) goto(actor, UNMAP_START);
    } else if (pc === UNMAP_START || pc === UNMAP_END) {
      const index = pageIndex(page);
      step =
        pc === UNMAP_START
          ? notifyInvalidateStart(actor, pageOwner(page), index, index + 1)
          : notifyInvalidateEnd(actor, pageOwner(page), index, index + 1);
      if (step === STEP_DONE) goto(actor, pc + 1);
    } else if (pc === UNMAP) {
      unmap(mm, actor, pfn);
      goto(actor, UNMAP_END);
    } else if (pc === MOVE) {
      move(mm, actor);
      goto(actor, RESTORE);
    } else {
      assert(pc === RESTORE);
      return restore(mm, actor);
    }
    if (step === STEP_DONE || (step === STEP_AGAIN && actorGoesOn(actor))) continue;
    return step;
  }
}

// Takes the page's lock and waits for its writeback, as far as the mode lets it. STEP_DONE: it ends here.
function lock(mm: usize, actor: usize): i32 {
  const pfn = load<u32>(actor, MIGRATE_OLD);
  const page = pageOf(mm, pfn);
  const mode = load<u32>(actor, MIGRATE_MODE);
  const force = load<u32>(actor, MIGRATE_FORCE) !== 0;
  if (!pageTrylock(mm, pfn)) {
    if (!force || mode === MIGRATE_ASYNC) return giveUp(mm, actor, MIGRATE_AGAIN);
    pageWaitLocked(mm, pfn, actor, STAGE_LOCK);
    return STEP_BLOCKED;
  }
  if (pageTest(page, PG_WRITEBACK)) {
    pageUnlock(mm, pfn, actorClock(actor));
    if (mode !== MIGRATE_SYNC) return giveUp(mm, actor, MIGRATE_BUSY);
    if (!force) return giveUp(mm, actor, MIGRATE_AGAIN);
    waitqueueSleep(mmThrottled(mm), actor, STAGE_DEVICE); // any write's end wakes us
    return STEP_BLOCKED;
  }
  const locked = pageTrylock(mm, load<u32>(actor, MIGRATE_NEW));
  assert(locked);
  if (pageMaps(page) === 0) {
    goto(actor, MOVE);
  } else if (pageMaps(page) > 1 || pageTest(page, PG_KSM | PG_MAPPING_REPLACED)) {
    // try_to_unmap() of a page whose mapping was replaced looks for a file's mappings, and finds none: it stays mapped.
    store<u32>(actor, pfn, MIGRATE_TARGET);
    goto(actor, RESTORE);
  } else {
    store<u32>(actor, 1, MIGRATE_WAS_MAPPED);
    const space = mmSpace(mm, pageOwner(page));
    const huge = thpMapped(space, pageIndex(page));
    if (huge) thpSplitBegin(actor, space, pageIndex(page), true);
    goto(actor, huge ? SPLIT : UNMAP_START);
  }
  return STEP_AGAIN; // yield: locked; the page is mapped until the notifier's start
}

function compacts(actor: usize): bool {
  return load<u32>(actor, MIGRATE_COMPACTS) !== 0;
}

function giveUp(mm: usize, actor: usize, result: u32): i32 {
  if (compacts(actor)) targetReturn(mm, actor, load<u32>(actor, MIGRATE_NEW));
  else pageFreeUncharged(mm, load<u32>(actor, MIGRATE_NEW), actor);
  return finish(actor, result);
}

// try_to_migrate_one() between the notifier's start and end.
function unmap(mm: usize, actor: usize, pfn: u32): void {
  const page = pageOf(mm, pfn);
  const space = mmSpace(mm, pageOwner(page));
  const index = pageIndex(page);
  const pte = spacePte(space, index);
  if (!ptePresent(pte) || ptePfn(pte) !== pfn) return; // its owner has dropped it meanwhile
  if (pte & PTE_DIRTY) pageSet(page, PG_DIRTY);
  const entry = pteOfMigration(pte, pageTest(page, PG_ANON_EXCLUSIVE));
  setSpacePte(space, index, entry);
  pageClear(page, PG_ANON_EXCLUSIVE);
  setPageMaps(page, pageMaps(page) - 1);
  setPageRefs(page, pageRefs(page) - 1);
  emit(TRACE_SET_MIGRATION_PTE, actorClock(actor), spaceHva(space, index), entry, 0, 0);
}

// move_to_new_folio(): the count as expected, the new frame takes the page's place in the swap cache, contents and state are copied.
function move(mm: usize, actor: usize): void {
  const old = load<u32>(actor, MIGRATE_OLD);
  const page = pageOf(mm, old);
  const cached = pageTest(page, PG_SWAPCACHE);
  const replaced = pageTest(page, PG_MAPPING_REPLACED);
  store<u32>(actor, old, MIGRATE_TARGET);
  const expected: u32 = (cached ? 2 : 1) + (replaced ? 1 : 0); // its own migrate operation leaves its reference out
  if (pageMaps(page) !== 0 || pageRefs(page) !== expected) return;

  const pfn = load<u32>(actor, MIGRATE_NEW);
  const target = pageOf(mm, pfn);
  setPageOwner(target, pageOwner(page), pageIndex(page));
  pageSet(target, pageFlags(page) & CARRIED);
  setPageUsed(target, pageUsed(page));
  if (cached) {
    swapCacheSet(mm, pagePrivate(page), pfn);
    setPagePrivate(target, pagePrivate(page));
    setPagePrivate(page, ENTRY_NONE);
    pageClear(page, PG_SWAPCACHE);
    setPageRefs(page, pageRefs(page) - 1);
    pageGet(target);
  }
  if (mmStamped(mm)) setFrameStamp(mm, pfn, frameStamp(mm, old));
  if (replaced) {
    pageClear(page, PG_MAPPING_REPLACED);
    setPageRefs(page, pageRefs(page) - 1);
    notifyMoved(mm, old, pfn);
  }
  const memcg = spaceMemcg(mmSpace(mm, pageOwner(page)));
  setMemcgUsage(memcg, memcgUsage(memcg) + 1); // mem_cgroup_migrate(); the old frame's charge goes with it
  store<u32>(actor, pfn, MIGRATE_TARGET);
  actorSpend(actor, STAGE_RECLAIM, cost(COST_MIGRATE_PAGE_NS));
}

// remove_migration_ptes(), and the locks: the entry maps the frame that the page has now.
function restore(mm: usize, actor: usize): i32 {
  const old = load<u32>(actor, MIGRATE_OLD);
  const pfn = load<u32>(actor, MIGRATE_TARGET);
  const time = actorClock(actor);
  const page = pageOf(mm, pfn);
  const mapped = load<u32>(actor, MIGRATE_WAS_MAPPED) !== 0;
  const moved = pfn !== old;
  if (moved) {
    lruCacheAdd(mm, actor, pfn);
    if (mapped) lruAddDrain(mm, actor);
  }
  if (mapped) remap(mm, time, old, pfn);
  pageUnlock(mm, load<u32>(actor, MIGRATE_NEW), time);
  pageUnlock(mm, old, time);
  digestAdd(DIGEST_MIGRATE, time, pageOwner(page), pageIndex(page), pfn, moved ? 1 : 0);
  if (!moved) {
    notifyStayed(mm, old);
    return giveUp(mm, actor, MIGRATE_AGAIN);
  }
  pagePut(mm, pfn, actor); // its allocation's; the lists, the cache and the pte hold their own
  return finish(actor, MIGRATED);
}

function remap(mm: usize, time: u64, old: u32, pfn: u32): void {
  const page = pageOf(mm, pfn);
  const space = mmSpace(mm, pageOwner(page));
  const index = pageIndex(page);
  const entry = spacePte(space, index);
  if (!pteMigration(entry) || migrationPfn(entry) !== old) return; // dropped meanwhile
  const pte = pteOfMigrated(entry, pfn);
  setSpacePte(space, index, pte);
  if (migrationExclusive(entry)) pageSet(page, PG_ANON_EXCLUSIVE);
  setPageMaps(page, pageMaps(page) + 1);
  pageGet(page);
  emit(TRACE_REMOVE_MIGRATION_PTE, time, spaceHva(space, index), pte, 0, 0);
}
