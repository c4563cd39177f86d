import {
  ALLOC_HARDER,
  ALLOC_HIGH,
  ALLOC_WMARK_MASK,
  GFP_ATOMIC,
  MIGRATE_HIGHATOMIC,
  MIGRATE_PCPTYPES,
  WMARK_HIGH,
  WMARK_LOW,
  WMARK_MIN,
  ZONE_MOVABLE,
  ZONE_NORMAL,
} from "./gfp";
import { mmZoneAt, mmZones } from "./instance";
import {
  setZoneBoost,
  setZoneBoostFound,
  setZoneFlags,
  setZoneLowmemReserve,
  setZoneWatermark,
  ZONE_RECLAIM_ACTIVE,
  zoneBoost,
  zoneBoostFound,
  zoneFlags,
  zoneFreeOrders,
  zoneHighatomic,
  zoneIndex,
  zoneLowmemReserve,
  zoneManaged,
  zoneNrFree,
  zoneWatermark,
} from "./zone";

// Watermarks: how much of a zone must stay free. Set-up as init_per_zone_wmark_min() and __setup_per_zone_wmarks() do it for one
// zone, tests as __zone_watermark_ok() and zone_watermark_fast(). The free counter they read is inexact (zone.ts).
// Left out: khugepaged's raised min_free_kbytes, the highest watermark of tiering.

function squareRoot(value: u64): u64 {
  let root = <u64>Math.sqrt(<f64>value);
  while (root * root > value) root--;
  while ((root + 1) * (root + 1) <= value) root++;
  return root;
}

/** Computes MIN, LOW and HIGH of the only zone; `scale` is watermark_scale_factor, in 1/10,000. */
export function watermarksSet(zone: usize, scale: u32): void {
  const managed = zoneManaged(zone);
  const kilobytes = (<u64>managed) << 2;
  const minFreeKbytes = min<u64>(max<u64>(squareRoot(kilobytes * 16), 128), 262144);
  const least = <u32>(minFreeKbytes >> 2);
  const delta = max<u32>(least >> 2, <u32>((<u64>managed * scale) / 10000));
  setZoneWatermark(zone, WMARK_MIN, least);
  setZoneWatermark(zone, WMARK_LOW, least + delta);
  setZoneWatermark(zone, WMARK_HIGH, least + 2 * delta);
  setZoneBoost(zone, 0);
}

/** Computes the watermarks and lowmem_reserve[] of all zones of an instance; `scale` is watermark_scale_factor, in 1/10,000. */
export function watermarksSetAll(mm: usize, scale: u32): void {
  let lowmem: u64 = 0;
  for (let place: u32 = 0; place < mmZones(mm); place++) lowmem += zoneManaged(mmZoneAt(mm, place));
  const kilobytes = min<u64>(max<u64>(squareRoot((lowmem << 2) * 16), 128), 262144);
  for (let place: u32 = 0; place < mmZones(mm); place++) {
    const zone = mmZoneAt(mm, place);
    const managed = <u64>zoneManaged(zone);
    const least = <u32>(((kilobytes >> 2) * managed) / lowmem);
    const delta = max<u32>(least >> 2, <u32>((managed * scale) / 10000));
    setZoneWatermark(zone, WMARK_MIN, least);
    setZoneWatermark(zone, WMARK_LOW, least + delta);
    setZoneWatermark(zone, WMARK_HIGH, least + 2 * delta);
    setZoneBoost(zone, 0);
    reserveLowmem(mm, place);
  }
}

// setup_per_zone_lowmem_reserve(): what requests that could be served from a higher zone must leave in a lower one.
function reserveLowmem(mm: usize, place: u32): void {
  const zone = mmZoneAt(mm, place);
  const ratio: u32 = zoneIndex(zone) < ZONE_NORMAL ? 256 : 32;
  let above: u32 = 0;
  let next = place + 1;
  for (let highest = zoneIndex(zone) + 1; highest <= ZONE_MOVABLE; highest++) {
    if (next < mmZones(mm) && zoneIndex(mmZoneAt(mm, next)) === highest)
      above += zoneManaged(mmZoneAt(mm, next++));
    setZoneLowmemReserve(zone, highest, above / ratio);
  }
}

/** wmark_pages(): a watermark with the boost on top. */
export function watermarkPages(zone: usize, mark: u32): u32 {
  return zoneWatermark(zone, mark) + zoneBoost(zone);
}

