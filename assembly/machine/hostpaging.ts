import { guestFileCreate, pagesLeaked, pagesTruncated, vcpuZaps } from "../kvm/guestfile";
import { vmGuestFile, vmSpace } from "../kvm/vm";
import { vmAt } from "../kvm/vmtable";
import { E_NO_MEMORY, OK } from "../memory/status";
import { spaceSlotsLost } from "../mm/space";

// A VM whose host takes pages away by writepage, as in 2007: how it is set up, and what it counts beside VM_*.

/** Reclaim of VM `id`, whose vCPUs are known, goes through writepage: see guestFileCreate(). */
export function configWritepage(id: u32, shared: bool, zapAll: bool): i32 {
  return guestFileCreate(vmAt(id), shared, zapAll) ? OK : E_NO_MEMORY;
}

/** Pages that writepage has zapped in the tables of vCPU `vcpu`. */
export function hostPagingZaps(id: u32, vcpu: u32): u32 {
  return vmGuestFile(vmAt(id)) === 0 ? 0 : vcpuZaps(vmAt(id), vcpu);
}

/** Pages that nobody will ever give back. */
export function hostPagingLeaked(id: u32): u32 {
  return pagesLeaked(vmAt(id));
}

/** Pages that the VM's end has truncated while another VM had them mapped. */
export function hostPagingTruncated(id: u32): u32 {
  return pagesTruncated(vmAt(id));
}

/** Swap slots whose only entry has been written over. */
export function hostPagingSlotsLost(id: u32): u32 {
  return spaceSlotsLost(vmSpace(vmAt(id)));
}
