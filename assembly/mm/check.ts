import { checkBuddy } from "./buddy";
import { checkCompactZone } from "./compactzone";
import { isFree } from "./freeblock";
import { mmSpace, mmSpaces, mmWriteback, mmZoneAt, mmZones } from "./instance";
import { checkKsm } from "./ksm";
import { checkList } from "./list";
import { checkLruBatches } from "./lrubatch";
import {
  lruActive,
  lruInactive,
  lruInactiveFile,
  lruKind,
  memcgGenerations,
  memcgOverhead,
  memcgUsage,
} from "./memcg";
import { checkGenerations } from "./mglru";
import {
  LIST_ACTIVE,
  LIST_GENERATION,
  LIST_INACTIVE,
  LIST_INACTIVE_FILE,
  LIST_ISOLATED,
  LIST_NONE,
  LIST_PCP,
  mmPfnEnd,
  mmPfnFirst,
  PG_ACCOUNT,
  PG_ANON_EXCLUSIVE,
  PG_FILE,
  PG_KSM,
  PG_LOCKED,
  PG_LRU,
  PG_PLUGGED,
  PG_SLAB,
  PG_SWAPCACHE,
  PG_TABLE,
  PG_WRITEBACK,
  pageFlags,
  pageGen,
  pageIndex,
  pageList,
  pageMaps,
  pageOf,
  pageOwner,
  pagePrivate,
  pageRefs,
  pageTest,
} from "./page";
import { checkBlocks } from "./pagealloc";
import { checkFile } from "./pagecache";
import { checkPcp } from "./pcp";
import {
  migrationPfn,
  PTE_DIRTY,
  PTE_NONE,
  PTE_WRITE,
  pteEntry,
  pteMigration,
  ptePfn,
  ptePresent,
  pteZero,
} from "./pte";
import { checkResidency } from "./residency";
import {
  spaceFile,
  spaceMemcg,
  spacePages,
  spacePolicy,
  spacePte,
  spaceRss,
  spaceSlotsLost,
  spaceSwapents,
} from "./space";
import { stockedPages } from "./stock";
import { checkSwap, swapUsers } from "./swap";
import { swapCacheLookup, swapCount } from "./swapmap";
import { swapCpus } from "./swapstate";
import { checkThp } from "./thp";
import { zoneCpus } from "./zone";

// The invariants that join several structures of one mm instance: each frame in exactly one place, each reference
// accounted for, each pte and each slot naming each other.

/** `pinned` counts references that the upper floors hold (get_user_pages) and pages in the hands of a step. */
export function checkMm(mm: usize, pinned: u32): void {
  for (let place: u32 = 0; place < mmZones(mm); place++) {
    const zone = mmZoneAt(mm, place);
    checkBuddy(mm, zone);
    checkBlocks(mm, zone);
    checkCompactZone(zone);
    for (let cpu: u32 = 0; cpu < zoneCpus(zone); cpu++) checkPcp(mm, zone, cpu);
  }
  checkSwap(mm);
  checkKsm(mm);
  let users: u32 = 0;
  for (let id: u32 = 0; id < mmSpaces(mm); id++) {
    checkSpace(mm, id);
    users += spaceSwapents(mmSpace(mm, id)) + spaceSlotsLost(mmSpace(mm, id));
  }
  assert(users === swapUsers(mm));
  checkFrames(mm, pinned + checkLruBatches(mm, swapCpus(mm)));
}

