import { STEP_AGAIN, STEP_DONE } from "../memory/status";
import { actorClock, actorCpu, actorGoesOn, actorSpend, STAGE_RECLAIM } from "../sim/actor";
import { COST_AGE_RMAP_PAGE_NS, COST_SWAP_OUT_CPU_NS, cost } from "../sim/costs";
import { deviceSynchronous, deviceSynchronousNs } from "../sim/device";
import { DIGEST_RECLAIM, DIGEST_SWAP_OUT, digestAdd } from "../sim/digest";
import {
  emit,
  TRACE_FOLIO_REFERENCED,
  TRACE_KR_FLUSH_YOUNG,
  TRACE_MM_VMSCAN_WRITE_FOLIO,
  TRACE_SWAP_WRITEPAGE,
} from "../sim/trace";
import {
  EVICT_CHOSEN,
  EVICT_PC,
  EVICT_PFN,
  RECLAIM_MEMCG,
  SHRINK_WRITTEN,
  TALLY_ACTIVATED,
  TALLY_REFERENCED,
  TALLY_WRITEBACK,
} from "./context";
import { pageFree } from "./free";
import { notifySwapOut } from "./freehook";
import {
  frameStamp,
  MM_SWAP_ALLOC_FAILED,
  MM_SWAP_OUT,
  mmCountAdd,
  mmSpace,
  mmStamped,
  mmWriteback,
  setMmWriteback,
} from "./instance";
import { ksmYoung } from "./ksm";
import { memcgGenerations } from "./memcg";
import { memcgEvents } from "./memcgstat";
import { lookAround } from "./mglrulook";
import { notifyClearFlushYoung, notifyInvalidateEnd, notifyInvalidateStart } from "./notifier";
import {
  PG_ACTIVE,
  PG_ANON_EXCLUSIVE,
  PG_DIRTY,
  PG_FILE,
  PG_KSM,
  PG_LAZYFREE,
  PG_MAPPING_REPLACED,
  PG_PLUGGED,
  PG_RECLAIM,
  PG_REFERENCED,
  PG_SWAPCACHE,
  PG_WRITEBACK,
  pageClear,
  pageIndex,
  pageMaps,
  pageOf,
  pageOwner,
  pagePrivate,
  pageRefs,
  pageSet,
  pageTest,
  setPageMaps,
  setPageRefs,
} from "./page";
import { pageTrylock, pageUnlock } from "./pagelock";
import {
  ENTRY_NONE,
  entryOffset,
  entryType,
  PTE_ACCESSED,
  PTE_DIRTY,
  PTE_NONE,
  pteOfEntry,
  ptePfn,
  ptePresent,
} from "./pte";
import { spaceUnmapped } from "./residency";
import { setSpacePte, spaceAccount, spaceMemcg, spacePte } from "./space";
import { swapAlloc } from "./swap";
import { setSlotOwner, setSlotStamp, swapArea, swapDevice, swapFull } from "./swaparea";
import { swapCacheAdd, swapCacheDelete, swapCacheTryFree } from "./swapcache";
import { swapDup } from "./swapmap";
import { thpMapped, thpSplitBegin, thpSplitStep, thpYoung } from "./thp";
import { workingsetEviction } from "./workingset";
import { callWritepage, callWritepageBegin, WRITEPAGE_ACTIVATE, writepageResult } from "./writepage";

// What reclaim does with one isolated page: shrink_page_list() for an anonymous page, try_to_unmap_one(), pageout() and
// __remove_mapping(). A machine of steps: time passes, and others may act, between the reference check, the notifier's
// start, the change of the pte, the notifier's end, the write and the freeing. The page is locked throughout.
// Left out for now: file pages but a VM's (writepage.ts), demotion, mlock; a huge page is split first (thp.ts), never swapped whole.

/** The page is free. */
export const EVICT_FREED: u32 = 0;
/** Back to the head of the inactive list. */
export const EVICT_KEEP: u32 = 1;
/** To the head of the active list. */
export const EVICT_ACTIVATE: u32 = 2;

const CHECK: u32 = 0;
const UNMAP_START: u32 = 1;
const UNMAP_PTE: u32 = 2;
const UNMAP_END: u32 = 3;
const WRITE: u32 = 4;
const REMOVE: u32 = 5;
const SPLIT: u32 = 6;
const WRITEPAGE: u32 = 7;
const OUTCOME: u32 = 8; // OUTCOME + EVICT_*: the machine is done

/** `chosen`: the page goes whether it was used or not. */
export function evictBegin(actor: usize, pfn: u32, chosen: bool): void {
  store<u32>(actor, pfn, EVICT_PFN);
  store<u32>(actor, chosen ? 1 : 0, EVICT_CHOSEN);
  store<u32>(actor, CHECK, EVICT_PC);
}

