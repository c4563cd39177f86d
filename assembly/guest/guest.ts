import { vmId } from "../kvm/vm";
import { arenaTake, PART_RECORDS } from "../memory/arena";
import { PFN_BASE } from "../memory/layout";
import { LIST_BYTES } from "../mm/list";
import { actorSpend, STAGE_CPU } from "../sim/actor";

// The record of a guest with memory management of its own: what memory.ts works on, and where its drivers' records are.
//
// record   0    4      8       12     16               28        32      36      40     48       52        56   60       64
//          +----+------+-------+------+----------------+---------+-------+-------+------+--------+---------+----+--------+-------+
//          | mm | vpns | table | cpus | page cache list|reporting|hinting|balloon| debt | design | minOrder| vm | device | books |
//          +----+------+-------+------+----------------+---------+-------+-------+------+--------+---------+----+--------+-------+
//          behind the books: records of the hints for a migration, of the balloon's statistics, of its deflation on OOM, and length of hinting's arrays
//
// table     per page of the tasks' regions (vpn): the frame that holds it, PFN_NONE before the first touch; 4 bytes each
// debt      ns of guest CPU time that a hook in the free path has taken and nobody has paid yet
// books     what was freed and what the host knows of that: books.ts
//
// Frame `pfn` of the guest's instance of mm/ is gfn `pfn - PFN_BASE`, so that no frame is number 0.

const MM: usize = 0;
export const GUEST_VPNS: usize = 4;
export const GUEST_TABLE: usize = 8;
export const GUEST_CPUS: usize = 12;
export const GUEST_CACHE: usize = 16;
const REPORTING: usize = GUEST_CACHE + LIST_BYTES;
const HINTING: usize = REPORTING + 4;
const BALLOON: usize = REPORTING + 8;
const DEBT: usize = REPORTING + 12; // u64
const DESIGN: usize = DEBT + 8;
const MIN_ORDER: usize = DEBT + 12;
const VM: usize = DEBT + 16;
const DEVICE: usize = DEBT + 20;
export const GUEST_BOOKS: usize = DEBT + 24;
/** Room for books.ts. */
export const GUEST_BOOKS_BYTES: usize = 8 + 8 * 11 + 8 * 28;
const HINTS: usize = GUEST_BOOKS + GUEST_BOOKS_BYTES;
const STATS: usize = HINTS + 4;
const OOM: usize = HINTS + 8;
const ARRAY: usize = HINTS + 12;
const GUEST_BYTES: usize = HINTS + 16;

export const FREE_OFF: u32 = 0;
export const FREE_HINTING_2019: u32 = 1;
export const FREE_HINTING_2019_MIN_ORDER: u32 = 2;
export const FREE_REPORTING: u32 = 3;
export const FREE_ORACLE: u32 = 4;

// Guests by the number of their VM; 0 for one without memory management of its own.
const GUESTS: usize = memory.data(4 * 4096, 8);

export function guestMemoryInit(): void {
  memory.fill(GUESTS, 0, 4 * 4096);
}

/** The guest's memory management, 0 when its pages are placed directly. */
export function guestMemory(vm: usize): usize {
  return <usize>load<u32>(GUESTS + ((<usize>vmId(vm)) << 2));
}

export function guestMm(guest: usize): usize {
  return <usize>load<u32>(guest, MM);
}

export function guestVm(guest: usize): usize {
  return <usize>load<u32>(guest, VM);
}

export function guestVpns(guest: usize): u32 {
  return load<u32>(guest, GUEST_VPNS);
}

/** How free memory is told to the host, FREE_*. */
export function guestDesign(guest: usize): u32 {
  return load<u32>(guest, DESIGN);
}

/** Least order of a block that is told. */
export function guestMinOrder(guest: usize): u32 {
  return load<u32>(guest, MIN_ORDER);
}

/** Places of each array of hinting. */
export function guestArray(guest: usize): u32 {
  return load<u32>(guest, ARRAY);
}

export function setGuestDesign(guest: usize, design: u32, minOrder: u32, array: u32): void {
  store<u32>(guest, design, DESIGN);
  store<u32>(guest, minOrder, MIN_ORDER);
  store<u32>(guest, array, ARRAY);
}

/** Record of reporting.ts, 0 for none. */
export function guestReporting(guest: usize): usize {
  return <usize>load<u32>(guest, REPORTING);
}

export function setGuestReporting(guest: usize, reporting: usize): void {
  store<u32>(guest, <u32>reporting, REPORTING);
}

/** Record of balloon.ts, 0 for none. */
export function guestBalloon(guest: usize): usize {
  return <usize>load<u32>(guest, BALLOON);
}

export function setGuestBalloon(guest: usize, balloon: usize): void {
  store<u32>(guest, <u32>balloon, BALLOON);
}

/** Records of hinting.ts, one a CPU, 0 for none. */
export function guestHinting(guest: usize): usize {
  return <usize>load<u32>(guest, HINTING);
}

export function setGuestHinting(guest: usize, records: usize): void {
  store<u32>(guest, <u32>records, HINTING);
}

/** Record of pagehints.ts, 0 for none. */
export function guestHints(guest: usize): usize {
  return <usize>load<u32>(guest, HINTS);
}

export function setGuestHints(guest: usize, hints: usize): void {
  store<u32>(guest, <u32>hints, HINTS);
}

/** Record of balloonstats.ts, 0 for none. */
export function guestStats(guest: usize): usize {
  return <usize>load<u32>(guest, STATS);
}

export function setGuestStats(guest: usize, stats: usize): void {
  store<u32>(guest, <u32>stats, STATS);
}

/** Record of who gives pages of the balloon to a guest without memory (oom.ts), 0 for none. */
export function guestOom(guest: usize): usize {
  return <usize>load<u32>(guest, OOM);
}

export function setGuestOom(guest: usize, queue: usize): void {
  store<u32>(guest, <u32>queue, OOM);
}

/** Actor of balloondev.ts, 0 for none. */
export function guestDevice(guest: usize): usize {
  return <usize>load<u32>(guest, DEVICE);
}

export function setGuestDevice(guest: usize, device: usize): void {
  store<u32>(guest, <u32>device, DEVICE);
}

/** Guest CPU time that the free path's hook takes; paid by whoever frees. */
export function guestOwe(guest: usize, ns: u64): void {
  store<u64>(guest, load<u64>(guest, DEBT) + ns, DEBT);
}

/** The vCPU pays what the free path's hook has taken. */
export function guestPay(guest: usize, vcpu: usize): void {
  const debt = load<u64>(guest, DEBT);
  if (debt === 0) return;
  actorSpend(vcpu, STAGE_CPU, <u32>debt);
  store<u64>(guest, 0, DEBT);
}

export function pfnToGfn(pfn: u32): u32 {
  return pfn - PFN_BASE;
}

/** Takes the record of the guest in VM `vm`, on the instance `mm`; 0 when memory is exhausted. */
export function guestCreate(vm: usize, mm: usize, vcpus: u32, vpns: u32): usize {
  const guest = arenaTake(PART_RECORDS, GUEST_BYTES);
  if (guest === 0) return 0;
  store<u32>(guest, <u32>mm, MM);
  store<u32>(guest, vpns, GUEST_VPNS);
  store<u32>(guest, vcpus, GUEST_CPUS);
  store<u32>(guest, <u32>vm, VM);
  store<u32>(GUESTS + ((<usize>vmId(vm)) << 2), <u32>guest);
  return guest;
}
