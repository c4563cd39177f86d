import { PFN_NONE } from "../memory/layout";
import { STEP_AGAIN, STEP_DONE } from "../memory/status";
import { actorClock, actorGoesOn, actorSpend, STAGE_RECLAIM } from "../sim/actor";
import { COST_RECLAIM_SCAN_PAGE_NS, cost } from "../sim/costs";
import { emit, TRACE_MM_VMSCAN_LRU_ISOLATE } from "../sim/trace";
import {
  MGLRU_BATCH,
  MGLRU_PC,
  MGLRU_SCANNED,
  MGLRU_SEQ,
  MGLRU_SWAPPED,
  MGLRU_WALKED,
  MGLRU_WANTED,
  RECLAIM_DONE,
  RECLAIM_FLAGS,
  RECLAIM_PRIORITY,
  RECLAIM_SCANNED,
  RECLAIM_TARGET,
  SHRINK_BUSY,
  SHRINK_FREED,
  SHRINK_KEPT,
  SHRINK_SPACE,
  SHRINK_TAKEN,
} from "./context";
import { pagePut } from "./free";
import {
  MM_SCANNED,
  MM_WORKINGSET_ACTIVATED,
  mmCountAdd,
  mmFree,
  mmSwapFree,
  mmSwappiness,
} from "./instance";
import { listAddTail, listHead, listLength, listRemove, listTail } from "./list";
import { lruAddDrain } from "./lrubatch";
import { lruAdd, memcgGenerations } from "./memcg";
import {
  generationList,
  generationsAdd,
  generationsCount,
  generationsMax,
  generationsMin,
  generationsPostpone,
  generationsProtect,
  generationsRemove,
  generationsSettle,
  generationsTiers,
  generationsTryIncMin,
  MIN_GENERATIONS,
  pageForgetUses,
  pageUses,
  pageUsesFull,
} from "./mglru";
import { agingBegin, agingNeeded, agingStep, agingSucceeded, agingTotal } from "./mglruaging";
import {
  MIN_LRU_BATCH,
  TYPE_ANON,
  TYPE_FILE,
  tierLimit,
  tierLimitAcross,
  tierOf,
  tiersType,
} from "./mglrutiers";
import {
  LIST_ISOLATED,
  PG_ACTIVE,
  PG_DIRTY,
  PG_LAZYFREE,
  PG_LOCKED,
  PG_RECLAIM,
  PG_REFERENCED,
  PG_WORKINGSET,
  PG_WRITEBACK,
  pageClear,
  pageGet,
  pageOf,
  pageRefs,
  pageSet,
  pageTest,
} from "./page";
import { plugFlush } from "./plug";
import {
  DEF_PRIORITY,
  RECLAIM_KSWAPD,
  shrinkBatch,
  shrinkEvict,
  shrinkIsolated,
  shrinkTrace,
} from "./shrink";
import { spaceMemcg } from "./space";
import { hostHigh } from "./watermark";

// One cgroup's generations under reclaim: lru_gen_shrink_lruvec() with evict_folios(). The oldest generation is scanned from its tail for
// 64 pages at a time, which go through evict.ts one by one; those that stay are young again. Between batches a new generation is made when
// too few are left (mglruaging.ts).
//
//   LOOK → (AGE →) isolate → EVICT → PUTBACK → LOOK … until as many pages have been scanned as the priority asks for → FLUSH
//
// Left out: retrying pages whose write ended within the batch, unevictable pages.

/** MAX_LRU_BATCH: pages that one batch looks at, at most. */
const MAX_LRU_BATCH: u32 = 4096;

const LOOK: u32 = 0;
const AGE: u32 = 1;
const EVICT: u32 = 2;
const PUTBACK: u32 = 3;
const FLUSH: u32 = 4;
const DONE: u32 = 5;

function gensOf(actor: usize): usize {
  return memcgGenerations(spaceMemcg(<usize>load<u32>(actor, SHRINK_SPACE)));
}

/** vm.swappiness, 0 when swap has no room for a batch: get_swappiness(). */
export function mglruSwappiness(mm: usize): u32 {
  return mmSwapFree(mm) < MIN_LRU_BATCH ? 0 : mmSwappiness(mm);
}

/** Starts a pass over the generations of `space`; target, priority and flags stand in the reclaim region. */
export function mglruShrinkBegin(mm: usize, actor: usize, space: usize): void {
  const kswapd = (load<u32>(actor, RECLAIM_FLAGS) & RECLAIM_KSWAPD) !== 0;
  store<u32>(actor, <u32>space, SHRINK_SPACE);
  store<u32>(actor, 0, SHRINK_FREED);
  store<u32>(actor, 0, SHRINK_BUSY);
  store<u32>(actor, 0, MGLRU_SCANNED);
  store<u32>(actor, 0, MGLRU_SWAPPED);
  store<u32>(actor, kswapd ? 1 : 0, MGLRU_WALKED);
  store<u32>(actor, generationsMax(gensOf(actor)), MGLRU_SEQ);
  store<u32>(actor, LOOK, MGLRU_PC);
  lruAddDrain(mm, actor);
}

