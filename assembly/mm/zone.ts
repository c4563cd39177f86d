import { arenaReserve, arenaTake, PART_FRAMES, PART_RECORDS } from "../memory/arena";
import { unitsFor } from "../memory/layout";
import { MIGRATE_MOVABLE, MIGRATE_TYPES } from "./gfp";
import { LIST_BYTES, listLength } from "./list";

// A zone: a range of frames with its free lists, watermarks, per-CPU lists and the types of its pageblocks.
//
// record   0     4      8        12       16       20 .. 31    32     36       40        44      48
//          +-----+------+--------+--------+--------+-----------+------+--------+---------+-------+------+
//          |index| start| spanned| present| managed| watermarks| boost| nrFree | reserved| flags | cpus |
//          +-----+------+--------+--------+--------+-----------+------+--------+---------+-------+------+
//          52    56       60 .. 79          80             80 + 660        …
//          | pcp | blocks | lowmemReserve | free lists [order][type], … , freeOrders |
//
// nrFree       NR_FREE_PAGES as the watermark code reads it; each CPU holds a difference that is folded in when it
//              exceeds the CPU's threshold
// reserved     pages of pageblocks set aside for atomic requests of higher order (nr_reserved_highatomic)
// freeOrders   per migratetype: bit `order` is set while that free list has a block
// blocks       per pageblock (512 pages): type u8, u16 pages in use that count as movable beside those on LRU lists, and u8 whether
//              compaction passes it by
//
// invariant: free pages on lists that are not ISOLATE === nrFree + the CPUs' differences

const INDEX: usize = 0;
const START: usize = 4;
const SPANNED: usize = 8;
const PRESENT: usize = 12;
const MANAGED: usize = 16;
const WATERMARKS: usize = 20; // MIN, LOW, HIGH
const BOOST: usize = 32;
const NR_FREE: usize = 36;
const RESERVED_HIGHATOMIC: usize = 40;
const FLAGS: usize = 44;
const CPUS: usize = 48;
const PCPS: usize = 52;
const BLOCK_TYPES: usize = 56;
const LOWMEM_RESERVE: usize = 60; // u32 × 5
const BLOCK_MOVABLE: usize = 80;
const FREE_LISTS: usize = 84;
export const MAX_ORDER: u32 = 11;
const LISTS: usize = <usize>(MAX_ORDER * MIGRATE_TYPES);
const FREE_PAGES: usize = FREE_LISTS + LISTS * LIST_BYTES;
const MIN_FREE_PAGES: usize = FREE_PAGES + 4;
const BOOST_FOUND: usize = FREE_PAGES + 8;
const FREE_ORDERS: usize = FREE_PAGES + 12; // u32 × MIGRATE_TYPES
/** Where compactzone.ts notes how far compaction has come. */
export const ZONE_COMPACT: usize = FREE_ORDERS + 4 * <usize>MIGRATE_TYPES;
const ZONE_COMPACT_BYTES: usize = 28;
const BLOCK_SKIPS: usize = ZONE_COMPACT + ZONE_COMPACT_BYTES;
const PCP_RECORDS: usize = BLOCK_SKIPS + 4;

export const PAGEBLOCK_ORDER: u32 = 9;
export const PAGEBLOCK_PAGES: u32 = 512;

/** A fallback has raised the boost; the next allocation wakes kswapd. */
export const ZONE_BOOSTED_WATERMARK: u32 = 1;
/** kswapd is reclaiming: per-CPU lists stay short. */
export const ZONE_RECLAIM_ACTIVE: u32 = 2;

// Per-CPU lists, pcp.ts: batch, high, freeFactor, count, threshold, diff, then 14 lists.
export const PCP_LISTS: u32 = 14;
export const PCP_LIST_OFFSET: usize = 24;
export const PCP_BYTES: usize = PCP_LIST_OFFSET + <usize>PCP_LISTS * LIST_BYTES;
const PCP_THRESHOLD: usize = 16;
const PCP_DIFF: usize = 20;

/** Takes the record of zone `index` of the range [start, start + spanned); 0 when memory is exhausted. */
export function zoneCreate(index: u32, start: u32, spanned: u32, managed: u32, cpus: u32): usize {
  const zone = arenaTake(PART_RECORDS, PCP_RECORDS + <u64>cpus * PCP_BYTES);
  if (zone === 0) return 0;
  store<u32>(zone, index, INDEX);
  store<u32>(zone, start, START);
  store<u32>(zone, spanned, SPANNED);
  store<u32>(zone, spanned, PRESENT);
  store<u32>(zone, managed, MANAGED);
  store<u32>(zone, cpus, CPUS);
  store<u32>(zone, <u32>(zone + PCP_RECORDS), PCPS);
  return zone;
}

