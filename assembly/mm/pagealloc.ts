import { PFN_NONE } from "../memory/layout";
import { delFromFreeList, FREE_SKIP_NOTIFY, FREE_TO_TAIL, freeOnePage, rmqueueSmallest } from "./buddy";
import {
  checkCompound,
  compoundHead,
  compoundOrder,
  freeTailPages,
  prepCompoundPage,
  putPageTestzero,
} from "./compound";
import { reserveHighatomic, rmqueueAny } from "./fallback";
import { freeOrder, isFree, isReported } from "./freeblock";
import { notifyFreeing } from "./freehook";
import {
  ALLOC_HARDER,
  ALLOC_HIGH,
  ALLOC_KSWAPD,
  ALLOC_NOFRAGMENT,
  GFP_ATOMIC,
  GFP_COMP,
  GFP_HIGH,
  GFP_KSWAPD_RECLAIM,
  GFP_NOMEMALLOC,
  gfpMigratetype,
  gfpZone,
  MIGRATE_HIGHATOMIC,
  MIGRATE_ISOLATE,
  MIGRATE_MOVABLE,
  MIGRATE_PCPTYPES,
  WMARK_LOW,
  WMARK_MIN,
  ZONE_NORMAL,
} from "./gfp";
import { mmHinting, mmZone, mmZoneAt, mmZones } from "./instance";
import {
  LIST_NONE,
  LIST_PCP,
  PG_HEAD,
  PG_TAIL,
  pageFlags,
  pageList,
  pageOf,
  pageOrder,
  pageRefs,
  pageTest,
  setPageFlags,
  setPageRefs,
} from "./page";
import { pcpAlloc, pcpAllowed, pcpDrain, pcpFree, pcpHolds, setPcp, setPcpLimits } from "./pcp";
import { watermarkFast, watermarkOk } from "./watermark";
import {
  blockType,
  MAX_ORDER,
  PAGEBLOCK_ORDER,
  PAGEBLOCK_PAGES,
  setBlockType,
  setZoneFlags,
  ZONE_BOOSTED_WATERMARK,
  zoneCpus,
  zoneEndPfn,
  zoneFlags,
  zoneIndex,
  zoneManaged,
  zoneModFree,
  zonePcp,
  zoneResetMinFree,
  zoneStartPfn,
  zoneWatermark,
} from "./zone";

// The page allocator's fast path and the part of its slow path that does not reclaim: get_page_from_freelist() over the zones,
// rmqueue(), __free_pages(), and taking free blocks off the lists for isolation.

/** Flags of the first attempt: the low watermark, and no mixing of types within pageblocks where that can be afforded. */
export function fastFlags(mm: usize, gfp: u32): u32 {
  let flags = WMARK_LOW;
  if (gfp & GFP_KSWAPD_RECLAIM) flags |= ALLOC_KSWAPD;
  const zone = preferredZone(mm, gfpZone(gfp));
  if (zone !== 0 && zoneIndex(zone) === ZONE_NORMAL) flags |= ALLOC_NOFRAGMENT;
  return flags;
}

/** gfp_to_alloc_flags(): what a request may do once the first attempt has failed. */
export function slowFlags(gfp: u32): u32 {
  let flags = WMARK_MIN;
  if (gfp & GFP_HIGH) flags |= ALLOC_HIGH;
  if (gfp & GFP_KSWAPD_RECLAIM) flags |= ALLOC_KSWAPD;
  if (gfp & GFP_ATOMIC && (gfp & GFP_NOMEMALLOC) === 0) flags |= ALLOC_HARDER;
  return flags;
}

function preferredZone(mm: usize, highest: u32): usize {
  for (let place = mmZones(mm); place > 0; ) {
    place--;
    const zone = mmZoneAt(mm, place);
    if (zoneIndex(zone) <= highest) return zone;
  }
  return 0;
}