/** What became of the page; after evictStep() has returned STEP_DONE. */
export function evictOutcome(actor: usize): u32 {
  return load<u32>(actor, EVICT_PC) - OUTCOME;
}

function tally(at: usize): void {
  store<u32>(at, load<u32>(at) + 1);
}

function finish(actor: usize, outcome: u32): i32 {
  store<u32>(actor, OUTCOME + outcome, EVICT_PC);
  return STEP_DONE;
}

/** Goes on with the page of evictBegin(). Returns STEP_*. */
export function evictStep(mm: usize, actor: usize): i32 {
  while (true) {
    const pc = load<u32>(actor, EVICT_PC);
    if (pc !== UNMAP_START && pc !== UNMAP_END && pc !== SPLIT) {
      let step: i32;
      if (pc === CHECK) step = check(mm, actor);
      else if (pc === UNMAP_PTE) step = unmapPte(mm, actor);
      else if (pc === WRITE) step = write(mm, actor);
      else if (pc === WRITEPAGE) step = writepage(mm, actor);
      else step = remove(mm, actor);
      if (step === STEP_AGAIN && actorGoesOn(actor)) continue;
      return step;
    }
    if (pc === SPLIT) {
      const split = thpSplitStep(actor);
      if (split !== STEP_DONE) return split;
      store<u32>(actor, UNMAP_START, EVICT_PC);
      continue;
    }
    // The notifier's own machine runs until it is done; then the next state follows in the same step.
    const page = pageOf(mm, load<u32>(actor, EVICT_PFN));
    const index = pageIndex(page);
    const start = pc === UNMAP_START;
    const step = start
      ? notifyInvalidateStart(actor, pageOwner(page), index, index + 1)
      : notifyInvalidateEnd(actor, pageOwner(page), index, index + 1);
    if (step !== STEP_DONE) return step;
    store<u32>(actor, start ? UNMAP_PTE : WRITE, EVICT_PC);
  }
}

function check(mm: usize, actor: usize): i32 {
  const pfn = load<u32>(actor, EVICT_PFN);
  const page = pageOf(mm, pfn);
  if (!pageTrylock(mm, pfn)) return finish(actor, EVICT_KEEP);
  if (pageMaps(page) !== 0 && pageTest(page, PG_REFERENCED) && generationsOf(mm, page) !== 0) {
    // A walk or a look around has seen it in use since it was isolated.
    tally(actor + TALLY_REFERENCED);
    pageUnlock(mm, pfn, actorClock(actor));
    return finish(actor, EVICT_KEEP);
  }
  if (pageTest(page, PG_WRITEBACK)) {
    // Met again before its write ended: out of the way until the write's end rotates it back to the tail.
    pageSet(page, PG_RECLAIM);
    tally(actor + TALLY_WRITEBACK);
    return activate(mm, actor);
  }
  if (pageMaps(page) > 1 || pageTest(page, PG_KSM | PG_MAPPING_REPLACED)) {
    // Left out: unmapping from several places; merged pages stay in memory, and advice does not touch them. A page whose mapping was
    // replaced is no anonymous one: it gets no swap slot, and nobody is found who maps it.
    pageUnlock(mm, pfn, actorClock(actor));
    return finish(actor, EVICT_KEEP);
  }
  const mapped = pageMaps(page) !== 0;
  const looks = load<u32>(actor, EVICT_CHOSEN) === 0;
  const young = looks && mapped && pageYoung(mm, actor, page);
  if (looks && !mapped) emit(TRACE_FOLIO_REFERENCED, actorClock(actor), 0, 0, 0, 0);
  const referenced = pageTest(page, PG_REFERENCED);
  pageClear(page, PG_REFERENCED);
  if (young) {
    // folio_check_references(): the first reference earns a second chance, the second one the active list.
    pageSet(page, PG_REFERENCED);
    if (referenced) return activate(mm, actor);
    tally(actor + TALLY_REFERENCED);
    pageUnlock(mm, pfn, actorClock(actor));
    return finish(actor, EVICT_KEEP);
  }
  if (pageTest(page, PG_FILE)) {
    // A dirty page that was referenced waits a round; who else holds one may still write to it (is_page_cache_freeable()).
    if ((looks && referenced) || pageRefs(page) !== 2) {
      pageUnlock(mm, pfn, actorClock(actor));
      return finish(actor, EVICT_KEEP);
    }
    callWritepageBegin(actor);
    store<u32>(actor, WRITEPAGE, EVICT_PC);
    return STEP_AGAIN; // yield: the page is locked
  }
  if (!pageTest(page, PG_SWAPCACHE | PG_LAZYFREE)) {
    const entry = swapAlloc(mm, actor);
    if (entry === ENTRY_NONE) {
      mmCountAdd(mm, MM_SWAP_ALLOC_FAILED, 1);
      return activate(mm, actor);
    }
    memcgEvents(mm, actorCpu(actor), 1); // MEMCG_SWAP
    swapCacheAdd(mm, actor, pfn, entry);
    setSlotOwner(mm, entry, pageOwner(page));
    pageSet(page, PG_DIRTY);
  }
  store<u32>(actor, mapped ? UNMAP_START : WRITE, EVICT_PC);
  const space = mmSpace(mm, pageOwner(page));
  if (mapped && thpMapped(space, pageIndex(page))) {
    thpSplitBegin(actor, space, pageIndex(page), true);
    store<u32>(actor, SPLIT, EVICT_PC);
  }
  return STEP_AGAIN; // yield: the page is locked; its mapping may be used until the notifier's start
}

