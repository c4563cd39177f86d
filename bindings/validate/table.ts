// Compares a miss table with the idealized policies: every count is a step, and agrees when it is the same integer.

import type { Trace } from "../files.js";
import { PolicyRuns } from "../policies.js";
import { POLICIES, type PolicyName } from "../policynames.js";
import { Agreement } from "./agreement.js";
import type { CaseResult, SkippedCase } from "./result.js";
import { type MissTable, traceName } from "./tables.js";

/** The format of a table, where a result names one. */
export const TABLE_FORMAT = "miss-table";

/** What came of a table: the comparison of what is modelled, and what was left out. */
export interface TableResult {
  compared: CaseResult | undefined;
  skipped: SkippedCase[];
}

/** The policy that a table calls `name`: in capitals, 2Q as TWOQ. */
export function policyOf(name: string): PolicyName | undefined {
  const lower = name.toLowerCase();
  return POLICIES.find((policy) => policy === (lower === "twoq" ? "2q" : lower));
}

/** Runs every policy of the table in every size, in the table's order. Throws PagevisorError E_TOO_BIG. */
export function compareTable(table: MissTable, trace: Trace, module: WebAssembly.Module): TableResult {
  const name = table.trace ?? table.name;
  const rows = Object.entries(table.misses).map(([title, counts]) => ({
    title,
    policy: policyOf(title),
    counts: Object.entries(counts),
  }));
  const skipped = rows
    .filter(({ policy }) => policy === undefined)
    .map(({ title }) => ({ name: `${name}, ${title}`, why: "the policy is not modelled in this version" }));
  const known = rows.flatMap(({ title, policy, counts }) =>
    policy === undefined || counts.length === 0 ? [] : [{ title, policy, counts }],
  );
  if (known.length === 0) return { compared: undefined, skipped };

  const policies = known.map(({ policy }) => policy);
  const sizes = known.flatMap(({ counts }) => counts.map(([size]) => Number(size)));
  const runs = new PolicyRuns(module, trace, policies, sizes);
  const agreement = new Agreement();
  let step = 0;
  for (const { title, policy, counts } of known) {
    for (const [size, expected] of counts) {
      agreement.begin(++step);
      const got = runs.misses(policy, Number(size));
      agreement.compare("misses", { [title]: { [size]: expected } }, { [title]: { [size]: got } });
    }
  }
  return { compared: agreement.result(name, TABLE_FORMAT), skipped };
}

/** A table without its trace, and how to make it. */
export function withoutTrace(table: MissTable): SkippedCase {
  const { made_by: madeBy } = table;
  const why = `its trace ${traceName(table)} was not found${madeBy === undefined ? "" : `; made by ${madeBy}`}`;
  return { name: table.trace ?? table.name, why, ...(madeBy !== undefined && { madeBy }) };
}
