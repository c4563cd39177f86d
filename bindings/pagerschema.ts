// The keys of a VM's pager, vms[].pager, and the rule between them.

import * as v from "valibot";
import { memslotsOf, roomFrom } from "./memslots.js";
import type { Problem } from "./problems.js";
import type { ResolvedVm } from "./scenario.js";
import { choice, count, maybe, object, time, U32_MAX } from "./values.js";

export const pagerSchema = object(
  "A thread of the monitor that supplies missing pages of guest memory (userfaultfd), instead of empty ones by the kernel.",
  {
    gfn: maybe(count("First guest frame that it supplies. Absent: that of the guest's memory.", { min: 0 })),
    pages: maybe(
      count(
        "Frames that it supplies, all in the memslot of the first. Absent: all from there on; without gfn, all memory.",
      ),
    ),
    order: v.optional(
      choice("Which request it answers first: fifo, the oldest; lifo, the newest.", {
        values: ["fifo", "lifo"],
      }),
      "fifo",
    ),
    quiet: v.optional(
      time("It answers everything that was asked for once nobody has asked for this long.", { max: U32_MAX }),
      0,
    ),
  },
);

/** The frames of a pager lie in one memslot. */
export function pagerProblems(vm: ResolvedVm, index: number): Problem[] {
  if (vm.pager === undefined) return [];
  const { gfn, pages } = vm.pager;
  const path = ["vms", index, "pager"];
  const slots = memslotsOf(vm);
  const first = gfn ?? slots[0]!.gfn;
  const room = roomFrom(slots, first);
  if (room === 0) {
    return [{ path: [...path, "gfn"], wrong: `${first} is in no memslot`, allowed: "a frame of a memslot" }];
  }
  if (pages === null || pages <= room) return [];
  const wrong = `${pages} frames from gfn ${first} on reach beyond their memslot`;
  return [{ path: [...path, "pages"], wrong, allowed: `a whole number 1..${room}` }];
}
