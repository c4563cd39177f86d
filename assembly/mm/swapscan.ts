import { actorCpu } from "../sim/actor";
import { swapEntry } from "./pte";
import {
  areaClusterNext,
  areaClusterNr,
  areaClusters,
  areaHighest,
  areaLowest,
  areaMap,
  areaPages,
  areaSlots,
  areaType,
  availDelete,
  CLUSTER_SLOTS,
  SWAP_HAS_CACHE,
  setAreaBits,
  setAreaClusterNext,
  setAreaClusterNr,
  setSwapUsed,
  slotByte,
  swapFull,
  swapUsed,
} from "./swaparea";
import { swapCacheReclaim } from "./swapcache";
import { clusterConflict, clusterNextCpu, clusterTake, clusterTry, setClusterNextCpu } from "./swapcluster";
import { swapRandom } from "./swapstate";

// Finding free slots in an area: scan_swap_map_slots(). An area with clusters hands out the slots of the CPU's cluster; a
// rotational one looks for a run of 512 free slots and hands them out in order; when there is neither, every slot is tried,
// and when swap is more than half full those too that only the swap cache still holds.
//
// The scan runs within one step: its locals (slot reached, base, budget, what to do next) stand in static memory.
//
// SCAN   0      4      8        12    16
//        +------+------+--------+-----+------+
//        | slot | base | budget | got | many |
//        +------+------+--------+-----+------+

const SCAN: usize = memory.data(24, 8);
const SLOT: usize = 0;
const BASE: usize = 4;
const BUDGET: usize = 8;
const GOT: usize = 12;
const MANY: usize = 16; // scanned_many

// LATENCY_LIMIT: slots that may be looked at before the scan takes a break.
const LATENCY_LIMIT: i32 = 256;
// SWAP_ADDRESS_SPACE_SHIFT: slots of one address space of the swap cache.
const TRUNK_SHIFT: u32 = 14;

const CHECK: u32 = 0;
const LINEAR: u32 = 1;
const DONE: u32 = 2;
const NONE: u32 = 3;

// A base may stand right behind the last slot; the map's page goes on with zeroes there.
function byteAt(area: usize, slot: u32): u8 {
  return slot < areaSlots(area) ? load<u8>(slotByte(area, slot)) : 0;
}

function setSlot(slot: u32): void {
  store<u32>(SCAN, slot, SLOT);
}

function slotReached(): u32 {
  return load<u32>(SCAN, SLOT);
}

function spendBudget(): i32 {
  const left = load<i32>(SCAN, BUDGET) - 1;
  store<i32>(SCAN, left, BUDGET);
  return left;
}

/**
 * Takes up to `wanted` slots of `area`, marks them SWAP_HAS_CACHE and writes their entries to `entries`.
 * @returns slots taken, 0..wanted; nr_swap_pages is the caller's matter
 */
export function swapScan(mm: usize, actor: usize, area: usize, wanted: u32, entries: usize): u32 {
  const cpu = actorCpu(actor);
  store<i32>(SCAN, LATENCY_LIMIT, BUDGET);
  store<u32>(SCAN, 0, GOT);
  store<u32>(SCAN, 0, MANY);
  let next = begin(mm, area, cpu);
  while (next < DONE) {
    if (next === LINEAR) {
      next = linear(mm, area);
    } else {
      next = check(mm, actor, area, cpu);
      if (next === CHECK) next = take(mm, area, cpu, wanted, entries);
    }
  }
  if (next === DONE) setNext(mm, area, cpu, slotReached() + 1);
  return load<u32>(SCAN, GOT);
}

function tryCluster(mm: usize, area: usize, cpu: u32): bool {
  const slot = clusterTry(mm, area, cpu);
  if (slot === 0) return false;
  setSlot(slot);
  store<u32>(SCAN, slot, BASE);
  return true;
}

// Where the scan starts.
function begin(mm: usize, area: usize, cpu: u32): u32 {
  const clusters = areaClusters(area) !== 0;
  const base = clusters ? clusterNextCpu(mm, area, cpu) : areaClusterNext(area);
  setSlot(base);
  store<u32>(SCAN, base, BASE);
  if (clusters) return tryCluster(mm, area, cpu) ? CHECK : LINEAR;

  const left = areaClusterNr(area);
  setAreaClusterNr(area, left !== 0 ? left - 1 : CLUSTER_SLOTS - 1);
  if (left === 0 && areaPages(area) - swapUsed(area) >= CLUSTER_SLOTS) findRun(area);
  return CHECK;
}

// The first run of 512 free slots, from the start of the area, to keep the head's way short.
function findRun(area: usize): void {
  const lowest = areaLowest(area);
  let slot = lowest;
  let last = slot + CLUSTER_SLOTS - 1;
  setSlot(lowest);
  store<u32>(SCAN, lowest, BASE);
  while (last <= areaHighest(area)) {
    if (byteAt(area, slot) !== 0) {
      last = slot + CLUSTER_SLOTS;
    } else if (slot === last) {
      setSlot(slot - (CLUSTER_SLOTS - 1));
      setAreaClusterNext(area, slotReached());
      return;
    }
    if (spendBudget() < 0) store<i32>(SCAN, LATENCY_LIMIT, BUDGET);
    slot++;
  }
}

