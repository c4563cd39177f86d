import { STEP_BLOCKED, STEP_DONE } from "../memory/status";
import { actorClock, STAGE_RECLAIM } from "../sim/actor";
import {
  emit,
  TRACE_MM_VMSCAN_DIRECT_RECLAIM_BEGIN,
  TRACE_MM_VMSCAN_DIRECT_RECLAIM_END,
  TRACE_MM_VMSCAN_MEMCG_RECLAIM_BEGIN,
  TRACE_MM_VMSCAN_MEMCG_RECLAIM_END,
  TRACE_MM_VMSCAN_THROTTLED,
} from "../sim/trace";
import { waitqueueSleep } from "../sim/waitqueue";
import {
  RECLAIM_COSTS,
  RECLAIM_CURSOR,
  RECLAIM_DONE,
  RECLAIM_FLAGS,
  RECLAIM_MEMCG,
  RECLAIM_PC,
  RECLAIM_PRIORITY,
  RECLAIM_SCANNED,
  RECLAIM_TARGET,
  THROTTLED_AT,
} from "./context";
import {
  MM_RECLAIMED_DIRECT,
  MM_RECLAIMED_KSWAPD,
  mmCountAdd,
  mmGenerations,
  mmNodes,
  mmSpace,
  mmSpaces,
  mmThrottled,
  mmWriteback,
  setMmKswapdFailures,
} from "./instance";
import { lruvecOf } from "./lrusize";
import {
  lruvecActive,
  lruvecAnonCost,
  lruvecFileCost,
  lruvecInactive,
  lruvecRefaulted,
  lruvecSnapshot,
} from "./lruvec";
import { memcgGenerations } from "./memcg";
import { memcgFlush, memcgFlushNow } from "./memcgstat";
import { agingBegin, agingIdle, agingNeeded, agingStep } from "./mglruaging";
import { mglruShrinkBegin, mglruShrinkStep, mglruSwappiness } from "./mglrushrink";
import { fileIsTiny, inactiveIsLow } from "./scancount";
import {
  DEF_PRIORITY,
  RECLAIM_BATCH,
  RECLAIM_FORCE,
  RECLAIM_GLOBAL,
  RECLAIM_KSWAPD,
  RECLAIM_MAY_DEACTIVATE,
  RECLAIM_SKIPPED,
  RECLAIM_TINY,
  shrinkBegin,
  shrinkFreed,
  shrinkStep,
} from "./shrink";
import { spaceMemcg } from "./space";

export { DEF_PRIORITY } from "./shrink";

// Reclaim with a target: a round is one pass over the lists of every cgroup concerned (shrink_node()); direct reclaim
// repeats rounds with rising urgency until it has its pages (do_try_to_free_pages()).

/** MAX_RECLAIM_RETRIES: attempts without progress before the caller gives up. */
export const RECLAIM_RETRIES: u32 = 16;

const ROUND: u32 = 0;
const PASS: u32 = 1;
const THROTTLED: u32 = 2;
const AGE: u32 = 3;

/** A round of kswapd, or the first round of another reclaim, at `priority`. */
export function roundBegin(mm: usize, actor: usize, priority: u32): void {
  store<u32>(actor, priority, RECLAIM_PRIORITY);
  store<u32>(actor, 0, RECLAIM_CURSOR);
  store<u32>(actor, ROUND, RECLAIM_PC);
  if (!mmGenerations(mm)) listsBegin(mm, actor, priority);
  else if (load<u32>(actor, RECLAIM_FLAGS) & RECLAIM_KSWAPD) store<u32>(actor, AGE, RECLAIM_PC);
}

