// The rules between keys of a scenario: names that must differ or exist, numbers that bound each other, pages that must fit.
// Left out: rules about a single key (schema.ts) and those that need the core (watermarks, the size of the arena).

import { nearestName } from "./nearest.js";
import { formatPath, type Problem, show } from "./problems.js";
import type { ParsedScenario, ResolvedScenario, ResolvedVm } from "./scenario.js";
import { placeTasks, taskNames } from "./tasks.js";
import { formatBytes } from "./units.js";
import { PAGE_BYTES } from "./values.js";

/** Pages that the tasks of a guest may have together: page numbers of accesses have 31 bits. */
const PAGES_MAX = 2 ** 31;

/** Everything that is wrong between the keys of a scenario whose single keys are right. */
export function ruleProblems(parsed: ParsedScenario, resolved: ResolvedScenario): Problem[] {
  return [
    ...hostCpus(parsed, resolved),
    ...swapDevices(parsed, resolved),
    ...sameNames(
      "vms",
      resolved.vms.map((vm) => vm.name),
    ),
    ...resolved.vms.flatMap((vm, index) => {
      // Traces have no pages until they are read; files.ts asks again then.
      const memory = memoryProblem(vm, index, () => 0);
      const others = [ways(vm, index), allocator(vm, index), sameTaskNames(vm, index), taskValues(vm, index)];
      return [...others.flat(), ...(memory === undefined ? [] : [memory])];
    }),
    ...starts(resolved),
    ...idealizedPolicy(resolved),
  ];
}

/** A policy that sees every access and decides alone what goes. */
export function isIdealized(policy: ResolvedScenario["host"]["reclaim"]["policy"]): boolean {
  return policy !== "two-list";
}

function idealizedPolicy({ host, vms }: ResolvedScenario): Problem[] {
  const { policy, pageClusterPages } = host.reclaim;
  if (!isIdealized(policy)) return [];
  const problems: Problem[] = [];
  if (pageClusterPages !== 1) {
    const wrong = `${pageClusterPages} pages cannot be read at once under ${show(policy)}, which decides page by page`;
    problems.push({ path: ["host", "reclaim", "pageClusterPages"], wrong, allowed: "1, or absent" });
  }
  for (const [index, { memoryMax, guest }] of vms.entries()) {
    const path = ["vms", index];
    if (memoryMax === null) {
      const wrong = `missing, and ${show(policy)} evicts at this limit only`;
      problems.push({ path: [...path, "memoryMax"], wrong, allowed: "a size" });
    }
    if (policy === "belady" && !isForeseeable(guest.tasks)) {
      const wrong = '"belady" knows the future of a single trace only';
      const allowed = "one task, a trace without loop and prefault";
      problems.push({ path: [...path, "guest", "tasks"], wrong, allowed });
    }
  }
  return problems;
}

function isForeseeable(tasks: ResolvedVm["guest"]["tasks"]): boolean {
  const [task] = tasks;
  if (task === undefined || tasks.length > 1 || task.count > 1 || task.prefault) return false;
  return task.workload.kind === "trace" && !task.workload.loop;
}

function hostCpus(parsed: ParsedScenario, resolved: ResolvedScenario): Problem[] {
  if (parsed.host.cpus !== undefined || resolved.host.cpus <= 256) return [];
  const wrong = `missing, and its default of one for each vCPU would be ${resolved.host.cpus}`;
  return [{ path: ["host", "cpus"], wrong, allowed: "a whole number 1..256" }];
}

function swapDevices(parsed: ParsedScenario, resolved: ResolvedScenario): Problem[] {
  const problems: Problem[] = [];
  for (const [index, device] of parsed.host.swap.entries()) {
    const path = ["host", "swap", index];
    const figures = (["readNs", "writeNs", "servers"] as const).filter((key) => device[key] === undefined);
    if (device.kind === undefined && figures.length === 3) {
      problems.push({ path, wrong: "no kind", allowed: "a kind, or readNs, writeNs and servers" });
    } else if (device.kind === undefined && figures.length > 0) {
      const wrong = `a device without kind needs ${figures.join(" and ")}`;
      problems.push({ path, wrong, allowed: "a kind, or readNs, writeNs and servers" });
    }
    const { priority } = resolved.host.swap[index]!;
    // A resolved scenario is itself a scenario, so the negative priority that Linux would give is accepted, any other is not.
    if (priority < 0 && device.priority !== undefined && priority !== kernelPriority(parsed, index)) {
      const wrong = `${priority} is not allowed`;
      problems.push({ path: [...path, "priority"], wrong, allowed: "a whole number 0..32767, or absent" });
    }
  }
  return [
    ...problems,
    ...sameNames(
      "host.swap",
      resolved.host.swap.map((device) => device.name),
      ["host", "swap"],
    ),
  ];
}

