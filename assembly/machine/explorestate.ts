import { cachedPage, kvmLock } from "../kvm/guestfile";
import { contentGivenUp } from "../kvm/integrity";
import { vmInvalidateSeq, vmInvalidating } from "../kvm/invalidation";
import { legacyRmap } from "../kvm/legacypages";
import { gfnToMemslot } from "../kvm/memslots";
import { mmuFirst, mmuNext } from "../kvm/mmu";
import { rmapFirst, rmapNext } from "../kvm/rmap";
import { tlbPeek, tlbPfn } from "../kvm/tlb";
import {
  BLOCKED_SEEN,
  DAEMON_BYTES,
  KVM_CONTEXT_END,
  PF_START,
  STEP_BEGAN,
  TLB_GENERATION,
  TLB_PFNS,
  TLB_SET_MASK,
  TLB_TAGS,
  TLB_WAYS,
  vcpuNext,
} from "../kvm/vcpu";
import {
  gfnToIndex,
  vmEnd,
  vmExpected,
  vmGfnEnd,
  vmGuestFile,
  vmId,
  vmIsLegacy,
  vmMm,
  vmMmuLock,
  vmSlots,
  vmSpace,
  vmUnalias,
  vmVcpuList,
} from "../kvm/vm";
import { vmAt, vmTableCount } from "../kvm/vmtable";
import { LEVEL_4K, leafPfn } from "../kvm/walk";
import { THROTTLED_AT } from "../mm/context";
import { frameStamp, mmArea, mmAreas } from "../mm/instance";
import { mappingAt, mappingReadahead, mappings } from "../mm/mapping";
import {
  blockByte,
  mmPfnEnd,
  mmPfnFirst,
  PAGE_BYTES,
  PG_SWAPCACHE,
  pageIndex,
  pageNext,
  pageOf,
  pageOwner,
  pagePrev,
  pagePrivate,
  pageRefs,
  pageTest,
} from "../mm/page";
import { pteEntry, ptePfn, ptePresent, pteSwapped, ZERO_PFN } from "../mm/pte";
import { spaceId, spaceMappings, spacePte } from "../mm/space";
import {
  areaClusterNext,
  areaFreeHead,
  areaFreeTail,
  areaHighest,
  areaLowest,
  slotStamp,
} from "../mm/swaparea";
import { swapCacheLookup, swapCount } from "../mm/swapmap";
import { slotsLeft, slotsReturned } from "../mm/swapslots";
import { readaheadHits, readaheadPrevOffset, readaheadPrevWindow, swapCpus } from "../mm/swapstate";
import {
  ACTOR_BYTES,
  ACTOR_VCPU,
  actorKind,
  actorNext,
  actorSpinLocks,
  actorState,
  actorWaitNext,
} from "../sim/actor";
import { eventArgAt, eventCount, eventKindAt } from "../sim/events";
import { LOCK_BYTES } from "../sim/lock";
import { MUTEX_BYTES } from "../sim/mutex";
import { mixCalls } from "./explore";
import { mixApf } from "./exploreapf";
import { mixActs, mixGuest } from "./exploreguest";
import { firstActor, host } from "./state";
import { hashBegin, hashValue, mix, mixWords } from "./statehash";

// What makes two states of a machine the same to the explorer: all that the steps to come read, but for time. Memory and its reverse maps,
// locks, what each actor is in the middle of, its translations, what is pending. Left out: clocks, costs, statistics, tracepoints, the
// order of pending events. Content stamps count by what they tell: whether a page's place holds its last write.
//
// Also what is wrong with a state: an entry that names a frame which is no longer its page's.

/** Hash of the present state: its low or high half. */
export function exploreHash(high: bool): u32 {
  if (high) return <u32>(hashValue() >> 32);
  hashBegin();
  mixCalls();
  mixActs();
  for (let actor = firstActor(); actor !== 0; actor = actorNext(actor)) mixActor(actor);
  for (let id: u32 = 0; id < vmTableCount(); id++) mixVm(vmAt(id));
  mixFrames();
  let pending: u64 = 0;
  for (let index: u32 = 0; index < eventCount(); index++) {
    const word = ((<u64>eventKindAt(index)) << 32) | eventArgAt(index);
    pending += (word + 1) * 0x9e3779b97f4a7c15;
  }
  mix(pending);
  return <u32>hashValue();
}

