import { arenaReserve, PART_FRAMES } from "../memory/arena";

// struct page: one 32-byte record a frame. The fields that one fault or one step of reclaim touches together share half a
// cache line; separate arrays would cost a miss each (docs/performance.md).
//
//   0       4      6      8      12     16        20      24      26     27        28
//   +-------+------+------+------+------+---------+-------+-------+------+---------+------+
//   | flags | refs | maps | next | prev | private | index | owner | list | order   | type |
//   +-------+------+------+------+------+---------+-------+-------+------+---------+------+
//
// next, prev   neighbours on the one list that the page is on (buddy, LRU, isolated), PFN_NONE at the ends; next of a tail of a
//              compound page is its head
// private      swap entry while in the swap cache
// order        of a free block, of a compound page's head
// index        page number in the owner's address space (the gfn, with one memslot)
//
// refs: one a pte, one for the swap cache, one for isolation, one a batch in front of the LRU, one for each get_user_pages
//
// The records of a range of frames stand in one array, the memory map, which the record of an instance begins with:
//
// map      0       4          8         12
//          +-------+----------+---------+
//          | pages | pfnFirst | pfnEnd  |   pages is biased by pfnFirst records: `pages + (pfn << 5)` is the record
//          +-------+----------+---------+

const FLAGS: usize = 0;
const REFS: usize = 4;
const MAPS: usize = 6;
const NEXT: usize = 8;
const PREV: usize = 12;
const PRIVATE: usize = 16;
const INDEX: usize = 20;
const OWNER: usize = 24;
const LIST: usize = 26;
const ORDER: usize = 27;
const TYPE: usize = 28;
const PAGE_RECORD_SHIFT: usize = 5;

const PAGES: usize = 0;
const PFN_FIRST: usize = 4;
const PFN_END: usize = 8;
export const MEM_MAP_BYTES: usize = 12;

export const PG_LOCKED: u32 = 1 << 0;
export const PG_REFERENCED: u32 = 1 << 1;
export const PG_UPTODATE: u32 = 1 << 2;
export const PG_DIRTY: u32 = 1 << 3;
export const PG_LRU: u32 = 1 << 4;
export const PG_ACTIVE: u32 = 1 << 5;
export const PG_WORKINGSET: u32 = 1 << 6;
export const PG_WAITERS: u32 = 1 << 7;
export const PG_WRITEBACK: u32 = 1 << 8;
export const PG_RECLAIM: u32 = 1 << 9;
export const PG_SWAPCACHE: u32 = 1 << 10;
export const PG_BUDDY: u32 = 1 << 11;
/** The page belongs to one process alone: a write may reuse it in place. */
export const PG_ANON_EXCLUSIVE: u32 = 1 << 12;
/** A page table of KVM or of the host process: unmovable, on no list. */
export const PG_TABLE: u32 = 1 << 13;
/** Its write waits in the plug of the reclaimer that holds it, and is submitted when the batch ends. */
export const PG_PLUGGED: u32 = 1 << 14;
/** Read ahead of any access; the first one clears it and counts as a hit. */
export const PG_READAHEAD: u32 = 1 << 15;
/** Given up by its owner (anonymous and not PG_swapbacked): dropped without a write, unless written again before. */
export const PG_LAZYFREE: u32 = 1 << 16;
/** The first page of a compound page, and all others; compound.ts. */
export const PG_HEAD: u32 = 1 << 17;
export const PG_TAIL: u32 = 1 << 18;
/** A free block that has been reported to the host (PageReported). */
export const PG_REPORTED: u32 = 1 << 19;
/** Holds objects of the kernel's own: slab.ts. */
export const PG_SLAB: u32 = 1 << 20;
/** A page table that is charged to the cgroup of its process (__GFP_ACCOUNT). */
export const PG_ACCOUNT: u32 = 1 << 21;

/** Merged: several ptes, also of several processes, map it, and nobody writes to it (ksm.ts). */
export const PG_KSM: u32 = 1 << 22;
/** Somebody outside holds a reference to the page for as long as he likes (get_user_pages() for a device, a pipe): pin.ts. */
export const PG_PINNED: u32 = 1 << 23;
/** page->mapping is somebody else's, so that PageAnon() is false: movehook.ts. */
export const PG_MAPPING_REPLACED: u32 = 1 << 29;

// Under generations (mglru.ts) the flags hold the slot of the page's generation plus one, 0 for none, and its counted uses.
const GEN_SHIFT: u32 = 24;
const GEN_MASK: u32 = 7 << GEN_SHIFT;
const USED_SHIFT: u32 = 27;
const USED_MASK: u32 = 3 << USED_SHIFT;
/** In the page cache of a file: pagecache.ts. */
export const PG_FILE: u32 = 1 << 30;
/** Most uses that the flags can hold. */
export const PAGE_USED_MAX: u32 = 3;

// Where a page is: the exactly-one-place invariant is a single pass over this byte.
export const LIST_NONE: u8 = 0;
export const LIST_BUDDY: u8 = 1;
export const LIST_INACTIVE: u8 = 2;
export const LIST_ACTIVE: u8 = 3;
export const LIST_ISOLATED: u8 = 4;
export const LIST_PCP: u8 = 5;
export const LIST_INACTIVE_FILE: u8 = 6;
export const LIST_BALLOON: u8 = 7;
/** Of a guest's page cache: guest/memory.ts. */
export const LIST_CACHE: u8 = 8;
/** The first of eight: one for each list of mglru.ts. */
export const LIST_GENERATION: u8 = 16;

