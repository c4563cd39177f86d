import { PFN_NONE } from "../memory/layout";
import { frameStamp, setFrameStamp } from "../mm/instance";
import { migrationPfn, PTE_NONE, pteEntry, pteMigration, ptePfn, ptePresent } from "../mm/pte";
import { spacePte } from "../mm/space";
import { slotStamp } from "../mm/swaparea";
import { swapCacheLookup } from "../mm/swapmap";
import { cachedPage } from "./guestfile";
import { VM_CHECKED, VM_LOST_WRITES, VM_STALE_READS, vmCountAdd } from "./stats";
import { DISCARD_END, DISCARD_START } from "./vcpu";
import {
  gfnToIndex,
  vmExpected,
  vmGuestFile,
  vmId,
  vmMm,
  vmMonitor,
  vmSpace,
  vmStats,
  vmUnalias,
  vmWritten,
} from "./vm";

// Content stamps: each write to a guest page has a number, or a name for what it writes, the same for equal contents; the stamp stands with the frame and travels to swap slots and
// back as the bytes would. A read must find the number of the page's last write. If it does not, the primary MMU is asked
// where the page is: contents that are right there were read through a stale translation, wrong ones are a lost write.
//
// violation, 48 bytes   0      4    8     12     16         20    24     32          40
//                       +------+----+-----+------+----------+-----+------+-----------+--------+
//                       | kind | vm | gfn | vcpu | expected | got | time | writtenAt | writer |
//                       +------+----+-----+------+----------+-----+------+-----------+--------+

/** A frame that an spte keeps and the host does not map: `got` is the frame. */
export const VIOLATION_UNREACHABLE_PIN: u32 = 0;
export const VIOLATION_LOST_WRITE: u32 = 1;
export const VIOLATION_STALE_READ: u32 = 2;
/** hinting of 2019: more blocks than its second array has places. */
export const VIOLATION_ARRAY_OVERFLOW: u32 = 3;
/** A token of asynchronous page faults that a task still sleeps under: `gfn` is the page of the second one. */
export const VIOLATION_TOKEN_REUSE: u32 = 4;
/** A context of mapping-2013 in the private word of a page whose swap entry stood there. */
export const VIOLATION_SWAP_ENTRY_OVERWRITTEN: u32 = 5;
/** A balloon device and its driver take a queue for different ones, and the host has read what is no array of free pages. */
export const VIOLATION_MISREAD_QUEUE: u32 = 6;
/** writepage of 2007 has a page whose gfn is in no slot: the kernel would follow a null pointer. */
export const VIOLATION_NO_SLOT: u32 = 7;
export const VIOLATION_BYTES: usize = 48;
export const VIOLATIONS_KEPT: u32 = 16;

/** In place of a vCPU: the VM's process wrote. */
const WRITER_HOST: u32 = 0xff;

const WRITES: usize = 0;
const FOUND: usize = 4;
const INTENDED_VM: usize = 8; // the contents that one write to come is said to have; 0: none is
const INTENDED_INDEX: usize = 12;
const INTENDED_WRITER: usize = 16;
const INTENDED: usize = 20;
const RECORDS: usize = 24;
const INTEGRITY: usize = memory.data(24 + 48 * 16, 8);

/** Set with the time of a page's last write when the monitor has given its contents up since. */
const GIVEN_UP: u64 = (<u64>1) << 63;

/** Set in the stamps of contents that a write has named, so that no number of a write equals them. */
const NAMED: u32 = 1 << 31;

export function integrityInit(): void {
  memory.fill(INTEGRITY, 0, RECORDS);
}

/** A write through the frame that the vCPU's translation names. */
export function contentWrite(vm: usize, gfn: u32, pfn: u32, vcpu: u32, time: u64): void {
  const index = gfnToIndex(vm, gfn);
  let content: u32 = 0;
  if (load<u32>(INTEGRITY, INTENDED) !== 0 && intended(vm, index, vcpu)) {
    content = load<u32>(INTEGRITY, INTENDED);
    store<u32>(INTEGRITY, 0, INTENDED);
  }
  wrote(vm, index, pfn, vcpu, content, time);
}

