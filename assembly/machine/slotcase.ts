import {
  arenaCommit,
  arenaInit,
  arenaReserve,
  arenaTake,
  PART_EVENTS,
  PART_RECORDS,
  PART_WORKLOADS,
} from "../memory/arena";
import { PFN_BASE, PFN_NONE } from "../memory/layout";
import { E_NO_MEMORY, OK } from "../memory/status";
import { MM_CONTEXT_END } from "../mm/context";
import { pagePut } from "../mm/free";
import { GFP_USER_PAGE, ZONE_NORMAL } from "../mm/gfp";
import { mmAddZone, mmArea, mmAreas, mmCreate, mmLayout, mmSpace, mmZoneAt } from "../mm/instance";
import { MEMCG_UNLIMITED, memcgUsage, setMemcgUsage } from "../mm/memcg";
import { memcgStatsCreate } from "../mm/memcgstat";
import {
  PG_LOCKED,
  pageClear,
  pageGet,
  pageOf,
  pageSet,
  setPageFlags,
  setPageMaps,
  setPageOwner,
  setPageRefs,
} from "../mm/page";
import { allocPagesNoReclaim, pcpSetup, zoneReleaseAll } from "../mm/pagealloc";
import { ENTRY_NONE } from "../mm/pte";
import { spaceCreate, spaceId, spaceLayout, spaceMemcg } from "../mm/space";
import { checkSwap, swapAlloc, swapStart } from "../mm/swap";
import { slotByte, swapContinuationLayout, swapCreate, swapDevice, swapLayout } from "../mm/swaparea";
import { swapCacheAdd, swapCacheDelete, swapCacheReclaim } from "../mm/swapcache";
import {
  swapCacheClear,
  swapCacheLookup,
  swapCachePrepare,
  swapCount,
  swapDup,
  swapFree,
} from "../mm/swapmap";
import { swapStateCreate } from "../mm/swapstate";
import { watermarksSet } from "../mm/watermark";
import { zoneCreate, zoneStart } from "../mm/zone";
import { ACTOR_KSWAPD, actorInit, setActorCpu } from "../sim/actor";
import { deviceInit } from "../sim/device";
import { digestInit } from "../sim/digest";
import { host, setHost, stateInit } from "./state";

// Swap slots on their own: areas, slot caches, use counts and the swap cache, driven call by call, without processes and without
// I/O. Set-up first (areas, then slotCaseReady()), then the operations; the readers of swapsnap.ts at any time. The operations are
// the ones that a machine's host uses. A page that the swap cache holds is a frame with no other reference.

const ACTOR: usize = 0;
const SLOTS: usize = 4;
const CASE: usize = memory.data(8, 8);

const SPARE_FRAMES: u32 = 512;
// Nothing is read or written: the device only says what kind of area it is.
const SERVERS: u32 = 1;

// The thread that acts, on `cpu`.
function on(cpu: u32): usize {
  const actor = <usize>load<u32>(CASE, ACTOR);
  setActorCpu(actor, cpu);
  return actor;
}

/** Starts a case on `cpus` CPUs with frames for `pages` pages in the swap cache. Areas are added next. Fails with E_NO_MEMORY. */
export function slotCaseBegin(cpus: u32, pages: u32): i32 {
  arenaInit();
  stateInit();
  digestInit();
  if (arenaCommit() !== OK) return E_NO_MEMORY;
  const frames = pages + SPARE_FRAMES;
  const mm = mmCreate(PFN_BASE, PFN_BASE + frames);
  const zone = zoneCreate(ZONE_NORMAL, PFN_BASE, frames, frames, cpus);
  const actor = arenaTake(PART_RECORDS, MM_CONTEXT_END);
  if (mm === 0 || zone === 0 || actor === 0 || !swapStateCreate(mm, cpus, 0) || !memcgStatsCreate(mm, cpus))
    return E_NO_MEMORY;
  setHost(mm);
  mmAddZone(mm, zone);
  actorInit(actor, ACTOR_KSWAPD, 0);
  store<u32>(CASE, <u32>actor, ACTOR);
  return spaceCreate(mm, 1, MEMCG_UNLIMITED) === 0 ? E_NO_MEMORY : OK;
}

/** Adds an area of `slots` slots, the header included; `flags` are DEVICE_*. Fails with E_NO_MEMORY. */
export function slotCaseArea(slots: u32, priority: i32, flags: u32): i32 {
  const area = swapCreate(host(), slots, priority);
  if (area === 0) return E_NO_MEMORY;
  deviceInit(swapDevice(area), 0, 0, SERVERS, 0, 0, flags);
  return OK;
}

/**
 * Reserves room for a script of `words` operations over `places` places that each hold an entry; before slotCaseReady(). Returns
 * its address: one u32 an operation, bit 31 a free, bits 0..30 the place.
 */
export function slotCaseScript(words: u32, places: u32): usize {
  store<u32>(CASE, <u32>arenaReserve(PART_WORKLOADS, (<u64>places) << 2), SLOTS);
  return arenaReserve(PART_WORKLOADS, (<u64>words) << 2);
}