// Whether the slot reached can be taken: CHECK if so, with the slot free.
function check(mm: usize, actor: usize, area: usize, cpu: u32): u32 {
  const got = load<u32>(SCAN, GOT);
  if (areaClusters(area) !== 0) {
    while (clusterConflict(mm, area, cpu, slotReached())) {
      if (got !== 0) return DONE;
      if (!tryCluster(mm, area, cpu)) return LINEAR;
    }
  }
  if (areaHighest(area) === 0) return NONE;
  if (slotReached() > areaHighest(area)) {
    setSlot(areaLowest(area));
    store<u32>(SCAN, areaLowest(area), BASE);
  }
  const slot = slotReached();
  if (swapFull(mm) && byteAt(area, slot) === SWAP_HAS_CACHE) {
    // A freed slot may wait in a return cache; then the byte is as it was, and the next attempt finds no page.
    if (!swapCacheReclaim(mm, actor, swapEntry(areaType(area), slot), true)) return LINEAR;
    return check(mm, actor, area, cpu);
  }
  if (byteAt(area, slot) !== 0) return got === 0 ? LINEAR : DONE;
  return CHECK;
}

// Takes the slot reached and those that follow it, until there are enough or the search has to begin anew. What CHECK would ask is
// known of each that follows: it is free, and no cluster is entered in the middle of the list, for clusterTry() begins with the head
// and nearby() comes when the list is empty.
function take(mm: usize, area: usize, cpu: u32, wanted: u32, entries: usize): u32 {
  const clusters = areaClusters(area) !== 0;
  const map = areaMap(area);
  const type = areaType(area);
  let slot = slotReached();
  let got = load<u32>(SCAN, GOT);
  let next = CHECK;
  while (next === CHECK && slot <= areaHighest(area)) {
    store<u8>(map + slot, SWAP_HAS_CACHE);
    if (clusters) clusterTake(area, slot);
    rangeAlloc(mm, area, slot);
    store<u32>(entries + ((<usize>got) << 2), swapEntry(type, slot));
    got++;
    if (got === wanted || slot >= areaHighest(area) || spendBudget() < 0) {
      next = DONE;
      break;
    }
    if (clusters) {
      const following = clusterTry(mm, area, cpu);
      if (following !== 0) {
        slot = following;
        store<u32>(SCAN, slot, BASE);
        continue;
      }
    } else if (areaClusterNr(area) !== 0) {
      slot++;
      if (byteAt(area, slot) === 0) {
        setAreaClusterNr(area, areaClusterNr(area) - 1);
        continue;
      }
    }
    setSlot(slot);
    next = nearby(area);
    slot = slotReached();
  }
  setSlot(slot);
  store<u32>(SCAN, got, GOT);
  return next;
}

// No cluster goes on: a few more slots are looked at, unless the scan has been long already.
function nearby(area: usize): u32 {
  if (load<u32>(SCAN, MANY) !== 0) return DONE;
  const base = load<u32>(SCAN, BASE);
  let slot = slotReached();
  const limit = slot < base ? base : areaHighest(area);
  const map = areaMap(area);
  const slots = areaSlots(area);
  let budget = load<i32>(SCAN, BUDGET);
  let found = DONE;
  while (slot <= limit) {
    budget--;
    if (budget <= 0) break;
    if (slot === slots || load<u8>(map + slot) === 0) {
      found = CHECK;
      break;
    }
    slot++;
  }
  store<i32>(SCAN, budget, BUDGET);
  setSlot(slot);
  return found;
}

// Every slot from the one reached to the end, then from the start to the base.
function linear(mm: usize, area: usize): u32 {
  const base = load<u32>(SCAN, BASE);
  if (candidate(mm, area, slotReached() + 1, areaHighest(area) + 1)) return CHECK;
  return candidate(mm, area, areaLowest(area), base) ? CHECK : NONE;
}

// swap_offset_available_and_locked(), for slots `from`..`end`-1: reaches the first that is free or, when swap is more than half full,
// that only the swap cache may hold.
function candidate(mm: usize, area: usize, from: u32, end: u32): bool {
  const map = areaMap(area);
  const cached: u8 = swapFull(mm) ? SWAP_HAS_CACHE : 0;
  let budget = load<i32>(SCAN, BUDGET);
  let slot = from;
  while (slot < end) {
    budget--;
    if (budget < 0) {
      budget = LATENCY_LIMIT;
      store<u32>(SCAN, 1, MANY);
    }
    const byte = load<u8>(map + slot);
    if (byte === 0 || byte === cached) break;
    slot++;
  }
  store<i32>(SCAN, budget, BUDGET);
  if (from < end) setSlot(min<u32>(slot, end - 1));
  return slot < end;
}

// swap_range_alloc()
function rangeAlloc(mm: usize, area: usize, slot: u32): void {
  const lowest = areaLowest(area);
  const highest = areaHighest(area);
  setAreaBits(area, slot === lowest ? lowest + 1 : lowest, slot === highest ? highest - 1 : highest);
  setSwapUsed(area, swapUsed(area) + 1);
  if (swapUsed(area) !== areaPages(area)) return;
  setAreaBits(area, areaSlots(area), 0);
  availDelete(mm, area);
}

// set_cluster_next(): a CPU that leaves its stretch of 16,384 slots goes on in another one, drawn at random.
function setNext(mm: usize, area: usize, cpu: u32, slot: u32): void {
  if (areaClusters(area) === 0) {
    setAreaClusterNext(area, slot);
    return;
  }
  if (clusterNextCpu(mm, area, cpu) >> TRUNK_SHIFT !== slot >> TRUNK_SHIFT) {
    const lowest = areaLowest(area);
    const highest = areaHighest(area);
    if (highest <= lowest) return;
    slot = (lowest + swapRandom(mm, highest - lowest + 1)) & ~((1 << TRUNK_SHIFT) - 1);
    slot = max<u32>(slot, lowest);
  }
  setClusterNextCpu(mm, area, cpu, slot);
}
