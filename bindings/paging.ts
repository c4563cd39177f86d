// The keys of a VM that say how its memory is mapped: which MMU of KVM, how its tables look, and how it learns that the host takes a
// page away. A part of the scenario's schema (schema.ts).

import * as v from "valibot";
import { choice, count, flag, maybe, oneOf, U32_MAX } from "./values.js";

export const pagingKeys = {
  mmu: v.optional(
    choice(
      "How guest addresses are translated. tdp: two-dimensional paging (EPT, NPT) by the TDP MMU. legacy: the same by the older MMU, with " +
        "pages of sptes that are found again, a reverse map, and neighbours mapped along. shadow: by pages of sptes that stand for the guest's own " +
        "page tables, which are walked, write-protected and followed.",
      { values: ["tdp", "legacy", "shadow"], aliases: { upstream: "tdp" } },
    ),
    "tdp",
  ),
  mmuPages: maybe(
    count(
      "Pages of sptes that the legacy MMU, or shadow paging, may have before it zaps the oldest (KVM_SET_NR_MMU_PAGES). Absent: a 50th of the guest's pages, 64 at least.",
      { min: 16, max: U32_MAX },
    ),
  ),
  mmuRoots: v.optional(
    choice(
      "Under shadow paging, who walks a page of sptes. shared: every vCPU, by the guest's table and the rights that lead to it. per-vcpu: as in 2007, " +
        "each vCPU has pages of its own, and maps for itself what another one has mapped. Absent: shared, and per-vcpu with hostPaging writepage-2007.",
      { values: ["shared", "per-vcpu"] },
    ),
  ),
  pageTableLevels: v.optional(oneOf("Levels of KVM's page table.", [4, 5]), 4),
  hugePages: v.optional(
    flag(
      "Back the guest with 2 MiB pages where a write comes first and a block is free, and map them whole.",
    ),
    false,
  ),
  mmuNotifier: v.optional(
    choice(
      "How KVM learns that the host takes a page away. seq-retry: a start and an end, a sequence count, and a fault that an invalidation overtook " +
        "starts over. notifier-2008: a call when the page is gone, and an spte owns a reference to its page; not with the TDP MMU. " +
        "no-retry: as seq-retry without the rule that a fault starts over, which maps frames that the host has freed; for the explorer.",
      { values: ["seq-retry", "notifier-2008", "no-retry"], aliases: { upstream: "seq-retry" } },
    ),
    "seq-retry",
  ),
};

/** A key of the guest: whose page tables its tasks have. */
export const pageTables = choice(
  "Under shadow paging, whose page tables a task has. per-task: its own, empty at first, which the guest fills when it touches a page; a switch " +
    "to another task loads CR3. shared: those of the kernel, which map all memory from the start. Absent: per-task.",
  { values: ["per-task", "shared"] },
);

/** A key of the guest: how it writes the entries of its page tables. */
export const accessedDirty = choice(
  "Under shadow paging, the accessed and dirty bits of an entry that the guest makes: set at once, or left to the processor, which takes a " +
    "fault each for the host to see. Absent: preset.",
  { values: ["preset", "clear"] },
);