/** The next write of `vcpu` to `gfn` writes `content`; 0: something that no page holds yet. */
export function contentIntend(vm: usize, gfn: u32, vcpu: u32, content: u32): void {
  store<u32>(INTEGRITY, vmId(vm), INTENDED_VM);
  store<u32>(INTEGRITY, gfnToIndex(vm, gfn), INTENDED_INDEX);
  store<u32>(INTEGRITY, vcpu, INTENDED_WRITER);
  store<u32>(INTEGRITY, content, INTENDED);
}

function intended(vm: usize, index: u32, writer: u32): bool {
  const place =
    load<u32>(INTEGRITY, INTENDED_VM) === vmId(vm) && load<u32>(INTEGRITY, INTENDED_INDEX) === index;
  return place && load<u32>(INTEGRITY, INTENDED_WRITER) === writer;
}

/** A read through the frame that the vCPU's translation names. False: a violation, now counted and noted. */
export function contentRead(vm: usize, gfn: u32, pfn: u32, vcpu: u32, time: u64): bool {
  vmCountAdd(vmStats(vm), VM_CHECKED, 1);
  const got = frameStamp(vmMm(vm), pfn);
  const index = <usize>gfnToIndex(vm, gfn);
  const expected = load<u32>(vmExpected(vm) + (index << 2));
  if (got === expected || discarding(vm, <u32>index)) return true;
  if (got === 0 && contentGivenUp(vm, <u32>index)) {
    // Seen empty once, it stays empty until the next write.
    setGivenUp(vm, <u32>index, false);
    store<u32>(vmExpected(vm) + (index << 2), 0);
    return true;
  }

  const stale = contentOf(vm, gfn) === expected;
  vmCountAdd(vmStats(vm), stale ? VM_STALE_READS : VM_LOST_WRITES, 1);
  noteViolation(stale ? VIOLATION_STALE_READ : VIOLATION_LOST_WRITE, vm, gfn, vcpu, time, expected, got);
  return false;
}

/** Notes a violation with the last write of its page, and counts it; only with contents checked. */
export function noteViolation(
  kind: u32,
  vm: usize,
  gfn: u32,
  vcpu: u32,
  time: u64,
  expected: u32,
  got: u32,
): void {
  const found = load<u32>(INTEGRITY, FOUND);
  store<u32>(INTEGRITY, found + 1, FOUND);
  if (found >= VIOLATIONS_KEPT) return;
  const record = INTEGRITY + RECORDS + <usize>found * VIOLATION_BYTES;
  const written = load<u64>(vmWritten(vm) + ((<usize>gfnToIndex(vm, gfn)) << 3)) & ~GIVEN_UP;
  store<u32>(record, kind, 0);
  store<u32>(record, vmId(vm), 4);
  store<u32>(record, gfn, 8);
  store<u32>(record, vcpu, 12);
  store<u32>(record, expected, 16);
  store<u32>(record, got, 20);
  store<u64>(record, time, 24);
  store<u64>(record, written >> 8, 32);
  store<u32>(record, <u32>written & 0xff, 40);
}

/** The VM's process itself has read or written page `index`, which lies in frame `pfn`: a write is a last write like any other. */
export function hostTouched(vm: usize, index: u32, pfn: u32, write: bool, content: u32, time: u64): void {
  if (!write || vmExpected(vm) === 0) return;
  wrote(vm, index, pfn, WRITER_HOST, content, time);
}

/** Pages start..end-1 are unmapped, to be mapped empty if at all: nobody may expect what was written there. */
export function contentForget(vm: usize, start: u32, end: u32): void {
  if (vmExpected(vm) === 0) return;
  memory.fill(vmExpected(vm) + ((<usize>start) << 2), 0, (<usize>(end - start)) << 2);
}

/**
 * The monitor begins to discard pages start..end-1. Until it is done a read may find what was written there or zeroes, and a write
 * may be discarded too: nothing is compared.
 */
export function contentDiscard(vm: usize, start: u32, end: u32): void {
  if (vmExpected(vm) === 0) return;
  store<u32>(vmMonitor(vm), start, DISCARD_START);
  store<u32>(vmMonitor(vm), end, DISCARD_END);
}

