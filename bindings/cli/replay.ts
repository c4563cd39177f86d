// `pagevisor replay`: a page trace as a scenario of one guest, without writing a scenario file.

import { basename } from "node:path";
import { PagevisorError } from "../errors.js";
import type { SWAP_KINDS } from "../schema.js";
import type { RunFlags } from "./options.js";
import type { Source } from "./source.js";

/** What commander makes of the options of `replay`. Sizes are bytes. */
export interface ReplayFlags extends RunFlags {
  guestMemory: number;
  hostMemory: number;
  swap: (typeof SWAP_KINDS)[number] | "none";
  swapSize?: number;
  loop?: boolean;
  writes?: "as-recorded" | "all";
}

/**
 * The scenario that replays the file `trace` in one guest.
 *
 * Swap is as large as the guest unless `swapSize` says otherwise. Throws `E_USAGE` for a size of no swap.
 */
export function replaySource(trace: string, flags: ReplayFlags): Source {
  if (flags.swap === "none" && flags.swapSize !== undefined) {
    throw new PagevisorError("E_USAGE", "--swap-size needs a swap device: leave it out, or --swap none");
  }
  const size = flags.swapSize ?? flags.guestMemory;
  const swap = flags.swap === "none" ? [] : [{ kind: flags.swap, size }];
  const workload = {
    kind: "trace" as const,
    file: trace,
    ...(flags.loop && { loop: true }),
    ...(flags.writes !== undefined && { writes: flags.writes }),
  };
  return {
    label: trace,
    scenario: {
      name: `replay of ${basename(trace)}`,
      host: { memory: flags.hostMemory, swap },
      vms: [{ name: "guest", memory: flags.guestMemory, guest: { tasks: [{ name: "trace", workload }] } }],
    },
    baseDir: process.cwd(),
  };
}