/** Goes on with the pass of mglruShrinkBegin(). Returns STEP_*; shrinkFreed() tells the pages freed. */
export function mglruShrinkStep(mm: usize, actor: usize): i32 {
  while (true) {
    const pc = load<u32>(actor, MGLRU_PC);
    if (pc === DONE) return STEP_DONE;
    let step: i32;
    if (pc === LOOK) step = look(mm, actor);
    else if (pc === AGE) step = age(mm, actor);
    else if (pc === EVICT) {
      step = shrinkEvict(mm, actor);
      if (step === STEP_DONE) store<u32>(actor, PUTBACK, MGLRU_PC);
    } else if (pc === PUTBACK) step = putback(mm, actor);
    else {
      step = plugFlush(mm, actor);
      if (step === STEP_DONE) store<u32>(actor, DONE, MGLRU_PC);
    }
    if (step === STEP_DONE || (step === STEP_AGAIN && actorGoesOn(actor))) continue;
    return step;
  }
}

function finish(actor: usize): i32 {
  store<u32>(actor, 0, MGLRU_WALKED);
  store<u32>(actor, FLUSH, MGLRU_PC);
  return STEP_DONE;
}

// get_nr_to_scan(): how much to look at, and whether generations must be made first. Not at the first priority, and not by kswapd,
// which has seen to it before the round.
function look(mm: usize, actor: usize): i32 {
  const gens = gensOf(actor);
  const canSwap = mglruSwappiness(mm) !== 0;
  const priority = load<u32>(actor, RECLAIM_PRIORITY);
  store<u32>(actor, agingTotal(gens, canSwap) >> priority, MGLRU_WANTED);
  if (!agingNeeded(gens, canSwap)) return isolate(mm, actor, true);
  if (priority === DEF_PRIORITY) return isolate(mm, actor, spare(gens, canSwap));
  if (load<u32>(actor, RECLAIM_FLAGS) & RECLAIM_KSWAPD) return finish(actor);
  agingBegin(actor, <usize>load<u32>(actor, SHRINK_SPACE));
  store<u32>(actor, AGE, MGLRU_PC);
  return STEP_DONE;
}

// There are more generations than must stay.
function spare(gens: usize, canSwap: bool): bool {
  const type = canSwap ? TYPE_ANON : TYPE_FILE;
  return generationsMin(gens, type) + MIN_GENERATIONS <= generationsMax(gens);
}

function age(mm: usize, actor: usize): i32 {
  const step = agingStep(mm, actor);
  if (step !== STEP_DONE) return step;
  store<u32>(actor, 1, MGLRU_WALKED);
  return isolate(mm, actor, agingSucceeded(actor) || spare(gensOf(actor), mglruSwappiness(mm) !== 0));
}

// isolate_folios() and what evict_folios() does before it evicts. A batch that leaves two generations is the pass's last.
function isolate(mm: usize, actor: usize, allowed: bool): i32 {
  if (!allowed || load<u32>(actor, MGLRU_WANTED) === 0) return finish(actor);
  const gens = gensOf(actor);
  const swappiness = mglruSwappiness(mm);
  shrinkBatch(actor);
  let scanned = scanEither(mm, actor, gens, swappiness);
  actorSpend(actor, STAGE_RECLAIM, scanned * cost(COST_RECLAIM_SCAN_PAGE_NS));
  if (generationsTryIncMin(gens, swappiness !== 0)) scanned++;
  if (generationsCount(gens, swappiness === 0 ? TYPE_FILE : TYPE_ANON) === MIN_GENERATIONS) scanned = 0;
  store<u32>(actor, scanned, MGLRU_BATCH);
  store<u32>(actor, listLength(shrinkIsolated(actor)), SHRINK_TAKEN);
  if (listLength(shrinkIsolated(actor)) === 0) return after(mm, actor);
  store<u32>(actor, EVICT, MGLRU_PC);
  return STEP_AGAIN; // yield: the lru lock is dropped, the batch is ours
}

// The type of the older generation, or that of which less comes back, goes first; the other one when it has nothing to give.
function scanEither(mm: usize, actor: usize, gens: usize, swappiness: u32): u32 {
  const tiers = generationsTiers(gens);
  if (swappiness === 0) return scan(mm, actor, gens, TYPE_FILE, tierLimit(tiers, TYPE_FILE));
  let type = TYPE_ANON;
  let limit: u32;
  const older = generationsMin(gens, TYPE_ANON) < generationsMin(gens, TYPE_FILE);
  if (older || swappiness === 1 || swappiness === 200) {
    if (!older && swappiness === 1) type = TYPE_FILE;
    limit = tierLimit(tiers, type);
  } else {
    type = tiersType(tiers, swappiness);
    limit = tierLimitAcross(tiers, type, swappiness);
  }
  const scanned = scan(mm, actor, gens, type, limit);
  if (scanned !== 0) return scanned;
  const other = TYPE_FILE - type;
  return scan(mm, actor, gens, other, tierLimit(tiers, other));
}

