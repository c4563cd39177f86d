import { PFN_NONE } from "../memory/layout";
import { STEP_AGAIN, STEP_DONE } from "../memory/status";
import { actorCpu, actorGoesOn } from "../sim/actor";
import { ADVISE_END, ADVISE_NEXT, ADVISE_PC, ADVISE_SPACE } from "./context";
import { listHead } from "./list";
import { lruAddDrain, lruDeactivate, lruLazyfree } from "./lrubatch";
import {
  PG_ACTIVE,
  PG_DIRTY,
  PG_KSM,
  PG_LOCKED,
  PG_LRU,
  PG_REFERENCED,
  PG_SWAPCACHE,
  pageClear,
  pageMaps,
  pageOf,
  pageTest,
} from "./page";
import { plugFlush } from "./plug";
import { PTE_ACCESSED, PTE_DIRTY, ptePfn, ptePresent, pteSwapped, pteZero } from "./pte";
import { RECLAIM_ADVICE, shrinkIsolate, shrinkIsolated, shrinkListBegin, shrinkStep } from "./shrink";
import { setSpacePte, spaceFirst, spaceMemcg, spacePte } from "./space";
import { swapCacheTryFree } from "./swapcache";
import { thpMapped, thpSplitBegin, thpSplitStep } from "./thp";
import { zapEntry } from "./zap";

// Advice about a range of anonymous memory: madvise() with MADV_PAGEOUT, MADV_COLD and MADV_FREE. The first two make pages look
// unused: the pte's accessed bit and the page's reference mark are cleared. MADV_PAGEOUT then evicts, page table by page table, through the
// same path as reclaim, so that a page which the secondary MMU has seen in use is kept the first time.
// MADV_DONTNEED is zapRange(). A huge page is split first, also where the advice covers it. Left out: file mappings.
//
// A page that another process maps too, or that is on no list at the moment, is not touched.

const GATHER: u32 = 0;
const EVICT: u32 = 1;
const SPLIT: u32 = 2;
const TABLE_PAGES: u32 = 512;

/** Starts paging out pages `start`..`end`-1 of `space`. */
export function pageoutBegin(mm: usize, actor: usize, space: usize, start: u32, end: u32): void {
  lruAddDrain(mm, actor);
  store<u32>(actor, GATHER, ADVISE_PC);
  store<u32>(actor, <u32>space, ADVISE_SPACE);
  store<u32>(actor, start, ADVISE_NEXT);
  store<u32>(actor, end, ADVISE_END);
}

/** Goes on with paging out. Returns STEP_*. */
export function pageoutStep(mm: usize, actor: usize): i32 {
  const space = <usize>load<u32>(actor, ADVISE_SPACE);
  while (true) {
    if (load<u32>(actor, ADVISE_PC) === SPLIT) {
      const split = thpSplitStep(actor);
      if (split !== STEP_DONE) return split;
      store<u32>(actor, GATHER, ADVISE_PC);
    }
    if (load<u32>(actor, ADVISE_PC) === GATHER) {
      const next = load<u32>(actor, ADVISE_NEXT);
      if (next >= load<u32>(actor, ADVISE_END)) return plugFlush(mm, actor);
      if (thpMapped(space, next)) {
        thpSplitBegin(actor, space, next, true);
        store<u32>(actor, SPLIT, ADVISE_PC);
        continue;
      }
      gather(mm, actor, space);
      shrinkListBegin(actor, space, RECLAIM_ADVICE);
      store<u32>(actor, EVICT, ADVISE_PC);
    }
    const step = shrinkStep(mm, actor);
    if (step === STEP_AGAIN && actorGoesOn(actor)) continue;
    if (step !== STEP_DONE) return step;
    store<u32>(actor, GATHER, ADVISE_PC);
  }
}

