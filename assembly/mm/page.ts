import { arenaReserve, PART_FRAMES } from "../memory/arena";

// struct page: one 20-byte record a frame. The fields that one fault or one step of reclaim touches together share most of half a cache
// line; separate arrays would cost a miss each (docs/performance.md). What lists touch stands apart: a splice writes to the links of two
// neighbours and to nothing else of theirs, and most looks at whether a buddy is free find that it is not, so these are packed closer.
//
//   record, 20 bytes                                       links, 8 bytes      block, 1 byte
//   0       4      6      8         12      16      18     19      0      4          0       4      7
//   +-------+------+------+---------+-------+-------+------+-----+ +------+------+   +-------+------+----------+
//   | flags | refs | maps | private | index | owner | list |order| | next | prev |   | order | type | reported |  freeblock.ts
//   +-------+------+------+---------+-------+-------+------+-----+ +------+------+   +-------+------+----------+
//
// next, prev   neighbours on the one list that the page is on (buddy, LRU, isolated), PFN_NONE at the ends; next of a tail of a
//              compound page is its head
// private      swap entry while in the swap cache
// order        of a compound page's head, of a block on a CPU's list
// index        page number in the owner's address space (the gfn, with one memslot)
//
// refs: one a pte, one for the swap cache, one for isolation, one a batch in front of the LRU, one for each get_user_pages
//
// Each of the three is one array for a range of frames. They make the memory map, which the record of an instance begins with:
//
// map      0       4          8        12      16       20
//          +-------+----------+--------+-------+--------+
//          | pages | pfnFirst | pfnEnd | links | blocks |   the addresses are those of frame 0, were it there
//          +-------+----------+--------+-------+--------+

const FLAGS: usize = 0;
const REFS: usize = 4;
const MAPS: usize = 6;
const PRIVATE: usize = 8;
const INDEX: usize = 12;
const OWNER: usize = 16;
const LIST: usize = 18;
const ORDER: usize = 19;
export const PAGE_BYTES: usize = 20;

const NEXT: usize = 0;
const PREV: usize = 4;
const LINKS_SHIFT: usize = 3;

const PAGES: usize = 0;
const PFN_FIRST: usize = 4;
const PFN_END: usize = 8;
const LINKS: usize = 12;
const BLOCKS: usize = 16;
export const MEM_MAP_BYTES: usize = 20;

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
/** Shown for a free block; it stands beside the record (freeblock.ts). */
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
/** Shown for a free block that has been reported to the host (PageReported); it stands beside the record (freeblock.ts). */
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

// Which list a page is on; free blocks are told by their own byte (freeblock.ts).
export const LIST_NONE: u8 = 0;
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

/** Reserves the three arrays. */
export function memMapLayout(map: usize): void {
  const first = <usize>load<u32>(map, PFN_FIRST);
  const frames = <u64>(load<u32>(map, PFN_END) - load<u32>(map, PFN_FIRST));
  const pages = arenaReserve(PART_FRAMES, frames * PAGE_BYTES, 64);
  store<u32>(map, <u32>(pages - first * PAGE_BYTES), PAGES);
  const links = arenaReserve(PART_FRAMES, frames << LINKS_SHIFT, 64);
  store<u32>(map, <u32>(links - (first << LINKS_SHIFT)), LINKS);
  store<u32>(map, <u32>(arenaReserve(PART_FRAMES, frames, 64) - first), BLOCKS);
}

/** Address of the record of frame `pfn`; `mm` begins with the memory map. */
export function pageOf(mm: usize, pfn: u32): usize {
  assert(pfn >= load<u32>(mm, PFN_FIRST) && pfn < load<u32>(mm, PFN_END));
  return <usize>load<u32>(mm, PAGES) + <usize>pfn * PAGE_BYTES;
}

/** The frame whose record that is. */
export function pfnOf(mm: usize, page: usize): u32 {
  return <u32>((page - <usize>load<u32>(mm, PAGES)) / PAGE_BYTES);
}

/** Address of the byte that says whether a free block begins at `pfn`: freeblock.ts. */
export function blockByte(mm: usize, pfn: u32): usize {
  assert(pfn >= load<u32>(mm, PFN_FIRST) && pfn < load<u32>(mm, PFN_END));
  return <usize>load<u32>(mm, BLOCKS) + <usize>pfn;
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

function linksOf(mm: usize, pfn: u32): usize {
  assert(pfn >= load<u32>(mm, PFN_FIRST) && pfn < load<u32>(mm, PFN_END));
  return <usize>load<u32>(mm, LINKS) + ((<usize>pfn) << LINKS_SHIFT);
}

export function pageNext(mm: usize, pfn: u32): u32 {
  return load<u32>(linksOf(mm, pfn), NEXT);
}

export function setPageNext(mm: usize, pfn: u32, next: u32): void {
  store<u32>(linksOf(mm, pfn), next, NEXT);
}

export function pagePrev(mm: usize, pfn: u32): u32 {
  return load<u32>(linksOf(mm, pfn), PREV);
}

export function setPagePrev(mm: usize, pfn: u32, prev: u32): void {
  store<u32>(linksOf(mm, pfn), prev, PREV);
}

/** Both at once. */
export function setPageLinks(mm: usize, pfn: u32, next: u32, prev: u32): void {
  store<u64>(linksOf(mm, pfn), <u64>next | ((<u64>prev) << 32));
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

/** Of a compound page's head, of a block on a CPU's list. */
export function pageOrder(page: usize): u32 {
  return load<u8>(page, ORDER);
}

export function setPageOrder(page: usize, order: u32): void {
  store<u8>(page, <u8>order, ORDER);
}
