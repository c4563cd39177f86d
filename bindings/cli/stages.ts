// Where the time of faults went, summed over kinds of faults and guests. The names are those of the printed page.

import type { FaultKind, FaultStages, RunResult, VmResult } from "../result.js";

const NAMES: [keyof FaultStages, string][] = [
  ["exitNs", "VM exit and entry"],
  ["lockNs", "waiting for locks"],
  ["reclaimNs", "direct reclaim"],
  ["allocNs", "allocating and zeroing pages"],
  ["cpuNs", "swap-in work on the CPU"],
  ["queueNs", "waiting for the device or a CPU"],
  ["deviceNs", "device service"],
  ["mapNs", "mapping the page"],
  ["flushNs", "TLB flushes"],
  ["asyncNs", "waiting asynchronously"],
];

export interface Stage {
  name: string;
  ns: number;
}

/** The stages of `kinds` that are not 0, the largest first. */
export function sumStages(kinds: FaultKind[]): Stage[] {
  return NAMES.map(([key, name]) => ({ name, ns: kinds.reduce((sum, kind) => sum + kind.stages[key], 0) }))
    .filter((stage) => stage.ns > 0)
    .sort((a, b) => b.ns - a.ns);
}

/** All four kinds of a guest's faults. */
export function kindsOf(vm: VmResult): FaultKind[] {
  return [vm.faults.minor, vm.faults.major, vm.faults.writeProtect, vm.faults.spurious];
}

/** Every kind of fault of every guest. */
export function allKinds(result: RunResult): FaultKind[] {
  return result.vms.flatMap(kindsOf);
}

/** Faults of `kinds` together. */
export function faultCount(kinds: FaultKind[]): number {
  return kinds.reduce((sum, kind) => sum + kind.count, 0);
}

/** Virtual ns of `stages` together. */
export function totalNs(stages: Stage[]): number {
  return stages.reduce((sum, stage) => sum + stage.ns, 0);
}
