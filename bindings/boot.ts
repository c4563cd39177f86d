// From a resolved scenario to a booted core: call by call, in the order of the scenario. Decides nothing: every value has been
// checked, and what it means is the core's business.

import { callAsyncPf } from "./asyncpf.js";
import { configGuest } from "./bootguest.js";
import { type Core, constantName } from "./core.js";
import { COST_KEYS } from "./costkeys.js";
import { PagevisorError } from "./errors.js";
import { configEvent, slotsToCome } from "./events.js";
import type { Trace } from "./files.js";
import { configHostPaging } from "./hostpaging.js";
import { flagBits, gfnOfPage, memslotsOf } from "./memslots.js";
import { missingPolicy } from "./outside.js";
import { startPager } from "./pager.js";
import { isIdealized } from "./policynames.js";
import type { ResolvedScenario, ResolvedVm, ResolvedWorkload } from "./scenario.js";
import { guestTables, ownSpaces } from "./shadowrules.js";
import { placeTasks, type Task } from "./tasks.js";
import { type TraceMask, traceMask } from "./tracepoints.js";
import { formatBytes } from "./units.js";

const PAGE_BYTES = 4096;
/** Constants of the core by the values of `vms[].mmuNotifier`. */
const NOTIFIERS = {
  "seq-retry": "NOTIFIER_SEQ_RETRY",
  "notifier-2008": "NOTIFIER_2008",
  "no-retry": "NOTIFIER_NO_RETRY",
} as const;
const UNLIMITED = 0xffffffff;

/** A task as the result names it. */
export interface BootedTask {
  vm: number;
  /** The vCPU that it runs on. */
  vcpu: number;
  name: string;
  /** Number of the task in the core. */
  id: number;
  /** Its pages in the guest's addresses; of a guest that allocates, in its own. */
  first: number;
  pages: number;
}

/** Which page tables the VM's cgroup is charged for. */
function chargedTables({ memcg }: ResolvedVm): string {
  if (!memcg.chargeTables) return "FREE";
  return memcg.chargeKvmTables ? "CHARGED" : "PROCESS";
}