/** Pageblocks that the zone touches. */
export function zoneBlocks(zone: usize): u32 {
  const first = load<u32>(zone, START) / PAGEBLOCK_PAGES;
  const end = <u32>unitsFor(load<u32>(zone, START) + load<u32>(zone, SPANNED), PAGEBLOCK_PAGES);
  return end - first;
}

export function zoneLayout(zone: usize): void {
  const blocks = <u64>zoneBlocks(zone);
  store<u32>(zone, <u32>arenaReserve(PART_FRAMES, blocks), BLOCK_TYPES);
  store<u32>(zone, <u32>arenaReserve(PART_FRAMES, blocks << 1), BLOCK_MOVABLE);
  store<u32>(zone, <u32>arenaReserve(PART_FRAMES, blocks), BLOCK_SKIPS);
}

/** Every pageblock starts as movable; after the arena is committed. */
export function zoneStart(zone: usize): void {
  memory.fill(<usize>load<u32>(zone, BLOCK_TYPES), <u8>MIGRATE_MOVABLE, zoneBlocks(zone));
}

export function zoneIndex(zone: usize): u32 {
  return load<u32>(zone, INDEX);
}

export function zoneStartPfn(zone: usize): u32 {
  return load<u32>(zone, START);
}

export function zoneEndPfn(zone: usize): u32 {
  return load<u32>(zone, START) + load<u32>(zone, SPANNED);
}

/** zone_spans_pfn(). */
export function zoneSpans(zone: usize, pfn: u32): bool {
  return pfn - load<u32>(zone, START) < load<u32>(zone, SPANNED);
}

export function zonePresent(zone: usize): u32 {
  return load<u32>(zone, PRESENT);
}

export function setZonePresent(zone: usize, pages: u32): void {
  store<u32>(zone, pages, PRESENT);
}

export function zoneManaged(zone: usize): u32 {
  return load<u32>(zone, MANAGED);
}

export function setZoneManaged(zone: usize, pages: u32): void {
  store<u32>(zone, pages, MANAGED);
}

export function zoneCpus(zone: usize): u32 {
  return load<u32>(zone, CPUS);
}

/** Watermark WMARK_*, without the boost. */
export function zoneWatermark(zone: usize, mark: u32): u32 {
  return load<u32>(zone + ((<usize>mark) << 2), WATERMARKS);
}

export function setZoneWatermark(zone: usize, mark: u32, pages: u32): void {
  store<u32>(zone + ((<usize>mark) << 2), pages, WATERMARKS);
}

/** Pages that every watermark is raised by since a fallback. */
export function zoneBoost(zone: usize): u32 {
  return load<u32>(zone, BOOST);
}

export function setZoneBoost(zone: usize, pages: u32): void {
  store<u32>(zone, pages, BOOST);
}

/** The boost that kswapd's present run found when it began, and works off. */
export function zoneBoostFound(zone: usize): u32 {
  return load<u32>(zone, BOOST_FOUND);
}

export function setZoneBoostFound(zone: usize, pages: u32): void {
  store<u32>(zone, pages, BOOST_FOUND);
}

/** lowmem_reserve[highest]: pages kept from requests that may use zones up to `highest`. */
export function zoneLowmemReserve(zone: usize, highest: u32): u32 {
  return load<u32>(zone + ((<usize>highest) << 2), LOWMEM_RESERVE);
}

export function setZoneLowmemReserve(zone: usize, highest: u32, pages: u32): void {
  store<u32>(zone + ((<usize>highest) << 2), pages, LOWMEM_RESERVE);
}

export function zoneHighatomic(zone: usize): u32 {
  return load<u32>(zone, RESERVED_HIGHATOMIC);
}

export function setZoneHighatomic(zone: usize, pages: u32): void {
  store<u32>(zone, pages, RESERVED_HIGHATOMIC);
}

export function zoneFlags(zone: usize): u32 {
  return load<u32>(zone, FLAGS);
}

export function setZoneFlags(zone: usize, flags: u32): void {
  store<u32>(zone, flags, FLAGS);
}

/** The inexact counter that watermarks are compared with. */
export function zoneNrFree(zone: usize): u32 {
  return load<u32>(zone, NR_FREE);
}

export function setZoneNrFree(zone: usize, pages: u32): void {
  store<u32>(zone, pages, NR_FREE);
}

/** Free pages of the buddy lists that are not isolated, exactly. */
export function zoneFreePages(zone: usize): u32 {
  return load<u32>(zone, FREE_PAGES);
}

/** Least of zoneFreePages() since zoneResetMinFree(). */
export function zoneMinFree(zone: usize): u32 {
  return load<u32>(zone, MIN_FREE_PAGES);
}

