// What shadow paging asks of a scenario: the guest's page tables need room, and some mechanisms are not modelled with it.

import type { Memslot } from "./memslots.js";
import { memslotsOf } from "./memslots.js";
import { type Problem, show } from "./problems.js";
import type { ResolvedVm } from "./scenario.js";

/** Frames that a table of levels 1, 2 and 3 maps, as powers of two. */
const LEVEL_SHIFTS = [9, 18, 27] as const;

/** Where the guest's page tables lie: the last frames of the lowest slot, one for each table that maps a slot. */
export function guestTables(map: readonly Memslot[]): { gfn: number; pages: number } {
  const pages = map.reduce((sum, slot) => {
    const last = slot.gfn + slot.pages - 1;
    return LEVEL_SHIFTS.reduce((all, shift) => all + (last >>> shift) - (slot.gfn >>> shift) + 1, sum);
  }, 1);
  const lowest = map.reduce((least, slot) => (slot.gfn < least.gfn ? slot : least));
  return { gfn: lowest.gfn + lowest.pages - pages, pages };
}

/** Everything that a VM with shadow paging may not have. */
export function shadowPaging(vm: ResolvedVm, index: number): Problem[] {
  const path = ["vms", index];
  if (vm.mmu !== "shadow") {
    if (vm.guest.accessedDirty === undefined) return [];
    const wrong = `only shadow paging looks at the guest's page tables, and mmu is ${show(vm.mmu)}`;
    return [{ path: [...path, "guest", "accessedDirty"], wrong, allowed: "absent" }];
  }
  const problems: Problem[] = [];
  const refuse = (key: string, value: unknown, allowed: string): void => {
    problems.push({
      path: [...path, ...key.split(".")],
      wrong: `${show(value)} is not modelled with shadow paging`,
      allowed,
    });
  };
  if (vm.hugePages) refuse("hugePages", true, "false");
  if (vm.aliases.length > 0) refuse("aliases", vm.aliases, "none");
  if (vm.pageTableLevels !== 4) refuse("pageTableLevels", vm.pageTableLevels, "4");
  if (vm.guest.allocator === "buddy") refuse("guest.allocator", "buddy", '"direct"');
  const map = memslotsOf(vm);
  const { gfn, pages } = guestTables(map);
  if (gfn < Math.min(...map.map((slot) => slot.gfn))) {
    const wrong = `the guest's ${pages} page tables do not fit its lowest slot`;
    problems.push({ path: [...path, "memory"], wrong, allowed: "more memory there" });
  }
  return problems;
}
