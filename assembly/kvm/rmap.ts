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
// record   0        4         8      12    16    20              36
//          +--------+---------+------+-----+-----+---------------+
//          | blocks | heads 2M| next | end | old | descriptors   |
//          +--------+---------+------+-----+-----+---------------+
//
// A head is a u32. Those of 4 KiB stand in blocks of 512, which are taken when the first of their gfns is mapped, so that holes between
// slots cost nothing and a slot that comes later finds its room.
//
// invariant: a present leaf stands in the list of its gfn and level, once; nothing else stands in a list

const BLOCKS: usize = 0;
const HEADS_2M: usize = 4;
const NEXT: usize = 8;
const END: usize = 12;
const OLD: usize = 16;
const POOL: usize = 20;
export const RMAP_BYTES: usize = POOL + DESC_POOL_BYTES;
const BLOCK_BYTES: usize = 2048;

const ITERATOR: usize = memory.data(<i32>PTE_LIST_ITERATOR_BYTES, 8);

/** Reserves heads for gfns below `gfnEnd` in `blocks` blocks, and `descriptors`; with `old` the lists have the form of 2008. */
export function rmapLayout(rmap: usize, gfnEnd: u32, blocks: u32, descriptors: u32, old: bool): void {
  store<u32>(rmap, <u32>arenaReserve(PART_SPTES, unitsFor(gfnEnd, 512) << 2), BLOCKS);
  store<u32>(rmap, <u32>arenaReserve(PART_SPTES, unitsFor(gfnEnd, 512) << 2), HEADS_2M);
  const first = arenaReserve(PART_SPTES, <u64>blocks * BLOCK_BYTES);
  store<u32>(rmap, <u32>first, NEXT);
  store<u32>(rmap, <u32>(first + <usize>blocks * BLOCK_BYTES), END);
  store<u32>(rmap, old ? 1 : 0, OLD);
  descPoolLayout(rmap + POOL, descriptors);
}

/**
 * Reserves heads for gfns below `gfnEnd` and `blocks` blocks more for a VM that lives; after arenaCommit() rmapMove() is called with the address. Blocks
 * that are in use stay where they are.
 */
export function rmapGrow(rmap: usize, gfnEnd: u32, blocks: u32): usize {
  const heads = arenaReserve(PART_SPTES, unitsFor(gfnEnd, 512) << 3);
  arenaReserve(PART_SPTES, <u64>(blocks + blocksLeft(rmap)) * BLOCK_BYTES, 8);
  return heads;
}

// Blocks that were never taken.
function blocksLeft(rmap: usize): u32 {
  return (load<u32>(rmap, END) - load<u32>(rmap, NEXT)) / <u32>BLOCK_BYTES;
}

/** The map has what rmapGrow() has made room for; before it there were heads for gfns below `before`. */
export function rmapMove(rmap: usize, grown: usize, before: u32, gfnEnd: u32, blocks: u32): void {
  const bytes = <usize>(unitsFor(before, 512) << 2);
  const heads2M = grown + <usize>(unitsFor(gfnEnd, 512) << 2);
  const first = heads2M + <usize>(unitsFor(gfnEnd, 512) << 2);
  const left = blocksLeft(rmap);
  memory.copy(grown, <usize>load<u32>(rmap, BLOCKS), bytes);
  memory.copy(heads2M, <usize>load<u32>(rmap, HEADS_2M), bytes);
  store<u32>(rmap, <u32>grown, BLOCKS);
  store<u32>(rmap, <u32>heads2M, HEADS_2M);
  store<u32>(rmap, <u32>first, NEXT);
  store<u32>(rmap, <u32>(first + <usize>(blocks + left) * BLOCK_BYTES), END);
}

/** Address of the head for `gfn` at `level`, 0 when none was ever needed. */
export function rmapHead(rmap: usize, gfn: u32, level: u32): usize {
  const place = (<usize>(gfn >> 9)) << 2;
  if (level === LEVEL_2M) return <usize>load<u32>(rmap, HEADS_2M) + place;
  const block = <usize>load<u32>(<usize>load<u32>(rmap, BLOCKS) + place);
  return block === 0 ? 0 : block + ((<usize>(gfn & 511)) << 2);
}

// The head, whose block is taken when there is none yet.
function headFor(rmap: usize, gfn: u32, level: u32): usize {
  const head = rmapHead(rmap, gfn, level);
  if (head !== 0) return head;
  const block = load<u32>(rmap, NEXT);
  assert(block < load<u32>(rmap, END));
  store<u32>(rmap, block + <u32>BLOCK_BYTES, NEXT);
  store<u32>(<usize>load<u32>(rmap, BLOCKS) + ((<usize>(gfn >> 9)) << 2), block);
  return rmapHead(rmap, gfn, level);
}

function isOld(rmap: usize): bool {
  return load<u32>(rmap, OLD) !== 0;
}

/** rmap_add(): the leaf at `entry` maps `gfn`. */
export function rmapAdd(rmap: usize, gfn: u32, level: u32, entry: usize): void {
  if (isOld(rmap)) rmapAdd2008(rmap + POOL, headFor(rmap, gfn, level), entry);
  else pteListAdd(rmap + POOL, headFor(rmap, gfn, level), entry);
}

/** rmap_remove() */
export function rmapRemove(rmap: usize, gfn: u32, level: u32, entry: usize): void {
  if (isOld(rmap)) rmapRemove2008(rmap + POOL, rmapHead(rmap, gfn, level), entry);
  else pteListRemove(rmap + POOL, rmapHead(rmap, gfn, level), entry);
}

/** The first entry of the list, 0 when it is empty. */
export function rmapFirst(rmap: usize, gfn: u32, level: u32): usize {
  const head = rmapHead(rmap, gfn, level);
  if (head === 0 || load<u32>(head) === 0) return 0;
  return isOld(rmap) ? rmapNext2008(head, 0) : pteListFirst(head, ITERATOR);
}

/** The entry after `entry`, of the list that rmapFirst() began and that has not changed since; 0 at the end. */
export function rmapNext(rmap: usize, gfn: u32, level: u32, entry: usize): usize {
  return isOld(rmap) ? rmapNext2008(rmapHead(rmap, gfn, level), entry) : pteListNext(ITERATOR);
}

/** Entries that map `gfn` at `level`. */
export function rmapCount(rmap: usize, gfn: u32, level: u32): u32 {
  const head = rmapHead(rmap, gfn, level);
  if (head === 0) return 0;
  return isOld(rmap) ? rmapCount2008(head) : pteListCount(head);
}

/** Descriptors for lists that are not of this map but have the same life: those of the entries that link a table. */
export function rmapPool(rmap: usize): usize {
  return rmap + POOL;
}

/** Asserts the shape of the list of `gfn` at `level`. */
export function checkRmapList(rmap: usize, gfn: u32, level: u32): void {
  const head = rmapHead(rmap, gfn, level);
  if (head === 0 || !headMany(load<u32>(head))) return;
  if (isOld(rmap)) checkRmap2008(head);
  else checkPteList(head);
}
