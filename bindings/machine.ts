// A machine: one core with its scenario. Runs it, reads it, copies it. The model is in the core; this file counts nothing and
// decides nothing about pages.

import { type BootedTask, bootCore } from "./boot.js";
import { Core, coreModule } from "./core.js";
import { type Reading, readCounters } from "./counters.js";
import { PagevisorError } from "./errors.js";
import { nextTask } from "./eventloop.js";
import { type FileSource, loadTraces, type Trace } from "./files.js";
import { type Footprint, footprintOf } from "./footprint.js";
import { guard } from "./guard.js";
import { type Bound, boundOf, type Limit, limitOf } from "./limit.js";
import { applyLive, requireLive } from "./live.js";
import type { RunResult, RunStatus } from "./result.js";
import {
  accessesBetween,
  digestOf,
  hostResult,
  oomWhere,
  timeBetween,
  violationsOf,
  vmResults,
} from "./results.js";
import { type ResolvedScenario, resolveScenario, type Scenario } from "./scenario.js";
import { setPath } from "./setpath.js";
import {
  type EncodedReading,
  encodeReading,
  notOne,
  packSnapshot,
  reviveReading,
  unpackSnapshot,
} from "./snapshot.js";
import { traceCounts, traceText } from "./tracepoints.js";
import { VERSION } from "./version.js";

export type { Footprint, Limit };

/** How far a run has come. */
export interface Progress {
  /** Accesses of this call. */
  accesses: number;
  /** Virtual ns of this call. */
  virtualTimeNs: number;
  /** Share of the run that is done, 0..1; null when only the tasks' end ends it. */
  share: number | null;
}

export interface CreateOptions {
  /** Bytes of the files that `trace` workloads name, or a function that gets them. */
  files?: FileSource;
  /** In Node: the folder that relative file names start from. Default: the working directory. */
  baseDir?: string;
  /** A compiled core, to share one among many machines. Default: the package's own, compiled once. */
  module?: WebAssembly.Module;
  /** @internal Traces that have been read already, by name. */
  traces?: Map<string, Trace>;
}

export interface RunOptions {
  signal?: AbortSignal;
  onProgress?: (progress: Progress) => void;
}

/** What a machine carries beside its core. */
interface Own {
  scenario: ResolvedScenario;
  inputs: { file: string; sha256: string }[];
  tasks: BootedTask[];
  status: RunStatus;
  stoppedBy: string;
  wallMs: number;
  /** The scenario's warm-up has run, or there is none. */
  warm: boolean;
  /** Trace records that traceText() has given out. */
  traceRead: number;
  /** What the result counts from. */
  base: Reading;
}

// Accesses and events of one call into the core: enough to stay in optimized code, few enough to answer in milliseconds.
const CALL_ACCESSES = 65_536;
const CALL_EVENTS = 4096;
/** ms between two looks at the event loop; the promise is 16. */
const YIELD_MS = 8;

/**
 * A simulated host with its virtual machines.
 *
 * Made by {@link Machine.create}. Time is virtual and counts in ns; memory in 4 KiB pages where a name does not say bytes.
 */
export class Machine {
  #core: Core | undefined;
  readonly #own: Own;

  private constructor(core: Core, own: Own) {
    this.#core = core;
    this.#own = own;
  }

  /**
   * Checks a scenario, reads its input files and boots it.
   *
   * @throws PagevisorError E_SCENARIO, E_FILE, E_TOO_BIG
   */
  static async create(scenario: Scenario, options: CreateOptions = {}): Promise<Machine> {
    const resolved = resolveScenario(scenario);
    const traces = await loadTraces(resolved, options.files, options.baseDir, options.traces);
    const core = new Core(options.module ?? (await coreModule()));
    const tasks = guard(() => bootCore(core, resolved, traces));
    const inputs = [...traces].map(([file, { sha256 }]) => ({ file, sha256 }));
    const machine = new Machine(core, {
      scenario: resolved,
      inputs,
      tasks,
      status: "done",
      stoppedBy: "",
      wallMs: 0,
      warm: resolved.duration.warmUp === null,
      traceRead: 0,
      base: readAll(core, resolved, tasks),
    });
    await machine.#prefault();
    return machine;
  }

  /**
   * Continues a machine from the bytes of {@link Machine.snapshot}.
   *
   * @throws PagevisorError E_SNAPSHOT when they are not a snapshot of this version and build
   */
  static async restore(bytes: Uint8Array, options: { module?: WebAssembly.Module } = {}): Promise<Machine> {
    const { header, memory } = unpackSnapshot(bytes);
    const core = new Core(options.module ?? (await coreModule()));
    if (header.version !== VERSION) throw notOne(`they are of version ${String(header.version)}`);
    if (header.heapBase !== core.call.bootHeapBase()) throw notOne("they are of another build");
    if (memory.length !== header.memoryBytes) throw notOne("they do not end with the memory");
    const missing = (memory.length - core.memory.buffer.byteLength) / 65_536;
    if (missing > 0) core.memory.grow(missing);
    new Uint8Array(core.memory.buffer).set(memory);
    const own = header.own as Omit<Own, "base">;
    return new Machine(core, { ...own, base: reviveReading(header.base as EncodedReading) });
  }

