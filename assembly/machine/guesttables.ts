import { taskRoot } from "../guest/task";
import { guestKernelPage } from "../kvm/guestspace";
import { guestEntryAt, guestTableAt } from "../kvm/guesttables";
import { vmGuestRoot, vmGuestTables } from "../kvm/roots";
import { guestLeafTable, guestLoadCr3, guestStore } from "../kvm/shadowfault";
import { setStepRoot } from "../kvm/step";
import { STEP_ROOT } from "../kvm/vcpu";
import { vmAt } from "../kvm/vmtable";
import { vcpuAt } from "./lookup";
import { taskAt } from "./state";

// The guest's own page tables from outside, under shadow paging: what the guest does to them between two accesses.

/** Steps of this vCPU are made in the address space of `task` from now on, in the kernel's with 0xffffffff, or when the task shares it. */
export function stepSpace(vm: u32, vcpu: u32, task: u32): void {
  const root = task === u32.MAX_VALUE ? 0 : taskRoot(taskAt(task));
  setStepRoot(vcpuAt(vmAt(vm), vcpu), root === 0 ? vmGuestRoot(vmAt(vm)) : root);
}

/** Frame of the table of level 1 that has the entry for `page` in the address space of the vCPU's steps, 0xffffffff for none. */
export function guestTableOf(vm: u32, vcpu: u32, page: u32): u32 {
  return guestLeafTable(vmAt(vm), load<u32>(vcpuAt(vmAt(vm), vcpu), STEP_ROOT), page);
}

/** The page at which the kernel finds frame `gfn` there. */
export function guestKernelAt(vm: u32, vcpu: u32, gfn: u32): u32 {
  const actor = vcpuAt(vmAt(vm), vcpu);
  return guestKernelPage(vmAt(vm), load<u32>(actor, STEP_ROOT), gfn);
}

/** Frame `gfn` is kept for the guest's page tables. */
export function guestHoldsTable(vm: u32, gfn: u32): bool {
  return guestTableAt(vmGuestTables(vmAt(vm)), gfn) !== 0;
}

/** The guest, which has just had access to the table in frame `gfn`, changes the entry for `page` there: bits of 0..11. */
export function guestEdit(vm: u32, vcpu: u32, gfn: u32, page: u32, set: u32, clear: u32): void {
  const entry = guestEntryAt(vmGuestTables(vmAt(vm)), gfn, page, 1);
  guestStore(vcpuAt(vmAt(vm), vcpu), gfn, page & 511, (load<u64>(entry) | set) & ~(<u64>clear));
}

/** Its low bits. */
export function guestEntryBits(vm: u32, gfn: u32, page: u32): u32 {
  return <u32>load<u64>(guestEntryAt(vmGuestTables(vmAt(vm)), gfn, page, 1)) & 4095;
}

/** The guest loads CR3 with the table of the address space of the vCPU's steps. */
export function guestFlush(vm: u32, vcpu: u32): void {
  const actor = vcpuAt(vmAt(vm), vcpu);
  guestLoadCr3(actor, load<u32>(actor, STEP_ROOT));
}
