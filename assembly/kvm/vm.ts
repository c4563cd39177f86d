import { arenaReserve, arenaTake, PART_INTEGRITY, PART_RECORDS, PART_SPTES } from "../memory/arena";
import { unitsFor } from "../memory/layout";
import { mappingAdd, mappingTable } from "../mm/mapping";
import { setSpaceMappings, spacePageAt, spaceRoom } from "../mm/space";
import { LOCK_BYTES } from "../sim/lock";
import { aliasAdd, aliasTable, unaliasGfn } from "./alias";
import { GFN_ROOM_BYTES, gfnRoomAdd } from "./gfnroom";
import { memslotHva, memslotIndex, setMemslotFirst } from "./memslot";
import {
  gfnToMemslot,
  memslotAdd,
  memslotAt,
  memslotCount,
  memslotsCreate,
  memslotsPublish,
} from "./memslots";
import { TABLE_POOL_BYTES, tablePoolLayout } from "./shadowpage";
import { statsLayout, VM_STATS_BYTES } from "./stats";

// A virtual machine (struct kvm): its memslots, its TDP page table, mmu_lock and the notifier's sequence count.
//
// record    the fields below, then the statistics
// pages     of the guest's memory; gfnEnd stands behind the last gfn that a slot has or is going to have
// notices   2008: a u16 a page of the process, the calls on their way that will still name it

const ID: usize = 0;
const MM: usize = 4;
const SPACE: usize = 8;
const PAGES: usize = 12;
const VCPUS: usize = 16;
const VCPU_LIST: usize = 20;
const MMU_LOCK: usize = 24;
/** The record of invalidation.ts. */
export const INVALIDATION: usize = MMU_LOCK + LOCK_BYTES;
export const VM_DIRECTORY: usize = INVALIDATION + 16;
const ROOT: usize = INVALIDATION + 20;
export const VM_EXPECTED: usize = INVALIDATION + 24;
export const VM_WRITTEN: usize = INVALIDATION + 28;
const SLOTS: usize = INVALIDATION + 32;
export const VM_GFN_END: usize = INVALIDATION + 36;
const TABLES: usize = INVALIDATION + 40;
const MAPPINGS: usize = INVALIDATION + 44;
const FORMAT: usize = INVALIDATION + 48;
const LEVELS: usize = INVALIDATION + 52;
const NOTIFIER: usize = INVALIDATION + 56;
const LEGACY: usize = INVALIDATION + 60;
const HUGE: usize = INVALIDATION + 64;
const SHADOW: usize = INVALIDATION + 68;
const POOL_TABLES: usize = INVALIDATION + 72;
const TABLE_POOL: usize = INVALIDATION + 76;
const MONITOR: usize = (TABLE_POOL + TABLE_POOL_BYTES + 7) & ~7;
const ZAPS: usize = MONITOR + 4;
const ALIASES: usize = MONITOR + 8;
const GUEST_FILE: usize = MONITOR + 12;
export const VM_NOTICES: usize = MONITOR + 16;
const ROOM: usize = MONITOR + 20;
const ENDING: usize = MONITOR + 24;
const LEAVING: usize = MONITOR + 28;
const STATS: usize = (MONITOR + 36 + 7) & ~7;
const VM_BYTES: usize = STATS + VM_STATS_BYTES;

/** invalidate_range_start and _end with a sequence count; a fault that an invalidation overtook starts over. */
export const NOTIFIER_SEQ_RETRY: u32 = 0;
/** invalidate_page, age_page and invalidate_range_end; an spte owns a reference to its page. */
export const NOTIFIER_2008: u32 = 1;
/** As today's, but a fault does not look whether an invalidation has overtaken it. */
export const NOTIFIER_NO_RETRY: u32 = 2;

const LEVELS_DEFAULT: u32 = 4;

/** Where a VM's process maps the guest, unless the scenario says: gpa 0 of VM 0, and how far VMs lie apart. */
export const HVA_BASE: u64 = 0x7f0000000000;
const HVA_PER_VM_SHIFT: u64 = 36;

/**
 * Takes the record of VM number `id` with `pages` pages of guest memory, backed by `space`, in up to `slots` memslots; 0 when memory
 * is exhausted.
 */
