// The entries of the scenario's `events`: what the monitors of VMs do at a time of their own, and the rules between their keys.

import * as v from "valibot";
import { roomFrom } from "./memslots.js";
import { kernelSlot, memslotSchema } from "./memslotschema.js";
import type { Problem } from "./problems.js";
import { show } from "./problems.js";
import type { ResolvedScenario, ResolvedVm } from "./scenario.js";
import { ADVICE } from "./stepping.js";
import { byKey, choice, count, maybe, name, object, size, tag, time } from "./values.js";

/** Largest number of a memslot; the others are KVM's own. */
const MEMSLOT_ID_MAX = 32_763;
const GFN_MAX = 2 ** 31;

const common = {
  at: time(
    "When, counted from the beginning of the run: after the regions of tasks with `prefault` have been written.",
  ),
  vm: v.optional(name("Name of the VM. Absent: the only one.")),
};

const slotId = count("Number of the memslot: its place in `memslots`, or a number for a new one.", {
  min: 0,
  max: MEMSLOT_ID_MAX,
});

export const eventSchema = byKey("do", "What a VM's monitor does.", [
  object(
    "The monitor gives the host advice (madvise()) on memory behind guest frames, or reads or writes each page itself.",
    {
      ...common,
      do: tag("The monitor gives advice.", "advise"),
      advice: choice("Which.", { values: ADVICE }),
      gfn: count("First guest frame.", { min: 0, max: GFN_MAX }),
      pages: v.optional(count("Frames, all in the memslot of the first.", { max: GFN_MAX }), 1),
    },
  ),
  object("The monitor writes memory.max of the VM's cgroup, which reclaims until it fits.", {
    ...common,
    do: tag("The limit changes.", "memoryMax"),
    size: maybe(size("The limit. Absent: none.")),
  }),
  object("The monitor writes memory.reclaim of the VM's cgroup.", {
    ...common,
    do: tag("Memory is reclaimed.", "memoryReclaim"),
    size: size("How much."),
  }),
  object("The balloon's target changes.", {
    ...common,
    do: tag("The balloon gets a target.", "balloon"),
    size: maybe(size("Memory that the balloon shall hold. Absent: none.")),
  }),
  object("The monitor sets a memslot, or deletes it (KVM_SET_USER_MEMORY_REGION).", {
    ...common,
    do: tag("A memslot changes.", "memslot"),
    id: slotId,
    slot: maybe(memslotSchema),
  }),
  object("The monitor takes a memslot's dirty log (KVM_GET_DIRTY_LOG).", {
    ...common,
    do: tag("The dirty log is taken.", "dirtyLog"),
    id: slotId,
  }),
]);

/** An entry of a scenario's `events`. */
export type ScenarioEvent = v.InferOutput<typeof eventSchema>;

/** An event whose VM is named. */
export type ResolvedEvent = ScenarioEvent & { vm: string };

/** The rules between an event and the VMs. `given` are the events as they were written. */
export function eventProblems(given: readonly ScenarioEvent[], { events, vms }: ResolvedScenario): Problem[] {
  return events.flatMap((event, index) => {
    const path = ["events", index];
    const vm = vms.find(({ name }) => name === event.vm);
    if (given[index]!.vm === undefined && vms.length > 1) {
      return [{ path: [...path, "vm"], wrong: "missing, and there are several VMs", allowed: namesOf(vms) }];
    }
    if (vm === undefined) {
      const wrong = `there is no VM ${show(event.vm)}`;
      return [{ path: [...path, "vm"], wrong, allowed: namesOf(vms) }];
    }
    return wrongIn(event, vm, path);
  });
}

function namesOf(vms: readonly ResolvedVm[]): string {
  return vms.map(({ name }) => show(name)).join(", ");
}

function wrongIn(event: ResolvedEvent, vm: ResolvedVm, path: (string | number)[]): Problem[] {
  if (event.do === "balloon" && vm.guest.balloon === undefined) {
    const allowed = `a VM with guest.balloon, be it {}`;
    return [{ path: [...path, "do"], wrong: `the guest of ${show(vm.name)} has no balloon`, allowed }];
  }
  if (event.do === "memslot" && event.slot?.flags.includes("kernel")) {
    return kernelSlot(vm.mmuNotifier, event.slot.hva, [...path, "slot"]);
  }
  if (event.do !== "advise") return [];
  // Slots may come and go; advice goes to memory that the scenario begins with.
  const room = roomFrom(vm, event.gfn);
  if (room === 0) {
    return [
      { path: [...path, "gfn"], wrong: `${event.gfn} is in no memslot`, allowed: "a frame of a memslot" },
    ];
  }
  if (event.pages <= room) return [];
  const wrong = `${event.pages} frames from gfn ${event.gfn} on reach beyond their memslot`;
  return [{ path: [...path, "pages"], wrong, allowed: `a whole number 1..${room}` }];
}