/** swapon of all areas, in the order in which they were added. Fails with E_NO_MEMORY. */
export function slotCaseReady(cpus: u32): i32 {
  const mm = host();
  mmLayout(mm);
  spaceLayout(mmSpace(mm, 0));
  for (let type: u32 = 0; type < mmAreas(mm); type++) {
    swapLayout(mm, mmArea(mm, type), false);
    swapContinuationLayout(mmArea(mm, type));
  }
  arenaReserve(PART_EVENTS, 64);
  if (arenaCommit() !== OK) return E_NO_MEMORY;
  const zone = mmZoneAt(mm, 0);
  zoneStart(zone);
  watermarksSet(zone, 0);
  pcpSetup(zone, cpus);
  zoneReleaseAll(mm, zone);
  for (let type: u32 = 0; type < mmAreas(mm); type++) swapStart(mm, mmArea(mm, type));
  return OK;
}

/**
 * Runs the first `words` operations at `script` on CPU 0: what a loop of calls would do, without the calls. A taken slot has one
 * user and no page in the cache. Returns refusals.
 */
export function slotCaseRun(script: usize, words: u32): u32 {
  const mm = host();
  const actor = on(0);
  const places = <usize>load<u32>(CASE, SLOTS);
  let refused: u32 = 0;
  for (let index: u32 = 0; index < words; index++) {
    const word = load<u32>(script + ((<usize>index) << 2));
    const place = places + ((<usize>(word & 0x7fffffff)) << 2);
    if (word >> 31) {
      if (load<u32>(place) !== ENTRY_NONE) swapFree(mm, 0, load<u32>(place));
      store<u32>(place, ENTRY_NONE);
      continue;
    }
    const entry = swapAlloc(mm, actor);
    store<u32>(place, entry);
    if (entry === ENTRY_NONE) {
      refused++;
    } else {
      swapDup(mm, entry);
      swapCacheClear(mm, 0, entry, 0);
    }
  }
  return refused;
}

/** Address of the places, one u32 each: the entry that it holds, or 0. */
export function slotCasePlaces(): usize {
  return <usize>load<u32>(CASE, SLOTS);
}

// A new page in the cache of `entry`, whose SWAP_HAS_CACHE the caller owns.
function enter(mm: usize, actor: usize, cpu: u32, entry: u32): void {
  const pfn = allocPagesNoReclaim(mm, cpu, 0, GFP_USER_PAGE);
  assert(pfn !== PFN_NONE);
  const page = pageOf(mm, pfn);
  const space = mmSpace(mm, 0);
  setPageFlags(page, 0);
  setPageRefs(page, 1);
  setPageMaps(page, 0);
  setPageOwner(page, spaceId(space), 0);
  setMemcgUsage(spaceMemcg(space), memcgUsage(spaceMemcg(space)) + 1);
  swapCacheAdd(mm, actor, pfn, entry);
  pagePut(mm, pfn, actor);
}

/** A page is evicted on `cpu`: its slot has one user and the page in the cache. The entry, 0 when every area is full. */
export function slotCaseTake(cpu: u32): u32 {
  const actor = on(cpu);
  const entry = swapAlloc(host(), actor);
  if (entry === ENTRY_NONE) return entry;
  enter(host(), actor, cpu, entry);
  const counted = swapDup(host(), entry);
  assert(counted);
  return entry;
}

/** One more user; false when no more can be counted. */
export function slotCaseDup(entry: u32): bool {
  return swapDup(host(), entry);
}

/** swap_free(): one user less. */
export function slotCaseFree(cpu: u32, entry: u32): void {
  swapFree(host(), cpu, entry);
}

/** free_swap_and_cache(): one user less, and the cached page goes with the last one. */
export function slotCaseZap(cpu: u32, entry: u32): void {
  swapFree(host(), cpu, entry);
  swapCacheReclaim(host(), on(cpu), entry, false);
}

/** The page is read back into the cache. False when it is there already, or has no user. */
export function slotCaseRead(cpu: u32, entry: u32): bool {
  if (!swapCachePrepare(host(), entry)) return false;
  enter(host(), on(cpu), cpu, entry);
  return true;
}

/** The page leaves the cache, as reclaim does when it has been written. False when it is not there. */
export function slotCaseDrop(cpu: u32, entry: u32): bool {
  const pfn = swapCacheLookup(host(), entry);
  if (pfn === PFN_NONE) return false;
  pageGet(pageOf(host(), pfn));
  swapCacheDelete(host(), cpu, pfn, 0);
  pagePut(host(), pfn, on(cpu));
  return true;
}

/** Somebody locks the cached page, or unlocks it: meanwhile nobody else can drop it. */
export function slotCaseLock(entry: u32, locked: bool): void {
  const page = pageOf(host(), swapCacheLookup(host(), entry));
  if (locked) pageSet(page, PG_LOCKED);
  else pageClear(page, PG_LOCKED);
}

/** Users of a slot. */
export function slotCaseUsers(entry: u32): u32 {
  return swapCount(host(), entry);
}

/** The frame that caches a slot, 0 without one. */
export function slotCasePage(entry: u32): u32 {
  return swapCacheLookup(host(), entry);
}

/** Address of the map of area `type`, one byte a slot from the header on. */
export function slotCaseMap(type: u32): usize {
  return slotByte(mmArea(host(), type), 1) - 1;
}

/** Walks maps, clusters and slot caches and asserts their invariants. Says nothing in a build without assertions. */
export function slotCaseCheck(): void {
  checkSwap(host());
}
