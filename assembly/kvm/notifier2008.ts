import { STEP_AGAIN, STEP_BLOCKED, STEP_DONE } from "../memory/status";
import { ZERO_PFN } from "../mm/pte";
import { spaceHva } from "../mm/space";
import { actorClock, actorGoesOn, actorSpend, STAGE_RECLAIM } from "../sim/actor";
import { COST_NOTIFIER_INVALIDATE_NS, COST_RMAP_PER_SPTE_NS, cost } from "../sim/costs";
import { lockWrite, unlockWrite } from "../sim/lock";
import { emit, TRACE_KVM_UNMAP_HVA_RANGE } from "../sim/trace";
import { hostMaps } from "./foundpage";
import { legacyUnmap2008 } from "./legacy";
import { memslotGfnOf } from "./memslot";
import { memslotByHva, memslotCount, memslotNextInHva } from "./memslots";
import { VM_UNMAPPED, vmCountAdd } from "./stats";
import { NOTIFIER_PAGE, NOTIFIER_PC } from "./vcpu";
import { gfnToIndex, vmMmuLock, vmNotices, vmSlots, vmSpace, vmSpteRefs, vmStats } from "./vm";

// KVM's side of the MMU notifier as proposed in February 2008 (KVM swapping with MMU notifiers, V7): invalidate_page and
// invalidate_range_end, both called when the host's ptes have already changed, and age_page. There is no start, no sequence, and nothing for a fault
// to look at: what keeps a page from being freed under an spte is the reference that the spte owns (release.ts). Each page of a range is
// a call of its own, with mmu_lock and a flush of its own.
//
// An spte made behind the last call that names its page is unreachable. To tell it from one that a call on its way will still find, each page counts
// those calls, from before its pte changes; the design itself knows nothing of that count.

const IDLE: u32 = 0;
const UNMAP: u32 = 1;
const UNLOCK: u32 = 2;

function goto(actor: usize, pc: u32): void {
  store<u32>(actor, pc, NOTIFIER_PC);
}

/** The ptes of pages start..end-1 are about to change, and the call comes after. */
export function announce2008(vm: usize, start: u32, end: u32): void {
  for (let index = start; index < end; index++) count(vm, index, 1);
}

function count(vm: usize, index: u32, change: i32): void {
  const at = vmNotices(vm) + ((<usize>index) << 1);
  store<u16>(at, <u16>(<i32>load<u16>(at) + change));
}

/** The host does not map `gfn` to `pfn` any more, and no call will name it again. */
export function unreachable2008(vm: usize, gfn: u32, pfn: u32): bool {
  if (!vmSpteRefs(vm) || pfn === ZERO_PFN || hostMaps(vm, gfn, pfn)) return false;
  return load<u16>(vmNotices(vm) + ((<usize>gfnToIndex(vm, gfn)) << 1)) === 0;
}

/** kvm_mmu_notifier_invalidate_range_end(), of one page kvm_mmu_notifier_invalidate_page(). Returns STEP_*. */
export function invalidateEnd2008(actor: usize, vm: usize, start: u32, end: u32): i32 {
  while (true) {
    const pc = load<u32>(actor, NOTIFIER_PC);
    if (pc === IDLE) {
      store<u32>(actor, start, NOTIFIER_PAGE);
      goto(actor, UNMAP);
      if (!lockWrite(vmMmuLock(vm), actor)) return STEP_BLOCKED;
    } else if (pc === UNMAP) {
      unmapHva(vm, actor, load<u32>(actor, NOTIFIER_PAGE));
      goto(actor, UNLOCK);
      // yield: mmu_lock is held until the unmapping and its flushes have taken their time
      if (!actorGoesOn(actor)) return STEP_AGAIN;
    } else {
      assert(pc === UNLOCK);
      unlockWrite(vmMmuLock(vm), actor);
      const next = load<u32>(actor, NOTIFIER_PAGE) + 1;
      store<u32>(actor, next, NOTIFIER_PAGE);
      goto(actor, next < end ? UNMAP : IDLE);
      if (next >= end) return STEP_DONE;
      if (!lockWrite(vmMmuLock(vm), actor)) return STEP_BLOCKED;
    }
  }
}

// kvm_unmap_hva(): every slot that the page backs, without an early end.
function unmapHva(vm: usize, actor: usize, index: u32): void {
  const slots = vmSlots(vm);
  const hva = spaceHva(vmSpace(vm), index);
  count(vm, index, -1);
  emit(TRACE_KVM_UNMAP_HVA_RANGE, actorClock(actor), hva, hva + 4096, 0, 0);
  actorSpend(actor, STAGE_RECLAIM, cost(COST_NOTIFIER_INVALIDATE_NS));
  for (
    let place = memslotNextInHva(slots, index, index + 1, 0);
    place < memslotCount(slots);
    place = memslotNextInHva(slots, index, index + 1, place + 1)
  ) {
    const unmapped = legacyUnmap2008(vm, memslotGfnOf(memslotByHva(slots, place), index), actor);
    vmCountAdd(vmStats(vm), VM_UNMAPPED, unmapped);
    actorSpend(actor, STAGE_RECLAIM, unmapped * cost(COST_RMAP_PER_SPTE_NS));
  }
}
