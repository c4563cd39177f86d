import { shadowGfn, shadowLeaf, shadowLeafNoted } from "./roots";
import { spteAllows, spteUser } from "./spte";
import { USER_MODE, vcpuVm } from "./vcpu";
import { vmFormat, vmIsShadow } from "./vm";
import { walkAny, walkLeaf } from "./walk";

// The walk of a vCPU's access, whatever the MMU: one set of tables for the whole VM, or what shadows the guest's tables below the vCPU's CR3. What an
// access names is a page of the guest's addresses; with two-dimensional paging that is the guest frame.

/** Address of the leaf entry at which the walk for `page` ends, 0 for none. */
export function vcpuLeaf(vcpu: usize, page: u32): usize {
  const vm = vcpuVm(vcpu);
  return vmIsShadow(vm) ? shadowLeaf(vcpu, page) : walkAny(vm, page);
}

/** The 4 KiB leaf, which the loop of accesses finds by itself from now on. */
export function vcpuLeafNoted(vcpu: usize, page: u32): usize {
  const vm = vcpuVm(vcpu);
  return vmIsShadow(vm) ? shadowLeafNoted(vcpu, page) : walkLeaf(vm, page);
}

/** Does the entry serve the access that the vCPU makes? */
export function vcpuAllows(vcpu: usize, spte: u64, write: bool): bool {
  if (!spteAllows(spte, write)) return false;
  const user = spteUser(vmFormat(vcpuVm(vcpu)));
  return load<u32>(vcpu, USER_MODE) === 0 || (spte & user) === user;
}

/** The guest frame that `page` is at `leaf`. */
export function vcpuGfn(vcpu: usize, page: u32, leaf: usize): u32 {
  const vm = vcpuVm(vcpu);
  return vmIsShadow(vm) ? shadowGfn(vm, leaf) : page;
}

/** A translation may be kept for every later access: it serves the user too. */
export function vcpuKeeps(vcpu: usize, spte: u64): bool {
  const user = spteUser(vmFormat(vcpuVm(vcpu)));
  return (spte & user) === user;
}
