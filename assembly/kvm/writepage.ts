import { STEP_AGAIN, STEP_DONE } from "../memory/status";
import { ACTOR_MM, WRITEPAGE_PC, WRITEPAGE_RESULT } from "../mm/context";
import { PG_DIRTY, pageClear, pageIndex, pageOf, pageOwner, pageSet, setPageOwner } from "../mm/page";
import { fileHost, fileOf, fileRemove } from "../mm/pagecache";
import { pageUnlock } from "../mm/pagelock";
import { ENTRY_NONE } from "../mm/pte";
import { spaceId } from "../mm/space";
import { swapAlloc } from "../mm/swap";
import { setSlotOwner } from "../mm/swaparea";
import { swapCacheAdd } from "../mm/swapcache";
import { swapDup } from "../mm/swapmap";
import { WRITEPAGE_ACTIVATE, WRITEPAGE_DONE, writepageRegister } from "../mm/writepage";
import { actorClock, actorGoesOn, actorSpend, STAGE_RECLAIM } from "../sim/actor";
import { COST_NOTIFIER_INVALIDATE_NS, COST_RMAP_PER_SPTE_NS, COST_SWAP_OUT_CPU_NS, cost } from "../sim/costs";
import { mutexTrylock, mutexUnlock } from "../sim/mutex";
import { flushRemoteTlbs, flushTlb } from "./flush";
import { entryLost, kvmLock, physMemEntry, setPhysMemEntry, vcpuZapped, zapsAllVcpus } from "./guestfile";
import { VIOLATION_NO_SLOT, violationNote } from "./integrity";
import { legacyZapVcpu } from "./legacy";
import { memslotIndex } from "./memslot";
import { gfnToMemslot } from "./memslots";
import {
  VM_WRITEPAGE_ACTIVATED,
  VM_WRITEPAGE_CALLS,
  VM_WRITEPAGE_NO_SLOT,
  VM_WRITEPAGE_SWAP_FULL,
  VM_WRITEPAGE_TRYLOCK_FAILED,
  vmCountAdd,
} from "./stats";
import { vcpuIndex, vcpuNext } from "./vcpu";
import { vmExpected, vmSlots, vmSpace, vmStats, vmVcpuList } from "./vm";
import { vmAt } from "./vmtable";

// kvm_writepage() and kvm_move_to_swap() of 2007: reclaim has a page of a VM's file in its hands, locked. The page is zapped in the tables of the VM's first
// vCPU, gets a swap entry, and moves from the page cache to the swap cache. Nothing is written yet: the next reclaim that meets it does that.
//
//   TRY ─ lock taken ─→ ZAP → MOVE → done
//    └─ else: dirty again, to the active list
//
// The VM is whom the file says that it belongs to. The proposal zaps vCPU 0 alone, and says so itself; that its zap flushes a TLB, and which, it
// leaves to the zap, which is taken to flush that vCPU's. A swap entry is looked for after the zap: without one the zap was for nothing.

const TRY: u32 = 0;
const ZAP: u32 = 1;
const MOVE: u32 = 2;

function ended(actor: usize, result: u32): i32 {
  store<u32>(actor, result, WRITEPAGE_RESULT);
  return STEP_DONE;
}

