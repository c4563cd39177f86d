import { actorClock, actorCpu, actorSpend, STAGE_CPU, STAGE_RECLAIM } from "../sim/actor";
import { COST_SWAP_IN_CPU_NS, COST_SWAP_OUT_CPU_NS, cost } from "../sim/costs";
import { devicePlain, deviceSynchronous, deviceSynchronousNs, deviceSynchronousTakes } from "../sim/device";
import { DIGEST_RECLAIM, DIGEST_SWAP_OUT, digestAdd } from "../sim/digest";
import {
  count,
  TRACE_MM_PAGE_ALLOC,
  TRACE_MM_PAGE_FREE,
  TRACE_MM_VMSCAN_MEMCG_RECLAIM_END,
  TRACE_MM_VMSCAN_WRITE_FOLIO,
  TRACE_SWAP_READPAGE,
  TRACE_SWAP_WRITEPAGE,
  TRACE_SWAPCACHE_ADD,
  traceRecorded,
} from "../sim/trace";
import { notifySwapOut } from "./freehook";
import { GFP_USER_PAGE } from "./gfp";
import { MM_RECLAIMED_DIRECT, MM_SCANNED, MM_SWAP_OUT, mmArea, mmAreas, mmCountAdd } from "./instance";
import { lruCacheAdd } from "./lrubatch";
import { lruRemove } from "./memcg";
import { memcgEvents } from "./memcgstat";
import {
  PG_ANON_EXCLUSIVE,
  PG_FILE,
  PG_KSM,
  PG_LAZYFREE,
  PG_LOCKED,
  PG_LRU,
  PG_MAPPING_REPLACED,
  PG_PINNED,
  PG_PLUGGED,
  PG_READAHEAD,
  PG_RECLAIM,
  PG_SWAPCACHE,
  PG_UPTODATE,
  PG_WAITERS,
  PG_WRITEBACK,
  pageFlags,
  pageGet,
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
import { freeThePage, takeAtHand } from "./pagealloc";
import { entryOffset, PTE_ACCESSED, PTE_DIRTY, PTE_WRITE, pteOfEntry, pteOfPfn } from "./pte";
import { swapNoteRead } from "./readahead";
import { setSpacePte, spaceId, spaceMemcg } from "./space";
import { swapSlotAtHand } from "./swap";
import { setSlotOwner, slotByte, slotCached, swapArea, swapDevice } from "./swaparea";
import { swapCacheShadow, swapFree } from "./swapmap";
import { slotPop, slotWaiting } from "./swapslots";
import { workingsetEviction, workingsetRefault } from "./workingset";

// What memory management does in a fault that nobody can interrupt (kvm/atonce.ts), in one go: the steps of fault.ts, alloc.ts, idealized.ts, shrink.ts, evict.ts
// and swapin.ts for the plain case, in their order and at their times. What one step writes and the next takes back is not written: the
// page lock, the page on the list of isolated ones, its entry in the swap cache, the charge that goes and comes.

/** A page with one of these has something about it that the plain case does not know. */
export const NOT_PLAIN: u32 =
  PG_LOCKED |
  PG_WAITERS |
  PG_WRITEBACK |
  PG_RECLAIM |
  PG_SWAPCACHE |
  PG_READAHEAD |
  PG_LAZYFREE |
  PG_PLUGGED |
  PG_KSM |
  PG_FILE |
  PG_PINNED |
  PG_MAPPING_REPLACED;

/** The most that a read and a write of any area together take; 0 for none with areas that take no CPU time. */
export function swapTakesMost(mm: usize): u64 {
  let most: u64 = 0;
  for (let type: u32 = 0; type < mmAreas(mm); type++) {
    const device = swapDevice(mmArea(mm, type));
    if (!deviceSynchronous(device)) continue;
    const takes = <u64>deviceSynchronousTakes(device, false) + deviceSynchronousTakes(device, true);
    most = max<u64>(most, takes);
  }
  return most;
}

/** Somebody wants to read of events that are only counted here. */
export function swapRecords(): bool {
  return (
    traceRecorded(TRACE_MM_PAGE_ALLOC) ||
    traceRecorded(TRACE_MM_PAGE_FREE) ||
    traceRecorded(TRACE_MM_VMSCAN_MEMCG_RECLAIM_END) ||
    traceRecorded(TRACE_MM_VMSCAN_WRITE_FOLIO) ||
    traceRecorded(TRACE_SWAP_READPAGE) ||
    traceRecorded(TRACE_SWAP_WRITEPAGE) ||
    traceRecorded(TRACE_SWAPCACHE_ADD)
  );
}

/** The page of `entry` comes from a synchronous device whose reads succeed, past the swap cache: one pte holds the entry, and nobody caches it. */
export function entryPlain(mm: usize, entry: u32): bool {
  const area = swapArea(mm, entry);
  return load<u8>(slotByte(area, entryOffset(entry))) === 1 && devicePlain(swapDevice(area));
}

/** Takes the frame that is at hand in `zone` for `space`. */
export function frameTake(mm: usize, actor: usize, zone: usize, space: usize): u32 {
  const pfn = takeAtHand(mm, zone, actorCpu(actor), GFP_USER_PAGE);
  const page = pageOf(mm, pfn);
  setPageFlags(page, 0);
  setPageMaps(page, 0);
  setPageOwner(page, spaceId(space), 0);
  count(TRACE_MM_PAGE_ALLOC);
  return pfn;
}

/** Page `pfn` of `space` is on its list, held by its pte alone, and a slot of a synchronous device is at hand for it. */
export function victimPlain(mm: usize, actor: usize, space: usize, pfn: u32): bool {
  const page = pageOf(mm, pfn);
  if ((pageFlags(page) & (PG_LRU | NOT_PLAIN)) !== PG_LRU) return false;
  if (pageMaps(page) !== 1 || pageRefs(page) !== 1 || pageOwner(page) !== spaceId(space)) return false;
  if (!swapSlotAtHand(mm, actor)) return false;
  return deviceSynchronous(swapDevice(swapArea(mm, slotWaiting(mm, actorCpu(actor), 0))));
}

/** Such a page is isolated, and gets its slot. Returns the entry. */
export function evictBegins(mm: usize, actor: usize, space: usize, pfn: u32): u32 {
  lruRemove(mm, spaceMemcg(space), pfn);
  mmCountAdd(mm, MM_SCANNED, 1);
  const entry = slotPop(mm, actorCpu(actor));
  count(TRACE_SWAPCACHE_ADD);
  setSlotOwner(mm, entry, spaceId(space));
  return entry;
}

/** Between the notifier's start and end: the pte of page `index` becomes `entry`. */
export function evictUnmaps(mm: usize, actor: usize, space: usize, index: u32, pfn: u32, entry: u32): void {
  actorSpend(actor, STAGE_RECLAIM, cost(COST_SWAP_OUT_CPU_NS));
  setSpacePte(space, index, pteOfEntry(entry, pageTest(pageOf(mm, pfn), PG_ANON_EXCLUSIVE)));
}

/** After the notifier's end: the page is written, and its frame is free. */
export function evictEnds(mm: usize, actor: usize, space: usize, index: u32, pfn: u32, entry: u32): void {
  const cpu = actorCpu(actor);
  const id = spaceId(space);
  const area = swapArea(mm, entry);
  mmCountAdd(mm, MM_SWAP_OUT, 1);
  notifySwapOut(id, index);
  digestAdd(DIGEST_SWAP_OUT, actorClock(actor), id, index, pfn, entry);
  count(TRACE_SWAP_WRITEPAGE);
  count(TRACE_MM_VMSCAN_WRITE_FOLIO);
  actorSpend(actor, STAGE_RECLAIM, deviceSynchronousNs(swapDevice(area), true));

  digestAdd(DIGEST_RECLAIM, actorClock(actor), id, index, pfn, entry);
  const slot = entryOffset(entry);
  store<u32>(slotCached(area, slot), workingsetEviction(mm, pfn, 0));
  store<u8>(slotByte(area, slot), 1);
  const page = pageOf(mm, pfn);
  setPageMaps(page, 0);
  setPageRefs(page, 0);
  count(TRACE_MM_PAGE_FREE);
  freeThePage(mm, cpu, pfn, 0);
  // MEMCG_SWAP, NR_SWAPCACHE, NR_ANON_MAPPED, NR_WRITEBACK twice, NR_SWAPCACHE, PGPGOUT
  memcgEvents(mm, cpu, 7);
  mmCountAdd(mm, MM_RECLAIMED_DIRECT, 1);
  count(TRACE_MM_VMSCAN_MEMCG_RECLAIM_END);
}

/** Page `index` of `space` is read from `entry` into frame `pfn`, which is charged, and mapped. Returns the pte; the caller has a reference. */
export function swapInEnds(
  mm: usize,
  actor: usize,
  space: usize,
  index: u32,
  pfn: u32,
  entry: u32,
  write: bool,
): u64 {
  const cpu = actorCpu(actor);
  const page = pageOf(mm, pfn);
  actorSpend(actor, STAGE_CPU, cost(COST_SWAP_IN_CPU_NS));
  setPageOwner(page, spaceId(space), index);
  count(TRACE_SWAP_READPAGE);
  actorSpend(actor, STAGE_CPU, deviceSynchronousNs(swapDevice(swapArea(mm, entry)), false));

  swapNoteRead(mm, actor, pfn, entry, index);
  workingsetRefault(mm, cpu, pfn, space, swapCacheShadow(mm, entry));
  swapFree(mm, cpu, entry);
  lruCacheAdd(mm, actor, pfn);
  const pte = pteOfPfn(pfn, PTE_ACCESSED | (write ? PTE_WRITE | PTE_DIRTY : 0));
  setSpacePte(space, index, pte);
  setPageMaps(page, 1);
  pageSet(page, PG_UPTODATE | PG_ANON_EXCLUSIVE);
  pageGet(page);
  memcgEvents(mm, cpu, 4); // PGPGIN, PGMAJFAULT, PGFAULT, NR_ANON_MAPPED
  return pte;
}