  /** The scenario with every default filled in. */
  get scenario(): ResolvedScenario {
    return this.#own.scenario;
  }

  /**
   * Runs on from the present state and returns what happened in this call. Without a limit the scenario's `duration` applies,
   * after its warm-up if that has not been run, and without one of these the run lasts until every task that can end has ended.
   *
   * @throws PagevisorError E_ENDLESS when nothing would ever end the run, E_LIMIT for a limit that is none
   */
  run(limit?: Limit): RunResult {
    const { warmUp } = this.#own.scenario.duration;
    if (limit === undefined && !this.#own.warm && warmUp !== null) {
      this.run(limitOf(warmUp));
      this.#endWarmUp();
    }
    const steps = this.#steps(limit);
    let step = steps.next();
    while (!step.done) step = steps.next();
    return step.value;
  }

  /**
   * As {@link Machine.run}, with the same result and digest, but looks at the event loop at least every 16 ms. An aborted run
   * resolves with status `interrupted`, and the machine can go on.
   */
  async runAsync(limit?: Limit, { signal, onProgress }: RunOptions = {}): Promise<RunResult> {
    if (limit === undefined) await this.warmUp({ ...(signal && { signal }) });
    const steps = this.#steps(limit);
    let since = performance.now();
    let step = steps.next(signal?.aborted === true);
    while (!step.done) {
      if (performance.now() - since >= YIELD_MS) {
        onProgress?.(step.value());
        await nextTask();
        since = performance.now();
      }
      step = steps.next(signal?.aborted === true);
    }
    return step.value;
  }

