// What an exploration explores: a tiny machine, what is done to it beforehand, and the programs of its actors.

import type { BootedTask } from "../boot.js";
import { writeCgroup } from "../cgroup.js";
import { type Core, constantName } from "../core.js";
import { destroyVm } from "../destroy.js";
import { PagevisorError } from "../errors.js";
import { guard } from "../guard.js";
import { taskNamed } from "../guestcalls.js";
import { migrateOnce } from "../migration.js";
import { show } from "../problems.js";
import type { ResolvedScenario, Scenario } from "../scenario.js";
import { ADVICE, type Advice, accessOnce, adviseOnce, vmNamed, wholeNumber } from "../stepping.js";
import { VIOLATIONS, type ViolationKind } from "./violations.js";

/** What a guest does beside its tasks: writes bits to MSR_KVM_ASYNC_PF_EN, or has had so many asynchronous page faults. */
const ACTS: readonly string[] = ["msr", "attempts"];

/**
 * `["write", gfn]`; of a guest `["msr", bits]`, which switches its asynchronous page faults on or off, and `["attempts", number]`, after which its
 * tokens go on from there; of a monitor also `["pageout", gfn, pages]` and the other advice, `["migrate", gfn, pages]`, and `["destroyVm"]`. Of `before`
 * also `["wait", us]`: so much virtual time passes; and of a monitor `["reclaim", pages]`, from the VM's cgroup.
 */
export type Operation = [
  what: Advice | "migrate" | "destroyVm" | "wait" | "reclaim" | "msr" | "attempts",
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
  /** The guest's tasks that the vCPU runs, instead of a program: manual ones, of a guest with the scheduler "fifo". */
  tasks?: string[];
  /** What it does, one operation after another. */
  program?: Operation[];
}

/** A tiny machine to be explored. */
export interface Exploration {
  /** For readers. */
  description?: string;
  /** The machine; of its tasks those run that an actor names. */
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
  /** What its program is about: accesses of a vCPU, acts of its guest, calls of a monitor; or tasks, which are its program. */
  kind: "accesses" | "acts" | "calls" | "tasks";
  /** Numbers and names of the tasks. */
  tasks: BootedTask[];
}

/** @throws PagevisorError E_SCENARIO for a kind of violation, or an operation, that there is not */
export function checkNames({ look = [], before = [], actors }: Exploration): void {
  for (const kind of look) allowed("look", kind, [...VIOLATIONS, "trylockFailed"]);
  for (const { vcpu, program = [] } of before) {
    const of = vcpu === undefined ? [...OF_MONITOR, "reclaim"] : ["read", "write"];
    for (const [what] of program) allowed("before", what, [...of, "wait"]);
  }
  for (const { vcpu, tasks, program = [] } of actors) {
    if ((tasks === undefined) === (program.length === 0))
      throw new PagevisorError("E_SCENARIO", "actors: each has either a program or tasks");
    if (tasks !== undefined && (tasks.length === 0 || vcpu === undefined))
      throw new PagevisorError("E_SCENARIO", "actors: tasks are named, and so is their vCPU");
    for (const [what] of program)
      allowed(
        "actors",
        what,
        vcpu === undefined ? OF_MONITOR : isAct(program[0]!) ? ACTS : ["read", "write"],
      );
  }
}

