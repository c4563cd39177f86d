import { arenaReserve, arenaTake, PART_INTEGRITY, PART_RECORDS, PART_SWAP } from "../memory/arena";
import { SLOT_NONE, unitsFor } from "../memory/layout";
import { DEVICE_BYTES, deviceLayout, deviceRotational } from "../sim/device";
import { mmAddArea, mmArea, mmAreas, mmSwapFree, mmSwapTotal } from "./instance";
import { entryOffset, entryType } from "./pte";
import { availCount, availInsert, availRemove, availType, swapCpus } from "./swapstate";

// A swap area: swap_info_struct with its swap_map (one byte a slot), the swap cache (one pfn a slot), and for an area that
// is not rotational the clusters and each CPU's place in them. The list of areas that have free slots is kept here too.
// Left out: extents, discard, areas that prefer a memory node.
//
// record   0      4       8     12      16         20     24       28        32           36         40
//          +------+-------+-----+-------+----------+------+--------+---------+------------+----------+----------+
//          | type | slots | map | cache | priority | used | lowest | highest | clusterNext| clusterNr| clusters |
//          +------+-------+-----+-------+----------+------+--------+---------+------------+----------+----------+
//          44         48         52      56      60         64       68      72
//          +----------+----------+-------+-------+----------+--------+---------+
//          | freeHead | freeTail | percpu| stamps| continued| onAvail| owners| device …|
//          +----------+----------+-------+-------+----------+--------+-------+---------+
// map      +-----+---+---+---+----+---+
//          | BAD | 0 | 2 | 65| .. | 0 |     users in the low 6 bits, SWAP_HAS_CACHE 0x40, COUNT_CONTINUED 0x80
//          +-----+---+---+---+----+---+
// percpu   0         4      8                 one a CPU
//          +---------+------+----------------+
//          | cluster | next | clusterNextCpu |
//          +---------+------+----------------+
//
// invariant: used is the number of slots whose byte is neither 0 nor SWAP_MAP_BAD
// invariant: no free slot lies below lowest or above highest; a full area has lowest = slots and highest = 0
// invariant: exactly the areas that are not full stand on the available list, by priority

const TYPE: usize = 0;
const SLOTS: usize = 4;
const MAP: usize = 8;
const CACHE: usize = 12;
const PRIORITY: usize = 16;
const USED: usize = 20;
const LOWEST: usize = 24;
const HIGHEST: usize = 28;
const CLUSTER_NEXT: usize = 32;
const CLUSTER_NR: usize = 36;
const CLUSTERS: usize = 40;
const FREE_HEAD: usize = 44;
const FREE_TAIL: usize = 48;
const PERCPU: usize = 52;
const STAMPS: usize = 56;
const CONTINUED: usize = 60;
const ON_AVAIL: usize = 64;
const OWNERS: usize = 68;
const DEVICE: usize = 72;
const AREA_BYTES: usize = DEVICE + DEVICE_BYTES;

/** SWAPFILE_CLUSTER with CONFIG_THP_SWAP: slots of a cluster. */
export const CLUSTER_SLOTS: u32 = 512;
export const PERCPU_BYTES: usize = 12;

export const SWAP_MAP_BAD: u8 = 0x3f;
/** The cache has no frame for a slot but what its last page has left: workingset.ts. */
export const SLOT_SHADOW: u32 = 1 << 31;
export const SWAP_HAS_CACHE: u8 = 0x40;

/** Takes the record of an area of `slots` slots, the header included; the device is set up by the caller. */
export function swapCreate(mm: usize, slots: u32, priority: i32): usize {
  const area = arenaTake(PART_RECORDS, AREA_BYTES);
  if (area === 0) return 0;
  store<u32>(area, mmAddArea(mm, area), TYPE);
  store<u32>(area, slots, SLOTS);
  store<i32>(area, priority, PRIORITY);
  return area;
}

/** Reserves the arrays of an area whose device has been set up. */
export function swapLayout(mm: usize, area: usize, stamped: bool): void {
  const slots = <u64>areaSlots(area);
  store<u32>(area, <u32>arenaReserve(PART_SWAP, slots), MAP);
  store<u32>(area, <u32>arenaReserve(PART_SWAP, slots << 2), CACHE);
  if (anyRotational(mm)) store<u32>(area, <u32>arenaReserve(PART_SWAP, slots << 1), OWNERS);
  if (!deviceRotational(swapDevice(area))) {
    store<u32>(area, <u32>arenaReserve(PART_SWAP, unitsFor(slots, CLUSTER_SLOTS) << 2), CLUSTERS);
    store<u32>(area, <u32>arenaReserve(PART_SWAP, <u64>swapCpus(mm) * PERCPU_BYTES), PERCPU);
  }
  if (stamped) swapStampsLayout(area);
  deviceLayout(area + DEVICE);
}

