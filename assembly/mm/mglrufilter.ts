import { arenaReserve, PART_PRIMARY_PTES } from "../memory/arena";

// Which page tables are worth a walk. Two things say so: the accessed bit of the entry that points to the table, which the hardware
// sets when it goes through, and a Bloom filter of the tables where the last walk, or an eviction, found enough young entries.
// The filters are two: a walk asks that of its generation and fills that of the next.
//
// record   0        4        8             12            16      20          28
//          +--------+--------+-------------+-------------+-------+-----------+
//          | tables | bytes  | filter even | filter odd  | ready | –         |
//          +--------+--------+-------------+-------------+-------+-----------+
//
// ready      one bit a filter: until it has been cleared for the first time, it lets everything pass
// bytes      one byte a table: its accessed bit

const TABLES: usize = 0;
const BYTES: usize = 4;
const FILTERS: usize = 8;
const READY: usize = 16;
export const FILTER_BYTES: usize = 20;

// 2^15 bits; both keys are halves of one 30-bit hash of the entry's address.
const KEY_BITS: u32 = 15;
const KEY_MASK: u32 = (1 << KEY_BITS) - 1;
const BLOOM_BYTES: u64 = (1 << KEY_BITS) / 8;
const GOLDEN_RATIO: u64 = 0x61c8864680b583eb;

const PTES_PER_TABLE_SHIFT: u32 = 9;
/** A table is worth a walk with one young entry for each cache line of entries. */
const PTES_PER_LINE: u32 = 8;

/** Reserves both filters and the accessed bits of the tables of `pages` entries. */
export function filterLayout(filter: usize, pages: u32): void {
  const tables = (pages >> PTES_PER_TABLE_SHIFT) + 1;
  store<u32>(filter, tables, TABLES);
  store<u32>(filter, <u32>arenaReserve(PART_PRIMARY_PTES, tables), BYTES);
  store<u32>(filter, <u32>arenaReserve(PART_PRIMARY_PTES, BLOOM_BYTES), FILTERS);
  store<u32>(filter, <u32>arenaReserve(PART_PRIMARY_PTES, BLOOM_BYTES), FILTERS + 4);
}

/** Reserves the accessed bits of the tables of `pages` entries, more than there are; after arenaCommit() filterMove() is called with the address. */
export function filterGrow(pages: u32): usize {
  return arenaReserve(PART_PRIMARY_PTES, (pages >> PTES_PER_TABLE_SHIFT) + 1);
}

/** The accessed bits move to where filterGrow() has made room. */
export function filterMove(filter: usize, bytes: usize, pages: u32): void {
  memory.copy(bytes, <usize>load<u32>(filter, BYTES), <usize>load<u32>(filter, TABLES));
  store<u32>(filter, <u32>bytes, BYTES);
  store<u32>(filter, (pages >> PTES_PER_TABLE_SHIFT) + 1, TABLES);
}

/** Something went through the entry that points to `table`: the hardware, or the kernel that has just made it. */
export function tableAccessed(filter: usize, table: u32): void {
  assert(table < load<u32>(filter, TABLES));
  store<u8>(<usize>load<u32>(filter, BYTES) + table, 1);
}

/** Tests and clears the accessed bit. */
export function tableWasAccessed(filter: usize, table: u32): bool {
  assert(table < load<u32>(filter, TABLES));
  const byte = <usize>load<u32>(filter, BYTES) + table;
  if (load<u8>(byte) === 0) return false;
  store<u8>(byte, 0);
  return true;
}

function bloom(filter: usize, seq: u32): usize {
  return <usize>load<u32>(filter + ((<usize>(seq & 1)) << 2), FILTERS);
}

function isReady(filter: usize, seq: u32): bool {
  return (load<u32>(filter, READY) & (1 << (seq & 1))) !== 0;
}

// hash_ptr() of the entry: entries are 8 bytes, and those of all tables lie one after another here.
function hash(table: u32): u32 {
  return <u32>((((<u64>table) << 3) * GOLDEN_RATIO) >> (64 - 2 * KEY_BITS));
}

/** Starts the filter of generation `seq` anew. */
export function filterClear(filter: usize, seq: u32): void {
  store<u32>(filter, load<u32>(filter, READY) | (1 << (seq & 1)), READY);
  memory.fill(bloom(filter, seq), 0, <usize>BLOOM_BYTES);
}

/** Notes for the walk of generation `seq` that `table` had `young` entries of `total`, if they are enough. */
export function filterNote(filter: usize, seq: u32, table: u32, total: u32, young: u32): void {
  if (young * PTES_PER_LINE < total || !isReady(filter, seq)) return;
  const bits = bloom(filter, seq);
  const both = hash(table);
  setBit(bits, both & KEY_MASK);
  setBit(bits, both >> KEY_BITS);
}

/** Should the walk of generation `seq` look into `table`? */
export function filterPasses(filter: usize, seq: u32, table: u32): bool {
  if (!isReady(filter, seq)) return true;
  const bits = bloom(filter, seq);
  const both = hash(table);
  return testBit(bits, both & KEY_MASK) && testBit(bits, both >> KEY_BITS);
}

function wordOf(bits: usize, bit: u32): usize {
  return bits + ((<usize>(bit >> 5)) << 2);
}

function setBit(bits: usize, bit: u32): void {
  const word = wordOf(bits, bit);
  store<u32>(word, load<u32>(word) | (1 << (bit & 31)));
}

function testBit(bits: usize, bit: u32): bool {
  return ((load<u32>(wordOf(bits, bit)) >> (bit & 31)) & 1) !== 0;
}
