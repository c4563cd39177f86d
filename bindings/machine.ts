/// <reference lib="esnext.disposable" preserve="true" />
// A machine: one core with its scenario. Runs it, reads it, copies it. The model is in the core; this file counts nothing and
// decides nothing about pages.

import { bootCore } from "./boot.js";
import { Core, coreModule } from "./core.js";
import { PagevisorError } from "./errors.js";
import { nextTask, YIELD_MS } from "./eventloop.js";
import { type FileSource, loadTraces, type Trace } from "./files.js";
import { type Footprint, footprintOf } from "./footprint.js";
import { guard } from "./guard.js";
import { histogramsBetween, type LatencyHistogram } from "./histogram.js";
import { type Limit, limitOf } from "./limit.js";
import { applyLive, openDesigns, requireLive } from "./live.js";
import { installPolicy, type OutsidePolicy, type PolicyScenario, takePolicy } from "./outside.js";
import type { RunResult } from "./result.js";
import { type Own, type Progress, prefault, readAll, resultSince, steps } from "./running.js";
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
import { SteppedMachine } from "./stepped.js";
import { threadsOf } from "./threads.js";
import { type Tick, type TickOptions, ticksOf } from "./ticks.js";
import { type TraceEvents, traceCounts, traceEvents, traceText } from "./tracepoints.js";
import { type VcpuState, vcpuStates } from "./vcpus.js";
import { VERSION } from "./version.js";

export type { Footprint, Limit, Progress, Tick, TickOptions };

/** Where a machine's inputs come from. */
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

/** How a run is watched and ended. */
export interface RunOptions {
  /** Ends the run: it resolves with status `interrupted`. Looked at every few ms. */
  signal?: AbortSignal;
  /** Told how far the run has come, at least every 16 ms. */
  onProgress?: (progress: Progress) => void;
}

/**
 * A simulated host with its virtual machines.
 *
 * Made by {@link Machine.create}. Time is virtual and counts in ns; memory in 4 KiB pages where a name does not say bytes.
 *
 * Every method can throw a PagevisorError: E_DISPOSED after {@link Machine.dispose}, E_INTERNAL for a bug of pagevisor, and what it names itself.
 */
export class Machine extends SteppedMachine {
  #core: Core | undefined;
  readonly #own: Own;
  /** When the event loop last had its turn: a run in many short pieces must give it one, too. */
  #lookedMs = performance.now();

  private constructor(core: Core, own: Own) {
    super();
    this.#core = core;
    this.#own = own;
  }

