import { arenaReserve, PART_SPTES } from "../memory/arena";

// Pages of sptes and their headers (struct kvm_mmu_page): what every MMU of a VM builds its tables from. A table is 512 entries at a
// multiple of 4 KiB, so that an entry names it by its address; its header lies in an array beside the tables.
//
// pool, 52 bytes                                     header, 64 bytes
//   0      4      8     12     16     20      24       0     4      8        12         16         20         24
//   +------+------+-----+------+------+-------+------+ +-----+------+--------+----------+----------+----------+----------+
//   | base | next | end | free | used | heads | bits | | gfn | role | frame  | parents  | hashNext | newer    | older    |
//   +------+------+-----+------+------+-------+------+ +-----+------+--------+----------+----------+----------+----------+
//                                                      28          32       36
//                                                      | rootCount | table  | inUse | unsync | floods | nextUnsync | prevUnsync |
//
//        limit is the end of the first stretch of tables; those of a VM that has grown have later stretches with headers of their own:
//        base, end, headers, next, and the gfns of their own. max counts the tables of all.
//
// bits   where the two bits for the entry at address 0 would be (leafbits.ts): those for the entry at `entry` are in the byte at
//        bits + (entry >> 5)
//
//        unsync is the first page that may differ from the guest's table; gfns where, of pages that shadow one, the gfns that the entries
//        map stand, as many u32 as entries
//
// role   0     3  4         5   6 7      8    10 11       12       13      14    15    16           17          18           24  31
//        +------+----------+-----+------+------+---------+--------+------+-----+-----+-------------+-----------+-----------+------+
//        | level| 4-byte   | quad|direct|access| invalid | efer_nx|cr0_wp|smep |smap |ad_disabled  |guest_mode |passthrough| owner|
//        +------+----------+-----+------+------+---------+--------+------+-----+-----+-------------+-----------+-----------+------+
//
// owner  0, or 1 + the only vCPU that uses the page
//
// invariant: a table in use has a header that names it; free ones are all zeroes

const BASE: usize = 0;
const NEXT: usize = 4;
const END: usize = 8;
const FREE: usize = 12;
const USED: usize = 16;
const HEADERS: usize = 20;
const BITS: usize = 24;
const UNSYNC_LIST: usize = 28;
const GFNS: usize = 32;
const LIMIT: usize = 36;
const LATER: usize = 40;
const MAX: usize = 44;
const GROWN: usize = 48;
export const TABLE_POOL_BYTES: usize = 52;

const LATER_BASE: usize = 0;
const LATER_END: usize = 4;
const LATER_HEADERS: usize = 8;
const LATER_NEXT: usize = 12;
const LATER_BITS: usize = 16;
const LATER_GFNS: usize = 20;
const LATER_BYTES: usize = 24;

const GFN: usize = 0;
const ROLE: usize = 4;
const FRAME: usize = 8;
const PARENTS: usize = 12;
const HASH_NEXT: usize = 16;
const NEWER: usize = 20;
const OLDER: usize = 24;
const ROOT_COUNT: usize = 28;
const TABLE: usize = 32;
const IN_USE: usize = 36;
const UNSYNC: usize = 40;
const FLOODS: usize = 44;
const NEXT_UNSYNC: usize = 48;
const PREV_UNSYNC: usize = 52;
const HEADER_SHIFT: usize = 6;

const GROWN_POOL: usize = memory.data(<i32>LATER_BYTES, 4);

const TABLE_BYTES: usize = 4096;
const BITS_SHIFT: usize = 5;

export const ROLE_LEVEL_MASK: u32 = 15;
export const ROLE_DIRECT: u32 = 1 << 7;
const ROLE_ACCESS_SHIFT: u32 = 8;
export const ROLE_INVALID: u32 = 1 << 11;
const ROLE_EFER_NX: u32 = 1 << 12;
const ROLE_CR0_WP: u32 = 1 << 13;
const ROLE_OWNER_SHIFT: u32 = 24;