// __zone_watermark_unusable_free(): free pages that this request could not use.
function unusable(zone: usize, order: u32, allocFlags: u32): u32 {
  const reserved = allocFlags & ALLOC_HARDER ? 0 : zoneHighatomic(zone);
  return (1 << order) - 1 + reserved;
}

/** zone_watermark_ok(): may 2^order pages be taken so that `mark` stays free? @param highest highest zone of the request */
export function watermarkOk(zone: usize, order: u32, mark: u32, highest: u32, allocFlags: u32): bool {
  const free = <i64>zoneNrFree(zone) - unusable(zone, order, allocFlags);
  let least = <i64>mark;
  if (allocFlags & ALLOC_HIGH) least -= least / 2;
  if (allocFlags & ALLOC_HARDER) least -= least / 4;
  if (free <= least + zoneLowmemReserve(zone, highest)) return false;
  if (order === 0) return true;
  let orders: u32 = 0;
  for (let type: u32 = 0; type < MIGRATE_PCPTYPES; type++) orders |= zoneFreeOrders(zone, type);
  if (allocFlags & ALLOC_HARDER) orders |= zoneFreeOrders(zone, MIGRATE_HIGHATOMIC);
  return orders >> order !== 0;
}

/** zone_watermark_fast(): the test of an allocation at the watermark that its flags name. */
export function watermarkFast(zone: usize, order: u32, highest: u32, allocFlags: u32, gfp: u32): bool {
  const level = allocFlags & ALLOC_WMARK_MASK;
  const mark = watermarkPages(zone, level);
  if (order === 0) {
    const free = zoneNrFree(zone);
    const usable = free - min<u32>(free, unusable(zone, 0, allocFlags));
    if (usable > mark + zoneLowmemReserve(zone, highest)) return true;
  }
  if (watermarkOk(zone, order, mark, highest, allocFlags)) return true;
  // A boost is there for kswapd's sake: it does not keep atomic requests from the last pages.
  if (order !== 0 || (gfp & GFP_ATOMIC) === 0 || zoneBoost(zone) === 0 || level !== WMARK_MIN) return false;
  return watermarkOk(zone, 0, zoneWatermark(zone, WMARK_MIN), highest, allocFlags);
}

/** pgdat_balanced() for single pages: some zone has its HIGH watermark free, the boost included. */
export function hostBalanced(mm: usize): bool {
  for (let place: u32 = 0; place < mmZones(mm); place++) {
    const zone = mmZoneAt(mm, place);
    if (watermarkOk(zone, 0, watermarkPages(zone, WMARK_HIGH), zoneIndex(zone), 0)) return true;
  }
  return false;
}

/** The HIGH watermarks of all zones together, each with its boost. */
export function hostHigh(mm: usize): u32 {
  let pages: u32 = 0;
  for (let place: u32 = 0; place < mmZones(mm); place++)
    pages += watermarkPages(mmZoneAt(mm, place), WMARK_HIGH);
  return pages;
}

/** The same without the boosts. */
export function hostHighUnboosted(mm: usize): u32 {
  let pages: u32 = 0;
  for (let place: u32 = 0; place < mmZones(mm); place++)
    pages += zoneWatermark(mmZoneAt(mm, place), WMARK_HIGH);
  return pages;
}

/** kswapd is at work, or sleeps: meanwhile the per-CPU lists stay short (set_reclaim_active(), clear_reclaim_active()). */
export function hostReclaimActive(mm: usize, active: bool): void {
  for (let place: u32 = 0; place < mmZones(mm); place++) {
    const zone = mmZoneAt(mm, place);
    const others = zoneFlags(zone) & ~ZONE_RECLAIM_ACTIVE;
    setZoneFlags(zone, active ? others | ZONE_RECLAIM_ACTIVE : others);
  }
}

/** A run of kswapd begins: it notes the boosts that it finds. */
export function hostNoteBoost(mm: usize): void {
  for (let place: u32 = 0; place < mmZones(mm); place++) {
    const zone = mmZoneAt(mm, place);
    setZoneBoostFound(zone, zoneBoost(zone));
  }
}

/** The run has ended: what it found of boosts is worked off, what stealing has added meanwhile is the next run's. */
export function hostUnboost(mm: usize): void {
  for (let place: u32 = 0; place < mmZones(mm); place++) {
    const zone = mmZoneAt(mm, place);
    setZoneBoost(zone, zoneBoost(zone) - min<u32>(zoneBoost(zone), zoneBoostFound(zone)));
  }
}