/** Reserves a content stamp (u32) a slot. */
export function swapStampsLayout(area: usize): void {
  store<u32>(area, <u32>arenaReserve(PART_INTEGRITY, (<u64>areaSlots(area)) << 2), STAMPS);
}

/** Reserves a second digit of the use count a slot: for a host whose processes fork (swapmap.ts). */
export function swapContinuationLayout(area: usize): void {
  store<u32>(area, <u32>arenaReserve(PART_SWAP, areaSlots(area)), CONTINUED);
}

/** Address of the area that `entry` lies in. */
export function swapArea(mm: usize, entry: u32): usize {
  return mmArea(mm, entryType(entry));
}

export function swapDevice(area: usize): usize {
  return area + DEVICE;
}

export function areaType(area: usize): u32 {
  return load<u32>(area, TYPE);
}

/** si->max: slots with the header. */
export function areaSlots(area: usize): u32 {
  return load<u32>(area, SLOTS);
}

/** si->pages: slots that can be used. */
export function areaPages(area: usize): u32 {
  return load<u32>(area, SLOTS) - 1;
}

/** Slots in use, those that wait in a slot cache included (inuse_pages). */
export function swapUsed(area: usize): u32 {
  return load<u32>(area, USED);
}

export function setSwapUsed(area: usize, slots: u32): void {
  store<u32>(area, slots, USED);
}

export function areaLowest(area: usize): u32 {
  return load<u32>(area, LOWEST);
}

export function areaHighest(area: usize): u32 {
  return load<u32>(area, HIGHEST);
}

export function setAreaBits(area: usize, lowest: u32, highest: u32): void {
  store<u32>(area, lowest, LOWEST);
  store<u32>(area, highest, HIGHEST);
}

/** cluster_next: where a rotational area goes on. */
export function areaClusterNext(area: usize): u32 {
  return load<u32>(area, CLUSTER_NEXT);
}

export function setAreaClusterNext(area: usize, slot: u32): void {
  store<u32>(area, slot, CLUSTER_NEXT);
}

/** cluster_nr: slots left in the run that a rotational area hands out. */
export function areaClusterNr(area: usize): u32 {
  return load<u32>(area, CLUSTER_NR);
}

export function setAreaClusterNr(area: usize, slots: u32): void {
  store<u32>(area, slots, CLUSTER_NR);
}

/** Address of the cluster words, 0 for a rotational area. */
export function areaClusters(area: usize): usize {
  return <usize>load<u32>(area, CLUSTERS);
}

/** Clusters, a partial one at the end included. */
export function areaClusterCount(area: usize): u32 {
  return <u32>unitsFor(areaSlots(area), CLUSTER_SLOTS);
}

export function areaFreeHead(area: usize): u32 {
  return load<u32>(area, FREE_HEAD);
}

export function areaFreeTail(area: usize): u32 {
  return load<u32>(area, FREE_TAIL);
}

export function setAreaFreeList(area: usize, head: u32, tail: u32): void {
  store<u32>(area, head, FREE_HEAD);
  store<u32>(area, tail, FREE_TAIL);
}

/** Address of the place of `cpu` in the area's clusters. */
export function areaPercpu(mm: usize, area: usize, cpu: u32): usize {
  assert(cpu < swapCpus(mm) && areaClusters(area) !== 0);
  return <usize>load<u32>(area, PERCPU) + <usize>cpu * PERCPU_BYTES;
}

/** Address of the swap_map: for loops over many slots, which need not look for it again for each. */
export function areaMap(area: usize): usize {
  return <usize>load<u32>(area, MAP);
}

/** The swap cache: slotCached() of slot 0. */
export function areaCache(area: usize): usize {
  return <usize>load<u32>(area, CACHE);
}

/** Address of the slot's byte in the swap_map. */
export function slotByte(area: usize, slot: u32): usize {
  assert(slot !== SLOT_NONE && slot < areaSlots(area));
  return <usize>load<u32>(area, MAP) + slot;
}

