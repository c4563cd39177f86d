import { PFN_NONE } from "../memory/layout";
import { Policy } from "../policy/policy";
import { policyEvict } from "../policy/registry";
import { devicePlain } from "../sim/device";
import {
  countMany,
  TRACE_MM_PAGE_ALLOC,
  TRACE_MM_PAGE_FREE,
  TRACE_MM_VMSCAN_MEMCG_RECLAIM_BEGIN,
  TRACE_MM_VMSCAN_MEMCG_RECLAIM_END,
  TRACE_MM_VMSCAN_WRITE_FOLIO,
  TRACE_SWAP_READPAGE,
  TRACE_SWAP_WRITEPAGE,
  TRACE_SWAPCACHE_ADD,
} from "../sim/trace";
import { NOT_PLAIN } from "./atonce";
import { swapOutHeard } from "./freehook";
import { GFP_USER_PAGE, gfpMigratetype } from "./gfp";
import { idealizedFailed } from "./idealized";
import {
  MM_RECLAIMED_DIRECT,
  MM_SCANNED,
  MM_SWAP_IN,
  MM_SWAP_OUT,
  mmArea,
  mmAreas,
  mmCountAdd,
  mmHinting,
  mmZoneAt,
  mmZones,
} from "./instance";
import { lruBatchesHold, lruBatchFirst, lruBatchMove } from "./lrubatch";
import { lruRemove } from "./memcg";
import { memcgEvents, memcgEventsMany } from "./memcgstat";
import {
  PG_ACTIVE,
  PG_ANON_EXCLUSIVE,
  PG_LRU,
  PG_REFERENCED,
  PG_UPTODATE,
  pageFlags,
  pageIndex,
  pageMaps,
  pageOf,
  pageOwner,
  pageRefs,
  pageSet,
  pageTest,
  setPageFlags,
  setPageMaps,
  setPageOwner,
  setPageRefs,
} from "./page";
import { zoneAtHand } from "./pagealloc";
import { pcpReplace, pcpSteady } from "./pcp";
import {
  entryOffset,
  PTE_ACCESSED,
  PTE_DIRTY,
  PTE_WRITE,
  pteOfPfn,
  ptePfn,
  ptePresent,
  pteZero,
} from "./pte";
import { residencyCapacity } from "./residency";
import { setSpacePte, spaceId, spaceMemcg, spacePolicy, spacePte } from "./space";
import { chargeFull } from "./stock";
import { slotByte, slotCached, slotsOwned, swapArea, swapDevice } from "./swaparea";
import { swapCacheShadow, swapFreeOnly } from "./swapmap";
import { slotCacheCheck, slotPop } from "./swapslots";
import { listsEviction, workingsetActivated, workingsetRefault } from "./workingset";
import { blockType } from "./zone";

// What memory management does in a fault that exchanges pages (kvm/exchange.ts): the changes of mm/atonce.ts for a cgroup that is full, where a page goes for each
// that comes. What every such fault does in the same way, whoever its pages are, is asked once, before the first of them, and added up once, after the last.

/** Changes of a cgroup's counters by one exchange, but for those that happen one by one: of atonce.ts, evictEnds() and swapInEnds(). */
const MEMCG_EVENTS: u32 = 7 + 4;

/**
 * Faults on `cpu` for pages of `space` exchange pages until somebody else acts: the cgroup is full, an idealized policy chooses what goes, all swap
 * is synchronous, the lists of free pages and the batches stay as long as they are.
 */
export function exchanging(mm: usize, cpu: u32, space: usize): bool {
  const record = spacePolicy(space);
  if (record === 0 || idealizedFailed()) return false;
  if (mmHinting(mm) !== 0 || mmZones(mm) !== 1 || swapOutHeard(spaceId(space))) return false;
  if (!chargeFull(mm, cpu, space) || !slotCacheCheck(mm)) return false;
  for (let type: u32 = 0; type < mmAreas(mm); type++) {
    if (!devicePlain(swapDevice(mmArea(mm, type))) || slotsOwned(mmArea(mm, type))) return false;
  }
  const zone = zoneAtHand(mm, cpu, GFP_USER_PAGE);
  if (zone === 0 || !pcpSteady(zone, cpu, gfpMigratetype(GFP_USER_PAGE))) return false;
  const waiting = lruBatchesHold(mm, cpu);
  if (waiting === PFN_NONE) return false;
  const page = pageOf(mm, waiting);
  if (pageOwner(page) !== spaceId(space) || pageRefs(page) < 2) return false;
  changetype<Policy>(record).capacity = residencyCapacity(space);
  return true;
}

/** The frame of the page of `space` that goes, for `index` is about to come: idealizedChoose(), of which exchanging() has done the first part. */
export function exchangeChoose(space: usize, index: u32): u32 {
  const policy = changetype<Policy>(spacePolicy(space));
  while (policy.used > 0) {
    const pte = spacePte(space, policyEvict(policy, index));
    if (ptePresent(pte) && !pteZero(pte)) return ptePfn(pte);
  }
  return PFN_NONE;
}