/** get_page_from_freelist(): the first zone, highest first, that passes its watermark and has a block. PFN_NONE: none. */
export function pageFromFreelist(mm: usize, cpu: u32, order: u32, gfp: u32, allocFlags: u32): u32 {
  const highest = gfpZone(gfp);
  while (true) {
    for (let place = mmZones(mm); place > 0; ) {
      place--;
      const zone = mmZoneAt(mm, place);
      if (zoneIndex(zone) > highest || !watermarkFast(zone, order, highest, allocFlags, gfp)) continue;
      const pfn = rmqueue(mm, zone, cpu, order, gfpMigratetype(gfp), allocFlags);
      if (pfn === PFN_NONE) continue;
      prepNewPage(mm, pfn, order, gfp);
      if (order !== 0 && allocFlags & ALLOC_HARDER) reserveHighatomic(mm, zone, pfn);
      return pfn;
    }
    if ((allocFlags & ALLOC_NOFRAGMENT) === 0) return PFN_NONE;
    allocFlags &= ~ALLOC_NOFRAGMENT; // fragmentation is better than falling back to reclaim
  }
}

/**
 * The zone from whose lists of `cpu` pageFromFreelist() would take a single page for `gfp` at its first look; 0 where it would have to look further,
 * or kswapd is wanted for a boost.
 */
export function zoneAtHand(mm: usize, cpu: u32, gfp: u32): usize {
  const highest = gfpZone(gfp);
  let first: usize = 0;
  for (let place: u32 = 0; place < mmZones(mm); place++) {
    const zone = mmZoneAt(mm, place);
    if (zoneFlags(zone) & ZONE_BOOSTED_WATERMARK) return 0;
    if (zoneIndex(zone) <= highest) first = zone;
  }
  if (first === 0 || !pcpHolds(first, cpu, gfpMigratetype(gfp))) return 0;
  return watermarkFast(first, 0, highest, fastFlags(mm, gfp), gfp) ? first : 0;
}

/** Takes that page. */
export function takeAtHand(mm: usize, zone: usize, cpu: u32, gfp: u32): u32 {
  const pfn = pcpAlloc(mm, zone, cpu, 0, gfpMigratetype(gfp), 0);
  setPageRefs(pageOf(mm, pfn), 1);
  return pfn;
}

// prep_new_page(): the block has its one reference, and none of its pages a flag, unless it is compound.
function prepNewPage(mm: usize, pfn: u32, order: u32, gfp: u32): void {
  assert(pageFlags(pageOf(mm, pfn)) === 0 && pageList(pageOf(mm, pfn)) === LIST_NONE);
  setPageRefs(pageOf(mm, pfn), 1);
  if (order !== 0 && gfp & GFP_COMP) prepCompoundPage(mm, pfn, order);
}

// rmqueue(): from the CPU's lists where they serve the order, else from the zone.
function rmqueue(mm: usize, zone: usize, cpu: u32, order: u32, type: u32, allocFlags: u32): u32 {
  let pfn = PFN_NONE;
  if (pcpAllowed(order)) pfn = pcpAlloc(mm, zone, cpu, order, type, allocFlags);
  if (pfn !== PFN_NONE) return pfn;
  if (order !== 0 && allocFlags & ALLOC_HARDER) pfn = rmqueueSmallest(mm, zone, order, MIGRATE_HIGHATOMIC);
  if (pfn === PFN_NONE) pfn = rmqueueAny(mm, zone, order, type, allocFlags);
  if (pfn !== PFN_NONE) zoneModFree(zone, cpu, -(<i32>(1 << order)));
  return pfn;
}

/** __alloc_pages() for a request that may not reclaim. PFN_NONE: refused. */
export function allocPagesNoReclaim(mm: usize, cpu: u32, order: u32, gfp: u32): u32 {
  const pfn = pageFromFreelist(mm, cpu, order, gfp, fastFlags(mm, gfp));
  return pfn !== PFN_NONE ? pfn : pageFromFreelist(mm, cpu, order, gfp, slowFlags(gfp));
}

/**
 * __free_pages(): drops a reference of a block; the last one frees it. A block that is not compound and that somebody else still
 * holds through its first page loses all others, half by half.
 */
