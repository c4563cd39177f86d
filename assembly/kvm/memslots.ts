import { arenaReserve, arenaTake, PART_RECORDS } from "../memory/arena";
import {
  MEMSLOT_BYTES,
  memslotFirst,
  memslotGfn,
  memslotHolds,
  memslotId,
  memslotInit,
  memslotNextFree,
  memslotPages,
  setMemslotNextFree,
} from "./memslot";

// The slots of a VM (struct kvm_memslots): who backs a guest frame, and which slots a page of the process backs. The kernel keeps a
// tree by gfn, a tree of intervals by hva and a hash by number; here two sorted arrays do, and a number is looked for.
// Left out: the second set that readers go on using during an update (an update is one step), the address space of SMM.
//
// record   0            8      12         16      20         24      28      32    36         40
//          +------------+------+----------+-------+----------+-------+-------+-----+----------+---------+
//          | generation | last | capacity | count | free     | byGfn | byHva | end | notifiers| waiters |
//          +------------+------+----------+-------+----------+-------+-------+-----+----------+---------+
//
// last      slot of the last lookup that was not made for a vCPU (last_used_slot); a vCPU keeps its own
// byHva     slots by first page; end[i] is the greatest end of byHva[0..i], so that a search by page may stop early
// notifiers mn_active_invalidate_count: while an MMU notifier is open, the slots may not change
//
// invariant: both arrays hold the same slots, in order; no two slots share a gfn

const GENERATION: usize = 0; // u64
const LAST: usize = 8;
const CAPACITY: usize = 12;
const COUNT: usize = 16;
const FREE: usize = 20;
const BY_GFN: usize = 24;
const BY_HVA: usize = 28;
const HVA_END: usize = 32;
const NOTIFIERS: usize = 36;
const WAITERS: usize = 40;
const HEADER_BYTES: usize = 48;

/** KVM_MEMSLOT_GEN_UPDATE_IN_PROGRESS: readers may still see the slots as they were. */
export const MEMSLOT_GEN_UPDATE: u64 = (<u64>1) << 63;
/** The normal address space and that of SMM: a generation moves on by as many. */
const ADDRESS_SPACES: u64 = 2;

/** Takes an empty set for up to `capacity` slots; 0 when memory is exhausted. */
export function memslotsCreate(capacity: u32): usize {
  const room = <usize>capacity;
  const slots = arenaTake(PART_RECORDS, HEADER_BYTES + room * (MEMSLOT_BYTES + 12));
  if (slots === 0) return 0;
  store<u32>(slots, capacity, CAPACITY);
  addRecords(slots, slots + HEADER_BYTES, room);
  placeArrays(slots, slots + HEADER_BYTES + room * MEMSLOT_BYTES, room);
  return slots;
}

function addRecords(slots: usize, records: usize, count: usize): void {
  for (let place = count; place > 0; place--) {
    const record = records + (place - 1) * MEMSLOT_BYTES;
    setMemslotNextFree(record, <usize>load<u32>(slots, FREE));
    store<u32>(slots, <u32>record, FREE);
  }
}

function placeArrays(slots: usize, arrays: usize, room: usize): void {
  store<u32>(slots, <u32>arrays, BY_GFN);
  store<u32>(slots, <u32>(arrays + (room << 2)), BY_HVA);
  store<u32>(slots, <u32>(arrays + (room << 3)), HVA_END);
}

/** Reserves as many records again in a set that is full; after arenaCommit() memslotsMove() is called with the address. */
export function memslotsGrow(slots: usize): usize {
  const have = <u64>load<u32>(slots, CAPACITY);
  return arenaReserve(PART_RECORDS, have * MEMSLOT_BYTES + 2 * have * 12, 16);
}

/** The set has the records that memslotsGrow() has made room for. Those that are in use stay where they are. */
export function memslotsMove(slots: usize, records: usize): void {
  const have = <usize>load<u32>(slots, CAPACITY);
  const arrays = records + have * MEMSLOT_BYTES;
  const bytes = (<usize>memslotCount(slots)) << 2;
  memory.copy(arrays, <usize>load<u32>(slots, BY_GFN), bytes);
  memory.copy(arrays + (have << 3), <usize>load<u32>(slots, BY_HVA), bytes);
  memory.copy(arrays + (have << 4), <usize>load<u32>(slots, HVA_END), bytes);
  addRecords(slots, records, have);
  placeArrays(slots, arrays, 2 * have);
  store<u32>(slots, 2 * <u32>have, CAPACITY);
}

export function memslotCount(slots: usize): u32 {
  return load<u32>(slots, COUNT);
}

