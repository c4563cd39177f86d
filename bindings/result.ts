// The result of a run, exactly as `--json` prints it (docs/result.md). Stable: it grows, a field never changes meaning.
// Every latency and time is in virtual nanoseconds, every memory figure in 4 KiB pages unless its name says bytes.

import type { ResolvedEvent } from "./eventschema.js";
import type { HostPaging2007Result } from "./hostpaging.js";
import type { ResolvedScenario } from "./scenario.js";

/** Latency of one kind of fault, virtual ns. Percentiles have 3 significant digits (HDR histogram); `max` and `mean` are exact. */
export interface Latency {
  mean: number;
  p50: number;
  p90: number;
  p99: number;
  p999: number;
  max: number;
}

/** Where the time of the faults of one kind went, total virtual ns. The stages sum to `count × mean` exactly. */
export interface FaultStages {
  /** VM exit and re-entry (`vmExitNs`), and the injected interrupt's share of a kicked vCPU. */
  exitNs: number;
  /** Waiting for mmu_lock or for a page lock held by another actor. */
  lockNs: number;
  /** Direct reclaim and memory cgroup reclaim done by the faulting vCPU. */
  reclaimNs: number;
  /** Allocation and zeroing of a page (`minorFaultNs`). */
  allocNs: number;
  /** CPU work of swap-in around the device (`swapInCpuNs`, `swapCacheHitNs`, decompression). */
  cpuNs: number;
  /** Waiting in a device's queue, or for a host CPU. */
  queueNs: number;
  /** Device service time. */
  deviceNs: number;
  /** Installing the spte (`eptMapNs`). */
  mapNs: number;
  /** Sending TLB flushes and waiting until their targets have taken them. */
  flushNs: number;
  /**
   * Under asynchronous page faults: telling the guest, and the time in which the task, or its halted vCPU, waited for the page or
   * for its turn beyond what the worker spent (that stands in the other stages).
   */
  asyncNs: number;
}

/** Faults of one kind: counted once per access that needed one and ended with a mapping. */
export interface FaultKind {
  count: number;
  latency: Latency;
  stages: FaultStages;
}

export interface TaskResult {
  name: string;
  accesses: number;
  /** CPU ns of `compute` tasks. */
  work: number;
  startNs: number | null;
  /** Virtual time of the end, null while the task runs. */
  endNs: number | null;
  /** On a vCPU, in guest mode or blocked in the host while it was the current task. */
  runNs: number;
  /** Ready, another task had the vCPU. */
  readyNs: number;
  /** Asleep in the guest. */
  waitNs: number;
  /** The guest had no memory for it. */
  killed: boolean;
}

export interface VmResult {
  name: string;
  accesses: number;
  virtualTimeNs: number;
  /** Accesses per second of virtual time. */
  throughput: number;
  /** Time that its vCPUs were blocked in the host (swap-in, locks, waiting for a CPU), summed over vCPUs. */
  vcpuBlockedNs: number;
  memory: { residentPages: number; peakResidentPages: number; swappedPages: number; untouchedPages: number };
  /** Like Linux' PSI: time in which some or all runnable vCPUs were stalled on memory. */
  stall: { someNs: number; fullNs: number };
  faults: { minor: FaultKind; major: FaultKind; spurious: FaultKind; writeProtect: FaultKind };
  asyncPf: {
    /** Faults that became asynchronous: the guest was told, or the vCPU was halted. */
    notPresent: number;
    /** Completions consumed. */
    ready: number;
    /** Faults that needed a device and waited themselves, by the cause. */
    syncFallback: {
      limit: number;
      kernelMode: number;
      disabled: number;
      /** The guest could not take an event: interrupts off, or one waits already. */
      reinjection: number;
      noReadahead: number;
      /** No record for the work could be had. */
      allocation: number;
    };
    /** Faults on a page that was already on its way for the same vCPU. */
    repeated: number;
    /** Of `notPresent`: the guest could not be told, so its vCPU was halted. */
    halted: number;
    /** Dropped because the guest switched asynchronous page faults off. */
    cancelled: number;
    /** The most that one vCPU had outstanding. */
    outstandingPeak: number;
  };
  notifier: { unmapped: number; aged: number; young: number; flushes: number; retries: number };
  /** With hostPaging "writepage-2007" alone. */
  hostPaging2007?: HostPaging2007Result;
  freePages: {
    /** Pages that the guest has freed. */
    freed: number;
    /** Frees that hinting has put into its arrays, and frees that found the array full and are forgotten. */
    captured: number;
    dropped: number;
    /** Scans of a full array, and the guest's CPU time for them and for the thread's walk, ns. */
    scans: number;
    scanNs: number;
    /** Blocks taken off the free lists for a request, and blocks that the watermark kept. */
    isolated: number;
    isolateFailed: number;
    /** Most pages that were off the free lists for requests at one time, since boot. */
    isolatedPeakPages: number;
    /** Requests to the host (hypercalls), their blocks and pages. */
    requests: number;
    blocks: number;
    pagesReported: number;
    /** Pages reported, by the order of their block, 0 to 10. */
    pagesByOrder: number[];
    /** Pages that are free now, have been used, and that the host does not know of. */
    neverReported: number;
    /** Pages that the host had and has dropped. */
    discarded: number;
    /** Pages that were freed and of which the host learned before they were used again; their share of `freed` is the coverage. */
    released: number;
    /** Mean time from a page's free to its release by the host, ns; 0 when there was none. */
    releaseMeanNs: number;
    /** Free pages that the host has written to swap because it did not know. */
    swappedWhileFree: number;
    /** Pages allocated again after the host had dropped them: each faults in the host. */
    refaults: number;
  };
  /** The balloon: pages in it now, requests, pages that went into it and came back. */
  balloon: { pages: number; requests: number; inflated: number; deflated: number };
  /** The guest's own memory management; all 0 with allocator direct. */
  guestMemory: {
    /** Pages that are free now. */
    freePages: number;
    /** Clean pages of the page cache dropped because memory was short. */
    cacheDropped: number;
    /** Tasks killed because there was no memory. */
    killed: number;
  };
  integrity: { checked: number; lostWrites: number; staleReads: number; unreachablePins: number };
  tasks: TaskResult[];
}

