// What an exploration explores: a tiny machine, what is done to it beforehand, and the programs of its actors.

import { writeCgroup } from "../cgroup.js";
import { type Core, constantName } from "../core.js";
import { destroyVm } from "../destroy.js";
import { PagevisorError } from "../errors.js";
import { guard } from "../guard.js";
import { migrateOnce } from "../migration.js";
import { show } from "../problems.js";
import type { ResolvedScenario, Scenario } from "../scenario.js";
import { ADVICE, type Advice, accessOnce, adviseOnce, vmNamed, wholeNumber } from "../stepping.js";
import { VIOLATIONS, type ViolationKind } from "./violations.js";

/**
 * `["write", gfn]`; of a monitor also `["pageout", gfn, pages]` and the other advice, `["migrate", gfn, pages]`, and `["destroyVm"]`. Of `before` also
 * `["wait", us]`: so much virtual time passes; and of a monitor `["reclaim", pages]`, from the VM's cgroup.
 */
export type Operation = [
  what: Advice | "migrate" | "destroyVm" | "wait" | "reclaim",
  gfn?: number,
  pages?: number,
];

const PAGE_BYTES = 4096;
const OF_MONITOR: readonly string[] = [...ADVICE, "migrate", "destroyVm"];

/** An actor with a finite program. */
export interface Actor {
  /** Default: the first VM. */
  vm?: string;
  /** The vCPU that runs it; absent: the VM's monitor. */
  vcpu?: number;
  /** Whose pages a monitor migrates. Default: those of its own VM. */
  of?: string;
  /** What it does, one operation after another. */
  program: Operation[];
}

/** A tiny machine to be explored. */
export interface Exploration {
  /** For readers. */
  description?: string;
  /** The machine; its tasks do not run. */
  scenario: Scenario;
  /** The kinds of violation that end an interleaving. Default: all. "trylockFailed", which is none, has to be asked for. */
  look?: ViolationKind[];
  /** Programs that run before, one after another, as in a run. */
  before?: Actor[];
  /** Programs whose steps are tried in every order. */
  actors: Actor[];
}

/** One actor on its way: numbers as the core has them. */
export interface Walker {
  name: string;
  vm: number;
  /** -1: the monitor. */
  vcpu: number;
  /** Whose memory its operations are about. */
  of: number;
  program: Operation[];
}

/** @throws PagevisorError E_SCENARIO for a kind of violation, or an operation, that there is not */
export function checkNames({ look = [], before = [], actors }: Exploration): void {
  for (const kind of look) allowed("look", kind, [...VIOLATIONS, "trylockFailed"]);
  for (const { vcpu, program } of before) {
    for (const [what] of program)
      allowed("before", what, [...operationsOf(vcpu), ...(vcpu === undefined ? ["reclaim"] : []), "wait"]);
  }
  for (const { vcpu, program } of actors) {
    for (const [what] of program) allowed("actors", what, operationsOf(vcpu));
  }
}

function operationsOf(vcpu: number | undefined): readonly string[] {
  return vcpu === undefined ? OF_MONITOR : ["read", "write"];
}

function allowed(where: string, name: string, names: readonly string[]): void {
  if (names.includes(name)) return;
  throw new PagevisorError(
    "E_SCENARIO",
    `${where}: ${show(name)} is not allowed. Allowed: ${names.join(", ")}`,
  );
}

/** Runs the programs of `before` to their ends, the monitors' on the host's first CPU, those of vCPUs on one of their own each. */
export function prepare(core: Core, scenario: ResolvedScenario, before: Actor[]): void {
  const first = scenario.vms.map((_, vm) =>
    scenario.vms.slice(0, vm).reduce((sum, { vcpus }) => sum + vcpus, 1),
  );
  for (const { vm = 0, vcpu, program } of before) {
    const cpu = vcpu === undefined ? 0 : first[vmNamed(scenario, vm).index]! + vcpu;
    for (const [what, gfn = 0, pages = 1] of program) {
      if (what === "wait") {
        runFor(core, gfn * 1000);
      } else if (what === "reclaim") {
        writeCgroup(core, scenario, vm, "memory.reclaim", gfn * PAGE_BYTES, { cpu });
      } else if (what === "migrate") {
        migrateOnce(core, scenario, vm, { gfn, pages }, { cpu });
      } else if (what === "destroyVm") {
        destroyVm(core, scenario, vm, { cpu });
      } else if (vcpu === undefined) {
        adviseOnce(core, scenario, vm, what, { gfn, pages }, { cpu });
      } else {
        accessOnce(core, scenario, vm, vcpu, gfn, what as "read" | "write", { cpu });
      }
    }
  }
  core.call.exploreSettle();
}

function runFor(core: Core, ns: number): void {
  const { call } = core;
  call.reportHost();
  const now = core.f64(call.reportTable(), core.constant("REPORT_HOST_NOW") + 1).at(-1)!;
  call.machineSetTimeLimit(now + ns);
  const none = core.constant("STOP_NONE");
  while (guard(() => call.machineRun(1000, 1000)) >>> 0 === none);
}

/** The actors with their numbers. @throws PagevisorError E_STEP */
export function walkersOf(scenario: ResolvedScenario, actors: Actor[]): Walker[] {
  return actors.map(({ vm = 0, vcpu, of = vm, program }) => {
    const { index, vm: found } = vmNamed(scenario, vm);
    if (vcpu !== undefined) wholeNumber("actors.vcpu", vcpu, 0, found.vcpus - 1);
    const who = vcpu === undefined ? "monitor" : `vcpu ${vcpu}`;
    const name = scenario.vms.length > 1 ? `${found.name} ${who}` : who;
    return { name, vm: index, vcpu: vcpu ?? -1, of: vmNamed(scenario, of).index, program };
  });
}

/** Gives `walker`, number `index`, the operation at `place` of its program. */
export function startOperation(core: Core, walker: Walker, index: number, place: number): void {
  const [what, gfn = 0, pages = 1] = walker.program[place]!;
  if (walker.vcpu >= 0) {
    core.call.exploreAccess(walker.vm, walker.vcpu, gfn, Number(what === "write"));
    return;
  }
  const start = what === "destroyVm" ? 0 : core.call.reportPageNumber(walker.of, gfn) >>> 0;
  core.call.exploreCall(index, walker.vm, core.constant(`CALL_${constantName(what)}`), start, start + pages);
  if (what === "migrate") core.call.exploreCallOf(index, walker.of);
}

/** The operation that `walker` was last given has ended. */
export function operationDone(core: Core, walker: Walker, index: number): boolean {
  const { call } = core;
  return (
    (walker.vcpu >= 0 ? call.exploreAccessDone(walker.vm, walker.vcpu) : call.exploreCallDone(index)) !== 0
  );
}
