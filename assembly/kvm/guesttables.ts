import { arenaReserve, PART_SPTES } from "../memory/arena";
import { GPTE_ACCESSED, GPTE_DIRTY, GPTE_PRESENT, GPTE_USER, GPTE_WRITE, gpteOf } from "./gpte";

// The contents of those frames of a guest that hold its page tables: consecutive gfns, 512 entries each. Other frames of the guest have no
// contents. Whether the host has such a frame in memory is as with any other; what is in it goes with it.
//
// record   0       4       8      12         16      20       24
//          +-------+-------+------+----------+-------+--------+
//          | first | count | used | contents | later | spaces |      spaces: 1 + number of the last table that is a task's root; then, u32 a table
//          +-------+-------+------+----------+-------+--------+              behind the contents, 1 + that of the one before
//
// later    the last one of the stretches of tables in slots that came later: as the record up to `used`, then its contents and the stretch before it

const FIRST: usize = 0;
const COUNT: usize = 4;
const USED: usize = 8;
const CONTENTS: usize = 12;
const LATER: usize = 16;
const SPACES: usize = 20;
export const GUEST_TABLES_BYTES: usize = 24;
const STRETCH_BYTES: usize = 20;

/** The level whose tables CR3 names. */
const ROOT_LEVEL: u32 = 4;

// What guestTablesGrow() has reserved.
const GROWN: usize = memory.data(20, 4);

/** Reserves the contents of `count` tables. */
export function guestTablesLayout(tables: usize, count: u32): void {
  store<u32>(tables, count, COUNT);
  store<u32>(
    tables,
    <u32>arenaReserve(PART_SPTES, ((<u64>count) << 12) + ((<u64>count) << 2), 4096),
    CONTENTS,
  );
}

/** Reserves the contents of `count` tables more, in a guest that lives; after arenaCommit() guestTablesMove() follows. */
export function guestTablesGrow(count: u32): void {
  store<u32>(GROWN, count, COUNT);
  store<u32>(GROWN, 0, USED);
  store<u32>(GROWN, <u32>arenaReserve(PART_SPTES, (<u64>count) << 12, 4096), CONTENTS);
  store<u32>(GROWN, <u32>arenaReserve(PART_SPTES, STRETCH_BYTES), LATER);
}

/** They lie in the frames from `first` on. */
export function guestTablesMove(tables: usize, first: u32): void {
  const stretch = <usize>load<u32>(GROWN, LATER);
  memory.copy(stretch, GROWN, STRETCH_BYTES);
  store<u32>(stretch, first, FIRST);
  store<u32>(stretch, load<u32>(tables, LATER), LATER);
  store<u32>(tables, <u32>stretch, LATER);
}

/** The table in frame `root` of the first stretch is that of a task's address space. */
export function guestSpaceNote(tables: usize, root: u32): void {
  store<u32>(spaceBefore(tables, root - load<u32>(tables, FIRST)), load<u32>(tables, SPACES));
  store<u32>(tables, root - load<u32>(tables, FIRST) + 1, SPACES);
}

// Where the number of the task's root before that of table `index` stands.
function spaceBefore(tables: usize, index: u32): usize {
  return (
    <usize>load<u32>(tables, CONTENTS) + ((<usize>load<u32>(tables, COUNT)) << 12) + ((<usize>index) << 2)
  );
}

/** Frame of the task's root that was noted before `root`, with 0 of the last one; 0 at the end. */
export function guestSpaceNext(tables: usize, root: u32): u32 {
  const first = load<u32>(tables, FIRST);
  const next = root === 0 ? load<u32>(tables, SPACES) : load<u32>(spaceBefore(tables, root - first));
  return next === 0 ? 0 : first + next - 1;
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
  let stretch = tables;
  while (stretch !== 0) {
    const index = gfn - load<u32>(stretch, FIRST);
    if (index < load<u32>(stretch, COUNT))
      return <usize>load<u32>(stretch, CONTENTS) + ((<usize>index) << 12);
    stretch = <usize>load<u32>(stretch, LATER);
  }
  return 0;
}