function writepageStep(actor: usize, pfn: u32): i32 {
  const page = pageOf(<usize>load<u32>(actor, ACTOR_MM), pfn);
  while (true) {
    const vm = vmAt(fileHost(fileOf(<usize>load<u32>(actor, ACTOR_MM), page)));
    const pc = load<u32>(actor, WRITEPAGE_PC);
    if (pc === TRY) {
      vmCountAdd(vmStats(vm), VM_WRITEPAGE_CALLS, 1);
      pageClear(page, PG_DIRTY); // clear_page_dirty_for_io()
      // Whoever allocates under kvm->lock comes here through reclaim: to wait would be to wait for oneself.
      if (!mutexTrylock(kvmLock(vm), actor)) {
        vmCountAdd(vmStats(vm), VM_WRITEPAGE_TRYLOCK_FAILED, 1);
        return refused(vm, actor, page);
      }
      store<u32>(actor, ZAP, WRITEPAGE_PC);
      if (!actorGoesOn(actor)) return STEP_AGAIN; // yield: the page lock and kvm->lock are held
    } else if (pc === ZAP) {
      zap(vm, actor, pageIndex(page));
      store<u32>(actor, MOVE, WRITEPAGE_PC);
      if (!actorGoesOn(actor)) return STEP_AGAIN; // yield: vCPU 0 faults and waits for kvm->lock, the others go on
    } else {
      assert(pc === MOVE);
      const moved = moveToSwap(vm, actor, pfn, page);
      mutexUnlock(kvmLock(vm), actor);
      return moved ? ended(actor, WRITEPAGE_DONE) : refused(vm, actor, page);
    }
  }
}

// AOP_WRITEPAGE_ACTIVATE
function refused(vm: usize, actor: usize, page: usize): i32 {
  pageSet(page, PG_DIRTY);
  vmCountAdd(vmStats(vm), VM_WRITEPAGE_ACTIVATED, 1);
  return ended(actor, WRITEPAGE_ACTIVATE);
}

// kvm_mmu_zap_pagetbl()
function zap(vm: usize, actor: usize, gfn: u32): void {
  const all = zapsAllVcpus(vm);
  let zapped: u32 = 0;
  for (let vcpu = vmVcpuList(vm); vcpu !== 0; vcpu = all ? vcpuNext(vcpu) : <usize>0) {
    const entries = legacyZapVcpu(vm, gfn, vcpu, actor);
    if (entries === 0) continue;
    zapped += entries;
    vcpuZapped(vm, vcpuIndex(vcpu));
    if (!all) flushTlb(vcpu, actor);
  }
  actorSpend(actor, STAGE_RECLAIM, cost(COST_NOTIFIER_INVALIDATE_NS) + zapped * cost(COST_RMAP_PER_SPTE_NS));
  if (all && zapped !== 0) flushRemoteTlbs(vm, actor);
}

// kvm_move_to_swap(). A page without a slot is where the kernel would have followed a null pointer.
function moveToSwap(vm: usize, actor: usize, pfn: u32, page: usize): bool {
  const mm = <usize>load<u32>(actor, ACTOR_MM);
  const gfn = pageIndex(page);
  const slot = gfnToMemslot(vmSlots(vm), gfn);
  if (slot === 0) {
    vmCountAdd(vmStats(vm), VM_WRITEPAGE_NO_SLOT, 1);
    if (vmExpected(vm) !== 0) violationNote(VIOLATION_NO_SLOT, vm, gfn, 0, actorClock(actor));
    return false;
  }
  const entry = swapAlloc(mm, actor);
  if (entry === ENTRY_NONE) {
    vmCountAdd(vmStats(vm), VM_WRITEPAGE_SWAP_FULL, 1);
    return false;
  }
  const owner = pageOwner(page);
  const index = memslotIndex(slot, gfn);
  pageSet(page, PG_DIRTY);
  swapCacheAdd(mm, actor, pfn, entry);
  fileRemove(mm, pfn, actor);
  setPageOwner(page, owner, index);
  setSlotOwner(mm, entry, spaceId(vmSpace(vm)));
  const counted = swapDup(mm, entry);
  assert(counted);
  if (physMemEntry(vm, index) !== ENTRY_NONE) entryLost(vm, index); // another VM's page had the same place in the file
  setPhysMemEntry(vm, index, entry);
  actorSpend(actor, STAGE_RECLAIM, cost(COST_SWAP_OUT_CPU_NS));
  pageUnlock(mm, pfn, actorClock(actor));
  return true;
}

export function writepageInit(): void {
  writepageRegister(writepageStep);
}
