import { PFN_NONE } from "../memory/layout";
import { actorClock, actorCpu } from "../sim/actor";
import { emit, TRACE_SWAPCACHE_ADD } from "../sim/trace";
import { pagePut } from "./free";
import { memcgEvents } from "./memcgstat";
import {
  PG_DIRTY,
  PG_LOCKED,
  PG_READAHEAD,
  PG_SWAPCACHE,
  PG_WRITEBACK,
  pageClear,
  pageGet,
  pageMaps,
  pageOf,
  pagePrivate,
  pageRefs,
  pageSet,
  pageTest,
  setPagePrivate,
  setPageRefs,
} from "./page";
import { ENTRY_NONE, entryOffset, entryType } from "./pte";
import { swapFull } from "./swaparea";
import { swapCacheClear, swapCacheLookup, swapCacheSet, swapCount } from "./swapmap";

// The swap cache seen from the page: while a page is in it, its private word is the swap entry and the cache holds a
// reference.
//
// invariant: PG_SWAPCACHE is set exactly on the frames that the areas' cache arrays name

/** Puts a page into the cache of `entry`, whose SWAP_HAS_CACHE the caller owns (add_to_swap_cache()). */
export function swapCacheAdd(mm: usize, actor: usize, pfn: u32, entry: u32): void {
  memcgEvents(mm, actorCpu(actor), 1); // NR_SWAPCACHE
  const page = pageOf(mm, pfn);
  emit(TRACE_SWAPCACHE_ADD, actorClock(actor), entryType(entry), entryOffset(entry), 0, 0);
  assert(!pageTest(page, PG_SWAPCACHE));
  swapCacheSet(mm, entry, pfn);
  setPagePrivate(page, entry);
  pageSet(page, PG_SWAPCACHE);
  pageGet(page);
}

/**
 * __delete_from_swap_cache(): the page leaves the cache and loses the cache's reference. The caller holds another one.
 * @param shadow what it leaves in its place, 0 for nothing
 */
export function swapCacheDelete(mm: usize, cpu: u32, pfn: u32, shadow: u32): void {
  memcgEvents(mm, cpu, 1);
  const page = pageOf(mm, pfn);
  assert(pageTest(page, PG_SWAPCACHE) && pageRefs(page) > 1);
  swapCacheClear(mm, cpu, pagePrivate(page), shadow);
  setPagePrivate(page, ENTRY_NONE);
  pageClear(page, PG_SWAPCACHE | PG_READAHEAD);
  setPageRefs(page, pageRefs(page) - 1);
}

/** folio_free_swap(): gives the slot up if no pte needs it. The page is then the only copy, so it is dirty. */
export function swapCacheTryFree(mm: usize, cpu: u32, pfn: u32): bool {
  const page = pageOf(mm, pfn);
  if (!pageTest(page, PG_SWAPCACHE) || pageTest(page, PG_WRITEBACK)) return false;
  if (swapCount(mm, pagePrivate(page)) !== 0) return false;
  swapCacheDelete(mm, cpu, pfn, 0);
  pageSet(page, PG_DIRTY);
  return true;
}

/**
 * __try_to_reclaim_swap(): gives up the slot of a page that is cached for `entry` and not busy.
 * @param anyway false: only if nothing maps the page, or swap is more than half full
 * @returns whether the cache let go of the entry; the slot may still wait in a CPU's return cache
 */
export function swapCacheReclaim(mm: usize, actor: usize, entry: u32, anyway: bool): bool {
  const pfn = swapCacheLookup(mm, entry);
  if (pfn === PFN_NONE) return false;
  const page = pageOf(mm, pfn);
  if (pageTest(page, PG_LOCKED)) return false;
  if (!anyway && pageMaps(page) !== 0 && !swapFull(mm)) return false;
  pageGet(page);
  const freed = swapCacheTryFree(mm, actorCpu(actor), pfn);
  pagePut(mm, pfn, actor);
  return freed;
}
