import { actorClock, actorSpend, STAGE_RECLAIM } from "../sim/actor";
import { COST_SCAN_FRAME_NS, cost } from "../sim/costs";
import { emit, TRACE_MM_COMPACTION_ISOLATE_MIGRATEPAGES } from "../sim/trace";
import { blockEnd, blockStart, passMigrate, RUN_ASYNC, RUN_DARING, RUN_WHOLE_BLOCKS } from "./compactzone";
import {
  COMPACT_FLAGS,
  COMPACT_FREE_PFN,
  COMPACT_MIGRATE_PFN,
  COMPACT_MIGRATE_SCANNED,
  COMPACT_ORDER,
  COMPACT_REST,
  COMPACT_ZONE,
} from "./context";
import { freeOrder, isFree } from "./freeblock";
import { MIGRATE_ISOLATE, MIGRATE_MOVABLE } from "./gfp";
import { MM_COMPACT_ISOLATED, MM_COMPACT_MIGRATE_SCANNED, mmCountAdd, mmSpace } from "./instance";
import { migrateIsolate, migrateIsolated, migratesPutback } from "./migratepages";
import {
  PG_FILE,
  PG_KSM,
  PG_LRU,
  PG_MAPPING_REPLACED,
  PG_SWAPCACHE,
  PG_WRITEBACK,
  pageIndex,
  pageMaps,
  pageOf,
  pageOwner,
  pageRefs,
  pageTest,
} from "./page";
import { HUGE_PAGES, thpMapped } from "./thp";
import { blockSkip, blockType, PAGEBLOCK_PAGES, setBlockSkip } from "./zone";

// The migrate scanner of compaction: from the zone's start upwards it isolates what can be moved, 32 pages at a time, never across the
// end of a pageblock. Follows isolate_migratepages() and isolate_migratepages_block().
//
// Left out: the search for a pageblock that is nearly free (fast_find_migrateblock()), pages that others than LRU lists can move. What this model
// cannot move is not isolated: pages of files, and such as several processes map.

/** COMPACT_CLUSTER_MAX */
const BATCH: u32 = 32;

/** Isolates the next batch. Returns the pages; 0: a pageblock held nothing, or there is no further one. */
export function isolateMigratepages(mm: usize, actor: usize): u32 {
  const zone = <usize>load<u32>(actor, COMPACT_ZONE);
  const sync = !runs(actor, RUN_ASYNC);
  let pfn = load<u32>(actor, COMPACT_MIGRATE_PFN);
  while (blockEnd(pfn) <= load<u32>(actor, COMPACT_FREE_PFN)) {
    const end = blockEnd(pfn);
    const skipped = pfn === blockStart(pfn) && blockSkip(zone, pfn) && !runs(actor, RUN_DARING);
    if (skipped || !suitable(actor, zone, pfn)) {
      if (!skipped) passMigrate(zone, end, sync);
      pfn = end;
      continue;
    }
    pfn = scan(mm, actor, pfn, end);
    break;
  }
  store<u32>(actor, pfn, COMPACT_MIGRATE_PFN);
  return migrateIsolated(actor);
}

// suitable_migration_source(): who does not wait makes room in pageblocks of his own type only.
function suitable(actor: usize, zone: usize, pfn: u32): bool {
  const type = blockType(zone, pfn);
  if (type === MIGRATE_ISOLATE) return false;
  return type === MIGRATE_MOVABLE || !runs(actor, RUN_WHOLE_BLOCKS);
}

function runs(actor: usize, how: u32): bool {
  return (load<u32>(actor, COMPACT_FLAGS) & how) !== 0;
}

/** Where the block of the wanted order ends that holds `pfn`. */
export function orderEnd(actor: usize, pfn: u32): u32 {
  const order = load<u32>(actor, COMPACT_ORDER);
  return ((pfn >> order) + 1) << order;
}

function scan(mm: usize, actor: usize, start: u32, end: u32): u32 {
  const zone = <usize>load<u32>(actor, COMPACT_ZONE);
  const rest = load<u32>(actor, COMPACT_REST) !== 0;
  const most = rest ? PAGEBLOCK_PAGES : BATCH;
  let pfn = start;
  let looks: u32 = 0;
  let give = runs(actor, RUN_WHOLE_BLOCKS) ? orderEnd(actor, pfn) : u32.MAX_VALUE;
  while (pfn < end && migrateIsolated(actor) < most) {
    if (pfn >= give) {
      if (migrateIsolated(actor) !== 0) break;
      give = orderEnd(actor, pfn);
    }
    looks++;
    const page = pageOf(mm, pfn);
    if (isFree(mm, pfn)) {
      pfn += 1 << freeOrder(mm, pfn);
    } else if (isolate(mm, actor, pfn)) {
      pfn++;
    } else if (runs(actor, RUN_WHOLE_BLOCKS)) {
      migratesPutback(mm, actor);
      pfn = give;
    } else {
      pfn += huge(mm, page) ? HUGE_PAGES - (pageIndex(page) & (HUGE_PAGES - 1)) : 1;
    }
  }
  pfn = min<u32>(pfn, end);
  const taken = migrateIsolated(actor);
  if (pfn === end && (taken === 0 || rest)) {
    setBlockSkip(zone, blockStart(start));
    passMigrate(zone, end, !runs(actor, RUN_ASYNC));
  }
  store<u32>(actor, load<u32>(actor, COMPACT_MIGRATE_SCANNED) + looks, COMPACT_MIGRATE_SCANNED);
  mmCountAdd(mm, MM_COMPACT_MIGRATE_SCANNED, looks);
  mmCountAdd(mm, MM_COMPACT_ISOLATED, taken);
  emit(TRACE_MM_COMPACTION_ISOLATE_MIGRATEPAGES, actorClock(actor), start, pfn, looks, taken);
  actorSpend(actor, STAGE_RECLAIM, looks * cost(COST_SCAN_FRAME_NS));
  return pfn;
}

function isolate(mm: usize, actor: usize, pfn: u32): bool {
  const page = pageOf(mm, pfn);
  if (!pageTest(page, PG_LRU) || pageTest(page, PG_FILE | PG_KSM) || pageMaps(page) > 1) return false;
  if (huge(mm, page)) return false;
  if (pageTest(page, PG_WRITEBACK) && runs(actor, RUN_ASYNC)) return false;
  // Anonymous, by its mapping, and held by somebody: it would be of no use.
  if (!pageTest(page, PG_SWAPCACHE | PG_MAPPING_REPLACED) && pageRefs(page) > pageMaps(page)) return false;
  return migrateIsolate(mm, actor, pfn);
}

function huge(mm: usize, page: usize): bool {
  if (!pageTest(page, PG_LRU) || pageMaps(page) !== 1) return false;
  return thpMapped(mmSpace(mm, pageOwner(page)), pageIndex(page));
}
