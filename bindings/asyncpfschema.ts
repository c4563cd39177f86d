// The keys of asynchronous page faults, vms[].asyncPf. Left out: the defaults that the design decides (asyncpf.ts).

import * as v from "valibot";
import { choice, count, flag, object } from "./values.js";

export const asyncPfSchema = object(
  "Asynchronous page faults: while the host fetches a page, the vCPU does something else.",
  {
    design: v.optional(
      choice(
        "off: the vCPU waits for the swap-in. 2010: the patch of that year, which tells the guest or waits. halt-only: today's host, a guest that " +
          "is not told: its vCPU is halted and takes interrupts. upstream: today's host and guest.",
        { values: ["off", "2010", "halt-only", "upstream"] },
      ),
      "off",
    ),
    perVcpu: v.optional(
      count("Faults that one vCPU may have outstanding. Default: 100 in 2010, else 64.", { max: 4096 }),
    ),
    sendAlways: v.optional(flag("The guest may be told in kernel mode too. Default: false.")),
    workers: v.optional(
      count("Kernel threads that fetch pages for the VM at once. Default: perVcpu for each vCPU.", {
        max: 65_536,
      }),
    ),
    pin: v.optional(
      choice(
        "held: a fetched page is pinned until its completion is consumed, as in 2010. mapping-2013: so too, but its mapping is replaced by one under " +
          "which it can be migrated, as a patch of 2013 has it. released: it is not. Default: that of the design.",
        { values: ["released", "held", "mapping-2013"] },
      ),
    ),
    attempts: v.optional(
      count(
        "Faults that each vCPU has tried before: its tokens go on from there, and wrap after 2^20. Default: 0.",
        {
          min: 0,
          max: 2 ** 20,
        },
      ),
    ),
    tokenRule: v.optional(
      choice("2.6.38: tokens count from 0. now: 0 is left out. Default: that of the design.", {
        values: ["2.6.38", "now"],
      }),
    ),
  },
);
