import { GFN_NONE, PFN_NONE } from "../memory/layout";
import { frameTake } from "../mm/atonce";
import {
  exchangeChoose,
  exchangeDrain,
  exchangeFree,
  exchangeIsolate,
  exchangeMap,
  exchangePlain,
  exchangeReuses,
  exchangesCount,
  exchanging,
} from "../mm/exchange";
import { FAULT_MAJOR, FAULT_WRITE_PROTECT } from "../mm/fault";
import { GFP_USER_PAGE } from "../mm/gfp";
import { idealizedFailed } from "../mm/idealized";
import { lruBatchesHold } from "../mm/lrubatch";
import { memcgEventsMany } from "../mm/memcgstat";
import { PG_ANON_EXCLUSIVE, pageIndex, pageOf, pageTest } from "../mm/page";
import { zoneAtHand } from "../mm/pagealloc";
import { PSI_SWAP_IN, psiMemstall, psiStalled } from "../mm/psi";
import {
  entryOffset,
  PTE_ACCESSED,
  PTE_DIRTY,
  PTE_WRITE,
  pteEntry,
  pteOfEntry,
  ptePfn,
  pteSwapped,
} from "../mm/pte";
import { setSpacePte, spaceId, spacePolicy, spacePte } from "../mm/space";
import { slotByte, swapArea, swapDevice } from "../mm/swaparea";
import { slotsLeft } from "../mm/swapslots";
import { Policy } from "../policy/policy";
import {
  ACTOR_GUEST,
  ACTOR_HOST,
  actorClock,
  actorCpu,
  actorSpend,
  STAGE_RECLAIM,
  setActorClock,
  setActorStages,
  setActorState,
  setActorStateAt,
} from "../sim/actor";
import {
  COST_EPT_MAP_NS,
  COST_NOTIFIER_INVALIDATE_NS,
  COST_RECLAIM_SCAN_PAGE_NS,
  COST_RMAP_PER_SPTE_NS,
  COST_SWAP_IN_CPU_NS,
  COST_SWAP_OUT_CPU_NS,
  COST_TLB_FLUSH_ALL_NS,
  COST_VM_EXIT_NS,
  cost,
} from "../sim/costs";
import { deviceSynchronousNs } from "../sim/device";
import {
  DIGEST_FAULT,
  DIGEST_INVALIDATE,
  DIGEST_RECLAIM,
  DIGEST_SWAP_IN,
  DIGEST_SWAP_OUT,
  digestAdd,
} from "../sim/digest";
import { eventSoonest } from "../sim/events";
import {
  count,
  countMany,
  TRACE_FAST_PAGE_FAULT,
  TRACE_KVM_ENTRY,
  TRACE_KVM_EXIT,
  TRACE_KVM_MMU_SET_SPTE,
  TRACE_KVM_MMU_SPTE_REQUESTED,
  TRACE_KVM_PAGE_FAULT,
  TRACE_KVM_TDP_MMU_SPTE_CHANGED,
  TRACE_KVM_UNMAP_HVA_RANGE,
  TRACE_MM_VMSCAN_MEMCG_RECLAIM_BEGIN,
  traceRecords,
} from "../sim/trace";
import { gfnOf, goesOnByChoice, vmQuiet } from "./atonce";
import { MAP_BEFORE_LOCK, pageFaultBegin } from "./fault";
import { flushRemoteTlbs } from "./flush";
import { vmInvalidated, vmInvalidateSeq } from "./invalidation";
import { leafBits, leafBitsAt, spteSetKnown } from "./leafbits";
import { memslotFlags, memslotUnbacked } from "./memslot";
import { SPTE_NONE, spteAllows, spteFor, spteMayWrite, spteOfFault, sptePfn, sptePresent } from "./spte";
import { faultLatency, faultsRecord, VM_RETRIES, VM_UNMAPPED, vmCountAdd } from "./stats";
import { tlbFlush } from "./tlb";
import { setVcpuFlushRequest, vcpuIndex, vcpuNext } from "./vcpu";
import { vmFormat, vmId, vmMm, vmSpace, vmStats, vmVcpuList } from "./vm";
import { LEVEL_4K, walkLeaf } from "./walk";

