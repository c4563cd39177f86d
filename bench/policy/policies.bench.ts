// The idealized policies over zipf streams in memory of a tenth of the pages, beside plain TypeScript over typed arrays on the same stream.

import { PolicyRuns } from "#dist/policies.js";
import { POLICIES, type PolicyName } from "#dist/policynames.js";
import { PLAIN_POLICIES } from "../baseline/policies.js";
import { median, race, speedup } from "../measure.js";
import { figure, percent, ratio, type Setting, type SuiteReport, table } from "../report.js";
import { popularityStream } from "../streams.js";

export interface PolicyStream {
  name: string;
  pages: number;
  theta: number;
  references: number;
}

export const POLICY_STREAMS: readonly PolicyStream[] = [
  { name: "zipf 1.0, 100,000 pages", pages: 100_000, theta: 1, references: 1_000_000 },
  { name: "zipf 0.8, 1,000,000 pages", pages: 1_000_000, theta: 0.8, references: 2_000_000 },
];

interface PolicyResult {
  policy: PolicyName;
  stream: string;
  missRatio: number;
  millionsPerSecond: number;
  timesPlain: number;
}

/** A stream ready for both: each call is a whole run and returns the misses. */
export function policyContenders(
  module: WebAssembly.Module,
  { pages, theta, references }: PolicyStream,
): (policy: PolicyName) => { core: () => number; plain: () => number } {
  const words = popularityStream(references, pages, theta);
  const size = Math.floor(pages / 10);
  const runs = new PolicyRuns(module, { words, pages, sha256: "" }, POLICIES, [size]);
  return (policy) => ({
    core: () => runs.misses(policy, size),
    plain: () => new PLAIN_POLICIES[policy]!(pages, size).run(words),
  });
}

export async function policies({ module }: Setting): Promise<SuiteReport> {
  const rows = POLICY_STREAMS.flatMap((stream) => {
    const contendersOf = policyContenders(module, stream);
    return POLICIES.map((policy): PolicyResult => {
      const { core, plain } = contendersOf(policy);
      const [own, other] = race([
        { name: policy, run: core },
        { name: `${policy}, plain`, run: plain },
      ]) as [number[], number[]];
      return {
        policy,
        stream: stream.name,
        missRatio: core() / stream.references,
        millionsPerSecond: stream.references / median(own) / 1e6,
        timesPlain: speedup(own, other),
      };
    });
  });
  const columns = [
    { head: "policy", align: "left" as const, cell: (row: PolicyResult) => row.policy },
    { head: "stream", align: "left" as const, cell: (row: PolicyResult) => row.stream },
    { head: "misses", cell: (row: PolicyResult) => percent(row.missRatio) },
    { head: "M references/s", cell: (row: PolicyResult) => figure(row.millionsPerSecond) },
    { head: "times plain TypeScript", cell: (row: PolicyResult) => ratio(row.timesPlain) },
  ];
  const note =
    "Belady's plain version finds the next uses anew in each run; the core finds them once for all runs.";
  return {
    title: "Idealized policies: references a CPU second, memory for a tenth of the pages",
    rows,
    text: [...table(columns, rows), "", note],
  };
}
