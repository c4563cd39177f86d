import { arenaTake, PART_RECORDS } from "../memory/arena";
import { PFN_NONE } from "../memory/layout";
import { actorClock, actorCpu } from "../sim/actor";
import { pageFreeOn } from "./free";
import { mmLruBatches, mmSpace, setMmLruBatches } from "./instance";
import { lruAdd, lruRemove, memcgGenerations } from "./memcg";
import { memcgEvents } from "./memcgstat";
import { pageCountUse } from "./mglru";
import {
  PG_ACTIVE,
  PG_LAZYFREE,
  PG_LRU,
  PG_REFERENCED,
  PG_SWAPCACHE,
  pageClear,
  pageGet,
  pageOf,
  pageOwner,
  pageRefs,
  pageSet,
  pageTest,
  setPageRefs,
} from "./page";
import { spaceMemcg } from "./space";
import { swapCpus } from "./swapstate";
import { workingsetActivated } from "./workingset";

// Per-CPU batches in front of the LRU lists (struct cpu_fbatches): what is to happen to a page of the lists is noted, and
// done for 15 pages at a time. A page in a batch has a reference of the batch; a new page is on no list until its batch is
// flushed. Others see that: a page in another CPU's batch cannot be isolated, or not be freed.
//
// batches  0                  64                 128                192                256
//          +------------------+------------------+------------------+------------------+------------------+   one such row
//          | add              | rotate           | deactivate       | lazyfree         | activate         |   a CPU
//          +------------------+------------------+------------------+------------------+------------------+
// batch    0       4
//          +-------+----------+
//          | count | pfn × 15 |
//          +-------+----------+
//
// Left out: deactivate-file, which only file pages use.

/** PAGEVEC_SIZE: a batch is flushed when it has that many pages. */
export const BATCH_PAGES: u32 = 15;
const BATCH_BYTES: usize = 64;

// In the order in which lru_add_drain_cpu() flushes them.
const ADD: u32 = 0;
const ROTATE: u32 = 1;
const DEACTIVATE: u32 = 2;
const LAZYFREE: u32 = 3;
const ACTIVATE: u32 = 4;
const KINDS: u32 = 5;

/** Takes the batches of a host of `cpus` CPUs. False when memory is exhausted. */
export function lruBatchesCreate(mm: usize, cpus: u32): bool {
  const batches = arenaTake(PART_RECORDS, <u64>(cpus * KINDS) * BATCH_BYTES);
  if (batches === 0) return false;
  setMmLruBatches(mm, batches);
  return true;
}

function batchOf(mm: usize, cpu: u32, kind: u32): usize {
  return mmLruBatches(mm) + <usize>(cpu * KINDS + kind) * BATCH_BYTES;
}

/** folio_add_lru(): a page that is new to the lists. */
export function lruCacheAdd(mm: usize, actor: usize, pfn: u32): void {
  assert(!pageTest(pageOf(mm, pfn), PG_LRU));
  append(mm, actorCpu(actor), actorClock(actor), ADD, pfn);
}

/** The same in a fault: generation lists take the page for one in use (lru_gen_in_fault()). */
export function lruCacheFault(mm: usize, actor: usize, pfn: u32): void {
  const page = pageOf(mm, pfn);
  if (memcgGenerations(memcgOf(mm, page)) !== 0) pageSet(page, PG_ACTIVE);
  lruCacheAdd(mm, actor, pfn);
}

function memcgOf(mm: usize, page: usize): usize {
  return spaceMemcg(mmSpace(mm, pageOwner(page)));
}

/** folio_activate(): a page of the lists is in use. */
export function lruActivate(mm: usize, actor: usize, pfn: u32): void {
  const page = pageOf(mm, pfn);
  if (!pageTest(page, PG_LRU) || pageTest(page, PG_ACTIVE)) return;
  append(mm, actorCpu(actor), actorClock(actor), ACTIVATE, pfn);
}

/** folio_rotate_reclaimable(): a page is clean now, the next scan of the inactive list is to find it first. */
export function lruRotate(mm: usize, cpu: u32, time: u64, pfn: u32): void {
  append(mm, cpu, time, ROTATE, pfn);
}