export interface HostResult {
  memory: { freePages: number; minFreePages: number };
  /** The most kernel threads that fetched pages for asynchronous page faults at once. */
  asyncPfWorkersPeak: number;
  reclaim: { scanned: number; reclaimedDirect: number; reclaimedKswapd: number };
  swap: { out: number; in: number; slotsUsed: number; allocFailed: number };
  devices: { name: string; reads: number; writes: number; busyNs: number; queuePeak: number }[];
  migrate: { attempted: number; succeeded: number; failedPinned: number };
}

/** One integrity violation with its story. */
export interface Violation {
  kind: "lostWrite" | "staleRead" | "unreachablePin" | "arrayOverflow" | "tokenReuse" | "noSlot";
  vm: string;
  gfn: number;
  vcpu: number;
  /** Virtual time at which it was seen. */
  timeNs: number;
  /** Number of the write that the page should hold, and of the one that it holds. */
  expected: number;
  got: number;
  /** Virtual time and vCPU of the expected write. */
  writtenAtNs: number;
  writtenBy: number;
}

/** What has become of one of the scenario's events, in their order. */
export interface EventResult {
  do: ResolvedEvent["do"];
  vm: string;
  /** When it was planned, when the monitor began with it (null: not yet done), and the virtual ns that it took. */
  atNs: number;
  startNs: number | null;
  ns: number | null;
  /** The kernel's error. */
  error: "EINVAL" | "EEXIST" | "ENOMEM" | "EAGAIN" | "EBUSY" | "EINTR" | null;
  /**
   * Pages that were reclaimed (memoryMax, memoryReclaim), found written (dirtyLog), needed a fault (the monitor's reading and writing), got
   * another frame (migrate, offline), or are pinned, or no longer (pin, unpin); else 0.
   */
  pages: number;
  /** Of migrate and offline: pages that something held through ten passes; an offline counts them anew in each round. */
  failed?: number;
  /** Of offline: passes over the pages that were to move. */
  passes?: number;
}

export type RunStatus = "done" | "oom" | "interrupted" | "violation";

export interface RunResult {
  schema: "pagevisor.result/1";
  version: string;
  scenario: ResolvedScenario;
  inputs: { file: string; sha256: string }[];
  seed: number;
  status: RunStatus;
  /** Why the run ended: `tasks`, `accesses`, `time`, `oom`, `signal`, `violation`. */
  stoppedBy: string;
  /** 16 hexadecimal digits: hash of the logical history up to now. */
  digest: string;
  virtualTimeNs: number;
  accesses: number;
  wall: { ms: number; accessesPerSecond: number };
  footprintBytes: number;
  vms: VmResult[];
  host: HostResult;
  /** Only of a scenario with events. */
  events?: EventResult[];
  /** Where memory ran out; only with status `oom`. */
  oom?: { where: string };
  /** The first violations (up to 16); only with `check.integrity`, or when one that is always looked for has stopped the run. */
  violations?: Violation[];
}