// prepare_scan_count(): what a round with two lists goes by.
function listsBegin(mm: usize, actor: usize, priority: u32): void {
  const space = <usize>load<u32>(actor, RECLAIM_MEMCG);
  const lruvec = lruvecOf(mm, space);
  memcgFlush(mm);
  let flags = load<u32>(actor, RECLAIM_FLAGS) & ~(RECLAIM_MAY_DEACTIVATE | RECLAIM_TINY);
  if (flags & RECLAIM_FORCE || lruvecRefaulted(lruvec) || low(lruvec)) {
    flags |= RECLAIM_MAY_DEACTIVATE;
  }
  store<u32>(actor, lruvecAnonCost(lruvec), RECLAIM_COSTS);
  store<u32>(actor, lruvecFileCost(lruvec), RECLAIM_COSTS + 4);
  if (flags & RECLAIM_GLOBAL && fileIsTiny(mm, (flags & RECLAIM_MAY_DEACTIVATE) !== 0, priority)) {
    flags |= RECLAIM_TINY;
  }
  store<u32>(actor, flags, RECLAIM_FLAGS);
}

// lru_gen_age_node(): before a round kswapd makes a new generation for each cgroup that needs one.
function ageAll(mm: usize, actor: usize): i32 {
  const canSwap = mglruSwappiness(mm) !== 0;
  for (let id = load<u32>(actor, RECLAIM_CURSOR); id < mmSpaces(mm); id++) {
    store<u32>(actor, id, RECLAIM_CURSOR);
    const space = mmSpace(mm, id);
    if (agingIdle(actor)) {
      if (!agingNeeded(memcgGenerations(spaceMemcg(space)), canSwap)) continue;
      agingBegin(actor, space);
    }
    const step = agingStep(mm, actor);
    if (step !== STEP_DONE) return step;
  }
  store<u32>(actor, 0, RECLAIM_CURSOR);
  store<u32>(actor, ROUND, RECLAIM_PC);
  return STEP_DONE;
}

// shrink_zones() goes on with the other nodes: nothing of the lists lies there, but the counters are brought up to date before each.
function otherNodes(mm: usize, actor: usize): void {
  if (mmGenerations(mm) || load<u32>(actor, RECLAIM_FLAGS) & RECLAIM_KSWAPD) return;
  for (let node: u32 = 1; node < mmNodes(mm); node++) memcgFlush(mm);
}

function low(lruvec: usize): bool {
  return inactiveIsLow(lruvecInactive(lruvec), lruvecActive(lruvec));
}

/** Goes on with a round. Returns STEP_*; RECLAIM_DONE and RECLAIM_SCANNED have grown. */
export function roundStep(mm: usize, actor: usize): i32 {
  const one = <usize>load<u32>(actor, RECLAIM_MEMCG);
  const generations = mmGenerations(mm);
  while (true) {
    if (load<u32>(actor, RECLAIM_PC) === AGE) {
      const step = ageAll(mm, actor);
      if (step !== STEP_DONE) return step;
    }
    if (load<u32>(actor, RECLAIM_PC) === ROUND) {
      const cursor = load<u32>(actor, RECLAIM_CURSOR);
      if (cursor === (one !== 0 ? 1 : mmSpaces(mm))) {
        otherNodes(mm, actor);
        return STEP_DONE;
      }
      const space = one !== 0 ? one : mmSpace(mm, cursor);
      if (generations) mglruShrinkBegin(mm, actor, space);
      else shrinkBegin(mm, actor, space);
      store<u32>(actor, PASS, RECLAIM_PC);
    }
    const step = generations ? mglruShrinkStep(mm, actor) : shrinkStep(mm, actor);
    if (step !== STEP_DONE) return step;
    const freed = shrinkFreed(actor);
    if (freed !== 0) setMmKswapdFailures(mm, 0);
    const kswapd = (load<u32>(actor, RECLAIM_FLAGS) & RECLAIM_KSWAPD) !== 0;
    mmCountAdd(mm, kswapd ? MM_RECLAIMED_KSWAPD : MM_RECLAIMED_DIRECT, freed);
    store<u32>(actor, load<u32>(actor, RECLAIM_DONE) + freed, RECLAIM_DONE);
    store<u32>(actor, load<u32>(actor, RECLAIM_CURSOR) + 1, RECLAIM_CURSOR);
    store<u32>(actor, ROUND, RECLAIM_PC);
  }
}

/**
 * Starts direct reclaim of `target` pages: try_to_free_pages(), or try_to_free_mem_cgroup_pages() for the cgroup of `space`.
 * @param space 0 for the host
 */
