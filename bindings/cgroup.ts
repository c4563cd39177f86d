// The files of a VM's memory cgroup while it lives.

import type { Core } from "./core.js";
import { guard } from "./guard.js";
import type { ResolvedScenario } from "./scenario.js";
import {
  livingVm,
  placeOn,
  runStep,
  type Step,
  type StepOptions,
  stagesOf,
  stepError,
  vmNamed,
  wholeNumber,
} from "./stepping.js";

const PAGE_BYTES = 4096;
const UNLIMITED = 0xffffffff;

/** memory.max reclaims until the cgroup fits; memory.reclaim reclaims that much. */
export type CgroupFile = "memory.max" | "memory.reclaim";

const FILES: Record<CgroupFile, string> = {
  "memory.max": "CALL_MEMORY_MAX",
  "memory.reclaim": "CALL_MEMORY_RECLAIM",
};

/** What came of a write to a cgroup's file. */
export interface CgroupStep extends Step {
  /** Pages that the write has reclaimed. */
  reclaimedPages: number;
  /** Pages charged to the cgroup afterwards, with what CPUs have in stock for it. */
  chargedPages: number;
  /** EAGAIN: less could be reclaimed than was asked for. */
  error: "EAGAIN" | null;
}

/** Has the VM's monitor write `bytes`, rounded down to pages, to a file of its cgroup; "max" to memory.max lifts the limit. */
export function writeCgroup(
  core: Core,
  scenario: ResolvedScenario,
  name: string | number,
  file: CgroupFile,
  bytes: number | "max",
  { cpu }: StepOptions,
): CgroupStep {
  const { index } = livingVm(core, scenario, name);
  const kind = FILES[file];
  if (kind === undefined)
    throw stepError("file", `${JSON.stringify(file)} is not allowed`, Object.keys(FILES).join(", "));
  if (bytes !== "max" || file !== "memory.max") wholeNumber("bytes", bytes, 0, Number.MAX_SAFE_INTEGER);
  const pages = bytes === "max" ? UNLIMITED : Math.min(Math.floor(bytes / PAGE_BYTES), UNLIMITED);
  placeOn(core, scenario, index, -1, cpu);
  guard(() => core.call.stepCall(index, core.constant(kind), 0, pages, 0));
  const status = runStep(core);
  const error = core.call.stepCallStatus() === 0 ? null : "EAGAIN";
  const reclaimedPages = core.call.stepCallResult() >>> 0;
  const chargedPages = core.call.stepCharged(index) >>> 0;
  return { status, reclaimedPages, chargedPages, error, ns: core.call.stepCallNs(), stages: stagesOf(core) };
}

/** What memory.stat says of the lists of pages, in bytes. */
export interface MemoryStat {
  /** Bytes on the inactive list. */
  inactiveAnon: number;
  /** Bytes on the active list. */
  activeAnon: number;
  /** Bytes that their owner has given up (MADV_FREE). */
  inactiveFile: number;
}

/**
 * Reads memory.stat of the VM's cgroup. Its counters lag behind, and reclaim goes by them; a read brings those of all cgroups up to date when enough
 * has changed since.
 */
export function readMemoryStat(core: Core, scenario: ResolvedScenario, name: string | number): MemoryStat {
  const { index } = vmNamed(scenario, name);
  const pages = core.u32(
    guard(() => core.call.stepMemoryStat(index)),
    3,
  );
  const [inactiveAnon, activeAnon, inactiveFile] = Array.from(pages, (each) => each * PAGE_BYTES);
  return { inactiveAnon: inactiveAnon!, activeAnon: activeAnon!, inactiveFile: inactiveFile! };
}
