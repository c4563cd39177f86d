// Compares a step with the capture, quantity by quantity: what the summary holds and what repeats from capture to capture.

import type { Agreement } from "../agreement.js";
import { expanded, type KvmScenario, type StepSummary } from "./captured.js";
import type { Quantities, SlotPlace } from "./quantities.js";

const PAGE_BYTES = 4096;

/** Pages and faults so far. */
export interface Counters {
  swapOut: number;
  swapIn: number;
  majorFaults: number;
  /** Pages that migrated, and that did not. */
  moved: number;
  notMoved: number;
}

/** The slots that are compared: all but slot 0, which holds the payload. */
export function placesOf(captured: KvmScenario): SlotPlace[] {
  return allPlaces(captured).filter(({ name }) => name !== "slot0");
}

/** All slots of a capture. */
export function allPlaces({ memslots }: KvmScenario): SlotPlace[] {
  return memslots.map(({ slot, gpa, pages, hva }) => ({
    name: `slot${slot}`,
    gfn: Number(gpa) / PAGE_BYTES,
    pages,
    hva: Number(hva),
  }));
}

/** Compares what a step did: one comparison a quantity that the capture holds and that repeats. */
export function compareStep(
  agreement: Agreement,
  notRepeated: Readonly<Record<string, readonly number[]>>,
  expected: StepSummary,
  got: Quantities,
  before: Counters,
  after: Counters,
  places: readonly SlotPlace[],
): void {
  const compare = (quantity: string, left: unknown, right: unknown): void => {
    if (left === undefined || notRepeated[quantity]?.includes(expected.step)) return;
    agreement.begin(expected.step);
    agreement.compare(quantity, left, right);
  };
  const names = new Set(places.map(({ name }) => name));
  const bySlot = <T, U>(found: Record<string, T> | undefined, value: (slot: T) => U) => {
    const entries = Object.entries(found ?? {}).filter(([slot]) => names.has(slot));
    return entries.length === 0
      ? undefined
      : Object.fromEntries(entries.map(([slot, each]) => [slot, value(each)]));
  };
  const { host } = expected;
  compare("page_faults", expected.page_faults, got.page_faults);
  compare("faults_by_error_code", expected.page_faults_by_error_code, got.faults_by_error_code);
  compare(
    "fault_order",
    bySlot(expected.faulted_pages, ({ order }) => expanded(order ?? [])),
    got.fault_order,
  );
  compare(
    "sptes_set",
    bySlot(expected.sptes_set, ({ set }) => set),
    got.sptes_set,
  );
  compare(
    "unmapped_pages",
    bySlot(expected.unmapped_pages, ({ pages }) => pages),
    got.unmapped_pages,
  );
  compare(
    "unmap_order",
    bySlot(expected.unmapped_pages, ({ order }) => expanded(order)),
    got.unmap_order,
  );
  compare(
    "age_notifications",
    bySlot(expected.aged_pages, (aged) => aged.notifications),
    got.age_notifications,
  );
  compare("young_returns", expected.young_returns, got.young_returns);
  const slots = (offsets: { offsets: [number, number, number][] } | undefined) =>
    offsets === undefined ? undefined : expanded(offsets.offsets);
  compare("swap_out_offsets", slots(expected.swap_cache_adds), got.swap_out_offsets);
  compare("swap_in_offsets", slots(expected.swap_reads), got.swap_in_offsets);
  compare("swap_out_count", host["pswpout"], after.swapOut - before.swapOut);
  compare("swap_in_count", host["pswpin"], after.swapIn - before.swapIn);
  if (expected.command.startsWith("migrate ")) {
    compare("pages_moved", host["pgmigrate_success"], after.moved - before.moved);
    compare("pages_not_moved", host["pgmigrate_fail"] ?? 0, after.notMoved - before.notMoved);
    compare("migration_entries", expected.events["set_migration_pte"] ?? 0, got.migration_entries);
  }
  compare("major_faults", host["pgmajfault"], after.majorFaults - before.majorFaults);
}
