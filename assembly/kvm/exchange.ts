import { GFN_NONE, PFN_NONE } from "../memory/layout";
import { frameTake } from "../mm/atonce";
import {
  exchangeChoose,
  exchangeDrain,
  exchangeFree,
  exchangeIsolate,
  exchangeMap,
  exchangePlain,
  exchangesCount,
  exchanging,
} from "../mm/exchange";
import { FAULT_MAJOR } from "../mm/fault";
import { GFP_USER_PAGE } from "../mm/gfp";
import { PG_ANON_EXCLUSIVE, pageIndex, pageOf, pageTest } from "../mm/page";
import { zoneAtHand } from "../mm/pagealloc";
import { PSI_SWAP_IN, psiMemstall, psiStalled } from "../mm/psi";
import { entryOffset, pteEntry, pteOfEntry, ptePfn, pteSwapped } from "../mm/pte";
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
  digestNext,
  digestSet,
  digestState,
} from "../sim/digest";
import { eventNothingBefore } from "../sim/events";
import {
  count,
  countMany,
  TRACE_KVM_ENTRY,
  TRACE_KVM_EXIT,
  TRACE_KVM_MMU_SET_SPTE,
  TRACE_KVM_MMU_SPTE_REQUESTED,
  TRACE_KVM_PAGE_FAULT,
  TRACE_KVM_TDP_MMU_SPTE_CHANGED,
  TRACE_KVM_UNMAP_HVA_RANGE,
  TRACE_MM_VMSCAN_MEMCG_RECLAIM_BEGIN,
} from "../sim/trace";
import { gfnOf, goesOnByChoice, vmQuiet } from "./atonce";
import { MAP_BEFORE_LOCK, pageFaultBegin } from "./fault";
import { flushRemoteTlbs } from "./flush";
import { vmInvalidated, vmInvalidateSeq } from "./invalidation";
import { spteSet } from "./leafbits";
import { memslotFlags, memslotUnbacked } from "./memslot";
import { SPTE_NONE, spteOfFault, sptePfn, sptePresent } from "./spte";
import { faultRecordStages, VM_RETRIES, VM_UNMAPPED, vmCountAdd } from "./stats";
import { tlbFlush } from "./tlb";
import { setVcpuFlushRequest, vcpuIndex, vcpuNext } from "./vcpu";
import { vmFormat, vmId, vmMm, vmSpace, vmStats, vmVcpuList } from "./vm";
import { LEVEL_4K, walkLeaf } from "./walk";

// The fault of a guest that is short of memory all the time: a page comes from swap, another one goes there, and the vCPU is back. atonce.ts goes through any
// plain fault; this is the one for which speed decides, without what it does for others. Whether the next faults can be of this kind is asked once
// (exchangesBegin()), and holds until somebody else acts or another fault comes between; what every such fault counts is counted when
// they end (exchangesEnd()). The history is the same, byte by byte: test/kvm/atonce.test.ts.
//
// Measured: see docs/performance.md.
//
// record   0          4      8          12
//          +----------+------+----------+
//          | exchanges| zaps | last gfn |   since exchangesBegin()
//          +----------+------+----------+

const SINCE: usize = memory.data(16, 8);
const EXCHANGES: usize = 0;
const ZAPS: usize = 4;
const LAST_GFN: usize = 8;

/** The fault has been gone through: the access can be repeated. */
export const EXCHANGE_DONE: u32 = 0;
/** It is of another kind: nothing has been done. */
export const EXCHANGE_OTHER: u32 = 1;
/** It goes on by steps from where it stands. */
export const EXCHANGE_STEPS: u32 = 2;

/** May the next faults of `vcpu` exchange pages? `longest` as of atOnceNs(). exchangesEnd() comes before anything but exchanges and accesses. */
export function exchangesBegin(vcpu: usize, vm: usize, longest: u64): bool {
  store<u64>(SINCE, 0, EXCHANGES);
  return longest !== 0 && vmQuiet(vm) && exchanging(vmMm(vm), actorCpu(vcpu), vmSpace(vm));
}

