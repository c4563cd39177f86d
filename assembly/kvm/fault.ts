import { PFN_NONE } from "../memory/layout";
import { STEP_AGAIN, STEP_BLOCKED, STEP_DONE, STEP_READ_ERROR } from "../memory/status";
import { allocated, allocStep, allocTableBegin } from "../mm/alloc";
import {
  FAULT_SPURIOUS,
  FAULT_WRITE_PROTECT,
  faultBegin,
  faultGaveUp,
  faultGoOn,
  faultKind,
  faultPfn,
  faultStep,
  faultWritable,
} from "../mm/fault";
import {
  ACTOR_HOST,
  actorClearStages,
  actorClock,
  actorGoesOn,
  actorSpend,
  STAGE_MAP,
  setActorState,
} from "../sim/actor";
import { COST_EPT_MAP_NS, cost } from "../sim/costs";
import {
  apfSetupBegin,
  apfSetupResult,
  apfSetupStep,
  asyncNote,
  asyncTry,
  SETUP_HALT,
  SETUP_SYNC,
} from "./apfsetup";
import { dirtyMark } from "./dirtylog";
import { FAST_FIXED, fastPageFault } from "./fastfault";
import { PAGE_FAULT_CHECK } from "./faultend";
import { faultExit, faultWrites } from "./faultexit";
import { faultLock, faultStale, faultUnlock } from "./faultlock";
import { faultLetGo, faultTouched, hostMapsWritable } from "./foundpage";
import { gfnToPageBegin, gfnToPageStep } from "./gfntopage";
import { kvmLockDrop, kvmLockTake } from "./guestfile";
import { noteViolation, VIOLATION_UNREACHABLE_PIN } from "./integrity";
import { vmInvalidateRetry, vmInvalidateSeq } from "./invalidation";
import { memslotIndex, memslotInvalid, memslotReadOnly, memslotUnbacked } from "./memslot";
import { MMIO_GONE, MMIO_KNOWN, mmioAnswer, mmioFault, mmioKeeps, mmioMark } from "./mmiofault";
import { mmuLevel, mmuMap, mmuMissing, mmuReady } from "./mmu";
import { traceSpteRequested } from "./mmutrace";
import { unreachable2008 } from "./notifier2008";
import { SHADOW_PROTECTED, shadowMap } from "./shadow";
import {
  SHADOW_INJECTS,
  SHADOW_MAPS,
  SHADOW_WAITS,
  shadowCurrent,
  shadowMapNs,
  shadowTableStep,
  shadowWalk,
} from "./shadowfault";
import { addSpare, spareCount } from "./spare";
import { VM_RETRIES, VM_UNREACHABLE_PINS, vmCountAdd } from "./stats";
import {
  EMULATED_BY_KVM,
  PF_EMULATED,
  PF_GFN,
  PF_HALT,
  PF_KIND,
  PF_MMIO,
  PF_PC,
  PF_PENDING,
  PF_PINNED,
  PF_PREFETCH,
  PF_SEQ,
  PF_SLOW,
  PF_START,
  PF_VA,
  PF_WRITE,
  PF_ZAPS,
  setVcpuMode,
  VCPU_HANDLER,
  VCPU_IN_FAULT,
  vcpuIndex,
  vcpuMemslot,
  vcpuVm,
} from "./vcpu";
import { vmExpected, vmGuestFile, vmIsShadow, vmMm, vmSpace, vmStats, vmUnalias, vmZaps } from "./vm";
import { LEVEL_4K, levelPages } from "./walk";

// The fault path of the direct MMUs: direct_page_fault() with the retry rule of the notifier. The vCPU's thread sleeps while the
// host swaps in, or the fault becomes asynchronous (apfsetup.ts). The access that faulted is repeated when the fault has been
// handled; only when that repetition succeeds is the fault counted, once, by the most expensive thing it needed.
//
// Under shadow paging the guest's tables are walked after CHECK (shadowfault.ts). In the design of 2007 kvm->lock is held all the time, in place of mmu_lock,
// and the page comes from the VM's file (gfntopage.ts).
//
//   EXIT → CHECK → TOPUP → RESOLVE → RESOLVED → LOCK → MAP → UNLOCK → guest
//     ^                       |                   |
//     |                       ├─ ASYNC           |      the page is on its way: the guest is told, or the vCPU is halted
//     +------ the range was invalidated meanwhile: try again
//
// What no slot holds ends after RESOLVE: an MMIO spte is put there under the lock, and the monitor answers. An access whose walk met such an entry is
// over after CHECK, if the entry counts (mmiofault.ts).

