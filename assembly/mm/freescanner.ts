import { PFN_NONE } from "../memory/layout";
import { actorClock, actorCpu, actorSpend, STAGE_RECLAIM } from "../sim/actor";
import { COST_ISOLATE_PAGE_NS, COST_SCAN_FRAME_NS, cost } from "../sim/costs";
import { emit, TRACE_MM_COMPACTION_ISOLATE_FREEPAGES, TRACE_MM_PAGE_FREE } from "../sim/trace";
import { blockEnd, blockStart, passFree, RUN_ANY_BLOCK, RUN_ASYNC, RUN_DARING } from "./compactzone";
import {
  COMPACT_FLAGS,
  COMPACT_FREE_PFN,
  COMPACT_FREE_SCANNED,
  COMPACT_MIGRATE_PFN,
  COMPACT_TARGETS,
  COMPACT_WANTED,
  COMPACT_ZONE,
} from "./context";
import { freeOrder, isFree } from "./freeblock";
import { MIGRATE_ISOLATE, MIGRATE_MOVABLE } from "./gfp";
import { MM_COMPACT_FREE_SCANNED, MM_COMPACT_ISOLATED, mmCountAdd } from "./instance";
import { listAddHead, listHead, listLength, listRemove } from "./list";
import { LIST_ISOLATED, pageOf, setPageFlags, setPageMaps, setPageOwner, setPageRefs } from "./page";
import { freeThePage, isolateFreePage } from "./pagealloc";
import { spaceId } from "./space";
import { blockSkip, blockType, PAGEBLOCK_ORDER, PAGEBLOCK_PAGES, zoneEndPfn } from "./zone";

// The free scanner of compaction: from the zone's end downwards it takes free blocks for pages to move to, as many frames as are wanted,
// and stops at the pageblock of the other scanner. Follows isolate_freepages(), compaction_alloc() and compaction_free().
//
// A frame that has been taken is on the actor's list, without a reference and without flags, until a page moves to it. In a pageblock that gave
// nothing only every second frame is looked at next, down to every 32nd.
//
// Left out: the search of the free lists before the scan (fast_isolate_freepages()).

const STRIDE_MAX: u32 = 32;

/**
 * compaction_alloc(): a frame for a page of the process of `space`, with one reference. PFN_NONE: the scanners have met, or the zone would fall
 * to its MIN watermark.
 */
export function targetTake(mm: usize, actor: usize, space: usize): u32 {
  const list = actor + COMPACT_TARGETS;
  if (listHead(list) === PFN_NONE) isolateFreepages(mm, actor);
  const pfn = listHead(list);
  if (pfn === PFN_NONE) return PFN_NONE;
  listRemove(mm, list, pfn);
  store<u32>(actor, load<u32>(actor, COMPACT_WANTED) - 1, COMPACT_WANTED);
  const page = pageOf(mm, pfn);
  setPageRefs(page, 1);
  setPageMaps(page, 0);
  setPageOwner(page, spaceId(space), 0);
  return pfn;
}

/** compaction_free(): no page has moved to the frame. */
export function targetReturn(mm: usize, actor: usize, pfn: u32): void {
  setPageRefs(pageOf(mm, pfn), 0);
  setPageFlags(pageOf(mm, pfn), 0);
  listAddHead(mm, actor + COMPACT_TARGETS, LIST_ISOLATED, pfn);
  store<u32>(actor, load<u32>(actor, COMPACT_WANTED) + 1, COMPACT_WANTED);
}

/** release_freepages(): the frames that were not needed become free again. Returns the highest of them, PFN_NONE for none. */
export function targetsRelease(mm: usize, actor: usize): u32 {
  const list = actor + COMPACT_TARGETS;
  let highest = PFN_NONE;
  for (let pfn = listHead(list); pfn !== PFN_NONE; pfn = listHead(list)) {
    listRemove(mm, list, pfn);
    emit(TRACE_MM_PAGE_FREE, actorClock(actor), pfn, 0, 0, 0);
    freeThePage(mm, actorCpu(actor), pfn, 0);
    highest = max<u32>(highest, pfn);
  }
  return highest;
}

