// Page merging from outside: the settings of ksmd, and what has been merged.

import type { Core } from "./core.js";
import { show } from "./problems.js";
import type { ResolvedScenario } from "./scenario.js";
import { stepError, wholeNumber } from "./stepping.js";
import { parseTime } from "./units.js";

/** What is written to /sys/kernel/mm/ksm; what is absent is as in the scenario. */
export interface KsmSetting {
  /** ksmd works. What has been merged stays so when it does not. */
  run?: boolean;
  /** Pages that ksmd looks at between two naps. */
  pagesToScan?: number;
  /** ns, or with a unit. */
  sleep?: number | string;
}

/** What page merging has come to. */
export interface KsmState {
  /** Merged frames: pages_shared. */
  sharedPages: number;
  /** Guest pages that lie in merged frames, so that `mergedPages - sharedPages` frames are saved. */
  mergedPages: number;
  /** Scans over all mergeable pages that have begun. */
  scans: number;
}

const U32_MAX = 2 ** 32 - 1;

/** Writes settings. @throws PagevisorError E_STEP */
export function setKsm(core: Core, { host }: ResolvedScenario, change: KsmSetting): void {
  if (host.ksm === undefined) throw noKsm();
  const after: Required<KsmSetting> = { ...host.ksm, ...change };
  wholeNumber("pagesToScan", after.pagesToScan, 1, U32_MAX);
  const sleep = typeof after.sleep === "number" ? after.sleep : parseTime(after.sleep);
  if (!(Number(sleep) >= 1))
    throw stepError("sleep", `${show(after.sleep)} is no time`, 'a time like "20ms"');
  core.call.ksmSet(Number(after.run), after.pagesToScan, Number(sleep));
}

/** @throws PagevisorError E_STEP for a host that merges no pages */
export function ksmState(core: Core, { host }: ResolvedScenario): KsmState {
  if (host.ksm === undefined) throw noKsm();
  const { call } = core;
  return {
    sharedPages: call.ksmFrames() >>> 0,
    mergedPages: call.ksmPages() >>> 0,
    scans: call.ksmScansBegun() >>> 0,
  };
}

function noKsm() {
  return stepError("host", "it merges no pages", "a scenario with host.ksm, be it {}");
}