/** Configures and boots `core`. Returns the tasks in the order of the scenario. */
export function bootCore(core: Core, scenario: ResolvedScenario, traces: Map<string, Trace>): BootedTask[] {
  const { call } = core;
  const { host } = scenario;
  const { policy, outside, swappiness, watermarkScaleFactor, pageClusterPages } = host.reclaim;
  done(
    core,
    call.configHost(
      scenario.seed,
      host.memory / PAGE_BYTES,
      host.cpus,
      host.quantum,
      swappiness,
      watermarkScaleFactor,
    ),
  );
  if (host.ksm !== undefined) {
    const { run, pagesToScan, sleep } = host.ksm;
    done(core, call.configKsm(Number(run), pagesToScan, sleep));
  }
  if (policy === "mglru") call.configGenerations();
  if (isIdealized(policy)) call.configPolicy(core.constant(`POLICY_${constantName(policy)}`));
  if (outside !== undefined) {
    if (core.outside === undefined) throw missingPolicy(outside.name);
    call.configOutside(outside.batch);
  }
  call.configReadahead(pageClusterPages);
  call.configNodes(host.numaNodes);
  call.configCheck(Number(scenario.check.integrity), Number(scenario.check.onViolation === "stop"));
  configCosts(scenario, call.configCosts, call.configCost, core);
  configSwap(core, scenario);
  const handles = new Map<string, number>();
  for (const [file, { words }] of traces) handles.set(file, taken(core, call.configTrace(words.length)));

  const tasks: BootedTask[] = [];
  const starts: { id: number; vm: ResolvedVm; task: Task }[] = [];
  const prefaults: { vm: number; task: Task; id: number }[] = [];
  for (const [index, vm] of scenario.vms.entries()) {
    const max = vm.memoryMax === null ? UNLIMITED : Math.floor(vm.memoryMax / PAGE_BYTES);
    const { entries, ways } = vm.tlb;
    const slots = memslotsOf(vm);
    done(
      core,
      call.configVm(
        vm.memory / PAGE_BYTES,
        slots.length + slotsToCome(scenario, vm.name),
        vm.vcpus,
        max,
        entries,
        ways,
        vm.guest.timeslice,
      ),
    );
    done(core, configHostPaging(core, index, vm));
    for (const { id, gfn, pages, hva = -1, flags = [] } of slots) {
      call.configMemslot(index, id, gfn, pages, hva, flagBits(core, flags));
    }
    for (const { gfn, pages, target } of vm.aliases) done(core, call.configAlias(index, gfn, pages, target));
    if (vm.pager !== undefined) done(core, call.configPager(index));
    if (vm.guest.scheduler === "fifo") call.configFifo(index);
    if (vm.asyncPf.design !== "off") done(core, callAsyncPf(core, call.configAsyncPf, index, vm.asyncPf));
    if (vm.asyncPf.attempts !== undefined) call.asyncPfAttempts(index, vm.asyncPf.attempts);
    const { chargeBatch, overheadPages } = vm.memcg;
    call.configMemcg(index, core.constant(`TABLES_${chargedTables(vm)}`), chargeBatch, overheadPages);
    done(core, configPaging(core, index, scenario.host.vendor, vm));
    const buddy = vm.guest.allocator === "buddy";
    const tasksPlaced = placeTasks(vm, (file) => traces.get(file)!.pages);
    if (vm.mmu === "shadow") configShadow(core, index, vm, tasksPlaced);
    if (buddy)
      done(
        core,
        configGuest(core, index, vm, Math.max(1, ...tasksPlaced.map((task) => task.firstPage + task.pages))),
      );
    for (const placed of tasksPlaced) {
      // Page numbers of a guest that allocates are its own; the others are gfns.
      const task = buddy ? placed : { ...placed, firstPage: gfnOfPage(slots, placed.firstPage).gfn };
      const { workload, prefault, mode, manual } = vm.guest.tasks[task.index]!;
      const id = done(core, configTask(core, index, task, workload, traces, handles));
      if (vm.guest.allocator === "buddy" && task.pages > 0) done(core, configPaged(core, id, workload));
      if (ownSpaces(vm) && task.pages > 0) call.configSpace(id, id);
      if (mode === "kernel") call.configKernelMode(id);
      if (manual) call.configManual(id);
      tasks.push({
        vm: index,
        vcpu: task.vcpu,
        name: task.name,
        id,
        first: task.firstPage,
        pages: task.pages,
      });
      starts.push({ id, vm, task });
      if (prefault && task.pages > 0) prefaults.push({ vm: index, task, id });
    }
  }
  configStarts(core, scenario, tasks, starts);
  for (const { vm, task, id } of prefaults) {
    const prefault = done(core, call.configPrefault(vm, task.vcpu, task.firstPage, task.pages));
    if (ownSpaces(scenario.vms[vm]!)) call.configSpace(prefault, id);
  }
  for (const event of scenario.events) {
    const vm = scenario.vms.findIndex(({ name }) => name === event.vm);
    done(core, configEvent(core, vm, event, scenario.host.memory));
  }
  const { trace } = scenario;
  bootOrExplain(core, scenario, trace?.capacity ?? 0, traceMask(core, trace?.events ?? []));
  for (const [file, handle] of handles) {
    const { words } = traces.get(file)!;
    core.u32(call.traceAddress(handle), words.length).set(words);
  }
  if (isIdealized(policy)) call.bootPolicies();
  for (const [index, vm] of scenario.vms.entries()) startPager(core, index, vm);
  return tasks;
}

function configPaging(core: Core, index: number, vendor: "intel" | "amd", vm: ResolvedVm): number {
  const status = core.call.configPaging(
    index,
    core.constant(`MMU_${constantName(vm.mmu)}`),
    // What shadows a guest's tables is an ordinary page table, as NPT's is.
    core.constant(vendor === "intel" && vm.mmu !== "shadow" ? "SPTE_EPT" : "SPTE_NPT"),
    vm.pageTableLevels,
    core.constant(NOTIFIERS[vm.mmuNotifier]),
    Number(vm.hugePages),
    vm.mmuPages ?? 0,
  );
  return status;
}

