// The result of a run, exactly as `--json` prints it (docs/result.md). Stable: it grows, a field never changes meaning.
// Every latency and time is in virtual nanoseconds, every memory figure in 4 KiB pages unless its name says bytes.

import type { CompactResult, CompactScanned } from "./compaction.js";
import type { ResolvedEvent } from "./eventschema.js";
import type { HostPaging2007Result } from "./hostpaging.js";
import type { ResolvedScenario } from "./scenario.js";

/** Latency of one kind of fault, virtual ns. Percentiles have 3 significant digits (HDR histogram); `max` and `mean` are exact. */
export interface Latency {
  /** Mean, ns. */
  mean: number;
  /** Half of the faults took no longer, ns. */
  p50: number;
  /** 90 % took no longer, ns. */
  p90: number;
  /** 99 % took no longer, ns. */
  p99: number;
  /** 99.9 % took no longer, ns. */
  p999: number;
  /** The longest, ns. */
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
  /** How many. */
  count: number;
  /** How long they took, from the access to its successful repetition as the task sees it. */
  latency: Latency;
  /** Where that time went. */
  stages: FaultStages;
}

/** One task of a guest. Times are virtual ns. */
export interface TaskResult {
  /** Its name; of several equal ones, with a number. */
  name: string;
  /** Number of accesses that it made. */
  accesses: number;
  /** CPU ns of `compute` tasks. */
  work: number;
  /** Virtual time of its start, null while it waits for that. */
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

/** What happened in one VM. */
export interface VmResult {
  /** Its name. */
  name: string;
  /** Number of accesses that its guest made. */
  accesses: number;
  /** Virtual time that passed. */
  virtualTimeNs: number;
  /** Accesses per second of virtual time. */
  throughput: number;
  /** Time that its vCPUs were blocked in the host (swap-in, locks, waiting for a CPU), summed over vCPUs. */
  vcpuBlockedNs: number;
  /** Its pages: in frames now, the most there were, in swap only, and those that the guest has never touched. */
  memory: { residentPages: number; peakResidentPages: number; swappedPages: number; untouchedPages: number };
  /** Like Linux' PSI: time in which some or all runnable vCPUs were stalled on memory. */
  stall: { someNs: number; fullNs: number };
  /** Its faults by kind: each counts once, by the most expensive thing that it needed. */
  faults: { minor: FaultKind; major: FaultKind; spurious: FaultKind; writeProtect: FaultKind };
  /** Asynchronous page faults, in numbers of faults where a line says nothing else. */
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
    /** Pages that are held until their completion is consumed (`pin`). */
    held: {
      /** Attempts to move one that were in vain, and pages that have moved all the same (mapping-2013). */
      stayed: number;
      moved: number;
      /** Pages that were dropped as a file's while their mapping was replaced: the process' counters are wrong by so many. */
      miscounted: number;
      /** Contexts of replaced mappings, and those that were freed; each of the others belongs to a page that is held, or is lost. */
      contexts: number;
      contextsFreed: number;
    };
  };
  /** Number of MMU notifier calls on its pages: unmapped, aged (and of these found young), TLB flushes sent, and faults that started over. */
  notifier: { unmapped: number; aged: number; young: number; flushes: number; retries: number };
  /** Number of accesses that the monitor answered, since no memory was there for them or it may not be written, and of MMIO sptes made for them. */
  mmio: { exits: number; sptes: number };
  /** With hostPaging "writepage-2007" alone. */
  hostPaging2007?: HostPaging2007Result;
  /** Memory that the guest gives back, by every design of `guest.freePages`: numbers of frees, blocks or pages. */
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
    /** Pages of requests that the host has answered and not dropped: it takes the queue for another one, or the guest poisons its pages. */
    unheard: number;
  };
  /** The balloon: pages in it now, requests, pages that went into it, that came back, and of these the ones that a guest without memory has got. */
  balloon: { pages: number; requests: number; inflated: number; deflated: number; deflatedOnOom: number };
  /** The balloon device as the guest's driver has found it; null when there is none, or the driver has given it up. */
  balloonDevice: BalloonDeviceResult | null;
  /** The guest's own memory management; all 0 with allocator direct. */
  guestMemory: {
    /** Pages that are free now. */
    freePages: number;
    /** Clean pages of the page cache dropped because memory was short. */
    cacheDropped: number;
    /** Number of tasks killed because there was no memory. */
    killed: number;
  };
  /** Number of reads that were checked, of writes lost, of reads that saw older contents, and of pages that nothing can reach any more. */
  integrity: { checked: number; lostWrites: number; staleReads: number; unreachablePins: number };
  /** Its tasks, in the scenario's order. */
  tasks: TaskResult[];
}

/** A queue of a virtio balloon. */
export type BalloonQueue = "inflate" | "deflate" | "stats" | "freePage" | "reporting" | "hinting";

/** A balloon device as the driver of its guest has found it. */
export interface BalloonDeviceResult {
  /** Feature bits that both sides have, as the driver calls them. */
  features: string[];
  /** The queues by number: what the driver takes each for, and what the device does. */
  queues: { driver: BalloonQueue; device: BalloonQueue }[];
  /** Pages that the host was told of as hints for a migration. */
  hintedPages: number;
  /** Pages that the driver holds for that now. */
  heldPages: number;
  /** Times that the host was sent statistics. */
  statsSent: number;
  /** The last ones: bytes, and faults since boot. */
  stats: Record<
    | "swapIn"
    | "swapOut"
    | "majorFaults"
    | "minorFaults"
    | "free"
    | "total"
    | "available"
    | "caches"
    | "hugeGiven"
    | "hugeFailed",
    number
  > | null;
}