// madvise_cold_or_pageout_pte_range(): isolates what one page table maps of the range, then reclaim_pages() goes over it.
function gather(mm: usize, actor: usize, space: usize): void {
  assert(listHead(shrinkIsolated(actor)) === PFN_NONE);
  const start = load<u32>(actor, ADVISE_NEXT);
  const tableEnd = start + TABLE_PAGES - ((start + spaceFirst(space)) % TABLE_PAGES);
  const end = min<u32>(tableEnd, load<u32>(actor, ADVISE_END));
  for (let index = start; index < end; index++) {
    if (!makeOld(mm, space, index)) continue;
    const pfn = ptePfn(spacePte(space, index));
    shrinkIsolate(mm, actor, spaceMemcg(space), pfn);
    pageClear(pageOf(mm, pfn), PG_ACTIVE);
  }
  store<u32>(actor, end, ADVISE_NEXT);
}

/** MADV_COLD: pages `start`..`end`-1 of `space` look unused, and those of the active list leave it. */
export function adviseCold(mm: usize, actor: usize, space: usize, start: u32, end: u32): void {
  lruAddDrain(mm, actor);
  for (let index = start; index < end; index++) {
    if (makeOld(mm, space, index)) lruDeactivate(mm, actor, ptePfn(spacePte(space, index)));
  }
}

/**
 * MADV_FREE: the contents of pages `start`..`end`-1 of `space` may be dropped. A page that is written again before reclaim
 * comes to it stays; a swap entry goes at once. The notifier is the caller's matter. Source: madvise_free_pte_range().
 */
export function adviseFree(mm: usize, actor: usize, space: usize, start: u32, end: u32): void {
  lruAddDrain(mm, actor);
  for (let index = start; index < end; index++) {
    const pte = spacePte(space, index);
    if (pteSwapped(pte)) zapEntry(mm, actor, space, index);
    else if (ptePresent(pte) && !pteZero(pte) && makeClean(mm, actor, ptePfn(pte))) {
      setSpacePte(space, index, pte & ~(PTE_ACCESSED | PTE_DIRTY));
      lruLazyfree(mm, actor, ptePfn(pte));
    }
  }
}

/**
 * Page `index` of `space` has just been written through a file, which leaves no accessed bit and no reference mark behind, and drains no batch. A
 * huge page keeps what it has.
 */
export function adviseUnmapped(mm: usize, space: usize, index: u32): void {
  const pte = spacePte(space, index);
  if (!ptePresent(pte) || pteZero(pte) || thpMapped(space, index)) return;
  setSpacePte(space, index, pte & ~PTE_ACCESSED);
  const page = pageOf(mm, ptePfn(pte));
  pageClear(page, PG_REFERENCED);
  if (!pageTest(page, PG_LRU)) pageClear(page, PG_ACTIVE); // generation lists take it for no page of a fault
}

// Takes away what would have the page written out: its slot and its dirty mark. False for a page that is shared or busy.
function makeClean(mm: usize, actor: usize, pfn: u32): bool {
  const page = pageOf(mm, pfn);
  if (pageTest(page, PG_KSM)) return false;
  if (!pageTest(page, PG_SWAPCACHE | PG_DIRTY)) return true;
  if (pageTest(page, PG_LOCKED) || pageMaps(page) !== 1) return false;
  if (pageTest(page, PG_SWAPCACHE) && !swapCacheTryFree(mm, actorCpu(actor), pfn)) return false;
  pageClear(page, PG_DIRTY);
  return true;
}

// Clears what says that the page was used. False for what advice leaves alone.
function makeOld(mm: usize, space: usize, index: u32): bool {
  const pte = spacePte(space, index);
  if (!ptePresent(pte) || pteZero(pte)) return false;
  const page = pageOf(mm, ptePfn(pte));
  if (!pageTest(page, PG_LRU) || pageTest(page, PG_KSM) || pageMaps(page) !== 1) return false;
  setSpacePte(space, index, pte & ~PTE_ACCESSED);
  pageClear(page, PG_REFERENCED);
  return true;
}
