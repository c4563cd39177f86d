import { arenaReserve, arenaTake, PART_PRIMARY_PTES, PART_RECORDS } from "../memory/arena";
import { PFN_NONE, unitsFor } from "../memory/layout";
import { mmAddSpace } from "./instance";
import {
  MAPPING_TABLE_BYTES,
  mappingAppend,
  mappingFirst,
  mappingHva,
  mappingOfPage,
  mappingPageAt,
  mappingPages,
  mappingSingle,
  mappingsBehind,
  mappingsPages,
  mappingsPlace,
} from "./mapping";
import { MEMCG_BYTES, memcgGenerations, memcgSetup, setMemcgMax, TABLES_FREE } from "./memcg";
import { generationsFilter, generationsLayout } from "./mglru";
import { filterGrow, filterMove } from "./mglrufilter";
import { PSI_BYTES } from "./psi";

// The address space of a VM's process (mm_struct: the anonymous mappings that back the guest, mapping.ts) with its page table:
// the primary MMU. Its leaf entries lie one after another, without what is not mapped, so that a walk is an index; the frames of
// the leaf tables are taken from host memory when their first entry is used, those of the upper levels at boot.
//
// record   0    4      8       12       16    20       24          28       32
//          +----+------+-------+--------+-----+--------+-----------+-------+----------+--------+------+-----------+-------
//          | id | ptes | pages | tables | rss | rssMax | swapEnts  | first | mappings | policy | huge | userfault | memcg …
//          +----+------+-------+--------+-----+--------+-----------+-------+----------+--------+------+-----------+-------
//
// rss is MM_ANONPAGES; MM_FILEPAGES stands behind the others, for pages that were taken for a file's (movehook.ts).
//
// invariant: both together count the present entries, swapEnts the swapped ones

const ID: usize = 0;
const PTES: usize = 4;
const PAGES: usize = 8;
const TABLES: usize = 12;
const RSS: usize = 16;
const RSS_PEAK: usize = 20;
const SWAPENTS: usize = 24;
const FIRST: usize = 28;
const MAPPINGS: usize = 32;
const POLICY: usize = 36;
const HUGE: usize = 40;
const USERFAULT: usize = 44;
const MEMCG: usize = 48;
const PSI: usize = (MEMCG + MEMCG_BYTES + 7) & ~7;
const OWN_MAPPING: usize = PSI + PSI_BYTES;
const KSM: usize = OWN_MAPPING + MAPPING_TABLE_BYTES;
const FILE_RSS: usize = KSM + 4; // i32
const FILE: usize = KSM + 8;
const SLOTS_LOST: usize = KSM + 12;
const ROOM: usize = KSM + 16;
const KSM_LATER: usize = KSM + 20;
const SPACE_BYTES: usize = KSM + 24;

// What spaceGrow() has reserved.
const GROWN_ROOM: usize = 0;
const GROWN_PTES: usize = 4;
const GROWN_TABLES: usize = 8;
const GROWN_HUGE: usize = 12;
const GROWN_FILTER: usize = 16;
const GROWN: usize = memory.data(20, 4);

const PTES_PER_TABLE_SHIFT: u32 = 9;

/**
 * Takes the record of a space of one mapping of `pages` pages, limited to `max` pages; 0 when memory is exhausted. Another table of
 * mappings may replace that one before spaceLayout().
 */
export function spaceCreate(mm: usize, pages: u32, max: u32): usize {
  const space = arenaTake(PART_RECORDS, SPACE_BYTES);
  if (space === 0) return 0;
  store<u32>(space, pages, PAGES);
  store<u32>(space, mmAddSpace(mm, space), ID);
  mappingSingle(space + OWN_MAPPING, pages);
  store<u32>(space, <u32>(space + OWN_MAPPING), MAPPINGS);
  memcgSetup(space + MEMCG, 1, TABLES_FREE, 0);
  setMemcgMax(space + MEMCG, max);
  return space;
}

export function spaceLayout(space: usize): void {
  const pages = <u64>load<u32>(space, PAGES);
  store<u32>(space, <u32>pages, ROOM);
  store<u32>(space, <u32>arenaReserve(PART_PRIMARY_PTES, pages << 3, 64), PTES);
  store<u32>(space, <u32>arenaReserve(PART_PRIMARY_PTES, unitsFor(pages, 512) << 2), TABLES);
  const gens = memcgGenerations(space + MEMCG);
  if (gens !== 0) generationsLayout(gens, <u32>pages);
}

/** Page numbers for which there is room. */
export function spaceRoom(space: usize): u32 {
  return load<u32>(space, ROOM);
}

/**
 * Reserves what is indexed by the page in a process that lives, for `room` page numbers, more than there is room for; after arenaCommit() spaceMove()
 * follows. Idealized policies and page merging have more of that kind (residency.ts, ksm.ts).
 */