// Clocks stand among what an actor is in the middle of; they are passed over.
function mixActor(actor: usize): void {
  mix(actorState(actor) | (actorSpinLocks(actor) << 8));
  mix(actorWaitNext(actor));
  const vcpu = actorKind(actor) === ACTOR_VCPU;
  mixWords(actor + ACTOR_BYTES, actor + THROTTLED_AT);
  if (!vcpu) {
    mixWords(actor + THROTTLED_AT + 8, actor + DAEMON_BYTES);
    return;
  }
  mixWords(actor + THROTTLED_AT + 8, actor + TLB_GENERATION);
  mixWords(actor + TLB_GENERATION + 4, actor + PF_START);
  mixWords(actor + PF_START + 8, actor + BLOCKED_SEEN);
  mixWords(actor + BLOCKED_SEEN + 8, actor + STEP_BEGAN);
  mixWords(actor + STEP_BEGAN + 8, actor + KVM_CONTEXT_END);
  const entries = <usize>(load<u32>(actor, TLB_SET_MASK) + 1) * load<u32>(actor, TLB_WAYS);
  const tags = <usize>load<u32>(actor, TLB_TAGS);
  const pfns = <usize>load<u32>(actor, TLB_PFNS);
  for (let entry: usize = 0; entry < entries; entry++) {
    const tag = load<u64>(tags + (entry << 3));
    const valid = <u32>(tag >> 32) === load<u32>(actor, TLB_GENERATION);
    mix(valid ? ((<u64>load<u32>(pfns + (entry << 2))) << 32) | <u32>tag : 0);
  }
}

function mixVm(vm: usize): void {
  mixApf(vm);
  mixGuest(vm);
  mixReadahead(spaceMappings(vmSpace(vm)));
  const lock = vmMmuLock(vm);
  mixWords(lock, lock + LOCK_BYTES);
  if (vmGuestFile(vm) !== 0) mixWords(kvmLock(vm), kvmLock(vm) + MUTEX_BYTES);
  mix(vmEnd(vm));
  mix(vmInvalidateSeq(vm) | ((<u64>vmInvalidating(vm)) << 32));
  for (let gfn: u32 = 0; gfn < vmGfnEnd(vm); gfn++) {
    if (gfnToMemslot(vmSlots(vm), vmUnalias(vm, gfn)) === 0) continue;
    const pte = spacePte(vmSpace(vm), gfnToIndex(vm, gfn));
    mix(pte);
    if (pteSwapped(pte)) mix(swapCount(vmMm(vm), pteEntry(pte)));
    if (vmGuestFile(vm) !== 0) mix(cachedPage(vm, vmUnalias(vm, gfn)));
    if (vmIsLegacy(vm)) mixRmap(vm, gfn);
    for (let entry = mmuFirst(vm, gfn); entry !== 0; entry = mmuNext(vm, gfn, entry)) {
      mix(load<u64>(entry));
      if (vmExpected(vm) !== 0) mixMapped(vm, gfn, load<u64>(entry));
    }
    mix(0);
    if (vmExpected(vm) !== 0) mixContents(vm, gfn, pte);
  }
}

function mixRmap(vm: usize, gfn: u32): void {
  const rmap = legacyRmap(vm);
  for (
    let entry = rmapFirst(rmap, gfn, LEVEL_4K);
    entry !== 0;
    entry = rmapNext(rmap, gfn, LEVEL_4K, entry)
  ) {
    mix(entry);
  }
}

function lastWrite(vm: usize, gfn: u32): u32 {
  return load<u32>(vmExpected(vm) + ((<usize>gfnToIndex(vm, gfn)) << 2));
}

// Which of a page's places hold its last write: the frame of an entry of KVM's …
function mixMapped(vm: usize, gfn: u32, spte: u64): void {
  const mapped = leafPfn(spte, gfn);
  mix(mapped !== ZERO_PFN && frameStamp(vmMm(vm), mapped) === lastWrite(vm, gfn) ? 1 : 0);
}

