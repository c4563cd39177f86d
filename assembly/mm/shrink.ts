import { PFN_NONE } from "../memory/layout";
import { STEP_AGAIN, STEP_DONE } from "../memory/status";
import { actorClock, actorCpu, actorGoesOn, actorSpend, STAGE_RECLAIM } from "../sim/actor";
import { COST_RECLAIM_SCAN_PAGE_NS, cost } from "../sim/costs";
import {
  emit,
  TRACE_MM_VMSCAN_LRU_ISOLATE,
  TRACE_MM_VMSCAN_LRU_SHRINK_ACTIVE,
  TRACE_MM_VMSCAN_LRU_SHRINK_INACTIVE,
} from "../sim/trace";
import {
  RECLAIM_COSTS,
  RECLAIM_FLAGS,
  RECLAIM_MEMCG,
  RECLAIM_PRIORITY,
  RECLAIM_SCANNED,
  RECLAIM_TARGET,
  SHRINK_ACTIVE,
  SHRINK_BUSY,
  SHRINK_FREED,
  SHRINK_FREED_BEFORE,
  SHRINK_INACTIVE,
  SHRINK_KEPT,
  SHRINK_LIST,
  SHRINK_PC,
  SHRINK_SPACE,
  SHRINK_TAKEN,
  SHRINK_WRITTEN,
  TALLY_ACTIVATED,
  TALLY_REFERENCED,
  TALLY_WRITEBACK,
} from "./context";
import { EVICT_FREED, evictBegin, evictOutcome, evictStep, pageYoung } from "./evict";
import { pagePut } from "./free";
import { MM_SCANNED, mmCountAdd } from "./instance";
import { listAddTail, listHead, listLength, listRemove, listTail } from "./list";
import { lruAddDrain, lruCacheAdd } from "./lrubatch";
import { lruvecOf } from "./lrusize";
import { lruvecActive, lruvecInactive } from "./lruvec";
import { lruActive, lruAdd, lruInactive, lruRemove } from "./memcg";
import { memcgChanged, memcgEvents } from "./memcgstat";
import {
  LIST_ISOLATED,
  PG_ACTIVE,
  PG_PLUGGED,
  PG_WORKINGSET,
  pageClear,
  pageGet,
  pageMaps,
  pageOf,
  pagePrivate,
  pageRefs,
  pageSet,
  pageTest,
} from "./page";
import { plugAdd, plugFlush, plugFull } from "./plug";
import { inactiveIsLow, scanCount } from "./scancount";
import { spaceMemcg } from "./space";
import { noteAnonCost, workingsetActivated } from "./workingset";

// One cgroup's lists under reclaim: shrink_lruvec() with shrink_inactive_list() and shrink_active_list(), in batches of 32.
// A batch is isolated, its pages go through evict.ts one by one, and those that stay go back to the lists. The writes of all
// batches gather in one plug, which is flushed when the pass ends. Left out for now: file lists.
//
// SHRINK_LIST: isolated, not yet looked at; SHRINK_KEPT: looked at, going back. An isolated page is off the LRU and carries
// a reference of the reclaimer.

/** SWAP_CLUSTER_MAX: pages of a batch, and what a direct reclaim asks for. */
export const RECLAIM_BATCH: u32 = 32;

/** The reclaimer is kswapd. */
export const RECLAIM_KSWAPD: u32 = 1;
/** Reclaim for the host, not for a cgroup's limit. */
export const RECLAIM_GLOBAL: u32 = 2;
/** Active pages may be deactivated in this round. */
export const RECLAIM_MAY_DEACTIVATE: u32 = 4;
/** Some active list was left alone in this run. */
export const RECLAIM_SKIPPED: u32 = 8;
/** Deactivate whatever the ratio says: the last resort before giving up. */
export const RECLAIM_FORCE: u32 = 16;
/** The pages were chosen by advice (reclaim_pages()): evicting them is all. */
export const RECLAIM_ADVICE: u32 = 64;
/** The page was chosen by an idealized policy: it goes whether it was used or not, and no list is aged. */
export const RECLAIM_CHOSEN: u32 = 128;
/** file_is_tiny was true at the start of this round. */
export const RECLAIM_TINY: u32 = 32;

/** Priority of the first round: 1/4096 of a list. */
export const DEF_PRIORITY: u32 = 12;

const BATCH: u32 = 0;
const EVICT: u32 = 1;
const PUTBACK: u32 = 2;
const ACTIVE: u32 = 3;
const FLUSH: u32 = 4;
const DONE: u32 = 5;

