// The guest's own page tables under shadow paging, changed from outside as its kernel would.

import type { BootedTask } from "./boot.js";
import type { Core } from "./core.js";
import { guard } from "./guard.js";
import { taskNamed } from "./guestcalls.js";
import { show } from "./problems.js";
import type { ResolvedScenario } from "./scenario.js";
import {
  type AccessOptions,
  accessOnce,
  type GuestRange,
  livingVm,
  type Step,
  stepError,
  wholeNumber,
} from "./stepping.js";

/** Bits 0..11 of an entry: 1 present, 2 writable, 4 user, 0x20 accessed, 0x40 dirty. */
export interface EntryBits {
  /** Bits that become 1. Default: none. */
  set?: number;
  /** Bits that become 0. Default: none. */
  clear?: number;
}

/** What came of a change of the guest's page tables. */
export interface PageTableStep {
  /** As of every step. */
  status: Step["status"];
  /** Exits with a page fault that the writes to the tables took. */
  exits: number;
}

const NO_TABLE = 0xffffffff;
const NO_TASK = 0xffffffff;
const [PRESENT, WRITABLE] = [1, 2];

/** Under shadow paging, the vCPU's steps are made in the address space of a task from now on; without one in the kernel's. */
export function enterSpace(
  core: Core,
  scenario: ResolvedScenario,
  tasks: readonly BootedTask[],
  name: string | number,
  vcpu: number,
  task: string | undefined,
  range: GuestRange,
): void {
  const { index, vm } = livingVm(core, scenario, name);
  if (vm.mmu !== "shadow") {
    if (task === undefined) return;
    throw stepError("task", `${show(vm.name)} has mmu ${show(vm.mmu)}`, 'absent, or a VM with mmu "shadow"');
  }
  wholeNumber("vcpu", vcpu, 0, vm.vcpus - 1);
  if (task === undefined) {
    core.call.stepSpace(index, vcpu, NO_TASK);
    const reached = (page: number): boolean => core.call.guestTableOf(index, vcpu, page) >>> 0 !== NO_TABLE;
    if (!Number.isInteger(range.gfn) || range.gfn < 0 || range.gfn >= 2 ** 31 || reached(range.gfn)) return;
    const allowed = "a frame that a memslot holds or has held, or one in the same 2 MiB";
    throw stepError("gfn", `the guest has no page table for ${range.gfn}`, allowed);
  }
  const { id, first, pages } = taskNamed(tasks, index, task);
  const last = range.gfn + (range.pages ?? 1) - 1;
  if (range.gfn < first || last >= first + pages) {
    const allowed = pages === 0 ? "a task with pages" : `${first}..${first + pages - 1}`;
    throw stepError("range", `${range.gfn} to ${last} are not pages of ${show(task)}`, allowed);
  }
  core.call.stepSpace(index, vcpu, id);
}

/** Each entry in turn, then one load of CR3. */
export function editPageTable(
  core: Core,
  scenario: ResolvedScenario,
  name: string | number,
  vcpu: number,
  { gfn, pages = 1 }: GuestRange,
  { set = 0, clear = 0 }: EntryBits,
  options: AccessOptions,
): PageTableStep {
  const { index, vm } = livingVm(core, scenario, name);
  if (vm.mmu !== "shadow") {
    throw stepError("vm", `${show(vm.name)} has mmu ${show(vm.mmu)}`, 'a VM with mmu "shadow"');
  }
  wholeNumber("vcpu", vcpu, 0, vm.vcpus - 1);
  wholeNumber("range.gfn", gfn, 0, 2 ** 31 - 1);
  wholeNumber("range.pages", pages, 1, 2 ** 31);
  wholeNumber("bits.set", set, 0, 4095);
  wholeNumber("bits.clear", clear, 0, 4095);
  const { call } = core;
  let exits = 0;
  if (clear & (PRESENT | WRITABLE) && options.task === undefined) {
    for (let page = gfn; page < gfn + pages; page++) {
      if (call.guestHoldsTable(index, page) === 0) continue;
      throw stepError(
        "range",
        `page ${page} holds a page table, which the guest must be able to write`,
        "other pages",
      );
    }
  }
  for (let page = gfn; page < gfn + pages; page++) {
    const table = call.guestTableOf(index, vcpu, page) >>> 0;
    if (table === NO_TABLE) {
      throw stepError(
        "range",
        `the guest has no table for page ${page}`,
        "pages of its memslots, or of a task those that it has touched a neighbour of",
      );
    }
    const step = accessOnce(
      core,
      scenario,
      name,
      vcpu,
      call.guestKernelAt(index, vcpu, table),
      "write",
      options,
    );
    exits += step.exits;
    if (step.status !== "done") return { status: step.status, exits };
    guard(() => call.guestEdit(index, vcpu, table, page, set, clear));
  }
  guard(() => call.guestFlush(index, vcpu));
  return { status: "done", exits };
}
