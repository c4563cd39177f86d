import {
  GPTE_ACCESSED,
  GPTE_DIRTY,
  GPTE_NX,
  GPTE_PRESENT,
  GPTE_USER,
  GPTE_WRITE,
  GUEST_LEVELS,
  gpteGfn,
  gpteIsLeaf,
  gpteReserved,
} from "./gpte";
import { guestEntryAt } from "./guesttables";
import { ACC_ALL, ACC_EXEC, ACC_USER, ACC_WRITE } from "./spte";

// The walk of the guest's tables in software (FNAME(walk_addr_generic)()): what the CPU would do with an access, and with the accessed and
// dirty bits. A walk that ends in a fault sets none.
//
// walk     0     4      8       12    16       20      24    28
//          +-----+------+-------+-----+--------+-------+-----+-----+----------------+----------------+----------------+
//          | page| root | error | gfn | access | level | set | pad | tables u32 × 4 | rights u32 × 4 | entries u64 × 4|
//          +-----+------+-------+-----+--------+-------+-----+-----+----------------+----------------+----------------+
//
// error    PFERR bits of the fault that the guest gets, WALK_MAPPED when it gets none
// set      bits level - 1 where the accessed bit was set, bit 4 where the leaf's dirty bit was
// tables   of level 1..4: the frame of the table; rights: ACC_* that the entries above leave; entries: as read, with the bits that were set

const PAGE: usize = 0;
const ROOT: usize = 4;
const ERROR: usize = 8;
const GFN: usize = 12;
const ACCESS: usize = 16;
const LEVEL: usize = 20;
const SET: usize = 24;
const SET_DIRTY: u32 = 1 << 4;
const TABLES: usize = 32;
const RIGHTS: usize = 48;
const ENTRIES: usize = 64;
export const WALK_BYTES: usize = 96;

export const WALK_MAPPED: u32 = 0xffffffff;

export const PFERR_PRESENT: u32 = 1;
export const PFERR_WRITE: u32 = 2;
export const PFERR_USER: u32 = 4;
export const PFERR_RSVD: u32 = 8;
export const PFERR_FETCH: u32 = 16;

/** How the CPU is set: CR0.WP, EFER.NX, CR4.SMEP, CR4.SMAP. */
export const CPU_WP: u32 = 1;
export const CPU_NX: u32 = 2;
export const CPU_SMEP: u32 = 4;
export const CPU_SMAP: u32 = 8;

/** The error that the guest gets, or WALK_MAPPED. */
export function walkError(walk: usize): u32 {
  return load<u32>(walk, ERROR);
}

/** The frame that the access reaches. */
export function walkGfn(walk: usize): u32 {
  return load<u32>(walk, GFN);
}

/** ACC_* that an entry for this access may have. */
export function walkAccess(walk: usize): u32 {
  return load<u32>(walk, ACCESS);
}

/** Level of the leaf. */
export function walkLevel(walk: usize): u32 {
  return load<u32>(walk, LEVEL);
}

export function walkPage(walk: usize): u32 {
  return load<u32>(walk, PAGE);
}

export function walkCr3(walk: usize): u32 {
  return load<u32>(walk, ROOT);
}

/** Frame of the guest's table of `level`. */
export function walkTable(walk: usize, level: u32): u32 {
  return load<u32>(walk + ((<usize>(level - 1)) << 2), TABLES);
}

/** ACC_* that the entries above the table of `level` leave. */
export function walkRights(walk: usize, level: u32): u32 {
  return load<u32>(walk + ((<usize>(level - 1)) << 2), RIGHTS);
}

/** GPTE_ACCESSED, GPTE_DIRTY: what the walk has set in the entry of `level`. */
export function walkSet(walk: usize, level: u32): u64 {
  const set = load<u32>(walk, SET);
  const accessed: u64 = set & (1 << (level - 1)) ? GPTE_ACCESSED : 0;
  return level === walkLevel(walk) && set & SET_DIRTY ? accessed | GPTE_DIRTY : accessed;
}

/** The entry of `level` as the walk has found it. */
export function walkEntryRead(walk: usize, level: u32): u64 {
  return load<u64>(walk + ((<usize>(level - 1)) << 3), ENTRIES) & ~walkSet(walk, level);
}

/** ACC_* of an entry alone. */
export function gpteAccess(gpte: u64): u32 {
  return (
    (gpte & GPTE_WRITE ? ACC_WRITE : 0) | (gpte & GPTE_USER ? ACC_USER : 0) | (gpte & GPTE_NX ? 0 : ACC_EXEC)
  );
}

function fault(walk: usize, error: u32, kind: u32, cpu: u32): bool {
  let code = error | (kind & (PFERR_WRITE | PFERR_USER));
  if (kind & PFERR_FETCH && cpu & (CPU_NX | CPU_SMEP)) code |= PFERR_FETCH;
  store<u32>(walk, code, ERROR);
  return false;
}