// The fault of a guest that is short of memory all the time: a page comes from swap, another one goes there, and the vCPU is back. atonce.ts goes through any
// plain fault; this is the one for which speed decides, without what it does for others. Whether the next faults can be of this kind is asked once
// (exchangesBegin()), and holds until somebody else acts or another fault comes between; what every such fault counts is counted when
// they end (exchangesEnd()). The history is the same, byte by byte: test/kvm/atonce.test.ts.
//
// In the kernel's words: a direct reclaim of one page at the cgroup's limit and the swap-in that wanted it. docs/performance.md says what it gains.
//
// record   0           4      8        12     16       24     32        40    48      56            64        72
//          +-----------+------+--------+------+--------+------+---------+-----+-------+-------------+---------+-----------+
//          | exchanges | zaps | victim | bits | latest | most | reclaim | cpu | flush | lastReclaim | lastCpu | lastFlush |
//          +-----------+------+--------+------+--------+------+---------+-----+-------+-------------+---------+-----------+
//          80         96        104     108
//          +----------+---------+-------+--------+
//          | sptes ×2 | entered | exits | reuses |
//          +----------+---------+-------+--------+
//
// exchanges  and zaps, most and the ns of three stages: in all since exchangesBegin(); last…: of the last one
// victim     gfn of the last page that went
// bits       those of leafbits.ts for the two sptes, two each
// latest     no fault that begins later is certain to end before anything else is due
// most       the longest, in ns
// sptes      of a fault that reads and of one that writes, without a frame
// entered    when the vCPU was back in its guest from the last one
// exits      how often the last fault has exited, whose stages and that time are still to be noted; 0 when nothing is
// reuses     in all since exchangesBegin()

const SINCE: usize = memory.data(112, 8);
const EXCHANGES: usize = 0;
const ZAPS: usize = 4;
const VICTIM: usize = 8;
const BITS: usize = 12;
const LATEST: usize = 16; // u64
const MOST: usize = 24; // u64
const RECLAIM: usize = 32; // u64
const CPU: usize = 40; // u64
const FLUSH: usize = 48; // u64
const LAST_RECLAIM: usize = 56; // u64
const LAST_CPU: usize = 64; // u64
const LAST_FLUSH: usize = 72; // u64
const SPTES: usize = 80; // u64 × 2
const ENTERED: usize = 96; // u64
const EXITS: usize = 104;
const REUSES: usize = 108;

/** The fault has been gone through: the access can be repeated. */
export const EXCHANGE_DONE: u32 = 0;
/** It is of another kind: nothing has been done. */
export const EXCHANGE_OTHER: u32 = 1;
/** It goes on by steps from where it stands. */
export const EXCHANGE_STEPS: u32 = 2;

/** May the next faults of `vcpu` exchange pages? `longest` as of atOnceNs(). exchangesEnd() comes before anything but exchanges and accesses. */
export function exchangesBegin(vcpu: usize, vm: usize, longest: u64): bool {
  if (longest === 0 || traceRecords() || !vmQuiet(vm)) return false;
  if (!exchanging(vmMm(vm), actorCpu(vcpu), vmSpace(vm))) return false;
  const format = vmFormat(vm);
  const read = spteOfFault(format, 0, LEVEL_4K, false, false);
  const write = spteOfFault(format, 0, LEVEL_4K, true, false);
  const soonest = eventSoonest();
  memory.fill(SINCE, 0, SPTES);
  store<u32>(SINCE, leafBits(read, format) | (leafBits(write, format) << 2), BITS);
  store<u64>(SINCE, soonest > longest ? soonest - longest : 0, LATEST);
  store<u64>(SINCE, read, SPTES);
  store<u64>(SINCE, write, SPTES + 8);
  store<u32>(SINCE, 0, REUSES);
  return true;
}

/** Nothing about `slot`, 0 for none, is in the way of an exchange. */
export function exchangeSlot(slot: usize): bool {
  return slot !== 0 && memslotFlags(slot) === 0 && !memslotUnbacked(slot);
}