function configShadow(core: Core, index: number, vm: ResolvedVm, tasks: readonly Task[]): void {
  const { own, spaces } = guestTables(vm, tasks);
  const preset = vm.guest.accessedDirty !== "clear";
  // In 2007 there were no other tables.
  const ownRoots =
    (vm.mmuRoots ?? (vm.hostPaging === "writepage-2007" ? "per-vcpu" : "shared")) === "per-vcpu";
  core.call.configShadow(index, Number(ownRoots), Number(preset), own, spaces);
}

/** Applies the cost table of a scenario through the calls given, at set-up or live. */
export function configCosts(
  scenario: ResolvedScenario,
  preset: (preset: number) => unknown,
  set: (key: number, ns: number) => unknown,
  core: Core,
): void {
  preset(core.constant(`PRESET_${constantName(scenario.costs.preset)}`));
  for (const key of COST_KEYS) {
    const ns = scenario.costs[key];
    if (ns !== undefined) set(core.constant(`COST_${constantName(key)}`), ns);
  }
}

function configSwap(core: Core, scenario: ResolvedScenario): void {
  const { call } = core;
  for (const device of scenario.host.swap) {
    const slots = Math.floor(device.size / PAGE_BYTES);
    const kind = device.kind === undefined ? undefined : core.constant(`DEVICE_${constantName(device.kind)}`);
    const of = (field: number): number => (kind === undefined ? 0 : call.devicePreset(kind, field) >>> 0);
    const flags = [
      [core.constant("DEVICE_SYNCHRONOUS"), device.synchronous],
      [core.constant("DEVICE_ROTATIONAL"), device.rotational],
    ] as const;
    const set = flags.reduce(
      (bits, [bit, on]) => (on === undefined ? bits : on ? bits | bit : bits & ~bit),
      of(5),
    );
    done(
      core,
      call.configSwapDevice(
        slots,
        device.priority,
        device.readNs ?? of(0),
        device.writeNs ?? of(1),
        device.servers ?? of(2),
        device.readBytesPerUs ?? of(3),
        device.writeBytesPerUs ?? of(4),
        set,
      ),
    );
    if (device.readErrors !== undefined)
      call.configReadErrors(Math.ceil(device.readErrors * core.constant("PROBABILITY_ONE")));
  }
}

function configTask(
  core: Core,
  vm: number,
  task: Task,
  workload: ResolvedWorkload,
  traces: Map<string, Trace>,
  handles: Map<string, number>,
): number {
  const { call } = core;
  if (workload.kind === "compute") {
    return call.configCompute(vm, task.vcpu, workload.time ?? Number.POSITIVE_INFINITY);
  }
  const probability = (ratio: number): number => Math.round(ratio * core.constant("PROBABILITY_ONE"));
  const writes = workload.kind === "trace" || workload.kind === "churn" ? 0 : probability(workload.writes);
  const id = call.configTask(
    vm,
    task.vcpu,
    task.firstPage,
    task.pages,
    core.constant(`WORKLOAD_${accessKind(workload)}`),
    workload.kind === "trace" ? traces.get(workload.file)!.words.length : hotPages(workload),
    workload.kind === "trace" ? handles.get(workload.file)! : 0,
    writes,
    accessLimit(workload, traces),
    Number("scatter" in workload && workload.scatter),
    Number(workload.kind === "trace" && workload.writes === "all"),
  );
  if (id < 0) return id;
  const { thinkTime } = workload;
  if (typeof thinkTime === "number") call.configThink(id, thinkTime, 0);
  else call.configThink(id, thinkTime.exponential, 1);
  if (workload.kind === "zipf") call.configZipf(id, workload.theta);
  if (workload.kind === "hotcold") {
    call.configHotcold(id, probability(workload.hotProbability), workload.phaseAccesses ?? 0);
  }
  return id;
}

