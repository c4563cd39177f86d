import { PFN_NONE } from "../memory/layout";
import { pageList, pageNext, pageOf, pagePrev, setPageList, setPageNext, setPagePrev } from "./page";

// A doubly linked list of frames through their page records. Record: head, tail, length; 12 bytes.
//
// invariant: every page of the list carries the list's kind; a page is on one list at most

const HEAD: usize = 0;
const TAIL: usize = 4;
const LENGTH: usize = 8;
export const LIST_BYTES: usize = 12;

export function listHead(list: usize): u32 {
  return load<u32>(list, HEAD);
}

export function listTail(list: usize): u32 {
  return load<u32>(list, TAIL);
}

export function listLength(list: usize): u32 {
  return load<u32>(list, LENGTH);
}

export function listAddHead(mm: usize, list: usize, kind: u8, pfn: u32): void {
  const page = pageOf(mm, pfn);
  assert(pageList(page) === 0);
  const head = load<u32>(list, HEAD);
  setPageNext(page, head);
  setPagePrev(page, PFN_NONE);
  setPageList(page, kind);
  if (head === PFN_NONE) store<u32>(list, pfn, TAIL);
  else setPagePrev(pageOf(mm, head), pfn);
  store<u32>(list, pfn, HEAD);
  store<u32>(list, load<u32>(list, LENGTH) + 1, LENGTH);
}

export function listAddTail(mm: usize, list: usize, kind: u8, pfn: u32): void {
  const page = pageOf(mm, pfn);
  assert(pageList(page) === 0);
  const tail = load<u32>(list, TAIL);
  setPagePrev(page, tail);
  setPageNext(page, PFN_NONE);
  setPageList(page, kind);
  if (tail === PFN_NONE) store<u32>(list, pfn, HEAD);
  else setPageNext(pageOf(mm, tail), pfn);
  store<u32>(list, pfn, TAIL);
  store<u32>(list, load<u32>(list, LENGTH) + 1, LENGTH);
}

export function listRemove(mm: usize, list: usize, pfn: u32): void {
  const page = pageOf(mm, pfn);
  assert(pageList(page) !== 0);
  const next = pageNext(page);
  const prev = pagePrev(page);
  if (prev === PFN_NONE) store<u32>(list, next, HEAD);
  else setPageNext(pageOf(mm, prev), next);
  if (next === PFN_NONE) store<u32>(list, prev, TAIL);
  else setPagePrev(pageOf(mm, next), prev);
  setPageList(page, 0);
  store<u32>(list, load<u32>(list, LENGTH) - 1, LENGTH);
}

/** Takes the first page off a list that is not empty. */
export function listShift(mm: usize, list: usize): u32 {
  const pfn = load<u32>(list, HEAD);
  assert(pfn !== PFN_NONE);
  const page = pageOf(mm, pfn);
  assert(pageList(page) !== 0 && pagePrev(page) === PFN_NONE);
  const next = pageNext(page);
  store<u32>(list, next, HEAD);
  if (next === PFN_NONE) store<u32>(list, PFN_NONE, TAIL);
  else setPagePrev(pageOf(mm, next), PFN_NONE);
  setPageList(page, 0);
  store<u32>(list, load<u32>(list, LENGTH) - 1, LENGTH);
  return pfn;
}

/** list_rotate_to_front(): the list begins with `pfn` from now on, what stood before it stands at the end. */
export function listRotate(mm: usize, list: usize, pfn: u32): void {
  const head = load<u32>(list, HEAD);
  if (head === pfn) return;
  const page = pageOf(mm, pfn);
  const last = pagePrev(page);
  const tail = load<u32>(list, TAIL);
  setPageNext(pageOf(mm, tail), head);
  setPagePrev(pageOf(mm, head), tail);
  setPagePrev(page, PFN_NONE);
  setPageNext(pageOf(mm, last), PFN_NONE);
  store<u32>(list, pfn, HEAD);
  store<u32>(list, last, TAIL);
}

/** Walks the list both ways; `kind` is what every page of it must carry. */
export function checkList(mm: usize, list: usize, kind: u8): void {
  let length: u32 = 0;
  let last = PFN_NONE;
  for (let pfn = listHead(list); pfn !== PFN_NONE; pfn = pageNext(pageOf(mm, pfn))) {
    const page = pageOf(mm, pfn);
    assert(pageList(page) === kind);
    assert(pagePrev(page) === last);
    last = pfn;
    length++;
    assert(length <= listLength(list));
  }
  assert(last === listTail(list));
  assert(length === listLength(list));
}