export function zoneResetMinFree(zone: usize): void {
  store<u32>(zone, load<u32>(zone, FREE_PAGES), MIN_FREE_PAGES);
}

/** Starts the exact counter from the inexact one and the CPUs' differences; for set-up. */
export function zoneCountFree(zone: usize): void {
  let pages = load<u32>(zone, NR_FREE);
  for (let cpu: u32 = 0; cpu < load<u32>(zone, CPUS); cpu++) pages += load<i32>(zonePcp(zone, cpu), PCP_DIFF);
  store<u32>(zone, pages, FREE_PAGES);
  store<u32>(zone, pages, MIN_FREE_PAGES);
}

/** __mod_zone_page_state(NR_FREE_PAGES) on `cpu`: small changes stay with the CPU. */
export function zoneModFree(zone: usize, cpu: u32, pages: i32): void {
  const exact = load<u32>(zone, FREE_PAGES) + pages;
  store<u32>(zone, exact, FREE_PAGES);
  if (exact < load<u32>(zone, MIN_FREE_PAGES)) store<u32>(zone, exact, MIN_FREE_PAGES);
  const pcp = zonePcp(zone, cpu);
  // Without a branch, for nobody can tell which way it goes.
  const diff = load<i32>(pcp, PCP_DIFF) + pages;
  const folded = select<i32>(diff, 0, abs(diff) > load<i32>(pcp, PCP_THRESHOLD));
  store<u32>(zone, load<u32>(zone, NR_FREE) + folded, NR_FREE);
  store<i32>(pcp, diff - folded, PCP_DIFF);
}

export function zoneFreeList(zone: usize, order: u32, type: u32): usize {
  assert(order < MAX_ORDER && type < MIGRATE_TYPES);
  return zone + FREE_LISTS + <usize>(order * MIGRATE_TYPES + type) * LIST_BYTES;
}

/** The orders from which the free lists of a type have a block: bit `order` for each. */
export function zoneFreeOrders(zone: usize, type: u32): u32 {
  return load<u32>(zone + ((<usize>type) << 2), FREE_ORDERS);
}

export function setZoneFreeOrders(zone: usize, type: u32, orders: u32): void {
  store<u32>(zone + ((<usize>type) << 2), orders, FREE_ORDERS);
}

/** Free blocks of one order, of all types. */
export function zoneFreeBlocks(zone: usize, order: u32): u32 {
  let blocks: u32 = 0;
  for (let type: u32 = 0; type < MIGRATE_TYPES; type++) blocks += listLength(zoneFreeList(zone, order, type));
  return blocks;
}

export function zonePcp(zone: usize, cpu: u32): usize {
  assert(cpu < load<u32>(zone, CPUS));
  return <usize>load<u32>(zone, PCPS) + <usize>cpu * PCP_BYTES;
}

function blockIndex(zone: usize, pfn: u32): usize {
  assert(zoneSpans(zone, pfn) || (pfn & (PAGEBLOCK_PAGES - 1)) === 0);
  return <usize>(pfn / PAGEBLOCK_PAGES - load<u32>(zone, START) / PAGEBLOCK_PAGES);
}

/** Migratetype of the pageblock that holds `pfn`. */
export function blockType(zone: usize, pfn: u32): u32 {
  return load<u8>(<usize>load<u32>(zone, BLOCK_TYPES) + blockIndex(zone, pfn));
}

export function setBlockType(zone: usize, pfn: u32, type: u32): void {
  store<u8>(<usize>load<u32>(zone, BLOCK_TYPES) + blockIndex(zone, pfn), <u8>type);
}

/** Pages of the pageblock that are in use, count as movable and are not on an LRU list of this instance. */
export function blockMovable(zone: usize, pfn: u32): u32 {
  return load<u16>(<usize>load<u32>(zone, BLOCK_MOVABLE) + (blockIndex(zone, pfn) << 1));
}

export function setBlockMovable(zone: usize, pfn: u32, pages: u32): void {
  store<u16>(<usize>load<u32>(zone, BLOCK_MOVABLE) + (blockIndex(zone, pfn) << 1), <u16>pages);
}

/** Compaction has found nothing in the pageblock that holds `pfn` (get_pageblock_skip()). */
export function blockSkip(zone: usize, pfn: u32): bool {
  return load<u8>(<usize>load<u32>(zone, BLOCK_SKIPS) + blockIndex(zone, pfn)) !== 0;
}

export function setBlockSkip(zone: usize, pfn: u32): void {
  store<u8>(<usize>load<u32>(zone, BLOCK_SKIPS) + blockIndex(zone, pfn), 1);
}

export function clearBlockSkips(zone: usize): void {
  memory.fill(<usize>load<u32>(zone, BLOCK_SKIPS), 0, zoneBlocks(zone));
}
