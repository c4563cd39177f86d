// Results and a terminal made by hand, for the tests of the command line: no machine runs in them.

import type { Terminal } from "#dist/cli/terminal.js";
import { PLAIN } from "#dist/cli/terminal.js";
import type { FaultKind, FaultStages, RunResult, VmResult } from "#dist/result.js";
import type { ResolvedScenario } from "#dist/scenario.js";

export const MIB = 2 ** 20;

const NO_STAGES: FaultStages = {
  exitNs: 0,
  lockNs: 0,
  reclaimNs: 0,
  allocNs: 0,
  cpuNs: 0,
  queueNs: 0,
  deviceNs: 0,
  mapNs: 0,
  flushNs: 0,
  asyncNs: 0,
};

/** Faults of one kind whose mean follows from their stages. */
export function madeFaults(count: number, stages: Partial<FaultStages> = {}, p99 = 0): FaultKind {
  const all = { ...NO_STAGES, ...stages };
  const total = Object.values(all).reduce((sum, ns) => sum + ns, 0);
  const mean = count === 0 ? 0 : total / count;
  return {
    count,
    latency: { mean, p50: mean, p90: p99, p99, p999: p99, max: p99 },
    stages: all,
  };
}

/** A guest that did nothing, except for `given`. */
export function madeVm(name: string, given: Partial<VmResult> = {}): VmResult {
  return {
    name,
    accesses: 0,
    virtualTimeNs: 0,
    throughput: 0,
    vcpuBlockedNs: 0,
    memory: { residentPages: 0, peakResidentPages: 0, swappedPages: 0, untouchedPages: 0 },
    stall: { someNs: 0, fullNs: 0 },
    faults: {
      minor: madeFaults(0),
      major: madeFaults(0),
      spurious: madeFaults(0),
      writeProtect: madeFaults(0),
    },
    asyncPf: {
      notPresent: 0,
      ready: 0,
      syncFallback: { limit: 0, kernelMode: 0, disabled: 0, reinjection: 0, noReadahead: 0, allocation: 0 },
      repeated: 0,
      halted: 0,
      cancelled: 0,
      outstandingPeak: 0,
      held: { stayed: 0, moved: 0, miscounted: 0, contexts: 0, contextsFreed: 0 },
    },
    notifier: { unmapped: 0, aged: 0, young: 0, flushes: 0, retries: 0 },
    mmio: { exits: 0, sptes: 0 },
    freePages: {
      freed: 0,
      captured: 0,
      dropped: 0,
      scans: 0,
      scanNs: 0,
      isolated: 0,
      isolateFailed: 0,
      isolatedPeakPages: 0,
      requests: 0,
      blocks: 0,
      pagesReported: 0,
      pagesByOrder: [],
      neverReported: 0,
      discarded: 0,
      released: 0,
      releaseMeanNs: 0,
      swappedWhileFree: 0,
      refaults: 0,
      unheard: 0,
    },
    balloon: { pages: 0, requests: 0, inflated: 0, deflated: 0, deflatedOnOom: 0 },
    balloonDevice: null,
    guestMemory: { freePages: 0, cacheDropped: 0, killed: 0 },
    integrity: { checked: 0, lostWrites: 0, staleReads: 0, unreachablePins: 0 },
    tasks: [],
    ...given,
  };
}

/** A result of a host with 32 MiB that did nothing, except for `given`. */
export function madeResult(given: Partial<RunResult> = {}): RunResult {
  return {
    schema: "pagevisor.result/1",
    version: "0.1.0",
    scenario: { name: "small", seed: 1, host: { memory: 32 * MIB }, vms: [] } as unknown as ResolvedScenario,
    inputs: [],
    seed: 1,
    status: "done",
    stoppedBy: "tasks",
    digest: "0123456789abcdef",
    virtualTimeNs: 0,
    accesses: 0,
    wall: { ms: 0, accessesPerSecond: 0 },
    footprintBytes: 0,
    vms: [],
    host: {
      memory: { freePages: 0, minFreePages: 0 },
      asyncPfWorkersPeak: 0,
      reclaim: { scanned: 0, reclaimedDirect: 0, reclaimedKswapd: 0 },
      swap: { out: 0, in: 0, slotsUsed: 0, allocFailed: 0 },
      devices: [],
      migrate: { attempted: 0, succeeded: 0, failedPinned: 0 },
      compact: { migrateScanned: 0, freeScanned: 0, isolated: 0, stalls: 0, failed: 0, succeeded: 0 },
    },
    ...given,
  };
}

export interface RecordingTerminal extends Terminal {
  /** Everything written to standard output and to standard error. */
  written: { out: string; err: string };
  interrupt: AbortController;
}

/** A terminal that is not one: plain text, kept. */
export function recordingTerminal(): RecordingTerminal {
  const written = { out: "", err: "" };
  const interrupt = new AbortController();
  return {
    written,
    interrupt,
    out: (text) => {
      written.out += text;
    },
    err: (text) => {
      written.err += text;
    },
    colors: PLAIN,
    bar: null,
    signal: interrupt.signal,
  };
}
