import { arenaBack, arenaCommit, arenaMark, arenaReserve, PART_RECORDS } from "../memory/arena";
import { PFN_NONE } from "../memory/layout";
import { OK } from "../memory/status";
import { allocBootTable } from "../mm/alloc";
import { tableFree } from "../mm/free";
import { ksmGrow, ksmMove } from "../mm/ksm";
import { mappingsBehind, mappingsGrow, mappingsMove, mappingsTouch } from "../mm/mapping";
import { residencyGrow, residencyMove } from "../mm/residency";
import {
  spaceGrow,
  spaceKsm,
  spaceMap,
  spaceMappings,
  spaceMove,
  spacePageAt,
  spacePages,
  spacePolicy,
  spaceRoom,
  spaceUpperTables,
  upperTables,
} from "../mm/space";
import { GFN_ROOM_BYTES, gfnRoomAdd, gfnRoomMissing } from "./gfnroom";
import { legacyRmap } from "./legacypages";
import { memslotsFull, memslotsGrow, memslotsMove } from "./memslots";
import { rmapGrow, rmapMove } from "./rmap";
import { tablePoolGrow, tablePoolMove, tablesMax } from "./shadowpage";
import {
  shadowRoomFits,
  shadowRoomGrow,
  shadowRoomMove,
  shadowRoomTables,
  shadowRoomWanted,
} from "./shadowroom";
import {
  vmGfnEnd,
  vmGfnRoom,
  vmGuestFile,
  vmIsLegacy,
  vmIsShadow,
  vmMm,
  vmSlots,
  vmSpace,
  vmTablePool,
} from "./vm";
import { vmGrow, vmMove } from "./vmgrow";

// Room for a slot that nobody foresaw at boot: a record for it, memory of the process behind it (an anonymous mapping, which the monitor makes before
// it calls), and tables that can map it. What is found by frame or page moves to a larger place; what others point to (records, tables and
// their headers, lists) stays, and more of it comes beside it.
//
// Under shadow paging the guest's kernel maps the slot, with tables that it puts into the slot's last frames; pages of sptes are there for them (shadowroom.ts).
//
// Left out: a slot over memory of which the process maps a part only; guest memory in a file.

// What has been reserved.
const RECORDS: usize = 0;
const MAPPINGS: usize = 4;
const HEADS: usize = 8;
const STRETCH: usize = 12;
const TABLES: usize = 16;
const PAGES: usize = 20;
const BLOCKS: usize = 24;
const GROWN_BYTES: usize = 28;
const GROWN: usize = memory.data(28, 4);

/**
 * Makes room for a slot of `pages` frames from `gfn` on, backed from `hva` on; `another`: it is one slot more. False: that cannot be had, and nothing has
 * changed. No lock is needed: nobody sees any of it before the slot is published.
 */
export function slotRoom(vm: usize, another: bool, gfn: u32, pages: u32, hva: u64, actor: usize): bool {
  const space = vmSpace(vm);
  const record = another && memslotsFull(vmSlots(vm));
  const tables = gfnRoomMissing(vmGfnRoom(vm), gfn, pages);
  const gfnEnd = max<u32>(vmGfnEnd(vm), gfn + pages);
  const mapped = isMapped(space, hva, pages);
  const shadow = vmIsShadow(vm) && vmGuestFile(vm) === 0 && shadowRoomWanted(vm, gfn, pages);
  if (!record && tables === 0 && gfnEnd === vmGfnEnd(vm) && mapped && !shadow) return true;

  if (vmGuestFile(vm) !== 0 || (shadow && !shadowRoomFits(vm, gfn, pages))) return false;
  if (!mapped && mappingsTouch(spaceMappings(space), hva, pages)) return false;
  const behind = mapped ? spacePages(space) : mappingsBehind(spaceMappings(space), hva, pages);
  // Of what moves a half more is taken if it is to be had, so that a VM which grows often does not move it each time.
  if (
    !reserve(vm, record, tables, gfnEnd, behind, true) &&
    !reserve(vm, record, tables, gfnEnd, behind, false)
  )
    return false;
  if (!upperTablesTake(vm, upperTables(behind) - spaceUpperTables(space), actor)) {
    arenaBack();
    return false;
  }
  const before = vmGfnEnd(vm);
  const room = load<u32>(GROWN, PAGES);
  if (room !== 0) {
    spaceMove(space);
    if (spacePolicy(space) !== 0) residencyMove(space, room);
    if (spaceKsm(space) !== 0) ksmMove(space);
  }
  vmMove(vm, gfnEnd);
  tablesMove(vm, gfn, pages, before);
  if (shadow) shadowRoomMove(vm, gfn, pages);
  if (record) memslotsMove(vmSlots(vm), <usize>load<u32>(GROWN, RECORDS));
  if (mapped) return true;
  const table = <usize>load<u32>(GROWN, MAPPINGS);
  mappingsMove(table, spaceMappings(space));
  spaceMap(space, table, hva, pages);
  return true;
}

