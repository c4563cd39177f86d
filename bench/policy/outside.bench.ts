// What a policy costs that is written outside the core: the same machine under a built-in policy and under the same rule as a function of
// the program, and how much longer the second one takes. All pages fault in from compressed memory, the cheapest of the devices.

import { EVICT, type OutsidePolicy, type Scenario } from "#dist/index.js";
import type { PolicyScenario } from "#dist/outside.js";
import { type Contender, median, race, speedup, untimed } from "../measure.js";
import { figure, percent, type Setting, type SuiteReport, table } from "../report.js";
import { Rig } from "../rig.js";

const PAGES = 32_768;
const ACCESSES = 150_000;
const ROUNDS = 15;
/** Dearer by at most this share of the built-in policy's time, at 64 candidates. */
const BAR = 0.1;

/** First in, first out: whatever is offered goes. */
export const outsideFifo = (batch: number): OutsidePolicy => ({
  name: "fifo",
  batch,
  choose: (_, choices) => void choices.fill(EVICT),
});

/** CLOCK; with a batch above 1 its hand looks at as many pages at once. When all were used, the next call looks at others. */
export const outsideClock = (batch: number): OutsidePolicy => ({
  name: "clock",
  batch,
  choose({ length, accessed }, choices) {
    for (let index = 0; index < length; index++) {
      if (accessed[index] === 0) choices[index] = EVICT;
    }
  },
});

/** One of those that are offered, by a generator of the policy's own. */
export function outsideRandom(batch: number): OutsidePolicy {
  let state = 1;
  return {
    name: "random",
    batch,
    choose({ length }, choices) {
      state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
      choices[Math.floor((state / 2 ** 32) * length)] = EVICT;
    },
  };
}

interface OutsideResult {
  what: string;
  workload: string;
  candidates: number;
  faultRatio: number;
  insideNs: number;
  outsideNs: number;
  /** (outside - inside) / inside. */
  cost: number;
}

type Policy = NonNullable<NonNullable<PolicyScenario["host"]["reclaim"]>["policy"]>;

const WORKLOADS = {
  "uniform, half fits": { kind: "uniform", pages: PAGES, writes: 0.5 },
  "zipf 0.99, a tenth fits": { kind: "zipf", pages: PAGES, theta: 0.99, writes: 0.5 },
} as const;

function scenarioUnder(policy: Policy, name: keyof typeof WORKLOADS): Scenario | PolicyScenario {
  const share = name.startsWith("zipf") ? 10 : 2;
  return {
    host: { memory: "512MiB", swap: [{ kind: "zram-lz4", size: "512MiB" }], reclaim: { policy } },
    vms: [
      {
        name: "guest",
        memory: PAGES * 4096,
        memoryMax: Math.floor(PAGES / share) * 4096,
        guest: { tasks: [{ workload: WORKLOADS[name] }] },
      },
    ],
  };
}

/** A machine whose memory is full, put back there before each call. */
function contender(name: string, start: Rig): Contender {
  const twin = start.twin();
  return {
    name,
    run: () => {
      untimed(() => start.copyTo(twin));
      twin.run(ACCESSES);
    },
  };
}

function full(module: WebAssembly.Module, scenario: Scenario | PolicyScenario): Rig {
  const rig = Rig.boot(module, scenario);
  rig.run(4 * PAGES);
  return rig;
}

const ROWS: { what: string; inside: "fifo" | "clock"; candidates: number; policy: OutsidePolicy }[] = [
  { what: "fifo", inside: "fifo", candidates: 64, policy: outsideFifo(64) },
  { what: "clock", inside: "clock", candidates: 64, policy: outsideClock(64) },
  { what: "clock, one by one", inside: "clock", candidates: 1, policy: outsideClock(1) },
  { what: "one of 64, beside fifo", inside: "fifo", candidates: 64, policy: outsideRandom(64) },
];

export async function outside({ module }: Setting): Promise<SuiteReport> {
  const rows = (Object.keys(WORKLOADS) as (keyof typeof WORKLOADS)[]).flatMap((workload) =>
    ROWS.map(({ what, inside, candidates, policy }): OutsideResult => {
      const own = full(module, scenarioUnder(inside, workload));
      const theirs = full(module, scenarioUnder(policy, workload));
      const before = theirs.read();
      const probe = theirs.twin();
      probe.run(ACCESSES);
      const { faults } = probe.since(before);
      const [in_, out] = race([contender(inside, own), contender(`${what}, outside`, theirs)], ROUNDS) as [
        number[],
        number[],
      ];
      return {
        what,
        workload,
        candidates,
        faultRatio: (faults.major.count + faults.minor.count) / ACCESSES,
        insideNs: (median(in_) * 1e9) / ACCESSES,
        outsideNs: (median(out) * 1e9) / ACCESSES,
        cost: speedup(in_, out) - 1,
      };
    }),
  );
  const columns = [
    { head: "policy", align: "left" as const, cell: (row: OutsideResult) => row.what },
    { head: "workload", align: "left" as const, cell: (row: OutsideResult) => row.workload },
    { head: "candidates", cell: (row: OutsideResult) => String(row.candidates) },
    { head: "faults", cell: (row: OutsideResult) => percent(row.faultRatio) },
    { head: "inside, ns an access", cell: (row: OutsideResult) => figure(row.insideNs) },
    { head: "outside", cell: (row: OutsideResult) => figure(row.outsideNs) },
    { head: "cost", cell: (row: OutsideResult) => percent(row.cost) },
  ];
  const note = `Cost: what the policy outside takes beyond the built-in one, the median over ${ROUNDS} rounds. At 64 candidates at most ${percent(BAR)} are asked for.`;
  return {
    title: "Policies from outside: what they cost beside the built-in ones",
    rows,
    text: [...table(columns, rows), "", note],
  };
}
