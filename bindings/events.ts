// The scenario's events: into the core before boot, and what has become of them out of it.

import { compactArguments, compactResult } from "./compaction.js";
import { type Core, constantName } from "./core.js";
import { offlineFrom, type ResolvedEvent } from "./eventschema.js";
import { flagBits } from "./memslots.js";
import type { EventResult } from "./result.js";
import type { ResolvedScenario } from "./scenario.js";

const PAGE_BYTES = 4096;
const UNLIMITED = 0xffffffff;
/** Events that move pages, or fail to. */
const MOVES: readonly string[] = ["migrate", "offline", "compact"];
const ERRORS = ["EINVAL", "EEXIST", "ENOMEM", "EAGAIN", "EBUSY", "EINTR", "ENODEV"] as const;

/** Memslots that events may add to those that a VM begins with. */
export function slotsToCome({ events }: ResolvedScenario, vm: string): number {
  return events.filter((event) => event.do === "memslot" && event.slot !== null && event.vm === vm).length;
}

/** Plans an event; negative when there is no room. */
export function configEvent(core: Core, vm: number, event: ResolvedEvent, memory: number): number {
  const { call } = core;
  const plan = (kind: string, start: number, end: number, framed = 0): number =>
    call.configEvent(event.at, vm, core.constant(`CALL_${kind}`), start, end, framed);
  const pages = (size: number | null, none: number): number => (size === null ? none : size / PAGE_BYTES);
  switch (event.do) {
    case "advise":
      return plan(constantName(event.advice), event.gfn, event.gfn + event.pages, 1);
    case "memoryMax":
      return plan("MEMORY_MAX", 0, pages(event.size, UNLIMITED));
    case "memoryReclaim":
      return plan("MEMORY_RECLAIM", 0, pages(event.size, 0));
    case "balloon":
      return plan("BALLOON", 0, pages(event.size, 0));
    case "freePageHint": {
      const commands = { start: "FIRST_ID", stop: "STOP", done: "DONE" } as const;
      return plan("FREE_PAGE_HINT", 0, core.constant(`HINT_${commands[event.command]}`));
    }
    case "memslot": {
      const { gfn, pages, hva = -1, flags } = event.slot ?? { gfn: 0, pages: 0, flags: [] };
      const status = plan("MEMSLOT", gfn, pages);
      if (status >= 0) call.configEventSlot(event.id, hva, flagBits(core, flags));
      return status;
    }
    case "dirtyLog": {
      const status = plan("DIRTY_LOG", 0, 0);
      if (status >= 0) call.configEventSlot(event.id, -1, 0);
      return status;
    }
    case "migrate":
      return plan("MIGRATE", event.gfn, event.gfn + event.pages, 1);
    case "pin":
      return plan("PIN", event.gfn, event.gfn + event.pages, 1);
    case "destroyVm":
      return plan("DESTROY_VM", 0, 0);
    case "unpin":
      return plan("UNPIN", 0, 0);
    case "offline": {
      const from = offlineFrom(event, memory);
      const status = plan("OFFLINE", pages(from, 0), pages(from + event.size, 0), 1);
      if (status >= 0) call.configEventTimeout(event.timeout);
      return status;
    }
    case "compact":
      return plan("COMPACT", ...compactArguments(core, event.order, event.mode));
  }
}

/** What has become of the events so far. */
export function eventResults(core: Core, scenario: ResolvedScenario, epochNs: number): EventResult[] {
  const { call } = core;
  return scenario.events.map((event, index) => {
    const { at: atNs, vm, do: what } = event;
    if (call.eventDone(index) === 0)
      return { do: what, vm, atNs, startNs: null, ns: null, error: null, pages: 0 };
    const status = call.eventStatus(index) | 0;
    const error = status === 0 ? null : ERRORS.find((name) => (core.constant(name) | 0) === status)!;
    return {
      ...{ do: what, vm, atNs, startNs: call.eventBegan(index) - epochNs, ns: call.eventNs(index) },
      ...{ error, pages: what === "memslot" ? 0 : call.eventResult(index) >>> 0 },
      ...(MOVES.includes(what) && { failed: call.eventFailed(index) >>> 0 }),
      ...(what === "offline" && { passes: call.eventPasses(index) >>> 0 }),
      ...(what === "compact" && {
        result: compactResult(core, call.eventCompactResult(index) >>> 0),
        scanned: {
          migrate: call.eventCompactScanned(index, 0) >>> 0,
          free: call.eventCompactScanned(index, 1) >>> 0,
        },
      }),
    };
  });
}
