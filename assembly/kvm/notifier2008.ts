import { STEP_AGAIN, STEP_BLOCKED, STEP_DONE } from "../memory/status";
import { spaceHva } from "../mm/space";
import { actorClock, actorGoesOn, actorSpend, STAGE_RECLAIM } from "../sim/actor";
import { COST_NOTIFIER_INVALIDATE_NS, COST_RMAP_PER_SPTE_NS, cost } from "../sim/costs";
import { lockWrite, unlockWrite } from "../sim/lock";
import { emit, TRACE_KVM_UNMAP_HVA_RANGE } from "../sim/trace";
import { legacyUnmap2008 } from "./legacy";
import { memslotGfnOf } from "./memslot";
import { memslotByHva, memslotCount, memslotNextInHva } from "./memslots";
import { VM_UNMAPPED, vmCountAdd } from "./stats";
import { NOTIFIER_PAGE, NOTIFIER_PC } from "./vcpu";
import { vmMmuLock, vmSlots, vmSpace, vmStats } from "./vm";

// KVM's side of the MMU notifier as proposed in February 2008 (KVM swapping with MMU notifiers, V7): invalidate_page and
// invalidate_range_end, both called when the host's ptes have already changed, and age_page. There is no start, no sequence, and nothing for a fault
// to look at: what keeps a page from being freed under an spte is the reference that the spte owns (release.ts). Each page of a range is
// a call of its own, with mmu_lock and a flush of its own.

const IDLE: u32 = 0;
const UNMAP: u32 = 1;
const UNLOCK: u32 = 2;

function goto(actor: usize, pc: u32): void {
  store<u32>(actor, pc, NOTIFIER_PC);
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
