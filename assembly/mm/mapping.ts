import { arenaReserve, arenaTake, PART_RECORDS } from "../memory/arena";

// The mappings of a process (vm_area_struct): stretches of its address space that are backed by anonymous memory. The page table
// numbers pages without the holes between them: a mapping's pages have consecutive numbers, and a page's number and its address
// lie equally far from a multiple of 2 MiB, so that whatever goes table by table stops at the same places.
//
// table    0       4          8 …
//          +-------+----------+----------+----
//          | count | capacity | mapping  | …      sorted by page number; at boot by address, what is mapped later comes behind
//          +-------+----------+----------+----
// mapping  0       4       8       16                                28      32
//          +-------+-------+-------+---------------------------------+-------+
//          | first | pages | hva   | readahead: address, window, hits| flags |
//          +-------+-------+-------+---------------------------------+-------+
//
// invariant: mappings do not overlap; those of boot do not touch either

const COUNT: usize = 0;
const CAPACITY: usize = 4;
const TABLE_HEADER: usize = 8;

const FIRST: usize = 0;
const PAGES: usize = 4;
const HVA: usize = 8; // u64
const READAHEAD: usize = 16; // u32 × 3
export const MAPPING_BYTES: usize = 32;
/** A table of one mapping. */
export const MAPPING_TABLE_BYTES: usize = TABLE_HEADER + MAPPING_BYTES;

const TABLE_PAGES: u32 = 512;

/** Makes `table` a table of one mapping: pages 0..pages-1 from address 0 on. */
export function mappingSingle(table: usize, pages: u32): void {
  store<u32>(table, 1, COUNT);
  store<u32>(table, 1, CAPACITY);
  store<u32>(table + TABLE_HEADER, pages, PAGES);
}

/** Takes an empty table for up to `capacity` mappings; 0 when memory is exhausted. */
export function mappingTable(capacity: u32): usize {
  const table = arenaTake(PART_RECORDS, TABLE_HEADER + <u64>capacity * MAPPING_BYTES);
  if (table !== 0) store<u32>(table, capacity, CAPACITY);
  return table;
}

export function mappings(table: usize): u32 {
  return load<u32>(table, COUNT);
}

export function mappingAt(table: usize, place: u32): usize {
  assert(place < load<u32>(table, COUNT));
  return table + TABLE_HEADER + <usize>place * MAPPING_BYTES;
}

/** Number of the mapping's first page. */
export function mappingFirst(mapping: usize): u32 {
  return load<u32>(mapping, FIRST);
}

export function mappingPages(mapping: usize): u32 {
  return load<u32>(mapping, PAGES);
}

/** Address of the mapping's first page. */
export function mappingHva(mapping: usize): u64 {
  return load<u64>(mapping, HVA);
}

/** Its readahead state (swap_readahead_info): readahead.ts. */
export function mappingReadahead(mapping: usize): usize {
  return mapping + READAHEAD;
}

function hvaEnd(mapping: usize): u64 {
  return load<u64>(mapping, HVA) + ((<u64>load<u32>(mapping, PAGES)) << 12);
}

/** mmap() of `pages` pages at `hva`; with mappings that it overlaps or touches it becomes one (vma_merge()). */
export function mappingAdd(table: usize, hva: u64, pages: u32): void {
  let start = hva;
  let end = hva + ((<u64>pages) << 12);
  let place: u32 = 0;
  const count = load<u32>(table, COUNT);
  while (place < count && hvaEnd(mappingOf(table, place)) < start) place++;
  let merged = place;
  while (merged < count && mappingHva(mappingOf(table, merged)) <= end) {
    start = min<u64>(start, mappingHva(mappingOf(table, merged)));
    end = max<u64>(end, hvaEnd(mappingOf(table, merged)));
    merged++;
  }
  const left = count - (merged - place) + 1;
  assert(left <= load<u32>(table, CAPACITY));
  memory.copy(mappingOf(table, place + 1), mappingOf(table, merged), <usize>(count - merged) * MAPPING_BYTES);
  const mapping = mappingOf(table, place);
  memory.fill(mapping, 0, MAPPING_BYTES);
  store<u64>(mapping, start, HVA);
  store<u32>(mapping, <u32>((end - start) >> 12), PAGES);
  store<u32>(table, left, COUNT);
}

// A place that may lie one behind the last.
function mappingOf(table: usize, place: u32): usize {
  return table + TABLE_HEADER + <usize>place * MAPPING_BYTES;
}