// … the frame that the host has for it, the swap slot.
function mixContents(vm: usize, gfn: u32, pte: u64): void {
  const mm = vmMm(vm);
  const last = lastWrite(vm, gfn);
  mix(contentGivenUp(vm, gfnToIndex(vm, gfn)) ? 1 : 0);
  let pfn: u32 = ptePresent(pte) ? ptePfn(pte) : 0;
  let entry: u32 = 0;
  if (pteSwapped(pte)) {
    entry = pteEntry(pte);
    pfn = swapCacheLookup(mm, entry);
  } else if (pfn !== 0 && pfn !== ZERO_PFN && pageTest(pageOf(mm, pfn), PG_SWAPCACHE)) {
    entry = pagePrivate(pageOf(mm, pfn));
  }
  const cached: u32 = vmGuestFile(vm) === 0 ? 0 : cachedPage(vm, vmUnalias(vm, gfn));
  if (cached !== 0) {
    mix(frameStamp(mm, cached) === last ? 3 : 2);
  }
  mix(pfn !== 0 && pfn !== ZERO_PFN && frameStamp(mm, pfn) === last ? 1 : 0);
  mix(entry !== 0 && slotStamp(mm, entry) === last ? 1 : 0);
}

// How far the next read from swap goes: it decides whether a fault can be asynchronous.
function mixReadahead(table: usize): void {
  for (let place: u32 = 0; place < mappings(table); place++) {
    const state = mappingReadahead(mappingAt(table, place));
    mixWords(state, state + 12);
  }
}

// Where the next swap slot comes from, and how far a read by slots goes.
function mixSwap(mm: usize): void {
  for (let type: u32 = 0; type < mmAreas(mm); type++) {
    const area = mmArea(mm, type);
    mix(areaLowest(area) | ((<u64>areaHighest(area)) << 32));
    mix(areaClusterNext(area));
    mix(areaFreeHead(area) | ((<u64>areaFreeTail(area)) << 32));
  }
  mix(readaheadHits(mm) | ((<u64>readaheadPrevOffset(mm)) << 32));
  mix(readaheadPrevWindow(mm));
  for (let cpu: u32 = 0; cpu < swapCpus(mm); cpu++) {
    mix(slotsLeft(mm, cpu) | ((<u64>slotsReturned(mm, cpu)) << 32));
  }
}

function mixFrames(): void {
  const mm = host();
  mixSwap(mm);
  const first = mmPfnFirst(mm);
  const end = mmPfnEnd(mm);
  mixWords(pageOf(mm, first), pageOf(mm, end - 1) + PAGE_BYTES);
  for (let pfn = first; pfn < end; pfn++) {
    mix(<u64>pageNext(mm, pfn) | ((<u64>pagePrev(mm, pfn)) << 32));
    mix(load<u8>(blockByte(mm, pfn)));
  }
}

/**
 * A translation of VM `vm`, of an entry or in a TLB, whose frame is not the one of its page: plus one, its gfn; 0 for none. With `settled` false only
 * one whose frame is free, or another page's; true: any, for nobody is left to take it away.
 */
export function exploreWrongEntry(vm: u32, settled: bool): u32 {
  const owner = vmAt(vm);
  for (let gfn: u32 = 0; gfn < vmGfnEnd(owner); gfn++) {
    if (gfnToMemslot(vmSlots(owner), vmUnalias(owner, gfn)) === 0) continue;
    for (let entry = mmuFirst(owner, gfn); entry !== 0; entry = mmuNext(owner, gfn, entry)) {
      if (isWrong(owner, gfn, leafPfn(load<u64>(entry), gfn), settled)) return gfn + 1;
    }
    for (let vcpu = vmVcpuList(owner); vcpu !== 0; vcpu = vcpuNext(vcpu)) {
      const hit = tlbPeek(vcpu, gfn);
      if (hit >= 0 && isWrong(owner, gfn, tlbPfn(vcpu, hit), settled)) return gfn + 1;
    }
  }
  return 0;
}

function isWrong(vm: usize, gfn: u32, pfn: u32, settled: bool): bool {
  const mm = vmMm(vm);
  const index = gfnToIndex(vm, gfn);
  const pte = spacePte(vmSpace(vm), index);
  if (pfn === ZERO_PFN || (ptePresent(pte) && ptePfn(pte) === pfn)) return false;
  const page = pageOf(mm, pfn);
  if (vmGuestFile(vm) !== 0 && cachedPage(vm, vmUnalias(vm, gfn)) === pfn) {
    return pageOwner(page) !== vmId(vm);
  }
  const gone = pageRefs(page) === 0 || pageOwner(page) !== spaceId(vmSpace(vm)) || pageIndex(page) !== index;
  return gone || settled;
}