const TOPUP: u32 = 1;
const TOPUP_ALLOC: u32 = 2;
const RESOLVE: u32 = 3;
const RESOLVING: u32 = 4;
const LOCKED: u32 = 5;
const UNLOCK: u32 = 6;
const RESOLVED: u32 = 7;
const ASYNC: u32 = 8;
const GUEST_TABLES: u32 = 9;
const GUEST_TABLE: u32 = 10;
const GFN_TO_PAGE: u32 = 11;
const MMIO_LOCK: u32 = 12;
const MMIO_LOCKED: u32 = 13;
const MMIO_UNLOCK: u32 = 14;

/** Part of eptMapNs, one in so many, that passes between the frame's arrival and mmu_lock. */
export const MAP_BEFORE_LOCK: u32 = 4;

/** The vCPU leaves the guest at its clock because of an access to `gfn`. A fault that is still pending goes on. */
export function pageFaultBegin(vcpu: usize, gfn: u32, write: bool): void {
  const clock = actorClock(vcpu);
  if (load<u32>(vcpu, PF_PENDING) === 0) {
    actorClearStages(vcpu);
    store<u64>(vcpu, clock, PF_START);
    store<u32>(vcpu, FAULT_SPURIOUS, PF_KIND);
    store<u32>(vcpu, 1, PF_PENDING);
  }
  store<u32>(vcpu, gfn, PF_GFN);
  store<u32>(vcpu, gfn, PF_VA);
  store<u32>(vcpu, write ? 1 : 0, PF_WRITE);
  setActorState(vcpu, ACTOR_HOST);
  setVcpuMode(vcpu, VCPU_IN_FAULT);
  faultExit(vcpu);
}

function goto(vcpu: usize, pc: u32): void {
  store<u32>(vcpu, pc, PF_PC);
}

function needed(vcpu: usize, kind: u32): void {
  if (load<u32>(vcpu, PF_PREFETCH) !== 0) return;
  if (kind > load<u32>(vcpu, PF_KIND)) store<u32>(vcpu, kind, PF_KIND);
}

/** A fault that began by atonce.ts, when the sequence was `seq`, goes on by steps: the primary MMU's fault for its frame is under way. */
export function pageFaultAtAlloc(vcpu: usize, seq: u32): void {
  store<u32>(vcpu, seq, PF_SEQ);
  store<u32>(vcpu, vmZaps(vcpuVm(vcpu)), PF_ZAPS);
  store<u32>(vcpu, 1, PF_SLOW);
  goto(vcpu, RESOLVING);
}

/** Goes on with the vCPU's fault. STEP_DONE: the vCPU may go back to the guest. Returns STEP_*. */
export function pageFaultStep(vcpu: usize): i32 {
  const step = handle(vcpu);
  if (step === STEP_DONE && vmGuestFile(vcpuVm(vcpu)) !== 0) kvmLockDrop(vcpuVm(vcpu), vcpu);
  return step;
}

