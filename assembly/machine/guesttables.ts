import { guestEntryAt } from "../kvm/guesttables";
import { vcpuCr3, vmGuestTables } from "../kvm/roots";
import { guestLeafTable, guestLoadCr3, guestStore } from "../kvm/shadowfault";
import { vmIsShadow } from "../kvm/vm";
import { vmAt } from "../kvm/vmtable";
import { vcpuAt } from "./lookup";

// The guest's own page tables from outside, under shadow paging: what the guest does to them between two accesses.

/** Frame of the table of level 1 that has the entry for `page` on this vCPU, 0xffffffff for none, or without shadow paging. */
export function guestTableOf(vm: u32, vcpu: u32, page: u32): u32 {
  return vmIsShadow(vmAt(vm)) ? guestLeafTable(vcpuAt(vmAt(vm), vcpu), page) : u32.MAX_VALUE;
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

/** The guest loads CR3 with what it has. */
export function guestFlush(vm: u32, vcpu: u32): void {
  const actor = vcpuAt(vmAt(vm), vcpu);
  guestLoadCr3(actor, vcpuCr3(actor));
}