export function vmCreate(id: u32, mm: usize, space: usize, pages: u32, slots: u32): usize {
  const vm = arenaTake(PART_RECORDS, VM_BYTES);
  const set = memslotsCreate(slots);
  const mappings = mappingTable(slots);
  if (vm === 0 || set === 0 || mappings === 0) return 0;
  store<u32>(vm, id, ID);
  store<u32>(vm, <u32>mm, MM);
  store<u32>(vm, <u32>space, SPACE);
  store<u32>(vm, pages, PAGES);
  store<u32>(vm, <u32>set, SLOTS);
  store<u32>(vm, <u32>mappings, MAPPINGS);
  store<u32>(vm, 1, TABLES);
  store<u32>(vm, LEVELS_DEFAULT, LEVELS);
  return vm;
}

/** How the VM's tables look, and how it learns of invalidations; before vmLayout(). `format` SPTE_*, `notifier` NOTIFIER_*. */
export function vmDesign(vm: usize, format: u32, levels: u32, notifier: u32, huge: bool): void {
  assert(levels === 4 || levels === 5);
  store<u32>(vm, format, FORMAT);
  store<u32>(vm, levels, LEVELS);
  store<u32>(vm, notifier, NOTIFIER);
  store<u32>(vm, huge ? 1 : 0, HUGE);
}

/** Address at which the VM's process maps `gfn` where the scenario names none. */
export function vmDefaultHva(vm: usize, gfn: u32): u64 {
  return HVA_BASE + ((<u64>load<u32>(vm, ID)) << HVA_PER_VM_SHIFT) + ((<u64>gfn) << 12);
}

/** Frames gfn .. gfn + pages - 1 may become a slot, backed by the process' memory at `hva`: room is made for that at boot. */
export function vmReserve(vm: usize, gfn: u32, pages: u32, hva: u64): void {
  mappingAdd(<usize>load<u32>(vm, MAPPINGS), hva, pages);
  reserveTables(vm, gfn, pages);
}

/** Frames base .. base + pages - 1 stand for those from `target` on (KVM_SET_MEMORY_ALIAS); before vmLayout(). False: memory is exhausted. */
export function vmAddAlias(vm: usize, base: u32, pages: u32, target: u32): bool {
  if (vmAliases(vm) === 0) store<u32>(vm, <u32>aliasTable(), ALIASES);
  if (vmAliases(vm) === 0) return false;
  aliasAdd(vmAliases(vm), base, pages, target);
  reserveTables(vm, base, pages);
  return true;
}

/** Table of the VM's aliases, 0 when it has none. */
export function vmAliases(vm: usize): usize {
  return <usize>load<u32>(vm, ALIASES);
}

/** The frame that `gfn` stands for: itself, or what an alias says. */
export function vmUnalias(vm: usize, gfn: u32): u32 {
  return unaliasGfn(vmAliases(vm), gfn);
}

function reserveTables(vm: usize, gfn: u32, pages: u32): void {
  const stretch = arenaTake(PART_RECORDS, GFN_ROOM_BYTES);
  if (stretch !== 0) gfnRoomAdd(vmGfnRoom(vm), stretch, gfn, pages);
  const last = gfn + pages - 1;
  store<u32>(vm, max<u32>(load<u32>(vm, VM_GFN_END), last + 1), VM_GFN_END);
  let tables = load<u32>(vm, TABLES);
  for (let shift: u32 = 9; shift <= 27; shift += 9) tables += (last >> shift) - (gfn >> shift) + 1;
  store<u32>(vm, tables, TABLES);
}

/** Address of the list of gfnroom.ts: where the VM's tables have room. */
export function vmGfnRoom(vm: usize): usize {
  return vm + ROOM;
}

/** A slot that is there from the start; before vmLayout(). */
export function vmAddSlot(vm: usize, id: u32, gfn: u32, pages: u32, hva: u64, flags: u32): void {
  vmReserve(vm, gfn, pages, hva);
  const slot = memslotAdd(vmSlots(vm), id, gfn, pages, hva, flags);
  assert(slot !== 0);
}

