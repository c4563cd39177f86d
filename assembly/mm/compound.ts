import { PFN_NONE } from "../memory/layout";
import {
  LIST_NONE,
  PG_HEAD,
  PG_TAIL,
  pageFlags,
  pageGet,
  pageList,
  pageMaps,
  pageNext,
  pageOf,
  pageOrder,
  pageRefs,
  pageSet,
  pageTest,
  setPageFlags,
  setPageNext,
  setPageOrder,
  setPageRefs,
} from "./page";

// Compound pages: a block allocated with __GFP_COMP is one page to those who hold it. Follows prep_compound_page(),
// compound_head() and free_tail_pages_check(). Marked when it is handed out, unmarked when it is freed: a free block, whether on
// a list of the zone or of a CPU, is never compound. Left out: destructors, counts of mapped parts, splitting while in use.
//
//            head (pfn)            tails (pfn + 1 .. pfn + 2^order - 1)
//          +---------------------+---------------------------------------------------------------------------------+
// flags    | PG_HEAD             | PG_TAIL, nothing else                                                           |
// order    | the block's         | – (Linux keeps it in the first tail, where struct page has room)                |
// next     | its LRU list's      | pfn of the head (compound_head, whose lowest bit is PG_TAIL here)               |
// refs     | of the whole block  | 0                                                                               |
//          +---------------------+---------------------------------------------------------------------------------+
//
// invariant: a tail is on no list, has no reference, and its head's block covers it

/** The page that stands for the whole: itself when it is single. */
export function compoundHead(mm: usize, pfn: u32): u32 {
  const page = pageOf(mm, pfn);
  return pageTest(page, PG_TAIL) ? pageNext(mm, pfn) : pfn;
}

/** Order of the block that `page` stands for, 0 when it is single. Not for tails. */
export function compoundOrder(page: usize): u32 {
  assert(!pageTest(page, PG_TAIL));
  return pageTest(page, PG_HEAD) ? pageOrder(page) : 0;
}

/** prep_compound_page(): makes one page of the block of 2^order pages at `pfn`, order 1 or more. */
export function prepCompoundPage(mm: usize, pfn: u32, order: u32): void {
  assert(order !== 0 && pageRefs(pageOf(mm, pfn)) === 1);
  for (let at = pfn + 1; at < pfn + (1 << order); at++) {
    const tail = pageOf(mm, at);
    assert(pageFlags(tail) === 0 && pageRefs(tail) === 0);
    setPageFlags(tail, PG_TAIL);
    setPageNext(mm, at, pfn);
  }
  pageSet(pageOf(mm, pfn), PG_HEAD);
  setPageOrder(pageOf(mm, pfn), order);
}

/** free_tail_pages_check(), for all tails: each must still be the head's; then they are single pages again. */
export function freeTailPages(mm: usize, pfn: u32, order: u32): void {
  assert(pageOrder(pageOf(mm, pfn)) === order);
  for (let at = pfn + 1; at < pfn + (1 << order); at++) {
    const tail = pageOf(mm, at);
    assert(tailOf(mm, at, pfn));
    setPageFlags(tail, 0);
    setPageNext(mm, at, PFN_NONE);
  }
}

/** get_page(): one more reference, which the head holds. */
export function getPage(mm: usize, pfn: u32): void {
  pageGet(pageOf(mm, compoundHead(mm, pfn)));
}

/** put_page_testzero(): one reference less of a page that is no tail. @returns true when it was the last */
export function putPageTestzero(mm: usize, pfn: u32): bool {
  const page = pageOf(mm, pfn);
  assert(!pageTest(page, PG_TAIL) && pageRefs(page) > 0);
  setPageRefs(page, pageRefs(page) - 1);
  return pageRefs(page) === 0;
}

/** split_page(): the pages of a block that is not compound are held one by one from now on. */
export function splitPage(mm: usize, pfn: u32, order: u32): void {
  assert(pageRefs(pageOf(mm, pfn)) > 0 && !pageTest(pageOf(mm, pfn), PG_HEAD | PG_TAIL));
  for (let at = pfn + 1; at < pfn + (1 << order); at++) {
    assert(pageFlags(pageOf(mm, at)) === 0 && pageRefs(pageOf(mm, at)) === 0);
    setPageRefs(pageOf(mm, at), 1);
  }
}

// Is the page a sound tail of the compound page at `head`?
function tailOf(mm: usize, pfn: u32, head: u32): bool {
  const tail = pageOf(mm, pfn);
  if (pageFlags(tail) !== PG_TAIL || pageNext(mm, pfn) !== head) return false;
  return pageList(tail) === LIST_NONE && pageRefs(tail) === 0 && pageMaps(tail) === 0;
}

/** Asserts that the compound page with head `pfn` is whole. */
export function checkCompound(mm: usize, pfn: u32): void {
  const head = pageOf(mm, pfn);
  const order = pageOrder(head);
  assert(pageTest(head, PG_HEAD) && !pageTest(head, PG_TAIL));
  assert(order !== 0 && (pfn & ((1 << order) - 1)) === 0);
  for (let at = pfn + 1; at < pfn + (1 << order); at++) assert(tailOf(mm, at, pfn));
}
