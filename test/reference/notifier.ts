// KVM's side of the MMU notifier in the reference model (kvm.md 4.3, 4.4): the range is opened with the entry gone and the TLBs
// flushed, and closed again with the sequence moved on; aging clears the accessed bit and flushes nothing.

import type { Host } from "./host.js";
import type { Actor, Process } from "./time.js";
import type { Page, Vm } from "./vm.js";

export function* invalidateStart(host: Host, actor: Actor, page: Page): Process {
  const { vm, gfn } = page;
  yield* vm.mmuLock.write(actor);
  vm.openRange(gfn);
  actor.spend("reclaim", host.costs.notifierInvalidateNs);
  const spte = vm.sptes.get(gfn);
  if (spte !== undefined) {
    if (spte.dirty) spte.page.dirty = true;
    if (spte.accessed) host.lru.mark(spte.page, actor.cpu!.index);
    vm.sptes.delete(gfn);
    vm.counts.unmapped++;
    actor.spend("reclaim", host.costs.rmapPerSpteNs);
    flushTlbs(host, actor, vm);
  }
  yield "step";
  vm.mmuLock.unlock(actor);
}

// A vCPU in the guest is interrupted where it is, and the sender waits until it is there; another one flushes when it enters.
function flushTlbs(host: Host, actor: Actor, vm: Vm): void {
  const running = vm.vcpus.filter(({ state }) => state === "guest");
  const boundary = Math.max(0, ...running.map(({ clock }) => clock));
  for (const vcpu of vm.vcpus) {
    vcpu.tlb.flush();
    if (vcpu.state !== "guest") {
      vcpu.flushRequested = true;
      continue;
    }
    vcpu.spend("exit", host.costs.vmExitNs);
    vcpu.spend("flush", host.costs.tlbFlushAllNs);
  }
  if (running.length === 0) return;
  vm.counts.flushes++;
  actor.waitUntil("flush", boundary);
  actor.spend("flush", host.costs.shootdownBaseNs + running.length * host.costs.shootdownPerCpuNs);
}

export function* invalidateEnd(host: Host, actor: Actor, page: Page): Process {
  yield* page.vm.mmuLock.write(actor);
  page.vm.closeRange();
  actor.spend("reclaim", host.costs.notifierInvalidateNs);
  yield "step";
  page.vm.mmuLock.unlock(actor);
}

/** Has the guest used the page since the last look? */
export function ageSecondary(page: Page): boolean {
  const { vm, gfn } = page;
  vm.counts.aged++;
  const spte = vm.sptes.get(gfn);
  if (spte?.accessed !== true) return false;
  spte.accessed = false;
  vm.counts.young++;
  return true;
}
