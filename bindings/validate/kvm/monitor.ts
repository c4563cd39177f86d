// What the monitor itself did to the memory of its cgroup, which is an input from the capture: its own anonymous pages, which the guest's
// pages share the lists with, and the files that it writes to a tmpfs in that cgroup (its record of the steps, scenario.json, and the files of
// `pagemap`). Reclaim of the capture tells which pages there are, in which order, and whether they were used; the reads of swap tell when they came back.

import type { CapturedStep } from "./captured.js";
import type { SlotPlace } from "./quantities.js";
import { type CapturedEvents, fieldOf, swapOffset, type TraceEvent } from "./tracetext.js";

const PAGE_BYTES = 4096;
const TABLE_PAGES = 512;
/** PAGEVEC_SIZE */
const BATCH_PAGES = 15;

/** The monitor's pages by number: in the order in which reclaim first looked at them, then those that it never met. */
export interface MonitorActivity {
  /** Anonymous pages. */
  pages: number;
  /** Of those, what was there before the guest ran. */
  first: number;
  /** Pages of others that came into the CPU's batch of new pages before those. */
  filled: number;
  /** Pages of files. */
  files: number;
  steps: ReadonlyMap<number, StepActivity>;
}

/** What the monitor did in a step and behind it, before the next one. */
export interface StepActivity {
  /** Pages that can be charged in the step until the limit is met for the first time; unknown if it is not. */
  room: number | undefined;
  /** Pages that it read back within the step, then those read before the step's counters were taken, then all others. */
  reads: number[];
  counted: number[];
  behind: number[];
  /** Pages that it had in use until the next step, besides. */
  used: number[];
  /** New anonymous pages, then new pages of files, within the step. */
  added: number;
  files: number;
  /** Pages of the record of the steps, behind the step. */
  recorded: number;
}

/** What the capture's files say. */
export interface MonitorSource {
  steps: readonly CapturedStep[];
  slots: readonly SlotPlace[];
  events: CapturedEvents;
  /** pswpin of the step's counters. */
  swapIns: (step: number) => number | undefined;
  /** scenario.json as it was written. */
  record: string;
  /** Bytes of the file that `pagemap` wrote under that label. */
  fileBytes: (label: string) => number;
}

/** One look of reclaim at a page of the monitor's, or a read that brings it back from swap. */
interface Look {
  step: number;
  page: number;
  found: "young" | "old" | "swapped";
}

const NOTHING: MonitorActivity = {
  pages: 0,
  first: 0,
  filled: 0,
  files: 0,
  steps: new Map(),
};

/** Reads the monitor's activity out of a capture. Without a memory cgroup of its own it does not matter. */
export function monitorActivity(source: MonitorSource): MonitorActivity {
  const { steps, events } = source;
  if (!steps.some(({ command }) => command.startsWith("memcg "))) return NOTHING;
  const { looks, within, behind } = looksOf(source);
  const met = Math.max(0, ...looks.map(({ page }) => page + 1));
  const firstLooked = looks[0]?.step ?? 0;
  const first = new Set(looks.filter(({ step }) => step === firstLooked).map(({ page }) => page)).size;
  const ends = recordEnds(source.record);
  const activity = new Map<number, StepActivity>();
  const known = new Set<number>();
  let pages = first;
  let files = 0;
  for (const captured of steps) {
    const { step } = captured;
    const [word, , label = ""] = captured.command.split(/\s+/);
    const reads = within.get(step) ?? [];
    const later = behind.get(step) ?? [];
    const inStep = (events.within.get(step) ?? []).filter(({ name }) => name === "swap_readpage").length;
    const counted = Math.min(later.length, Math.max(0, (source.swapIns(step) ?? inStep) - inStep));
    const own: StepActivity = {
      room: roomIn(captured, source, known),
      reads,
      counted: later.slice(0, counted),
      behind: later.slice(counted),
      used: usedBehind(step, looks),
      added: word === "pagemap" ? captured.vmm_minflt : 0,
      files: word === "pagemap" ? Math.ceil(source.fileBytes(label) / PAGE_BYTES) : 0,
      recorded:
        Math.floor((ends.get(step) ?? 0) / PAGE_BYTES) - Math.floor((ends.get(step - 1) ?? 0) / PAGE_BYTES),
    };
    activity.set(step, own);
    pages += own.added;
    files += own.files + own.recorded;
  }
  return {
    pages: Math.max(pages, met),
    first,
    filled: filledBefore(source, first),
    files,
    steps: activity,
  };
}

