// The monitor's own pages: they stand on the cgroup's lists, and fill the batch of new pages of its CPU before the guest's come. How many does not
// depend on the model, so it is an input from the capture.

import type { KvmScenario } from "./captured.js";
import type { SlotPlace } from "./quantities.js";
import { quantitiesOf } from "./quantities.js";
import type { TraceEvent } from "./tracetext.js";

const PAGE_BYTES = 4096;
/** PAGEVEC_SIZE */
const BATCH_PAGES = 15;

/** Pages that the monitor has on the lists of its cgroup, and pages that wait in the batch, when the guest begins. */
export interface OwnPages {
  listed: number;
  batched: number;
}

/**
 * The page of a first pass that completes the batch becomes active another way and is not evicted with its neighbours: the first page that is
 * missing from the order of evictions tells how many pages were in the batch before.
 */
export function ownPages(
  { steps }: KvmScenario,
  events: ReadonlyMap<number, readonly TraceEvent[]>,
  places: readonly SlotPlace[],
): OwnPages {
  const first = steps.find(({ command }) => command.startsWith("memcg "));
  if (first === undefined) return { listed: 0, batched: 0 };
  const stats = first["memcg_stat_delta"] as Record<string, number> | undefined;
  const listed = Math.round((stats?.["inactive_anon"] ?? 0) / PAGE_BYTES);
  for (const { step } of steps) {
    const { unmap_order: orders } = quantitiesOf(events.get(step) ?? [], places);
    const order = Object.values(orders)[0]?.slice(0, 2 * BATCH_PAGES);
    if (order === undefined || order.length < BATCH_PAGES) continue;
    const there = new Set(order);
    const missing = Array.from({ length: BATCH_PAGES }, (_, page) => page).find((page) => !there.has(page));
    return { listed, batched: missing === undefined ? 0 : BATCH_PAGES - 1 - missing };
  }
  return { listed, batched: 0 };
}
