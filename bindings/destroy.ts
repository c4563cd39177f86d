// The end of a VM while its host lives on.

import type { Core } from "./core.js";
import { guard } from "./guard.js";
import type { ResolvedScenario } from "./scenario.js";
import { livingVm, placeOn, runStep, type Step, type StepOptions, stagesOf } from "./stepping.js";

/** What came of the end of a VM. */
export interface DestroyStep extends Step {
  /** Pages that it had, in memory or in swap; of the design of 2007, those of its file, whoever wrote them. */
  pages: number;
}

/** Kills the VM's process, and waits until nothing is left of it. @throws PagevisorError E_STEP */
export function destroyVm(
  core: Core,
  scenario: ResolvedScenario,
  name: string | number,
  { cpu }: StepOptions,
): DestroyStep {
  const { index } = livingVm(core, scenario, name);
  placeOn(core, scenario, index, -1, cpu);
  guard(() => core.call.stepCall(index, core.constant("CALL_DESTROY_VM"), 0, 0, 0));
  const status = runStep(core);
  const pages = core.call.stepCallResult() >>> 0;
  return { status, pages, ns: core.call.stepCallNs(), stages: stagesOf(core) };
}