// scan_folios(): pages looked at; 0 when none was isolated.
function scan(mm: usize, actor: usize, gens: usize, type: u32, limit: u32): u32 {
  if (generationsCount(gens, type) === MIN_GENERATIONS) return 0;
  const list = generationList(gens, generationsMin(gens, type), type);
  let scanned: u32 = 0;
  let isolated: u32 = 0;
  while (scanned < MAX_LRU_BATCH && isolated < MIN_LRU_BATCH && listLength(list) !== 0) {
    const pfn = listTail(list);
    scanned++;
    if (sort(mm, gens, pfn, type, limit)) continue;
    take(mm, actor, gens, pfn);
    isolated++;
  }
  store<u32>(actor, load<u32>(actor, RECLAIM_SCANNED) + isolated, RECLAIM_SCANNED);
  mmCountAdd(mm, MM_SCANNED, isolated);
  emit(TRACE_MM_VMSCAN_LRU_ISOLATE, actorClock(actor), scanned, isolated, isolated, type << 1);
  if (isolated !== 0 && type === TYPE_ANON) store<u32>(actor, 1, MGLRU_SWAPPED);
  return isolated !== 0 || scanned === MAX_LRU_BATCH ? scanned : 0;
}

// sort_folio(): true for a page that is not to be evicted and has left the oldest list.
function sort(mm: usize, gens: usize, pfn: u32, type: u32, limit: u32): bool {
  const page = pageOf(mm, pfn);
  if (type === TYPE_FILE && pageTest(page, PG_DIRTY)) {
    // Given up and written again: an anonymous page like any other.
    generationsRemove(mm, gens, pfn, true);
    pageClear(page, PG_LAZYFREE);
    generationsAdd(mm, gens, pfn, true);
    return true;
  }
  if (generationsSettle(mm, gens, pfn, type)) return true;
  const tier = tierOf(pageUses(page));
  if (tier > limit || pageUsesFull(page)) {
    generationsProtect(mm, gens, pfn, type, tier);
    mmCountAdd(mm, MM_WORKINGSET_ACTIVATED, 1);
    return true;
  }
  if (!pageTest(page, PG_LOCKED | PG_WRITEBACK)) return false;
  generationsPostpone(mm, gens, pfn, type);
  return true;
}

// isolate_folio()
function take(mm: usize, actor: usize, gens: usize, pfn: u32): void {
  const page = pageOf(mm, pfn);
  if (!pageTest(page, PG_REFERENCED)) pageForgetUses(page);
  pageClear(page, PG_RECLAIM | PG_REFERENCED);
  generationsRemove(mm, gens, pfn, true);
  pageGet(page);
  listAddTail(mm, shrinkIsolated(actor), LIST_ISOLATED, pfn);
}

// The second half of evict_folios(): what was not evicted is not put back among the oldest, unless its write is under way.
function putback(mm: usize, actor: usize): i32 {
  const list = actor + SHRINK_KEPT;
  const memcg = spaceMemcg(<usize>load<u32>(actor, SHRINK_SPACE));
  for (let pfn = listHead(list); pfn !== PFN_NONE; pfn = listHead(list)) {
    const page = pageOf(mm, pfn);
    listRemove(mm, list, pfn);
    if (pageRefs(page) > 1) {
      if (pageTest(page, PG_RECLAIM) && pageTest(page, PG_DIRTY | PG_WRITEBACK)) {
        if (pageTest(page, PG_WORKINGSET)) pageSet(page, PG_REFERENCED);
      } else {
        pageForgetUses(page);
        pageSet(page, PG_ACTIVE);
      }
      lruAdd(mm, memcg, pfn, false);
    }
    pagePut(mm, pfn, actor);
  }
  shrinkTrace(actor);
  return after(mm, actor);
}

// The loop's condition.
function after(mm: usize, actor: usize): i32 {
  const batch = load<u32>(actor, MGLRU_BATCH);
  const scanned = load<u32>(actor, MGLRU_SCANNED) + batch;
  store<u32>(actor, scanned, MGLRU_SCANNED);
  if (batch === 0 || scanned >= load<u32>(actor, MGLRU_WANTED) || shouldStop(mm, actor)) return finish(actor);
  store<u32>(actor, LOOK, MGLRU_PC);
  return STEP_DONE;
}

// should_abort_scan(): enough was freed, or somebody else has aged twice meanwhile.
function shouldStop(mm: usize, actor: usize): bool {
  const flags = load<u32>(actor, RECLAIM_FLAGS);
  const freed = load<u32>(actor, RECLAIM_DONE) + load<u32>(actor, SHRINK_FREED);
  const enough = freed >= load<u32>(actor, RECLAIM_TARGET);
  if ((flags & RECLAIM_KSWAPD) === 0) {
    if (generationsMax(gensOf(actor)) - load<u32>(actor, MGLRU_SEQ) > 1) return true;
    return enough && load<u32>(actor, MGLRU_SWAPPED) !== 0;
  }
  // kswapd is fair to all cgroups while there is time.
  return enough && load<u32>(actor, RECLAIM_PRIORITY) <= DEF_PRIORITY - 2 && mmFree(mm) >= hostHigh(mm);
}
