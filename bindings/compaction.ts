// Compaction of the host's memory from outside: for a block of some order, or as far as can be.

import { type Core, constantName } from "./core.js";
import { guard } from "./guard.js";
import type { ResolvedScenario } from "./scenario.js";
import {
  ownMemory,
  placeOn,
  runStep,
  type Step,
  type StepOptions,
  stagesOf,
  stepError,
  wholeNumber,
} from "./stepping.js";

/** Largest order of a block. */
export const ORDER_MOST = 10;

/** What compaction waits for, and how much it dares: as of the migration that it makes. */
export const COMPACT_MODES = ["async", "sync-light", "sync"] as const;

/** One of {@link COMPACT_MODES}. */
export type CompactMode = (typeof COMPACT_MODES)[number];

/**
 * What came of a compaction. success: a block of the order is free. complete: the scanners have met after a run over a whole zone;
 * partial-skipped: after one over the rest of it. contended: no frame was left to move pages to. skipped: so little is free that it would be of no
 * use. deferred: others have failed before.
 */
export const COMPACT_RESULTS = [
  "success",
  "complete",
  "partial-skipped",
  "contended",
  "skipped",
  "deferred",
] as const;

/** One of {@link COMPACT_RESULTS}. */
export type CompactResult = (typeof COMPACT_RESULTS)[number];

/** What is wanted of a compaction. */
export interface CompactOptions extends StepOptions {
  /** A free block of 2^order pages, 0..10. Default: none; all zones are compacted to their ends. */
  order?: number;
  /** Default: "sync-light". */
  mode?: CompactMode;
}

/** What has come of a compaction. */
export interface CompactStep extends Step {
  /** In a word; null when it has not come to its end (`status`). */
  result: CompactResult | null;
  /** Pages that have another frame now. */
  moved: number;
  /** Pages that were isolated, and could not be moved. */
  failed: number;
  /** Frames that its two scanners have looked at; of a free block that was taken, every one. */
  scanned: CompactScanned;
}

/** Frames that the scanners of a compaction have looked at. */
export interface CompactScanned {
  /** The one that looks for pages to move. */
  migrate: number;
  /** The one that looks for free frames. */
  free: number;
}

/** An order and a mode as the core has them. */
export function compactArguments(core: Core, order: number | null, mode: CompactMode): [number, number] {
  const wanted = order === null ? core.constant("ORDER_ALL") : order;
  return [wanted >>> 0, core.constant(`MIGRATE_${constantName(mode)}`)];
}

/** The name of COMPACT_*. */
export function compactResult(core: Core, result: number): CompactResult {
  return COMPACT_RESULTS.find((name) => core.constant(`COMPACT_${constantName(name)}`) === result)!;
}

/** Compacts the host's memory. */
export function compactOnce(
  core: Core,
  scenario: ResolvedScenario,
  { order, mode = "sync-light", cpu }: CompactOptions,
): CompactStep {
  for (const vm of scenario.vms) ownMemory(vm, "machine");
  if (order !== undefined) wholeNumber("order", order, 0, ORDER_MOST);
  if (!COMPACT_MODES.includes(mode)) throw stepError("mode", `"${mode}" is none`, COMPACT_MODES.join(", "));
  placeOn(core, scenario, 0, -1, cpu);
  guard(() => core.call.stepCompact(0, ...compactArguments(core, order ?? null, mode)));
  const status = runStep(core);
  const { call } = core;
  return {
    status,
    result: status === "done" ? compactResult(core, call.stepCompactResult() >>> 0) : null,
    moved: call.stepCallResult() >>> 0,
    failed: call.stepCallFailed() >>> 0,
    scanned: { migrate: call.stepCompactScanned(0) >>> 0, free: call.stepCompactScanned(1) >>> 0 },
    ns: call.stepCallNs(),
    stages: stagesOf(core),
  };
}
