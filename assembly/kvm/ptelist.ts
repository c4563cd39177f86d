import { arenaGrow, arenaPromise, arenaReserve, PART_SPTES } from "../memory/arena";

// Lists of sptes (struct kvm_rmap_head): which leaf entries map a guest frame, and which entries link a page table. Two forms:
// today's, and that of 2008 (ptelist2008.ts), whose order of removal another design depends on. Both live in one pool of
// descriptors and share the head:
//
//   head, u32   0 empty   ·   address of the only spte   ·   address of the first descriptor | 1
//
// today's descriptor, 72 bytes                            pool, 20 bytes
//   0      4            8           12  16                  0      4     8      12     16
//   +------+------------+-----------+---+--------------+    +------+-----+------+------+------+
//   | more | spte_count | tail_count|   | sptes u32×14 |    | free | next| end  | used | left |
//   +------+------------+-----------+---+--------------+    +------+-----+------+------+------+
//
// left   descriptors that the pool may yet grow by: few frames are mapped twice, but all may be
//
// An spte is named by its address, a multiple of 8, so that the lowest bit of a head is free.
//
// invariant: only the first descriptor of a list may have room; tail_count is what the ones behind it hold

const FREE: usize = 0;
const NEXT: usize = 4;
const END: usize = 8;
const USED: usize = 12;
const LEFT: usize = 16;
export const DESC_POOL_BYTES: usize = 20;

const MORE: usize = 0;
const SPTE_COUNT: usize = 4;
const TAIL_COUNT: usize = 8;
const SPTES: usize = 16;
/** PTE_LIST_EXT */
const EXT: u32 = 14;
const DESC_BYTES: usize = 72;
const MANY: u32 = 1;

/** Descriptors that a pool begins with, and that it grows by. */
const AT_FIRST: u32 = 256;
const AT_ONCE: u32 = 1024;

/** A pool of at most `descriptors` for the lists of a VM. */
export function descPoolLayout(pool: usize, descriptors: u32): void {
  const first = min<u32>(descriptors, AT_FIRST);
  const base = arenaReserve(PART_SPTES, <u64>first * DESC_BYTES, 8);
  store<u32>(pool, 0, FREE);
  store<u32>(pool, <u32>base, NEXT);
  store<u32>(pool, <u32>(base + <usize>first * DESC_BYTES), END);
  store<u32>(pool, 0, USED);
  store<u32>(pool, descriptors - first, LEFT);
  arenaPromise(<u64>(descriptors - first) * DESC_BYTES);
}

/** Promises the pool `descriptors` more, in a VM that lives; after arenaCommit() descPoolMove() is called with as many. */
export function descPoolGrow(descriptors: u32): void {
  arenaPromise(<u64>descriptors * DESC_BYTES);
}

export function descPoolMove(pool: usize, descriptors: u32): void {
  store<u32>(pool, load<u32>(pool, LEFT) + descriptors, LEFT);
}

function grow(pool: usize): void {
  const more = min<u32>(load<u32>(pool, LEFT), AT_ONCE);
  assert(more !== 0);
  const base = arenaGrow(PART_SPTES, <u64>more * DESC_BYTES);
  store<u32>(pool, <u32>base, NEXT);
  store<u32>(pool, <u32>(base + <usize>more * DESC_BYTES), END);
  store<u32>(pool, load<u32>(pool, LEFT) - more, LEFT);
}

/** Descriptors in use. */
export function descPoolUsed(pool: usize): u32 {
  return load<u32>(pool, USED);
}

/** Takes an empty descriptor. There is always one: the pool grows to what the lists can need. */
export function descTake(pool: usize): usize {
  store<u32>(pool, load<u32>(pool, USED) + 1, USED);
  const free = <usize>load<u32>(pool, FREE);
  if (free !== 0) {
    store<u32>(pool, load<u32>(free), FREE);
    memory.fill(free, 0, DESC_BYTES);
    return free;
  }
  if (load<u32>(pool, NEXT) === load<u32>(pool, END)) grow(pool);
  const desc = <usize>load<u32>(pool, NEXT);
  store<u32>(pool, <u32>(desc + DESC_BYTES), NEXT);
  return desc;
}

/** Gives a descriptor back. */
export function descGive(pool: usize, desc: usize): void {
  assert(load<u32>(pool, USED) > 0);
  store<u32>(pool, load<u32>(pool, USED) - 1, USED);
  store<u32>(desc, load<u32>(pool, FREE));
  store<u32>(pool, <u32>desc, FREE);
}

/** True when `head` names a descriptor. */
export function headMany(head: u32): bool {
  return (head & MANY) !== 0;
}

/** Address of the first descriptor of a head with headMany(). */
export function headDesc(head: u32): usize {
  return <usize>(head & ~MANY);
}

/** A head that names a descriptor. */
export function headOf(desc: usize): u32 {
  return <u32>desc | MANY;
}

function sptes(desc: usize, place: u32): u32 {
  return load<u32>(desc + ((<usize>place) << 2), SPTES);
}

function setSptes(desc: usize, place: u32, spte: u32): void {
  store<u32>(desc + ((<usize>place) << 2), spte, SPTES);
}

