// Single steps of a machine: one access of a vCPU, one call of a VM's monitor, and the story of one page. Each step runs the machine
// until it has been made; everything else that is due meanwhile happens as in a run.

import { type Core, constantName } from "./core.js";
import { FAULT_NAMES, type FaultName, STAGE_NAMES } from "./counters.js";
import { PagevisorError } from "./errors.js";
import { guard } from "./guard.js";
import { type Memslot, slotsNow } from "./memslots.js";
import { nearestName } from "./nearest.js";
import { show } from "./problems.js";
import type { FaultStages } from "./result.js";
import type { ResolvedScenario, ResolvedVm } from "./scenario.js";

/** What happened, and what it cost. */
export interface Step {
  /** "oom": no memory could be had for it; "readError": its page could not be read; "violation": a read found another content than the last write. */
  status: "done" | "oom" | "readError" | "violation";
  /** Virtual ns from its beginning to its end. */
  ns: number;
  /** Where that time went; of an access, the part of its fault. */
  stages: FaultStages;
}

/** One access, and what it cost. */
export interface AccessStep extends Step {
  /**
   * How the access' fault counts; null when it took none. "mmio": no memslot holds the frame, or it was a write to a read-only one; the monitor has answered, and
   * nothing was read or written. "emulated": under shadow paging, a write to a page table of the guest's that KVM has made itself. `machine.inspect` shows the MMIO spte that such an access leaves where no slot is.
   */
  fault: FaultName | "mmio" | "emulated" | null;
  /** Exits with a page fault, those that had to start over included. */
  exits: number;
}

/** One call of a monitor, and what it cost. */
export interface AdviceStep extends Step {
  /** Faults of the monitor's own accesses. */
  faults: { minor: number; major: number };
}

/** Advice that the monitor of a VM gives the host (madvise()), or an access of its own: "file" writes through a file that nobody maps, so that new pages look unused. */
export type Advice =
  | "pageout"
  | "cold"
  | "dontneed"
  | "free"
  | "mergeable"
  | "unmergeable"
  | "read"
  | "write"
  | "file";

/** Every {@link Advice}. */
export const ADVICE: readonly Advice[] = [
  "pageout",
  "cold",
  "dontneed",
  "free",
  "mergeable",
  "unmergeable",
  "read",
  "write",
  "file",
];

/** Guest frames that a step is about. */
export interface GuestRange {
  /** First guest frame. */
  gfn: number;
  /** Default: 1. */
  pages?: number;
}

/** Where a step runs. */
export interface StepOptions {
  /** The host CPU on which the actor runs from now on. Default: any, or the one that an earlier step named. */
  cpu?: number;
}

/** What a step of a monitor can be told beside. */
export interface AdviceOptions extends StepOptions {
  /** What a write writes: a number, the same one for equal contents. Default: something that no page holds yet. */
  content?: number;
}

/** Largest number that names contents. */
export const CONTENT_MAX = 2 ** 31 - 1;

const CALL_ACCESSES = 65_536;
const CALL_EVENTS = 4096;

/** The VM called `vm`, or with that place in the list. @throws PagevisorError E_STEP */
export function vmNamed(scenario: ResolvedScenario, vm: string | number): { index: number; vm: ResolvedVm } {
  const index = typeof vm === "number" ? vm : scenario.vms.findIndex(({ name }) => name === vm);
  const found = scenario.vms[index];
  if (found !== undefined) return { index, vm: found };
  const names = scenario.vms.map(({ name }) => name);
  const nearest = nearestName(String(vm), names);
  const question = nearest === undefined ? "" : `; did you mean ${show(nearest)}?`;
  throw stepError("vm", `there is no VM ${show(vm)}${question}`, names.map(show).join(", "));
}

/** The same, of a VM that has not ended. @throws PagevisorError E_STEP */
export function livingVm(
  core: Core,
  scenario: ResolvedScenario,
  name: string | number,
): { index: number; vm: ResolvedVm } {
  const found = vmNamed(scenario, name);
  if (core.call.stepVmEnding(found.index) === 0) return found;
  const others = scenario.vms.filter((_, index) => core.call.stepVmEnding(index) === 0);
  const allowed = others.map((vm) => show(vm.name)).join(", ") || "another machine";
  throw stepError("vm", `${show(found.vm.name)} has been destroyed`, allowed);
}