/** Looks at the monitor's pages in order, and what it read back from swap: within steps and behind them. */
function looksOf({ steps, slots, events }: MonitorSource) {
  const numbers = new Map<number, number>();
  const slotOf = new Map<number, number>();
  const looks: Look[] = [];
  const within = new Map<number, number[]>();
  const behind = new Map<number, number[]>();
  for (const { step } of steps) {
    // What reclaim looks at: a page of the monitor's, or another one.
    let aged: number | undefined;
    let looked: number | undefined;
    const follow = (list: readonly TraceEvent[] | undefined, reads: number[]): void => {
      for (const event of list ?? []) {
        if (event.name === "kvm_age_hva") {
          const hva = fieldOf(event, "age hva: ");
          const guest = slots.some((slot) => hva >= slot.hva && hva < slot.hva + slot.pages * PAGE_BYTES);
          if (!guest && !numbers.has(hva)) numbers.set(hva, numbers.size);
          aged = guest ? -1 : numbers.get(hva)!;
        } else if (event.name === "folio_referenced") {
          looked = aged ?? -1;
          aged = undefined;
          if (looked >= 0)
            looks.push({ step, page: looked, found: event.fields.endsWith("ret=0") ? "old" : "young" });
        } else if (event.name === "swapcache_add") {
          if (looked === undefined) continue; // a page that comes back
          if (looked >= 0) slotOf.set(swapOffset(event), looked);
          else slotOf.delete(swapOffset(event));
          looked = undefined;
        } else if (event.name === "swap_readpage") {
          const page = slotOf.get(swapOffset(event));
          if (page === undefined) continue;
          reads.push(page);
          looks.push({ step, page, found: "swapped" });
        }
      }
    };
    const inStep: number[] = [];
    follow(events.within.get(step), inStep);
    within.set(step, inStep);
    const after: number[] = [];
    follow(events.behind.get(step), after);
    behind.set(step, after);
  }
  return { looks, within, behind };
}

/** Pages that were in use when reclaim looked at them first behind `step`. One that was read from swap before that lay there, and nobody used it. */
function usedBehind(step: number, looks: readonly Look[]): number[] {
  const next = new Map<number, Look["found"]>();
  for (const look of looks) {
    if (look.step > step && !next.has(look.page)) next.set(look.page, look.found);
  }
  return [...next].filter(([, found]) => found === "young").map(([page]) => page);
}

/** Where each step's entry in scenario.json ends. */
function recordEnds(record: string): Map<number, number> {
  const starts = [...record.matchAll(/\{"step": ?(\d+)/g)].map(({ 1: step, index }) => ({
    step: Number(step),
    index,
  }));
  return new Map(starts.map(({ step }, place) => [step, starts[place + 1]?.index ?? record.length] as const));
}

/**
 * The page of a first pass that completes the batch of new pages becomes active another way, and reclaim comes to it later than to its
 * neighbours: the first one that is missing among those looked at tells how many pages were in the batch before, of which `first` are known.
 */
function filledBefore({ steps, slots, events }: MonitorSource, first: number): number {
  const access = steps.find(({ command }) => command.startsWith("access"));
  if (access === undefined) return 0;
  const pageOf = (address: number, base: "gfn" | "hva", slot: SlotPlace) =>
    base === "gfn"
      ? Math.floor(address / PAGE_BYTES) - slot.gfn
      : Math.floor((address - slot.hva) / PAGE_BYTES);
  const slot = slots.find(({ name }) => name === `slot${access.command.split(/\s+/)[2]}`);
  if (slot === undefined) return 0;
  const faulted = (events.within.get(access.step) ?? [])
    .filter(({ name }) => name === "kvm_page_fault")
    .map((event) => pageOf(fieldOf(event, "address "), "gfn", slot));
  const looked = [...events.within.values()]
    .flat()
    .filter(({ name }) => name === "kvm_age_hva")
    .map((event) => pageOf(fieldOf(event, "age hva: "), "hva", slot))
    .slice(0, 2 * BATCH_PAGES);
  if (looked.length < BATCH_PAGES) return 0;
  const missing = faulted.slice(0, BATCH_PAGES).findIndex((page) => !looked.includes(page));
  const batched = missing < 0 ? 0 : BATCH_PAGES - 1 - missing;
  return (((batched - first) % BATCH_PAGES) + BATCH_PAGES) % BATCH_PAGES;
}

/**
 * What the cgroup is charged besides decides how many pages a limit leaves room for. The first fault of a step that has to reclaim tells: until then
 * the step's faults have brought in so many pages, out of swap or new, and tables for them.
 * @param known what has been faulted in before: pages, and tables below 0
 */
function roomIn(
  { step, command }: CapturedStep,
  { events, slots }: MonitorSource,
  known: Set<number>,
): number | undefined {
  let charged = 0;
  let room: number | undefined;
  let read = false;
  let gfn = 0;
  const come = (what: number): void => {
    if (!known.has(what)) charged += 1;
    known.add(what);
  };
  for (const { name, fields } of events.within.get(step) ?? []) {
    if (name === "mm_vmscan_memcg_reclaim_begin") {
      room ??= charged;
    } else if (name === "swap_readpage") {
      charged += 1;
      read = true;
    } else if (name === "kvm_page_fault") {
      read = false;
      gfn = Math.floor(fieldOf({ fields }, "address ") / PAGE_BYTES);
      const slot = slots.find((each) => gfn >= each.gfn && gfn < each.gfn + each.pages);
      if (slot !== undefined) come(-1 - Math.floor((slot.hva / PAGE_BYTES + gfn - slot.gfn) / TABLE_PAGES));
    } else if (name === "kvm_mmu_set_spte") {
      if (read) known.add(gfn);
      else come(gfn);
    }
  }
  return command.startsWith("access") ? room : undefined;
}
