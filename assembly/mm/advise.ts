import { PFN_NONE } from "../memory/layout";
import { STEP_AGAIN, STEP_DONE } from "../memory/status";
import { actorGoesOn } from "../sim/actor";
import { ADVISE_END, ADVISE_NEXT, ADVISE_PC, ADVISE_SPACE } from "./context";
import { listHead } from "./list";
import { lruAdd, lruRemove } from "./memcg";
import { PG_ACTIVE, PG_LRU, PG_REFERENCED, pageClear, pageMaps, pageOf, pageTest } from "./page";
import { PTE_ACCESSED, ptePfn, ptePresent, pteZero } from "./pte";
import { shrinkIsolate, shrinkIsolated, shrinkListBegin, shrinkStep } from "./shrink";
import { setSpacePte, spaceFirst, spaceMemcg, spacePte } from "./space";

// Advice about a range of anonymous memory: madvise() with MADV_PAGEOUT and MADV_COLD. Both make pages look unused: the pte's
// accessed bit and the page's reference mark are cleared. MADV_PAGEOUT then evicts, page table by page table, through the
// same path as reclaim, so that a page which the secondary MMU has seen in use is kept the first time.
// MADV_DONTNEED is zapRange(). Left out: huge pages, file mappings.
//
// A page that another process maps too, or that is on no list at the moment, is not touched.

const GATHER: u32 = 0;
const EVICT: u32 = 1;
const TABLE_PAGES: u32 = 512;

/** Starts paging out pages `start`..`end`-1 of `space`. */
export function pageoutBegin(actor: usize, space: usize, start: u32, end: u32): void {
  store<u32>(actor, GATHER, ADVISE_PC);
  store<u32>(actor, <u32>space, ADVISE_SPACE);
  store<u32>(actor, start, ADVISE_NEXT);
  store<u32>(actor, end, ADVISE_END);
}

/** Goes on with paging out. Returns STEP_*. */
export function pageoutStep(mm: usize, actor: usize): i32 {
  const space = <usize>load<u32>(actor, ADVISE_SPACE);
  while (true) {
    if (load<u32>(actor, ADVISE_PC) === GATHER) {
      if (load<u32>(actor, ADVISE_NEXT) >= load<u32>(actor, ADVISE_END)) return STEP_DONE;
      gather(mm, actor, space);
      shrinkListBegin(actor, space);
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

/** MADV_COLD: pages `start`..`end`-1 of `space` go to the head of the inactive list, as if never used. */
export function adviseCold(mm: usize, space: usize, start: u32, end: u32): void {
  for (let index = start; index < end; index++) {
    if (!makeOld(mm, space, index)) continue;
    const pfn = ptePfn(spacePte(space, index));
    lruRemove(mm, spaceMemcg(space), pfn);
    pageClear(pageOf(mm, pfn), PG_ACTIVE);
    lruAdd(mm, spaceMemcg(space), pfn, false);
  }
}

// Clears what says that the page was used. False for what advice leaves alone.
function makeOld(mm: usize, space: usize, index: u32): bool {
  const pte = spacePte(space, index);
  if (!ptePresent(pte) || pteZero(pte)) return false;
  const page = pageOf(mm, ptePfn(pte));
  if (!pageTest(page, PG_LRU) || pageMaps(page) !== 1) return false;
  setSpacePte(space, index, pte & ~PTE_ACCESSED);
  pageClear(page, PG_REFERENCED);
  return true;
}
