import {
  MM_REFAULTS,
  MM_WORKINGSET_ACTIVATED,
  MM_WORKINGSET_RESTORED,
  mmCountAdd,
  mmSpace,
  mmSwapFree,
} from "./instance";
import { listedPages, lruvecOf } from "./lrusize";
import {
  lruvecActivated,
  lruvecActive,
  lruvecAge,
  lruvecInactiveFile,
  lruvecNoteAnonCost,
  setLruvecActivated,
  setLruvecAge,
} from "./lruvec";
import { memcgGenerations } from "./memcg";
import { memcgEvents } from "./memcgstat";
import { generationsEviction, generationsRefault } from "./mglrurefault";
import { PG_ACTIVE, PG_WORKINGSET, pageOf, pageOwner, pageSet, pageTest } from "./page";
import { spaceMemcg } from "./space";
import { SLOT_SHADOW } from "./swaparea";

// Pages that come back: workingset_eviction() and workingset_refault(). An evicted page leaves a shadow in the swap cache's
// place for its slot: the clock of evictions at that time. When it returns after fewer evictions than there are active pages,
// it would have stayed, had it been active: it starts active.
//
// shadow   31  30           29     28        0
//          +---+------------+------+----------+
//          | 1 | workingset | host | age      |      host: evicted by reclaim for the host, not for its cgroup
//          +---+------------+------+----------+

const WORKINGSET: u32 = 1 << 30;
const HOST: u32 = 1 << 29;
const AGE_MASK: u32 = HOST - 1;

// workingset_age_nonresident(): the cgroup's clock moves on, and the host's with it.
function age(mm: usize, space: usize, pages: u32): void {
  if (space !== 0) setLruvecAge(lruvecOf(mm, space), lruvecAge(lruvecOf(mm, space)) + pages);
  setLruvecAge(lruvecOf(mm, 0), lruvecAge(lruvecOf(mm, 0)) + pages);
}

/** Pages of the cgroup of `space` have become active. */
export function workingsetActivated(mm: usize, space: usize, pages: u32): void {
  age(mm, space, pages);
}

/**
 * The shadow of page `pfn`, which reclaim evicts.
 * @param space whose cgroup's limit is the reason, 0 for the host
 */
export function workingsetEviction(mm: usize, pfn: u32, space: usize): u32 {
  const gens = memcgGenerations(spaceMemcg(mmSpace(mm, pageOwner(pageOf(mm, pfn)))));
  if (gens !== 0) return generationsEviction(gens, pageOf(mm, pfn));
  return listsEviction(mm, pageOf(mm, pfn), space);
}

/** The same of a page of two lists. */
export function listsEviction(mm: usize, page: usize, space: usize): u32 {
  const stamp = lruvecAge(lruvecOf(mm, space)) & AGE_MASK;
  age(mm, space, 1);
  return SLOT_SHADOW | stamp | (pageTest(page, PG_WORKINGSET) ? WORKINGSET : 0) | (space === 0 ? HOST : 0);
}

/** Page `pfn` comes back to the cgroup of `space` on `cpu`; `shadow` is what its eviction left, 0 nothing. */
export function workingsetRefault(mm: usize, cpu: u32, pfn: u32, space: usize, shadow: u32): void {
  if (shadow === 0) return;
  const gens = memcgGenerations(spaceMemcg(space));
  if (gens !== 0) {
    generationsRefault(mm, gens, pageOf(mm, pfn), shadow);
    return;
  }
  mmCountAdd(mm, MM_REFAULTS, 1);
  memcgEvents(mm, cpu, 1);
  const evictedFrom = lruvecOf(mm, shadow & HOST ? 0 : space);
  const distance = (lruvecAge(evictedFrom) - shadow) & AGE_MASK;
  let size = lruvecInactiveFile(evictedFrom);
  if (mmSwapFree(mm) !== 0) size += lruvecActive(evictedFrom);
  if (distance > size) return;

  const page = pageOf(mm, pfn);
  pageSet(page, PG_ACTIVE);
  age(mm, space, 1);
  mmCountAdd(mm, MM_WORKINGSET_ACTIVATED, 1);
  memcgEvents(mm, cpu, 1);
  setLruvecActivated(lruvecOf(mm, space), lruvecActivated(lruvecOf(mm, space)) + 1);
  setLruvecActivated(lruvecOf(mm, 0), lruvecActivated(lruvecOf(mm, 0)) + 1);
  if ((shadow & WORKINGSET) === 0) return;
  pageSet(page, PG_WORKINGSET);
  noteAnonCost(mm, space, 1);
  mmCountAdd(mm, MM_WORKINGSET_RESTORED, 1);
  memcgEvents(mm, cpu, 1);
}

/** lru_note_cost(): reclaiming anonymous pages of a cgroup has cost something, for it and for the host. */
export function noteAnonCost(mm: usize, space: usize, pages: u32): void {
  if (space !== 0) lruvecNoteAnonCost(lruvecOf(mm, space), pages, listedPages(mm, space));
  lruvecNoteAnonCost(lruvecOf(mm, 0), pages, listedPages(mm, 0));
}
