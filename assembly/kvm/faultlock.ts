import { lockRead, lockWrite, unlockRead, unlockWrite } from "../sim/lock";
import { vmInvalidateRetry } from "./invalidation";
import { PF_SEQ, PF_ZAPS } from "./vcpu";
import { vmGuestFile, vmIsLegacy, vmMmuLock, vmZaps } from "./vm";

// mmu_lock around what a fault installs: the TDP MMU installs entries by exchange and needs it for reading only. In the design of 2007 kvm->lock is held
// instead, from the fault's beginning on.

/** False: the vCPU sleeps until it has the lock. */
export function faultLock(vm: usize, vcpu: usize): bool {
  if (vmGuestFile(vm) !== 0) return true;
  return vmIsLegacy(vm) ? lockWrite(vmMmuLock(vm), vcpu) : lockRead(vmMmuLock(vm), vcpu);
}

export function faultUnlock(vm: usize, vcpu: usize): void {
  if (vmGuestFile(vm) !== 0) return;
  if (vmIsLegacy(vm)) unlockWrite(vmMmuLock(vm), vcpu);
  else unlockRead(vmMmuLock(vm), vcpu);
}

/** is_page_fault_stale(): the page may have gone since it was asked for, or the slot. */
export function faultStale(vcpu: usize, vm: usize, frame: u32): bool {
  return vmInvalidateRetry(vm, load<u32>(vcpu, PF_SEQ), frame) || vmZaps(vm) !== load<u32>(vcpu, PF_ZAPS);
}
