// The plain TypeScript of the core's whole model (bench/baseline/wholefaults.ts) for the guest of a scenario: its sizes and prices are the scenario's.

import { configCosts } from "#dist/boot.js";
import { Core } from "#dist/core.js";
import type { Scenario } from "#dist/index.js";
import { resolveScenario } from "#dist/scenario.js";
import { WholeFaults } from "../baseline/wholefaults.js";
import { pass } from "../streams.js";

const PAGE_BYTES = 4096;

/** The guest where the core's begins: every page written once, in order, by a task that another one follows. */
export function wholeFaults(scenario: Scenario, module: WebAssembly.Module): WholeFaults {
  const resolved = resolveScenario(scenario);
  const { host, seed } = resolved;
  const [vm] = resolved.vms;
  const [device] = host.swap;
  const { readNs, writeNs } = device!;
  if (readNs === undefined || writeNs === undefined)
    throw new Error("a swap device without times of its own");
  const core = new Core(module);
  configCosts(resolved, core.call.configCosts, core.call.configCost, core);
  const cost = (key: string): number => core.call.cost(core.constant(`COST_${key}_NS`));
  const pages = vm!.memory / PAGE_BYTES;
  const guest = new WholeFaults({
    ...{ pages, limit: vm!.memoryMax! / PAGE_BYTES, frames: host.memory / PAGE_BYTES },
    ...{ slots: device!.size / PAGE_BYTES, tlbEntries: vm!.tlb.entries, seed },
    costs: {
      ...{ memDramNs: cost("MEM_DRAM"), tlbWalk2dNs: cost("TLB_WALK2D"), vmExitNs: cost("VM_EXIT") },
      ...{
        minorFaultNs: cost("MINOR_FAULT"),
        eptMapNs: cost("EPT_MAP"),
        tlbFlushAllNs: cost("TLB_FLUSH_ALL"),
      },
      ...{ notifierInvalidateNs: cost("NOTIFIER_INVALIDATE"), rmapPerSpteNs: cost("RMAP_PER_SPTE") },
      ...{ reclaimScanPageNs: cost("RECLAIM_SCAN_PAGE"), guestSwitchNs: cost("GUEST_SWITCH") },
      ...{ swapInCpuNs: cost("SWAP_IN_CPU"), swapOutCpuNs: cost("SWAP_OUT_CPU") },
      ...{ readNs, writeNs },
    },
  });
  guest.run(pass(0, pages, true), 0, pages);
  guest.begin();
  return guest;
}