// The generation lists of the page's cgroup, 0 with two lists.
function generationsOf(mm: usize, page: usize): usize {
  return memcgGenerations(spaceMemcg(mmSpace(mm, pageOwner(page))));
}

/**
 * folio_referenced(): has a page been used since the last look? Reads and clears the accessed bits of the primary and the
 * secondary MMU; a page found young in both counts once. With generation lists, a young pte has its neighbours looked at.
 */
export function pageYoung(mm: usize, actor: usize, page: usize): bool {
  if (pageTest(page, PG_KSM)) return ksmYoung(mm, actor, page);
  const space = mmSpace(mm, pageOwner(page));
  const index = pageIndex(page);
  const pte = spacePte(space, index);
  assert(ptePresent(pte));
  const young = (pte & PTE_ACCESSED) !== 0;
  // An entry of 2 MiB has no neighbours in a table.
  const gens: usize = young && !thpMapped(space, index) ? generationsOf(mm, page) : 0;
  if (gens !== 0) lookAround(mm, actor, gens, space, index);
  if (young) setSpacePte(space, index, pte & ~PTE_ACCESSED);
  const secondary = notifyClearFlushYoung(actor, pageOwner(page), index);
  if (secondary && thpMapped(space, index)) {
    thpYoung(space, index);
    setSpacePte(space, index, spacePte(space, index) & ~PTE_ACCESSED);
  }
  const time = actorClock(actor);
  emit(TRACE_KR_FLUSH_YOUNG, time, secondary ? 1 : 0, 0, 0, 0);
  actorSpend(actor, STAGE_RECLAIM, cost(COST_AGE_RMAP_PAGE_NS));
  emit(TRACE_FOLIO_REFERENCED, actorClock(actor), young || secondary ? 1 : 0, 0, 0, 0);
  return young || secondary;
}

function activate(mm: usize, actor: usize): i32 {
  const pfn = load<u32>(actor, EVICT_PFN);
  if (swapFull(mm)) swapCacheTryFree(mm, actorCpu(actor), pfn);
  tally(actor + TALLY_ACTIVATED);
  memcgEvents(mm, actorCpu(actor), 1); // PGACTIVATE
  pageSet(pageOf(mm, pfn), PG_ACTIVE);
  pageUnlock(mm, pfn, actorClock(actor));
  return finish(actor, EVICT_ACTIVATE);
}

// try_to_unmap_one() between the notifier's start and end: the pte becomes a swap entry.
function unmapPte(mm: usize, actor: usize): i32 {
  const pfn = load<u32>(actor, EVICT_PFN);
  const page = pageOf(mm, pfn);
  const space = mmSpace(mm, pageOwner(page));
  const index = pageIndex(page);
  const pte = spacePte(space, index);
  store<u32>(actor, UNMAP_END, EVICT_PC);
  if (!ptePresent(pte) || ptePfn(pte) !== pfn) return STEP_AGAIN; // its owner has dropped it meanwhile
  if (pageTest(page, PG_MAPPING_REPLACED)) return STEP_AGAIN; // taken for a file's: nobody maps it
  actorSpend(actor, STAGE_RECLAIM, cost(COST_SWAP_OUT_CPU_NS));
  if (pte & PTE_DIRTY) pageSet(page, PG_DIRTY);
  if (pageTest(page, PG_LAZYFREE)) {
    // Written again, or wanted by somebody: it stays, and is an ordinary page from now on.
    if (pageTest(page, PG_DIRTY) || pageRefs(page) !== 1 + pageMaps(page)) {
      pageClear(page, PG_LAZYFREE);
      return STEP_AGAIN;
    }
    setSpacePte(space, index, PTE_NONE);
    spaceAccount(space, -1, 0);
  } else {
    const entry = pagePrivate(page);
    const counted = swapDup(mm, entry);
    assert(counted);
    setSpacePte(space, index, pteOfEntry(entry, pageTest(page, PG_ANON_EXCLUSIVE)));
    spaceAccount(space, -1, 1);
  }
  spaceUnmapped(space, index);
  memcgEvents(mm, actorCpu(actor), 1); // NR_ANON_MAPPED
  pageClear(page, PG_ANON_EXCLUSIVE);
  setPageMaps(page, pageMaps(page) - 1);
  setPageRefs(page, pageRefs(page) - 1);
  return STEP_AGAIN; // yield: the pte is a swap entry, the notifier's range is still open
}

