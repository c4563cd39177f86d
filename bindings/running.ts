// Runs a machine: call by call into the core until something ends the run, and the result of what happened meanwhile.

import type { BootedTask } from "./boot.js";
import type { Core } from "./core.js";
import { type Reading, readCounters, virtualNow } from "./counters.js";
import { PagevisorError } from "./errors.js";
import { nextTask, YIELD_MS } from "./eventloop.js";
import { eventResults } from "./events.js";
import { guard } from "./guard.js";
import { type Bound, boundOf, type Limit, limitOf } from "./limit.js";
import type { RunResult, RunStatus } from "./result.js";
import {
  accessesBetween,
  digestOf,
  hostResult,
  oomWhere,
  readErrorOf,
  timeBetween,
  violationsOf,
  vmResults,
} from "./results.js";
import type { ResolvedScenario } from "./scenario.js";
import { Slices } from "./slices.js";
import { VERSION } from "./version.js";

/** How far a run has come. */
export interface Progress {
  /** Accesses of this call. */
  accesses: number;
  /** Virtual ns of this call. */
  virtualTimeNs: number;
  /** Share of the run that is done, 0..1; null when nothing tells how long it will be: an endless task, a piece of a longer run. */
  share: number | null;
}

/** What a machine carries beside its core. */
export interface Own {
  scenario: ResolvedScenario;
  inputs: { file: string; sha256: string }[];
  tasks: BootedTask[];
  status: RunStatus;
  stoppedBy: string;
  wallMs: number;
  /** The scenario's warm-up has run, or there is none. */
  warm: boolean;
  /** Trace records that traceText() and traceEvents() have given out. */
  traceRead: number;
  /** What the result counts from. */
  base: Reading;
}

/** All counters of the machine, now. */
export function readAll(core: Core, { scenario, tasks }: Pick<Own, "scenario" | "tasks">): Reading {
  const ids = tasks.map(({ id }) => id);
  return guard(() => readCounters(core, scenario.vms.length, scenario.host.swap.length, ids));
}

/** Runs what is written once before time and counters start: the regions of tasks with `prefault`. */
export async function prefault(core: Core): Promise<void> {
  const { call } = core;
  const slices = new Slices();
  let since = performance.now();
  while (call.bootPrefaulting() !== 0) {
    const began = performance.now();
    const stop = guard(() => call.machineRun(slices.accesses, slices.events)) >>> 0;
    slices.took(performance.now() - began);
    core.outside?.raise();
    if (stop === core.constant("STOP_OOM") || stop === core.constant("STOP_READ_ERROR")) break;
    if (performance.now() - since >= YIELD_MS) {
      await nextTask();
      since = performance.now();
    }
  }
}

/**
 * One run, call by call into the core. Yields how far it has come after each; told true, it stops there.
 *
 * @throws PagevisorError E_ENDLESS, E_LIMIT
 */
export function* steps(
  core: Core,
  own: Own,
  limit: Limit | undefined,
): Generator<() => Progress, RunResult, boolean | undefined> {
  const bound = boundFor(core, own, limit);
  const before = readAll(core, own);
  const startNs = before.host[core.constant("REPORT_HOST_NOW")]!;
  core.call.reportMark(0);
  core.call.machineSetTimeLimit(startNs + bound.timeNs);
  const stops = new Map([...core.constants("STOP_")].map(([name, value]) => [value, name]));
  const slices = new Slices();
  const began = performance.now();
  let made = 0;
  let reason = "";
  const progress = (): Progress => progressOf(core, own, startNs, made, bound);
  let interrupted = yield progress;
  while (reason === "" && interrupted !== true) {
    const budget = Math.min(slices.accesses, bound.accesses - made);
    const called = performance.now();
    const stop = stops.get(guard(() => core.call.machineRun(budget, slices.events)) >>> 0)!;
    slices.took(performance.now() - called);
    made += core.call.machineMade() >>> 0;
    if (core.outside?.failed) {
      own.wallMs += performance.now() - began;
      own.status = "interrupted";
      own.stoppedBy = "policy";
      core.outside.raise();
    }
    const over = stop === "ACCESSES" && made >= bound.accesses;
    if (over || (stop !== "NONE" && stop !== "ACCESSES"))
      reason = stop === "READ_ERROR" ? "readError" : stop.toLowerCase();
    else interrupted = yield progress;
  }
  const ms = performance.now() - began;
  own.wallMs += ms;
  own.status = reason === "" ? "interrupted" : isFailure(reason) ? reason : "done";
  own.stoppedBy = reason === "" ? "signal" : reason === "idle" ? "tasks" : reason;
  return resultSince(core, own, before, ms, true);
}

const isFailure = (reason: string): reason is "oom" | "violation" | "readError" =>
  reason === "oom" || reason === "violation" || reason === "readError";

function boundFor(core: Core, own: Own, limit: Limit | undefined): Bound {
  const bound = boundOf(limit ?? limitOf(own.scenario.duration));
  if (unbounded(bound) && core.call.bootFiniteTasks() === 0 && unfinished(core, own)) {
    throw new PagevisorError(
      "E_ENDLESS",
      "duration: no task of the scenario ever ends and no limit is given; set duration.accesses or duration.time, " +
        "or give a task an end (accesses, time, passes, a trace that does not loop)",
    );
  }
  return bound;
}

function unbounded({ accesses, timeNs }: Bound): boolean {
  return accesses === Number.POSITIVE_INFINITY && timeNs === Number.POSITIVE_INFINITY;
}

function unfinished(core: Core, own: Own): boolean {
  const end = core.constant("REPORT_TASK_END_NS");
  return readAll(core, own).tasks.some(
    (task, index) => task[end]! < 0 && core.call.stepVmEnding(own.tasks[index]!.vm) === 0,
  );
}

function progressOf(core: Core, own: Own, startNs: number, accesses: number, bound: Bound): Progress {
  const virtualTimeNs = virtualNow(core) - startNs;
  const share = Math.max(accesses / bound.accesses, virtualTimeNs / bound.timeNs);
  return { accesses, virtualTimeNs, share: unbounded(bound) ? taskShare(core, own) : Math.min(share, 1) };
}

/** The share that the task which is furthest from its end has done; tasks that never end do not count. Null when there are no others. */
function taskShare(core: Core, { tasks }: Own): number | null {
  const shares = tasks.map(({ id }) => core.call.surveyTaskShare(id)).filter((share) => share >= 0);
  return shares.length === 0 ? null : Math.min(...shares, 1);
}

/**
 * What happened since `before`.
 *
 * @param sinceMark the largest latency is the one since the last mark, not since boot
 */
export function resultSince(
  core: Core,
  { scenario, inputs, tasks, status, stoppedBy }: Own,
  before: Reading,
  wallMs: number,
  sinceMark: boolean,
): RunResult {
  const subject = { core, scenario, tasks };
  const after = readAll(core, subject);
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
    ...(scenario.events.length > 0 && {
      events: eventResults(core, scenario, after.host[core.constant("REPORT_HOST_EPOCH")]!),
    }),
    ...(status === "oom" && { oom: { where: oomWhere(subject, after) } }),
    ...(status === "readError" && { readError: readErrorOf(subject, after) }),
    ...((scenario.check.integrity || status === "violation") && { violations: violationsOf(subject, after) }),
  };
}