/** Adds up what has happened since exchangesBegin(). */
export function exchangesEnd(vcpu: usize, vm: usize): void {
  const exchanges = load<u32>(SINCE, EXCHANGES);
  if (exchanges === 0) return;
  const zaps = load<u32>(SINCE, ZAPS);
  store<u64>(SINCE, 0, EXCHANGES);
  exchangesCount(vmMm(vm), actorCpu(vcpu), exchanges);
  vmInvalidated(vm, exchanges, load<u32>(SINCE, LAST_GFN));
  vmCountAdd(vmStats(vm), VM_RETRIES, exchanges);
  vmCountAdd(vmStats(vm), VM_UNMAPPED, zaps);
  countMany(TRACE_KVM_EXIT, 2 * exchanges);
  countMany(TRACE_KVM_PAGE_FAULT, 2 * exchanges);
  countMany(TRACE_KVM_UNMAP_HVA_RANGE, exchanges);
  countMany(TRACE_KVM_TDP_MMU_SPTE_CHANGED, exchanges + zaps);
  countMany(TRACE_KVM_MMU_SPTE_REQUESTED, exchanges);
  countMany(TRACE_KVM_MMU_SET_SPTE, exchanges);
  countMany(TRACE_KVM_ENTRY, exchanges);
}

/**
 * An access to `gfn`, whose 4 KiB leaf entry at `leaf` is not present and which `slot` backs with page `index`, has faulted at the vCPU's clock. Returns
 * EXCHANGE_*; done, the clock is where the access is to be repeated.
 */
