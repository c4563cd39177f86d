// What shadow paging asks of a scenario: the guest's page tables need room, and some mechanisms are not modelled with it.

import { gfnOfPage, memslotsOf } from "./memslots.js";
import { type Problem, show } from "./problems.js";
import type { ResolvedVm } from "./scenario.js";
import { placeTasks, type Task } from "./tasks.js";

/** Pages of sptes that a fault must find free beside the roots. */
const MMU_PAGES_FREE = 5;
/** How many there may be, unless mmuPages says: one for so many pages of the guest, and at least so many. */
const PAGES_PER_MMU_PAGE = 50;
const MMU_PAGES_MIN = 64;
const PAGE_BYTES = 4096;
/** Frames that a table of levels 1, 2 and 3 maps, as powers of two. */
const LEVEL_SHIFTS = [9, 18, 27] as const;

/** Where a task's address space has the kernel's part: frames with lower numbers fit there. */
const KERNEL_GFN = 2 ** 30;
/** Address spaces with the kernel's two views of a frame: at its own address, and in a task's space. */
const KERNEL_SPACES = 2;

/** Tables of levels 1 to 3 that map `pages` pages from `first` on. */
function tablesFor(first: number, pages: number): number {
  return LEVEL_SHIFTS.reduce(
    (all, shift) => all + ((first + pages - 1) >>> shift) - (first >>> shift) + 1,
    0,
  );
}

export interface GuestTables {
  /** The first of their frames; they are the last of the lowest slot. */
  gfn: number;
  /** Tables of the kernel, which map every slot, and of tasks. */
  pages: number;
  /** Those of tasks. */
  own: number;
  /** Address spaces in which the same frame may be mapped. */
  spaces: number;
}

/** Where the guest's page tables lie, and how many there can be. */
export function guestTables(vm: ResolvedVm, tasks: readonly Task[]): GuestTables {
  const map = memslotsOf(vm);
  const kernel = map.reduce((sum, slot) => sum + tablesFor(slot.gfn, slot.pages), 1);
  const spaces = ownSpaces(vm) ? tasks.filter(({ pages }) => pages > 0) : [];
  const own = spaces.reduce(
    (sum, { firstPage, pages }) => sum + 1 + tablesFor(gfnOfPage(map, firstPage).gfn, pages),
    0,
  );
  const users = new Map<number, number>();
  for (const { firstPage } of spaces) users.set(firstPage, (users.get(firstPage) ?? 0) + 1);
  const most = Math.max(0, ...users.values());
  const lowest = map.reduce((least, slot) => (slot.gfn < least.gfn ? slot : least));
  const pages = kernel + own;
  const gfn = lowest.gfn + lowest.pages - pages;
  return { gfn, pages, own, spaces: own === 0 ? 1 : KERNEL_SPACES + most };
}

/** Each task has page tables of its own. */
export function ownSpaces({ mmu, guest }: ResolvedVm): boolean {
  return mmu === "shadow" && (guest.pageTables ?? "per-task") === "per-task";
}

/** Everything that a VM with shadow paging may not have. */
export function shadowPaging(vm: ResolvedVm, index: number): Problem[] {
  const path = ["vms", index];
  if (vm.mmu !== "shadow") {
    const keys = [...(["accessedDirty", "pageTables"] as const).filter((key) => vm.guest[key] !== undefined)];
    const wrong = `only shadow paging looks at the guest's page tables, and mmu is ${show(vm.mmu)}`;
    const problems = keys.map(
      (key): Problem => ({ path: [...path, "guest", key], wrong, allowed: "absent" }),
    );
    if (vm.mmuRoots !== undefined) problems.push({ path: [...path, "mmuRoots"], wrong, allowed: "absent" });
    return problems;
  }
  const problems: Problem[] = [];
  const refuse = (key: string, value: unknown, allowed: string): void => {
    problems.push({
      path: [...path, ...key.split(".")],
      wrong: `${show(value)} is not modelled with shadow paging`,
      allowed,
    });
  };
  if (vm.aliases.length > 0) refuse("aliases", vm.aliases, "none");
  if (vm.pageTableLevels !== 4) refuse("pageTableLevels", vm.pageTableLevels, "4");
  if (vm.guest.allocator === "buddy") refuse("guest.allocator", "buddy", '"direct"');
  const map = memslotsOf(vm);
  const { gfn, pages } = guestTables(
    vm,
    placeTasks(vm, () => 0),
  );
  const least = vm.vcpus + MMU_PAGES_FREE;
  const limit =
    vm.mmuPages ?? Math.max(MMU_PAGES_MIN, Math.floor(vm.memory / PAGE_BYTES / PAGES_PER_MMU_PAGE));
  if (limit < least) {
    const wrong = `${limit} pages of sptes are too few for the roots of ${vm.vcpus} vCPUs`;
    problems.push({ path: [...path, "mmuPages"], wrong, allowed: `${least} or more` });
  }
  const high = map.find((slot) => slot.gfn + slot.pages > KERNEL_GFN);
  if (ownSpaces(vm) && high !== undefined) {
    const wrong = `a slot ends at gfn ${high.gfn + high.pages}, and the kernel's part of a task's address space has 2^30 pages`;
    problems.push({
      path: [...path, "memslots"],
      wrong,
      allowed: 'lower frames, or guest.pageTables "shared"',
    });
  }
  if (gfn < Math.min(...map.map((slot) => slot.gfn))) {
    const wrong = `the guest's ${pages} page tables do not fit its lowest slot`;
    problems.push({ path: [...path, "memory"], wrong, allowed: "more memory there" });
  }
  return problems;
}
