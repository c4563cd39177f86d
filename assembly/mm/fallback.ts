import { PFN_NONE } from "../memory/layout";
import { moveToFreeList, rmqueueSmallest } from "./buddy";
import { freeOrder, isFree } from "./freeblock";
import {
  ALLOC_KSWAPD,
  ALLOC_NOFRAGMENT,
  MIGRATE_HIGHATOMIC,
  MIGRATE_MOVABLE,
  MIGRATE_PCPTYPES,
  MIGRATE_RECLAIMABLE,
  MIGRATE_UNMOVABLE,
  WMARK_HIGH,
} from "./gfp";
import { listHead } from "./list";
import { PG_LRU, pageOf, pageTest } from "./page";
import {
  blockMovable,
  blockType,
  MAX_ORDER,
  PAGEBLOCK_ORDER,
  PAGEBLOCK_PAGES,
  setBlockType,
  setZoneBoost,
  setZoneFlags,
  setZoneHighatomic,
  ZONE_BOOSTED_WATERMARK,
  zoneBoost,
  zoneFlags,
  zoneFreeList,
  zoneFreeOrders,
  zoneHighatomic,
  zoneManaged,
  zoneSpans,
  zoneWatermark,
} from "./zone";

// What happens when the lists of a type run dry: blocks of another type move over, with their whole pageblock when that is
// worth it (__rmqueue_fallback(), steal_suitable_fallback(), boost_watermark()), and the pageblocks set aside for atomic
// requests (reserve_highatomic_pageblock(), unreserve_highatomic_pageblock()). Moving blocks never merges or splits them.

/** watermark_boost_factor, in 1/10,000 of the high watermark. */
const WATERMARK_BOOST_FACTOR: u64 = 15000;

/** Where requests of `type` look next; `place` 0 or 1. */
function fallbackType(type: u32, place: u32): u32 {
  if (type === MIGRATE_UNMOVABLE) return place === 0 ? MIGRATE_RECLAIMABLE : MIGRATE_MOVABLE;
  if (type === MIGRATE_MOVABLE) return place === 0 ? MIGRATE_RECLAIMABLE : MIGRATE_UNMOVABLE;
  return place === 0 ? MIGRATE_UNMOVABLE : MIGRATE_MOVABLE;
}

const TYPE_NONE: u32 = 0xff;

// find_suitable_fallback(): the first type of the fallback row that has a block of this order.
function suitableFallback(zone: usize, order: u32, type: u32): u32 {
  for (let place: u32 = 0; place < 2; place++) {
    const other = fallbackType(type, place);
    if ((zoneFreeOrders(zone, other) >> order) & 1) return other;
  }
  return TYPE_NONE;
}

/** A block of another type that a request of `type` would take with its whole pageblock (find_suitable_fallback(), only_stealable). */
export function stealable(zone: usize, order: u32, type: u32): bool {
  return canSteal(order, type) && suitableFallback(zone, order, type) !== TYPE_NONE;
}

// can_steal_fallback(): may more than the block itself be taken?
function canSteal(order: u32, type: u32): bool {
  return order >= PAGEBLOCK_ORDER / 2 || type === MIGRATE_RECLAIMABLE || type === MIGRATE_UNMOVABLE;
}

/** __rmqueue(): a block of `type`, with the help of other types when need be. PFN_NONE: the zone has none. */
export function rmqueueAny(mm: usize, zone: usize, order: u32, type: u32, allocFlags: u32): u32 {
  while (true) {
    const pfn = rmqueueSmallest(mm, zone, order, type);
    if (pfn !== PFN_NONE || !fallback(mm, zone, order, type, allocFlags)) return pfn;
  }
}

// __rmqueue_fallback(): moves blocks to the lists of `type`. False when there is nothing to move.
function fallback(mm: usize, zone: usize, order: u32, type: u32, allocFlags: u32): bool {
  const least = allocFlags & ALLOC_NOFRAGMENT ? max<u32>(order, PAGEBLOCK_ORDER) : order;
  for (let from = MAX_ORDER; from > least; ) {
    from--;
    const other = suitableFallback(zone, from, type);
    if (other === TYPE_NONE) continue;
    if (!canSteal(from, type) && type === MIGRATE_MOVABLE && from > order) {
      return stealSmallest(mm, zone, order, type, allocFlags);
    }
    steal(mm, zone, listHead(zoneFreeList(zone, from, other)), type, canSteal(from, type), allocFlags);
    return true;
  }
  return false;
}

// A movable request that may not take a whole pageblock takes the smallest block that will do.
function stealSmallest(mm: usize, zone: usize, order: u32, type: u32, allocFlags: u32): bool {
  for (let from = order; from < MAX_ORDER; from++) {
    const other = suitableFallback(zone, from, type);
    if (other === TYPE_NONE) continue;
    steal(mm, zone, listHead(zoneFreeList(zone, from, other)), type, canSteal(from, type), allocFlags);
    return true;
  }
  return false;
}