/** folio_deactivate(): an active page, or any on generation lists, counts as not in use. */
export function lruDeactivate(mm: usize, actor: usize, pfn: u32): void {
  if (canDeactivate(mm, pageOf(mm, pfn))) append(mm, actorCpu(actor), actorClock(actor), DEACTIVATE, pfn);
}

function canDeactivate(mm: usize, page: usize): bool {
  return pageTest(page, PG_ACTIVE) || memcgGenerations(memcgOf(mm, page)) !== 0;
}

/** folio_mark_lazyfree(): a page whose contents its owner has given up. */
export function lruLazyfree(mm: usize, actor: usize, pfn: u32): void {
  const page = pageOf(mm, pfn);
  if (!pageTest(page, PG_LRU) || pageTest(page, PG_SWAPCACHE | PG_LAZYFREE)) return;
  append(mm, actorCpu(actor), actorClock(actor), LAZYFREE, pfn);
}

/**
 * folio_mark_accessed(): a page has been used. The first time it is marked, the second time it becomes active: through a batch of its own, or,
 * while it still waits in this CPU's batch of new pages, there at once. Generation lists count the use.
 */
export function lruMarkAccessed(mm: usize, actor: usize, pfn: u32): void {
  const page = pageOf(mm, pfn);
  if (memcgGenerations(memcgOf(mm, page)) !== 0) {
    pageCountUse(page);
    return;
  }
  if (!pageTest(page, PG_REFERENCED)) {
    pageSet(page, PG_REFERENCED);
    return;
  }
  if (pageTest(page, PG_ACTIVE)) return;
  if (pageTest(page, PG_LRU)) append(mm, actorCpu(actor), actorClock(actor), ACTIVATE, pfn);
  else if (inBatch(mm, actorCpu(actor), pfn)) pageSet(page, PG_ACTIVE);
  pageClear(page, PG_REFERENCED);
  workingsetActivated(mm, mmSpace(mm, pageOwner(page)), 1);
}

// __lru_cache_activate_folio(): is the page among the new ones of this CPU?
function inBatch(mm: usize, cpu: u32, pfn: u32): bool {
  for (let place = lruBatchLength(mm, cpu); place > 0; place--) {
    if (lruBatchAt(mm, cpu, place - 1) === pfn) return true;
  }
  return false;
}

/** lru_add_drain(): flushes the batches of the actor's CPU. */
export function lruAddDrain(mm: usize, actor: usize): void {
  for (let kind: u32 = 0; kind < KINDS; kind++) flush(mm, actorCpu(actor), actorClock(actor), kind);
}

/** New pages in the batch of `cpu`, oldest first. */
export function lruBatchLength(mm: usize, cpu: u32): u32 {
  return load<u32>(batchOf(mm, cpu, ADD));
}

export function lruBatchAt(mm: usize, cpu: u32, place: u32): u32 {
  assert(place < lruBatchLength(mm, cpu));
  return load<u32>(batchOf(mm, cpu, ADD) + ((<usize>place) << 2), 4);
}

/** lru_add_drain_all(): flushes the batches of every CPU. */
export function lruAddDrainAll(mm: usize, actor: usize): void {
  for (let cpu: u32 = 0; cpu < swapCpus(mm); cpu++) {
    for (let kind: u32 = 0; kind < KINDS; kind++) {
      if (load<u32>(batchOf(mm, cpu, kind)) !== 0) flush(mm, cpu, actorClock(actor), kind);
    }
  }
}

/** All that waits in batches is one new page, in that of `cpu`: its frame, PFN_NONE otherwise. */
export function lruBatchesHold(mm: usize, cpu: u32): u32 {
  const own = batchOf(mm, cpu, ADD);
  if (load<u32>(own) !== 1) return PFN_NONE;
  for (let other: u32 = 0; other < swapCpus(mm); other++) {
    for (let kind: u32 = 0; kind < KINDS; kind++) {
      const batch = batchOf(mm, other, kind);
      if (batch !== own && load<u32>(batch) !== 0) return PFN_NONE;
    }
  }
  return load<u32>(own, 4);
}