/** Starts a pass over the lists of `space`; target, priority and flags stand in the reclaim region. */
export function shrinkBegin(mm: usize, actor: usize, space: usize): void {
  const memcg = spaceMemcg(space);
  const flags = load<u32>(actor, RECLAIM_FLAGS);
  const priority = load<u32>(actor, RECLAIM_PRIORITY);
  const global = (flags & RECLAIM_GLOBAL) !== 0;
  const tiny = (flags & RECLAIM_TINY) !== 0;
  const inactive = listLength(lruInactive(memcg));
  const active = listLength(lruActive(memcg));
  store<u32>(actor, <u32>space, SHRINK_SPACE);
  store<u32>(actor, scanCount(mm, inactive, priority, actor + RECLAIM_COSTS, global, tiny), SHRINK_INACTIVE);
  store<u32>(actor, scanCount(mm, active, priority, actor + RECLAIM_COSTS, global, tiny), SHRINK_ACTIVE);
  store<u32>(actor, 0, SHRINK_FREED);
  store<u32>(actor, 0, SHRINK_BUSY);
  store<u32>(actor, BATCH, SHRINK_PC);
}

/** Starts the eviction of the pages that the caller has isolated with shrinkIsolate(): RECLAIM_ADVICE or RECLAIM_CHOSEN. */
export function shrinkListBegin(actor: usize, space: usize, flags: u32): void {
  store<u32>(actor, <u32>space, SHRINK_SPACE);
  store<u32>(actor, 0, SHRINK_FREED);
  store<u32>(actor, 0, SHRINK_FREED_BEFORE);
  store<u32>(actor, 0, SHRINK_BUSY);
  store<u32>(actor, flags, RECLAIM_FLAGS);
  store<u32>(actor, 0, RECLAIM_MEMCG);
  store<u32>(actor, 0, TALLY_ACTIVATED);
  store<u32>(actor, 0, TALLY_REFERENCED);
  store<u32>(actor, 0, TALLY_WRITEBACK);
  store<u32>(actor, EVICT, SHRINK_PC);
}

/** The list of isolated pages that are to be evicted. */
export function shrinkIsolated(actor: usize): usize {
  return actor + SHRINK_LIST;
}

/** Takes a page off its list and puts it behind those that are already isolated (folio_isolate_lru()). */
export function shrinkIsolate(mm: usize, actor: usize, memcg: usize, pfn: u32): void {
  lruRemove(mm, memcg, pfn);
  pageGet(pageOf(mm, pfn));
  listAddTail(mm, actor + SHRINK_LIST, LIST_ISOLATED, pfn);
}

/** Pages freed by the pass. */
export function shrinkFreed(actor: usize): u32 {
  return load<u32>(actor, SHRINK_FREED);
}

/** Goes on with the pass of shrinkBegin(). Returns STEP_*. */
export function shrinkStep(mm: usize, actor: usize): i32 {
  while (true) {
    const pc = load<u32>(actor, SHRINK_PC);
    if (pc === DONE) return STEP_DONE;
    let step: i32;
    if (pc === BATCH) step = batch(mm, actor);
    else if (pc === EVICT) step = shrinkEvict(mm, actor);
    else if (pc === PUTBACK) step = putback(mm, actor);
    else if (pc === ACTIVE) step = active(mm, actor);
    else step = flush(mm, actor);
    if (step === STEP_DONE || (step === STEP_AGAIN && actorGoesOn(actor))) continue;
    return step;
  }
}

// Isolates the next batch of the inactive list, oldest first (isolate_lru_pages()).
function batch(mm: usize, actor: usize): i32 {
  const wanted = min<u32>(load<u32>(actor, SHRINK_INACTIVE), RECLAIM_BATCH);
  if (wanted === 0) {
    store<u32>(actor, FLUSH, SHRINK_PC);
    return STEP_DONE;
  }
  const memcg = spaceMemcg(<usize>load<u32>(actor, SHRINK_SPACE));
  lruAddDrain(mm, actor);
  let taken: u32 = 0;
  while (taken < wanted) {
    const pfn = listTail(lruInactive(memcg));
    if (pfn === PFN_NONE) break;
    shrinkIsolate(mm, actor, memcg, pfn);
    taken++;
  }
  store<u32>(actor, load<u32>(actor, SHRINK_INACTIVE) - wanted, SHRINK_INACTIVE);
  store<u32>(actor, taken, SHRINK_TAKEN);
  store<u32>(actor, load<u32>(actor, RECLAIM_SCANNED) + taken, RECLAIM_SCANNED);
  mmCountAdd(mm, MM_SCANNED, taken);
  memcgChanged(mm, actorCpu(actor), taken); // NR_INACTIVE_ANON
  memcgChanged(mm, actorCpu(actor), taken); // PGSCAN
  emit(TRACE_MM_VMSCAN_LRU_ISOLATE, actorClock(actor), wanted, taken, taken, 0);
  shrinkBatch(actor);
  store<u32>(actor, EVICT, SHRINK_PC);
  if (taken === 0) return STEP_DONE;
  actorSpend(actor, STAGE_RECLAIM, taken * cost(COST_RECLAIM_SCAN_PAGE_NS));
  return STEP_AGAIN; // yield: the lru lock is dropped, the batch is ours
}