/** The guest takes an empty frame for a table. */
export function guestTableTake(tables: usize): u32 {
  assert(tables !== 0);
  const used = load<u32>(tables, USED);
  assert(used < load<u32>(tables, COUNT));
  store<u32>(tables, used + 1, USED);
  return load<u32>(tables, FIRST) + used;
}

// The first frame from `gfn` on to before `end` that no table of level 1 below the one in `root` maps; `end` when there is none.
function nextUnmapped(tables: usize, root: u32, gfn: u32, end: u32): u32 {
  for (let page = gfn; page < end; page++) {
    const entry = identityEntry(tables, root, page);
    if (entry === 0 || load<u64>(entry) === 0) return page;
  }
  return end;
}

// Address of the entry of `page` at level 1, 0 where a table is missing on the way.
function identityEntry(tables: usize, root: u32, page: u32): usize {
  let table = root;
  for (let level = ROOT_LEVEL; level > 1; level--) {
    const gpte = load<u64>(guestEntryAt(tables, table, page, level));
    if (gpte === 0) return 0;
    table = <u32>(gpte >> 12);
  }
  return guestEntryAt(tables, table, page, 1);
}

/** Frames among the `pages` from `gfn` on that the tables below the one in `root` do not map. */
export function guestUnmapped(tables: usize, root: u32, gfn: u32, pages: u32): u32 {
  const end = gfn + pages;
  let frames: u32 = 0;
  for (
    let page = nextUnmapped(tables, root, gfn, end);
    page < end;
    page = nextUnmapped(tables, root, page + 1, end)
  ) {
    frames++;
  }
  return frames;
}

/** Tables that are missing below the one in `root` for those frames. */
export function guestTablesMissing(tables: usize, root: u32, gfn: u32, pages: u32): u32 {
  let missing: u32 = 0;
  for (let leaf = gfn >> 9; leaf <= (gfn + pages - 1) >> 9; leaf++) {
    let table = root;
    let lost = false;
    for (let level = ROOT_LEVEL; level > 1; level--) {
      const gpte = lost ? 0 : load<u64>(guestEntryAt(tables, table, leaf << 9, level));
      table = <u32>(gpte >> 12);
      if (gpte !== 0) continue;
      lost = true;
      // The table below is one for all frames in its range: it counts with the first of them.
      const within = (1 << (9 * (level - 2))) - 1;
      if (leaf === gfn >> 9 || (leaf & within) === 0) missing++;
    }
  }
  return missing;
}

/** Address of entry `page >> 9 * (level - 1)` of the table in `gfn`. */
export function guestEntryAt(tables: usize, gfn: u32, page: u32, level: u32): usize {
  const table = guestTableAt(tables, gfn);
  return table === 0 ? 0 : table + ((<usize>((page >> (9 * (level - 1))) & 511)) << 3);
}

const TABLE_BITS: u64 = GPTE_PRESENT | GPTE_WRITE | GPTE_USER | GPTE_ACCESSED;
const PAGE_BITS: u64 = GPTE_PRESENT | GPTE_WRITE | GPTE_USER;

/**
 * The guest maps each of `pages` frames from `gfn` on that it has not mapped at its own address, below the table in `root`: before time starts, with tables of
 * the first stretch, or, with `later`, with those of the last one.
 * @param used accessed and dirty are set, as a guest does that does not want to know
 */
export function guestMapIdentity(
  tables: usize,
  root: u32,
  gfn: u32,
  pages: u32,
  used: bool,
  later: bool,
): void {
  const from = later ? <usize>load<u32>(tables, LATER) : tables;
  const bits = used ? PAGE_BITS | GPTE_ACCESSED | GPTE_DIRTY : PAGE_BITS;
  for (let page = gfn; page < gfn + pages; page++) {
    let table = root;
    for (let level = ROOT_LEVEL; level > 1; level--) {
      const entry = guestEntryAt(tables, table, page, level);
      if (load<u64>(entry) === 0) store<u64>(entry, gpteOf(guestTableTake(from), TABLE_BITS));
      table = <u32>(load<u64>(entry) >> 12);
    }
    const entry = guestEntryAt(tables, table, page, 1);
    if (load<u64>(entry) === 0) store<u64>(entry, gpteOf(page, bits));
  }
}
