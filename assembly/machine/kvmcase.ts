import {
  vmInvalidateBegin,
  vmInvalidateEnd,
  vmInvalidateExtend,
  vmInvalidateRetry,
  vmInvalidateSeq,
} from "../kvm/invalidation";
import { mmuPagesDefault } from "../kvm/legacypages";
import { memslotFrame, memslotFrames, memslotInit } from "../kvm/memslot";
import { descPoolUsed } from "../kvm/ptelist";
import {
  checkRmapList,
  RMAP_BYTES,
  rmapAdd,
  rmapCount,
  rmapFirst,
  rmapLayout,
  rmapNext,
  rmapPool,
  rmapRemove,
} from "../kvm/rmap";
import { spteAge, spteDirty, spteLeaf, spteRestore, spteWithoutAd, spteWriteProtect } from "../kvm/spte";
import { vmCreate } from "../kvm/vm";
import { arenaCommit, arenaInit, arenaReserve, arenaTop, PART_SPTES, PART_WORKLOADS } from "../memory/arena";
import { E_NO_MEMORY, OK } from "../memory/status";

// The parts of KVM's MMUs one by one, without a machine: entries, indices, lists of the reverse map, the retry rule of the notifier.
// A list is that of a gfn; an entry in it is a number from 1 on.

const SPTE: usize = 0; // u64
const RMAP: usize = 8;
const ENTRIES: usize = 8 + RMAP_BYTES;
const DUMP: usize = ENTRIES + 4;
const VM: usize = ENTRIES + 8;
const CASE: usize = memory.data(64, 8);
const SLOT: usize = memory.data(64, 8);

const LEVEL: u32 = 1;

export const TURN_WRITE_PROTECT: u32 = 0;
export const TURN_AGE: u32 = 1;
export const TURN_CLEAR_DIRTY: u32 = 2;
export const TURN_WITHOUT_AD: u32 = 3;
export const TURN_RESTORE_READ: u32 = 4;
export const TURN_RESTORE_WRITE: u32 = 5;

/** Makes a leaf; returns the address of its two u32, low and high. */
export function kvmCaseLeaf(
  format: u32,
  pfn: u32,
  level: u32,
  access: u32,
  hostWritable: bool,
  protect: bool,
  prefetch: bool,
): usize {
  store<u64>(CASE, spteLeaf(format, pfn, level, access, hostWritable, protect, prefetch), SPTE);
  return CASE;
}

/** Does TURN_* to the leaf that was made last. */
export function kvmCaseTurn(format: u32, turn: u32): void {
  let spte = load<u64>(CASE, SPTE);
  if (turn === TURN_WRITE_PROTECT) spte = spteWriteProtect(spte);
  else if (turn === TURN_AGE) spte = spteAge(spte, format);
  else if (turn === TURN_CLEAR_DIRTY) spte &= ~spteDirty(format);
  else if (turn === TURN_WITHOUT_AD) spte = spteWithoutAd(spte);
  else spte = spteRestore(spte, format, turn === TURN_RESTORE_WRITE);
  store<u64>(CASE, spte, SPTE);
}

/** Number of the frame of `level` that holds `gfn`, in a slot of `pages` pages at `base`. */
export function kvmCaseIndex(gfn: u32, base: u32, pages: u32, level: u32): u32 {
  memslotInit(SLOT, 0, base, pages, 0, 0);
  return memslotFrame(SLOT, gfn, level);
}

/** Frames of `level` of the slot of kvmCaseIndex(). */
export function kvmCaseEntries(level: u32): u32 {
  return memslotFrames(SLOT, level);
}

export function kvmCaseMmuPages(pages: u32): u32 {
  return mmuPagesDefault(pages);
}

// Memory that an earlier case has used is as good as new.
function fresh(): void {
  arenaInit();
  const first = <usize>arenaTop();
  memory.fill(first, 0, ((<usize>memory.size()) << 16) - first);
}