/** Nothing is known yet about what becomes of a batch. */
export function shrinkBatch(actor: usize): void {
  store<u32>(actor, load<u32>(actor, SHRINK_FREED), SHRINK_FREED_BEFORE);
  store<u32>(actor, 0, TALLY_ACTIVATED);
  store<u32>(actor, 0, TALLY_REFERENCED);
  store<u32>(actor, 0, TALLY_WRITEBACK);
  store<u32>(actor, 0, SHRINK_WRITTEN);
}

/** Evicts the isolated pages one by one; those that stay gather on SHRINK_KEPT. Returns STEP_*. */
export function shrinkEvict(mm: usize, actor: usize): i32 {
  while (true) {
    if (load<u32>(actor, SHRINK_BUSY) === 0) {
      const step = plugLast(mm, actor);
      if (step !== STEP_DONE) return step;
      const list = actor + SHRINK_LIST;
      const pfn = listHead(list);
      if (pfn === PFN_NONE) {
        memcgChanged(mm, actorCpu(actor), freedNow(actor)); // PGPGOUT
        store<u32>(actor, PUTBACK, SHRINK_PC);
        return STEP_DONE;
      }
      listRemove(mm, list, pfn);
      store<u32>(actor, pfn, SHRINK_BUSY);
      evictBegin(actor, pfn, (load<u32>(actor, RECLAIM_FLAGS) & RECLAIM_CHOSEN) !== 0);
    }
    const step = evictStep(mm, actor);
    if (step !== STEP_DONE) return step;
    const pfn = load<u32>(actor, SHRINK_BUSY);
    store<u32>(actor, 0, SHRINK_BUSY);
    if (evictOutcome(actor) === EVICT_FREED) {
      store<u32>(actor, load<u32>(actor, SHRINK_FREED) + 1, SHRINK_FREED);
    } else {
      listAddTail(mm, actor + SHRINK_KEPT, LIST_ISOLATED, pfn);
    }
  }
}

// Pages that the present batch has freed.
function freedNow(actor: usize): u32 {
  return load<u32>(actor, SHRINK_FREED) - load<u32>(actor, SHRINK_FREED_BEFORE);
}

// One plug serves the whole pass, or the whole range of an advice: the write of the page that was looked at last goes there.
function plugLast(mm: usize, actor: usize): i32 {
  const pfn = listTail(actor + SHRINK_KEPT);
  if (pfn === PFN_NONE || !pageTest(pageOf(mm, pfn), PG_PLUGGED)) return STEP_DONE;
  const entry = pagePrivate(pageOf(mm, pfn));
  if (plugFull(actor, entry)) {
    const step = plugFlush(mm, actor);
    return step === STEP_DONE ? STEP_AGAIN : step; // yield: the device works
  }
  plugAdd(actor, entry);
  pageClear(pageOf(mm, pfn), PG_PLUGGED);
  return STEP_DONE;
}

// move_folios_to_lru()
function putback(mm: usize, actor: usize): i32 {
  const list = actor + SHRINK_KEPT;
  const space = <usize>load<u32>(actor, SHRINK_SPACE);
  const memcg = spaceMemcg(space);
  const cpu = actorCpu(actor);
  const advice = (load<u32>(actor, RECLAIM_FLAGS) & RECLAIM_ADVICE) !== 0;
  for (let pfn = listHead(list); pfn !== PFN_NONE; pfn = listHead(list)) {
    const page = pageOf(mm, pfn);
    listRemove(mm, list, pfn);
    // reclaim_folio_list() puts back as if the page were new: folio_putback_lru().
    if (advice) lruCacheAdd(mm, actor, pfn);
    else if (pageRefs(page) > 1) {
      if (pageTest(page, PG_ACTIVE)) workingsetActivated(mm, space, 1);
      lruAdd(mm, memcg, pfn, false);
      memcgEvents(mm, cpu, 1);
    }
    pagePut(mm, pfn, actor);
  }
  if (load<u32>(actor, RECLAIM_FLAGS) & (RECLAIM_ADVICE | RECLAIM_CHOSEN)) {
    store<u32>(actor, advice ? DONE : FLUSH, SHRINK_PC); // the advice goes on, with its plug
    return STEP_DONE;
  }
  const freed = freedNow(actor);
  memcgChanged(mm, cpu, freed); // PGSTEAL
  if (load<u32>(actor, SHRINK_TAKEN) !== 0) noteAnonCost(mm, space, load<u32>(actor, SHRINK_WRITTEN));
  shrinkTrace(actor);
  store<u32>(actor, ACTIVE, SHRINK_PC);
  return STEP_DONE;
}