/** All that is mapped is known: the pages of the process get their numbers, and the slots theirs. */
export function vmPlaceSlots(vm: usize): void {
  const space = <usize>load<u32>(vm, SPACE);
  const slots = vmSlots(vm);
  setSpaceMappings(space, <usize>load<u32>(vm, MAPPINGS));
  for (let place: u32 = 0; place < memslotCount(slots); place++) {
    const slot = memslotAt(slots, place);
    setMemslotFirst(slot, spacePageAt(space, memslotHva(slot)));
  }
  memslotsPublish(slots, memslotCount(slots));
}

/** Page tables that the VM can need: those of its slots, the root, and with five levels the one below it. */
export function vmTables(vm: usize): u32 {
  return load<u32>(vm, TABLES) + (load<u32>(vm, LEVELS) - LEVELS_DEFAULT);
}

export function vmLayout(vm: usize): void {
  const tables = load<u32>(vm, POOL_TABLES);
  tablePoolLayout(vm + TABLE_POOL, tables === 0 ? vmTables(vm) : tables, vmIsShadow(vm));
  store<u32>(vm, <u32>arenaReserve(PART_SPTES, unitsFor(load<u32>(vm, VM_GFN_END), 512) << 2), VM_DIRECTORY);
  if (vmSpteRefs(vm)) {
    const pages = <u64>spaceRoom(<usize>load<u32>(vm, SPACE));
    store<u32>(vm, <u32>arenaReserve(PART_SPTES, pages << 1), VM_NOTICES);
  }
  statsLayout(vm + STATS);
}

/** Reserves, a page that backs the guest, the number (u32) and the time and vCPU (u64) of its last write. */
export function vmStampsLayout(vm: usize): void {
  const pages = <u64>spaceRoom(<usize>load<u32>(vm, SPACE));
  store<u32>(vm, <u32>arenaReserve(PART_INTEGRITY, pages << 3), VM_WRITTEN);
  store<u32>(vm, <u32>arenaReserve(PART_INTEGRITY, pages << 2), VM_EXPECTED);
}

export function vmId(vm: usize): u32 {
  return load<u32>(vm, ID);
}

export function vmMm(vm: usize): usize {
  return <usize>load<u32>(vm, MM);
}

export function vmSpace(vm: usize): usize {
  return <usize>load<u32>(vm, SPACE);
}

/** Pages of guest memory. */
export function vmPages(vm: usize): u32 {
  return load<u32>(vm, PAGES);
}

/** Stands behind the last gfn that can be mapped. */
export function vmGfnEnd(vm: usize): u32 {
  return load<u32>(vm, VM_GFN_END);
}

export function vmStats(vm: usize): usize {
  return vm + STATS;
}

/** The VM's memslots: memslots.ts. */
export function vmSlots(vm: usize): usize {
  return <usize>load<u32>(vm, SLOTS);
}

/** Page of the process that backs `gfn`, which a slot holds (gfn_to_hva()). */
export function gfnToIndex(vm: usize, gfn: u32): u32 {
  const frame = vmUnalias(vm, gfn);
  const slot = gfnToMemslot(vmSlots(vm), frame);
  assert(slot !== 0);
  return memslotIndex(slot, frame);
}

export function vmVcpus(vm: usize): u32 {
  return load<u32>(vm, VCPUS);
}

/** First vCPU of the VM; the others follow through vcpuNext(). */
export function vmVcpuList(vm: usize): usize {
  return <usize>load<u32>(vm, VCPU_LIST);
}

export function setVmVcpus(vm: usize, vcpus: u32, first: usize): void {
  store<u32>(vm, vcpus, VCPUS);
  store<u32>(vm, <u32>first, VCPU_LIST);
}

/** How often all mappings were dropped (mmu_valid_gen): a fault that began before must not map what it has found. */
export function vmZaps(vm: usize): u32 {
  return load<u32>(vm, ZAPS);
}

export function vmZapped(vm: usize): void {
  store<u32>(vm, load<u32>(vm, ZAPS) + 1, ZAPS);
}

/** How far its end is: vmend.ts. */
export function vmEnd(vm: usize): u32 {
  return load<u32>(vm, ENDING);
}

export function setVmEnd(vm: usize, end: u32): void {
  store<u32>(vm, end, ENDING);
}

/** Whoever waits for the VM's threads (a wait queue). */
export function vmLeaving(vm: usize): usize {
  return vm + LEAVING;
}

/** The actor of monitor.ts. */
export function vmMonitor(vm: usize): usize {
  return <usize>load<u32>(vm, MONITOR);
}

