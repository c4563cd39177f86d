import { STEP_AGAIN, STEP_BLOCKED, STEP_DONE } from "../memory/status";
import { ACTOR_BLOCKED, actorBlock, actorClock, actorState, actorWake, STAGE_RECLAIM } from "../sim/actor";
import {
  emit,
  TRACE_MM_VMSCAN_KSWAPD_SLEEP,
  TRACE_MM_VMSCAN_KSWAPD_WAKE,
  TRACE_MM_VMSCAN_WAKEUP_KSWAPD,
} from "../sim/trace";
import { compactFlush } from "./compactzone";
import {
  ACTOR_MM,
  KSWAPD_PC,
  KSWAPD_RECLAIMED,
  RECLAIM_DONE,
  RECLAIM_FLAGS,
  RECLAIM_MEMCG,
  RECLAIM_PRIORITY,
  RECLAIM_SCANNED,
  RECLAIM_TARGET,
} from "./context";
import {
  mmIdealized,
  mmKswapd,
  mmKswapdFailures,
  mmLruvec,
  mmWriteback,
  mmZoneAt,
  mmZones,
  setMmKswapdFailures,
} from "./instance";
import { lruvecSnapshot } from "./lruvec";
import { DEF_PRIORITY, RECLAIM_RETRIES, roundBegin, roundStep, throttle, throttleEnd } from "./reclaim";
import { RECLAIM_BATCH, RECLAIM_GLOBAL, RECLAIM_KSWAPD } from "./shrink";
import { hostBalanced, hostHigh, hostNoteBoost, hostReclaimActive, hostUnboost } from "./watermark";

// kswapd: woken when free memory falls below LOW or stealing has boosted the watermarks, it reclaims until HIGH is free again
// (balance_pgdat()). A zone that lacks nothing but has a boost is reclaimed from without swapping: with anonymous pages alone
// there is nothing to take, and that does not count as a failure.
// Left out for now: high orders, the short sleep before the long one.

const ASLEEP: u32 = 0;
const WOKEN: u32 = 1;
const BALANCE: u32 = 2;
const IN_ROUND: u32 = 3;

/** wakeup_kswapd(): called by an allocation that found less than LOW free. Under an idealized policy kswapd sleeps. */
export function kswapdWake(mm: usize, time: u64): void {
  if (mmIdealized(mm)) return;
  const kswapd = mmKswapd(mm);
  if (load<u32>(kswapd, KSWAPD_PC) !== ASLEEP || mmKswapdFailures(mm) >= RECLAIM_RETRIES) return;
  assert(actorState(kswapd) === ACTOR_BLOCKED);
  store<u32>(kswapd, WOKEN, KSWAPD_PC);
  emit(TRACE_MM_VMSCAN_WAKEUP_KSWAPD, time, 0, 0, 0, 0);
  actorWake(kswapd, time);
}

/** kswapd's next step. Returns STEP_AGAIN or STEP_BLOCKED. */
export function kswapdStep(actor: usize): i32 {
  const mm = <usize>load<u32>(actor, ACTOR_MM);
  while (true) {
    const pc = load<u32>(actor, KSWAPD_PC);
    if (pc === WOKEN) {
      throttleEnd(actor);
      emit(TRACE_MM_VMSCAN_KSWAPD_WAKE, actorClock(actor), 0, 0, 0, 0);
      store<u32>(actor, RECLAIM_GLOBAL | RECLAIM_KSWAPD, RECLAIM_FLAGS);
      store<u32>(actor, 0, RECLAIM_MEMCG);
      store<u32>(actor, DEF_PRIORITY, RECLAIM_PRIORITY);
      store<u32>(actor, 0, KSWAPD_RECLAIMED);
      hostReclaimActive(mm, true);
      hostNoteBoost(mm);
      store<u32>(actor, BALANCE, KSWAPD_PC);
    } else if (pc === BALANCE) {
      if (hostBalanced(mm)) {
        runEnds(mm);
        return sleep(mm, actor);
      }
      store<u32>(actor, max<u32>(hostHigh(mm), RECLAIM_BATCH), RECLAIM_TARGET);
      store<u32>(actor, 0, RECLAIM_DONE);
      store<u32>(actor, 0, RECLAIM_SCANNED);
      roundBegin(mm, actor, load<u32>(actor, RECLAIM_PRIORITY));
      store<u32>(actor, IN_ROUND, KSWAPD_PC);
    } else {
      const step = roundStep(mm, actor);
      if (step !== STEP_DONE) return step;
      store<u32>(actor, BALANCE, KSWAPD_PC);
      const next = afterRound(mm, actor);
      if (next !== STEP_DONE) return next;
    }
  }
}

// Raises the urgency when a round looked at little or freed nothing; after the last priority, a run that freed nothing
// counts as a failure and the next run starts over.
function afterRound(mm: usize, actor: usize): i32 {
  const done = load<u32>(actor, RECLAIM_DONE);
  const reclaimed = load<u32>(actor, KSWAPD_RECLAIMED) + done;
  store<u32>(actor, reclaimed, KSWAPD_RECLAIMED);
  let priority = load<u32>(actor, RECLAIM_PRIORITY);
  if (load<u32>(actor, RECLAIM_SCANNED) < load<u32>(actor, RECLAIM_TARGET) || done === 0) priority--;
  store<u32>(actor, priority, RECLAIM_PRIORITY);
  if (priority >= 1) return STEP_DONE;

  runEnds(mm);
  if (hostBalanced(mm)) return sleep(mm, actor);
  store<u32>(actor, WOKEN, KSWAPD_PC);
  if (reclaimed !== 0) return STEP_AGAIN;
  if (mmWriteback(mm) !== 0) {
    throttle(mm, actor);
    return STEP_BLOCKED;
  }
  setMmKswapdFailures(mm, mmKswapdFailures(mm) + 1);
  if (mmKswapdFailures(mm) >= RECLAIM_RETRIES) return sleep(mm, actor);
  return STEP_AGAIN;
}

// balance_pgdat() ends: what it found of the boost is worked off, and what came back until now counts no more.
function runEnds(mm: usize): void {
  hostUnboost(mm);
  lruvecSnapshot(mmLruvec(mm));
}

function sleep(mm: usize, actor: usize): i32 {
  hostReclaimActive(mm, false);
  for (let place: u32 = 0; place < mmZones(mm); place++) compactFlush(mmZoneAt(mm, place));
  store<u32>(actor, ASLEEP, KSWAPD_PC);
  emit(TRACE_MM_VMSCAN_KSWAPD_SLEEP, actorClock(actor), 0, 0, 0, 0);
  actorBlock(actor, STAGE_RECLAIM);
  return STEP_BLOCKED;
}