function isAct([what]: Operation): boolean {
  return ACTS.includes(what);
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
  for (const { vm = 0, vcpu, program = [] } of before) {
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
        adviseOnce(core, scenario, vm, what as Advice, { gfn, pages }, { cpu });
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

/** The actors with their numbers. @throws PagevisorError E_STEP, E_SCENARIO */
export function walkersOf(
  scenario: ResolvedScenario,
  actors: Actor[],
  booted: readonly BootedTask[] = [],
): Walker[] {
  return actors.map(({ vm = 0, vcpu, of = vm, program = [], tasks = [] }) => {
    const { index, vm: found } = vmNamed(scenario, vm);
    if (vcpu !== undefined) wholeNumber("actors.vcpu", vcpu, 0, found.vcpus - 1);
    const acts = program.length > 0 && isAct(program[0]!);
    const name = nameOf(scenario, index, vcpu ?? -1);
    const kind = acts ? "acts" : tasks.length > 0 ? "tasks" : vcpu === undefined ? "calls" : "accesses";
    return {
      name: acts ? `${name} ${program[0]![0]}` : name,
      vm: index,
      vcpu: vcpu ?? -1,
      of: vmNamed(scenario, of).index,
      program,
      kind,
      tasks: tasks.map((name) => runnable(scenario, booted, index, vcpu!, name)),
    };
  });
}

/** What a vCPU is called, or with -1 its VM's monitor; without its VM where there is no other. */
function nameOf({ vms }: ResolvedScenario, vm: number, vcpu: number): string {
  const name = vcpu < 0 ? "monitor" : `vcpu ${vcpu}`;
  return vms.length > 1 ? `${vms[vm]!.name} ${name}` : name;
}

/** The names of all vCPUs and monitors by their numbers in the core, whether they have a program or not. */
export function namesByNumber(core: Core, scenario: ResolvedScenario): Map<number, string> {
  const names = new Map<number, string>();
  for (const [vm, { vcpus }] of scenario.vms.entries()) {
    for (let vcpu = -1; vcpu < vcpus; vcpu++)
      names.set(core.call.exploreActorOf(vm, vcpu) >>> 0, nameOf(scenario, vm, vcpu));
  }
  return names;
}

function runnable(
  scenario: ResolvedScenario,
  booted: readonly BootedTask[],
  vm: number,
  vcpu: number,
  name: string,
): BootedTask {
  const task = taskNamed(booted, vm, name);
  const { guest } = scenario.vms[vm]!;
  if (guest.scheduler !== "fifo")
    throw new PagevisorError("E_SCENARIO", 'actors.tasks: their guest needs "scheduler": "fifo"');
  const manual = guest.tasks.some((each) => (each.name ?? name) === name && each.manual);
  if (task.vcpu !== vcpu || !manual)
    throw new PagevisorError(
      "E_SCENARIO",
      `actors.tasks: ${show(name)} is not a manual task of vCPU ${vcpu}`,
    );
  return task;
}

/** Operations of a walker; tasks are one. */
export function operations({ kind, program }: Walker): number {
  return kind === "tasks" ? 1 : program.length;
}

/** Gives `walker`, number `index`, the operation at `place` of its program. */
export function startOperation(core: Core, walker: Walker, index: number, place: number): void {
  const { call } = core;
  const { kind, vm, vcpu, of, tasks } = walker;
  if (kind === "tasks") {
    for (const { id } of tasks) call.exploreTask(id);
    return;
  }
  const [what, gfn = 0, pages = 1] = walker.program[place]!;
  if (kind === "acts") {
    call.exploreAct(index, vm, vcpu, core.constant(`ACT_${constantName(what)}`), gfn);
  } else if (kind === "accesses") {
    call.exploreAccess(vm, vcpu, gfn, Number(what === "write"));
  } else {
    const start = what === "destroyVm" ? 0 : call.reportPageNumber(of, gfn) >>> 0;
    call.exploreCall(index, vm, core.constant(`CALL_${constantName(what)}`), start, start + pages);
    if (what === "migrate") call.exploreCallOf(index, of);
  }
}

/** The operation that `walker` was last given has ended. */
export function operationDone(core: Core, { kind, vm, vcpu, tasks }: Walker, index: number): boolean {
  const { call } = core;
  if (kind === "tasks") return tasks.every(({ id }) => call.exploreTaskDone(id) !== 0);
  if (kind === "acts") return call.exploreActDone(index) !== 0;
  return (kind === "accesses" ? call.exploreAccessDone(vm, vcpu) : call.exploreCallDone(index)) !== 0;
}
