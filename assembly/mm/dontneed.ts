import { STEP_AGAIN, STEP_DONE } from "../memory/status";
import { actorClock, actorGoesOn, actorSpend, STAGE_RECLAIM } from "../sim/actor";
import { COST_MADVISE_DONTNEED_NS, COST_MADVISE_PER_PAGE_NS, cost } from "../sim/costs";
import { DIGEST_DISCARD, digestAdd } from "../sim/digest";
import { DONTNEED_END, DONTNEED_PAGES, DONTNEED_PC, DONTNEED_SPACE, DONTNEED_START } from "./context";
import { notifyInvalidateEnd, notifyInvalidateStart } from "./notifier";
import { spaceId, spaceRss, spaceSwapents } from "./space";
import { zapRange } from "./zap";

// madvise(MADV_DONTNEED) on a range of a VM's memory (zap_page_range_single()): the notifier takes the secondary MMU's entries away, the
// primary MMU's are dropped with their frames and swap slots, and the next touch finds nothing there. A machine of steps, because the
// notifier takes locks.

const START: u32 = 0;
const ZAP: u32 = 1;
const END: u32 = 2;

/** Starts to drop pages `start`..`end`-1 of `space`. */
export function dontneedBegin(actor: usize, space: usize, start: u32, end: u32): void {
  assert(start < end);
  store<u32>(actor, START, DONTNEED_PC);
  store<u32>(actor, <u32>space, DONTNEED_SPACE);
  store<u32>(actor, start, DONTNEED_START);
  store<u32>(actor, end, DONTNEED_END);
}

/** Goes on; STEP_DONE at the end, then dontneedPages() tells what there was. Returns STEP_*. */
export function dontneedStep(mm: usize, actor: usize): i32 {
  const space = <usize>load<u32>(actor, DONTNEED_SPACE);
  const start = load<u32>(actor, DONTNEED_START);
  const end = load<u32>(actor, DONTNEED_END);
  while (true) {
    const pc = load<u32>(actor, DONTNEED_PC);
    if (pc === START) {
      const step = notifyInvalidateStart(actor, spaceId(space), start, end);
      if (step !== STEP_DONE) return step;
      store<u32>(actor, ZAP, DONTNEED_PC);
    } else if (pc === ZAP) {
      const before = spaceRss(space) + spaceSwapents(space);
      zapRange(mm, actor, space, start, end);
      const pages = before - (spaceRss(space) + spaceSwapents(space));
      store<u32>(actor, pages, DONTNEED_PAGES);
      digestAdd(DIGEST_DISCARD, actorClock(actor), spaceId(space), start, end, pages);
      const more = pages > 1 ? pages - 1 : 0;
      actorSpend(
        actor,
        STAGE_RECLAIM,
        cost(COST_MADVISE_DONTNEED_NS) + more * cost(COST_MADVISE_PER_PAGE_NS),
      );
      store<u32>(actor, END, DONTNEED_PC);
      // yield: the range is still open for the notifier; a fault on it starts over
      if (!actorGoesOn(actor)) return STEP_AGAIN;
    } else {
      return notifyInvalidateEnd(actor, spaceId(space), start, end);
    }
  }
}

/** Pages, in frames or in slots, that the range had. */
export function dontneedPages(actor: usize): u32 {
  return load<u32>(actor, DONTNEED_PAGES);
}