/** Starts the memory map of frames pfnFirst..pfnEnd-1. */
export function memMapCreate(map: usize, pfnFirst: u32, pfnEnd: u32): void {
  store<u32>(map, pfnFirst, PFN_FIRST);
  store<u32>(map, pfnEnd, PFN_END);
}

/** Reserves the records. */
export function memMapLayout(map: usize): void {
  const first = <usize>load<u32>(map, PFN_FIRST);
  const frames = <u64>(load<u32>(map, PFN_END) - load<u32>(map, PFN_FIRST));
  const base = arenaReserve(PART_FRAMES, frames << PAGE_RECORD_SHIFT, 64);
  store<u32>(map, <u32>(base - (first << PAGE_RECORD_SHIFT)), PAGES);
}

/** Address of the record of frame `pfn`; `mm` begins with the memory map. */
export function pageOf(mm: usize, pfn: u32): usize {
  assert(pfn >= load<u32>(mm, PFN_FIRST) && pfn < load<u32>(mm, PFN_END));
  return <usize>load<u32>(mm, PAGES) + ((<usize>pfn) << PAGE_RECORD_SHIFT);
}

/** The frame whose record that is. */
export function pfnOf(mm: usize, page: usize): u32 {
  return <u32>((page - <usize>load<u32>(mm, PAGES)) >> PAGE_RECORD_SHIFT);
}

export function mmPfnFirst(mm: usize): u32 {
  return load<u32>(mm, PFN_FIRST);
}

export function mmPfnEnd(mm: usize): u32 {
  return load<u32>(mm, PFN_END);
}

export function pageFlags(page: usize): u32 {
  return load<u32>(page, FLAGS);
}

export function setPageFlags(page: usize, flags: u32): void {
  store<u32>(page, flags, FLAGS);
}

export function pageTest(page: usize, flags: u32): bool {
  return (load<u32>(page, FLAGS) & flags) !== 0;
}

export function pageSet(page: usize, flags: u32): void {
  store<u32>(page, load<u32>(page, FLAGS) | flags, FLAGS);
}

export function pageClear(page: usize, flags: u32): void {
  store<u32>(page, load<u32>(page, FLAGS) & ~flags, FLAGS);
}

/** Slot of the page's generation plus one; 0 off the generation lists. */
export function pageGen(page: usize): u32 {
  return (load<u32>(page, FLAGS) & GEN_MASK) >> GEN_SHIFT;
}

export function setPageGen(page: usize, gen: u32): void {
  store<u32>(page, (load<u32>(page, FLAGS) & ~GEN_MASK) | (gen << GEN_SHIFT), FLAGS);
}

/** Uses counted in the flags, 0..PAGE_USED_MAX. */
export function pageUsed(page: usize): u32 {
  return (load<u32>(page, FLAGS) & USED_MASK) >> USED_SHIFT;
}

export function setPageUsed(page: usize, uses: u32): void {
  assert(uses <= PAGE_USED_MAX);
  store<u32>(page, (load<u32>(page, FLAGS) & ~USED_MASK) | (uses << USED_SHIFT), FLAGS);
}

export function pageRefs(page: usize): u32 {
  return load<u16>(page, REFS);
}

export function setPageRefs(page: usize, refs: u32): void {
  assert(refs < 0xffff);
  store<u16>(page, <u16>refs, REFS);
}

export function pageGet(page: usize): void {
  setPageRefs(page, pageRefs(page) + 1);
}

export function pageMaps(page: usize): u32 {
  return load<u16>(page, MAPS);
}

export function setPageMaps(page: usize, maps: u32): void {
  assert(maps < 0xffff);
  store<u16>(page, <u16>maps, MAPS);
}

export function pageNext(page: usize): u32 {
  return load<u32>(page, NEXT);
}

export function setPageNext(page: usize, pfn: u32): void {
  store<u32>(page, pfn, NEXT);
}

export function pagePrev(page: usize): u32 {
  return load<u32>(page, PREV);
}

export function setPagePrev(page: usize, pfn: u32): void {
  store<u32>(page, pfn, PREV);
}

export function pagePrivate(page: usize): u32 {
  return load<u32>(page, PRIVATE);
}

export function setPagePrivate(page: usize, value: u32): void {
  store<u32>(page, value, PRIVATE);
}

export function pageIndex(page: usize): u32 {
  return load<u32>(page, INDEX);
}

/** Number of the space (the VM) that the page belongs to. */
export function pageOwner(page: usize): u32 {
  return load<u16>(page, OWNER);
}

export function setPageOwner(page: usize, owner: u32, index: u32): void {
  store<u16>(page, <u16>owner, OWNER);
  store<u32>(page, index, INDEX);
}

export function pageList(page: usize): u8 {
  return load<u8>(page, LIST);
}

export function setPageList(page: usize, list: u8): void {
  store<u8>(page, list, LIST);
}

export function pageOrder(page: usize): u32 {
  return load<u8>(page, ORDER);
}

export function setPageOrder(page: usize, order: u32): void {
  store<u8>(page, <u8>order, ORDER);
}

/** Migratetype of the free list that the page is on, or that it will be given back to. */
export function pageType(page: usize): u32 {
  return load<u8>(page, TYPE);
}

export function setPageType(page: usize, type: u32): void {
  store<u8>(page, <u8>type, TYPE);
}