export function freePages(mm: usize, cpu: u32, pfn: u32, order: u32): void {
  const head = pageTest(pageOf(mm, pfn), PG_HEAD);
  if (putPageTestzero(mm, pfn)) {
    freeThePage(mm, cpu, pfn, order);
  } else if (!head) {
    for (let half = order; half > 0; ) {
      half--;
      freeThePage(mm, cpu, pfn + (1 << half), half);
    }
  }
}

/** put_page() of a page that no list and no cgroup knows: drops a reference of its head; the last one frees the whole block. */
export function putPage(mm: usize, cpu: u32, pfn: u32): void {
  const head = compoundHead(mm, pfn);
  if (putPageTestzero(mm, head)) freeThePage(mm, cpu, head, compoundOrder(pageOf(mm, head)));
}

// free_pages_prepare(): nothing is left of what the pages were.
function freePagesPrepare(mm: usize, cpu: u32, pfn: u32, order: u32): void {
  const page = pageOf(mm, pfn);
  assert(pageRefs(page) === 0 && pageList(page) === LIST_NONE && !pageTest(page, PG_TAIL));
  if (pageTest(page, PG_HEAD)) freeTailPages(mm, pfn, order);
  setPageFlags(page, 0);
  assert(nothingInside(mm, pfn, order));
  if (mmHinting(mm) !== 0) notifyFreeing(mmHinting(mm), cpu, pfn, order);
}

/** free_the_page(): a block without references, to the CPU's lists where they serve the order, else to the zone. */
export function freeThePage(mm: usize, cpu: u32, pfn: u32, order: u32): void {
  freePagesPrepare(mm, cpu, pfn, order);
  const zone = mmZone(mm, pfn);
  if (pcpAllowed(order)) pcpFree(mm, zone, cpu, pfn, order);
  else freeOnePage(mm, zone, cpu, pfn, order, blockType(zone, pfn), 0);
}

/**
 * __isolate_free_page(): takes a free block off its list for hinting, reporting or compaction.
 * @returns false, and nothing is changed, when the zone would fall to its MIN watermark
 */
export function isolateFreePage(mm: usize, cpu: u32, pfn: u32): bool {
  const zone = mmZone(mm, pfn);
  const order = freeOrder(mm, pfn);
  if (blockType(zone, pfn) !== MIGRATE_ISOLATE) {
    if (!watermarkOk(zone, 0, zoneWatermark(zone, WMARK_MIN) + (1 << order), 0, 0)) return false;
    zoneModFree(zone, cpu, -(<i32>(1 << order)));
  }
  delFromFreeList(mm, zone, pfn);
  if (order < PAGEBLOCK_ORDER - 1) return true;
  for (let block = pfn; block < pfn + (1 << order); block += PAGEBLOCK_PAGES) {
    if (blockType(zone, block) < MIGRATE_PCPTYPES) setBlockType(zone, block, MIGRATE_MOVABLE);
  }
  return true;
}

/** __putback_isolated_page(): returns an isolated block to the tail of its pageblock's list; reporting is not told. */
export function putbackIsolatedPage(mm: usize, cpu: u32, pfn: u32, order: u32): void {
  const zone = mmZone(mm, pfn);
  freeOnePage(mm, zone, cpu, pfn, order, blockType(zone, pfn), FREE_TO_TAIL | FREE_SKIP_NOTIFY);
}

/** drain_all_pages(): empties the lists of every CPU in every zone. */
export function drainAllPages(mm: usize): void {
  for (let place: u32 = 0; place < mmZones(mm); place++) {
    const zone = mmZoneAt(mm, place);
    for (let cpu: u32 = 0; cpu < zoneCpus(zone); cpu++) pcpDrain(mm, zone, cpu);
  }
}