/** Starts with `lists` empty lists for at most `entries` entries; `old`: in the form of 2008. Fails with E_NO_MEMORY. */
export function kvmCaseLists(lists: u32, entries: u32, old: bool): i32 {
  fresh();
  memory.fill(CASE, 0, 64);
  rmapLayout(CASE + RMAP, lists, lists, entries, old);
  store<u32>(CASE, <u32>arenaReserve(PART_SPTES, (<u64>(entries + 1)) << 3), ENTRIES);
  store<u32>(CASE, <u32>arenaReserve(PART_WORKLOADS, (<u64>(entries + 1)) << 2), DUMP);
  return arenaCommit() === OK ? OK : E_NO_MEMORY;
}

function entry(number: u32): usize {
  return <usize>load<u32>(CASE, ENTRIES) + ((<usize>number) << 3);
}

function numberOf(spte: usize): u32 {
  return <u32>((spte - <usize>load<u32>(CASE, ENTRIES)) >> 3);
}

/** Adds entry `number`. Returns the entries that were there. */
export function kvmCaseAdd(list: u32, number: u32): u32 {
  const count = rmapCount(CASE + RMAP, list, LEVEL);
  rmapAdd(CASE + RMAP, list, LEVEL, entry(number));
  checkRmapList(CASE + RMAP, list, LEVEL);
  return count;
}

export function kvmCaseRemove(list: u32, number: u32): void {
  rmapRemove(CASE + RMAP, list, LEVEL, entry(number));
  checkRmapList(CASE + RMAP, list, LEVEL);
}

export function kvmCaseCount(list: u32): u32 {
  return rmapCount(CASE + RMAP, list, LEVEL);
}

/** Descriptors in use by all lists. */
export function kvmCaseDescriptors(): u32 {
  return descPoolUsed(rmapPool(CASE + RMAP));
}

/** Address of the list's entries in the order of a walk, kvmCaseCount() u32. */
export function kvmCaseDump(list: u32): usize {
  const dump = <usize>load<u32>(CASE, DUMP);
  let at = dump;
  const rmap = CASE + RMAP;
  for (let each = rmapFirst(rmap, list, LEVEL); each !== 0; each = rmapNext(rmap, list, LEVEL, each)) {
    store<u32>(at, numberOf(each));
    at += 4;
  }
  return dump;
}

/** Drops all entries, going by the successor taken before each removal, or from the start after each. Returns those left. */
export function kvmCaseUnmap(list: u32, restart: bool): u32 {
  const rmap = CASE + RMAP;
  let each = rmapFirst(rmap, list, LEVEL);
  while (each !== 0) {
    const current = each;
    each = rmapNext(rmap, list, LEVEL, each);
    rmapRemove(rmap, list, LEVEL, current);
    if (restart) each = rmapFirst(rmap, list, LEVEL);
  }
  return rmapCount(rmap, list, LEVEL);
}

/** Walks the lists first .. first+lists-1 once each. Returns the entries met: what is timed. */
export function kvmCaseWalk(first: u32, lists: u32): u32 {
  const rmap = CASE + RMAP;
  let met: u32 = 0;
  for (let list = first; list < first + lists; list++) {
    for (let each = rmapFirst(rmap, list, LEVEL); each !== 0; each = rmapNext(rmap, list, LEVEL, each)) met++;
  }
  return met;
}

/** Starts with a VM in which no invalidation is open. */
export function kvmCaseVm(): i32 {
  fresh();
  store<u32>(CASE, <u32>vmCreate(0, 0, 0, 1, 1), VM);
  return load<u32>(CASE, VM) === 0 ? E_NO_MEMORY : OK;
}

export function kvmCaseInvalidateBegin(start: u32, end: u32): void {
  vmInvalidateBegin(<usize>load<u32>(CASE, VM));
  vmInvalidateExtend(<usize>load<u32>(CASE, VM), start, end);
}

export function kvmCaseInvalidateEnd(): void {
  vmInvalidateEnd(<usize>load<u32>(CASE, VM));
}

export function kvmCaseSeq(): u32 {
  return vmInvalidateSeq(<usize>load<u32>(CASE, VM));
}

export function kvmCaseRetry(seq: u32, gfn: u32): bool {
  return vmInvalidateRetry(<usize>load<u32>(CASE, VM), seq, gfn);
}