// The rights of all levels allow the access.
function permitted(rights: u32, kind: u32, cpu: u32): bool {
  if (kind & PFERR_FETCH) {
    if ((rights & ACC_EXEC) === 0) return false;
    if (kind & PFERR_USER) return (rights & ACC_USER) !== 0;
    return (rights & ACC_USER) === 0 || (cpu & CPU_SMEP) === 0;
  }
  if (kind & PFERR_USER) {
    return (rights & ACC_USER) !== 0 && ((kind & PFERR_WRITE) === 0 || (rights & ACC_WRITE) !== 0);
  }
  if (rights & ACC_USER && cpu & CPU_SMAP) return false;
  return (kind & PFERR_WRITE) === 0 || (rights & ACC_WRITE) !== 0 || (cpu & CPU_WP) === 0;
}

/**
 * Walks the tables below the one in frame `root` for an access to `page`.
 * @param kind PFERR_WRITE, PFERR_USER, PFERR_FETCH of the access
 * @param cpu CPU_*
 * @returns whether the access is allowed; then the accessed bits on the way are set, and the leaf's dirty bit for a write
 */
export function guestWalk(walk: usize, tables: usize, root: u32, page: u32, kind: u32, cpu: u32): bool {
  store<u32>(walk, page, PAGE);
  store<u32>(walk, root, ROOT);
  store<u32>(walk, 0, SET);
  let table = root;
  let rights = ACC_ALL;
  let level = GUEST_LEVELS;
  while (true) {
    store<u32>(walk + ((<usize>(level - 1)) << 2), table, TABLES);
    store<u32>(walk + ((<usize>(level - 1)) << 2), rights, RIGHTS);
    store<u32>(walk, level, LEVEL);
    const entry = guestEntryAt(tables, table, page, level);
    const gpte = entry === 0 ? 0 : load<u64>(entry);
    store<u64>(walk + ((<usize>(level - 1)) << 3), gpte, ENTRIES);
    if ((gpte & GPTE_PRESENT) === 0) return fault(walk, 0, kind, cpu);
    if (gpteReserved(gpte, level, (cpu & CPU_NX) !== 0))
      return fault(walk, PFERR_PRESENT | PFERR_RSVD, kind, cpu);
    rights &= gpteAccess(gpte);
    if (gpteIsLeaf(gpte, level)) break;
    table = gpteGfn(gpte);
    level--;
  }
  if (!permitted(rights, kind, cpu)) return fault(walk, PFERR_PRESENT, kind, cpu);
  mark(walk, tables, kind);
  reach(walk, page, level, rights, kind);
  store<u32>(walk, WALK_MAPPED, ERROR);
  return true;
}

// update_accessed_dirty_bits()
function mark(walk: usize, tables: usize, kind: u32): void {
  const leaf = walkLevel(walk);
  for (let level = GUEST_LEVELS; level >= leaf; level--) {
    const at = walk + ((<usize>(level - 1)) << 3);
    const old = load<u64>(at, ENTRIES);
    let gpte = old | GPTE_ACCESSED;
    if (level === leaf && kind & PFERR_WRITE) gpte |= GPTE_DIRTY;
    let set: u32 = 0;
    if ((gpte ^ old) & GPTE_ACCESSED) set = 1 << (level - 1);
    if ((gpte ^ old) & GPTE_DIRTY) set |= SET_DIRTY;
    store<u32>(walk, load<u32>(walk, SET) | set, SET);
    store<u64>(at, gpte, ENTRIES);
    store<u64>(guestEntryAt(tables, walkTable(walk, level), walkPage(walk), level), gpte);
  }
}

// The frame, and what an entry for it may allow: no writing as long as the guest's dirty bit is clear (protect_clean_gpte()), and for a
// write that only CR0.WP allows, writing but not by the user.
function reach(walk: usize, page: u32, level: u32, rights: u32, kind: u32): void {
  const gpte = load<u64>(walk + ((<usize>(level - 1)) << 3), ENTRIES);
  const within = (1 << (9 * (level - 1))) - 1;
  store<u32>(walk, (gpteGfn(gpte) & ~within) | (page & within), GFN);
  let access = rights;
  if (kind & PFERR_WRITE && (rights & ACC_WRITE) === 0) access = (access | ACC_WRITE) & ~ACC_USER;
  if ((gpte & GPTE_DIRTY) === 0) access &= ~ACC_WRITE;
  store<u32>(walk, access, ACCESS);
}

/** The entries are still those that the walk has read (FNAME(gpte_changed)()). */
export function walkCurrent(walk: usize, tables: usize): bool {
  for (let level = GUEST_LEVELS; level >= walkLevel(walk); level--) {
    const entry = guestEntryAt(tables, walkTable(walk, level), walkPage(walk), level);
    if (load<u64>(entry) !== load<u64>(walk + ((<usize>(level - 1)) << 3), ENTRIES)) return false;
  }
  return true;
}