// suitable_migration_target(): not what is free as a whole; and not what is set apart, or for others, unless nothing may be left untried.
function suitable(mm: usize, actor: usize, zone: usize, block: u32): bool {
  const type = blockType(zone, block);
  const flags = load<u32>(actor, COMPACT_FLAGS);
  if (type === MIGRATE_ISOLATE) return false;
  if (blockSkip(zone, block) && (flags & RUN_DARING) === 0) return false;
  if (isFree(mm, block) && freeOrder(mm, block) >= PAGEBLOCK_ORDER) return false;
  return type === MIGRATE_MOVABLE || (flags & RUN_ANY_BLOCK) !== 0;
}

function isolateFreepages(mm: usize, actor: usize): void {
  const zone = <usize>load<u32>(actor, COMPACT_ZONE);
  const low = blockEnd(load<u32>(actor, COMPACT_MIGRATE_PFN));
  let stride: u32 = load<u32>(actor, COMPACT_FLAGS) & RUN_ASYNC ? STRIDE_MAX : 1;
  let at = load<u32>(actor, COMPACT_FREE_PFN);
  for (let block = blockStart(at); block >= low; block -= PAGEBLOCK_PAGES, at = block) {
    if (!suitable(mm, actor, zone, block)) continue;
    const end = min<u32>(block + PAGEBLOCK_PAGES, zoneEndPfn(zone));
    const before = listLength(actor + COMPACT_TARGETS);
    at = scan(mm, actor, at, end, stride);
    if (at === end) passFree(zone, block);
    if (enough(actor)) {
      if (at === end) at = block - PAGEBLOCK_PAGES;
      break;
    }
    if (at < end) break; // the watermark
    stride = listLength(actor + COMPACT_TARGETS) > before ? 1 : min<u32>(stride << 1, STRIDE_MAX);
  }
  store<u32>(actor, at, COMPACT_FREE_PFN);
}

function enough(actor: usize): bool {
  return listLength(actor + COMPACT_TARGETS) >= load<u32>(actor, COMPACT_WANTED);
}

// isolate_freepages_block(): returns where it has come to, `end` for all.
function scan(mm: usize, actor: usize, start: u32, end: u32, stride: u32): u32 {
  let pfn = start;
  let looks: u32 = 0;
  let blocks: u32 = 0;
  let taken: u32 = 0;
  while (pfn < end) {
    looks++;
    if (!isFree(mm, pfn)) {
      pfn += stride;
      continue;
    }
    const pages: u32 = 1 << freeOrder(mm, pfn);
    if (!isolateFreePage(mm, actorCpu(actor), pfn)) break;
    for (let frame = pfn; frame < pfn + pages; frame++) {
      listAddHead(mm, actor + COMPACT_TARGETS, LIST_ISOLATED, frame);
    }
    blocks++;
    taken += pages;
    pfn += pages;
    if (enough(actor)) break;
    pfn += stride - 1;
  }
  pfn = min<u32>(pfn, end);
  const scanned = looks + taken - blocks;
  store<u32>(actor, load<u32>(actor, COMPACT_FREE_SCANNED) + scanned, COMPACT_FREE_SCANNED);
  mmCountAdd(mm, MM_COMPACT_FREE_SCANNED, scanned);
  mmCountAdd(mm, MM_COMPACT_ISOLATED, taken);
  emit(TRACE_MM_COMPACTION_ISOLATE_FREEPAGES, actorClock(actor), start, pfn, scanned, taken);
  const ns = looks * cost(COST_SCAN_FRAME_NS) + blocks * cost(COST_ISOLATE_PAGE_NS);
  actorSpend(actor, STAGE_RECLAIM, ns);
  return pfn;
}