/** Adds up what has happened since exchangesBegin(). */
export function exchangesEnd(vcpu: usize, vm: usize): void {
  exchangesPause(vcpu);
  reusesEnd(vcpu, vm);
  const exchanges = load<u32>(SINCE, EXCHANGES);
  if (exchanges === 0) return;
  const zaps = load<u32>(SINCE, ZAPS);
  const exitNs = 2 * <u64>cost(COST_VM_EXIT_NS);
  const reclaimNs = load<u64>(SINCE, RECLAIM);
  const cpuNs = load<u64>(SINCE, CPU);
  const flushNs = load<u64>(SINCE, FLUSH);
  const most = load<u64>(SINCE, MOST);
  const stats = vmStats(vm);
  faultsRecord(
    stats,
    FAULT_MAJOR,
    exchanges,
    most,
    exchanges * exitNs,
    reclaimNs,
    cpuNs,
    exchanges * mapNs(2),
    flushNs,
  );
  exchangesCount(vmMm(vm), actorCpu(vcpu), exchanges);
  vmInvalidated(vm, exchanges, load<u32>(SINCE, VICTIM));
  vmCountAdd(stats, VM_RETRIES, exchanges);
  vmCountAdd(stats, VM_UNMAPPED, zaps);
  countMany(TRACE_KVM_EXIT, 2 * exchanges);
  countMany(TRACE_KVM_PAGE_FAULT, 2 * exchanges);
  countMany(TRACE_KVM_UNMAP_HVA_RANGE, exchanges);
  countMany(TRACE_KVM_TDP_MMU_SPTE_CHANGED, exchanges + zaps);
  countMany(TRACE_KVM_MMU_SPTE_REQUESTED, exchanges);
  countMany(TRACE_KVM_MMU_SET_SPTE, exchanges);
  countMany(TRACE_KVM_ENTRY, exchanges);
  store<u64>(SINCE, 0, EXCHANGES);
  store<u64>(SINCE, 0, MOST);
  store<u64>(SINCE, 0, RECLAIM);
  store<u64>(SINCE, 0, CPU);
  store<u64>(SINCE, 0, FLUSH);
}

// The same for faults of pages that were used on.
function reusesEnd(vcpu: usize, vm: usize): void {
  const reuses = load<u32>(SINCE, REUSES);
  if (reuses === 0) return;
  const exitNs = <u64>cost(COST_VM_EXIT_NS);
  const stats = vmStats(vm);
  faultsRecord(
    stats,
    FAULT_WRITE_PROTECT,
    reuses,
    exitNs + mapNs(1),
    reuses * exitNs,
    0,
    0,
    reuses * mapNs(1),
    0,
  );
  memcgEventsMany(vmMm(vm), actorCpu(vcpu), reuses); // PGFAULT
  countMany(TRACE_KVM_EXIT, reuses);
  countMany(TRACE_KVM_PAGE_FAULT, reuses);
  countMany(TRACE_FAST_PAGE_FAULT, reuses);
  countMany(TRACE_KVM_TDP_MMU_SPTE_CHANGED, reuses);
  countMany(TRACE_KVM_MMU_SPTE_REQUESTED, reuses);
  countMany(TRACE_KVM_MMU_SET_SPTE, reuses);
  countMany(TRACE_KVM_ENTRY, reuses);
  store<u32>(SINCE, 0, REUSES);
}

/** A fault of another kind comes between two exchanges. */
export function exchangesPause(vcpu: usize): void {
  const exits = load<u32>(SINCE, EXITS);
  if (exits === 0) return;
  store<u32>(SINCE, 0, EXITS);
  setActorStateAt(vcpu, ACTOR_GUEST, load<u64>(SINCE, ENTERED));
  setActorStages(
    vcpu,
    <u64>exits * cost(COST_VM_EXIT_NS),
    load<u64>(SINCE, LAST_RECLAIM),
    load<u64>(SINCE, LAST_CPU),
    mapNs(exits),
    load<u64>(SINCE, LAST_FLUSH),
  );
}

/**
 * It has been gone through, and the next faults can exchange pages as before: it allocates nothing, charges nothing, takes no slot and posts no event, so what
 * exchangesBegin() has found still holds; but it may have put the page into a batch.
 */
export function exchangesGoOn(vcpu: usize, vm: usize): bool {
  return lruBatchesHold(vmMm(vm), actorCpu(vcpu)) !== PFN_NONE;
}

// A fault looks for the page whenever it has exited, and maps it once.
function mapNs(exits: u32): u64 {
  return <u64>cost(COST_EPT_MAP_NS) + (exits - 1) * (cost(COST_EPT_MAP_NS) / MAP_BEFORE_LOCK);
}

/**
 * An access to `gfn`, whose 4 KiB leaf entry is at `leaf` and which a plain slot backs with page `index`, has faulted at the vCPU's clock.
 * Returns EXCHANGE_*; done, the clock is where the access is to be repeated.
 */
