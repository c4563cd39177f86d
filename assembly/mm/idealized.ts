import { PFN_NONE } from "../memory/layout";
import { STEP_AGAIN, STEP_BLOCKED, STEP_DONE } from "../memory/status";
import { OUTSIDE_SOUND, outsideFailure } from "../policy/outside";
import { Policy } from "../policy/policy";
import { policyEvict } from "../policy/registry";
import { actorClock, actorGoesOn, actorSpend, STAGE_RECLAIM } from "../sim/actor";
import { COST_RECLAIM_SCAN_PAGE_NS, cost } from "../sim/costs";
import { emit, TRACE_MM_VMSCAN_MEMCG_RECLAIM_BEGIN, TRACE_MM_VMSCAN_MEMCG_RECLAIM_END } from "../sim/trace";
import { IDEALIZED_FREED, IDEALIZED_PC, IDEALIZED_PFN, IDEALIZED_SPACE } from "./context";
import { faultIndex } from "./faultstate";
import { MM_RECLAIMED_DIRECT, MM_SCANNED, mmCountAdd } from "./instance";
import { lruAddDrainAll } from "./lrubatch";
import { PG_LRU, PG_SWAPCACHE, PG_WRITEBACK, pageMaps, pageOf, pageOwner, pageTest } from "./page";
import { ptePfn, ptePresent, pteZero } from "./pte";
import { throttle, throttleEnd } from "./reclaim";
import { residencyCapacity } from "./residency";
import { RECLAIM_CHOSEN, shrinkFreed, shrinkIsolate, shrinkListBegin, shrinkStep } from "./shrink";
import { spaceId, spaceMemcg, spacePolicy, spacePte } from "./space";

// Reclaim for a cgroup's limit under an idealized policy: the page that the policy chooses goes, used or not, and no other. It leaves
// by the path of every page (evict.ts). A device that takes its time has written it before the reclaimer goes on.
//
//   CHOOSE → EVICT → free                 a page that could not go is no progress; CHOSEN: atonce.ts has chosen
//              ^  \
//              |   → WRITTEN: under writeback
//              +-------+

const CHOOSE: u32 = 0;
const EVICT: u32 = 1;
const WRITTEN: u32 = 2;
const CHOSEN: u32 = 3;

/**
 * Starts the eviction of one page of `space`, for the fault that the actor is in. False without such a policy, or when the policy knows
 * of no page: what is charged then is on its way in or out, and Linux' own reclaim deals with it.
 */
export function idealizedBegin(actor: usize, space: usize): bool {
  if (spacePolicy(space) === 0 || changetype<Policy>(spacePolicy(space)).used === 0) return false;
  store<u32>(actor, <u32>space, IDEALIZED_SPACE);
  store<u32>(actor, 0, IDEALIZED_FREED);
  store<u32>(actor, CHOOSE, IDEALIZED_PC);
  emit(TRACE_MM_VMSCAN_MEMCG_RECLAIM_BEGIN, actorClock(actor), 0, 0, 0, 0);
  return true;
}

/** An idealized policy chooses which page of `space` goes, and knows of one. */
export function idealizedChooses(space: usize): bool {
  return spacePolicy(space) !== 0 && changetype<Policy>(spacePolicy(space)).used !== 0;
}

/** A policy from outside has failed to choose: the run ends with the step under way. */
export function idealizedFailed(): bool {
  return outsideFailure() !== OUTSIDE_SOUND;
}

/** Pages freed by the reclaim that idealizedStep() has finished. */
export function idealizedProgress(actor: usize): u32 {
  return load<u32>(actor, IDEALIZED_FREED);
}

/** Goes on with the eviction. Returns STEP_*. */
export function idealizedStep(mm: usize, actor: usize): i32 {
  const space = <usize>load<u32>(actor, IDEALIZED_SPACE);
  while (true) {
    const pc = load<u32>(actor, IDEALIZED_PC);
    if (pc === EVICT) {
      const step = shrinkStep(mm, actor);
      if (step === STEP_AGAIN && actorGoesOn(actor)) continue;
      if (step !== STEP_DONE) return step;
      if (shrinkFreed(actor) !== 0) {
        mmCountAdd(mm, MM_RECLAIMED_DIRECT, 1);
        store<u32>(actor, 1, IDEALIZED_FREED);
        return finish(actor);
      }
      // Somebody holds it: no time passes by trying again, and whoever holds it may only come after us.
      if (!underWriteback(mm, actor)) return finish(actor);
      store<u32>(actor, WRITTEN, IDEALIZED_PC);
      if (wait(mm, actor)) return STEP_BLOCKED;
    } else if (pc === WRITTEN) {
      throttleEnd(actor);
      if (wait(mm, actor)) return STEP_BLOCKED;
    } else if (pc === CHOOSE) {
      store<u32>(actor, idealizedChoose(space, faultIndex(actor)), IDEALIZED_PFN);
      actorSpend(actor, STAGE_RECLAIM, cost(COST_RECLAIM_SCAN_PAGE_NS));
    }
    if (!isolate(mm, actor, space, pc === CHOOSE || pc === CHOSEN)) return finish(actor);
    store<u32>(actor, EVICT, IDEALIZED_PC);
  }
}

function finish(actor: usize): i32 {
  emit(TRACE_MM_VMSCAN_MEMCG_RECLAIM_END, actorClock(actor), idealizedProgress(actor), 0, 0, 0);
  return STEP_DONE;
}

/** The eviction for the fault that the actor is in has chosen `pfn` (PFN_NONE: nothing) and has it still to take; idealizedStep() goes on. */
export function idealizedAtChoice(actor: usize, space: usize, pfn: u32): void {
  store<u32>(actor, <u32>space, IDEALIZED_SPACE);
  store<u32>(actor, 0, IDEALIZED_FREED);
  store<u32>(actor, pfn, IDEALIZED_PFN);
  store<u32>(actor, CHOSEN, IDEALIZED_PC);
}

/** The frame of the page of `space` that is to go, for page `index` is about to come; PFN_NONE when the policy knows of none. */
export function idealizedChoose(space: usize, index: u32): u32 {
  const policy = changetype<Policy>(spacePolicy(space));
  policy.capacity = residencyCapacity(space);
  while (policy.used > 0) {
    const pte = spacePte(space, policyEvict(policy, index));
    if (ptePresent(pte) && !pteZero(pte)) return ptePfn(pte);
  }
  return PFN_NONE;
}

function underWriteback(mm: usize, actor: usize): bool {
  return pageTest(pageOf(mm, load<u32>(actor, IDEALIZED_PFN)), PG_WRITEBACK);
}

function wait(mm: usize, actor: usize): bool {
  return underWriteback(mm, actor) && throttle(mm, actor);
}

// Takes the page off the lists. The second time it must still be the page that was written, wanted by nobody meanwhile.
function isolate(mm: usize, actor: usize, space: usize, mapped: bool): bool {
  const pfn = load<u32>(actor, IDEALIZED_PFN);
  if (pfn === PFN_NONE) return false;
  lruAddDrainAll(mm, actor);
  const page = pageOf(mm, pfn);
  if (!pageTest(page, PG_LRU) || pageOwner(page) !== spaceId(space)) return false;
  if (!mapped && (pageMaps(page) !== 0 || !pageTest(page, PG_SWAPCACHE))) return false;
  shrinkIsolate(mm, actor, spaceMemcg(space), pfn);
  shrinkListBegin(actor, space, RECLAIM_CHOSEN);
  mmCountAdd(mm, MM_SCANNED, 1);
  return true;
}
