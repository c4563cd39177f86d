// The keys of a VM that say how the host takes its pages away, what the design of 2007 asks of a scenario, and what it counts.

import * as v from "valibot";
import { type Core, constantName } from "./core.js";
import { isHostWide } from "./eventschema.js";
import { type Problem, show } from "./problems.js";
import type { ResolvedScenario, ResolvedVm } from "./scenario.js";
import { choice, flag, object } from "./values.js";

export const hostPagingKeys = {
  hostPaging: v.optional(
    choice(
      "How the host takes guest pages away. mmu-notifier: the guest's memory is its process' own, and reclaim calls KVM through MMU notifiers. " +
        "writepage-2007: it is the page cache of the VM's file, whose writepage moves a page to the swap cache; not with the TDP MMU.",
      { values: ["mmu-notifier", "writepage-2007"], aliases: { upstream: "mmu-notifier" } },
    ),
    "mmu-notifier",
  ),
  hostPaging2007: v.optional(
    object("What writepage-2007 leaves open, or does wrong.", {
      zapAllVcpus: v.optional(
        flag(
          "writepage zaps the page in the tables of every vCPU and flushes all their TLBs. false, as proposed: of vCPU 0 alone.",
        ),
        false,
      ),
      mapping: v.optional(
        choice(
          "Whose page cache it is. shared-inode, as proposed: all VMs have the one inode of anonymous files, and it belongs to the VM created last. per-vm: each its own.",
          { values: ["shared-inode", "per-vm"] },
        ),
        "shared-inode",
      ),
    }),
  ),
};

/** What a VM of 2007 counts beside everything else. */
export interface HostPaging2007Result {
  /** Calls of writepage, and what they ended in. `activated`: all that gave the page back, for whatever reason. */
  writepage: { calls: number; trylockFailed: number; swapFull: number; noSlot: number; activated: number };
  /** Pages that writepage has zapped, by vCPU, since boot. */
  zaps: number[];
  /** gfn_to_page() found the page under writeback, waited, and looked again. */
  writebackWaits: number;
  /** gfn_to_page() returned nothing. */
  gfnToPageFailed: number;
  /** Entries that were dropped after their page had gone: the kernel's rmap_remove() would have stopped there. */
  staleSptes: number;
  /** Pages that nobody gives back, since boot. */
  leakedPages: number;
  /** Swap slots that nothing names any more, since boot. */
  lostSlots: number;
  /** Pages that the VM's end has truncated although another VM had them mapped: the kernel would have stopped there. */
  truncatedMapped: number;
}

/** Everything that a VM whose pages are a file's may not have, or have beside it. */
export function hostPaging(vm: ResolvedVm, index: number, { host, events }: ResolvedScenario): Problem[] {
  const path = ["vms", index];
  if (vm.hostPaging !== "writepage-2007") {
    if (vm.hostPaging2007 === undefined) return [];
    const wrong = `only "writepage-2007" has it, and hostPaging is ${show(vm.hostPaging)}`;
    return [{ path: [...path, "hostPaging2007"], wrong, allowed: "absent" }];
  }
  const problems: Problem[] = [];
  const refuse = (at: Problem["path"], value: unknown, allowed: string): void => {
    problems.push({
      path: at,
      wrong: `${show(value)} is not possible with hostPaging "writepage-2007"`,
      allowed,
    });
  };
  if (vm.mmu === "tdp") refuse([...path, "mmu"], vm.mmu, '"legacy", "shadow"');
  if (vm.mmuNotifier !== "seq-retry")
    refuse([...path, "mmuNotifier"], vm.mmuNotifier, "absent: none is called");
  if (vm.hugePages) refuse([...path, "hugePages"], true, "false");
  if (vm.asyncPf.design !== "off") refuse([...path, "asyncPf", "design"], vm.asyncPf.design, '"off"');
  if (vm.pager !== undefined) refuse([...path, "pager"], vm.pager, "absent");
  if (vm.guest.allocator === "buddy") refuse([...path, "guest", "allocator"], "buddy", '"direct"');
  if (host.reclaim.policy !== "two-list")
    refuse(["host", "reclaim", "policy"], host.reclaim.policy, '"two-list"');
  if (host.ksm !== undefined) refuse(["host", "ksm"], host.ksm, "absent");
  for (const [place, event] of events.entries()) {
    const at = ["events", place];
    if (isHostWide(event) || (event.vm === vm.name && (event.do === "migrate" || event.do === "pin"))) {
      refuse([...at, "do"], event.do, "another event");
    } else if (event.vm === vm.name && event.do === "advise" && event.advice !== "pageout") {
      refuse([...at, "advice"], event.advice, '"pageout"');
    }
  }
  return problems;
}

/** Tells the core, which knows the VM's vCPUs already. */
export function configHostPaging(core: Core, index: number, vm: ResolvedVm): number {
  if (vm.hostPaging !== "writepage-2007") return 0;
  const { mapping = "shared-inode", zapAllVcpus = false } = vm.hostPaging2007 ?? {};
  return core.call.configWritepage(index, Number(mapping === "shared-inode"), Number(zapAllVcpus));
}

/** What the design of 2007 has counted. `counted` subtracts two readings of a counter. */
export function hostPagingResult(
  core: Core,
  id: number,
  vm: ResolvedVm,
  counted: (constant: string) => number,
): { hostPaging2007?: HostPaging2007Result } {
  if (vm.hostPaging !== "writepage-2007") return {};
  const { call } = core;
  const of = (name: string): number => counted(`VM_${constantName(name)}`);
  return {
    hostPaging2007: {
      writepage: {
        calls: of("writepageCalls"),
        trylockFailed: of("writepageTrylockFailed"),
        swapFull: of("writepageSwapFull"),
        noSlot: of("writepageNoSlot"),
        activated: of("writepageActivated"),
      },
      zaps: Array.from({ length: vm.vcpus }, (_, vcpu) => call.hostPagingZaps(id, vcpu) >>> 0),
      writebackWaits: of("writebackWaits"),
      gfnToPageFailed: of("gfnToPageFailed"),
      staleSptes: of("staleSptes"),
      leakedPages: call.hostPagingLeaked(id) >>> 0,
      lostSlots: call.hostPagingSlotsLost(id) >>> 0,
      truncatedMapped: call.hostPagingTruncated(id) >>> 0,
    },
  };
}
