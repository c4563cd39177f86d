// Puts a RunResult together out of two readings of the counters. Fields of mechanisms that are not modelled yet are there and 0.

import type { BootedTask } from "./boot.js";
import type { Core } from "./core.js";
import { FAULT_NAMES, type FaultName, faultBetween, type Reading, type VmReading } from "./counters.js";
import { guestResult } from "./guestresult.js";
import { hostPagingResult } from "./hostpaging.js";
import type { FaultKind, HostResult, RunResult, TaskResult, Violation, VmResult } from "./result.js";
import type { ResolvedScenario, ResolvedVm } from "./scenario.js";

/** What the results of one machine have in common. */
export interface Subject {
  core: Core;
  scenario: ResolvedScenario;
  tasks: readonly BootedTask[];
}

const VIOLATION_KINDS = [
  "unreachablePin",
  "lostWrite",
  "staleRead",
  "arrayOverflow",
  "tokenReuse",
  "swapEntryOverwritten",
  "misreadQueue",
  "noSlot",
] as const;

function difference(core: Core, constant: string, before: Float64Array, after: Float64Array): number {
  const index = core.constant(constant);
  return after[index]! - before[index]!;
}

/** Virtual ns between two readings. */
export function timeBetween(core: Core, before: Reading, after: Reading): number {
  return difference(core, "REPORT_HOST_NOW", before.host, after.host);
}

/** Accesses of all guests between two readings. */
export function accessesBetween(core: Core, before: Reading, after: Reading): number {
  return after.vms.reduce(
    (sum, vm, id) => sum + difference(core, "VM_ACCESSES", before.vms[id]!.row, vm.row),
    0,
  );
}

export function vmResults(subject: Subject, before: Reading, after: Reading, sinceMark: boolean): VmResult[] {
  const virtualTimeNs = timeBetween(subject.core, before, after);
  return subject.scenario.vms.map((vm, id) => {
    const tasks = taskResults(subject, id, before, after);
    return vmResult(subject.core, vm, id, virtualTimeNs, before.vms[id]!, after.vms[id]!, tasks, sinceMark);
  });
}

function vmResult(
  core: Core,
  vm: ResolvedVm,
  id: number,
  virtualTimeNs: number,
  before: VmReading,
  after: VmReading,
  tasks: TaskResult[],
  sinceMark: boolean,
): VmResult {
  const counted = (constant: string): number => difference(core, constant, before.row, after.row);
  const level = (constant: string): number => after.row[core.constant(constant)]!;
  const accesses = counted("VM_ACCESSES");
  const faults = Object.fromEntries(
    FAULT_NAMES.map((kind) => [kind, faultBetween(core, before.faults[kind], after.faults[kind], sinceMark)]),
  ) as Record<FaultName, FaultKind>;
  return {
    name: vm.name,
    accesses,
    virtualTimeNs,
    throughput: virtualTimeNs === 0 ? 0 : (accesses * 1e9) / virtualTimeNs,
    vcpuBlockedNs: counted("VM_BLOCKED_NS"),
    memory: {
      residentPages: level("REPORT_VM_RESIDENT"),
      peakResidentPages: level("REPORT_VM_RESIDENT_PEAK"),
      swappedPages: level("REPORT_VM_SWAPPED"),
      untouchedPages: level("REPORT_VM_UNTOUCHED"),
    },
    stall: { someNs: counted("VM_STALL_SOME_NS"), fullNs: counted("VM_STALL_FULL_NS") },
    faults,
    asyncPf: {
      notPresent: counted("VM_APF_NOT_PRESENT"),
      ready: counted("VM_APF_READY"),
      syncFallback: {
        limit: counted("VM_APF_SYNC_LIMIT"),
        kernelMode: counted("VM_APF_SYNC_KERNEL_MODE"),
        disabled: counted("VM_APF_SYNC_DISABLED"),
        reinjection: counted("VM_APF_SYNC_REINJECTION"),
        noReadahead: counted("VM_APF_SYNC_NO_READAHEAD"),
        allocation: counted("VM_APF_SYNC_ALLOCATION"),
      },
      repeated: counted("VM_APF_REPEATED"),
      halted: counted("VM_APF_HALTED"),
      cancelled: counted("VM_APF_CANCELLED"),
      outstandingPeak: level("REPORT_VM_APF_PEAK"),
      held: {
        stayed: counted("VM_APF_HELD_STAYED"),
        moved: counted("VM_APF_HELD_MOVED"),
        miscounted: level("REPORT_VM_MISCOUNTED"),
        contexts: counted("VM_APF_CONTEXTS"),
        contextsFreed: counted("VM_APF_CONTEXTS_FREED"),
      },
    },
    notifier: {
      unmapped: counted("VM_UNMAPPED"),
      aged: counted("VM_AGED"),
      young: counted("VM_YOUNG"),
      flushes: counted("VM_FLUSHES"),
      retries: counted("VM_RETRIES"),
    },
    mmio: { exits: counted("VM_MMIO_EXITS"), sptes: counted("VM_MMIO_SPTES") },
    ...hostPagingResult(core, id, vm, counted),
    ...guestResult(core, before.guest, after.guest),
    integrity: {
      checked: counted("VM_CHECKED"),
      lostWrites: counted("VM_LOST_WRITES"),
      staleReads: counted("VM_STALE_READS"),
      unreachablePins: counted("VM_UNREACHABLE_PINS"),
    },
    tasks,
  };
}

