import {
  actorBlockStage,
  actorSleepUntil,
  actorWaitMode,
  actorWaitNext,
  STAGE_DEVICE,
  STAGE_QUEUE,
} from "../sim/actor";
import { waitqueueFirst, waitqueueSleepFor, waitqueueWakeFor } from "../sim/waitqueue";
import { mmPageWaiters } from "./instance";
import { PG_LOCKED, PG_WAITERS, PG_WRITEBACK, pageClear, pageOf, pageSet, pageTest } from "./page";

// The page lock: a sleeping lock in the page's flags, held while a page is read in or evicted.

/** folio_trylock(). */
export function pageTrylock(mm: usize, pfn: u32): bool {
  const page = pageOf(mm, pfn);
  if (pageTest(page, PG_LOCKED)) return false;
  pageSet(page, PG_LOCKED);
  return true;
}

/** Drops the lock at `time` and wakes those who wait for the page; they look the page up again. */
export function pageUnlock(mm: usize, pfn: u32, time: u64): void {
  const page = pageOf(mm, pfn);
  assert(pageTest(page, PG_LOCKED));
  const waiters = pageTest(page, PG_WAITERS);
  pageClear(page, PG_LOCKED | PG_WAITERS);
  if (waiters) waitqueueWakeFor(mmPageWaiters(mm), pfn, time);
}

/** A device began to serve the read of `pfn` at `time`: who waits for the device stood in its queue until then. */
export function pageServedFrom(mm: usize, pfn: u32, time: u64): void {
  if (!pageTest(pageOf(mm, pfn), PG_WAITERS)) return;
  for (let actor = waitqueueFirst(mmPageWaiters(mm)); actor !== 0; actor = actorWaitNext(actor)) {
    if (actorWaitMode(actor) !== pfn || actorBlockStage(actor) !== STAGE_DEVICE) continue;
    actorSleepUntil(actor, STAGE_QUEUE, time);
  }
}

/** The actor sleeps until the page is unlocked; the wait is charged to `stage`. */
export function pageWaitLocked(mm: usize, pfn: u32, actor: usize, stage: u32): void {
  assert(pageTest(pageOf(mm, pfn), PG_LOCKED));
  pageSet(pageOf(mm, pfn), PG_WAITERS);
  waitqueueSleepFor(mmPageWaiters(mm), actor, pfn, stage);
}

/** The actor, which holds the page's lock, sleeps until the page has been written (wait_on_page_writeback()). */
export function pageWaitWritten(mm: usize, pfn: u32, actor: usize, stage: u32): void {
  assert(pageTest(pageOf(mm, pfn), PG_WRITEBACK) && pageTest(pageOf(mm, pfn), PG_LOCKED));
  pageSet(pageOf(mm, pfn), PG_WAITERS);
  waitqueueSleepFor(mmPageWaiters(mm), actor, pfn, stage);
}

/** The page has been written at `time`: who waits for that goes on, who waits for the lock looks again. */
export function pageWritten(mm: usize, pfn: u32, time: u64): void {
  if (pageTest(pageOf(mm, pfn), PG_WAITERS)) waitqueueWakeFor(mmPageWaiters(mm), pfn, time);
}