export function reclaimBegin(mm: usize, actor: usize, space: usize, target: u32): void {
  store<u32>(actor, <u32>space, RECLAIM_MEMCG);
  store<u32>(actor, space === 0 ? RECLAIM_GLOBAL : 0, RECLAIM_FLAGS);
  store<u32>(actor, max<u32>(target, RECLAIM_BATCH), RECLAIM_TARGET);
  store<u32>(actor, 0, RECLAIM_DONE);
  store<u32>(actor, 0, RECLAIM_SCANNED);
  roundBegin(mm, actor, DEF_PRIORITY);
  const event = space === 0 ? TRACE_MM_VMSCAN_DIRECT_RECLAIM_BEGIN : TRACE_MM_VMSCAN_MEMCG_RECLAIM_BEGIN;
  emit(event, actorClock(actor), 0, 0, 0, 0);
}

/** Goes on with direct reclaim. Returns STEP_*; reclaimProgress() tells the pages freed. */
export function reclaimStep(mm: usize, actor: usize): i32 {
  while (true) {
    if (load<u32>(actor, RECLAIM_PC) !== THROTTLED) {
      const step = roundStep(mm, actor);
      if (step !== STEP_DONE) return step;
      if (load<u32>(actor, RECLAIM_DONE) >= load<u32>(actor, RECLAIM_TARGET)) {
        snapshot(mm, actor);
        break;
      }

      const priority = load<u32>(actor, RECLAIM_PRIORITY);
      const flags = load<u32>(actor, RECLAIM_FLAGS);
      if (priority > 0) {
        roundBegin(mm, actor, priority - 1);
        continue;
      }
      snapshot(mm, actor);
      if (load<u32>(actor, RECLAIM_DONE) !== 0) break;
      memcgFlushNow(mm); // the flush every two seconds comes before a cgroup that goes by stale counters is given up
      if ((flags & (RECLAIM_SKIPPED | RECLAIM_FORCE)) === RECLAIM_SKIPPED) {
        store<u32>(actor, (flags & ~RECLAIM_SKIPPED) | RECLAIM_FORCE, RECLAIM_FLAGS);
        roundBegin(mm, actor, DEF_PRIORITY);
        continue;
      }
      if (throttle(mm, actor)) {
        store<u32>(actor, THROTTLED, RECLAIM_PC);
        return STEP_BLOCKED;
      }
    }
    break;
  }
  throttleEnd(actor);
  const event =
    load<u32>(actor, RECLAIM_MEMCG) === 0
      ? TRACE_MM_VMSCAN_DIRECT_RECLAIM_END
      : TRACE_MM_VMSCAN_MEMCG_RECLAIM_END;
  emit(event, actorClock(actor), load<u32>(actor, RECLAIM_DONE), 0, 0, 0);
  return STEP_DONE;
}

// The rounds have ended: what came back until now is no reason to deactivate any more.
function snapshot(mm: usize, actor: usize): void {
  lruvecSnapshot(lruvecOf(mm, <usize>load<u32>(actor, RECLAIM_MEMCG)));
}

/** Pages freed by the reclaim that reclaimStep() has finished. */
export function reclaimProgress(actor: usize): u32 {
  return load<u32>(actor, RECLAIM_DONE);
}

/**
 * reclaim_throttle(): with nothing reclaimed and writes under way, wait for one of them instead of failing. False when no
 * write is under way. Left out: the timeout of one tick; a write always ends.
 */
export function throttle(mm: usize, actor: usize): bool {
  if (mmWriteback(mm) === 0) return false;
  store<u64>(actor, actorClock(actor) + 1, THROTTLED_AT);
  waitqueueSleep(mmThrottled(mm), actor, STAGE_RECLAIM);
  return true;
}

/** Notes that a wait of throttle() is over. */
export function throttleEnd(actor: usize): void {
  const since = load<u64>(actor, THROTTLED_AT);
  if (since === 0) return;
  const time = actorClock(actor);
  emit(TRACE_MM_VMSCAN_THROTTLED, time, (time - (since - 1)) / 1000, 0, 0, 0);
  store<u64>(actor, 0, THROTTLED_AT);
}