export function spaceGrow(space: usize, room: u32): void {
  const tables = unitsFor(room, 1 << PTES_PER_TABLE_SHIFT);
  store<u32>(GROWN, room, GROWN_ROOM);
  store<u32>(GROWN, <u32>arenaReserve(PART_PRIMARY_PTES, (<u64>room) << 3, 64), GROWN_PTES);
  store<u32>(GROWN, <u32>arenaReserve(PART_PRIMARY_PTES, tables << 2), GROWN_TABLES);
  if (spaceHuge(space) !== 0) store<u32>(GROWN, <u32>arenaReserve(PART_PRIMARY_PTES, tables), GROWN_HUGE);
  if (memcgGenerations(space + MEMCG) !== 0) store<u32>(GROWN, <u32>filterGrow(room), GROWN_FILTER);
}

/** All that moves to where spaceGrow() has made room. */
export function spaceMove(space: usize): void {
  const tables = unitsFor(load<u32>(space, PAGES), 1 << PTES_PER_TABLE_SHIFT);
  move(space, PTES, GROWN_PTES, load<u32>(space, PAGES) << 3);
  move(space, TABLES, GROWN_TABLES, (<u32>tables) << 2);
  if (spaceHuge(space) !== 0) move(space, HUGE, GROWN_HUGE, <u32>tables);
  const gens = memcgGenerations(space + MEMCG);
  const room = load<u32>(GROWN, GROWN_ROOM);
  if (gens !== 0) filterMove(generationsFilter(gens), <usize>load<u32>(GROWN, GROWN_FILTER), room);
  store<u32>(space, room, ROOM);
}

function move(space: usize, field: usize, grown: usize, bytes: u32): void {
  const to = load<u32>(GROWN + grown);
  memory.copy(<usize>to, <usize>load<u32>(space + field), <usize>bytes);
  store<u32>(space + field, to);
}

/** The process, which has room for them, maps `pages` pages more at `hva`; `table` has room for the mapping. */
export function spaceMap(space: usize, table: usize, hva: u64, pages: u32): void {
  const behind = mappingsBehind(table, hva, pages);
  assert(behind <= spaceRoom(space));
  store<u32>(space, <u32>table, MAPPINGS);
  mappingAppend(table, hva, pages);
  store<u32>(space, behind, PAGES);
}

/** Reserves the state of every 2 MiB (thp.ts), all zeroes; without it the space has no huge pages. */
export function spaceHugeLayout(space: usize): void {
  const groups = unitsFor(load<u32>(space, PAGES), 1 << PTES_PER_TABLE_SHIFT);
  store<u32>(space, <u32>arenaReserve(PART_PRIMARY_PTES, groups), HUGE);
}

/** The record of userfault.ts, 0 for a process that supplies no pages itself. */
export function spaceUserfault(space: usize): usize {
  return <usize>load<u32>(space, USERFAULT);
}

export function setSpaceUserfault(space: usize, record: usize): void {
  store<u32>(space, <u32>record, USERFAULT);
}

/** The items of ksm.ts, one a page that there is room for at boot; 0 without page merging. */
export function spaceKsm(space: usize): usize {
  return <usize>load<u32>(space, KSM);
}

export function setSpaceKsm(space: usize, items: usize): void {
  store<u32>(space, <u32>items, KSM);
}

/** The last stretch of items that came later (ksm.ts), 0 for none. */
export function spaceKsmLater(space: usize): usize {
  return <usize>load<u32>(space, KSM_LATER);
}

export function setSpaceKsmLater(space: usize, stretch: usize): void {
  store<u32>(space, <u32>stretch, KSM_LATER);
}

/** The file of pagecache.ts whose pages back the guest, 0 where the process' own memory does. */
export function spaceFile(space: usize): usize {
  return <usize>load<u32>(space, FILE);
}

export function setSpaceFile(space: usize, file: usize): void {
  store<u32>(space, <u32>file, FILE);
}

/** Swap slots that nobody will ever free: the only word that named each has been written over. */
export function spaceSlotsLost(space: usize): u32 {
  return load<u32>(space, SLOTS_LOST);
}

export function spaceSlotLost(space: usize): void {
  store<u32>(space, spaceSlotsLost(space) + 1, SLOTS_LOST);
}

/** One u8 for every 2 MiB; 0 without huge pages. */
export function spaceHuge(space: usize): usize {
  return <usize>load<u32>(space, HUGE);
}

/** Frames of page tables above the leaf tables: one level of 512 each, up to the one root. */
export function spaceUpperTables(space: usize): u32 {
  return upperTables(load<u32>(space, PAGES));
}

/** The same of a process with as many pages. */
export function upperTables(pages: u32): u32 {
  let tables: u32 = 0;
  let level = unitsFor(pages, 1 << PTES_PER_TABLE_SHIFT);
  for (let above: u32 = 0; above < 3; above++) {
    level = unitsFor(level, 512);
    tables += <u32>level;
  }
  return tables;
}

/** Are pages start..end-1 of one mapping? */
export function spaceMaps(space: usize, start: u32, end: u32): bool {
  if (end > load<u32>(space, PAGES)) return false;
  const mapping = mappingOfPage(<usize>load<u32>(space, MAPPINGS), start);
  return start >= mappingFirst(mapping) && end <= mappingFirst(mapping) + mappingPages(mapping);
}

/** Number of the space, equal to the number of its VM. */
export function spaceId(space: usize): u32 {
  return load<u32>(space, ID);
}

