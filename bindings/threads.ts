// The threads that a machine has, in the order of the core's actors, and what a host's tools would call them.

import type { ResolvedScenario, ResolvedVm } from "./scenario.js";

/** A thread of the host. */
export interface ThreadName {
  /** The process that it belongs to: a VM, or the host's own threads. */
  process: string;
  /** As in `kswapd0`, `CPU 1/KVM`. */
  thread: string;
}

/** The threads of a scenario; a thread's place is the number that trace records have for it. Workers, made while a machine runs, are not among them. Never throws. */
export function threadsOf({ host, vms }: ResolvedScenario): ThreadName[] {
  return [
    { process: "host", thread: "kswapd0" },
    ...(host.ksm === undefined ? [] : [{ process: "host", thread: "ksmd" }]),
    ...vms.flatMap((vm) => threadsOfVm(vm).map((thread) => ({ process: vm.name, thread }))),
  ];
}

function threadsOfVm(vm: ResolvedVm): string[] {
  const { freePages, balloon } = vm.guest;
  const design = freePages?.design ?? "off";
  const device = balloon !== undefined || (design !== "off" && design !== "oracle");
  return [
    ...Array.from({ length: vm.vcpus }, (_, index) => `CPU ${index}/KVM`),
    // The process's first thread, and as long a name as the kernel keeps.
    vm.name.slice(0, 15),
    ...(vm.pager === undefined ? [] : [`pager ${vm.name}`.slice(0, 15)]),
    ...(device ? [`balloon ${vm.name}`.slice(0, 15)] : []),
  ];
}
