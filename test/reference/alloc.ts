// The allocation of a frame: __alloc_pages() (mm.md 1.7) and the charge to the cgroup (4.5).

import type { Host } from "./host.js";
import { directReclaim, MAX_RECLAIM_RETRIES, wakeKswapd } from "./reclaim.js";
import { OutOfMemory, type Process } from "./time.js";
import type { Vcpu, Vm } from "./vm.js";

/** A frame, charged to `vm`, or for a page table with null. */
export function* allocate(host: Host, vcpu: Vcpu, vm: Vm | null): Process<number> {
  const { frames } = host;
  for (let idle = 0; ; ) {
    if (frames.free <= frames.low) wakeKswapd(host, vcpu.clock);
    if (frames.free > frames.min) break;
    if (idle >= MAX_RECLAIM_RETRIES && host.writeback === 0) throw new OutOfMemory(false);
    idle = (yield* directReclaim(host, vcpu, null)) > 0 ? 0 : idle + 1;
  }
  const pfn = frames.take();
  if (vm === null) return pfn;

  for (let idle = 0; vm.usage >= vm.max; ) {
    if (idle >= MAX_RECLAIM_RETRIES && host.writeback === 0) {
      frames.giveBack(pfn);
      throw new OutOfMemory(true);
    }
    idle = (yield* directReclaim(host, vcpu, vm)) > 0 ? 0 : idle + 1;
  }
  vm.usage++;
  return pfn;
}
