import { GFN_NONE, PFN_NONE } from "../memory/layout";
import { allocAtChoice } from "../mm/alloc";
import {
  entryPlain,
  evictBegins,
  evictEnds,
  evictUnmaps,
  frameTake,
  swapInEnds,
  swapRecords,
  swapTakesMost,
  victimPlain,
} from "../mm/atonce";
import { FAULT_MAJOR, FAULT_MINOR, FAULT_SPURIOUS, FAULT_WRITE_PROTECT, faultAtBypass } from "../mm/fault";
import { GFP_USER_PAGE } from "../mm/gfp";
import { idealizedAtChoice, idealizedChoose, idealizedChooses, idealizedFailed } from "../mm/idealized";
import { mmStamped } from "../mm/instance";
import { lruAddDrainAll, lruMarkAccessed } from "../mm/lrubatch";
import { memcgGenerations } from "../mm/memcg";
import { memcgEvents } from "../mm/memcgstat";
import {
  PG_ACTIVE,
  PG_ANON_EXCLUSIVE,
  PG_REFERENCED,
  pageGet,
  pageIndex,
  pageOf,
  pageRefs,
  pageSet,
  pageTest,
  setPageRefs,
} from "../mm/page";
import { zoneAtHand } from "../mm/pagealloc";
import { PSI_SWAP_IN, psiMemstall } from "../mm/psi";
import {
  PTE_ACCESSED,
  PTE_DIRTY,
  PTE_WRITE,
  pteEntry,
  ptePfn,
  ptePresent,
  pteSwapped,
  pteZero,
} from "../mm/pte";
import { setSpacePte, spaceAccount, spaceFile, spaceHuge, spaceKsm, spaceMemcg, spacePte } from "../mm/space";
import { chargeFull, tryCharge } from "../mm/stock";
import {
  actorClock,
  actorCpu,
  actorOnlyCpu,
  actorSpend,
  CPU_NONE,
  STAGE_EXIT,
  STAGE_MAP,
  STAGE_RECLAIM,
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
import { DIGEST_INVALIDATE, digestAdd } from "../sim/digest";
import { eventNothingBefore } from "../sim/events";
import { lockFree } from "../sim/lock";
import {
  count,
  TRACE_FAST_PAGE_FAULT,
  TRACE_KVM_EXIT,
  TRACE_KVM_MMU_SET_SPTE,
  TRACE_KVM_MMU_SPTE_REQUESTED,
  TRACE_KVM_PAGE_FAULT,
  TRACE_KVM_TDP_MMU_SPTE_CHANGED,
  TRACE_KVM_UNMAP_HVA_RANGE,
  TRACE_MM_VMSCAN_MEMCG_RECLAIM_BEGIN,
  traceRecorded,
  traceRecords,
} from "../sim/trace";
import { MAP_BEFORE_LOCK, pageFaultAtAlloc } from "./fault";
import { faultExit } from "./faultexit";
import { flushRemoteTlbs } from "./flush";
import {
  vmInvalidateBegin,
  vmInvalidateEnd,
  vmInvalidateExtend,
  vmInvalidateSeq,
  vmInvalidating,
} from "./invalidation";
import { spteSet } from "./leafbits";
import {
  memslotFirst,
  memslotFlags,
  memslotGfnOf,
  memslotIndex,
  memslotPages,
  memslotUnbacked,
} from "./memslot";
import { memslotByHva, memslotCount, memslotNextInHva, memslotNotifiers } from "./memslots";
import { enterGuest } from "./run";
import { SPTE_NONE, spteAllows, spteMayWrite, spteOfFault, sptePfn, sptePresent } from "./spte";
import { VM_RETRIES, VM_UNMAPPED, vmCountAdd } from "./stats";
import { PF_GFN, PF_KIND, PF_WRITE, vcpuApf, vcpuMemslot } from "./vcpu";
import {
  NOTIFIER_SEQ_RETRY,
  vmAliases,
  vmExpected,
  vmFormat,
  vmGuestFile,
  vmHuge,
  vmId,
  vmIsLegacy,
  vmIsShadow,
  vmMm,
  vmMmuLock,
  vmNotifier,
  vmSlots,
  vmSpace,
  vmSpteRefs,
  vmStats,
} from "./vm";
import { LEVEL_4K, walkLeaf } from "./walk";

// A page fault in one go. fault.ts and what it calls are machines of steps, because between two steps somebody else may act, and anything may be
// switched on. Most faults meet neither: nothing else is due until they are over, no lock is held, and the VM has the plain design. Those are gone
// through here without asking again at each step: the page comes from a synchronous device, or is there, and where its cgroup is full an idealized policy's
// page goes. The history is the same: the same changes in the same order at the same virtual times, and a fault that turns out not to be plain
// goes on by steps from where it stands. test/kvm/atonce.test.ts runs machines with and without it.
//
// Measured: 2.6 to 3 times the accesses a second in a guest of 16 MiB, 1.7 times in one of 1 GiB (docs/performance.md).

let allowed: bool = true;

/** For tests: false has every fault go by steps. */
export function allowAtOnce(allow: bool): void {
  allowed = allow;
}

/** The most virtual time that a fault of `vcpu` can take from its exit on, if it is plain; 0 when its VM is not. */
export function atOnceNs(vcpu: usize, vm: usize): u64 {
  const mm = vmMm(vm);
  const space = vmSpace(vm);
  if (!allowed || (traceRecords() && recordsSteps())) return 0;
  if (vmIsShadow(vm) || vmIsLegacy(vm) || vmHuge(vm) || vmSpteRefs(vm)) return 0;
  if (vmNotifier(vm) !== NOTIFIER_SEQ_RETRY || vmGuestFile(vm) !== 0 || vmAliases(vm) !== 0) return 0;
  if (vmExpected(vm) !== 0 || mmStamped(mm) || vcpuApf(vcpu) !== 0) return 0;
  if (spaceFile(space) !== 0 || spaceHuge(space) !== 0 || spaceKsm(space) !== 0) return 0;
  if (memcgGenerations(spaceMemcg(space)) !== 0) return 0;
  if (actorOnlyCpu(vcpu) !== CPU_NONE && actorOnlyCpu(vcpu) !== actorCpu(vcpu)) return 0;
  const twice = <u64>cost(COST_VM_EXIT_NS) + cost(COST_NOTIFIER_INVALIDATE_NS) + cost(COST_EPT_MAP_NS);
  const reclaim =
    <u64>cost(COST_RECLAIM_SCAN_PAGE_NS) + cost(COST_RMAP_PER_SPTE_NS) + cost(COST_SWAP_OUT_CPU_NS);
  return (
    2 * twice + reclaim + cost(COST_SWAP_IN_CPU_NS) + cost(COST_TLB_FLUSH_ALL_NS) + swapTakesMost(mm) + 1
  );
}

/** Nothing is under way in the VM's tables, and no lock is held. */
export function vmQuiet(vm: usize): bool {
  return vmInvalidating(vm) === 0 && memslotNotifiers(vmSlots(vm)) === 0 && lockFree(vmMmuLock(vm));
}

/**
 * Goes through the fault that `vcpu` has just left its guest for, which takes at most `longest`. True: the vCPU is in its guest again,
 * and its access can be repeated. False: the fault goes on by steps.
 */
export function faultAtOnce(vcpu: usize, vm: usize, longest: u64): bool {
  if (longest === 0 || !eventNothingBefore(actorClock(vcpu) + longest)) return false;
  const gfn = load<u32>(vcpu, PF_GFN);
  const slot = vcpuMemslot(vcpu, gfn);
  const leaf = walkLeaf(vm, gfn);
  if (leaf === 0 || slot === 0 || memslotFlags(slot) !== 0 || memslotUnbacked(slot)) return false;
  if (!vmQuiet(vm)) return false;

  const mm = vmMm(vm);
  const space = vmSpace(vm);
  const write = load<u32>(vcpu, PF_WRITE) !== 0;
  const index = memslotIndex(slot, gfn);
  const before = cost(COST_EPT_MAP_NS) / MAP_BEFORE_LOCK;
  const old = load<u64>(leaf);
  const present = sptePresent(old);
  const seq = vmInvalidateSeq(vm);
  let pte = spacePte(space, index);
  let slow = (pte & PTE_WRITE) === 0;
  let kind = FAULT_MAJOR;
  if (ptePresent(pte)) {
    if (!mapped(vm, mm, pte, old, write)) return false;
    if (present) count(TRACE_FAST_PAGE_FAULT);
    kind = FAULT_SPURIOUS;
    if (write && slow) {
      pte |= PTE_WRITE;
      memcgEvents(mm, actorCpu(vcpu), 1); // PGFAULT
      kind = FAULT_WRITE_PROTECT;
    }
    pte |= PTE_ACCESSED | (write ? PTE_DIRTY : 0);
    setSpacePte(space, index, pte);
    pageGet(pageOf(mm, ptePfn(pte)));
  } else {
    if (!pteSwapped(pte) || old !== SPTE_NONE) return false; // an MMIO spte that is stale has a look first, and is handled by steps
    if (!swapIn(vcpu, vm, mm, space, index, pteEntry(pte), write)) return false;
    pte = spacePte(space, index);
    slow = true;
  }

  const pfn = ptePfn(pte);
  const page = pageOf(mm, pfn);
  touched(mm, vcpu, page, pfn, slow);
  actorSpend(vcpu, STAGE_MAP, before);
  if (vmInvalidateSeq(vm) !== seq) {
    // is_page_fault_stale(): its own eviction has overtaken it. It lets go of the page, exits again and finds the page there.
    used(mm, vcpu, page, pfn);
    vmCountAdd(vmStats(vm), VM_RETRIES, 1);
    exitAgain(vcpu);
    touched(mm, vcpu, page, pfn, !write);
    actorSpend(vcpu, STAGE_MAP, before);
  }

  count(TRACE_KVM_MMU_SPTE_REQUESTED);
  spteSet(vm, leaf, spteOfFault(vmFormat(vm), pfn, LEVEL_4K, (pte & PTE_WRITE) !== 0, false));
  count(TRACE_KVM_TDP_MMU_SPTE_CHANGED);
  count(TRACE_KVM_MMU_SET_SPTE);
  actorSpend(vcpu, STAGE_MAP, cost(COST_EPT_MAP_NS) - before);
  store<u32>(vcpu, max<u32>(kind, present ? FAULT_WRITE_PROTECT : FAULT_MINOR), PF_KIND);
  used(mm, vcpu, page, pfn);
  assert(pageRefs(page) > 1);
  setPageRefs(page, pageRefs(page) - 1);
  enterGuest(vcpu);
  return true;
}

// Somebody wants to read of events that are only counted here.
function recordsSteps(): bool {
  return (
    traceRecorded(TRACE_FAST_PAGE_FAULT) ||
    traceRecorded(TRACE_KVM_MMU_SPTE_REQUESTED) ||
    traceRecorded(TRACE_KVM_TDP_MMU_SPTE_CHANGED) ||
    traceRecorded(TRACE_KVM_MMU_SET_SPTE) ||
    traceRecorded(TRACE_KVM_UNMAP_HVA_RANGE) ||
    traceRecorded(TRACE_MM_VMSCAN_MEMCG_RECLAIM_BEGIN) ||
    swapRecords()
  );
}

// faultExit() for a fault that is known.
function exitAgain(vcpu: usize): void {
  if (traceRecords()) return faultExit(vcpu);
  count(TRACE_KVM_EXIT);
  count(TRACE_KVM_PAGE_FAULT);
  actorSpend(vcpu, STAGE_EXIT, cost(COST_VM_EXIT_NS));
}

// The page is there: the spte is missing, or lacks the right to write, which the pte has or may have.
function mapped(vm: usize, mm: usize, pte: u64, old: u64, write: bool): bool {
  if (pteZero(pte)) return false;
  if (
    old !== SPTE_NONE &&
    (!sptePresent(old) || !write || spteAllows(old, true) || spteMayWrite(old, vmFormat(vm)))
  )
    return false;
  return !write || (pte & PTE_WRITE) !== 0 || pageTest(pageOf(mm, ptePfn(pte)), PG_ANON_EXCLUSIVE);
}

// faultTouched()
function touched(mm: usize, vcpu: usize, page: usize, pfn: u32, slow: bool): void {
  if (slow) used(mm, vcpu, page, pfn);
  else pageSet(page, PG_REFERENCED);
}

// lruMarkAccessed() on two lists, where most often nothing is left to do.
function used(mm: usize, vcpu: usize, page: usize, pfn: u32): void {
  if (!pageTest(page, PG_REFERENCED)) pageSet(page, PG_REFERENCED);
  else if (!pageTest(page, PG_ACTIVE)) lruMarkAccessed(mm, vcpu, pfn);
}

// do_swap_page() past the swap cache. The caller has a reference. False: the fault goes on by steps.
function swapIn(vcpu: usize, vm: usize, mm: usize, space: usize, index: u32, entry: u32, write: bool): bool {
  const cpu = actorCpu(vcpu);
  const full = chargeFull(mm, cpu, space);
  if (!entryPlain(mm, entry) || (full && !idealizedChooses(space))) return false;
  const zone = zoneAtHand(mm, cpu, GFP_USER_PAGE);
  if (zone === 0) return false;
  if (!full && !tryCharge(mm, cpu, space, false)) return false; // over its limit
  const seq = vmInvalidateSeq(vm);
  psiMemstall(vcpu, PSI_SWAP_IN, true);
  const frame = frameTake(mm, vcpu, zone, space);
  if (full) {
    count(TRACE_MM_VMSCAN_MEMCG_RECLAIM_BEGIN);
    const victim = idealizedChoose(space, index);
    actorSpend(vcpu, STAGE_RECLAIM, cost(COST_RECLAIM_SCAN_PAGE_NS));
    if (idealizedFailed() || !evict(vcpu, vm, mm, space, victim)) {
      goesOnByChoice(vcpu, space, index, entry, write, seq, frame, victim);
      return false;
    }
  } else {
    spaceAccount(space, 1, -1);
  }
  swapInEnds(mm, vcpu, space, index, frame, entry, write);
  psiMemstall(vcpu, PSI_SWAP_IN, false);
  return true;
}

/**
 * The fault for page `index`, which began when the sequence was `seq` and has taken `frame` at a cgroup that is full, goes on by steps: the policy has
 * chosen `victim` (PFN_NONE: nothing), and that page is not plain.
 */
export function goesOnByChoice(
  vcpu: usize,
  space: usize,
  index: u32,
  entry: u32,
  write: bool,
  seq: u32,
  frame: u32,
  victim: u32,
): void {
  pageFaultAtAlloc(vcpu, seq);
  faultAtBypass(vcpu, space, index, entry, write);
  allocAtChoice(vcpu, space, frame);
  idealizedAtChoice(vcpu, space, victim);
}

// The page in frame `pfn` goes to swap. False, and nothing has changed: it is not plain.
function evict(vcpu: usize, vm: usize, mm: usize, space: usize, pfn: u32): bool {
  if (pfn === PFN_NONE) return false;
  lruAddDrainAll(mm, vcpu);
  const index = pageIndex(pageOf(mm, pfn));
  const gfn = gfnOf(vm, index);
  if (gfn === GFN_NONE || !victimPlain(mm, vcpu, space, pfn)) return false;
  const entry = evictBegins(mm, vcpu, space, pfn);

  count(TRACE_KVM_UNMAP_HVA_RANGE);
  vmInvalidateBegin(vm);
  vmInvalidateExtend(vm, gfn, gfn + 1);
  const leaf = walkLeaf(vm, gfn);
  const zapped = leaf !== 0 && sptePresent(load<u64>(leaf));
  if (zapped) {
    assert(sptePfn(load<u64>(leaf)) === pfn);
    spteSet(vm, leaf, SPTE_NONE);
    count(TRACE_KVM_TDP_MMU_SPTE_CHANGED);
    digestAdd(DIGEST_INVALIDATE, actorClock(vcpu), vmId(vm), gfn, pfn, 0);
  }
  actorSpend(vcpu, STAGE_RECLAIM, cost(COST_NOTIFIER_INVALIDATE_NS));
  if (zapped) {
    vmCountAdd(vmStats(vm), VM_UNMAPPED, 1);
    actorSpend(vcpu, STAGE_RECLAIM, cost(COST_RMAP_PER_SPTE_NS));
    flushRemoteTlbs(vm, vcpu);
  }
  evictUnmaps(mm, vcpu, space, index, pfn, entry);
  vmInvalidateEnd(vm);
  actorSpend(vcpu, STAGE_RECLAIM, cost(COST_NOTIFIER_INVALIDATE_NS));
  evictEnds(mm, vcpu, space, index, pfn, entry);
  return true;
}

/** The one guest frame that page `index` backs; GFN_NONE where several slots have it, or none. */
export function gfnOf(vm: usize, index: u32): u32 {
  const slots = vmSlots(vm);
  const slotCount = memslotCount(slots);
  const place = slotCount === 1 ? 0 : memslotNextInHva(slots, index, index + 1, 0);
  if (place === slotCount) return GFN_NONE;
  const slot = memslotByHva(slots, place);
  if (index - memslotFirst(slot) >= memslotPages(slot)) return GFN_NONE;
  if (slotCount !== 1 && memslotNextInHva(slots, index, index + 1, place + 1) !== slotCount) return GFN_NONE;
  return memslotGfnOf(slot, index);
}