/** The priority that Linux gives the device at `index` if it is switched on without one: -2, -3, … in order. */
export function kernelPriority(parsed: ParsedScenario, index: number): number {
  const before = parsed.host.swap.slice(0, index).filter(({ priority = -1 }) => priority < 0);
  return -2 - before.length;
}

/** Names of a list at `parent` that occurred before. */
function sameNames(list: string, names: readonly string[], parent: Problem["path"] = [list]): Problem[] {
  return names.flatMap((name, index) => {
    const first = names.indexOf(name);
    if (first === index) return [];
    const wrong = `${show(name)} is already the name of ${list}[${first}]`;
    return [{ path: [...parent, index, "name"], wrong, allowed: "a name of its own" }];
  });
}

function sameTaskNames(vm: ResolvedVm, index: number): Problem[] {
  const parent = ["vms", index, "guest", "tasks"];
  const taken = new Map<string, number>();
  return vm.guest.tasks.flatMap((task, taskIndex) => {
    const names = new Set([task.name, ...taskNames(task)]);
    const name = [...names].find((each) => taken.has(each));
    const first = name === undefined ? undefined : taken.get(name);
    for (const each of names) taken.set(each, taskIndex);
    if (name === undefined || first === undefined) return [];
    const wrong = `${show(name)} is already the name of ${formatPath([...parent, first])}`;
    return [{ path: [...parent, taskIndex, "name"], wrong, allowed: "a name of its own" }];
  });
}

function ways({ tlb }: ResolvedVm, index: number): Problem[] {
  if (tlb.ways <= tlb.entries) return [];
  const wrong = `${tlb.ways} is more than the ${tlb.entries} entries of the TLB`;
  return [{ path: ["vms", index, "tlb", "ways"], wrong, allowed: `a power of two, 1..${tlb.entries}` }];
}

/** Workloads that only a guest with memory management of its own can run. */
const ALLOCATING = ["process", "churn", "pagecache"];

/** Does the guest's default have memory management of its own? With the keys freePages and balloon also when they change nothing. */
export function needsBuddy({ freePages, balloon, tasks }: ParsedScenario["vms"][number]["guest"]): boolean {
  if (freePages !== undefined || balloon !== undefined) return true;
  return tasks.some(({ workload }) => ALLOCATING.includes(workload.kind));
}

function allocator({ guest }: ResolvedVm, index: number): Problem[] {
  const problems: Problem[] = [];
  const path = ["vms", index, "guest"];
  const { freePages } = guest;
  if (guest.allocator === "direct") {
    const allowed = '"buddy", or absent';
    const needs = (what: string) =>
      problems.push({ path: [...path, "allocator"], wrong: `"direct" cannot serve ${what}`, allowed });
    if (freePages !== undefined && freePages.design !== "off") needs(`freePages ${show(freePages.design)}`);
    if (guest.balloon !== undefined) needs("a balloon");
    for (const { workload, name } of guest.tasks) {
      if (ALLOCATING.includes(workload.kind)) needs(`the ${workload.kind} ${show(name)}`);
    }
  }
  if (freePages !== undefined && freePages.minOrder !== 0) {
    const { design, minOrder } = freePages;
    if (design !== "reporting" && design !== "hinting-2019-min-order") {
      const wrong = `${minOrder} means nothing to ${show(design)}`;
      problems.push({ path: [...path, "freePages", "minOrder"], wrong, allowed: "0, or absent" });
    }
  }
  const regions = guest.tasks.filter(({ region }) => region !== null);
  for (const [taskIndex, { workload, region, prefault, count }] of guest.tasks.entries()) {
    const taskPath = [...path, "tasks", taskIndex];
    if (!ALLOCATING.includes(workload.kind)) continue;
    const shared =
      region !== null && (count > 1 || regions.filter((other) => other.region === region).length > 1);
    if (shared) {
      const wrong = `the pages of a ${workload.kind} are its own`;
      problems.push({
        path: [...taskPath, "region"],
        wrong,
        allowed: "a region that no other task has, or absent",
      });
    }
    if (prefault) {
      const wrong = `a ${workload.kind} allocates what it needs itself`;
      problems.push({ path: [...taskPath, "prefault"], wrong, allowed: "false" });
    }
  }
  return problems;
}

/** Place of the last weight that is not 0. */
function lastAboveZero(weights: readonly number[]): number {
  return weights.reduce((last, weight, place) => (weight > 0 ? place : last), 0);
}

