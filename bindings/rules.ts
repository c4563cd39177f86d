// The rules between keys of a scenario: names that must differ or exist, numbers that bound each other, pages that must fit.
// Left out: rules about a single key (schema.ts) and those that need the core (watermarks, the size of the arena).

import { eventProblems } from "./eventschema.js";
import { guestMemory } from "./guestrules.js";
import { hostPaging } from "./hostpaging.js";
import { ksmProblems } from "./ksmschema.js";
import { gfnOfPage, memslotsOf } from "./memslots.js";
import { ALIAS_SLOTS, kernelSlot } from "./memslotschema.js";
import { nearestName } from "./nearest.js";
import { pagerProblems } from "./pagerschema.js";
import { isIdealized, OUTSIDE } from "./policynames.js";
import { formatPath, type Problem, show } from "./problems.js";
import type { ParsedScenario, ResolvedScenario, ResolvedVm } from "./scenario.js";
import { guestTables, shadowPaging } from "./shadowrules.js";
import { placeTasks, type Task, taskNames } from "./tasks.js";
import { formatBytes } from "./units.js";
import { PAGE_BYTES, SIZE_MAX } from "./values.js";

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
      const others = [
        ways(vm, index),
        mmuPages(vm, index),
        mmuNotifier(vm, index),
        overhead(vm, index),
        guestMemory(vm, index),
        shadowPaging(vm, index),
        hostPaging(vm, index, resolved),
        slots(vm, index),
        aliases(vm, index),
        pagerProblems(vm, index),
        sameTaskNames(vm, index),
        taskValues(vm, index),
      ];
      return [...others.flat(), ...(memory === undefined ? [] : [memory])];
    }),
    ...starts(resolved),
    ...eventProblems(parsed.events, resolved),
    ...outsidePolicy(resolved),
    ...idealizedPolicy(resolved),
    ...ksmProblems(resolved),
    ...hugePages(resolved),
  ];
}

// What stands for a policy of the program's own, and what it is called, come together.
function outsidePolicy({ host }: ResolvedScenario): Problem[] {
  const { policy, outside } = host.reclaim;
  if ((policy === OUTSIDE) === (outside !== undefined)) return [];
  const path = ["host", "reclaim", "outside"];
  if (outside !== undefined)
    return [{ path, wrong: `names a policy beside ${show(policy)}`, allowed: "nothing" }];
  const wrong = 'missing, and policy "outside" is an object that Machine.create() takes in its place';
  return [{ path, wrong, allowed: "what Machine.create() has filled in" }];
}

