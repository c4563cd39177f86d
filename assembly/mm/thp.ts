import { PFN_NONE } from "../memory/layout";
import { STEP_DONE } from "../memory/status";
import { actorClock, actorCpu } from "../sim/actor";
import { emit, TRACE_MM_PAGE_ALLOC } from "../sim/trace";
import { splitPage } from "./compound";
import { SPLIT_PC, SPLIT_SPACE, SPLIT_START } from "./context";
import { pageFree } from "./free";
import { GFP_USER_PAGE, gfpMigratetype } from "./gfp";
import { mmStamped, setFrameStamp } from "./instance";
import { lruAddDrain } from "./lrubatch";
import { lruAdd, memcgMax, memcgUsage, setMemcgUsage } from "./memcg";
import { notifyInvalidateEnd, notifyInvalidateStart } from "./notifier";
import { PG_ANON_EXCLUSIVE, PG_UPTODATE, pageOf, setPageFlags, setPageMaps, setPageOwner } from "./page";
import { allocPagesNoReclaim } from "./pagealloc";
import { PTE_ACCESSED, PTE_DIRTY, PTE_NONE, PTE_WRITE, pteOfPfn, ptePresent } from "./pte";
import {
  setSpacePte,
  spaceAccount,
  spaceHuge,
  spaceId,
  spaceMaps,
  spaceMemcg,
  spacePages,
  spacePte,
} from "./space";

// Transparent huge pages of a VM's process (do_huge_pmd_anonymous_page(), __split_huge_pmd()): 2 MiB of aligned addresses are mapped by
// one entry of the upper level, as long as nothing small has been put there. The 512 ptes beneath are filled in all the same, so that who
// asks for a page finds it; a byte for every 2 MiB says whether the hardware would see them.
//
// state    1 2 MiB are mapped whole   ·   2 small pages have been mapped here: the entry names a table
//
// The frames are a block of order 9, held one by one: each has its own place on the lists, and its own bits. The accessed bit of the whole is passed
// on to every pte when it is read (thpYoung()). Left out: the huge page of zeroes (a read maps small ones), swapping a huge page out whole, khugepaged,
// compaction and reclaim for a huge page (one that is not free at once becomes small ones).
//
// invariant: where 2 MiB are mapped whole, all 512 ptes are present and their frames follow each other, the first one aligned

const MAPPED: u8 = 1;
const SMALL: u8 = 2;
export const HUGE_PAGES: u32 = 512;
const HUGE_ORDER: u32 = 9;

function stateAt(space: usize, index: u32): usize {
  return spaceHuge(space) + <usize>(index / HUGE_PAGES);
}

/** First page of the 2 MiB that `index` lies in. */
export function thpFirst(index: u32): u32 {
  return index & ~(HUGE_PAGES - 1);
}

/** The 2 MiB around page `index` are mapped whole. */
export function thpMapped(space: usize, index: u32): bool {
  return spaceHuge(space) !== 0 && load<u8>(stateAt(space, index)) === MAPPED;
}

/** A huge page may be mapped around page `index`: nothing is there yet, and one mapping covers it. */
export function thpWanted(space: usize, index: u32): bool {
  if (spaceHuge(space) === 0 || load<u8>(stateAt(space, index)) !== 0) return false;
  return spaceMaps(space, thpFirst(index), thpFirst(index) + HUGE_PAGES);
}

/** A small page is going to be mapped at `index`. */
export function thpSmall(space: usize, index: u32): void {
  if (spaceHuge(space) !== 0) store<u8>(stateAt(space, index), SMALL);
}

/** A block of order 9 for `space`, charged; PFN_NONE when none is free or the limit has no room. Nothing is reclaimed for it. */
export function thpAlloc(mm: usize, actor: usize, space: usize): u32 {
  const memcg = spaceMemcg(space);
  if (memcgMax(memcg) - memcgUsage(memcg) < HUGE_PAGES || memcgUsage(memcg) > memcgMax(memcg))
    return PFN_NONE;
  const pfn = allocPagesNoReclaim(mm, actorCpu(actor), HUGE_ORDER, GFP_USER_PAGE);
  if (pfn === PFN_NONE) return PFN_NONE;
  emit(TRACE_MM_PAGE_ALLOC, actorClock(actor), pfn, HUGE_ORDER, gfpMigratetype(GFP_USER_PAGE), 0);
  splitPage(mm, pfn, HUGE_ORDER);
  setMemcgUsage(memcg, memcgUsage(memcg) + HUGE_PAGES);
  for (let at = pfn; at < pfn + HUGE_PAGES; at++) {
    const page = pageOf(mm, at);
    setPageFlags(page, 0);
    setPageMaps(page, 0);
    setPageOwner(page, spaceId(space), 0);
    if (mmStamped(mm)) setFrameStamp(mm, at, 0);
  }
  return pfn;
}