export function stepError(argument: string, wrong: string, allowed: string): PagevisorError {
  return new PagevisorError(
    "E_STEP",
    `${argument}: ${wrong}${wrong.endsWith("?") ? "" : "."} Allowed: ${allowed}`,
  );
}

/** Checks that `value` is a whole number in `least`..`most`. */
export function wholeNumber(argument: string, value: unknown, least: number, most: number): number {
  if (typeof value === "number" && Number.isInteger(value) && value >= least && value <= most) return value;
  throw stepError(argument, `${show(value)} is not allowed`, `a whole number ${least}..${most}`);
}

/** What an access can be told beside. */
export interface AccessOptions extends StepOptions {
  /** The guest's interrupts are on meanwhile, so that asynchronous page faults may halt its vCPU. Default: true. */
  interrupts?: boolean;
  /** What a write writes, a number as with {@link AdviceOptions}. */
  content?: number;
  /** Under shadow paging, the task in whose address space it is made. Default: the kernel's, in which a frame is at its own address. */
  task?: string;
}

/** One access of vCPU `vcpu`, before the next one of its guest's tasks. */
export function accessOnce(
  core: Core,
  scenario: ResolvedScenario,
  name: string | number,
  vcpu: number,
  gfn: number,
  mode: "read" | "write",
  { cpu, interrupts = true, content = 0 }: AccessOptions,
): AccessStep {
  const { index, vm } = livingVm(core, scenario, name);
  wholeNumber("vcpu", vcpu, 0, vm.vcpus - 1);
  wholeNumber("gfn", gfn, 0, 2 ** 31 - 1);
  if (mode !== "read" && mode !== "write")
    throw stepError("mode", `${show(mode)} is not allowed`, '"read", "write"');
  contentNumber(content, mode);
  const { call } = core;
  placeOn(core, scenario, index, vcpu, cpu);
  guard(() => call.stepAccess(index, vcpu, gfn, Number(mode === "write"), Number(!interrupts), content));
  const status = runStep(core);
  if (status === "done" && call.exploreAccessDone(index, vcpu) === 0) livingVm(core, scenario, name); // it has ended meanwhile
  const exits = status === "oom" || status === "readError" ? 1 : call.stepAccessFaults() >>> 0;
  const kind = call.stepAccessKind() >>> 0;
  const known = FAULT_NAMES.find((each) => core.constant(`FAULT_${constantName(each)}`) === kind)!;
  const emulated = call.stepAccessEmulated() >>> 0;
  const answer = emulated === core.constant("EMULATED_BY_MONITOR") ? "mmio" : "emulated";
  const fault = exits === 0 ? null : emulated !== 0 ? answer : known;
  return { status, fault, exits, ns: call.stepAccessNs(), stages: exits === 0 ? NO_STAGES : stagesOf(core) };
}

/** One call of the monitor on the memory behind guest frames. */
export function adviseOnce(
  core: Core,
  scenario: ResolvedScenario,
  name: string | number,
  advice: Advice,
  range: GuestRange,
  { cpu, content = 0 }: AdviceOptions,
): AdviceStep {
  const { index, vm } = livingVm(core, scenario, name);
  if (!ADVICE.includes(advice)) {
    throw stepError("advice", `${show(advice)} is not allowed`, ADVICE.map(show).join(", "));
  }
  if (isMergeAdvice(advice) && scenario.host.ksm === undefined) {
    throw stepError("advice", `${show(advice)} is for hosts that merge pages`, "a scenario with host.ksm");
  }
  if (advice !== "pageout") ownMemory(vm, "advice");
  contentNumber(content, advice);
  const pages = pagesIn(slotsNow(core, index), range);
  const start = core.call.reportPageNumber(index, range.gfn) >>> 0;
  const kind = core.constant(`CALL_${constantName(advice)}`);
  placeOn(core, scenario, index, -1, cpu);
  guard(() => core.call.stepCall(index, kind, start, start + pages, content));
  const status = runStep(core);
  const major = core.call.stepCallMajor() >>> 0;
  const faults = { minor: (core.call.stepCallResult() >>> 0) - major, major };
  return { status, faults, ns: core.call.stepCallNs(), stages: stagesOf(core) };
}

