import { EINVAL, ENOMEM, OK, STEP_AGAIN, STEP_BLOCKED, STEP_DONE } from "../memory/status";
import { spacePageAt } from "../mm/space";
import { actorClock, actorGoesOn, actorSpend, STAGE_LOCK, STAGE_RECLAIM } from "../sim/actor";
import { COST_NOTIFIER_INVALIDATE_NS, COST_RMAP_PER_SPTE_NS, cost } from "../sim/costs";
import { lockWrite, unlockWrite } from "../sim/lock";
import { waitqueueSleep } from "../sim/waitqueue";
import {
  CALL_DONTNEED,
  callBecomes,
  callEnd,
  callFlags,
  callHva,
  callSlot,
  callStart,
  callStatus,
  HVA_USUAL,
  setCallHva,
  setCallResult,
  setCallStatus,
} from "./call";
import { dirtyAllocate, dirtyBegin, dirtyLogged, dirtyTake } from "./dirtylog";
import { flushRemoteTlbs } from "./flush";
import { freePhysMem, kvmLockDrop, kvmLockTake } from "./guestfile";
import { guestMapSlot } from "./guestspace";
import { contentForget } from "./integrity";
import {
  KVM_MEM_KERNEL,
  KVM_MEM_LOG_DIRTY_PAGES,
  KVM_MEMSLOT_INVALID,
  memslotDirty,
  memslotFirst,
  memslotFlags,
  memslotHva,
  memslotPages,
  setMemslotBacked,
  setMemslotFirst,
  setMemslotFlags,
  setMemslotGfn,
  setMemslotUnbacked,
} from "./memslot";
import {
  memslotAdd,
  memslotById,
  memslotNotifiers,
  memslotRemove,
  memslotsPublish,
  memslotWaiters,
} from "./memslots";
import {
  memslotUpdateKind,
  UPDATE_CREATE,
  UPDATE_DELETE,
  UPDATE_MOVE,
  UPDATE_NOTHING,
} from "./memslotupdate";
import { mmioWraps } from "./mmio";
import { mmuSlotsChanged, mmuZapAll, mmuZapped } from "./mmu";
import { slotRoom } from "./slotroom";
import { CALL_PC, callGoto, vcpuVm } from "./vcpu";
import { vmDefaultHva, vmGuestFile, vmIsLegacy, vmIsShadow, vmMmuLock, vmSlots, vmSpace } from "./vm";

// The calls of a monitor that change the memory map or ask for its dirty log: the second half of __kvm_set_memory_region() with
// kvm_arch_commit_memory_region(), and kvm_vm_ioctl_get_dirty_log(). A set of slots is not changed while an MMU notifier is open, so that
// its start and its end find the same slots.
//
//   BEGIN → (the generation begins again: LAPS) → (delete, move: INVALID → ZAP (→ ZAPPED: legacy)) → COMMIT → (log on: PROTECT → PROTECTED) → done
//                                                      |
//                                                      └ (memory by the kernel, 2008: MAP → MAPPED) → done
//
// A slot whose memory the kernel maps is published without an address, and gets it under mmu_lock when the memory is mapped. Deleted, it takes its memory
// along (do_munmap()).

const BEGIN: u32 = 1;
const INVALID: u32 = 2;
const ZAP: u32 = 3;
const ZAPPED: u32 = 4;
const COMMIT: u32 = 5;
const PROTECT: u32 = 6;
const PROTECTED: u32 = 7;
const MAP: u32 = 8;
const MAPPED: u32 = 9;
// Beside one of these: every mapping is dropped first, with and without the lock.
const LAPS: u32 = 16;
const LAPSING: u32 = 32;
const STEPS: u32 = 15;

// True when no notifier is open; else the monitor sleeps until none is.
function settled(monitor: usize, slots: usize): bool {
  if (memslotNotifiers(slots) === 0) return true;
  waitqueueSleep(memslotWaiters(slots), monitor, STAGE_LOCK);
  return false;
}

function kindOf(vm: usize, call: usize): i32 {
  return memslotUpdateKind(
    vm,
    callSlot(call),
    callStart(call),
    callEnd(call),
    callHva(call),
    callFlags(call),
  );
}

/** Goes on with CALL_MEMSLOT. Returns STEP_*. */
export function memslotCallStep(monitor: usize, call: usize): i32 {
  const vm = vcpuVm(monitor);
  if (vmGuestFile(vm) === 0) return changeMap(monitor, call, vm);
  if (!kvmLockTake(vm, monitor)) return STEP_BLOCKED;
  const step = changeMap(monitor, call, vm);
  if (step === STEP_DONE) kvmLockDrop(vm, monitor);
  return step;
}

