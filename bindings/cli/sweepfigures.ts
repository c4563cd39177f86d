// A row of a sweep in a few figures, for the table and for CSV. NDJSON has everything.

import type { RunResult } from "../result.js";

const PAGE_BYTES = 4096;

export interface Figures {
  /** Bytes that the guests have touched by bytes of host memory: above 1, the host is overcommitted. */
  ratio: number;
  accesses: number;
  virtualTimeNs: number;
  minorFaults: number;
  majorFaults: number;
  /** Of the guest in which it is longest, as is the stall. */
  majorP99Ns: number;
  /** 4 KiB pages. */
  swapIn: number;
  swapOut: number;
  /** Share of the time in which at least one runnable vCPU waited for memory. */
  stall: number;
  /** Of all guests, by kind; 0 without `check.integrity`, but for the pins of notifier-2008. */
  lostWrites: number;
  staleReads: number;
  unreachablePins: number;
}

export function figuresOf(result: RunResult): Figures {
  const { scenario, vms, host, accesses, virtualTimeNs } = result;
  const touched = vms.reduce(
    (sum, { memory }, index) => sum + scenario.vms[index]!.memory - memory.untouchedPages * PAGE_BYTES,
    0,
  );
  return {
    ratio: touched / scenario.host.memory,
    accesses,
    virtualTimeNs,
    minorFaults: vms.reduce((sum, { faults }) => sum + faults.minor.count, 0),
    majorFaults: vms.reduce((sum, { faults }) => sum + faults.major.count, 0),
    majorP99Ns: Math.max(0, ...vms.map(({ faults }) => faults.major.latency.p99)),
    swapIn: host.swap.in,
    swapOut: host.swap.out,
    stall: Math.max(0, ...vms.map((vm) => (vm.virtualTimeNs > 0 ? vm.stall.someNs / vm.virtualTimeNs : 0))),
    ...violationsOf(result),
  };
}

export function violationsOf({
  vms,
}: RunResult): Pick<Figures, "lostWrites" | "staleReads" | "unreachablePins"> {
  return {
    lostWrites: vms.reduce((sum, { integrity }) => sum + integrity.lostWrites, 0),
    staleReads: vms.reduce((sum, { integrity }) => sum + integrity.staleReads, 0),
    unreachablePins: vms.reduce((sum, { integrity }) => sum + integrity.unreachablePins, 0),
  };
}
