import { PFN_NONE } from "../memory/layout";
import { STEP_BLOCKED, STEP_DONE } from "../memory/status";
import { actorClock, actorCpu } from "../sim/actor";
import { deviceSubmit, deviceWaitTag } from "../sim/device";
import { PLUG_COUNT, PLUG_NEXT, PLUG_PAGE, PLUG_RUNS } from "./context";
import { entryOffset, entryType } from "./pte";
import { swapArea, swapDevice } from "./swaparea";
import { swapCacheLookup } from "./swapmap";

// The plug of an actor that writes many pages to swap (struct blk_plug): writes to slots that follow each other become one
// request, and requests wait until the plug is flushed. It is flushed at the end, and before a request is added when there
// are 32 already or the last one is large. A request takes so many pages and no more.
//
// runs     0       4
//          +-------+-------+
//          | entry | pages |  × 32     the first slot of a request, and how many follow each other from there on
//          +-------+-------+
//
// invariant: the pages of a run are in the swap cache and under writeback

/** BLK_MAX_REQUEST_COUNT. */
const PLUG_MAX: u32 = 32;
/** BLK_PLUG_FLUSH_SIZE (128 KiB), in pages. */
const LARGE: u32 = 32;
/** Pages of the largest request: a virtio disk's queue of 256 descriptors less its two for header and status. */
const REQUEST_PAGES: u32 = 254;

function run(actor: usize, place: u32): usize {
  return actor + PLUG_RUNS + ((<usize>place) << 3);
}

// blk_attempt_plug_merge(), with the request added last.
function follows(actor: usize, entry: u32): bool {
  const count = load<u32>(actor, PLUG_COUNT);
  if (count === 0) return false;
  const last = run(actor, count - 1);
  const first = load<u32>(last);
  const pages = load<u32>(last, 4);
  return pages < REQUEST_PAGES && entryType(entry) === entryType(first) && entry === first + pages;
}

/** True when the plug is to be flushed before the write of `entry` is added. Source: blk_add_rq_to_plug(). */
export function plugFull(actor: usize, entry: u32): bool {
  const count = load<u32>(actor, PLUG_COUNT);
  if (count === 0 || follows(actor, entry)) return false;
  return count === PLUG_MAX || load<u32>(run(actor, count - 1), 4) >= LARGE;
}

/** Adds the write of the page that is cached for `entry`. */
export function plugAdd(actor: usize, entry: u32): void {
  const count = load<u32>(actor, PLUG_COUNT);
  if (follows(actor, entry)) {
    const last = run(actor, count - 1);
    store<u32>(last, load<u32>(last, 4) + 1, 4);
    return;
  }
  assert(count < PLUG_MAX);
  store<u32>(run(actor, count), entry);
  store<u32>(run(actor, count), 1, 4);
  store<u32>(actor, count + 1, PLUG_COUNT);
}

/** blk_finish_plug(): submits what is plugged. STEP_BLOCKED: a write has to wait for a tag. */
export function plugFlush(mm: usize, actor: usize): i32 {
  const count = load<u32>(actor, PLUG_COUNT);
  while (load<u32>(actor, PLUG_NEXT) < count) {
    const at = run(actor, load<u32>(actor, PLUG_NEXT));
    while (load<u32>(actor, PLUG_PAGE) < load<u32>(at, 4)) {
      const entry = load<u32>(at) + load<u32>(actor, PLUG_PAGE);
      const pfn = swapCacheLookup(mm, entry);
      assert(pfn !== PFN_NONE);
      const device = swapDevice(swapArea(mm, entry));
      if (!deviceSubmit(device, true, pfn, entryOffset(entry), 0, actorCpu(actor), actorClock(actor))) {
        deviceWaitTag(device, actor);
        return STEP_BLOCKED;
      }
      store<u32>(actor, load<u32>(actor, PLUG_PAGE) + 1, PLUG_PAGE);
    }
    store<u32>(actor, 0, PLUG_PAGE);
    store<u32>(actor, load<u32>(actor, PLUG_NEXT) + 1, PLUG_NEXT);
  }
  store<u32>(actor, 0, PLUG_COUNT);
  store<u32>(actor, 0, PLUG_NEXT);
  return STEP_DONE;
}