export function exchange(vcpu: usize, vm: usize, leaf: usize, gfn: u32, index: u32, write: bool): u32 {
  const mm = vmMm(vm);
  const space = vmSpace(vm);
  const cpu = actorCpu(vcpu);
  const began = actorClock(vcpu);
  const pte = spacePte(space, index);
  if (began >= load<u64>(SINCE, LATEST) || !pteSwapped(pte)) return EXCHANGE_OTHER;
  const entry = pteEntry(pte);
  const area = swapArea(mm, entry);
  if (load<u8>(slotByte(area, entryOffset(entry))) !== 1) return EXCHANGE_OTHER;
  if (changetype<Policy>(spacePolicy(space)).used === 0 || slotsLeft(mm, cpu) === 0) return EXCHANGE_OTHER;
  if (load<u64>(leaf) !== SPTE_NONE) return EXCHANGE_OTHER; // what an access from before there was a slot has left

  // Exit; a page goes.
  const exitNs = <u64>cost(COST_VM_EXIT_NS);
  const stalled = began + exitNs;
  let clock = stalled + cost(COST_RECLAIM_SCAN_PAGE_NS);
  const victim = exchangeChoose(space, index);
  if (victim === PFN_NONE || idealizedFailed()) {
    byChoice(vcpu, vm, gfn, index, entry, write, victim);
    return EXCHANGE_STEPS;
  }
  exchangeDrain(mm, cpu, space);
  const victimIndex = pageIndex(pageOf(mm, victim));
  const victimGfn = gfnOf(vm, victimIndex);
  if (victimGfn === GFN_NONE || !exchangePlain(mm, space, victim)) {
    byChoice(vcpu, vm, gfn, index, entry, write, victim);
    return EXCHANGE_STEPS;
  }
  const place = exchangeIsolate(mm, cpu, space, victim);
  const victimLeaf = walkLeaf(vm, victimGfn);
  let flushNs: u64 = 0;
  let entryNs: u64 = 0;
  if (victimLeaf !== 0 && maps(vm, victimLeaf)) {
    assert(sptePfn(load<u64>(victimLeaf)) === victim);
    spteSetKnown(vm, victimLeaf, SPTE_NONE, 0);
    digestAdd(DIGEST_INVALIDATE, clock, vmId(vm), victimGfn, victim, 0);
    flushNs = flush(vcpu, vm, clock + cost(COST_NOTIFIER_INVALIDATE_NS) + cost(COST_RMAP_PER_SPTE_NS));
    entryNs = cost(COST_TLB_FLUSH_ALL_NS);
    clock += flushNs + cost(COST_RMAP_PER_SPTE_NS);
    store<u32>(SINCE, load<u32>(SINCE, ZAPS) + 1, ZAPS);
  }
  clock += <u64>cost(COST_SWAP_OUT_CPU_NS) + 2 * cost(COST_NOTIFIER_INVALIDATE_NS);
  setSpacePte(space, victimIndex, pteOfEntry(place, pageTest(pageOf(mm, victim), PG_ANON_EXCLUSIVE)));
  const id = spaceId(space);
  digestAdd(DIGEST_SWAP_OUT, clock, id, victimIndex, victim, place);
  clock += deviceSynchronousNs(swapDevice(swapArea(mm, place)), true);
  digestAdd(DIGEST_RECLAIM, clock, id, victimIndex, victim, place);
  const pfn = exchangeFree(mm, cpu, victim, place);
  const reclaimNs = clock - stalled - flushNs;

  // A page comes.
  const cpuNs = <u64>cost(COST_SWAP_IN_CPU_NS) + deviceSynchronousNs(swapDevice(area), false);
  clock += cpuNs;
  digestAdd(DIGEST_SWAP_IN, clock, id, index, pfn, entry);
  exchangeMap(mm, cpu, space, index, pfn, entry, write);
  psiStalled(vcpu, stalled, clock);

  // Its own eviction has overtaken it (is_page_fault_stale()): it exits again and finds the page there.
  const way = (<u32>write) << 1;
  const spte = load<u64>(SINCE + ((<usize>way) << 2), SPTES);
  spteSetKnown(vm, leaf, spteFor(spte, pfn), (load<u32>(SINCE, BITS) >> way) & 3);
  clock += exitNs + mapNs(2) + entryNs;
  setActorClock(vcpu, clock);
  store<u64>(SINCE, clock, ENTERED);
  digestAdd(DIGEST_FAULT, clock, vmId(vm), gfn, vcpuIndex(vcpu), FAULT_MAJOR);
  faultLatency(vmStats(vm), FAULT_MAJOR, clock - began);
  store<u64>(SINCE, max<u64>(load<u64>(SINCE, MOST), clock - began), MOST);
  spent(RECLAIM, LAST_RECLAIM, reclaimNs);
  spent(CPU, LAST_CPU, cpuNs);
  spent(FLUSH, LAST_FLUSH, flushNs + entryNs);
  store<u32>(SINCE, load<u32>(SINCE, EXCHANGES) + 1, EXCHANGES);
  store<u32>(SINCE, victimGfn, VICTIM);
  store<u32>(SINCE, 2, EXITS);
  return EXCHANGE_DONE;
}

