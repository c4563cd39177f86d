// Free pages that the host is told of: one churn in the guest under every design, beside the same churn of which nobody tells. The designs look at
// different things, so each has a rate of its own: places of full arrays looked up, blocks and pages told.

import { Machine, type Scenario } from "#dist/index.js";
import { type Contender, median, race, speedup } from "../measure.js";
import { figure, NONE, ratio, type Setting, type SuiteReport, table } from "../report.js";

const MIB = 2 ** 20;
/** Places of the arrays of the patch of 2019. */
const ARRAY_ENTRIES = 1000;
/** Of the blocks that the reviewed patch sends: the default is 10, of which this churn has few. */
const MIN_ORDER = 4;
const ACCESSES = 300_000;

export const HINT_DESIGNS = ["off", "hinting-2019", "hinting-2019-min-order", "reporting"] as const;
type Design = (typeof HINT_DESIGNS)[number];

/** Relative frequencies of the orders of what is freed. */
export const CHURNS = {
  "single pages": [1],
  "blocks of all orders": [32, 8, 4, 2, 1, 1, 1, 1, 1, 2, 2],
} as const;
type Churn = keyof typeof CHURNS;

export function hintScenario(churn: Churn, design: Design, bytes = 256 * MIB): Scenario {
  const freePages = { design, ...(design === "hinting-2019-min-order" && { minOrder: MIN_ORDER }) };
  const workload = {
    ...{ kind: "churn" as const, pages: bytes / 8192, orders: [...CHURNS[churn]] },
    ...{ freed: 0.5, pause: "3s" },
  };
  return {
    host: { memory: 2 * bytes + 16 * MIB },
    vms: [{ name: "guest", memory: bytes, guest: { freePages, tasks: [{ workload }] } }],
  };
}

export interface HintRow {
  churn: Churn;
  design: Design;
  freedPerUs: number;
  /** Places of full arrays that scans have looked up, a CPU µs. */
  scannedPerUs: number;
  blocksPerUs: number;
  pagesToldPerUs: number;
  /** Time of the same accesses against the run in which nobody tells. */
  timesOff: number;
}

export async function measureHints(
  churn: Churn,
  module: WebAssembly.Module,
  bytes?: number,
  accesses = ACCESSES,
  rounds?: number,
): Promise<HintRow[]> {
  const machines = await Promise.all(
    HINT_DESIGNS.map((design) => Machine.create(hintScenario(churn, design, bytes), { module })),
  );
  const contenders = machines.map((machine, index): Contender => {
    machine.run({ accesses });
    return { name: HINT_DESIGNS[index]!, run: () => void machine.run({ accesses }) };
  });
  const times = race(contenders, rounds);
  return machines.map((machine, index) => {
    const { freePages } = machine.run({ accesses }).vms[0]!;
    const us = median(times[index]!) * 1e6;
    return {
      churn,
      design: HINT_DESIGNS[index]!,
      freedPerUs: freePages.freed / us,
      scannedPerUs: (freePages.scans * ARRAY_ENTRIES) / us,
      blocksPerUs: freePages.blocks / us,
      pagesToldPerUs: freePages.pagesReported / us,
      timesOff: 1 / speedup(times[index]!, times[0]!),
    };
  });
}

export async function hinting({ module }: Setting): Promise<SuiteReport> {
  const rows: HintRow[] = [];
  for (const churn of Object.keys(CHURNS) as Churn[]) rows.push(...(await measureHints(churn, module)));
  const some = (value: number): string => (value === 0 ? NONE : figure(value));
  const columns = [
    { head: "freed", cell: ({ churn }: HintRow) => churn, align: "left" as const },
    { head: "design", cell: ({ design }: HintRow) => design, align: "left" as const },
    { head: "M pages freed/s", cell: ({ freedPerUs }: HintRow) => some(freedPerUs) },
    { head: "M places scanned/s", cell: ({ scannedPerUs }: HintRow) => some(scannedPerUs) },
    { head: "k blocks told/s", cell: ({ blocksPerUs }: HintRow) => some(1000 * blocksPerUs) },
    { head: "M pages told/s", cell: ({ pagesToldPerUs }: HintRow) => some(pagesToldPerUs) },
    { head: "times the time of off", cell: ({ timesOff }: HintRow) => ratio(timesOff) },
  ];
  const note =
    "Half of 128 MiB is freed at a time and taken again. A place: one entry of a full array, for which its scan looks the free block up. What was told faults in the host when it is taken again.";
  return {
    title: "free pages: what telling the host of them costs",
    rows,
    text: [...table(columns, rows), "", note],
  };
}