/** What happened in the host. */
export interface HostResult {
  /** Free pages now, and the fewest there were. */
  memory: { freePages: number; minFreePages: number };
  /** The most kernel threads that fetched pages for asynchronous page faults at once. */
  asyncPfWorkersPeak: number;
  /** Number of pages that reclaim looked at, and that it freed on behalf of whoever needed memory or in kswapd. */
  reclaim: { scanned: number; reclaimedDirect: number; reclaimedKswapd: number };
  /** Number of pages written and read, of slots in use now, and of searches for a slot that found none. */
  swap: { out: number; in: number; slotsUsed: number; allocFailed: number };
  /**
   * Swap devices: number of requests read and written, time in which they were busy, the most requests that waited at once, and of a device
   * with `readErrors` the number of its reads that have failed.
   */
  devices: {
    name: string;
    reads: number;
    writes: number;
    busyNs: number;
    queuePeak: number;
    readErrors?: number;
  }[];
  /** Number of pages that were to move, that did, and that something held. */
  migrate: { attempted: number; succeeded: number; failedPinned: number };
  /**
   * Compaction: frames that its scanners have looked at and taken, and requests for an order that were neither skipped nor deferred (`stalls`), with
   * and without success.
   */
  compact: {
    migrateScanned: number;
    freeScanned: number;
    isolated: number;
    stalls: number;
    failed: number;
    succeeded: number;
  };
}

/** One integrity violation with its story. */
export interface Violation {
  /** What was seen. */
  kind:
    | "lostWrite"
    | "staleRead"
    | "unreachablePin"
    | "arrayOverflow"
    | "tokenReuse"
    | "swapEntryOverwritten"
    | "misreadQueue"
    | "noSlot";
  /** Name of the VM. */
  vm: string;
  /** The guest frame. */
  gfn: number;
  /** The vCPU that saw it, its number in the VM. */
  vcpu: number;
  /** Virtual time at which it was seen. */
  timeNs: number;
  /** Number of the write that the page should hold. */
  expected: number;
  /** Number of the write that it holds. */
  got: number;
  /** Virtual time and vCPU of the expected write. */
  writtenAtNs: number;
  /** Number of the vCPU that wrote what should be there. */
  writtenBy: number;
}

/** What has become of one of the scenario's events, in their order. */
export interface EventResult {
  /** What it does. */
  do: ResolvedEvent["do"];
  /** Name of the VM. */
  vm: string;
  /** Virtual time for which it was planned. */
  atNs: number;
  /** Virtual time at which the monitor began with it; null: not yet. */
  startNs: number | null;
  /** Virtual ns that it took; null while it is not done. */
  ns: number | null;
  /** The kernel's error; ENODEV: the VM has ended. */
  error: "EINVAL" | "EEXIST" | "ENOMEM" | "EAGAIN" | "EBUSY" | "EINTR" | "ENODEV" | null;
  /**
   * Pages that were reclaimed (memoryMax, memoryReclaim), found written (dirtyLog), needed a fault (the monitor's reading and writing), got
   * another frame (migrate, offline, compact), are pinned, or no longer (pin, unpin), or that a VM had when it ended (destroyVm); else 0.
   */
  pages: number;
  /** Of migrate, offline and compact: pages that something held through ten passes; an offline counts them anew in each round. */
  failed?: number;
  /** Of offline: passes over the pages that were to move. */
  passes?: number;
  /** Of compact: what came of it. */
  result?: CompactResult;
  /** Of compact: frames that its scanners have looked at. */
  scanned?: CompactScanned;
}

/** How a run ended: `oom` when memory ran out, `readError` when a page was needed that its device could not read, `violation` when an integrity violation stopped it, `interrupted` by its signal. */
export type RunStatus = "done" | "oom" | "readError" | "interrupted" | "violation";

/** What a run has come to; docs/result.md describes every field. */
export interface RunResult {
  /** Names this format. */
  schema: "pagevisor.result/1";
  /** Of pagevisor. */
  version: string;
  /** The scenario with every default filled in; it runs the same again. */
  scenario: ResolvedScenario;
  /** Files of traces with the hash of their words. */
  inputs: { file: string; sha256: string }[];
  /** The scenario's seed. */
  seed: number;
  /** How the run ended. */
  status: RunStatus;
  /** Why the run ended: `tasks`, `accesses`, `time`, `oom`, `readError`, `signal`, `violation`, `policy` (one of the program's own has failed). */
  stoppedBy: string;
  /** 16 hexadecimal digits: hash of the logical history up to now. */
  digest: string;
  /** Virtual time that passed. */
  virtualTimeNs: number;
  /** Number of accesses of all guests. */
  accesses: number;
  /** Real time that it took, ms, and its rate. Not part of what is reproduced. */
  wall: { ms: number; accessesPerSecond: number };
  /** Bytes of simulator state. */
  footprintBytes: number;
  /** The VMs, in the scenario's order. */
  vms: VmResult[];
  /** The host. */
  host: HostResult;
  /** Only of a scenario with events. */
  events?: EventResult[];
  /** Where memory ran out; only with status `oom`. */
  oom?: { where: string };
  /** The page that could not be read, a page of the VM's memory, and its device; only with status `readError`. */
  readError?: { vm: string; page: number; device: string };
  /** The first violations (up to 16); only with `check.integrity`, or when one that is always looked for has stopped the run. */
  violations?: Violation[];
}
