import { actorCpu } from "../sim/actor";
import { pagePut } from "./free";
import { lruAddDrain } from "./lrubatch";
import { memcgEvents } from "./memcgstat";
import {
  PG_ANON_EXCLUSIVE,
  PG_LOCKED,
  PG_MAPPING_REPLACED,
  pageClear,
  pageMaps,
  pageOf,
  pageTest,
  setPageMaps,
} from "./page";
import { PTE_NONE, pteEntry, pteMigration, ptePfn, ptePresent, pteSwapped, pteZero } from "./pte";
import { spaceUnmapped } from "./residency";
import { setSpacePte, spaceAccount, spaceAccountFile, spacePte } from "./space";
import { swapCacheReclaim, swapCacheTryFree } from "./swapcache";
import { swapFree } from "./swapmap";
import { thpZap } from "./thp";

// Dropping the pages of a range: zap_pte_range() as madvise(MADV_DONTNEED) and the end of a process call it. The notifier
// is the caller's matter. Left out: huge pages, the flush in the middle of a range of more than 10,000 present pages.

/**
 * Drops pages `start`..`end`-1 of `space`. Swap entries go first, page by page; present pages are gathered and freed, with
 * the slots that the swap cache holds for them, when the range has been walked.
 */
export function zapRange(mm: usize, actor: usize, space: usize, start: u32, end: u32): void {
  lruAddDrain(mm, actor);
  thpZap(space, start, end);
  for (let index = start; index < end; index++) {
    const pte = spacePte(space, index);
    if (pteSwapped(pte)) {
      zapEntry(mm, actor, space, index);
    } else if (pteZero(pte)) {
      setSpacePte(space, index, PTE_NONE);
      spaceUnmapped(space, index);
    } else if (pteMigration(pte)) {
      // It holds no reference: whoever migrates the page finds that nobody wants it any more.
      setSpacePte(space, index, PTE_NONE);
      spaceUnmapped(space, index);
      spaceAccount(space, -1, 0);
    }
  }
  for (let index = start; index < end; index++) {
    const pte = spacePte(space, index);
    if (!ptePresent(pte)) continue;
    setSpacePte(space, index, PTE_NONE);
    spaceUnmapped(space, index);
    // By PageAnon(): a page whose mapping was replaced counts as a file's.
    if (pageTest(pageOf(mm, ptePfn(pte)), PG_MAPPING_REPLACED)) spaceAccountFile(space, -1);
    else spaceAccount(space, -1, 0);
    zapPage(mm, actor, ptePfn(pte));
  }
}

/**
 * Drops the swap entry of a page. free_swap_and_cache(): with the last user gone, the page that the swap cache may still
 * hold goes too, unless it is busy.
 */
export function zapEntry(mm: usize, actor: usize, space: usize, index: u32): void {
  const entry = pteEntry(spacePte(space, index));
  setSpacePte(space, index, PTE_NONE);
  spaceAccount(space, 0, -1);
  swapFree(mm, actorCpu(actor), entry);
  swapCacheReclaim(mm, actor, entry, false);
}

// page_remove_rmap(), then free_page_and_swap_cache().
function zapPage(mm: usize, actor: usize, pfn: u32): void {
  const page = pageOf(mm, pfn);
  setPageMaps(page, pageMaps(page) - 1);
  memcgEvents(mm, actorCpu(actor), 1); // NR_ANON_MAPPED
  if (pageMaps(page) === 0) {
    pageClear(page, PG_ANON_EXCLUSIVE);
    if (!pageTest(page, PG_LOCKED)) swapCacheTryFree(mm, actorCpu(actor), pfn);
  }
  pagePut(mm, pfn, actor);
}
