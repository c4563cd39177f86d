// What `compare` sets side by side: the runs of one scenario with several seeds are one group, told by median and range.

import type { RunResult } from "../result.js";
import { leavesOf } from "./leaves.js";
import type { StoredResult } from "./resultfile.js";

export interface Group {
  name: string;
  results: RunResult[];
}

/** A figure of a group's runs. */
export interface Spread {
  median: number;
  min: number;
  max: number;
}

/** Runs that differ in nothing but the seed go together; a run that is there twice begins another group. In the order given. */
export function groupsOf(stored: readonly StoredResult[]): Group[] {
  const groups = new Map<string, { results: RunResult[]; members: StoredResult[] }>();
  for (const one of stored) {
    const { scenario, version, seed, inputs } = one.result;
    const key = JSON.stringify([version, { ...scenario, seed: 0, name: null, description: null }, inputs]);
    let times = 0;
    while (groups.get(`${times} ${key}`)?.results.some((other) => other.seed === seed)) times++;
    const group = groups.get(`${times} ${key}`) ?? { results: [], members: [] };
    group.results.push(one.result);
    group.members.push(one);
    groups.set(`${times} ${key}`, group);
  }
  const made = [...groups.values()].map(({ results, members }) => ({ results, name: nameOf(members) }));
  // Names that are not unique say nothing.
  return made.map(({ results, name }, index) => ({
    results,
    name: made.filter((other) => other.name === name).length > 1 ? `${name} (${index + 1})` : name,
  }));
}

function nameOf(members: readonly StoredResult[]): string {
  const [{ file, set }] = members as [StoredResult];
  const base = file.replace(/^.*[\\/]/, "").replace(/\.(json|ndjson)$/, "");
  const values = Object.entries(set ?? {}).map(
    ([path, value]) => `${path}=${typeof value === "string" ? value : JSON.stringify(value)}`,
  );
  if (values.length > 0) return values.join(" ");
  const files = new Set(members.map((member) => member.file)).size;
  return files > 1 ? `${base} and ${files - 1} more` : base;
}

/** Median, least and most of what the runs give; undefined when one of them gives nothing. */
export function spreadOf(results: readonly RunResult[], figure: (result: RunResult) => number | undefined) {
  const values = results.map(figure).sort((a, b) => (a ?? 0) - (b ?? 0));
  if (values.includes(undefined)) return undefined;
  const sorted = values as number[];
  const middle = (sorted.length - 1) / 2;
  const median = (sorted[Math.floor(middle)]! + sorted[Math.ceil(middle)]!) / 2;
  return { median, min: sorted[0]!, max: sorted.at(-1)! } satisfies Spread;
}

/** Every number that a result holds, by path, but those about the machine that it was made on and about its scenario. */
export function numbersOf(result: RunResult): Map<string, number> {
  const { wall: _, scenario: __, footprintBytes: ___, seed: ____, ...told } = result;
  return leavesOf(told, (leaf): leaf is number => typeof leaf === "number");
}

/** Values of the scenario that are not the same in all groups, by path; in the order of the groups, undefined where there is none. */
export function scenarioDifferences(groups: readonly Group[]): Map<string, unknown[]> {
  const leaves = groups.map(({ results }) => {
    const { name: _, description: __, seed: ___, ...scenario } = results[0]!.scenario;
    return leavesOf(scenario, (leaf): leaf is unknown => leaf !== undefined);
  });
  const found = new Map<string, unknown[]>();
  for (const path of new Set(leaves.flatMap((one) => [...one.keys()]))) {
    const values = leaves.map((one) => one.get(path));
    if (values.some((value) => value !== values[0])) found.set(path, values);
  }
  return found;
}