/**
 * A write to `gfn` has faulted whose leaf entry at `leaf` maps page `index` for reading: it was read from swap, and belongs to this process alone
 * (wp_page_reuse()). Returns EXCHANGE_DONE or EXCHANGE_OTHER, as of exchange().
 */
export function exchangeReuse(vcpu: usize, vm: usize, leaf: usize, gfn: u32, index: u32): u32 {
  const space = vmSpace(vm);
  const began = actorClock(vcpu);
  const pte = spacePte(space, index);
  if (began >= load<u64>(SINCE, LATEST) || !exchangeReuses(vmMm(vm), pte)) return EXCHANGE_OTHER;
  const old = load<u64>(leaf);
  if (!sptePresent(old) || spteAllows(old, true) || spteMayWrite(old, vmFormat(vm))) return EXCHANGE_OTHER;

  setSpacePte(space, index, pte | PTE_WRITE | PTE_ACCESSED | PTE_DIRTY);
  spteSetKnown(vm, leaf, spteFor(load<u64>(SINCE, SPTES + 8), ptePfn(pte)), load<u32>(SINCE, BITS) >> 2);
  const clock = began + cost(COST_VM_EXIT_NS) + mapNs(1);
  setActorClock(vcpu, clock);
  store<u64>(SINCE, clock, ENTERED);
  digestAdd(DIGEST_FAULT, clock, vmId(vm), gfn, vcpuIndex(vcpu), FAULT_WRITE_PROTECT);
  faultLatency(vmStats(vm), FAULT_WRITE_PROTECT, clock - began);
  store<u64>(SINCE, 0, LAST_RECLAIM);
  store<u64>(SINCE, 0, LAST_CPU);
  store<u64>(SINCE, 0, LAST_FLUSH);
  store<u32>(SINCE, load<u32>(SINCE, REUSES) + 1, REUSES);
  store<u32>(SINCE, 1, EXITS);
  return EXCHANGE_DONE;
}

// The leaf entry at `leaf` is present. The bits tell of most, and nothing waits for the entry then.
function maps(vm: usize, leaf: usize): bool {
  return leafBitsAt(vm, leaf) !== 0 || sptePresent(load<u64>(leaf));
}

function spent(total: usize, last: usize, ns: u64): void {
  store<u64>(SINCE + total, load<u64>(SINCE + total) + ns);
  store<u64>(SINCE + last, ns);
}

// kvm_flush_remote_tlbs() at `clock` by a vCPU in the host, which takes its own flush at its next entry. Returns ns that it waits for the others.
function flush(vcpu: usize, vm: usize, clock: u64): u64 {
  if (vmVcpuList(vm) === vcpu && vcpuNext(vcpu) === 0) {
    tlbFlush(vcpu);
    return 0;
  }
  setActorClock(vcpu, clock);
  setActorState(vcpu, ACTOR_HOST);
  flushRemoteTlbs(vm, vcpu);
  setVcpuFlushRequest(vcpu, false);
  return actorClock(vcpu) - clock;
}

// The page that was chosen has something about it: the fault goes to where its steps take it, and on by steps.
function byChoice(vcpu: usize, vm: usize, gfn: u32, index: u32, entry: u32, write: bool, victim: u32): void {
  exchangesEnd(vcpu, vm);
  pageFaultBegin(vcpu, gfn, write);
  const mm = vmMm(vm);
  const seq = vmInvalidateSeq(vm);
  psiMemstall(vcpu, PSI_SWAP_IN, true);
  const frame = frameTake(mm, vcpu, zoneAtHand(mm, actorCpu(vcpu), GFP_USER_PAGE), vmSpace(vm));
  count(TRACE_MM_VMSCAN_MEMCG_RECLAIM_BEGIN);
  actorSpend(vcpu, STAGE_RECLAIM, cost(COST_RECLAIM_SCAN_PAGE_NS));
  goesOnByChoice(vcpu, vmSpace(vm), index, entry, write, seq, frame, victim);
}
