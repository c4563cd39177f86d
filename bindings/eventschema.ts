// The entries of the scenario's `events`: what the monitors of VMs do at a time of their own, and the rules between their keys.

import * as v from "valibot";
import { COMPACT_MODES, ORDER_MOST } from "./compaction.js";
import { memslotsOf, roomFrom } from "./memslots.js";
import { kernelSlot, memslotSchema } from "./memslotschema.js";
import type { Problem } from "./problems.js";
import { show } from "./problems.js";
import type { ResolvedScenario, ResolvedVm } from "./scenario.js";
import { ADVICE } from "./stepping.js";
import { formatBytes } from "./units.js";
import { byKey, choice, count, maybe, name, object, size, tag, time } from "./values.js";

/** Largest number of a memslot; the others are KVM's own. */
const MEMSLOT_ID_MAX = 32_763;
const GFN_MAX = 2 ** 31;
/** Host memory goes offline in whole blocks of the largest order. */
export const OFFLINE_UNIT_BYTES = 4 * 2 ** 20;

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

const frames = {
  gfn: count("First guest frame.", { min: 0, max: GFN_MAX }),
  pages: v.optional(count("Frames, all in the memslot of the first.", { max: GFN_MAX }), 1),
};

export const eventSchema = byKey("do", "What a VM's monitor does.", [
  object(
    "The monitor gives the host advice (madvise()) on memory behind guest frames, or reads or writes each page itself.",
    {
      ...common,
      do: tag("The monitor gives advice.", "advise"),
      advice: choice("Which.", { values: ADVICE }),
      ...frames,
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
  object("The balloon device asks the guest for hints on free pages, as a migration does.", {
    ...common,
    do: tag("Hints on free pages.", "freePageHint"),
    command: choice(
      "start: a round begins. stop: no more hints are wanted. done: the guest may have its blocks back.",
      { values: ["start", "stop", "done"] },
    ),
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
  object("The pages behind guest frames get other frames of the host (move_pages()).", {
    ...common,
    do: tag("Pages migrate.", "migrate"),
    ...frames,
  }),
  object(
    "The monitor holds a reference to each page behind guest frames: it can be neither moved nor evicted.",
    {
      ...common,
      do: tag("Pages are pinned.", "pin"),
      ...frames,
    },
  ),
  object("The monitor drops all references that it holds.", {
    ...common,
    do: tag("Pages are no longer pinned.", "unpin"),
  }),
  object("The VM's process is killed, and the VM ends: its memory goes back to the host.", {
    ...common,
    do: tag("The VM ends.", "destroyVm"),
  }),
  object(
    "Memory of the host goes offline: everything in it is moved elsewhere, and nothing is allocated from it any more.",
    {
      ...common,
      vm: v.optional(name("Name of the VM whose monitor asks for it. Absent: the first.")),
      do: tag("Memory goes offline.", "offline"),
      size: size("How much; a multiple of 4MiB."),
      from: maybe(
        size(
          "Where it begins, counted from the beginning of the host's memory; a multiple of 4MiB. Absent: it is the last of that memory.",
        ),
      ),
      timeout: v.optional(time("When to give up.", { min: 1 }), "120s"),
    },
  ),
  object("The host's memory is compacted: pages move together, so that larger blocks become free.", {
    ...common,
    vm: v.optional(name("Name of the VM whose monitor asks for it. Absent: the first.")),
    do: tag("Memory is compacted.", "compact"),
    order: maybe(
      count("A free block of 2^order pages is wanted. Absent: all zones are compacted to their ends.", {
        max: ORDER_MOST,
      }),
    ),
    mode: v.optional(
      choice(
        "What it waits for: nothing (async), locks (sync-light), writeback too (sync). sync is also the highest priority: never deferred, and nothing is left untried.",
        { values: COMPACT_MODES },
      ),
      "sync-light",
    ),
  }),
]);

/** An entry of a scenario's `events`. */
export type ScenarioEvent = v.InferOutput<typeof eventSchema>;

/** An event whose VM is named. */
export type ResolvedEvent = ScenarioEvent & { vm: string };

/** The event is about the host's memory, whichever VM's monitor asks for it. */
export function isHostWide({ do: what }: { do: string }): boolean {
  return what === "offline" || what === "compact";
}

/** The rules between an event and the VMs. `given` are the events as they were written. */
export function eventProblems(
  given: readonly ScenarioEvent[],
  { events, host, vms }: ResolvedScenario,
): Problem[] {
  return events.flatMap((event, index) => {
    const path = ["events", index];
    const vm = vms.find(({ name }) => name === event.vm);
    if (given[index]!.vm === undefined && vms.length > 1 && !isHostWide(event)) {
      return [{ path: [...path, "vm"], wrong: "missing, and there are several VMs", allowed: namesOf(vms) }];
    }
    if (vm === undefined) {
      const wrong = `there is no VM ${show(event.vm)}`;
      return [{ path: [...path, "vm"], wrong, allowed: namesOf(vms) }];
    }
    return wrongIn(event, vm, host.memory, path);
  });
}

function namesOf(vms: readonly ResolvedVm[]): string {
  return vms.map(({ name }) => show(name)).join(", ");
}

type Path = (string | number)[];

function wrongIn(event: ResolvedEvent, vm: ResolvedVm, memory: number, path: Path): Problem[] {
  if (event.do === "balloon" && vm.guest.balloon === undefined) {
    const allowed = `a VM with guest.balloon, be it {}`;
    return [{ path: [...path, "do"], wrong: `the guest of ${show(vm.name)} has no balloon`, allowed }];
  }
  if (event.do === "freePageHint" && !vm.balloonDevice?.offers.includes("free-page-hint")) {
    const wrong = `the device of ${show(vm.name)} does not offer it`;
    return [{ path: [...path, "do"], wrong, allowed: 'a VM whose balloonDevice offers "free-page-hint"' }];
  }
  if (event.do === "memslot" && event.slot?.flags.includes("kernel")) {
    return kernelSlot(vm.mmuNotifier, event.slot.hva, [...path, "slot"]);
  }
  if (event.do === "offline") return offlineProblems(event, memory, path);
  if (!("gfn" in event)) return [];
  // Slots may come and go; what names frames goes to memory that the scenario begins with.
  const room = roomFrom(memslotsOf(vm), event.gfn);
  if (room === 0) {
    return [
      { path: [...path, "gfn"], wrong: `${event.gfn} is in no memslot`, allowed: "a frame of a memslot" },
    ];
  }
  if (event.pages <= room) return [];
  const wrong = `${event.pages} frames from gfn ${event.gfn} on reach beyond their memslot`;
  return [{ path: [...path, "pages"], wrong, allowed: `a whole number 1..${room}` }];
}

type Offline = Extract<ResolvedEvent, { do: "offline" }>;

/** Where the memory of an offline begins, in bytes from the beginning of the host's. */
export function offlineFrom({ from, size }: Offline, memory: number): number {
  return from ?? Math.floor(memory / OFFLINE_UNIT_BYTES) * OFFLINE_UNIT_BYTES - size;
}

function offlineProblems(event: Offline, memory: number, path: Path): Problem[] {
  const unit = formatBytes(OFFLINE_UNIT_BYTES);
  const whole = ["size", "from"] as const;
  for (const key of whole) {
    if ((event[key] ?? 0) % OFFLINE_UNIT_BYTES === 0) continue;
    const wrong = `${formatBytes(event[key]!)} is not a multiple of ${unit}`;
    return [{ path: [...path, key], wrong, allowed: `a multiple of ${unit}` }];
  }
  const from = offlineFrom(event, memory);
  if (from >= 0 && from + event.size <= memory) return [];
  const wrong = `${formatBytes(event.size)} reach beyond the host's ${formatBytes(memory)}`;
  return [{ path: [...path, "size"], wrong, allowed: "less" }];
}