export function exchange(
  vcpu: usize,
  vm: usize,
  leaf: usize,
  gfn: u32,
  slot: usize,
  index: u32,
  write: bool,
  longest: u64,
): u32 {
  const mm = vmMm(vm);
  const space = vmSpace(vm);
  const cpu = actorCpu(vcpu);
  const began = actorClock(vcpu);
  const pte = spacePte(space, index);
  if (!eventNothingBefore(began + longest) || !pteSwapped(pte)) return EXCHANGE_OTHER;
  if (memslotFlags(slot) !== 0 || memslotUnbacked(slot)) return EXCHANGE_OTHER;
  const entry = pteEntry(pte);
  const area = swapArea(mm, entry);
  if (load<u8>(slotByte(area, entryOffset(entry))) !== 1) return EXCHANGE_OTHER;
  if (changetype<Policy>(spacePolicy(space)).used === 0 || slotsLeft(mm, cpu) === 0) return EXCHANGE_OTHER;

  // Exit; a page goes.
  const exitNs = <u64>cost(COST_VM_EXIT_NS);
  const notifierNs = <u64>cost(COST_NOTIFIER_INVALIDATE_NS);
  let clock = began + exitNs + cost(COST_RECLAIM_SCAN_PAGE_NS);
  const victimPte = exchangeChoose(space, index);
  const victim = ptePfn(victimPte);
  if (victimPte !== 0) exchangeDrain(mm, cpu, space);
  const victimIndex = victimPte === 0 ? 0 : pageIndex(pageOf(mm, victim));
  const victimGfn = victimPte === 0 ? GFN_NONE : gfnOf(vm, victimIndex);
  if (victimGfn === GFN_NONE || !exchangePlain(mm, space, victim)) {
    exchangesEnd(vcpu, vm);
    pageFaultBegin(vcpu, gfn, write);
    chosenByExchange(vcpu, vm, index, entry, write, victimPte === 0 ? PFN_NONE : victim);
    return EXCHANGE_STEPS;
  }
  const place = exchangeIsolate(mm, cpu, space, victim);
  const victimLeaf = walkLeaf(vm, victimGfn);
  const zapped = victimLeaf !== 0 && sptePresent(load<u64>(victimLeaf));
  let digest = digestState();
  let flushNs: u64 = 0;
  if (zapped) {
    assert(sptePfn(load<u64>(victimLeaf)) === victim);
    spteSet(vm, victimLeaf, SPTE_NONE);
    digest = digestNext(digest, DIGEST_INVALIDATE, clock, vmId(vm), victimGfn, victim, 0);
    clock += notifierNs + cost(COST_RMAP_PER_SPTE_NS);
    flushNs = flush(vcpu, vm, clock);
    clock += flushNs;
    flushNs += cost(COST_TLB_FLUSH_ALL_NS); // at the next entry
    store<u32>(SINCE, load<u32>(SINCE, ZAPS) + 1, ZAPS);
  } else {
    clock += notifierNs;
  }
  clock += cost(COST_SWAP_OUT_CPU_NS);
  const exclusive = pageTest(pageOf(mm, victim), PG_ANON_EXCLUSIVE);
  setSpacePte(space, victimIndex, pteOfEntry(place, exclusive));
  clock += notifierNs;
  const id = spaceId(space);
  digest = digestNext(digest, DIGEST_SWAP_OUT, clock, id, victimIndex, victim, place);
  clock += deviceSynchronousNs(swapDevice(swapArea(mm, place)), true);
  digest = digestNext(digest, DIGEST_RECLAIM, clock, id, victimIndex, victim, place);
  const pfn = exchangeFree(mm, cpu, victim, place);
  const reclaimNs = clock - began - exitNs - (zapped ? flushNs - cost(COST_TLB_FLUSH_ALL_NS) : 0);

  // A page comes.
  const cpuNs = <u64>cost(COST_SWAP_IN_CPU_NS) + deviceSynchronousNs(swapDevice(area), false);
  clock += cpuNs;
  digest = digestNext(digest, DIGEST_SWAP_IN, clock, id, index, pfn, entry);
  exchangeMap(mm, cpu, space, index, pfn, entry, write);
  psiStalled(vcpu, began + exitNs, clock);

  // Its own eviction has overtaken it (is_page_fault_stale()): it exits again and finds the page there.
  const mapNs = <u64>cost(COST_EPT_MAP_NS) + cost(COST_EPT_MAP_NS) / MAP_BEFORE_LOCK;
  spteSet(vm, leaf, spteOfFault(vmFormat(vm), pfn, LEVEL_4K, write, false));
  clock += mapNs + exitNs + (zapped ? cost(COST_TLB_FLUSH_ALL_NS) : 0);
  setActorClock(vcpu, clock);
  setActorState(vcpu, ACTOR_GUEST);
  setActorStages(vcpu, 2 * exitNs, reclaimNs, cpuNs, mapNs, flushNs);
  faultRecordStages(vmStats(vm), FAULT_MAJOR, 2 * exitNs, reclaimNs, cpuNs, mapNs, flushNs);
  digestSet(digestNext(digest, DIGEST_FAULT, clock, vmId(vm), gfn, vcpuIndex(vcpu), FAULT_MAJOR));
  store<u32>(SINCE, load<u32>(SINCE, EXCHANGES) + 1, EXCHANGES);
  store<u32>(SINCE, victimGfn, LAST_GFN);
  return EXCHANGE_DONE;
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

// The page that was chosen has something about it: the fault has come to where its steps take it.
function chosenByExchange(vcpu: usize, vm: usize, index: u32, entry: u32, write: bool, victim: u32): void {
  const mm = vmMm(vm);
  const seq = vmInvalidateSeq(vm);
  psiMemstall(vcpu, PSI_SWAP_IN, true);
  const frame = frameTake(mm, vcpu, zoneAtHand(mm, actorCpu(vcpu), GFP_USER_PAGE));
  count(TRACE_MM_VMSCAN_MEMCG_RECLAIM_BEGIN);
  actorSpend(vcpu, STAGE_RECLAIM, cost(COST_RECLAIM_SCAN_PAGE_NS));
  goesOnByChoice(vcpu, vmSpace(vm), index, entry, write, seq, frame, victim);
}
