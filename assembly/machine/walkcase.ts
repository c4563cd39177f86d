import { gpteOf } from "../kvm/gpte";
import {
  GUEST_TABLES_BYTES,
  guestEntryAt,
  guestTableAt,
  guestTablesLayout,
  guestTablesPlace,
} from "../kvm/guesttables";
import { guestWalk, WALK_BYTES, walkAccess, walkError, walkGfn } from "../kvm/guestwalk";
import { arenaCommit, arenaInit } from "../memory/arena";
import { E_NO_MEMORY, OK } from "../memory/status";

// The walk of a guest's tables without a machine: four tables, one a level, and one page that leads through them.

const TABLES: usize = memory.data(32, 8);
const WALK: usize = memory.data(96, 8);
const FIRST: u32 = 16;
const LEVELS: u32 = 4;

/** Makes the tables. Fails with E_NO_MEMORY. */
export function walkCase(): i32 {
  assert(GUEST_TABLES_BYTES <= 32 && WALK_BYTES <= 96);
  arenaInit();
  guestTablesLayout(TABLES, LEVELS);
  guestTablesPlace(TABLES, FIRST);
  if (arenaCommit() !== OK) return E_NO_MEMORY;
  for (let gfn = FIRST; gfn < FIRST + LEVELS; gfn++) memory.fill(guestTableAt(TABLES, gfn), 0, 4096);
  return OK;
}

// The table of level 4 is the first.
function table(level: u32): u32 {
  return FIRST + LEVELS - level;
}

/** Address of the two u32, low and high, of the entry for `page` in the table of `level`. */
export function walkCaseEntry(page: u32, level: u32): usize {
  return guestEntryAt(TABLES, table(level), page, level);
}

/** Sets that entry to `low` and `high` bits beside the frame of the next table; at level 1, beside frame `gfn`. */
export function walkCaseSet(page: u32, level: u32, gfn: u32, low: u32, high: u32): void {
  const frame = level === 1 ? gfn : table(level - 1);
  store<u64>(walkCaseEntry(page, level), gpteOf(frame, <u64>low | ((<u64>high) << 32)));
}

/** An access of `kind` (PFERR_*) to `page` on a CPU set to `cpu` (CPU_*): the fault's error code, or 0xffffffff. */
export function walkCaseAccess(page: u32, kind: u32, cpu: u32): u32 {
  guestWalk(WALK, TABLES, FIRST, page, kind, cpu);
  return walkError(WALK);
}

/** Frame and ACC_* that the last access came to. */
export function walkCaseGfn(): u32 {
  return walkGfn(WALK);
}

export function walkCaseRights(): u32 {
  return walkAccess(WALK);
}