/** Reserves `tables` tables, their headers and two bits for each of their entries; with `shadow` the gfns of the entries too. */
export function tablePoolLayout(pool: usize, tables: u32, shadow: bool): void {
  const base = arenaReserve(PART_SPTES, (<u64>tables) << 12, TABLE_BYTES);
  store<u32>(pool, <u32>base, BASE);
  store<u32>(pool, <u32>base, NEXT);
  store<u32>(pool, <u32>(base + ((<usize>tables) << 12)), END);
  store<u32>(pool, <u32>(base + ((<usize>tables) << 12)), LIMIT);
  store<u32>(pool, tables, MAX);
  store<u32>(pool, <u32>arenaReserve(PART_SPTES, (<u64>tables) << HEADER_SHIFT, 64), HEADERS);
  if (shadow) store<u32>(pool, <u32>arenaReserve(PART_SPTES, (<u64>tables) << 11, 64), GFNS);
  const bits = arenaReserve(PART_SPTES, (<u64>tables) << (12 - BITS_SHIFT), 64);
  store<u32>(pool, <u32>(bits - (base >> BITS_SHIFT)), BITS);
}

/**
 * Reserves `tables` tables more for a VM that lives, with their headers, and bits for all that lies from the first table to the last; after arenaCommit()
 * tablePoolMove() follows. Tables and headers stay where they are, the bits move. With `shadow` there are gfns of the entries too.
 */
export function tablePoolGrow(pool: usize, tables: u32, shadow: bool): void {
  const later = arenaReserve(PART_SPTES, LATER_BYTES);
  const base = arenaReserve(PART_SPTES, (<u64>tables) << 12, TABLE_BYTES);
  const end = base + ((<usize>tables) << 12);
  const headers = arenaReserve(PART_SPTES, (<u64>tables) << HEADER_SHIFT, 64);
  const bits = arenaReserve(PART_SPTES, <u64>((end - <usize>load<u32>(pool, BASE)) >> BITS_SHIFT), 64);
  store<u32>(pool, <u32>later, GROWN);
  store<u32>(GROWN_POOL, <u32>base, LATER_BASE);
  store<u32>(GROWN_POOL, <u32>end, LATER_END);
  store<u32>(GROWN_POOL, <u32>headers, LATER_HEADERS);
  store<u32>(GROWN_POOL, <u32>bits, LATER_BITS);
  store<u32>(GROWN_POOL, shadow ? <u32>arenaReserve(PART_SPTES, (<u64>tables) << 11, 64) : 0, LATER_GFNS);
}

/** The tables that tablePoolGrow() has reserved can be taken. */
export function tablePoolMove(pool: usize): void {
  const first = <usize>load<u32>(pool, BASE);
  const end = <usize>load<u32>(pool, END);
  // Those that were never taken are free from now on.
  for (let table = <usize>load<u32>(pool, NEXT); table < end; table += TABLE_BYTES) {
    store<u32>(table, load<u32>(pool, FREE));
    store<u32>(pool, <u32>table, FREE);
  }
  const bits = <usize>load<u32>(GROWN_POOL, LATER_BITS);
  memory.copy(bits, tableBits(pool) + (first >> BITS_SHIFT), (end - first) >> BITS_SHIFT);
  store<u32>(pool, <u32>(bits - (first >> BITS_SHIFT)), BITS);
  const later = <usize>load<u32>(pool, GROWN);
  memory.copy(later, GROWN_POOL, LATER_BYTES);
  store<u32>(later, load<u32>(pool, LATER), LATER_NEXT);
  store<u32>(pool, <u32>later, LATER);
  store<u32>(pool, load<u32>(later, LATER_BASE), NEXT);
  store<u32>(pool, load<u32>(later, LATER_END), END);
  store<u32>(
    pool,
    load<u32>(pool, MAX) + ((load<u32>(later, LATER_END) - load<u32>(later, LATER_BASE)) >> 12),
    MAX,
  );
}

/** What to add to an entry's address >> 5 for the byte with its bits. */
export function tableBits(pool: usize): usize {
  return <usize>load<u32>(pool, BITS);
}

/** Tables in use. */
export function tablesUsed(pool: usize): u32 {
  return load<u32>(pool, USED);
}

/** Tables that there are. */
export function tablesMax(pool: usize): u32 {
  return load<u32>(pool, MAX);
}

/** Role of a table of a direct map (kvm_calc_tdp_mmu_root_page_role()): all access, NX and write protection in force. */
export function roleDirect(level: u32): u32 {
  return level | ROLE_DIRECT | (7 << ROLE_ACCESS_SHIFT) | ROLE_EFER_NX | ROLE_CR0_WP;
}