// Contents are named for a write; 0 leaves them without a name.
function contentNumber(content: number, mode: string): void {
  wholeNumber("content", content, 0, CONTENT_MAX);
  if (content !== 0 && mode !== "write")
    throw stepError("content", `a ${mode} has none`, 'absent, or "write"');
}

function isMergeAdvice(advice: Advice): boolean {
  return advice === "mergeable" || advice === "unmergeable";
}

/** The guest's memory is its process' own. @throws PagevisorError E_STEP */
export function ownMemory(vm: ResolvedVm, argument: string): void {
  if (vm.hostPaging === "mmu-notifier") return;
  throw stepError(argument, `the process of ${show(vm.name)} does not map its guest's memory`, '"pageout"');
}

/** The pages of the VM's process behind guest frames; none for null. */
export function pageRange(
  core: Core,
  scenario: ResolvedScenario,
  name: string | number,
  range: GuestRange | null,
): { index: number; start: number; end: number } {
  const { index, vm } = livingVm(core, scenario, name);
  ownMemory(vm, "vm");
  if (range === null) return { index, start: 0, end: 0 };
  const pages = pagesIn(slotsNow(core, index), range);
  const start = core.call.reportPageNumber(index, range.gfn) >>> 0;
  return { index, start, end: start + pages };
}

// Pages of a range, which lies in one slot: advice is about one stretch of the process' addresses.
function pagesIn(slots: readonly Pick<Memslot, "gfn" | "pages">[], { gfn, pages = 1 }: GuestRange): number {
  wholeNumber("range.gfn", gfn, 0, 2 ** 31 - 1);
  const slot = slots.find((each) => gfn >= each.gfn && gfn < each.gfn + each.pages);
  if (slot === undefined) {
    const allowed = slots.map((each) => `${each.gfn}..${each.gfn + each.pages - 1}`).join(", ");
    throw stepError("range.gfn", `${gfn} is in no memslot`, allowed);
  }
  return wholeNumber("range.pages", pages, 1, slot.gfn + slot.pages - gfn);
}

/** Has the actor run on `cpu` from now on; vCPU -1 is the monitor. */
export function placeOn(
  core: Core,
  scenario: ResolvedScenario,
  vm: number,
  vcpu: number,
  cpu: number | undefined,
): void {
  if (cpu === undefined) return;
  wholeNumber("cpu", cpu, 0, scenario.host.cpus - 1);
  core.call.stepOnlyCpu(vm, vcpu, cpu);
}

/** Runs until the step that has been put before the machine is made. */
export function runStep(core: Core): Step["status"] {
  const { call } = core;
  const endings = new Map<number, Step["status"]>([
    [core.constant("STOP_STEP"), "done"],
    [core.constant("STOP_OOM"), "oom"],
    [core.constant("STOP_READ_ERROR"), "readError"],
    [core.constant("STOP_VIOLATION"), "violation"],
  ]);
  call.machineSetTimeLimit(Number.POSITIVE_INFINITY);
  while (true) {
    const stop = guard(() => call.machineRun(CALL_ACCESSES, CALL_EVENTS)) >>> 0;
    const ending = endings.get(stop);
    if (ending === undefined) continue;
    core.outside?.raise(); // the step has been made: a failed policy lets it come to its end
    return ending;
  }
}

const NO_STAGES = Object.fromEntries(STAGE_NAMES.map((name) => [`${name}Ns`, 0])) as unknown as FaultStages;

/** Where the time of the last step went. */
export function stagesOf(core: Core): FaultStages {
  return Object.fromEntries(
    STAGE_NAMES.map((name, stage) => [`${name}Ns`, core.call.stepStageNs(stage)]),
  ) as unknown as FaultStages;
}
