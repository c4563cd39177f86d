// Compares a case as a whole where a step depends on what exactly earlier ones have left: its totals, within what two captures differ by.

import type { Agreement } from "../agreement.js";
import type { StepSummary } from "./captured.js";
import type { Counters } from "./compare.js";
import type { Quantities } from "./quantities.js";

/** Families whose totals are compared, by the share in which these and the results of aging may differ. */
const FAMILIES: readonly { prefix: string; share: number; young: number }[] = [
  { prefix: "limit-", share: 0.03, young: 0.05 },
  { prefix: "aging-", share: 0.1, young: 0.1 },
];

/** Totals of the slots that are compared, and of the host's swap. */
interface Totals {
  page_faults: number;
  unmapped_pages: number;
  swap_out_count: number;
  swap_in_count: number;
  age_notifications: number;
  young_returns: number;
}

const YOUNG: readonly (keyof Totals)[] = ["age_notifications", "young_returns"];

/** The totals of a case, gathered step by step. */
export class CaseTotals {
  private readonly expected = zero();
  private readonly got = zero();
  private lastStep = 0;

  add(
    expected: StepSummary,
    got: Quantities,
    before: Counters,
    after: Counters,
    slots: ReadonlySet<string>,
  ): void {
    const { expected: left, got: right } = this;
    const ofSlots = <T>(found: Record<string, T> | undefined, value: (slot: T) => number): number =>
      Object.entries(found ?? {}).reduce((sum, [slot, each]) => sum + (slots.has(slot) ? value(each) : 0), 0);
    const own = (value: number): number => value;
    const young = (found: Record<string, number> | undefined): number => found?.["kr_flush_young=1"] ?? 0;
    left.page_faults += expected.page_faults ?? 0;
    right.page_faults += got.page_faults;
    left.unmapped_pages += ofSlots(expected.unmapped_pages, ({ pages }) => pages);
    right.unmapped_pages += ofSlots(got.unmapped_pages, own);
    left.swap_out_count += expected.host["pswpout"] ?? 0;
    right.swap_out_count += after.swapOut - before.swapOut;
    left.swap_in_count += expected.host["pswpin"] ?? 0;
    right.swap_in_count += after.swapIn - before.swapIn;
    left.age_notifications += ofSlots(expected.aged_pages, ({ notifications }) => notifications);
    right.age_notifications += ofSlots(got.age_notifications, own);
    left.young_returns += young(expected.young_returns);
    right.young_returns += young(got.young_returns);
    this.lastStep = expected.step;
  }

  /** One comparison a case, where its family is one of those: the totals that are too far off, as the capture has them. */
  compare(agreement: Agreement, name: string): void {
    const family = FAMILIES.find(({ prefix }) => name.startsWith(prefix));
    if (family === undefined) return;
    const far = (Object.keys(this.expected) as (keyof Totals)[]).filter((key) => {
      const share = YOUNG.includes(key) ? family.young : family.share;
      return Math.abs(this.got[key] - this.expected[key]) > share * this.expected[key];
    });
    const of = (totals: Totals) => Object.fromEntries(far.map((key) => [key, totals[key]]));
    agreement.begin(this.lastStep);
    agreement.compare("totals", of(this.expected), of(this.got));
  }
}

function zero(): Totals {
  return {
    page_faults: 0,
    unmapped_pages: 0,
    swap_out_count: 0,
    swap_in_count: 0,
    age_notifications: 0,
    young_returns: 0,
  };
}
