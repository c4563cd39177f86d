import { PFN_NONE } from "../memory/layout";
import {
  pageList,
  pageNext,
  pageOf,
  pagePrev,
  setPageLinks,
  setPageList,
  setPageNext,
  setPagePrev,
} from "./page";

// A doubly linked list of frames through their page records. Record: head, tail, length; 12 bytes.
//
// invariant: every page of the list carries the list's kind, unless it is a free block's (freeblock.ts); a page is on one list at most

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

/** Puts a page at the head, whatever it says of itself: for lists whose pages are told by something else (buddy.ts). */
export function linkHead(mm: usize, list: usize, pfn: u32): void {
  const head = load<u32>(list, HEAD);
  setPageLinks(mm, pfn, head, PFN_NONE);
  if (head === PFN_NONE) store<u32>(list, pfn, TAIL);
  else setPagePrev(mm, head, pfn);
  store<u32>(list, pfn, HEAD);
  store<u32>(list, load<u32>(list, LENGTH) + 1, LENGTH);
}

export function linkTail(mm: usize, list: usize, pfn: u32): void {
  const tail = load<u32>(list, TAIL);
  setPageLinks(mm, pfn, PFN_NONE, tail);
  if (tail === PFN_NONE) store<u32>(list, pfn, HEAD);
  else setPageNext(mm, tail, pfn);
  store<u32>(list, pfn, TAIL);
  store<u32>(list, load<u32>(list, LENGTH) + 1, LENGTH);
}

/** Puts a page on an empty list. */
export function linkOnly(mm: usize, list: usize, pfn: u32): void {
  assert(load<u32>(list, HEAD) === PFN_NONE && load<u32>(list, LENGTH) === 0);
  setPageLinks(mm, pfn, PFN_NONE, PFN_NONE);
  store<u32>(list, pfn, HEAD);
  store<u32>(list, pfn, TAIL);
  store<u32>(list, 1, LENGTH);
}

export function unlink(mm: usize, list: usize, pfn: u32): void {
  const next = pageNext(mm, pfn);
  const prev = pagePrev(mm, pfn);
  if (prev === PFN_NONE) store<u32>(list, next, HEAD);
  else setPageNext(mm, prev, next);
  if (next === PFN_NONE) store<u32>(list, prev, TAIL);
  else setPagePrev(mm, next, prev);
  store<u32>(list, load<u32>(list, LENGTH) - 1, LENGTH);
}

/** Takes the first page off a list that is not empty. */
export function unlinkFirst(mm: usize, list: usize): u32 {
  const pfn = load<u32>(list, HEAD);
  assert(pfn !== PFN_NONE && pagePrev(mm, pfn) === PFN_NONE);
  const next = pageNext(mm, pfn);
  store<u32>(list, next, HEAD);
  if (next === PFN_NONE) store<u32>(list, PFN_NONE, TAIL);
  else setPagePrev(mm, next, PFN_NONE);
  store<u32>(list, load<u32>(list, LENGTH) - 1, LENGTH);
  return pfn;
}

/** Takes the first page off a list and puts `pfn`, which is on none, in its place. Returns the page taken. */
export function listReplaceFirst(mm: usize, list: usize, kind: u8, pfn: u32): u32 {
  const first = load<u32>(list, HEAD);
  assert(first !== PFN_NONE && pageList(pageOf(mm, pfn)) === 0);
  const next = pageNext(mm, first);
  setPageLinks(mm, pfn, next, PFN_NONE);
  if (next === PFN_NONE) store<u32>(list, pfn, TAIL);
  else setPagePrev(mm, next, pfn);
  store<u32>(list, pfn, HEAD);
  setPageList(pageOf(mm, first), 0);
  setPageList(pageOf(mm, pfn), kind);
  return first;
}

export function listAddHead(mm: usize, list: usize, kind: u8, pfn: u32): void {
  const page = pageOf(mm, pfn);
  assert(pageList(page) === 0);
  setPageList(page, kind);
  linkHead(mm, list, pfn);
}

export function listAddTail(mm: usize, list: usize, kind: u8, pfn: u32): void {
  const page = pageOf(mm, pfn);
  assert(pageList(page) === 0);
  setPageList(page, kind);
  linkTail(mm, list, pfn);
}

export function listRemove(mm: usize, list: usize, pfn: u32): void {
  const page = pageOf(mm, pfn);
  assert(pageList(page) !== 0);
  setPageList(page, 0);
  unlink(mm, list, pfn);
}

/** Takes the first page off a list that is not empty. */
export function listShift(mm: usize, list: usize): u32 {
  const pfn = unlinkFirst(mm, list);
  assert(pageList(pageOf(mm, pfn)) !== 0);
  setPageList(pageOf(mm, pfn), 0);
  return pfn;
}

/** list_rotate_to_front(): the list begins with `pfn` from now on, what stood before it stands at the end. */
export function listRotate(mm: usize, list: usize, pfn: u32): void {
  const head = load<u32>(list, HEAD);
  if (head === pfn) return;
  const last = pagePrev(mm, pfn);
  const tail = load<u32>(list, TAIL);
  setPageNext(mm, tail, head);
  setPagePrev(mm, head, tail);
  setPagePrev(mm, pfn, PFN_NONE);
  setPageNext(mm, last, PFN_NONE);
  store<u32>(list, pfn, HEAD);
  store<u32>(list, last, TAIL);
}

/** Walks the list both ways; `kind` is what every page of it must carry, LIST_NONE where it is told by something else. */
export function checkList(mm: usize, list: usize, kind: u8): void {
  let length: u32 = 0;
  let last = PFN_NONE;
  for (let pfn = listHead(list); pfn !== PFN_NONE; pfn = pageNext(mm, pfn)) {
    assert(pageList(pageOf(mm, pfn)) === kind);
    assert(pagePrev(mm, pfn) === last);
    last = pfn;
    length++;
    assert(length <= listLength(list));
  }
  assert(last === listTail(list));
  assert(length === listLength(list));
}
