// The time series: one JSON object a line (NDJSON), counters since the end of the warm-up at a moment of virtual time.

import type { RunResult, VmResult } from "../result.js";

/** The fields, for `--help`. */
export const SERIES_HELP = `\
Fields of a line of --series (counters count from the start of the printed run):
  t                                              virtual time, ns
  vms[].name, .accesses
  vms[].residentPages, .swappedPages             4 KiB pages at this moment
  vms[].minor, .major, .writeProtect, .spurious  faults
  vms[].minorMeanNs, .minorP99Ns                 latency, ns
  vms[].majorMeanNs, .majorP99Ns                 latency, ns
  vms[].blockedNs, .stallSomeNs, .stallFullNs    time waited for memory, ns
  host.freePages, .slotsUsed                     4 KiB pages at this moment
  host.swapIn, .swapOut                          4 KiB pages
  host.scanned, .reclaimedKswapd, .reclaimedDirect  4 KiB pages`;

/** One line of the series, without its newline. */
export function seriesLine(result: RunResult): string {
  const { memory, swap, reclaim } = result.host;
  return JSON.stringify({
    t: result.virtualTimeNs,
    vms: result.vms.map(vmSample),
    host: {
      freePages: memory.freePages,
      slotsUsed: swap.slotsUsed,
      swapIn: swap.in,
      swapOut: swap.out,
      scanned: reclaim.scanned,
      reclaimedKswapd: reclaim.reclaimedKswapd,
      reclaimedDirect: reclaim.reclaimedDirect,
    },
  });
}

function vmSample({ name, accesses, memory, faults, vcpuBlockedNs, stall }: VmResult) {
  return {
    name,
    accesses,
    residentPages: memory.residentPages,
    swappedPages: memory.swappedPages,
    minor: faults.minor.count,
    major: faults.major.count,
    writeProtect: faults.writeProtect.count,
    spurious: faults.spurious.count,
    minorMeanNs: faults.minor.latency.mean,
    minorP99Ns: faults.minor.latency.p99,
    majorMeanNs: faults.major.latency.mean,
    majorP99Ns: faults.major.latency.p99,
    blockedNs: vcpuBlockedNs,
    stallSomeNs: stall.someNs,
    stallFullNs: stall.fullNs,
  };
}
