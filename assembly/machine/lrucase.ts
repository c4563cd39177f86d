import { arenaCommit, arenaReserve, PART_WORKLOADS } from "../memory/arena";
import { PFN_NONE } from "../memory/layout";
import { E_NO_MEMORY, STEP_DONE } from "../memory/status";
import { allocated, allocBegin, allocBootTable, allocStep, allocTableBegin } from "../mm/alloc";
import { checkMm } from "../mm/check";
import {
  MM_RECLAIMED_DIRECT,
  MM_SWAP_IN,
  mmCount,
  mmSpace,
  mmSpaces,
  setMmGenerations,
  setMmSwappiness,
} from "../mm/instance";
import { listHead } from "../mm/list";
import { lruBatchAt, lruBatchLength, lruCacheAdd } from "../mm/lrubatch";
import { lruvecSnapshot, setLruvecActivated, setLruvecAge, setLruvecCosts } from "../mm/lruvec";
import {
  lruAdd,
  memcgGenerations,
  memcgLruvec,
  memcgMax,
  memcgSetup,
  memcgUsage,
  setMemcgGenerations,
  setMemcgMax,
} from "../mm/memcg";
import { memcgFlushNow } from "../mm/memcgstat";
import {
  generationList,
  generationsCreate,
  generationsLayout,
  generationsMax,
  generationsMin,
} from "../mm/mglru";
import { agingProcessRan } from "../mm/mglruaging";
import { TYPE_ANON } from "../mm/mglrutiers";
import {
  PG_ACTIVE,
  PG_ANON_EXCLUSIVE,
  PG_DIRTY,
  PG_REFERENCED,
  PG_UPTODATE,
  PG_WORKINGSET,
  pageIndex,
  pageNext,
  pageOf,
  pageOwner,
  pageSet,
  setPageMaps,
  setPageOwner,
} from "../mm/page";
import { PTE_ACCESSED, PTE_DIRTY, PTE_WRITE, pteOfPfn, ptePresent } from "../mm/pte";
import { RECLAIM_RETRIES, reclaimBegin, reclaimProgress, reclaimStep } from "../mm/reclaim";
import {
  setSpacePte,
  setSpaceTable,
  spaceAccount,
  spaceId,
  spaceMemcg,
  spacePages,
  spacePte,
  spaceTable,
  spaceUpperTables,
} from "../mm/space";
import { stocksDrain } from "../mm/stock";
import { swapCpus } from "../mm/swapstate";
import { actorCpu } from "../sim/actor";
import { host } from "./state";
import { swapcaseActor, swapcaseProcess, swapcaseTouch, swapcaseWait } from "./swapcase";

// What a capture of reclaim needs beyond swapcase.ts: the process is alone in a memory cgroup, whose files are written to, and
// whose lists can be set up as a dump of the kernel shows them.

/** Flags of a page in a dump. */
const REFERENCED: u32 = 1;
const ACTIVE: u32 = 2;
const WORKINGSET: u32 = 4;
const YOUNG: u32 = 8;
const DIRTY_PTE: u32 = 16;
const DIRTY: u32 = 64;

/** MEMCG_CHARGE_BATCH. */
const CHARGE_BATCH: u32 = 64;

/** The space that stands for all other processes. */
const OTHER: u32 = 1;

function memcg(): usize {
  return spaceMemcg(swapcaseProcess());
}

// try_to_free_mem_cgroup_pages(); returns the pages freed.
function reclaim(pages: u32): u32 {
  reclaimBegin(host(), swapcaseActor(), swapcaseProcess(), pages);
  while (true) {
    agingProcessRan(swapcaseProcess());
    const step = reclaimStep(host(), swapcaseActor());
    swapcaseWait(step);
    if (step === STEP_DONE) return reclaimProgress(swapcaseActor());
  }
}

/** Pages lie on generation lists from now on; before the first of them. Returns E_NO_MEMORY when they do not fit. */
export function lrucaseGenerations(): i32 {
  const mm = host();
  setMmGenerations(mm);
  for (let id: u32 = 0; id < mmSpaces(mm); id++) {
    const gens = generationsCreate();
    if (gens === 0) return E_NO_MEMORY;
    generationsLayout(gens, spacePages(mmSpace(mm, id)));
    setMemcgGenerations(spaceMemcg(mmSpace(mm, id)), gens);
  }
  return arenaCommit();
}

/** Sequence number of the youngest generation. */
export function lrucaseYoungest(): u32 {
  return generationsMax(memcgGenerations(memcg()));
}

/** Sequence number of the oldest generation of anonymous pages. */
export function lrucaseOldest(): u32 {
  return generationsMin(memcgGenerations(memcg()), TYPE_ANON);
}

/** The page at `place` of the list of generation `seq`, counted from its head; -1 behind the last. */
export function lrucaseListed(seq: u32, place: u32): i32 {
  let pfn = listHead(generationList(memcgGenerations(memcg()), seq, TYPE_ANON));
  for (let at: u32 = 0; at < place && pfn !== PFN_NONE; at++) pfn = pageNext(host(), pfn);
  return pfn === PFN_NONE ? -1 : <i32>pageIndex(pageOf(host(), pfn));
}

/** The process joins its cgroup: it is charged for the tables of its area, those between the root and the leaf tables first. */
export function lrucaseJoin(): void {
  for (let table = spaceUpperTables(swapcaseProcess()) - 1; table > 0; table--) {
    const pfn = allocBootTable(host(), swapcaseProcess(), false);
    assert(pfn !== PFN_NONE);
  }
}

