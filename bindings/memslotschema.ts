// The keys of a memory slot: one entry of `vms[].memslots`.

import * as v from "valibot";
import { address, choice, count, list, object } from "./values.js";

/** Largest gfn: a page number of a trace has 31 bits. */
const GFN_MAX = 2 ** 31;

export const MEMSLOT_FLAGS = ["log-dirty-pages", "read-only"] as const;

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
        "log-dirty-pages: note which frames are written. read-only: the guest's writes go to the monitor.",
        "flag",
        choice("A flag.", { values: MEMSLOT_FLAGS }),
      ),
      [],
    ),
  },
);
