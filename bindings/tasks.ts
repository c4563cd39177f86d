// The tasks of a VM one by one: `count` equal tasks become single ones, each with its name, its vCPU and its pages. Pages are given
// directly: task after task, a region where its first task stands, as large as its largest user. Left out: what the tasks do.

import type { ParsedScenario } from "./schema.js";
import type { ResolvedWorkload } from "./workload.js";

/** A task of a resolved scenario; `count` equal ones are still one entry. */
export type ResolvedTask = Required<ParsedScenario["vms"][number]["guest"]["tasks"][number]> & {
  name: string;
};

/** What the placement needs to know of a VM. Every ResolvedVm is one. */
export interface PlacedVm {
  vcpus: number;
  guest: { tasks: readonly ResolvedTask[] };
}

/** A single task. */
export interface Task {
  name: string;
  /** Index of its entry in `guest.tasks`. */
  index: number;
  vcpu: number;
  /** First guest frame of its pages; page p of the workload is gfn `firstPage + p`. */
  firstPage: number;
  /** Pages of its workload. Users of one region share their first page, but each has a number of pages of its own. */
  pages: number;
}

/** The name of an entry that has none: `zipf-0`, `nvme-1`. */
export function defaultName(kind: string | undefined, index: number): string {
  return `${kind ?? "device"}-${index}`;
}

/** The names of the single tasks of an entry. */
export function taskNames(task: { name: string; count: number }): string[] {
  if (task.count === 1) return [task.name];
  return Array.from({ length: task.count }, (_, index) => `${task.name}.${index}`);
}

/**
 * The pages that a workload works on.
 *
 * @param tracePages pages of a trace file (its largest page number + 1)
 */
export function workloadPages(workload: ResolvedWorkload, tracePages: (file: string) => number): number {
  if (workload.kind === "compute") return 0;
  return workload.kind === "trace" ? tracePages(workload.file) : workload.pages;
}

/**
 * The single tasks of a VM in order. Their pages are inside the VM's memory once the rules have been checked.
 *
 * @param tracePages pages of a trace file (its largest page number + 1)
 */
export function placeTasks(vm: PlacedVm, tracePages: (file: string) => number): Task[] {
  const regionPages = new Map<string, number>();
  for (const { region, workload } of vm.guest.tasks) {
    if (region === null) continue;
    const pages = workloadPages(workload, tracePages);
    regionPages.set(region, Math.max(pages, regionPages.get(region) ?? 0));
  }
  const tasks: Task[] = [];
  const regionFirstPage = new Map<string, number>();
  let nextPage = 0;
  for (const [index, task] of vm.guest.tasks.entries()) {
    const pages = workloadPages(task.workload, tracePages);
    for (const name of taskNames(task)) {
      let firstPage = nextPage;
      if (task.region === null) {
        nextPage += pages;
      } else if (regionFirstPage.has(task.region)) {
        firstPage = regionFirstPage.get(task.region)!;
      } else {
        regionFirstPage.set(task.region, firstPage);
        nextPage += regionPages.get(task.region)!;
      }
      tasks.push({ name, index, vcpu: task.vcpu ?? tasks.length % vm.vcpus, firstPage, pages });
    }
  }
  return tasks;
}
