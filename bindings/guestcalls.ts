// What somebody outside has a guest do beside accesses: start a task, write a model-specific register.

import type { BootedTask } from "./boot.js";
import type { Core } from "./core.js";
import { show } from "./problems.js";
import type { ResolvedScenario } from "./scenario.js";
import {
  livingVm,
  placeOn,
  runStep,
  type Step,
  type StepOptions,
  stepError,
  wholeNumber,
} from "./stepping.js";

/** Registers that a guest can be told to write: MSR_KVM_ASYNC_PF_EN. */
export type MsrName = "async-pf-en";

/** Bits of MSR_KVM_ASYNC_PF_EN that must be 0. */
const RESERVED = 0x30;
const VALUE_MAX = 2 ** 43 - 1;

/** The task of that name of VM `index`. @throws PagevisorError E_STEP */
export function taskNamed(tasks: readonly BootedTask[], index: number, name: string): BootedTask {
  const own = tasks.filter(({ vm }) => vm === index);
  const task = own.find((each) => each.name === name);
  if (task !== undefined) return task;
  throw stepError("task", `there is no task ${show(name)}`, own.map((each) => show(each.name)).join(", "));
}

/** Starts a task that waits for it. @throws PagevisorError E_STEP */
export function startTask(
  core: Core,
  scenario: ResolvedScenario,
  tasks: readonly BootedTask[],
  name: string | number,
  taskName: string,
  { cpu }: StepOptions,
): void {
  const { index } = livingVm(core, scenario, name);
  const task = taskNamed(tasks, index, taskName);
  placeOn(core, scenario, index, task.vcpu, cpu);
  if (core.call.taskStart(task.id) === 0) {
    throw stepError("task", `${show(taskName)} does not wait for this`, "a manual task, once");
  }
}

/** Has the guest write a register, and handle what comes of it. @throws PagevisorError E_STEP */
export function writeMsr(
  core: Core,
  scenario: ResolvedScenario,
  name: string | number,
  vcpu: number,
  msr: MsrName,
  value: number,
  { cpu }: StepOptions,
): Step["status"] {
  const { index, vm } = livingVm(core, scenario, name);
  wholeNumber("vcpu", vcpu, 0, vm.vcpus - 1);
  if (msr !== "async-pf-en") throw stepError("msr", `${show(msr)} is not allowed`, '"async-pf-en"');
  wholeNumber("value", value, 0, VALUE_MAX);
  if ((value & RESERVED) !== 0)
    throw stepError("value", `${value} has reserved bits set`, "bits 4 and 5 clear");
  placeOn(core, scenario, index, vcpu, cpu);
  if (core.call.stepMsr(index, vcpu, value) === 0) {
    throw stepError("vm", `${show(vm.name)} has no asynchronous page faults`, "a VM with an asyncPf.design");
  }
  return runStep(core);
}