/** Role of a page that shadows one of the guest's tables, or, with `direct`, a part of one of its large pages. @param owner see above */
export function roleShadow(level: u32, access: u32, direct: bool, owner: u32): u32 {
  const role =
    level | (access << ROLE_ACCESS_SHIFT) | ROLE_EFER_NX | ROLE_CR0_WP | (owner << ROLE_OWNER_SHIFT);
  return direct ? role | ROLE_DIRECT : role;
}

/** Takes a zeroed table for `gfn` and `role`, which costs the host `frame`; returns its header. There is always one. */
export function spTake(pool: usize, gfn: u32, role: u32, frame: u32): usize {
  store<u32>(pool, load<u32>(pool, USED) + 1, USED);
  let table = <usize>load<u32>(pool, FREE);
  if (table !== 0) {
    store<u32>(pool, load<u32>(table), FREE);
    store<u32>(table, 0);
  } else {
    table = <usize>load<u32>(pool, NEXT);
    assert(table < <usize>load<u32>(pool, END));
    store<u32>(pool, <u32>(table + TABLE_BYTES), NEXT);
  }
  const sp = spOfTable(pool, table);
  assert(load<u32>(sp, IN_USE) === 0);
  store<u32>(sp, gfn, GFN);
  store<u32>(sp, role, ROLE);
  store<u32>(sp, frame, FRAME);
  store<u32>(sp, <u32>table, TABLE);
  store<u32>(sp, 1, IN_USE);
  return sp;
}

/** Gives a table back, whatever is in it; returns the host frame that it cost. */
export function spGive(pool: usize, sp: usize): u32 {
  assert(load<u32>(sp, IN_USE) === 1 && load<u32>(sp, ROOT_COUNT) === 0 && load<u32>(sp, UNSYNC) === 0);
  const table = spTable(sp);
  const frame = load<u32>(sp, FRAME);
  memory.fill(table, 0, TABLE_BYTES);
  memory.fill(tableBits(pool) + (table >> BITS_SHIFT), 0, TABLE_BYTES >> BITS_SHIFT);
  memory.fill(sp, 0, 1 << HEADER_SHIFT);
  store<u32>(table, load<u32>(pool, FREE));
  store<u32>(pool, <u32>table, FREE);
  store<u32>(pool, load<u32>(pool, USED) - 1, USED);
  return frame;
}

/** Header of the table that the entry at `address`, or the table itself, lies in (sptep_to_sp()). */
export function spOfTable(pool: usize, address: usize): usize {
  const base = <usize>load<u32>(pool, BASE);
  assert(address >= base && address < <usize>load<u32>(pool, END));
  if (address >= <usize>load<u32>(pool, LIMIT)) return spOfLater(pool, address);
  return <usize>load<u32>(pool, HEADERS) + (((address - base) >> 12) << HEADER_SHIFT);
}

// The stretch that holds `address`, which is not in the first one.
function laterOf(pool: usize, address: usize): usize {
  let later = <usize>load<u32>(pool, LATER);
  while (address < <usize>load<u32>(later, LATER_BASE)) later = <usize>load<u32>(later, LATER_NEXT);
  assert(address < <usize>load<u32>(later, LATER_END));
  return later;
}

function spOfLater(pool: usize, address: usize): usize {
  const later = laterOf(pool, address);
  const tables = (address - <usize>load<u32>(later, LATER_BASE)) >> 12;
  return <usize>load<u32>(later, LATER_HEADERS) + (tables << HEADER_SHIFT);
}

/** Address of the 512 entries. */
export function spTable(sp: usize): usize {
  return <usize>load<u32>(sp, TABLE);
}

/** First gfn that the table maps. */
export function spGfn(sp: usize): u32 {
  return load<u32>(sp, GFN);
}

export function spRole(sp: usize): u32 {
  return load<u32>(sp, ROLE);
}

export function setSpRole(sp: usize, role: u32): void {
  store<u32>(sp, role, ROLE);
}

export function spLevel(sp: usize): u32 {
  return load<u32>(sp, ROLE) & ROLE_LEVEL_MASK;
}

/** Host frame that the table costs. */
export function spFrame(sp: usize): u32 {
  return load<u32>(sp, FRAME);
}

/** Address of the list of entries that link the table (parent_ptes). */
export function spParents(sp: usize): usize {
  return sp + PARENTS;
}

/** The next header in the same bucket of the hash. */
export function spHashNext(sp: usize): usize {
  return <usize>load<u32>(sp, HASH_NEXT);
}

export function setSpHashNext(sp: usize, next: usize): void {
  store<u32>(sp, <u32>next, HASH_NEXT);
}