// pageout(): a clean page of the swap cache needs no write. A synchronous device has written when this returns; another
// one gets the request when the reclaimer's plug is flushed.
function write(mm: usize, actor: usize): i32 {
  const pfn = load<u32>(actor, EVICT_PFN);
  const page = pageOf(mm, pfn);
  store<u32>(actor, REMOVE, EVICT_PC);
  if (pageMaps(page) !== 0) {
    // It could not be unmapped. Where nobody was found who maps it (SWAP_AGAIN), it is no sign that it is in use.
    if (!pageTest(page, PG_MAPPING_REPLACED)) return activate(mm, actor);
    pageUnlock(mm, pfn, actorClock(actor));
    return finish(actor, EVICT_KEEP);
  }
  if (!pageTest(page, PG_DIRTY) || pageTest(page, PG_LAZYFREE)) return remove(mm, actor);

  // is_page_cache_freeable(): whoever else holds the page may still write to it.
  if (pageRefs(page) !== 2) {
    pageUnlock(mm, pfn, actorClock(actor));
    return finish(actor, EVICT_KEEP);
  }
  pageClear(page, PG_DIRTY);
  const entry = pagePrivate(page);
  const time = actorClock(actor);
  mmCountAdd(mm, MM_SWAP_OUT, 1);
  notifySwapOut(pageOwner(page), pageIndex(page));
  tally(actor + SHRINK_WRITTEN);
  memcgEvents(mm, actorCpu(actor), 1); // NR_WRITEBACK
  digestAdd(DIGEST_SWAP_OUT, time, pageOwner(page), pageIndex(page), pfn, entry);
  emit(TRACE_SWAP_WRITEPAGE, time, entryType(entry), entryOffset(entry), 0, 0);
  emit(TRACE_MM_VMSCAN_WRITE_FOLIO, time, pfn, 0, 0, 0);
  if (mmStamped(mm)) setSlotStamp(mm, entry, frameStamp(mm, pfn));

  const device = swapDevice(swapArea(mm, entry));
  if (deviceSynchronous(device)) {
    memcgEvents(mm, actorCpu(actor), 1);
    actorSpend(actor, STAGE_RECLAIM, deviceSynchronousNs(device, true));
    return STEP_AGAIN; // yield: the write has ended, the page is still locked
  }
  pageSet(page, PG_WRITEBACK | PG_RECLAIM | PG_PLUGGED);
  setMmWriteback(mm, mmWriteback(mm) + 1);
  pageUnlock(mm, pfn, time);
  return finish(actor, EVICT_KEEP);
}

// pageout() for a page of a file: when the file has let go of it, the page is dirty in the swap cache, for the next scan to write.
function writepage(mm: usize, actor: usize): i32 {
  const step = callWritepage(actor, load<u32>(actor, EVICT_PFN));
  if (step !== STEP_DONE) return step;
  return writepageResult(actor) === WRITEPAGE_ACTIVATE ? activate(mm, actor) : finish(actor, EVICT_KEEP);
}

// The space whose cgroup's limit is the reason for this reclaim, 0 when it is the host's memory, or advice.
function target(actor: usize): usize {
  return <usize>load<u32>(actor, RECLAIM_MEMCG);
}

// __remove_mapping(): only the isolation and the swap cache may hold the page now.
function remove(mm: usize, actor: usize): i32 {
  const pfn = load<u32>(actor, EVICT_PFN);
  const page = pageOf(mm, pfn);
  const time = actorClock(actor);
  const cached = pageTest(page, PG_SWAPCACHE);
  if (pageRefs(page) !== (cached ? 2 : 1) || pageTest(page, PG_DIRTY)) {
    pageUnlock(mm, pfn, time);
    return finish(actor, EVICT_KEEP);
  }
  const entry = cached ? pagePrivate(page) : ENTRY_NONE;
  digestAdd(DIGEST_RECLAIM, time, pageOwner(page), pageIndex(page), pfn, entry);
  if (cached) swapCacheDelete(mm, actorCpu(actor), pfn, workingsetEviction(mm, pfn, target(actor)));
  pageUnlock(mm, pfn, time);
  pageFree(mm, pfn, actor);
  return finish(actor, EVICT_FREED);
}
