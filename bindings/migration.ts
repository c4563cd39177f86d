// Migration from outside: pages of a VM get other frames, references that hinder it, memory of the host that goes offline. Each step runs
// the machine until it has been made.

import type { Core } from "./core.js";
import { guard } from "./guard.js";
import type { ResolvedScenario } from "./scenario.js";
import {
  type GuestRange,
  ownMemory,
  pageRange,
  placeOn,
  runStep,
  type Step,
  type StepOptions,
  stagesOf,
  stepError,
  wholeNumber,
} from "./stepping.js";
import { parseTime } from "./units.js";

/** What came of moving pages. */
export interface MigrateStep extends Step {
  /** Pages that have another frame now. */
  moved: number;
  /** Pages that something held through ten passes; the call ends with the row of pages in which there are such. */
  failed: number;
}

/** What came of taking or dropping references. */
export interface PinStep extends Step {
  /** Pages whose references the monitor holds now, or has dropped. */
  pages: number;
}

/** A range of host frames. */
export interface FrameRange {
  /** First frame, a multiple of {@link HostZone.unit}. */
  frame: number;
  /** How many, a multiple of it too. */
  frames: number;
}

/** A zone of the host's memory. */
export interface HostZone extends FrameRange {
  /** Ranges that go offline consist of so many frames, or a multiple. */
  unit: number;
}

/** How long to try. */
export interface OfflineOptions extends StepOptions {
  /** When to give up, as virtual ns or a string with a unit. Default: "120s", as kernels up to 2013 had it. */
  timeout?: number | string;
}

/** What has become of a page of a VM that was in the range. */
export interface OfflinePage {
  /** Frame of the host that it was in. */
  frame: number;
  /** Name of the VM. */
  vm: string;
  /** Number of the page in the memory of the VM's process. */
  page: number;
  /** "moved": it has another frame. "stayed": it is where it was. "gone": its frame was freed otherwise, by eviction or by its owner. */
  became: "moved" | "stayed" | "gone";
  /** The frame that it has now. */
  now: number | null;
}

/** What came of taking memory offline. */
export interface OfflineStep extends Step {
  /** EBUSY: a frame of the range holds something that cannot be moved. EINTR: the time was over. Nothing is offline then. */
  error: "EBUSY" | "EINTR" | null;
  /** Pages that were moved elsewhere. */
  moved: number;
  /** Pages that a round of ten passes could not move, counted anew in each round. */
  failed: number;
  /** Passes over the pages that were to move. */
  passes: number;
  /** The pages of VMs that were in the range, by frame. */
  pages: OfflinePage[];
}

const ZONES = 4;
const NOBODY = 0xffffffff;
const LONGEST = "120s";

/** Moves the pages behind guest frames to other frames (move_pages()). */
export function migrateOnce(
  core: Core,
  scenario: ResolvedScenario,
  vm: string | number,
  range: GuestRange,
  { cpu }: StepOptions,
): MigrateStep {
  const { index, start, end } = pageRange(core, scenario, vm, range);
  placeOn(core, scenario, index, -1, cpu);
  guard(() => core.call.stepCall(index, core.constant("CALL_MIGRATE"), start, end));
  const status = runStep(core);
  const moved = core.call.stepCallResult() >>> 0;
  const failed = core.call.stepCallFailed() >>> 0;
  return { status, moved, failed, ns: core.call.stepCallNs(), stages: stagesOf(core) };
}

/** Has the monitor hold a reference to each page behind guest frames, or, without a range, drop all that it holds. */
export function pinOnce(
  core: Core,
  scenario: ResolvedScenario,
  vm: string | number,
  range: GuestRange | null,
  { cpu }: StepOptions,
): PinStep {
  const { index, start, end } = pageRange(core, scenario, vm, range);
  placeOn(core, scenario, index, -1, cpu);
  const kind = core.constant(range === null ? "CALL_UNPIN" : "CALL_PIN");
  guard(() => core.call.stepCall(index, kind, start, end));
  const status = runStep(core);
  return {
    ...{ status, pages: core.call.stepCallResult() >>> 0 },
    ...{ ns: core.call.stepCallNs(), stages: stagesOf(core) },
  };
}

/** The zones of the host's memory. */
export function hostZones(core: Core): HostZone[] {
  const unit = core.constant("OFFLINE_UNIT");
  return Array.from({ length: ZONES }, (_, place) => {
    const frame = core.call.stepZoneStart(place) >>> 0;
    return { frame, frames: (core.call.stepZoneEnd(place) >>> 0) - frame, unit };
  }).filter(({ frames }) => frames > 0);
}

/** Takes a range of host frames offline. */
export function offlineOnce(
  core: Core,
  scenario: ResolvedScenario,
  { frame, frames }: FrameRange,
  { cpu, timeout = LONGEST }: OfflineOptions,
): OfflineStep {
  for (const vm of scenario.vms) ownMemory(vm, "machine");
  const zones = hostZones(core);
  const allowed = zones.map((zone) => `${zone.frame}..${zone.frame + zone.frames - 1}`).join(", ");
  const zone = zones.find((each) => frame >= each.frame && frame < each.frame + each.frames);
  if (zone === undefined) throw stepError("range.frame", `${frame} is in no zone of the host`, allowed);
  const { unit } = zone;
  wholeNumber("range.frames", frames, unit, zone.frame + zone.frames - frame);
  if (frame % unit !== 0 || frames % unit !== 0)
    throw stepError("range", `${frame} and ${frames} are not both multiples of ${unit}`, `as ${allowed}`);
  const limit = parseTime(timeout);
  if (!limit.ok) throw stepError("timeout", limit.problem, `ns, or a time such as "${LONGEST}"`);
  placeOn(core, scenario, 0, -1, cpu);
  const pagesBefore = pagesIn(core, frame, frames);
  guard(() => core.call.stepOffline(0, frame, frame + frames, limit.value));
  const status = runStep(core);
  const error = core.call.stepCallStatus() | 0;
  return {
    status,
    error: error === 0 ? null : error === (core.constant("EBUSY") | 0) ? "EBUSY" : "EINTR",
    moved: core.call.stepCallResult() >>> 0,
    failed: core.call.stepCallFailed() >>> 0,
    passes: core.call.stepCallPasses() >>> 0,
    pages: pagesBefore.map((page) => became(core, scenario, page)),
    ns: core.call.stepCallNs(),
    stages: stagesOf(core),
  };
}

interface HeldPage {
  frame: number;
  vm: number;
  page: number;
}

function pagesIn({ call }: Core, frame: number, frames: number): HeldPage[] {
  const held: HeldPage[] = [];
  for (let pfn = frame; pfn < frame + frames; pfn++) {
    const vm = call.stepFrameVm(pfn) >>> 0;
    if (vm !== NOBODY) held.push({ frame: pfn, vm, page: call.stepFramePage(pfn) >>> 0 });
  }
  return held;
}

function became({ call }: Core, scenario: ResolvedScenario, { frame, vm, page }: HeldPage): OfflinePage {
  const pfn = call.stepPageFrame(vm, page) >>> 0;
  const now = pfn === 0 ? null : pfn;
  return {
    ...{ frame, vm: scenario.vms[vm]!.name, page },
    ...{ became: now === null ? "gone" : now === frame ? "stayed" : "moved", now },
  };
}