/** Neighbours in the order of creation (active_mmu_pages). */
export function spNewer(sp: usize): usize {
  return <usize>load<u32>(sp, NEWER);
}

export function spOlder(sp: usize): usize {
  return <usize>load<u32>(sp, OLDER);
}

export function setSpNewer(sp: usize, newer: usize): void {
  store<u32>(sp, <u32>newer, NEWER);
}

export function setSpOlder(sp: usize, older: usize): void {
  store<u32>(sp, <u32>older, OLDER);
}

/** vCPUs that have the table loaded as their root, plus one while the MMU itself holds it. */
export function spRootCount(sp: usize): u32 {
  return load<u32>(sp, ROOT_COUNT);
}

export function setSpRootCount(sp: usize, count: u32): void {
  store<u32>(sp, count, ROOT_COUNT);
}

/** The page shadows one of the guest's tables. */
export function spIndirect(sp: usize): bool {
  return (load<u32>(sp, ROLE) & ROLE_DIRECT) === 0;
}

/** 0, or 1 + the only vCPU that uses the page. */
export function spOwner(sp: usize): u32 {
  return load<u32>(sp, ROLE) >> ROLE_OWNER_SHIFT;
}

/** ACC_* that the guest's entries above leave. */
export function spAccess(sp: usize): u32 {
  return (load<u32>(sp, ROLE) >> ROLE_ACCESS_SHIFT) & 7;
}

// Where the gfn of entry `index` stands.
function gfnAt(pool: usize, sp: usize, index: u32): usize {
  const table = spTable(sp);
  const own = table < <usize>load<u32>(pool, LIMIT);
  const later: usize = own ? 0 : laterOf(pool, table);
  const base = <usize>(own ? load<u32>(pool, BASE) : load<u32>(later, LATER_BASE));
  const gfns = <usize>(own ? load<u32>(pool, GFNS) : load<u32>(later, LATER_GFNS));
  return gfns + (((table - base) >> 12) << 11) + ((<usize>index) << 2);
}

/** The gfn that leaf `index` maps (kvm_mmu_page_get_gfn()). */
export function spEntryGfn(pool: usize, sp: usize, index: u32): u32 {
  if (spIndirect(sp)) return load<u32>(gfnAt(pool, sp, index));
  return spGfn(sp) + (index << (9 * (spLevel(sp) - 1)));
}

/** Leaf `index` of a page that shadows a table maps `gfn`. */
export function setSpEntryGfn(pool: usize, sp: usize, index: u32, gfn: u32): void {
  if (spIndirect(sp)) store<u32>(gfnAt(pool, sp, index), gfn);
  else assert(spEntryGfn(pool, sp, index) === gfn);
}

/** The page may differ from the guest's table until the guest flushes its TLB. */
export function spUnsync(sp: usize): bool {
  return load<u32>(sp, UNSYNC) !== 0;
}

/** The first page that may differ; the others follow through spNextUnsync(). */
export function firstUnsync(pool: usize): usize {
  return <usize>load<u32>(pool, UNSYNC_LIST);
}

export function spNextUnsync(sp: usize): usize {
  return <usize>load<u32>(sp, NEXT_UNSYNC);
}

export function setSpUnsync(pool: usize, sp: usize, unsync: bool): void {
  assert(spUnsync(sp) !== unsync);
  store<u32>(sp, unsync ? 1 : 0, UNSYNC);
  if (unsync) {
    const first = firstUnsync(pool);
    store<u32>(sp, <u32>first, NEXT_UNSYNC);
    store<u32>(sp, 0, PREV_UNSYNC);
    if (first !== 0) store<u32>(first, <u32>sp, PREV_UNSYNC);
    store<u32>(pool, <u32>sp, UNSYNC_LIST);
    return;
  }
  const next = spNextUnsync(sp);
  const previous = <usize>load<u32>(sp, PREV_UNSYNC);
  if (previous === 0) store<u32>(pool, <u32>next, UNSYNC_LIST);
  else store<u32>(previous, <u32>next, NEXT_UNSYNC);
  if (next !== 0) store<u32>(next, <u32>previous, PREV_UNSYNC);
}

/** Writes to the guest's table since the last fault through the page (write_flooding_count). */
export function spFloods(sp: usize): u32 {
  return load<u32>(sp, FLOODS);
}

export function setSpFloods(sp: usize, floods: u32): void {
  store<u32>(sp, floods, FLOODS);
}
