import { arenaReserve, PART_SPTES } from "../memory/arena";
import { unitsFor } from "../memory/layout";
import {
  checkPteList,
  DESC_POOL_BYTES,
  descPoolLayout,
  headMany,
  PTE_LIST_ITERATOR_BYTES,
  pteListAdd,
  pteListCount,
  pteListFirst,
  pteListNext,
  pteListRemove,
} from "./ptelist";
import { checkRmap2008, rmapAdd2008, rmapCount2008, rmapNext2008, rmapRemove2008 } from "./ptelist2008";
import { LEVEL_2M } from "./walk";

// The reverse map of a VM: for each guest frame, at 4 KiB and at 2 MiB, the leaf entries that map it. The TDP MMU has none. A VM's
// lists have either today's form or that of 2008.
//
// record   0       4       8       12       16               32
//          +-------+-------+-------+--------+----------------+
//          | 4K    | 2M    | pages | old    | descriptors    |
//          +-------+-------+-------+--------+----------------+
//          heads, u32 a page and a level
//
// invariant: a present leaf stands in the list of its gfn and level, once; nothing else stands in a list

const HEADS_4K: usize = 0;
const HEADS_2M: usize = 4;
const PAGES: usize = 8;
const OLD: usize = 12;
const POOL: usize = 16;
export const RMAP_BYTES: usize = POOL + DESC_POOL_BYTES;

const ITERATOR: usize = memory.data(PTE_LIST_ITERATOR_BYTES, 8);

/** Index of `gfn` among the entries of `level` that a slot based at `base` has (gfn_to_index()). */
export function gfnToLevelIndex(gfn: u32, base: u32, level: u32): u32 {
  const shift = 9 * (level - 1);
  return (gfn >> shift) - (base >> shift);
}

/** Entries of `level` that a slot of `pages` pages at `base` has, the first and the last one included. */
export function levelEntries(base: u32, pages: u32, level: u32): u32 {
  return gfnToLevelIndex(base + pages - 1, base, level) + 1;
}

/** Reserves heads for `pages` pages and `descriptors`; with `old` the lists have the form of 2008. */
export function rmapLayout(rmap: usize, pages: u32, descriptors: u32, old: bool): void {
  store<u32>(rmap, <u32>arenaReserve(PART_SPTES, (<u64>pages) << 2), HEADS_4K);
  store<u32>(rmap, <u32>arenaReserve(PART_SPTES, unitsFor(pages, 512) << 2), HEADS_2M);
  store<u32>(rmap, pages, PAGES);
  store<u32>(rmap, old ? 1 : 0, OLD);
  descPoolLayout(rmap + POOL, descriptors);
}

/** Address of the head for `gfn` at `level`. */
export function rmapHead(rmap: usize, gfn: u32, level: u32): usize {
  assert(gfn < load<u32>(rmap, PAGES));
  const heads = level === LEVEL_2M ? load<u32>(rmap, HEADS_2M) : load<u32>(rmap, HEADS_4K);
  return <usize>heads + ((<usize>gfnToLevelIndex(gfn, 0, level)) << 2);
}

function isOld(rmap: usize): bool {
  return load<u32>(rmap, OLD) !== 0;
}

/** rmap_add(): the leaf at `entry` maps `gfn`. */
export function rmapAdd(rmap: usize, gfn: u32, level: u32, entry: usize): void {
  if (isOld(rmap)) rmapAdd2008(rmap + POOL, rmapHead(rmap, gfn, level), entry);
  else pteListAdd(rmap + POOL, rmapHead(rmap, gfn, level), entry);
}

/** rmap_remove() */
export function rmapRemove(rmap: usize, gfn: u32, level: u32, entry: usize): void {
  if (isOld(rmap)) rmapRemove2008(rmap + POOL, rmapHead(rmap, gfn, level), entry);
  else pteListRemove(rmap + POOL, rmapHead(rmap, gfn, level), entry);
}

/** The first entry of the list, 0 when it is empty. */
export function rmapFirst(rmap: usize, gfn: u32, level: u32): usize {
  const head = rmapHead(rmap, gfn, level);
  if (load<u32>(head) === 0) return 0;
  return isOld(rmap) ? rmapNext2008(head, 0) : pteListFirst(head, ITERATOR);
}

/** The entry after `entry`, of the list that rmapFirst() began and that has not changed since; 0 at the end. */
export function rmapNext(rmap: usize, gfn: u32, level: u32, entry: usize): usize {
  return isOld(rmap) ? rmapNext2008(rmapHead(rmap, gfn, level), entry) : pteListNext(ITERATOR);
}

/** Entries that map `gfn` at `level`. */
export function rmapCount(rmap: usize, gfn: u32, level: u32): u32 {
  const head = rmapHead(rmap, gfn, level);
  return isOld(rmap) ? rmapCount2008(head) : pteListCount(head);
}

/** Descriptors for lists that are not of this map but have the same life: those of the entries that link a table. */
export function rmapPool(rmap: usize): usize {
  return rmap + POOL;
}

/** Asserts the shape of the list of `gfn` at `level`. */
export function checkRmapList(rmap: usize, gfn: u32, level: u32): void {
  const head = rmapHead(rmap, gfn, level);
  if (!headMany(load<u32>(head))) return;
  if (isOld(rmap)) checkRmap2008(head);
  else checkPteList(head);
}
