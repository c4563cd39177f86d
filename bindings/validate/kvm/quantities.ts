// What a step is compared by, read out of a trace: how many faults, of which pages in which order, what was unmapped and aged, which
// swap slots were written and read.

import { type AsyncEvents, asyncEventsOf } from "./asyncevents.js";
import { fieldOf, swapOffset, type TraceEvent } from "./tracetext.js";

/** Where a slot of the capture lies. */
export interface SlotPlace {
  name: string;
  gfn: number;
  pages: number;
  hva: number;
}

/** Everything that a step is compared by. Lists of pages by the slot's name. */
export interface Quantities {
  page_faults: number;
  faults_by_error_code: Record<string, number>;
  fault_order: Record<string, number[]>;
  sptes_set: Record<string, number>;
  unmapped_pages: Record<string, number>;
  unmap_order: Record<string, number[]>;
  age_notifications: Record<string, number>;
  young_returns: Record<string, number>;
  swap_out_offsets: number[];
  swap_in_offsets: number[];
  migration_entries: number;
  async: AsyncEvents;
}

const PAGE_BYTES = 4096;

/**
 * Reads the quantities of a step from its events. Pages outside of `slots` are left out, as is the host's own business.
 * @param unmapped addresses of which no look tells: pages of files stand there, which nobody maps
 */
export function quantitiesOf(
  events: Iterable<TraceEvent>,
  slots: readonly SlotPlace[],
  unmapped?: { hva: number; pages: number },
): Quantities {
  const list = [...events];
  const found: Quantities = {
    page_faults: 0,
    faults_by_error_code: {},
    fault_order: {},
    sptes_set: {},
    unmapped_pages: {},
    unmap_order: {},
    age_notifications: {},
    young_returns: {},
    swap_out_offsets: [],
    swap_in_offsets: [],
    migration_entries: 0,
    async: asyncEventsOf(list),
  };
  let aged = Number.NaN;
  for (const event of list) {
    if (event.name === "kvm_age_hva") aged = fieldOf(event, "age hva: ");
    if (event.name === "kr_flush_young" && unmapped !== undefined) {
      if (aged >= unmapped.hva && aged < unmapped.hva + unmapped.pages * PAGE_BYTES) continue;
    }
    READERS[event.name]?.(found, event, slots);
  }
  return found;
}

type Reader = (found: Quantities, event: TraceEvent, slots: readonly SlotPlace[]) => void;

const READERS: Record<string, Reader> = {
  kvm_page_fault: (found, event, slots) => {
    found.page_faults += 1;
    const code = `0x${/error_code 0x([0-9a-f]+)/.exec(event.fields)?.[1] ?? "0"}`;
    count(found.faults_by_error_code, code);
    const gfn = Math.floor(fieldOf(event, "address ") / PAGE_BYTES);
    const slot = slots.find((each) => gfn >= each.gfn && gfn < each.gfn + each.pages);
    if (slot !== undefined) push(found.fault_order, slot.name, gfn - slot.gfn);
  },
  kvm_mmu_set_spte: (found, event, slots) => {
    const gfn = fieldOf(event, "gfn ");
    const slot = slots.find((each) => gfn >= each.gfn && gfn < each.gfn + each.pages);
    if (slot !== undefined) count(found.sptes_set, slot.name);
  },
  kvm_unmap_hva_range: (found, event, slots) => {
    for (const { slot, page } of pagesOf(event, slots)) {
      count(found.unmapped_pages, slot.name);
      push(found.unmap_order, slot.name, page);
    }
  },
  kvm_age_hva: (found, event, slots) => {
    const slot = slotOf(fieldOf(event, "age hva: "), slots);
    if (slot !== undefined) count(found.age_notifications, slot.name);
  },
  kr_flush_young: (found, event) => count(found.young_returns, `kr_flush_young=${fieldOf(event, "young=")}`),
  set_migration_pte: (found) => {
    found.migration_entries += 1;
  },
  swapcache_add: (found, event) => found.swap_out_offsets.push(swapOffset(event)),
  swap_readpage: (found, event) => found.swap_in_offsets.push(swapOffset(event)),
};

function count(counts: Record<string, number>, key: string): void {
  counts[key] = (counts[key] ?? 0) + 1;
}

function push(lists: Record<string, number[]>, key: string, value: number): void {
  lists[key] ??= [];
  lists[key].push(value);
}

function slotOf(hva: number, slots: readonly SlotPlace[]): SlotPlace | undefined {
  return slots.find((slot) => hva >= slot.hva && hva < slot.hva + slot.pages * PAGE_BYTES);
}

/** The pages of slots that a notification names; a range may begin before a slot and end behind it. */
function pagesOf(event: TraceEvent, slots: readonly SlotPlace[]): { slot: SlotPlace; page: number }[] {
  const start = fieldOf(event, "range: ");
  const end = fieldOf(event, "-- ");
  return slots.flatMap((slot) => {
    const first = Math.max(0, Math.floor((start - slot.hva) / PAGE_BYTES));
    const behind = Math.min(slot.pages, Math.ceil((end - slot.hva) / PAGE_BYTES));
    return Array.from({ length: Math.max(0, behind - first) }, (_, index) => ({ slot, page: first + index }));
  });
}
