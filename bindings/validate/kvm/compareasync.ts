// Compares the asynchronous page faults of a step with the capture: counts and tokens exactly where they repeat from capture to capture;
// of several tasks that a pager serves, whose order varies, the sets; of faults that swap serves, whose number depends on timing, the rules.

import type { Agreement } from "../agreement.js";
import type { AsyncEvents } from "./asyncevents.js";
import { expanded, type StepSummary } from "./captured.js";
import type { Quantities } from "./quantities.js";

/** At most this many asynchronous faults are outstanding per vCPU. */
const OUTSTANDING_MAX = 64;

const COUNTS = [
  "tried",
  "not_present",
  "ready",
  "completed",
  "repeated",
  "injected_faults",
  "max_outstanding",
] as const;

export function compareAsync(
  agreement: Agreement,
  name: string,
  notRepeated: Readonly<Record<string, readonly number[]>>,
  expected: StepSummary,
  got: Quantities,
): void {
  const { step, async } = expected;
  const compare = (quantity: string, left: unknown, right: unknown): void => {
    agreement.begin(step);
    agreement.compare(quantity, left, right);
  };
  const repeats = (quantity: string): boolean => !notRepeated[quantity]?.includes(step);
  const pager = name.startsWith("apf-pager-");
  if (pager && !repeats("fault_order")) {
    const pages = Object.entries(expected.faulted_pages ?? {}).filter(([slot]) => slot !== "slot0");
    const sets = pages.map(([slot, { order }]) => [slot, expanded(order ?? []).sort(ascending)]);
    compare("fault_set", Object.fromEntries(sets), sortedEach(got.fault_order));
  }
  if (async === undefined) return;
  if (name.startsWith("apf-swap-")) {
    const captured = rules(async as unknown as AsyncEvents, true);
    compare("async_rules", captured, rules(got.async, got.async.ready_one_by_one));
    return;
  }
  if (repeats("async_counts")) compare("async_counts", counts(async), counts(got.async));
  const { tokens_not_present, tokens_ready } = async;
  if (repeats("async_tokens")) {
    compare(
      "async_tokens",
      [tokens_not_present, tokens_ready],
      [got.async.tokens_not_present, got.async.tokens_ready],
    );
  } else if (pager && repeats("async_counts")) {
    const sets = [tokens_not_present, tokens_ready].map((tokens) => [...tokens].sort());
    const found = [got.async.tokens_not_present, got.async.tokens_ready].map((tokens) => [...tokens].sort());
    compare("async_token_sets", sets, found);
  }
}

function counts(async: object): Record<string, number> {
  const values = async as Record<string, number>;
  return Object.fromEntries(COUNTS.map((count) => [count, values[count] ?? 0]));
}

/** What must hold whatever the timing: whether faults are asynchronous at all, whether the guest is told, the limit, one ready event at a time. */
function rules({ tried, injected_faults, max_outstanding }: AsyncEvents, readyOneByOne: boolean) {
  return {
    asynchronous: tried > 0,
    told: injected_faults > 0,
    within_limit: max_outstanding <= OUTSTANDING_MAX,
    ready_one_by_one: readyOneByOne,
  };
}

function sortedEach(orders: Record<string, number[]>): Record<string, number[]> {
  return Object.fromEntries(
    Object.entries(orders).map(([slot, pages]) => [slot, [...pages].sort(ascending)]),
  );
}

function ascending(left: number, right: number): number {
  return left - right;
}