function handle(vcpu: usize): i32 {
  const vm = vcpuVm(vcpu);
  const mm = vmMm(vm);
  let gfn = load<u32>(vcpu, PF_GFN);
  let frame = vmUnalias(vm, gfn);
  const prefetch = load<u32>(vcpu, PF_PREFETCH) !== 0;
  while (true) {
    const pc = load<u32>(vcpu, PF_PC);
    if (pc === PAGE_FAULT_CHECK) {
      if (vmGuestFile(vm) !== 0 && !kvmLockTake(vm, vcpu)) return STEP_BLOCKED;
      if (load<u32>(vcpu, PF_MMIO) !== 0) {
        const found = mmioFault(vcpu);
        if (found === MMIO_KNOWN) {
          mmioAnswer(vcpu);
          return STEP_DONE;
        }
        if (found === MMIO_GONE) {
          if (!retry(vcpu)) return STEP_AGAIN;
          continue;
        }
      }
      if (vmIsShadow(vm)) {
        goto(vcpu, GUEST_TABLES);
        continue;
      }
      const fast = fastPageFault(vcpu, vm, gfn, frame, faultWrites(vcpu));
      if (fast === FAST_FIXED) needed(vcpu, FAULT_WRITE_PROTECT);
      if (fast !== 0) return STEP_DONE;
      goto(vcpu, TOPUP);
    } else if (pc === GUEST_TABLES) {
      const walked = shadowWalk(vcpu);
      if (walked !== SHADOW_WAITS) {
        goto(vcpu, TOPUP);
        gfn = load<u32>(vcpu, PF_GFN);
        frame = vmUnalias(vm, gfn);
        if (walked === SHADOW_MAPS) continue;
        if (!prefetch && walked === SHADOW_INJECTS) store<u32>(vcpu, 1, VCPU_HANDLER);
        else if (!prefetch) store<u32>(vcpu, EMULATED_BY_KVM, PF_EMULATED);
        return STEP_DONE;
      }
      goto(vcpu, GUEST_TABLE);
    } else if (pc === GUEST_TABLE) {
      const step = shadowTableStep(vcpu);
      if (step !== STEP_DONE) return step;
      goto(vcpu, GUEST_TABLES);
    } else if (pc === TOPUP) {
      if (spareCount(vcpu) < mmuMissing(vm, vcpu, gfn, LEVEL_4K)) {
        allocTableBegin(vcpu, vmSpace(vm), true);
        goto(vcpu, TOPUP_ALLOC);
      } else {
        goto(vcpu, RESOLVE);
      }
    } else if (pc === TOPUP_ALLOC) {
      const step = allocStep(mm, vcpu);
      if (step !== STEP_DONE) return step;
      addSpare(vcpu, allocated(vcpu));
      goto(vcpu, TOPUP);
    } else if (pc === RESOLVE) {
      const seq = vmInvalidateSeq(vm);
      store<u32>(vcpu, seq, PF_SEQ);
      store<u32>(vcpu, vmZaps(vm), PF_ZAPS);
      const slot = vcpuMemslot(vcpu, frame);
      const write = faultWrites(vcpu);
      if (vmInvalidateRetry(vm, seq, frame) || (slot !== 0 && memslotInvalid(slot))) {
        if (prefetch) return STEP_DONE;
        if (!retry(vcpu)) return STEP_AGAIN;
        continue;
      }
      if (slot === 0 || memslotUnbacked(slot) || (write && memslotReadOnly(slot))) {
        if (!prefetch && slot === 0 && mmioKeeps(vcpu, gfn)) {
          actorSpend(vcpu, STAGE_MAP, beforeLock(vm));
          goto(vcpu, MMIO_LOCK);
          if (!actorGoesOn(vcpu)) return STEP_AGAIN;
          continue;
        }
        if (!prefetch) mmioAnswer(vcpu);
        return STEP_DONE;
      }
      if (vmGuestFile(vm) !== 0) {
        gfnToPageBegin(vcpu, frame);
        goto(vcpu, GFN_TO_PAGE);
        continue;
      }
      const index = memslotIndex(slot, frame);
      store<u32>(vcpu, hostMapsWritable(vm, index) ? 0 : 1, PF_SLOW);
      faultBegin(vcpu, vmSpace(vm), index, write);
      if (!prefetch) asyncTry(vcpu);
      goto(vcpu, RESOLVING);
    } else if (pc === RESOLVING) {
      const step = faultStep(mm, vcpu);
      // -EFAULT: of a page that nobody has touched yet, nobody learns of it.
      if (step !== STEP_DONE) return prefetch && step === STEP_READ_ERROR ? STEP_DONE : step;
      needed(vcpu, faultKind(vcpu));
      if (faultGaveUp(vcpu)) {
        apfSetupBegin(vcpu);
        goto(vcpu, ASYNC);
        continue;
      }
      asyncNote(vcpu);
      faultTouched(vcpu, vm, gfn, load<u32>(vcpu, PF_SLOW) !== 0);
      actorSpend(vcpu, STAGE_MAP, beforeLock(vm));
      goto(vcpu, RESOLVED);
      // yield: the frame is held, no spte names it yet; the page may be taken away here (the 2008 get_user_pages window)
      if (!actorGoesOn(vcpu)) return STEP_AGAIN;
    } else if (pc === GFN_TO_PAGE) {
      const step = gfnToPageStep(vcpu);
      if (step !== STEP_DONE) return step;
      needed(vcpu, faultKind(vcpu));
      actorSpend(vcpu, STAGE_MAP, beforeLock(vm));
      goto(vcpu, LOCKED);
      if (faultPfn(vcpu) !== PFN_NONE) continue;
      kvmLockDrop(vm, vcpu);
      if (!retry(vcpu)) return STEP_AGAIN;
    } else if (pc === RESOLVED) {
      goto(vcpu, LOCKED);
      if (!faultLock(vm, vcpu)) return STEP_BLOCKED;
    } else if (pc === LOCKED) {
      if (faultStale(vcpu, vm, frame) || (vmIsShadow(vm) && !shadowCurrent(vcpu))) {
        faultUnlock(vm, vcpu);
        faultLetGo(vcpu, vm, gfn);
        if (prefetch) return STEP_DONE;
        if (!retry(vcpu)) return STEP_AGAIN;
        continue;
      }
      if (!mmuReady(vm, vcpu, gfn, mmuLevel(vm, gfn, faultPfn(vcpu)))) {
        faultUnlock(vm, vcpu);
        faultLetGo(vcpu, vm, gfn);
        goto(vcpu, TOPUP);
        continue;
      }
      map(vcpu, vm, gfn, frame);
      goto(vcpu, UNLOCK);
      if (!actorGoesOn(vcpu)) return STEP_AGAIN; // yield: mmu_lock is held for reading
    } else if (pc === ASYNC) {
      const step = apfSetupStep(vcpu);
      if (step === STEP_AGAIN && actorGoesOn(vcpu)) continue;
      if (step !== STEP_DONE) return step;
      if (apfSetupResult() !== SETUP_SYNC) {
        if (apfSetupResult() === SETUP_HALT) store<u32>(vcpu, 1, PF_HALT);
        return STEP_DONE;
      }
      faultGoOn(vcpu);
      goto(vcpu, RESOLVING);
    } else if (pc === MMIO_LOCK) {
      goto(vcpu, MMIO_LOCKED);
      if (!faultLock(vm, vcpu)) return STEP_BLOCKED;
    } else if (pc === MMIO_LOCKED) {
      if (faultStale(vcpu, vm, frame) || (vmIsShadow(vm) && !shadowCurrent(vcpu))) {
        faultUnlock(vm, vcpu);
        if (!retry(vcpu)) return STEP_AGAIN;
        continue;
      }
      if (!mmuReady(vm, vcpu, gfn, LEVEL_4K)) {
        faultUnlock(vm, vcpu);
        goto(vcpu, TOPUP);
        continue;
      }
      mmioMark(vcpu, gfn, mapNs(vm) - beforeLock(vm));
      goto(vcpu, MMIO_UNLOCK);
      if (!actorGoesOn(vcpu)) return STEP_AGAIN; // yield: mmu_lock is held
    } else if (pc === MMIO_UNLOCK) {
      faultUnlock(vm, vcpu);
      mmioAnswer(vcpu);
      return STEP_DONE;
    } else {
      assert(pc === UNLOCK);
      faultUnlock(vm, vcpu);
      faultLetGo(vcpu, vm, gfn); // sptes hold no references
      return STEP_DONE;
    }
  }
}