function checkSpace(mm: usize, id: u32): void {
  const space = mmSpace(mm, id);
  const memcg = spaceMemcg(space);
  if (memcgGenerations(memcg) !== 0) checkGenerations(mm, memcgGenerations(memcg));
  checkList(mm, lruInactive(memcg), LIST_INACTIVE);
  checkList(mm, lruActive(memcg), LIST_ACTIVE);
  checkList(mm, lruInactiveFile(memcg), LIST_INACTIVE_FILE);
  let rss: u32 = spaceFile(space) === 0 ? 0 : checkFile(mm, spaceFile(space), id);
  let swapents: u32 = 0;
  for (let index: u32 = 0; index < spacePages(space); index++) {
    const pte = spacePte(space, index);
    if (pte === PTE_NONE) continue;
    if (ptePresent(pte)) {
      if (pteZero(pte)) {
        assert((pte & (PTE_WRITE | PTE_DIRTY)) === 0);
        continue;
      }
      rss++;
      const page = pageOf(mm, ptePfn(pte));
      assert((pageIndex(page) === index || pageTest(page, PG_KSM)) && pageMaps(page) !== 0);
      if (pageTest(page, PG_ANON_EXCLUSIVE)) assert(pageOwner(page) === id && pageMaps(page) === 1);
    } else if (pteMigration(pte)) {
      rss++;
      const page = pageOf(mm, migrationPfn(pte));
      assert(pageTest(page, PG_LOCKED) && pageIndex(page) === index && pageMaps(page) === 0);
    } else {
      swapents++;
      assert(swapCount(mm, pteEntry(pte)) !== 0);
    }
  }
  if (spacePolicy(space) !== 0) checkResidency(space);
  checkThp(space);
  assert(rss === spaceRss(space));
  assert(swapents === spaceSwapents(space));
}

function checkFrames(mm: usize, pinned: u32): void {
  let extra: u32 = 0;
  let writeback: u32 = 0;
  const charged = memcgTotal(mm) - stockedPages(mm, swapCpus(mm));
  let owned: u32 = 0;
  for (let pfn = mmPfnFirst(mm); pfn < mmPfnEnd(mm); pfn++) {
    const page = pageOf(mm, pfn);
    const list = pageList(page);
    if (isFree(mm, pfn)) assert(list === LIST_NONE && pageFlags(page) === 0);
    if (list === LIST_PCP) assert(pageRefs(page) === 0);
    if (isFree(mm, pfn) || pageRefs(page) === 0) continue;
    if (pageTest(page, PG_SLAB)) {
      assert(list === LIST_NONE && pageRefs(page) === 1);
      continue;
    }
    if (pageTest(page, PG_TABLE)) {
      assert(list === LIST_NONE && pageRefs(page) === 1 && pageMaps(page) === 0);
      if (pageTest(page, PG_ACCOUNT)) owned++;
      continue;
    }
    owned++;
    if (pageTest(page, PG_LRU)) {
      if (pageGen(page) === 0) assert(list === lruKind(page));
      else assert(list >= LIST_GENERATION && list < LIST_GENERATION + 8);
    } else assert(list === LIST_NONE || list === LIST_ISOLATED);
    const cached = pageTest(page, PG_SWAPCACHE);
    if (cached) assert(swapCacheLookup(mm, pagePrivate(page)) === pfn);
    if (pageTest(page, PG_WRITEBACK)) {
      writeback++;
      assert(cached);
    }
    if (pageTest(page, PG_PLUGGED)) assert(list === LIST_ISOLATED);
    const known =
      pageMaps(page) + (cached || pageTest(page, PG_FILE) ? 1 : 0) + (list === LIST_ISOLATED ? 1 : 0);
    assert(pageRefs(page) >= known);
    extra += pageRefs(page) - known;
    if (list === LIST_NONE) assert(pageTest(page, PG_LOCKED) || pageRefs(page) > 0);
  }
  assert(extra <= pinned);
  assert(writeback === mmWriteback(mm));
  assert(owned >= charged && owned <= charged + pinned);
}

// Pages charged for which there are frames, and those in stock.
function memcgTotal(mm: usize): u32 {
  let pages: u32 = 0;
  for (let id: u32 = 0; id < mmSpaces(mm); id++) {
    const memcg = spaceMemcg(mmSpace(mm, id));
    pages += memcgUsage(memcg) - memcgOverhead(memcg);
  }
  return pages;
}
