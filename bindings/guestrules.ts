// The rules for a guest with memory management of its own: which keys need one, and what its tasks may be.

import { type Problem, show } from "./problems.js";
import type { ParsedScenario, ResolvedVm } from "./scenario.js";

/** Workloads that only a guest with memory management of its own can run. */
const ALLOCATING = ["process", "churn", "pagecache"];

type ParsedVm = ParsedScenario["vms"][number];

/** Does the guest's default have memory management of its own? With the keys freePages, balloon and balloonDevice also when they change nothing. */
export function needsBuddy(
  { freePages, balloon, tasks }: ParsedVm["guest"],
  device: ParsedVm["balloonDevice"],
): boolean {
  if (freePages !== undefined || balloon !== undefined || device !== undefined) return true;
  return tasks.some(({ workload }) => ALLOCATING.includes(workload.kind));
}

/** Everything that a VM's way of giving out its memory does not allow. */
export function guestMemory(vm: ResolvedVm, index: number): Problem[] {
  return [
    allocator(vm, index),
    forDesign(vm, index),
    device(vm, index),
    ownPages(vm, index),
    churn(vm, index),
  ].flat();
}

function allocator({ guest, memslots, balloonDevice }: ResolvedVm, index: number): Problem[] {
  const problems: Problem[] = [];
  const path = ["vms", index, "guest"];
  const { freePages } = guest;
  if (guest.allocator === "direct") {
    const allowed = '"buddy", or absent';
    const needs = (what: string) =>
      problems.push({ path: [...path, "allocator"], wrong: `"direct" cannot serve ${what}`, allowed });
    if (freePages !== undefined && freePages.design !== "off") needs(`freePages ${show(freePages.design)}`);
    if (guest.balloon !== undefined) needs("a balloon");
    if (balloonDevice !== undefined) needs("a balloonDevice");
    for (const { workload, name } of guest.tasks) {
      if (ALLOCATING.includes(workload.kind)) needs(`the ${workload.kind} ${show(name)}`);
    }
  }
  if (guest.allocator === "buddy" && memslots !== undefined) {
    const wrong = '"buddy" manages one slot over all memory';
    problems.push({ path: [...path, "allocator"], wrong, allowed: '"direct", or no memslots' });
  }
  return problems;
}

/** Keys of freePages that mean something to some designs only. */
function forDesign({ guest: { freePages } }: ResolvedVm, index: number): Problem[] {
  if (freePages === undefined) return [];
  const { design, minOrder, arrayEntries } = freePages;
  const problems: Problem[] = [];
  const nothing = (key: string, value: number, allowed: string): void => {
    const path = ["vms", index, "guest", "freePages", key];
    problems.push({ path, wrong: `${value} means nothing to ${show(design)}`, allowed });
  };
  const least = design === "reporting" || design === "hinting-2019-min-order";
  if (minOrder !== null && minOrder !== 0 && !least) nothing("minOrder", minOrder, "0, or absent");
  if (arrayEntries !== null && !design.startsWith("hinting-2019"))
    nothing("arrayEntries", arrayEntries, "absent");
  return problems;
}

function device({ balloonDevice }: ResolvedVm, index: number): Problem[] {
  const offers = balloonDevice?.offers ?? [];
  const path = ["vms", index, "balloonDevice", "offers"];
  const twice = offers.findIndex((feature, at) => offers.indexOf(feature) < at);
  if (twice >= 0) {
    return [
      { path: [...path, twice], wrong: `${show(offers[twice])} stands there twice`, allowed: "each once" },
    ];
  }
  if (!offers.includes("reporting") || !offers.includes("hinting-2019")) return [];
  const wrong = '"reporting" and "hinting-2019" are one bit';
  return [{ path, wrong, allowed: "one of them" }];
}

/** What allocates by itself shares its pages with nobody, and has none before it starts. */
function ownPages({ guest }: ResolvedVm, index: number): Problem[] {
  const problems: Problem[] = [];
  const path = ["vms", index, "guest"];
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

function churn({ guest }: ResolvedVm, index: number): Problem[] {
  return guest.tasks.flatMap(({ workload }, taskIndex) => {
    if (workload.kind !== "churn") return [];
    const path = ["vms", index, "guest", "tasks", taskIndex, "workload"];
    const { orders, pages } = workload;
    const largest = orders.reduce((last, weight, order) => (weight > 0 ? order : last), -1);
    if (orders.length > 11 || largest < 0) {
      const wrong = largest < 0 ? "no weight above 0" : `${orders.length} weights`;
      return [{ path: [...path, "orders"], wrong, allowed: "weights of the orders 0 to 10" }];
    }
    if (2 ** largest <= pages) return [];
    const wrong = `${pages} pages are less than the largest block`;
    return [{ path: [...path, "pages"], wrong, allowed: `a whole number of at least ${2 ** largest}` }];
  });
}
