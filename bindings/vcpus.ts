// What each vCPU did with its time.

import type { Core } from "./core.js";
import type { Own } from "./running.js";
import { readAll } from "./running.js";

/** A vCPU since boot. Times are virtual ns. */
export interface VcpuState {
  /** Name of its VM. */
  vm: string;
  /** Its number in the VM, from 0. */
  vcpu: number;
  /** What it does now: runs its guest, handles a page fault in the host, or has nothing to run. */
  mode: "guest" | "fault" | "halted";
  /** A task was on it, in the guest or blocked in the host. */
  busyNs: number;
  /** Of that, blocked in the host: for a device, a lock, reclaim or a CPU. */
  blockedNs: number;
}

const MODES = { VCPU_IN_GUEST: "guest", VCPU_IN_FAULT: "fault", VCPU_HALTED: "halted" } as const;

/** All vCPUs, VM after VM. */
export function vcpuStates(core: Core, own: Own): VcpuState[] {
  const { scenario, tasks } = own;
  const busy = readAll(core, own).tasks.map((row) => row[core.constant("REPORT_TASK_RUN_NS")]!);
  const modes = new Map(Object.entries(MODES).map(([name, mode]) => [core.constant(name), mode]));
  return scenario.vms.flatMap(({ name, vcpus }, vm) =>
    Array.from({ length: vcpus }, (_, vcpu) => {
      core.call.reportVcpu(vm, vcpu);
      const row = core.f64(core.call.reportTable(), 2);
      const [blockedNs = 0, mode = 0] = [
        row[core.constant("REPORT_VCPU_BLOCKED_NS")],
        row[core.constant("REPORT_VCPU_MODE")],
      ];
      const busyNs = tasks.reduce(
        (sum, task, index) => (task.vm === vm && task.vcpu === vcpu ? sum + busy[index]! : sum),
        0,
      );
      return { vm: name, vcpu, mode: modes.get(mode)!, busyNs, blockedNs };
    }),
  );
}
