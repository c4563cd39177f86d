// One core on the bench: booted from a scenario, driven by the access, read through its own counters, copied as bytes. It offers what
// the library does not: zapping all sptes, moving limits without a fork, and counters that no result prints.

import { type BootedTask, bootCore } from "#dist/boot.js";
import { Core } from "#dist/core.js";
import { FAULT_NAMES, type FaultName, faultBetween, type Reading, readCounters } from "#dist/counters.js";
import type { FaultKind, Scenario } from "#dist/index.js";
import { installPolicy, type OutsidePolicy, type PolicyScenario, takePolicy } from "#dist/outside.js";
import { type ResolvedScenario, resolveScenario } from "#dist/scenario.js";

/** Name under which a scenario of the bench finds the rig's stream. */
export const STREAM = "stream";

/** What happened between two readings of one rig's counters. */
export interface Change {
  accesses: number;
  /** Virtual time for which the first task had the vCPU. */
  runNs: number;
  tlbMisses: number;
  faults: Record<FaultName, FaultKind>;
  /** Pages read from swap, as memory management counts them. */
  swapIns: number;
  /** Reads that the swap devices served. */
  deviceReads: number;
  /** Sptes that the notifier removed. */
  unmapped: number;
  /** Guest pages touched for the first time. */
  firstTouches: number;
  /** Change of the pages whose host pte is a swap entry. */
  swappedPages: number;
}

// As the library calls the core.
const CALL_ACCESSES = 65_536;
const CALL_EVENTS = 4096;
const UNLIMITED = 0xffff_ffff;

export class Rig {
  private constructor(
    readonly core: Core,
    private readonly scenario: ResolvedScenario,
    private readonly tasks: readonly BootedTask[],
    private readonly policy: OutsidePolicy | undefined,
  ) {}

  /** Boots `scenario` and runs its prefaults. Its traces, if it has any, are all `words`. */
  static boot(module: WebAssembly.Module, scenario: Scenario | PolicyScenario, words?: Uint32Array): Rig {
    const core = new Core(module);
    const { scenario: named, policy } = takePolicy(scenario);
    const resolved = resolveScenario(named);
    installPolicy(core, resolved, policy);
    const traces = new Map(
      words === undefined ? [] : [[STREAM, { words, pages: pagesOf(words), sha256: "" }]],
    );
    const rig = new Rig(core, resolved, bootCore(core, resolved, traces), policy);
    // Exactly as many accesses as there are pages to write: not one of the tasks' own is made before the first run().
    rig.run(prefaultPages(resolved, traces.get(STREAM)?.pages ?? 0));
    if (core.call.bootPrefaulting() !== 0) throw new Error("a scenario of the bench is too big for its host");
    return rig;
  }

  /** Makes `accesses` accesses. A scenario that ends before that is a mistake in the bench. */
  run(accesses: number): void {
    this.runIn(accesses, CALL_ACCESSES);
  }

  /** The same in calls of at most `chunk` accesses. */
  runIn(accesses: number, chunk: number): void {
    const { call } = this.core;
    const over = this.core.constant("STOP_ACCESSES");
    const none = this.core.constant("STOP_NONE");
    for (let left = accesses; left > 0; left -= call.machineMade() >>> 0) {
      const stop = call.machineRun(Math.min(chunk, left), CALL_EVENTS) >>> 0;
      if (stop !== over && stop !== none && call.machineMade() >>> 0 !== left) {
        throw new Error(`the run has stopped (${stop}) with ${left} accesses to go`);
      }
    }
  }

  /** Drops every spte of the first VM. */
  zapAll(): void {
    this.core.call.liveZapAll(0);
  }

  /** memory.max of the first VM in pages; undefined for none. */
  limit(pages: number | undefined): void {
    this.core.call.liveMemoryMax(0, pages ?? UNLIMITED);
  }

  /** An instance of the same core in the same state. */
  twin(): Rig {
    const rig = new Rig(new Core(this.core.module), this.scenario, this.tasks, this.policy);
    installPolicy(rig.core, this.scenario, this.policy);
    this.copyTo(rig);
    return rig;
  }

  /** Puts a twin back into this rig's state. */
  copyTo(twin: Rig): void {
    this.core.copyTo(twin.core);
  }

  read(): Reading {
    const ids = this.tasks.map(({ id }) => id);
    return readCounters(this.core, this.scenario.vms.length, this.scenario.host.swap.length, ids);
  }

  /** What has happened in the first VM and on the host since `before`. */
  since(before: Reading): Change {
    const { core } = this;
    const after = this.read();
    const was = before.vms[0]!;
    const is = after.vms[0]!;
    const vm = (name: string): number => is.row[core.constant(name)]! - was.row[core.constant(name)]!;
    const host = (name: string): number =>
      after.host[core.constant(name)]! - before.host[core.constant(name)]!;
    const task = (name: string): number =>
      after.tasks[0]![core.constant(name)]! - before.tasks[0]![core.constant(name)]!;
    const reads = core.constant("REPORT_DEVICE_READS");
    return {
      accesses: vm("VM_ACCESSES"),
      runNs: task("REPORT_TASK_RUN_NS"),
      tlbMisses: vm("VM_TLB_MISSES"),
      faults: Object.fromEntries(
        FAULT_NAMES.map((kind) => [kind, faultBetween(core, was.faults[kind], is.faults[kind], false)]),
      ) as Record<FaultName, FaultKind>,
      swapIns: host("MM_SWAP_IN"),
      deviceReads: after.devices.reduce(
        (sum, row, type) => sum + row[reads]! - before.devices[type]![reads]!,
        0,
      ),
      unmapped: vm("VM_UNMAPPED"),
      firstTouches: -vm("REPORT_VM_UNTOUCHED"),
      swappedPages: vm("REPORT_VM_SWAPPED"),
    };
  }
}

/** All faults that were counted, whatever their kind. */
export function faultCount(faults: Record<FaultName, { count: number }>): number {
  return FAULT_NAMES.reduce((sum, kind) => sum + faults[kind].count, 0);
}

// Each task of the bench has pages of its own.
function prefaultPages({ vms }: ResolvedScenario, tracePages: number): number {
  const tasks = vms.flatMap(({ guest }) => guest.tasks).filter(({ prefault }) => prefault);
  return tasks.reduce((sum, { workload }) => sum + ("pages" in workload ? workload.pages : tracePages), 0);
}

function pagesOf(words: Uint32Array): number {
  return words.reduce((last, word) => Math.max(last, word & 0x7fff_ffff), 0) + 1;
}