// steal_suitable_fallback()
function steal(mm: usize, zone: usize, pfn: u32, type: u32, wholeBlock: bool, allocFlags: u32): void {
  const order = freeOrder(mm, pfn);
  const old = blockType(zone, pfn);
  if (old === MIGRATE_HIGHATOMIC) {
    moveToFreeList(mm, zone, pfn, type);
    return;
  }
  if (order >= PAGEBLOCK_ORDER) {
    for (let block = pfn; block < pfn + (1 << order); block += PAGEBLOCK_PAGES)
      setBlockType(zone, block, type);
    moveToFreeList(mm, zone, pfn, type);
    return;
  }
  if (boostWatermark(zone) && allocFlags & ALLOC_KSWAPD) {
    setZoneFlags(zone, zoneFlags(zone) | ZONE_BOOSTED_WATERMARK);
  }
  const movable = wholeBlock ? movablePages(mm, zone, pfn) : 0;
  const free = wholeBlock ? moveFreepagesBlock(mm, zone, pfn, type) : 0;
  if (free === 0) {
    moveToFreeList(mm, zone, pfn, type);
    return;
  }
  // Pages in use that are of the requester's kind count for it: then most of the block is.
  let alike: u32 = 0;
  if (type === MIGRATE_MOVABLE) alike = movable;
  else if (old === MIGRATE_MOVABLE) alike = PAGEBLOCK_PAGES - (free + movable);
  if (free + alike >= PAGEBLOCK_PAGES / 2) setBlockType(zone, pfn, type);
}

/** move_freepages_block(): moves every free block of a pageblock to `type`. Returns the pages moved. */
export function moveFreepagesBlock(mm: usize, zone: usize, pfn: u32, type: u32): u32 {
  let start = pfn & ~(PAGEBLOCK_PAGES - 1);
  const end = start + PAGEBLOCK_PAGES;
  if (!zoneSpans(zone, start)) start = pfn;
  if (!zoneSpans(zone, end - 1)) return 0;
  let moved: u32 = 0;
  for (let at = start; at < end; ) {
    if (!isFree(mm, at)) {
      at++;
      continue;
    }
    const pages: u32 = 1 << freeOrder(mm, at);
    moveToFreeList(mm, zone, at, type);
    at += pages;
    moved += pages;
  }
  return moved;
}

// Pages of the pageblock that are in use and could be migrated.
function movablePages(mm: usize, zone: usize, pfn: u32): u32 {
  let start = pfn & ~(PAGEBLOCK_PAGES - 1);
  const end = start + PAGEBLOCK_PAGES;
  if (!zoneSpans(zone, start)) start = pfn;
  if (!zoneSpans(zone, end - 1)) return 0;
  let movable = blockMovable(zone, pfn);
  for (let at = start; at < end; at++) {
    if (pageTest(pageOf(mm, at), PG_LRU)) movable++;
  }
  return movable;
}

// boost_watermark(): a fallback below pageblock size is a sign of fragmentation; kswapd is to make more room.
function boostWatermark(zone: usize): bool {
  if (zoneManaged(zone) < 4 * PAGEBLOCK_PAGES) return false;
  const most = <u32>((<u64>zoneWatermark(zone, WMARK_HIGH) * WATERMARK_BOOST_FACTOR) / 10000);
  if (most === 0) return false;
  setZoneBoost(zone, min<u32>(zoneBoost(zone) + PAGEBLOCK_PAGES, max<u32>(PAGEBLOCK_PAGES, most)));
  return true;
}

/** reserve_highatomic_pageblock(): the pageblock of a successful atomic request of higher order is kept for its like. */
export function reserveHighatomic(mm: usize, zone: usize, pfn: u32): void {
  const most = zoneManaged(zone) / 100 + PAGEBLOCK_PAGES;
  if (zoneHighatomic(zone) >= most || blockType(zone, pfn) >= MIGRATE_PCPTYPES) return;
  setZoneHighatomic(zone, zoneHighatomic(zone) + PAGEBLOCK_PAGES);
  setBlockType(zone, pfn, MIGRATE_HIGHATOMIC);
  moveFreepagesBlock(mm, zone, pfn, MIGRATE_HIGHATOMIC);
}

/**
 * unreserve_highatomic_pageblock(): gives one reserved pageblock to requests of `type`; the last one only when forced.
 * @returns true when pages were given
 */
export function unreserveHighatomic(mm: usize, zone: usize, type: u32, force: bool): bool {
  if (!force && zoneHighatomic(zone) <= PAGEBLOCK_PAGES) return false;
  for (let order: u32 = 0; order < MAX_ORDER; order++) {
    const pfn = listHead(zoneFreeList(zone, order, MIGRATE_HIGHATOMIC));
    if (pfn === PFN_NONE) continue;
    if (blockType(zone, pfn) === MIGRATE_HIGHATOMIC) {
      setZoneHighatomic(zone, zoneHighatomic(zone) - min<u32>(PAGEBLOCK_PAGES, zoneHighatomic(zone)));
    }
    setBlockType(zone, pfn, type);
    return moveFreepagesBlock(mm, zone, pfn, type) !== 0;
  }
  return false;
}
