import {
  areaClusterCount,
  areaClusters,
  areaFreeHead,
  areaFreeTail,
  areaHighest,
  areaMap,
  areaPercpu,
  areaSlots,
  CLUSTER_SLOTS,
  setAreaFreeList,
  slotByte,
} from "./swaparea";
import { swapCpus, swapRandom } from "./swapstate";

// The clusters of an area that is not rotational: runs of 512 aligned slots. Each CPU fills a cluster of its own, so that
// writers do not meet; a cluster whose slots are all free waits on a list, first in, first out.
// Left out: clusters of huge pages, discard.
//
// word a cluster   31     30               0
//                  +------+----------------+
//                  | FREE | next or count  |     FREE: the next cluster of the list; otherwise the slots in use
//                  +------+----------------+
//
// A slot that can never be used (the header, slots past the end) counts as used, so its cluster is never free.
//
// invariant: a cluster is on the list exactly when it is FREE, and then none of its slots is used
// invariant: of a cluster that is not FREE, count is the number of its slots that are used or cannot be used

const FREE: u32 = 0x80000000;
/** No cluster. */
export const CLUSTER_NONE: u32 = 0x7fffffff;

// percpu_cluster and cluster_next_cpu
const CLUSTER: usize = 0;
const NEXT: usize = 4;
const CLUSTER_NEXT_CPU: usize = 8;

// SWAP_CLUSTER_COLS: 16,384 slots share an address space of the swap cache, which are 32 clusters.
const COLUMNS: u32 = 32;

function word(area: usize, cluster: u32): usize {
  assert(cluster < areaClusterCount(area));
  return areaClusters(area) + ((<usize>cluster) << 2);
}

/** cluster_is_free(). */
export function clusterFree(area: usize, cluster: u32): bool {
  return (load<u32>(word(area, cluster)) & FREE) !== 0;
}

/** Slots of the cluster that are used or cannot be used; the cluster is not free. */
export function clusterUsed(area: usize, cluster: u32): u32 {
  assert(!clusterFree(area, cluster));
  return load<u32>(word(area, cluster));
}

/** The cluster behind `cluster` on the free list, CLUSTER_NONE at its end. */
export function clusterNextFree(area: usize, cluster: u32): u32 {
  assert(clusterFree(area, cluster));
  return load<u32>(word(area, cluster)) & ~FREE;
}

function addFree(area: usize, cluster: u32): void {
  const tail = areaFreeTail(area);
  store<u32>(word(area, cluster), FREE | CLUSTER_NONE);
  if (tail === CLUSTER_NONE) {
    setAreaFreeList(area, cluster, cluster);
    return;
  }
  store<u32>(word(area, tail), FREE | cluster);
  setAreaFreeList(area, areaFreeHead(area), cluster);
}

/** inc_cluster_info_page(): a slot of a cluster is taken; the first one takes the cluster off the list, whose head it is. */
export function clusterTake(area: usize, slot: u32): void {
  if (areaClusters(area) === 0) return;
  const cluster = slot / CLUSTER_SLOTS;
  if (clusterFree(area, cluster)) {
    assert(areaFreeHead(area) === cluster);
    const next = clusterNextFree(area, cluster);
    setAreaFreeList(area, next, next === CLUSTER_NONE ? CLUSTER_NONE : areaFreeTail(area));
    store<u32>(word(area, cluster), 0);
  }
  const used = clusterUsed(area, cluster);
  assert(used < CLUSTER_SLOTS);
  store<u32>(word(area, cluster), used + 1);
}

/** dec_cluster_info_page(): a slot is free again; with its last one the cluster goes to the tail of the list. */
export function clusterPut(area: usize, slot: u32): void {
  if (areaClusters(area) === 0) return;
  const cluster = slot / CLUSTER_SLOTS;
  const used = clusterUsed(area, cluster);
  assert(used > 0);
  store<u32>(word(area, cluster), used - 1);
  if (used === 1) addFree(area, cluster);
}

/**
 * The next free slot of the CPU's cluster; a new cluster is taken from the list when there is none or it is full, and stays
 * on the list until its first slot is really used. SLOT_NONE without any. Source: scan_swap_map_try_ssd_cluster().
 */
