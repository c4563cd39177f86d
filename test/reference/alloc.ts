// The allocation of a frame with all that it may take: __alloc_pages() with kswapd and direct reclaim (mm.md 1.7), then the charge
// to the cgroup (4.5).

import type { Host } from "./host.js";
import { directReclaim, MAX_RECLAIM_RETRIES, wakeKswapd } from "./reclaim.js";
import { OutOfMemory, type Process } from "./time.js";
import type { Vcpu, Vm } from "./vm.js";
import { MOVABLE, UNMOVABLE } from "./zone.js";

/** A frame for a page or for a page table of `vm`, the process' or KVM's, charged to it. */
export function* allocate(host: Host, vcpu: Vcpu, vm: Vm, table?: "process" | "kvm"): Process<number> {
  const pfn = yield* frame(host, vcpu, table !== undefined);
  if (table !== undefined && !vm.charges(table)) return pfn;
  let reclaimed = false;
  let drained = false;
  for (let idle = 0; !host.stocks.charge(host.cpu, vm, reclaimed); ) {
    if (reclaimed && !drained) {
      drained = true;
      host.stocks.drain(vm);
      continue;
    }
    if (idle >= MAX_RECLAIM_RETRIES && host.writeback === 0) {
      host.frames.giveBack(host.cpu, pfn);
      throw new OutOfMemory(true);
    }
    idle = (yield* directReclaim(host, vcpu, vm)) > 0 ? 0 : idle + 1;
    reclaimed = true;
  }
  host.stats.events(host.cpu, table === undefined ? 1 : 2); // PGPGIN, or NR_PAGETABLE and MEMCG_KMEM
  return pfn;
}

function* frame(host: Host, vcpu: Vcpu, table: boolean): Process<number> {
  const { frames } = host;
  const type = table ? UNMOVABLE : MOVABLE;
  let pfn = frames.take(host.cpu, type, "low");
  for (let idle = 0; pfn === null; ) {
    wakeKswapd(host, vcpu.clock);
    pfn = frames.take(host.cpu, type, "min");
    if (pfn !== null) break;
    if (idle >= MAX_RECLAIM_RETRIES && host.writeback === 0) throw new OutOfMemory(false);
    idle = (yield* directReclaim(host, vcpu, null)) > 0 ? 0 : idle + 1;
    pfn = frames.take(host.cpu, type, "min");
    if (pfn !== null) break;
    // What was freed may stand on the lists of CPUs, where the watermarks do not see it.
    frames.drainAll();
    pfn = frames.take(host.cpu, type, "min");
  }
  if (frames.zone.boosted) wakeKswapd(host, vcpu.clock);
  frames.zone.boosted = false;
  return pfn;
}