function changeMap(monitor: usize, call: usize, vm: usize): i32 {
  const slots = vmSlots(vm);
  const slot = memslotById(slots, callSlot(call));
  while (true) {
    const pc = load<u32>(monitor, CALL_PC);
    if (pc === BEGIN) {
      if (callHva(call) === HVA_USUAL) {
        setCallHva(call, slot === 0 ? vmDefaultHva(vm, callStart(call)) : memslotHva(slot));
      }
      const kind = kindOf(vm, call);
      if (kind <= UPDATE_NOTHING) {
        setCallStatus(call, kind);
        return STEP_DONE;
      }
      const placed = kind === UPDATE_CREATE || kind === UPDATE_MOVE;
      if ((placed && !room(vm, call, kind, monitor)) || (slot !== 0 && !dirtyRoom(slot, callFlags(call)))) {
        setCallStatus(call, ENOMEM);
        return STEP_DONE;
      }
      setCallResult(call, <u32>kind);
      publishAt(monitor, vm, kind === UPDATE_DELETE || kind === UPDATE_MOVE ? INVALID : COMMIT);
    } else if (pc & LAPS) {
      callGoto(monitor, (pc & STEPS) | LAPSING);
      if (!lockWrite(vmMmuLock(vm), monitor)) return STEP_BLOCKED;
    } else if (pc & LAPSING) {
      const zapped = zapAll(vm, monitor);
      unlockWrite(vmMmuLock(vm), monitor);
      actorSpend(monitor, STAGE_RECLAIM, zapped * cost(COST_RMAP_PER_SPTE_NS));
      callGoto(monitor, pc & STEPS);
      if (!actorGoesOn(monitor)) return STEP_AGAIN; // yield: what is made from now on is of the generation that ends
    } else if (pc === INVALID) {
      if (!settled(monitor, slots)) return STEP_BLOCKED;
      setMemslotFlags(slot, memslotFlags(slot) | KVM_MEMSLOT_INVALID);
      memslotsPublish(slots, 1);
      callGoto(monitor, ZAP);
      // yield: faults on the slot start over from now on
      if (!lockWrite(vmMmuLock(vm), monitor)) return STEP_BLOCKED;
    } else if (pc === ZAP) {
      // kvm_mmu_zap_all_fast(): every mapping of the VM goes, not only the slot's.
      const zapped = zapAll(vm, monitor);
      // Roots of the TDP MMU are invalid at once, and are taken apart with mmu_lock held for reading, which keeps no fault out.
      const tdp = !vmIsLegacy(vm);
      if (tdp) unlockWrite(vmMmuLock(vm), monitor);
      actorSpend(monitor, STAGE_RECLAIM, zapped * cost(COST_RMAP_PER_SPTE_NS));
      if (tdp) publishAt(monitor, vm, COMMIT);
      else callGoto(monitor, ZAPPED);
      if (!actorGoesOn(monitor)) return STEP_AGAIN; // yield: the slot is invalid; with the legacy MMU mmu_lock is held for writing
    } else if (pc === ZAPPED) {
      unlockWrite(vmMmuLock(vm), monitor);
      publishAt(monitor, vm, COMMIT);
    } else if (pc === COMMIT) {
      if (!settled(monitor, slots)) return STEP_BLOCKED;
      const deleted = slot !== 0 && callEnd(call) === 0;
      if (deleted && vmGuestFile(vm) !== 0) {
        freePhysMem(vm, slot, monitor);
        contentForget(vm, memslotFirst(slot), memslotFirst(slot) + memslotPages(slot));
      }
      if (deleted && (memslotFlags(slot) & KVM_MEM_KERNEL) !== 0) {
        const first = memslotFirst(slot);
        const pages = memslotPages(slot);
        commit(vm, call, slot);
        contentForget(vm, first, first + pages);
        callBecomes(call, CALL_DONTNEED, first, first + pages);
        callGoto(monitor, BEGIN);
        return STEP_AGAIN;
      }
      const logs = commit(vm, call, slot);
      if (slot === 0 && (callFlags(call) & KVM_MEM_KERNEL) !== 0 && callStatus(call) === OK) {
        callGoto(monitor, MAP);
        if (!actorGoesOn(monitor)) return STEP_AGAIN; // yield: the slot is there, and has no memory
        continue;
      }
      if (!logs) return STEP_DONE;
      callGoto(monitor, PROTECT);
      if (!lockWrite(vmMmuLock(vm), monitor)) return STEP_BLOCKED;
    } else if (pc === MAP) {
      callGoto(monitor, MAPPED);
      if (!lockWrite(vmMmuLock(vm), monitor)) return STEP_BLOCKED;
    } else if (pc === MAPPED) {
      const made = memslotById(slots, callSlot(call));
      setMemslotBacked(made, callHva(call), spacePageAt(vmSpace(vm), callHva(call)));
      memslotsPublish(slots, 1);
      unlockWrite(vmMmuLock(vm), monitor);
      return STEP_DONE;
    } else if (pc === PROTECT) {
      const entries = dirtyBegin(vm, slot, actorClock(monitor));
      actorSpend(monitor, STAGE_RECLAIM, entries * cost(COST_RMAP_PER_SPTE_NS));
      if (entries !== 0) flushRemoteTlbs(vm, monitor);
      callGoto(monitor, PROTECTED);
      if (!actorGoesOn(monitor)) return STEP_AGAIN; // yield: mmu_lock is held for writing
    } else {
      unlockWrite(vmMmuLock(vm), monitor);
      return STEP_DONE;
    }
  }
}

