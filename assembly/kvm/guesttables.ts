import { arenaReserve, PART_SPTES } from "../memory/arena";
import { GPTE_ACCESSED, GPTE_DIRTY, GPTE_PRESENT, GPTE_USER, GPTE_WRITE, gpteOf } from "./gpte";

// The contents of those frames of a guest that hold its page tables: consecutive gfns, 512 entries each. Other frames of the guest have no
// contents. Whether the host has such a frame in memory is as with any other; what is in it goes with it.
//
// record   0       4       8      12         16
//          +-------+-------+------+----------+
//          | first | count | used | contents |
//          +-------+-------+------+----------+

const FIRST: usize = 0;
const COUNT: usize = 4;
const USED: usize = 8;
const CONTENTS: usize = 12;
export const GUEST_TABLES_BYTES: usize = 16;

/** Reserves the contents of `count` tables. */
export function guestTablesLayout(tables: usize, count: u32): void {
  store<u32>(tables, count, COUNT);
  store<u32>(tables, <u32>arenaReserve(PART_SPTES, (<u64>count) << 12, 4096), CONTENTS);
}

/** They lie in the frames from `first` on. */
export function guestTablesPlace(tables: usize, first: u32): void {
  store<u32>(tables, first, FIRST);
}

/** The first frame after those that can hold tables. */
export function guestTablesEnd(tables: usize): u32 {
  return load<u32>(tables, FIRST) + load<u32>(tables, COUNT);
}

/** Address of the entries in frame `gfn`, 0 when it holds no table. */
export function guestTableAt(tables: usize, gfn: u32): usize {
  const index = gfn - load<u32>(tables, FIRST);
  return index >= load<u32>(tables, COUNT) ? 0 : <usize>load<u32>(tables, CONTENTS) + ((<usize>index) << 12);
}

/** The guest takes an empty frame for a table. */
export function guestTableTake(tables: usize): u32 {
  const used = load<u32>(tables, USED);
  assert(used < load<u32>(tables, COUNT));
  store<u32>(tables, used + 1, USED);
  return load<u32>(tables, FIRST) + used;
}

/** Address of entry `page >> 9 * (level - 1)` of the table in `gfn`. */
export function guestEntryAt(tables: usize, gfn: u32, page: u32, level: u32): usize {
  const table = guestTableAt(tables, gfn);
  return table === 0 ? 0 : table + ((<usize>((page >> (9 * (level - 1))) & 511)) << 3);
}

const TABLE_BITS: u64 = GPTE_PRESENT | GPTE_WRITE | GPTE_USER | GPTE_ACCESSED;
const PAGE_BITS: u64 = GPTE_PRESENT | GPTE_WRITE | GPTE_USER;

/**
 * Before time starts, the guest maps each of `pages` frames from `gfn` on at its own address, below the table in `root`.
 * @param used accessed and dirty are set, as a guest does that does not want to know
 */
export function guestMapIdentity(tables: usize, root: u32, gfn: u32, pages: u32, used: bool): void {
  const bits = used ? PAGE_BITS | GPTE_ACCESSED | GPTE_DIRTY : PAGE_BITS;
  for (let page = gfn; page < gfn + pages; page++) {
    let table = root;
    for (let level: u32 = 4; level > 1; level--) {
      const entry = guestEntryAt(tables, table, page, level);
      if (load<u64>(entry) === 0) store<u64>(entry, gpteOf(guestTableTake(tables), TABLE_BITS));
      table = <u32>(load<u64>(entry) >> 12);
    }
    store<u64>(guestEntryAt(tables, table, page, 1), gpteOf(page, bits));
  }
}
