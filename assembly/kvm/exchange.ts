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
} from "../mm/exchange";
import { FAULT_MAJOR, FAULT_WRITE_PROTECT } from "../mm/fault";
import { GFP_USER_PAGE } from "../mm/gfp";
import { idealizedFailed } from "../mm/idealized";
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
  ACTOR_HOST,
  actorClock,
  actorCpu,
  actorSpend,
  STAGE_RECLAIM,
  setActorClock,
  setActorState,
} from "../sim/actor";
import {
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
import { count, TRACE_MM_VMSCAN_MEMCG_RECLAIM_BEGIN } from "../sim/trace";
import { gfnOf, goesOnByChoice } from "./atonce";
import {
  exchangeBits,
  exchangeOver,
  exchangeSpte,
  exchangesEnd,
  exchangesUntil,
  mapNs,
  reuseOver,
} from "./exchanges";
import { pageFaultBegin } from "./fault";
import { flushRemoteTlbs } from "./flush";
import { vmInvalidateSeq } from "./invalidation";
import { leafBitsAt, spteSetKnown } from "./leafbits";
import { SPTE_NONE, spteAllows, spteMayWrite, sptePfn, sptePresent } from "./spte";
import { tlbFlush } from "./tlb";
import { setVcpuFlushRequest, vcpuIndex, vcpuNext } from "./vcpu";
import { vmFormat, vmId, vmMm, vmSpace, vmVcpuList } from "./vm";
import { walkLeaf } from "./walk";

// The faults of a guest that is short of memory all the time: a page comes from swap, another one goes there, and the vCPU is back; or a page that has come so is
// written. atonce.ts goes through any plain fault; these are the ones for which speed decides, without what it does for others. What they have in common is
// asked before and counted after them (exchanges.ts). The history is the same, byte by byte: test/kvm/atonce.test.ts.
//
// In the kernel's words: a direct reclaim of one page at the cgroup's limit and the swap-in that wanted it; wp_page_reuse(). docs/performance.md says what it
// gains.

/** The fault has been gone through: the access can be repeated. */
export const EXCHANGE_DONE: u32 = 0;
/** It is of another kind: nothing has been done. */
export const EXCHANGE_OTHER: u32 = 1;
/** It goes on by steps from where it stands. */
export const EXCHANGE_STEPS: u32 = 2;

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
  if (began >= exchangesUntil() || !pteSwapped(pte)) return EXCHANGE_OTHER;
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
  const zapped = victimLeaf !== 0 && maps(vm, victimLeaf);
  if (zapped) {
    assert(sptePfn(load<u64>(victimLeaf)) === victim);
    spteSetKnown(vm, victimLeaf, SPTE_NONE, 0);
    digestAdd(DIGEST_INVALIDATE, clock, vmId(vm), victimGfn, victim, 0);
    flushNs = flush(vcpu, vm, clock + cost(COST_NOTIFIER_INVALIDATE_NS) + cost(COST_RMAP_PER_SPTE_NS));
    entryNs = cost(COST_TLB_FLUSH_ALL_NS);
    clock += flushNs + cost(COST_RMAP_PER_SPTE_NS);
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
  spteSetKnown(vm, leaf, exchangeSpte(write, pfn), exchangeBits(write));
  clock += exitNs + mapNs(2) + entryNs;
  setActorClock(vcpu, clock);
  digestAdd(DIGEST_FAULT, clock, vmId(vm), gfn, vcpuIndex(vcpu), FAULT_MAJOR);
  exchangeOver(vm, clock, clock - began, victimGfn, zapped, reclaimNs, cpuNs, flushNs + entryNs);
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
  if (began >= exchangesUntil() || !exchangeReuses(vmMm(vm), pte)) return EXCHANGE_OTHER;
  const old = load<u64>(leaf);
  if (!sptePresent(old) || spteAllows(old, true) || spteMayWrite(old, vmFormat(vm))) return EXCHANGE_OTHER;

  setSpacePte(space, index, pte | PTE_WRITE | PTE_ACCESSED | PTE_DIRTY);
  spteSetKnown(vm, leaf, exchangeSpte(true, ptePfn(pte)), exchangeBits(true));
  const clock = began + cost(COST_VM_EXIT_NS) + mapNs(1);
  setActorClock(vcpu, clock);
  digestAdd(DIGEST_FAULT, clock, vmId(vm), gfn, vcpuIndex(vcpu), FAULT_WRITE_PROTECT);
  reuseOver(vm, clock, clock - began);
  return EXCHANGE_DONE;
}

// The leaf entry at `leaf` is present. The bits tell of most, and nothing waits for the entry then.
function maps(vm: usize, leaf: usize): bool {
  return leafBitsAt(vm, leaf) !== 0 || sptePresent(load<u64>(leaf));
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