/** As victimPlain(), for the page in frame `pfn`; and it will be given back to the list that the new one is taken from. */
export function exchangePlain(mm: usize, space: usize, pfn: u32): bool {
  const page = pageOf(mm, pfn);
  if ((pageFlags(page) & (PG_LRU | NOT_PLAIN)) !== PG_LRU) return false;
  if (pageMaps(page) !== 1 || pageRefs(page) !== 1 || pageOwner(page) !== spaceId(space)) return false;
  return blockType(mmZoneAt(mm, 0), pfn) === gfpMigratetype(GFP_USER_PAGE);
}

/** lru_add_drain_all(), when lruBatchesHold() has said so or an exchange was the last that put a page there. */
export function exchangeDrain(mm: usize, cpu: u32, space: usize): void {
  lruBatchMove(mm, cpu, spaceMemcg(space));
  memcgEvents(mm, cpu, 1);
}

/** The page in frame `pfn` leaves its list, and gets the slot at hand. Returns the entry. */
export function exchangeIsolate(mm: usize, cpu: u32, space: usize, pfn: u32): u32 {
  lruRemove(mm, spaceMemcg(space), pfn);
  return slotPop(mm, cpu);
}

/** The page in frame `pfn` has been written to `entry`: its frame takes the place of the one that is returned. */
export function exchangeFree(mm: usize, cpu: u32, pfn: u32, entry: u32): u32 {
  const area = swapArea(mm, entry);
  const slot = entryOffset(entry);
  const page = pageOf(mm, pfn);
  store<u32>(slotCached(area, slot), listsEviction(mm, page, 0));
  store<u8>(slotByte(area, slot), 1);
  setPageFlags(page, 0);
  setPageMaps(page, 0);
  setPageRefs(page, 0);
  return pcpReplace(mm, mmZoneAt(mm, 0), cpu, gfpMigratetype(GFP_USER_PAGE), pfn);
}

/** Page `index` of `space` has been read from `entry` into frame `pfn`: it is mapped, used twice (kvm/fault.ts), and waits in a batch. */
export function exchangeMap(
  mm: usize,
  cpu: u32,
  space: usize,
  index: u32,
  pfn: u32,
  entry: u32,
  write: bool,
): void {
  const page = pageOf(mm, pfn);
  setPageOwner(page, spaceId(space), index);
  workingsetRefault(mm, cpu, pfn, space, swapCacheShadow(mm, entry));
  swapFreeOnly(mm, cpu, entry);
  if (!pageTest(page, PG_ACTIVE)) workingsetActivated(mm, space, 1);
  pageSet(page, PG_UPTODATE | PG_ANON_EXCLUSIVE | PG_ACTIVE | PG_REFERENCED);
  setPageMaps(page, 1);
  setPageRefs(page, 2); // of the pte and of the batch
  lruBatchFirst(mm, cpu, pfn);
  setSpacePte(space, index, pteOfPfn(pfn, PTE_ACCESSED | (write ? PTE_WRITE | PTE_DIRTY : 0)));
}

/** `pte` maps a page of this process alone for reading, that counts as used as much as a page can: a write makes the pte writable and does nothing else. */
export function exchangeReuses(mm: usize, pte: u64): bool {
  if (!ptePresent(pte) || (pte & PTE_WRITE) !== 0 || pteZero(pte)) return false;
  const used = PG_ANON_EXCLUSIVE | PG_ACTIVE | PG_REFERENCED;
  return (pageFlags(pageOf(mm, ptePfn(pte))) & used) === used;
}

/** What `exchanges` of them have added up to. */
export function exchangesCount(mm: usize, cpu: u32, exchanges: u32): void {
  countMany(TRACE_MM_PAGE_ALLOC, exchanges);
  countMany(TRACE_MM_VMSCAN_MEMCG_RECLAIM_BEGIN, exchanges);
  countMany(TRACE_SWAPCACHE_ADD, exchanges);
  countMany(TRACE_SWAP_WRITEPAGE, exchanges);
  countMany(TRACE_MM_VMSCAN_WRITE_FOLIO, exchanges);
  countMany(TRACE_MM_PAGE_FREE, exchanges);
  countMany(TRACE_MM_VMSCAN_MEMCG_RECLAIM_END, exchanges);
  countMany(TRACE_SWAP_READPAGE, exchanges);
  mmCountAdd(mm, MM_SCANNED, exchanges);
  mmCountAdd(mm, MM_SWAP_OUT, exchanges);
  mmCountAdd(mm, MM_RECLAIMED_DIRECT, exchanges);
  mmCountAdd(mm, MM_SWAP_IN, exchanges);
  memcgEventsMany(mm, cpu, exchanges * MEMCG_EVENTS);
}