  /** Runs the scenario's `duration.warmUp`, if there is one and it has not been run; then the printed counters start anew. */
  async warmUp(options: RunOptions = {}): Promise<void> {
    const { warmUp } = this.#own.scenario.duration;
    if (this.#own.warm || warmUp === null) return;
    await this.runAsync(limitOf(warmUp), options);
    this.#endWarmUp();
  }

  /** Everything since boot, or since the end of the warm-up; status and reason are those of the latest run. */
  result(): RunResult {
    return this.#result(this.#own.base, this.#own.wallMs, false);
  }

  /**
   * Another future from the present state: a copy that shares nothing with this machine.
   *
   * @param options.set live keys to change, by dotted path
   * @throws PagevisorError E_FIXED for a key that cannot change in a living machine, E_SCENARIO for a wrong value
   */
  fork(options: { set?: Record<string, unknown> } = {}): Machine {
    const core = this.#live;
    let scenario: Scenario = this.#own.scenario;
    const set = Object.entries(options.set ?? {});
    for (const [path, value] of set) scenario = setPath(scenario, path, value);
    const resolved = resolveScenario(scenario);
    requireLive(
      set.map(([path]) => path),
      this.#own.scenario,
      resolved,
    );
    const copy = new Core(core.module);
    core.copyTo(copy);
    applyLive(copy, this.#own.scenario, resolved);
    // A larger ring is a new one: what stood in the old one is the parent's to read.
    const sameRing = copy.call.reportTraceRing() === core.call.reportTraceRing();
    const traceRead = sameRing ? this.#own.traceRead : copy.call.reportTraceWritten();
    return new Machine(copy, { ...this.#own, scenario: resolved, traceRead });
  }

  /** The machine as bytes, for {@link Machine.restore} by the same version. */
  snapshot(): Uint8Array {
    const core = this.#live;
    const { base, ...own } = this.#own;
    const header = { version: VERSION, heapBase: core.call.bootHeapBase(), own, base: encodeReading(base) };
    return packSnapshot(header, new Uint8Array(core.memory.buffer));
  }

  /** Bytes of simulator state, whole and by part; exact. */
  footprint(): Footprint {
    return footprintOf(this.#live);
  }

  /** ftrace's text of the records written since the last call; `scenario.trace` says which events write records. */
  traceText(): string {
    const core = this.#live;
    const text = traceText(core, this.#own.traceRead, this.#epochNs(), this.#actors());
    this.#own.traceRead = core.call.reportTraceWritten();
    return text;
  }

  /** How often each tracepoint was passed since boot, recorded or not. */
  traceCounts(): Record<string, number> {
    return traceCounts(this.#live);
  }

  /** Walks every structure and asserts its invariants; does so only in a debug build of the core. For tests. */
  check(): void {
    guard(() => this.#live.call.checkAll());
  }

  /** Lets go of the machine's memory. Any later use throws E_DISPOSED. */
  dispose(): void {
    this.#core = undefined;
  }

  get #live(): Core {
    if (this.#core === undefined) {
      throw new PagevisorError("E_DISPOSED", "the machine has been disposed of; create or fork another one");
    }
    return this.#core;
  }

  #read(): Reading {
    return readAll(this.#live, this.#own.scenario, this.#own.tasks);
  }

  #epochNs(): number {
    const core = this.#live;
    return this.#read().host[core.constant("REPORT_HOST_EPOCH")]!;
  }

  // The actors' names in the order of their numbers, as a host's ftrace shows them.
  #actors(): string[] {
    const vcpus = this.#own.scenario.vms.flatMap((vm) =>
      Array.from({ length: vm.vcpus }, (_, index) => `CPU ${index}/KVM`),
    );
    return ["kswapd0", ...vcpus];
  }

  // Regions that are written once before time and counters start.
  async #prefault(): Promise<void> {
    const { call } = this.#live;
    let since = performance.now();
    while (call.bootPrefaulting() !== 0) {
      const stop = guard(() => call.machineRun(CALL_ACCESSES, CALL_EVENTS)) >>> 0;
      if (stop === this.#live.constant("STOP_OOM")) break;
      if (performance.now() - since >= YIELD_MS) {
        await nextTask();
        since = performance.now();
      }
    }
    this.#rebase();
  }

  #endWarmUp(): void {
    this.#own.warm = true;
    this.#rebase();
    this.#own.traceRead = this.#live.call.reportTraceWritten();
  }

  #rebase(): void {
    this.#live.call.reportMark(1);
    this.#own.base = this.#read();
    this.#own.wallMs = 0;
  }

  // One run, call by call into the core. Yields how far it has come after each; told true, it stops there.
  *#steps(limit: Limit | undefined): Generator<() => Progress, RunResult, boolean | undefined> {
    const core = this.#live;
    const bound = this.#bound(limit);
    const before = this.#read();
    const startNs = before.host[core.constant("REPORT_HOST_NOW")]!;
    core.call.reportMark(0);
    core.call.machineSetTimeLimit(startNs + bound.timeNs);
    const stops = new Map([...core.constants("STOP_")].map(([name, value]) => [value, name]));
    const began = performance.now();
    let made = 0;
    let reason = "";
    const progress = (): Progress => this.#progress(before, made, bound);
    let interrupted = yield progress;
    while (reason === "" && interrupted !== true) {
      const budget = Math.min(CALL_ACCESSES, bound.accesses - made);
      const stop = stops.get(guard(() => core.call.machineRun(budget, CALL_EVENTS)) >>> 0)!;
      made += core.call.machineMade() >>> 0;
      const over = stop === "ACCESSES" && made >= bound.accesses;
      if (over || (stop !== "NONE" && stop !== "ACCESSES")) reason = stop.toLowerCase();
      else interrupted = yield progress;
    }
    const ms = performance.now() - began;
    this.#own.wallMs += ms;
    this.#own.status =
      reason === "" ? "interrupted" : reason === "oom" || reason === "violation" ? reason : "done";
    this.#own.stoppedBy = reason === "" ? "signal" : reason === "idle" ? "tasks" : reason;
    return this.#result(before, ms, true);
  }

  #bound(limit: Limit | undefined): Bound {
    const bound = boundOf(limit ?? limitOf(this.#own.scenario.duration));
    const endless = bound.accesses === Number.POSITIVE_INFINITY && bound.timeNs === Number.POSITIVE_INFINITY;
    const { call } = this.#live;
    if (endless && call.bootFiniteTasks() === 0 && this.#unfinished()) {
      throw new PagevisorError(
        "E_ENDLESS",
        "duration: no task of the scenario ever ends and no limit is given; set duration.accesses or duration.time, " +
          "or give a task an end (accesses, time, passes, a trace that does not loop)",
      );
    }
    return bound;
  }

  #unfinished(): boolean {
    const core = this.#live;
    const end = core.constant("REPORT_TASK_END_NS");
    return this.#read().tasks.some((task) => task[end]! < 0);
  }

  #progress(before: Reading, accesses: number, bound: Bound): Progress {
    const virtualTimeNs = timeBetween(this.#live, before, this.#read());
    const share = Math.max(accesses / bound.accesses, virtualTimeNs / bound.timeNs);
    return { accesses, virtualTimeNs, share: share > 0 ? Math.min(share, 1) : null };
  }

  #result(before: Reading, wallMs: number, sinceMark: boolean): RunResult {
    const core = this.#live;
    const { scenario, inputs, tasks, status, stoppedBy } = this.#own;
    const subject = { core, scenario, tasks };
    const after = this.#read();
    const accesses = accessesBetween(core, before, after);
    return {
      schema: "pagevisor.result/1",
      version: VERSION,
      scenario,
      inputs,
      seed: scenario.seed,
      status,
      stoppedBy,
      digest: digestOf(core),
      virtualTimeNs: timeBetween(core, before, after),
      accesses,
      wall: { ms: wallMs, accessesPerSecond: wallMs === 0 ? 0 : Math.round((accesses * 1000) / wallMs) },
      footprintBytes: core.call.bootBytes(),
      vms: vmResults(subject, before, after, sinceMark),
      host: hostResult(subject, before, after),
      ...(status === "oom" && { oom: { where: oomWhere(subject, after) } }),
      ...(scenario.check.integrity && { violations: violationsOf(subject, after) }),
    };
  }
}

function readAll(core: Core, scenario: ResolvedScenario, tasks: readonly BootedTask[]): Reading {
  const ids = tasks.map(({ id }) => id);
  return guard(() => readCounters(core, scenario.vms.length, scenario.host.swap.length, ids));
}