/** Writes `pages` to memory.reclaim. Returns 1, or 0 when less could be reclaimed (EAGAIN). Source: memory_reclaim(). */
export function lrucaseReclaim(pages: u32): i32 {
  let retries = RECLAIM_RETRIES;
  let freed: u32 = 0;
  while (freed < pages) {
    const more = reclaim(pages - freed);
    if (more === 0) {
      if (retries === 0) return 0;
      retries--;
    }
    freed += more;
  }
  return 1;
}

/** Writes `pages` to memory.max. Returns 1, or 0 when the cgroup stays above it. Source: memory_max_write(). */
export function lrucaseMax(pages: u32): i32 {
  setMemcgMax(memcg(), pages);
  stocksDrain(host(), swapCpus(host()), swapcaseProcess());
  let retries = RECLAIM_RETRIES;
  while (memcgUsage(memcg()) > pages && retries > 0) {
    if (reclaim(memcgUsage(memcg()) - pages) === 0) retries--;
  }
  return memcgUsage(memcg()) <= memcgMax(memcg()) ? 1 : 0;
}

function takeFrame(space: usize): u32 {
  allocBegin(swapcaseActor(), space);
  return takeEnd();
}

function takeTable(space: usize): u32 {
  allocTableBegin(swapcaseActor(), space, false);
  return takeEnd();
}

function takeEnd(): u32 {
  const step = allocStep(host(), swapcaseActor());
  assert(step === STEP_DONE);
  return allocated(swapcaseActor());
}

/** Maps page `index` as a dump shows it: at the tail of the list that its flags name, or, with `batched`, in this CPU's batch. */
export function lrucasePlace(index: u32, flags: u32, batched: bool): void {
  const mm = host();
  const space = swapcaseProcess();
  if (spaceTable(space, index) === PFN_NONE) setSpaceTable(space, index, takeTable(space));
  const pfn = takeFrame(space);
  const page = pageOf(mm, pfn);
  setPageOwner(page, spaceId(space), index);
  setPageMaps(page, 1);
  pageSet(page, PG_UPTODATE | PG_ANON_EXCLUSIVE);
  if (flags & REFERENCED) pageSet(page, PG_REFERENCED);
  if (flags & ACTIVE) pageSet(page, PG_ACTIVE);
  if (flags & WORKINGSET) pageSet(page, PG_WORKINGSET);
  if (flags & DIRTY) pageSet(page, PG_DIRTY);
  const dirty: u64 = flags & DIRTY_PTE ? PTE_WRITE | PTE_DIRTY : 0;
  setSpacePte(space, index, pteOfPfn(pfn, (flags & YOUNG ? PTE_ACCESSED : 0) | dirty));
  spaceAccount(space, 1, 0);
  if (batched) lruCacheAdd(mm, swapcaseActor(), pfn);
  else lruAdd(mm, spaceMemcg(space), pfn, true);
}

/** What a dump notes about the lists, which are all there; `activated` is WORKINGSET_ACTIVATE_ANON, `refaults` its last snapshot. */
export function lrucaseNotes(anonCost: u32, fileCost: u32, age: u32, activated: u32, refaults: u32): void {
  setLruvecCosts(memcgLruvec(memcg()), anonCost, fileCost);
  setLruvecAge(memcgLruvec(memcg()), age);
  setLruvecActivated(memcgLruvec(memcg()), refaults);
  lruvecSnapshot(memcgLruvec(memcg()));
  setLruvecActivated(memcgLruvec(memcg()), activated);
  memcgFlushNow(host());
}

/** A page of another process, which is in no cgroup that matters here, joins this CPU's batch. */
export function lrucaseForeign(): void {
  lruCacheAdd(host(), swapcaseActor(), takeFrame(mmSpace(host(), OTHER)));
}

/** Walks every structure and asserts its invariants. Says nothing in a build without assertions. */
export function lrucaseCheck(): void {
  checkMm(host(), memcgUsage(spaceMemcg(mmSpace(host(), OTHER))));
}

/** Pages of other processes in this CPU's batch. */
export function lrucaseForeigners(): u32 {
  const mm = host();
  const cpu = actorCpu(swapcaseActor());
  let pages: u32 = 0;
  for (let place: u32 = 0; place < lruBatchLength(mm, cpu); place++) {
    if (pageOwner(pageOf(mm, lruBatchAt(mm, cpu, place))) === OTHER) pages++;
  }
  return pages;
}

/** A cgroup as the kernel has it, and vm.swappiness, 0..200. */
export function lrucaseCgroup(swappiness: u32): void {
  setMmSwappiness(host(), swappiness);
  memcgSetup(memcg(), CHARGE_BATCH, true, 0);
}

/** Reserves room for a stream of `words` pages, before swapcaseStart(). Returns its address. */
export function lrucaseRoom(words: u32): usize {
  return arenaReserve(PART_WORKLOADS, (<u64>words) << 2);
}

/** The process writes the `words` pages at `stream` in turn; what is mapped for writing needs no fault, the hardware marks its entry. */
export function lrucaseRun(stream: usize, words: u32): void {
  const space = swapcaseProcess();
  for (let word: u32 = 0; word < words; word++) {
    const index = load<u32>(stream + ((<usize>word) << 2));
    const pte = spacePte(space, index);
    if (ptePresent(pte) && (pte & PTE_WRITE) !== 0) setSpacePte(space, index, pte | PTE_ACCESSED | PTE_DIRTY);
    else swapcaseTouch(index, true);
  }
}

/** Pages that came back from swap, or were evicted, since the start. */
export function lrucaseMoved(evicted: bool): f64 {
  return <f64>mmCount(host(), evicted ? MM_RECLAIMED_DIRECT : MM_SWAP_IN);
}