/** Slots for which there is no record left. */
export function memslotsFull(slots: usize): bool {
  return load<u32>(slots, FREE) === 0;
}

function at(slots: usize, array: usize, place: u32): usize {
  return <usize>load<u32>(<usize>load<u32>(slots + array) + ((<usize>place) << 2));
}

function put(slots: usize, array: usize, place: u32, value: u32): void {
  store<u32>(<usize>load<u32>(slots + array) + ((<usize>place) << 2), value);
}

/** Slot number `place` in the order of gfns. */
export function memslotAt(slots: usize, place: u32): usize {
  assert(place < load<u32>(slots, COUNT));
  return at(slots, BY_GFN, place);
}

/** The set's generation; with MEMSLOT_GEN_UPDATE while a change is published. */
export function memslotsGeneration(slots: usize): u64 {
  return load<u64>(slots, GENERATION);
}

/** The generation after the next change. */
export function memslotsNext(slots: usize): u64 {
  return memslotsGeneration(slots) + ADDRESS_SPACES;
}

/** For tests: as after so many changes. */
export function setMemslotsGeneration(slots: usize, generation: u64): void {
  store<u64>(slots, generation, GENERATION);
}

/** search_memslots(): the slot that holds `gfn`, 0 for a hole. */
export function memslotSearch(slots: usize, gfn: u32): usize {
  let low: u32 = 0;
  let high = load<u32>(slots, COUNT);
  while (low < high) {
    const middle = (low + high) >> 1;
    const slot = at(slots, BY_GFN, middle);
    if (gfn < memslotGfn(slot)) high = middle;
    else if (memslotHolds(slot, gfn)) return slot;
    else low = middle + 1;
  }
  return 0;
}

/** __gfn_to_memslot(): as memslotSearch(), by way of the slot that was found last. */
export function gfnToMemslot(slots: usize, gfn: u32): usize {
  const last = <usize>load<u32>(slots, LAST);
  if (last !== 0 && memslotHolds(last, gfn)) return last;
  const slot = memslotSearch(slots, gfn);
  if (slot !== 0) store<u32>(slots, <u32>slot, LAST);
  return slot;
}

/** Address of the slot that was found last. */
export function memslotsLast(slots: usize): usize {
  return slots + LAST;
}

/** id_to_memslot(): 0 when there is no slot of that number. */
export function memslotById(slots: usize, id: u32): usize {
  for (let place: u32 = 0; place < load<u32>(slots, COUNT); place++) {
    if (memslotId(at(slots, BY_GFN, place)) === id) return at(slots, BY_GFN, place);
  }
  return 0;
}

/** Does another slot than `except` hold a frame of gfn .. gfn + pages - 1? */
export function memslotsOverlap(slots: usize, gfn: u32, pages: u32, except: usize): bool {
  for (let place: u32 = 0; place < load<u32>(slots, COUNT); place++) {
    const slot = at(slots, BY_GFN, place);
    if (slot === except) continue;
    if (gfn < memslotGfn(slot) + memslotPages(slot) && memslotGfn(slot) < gfn + pages) return true;
  }
  return false;
}

/** Adds a slot, whose gfns no other one holds; 0 without a record for it. Its first page is set by the caller afterwards. */
export function memslotAdd(slots: usize, id: u32, gfn: u32, pages: u32, hva: u64, flags: u32): usize {
  const slot = <usize>load<u32>(slots, FREE);
  if (slot === 0) return 0;
  assert(!memslotsOverlap(slots, gfn, pages, 0));
  store<u32>(slots, <u32>memslotNextFree(slot), FREE);
  memslotInit(slot, id, gfn, pages, hva, flags);
  const count = load<u32>(slots, COUNT);
  put(slots, BY_GFN, count, <u32>slot);
  put(slots, BY_HVA, count, <u32>slot);
  store<u32>(slots, count + 1, COUNT);
  return slot;
}

/** Takes a slot out. */
export function memslotRemove(slots: usize, slot: usize): void {
  takeOut(slots, BY_GFN, slot);
  takeOut(slots, BY_HVA, slot);
  store<u32>(slots, load<u32>(slots, COUNT) - 1, COUNT);
  setMemslotNextFree(slot, <usize>load<u32>(slots, FREE));
  store<u32>(slots, <u32>slot, FREE);
}

function takeOut(slots: usize, array: usize, slot: usize): void {
  const count = load<u32>(slots, COUNT);
  let place: u32 = 0;
  while (at(slots, array, place) !== slot) place++;
  for (; place + 1 < count; place++) put(slots, array, place, <u32>at(slots, array, place + 1));
}

