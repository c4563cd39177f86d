import { PFN_NONE } from "../memory/layout";
import { STEP_AGAIN, STEP_BLOCKED, STEP_DONE } from "../memory/status";
import { actorClock, actorGoesOn, actorSpend, STAGE_RECLAIM } from "../sim/actor";
import { COST_AGE_LINEAR_PTE_NS, cost } from "../sim/costs";
import { waitqueueSleep, waitqueueWakeAll } from "../sim/waitqueue";
import { AGING_PC, AGING_SEQ, AGING_SPACE, AGING_TABLE, RECLAIM_PRIORITY } from "./context";
import { memcgGenerations } from "./memcg";
import {
  generationSize,
  generationsFilter,
  generationsHaveRun,
  generationsIncMax,
  generationsMax,
  generationsMin,
  generationsPromote,
  generationsRan,
  generationsWaiters,
  generationsWalker,
  MIN_GENERATIONS,
  setGenerationsWalker,
} from "./mglru";
import { filterClear, filterNote, filterPasses, tableAccessed, tableWasAccessed } from "./mglrufilter";
import { MIN_LRU_BATCH, TYPE_ANON, TYPE_FILE } from "./mglrutiers";
import { pageOf, pageOwner } from "./page";
import { PTE_ACCESSED, ptePfn, ptePresent, pteZero } from "./pte";
import { setSpacePte, spaceId, spaceMemcg, spacePages, spacePte, spaceRss, spaceTable } from "./space";
import { thpMapped } from "./thp";

// Aging: a walk of the process' page table promotes what was used since the last one, and a new youngest generation begins. Follows
// should_run_aging(), try_to_inc_max_seq() and walk_mm(). A machine of steps: page table by page table. The walk does not ask
// the secondary MMU (ptep_test_and_clear_young()): what a guest touches through KVM's tables alone it does not see.
// Left out: huge pages as one unit, mappings that are locked or read in sequence, a cgroup of several processes.

const IDLE: u32 = 0;
const ENTER: u32 = 1;
const WALK: u32 = 2;
const WAIT: u32 = 3;

const TABLE_PAGES: u32 = 512;
/** From this priority on a reclaimer waits for another's walk: DEF_PRIORITY - 2. */
const WAIT_PRIORITY: u32 = 10;

/** Pages of all generations that may be evicted. */
export function agingTotal(gens: usize, canSwap: bool): u32 {
  let pages: u32 = 0;
  for (let type = canSwap ? TYPE_ANON : TYPE_FILE; type <= TYPE_FILE; type++) {
    for (let seq = generationsMin(gens, type); seq <= generationsMax(gens); seq++) {
      pages += generationSize(gens, seq, type);
    }
  }
  return pages;
}

function sizeAcross(gens: usize, seq: u32, canSwap: bool): u32 {
  let pages: u32 = 0;
  for (let type = canSwap ? TYPE_ANON : TYPE_FILE; type <= TYPE_FILE; type++) {
    if (seq >= generationsMin(gens, type)) pages += generationSize(gens, seq, type);
  }
  return pages;
}

/**
 * Is a new generation needed? With two left there is nothing to evict, four are enough; three are, unless most pages are in the youngest
 * or few in the oldest of them.
 */
export function agingNeeded(gens: usize, canSwap: bool): bool {
  const youngest = generationsMax(gens);
  const oldest = generationsMin(gens, canSwap ? TYPE_ANON : TYPE_FILE);
  if (oldest + MIN_GENERATIONS !== youngest) return oldest + MIN_GENERATIONS > youngest;
  const total = agingTotal(gens, canSwap);
  if (sizeAcross(gens, youngest, canSwap) * MIN_GENERATIONS > total) return true;
  return sizeAcross(gens, youngest - MIN_GENERATIONS, canSwap) * (MIN_GENERATIONS + 2) < total;
}

/** Something went through the upper page tables to the entry of page `index`: the hardware, or the kernel that has made the table. */
export function agingTableUsed(space: usize, index: u32): void {
  const gens = memcgGenerations(spaceMemcg(space));
  if (gens !== 0) tableAccessed(generationsFilter(gens), index / TABLE_PAGES);
}

/** The process of `space` has been put on a CPU. */
export function agingProcessRan(space: usize): void {
  const gens = memcgGenerations(spaceMemcg(space));
  if (gens !== 0) generationsRan(gens);
}

