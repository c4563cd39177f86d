// The keys of a memory slot, one entry of `vms[].memslots`, and of an alias, one of `vms[].aliases`.

import * as v from "valibot";
import { type Problem, show } from "./problems.js";
import { address, choice, count, list, object } from "./values.js";

/** Largest gfn: a page number of a trace has 31 bits. */
const GFN_MAX = 2 ** 31;

/** KVM_ALIAS_SLOTS */
export const ALIAS_SLOTS = 4;

export const MEMSLOT_FLAGS = ["log-dirty-pages", "read-only", "kernel"] as const;

export const memslotSchema = object(
  "A memory slot: guest frames and the memory of the VM's process that backs them.",
  {
    gfn: count("First guest frame.", { min: 0, max: GFN_MAX }),
    pages: count("Guest frames, 4 KiB each.", { max: GFN_MAX }),
    hva: v.optional(
      address(
        "Where the process maps its memory. Slots may share memory. Absent: a stretch of its own, as far from others as the gfns.",
      ),
    ),
    flags: v.optional(
      list(
        "log-dirty-pages: note which frames are written. read-only: the guest's writes go to the monitor. kernel: the kernel maps the memory itself, and takes it along when the slot is deleted (with notifier-2008).",
        "flag",
        choice("A flag.", { values: MEMSLOT_FLAGS }),
      ),
      [],
    ),
  },
);

export const aliasSchema = object(
  "Guest frames that stand for others (KVM_SET_MEMORY_ALIAS, until 2.6.35): what is accessed there is the memory of the others.",
  {
    gfn: count("First frame that stands for another.", { min: 0, max: GFN_MAX }),
    pages: count("Frames.", { max: GFN_MAX }),
    target: count("The frame that the first one stands for; one step, also where that is an alias itself.", {
      min: 0,
      max: GFN_MAX,
    }),
  },
);

/** A slot whose memory the kernel maps: a design of 2008, and the kernel chooses where. */
export function kernelSlot(notifier: string, hva: number | undefined, path: Problem["path"]): Problem[] {
  if (notifier !== "notifier-2008") {
    const wrong = `"kernel" went before mmuNotifier ${show(notifier)} came`;
    return [{ path: [...path, "flags"], wrong, allowed: 'other flags, or mmuNotifier "notifier-2008"' }];
  }
  if (hva === undefined) return [];
  return [
    { path: [...path, "hva"], wrong: "the kernel chooses where it maps a slot itself", allowed: "absent" },
  ];
}