// RET_PF_RETRY: back to the guest, whose access faults again. Returns whether the vCPU may go on at once.
function retry(vcpu: usize): bool {
  vmCountAdd(vmStats(vcpuVm(vcpu)), VM_RETRIES, 1);
  faultExit(vcpu);
  return actorGoesOn(vcpu);
}

// direct_page_fault() under mmu_lock
function map(vcpu: usize, vm: usize, gfn: u32, frame: u32): void {
  const slot = vcpuMemslot(vcpu, frame);
  const writable = faultWritable(vcpu) && !memslotReadOnly(slot);
  const pfn = faultPfn(vcpu);
  const level = mmuLevel(vm, gfn, pfn);
  const tail = levelPages(level) - 1;
  const prefetch = load<u32>(vcpu, PF_PREFETCH) !== 0;
  if (vmIsShadow(vm)) {
    traceSpteRequested(gfn, pfn, LEVEL_4K, actorClock(vcpu));
    const kind = shadowMap(vm, vcpu, pfn, writable, load<u32>(vcpu, PF_WRITE) !== 0, prefetch);
    needed(vcpu, kind & ~SHADOW_PROTECTED);
    if (kind & SHADOW_PROTECTED) store<u32>(vcpu, EMULATED_BY_KVM, PF_EMULATED);
  } else {
    needed(vcpu, mmuMap(vm, vcpu, gfn & ~tail, pfn & ~tail, level, writable, prefetch));
  }
  if (writable) dirtyMark(slot, frame);
  actorSpend(vcpu, STAGE_MAP, mapNs(vm) - beforeLock(vm));
  // Where an spte owns a reference, one whose page the host has taken away meanwhile keeps the frame: no notifier will name it.
  if (unreachable2008(vm, gfn, faultPfn(vcpu))) {
    vmCountAdd(vmStats(vm), VM_UNREACHABLE_PINS, 1);
    if (vmExpected(vm) === 0) return;
    noteViolation(VIOLATION_UNREACHABLE_PIN, vm, gfn, vcpuIndex(vcpu), actorClock(vcpu), 0, faultPfn(vcpu));
    store<u32>(vcpu, 1, PF_PINNED);
  }
}

function mapNs(vm: usize): u32 {
  return vmIsShadow(vm) ? shadowMapNs() : cost(COST_EPT_MAP_NS);
}

function beforeLock(vm: usize): u32 {
  return mapNs(vm) / MAP_BEFORE_LOCK;
}