/** Puts the arrays in order after slots were added, moved or taken out, and publishes the set: its generation moves on, by as many `changes` as were made. */
export function memslotsPublish(slots: usize, changes: u32): void {
  const count = load<u32>(slots, COUNT);
  for (let sorted: u32 = 1; sorted < count; sorted++) {
    const slot = at(slots, BY_GFN, sorted);
    let place = sorted;
    for (; place > 0 && memslotGfn(at(slots, BY_GFN, place - 1)) > memslotGfn(slot); place--) {
      put(slots, BY_GFN, place, <u32>at(slots, BY_GFN, place - 1));
    }
    put(slots, BY_GFN, place, <u32>slot);
  }
  for (let sorted: u32 = 1; sorted < count; sorted++) {
    const slot = at(slots, BY_HVA, sorted);
    let place = sorted;
    for (; place > 0 && hvaAfter(at(slots, BY_HVA, place - 1), slot); place--) {
      put(slots, BY_HVA, place, <u32>at(slots, BY_HVA, place - 1));
    }
    put(slots, BY_HVA, place, <u32>slot);
  }
  let end: u32 = 0;
  for (let place: u32 = 0; place < count; place++) {
    const slot = at(slots, BY_HVA, place);
    end = max<u32>(end, memslotFirst(slot) + memslotPages(slot));
    put(slots, HVA_END, place, end);
  }
  store<u32>(slots, 0, LAST);
  store<u64>(slots, load<u64>(slots, GENERATION) + changes * ADDRESS_SPACES, GENERATION);
}

// The order in which notifiers meet the slots: by address, then by gfn.
function hvaAfter(slot: usize, other: usize): bool {
  if (memslotFirst(slot) !== memslotFirst(other)) return memslotFirst(slot) > memslotFirst(other);
  return memslotGfn(slot) > memslotGfn(other);
}

/**
 * Slots that pages start..end-1 back, one after another (kvm_for_each_memslot_in_hva_range()): the first one at or after place
 * `from`, memslotCount() when there is no more.
 */
export function memslotNextInHva(slots: usize, start: u32, end: u32, from: u32): u32 {
  const count = load<u32>(slots, COUNT);
  let place = from;
  if (place === 0) {
    // The first place whose slots may reach `start`.
    let high = count;
    while (place < high) {
      const middle = (place + high) >> 1;
      if (<u32>at(slots, HVA_END, middle) > start) high = middle;
      else place = middle + 1;
    }
  }
  for (; place < count; place++) {
    const slot = at(slots, BY_HVA, place);
    if (memslotFirst(slot) >= end) return count;
    if (memslotFirst(slot) + memslotPages(slot) > start) return place;
  }
  return count;
}

/** Slot number `place` in the order of addresses. */
export function memslotByHva(slots: usize, place: u32): usize {
  assert(place < load<u32>(slots, COUNT));
  return at(slots, BY_HVA, place);
}

/** MMU notifiers of the VM that have begun and not ended. */
export function memslotNotifiers(slots: usize): u32 {
  return load<u32>(slots, NOTIFIERS);
}

export function setMemslotNotifiers(slots: usize, open: u32): void {
  store<u32>(slots, open, NOTIFIERS);
}

/** Those who wait until no notifier is open: whoever closes the last one wakes them. */
export function memslotWaiters(slots: usize): usize {
  return slots + WAITERS;
}

export function checkMemslots(slots: usize): void {
  const count = load<u32>(slots, COUNT);
  let unused: u32 = 0;
  for (let slot = <usize>load<u32>(slots, FREE); slot !== 0; slot = memslotNextFree(slot)) unused++;
  assert(count + unused === load<u32>(slots, CAPACITY));
  let gfn: u32 = 0;
  let end: u32 = 0;
  for (let place: u32 = 0; place < count; place++) {
    const slot = at(slots, BY_GFN, place);
    assert(memslotGfn(slot) >= gfn && memslotPages(slot) > 0);
    gfn = memslotGfn(slot) + memslotPages(slot);
    assert(memslotById(slots, memslotId(slot)) === slot);
    const backed = at(slots, BY_HVA, place);
    if (place > 0) assert(!hvaAfter(at(slots, BY_HVA, place - 1), backed));
    end = max<u32>(end, memslotFirst(backed) + memslotPages(backed));
    assert(<u32>at(slots, HVA_END, place) === end);
    if (memslotNotifiers(slots) === 0) assert(memslotSearch(slots, memslotGfn(backed)) === backed);
  }
  const last = <usize>load<u32>(slots, LAST);
  if (last !== 0) assert(memslotById(slots, memslotId(last)) === last);
}
