import { guestFramesEnd } from "./guestspace";
import { guestTablesGrow, guestTablesMissing, guestTablesMove, guestUnmapped } from "./guesttables";
import { legacyLimitGrows, legacyRmap, shadowListsMore } from "./legacypages";
import { memslotPages } from "./memslot";
import { memslotAt, memslotCount } from "./memslots";
import { descPoolGrow, descPoolMove } from "./ptelist";
import { rmapPool } from "./rmap";
import { shadowNeedFor, shadowNeedMore, vmGuestRoot, vmGuestTables } from "./roots";
import { vmSlots } from "./vm";

// Room for a slot under shadow paging, beside what slotroom.ts makes for every MMU: tables of the guest's kernel that map the slot, which lie in its last frames;
// pages of sptes that shadow those; descriptors for the lists of the frames that can be mapped now.

// What the slot takes: guest tables, pages of sptes that they can need, pages of sptes in all, descriptors.
const GUEST: usize = 0;
const NEED: usize = 4;
const TABLES: usize = 8;
const LISTS: usize = 12;
const WANTED_BYTES: usize = 16;
const WANTED: usize = memory.data(16, 4);

/** Contents of so many tables are the core's whole memory. */
const TABLES_END: u32 = 1 << 20;

/** Does the guest have to map something for a slot of `pages` frames from `gfn` on? What that takes is worked out. */
export function shadowRoomWanted(vm: usize, gfn: u32, pages: u32): bool {
  memory.fill(WANTED, 0, WANTED_BYTES);
  const missing = guestTablesMissing(vmGuestTables(vm), vmGuestRoot(vm), gfn, pages);
  store<u32>(WANTED, missing, GUEST);
  if (missing >= TABLES_END) return true;
  const fresh = guestUnmapped(vmGuestTables(vm), vmGuestRoot(vm), gfn, pages);
  if (fresh === 0) return false;
  const need = shadowNeedFor(vm, missing);
  let all = pages;
  for (let place: u32 = 0; place < memslotCount(vmSlots(vm)); place++)
    all += memslotPages(memslotAt(vmSlots(vm), place));
  const tables = need + legacyLimitGrows(vm, all);
  store<u32>(WANTED, need, NEED);
  store<u32>(WANTED, tables, TABLES);
  store<u32>(WANTED, shadowListsMore(vm, fresh, tables), LISTS);
  return true;
}

/** The tables fit the slot, and the slot the kernel's part of every address space. */
export function shadowRoomFits(vm: usize, gfn: u32, pages: u32): bool {
  return load<u32>(WANTED, GUEST) < min<u32>(pages, TABLES_END) && gfn + pages <= guestFramesEnd(vm);
}

/** Pages of sptes to be added to the pool. */
export function shadowRoomTables(): u32 {
  return load<u32>(WANTED, TABLES);
}

/** Reserves the rest; after arenaCommit() shadowRoomMove() follows. */
export function shadowRoomGrow(): void {
  if (load<u32>(WANTED, GUEST) !== 0) guestTablesGrow(load<u32>(WANTED, GUEST));
  descPoolGrow(load<u32>(WANTED, LISTS));
}

export function shadowRoomMove(vm: usize, gfn: u32, pages: u32): void {
  const missing = load<u32>(WANTED, GUEST);
  if (missing !== 0) guestTablesMove(vmGuestTables(vm), gfn + pages - missing);
  shadowNeedMore(vm, load<u32>(WANTED, NEED));
  descPoolMove(rmapPool(legacyRmap(vm)), load<u32>(WANTED, LISTS));
}
