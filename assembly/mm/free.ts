import { actorClock, actorCpu } from "../sim/actor";
import { emit, TRACE_MM_PAGE_FREE } from "../sim/trace";
import { mmSpace } from "./instance";
import { lruRemove, memcgUncharge } from "./memcg";
import { memcgEvents } from "./memcgstat";
import { PG_ACCOUNT, PG_LRU, PG_TABLE, pageOf, pageOwner, pageRefs, pageTest, setPageRefs } from "./page";
import { freeThePage } from "./pagealloc";
import { ZERO_PFN } from "./pte";
import { spaceMemcg } from "./space";

// The end of a page: the last reference goes, the charge is returned, the frame goes back to the lists of the CPU
// that freed it.

/** Drops one reference (put_page()); the page is freed with the last one. */
export function pagePut(mm: usize, pfn: u32, actor: usize): void {
  if (pfn === ZERO_PFN) return;
  const page = pageOf(mm, pfn);
  const refs = pageRefs(page);
  assert(refs > 0);
  if (refs > 1) {
    setPageRefs(page, refs - 1);
    return;
  }
  memcgEvents(mm, actorCpu(actor), 1); // PGPGOUT
  pageFree(mm, pfn, actor);
}

/** Frees a page of which the caller holds the only reference. */
export function pageFree(mm: usize, pfn: u32, actor: usize): void {
  pageFreeOn(mm, pfn, actorCpu(actor), actorClock(actor));
}

/** The same without an actor, as an interrupt on `cpu` at `time` does it. */
export function pageFreeOn(mm: usize, pfn: u32, cpu: u32, time: u64): void {
  const page = pageOf(mm, pfn);
  assert(!pageTest(page, PG_TABLE));
  const memcg = spaceMemcg(mmSpace(mm, pageOwner(page)));
  if (pageTest(page, PG_LRU)) {
    lruRemove(mm, memcg, pfn);
    memcgEvents(mm, cpu, 1);
  }
  memcgUncharge(memcg, 1);
  setPageRefs(page, 0);
  emit(TRACE_MM_PAGE_FREE, time, pfn, 0, 0, 0);
  freeThePage(mm, cpu, pfn, 0);
}

/** Frees a page that was never charged, of which the caller holds the only reference. */
export function pageFreeUncharged(mm: usize, pfn: u32, actor: usize): void {
  const page = pageOf(mm, pfn);
  assert(pageRefs(page) === 1 && !pageTest(page, PG_LRU | PG_TABLE));
  setPageRefs(page, 0);
  emit(TRACE_MM_PAGE_FREE, actorClock(actor), pfn, 0, 0, 0);
  freeThePage(mm, actorCpu(actor), pfn, 0);
}

/** Frees the frame of a page table. */
export function tableFree(mm: usize, pfn: u32, actor: usize): void {
  const page = pageOf(mm, pfn);
  assert(pageTest(page, PG_TABLE));
  if (pageTest(page, PG_ACCOUNT)) {
    memcgUncharge(spaceMemcg(mmSpace(mm, pageOwner(page))), 1);
    memcgEvents(mm, actorCpu(actor), 2);
  }
  setPageRefs(page, 0);
  emit(TRACE_MM_PAGE_FREE, actorClock(actor), pfn, 0, 0, 0);
  freeThePage(mm, actorCpu(actor), pfn, 0);
}
