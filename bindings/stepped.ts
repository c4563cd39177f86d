// The part of a machine that is driven from outside, step by step: one access of a vCPU, one call of a monitor, one look at a page.
// Each step runs the machine until it has been made. Left out: how that is done, which is the business of the files imported here.

import type { BootedTask } from "./boot.js";
import { type CgroupFile, type CgroupStep, type MemoryStat, readMemoryStat, writeCgroup } from "./cgroup.js";
import { type CompactOptions, type CompactStep, compactOnce } from "./compaction.js";
import type { Core } from "./core.js";
import { type DestroyStep, destroyVm } from "./destroy.js";
import { type MsrName, startTask, writeMsr } from "./guestcalls.js";
import { type InspectedPage, inspectGfn } from "./inspect.js";
import { type KsmSetting, type KsmState, ksmState, setKsm } from "./ksm.js";
import {
  type DirtyLogStep,
  type MemslotSetting,
  type MemslotStep,
  setMemslot,
  takeDirtyLog,
} from "./memorymap.js";
import {
  type FrameRange,
  type HostZone,
  hostZones,
  type MigrateStep,
  migrateOnce,
  type OfflineOptions,
  type OfflineStep,
  offlineOnce,
  type PinStep,
  pinOnce,
} from "./migration.js";
import { type PagerSetting, setPager } from "./pager.js";
import { type EntryBits, editPageTable, enterSpace, type PageTableStep } from "./pagetable.js";
import type { ResolvedScenario } from "./scenario.js";
import {
  type AccessOptions,
  type AccessStep,
  type Advice,
  type AdviceOptions,
  type AdviceStep,
  accessOnce,
  adviseOnce,
  type GuestRange,
  type Step,
  type StepOptions,
} from "./stepping.js";
import { type InspectedHost, type InspectedVm, inspectHost, inspectVm } from "./survey.js";

/** What {@link Machine} can be told to do beside running. */
export abstract class SteppedMachine {
  /** @internal @throws PagevisorError E_DISPOSED */
  protected abstract get core(): Core;

  /** @internal */
  protected abstract get tasks(): readonly BootedTask[];

  /** The scenario with every default filled in. */
  abstract get scenario(): ResolvedScenario;

  /**
   * One access of a vCPU to a guest frame, before the next one of its guest's tasks. Runs until it has been made. A frame that no memslot holds is
   * answered by the VM's monitor, `fault: "mmio"`; under shadow paging the guest must have a page table for it.
   *
   * @throws PagevisorError E_STEP for a VM, vCPU or frame that is not there
   */
  access(
    vm: string | number,
    vcpu: number,
    gfn: number,
    mode: "read" | "write",
    options: AccessOptions = {},
  ): AccessStep {
    enterSpace(this.core, this.scenario, this.tasks, vm, vcpu, options.task, { gfn });
    return accessOnce(this.core, this.scenario, vm, vcpu, gfn, mode, options);
  }

  /**
   * Has the guest, on one of its vCPUs, set and clear bits 0..11 of its own page-table entries for some pages, and flush its TLB. Each entry is a write
   * of the guest's to the table, and may fault. Under shadow paging only.
   *
   * @throws PagevisorError E_STEP for a VM without shadow paging, or pages that the guest has no table for
   */
  editPageTable(
    vm: string | number,
    vcpu: number,
    range: GuestRange,
    bits: EntryBits,
    options: AccessOptions = {},
  ): PageTableStep {
    enterSpace(this.core, this.scenario, this.tasks, vm, vcpu, options.task, range);
    return editPageTable(this.core, this.scenario, vm, vcpu, range, bits, options);
  }

  /**
   * What the VM's monitor does to the memory behind guest frames of one memslot: advice as by madvise(), or reading or writing each page
   * itself. Runs until it has been done.
   *
   * @throws PagevisorError E_STEP for a VM, an advice or frames that are not there
   */
  advise(vm: string | number, advice: Advice, range: GuestRange, options: AdviceOptions = {}): AdviceStep {
    return adviseOnce(this.core, this.scenario, vm, advice, range, options);
  }