function taskValues(vm: ResolvedVm, index: number): Problem[] {
  return vm.guest.tasks.flatMap(({ vcpu, workload }, taskIndex) => {
    const path = ["vms", index, "guest", "tasks", taskIndex];
    const problems: Problem[] = [];
    if (vcpu !== null && vcpu >= vm.vcpus) {
      const wrong = `${vcpu} is not a vCPU of ${show(vm.name)}, which has ${vm.vcpus}`;
      problems.push({ path: [...path, "vcpu"], wrong, allowed: `a whole number 0..${vm.vcpus - 1}` });
    }
    if (workload.kind === "churn") {
      const { orders, pages } = workload;
      if (orders.length > 11 || orders.every((weight) => weight === 0)) {
        const wrong = orders.length > 11 ? `${orders.length} weights` : "no weight above 0";
        problems.push({
          path: [...path, "workload", "orders"],
          wrong,
          allowed: "weights of the orders 0 to 10",
        });
      } else if (2 ** lastAboveZero(orders) > pages) {
        const wrong = `${pages} pages are less than the largest block`;
        const allowed = `at least ${2 ** lastAboveZero(orders)}`;
        problems.push({ path: [...path, "workload", "pages"], wrong, allowed });
      }
    }
    if (workload.kind === "hotcold" && workload.hot >= workload.pages) {
      const wrong = `${workload.hot} is not less than the ${workload.pages} pages`;
      const allowed =
        workload.pages === 1 ? "nothing with 1 page" : `a whole number 1..${workload.pages - 1}`;
      problems.push({ path: [...path, "workload", "hot"], wrong, allowed });
    }
    return problems;
  });
}

/**
 * The first task of the VM at `index` whose pages reach beyond the VM's memory, if there is one.
 *
 * @param tracePages pages of a trace file; 0 for all while they are not read
 */
export function memoryProblem(
  vm: ResolvedVm,
  index: number,
  tracePages: (file: string) => number,
): Problem | undefined {
  // A guest with memory management of its own has no places: who finds no memory is killed.
  const memoryPages = vm.guest.allocator === "buddy" ? PAGES_MAX : vm.memory / PAGE_BYTES;
  const task = placeTasks(vm, tracePages).find(({ firstPage, pages }) => firstPage + pages > memoryPages);
  if (task === undefined) return undefined;

  const { workload } = vm.guest.tasks[task.index]!;
  const room = Math.max(0, memoryPages - task.firstPage);
  const memory =
    vm.guest.allocator === "buddy"
      ? `the ${PAGES_MAX} pages that the tasks of a guest may have`
      : `the ${memoryPages} pages (${formatBytes(vm.memory)}) of ${show(vm.name)}`;
  const start = task.firstPage === 0 ? "" : ` from page ${task.firstPage} on`;
  const path = ["vms", index, "guest", "tasks", task.index, "workload"];
  if (workload.kind === "trace") {
    const wrong = `page ${task.pages - 1} of ${show(workload.file)}${start} is outside ${memory}`;
    return { path: [...path, "file"], wrong, allowed: room === 0 ? "no page more" : `pages 0..${room - 1}` };
  }
  const wrong = `the ${task.pages} pages of ${show(task.name)}${start} do not fit ${memory}`;
  return {
    path: [...path, "pages"],
    wrong,
    allowed: room === 0 ? "no page more" : `a whole number 1..${room}`,
  };
}

/** Every task that starts after another one must be able to start: the other exists and does not wait for it. */
function starts(scenario: ResolvedScenario): Problem[] {
  const problems: Problem[] = [];
  const entries = new Map<string, { key: string; after: string | undefined }>();
  for (const vm of scenario.vms) {
    for (const task of vm.guest.tasks) {
      const after = typeof task.start === "number" ? undefined : task.start.after;
      // Equal tasks wait for the same task, so they are one node of the graph.
      for (const name of taskNames(task))
        entries.set(`${vm.name}/${name}`, { key: `${vm.name}/${task.name}`, after });
    }
  }
  const known = [...entries.keys()];
  for (const [index, vm] of scenario.vms.entries()) {
    for (const [taskIndex, task] of vm.guest.tasks.entries()) {
      if (typeof task.start === "number") continue;
      const { after } = task.start;
      const path = ["vms", index, "guest", "tasks", taskIndex, "start", "after"];
      const allowed = 'the name of another task, as "vm/task"';
      if (!entries.has(after)) {
        problems.push({
          path,
          wrong: `there is no task ${show(after)}`,
          nearest: nearestName(after, known),
          allowed,
        });
      } else if (waitsFor(entries, `${vm.name}/${task.name}`, after)) {
        const wrong = `${show(after)} itself starts after ${show(task.name)}, so neither would start`;
        const self = `${show(after)} is the task itself`;
        const same = entries.get(after)!.key === `${vm.name}/${task.name}`;
        problems.push({ path, wrong: same ? self : wrong, allowed });
      }
    }
  }
  return problems;
}

/** Whether the chain of starts from `after` leads to the entry `key`. A chain that ends in another cycle does not. */
function waitsFor(
  entries: ReadonlyMap<string, { key: string; after: string | undefined }>,
  key: string,
  after: string,
): boolean {
  const seen = new Set<string>();
  let current = entries.get(after);
  while (current !== undefined && current.key !== key && !seen.has(current.key)) {
    seen.add(current.key);
    current = current.after === undefined ? undefined : entries.get(current.after);
  }
  return current?.key === key;
}
