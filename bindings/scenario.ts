// The door of the library: checks a scenario whole and fills in everything that it leaves open. Behind it, code takes a
// ResolvedScenario as right. A resolved scenario is itself a scenario and resolves to itself.

import * as v from "valibot";
import { fillInAsyncPf, type ResolvedAsyncPf } from "./asyncpf.js";
import type { ResolvedEvent } from "./eventschema.js";
import { needsBuddy } from "./guestrules.js";
import { refusePolicy } from "./outside.js";
import { isIdealized } from "./policynames.js";
import { scenarioError, schemaProblems } from "./problems.js";
import { kernelPriority, ruleProblems } from "./rules.js";
import { type ParsedScenario, type Scenario, scenarioSchema } from "./schema.js";
import { defaultName, type ResolvedTask } from "./tasks.js";
import type { ResolvedWorkload } from "./workload.js";

export type { ParsedScenario, ResolvedTask, ResolvedWorkload, Scenario };

/** A VM as it is given, sizes and times in numbers. */
type ParsedVm = ParsedScenario["vms"][number];
/** A swap device as it is given, sizes and times in numbers. */
type ParsedSwap = ParsedScenario["host"]["swap"][number];

/** A swap device: its kind, whose figures the core knows, and the figures that replace them. */
export type ResolvedSwap = ParsedSwap & {
  name: string;
  /** The kernel's number: areas with a higher one are filled first. */
  priority: number;
};

/** A VM with every default filled in. */
export interface ResolvedVm extends Omit<ParsedVm, "guest" | "asyncPf"> {
  /** Asynchronous page faults, with what the design decides. */
  asyncPf: ResolvedAsyncPf;
  /** The guest, its tasks by name. */
  guest: Omit<ParsedVm["guest"], "tasks" | "allocator"> & {
    tasks: ResolvedTask[];
    allocator: "direct" | "buddy";
  };
}

/** Every value explicit: sizes in bytes, times in virtual ns, aliases replaced by what they stand for, null for "none". */
export interface ResolvedScenario
  extends Omit<ParsedScenario, "$schema" | "sweep" | "host" | "vms" | "events"> {
  /** The host: memory in bytes, a number of CPUs, swap devices by name and priority, reclaim with pages of a readahead window. */
  host: Omit<ParsedScenario["host"], "cpus" | "swap" | "reclaim"> & {
    cpus: number;
    swap: ResolvedSwap[];
    reclaim: ParsedScenario["host"]["reclaim"] & { pageClusterPages: number };
  };
  /** The VMs, in the order of the input. */
  vms: ResolvedVm[];
  /** Events, each with its VM. */
  events: ResolvedEvent[];
}

/**
 * Checks a scenario and fills in its defaults.
 *
 * @throws PagevisorError E_SCENARIO with the first problem: its path, what was given, what is allowed, and how many others there are
 */
export function resolveScenario(input: unknown): ResolvedScenario {
  refusePolicy(input);
  const result = v.safeParse(scenarioSchema, input);
  if (!result.success) throw scenarioError(schemaProblems(scenarioSchema, input, result.issues));
  const resolved = fillIn(result.output);
  const problems = ruleProblems(result.output, resolved);
  if (problems.length > 0) throw scenarioError(problems);
  return resolved;
}

/** Least orders of a block that is told to the host: a pageblock; the largest block; any. */
const MIN_ORDERS = {
  off: 0,
  reporting: 9,
  "hinting-2019": 0,
  "hinting-2019-min-order": 10,
  oracle: 0,
} as const;

/** The defaults that depend on other keys. */
function fillIn(parsed: ParsedScenario): ResolvedScenario {
  const { $schema: _, sweep: __, ...scenario } = parsed;
  const vcpus = scenario.vms.reduce((sum, vm) => sum + vm.vcpus, 0);
  const swap = scenario.host.swap.map((device, index) => {
    const {
      name = defaultName(device.kind, index),
      priority = kernelPriority(parsed, index),
      ...others
    } = device;
    return { name, ...others, priority };
  });
  const { memory, cpus = vcpus, reclaim, ...others } = scenario.host;
  const pageClusterPages = reclaim.pageClusterPages ?? (isIdealized(reclaim.policy) ? 1 : 8);
  return {
    ...scenario,
    host: { memory, cpus, ...others, reclaim: { ...reclaim, pageClusterPages }, swap },
    vms: scenario.vms.map((vm) => ({
      ...vm,
      asyncPf: fillInAsyncPf(vm.asyncPf, vm.vcpus),
      guest: fillInGuest(vm.guest, vm.balloonDevice),
    })),
    // In the order of the schema, so that a resolved scenario resolves to the same text.
    events: scenario.events.map(({ at, vm = scenario.vms[0]!.name, ...event }) => ({ at, vm, ...event })),
  };
}

function fillInGuest(guest: ParsedVm["guest"], device: ParsedVm["balloonDevice"]): ResolvedVm["guest"] {
  const tasks = guest.tasks.map((task, index) => {
    const { name = defaultName(task.workload.kind, index), ...others } = task;
    return { name, ...others };
  });
  // In the order of the schema, as above.
  const {
    tasks: _,
    timeslice,
    scheduler,
    allocator = needsBuddy(guest, device) ? "buddy" : "direct",
    freePages,
    ...others
  } = guest;
  const told = freePages && { ...freePages, minOrder: freePages.minOrder ?? MIN_ORDERS[freePages.design] };
  return {
    tasks,
    timeslice,
    scheduler,
    allocator,
    ...(told !== undefined && { freePages: told }),
    ...others,
  };
}