/** Address of the frame that caches the slot, or of the shadow that an evicted page has left there (SLOT_SHADOW). */
export function slotCached(area: usize, slot: u32): usize {
  return <usize>load<u32>(area, CACHE) + ((<usize>slot) << 2);
}

/** Address of the slot's second digit; 0 when the area has none. */
export function slotContinued(area: usize, slot: u32): usize {
  const digits = <usize>load<u32>(area, CONTINUED);
  return digits === 0 ? <usize>0 : digits + slot;
}

/** Makes the header's slot unusable. */
export function areaMarkHeader(area: usize): void {
  store<u8>(<usize>load<u32>(area, MAP) + SLOT_NONE, SWAP_MAP_BAD);
}

// Only readahead by slots meets entries of other spaces than the one that faults.
function anyRotational(mm: usize): bool {
  for (let type: u32 = 0; type < mmAreas(mm); type++) {
    if (deviceRotational(swapDevice(mmArea(mm, type)))) return true;
  }
  return false;
}

/**
 * The space whose page was evicted to `entry`: it pays for the page that is read back (lookup_swap_cgroup_id()). Kept only
 * where an area is rotational; elsewhere it is `reader`, the space that faults.
 */
export function slotOwner(mm: usize, entry: u32, reader: u32): u32 {
  const owners = <usize>load<u32>(swapArea(mm, entry), OWNERS);
  return owners === 0 ? reader : load<u16>(owners + ((<usize>entryOffset(entry)) << 1));
}

/** Owners of evicted pages are kept. */
export function slotsOwned(area: usize): bool {
  return load<u32>(area, OWNERS) !== 0;
}

/** mem_cgroup_swapout(): notes the owner of an evicted page. */
export function setSlotOwner(mm: usize, entry: u32, spaceId: u32): void {
  const owners = <usize>load<u32>(swapArea(mm, entry), OWNERS);
  if (owners !== 0) store<u16>(owners + ((<usize>entryOffset(entry)) << 1), <u16>spaceId);
}

export function slotStamp(mm: usize, entry: u32): u32 {
  const area = swapArea(mm, entry);
  return load<u32>(<usize>load<u32>(area, STAMPS) + ((<usize>entryOffset(entry)) << 2));
}

export function setSlotStamp(mm: usize, entry: u32, stamp: u32): void {
  const area = swapArea(mm, entry);
  store<u32>(<usize>load<u32>(area, STAMPS) + ((<usize>entryOffset(entry)) << 2), stamp);
}

/** vm_swap_full(): more than half of all slots are used. */
export function swapFull(mm: usize): bool {
  return <u64>mmSwapFree(mm) * 2 < <u64>mmSwapTotal(mm);
}

/** add_to_avail_list(): behind the areas of its priority (plist_add()). */
export function availAdd(mm: usize, area: usize): void {
  assert(load<u32>(area, ON_AVAIL) === 0);
  const priority = load<i32>(area, PRIORITY);
  let position: u32 = 0;
  while (position < availCount(mm)) {
    if (load<i32>(mmArea(mm, availType(mm, position)), PRIORITY) < priority) break;
    position++;
  }
  availInsert(mm, position, areaType(area));
  store<u32>(area, 1, ON_AVAIL);
}

/** del_from_avail_list(). */
export function availDelete(mm: usize, area: usize): void {
  assert(load<u32>(area, ON_AVAIL) !== 0);
  let position: u32 = 0;
  while (availType(mm, position) !== areaType(area)) position++;
  availRemove(mm, position);
  store<u32>(area, 0, ON_AVAIL);
}

export function onAvail(area: usize): bool {
  return load<u32>(area, ON_AVAIL) !== 0;
}

/** The available list is sorted by priority and holds exactly the areas with free slots. */
export function checkAvail(mm: usize): void {
  for (let type: u32 = 0; type < mmAreas(mm); type++) {
    const area = mmArea(mm, type);
    assert(onAvail(area) === (swapUsed(area) !== areaPages(area)));
  }
  for (let position: u32 = 1; position < availCount(mm); position++) {
    const before = load<i32>(mmArea(mm, availType(mm, position - 1)), PRIORITY);
    assert(before >= load<i32>(mmArea(mm, availType(mm, position)), PRIORITY));
  }
}