/** Maps the block whole around `index`. False: something has been mapped there meanwhile, and the block is free again. */
export function thpInstall(mm: usize, actor: usize, space: usize, index: u32, pfn: u32): bool {
  const first = thpFirst(index);
  const wanted = thpWanted(space, index);
  if (wanted) lruAddDrain(mm, actor);
  for (let each: u32 = 0; each < HUGE_PAGES; each++) {
    if (!wanted) {
      pageFree(mm, pfn + each, actor);
      continue;
    }
    const page = pageOf(mm, pfn + each);
    assert(spacePte(space, first + each) === PTE_NONE);
    setSpacePte(space, first + each, pteOfPfn(pfn + each, PTE_WRITE | PTE_ACCESSED | PTE_DIRTY));
    setPageOwner(page, spaceId(space), first + each);
    setPageMaps(page, 1);
    setPageFlags(page, PG_UPTODATE | PG_ANON_EXCLUSIVE);
    lruAdd(mm, spaceMemcg(space), pfn + each, false);
  }
  if (!wanted) return false;
  spaceAccount(space, HUGE_PAGES, 0);
  store<u8>(stateAt(space, index), MAPPED);
  return true;
}

/** The 2 MiB around `index` have been found accessed as a whole: so has each of their pages. */
export function thpYoung(space: usize, index: u32): void {
  const first = thpFirst(index);
  for (let each: u32 = 0; each < HUGE_PAGES; each++) {
    setSpacePte(space, first + each, spacePte(space, first + each) | PTE_ACCESSED);
  }
}

/**
 * Pages start..end-1 go: where 2 MiB that were mapped whole go whole, another huge page may come; where only a part goes, the rest is small
 * from now on. The entry above them is what changes; who calls has told the notifier.
 */
export function thpZap(space: usize, start: u32, end: u32): void {
  if (spaceHuge(space) === 0) return;
  for (let first = thpFirst(start); first < end; first += HUGE_PAGES) {
    if (!thpMapped(space, first)) continue;
    const whole = first >= start && first + HUGE_PAGES <= end;
    store<u8>(stateAt(space, first), whole ? 0 : SMALL);
  }
}

/** First page of 2 MiB mapped whole of which [start, end) has only a part; 0xffffffff when there are none. */
export function thpPartial(space: usize, start: u32, end: u32): u32 {
  if (spaceHuge(space) === 0) return u32.MAX_VALUE;
  if (thpFirst(start) !== start && thpMapped(space, start)) return thpFirst(start);
  if (end > start && thpFirst(end) !== end && thpMapped(space, end - 1)) return thpFirst(end - 1);
  return u32.MAX_VALUE;
}

const OUTER: u32 = 0;
const INNER: u32 = 1;
const INNER_END: u32 = 2;
const OUTER_END: u32 = 3;

/** Starts splitting the huge page around `index`; with `page` the page itself, without only its mapping. */
export function thpSplitBegin(actor: usize, space: usize, index: u32, page: bool): void {
  assert(thpMapped(space, index));
  store<u32>(actor, page ? OUTER : INNER, SPLIT_PC);
  store<u32>(actor, <u32>space | (page ? 1 : 0), SPLIT_SPACE);
  store<u32>(actor, thpFirst(index), SPLIT_START);
}

/**
 * Goes on: split_huge_page() unmaps the whole within a pair of notifications, and in it __split_huge_pmd() makes another pair. From then on
 * the ptes count. Returns STEP_*.
 */
export function thpSplitStep(actor: usize): i32 {
  const space = <usize>(load<u32>(actor, SPLIT_SPACE) & ~1);
  const page = (load<u32>(actor, SPLIT_SPACE) & 1) !== 0;
  const start = load<u32>(actor, SPLIT_START);
  while (true) {
    const pc = load<u32>(actor, SPLIT_PC);
    const opens = pc === OUTER || pc === INNER;
    const step = opens
      ? notifyInvalidateStart(actor, spaceId(space), start, start + HUGE_PAGES)
      : notifyInvalidateEnd(actor, spaceId(space), start, start + HUGE_PAGES);
    if (step !== STEP_DONE) return step;
    if (pc === INNER && thpMapped(space, start)) store<u8>(stateAt(space, start), SMALL);
    if (pc === OUTER_END || (pc === INNER_END && !page)) return STEP_DONE;
    store<u32>(actor, pc + 1, SPLIT_PC);
  }
}

export function checkThp(space: usize): void {
  if (spaceHuge(space) === 0) return;
  for (let index: u32 = 0; index < spacePages(space); index++) {
    if (!thpMapped(space, index)) continue;
    const head = spacePte(space, thpFirst(index));
    assert(ptePresent(spacePte(space, index)));
    assert(spacePte(space, index) >> 12 === (head >> 12) + (index - thpFirst(index)));
  }
}