/** A batch of SHRINK_TAKEN pages has ended. */
export function shrinkTrace(actor: usize): void {
  const freed = freedNow(actor);
  const priority = load<u32>(actor, RECLAIM_PRIORITY);
  const kept = <u64>load<u32>(actor, TALLY_ACTIVATED) | ((<u64>load<u32>(actor, TALLY_REFERENCED)) << 16);
  const tallies = kept | ((<u64>load<u32>(actor, TALLY_WRITEBACK)) << 32);
  const taken = load<u32>(actor, SHRINK_TAKEN);
  emit(TRACE_MM_VMSCAN_LRU_SHRINK_INACTIVE, actorClock(actor), taken, freed, priority, tallies);
}

// The active list's turn in the loop, then the loop's condition.
function active(mm: usize, actor: usize): i32 {
  const flags = load<u32>(actor, RECLAIM_FLAGS);
  const wanted = min<u32>(load<u32>(actor, SHRINK_ACTIVE), RECLAIM_BATCH);
  store<u32>(actor, load<u32>(actor, SHRINK_ACTIVE) - wanted, SHRINK_ACTIVE);
  store<u32>(actor, BATCH, SHRINK_PC);
  let step = STEP_DONE;
  if (wanted !== 0) {
    if (flags & RECLAIM_MAY_DEACTIVATE) step = shrinkActive(mm, actor, wanted);
    else store<u32>(actor, flags | RECLAIM_SKIPPED, RECLAIM_FLAGS);
  }
  // Direct reclaim for the host finishes its share at the first priority; every other reclaim stops at its target.
  const direct = (flags & (RECLAIM_GLOBAL | RECLAIM_KSWAPD)) === RECLAIM_GLOBAL;
  const proportional = direct && load<u32>(actor, RECLAIM_PRIORITY) === DEF_PRIORITY;
  if (load<u32>(actor, SHRINK_FREED) >= load<u32>(actor, RECLAIM_TARGET) && !proportional) {
    store<u32>(actor, FLUSH, SHRINK_PC);
  }
  return step;
}

// blk_finish_plug(), where a write without a free tag makes the reclaimer wait. Then the active list is aged a little when the inactive
// one runs low: the end of shrink_lruvec().
function flush(mm: usize, actor: usize): i32 {
  const step = plugFlush(mm, actor);
  if (step !== STEP_DONE) return step;
  store<u32>(actor, DONE, SHRINK_PC);
  if (load<u32>(actor, RECLAIM_FLAGS) & RECLAIM_CHOSEN) return STEP_DONE;
  const lruvec = lruvecOf(mm, <usize>load<u32>(actor, SHRINK_SPACE));
  if (!inactiveIsLow(lruvecInactive(lruvec), lruvecActive(lruvec))) return STEP_DONE;
  return shrinkActive(mm, actor, RECLAIM_BATCH);
}

// shrink_active_list(): anonymous pages are deactivated whether they were used or not; the look clears their accessed bits.
function shrinkActive(mm: usize, actor: usize, wanted: u32): i32 {
  const memcg = spaceMemcg(<usize>load<u32>(actor, SHRINK_SPACE));
  lruAddDrain(mm, actor);
  const there = min<u32>(wanted, listLength(lruActive(memcg)));
  if (there === 0) return STEP_DONE;
  emit(TRACE_MM_VMSCAN_LRU_ISOLATE, actorClock(actor), wanted, there, there, 1);
  let referenced: u32 = 0;
  for (let taken: u32 = 0; taken < there; taken++) {
    const pfn = listTail(lruActive(memcg));
    const page = pageOf(mm, pfn);
    lruRemove(mm, memcg, pfn);
    if (pageMaps(page) !== 0 && pageYoung(mm, actor, page)) referenced++;
    pageClear(page, PG_ACTIVE);
    pageSet(page, PG_WORKINGSET);
    lruAdd(mm, memcg, pfn, false);
  }
  const cpu = actorCpu(actor);
  memcgChanged(mm, cpu, there); // NR_ACTIVE_ANON
  memcgChanged(mm, cpu, there); // PGREFILL
  memcgEvents(mm, cpu, there); // NR_INACTIVE_ANON
  memcgChanged(mm, cpu, there); // PGDEACTIVATE
  actorSpend(actor, STAGE_RECLAIM, there * cost(COST_RECLAIM_SCAN_PAGE_NS));
  emit(
    TRACE_MM_VMSCAN_LRU_SHRINK_ACTIVE,
    actorClock(actor),
    there,
    there,
    referenced,
    load<u32>(actor, RECLAIM_PRIORITY),
  );
  return STEP_AGAIN; // yield: the lru lock is dropped
}