/** What a task does in a guest that allocates: its kind of life, its pauses, the blocks of churn. */
function configPaged(core: Core, id: number, workload: ResolvedWorkload): number {
  const { call } = core;
  const kinds: Record<string, string> = { process: "PROCESS", churn: "CHURN", pagecache: "CACHE" };
  const kind = core.constant(`PAGED_${kinds[workload.kind] ?? "PLAIN"}`);
  const status = call.configPaged(id, kind, "pause" in workload ? workload.pause : 0);
  if (status < 0 || workload.kind !== "churn") return status;
  const one = core.constant("PROBABILITY_ONE");
  call.configChurn(id, Math.round(workload.freed * one));
  const sum = workload.orders.reduce((total, weight) => total + weight, 0);
  let below = 0;
  for (let order = 0; order < 11; order++) {
    below += workload.orders[order] ?? 0;
    call.configChurnOrder(id, order, Math.round((below / sum) * one));
  }
  return status;
}

/** The kind of accesses that the core draws for a workload. */
function accessKind({ kind }: ResolvedWorkload): string {
  if (kind === "process" || kind === "pagecache") return "SEQUENTIAL";
  return kind === "churn" ? "UNIFORM" : constantName(kind);
}

function hotPages(workload: ResolvedWorkload): number {
  return workload.kind === "hotcold" ? workload.hot : 0;
}

/** Accesses after which the workload ends: its own limit, or the natural end of its kind, whichever comes first. */
function accessLimit(workload: ResolvedWorkload, traces: Map<string, Trace>): number {
  if (workload.kind === "compute") return Number.POSITIVE_INFINITY;
  let natural = Number.POSITIVE_INFINITY;
  if (workload.kind === "trace" && !workload.loop) natural = traces.get(workload.file)!.words.length;
  if (workload.kind === "process") natural = workload.pages * workload.repeat;
  if (workload.kind === "sequential") natural = workload.pages * workload.passes;
  return Math.min(natural, workload.accesses ?? Number.POSITIVE_INFINITY);
}

function configStarts(
  core: Core,
  scenario: ResolvedScenario,
  tasks: BootedTask[],
  starts: { id: number; vm: ResolvedVm; task: Task }[],
): void {
  const byPath = new Map(tasks.map(({ vm, name, id }) => [`${scenario.vms[vm]!.name}/${name}`, id]));
  for (const { id, vm, task } of starts) {
    const { start } = vm.guest.tasks[task.index]!;
    if (typeof start === "number") core.call.configStart(id, -1, start);
    else core.call.configStart(id, byPath.get(start.after)!, start.delay);
  }
}

function bootOrExplain(core: Core, scenario: ResolvedScenario, records: number, mask: TraceMask): void {
  const { call } = core;
  const status = call.boot(records, ...mask);
  if (status === 0) return;
  requireRoom(core, scenario, status);
  done(core, status);
}

/** Explains a status that says that the host is too small for what its VMs start with. */
export function requireRoom(core: Core, scenario: ResolvedScenario, status: number): void {
  if (status === (core.constant("E_HOST_TOO_SMALL") | 0)) {
    const least = (core.call.bootPagesNeeded() >>> 0) * PAGE_BYTES;
    throw new PagevisorError(
      "E_SCENARIO",
      `host.memory: ${formatBytes(scenario.host.memory)} is not larger than the host's own watermarks and the page tables ` +
        `its VMs start with; at least ${formatBytes(least)} is needed. Raise host.memory or lower host.reclaim.watermarkScaleFactor.`,
    );
  }
}

/** Passes a number on, or explains that the scenario is too big. */
function done(core: Core, status: number): number {
  if (status < 0) tooBig(core);
  return status;
}

function taken(core: Core, address: number): number {
  if (address === 0) tooBig(core);
  return address;
}

function tooBig(core: Core): never {
  const need = core.call.bootNeed();
  throw new PagevisorError(
    "E_TOO_BIG",
    `the scenario needs ${formatBytes(Math.ceil(need / PAGE_BYTES) * PAGE_BYTES)} of simulator state, ` +
      `one machine holds 4GiB. Make host.memory, the guests or the swap devices smaller, or turn check.integrity off.`,
  );
}