/** With lruBatchesHold(): lru_add_drain_all(). The page is of `memcg` and has other references. */
export function lruBatchMove(mm: usize, cpu: u32, memcg: usize): void {
  const batch = batchOf(mm, cpu, ADD);
  const pfn = load<u32>(batch, 4);
  const page = pageOf(mm, pfn);
  store<u32>(batch, 0);
  lruAdd(mm, memcg, pfn, false);
  setPageRefs(page, pageRefs(page) - 1);
}

/** lruCacheAdd() to batches that are empty; the reference is counted already. */
export function lruBatchFirst(mm: usize, cpu: u32, pfn: u32): void {
  const batch = batchOf(mm, cpu, ADD);
  store<u32>(batch, 1);
  store<u32>(batch, pfn, 4);
}

function append(mm: usize, cpu: u32, time: u64, kind: u32, pfn: u32): void {
  const batch = batchOf(mm, cpu, kind);
  const count = load<u32>(batch) + 1;
  pageGet(pageOf(mm, pfn));
  store<u32>(batch + ((<usize>count) << 2), pfn);
  store<u32>(batch, count);
  if (count === BATCH_PAGES) flush(mm, cpu, time, kind);
}

// folio_batch_move_lru(). A page that somebody has isolated meanwhile is not moved.
function flush(mm: usize, cpu: u32, time: u64, kind: u32): void {
  const batch = batchOf(mm, cpu, kind);
  const count = load<u32>(batch);
  if (count === 0) return;
  store<u32>(batch, 0);
  for (let place: usize = 1; place <= count; place++) {
    const pfn = load<u32>(batch + (place << 2));
    const page = pageOf(mm, pfn);
    if (kind === ADD || pageTest(page, PG_LRU)) move(mm, cpu, page, pfn, kind);
  }
  // release_pages() gathers what it frees on a list, newest first.
  for (let place: usize = count; place > 0; place--) {
    const pfn = load<u32>(batch + (place << 2));
    const page = pageOf(mm, pfn);
    const refs = pageRefs(page);
    if (refs > 1) setPageRefs(page, refs - 1);
    else {
      memcgEvents(mm, cpu, 1); // PGPGOUT
      pageFreeOn(mm, pfn, cpu, time);
    }
  }
}

// lru_add_fn(), lru_move_tail_fn(), lru_deactivate_fn(), lru_lazyfree_fn() and folio_activate_fn().
function move(mm: usize, cpu: u32, page: usize, pfn: u32, kind: u32): void {
  const memcg = memcgOf(mm, page);
  if (kind === ADD) {
    lruAdd(mm, memcg, pfn, false);
    memcgEvents(mm, cpu, 1);
    return;
  }
  if (kind === ACTIVATE && pageTest(page, PG_ACTIVE)) return;
  if (kind === DEACTIVATE && !canDeactivate(mm, page)) return;
  if (kind === LAZYFREE && pageTest(page, PG_SWAPCACHE | PG_LAZYFREE)) return;
  lruRemove(mm, memcg, pfn);
  if (kind === ACTIVATE) {
    pageSet(page, PG_ACTIVE);
    lruAdd(mm, memcg, pfn, false);
    memcgEvents(mm, cpu, 3); // off, on, PGACTIVATE
    return;
  }
  pageClear(page, kind === ROTATE ? PG_ACTIVE : PG_ACTIVE | PG_REFERENCED);
  if (kind === LAZYFREE) pageSet(page, PG_LAZYFREE);
  lruAdd(mm, memcg, pfn, kind === ROTATE);
  memcgEvents(mm, cpu, kind === ROTATE ? 2 : 3); // off, on, PGDEACTIVATE or PGLAZYFREE
}

/** References that batches hold; asserts that new pages are on no list. */
export function checkLruBatches(mm: usize, cpus: u32): u32 {
  let refs: u32 = 0;
  for (let cpu: u32 = 0; cpu < cpus; cpu++) {
    for (let kind: u32 = 0; kind < KINDS; kind++) {
      const batch = batchOf(mm, cpu, kind);
      const count = load<u32>(batch);
      assert(count < BATCH_PAGES);
      refs += count;
      for (let place: usize = 1; place <= count; place++) {
        const page = pageOf(mm, load<u32>(batch + (place << 2)));
        assert(pageRefs(page) !== 0);
        if (kind === ADD) assert(!pageTest(page, PG_LRU));
      }
    }
  }
  return refs;
}