/** Gives every mapping its page numbers. Returns the number behind the last page. */
export function mappingsPlace(table: usize): u32 {
  let next: u32 = 0;
  for (let place: u32 = 0; place < load<u32>(table, COUNT); place++) {
    const mapping = mappingAt(table, place);
    const first = numbered(next, mappingHva(mapping));
    store<u32>(mapping, first, FIRST);
    next = first + mappingPages(mapping);
  }
  return next;
}

// The first number from `next` on that the page at `hva` can have.
function numbered(next: u32, hva: u64): u32 {
  const within = <u32>(hva >> 12) % TABLE_PAGES;
  const behind = next % TABLE_PAGES;
  return next + (within >= behind ? within - behind : within + TABLE_PAGES - behind);
}

/** Is any of `pages` pages at `hva` mapped? */
export function mappingsTouch(table: usize, hva: u64, pages: u32): bool {
  const end = hva + ((<u64>pages) << 12);
  for (let place: u32 = 0; place < load<u32>(table, COUNT); place++) {
    const mapping = mappingAt(table, place);
    if (mappingHva(mapping) < end && hva < hvaEnd(mapping)) return true;
  }
  return false;
}

/** The number behind the last page, were `pages` pages mapped at `hva` beside all others. */
export function mappingsBehind(table: usize, hva: u64, pages: u32): u32 {
  const last = mappingAt(table, load<u32>(table, COUNT) - 1);
  return numbered(mappingFirst(last) + mappingPages(last), hva) + pages;
}

/** Room for one mapping more in a process that lives: the table, or a larger one that mappingsMove() fills; after arenaCommit(). */
export function mappingsGrow(table: usize): usize {
  const capacity = load<u32>(table, CAPACITY);
  if (load<u32>(table, COUNT) < capacity) return table;
  return arenaReserve(PART_RECORDS, TABLE_HEADER + <u64>(2 * capacity) * MAPPING_BYTES);
}

/** The mappings of `from` are those of `table`, if that is another one. */
export function mappingsMove(table: usize, from: usize): void {
  if (table === from) return;
  const count = load<u32>(from, COUNT);
  store<u32>(table, count, COUNT);
  store<u32>(table, 2 * load<u32>(from, CAPACITY), CAPACITY);
  memory.copy(mappingOf(table, 0), mappingOf(from, 0), <usize>count * MAPPING_BYTES);
}

/**
 * mmap() of `pages` pages at `hva`, where nothing is mapped, in a process that lives: they are numbered behind all others. It is merged with the last
 * mapping when it follows that one; with others vma_merge() would, too, and pages cannot be numbered anew.
 */
export function mappingAppend(table: usize, hva: u64, pages: u32): void {
  const count = load<u32>(table, COUNT);
  const last = mappingAt(table, count - 1);
  if (hvaEnd(last) === hva) {
    store<u32>(last, mappingPages(last) + pages, PAGES);
    return;
  }
  assert(count < load<u32>(table, CAPACITY));
  const mapping = mappingOf(table, count);
  memory.fill(mapping, 0, MAPPING_BYTES);
  store<u32>(mapping, mappingsBehind(table, hva, pages) - pages, FIRST);
  store<u32>(mapping, pages, PAGES);
  store<u64>(mapping, hva, HVA);
  store<u32>(table, count + 1, COUNT);
}

/** The mapping that holds page `index` (find_vma()). */
export function mappingOfPage(table: usize, index: u32): usize {
  let low: u32 = 0;
  let high = load<u32>(table, COUNT) - 1;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (mappingFirst(mappingAt(table, middle)) <= index) low = middle;
    else high = middle - 1;
  }
  return mappingAt(table, low);
}

/** Page at address `hva`, 0xffffffff when nothing is mapped there. */
export function mappingPageAt(table: usize, hva: u64): u32 {
  for (let place: u32 = 0; place < load<u32>(table, COUNT); place++) {
    const mapping = mappingAt(table, place);
    if (hva < mappingHva(mapping) || hva >= hvaEnd(mapping)) continue;
    return mappingFirst(mapping) + <u32>((hva - mappingHva(mapping)) >> 12);
  }
  return 0xffffffff;
}

/** Pages of all mappings. */
export function mappingsPages(table: usize): u32 {
  let pages: u32 = 0;
  for (let place: u32 = 0; place < load<u32>(table, COUNT); place++) {
    pages += mappingPages(mappingAt(table, place));
  }
  return pages;
}