// Goes on at `pc`, which publishes other slots: where the generations in MMIO sptes begin again with that, every mapping goes first.
function publishAt(monitor: usize, vm: usize, pc: u32): void {
  callGoto(monitor, mmioWraps(vm) ? pc | LAPS : pc);
}

// Returns the entries that are gone; mmu_lock is held for writing.
function zapAll(vm: usize, monitor: usize): u32 {
  const zapped = mmuZapAll(vm, monitor);
  actorSpend(monitor, STAGE_RECLAIM, cost(COST_NOTIFIER_INVALIDATE_NS));
  mmuZapped(vm, monitor);
  return zapped;
}

function room(vm: usize, call: usize, kind: i32, monitor: usize): bool {
  return slotRoom(vm, kind === UPDATE_CREATE, callStart(call), callEnd(call), callHva(call), monitor);
}

// Has the slot a bitmap, if it is to have one?
function dirtyRoom(slot: usize, flags: u32): bool {
  return (flags & KVM_MEM_LOG_DIRTY_PAGES) === 0 || memslotDirty(slot) !== 0 || dirtyAllocate(slot);
}

// Publishes the new set. True when the slot's dirty log has just been switched on.
function commit(vm: usize, call: usize, slot: usize): bool {
  const slots = vmSlots(vm);
  const flags = callFlags(call);
  let logs = false;
  if (slot === 0) {
    const added = memslotAdd(slots, callSlot(call), callStart(call), callEnd(call), callHva(call), flags);
    assert(added !== 0);
    if (flags & KVM_MEM_KERNEL) setMemslotUnbacked(added);
    else setMemslotFirst(added, spacePageAt(vmSpace(vm), callHva(call)));
    if (!dirtyRoom(added, flags)) {
      memslotRemove(slots, added);
      setCallStatus(call, ENOMEM);
    }
  } else if (callEnd(call) === 0) {
    memslotRemove(slots, slot);
  } else {
    logs = (flags & ~memslotFlags(slot) & KVM_MEM_LOG_DIRTY_PAGES) !== 0;
    setMemslotFlags(slot, flags);
    setMemslotGfn(slot, callStart(call));
  }
  memslotsPublish(slots, 1);
  if (vmIsShadow(vm) && vmGuestFile(vm) === 0 && callEnd(call) !== 0)
    guestMapSlot(vm, callStart(call), callEnd(call));
  mmuSlotsChanged(vm);
  return logs;
}

/** Goes on with CALL_DIRTY_LOG. Returns STEP_*. */
export function dirtyCallStep(monitor: usize, call: usize): i32 {
  const vm = vcpuVm(monitor);
  if (vmGuestFile(vm) === 0) return takeLog(monitor, call, vm);
  if (!kvmLockTake(vm, monitor)) return STEP_BLOCKED;
  const step = takeLog(monitor, call, vm);
  if (step === STEP_DONE) kvmLockDrop(vm, monitor);
  return step;
}

function takeLog(monitor: usize, call: usize, vm: usize): i32 {
  const slot = memslotById(vmSlots(vm), callSlot(call));
  const pc = load<u32>(monitor, CALL_PC);
  if (pc === BEGIN) {
    if (slot === 0 || !dirtyLogged(slot)) {
      setCallStatus(call, EINVAL);
      return STEP_DONE;
    }
    callGoto(monitor, PROTECT);
    if (!lockWrite(vmMmuLock(vm), monitor)) return STEP_BLOCKED;
  }
  if (load<u32>(monitor, CALL_PC) === PROTECT) {
    const taken = dirtyTake(vm, slot, actorClock(monitor));
    setCallResult(call, taken);
    actorSpend(monitor, STAGE_RECLAIM, taken * cost(COST_RMAP_PER_SPTE_NS));
    if (taken !== 0) flushRemoteTlbs(vm, monitor);
    callGoto(monitor, PROTECTED);
    if (!actorGoesOn(monitor)) return STEP_AGAIN; // yield: mmu_lock is held for writing
  }
  unlockWrite(vmMmuLock(vm), monitor);
  return STEP_DONE;
}