/** pte_list_add(): adds `spte` to the list at `at`; only the first descriptor is looked at. Returns the entries before. */
export function pteListAdd(pool: usize, at: usize, spte: usize): u32 {
  assert((spte & 7) === 0);
  const head = load<u32>(at);
  if (head === 0) {
    store<u32>(at, <u32>spte);
    return 0;
  }
  if (!headMany(head)) {
    const desc = descTake(pool);
    setSptes(desc, 0, head);
    setSptes(desc, 1, <u32>spte);
    store<u32>(desc, 2, SPTE_COUNT);
    store<u32>(at, headOf(desc));
    return 1;
  }
  let desc = headDesc(head);
  const count = load<u32>(desc, TAIL_COUNT) + load<u32>(desc, SPTE_COUNT);
  if (load<u32>(desc, SPTE_COUNT) === EXT) {
    const more = desc;
    desc = descTake(pool);
    store<u32>(desc, <u32>more, MORE);
    store<u32>(desc, count, TAIL_COUNT);
    store<u32>(at, headOf(desc));
  }
  const place = load<u32>(desc, SPTE_COUNT);
  setSptes(desc, place, <u32>spte);
  store<u32>(desc, place + 1, SPTE_COUNT);
  return count;
}

/** pte_list_remove(): takes `spte`, which is there, out; the last entry of the first descriptor fills the hole. */
export function pteListRemove(pool: usize, at: usize, spte: usize): void {
  const head = load<u32>(at);
  assert(head !== 0);
  if (!headMany(head)) {
    assert(head === <u32>spte);
    store<u32>(at, 0);
    return;
  }
  for (let desc = headDesc(head); desc !== 0; desc = <usize>load<u32>(desc, MORE)) {
    for (let place: u32 = 0; place < load<u32>(desc, SPTE_COUNT); place++) {
      if (sptes(desc, place) !== <u32>spte) continue;
      fillHole(pool, at, desc, place);
      return;
    }
  }
  assert(false);
}

function fillHole(pool: usize, at: usize, desc: usize, place: u32): void {
  const first = headDesc(load<u32>(at));
  const last = load<u32>(first, SPTE_COUNT) - 1;
  setSptes(desc, place, sptes(first, last));
  setSptes(first, last, 0);
  store<u32>(first, last, SPTE_COUNT);
  if (last !== 0) return;
  const more = <usize>load<u32>(first, MORE);
  store<u32>(at, more === 0 ? 0 : headOf(more));
  descGive(pool, first);
}

/** Entries of the list. */
export function pteListCount(at: usize): u32 {
  const head = load<u32>(at);
  if (head === 0) return 0;
  if (!headMany(head)) return 1;
  return load<u32>(headDesc(head), TAIL_COUNT) + load<u32>(headDesc(head), SPTE_COUNT);
}

/** Entry number `place` of the list, in the order of a walk. */
export function pteListAt(at: usize, place: u32): usize {
  const head = load<u32>(at);
  if (!headMany(head)) return <usize>head;
  let desc = headDesc(head);
  let left = place;
  while (left >= load<u32>(desc, SPTE_COUNT)) {
    left -= load<u32>(desc, SPTE_COUNT);
    desc = <usize>load<u32>(desc, MORE);
  }
  return <usize>sptes(desc, left);
}

// The iterator (struct rmap_iterator): a walk is O(entries), and is started over after any removal.
const AT_DESC: usize = 0;
const AT_PLACE: usize = 4;
export const PTE_LIST_ITERATOR_BYTES: usize = 8;

/** rmap_get_first(): the first spte of the list, newest descriptor first; 0 when it is empty. */
export function pteListFirst(at: usize, iterator: usize): usize {
  const head = load<u32>(at);
  store<u32>(iterator, headMany(head) ? <u32>headDesc(head) : 0, AT_DESC);
  store<u32>(iterator, 0, AT_PLACE);
  return headMany(head) ? <usize>sptes(headDesc(head), 0) : <usize>head;
}

/** rmap_get_next(): the spte after it, 0 at the end. */
export function pteListNext(iterator: usize): usize {
  let desc = <usize>load<u32>(iterator, AT_DESC);
  if (desc === 0) return 0;
  let place = load<u32>(iterator, AT_PLACE) + 1;
  if (place === load<u32>(desc, SPTE_COUNT)) {
    desc = <usize>load<u32>(desc, MORE);
    store<u32>(iterator, <u32>desc, AT_DESC);
    place = 0;
    if (desc === 0) return 0;
  }
  store<u32>(iterator, place, AT_PLACE);
  return <usize>sptes(desc, place);
}

/** Asserts the shape of a list. */
export function checkPteList(at: usize): void {
  const head = load<u32>(at);
  if (!headMany(head)) return;
  const first = headDesc(head);
  let behind: u32 = 0;
  for (let desc = <usize>load<u32>(first, MORE); desc !== 0; desc = <usize>load<u32>(desc, MORE)) {
    assert(load<u32>(desc, SPTE_COUNT) === EXT);
    behind += EXT;
  }
  assert(load<u32>(first, SPTE_COUNT) > 0 && load<u32>(first, SPTE_COUNT) <= EXT);
  assert(load<u32>(first, TAIL_COUNT) === behind);
}