  /**
   * Checks a scenario, reads its input files and boots it. Its `host.reclaim.policy` may be an {@link OutsidePolicy}.
   *
   * @throws PagevisorError E_SCENARIO, E_FILE, E_TOO_BIG; E_POLICY for a scenario that was taken from a machine with a policy of the program's own
   */
  static async create(scenario: Scenario | PolicyScenario, options: CreateOptions = {}): Promise<Machine> {
    const { scenario: named, policy } = takePolicy(scenario);
    const resolved = resolveScenario(named);
    const traces = await loadTraces(resolved, options.files, options.baseDir, options.traces);
    const core = new Core(options.module ?? (await coreModule()));
    installPolicy(core, resolved, policy);
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
      base: readAll(core, { scenario: resolved, tasks }),
    });
    await prefault(core);
    machine.#rebase();
    return machine;
  }

  /**
   * Continues a machine from the bytes of {@link Machine.snapshot}.
   *
   * @param options.policy the policy of the program's own, if the machine had one: its state is not in the bytes
   * @throws PagevisorError E_SNAPSHOT when they are not a snapshot of this version and build, E_POLICY when the policy is missing or another one
   */
  static async restore(
    bytes: Uint8Array,
    options: { module?: WebAssembly.Module; policy?: OutsidePolicy } = {},
  ): Promise<Machine> {
    const { header, memory } = unpackSnapshot(bytes);
    const core = new Core(options.module ?? (await coreModule()));
    if (header.heapBase !== core.call.bootHeapBase()) throw notOne("they are of another build");
    const missing = (memory.length - core.memory.buffer.byteLength) / 65_536;
    if (missing > 0) core.memory.grow(missing);
    new Uint8Array(core.memory.buffer).set(memory);
    const own = header.own as Omit<Own, "base">;
    installPolicy(core, own.scenario, options.policy);
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
    const running = steps(this.core, this.#own, limit);
    let step = running.next();
    while (!step.done) step = running.next();
    return step.value;
  }

  /**
   * As {@link Machine.run}, with the same result and digest, but looks at the event loop at least every 16 ms. An aborted run
   * resolves with status `interrupted`, and the machine can go on.
   *
   * @throws PagevisorError E_ENDLESS, E_LIMIT
   */
  async runAsync(limit?: Limit, { signal, onProgress }: RunOptions = {}): Promise<RunResult> {
    if (limit === undefined) await this.warmUp({ ...(signal && { signal }) });
    const running = steps(this.core, this.#own, limit);
    let step = running.next(signal?.aborted === true);
    for (let begun = false; !step.done; begun = true) {
      if (performance.now() - this.#lookedMs >= YIELD_MS) {
        if (begun) onProgress?.(step.value());
        await nextTask();
        this.#lookedMs = performance.now();
      }
      step = running.next(signal?.aborted === true);
    }
    return step.value;
  }

  /**
   * Runs on like {@link Machine.runAsync} and gives out what happened at each multiple of `every`, counted from now, and at the end.
   * The same ticks come every time. Leaving the loop early leaves the machine where it stands.
   *
   * @throws PagevisorError E_ENDLESS, E_LIMIT
   */
  ticks(options: TickOptions): AsyncGenerator<Tick, void, undefined> {
    return ticksOf(this, options);
  }

  /**
   * Runs the scenario's `duration.warmUp`, if there is one and it has not been run; then the printed counters start anew. One that is interrupted has
   * not been run: the next one is as long, from where the machine stands.
   *
   * @throws PagevisorError E_DISPOSED
   */
  async warmUp(options: RunOptions = {}): Promise<void> {
    const { warmUp } = this.#own.scenario.duration;
    if (this.#own.warm || warmUp === null) return;
    const { status } = await this.runAsync(limitOf(warmUp), options);
    if (status !== "interrupted") this.#endWarmUp();
  }

  /** Everything since boot, or since the end of the warm-up; status and reason are those of the latest run. @throws PagevisorError E_DISPOSED */
  result(): RunResult {
    return resultSince(this.core, this.#own, this.#own.base, this.#own.wallMs, false);
  }

  /**
   * Another future from the present state: a copy that shares nothing with this machine.
   *
   * @param options.set live keys to change, by dotted path
   * @param options.policy the policy of the program's own, if the machine has one: another object, or the same if it keeps no state
   * @throws PagevisorError E_FIXED for a key that cannot change in a living machine, E_SCENARIO for a wrong value, E_POLICY when the policy is
   * missing or another one
   */
  fork(options: { set?: Record<string, unknown>; policy?: OutsidePolicy } = {}): Machine {
    const core = this.core;
    let scenario: Scenario = openDesigns(this.#own.scenario);
    const set = Object.entries(options.set ?? {});
    for (const [path, value] of set) scenario = setPath(scenario, path, value);
    const resolved = resolveScenario(scenario);
    requireLive(
      set.map(([path]) => path),
      this.#own.scenario,
      resolved,
    );
    const copy = new Core(core.module);
    installPolicy(copy, resolved, options.policy);
    core.copyTo(copy);
    applyLive(copy, this.#own.scenario, resolved);
    // A larger ring is a new one: what stood in the old one is the parent's to read.
    const sameRing = copy.call.reportTraceRing() === core.call.reportTraceRing();
    const traceRead = sameRing ? this.#own.traceRead : copy.call.reportTraceWritten();
    return new Machine(copy, { ...this.#own, scenario: resolved, traceRead });
  }

  /**
   * The machine as bytes, for {@link Machine.restore} by the same version: version, scenario, a checksum, and the memory of the core.
   * They hold everything but the files of the scenario, which have been read.
   *
   * @throws PagevisorError E_DISPOSED
   */
  snapshot(): Uint8Array {
    const core = this.core;
    const { base, ...own } = this.#own;
    const header = { version: VERSION, heapBase: core.call.bootHeapBase(), own, base: encodeReading(base) };
    return packSnapshot(header, new Uint8Array(core.memory.buffer));
  }

  /**
   * The latencies of every VM's faults by kind, since boot or the end of the warm-up: what the percentiles of a result come from. A `maxNs`
   * is the longest since boot or the warm-up.
   *
   * @throws PagevisorError E_DISPOSED
   */
  histograms(): LatencyHistogram[] {
    const core = this.core;
    const names = this.#own.scenario.vms.map(({ name }) => name);
    return histogramsBetween(core, names, this.#own.base, readAll(core, this.#own));
  }

  /** What each vCPU does, and did since boot. @throws PagevisorError E_DISPOSED */
  vcpus(): VcpuState[] {
    return vcpuStates(this.core, this.#own);
  }

  /** Bytes of simulator state, whole and by part; exact. @throws PagevisorError E_DISPOSED */
  footprint(): Footprint {
    return footprintOf(this.core);
  }

  /** ftrace's text of the records written since the last call; `scenario.trace` says which events write records. @throws PagevisorError E_DISPOSED */
  traceText(): string {
    const core = this.core;
    const text = traceText(core, this.#own.traceRead, this.#epochNs(), this.#actors());
    this.#own.traceRead = core.call.reportTraceWritten();
    return text;
  }

  /** The records written since the last call of this or of {@link Machine.traceText}, for programs. @throws PagevisorError E_DISPOSED */
  traceEvents(): TraceEvents {
    const { core } = this;
    const read = traceEvents(core, this.#own.traceRead, this.#epochNs(), this.#actors());
    this.#own.traceRead = core.call.reportTraceWritten();
    return read;
  }

  /** How often each tracepoint was passed since boot, recorded or not. @throws PagevisorError E_DISPOSED */
  traceCounts(): Record<string, number> {
    return traceCounts(this.core);
  }

  /** Walks every structure and asserts its invariants; does so only in a debug build of the core. For tests. @throws PagevisorError E_INTERNAL, E_DISPOSED */
  check(): void {
    guard(() => this.core.call.checkAll());
  }

  /** Lets go of the machine's memory. Any later use throws E_DISPOSED; disposing twice does no harm. Never throws. */
  dispose(): void {
    this.#core = undefined;
  }

  /** {@link Machine.dispose}, for `using machine = await Machine.create(…)`. Never throws. */
  [Symbol.dispose](): void {
    this.dispose();
  }

  /** @internal */
  protected get tasks(): Own["tasks"] {
    return this.#own.tasks;
  }

  /** @internal */
  protected get core(): Core {
    if (this.#core === undefined) {
      throw new PagevisorError("E_DISPOSED", "the machine has been disposed of; create or fork another one");
    }
    if (this.#core.outside?.asking) {
      throw new PagevisorError(
        "E_POLICY",
        "a policy that is choosing cannot use its machine, which is in the middle of a step",
      );
    }
    return this.#core;
  }

  #epochNs(): number {
    const core = this.core;
    return readAll(core, this.#own).host[core.constant("REPORT_HOST_EPOCH")]!;
  }

  #actors(): string[] {
    return threadsOf(this.#own.scenario).map(({ thread }) => thread);
  }

  #endWarmUp(): void {
    this.#own.warm = true;
    this.#rebase();
    this.#own.traceRead = this.core.call.reportTraceWritten();
  }

  #rebase(): void {
    const core = this.core;
    core.call.reportMark(1);
    this.#own.base = readAll(core, this.#own);
    this.#own.wallMs = 0;
  }
}