/** Starts making a new generation for `space`, at the priority of the reclaim that the actor is in. */
export function agingBegin(actor: usize, space: usize): void {
  assert(agingIdle(actor));
  store<u32>(actor, <u32>space, AGING_SPACE);
  store<u32>(actor, generationsMax(memcgGenerations(spaceMemcg(space))), AGING_SEQ);
  store<u32>(actor, ENTER, AGING_PC);
}

/** Nothing is going on. */
export function agingIdle(actor: usize): bool {
  return load<u32>(actor, AGING_PC) === IDLE;
}

/** There is a new generation, of our making or another's; after agingStep() has returned STEP_DONE. */
export function agingSucceeded(actor: usize): bool {
  const space = <usize>load<u32>(actor, AGING_SPACE);
  return generationsMax(memcgGenerations(spaceMemcg(space))) > load<u32>(actor, AGING_SEQ);
}

/** Goes on with a new generation. Returns STEP_*. */
export function agingStep(mm: usize, actor: usize): i32 {
  const space = <usize>load<u32>(actor, AGING_SPACE);
  const gens = memcgGenerations(spaceMemcg(space));
  while (true) {
    const pc = load<u32>(actor, AGING_PC);
    if (pc === ENTER) {
      if (generationsWalker(gens) !== 0) {
        store<u32>(actor, WAIT, AGING_PC);
        if (load<u32>(actor, RECLAIM_PRIORITY) > WAIT_PRIORITY) continue;
        waitqueueSleep(generationsWaiters(gens), actor, STAGE_RECLAIM);
        return STEP_BLOCKED;
      }
      setGenerationsWalker(gens, actor);
      store<u32>(actor, enter(gens, space) ? 0 : tablesOf(space), AGING_TABLE);
      store<u32>(actor, WALK, AGING_PC);
    } else if (pc === WALK) {
      if (load<u32>(actor, AGING_TABLE) < tablesOf(space)) {
        walkNext(mm, actor, gens, space);
        if (actorGoesOn(actor)) continue;
        return STEP_AGAIN; // yield: the lock of the page table is dropped
      }
      generationsIncMax(mm, gens);
      setGenerationsWalker(gens, 0);
      waitqueueWakeAll(generationsWaiters(gens), actorClock(actor));
      store<u32>(actor, IDLE, AGING_PC);
      return STEP_DONE;
    } else {
      assert(pc === WAIT);
      store<u32>(actor, IDLE, AGING_PC);
      return STEP_DONE;
    }
  }
}

function tablesOf(space: usize): u32 {
  return (spacePages(space) + TABLE_PAGES - 1) / TABLE_PAGES;
}

// Is there a process to walk? One that has not run since the last walk, or that has next to no memory, is passed over.
function enter(gens: usize, space: usize): bool {
  if (!generationsHaveRun(gens) || spaceRss(space) < MIN_LRU_BATCH) return false;
  filterClear(generationsFilter(gens), generationsMax(gens) + 1);
  return true;
}

// walk_pmd_range(): the next page table, if it is worth a look.
function walkNext(mm: usize, actor: usize, gens: usize, space: usize): void {
  const table = load<u32>(actor, AGING_TABLE);
  store<u32>(actor, table + 1, AGING_TABLE);
  if (spaceTable(space, table * TABLE_PAGES) === PFN_NONE) return;
  const filter = generationsFilter(gens);
  const seq = generationsMax(gens);
  actorSpend(actor, STAGE_RECLAIM, cost(COST_AGE_LINEAR_PTE_NS));
  // What is mapped whole has an entry instead of a table, whose accessed bit each of its pages keeps here; it is looked at in any case.
  const whole = thpMapped(space, table * TABLE_PAGES);
  if (!whole && (!tableWasAccessed(filter, table) || !filterPasses(filter, seq, table))) return;

  const end = min<u32>((table + 1) * TABLE_PAGES, spacePages(space));
  let young: u32 = 0;
  for (let index = table * TABLE_PAGES; index < end; index++) {
    const pte = spacePte(space, index);
    if (!ptePresent(pte) || pteZero(pte) || (pte & PTE_ACCESSED) === 0) continue;
    const page = pageOf(mm, ptePfn(pte));
    if (pageOwner(page) !== spaceId(space)) continue;
    setSpacePte(space, index, pte & ~PTE_ACCESSED);
    young++;
    generationsPromote(gens, page);
  }
  if (whole) return;
  const looked = end - table * TABLE_PAGES;
  actorSpend(actor, STAGE_RECLAIM, looked * cost(COST_AGE_LINEAR_PTE_NS));
  filterNote(filter, seq + 1, table, looked, young);
}