/** Was a zone's boost raised by a request that may wake kswapd? The flag is taken. */
export function takeBoostFlag(mm: usize): bool {
  let boosted = false;
  for (let place: u32 = 0; place < mmZones(mm); place++) {
    const zone = mmZoneAt(mm, place);
    if ((zoneFlags(zone) & ZONE_BOOSTED_WATERMARK) === 0) continue;
    setZoneFlags(zone, zoneFlags(zone) & ~ZONE_BOOSTED_WATERMARK);
    boosted = true;
  }
  return boosted;
}

/** Boot: all of a zone becomes free in the largest aligned blocks, lowest first, past the CPUs' lists (__free_pages_core()). */
export function zoneReleaseAll(mm: usize, zone: usize): void {
  const end = zoneEndPfn(zone);
  let pfn = zoneStartPfn(zone);
  while (pfn < end) {
    let order = MAX_ORDER - 1;
    while ((pfn & ((1 << order) - 1)) !== 0 || pfn + (1 << order) > end) order--;
    freeOnePage(mm, zone, 0, pfn, order, blockType(zone, pfn), FREE_TO_TAIL);
    pfn += 1 << order;
  }
  zoneResetMinFree(zone);
}

/** Sizes the per-CPU lists: zone_batchsize() and zone_highsize(). The watermarks are set. @param cpus CPUs that share the zone */
export function pcpUpdate(zone: usize, cpus: u32): void {
  const quarter = max<u32>(min<u32>(zoneManaged(zone) >> 10, 256) / 4, 1);
  const rounded: u32 = 1 << (31 - clz(quarter + quarter / 2));
  const batch = max<u32>(rounded - 1, 1);
  const high = max<u32>(zoneWatermark(zone, WMARK_LOW) / cpus, batch * 4);
  for (let cpu: u32 = 0; cpu < cpus; cpu++) setPcpLimits(zonePcp(zone, cpu), batch, high);
}

/** Sets the per-CPU lists up: their sizes, and how far a CPU's count may be off (calculate_normal_threshold()). */
export function pcpSetup(zone: usize, cpus: u32): void {
  // 128 MiB of pages: the threshold grows with the logarithms of memory and of CPUs.
  const memory = zoneManaged(zone) >> 15;
  const threshold = min<u32>(125, 2 * (32 - clz(cpus)) * (1 + (32 - clz(memory))));
  for (let cpu: u32 = 0; cpu < cpus; cpu++) setPcp(zonePcp(zone, cpu), 0, 0, 0, threshold, 0);
  pcpUpdate(zone, cpus);
}

// Do the pages of a free block carry nothing behind the first?
function nothingInside(mm: usize, pfn: u32, order: u32): bool {
  for (let at = pfn + 1; at < pfn + (1 << order); at++) {
    const page = pageOf(mm, at);
    if (pageFlags(page) !== 0 || pageRefs(page) !== 0 || pageList(page) !== LIST_NONE) return false;
    if (isFree(mm, at)) return false;
  }
  return true;
}

/** Walks a zone by address: free blocks, blocks on per-CPU lists and compound pages follow each other and never overlap. */
export function checkBlocks(mm: usize, zone: usize): void {
  let pfn = zoneStartPfn(zone);
  while (pfn < zoneEndPfn(zone)) {
    const page = pageOf(mm, pfn);
    const list = pageList(page);
    const buddy = isFree(mm, pfn);
    const free = buddy || list === LIST_PCP;
    const block = list === LIST_PCP || pageTest(page, PG_HEAD);
    const order: u32 = buddy ? freeOrder(mm, pfn) : block ? pageOrder(page) : 0;
    assert(!pageTest(page, PG_TAIL)); // its head would have been passed
    assert(buddy ? list === LIST_NONE && pageFlags(page) === 0 : !isReported(mm, pfn));
    if (free) {
      assert(pageRefs(page) === 0 && !pageTest(page, PG_HEAD));
      assert(nothingInside(mm, pfn, order));
    } else if (pageTest(page, PG_HEAD)) {
      checkCompound(mm, pfn);
    }
    pfn += 1 << order;
  }
  assert(pfn === zoneEndPfn(zone));
}