/**
 * Makes room for the tables on the way to `gfn`, which no slot holds. False: that cannot be had, and nothing has changed. A guest under shadow paging brings its tables along.
 */
export function slotTables(vm: usize, gfn: u32): bool {
  const tables = vmIsShadow(vm) ? 0 : gfnRoomMissing(vmGfnRoom(vm), gfn, 1);
  if (tables === 0) return true;
  const end = vmGfnEnd(vm);
  const pages = spacePages(vmSpace(vm));
  if (!reserve(vm, false, tables, end, pages, true) && !reserve(vm, false, tables, end, pages, false))
    return false;
  tablesMove(vm, gfn, 1, end);
  return true;
}

// Tables and reverse map have what has been reserved; before, there were heads for gfns below `before`.
function tablesMove(vm: usize, gfn: u32, pages: u32, before: u32): void {
  const tables = load<u32>(GROWN, TABLES);
  if (tables !== 0) {
    tablePoolMove(vmTablePool(vm));
  }
  if (load<u32>(GROWN, STRETCH) !== 0)
    gfnRoomAdd(vmGfnRoom(vm), <usize>load<u32>(GROWN, STRETCH), gfn, pages);
  const heads = <usize>load<u32>(GROWN, HEADS);
  if (heads !== 0) rmapMove(legacyRmap(vm), heads, before, vmGfnEnd(vm), load<u32>(GROWN, BLOCKS));
}

// Pages that follow each other in one mapping have consecutive numbers.
function isMapped(space: usize, hva: u64, pages: u32): bool {
  const first = spacePageAt(space, hva);
  if (first === u32.MAX_VALUE) return false;
  return spacePageAt(space, hva + ((<u64>(pages - 1)) << 12)) === first + pages - 1;
}

// False: it cannot be had, nothing is reserved.
function reserve(vm: usize, record: bool, tables: u32, gfnEnd: u32, behind: u32, spare: bool): bool {
  const space = vmSpace(vm);
  arenaMark();
  memory.fill(GROWN, 0, GROWN_BYTES);
  if (record) store<u32>(GROWN, <u32>memslotsGrow(vmSlots(vm)), RECORDS);
  if (behind > spacePages(space)) store<u32>(GROWN, <u32>mappingsGrow(spaceMappings(space)), MAPPINGS);
  if (behind > spaceRoom(space)) {
    store<u32>(GROWN, spare ? behind + (behind >> 1) : behind, PAGES);
    const room = load<u32>(GROWN, PAGES);
    spaceGrow(space, room);
    if (spacePolicy(space) !== 0) residencyGrow(space, room);
    if (spaceKsm(space) !== 0) ksmGrow(space, room);
  }
  vmGrow(vm, gfnEnd, load<u32>(GROWN, PAGES));
  const shadow = vmIsShadow(vm);
  const wanted = shadow ? shadowRoomTables() : tables;
  if (wanted !== 0) {
    const most = tablesMax(vmTablePool(vm));
    store<u32>(GROWN, spare ? max<u32>(wanted, most >> 1) : wanted, TABLES);
    tablePoolGrow(vmTablePool(vm), load<u32>(GROWN, TABLES), shadow);
  }
  if (tables !== 0) store<u32>(GROWN, <u32>arenaReserve(PART_RECORDS, GFN_ROOM_BYTES), STRETCH);
  if (vmIsLegacy(vm)) {
    // A block of heads for each leaf table of a direct map; under shadow paging, for as many frames.
    store<u32>(GROWN, shadow ? tables : load<u32>(GROWN, TABLES), BLOCKS);
    store<u32>(GROWN, <u32>rmapGrow(legacyRmap(vm), gfnEnd, load<u32>(GROWN, BLOCKS)), HEADS);
  }
  if (shadow) shadowRoomGrow();
  arenaReserve(PART_RECORDS, 64); // nothing may be read beyond the last region
  if (arenaCommit() === OK) return true;
  arenaBack();
  return false;
}

// Frames for the upper levels of the process' own page table, of which it has all from the start. False: the host has none left, and nothing has been taken.
function upperTablesTake(vm: usize, missing: u32, actor: usize): bool {
  if (missing === 0) return true;
  const pfn = allocBootTable(vmMm(vm), vmSpace(vm), false);
  if (pfn === PFN_NONE) return false;
  if (upperTablesTake(vm, missing - 1, actor)) return true;
  tableFree(vmMm(vm), pfn, actor);
  return false;
}