/** The discard is done: from now on each page holds what the process sees there, zeroes or what was written meanwhile. */
export function contentDiscarded(vm: usize, start: u32, end: u32): void {
  if (vmExpected(vm) === 0) return;
  store<u32>(vmMonitor(vm), 0, DISCARD_END);
  for (let index = start; index < end; index++) {
    store<u32>(vmExpected(vm) + ((<usize>index) << 2), contentAt(vm, index));
  }
}

/** The monitor gives up what stands in pages start..end-1 (MADV_FREE): until its next write each holds that, or zeroes from some time on. */
export function contentGiveUp(vm: usize, start: u32, end: u32): void {
  if (vmExpected(vm) === 0) return;
  for (let index = start; index < end; index++) setGivenUp(vm, index, true);
}

/** Page `index` may turn out to be empty: its contents have been given up, and not written since. */
export function contentGivenUp(vm: usize, index: u32): bool {
  return (load<u64>(vmWritten(vm) + ((<usize>index) << 3)) & GIVEN_UP) !== 0;
}

function setGivenUp(vm: usize, index: u32, givenUp: bool): void {
  const at = vmWritten(vm) + ((<usize>index) << 3);
  const written = load<u64>(at) & ~GIVEN_UP;
  store<u64>(at, givenUp ? written | GIVEN_UP : written);
}

function discarding(vm: usize, index: u32): bool {
  const monitor = vmMonitor(vm);
  return index >= load<u32>(monitor, DISCARD_START) && index < load<u32>(monitor, DISCARD_END);
}

function wrote(vm: usize, index: u32, pfn: u32, writer: u32, content: u32, time: u64): void {
  const number = load<u32>(INTEGRITY, WRITES) + 1;
  store<u32>(INTEGRITY, number, WRITES);
  const stamp = content === 0 ? number & ~NAMED : NAMED | content;
  setFrameStamp(vmMm(vm), pfn, stamp);
  store<u32>(vmExpected(vm) + ((<usize>index) << 2), stamp);
  store<u64>(vmWritten(vm) + ((<usize>index) << 3), (time << 8) | writer);
}

// The stamp of a page where the primary MMU has it: in a frame, in the swap cache, in its slot, or nowhere yet.
function contentOf(vm: usize, gfn: u32): u32 {
  if (vmGuestFile(vm) !== 0) {
    const resident = cachedPage(vm, vmUnalias(vm, gfn));
    if (resident !== PFN_NONE) return frameStamp(vmMm(vm), resident);
  }
  return contentAt(vm, gfnToIndex(vm, gfn));
}

function contentAt(vm: usize, index: u32): u32 {
  const mm = vmMm(vm);
  const pte = spacePte(vmSpace(vm), index);
  if (pte === PTE_NONE) return 0;
  if (ptePresent(pte)) return frameStamp(mm, ptePfn(pte));
  if (pteMigration(pte)) return frameStamp(mm, migrationPfn(pte));
  const cached = swapCacheLookup(mm, pteEntry(pte));
  return cached !== PFN_NONE ? frameStamp(mm, cached) : slotStamp(mm, pteEntry(pte));
}

/** A violation that no access has found. */
export function violationNote(kind: u32, vm: usize, gfn: u32, vcpu: u32, time: u64): void {
  const found = load<u32>(INTEGRITY, FOUND);
  store<u32>(INTEGRITY, found + 1, FOUND);
  if (found >= VIOLATIONS_KEPT) return;
  const record = INTEGRITY + RECORDS + <usize>found * VIOLATION_BYTES;
  memory.fill(record, 0, VIOLATION_BYTES);
  store<u32>(record, kind, 0);
  store<u32>(record, vmId(vm), 4);
  store<u32>(record, gfn, 8);
  store<u32>(record, vcpu, 12);
  store<u64>(record, time, 24);
  store<u64>(record, time, 32);
}

/** Violations found since boot; the first VIOLATIONS_KEPT are noted. */
export function violations(): u32 {
  return load<u32>(INTEGRITY, FOUND);
}

/** Address of noted violation `index`. */
export function violationAt(index: u32): usize {
  assert(index < VIOLATIONS_KEPT);
  return INTEGRITY + RECORDS + <usize>index * VIOLATION_BYTES;
}
