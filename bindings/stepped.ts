// The part of a machine that is driven from outside, step by step: one access of a vCPU, one call of a monitor, one look at a page.
// Each step runs the machine until it has been made. Left out: how that is done, which is the business of the files imported here.

import { type CgroupFile, type CgroupStep, writeCgroup } from "./cgroup.js";
import type { Core } from "./core.js";
import { type InspectedPage, inspectGfn } from "./inspect.js";
import {
  type DirtyLogStep,
  type MemslotSetting,
  type MemslotStep,
  setMemslot,
  takeDirtyLog,
} from "./memorymap.js";
import type { ResolvedScenario } from "./scenario.js";
import {
  type AccessStep,
  type Advice,
  type AdviceStep,
  accessOnce,
  adviseOnce,
  type GuestRange,
  type StepOptions,
} from "./stepping.js";

/** What {@link Machine} can be told to do beside running. */
export abstract class SteppedMachine {
  /** @internal @throws PagevisorError E_DISPOSED */
  protected abstract get core(): Core;

  /** The scenario with every default filled in. */
  abstract get scenario(): ResolvedScenario;

  /**
   * One access of a vCPU to a guest frame, before the next one of its guest's tasks. Runs until it has been made.
   *
   * @throws PagevisorError E_STEP for a VM, vCPU or frame that is not there
   */
  access(
    vm: string | number,
    vcpu: number,
    gfn: number,
    mode: "read" | "write",
    options: StepOptions = {},
  ): AccessStep {
    return accessOnce(this.core, this.scenario, vm, vcpu, gfn, mode, options);
  }

  /**
   * What the VM's monitor does to the memory behind guest frames of one memslot: advice as by madvise(), or reading or writing each page
   * itself. Runs until it has been done.
   *
   * @throws PagevisorError E_STEP for a VM, an advice or frames that are not there
   */
  advise(vm: string | number, advice: Advice, range: GuestRange, options: StepOptions = {}): AdviceStep {
    return adviseOnce(this.core, this.scenario, vm, advice, range, options);
  }

  /**
   * Has the VM's monitor set memslot `id`, or delete it with null (KVM_SET_USER_MEMORY_REGION). What KVM refuses stands in `error`: as it,
   * ENOMEM for memory that the scenario has not put there.
   *
   * @throws PagevisorError E_STEP for numbers that are none
   */
  setMemslot(
    vm: string | number,
    id: number,
    slot: MemslotSetting | null,
    options: StepOptions = {},
  ): MemslotStep {
    return setMemslot(this.core, this.scenario, vm, id, slot, options);
  }

  /**
   * Has the VM's monitor write to a file of its memory cgroup: "memory.max" with bytes or "max", "memory.reclaim" with bytes.
   *
   * @throws PagevisorError E_STEP
   */
  writeCgroup(
    vm: string | number,
    file: CgroupFile,
    bytes: number | "max",
    options: StepOptions = {},
  ): CgroupStep {
    return writeCgroup(this.core, this.scenario, vm, file, bytes, options);
  }

  /** Has the VM's monitor take the dirty log of memslot `id` (KVM_GET_DIRTY_LOG). @throws PagevisorError E_STEP */
  dirtyLog(vm: string | number, id: number, options: StepOptions = {}): DirtyLogStep {
    return takeDirtyLog(this.core, this.scenario, vm, id, options);
  }

  /**
   * A page's whole story: slot, entries of both MMUs, frame, swap slot, contents. Looking changes nothing.
   *
   * @throws PagevisorError E_STEP for a VM or frame that is not there
   */
  inspect({ vm, gfn }: { vm: string | number; gfn: number }): InspectedPage {
    return inspectGfn(this.core, this.scenario, vm, gfn);
  }
}