export function setVmMonitor(vm: usize, monitor: usize): void {
  store<u32>(vm, <u32>monitor, MONITOR);
}

export function vmMmuLock(vm: usize): usize {
  return vm + MMU_LOCK;
}

/** One u32 a leaf table: its address, 0 while there is none. An index beside the tables; walk.ts writes both. */
export function vmDirectory(vm: usize): usize {
  return <usize>load<u32>(vm, VM_DIRECTORY);
}

/** No walk reaches a leaf table any more. */
export function vmForgetDirectory(vm: usize): void {
  memory.fill(vmDirectory(vm), 0, <usize>(unitsFor(vmGfnEnd(vm), 512) << 2));
}

/** Address of the root table; 0 before it is loaded, and after all mappings have been dropped. */
export function vmRoot(vm: usize): usize {
  return <usize>load<u32>(vm, ROOT);
}

export function setVmRoot(vm: usize, table: usize): void {
  store<u32>(vm, <u32>table, ROOT);
}

/** The VM's pages of sptes: shadowpage.ts. */
export function vmTablePool(vm: usize): usize {
  return vm + TABLE_POOL;
}

/** Form of its entries, SPTE_*. */
export function vmFormat(vm: usize): u32 {
  return load<u32>(vm, FORMAT);
}

/** Level of the root: 4 or 5. */
export function vmLevels(vm: usize): u32 {
  return load<u32>(vm, LEVELS);
}

/** NOTIFIER_* */
export function vmNotifier(vm: usize): u32 {
  return load<u32>(vm, NOTIFIER);
}

/** An spte owns a reference to its page. */
export function vmSpteRefs(vm: usize): bool {
  return load<u32>(vm, NOTIFIER) === NOTIFIER_2008;
}

/** One u16 a page of the process: notifier2008.ts. */
export function vmNotices(vm: usize): usize {
  return <usize>load<u32>(vm, VM_NOTICES);
}

/** 2 MiB pages may be mapped. */
export function vmHuge(vm: usize): bool {
  return load<u32>(vm, HUGE) !== 0;
}

/** Record of the legacy MMU (legacypages.ts), 0 with the TDP MMU. */
export function vmLegacy(vm: usize): usize {
  return <usize>load<u32>(vm, LEGACY);
}

export function setVmLegacy(vm: usize, legacy: usize): void {
  store<u32>(vm, <u32>legacy, LEGACY);
}

export function vmIsLegacy(vm: usize): bool {
  return load<u32>(vm, LEGACY) !== 0;
}

/** Record of guestfile.ts, 0 where the process' own memory backs the guest. */
export function vmGuestFile(vm: usize): usize {
  return <usize>load<u32>(vm, GUEST_FILE);
}

export function setVmGuestFile(vm: usize, record: usize): void {
  store<u32>(vm, <u32>record, GUEST_FILE);
}

/** Record of shadow paging (roots.ts), 0 without. */
export function vmShadow(vm: usize): usize {
  return <usize>load<u32>(vm, SHADOW);
}

/** The guest's own tables are shadowed, by up to `tables` pages of sptes at a time; before vmLayout(). */
export function setVmShadow(vm: usize, shadow: usize, tables: u32): void {
  store<u32>(vm, <u32>shadow, SHADOW);
  store<u32>(vm, tables, POOL_TABLES);
}

/** The VM's MMU never has more than so many pages of sptes. */
export function limitVmTables(vm: usize, tables: u32): void {
  store<u32>(vm, min<u32>(load<u32>(vm, POOL_TABLES), tables), POOL_TABLES);
}

export function vmIsShadow(vm: usize): bool {
  return load<u32>(vm, SHADOW) !== 0;
}

/** One u32 a page of the process: the number of its last write; 0 without integrity. */
export function vmExpected(vm: usize): usize {
  return <usize>load<u32>(vm, VM_EXPECTED);
}

/** One u64 a page of the process: time of its last write << 8 | vCPU. */
export function vmWritten(vm: usize): usize {
  return <usize>load<u32>(vm, VM_WRITTEN);
}

/** Contents of the VM's pages are not checked any more. */
export function vmDropStamps(vm: usize): void {
  store<u32>(vm, 0, VM_EXPECTED);
  store<u32>(vm, 0, VM_WRITTEN);
}
