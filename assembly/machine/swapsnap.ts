import { mmArea, mmSwapFree } from "../mm/instance";
import { ENTRY_OFFSET_MASK } from "../mm/pte";
import {
  areaClusterCount,
  areaClusterNext,
  areaClusterNr,
  areaClusters,
  areaFreeHead,
  areaHighest,
  areaLowest,
  SWAP_MAP_BAD,
  slotByte,
  swapUsed,
} from "../mm/swaparea";
import {
  CLUSTER_NONE,
  clusterFree,
  clusterNext,
  clusterNextCpu,
  clusterNextFree,
  clusterOfCpu,
  clusterUsed,
} from "../mm/swapcluster";
import { slotReturned, slotsLeft, slotsReturned, slotsTaken, slotWaiting } from "../mm/swapslots";
import { availCount, availType, slotCacheActive } from "../mm/swapstate";
import { host } from "./state";

// Readers of the swap allocator's state, one field each: what a snapshot of a real kernel's holds. Lists are read element
// by element; a reader past the end of a list returns -1.

const END: i32 = -1;

/** Bits of an entry that hold its offset; the type stands above them. */
export function swapsnapOffsetMask(): u32 {
  return ENTRY_OFFSET_MASK;
}

/** nr_swap_pages. */
export function swapsnapFree(): u32 {
  return mmSwapFree(host());
}

/** swap_slot_cache_active. */
export function swapsnapActive(): bool {
  return slotCacheActive(host());
}

/** Type of the area that will be tried as number `position`. */
export function swapsnapAvail(position: u32): i32 {
  return position < availCount(host()) ? <i32>availType(host(), position) : END;
}

/** Slots left in the cache of `cpu`. */
export function swapsnapSlots(cpu: u32): u32 {
  return slotsLeft(host(), cpu);
}

/** Its next position. */
export function swapsnapCur(cpu: u32): u32 {
  return slotsTaken(host(), cpu);
}

/** Entry number `index` of those still to be handed out. */
export function swapsnapSlot(cpu: u32, index: u32): i32 {
  return index < slotsLeft(host(), cpu) ? <i32>slotWaiting(host(), cpu, index) : END;
}

/** Entry number `index` of those freed and not yet given back. */
export function swapsnapReturned(cpu: u32, index: u32): i32 {
  return index < slotsReturned(host(), cpu) ? <i32>slotReturned(host(), cpu, index) : END;
}

/** inuse_pages of area `type`. */
export function swapsnapUsed(type: u32): u32 {
  return swapUsed(mmArea(host(), type));
}

export function swapsnapLowest(type: u32): u32 {
  return areaLowest(mmArea(host(), type));
}

export function swapsnapHighest(type: u32): u32 {
  return areaHighest(mmArea(host(), type));
}

export function swapsnapClusterNext(type: u32): u32 {
  return areaClusterNext(mmArea(host(), type));
}

export function swapsnapClusterNr(type: u32): u32 {
  return areaClusterNr(mmArea(host(), type));
}

/** Byte of slot `slot` in the map of area `type`. */
export function swapsnapByte(type: u32, slot: u32): u32 {
  return slot === 0 ? SWAP_MAP_BAD : load<u8>(slotByte(mmArea(host(), type), slot));
}

/** Clusters of the area, 0 for a rotational one. */
export function swapsnapClusters(type: u32): u32 {
  const area = mmArea(host(), type);
  return areaClusters(area) === 0 ? 0 : areaClusterCount(area);
}

/** Slots of a cluster that are used or cannot be used, -1 for a cluster on the free list. */
export function swapsnapClusterUsed(type: u32, cluster: u32): i32 {
  const area = mmArea(host(), type);
  return clusterFree(area, cluster) ? END : <i32>clusterUsed(area, cluster);
}

/** The free cluster behind `cluster`, the first one behind -1; -1 at the end. */
export function swapsnapFreeCluster(type: u32, cluster: i32): i32 {
  const area = mmArea(host(), type);
  const next = cluster < 0 ? areaFreeHead(area) : clusterNextFree(area, <u32>cluster);
  return next === CLUSTER_NONE ? END : <i32>next;
}

/** Cluster of `cpu` in the area, -1 without one. */
export function swapsnapCpuCluster(type: u32, cpu: u32): i32 {
  const cluster = clusterOfCpu(host(), mmArea(host(), type), cpu);
  return cluster === CLUSTER_NONE ? END : <i32>cluster;
}

/** Slot at which that cluster goes on. */
export function swapsnapCpuNext(type: u32, cpu: u32): u32 {
  return clusterNext(host(), mmArea(host(), type), cpu);
}

/** cluster_next_cpu: slot at which the scan of `cpu` goes on without a cluster. */
export function swapsnapCpuScan(type: u32, cpu: u32): u32 {
  return clusterNextCpu(host(), mmArea(host(), type), cpu);
}