export function clusterTry(mm: usize, area: usize, cpu: u32): u32 {
  const own = areaPercpu(mm, area, cpu);
  const map = areaMap(area);
  while (true) {
    let cluster = load<u32>(own, CLUSTER);
    if (cluster === CLUSTER_NONE) {
      cluster = areaFreeHead(area);
      if (cluster === CLUSTER_NONE) return 0;
      store<u32>(own, cluster, CLUSTER);
      store<u32>(own, cluster * CLUSTER_SLOTS, NEXT);
    }
    const end = min<u32>(areaSlots(area), (cluster + 1) * CLUSTER_SLOTS);
    let slot = load<u32>(own, NEXT);
    while (slot < end && load<u8>(map + slot) !== 0) slot++;
    if (slot < end) {
      store<u32>(own, slot + 1, NEXT);
      return slot;
    }
    store<u32>(own, CLUSTER_NONE, CLUSTER);
  }
}

/**
 * A scan has reached a slot of a free cluster that is not the list's head: it must not be taken from the middle of the list,
 * and the CPU gives its cluster up. Source: scan_swap_map_ssd_cluster_conflict().
 */
export function clusterConflict(mm: usize, area: usize, cpu: u32, slot: u32): bool {
  const head = areaFreeHead(area);
  const cluster = slot / CLUSTER_SLOTS;
  if (head === CLUSTER_NONE || cluster === head || slot >= areaSlots(area)) return false;
  if (!clusterFree(area, cluster)) return false;
  store<u32>(areaPercpu(mm, area, cpu), CLUSTER_NONE, CLUSTER);
  return true;
}

/** cluster_next_cpu: where the CPU's scan of the area begins when there is no cluster to be had. */
export function clusterNextCpu(mm: usize, area: usize, cpu: u32): u32 {
  return load<u32>(areaPercpu(mm, area, cpu), CLUSTER_NEXT_CPU);
}

export function setClusterNextCpu(mm: usize, area: usize, cpu: u32, slot: u32): void {
  store<u32>(areaPercpu(mm, area, cpu), slot, CLUSTER_NEXT_CPU);
}

/** The CPU's cluster, CLUSTER_NONE without one. */
export function clusterOfCpu(mm: usize, area: usize, cpu: u32): u32 {
  return load<u32>(areaPercpu(mm, area, cpu), CLUSTER);
}

/** The slot at which the CPU's cluster goes on. */
export function clusterNext(mm: usize, area: usize, cpu: u32): u32 {
  return load<u32>(areaPercpu(mm, area, cpu), NEXT);
}

/**
 * swapon: counts the slots that cannot be used, lists the free clusters in columns (all clusters of one residue of 32, then
 * those of the next), and draws each CPU's start. Source: setup_swap_map_and_extents().
 */
export function clustersStart(mm: usize, area: usize): void {
  const count = areaClusterCount(area);
  const slots = areaSlots(area);
  setAreaFreeList(area, CLUSTER_NONE, CLUSTER_NONE);
  store<u32>(word(area, 0), 1);
  store<u32>(word(area, count - 1), load<u32>(word(area, count - 1)) + count * CLUSTER_SLOTS - slots);
  for (let column: u32 = 0; column < COLUMNS; column++) {
    for (let cluster = column; cluster < count; cluster += COLUMNS) {
      if (load<u32>(word(area, cluster)) === 0) addFree(area, cluster);
    }
  }
  for (let cpu: u32 = 0; cpu < swapCpus(mm); cpu++) {
    store<u32>(areaPercpu(mm, area, cpu), CLUSTER_NONE, CLUSTER);
    setClusterNextCpu(mm, area, cpu, 1 + swapRandom(mm, areaHighest(area)));
  }
}

/** Counts and list against the map. */
export function checkClusters(area: usize): void {
  const count = areaClusterCount(area);
  let free: u32 = 0;
  for (let cluster: u32 = 0; cluster < count; cluster++) {
    let used: u32 = 0;
    for (let slot = cluster * CLUSTER_SLOTS; slot < (cluster + 1) * CLUSTER_SLOTS; slot++) {
      if (slot === 0 || slot >= areaSlots(area) || load<u8>(slotByte(area, slot)) !== 0) used++;
    }
    if (clusterFree(area, cluster)) {
      assert(used === 0);
      free++;
    } else {
      assert(used === clusterUsed(area, cluster) && used !== 0);
    }
  }
  let last = CLUSTER_NONE;
  for (let at = areaFreeHead(area); at !== CLUSTER_NONE; at = clusterNextFree(area, at)) {
    assert(free > 0);
    free--;
    last = at;
  }
  assert(free === 0 && last === areaFreeTail(area));
}
