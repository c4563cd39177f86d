// What each vCPU did with its time.

import type { Core } from "./core.js";
import type { Own } from "./running.js";
import { readAll } from "./running.js";

/**
 * Runs its guest; handles a page fault in the host; has nothing to run; looks at pages that have come; is halted until its page comes, without its
 * guest having asked for it; or has left, because its VM has ended.
 */
export type VcpuMode = "guest" | "fault" | "halted" | "ready" | "apf-halted" | "ended";

/** A vCPU since boot. Times are virtual ns. */
export interface VcpuState {
  /** Name of its VM. */
  vm: string;
  /** Its number in the VM, from 0. */
  vcpu: number;
  /** What it does now. */
  mode: VcpuMode;
  /** A task was on it, in the guest or blocked in the host. */
  busyNs: number;
  /** Of that, blocked in the host: for a device, a lock, reclaim or a CPU. */
  blockedNs: number;
}

const MODES: Record<string, VcpuMode> = {
  VCPU_IN_GUEST: "guest",
  VCPU_IN_FAULT: "fault",
  VCPU_HALTED: "halted",
  VCPU_IN_READY: "ready",
  VCPU_APF_HALTED: "apf-halted",
  VCPU_ENDED: "ended",
};

/** What a vCPU does now. */
export function vcpuModeOf(core: Core, vm: number, vcpu: number): VcpuMode {
  core.call.reportVcpu(vm, vcpu);
  const mode = core.f64(core.call.reportTable(), 2)[core.constant("REPORT_VCPU_MODE")];
  return Object.entries(MODES).find(([name]) => core.constant(name) === mode)![1];
}

/** All vCPUs, VM after VM. */
export function vcpuStates(core: Core, own: Own): VcpuState[] {
  const { scenario, tasks } = own;
  const busy = readAll(core, own).tasks.map((row) => row[core.constant("REPORT_TASK_RUN_NS")]!);
  return scenario.vms.flatMap(({ name, vcpus }, vm) =>
    Array.from({ length: vcpus }, (_, vcpu) => {
      const mode = vcpuModeOf(core, vm, vcpu);
      const blockedNs = core.f64(core.call.reportTable(), 2)[core.constant("REPORT_VCPU_BLOCKED_NS")]!;
      const busyNs = tasks.reduce(
        (sum, task, index) => (task.vm === vm && task.vcpu === vcpu ? sum + busy[index]! : sum),
        0,
      );
      return { vm: name, vcpu, mode, busyNs, blockedNs };
    }),
  );
}