  /**
   * Has the VM's monitor set memslot `id`, or delete it with null (KVM_SET_USER_MEMORY_REGION). Where its process maps nothing, it maps the slot's
   * memory first. What KVM refuses stands in `error`, and ENOMEM for what cannot be had: memory of which the process maps a part, more than
   * fits the core, and more of a guest whose memory is in a file. Under shadow paging the guest's kernel maps the slot, with tables in its last frames.
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
   * Ends a VM while the host lives on: its process is killed, its vCPUs stop, and its memory, in frames and in swap, its tables and its cgroup's charge go
   * back. Runs until nothing is left of it. Its results stay to be read; other calls for it are refused from then on.
   *
   * @throws PagevisorError E_STEP for a VM that is not there, or has been destroyed
   */
  destroyVm(vm: string | number, options: StepOptions = {}): DestroyStep {
    return destroyVm(this.core, this.scenario, vm, options);
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

  /**
   * Moves the pages behind guest frames of one memslot to other frames of the host (move_pages()). Runs until it has been done.
   *
   * @throws PagevisorError E_STEP for a VM or frames that are not there
   */
  migrate(vm: string | number, range: GuestRange, options: StepOptions = {}): MigrateStep {
    return migrateOnce(this.core, this.scenario, vm, range, options);
  }

  /** Has the VM's monitor hold a reference to each page behind guest frames: it can then be neither moved nor evicted. @throws PagevisorError E_STEP */
  pin(vm: string | number, range: GuestRange, options: StepOptions = {}): PinStep {
    return pinOnce(this.core, this.scenario, vm, range, options);
  }

  /** Has the VM's monitor drop all references that {@link pin} has made. @throws PagevisorError E_STEP */
  unpin(vm: string | number, options: StepOptions = {}): PinStep {
    return pinOnce(this.core, this.scenario, vm, null, options);
  }

  /** The zones of the host's memory, in frames. @throws PagevisorError E_DISPOSED */
  hostZones(): HostZone[] {
    return hostZones(this.core);
  }

  /**
   * Takes a range of host frames offline: everything in them is moved elsewhere, and nothing is allocated from them any more. Runs until it
   * has been done, or undone.
   *
   * @throws PagevisorError E_STEP for frames that are not there, or not whole units
   */
  offline(range: FrameRange, options: OfflineOptions = {}): OfflineStep {
    return offlineOnce(this.core, this.scenario, range, options);
  }

  /**
   * Compacts the host's memory: pages move from the start of a zone to free frames at its end, until a block of the order is free or the two
   * scanners meet. Runs until it has been done.
   *
   * @throws PagevisorError E_STEP for an order or a mode that is none
   */
  compact(options: CompactOptions = {}): CompactStep {
    return compactOnce(this.core, this.scenario, options);
  }

  /** Reads memory.stat of the VM's cgroup, which brings its counters up to date when enough has changed. @throws PagevisorError E_STEP */
  memoryStat(vm: string | number): MemoryStat {
    return readMemoryStat(this.core, this.scenario, vm);
  }

  /**
   * Writes to the files of /sys/kernel/mm/ksm; what is absent is as in the scenario.
   *
   * @throws PagevisorError E_STEP for a host without the key `ksm`
   */
  setKsm(setting: KsmSetting): void {
    setKsm(this.core, this.scenario, setting);
  }

  /** What page merging has come to. @throws PagevisorError E_STEP for a host without the key `ksm` */
  ksm(): KsmState {
    return ksmState(this.core, this.scenario);
  }

  /** Has the VM's monitor take the dirty log of memslot `id` (KVM_GET_DIRTY_LOG). @throws PagevisorError E_STEP */
  dirtyLog(vm: string | number, id: number, options: StepOptions = {}): DirtyLogStep {
    return takeDirtyLog(this.core, this.scenario, vm, id, options);
  }

  /** The host's memory: frames by state, zones, free lists. Looking changes nothing. @throws PagevisorError E_DISPOSED */
  inspect(): InspectedHost;
  /**
   * A VM: its pages by state, its guest's memory, where its vCPUs, tasks and asynchronous page faults stand. Looking changes nothing.
   *
   * @throws PagevisorError E_STEP for a VM that is not there
   */
  inspect(what: { vm: string | number }): InspectedVm;
  /**
   * A page's whole story: slot, entries of both MMUs, frame, swap slot, contents. Looking changes nothing.
   *
   * @throws PagevisorError E_STEP for a VM or frame that is not there
   */
  inspect(what: { vm: string | number; gfn: number }): InspectedPage;
  inspect(what?: { vm: string | number; gfn?: number }): InspectedHost | InspectedVm | InspectedPage {
    if (what === undefined) return inspectHost(this.core);
    const { vm, gfn } = what;
    if (gfn === undefined) return inspectVm(this.core, this.scenario, this.tasks, vm);
    return inspectGfn(this.core, this.scenario, vm, gfn);
  }

  /**
   * Starts a task with the key `manual`, now; the runs that follow wait for its end.
   *
   * @throws PagevisorError E_STEP for a task that is not there, or does not wait for this
   */
  startTask(vm: string | number, task: string, options: StepOptions = {}): void {
    startTask(this.core, this.scenario, this.tasks, vm, task, options);
  }

  /**
   * Has a vCPU's guest write a model-specific register, and handle what comes of it: "async-pf-en" with the address of its shared area and
   * the bits 1 (on), 2 (tell in kernel mode too), 8 (ready by interrupt). Runs until it has been done.
   *
   * @throws PagevisorError E_STEP
   */
  writeMsr(
    vm: string | number,
    vcpu: number,
    msr: MsrName,
    value: number,
    options: StepOptions = {},
  ): Step["status"] {
    return writeMsr(this.core, this.scenario, vm, vcpu, msr, value, options);
  }

  /**
   * Sets what the pager of a VM supplies from now on; null: nothing, and who waits for it goes on.
   *
   * @throws PagevisorError E_STEP for a VM without the key `pager`, or frames that are not there
   */
  setPager(vm: string | number, setting: PagerSetting | null): void {
    setPager(this.core, this.scenario, vm, setting);
  }
}