function taskResults({ core, tasks }: Subject, vm: number, before: Reading, after: Reading): TaskResult[] {
  const results: TaskResult[] = [];
  for (const [index, task] of tasks.entries()) {
    if (task.vm !== vm) continue;
    const old = before.tasks[index]!;
    const row = after.tasks[index]!;
    const counted = (constant: string): number => difference(core, constant, old, row);
    const instant = (constant: string): number | null => {
      const ns = row[core.constant(constant)]!;
      return ns < 0 ? null : ns;
    };
    results.push({
      name: task.name,
      accesses: counted("REPORT_TASK_ACCESSES"),
      work: counted("REPORT_TASK_WORK"),
      startNs: instant("REPORT_TASK_START_NS"),
      endNs: instant("REPORT_TASK_END_NS"),
      runNs: counted("REPORT_TASK_RUN_NS"),
      readyNs: counted("REPORT_TASK_READY_NS"),
      waitNs: counted("REPORT_TASK_WAIT_NS"),
      killed: row[core.constant("REPORT_TASK_KILLED")] === 1,
    });
  }
  return results;
}

export function hostResult({ core, scenario }: Subject, before: Reading, after: Reading): HostResult {
  const counted = (constant: string): number => difference(core, constant, before.host, after.host);
  const level = (constant: string): number => after.host[core.constant(constant)]!;
  return {
    memory: { freePages: level("REPORT_HOST_FREE"), minFreePages: level("REPORT_HOST_MIN_FREE") },
    asyncPfWorkersPeak: level("REPORT_HOST_WORKERS_PEAK"),
    reclaim: {
      scanned: counted("MM_SCANNED"),
      reclaimedDirect: counted("MM_RECLAIMED_DIRECT"),
      reclaimedKswapd: counted("MM_RECLAIMED_KSWAPD"),
    },
    swap: {
      out: counted("MM_SWAP_OUT"),
      in: counted("MM_SWAP_IN"),
      slotsUsed: level("REPORT_HOST_SLOTS_USED"),
      allocFailed: counted("MM_SWAP_ALLOC_FAILED"),
    },
    devices: scenario.host.swap.map(({ name, readErrors }, type) => {
      const old = before.devices[type]!;
      const row = after.devices[type]!;
      return {
        name,
        reads: difference(core, "REPORT_DEVICE_READS", old, row),
        writes: difference(core, "REPORT_DEVICE_WRITES", old, row),
        busyNs: difference(core, "REPORT_DEVICE_BUSY_NS", old, row),
        queuePeak: row[core.constant("REPORT_DEVICE_QUEUE_PEAK")]!,
        ...(readErrors !== undefined && {
          readErrors: difference(core, "REPORT_DEVICE_READ_ERRORS", old, row),
        }),
      };
    }),
    migrate: {
      attempted: counted("MM_MIGRATE_ATTEMPTED"),
      succeeded: counted("MM_MIGRATE_SUCCEEDED"),
      failedPinned: counted("MM_MIGRATE_FAILED"),
    },
    compact: {
      migrateScanned: counted("MM_COMPACT_MIGRATE_SCANNED"),
      freeScanned: counted("MM_COMPACT_FREE_SCANNED"),
      isolated: counted("MM_COMPACT_ISOLATED"),
      stalls: counted("MM_COMPACT_STALL"),
      failed: counted("MM_COMPACT_FAIL"),
      succeeded: counted("MM_COMPACT_SUCCESS"),
    },
  };
}

/** The violations that the core has noted, oldest first. */
export function violationsOf({ core, scenario }: Subject, reading: Reading): Violation[] {
  const { call } = core;
  const epochNs = reading.host[core.constant("REPORT_HOST_EPOCH")]!;
  const found = reading.host[core.constant("REPORT_HOST_VIOLATIONS")]!;
  const kept = Math.min(found, call.reportViolationsKept() >>> 0);
  const view = new DataView(core.memory.buffer);
  return Array.from({ length: kept }, (_, index) => {
    const at = call.reportViolation(index) >>> 0;
    const u32 = (offset: number): number => view.getUint32(at + offset, true);
    const time = (offset: number): number => Number(view.getBigUint64(at + offset, true)) - epochNs;
    return {
      kind: VIOLATION_KINDS[u32(0)]!,
      vm: scenario.vms[u32(4)]!.name,
      gfn: u32(8),
      vcpu: u32(12),
      timeNs: time(24),
      expected: u32(16),
      got: u32(20),
      writtenAtNs: time(32),
      writtenBy: u32(40),
    };
  });
}

/** Which limit was reached when memory ran out. */
export function oomWhere({ core, scenario }: Subject, reading: Reading): string {
  const vm = scenario.vms[reading.host[core.constant("REPORT_HOST_OOM_VM")]!]!;
  const overLimit = reading.host[core.constant("REPORT_HOST_OOM_LIMIT")] === 1;
  return overLimit ? `vms.${vm.name}.memoryMax` : "host.memory";
}

/** The page that could not be read. */
export function readErrorOf(
  { core, scenario }: Subject,
  { host }: Reading,
): NonNullable<RunResult["readError"]> {
  const [vm, page, device] = ["OOM_VM", "READ_ERROR_PAGE", "READ_ERROR_DEVICE"].map(
    (name) => host[core.constant(`REPORT_HOST_${name}`)]!,
  ) as [number, number, number];
  return { vm: scenario.vms[vm]!.name, page, device: scenario.host.swap[device]!.name };
}

/** 16 hexadecimal digits. */
export function digestOf(core: Core): string {
  const half = (high: number): string => (core.call.reportDigest(high) >>> 0).toString(16).padStart(8, "0");
  return half(1) + half(0);
}