function idealizedPolicy({ host, vms }: ResolvedScenario): Problem[] {
  const { policy, pageClusterPages } = host.reclaim;
  if (!isIdealized(policy)) return [];
  const problems: Problem[] = [];
  if (pageClusterPages !== 1) {
    const wrong = `${pageClusterPages} pages cannot be read at once under ${show(policy)}, which decides page by page`;
    problems.push({ path: ["host", "reclaim", "pageClusterPages"], wrong, allowed: "1, or absent" });
  }
  for (const [index, { memoryMax, memcg, guest }] of vms.entries()) {
    const path = ["vms", index];
    if (memcg.chargeTables || memcg.chargeBatch > 1 || memcg.overheadPages > 0) {
      const wrong = `charges more than guest pages, and ${show(policy)} knows of nothing else`;
      problems.push({ path: [...path, "memcg"], wrong, allowed: "the defaults, or absent" });
    }
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

function mmuPages({ mmu, mmuPages }: ResolvedVm, index: number): Problem[] {
  if (mmuPages === null || mmu !== "tdp") return [];
  const wrong = `only the legacy MMU and shadow paging have a limit, and mmu is ${show(mmu)}`;
  return [{ path: ["vms", index, "mmuPages"], wrong, allowed: "absent" }];
}

// Aliases went before the TDP MMU came: without a reverse map nothing would find the entries of an alias.
function aliases({ mmu, aliases }: ResolvedVm, index: number): Problem[] {
  const path = ["vms", index, "aliases"];
  if (aliases.length > 0 && mmu === "tdp") {
    const wrong = `mmu ${show(mmu)} has no reverse map that finds what aliases map`;
    return [{ path, wrong, allowed: 'an empty list, or mmu "legacy"' }];
  }
  if (aliases.length > ALIAS_SLOTS) {
    return [{ path, wrong: `${aliases.length} are too many`, allowed: `a list of up to ${ALIAS_SLOTS}` }];
  }
  return aliases.flatMap(({ gfn, pages, target }, place) => {
    if (Math.max(gfn, target) + pages <= 2 ** 31) return [];
    const wrong = `${pages} frames from there on reach beyond the last frame`;
    return [
      {
        path: [...path, place, "pages"],
        wrong,
        allowed: `a whole number 1..${2 ** 31 - Math.max(gfn, target)}`,
      },
    ];
  });
}

// The calls of 2008 find sptes by the reverse map; with the TDP MMU, which has none, a stale frame would be a fatal error.
function mmuNotifier({ mmu, mmuNotifier, hugePages }: ResolvedVm, index: number): Problem[] {
  if (mmuNotifier !== "notifier-2008") return [];
  const path = ["vms", index, "mmuNotifier"];
  if (mmu === "tdp") {
    const wrong = `"notifier-2008" goes by the reverse map, and mmu ${show(mmu)} has none`;
    return [{ path, wrong, allowed: '"seq-retry", or another mmu' }];
  }
  if (!hugePages) return [];
  const wrong =
    '"notifier-2008" neither unmaps nor ages 2 MiB entries: in 2008 only hugetlbfs had any, which no host takes away';
  return [{ path, wrong, allowed: '"seq-retry", or hugePages false' }];
}

// The pages of a huge page stand on Linux' lists one by one, and what is found of the whole is noted for each. An idealized policy hears of
// accesses to pages, and gives up one page at a time.
function hugePages({ host, vms }: ResolvedScenario): Problem[] {
  const { policy } = host.reclaim;
  if (!isIdealized(policy)) return [];
  return vms.flatMap((vm, index) => {
    const wrong = `${show(policy)} decides page by page, and a huge page comes and goes as a whole`;
    return vm.hugePages ? [{ path: ["vms", index, "hugePages"], wrong, allowed: "false" }] : [];
  });
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

function overhead({ memoryMax, memcg }: ResolvedVm, index: number): Problem[] {
  if (memoryMax === null || memcg.overheadPages * PAGE_BYTES < memoryMax) return [];
  const wrong = `${memcg.overheadPages} pages leave nothing of the limit of ${formatBytes(memoryMax)}`;
  const allowed = `a whole number 0..${memoryMax / PAGE_BYTES - 1}`;
  return [{ path: ["vms", index, "memcg", "overheadPages"], wrong, allowed }];
}

/** Slots do not overlap, and they are all the memory that the guest has. */
function slots(vm: ResolvedVm, index: number): Problem[] {
  if (vm.memslots === undefined) return [];
  const path = ["vms", index, "memslots"];
  const problems: Problem[] = [];
  const sorted = memslotsOf(vm);
  for (const [place, slot] of sorted.slice(1).entries()) {
    const before = sorted[place]!;
    const free = before.gfn + before.pages;
    if (slot.gfn >= free) continue;
    const wrong = `${slot.gfn} lies in the slot of gfn ${before.gfn}..${free - 1}`;
    problems.push({ path: [...path, slot.id, "gfn"], wrong, allowed: "a frame outside of the other slots" });
  }
  for (const slot of sorted) {
    if (slot.gfn + slot.pages <= SIZE_MAX / PAGE_BYTES) continue;
    const wrong = `${slot.pages} frames from gfn ${slot.gfn} on end behind the last gfn`;
    problems.push({ path: [...path, slot.id, "pages"], wrong, allowed: "frames below gfn 2^31" });
  }
  for (const { id, flags, hva } of sorted) {
    if (flags?.includes("kernel")) problems.push(...kernelSlot(vm.mmuNotifier, hva, [...path, id]));
  }
  const pages = vm.memslots.reduce((sum, slot) => sum + slot.pages, 0);
  if (pages * PAGE_BYTES !== vm.memory) {
    const wrong = `the slots have ${pages} pages, and memory is ${vm.memory / PAGE_BYTES} (${formatBytes(vm.memory)})`;
    problems.push({ path, wrong, allowed: "slots whose pages come to memory" });
  }
  return problems;
}

function taskValues(vm: ResolvedVm, index: number): Problem[] {
  return vm.guest.tasks.flatMap(({ vcpu, workload, manual, start }, taskIndex) => {
    const path = ["vms", index, "guest", "tasks", taskIndex];
    const problems: Problem[] = [];
    if (vcpu !== null && vcpu >= vm.vcpus) {
      const wrong = `${vcpu} is not a vCPU of ${show(vm.name)}, which has ${vm.vcpus}`;
      problems.push({ path: [...path, "vcpu"], wrong, allowed: `a whole number 0..${vm.vcpus - 1}` });
    }
    if (manual && start !== 0) {
      const wrong = `${show(vm.guest.tasks[taskIndex]!.name)} is manual: machine.startTask() starts it`;
      problems.push({ path: [...path, "start"], wrong, allowed: "0, or absent" });
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
  if (vm.guest.allocator === "buddy") return undefined; // its tasks have no places: who finds no memory is killed
  const memoryPages = vm.memory / PAGE_BYTES;
  const tasks = placeTasks(vm, tracePages);
  const task = tasks.find(({ firstPage, pages }) => firstPage + pages > memoryPages);
  if (task === undefined) return holeProblem(vm, index, tasks) ?? tableProblem(vm, index, tasks);

  const { workload } = vm.guest.tasks[task.index]!;
  const room = Math.max(0, memoryPages - task.firstPage);
  const memory = `the ${memoryPages} pages (${formatBytes(vm.memory)}) of ${show(vm.name)}`;
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

/** A task's pages lie side by side: no hole of the memory map is among them. */
function holeProblem(vm: ResolvedVm, index: number, tasks: readonly Task[]): Problem | undefined {
  const map = memslotsOf(vm);
  for (const task of tasks) {
    if (task.pages === 0) continue;
    const { gfn, room } = gfnOfPage(map, task.firstPage);
    if (task.pages <= room) continue;
    const wrong = `the ${task.pages} pages of ${show(task.name)} from gfn ${gfn} on reach over a hole between memslots`;
    const path = ["vms", index, "guest", "tasks", task.index, "workload"];
    return { path, wrong, allowed: `at most ${room} pages there` };
  }
  return undefined;
}

/** Under shadow paging the guest's page tables have their place, which is no task's. */
function tableProblem(vm: ResolvedVm, index: number, tasks: readonly Task[]): Problem | undefined {
  if (vm.mmu !== "shadow") return undefined;
  const map = memslotsOf(vm);
  const tables = guestTables(vm, tasks);
  for (const task of tasks) {
    // One that is started from outside may only keep pages for others.
    if (task.pages === 0 || vm.guest.tasks[task.index]!.manual) continue;
    const { gfn } = gfnOfPage(map, task.firstPage);
    if (gfn + task.pages <= tables.gfn || gfn >= tables.gfn + tables.pages) continue;
    const wrong = `the ${task.pages} pages of ${show(task.name)} from gfn ${gfn} on reach the guest's page tables from gfn ${tables.gfn} on`;
    const path = ["vms", index, "guest", "tasks", task.index, "workload"];
    return { path, wrong, allowed: `pages below gfn ${tables.gfn}, or more memory` };
  }
  return undefined;
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
