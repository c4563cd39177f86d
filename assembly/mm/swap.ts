import { actorCpu } from "../sim/actor";
import { deviceRotational, deviceStart } from "../sim/device";
import { mmArea, mmAreas, mmSwapFree, mmSwapTotal, setMmSwapFree, setMmSwapTotal } from "./instance";
import { ENTRY_NONE, swapEntry } from "./pte";
import {
  areaClusters,
  areaHighest,
  areaLowest,
  areaMarkHeader,
  areaPages,
  areaSlots,
  areaType,
  availAdd,
  availDelete,
  checkAvail,
  onAvail,
  SLOT_SHADOW,
  SWAP_HAS_CACHE,
  setAreaBits,
  setAreaClusterNext,
  slotByte,
  slotCached,
  swapDevice,
  swapUsed,
} from "./swaparea";
import { checkClusters, clustersStart } from "./swapcluster";
import { swapCount } from "./swapmap";
import { swapScan } from "./swapscan";
import { checkSlotCaches, slotCacheCheck, slotPop, slotRefill, slotRefilled, slotsLeft } from "./swapslots";
import { availCount, availType, SLOT_CACHE_SIZE, setSwapRotational, swapRotational } from "./swapstate";

// Swap slots as a whole: taking one (folio_alloc_swap(), get_swap_pages()), swapon, and the check of everything.
// An area is a record of swaparea.ts; its free slots are found by swapscan.ts, with the clusters of swapcluster.ts; slots
// pass through the caches of swapslots.ts; swapmap.ts counts their users.
//
// invariant: nr_swap_pages is the number of slots that are neither used nor reserved, over all areas

const ONE: usize = memory.data(4, 4);

/** swapon: the area's slots become available; after the arena is committed. */
export function swapStart(mm: usize, area: usize): void {
  areaMarkHeader(area);
  setAreaBits(area, 1, areaSlots(area) - 1);
  setAreaClusterNext(area, 1);
  if (areaClusters(area) !== 0) clustersStart(mm, area);
  if (deviceRotational(swapDevice(area))) setSwapRotational(mm, swapRotational(mm) + 1);
  setMmSwapFree(mm, mmSwapFree(mm) + areaPages(area));
  setMmSwapTotal(mm, mmSwapTotal(mm) + areaPages(area));
  availAdd(mm, area);
  deviceStart(swapDevice(area));
}

/** The slot cache of the actor's CPU has a slot, if need be after a refill. False while the caches are not in use, too. */
export function swapSlotAtHand(mm: usize, actor: usize): bool {
  const cpu = actorCpu(actor);
  if (!slotCacheCheck(mm)) return false;
  if (slotsLeft(mm, cpu) !== 0) return true;
  const entries = slotRefill(mm, cpu);
  const got = getSwapPages(mm, actor, SLOT_CACHE_SIZE, entries);
  slotRefilled(mm, cpu, got);
  return got !== 0;
}

/**
 * Takes a slot for the swap cache (its byte is SWAP_HAS_CACHE) on the actor's CPU: from the CPU's slot cache, refilled when
 * it is empty, or from the areas while the caches are not in use. ENTRY_NONE when every area is full.
 * Source: folio_alloc_swap(). Left out: charging swap to a cgroup, huge pages.
 */
export function swapAlloc(mm: usize, actor: usize): u32 {
  if (swapSlotAtHand(mm, actor)) return slotPop(mm, actorCpu(actor));
  return getSwapPages(mm, actor, 1, ONE) === 0 ? ENTRY_NONE : load<u32>(ONE);
}

/**
 * Takes up to `wanted` slots from the first area, by priority, that has any; an area goes behind those of its priority
 * before it is tried. No area is tried twice: an area whose last free slot the scan passes over would otherwise be followed
 * by its equal, and that one by it again, for ever. Returns the number of entries written. Source: get_swap_pages().
 */
function getSwapPages(mm: usize, actor: usize, wanted: u32, entries: usize): u32 {
  const goal = min<u32>(wanted, mmSwapFree(mm));
  if (goal === 0) return 0;
  setMmSwapFree(mm, mmSwapFree(mm) - goal);
  let got: u32 = 0;
  let position: u32 = 0;
  let tried: u32 = 0; // a bit a type
  while (got === 0 && position < availCount(mm)) {
    const area = mmArea(mm, availType(mm, position));
    tried |= (<u32>1) << areaType(area);
    // The walk goes on with the area that followed this one before it was requeued.
    const last = position + 1 === availCount(mm);
    const following = last ? <usize>0 : mmArea(mm, availType(mm, position + 1));
    availDelete(mm, area);
    availAdd(mm, area);
    got = swapScan(mm, actor, area, goal, entries);
    if (last) break;
    assert(onAvail(following));
    position = positionOf(mm, following);
    while (position < availCount(mm) && tried & ((<u32>1) << availType(mm, position))) position++;
  }
  setMmSwapFree(mm, mmSwapFree(mm) + goal - got);
  return got;
}

function positionOf(mm: usize, area: usize): u32 {
  let position: u32 = 0;
  while (availType(mm, position) !== areaType(area)) position++;
  return position;
}

/** The users of all slots together: as many as there are swap entries in the page tables. */
export function swapUsers(mm: usize): u32 {
  let users: u32 = 0;
  for (let type: u32 = 0; type < mmAreas(mm); type++) {
    for (let slot: u32 = 1; slot < areaSlots(mmArea(mm, type)); slot++)
      users += swapCount(mm, swapEntry(type, slot));
  }
  return users;
}

/** Maps, clusters, slot caches, available list and nr_swap_pages against each other. */
export function checkSwap(mm: usize): void {
  let unused: u32 = 0;
  let reserved: u32 = 0;
  for (let type: u32 = 0; type < mmAreas(mm); type++) {
    const area = mmArea(mm, type);
    let used: u32 = 0;
    for (let slot: u32 = 1; slot < areaSlots(area); slot++) {
      const byte = load<u8>(slotByte(area, slot));
      if (byte !== 0) used++;
      else assert(slot >= areaLowest(area) && slot <= areaHighest(area));
      const value = load<u32>(slotCached(area, slot));
      const cached = value !== 0 && (value & SLOT_SHADOW) === 0;
      if (cached) assert((byte & SWAP_HAS_CACHE) !== 0);
      if (!cached && (byte & SWAP_HAS_CACHE) !== 0) reserved++;
    }
    assert(used === swapUsed(area));
    unused += areaPages(area) - used;
    if (areaClusters(area) !== 0) checkClusters(area);
  }
  assert(unused === mmSwapFree(mm));
  assert(reserved === checkSlotCaches(mm));
  checkAvail(mm);
}
