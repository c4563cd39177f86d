// A fault of KVM's page table (kvm.md 2.8): tables are set aside, the host's page table is asked for the page, and the entry is
// installed under mmu_lock unless an invalidation has come between; then the fault starts over with another exit.

import { allocate } from "./alloc.js";
import type { Host } from "./host.js";
import { type Found, faultIn } from "./hostfault.js";
import type { Process } from "./time.js";
import type { Vcpu } from "./vm.js";

/** From the exit to the entry; whether the access now succeeds is for its repetition to find out. */
export function* kvmFault(
  host: Host,
  vcpu: Vcpu,
  gfn: number,
  write: boolean,
  presentAtExit: boolean,
): Process {
  const { vm } = vcpu;
  // Only a write to an entry that was there at the exit is looked at again without a lock.
  let present = presentAtExit;
  while (!(write && present && translates(vcpu, gfn, write))) {
    while (vcpu.spare.length < vm.missingTables(gfn).length)
      vcpu.spare.push(yield* allocate(host, vcpu, vm, "kvm"));
    const sequence = vm.sequence;
    if (!vm.mustRetry(sequence, gfn)) {
      const pte = vm.ptes.get(gfn);
      const fast = pte?.page != null && pte.writable;
      const found = yield* faultIn(host, vcpu, gfn, write);
      if (fast) found.page.referenced = true;
      else host.lru.mark(found.page, vcpu.cpu!.index);
      vcpu.spend("map", beforeLock(host));
      yield "step";
      yield* vm.mmuLock.read(vcpu);
      const stale = vm.mustRetry(sequence, gfn);
      if (!stale) {
        map(host, vcpu, gfn, found);
        yield "step";
      }
      vm.mmuLock.unlock(vcpu);
      host.lru.mark(found.page, vcpu.cpu!.index);
      host.drop(found.page);
      if (!stale) break;
    }
    vm.counts.retries++;
    vcpu.spend("exit", host.costs.vmExitNs);
    present = vm.sptes.has(gfn);
    yield "step";
  }
}

/** KVM's page table allows the access. */
export function translates({ vm }: Vcpu, gfn: number, write: boolean): boolean {
  const spte = vm.sptes.get(gfn);
  return spte !== undefined && (spte.writable || !write);
}

// What the host's page table allowed when it was asked is what the entry allows.
function map(host: Host, vcpu: Vcpu, gfn: number, { page, writable }: Found): void {
  const { vm } = vcpu;
  for (const table of vm.missingTables(gfn)) {
    vm.tdpTables.add(table);
    vcpu.spare.pop();
  }
  const old = vm.sptes.get(gfn);
  if (old === undefined) vcpu.needed("minor");
  else if (writable && !old.writable) vcpu.needed("writeProtect");
  // An entry with more rights than this fault asked for stays.
  if (old?.writable !== true) vm.sptes.set(gfn, { page, writable, accessed: true, dirty: writable });
  vcpu.spend("map", host.costs.eptMapNs - beforeLock(host));
}

/** A quarter of the work of mapping comes before mmu_lock. */
function beforeLock({ costs }: Host): number {
  return Math.floor(costs.eptMapNs / 4);
}