/** Number behind the last page. */
export function spacePages(space: usize): u32 {
  return load<u32>(space, PAGES);
}

export function spaceMemcg(space: usize): usize {
  return space + MEMCG;
}

/** The pressure accounting of the cgroup. */
export function spacePsi(space: usize): usize {
  return space + PSI;
}

export function spacePte(space: usize, index: u32): u64 {
  assert(index < load<u32>(space, PAGES));
  return load<u64>(<usize>load<u32>(space, PTES) + ((<usize>index) << 3));
}

/** Address of the pte of page `index`. */
export function spacePteAt(space: usize, index: u32): usize {
  assert(index < load<u32>(space, PAGES));
  return <usize>load<u32>(space, PTES) + ((<usize>index) << 3);
}

export function setSpacePte(space: usize, index: u32, pte: u64): void {
  assert(index < load<u32>(space, PAGES));
  store<u64>(<usize>load<u32>(space, PTES) + ((<usize>index) << 3), pte);
}

/** Frame of the leaf table that holds entry `index`, PFN_NONE while there is none. */
export function spaceTable(space: usize, index: u32): u32 {
  return load<u32>(<usize>load<u32>(space, TABLES) + ((<usize>(index >> PTES_PER_TABLE_SHIFT)) << 2));
}

export function setSpaceTable(space: usize, index: u32, pfn: u32): void {
  assert(pfn !== PFN_NONE && spaceTable(space, index) === PFN_NONE);
  store<u32>(<usize>load<u32>(space, TABLES) + ((<usize>(index >> PTES_PER_TABLE_SHIFT)) << 2), pfn);
}

/** The leaf table is gone. */
export function dropSpaceTable(space: usize, index: u32): void {
  store<u32>(<usize>load<u32>(space, TABLES) + ((<usize>(index >> PTES_PER_TABLE_SHIFT)) << 2), PFN_NONE);
}

/**
 * Position of page 0 within its 2 MiB: walks that go table by table (advice, readahead) stop where a multiple of 512 is
 * reached from there. 0 in a VM's process, whose memory is aligned.
 */
export function spaceFirst(space: usize): u32 {
  return load<u32>(space, FIRST);
}

export function setSpaceFirst(space: usize, pages: u32): void {
  assert(pages < 1 << PTES_PER_TABLE_SHIFT);
  store<u32>(space, pages, FIRST);
}

/** The table of mapping.ts. */
export function spaceMappings(space: usize): usize {
  return <usize>load<u32>(space, MAPPINGS);
}

/** The mappings of `table` instead of the one that the space began with; their pages get their numbers. */
export function setSpaceMappings(space: usize, table: usize): void {
  store<u32>(space, <u32>table, MAPPINGS);
  store<u32>(space, mappingsPlace(table), PAGES);
}

/** Pages that are mapped: spacePages() numbers a few more. */
export function spaceMapped(space: usize): u32 {
  return mappingsPages(spaceMappings(space));
}

/** Address of page `index`. */
export function spaceHva(space: usize, index: u32): u64 {
  const mapping = mappingOfPage(spaceMappings(space), index);
  return mappingHva(mapping) + ((<u64>(index - mappingFirst(mapping))) << 12);
}

/** Page at address `hva`, 0xffffffff when nothing is mapped there. */
export function spacePageAt(space: usize, hva: u64): u32 {
  return mappingPageAt(spaceMappings(space), hva);
}

/** Record of the idealized policy that sees the pages of this space; 0 with the lists of Linux. */
export function spacePolicy(space: usize): usize {
  return <usize>load<u32>(space, POLICY);
}

export function setSpacePolicy(space: usize, policy: usize): void {
  store<u32>(space, <u32>policy, POLICY);
}

/** Present pages (get_mm_rss()). */
export function spaceRss(space: usize): u32 {
  return load<u32>(space, RSS) + load<i32>(space, FILE_RSS);
}

/** Present pages of files, as they were counted: without any file, not 0 when an anonymous page was taken for a file's. */
export function spaceFileRss(space: usize): i32 {
  return load<i32>(space, FILE_RSS);
}

/** Adds to the resident pages of files. */
export function spaceAccountFile(space: usize, rss: i32): void {
  store<i32>(space, load<i32>(space, FILE_RSS) + rss, FILE_RSS);
}

export function spaceRssPeak(space: usize): u32 {
  return load<u32>(space, RSS_PEAK);
}

export function spaceResetPeak(space: usize): void {
  store<u32>(space, spaceRss(space), RSS_PEAK);
}

export function spaceSwapents(space: usize): u32 {
  return load<u32>(space, SWAPENTS);
}

/** Adds to the resident and the swapped pages, modulo 2^32 for negative amounts. */
export function spaceAccount(space: usize, rss: i32, swapents: i32): void {
  store<u32>(space, load<u32>(space, RSS) + rss, RSS);
  const resident = spaceRss(space);
  if (resident > load<u32>(space, RSS_PEAK)) store<u32>(space, resident, RSS_PEAK);
  store<u32>(space, load<u32>(space, SWAPENTS) + swapents, SWAPENTS);
}
