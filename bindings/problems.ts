// What is wrong with a scenario, in the words of an error message: whole path, what was given, the nearest name, what is allowed.
// Always one line. Left out: finding the problems, which is valibot's business (schema.ts) and that of the rules (rules.ts).

import type * as v from "valibot";
import { PagevisorError } from "./errors.js";
import { nearestName } from "./nearest.js";
import { keysOf, meaningOf, namesOf, type Path, schemaAt, valueAt } from "./schemapath.js";

/** One thing that is wrong with a scenario. */
export interface Problem {
  path: Path;
  /** What is wrong with what was given. May itself end in a question: "… ; did you mean "1MiB"?". */
  wrong: string;
  /** The name that was probably meant. */
  nearest?: string | undefined;
  /** What is allowed instead. */
  allowed: string;
}

/** The error for a scenario with these problems, at least one: the first is told, the others are counted. */
export function scenarioError(problems: readonly Problem[]): PagevisorError {
  const [first, ...others] = problems;
  if (first === undefined) throw new PagevisorError("E_INTERNAL", "a scenario was refused without a problem");
  const where = first.path.length === 0 ? "scenario" : formatPath(first.path);
  const question = first.nearest === undefined ? "" : `; did you mean ${JSON.stringify(first.nearest)}?`;
  const wrong = `${first.wrong}${question}`;
  const stop = wrong.endsWith("?") ? "" : ".";
  const more = others.length === 0 ? "" : ` (and ${others.length} more)`;
  return new PagevisorError("E_SCENARIO", `${where}: ${wrong}${stop} Allowed: ${first.allowed}${more}`);
}

/** A path as code would write it: `vms[0].guest.tasks[1].name`. */
export function formatPath(path: Path): string {
  return path.reduce<string>((whole, key) => {
    if (typeof key === "number") return `${whole}[${key}]`;
    if (!/^[A-Za-z_$][\w$]*$/.test(key)) return `${whole}[${show(key)}]`;
    return whole === "" ? key : `${whole}.${key}`;
  }, "");
}

/** A given value, short and on one line. */
export function show(value: unknown): string {
  if (typeof value === "string") return JSON.stringify(value.length > 60 ? `${value.slice(0, 60)}…` : value);
  if (Array.isArray(value)) return value.length === 0 ? "an empty list" : "a list";
  if (typeof value === "object" && value !== null) return "an object";
  return typeof value === "function" ? "a function" : String(value);
}

/** The problem of a key that the schema does not have at `parent`. */
export function unknownKey(
  schema: v.GenericSchema,
  input: unknown,
  parent: Path,
  key: string | number,
): Problem {
  const node = schemaAt(schema, input, parent);
  const { keys, later = [] } = node === undefined ? { keys: [] } : keysOf(node, valueAt(input, parent));
  const path = [...parent, key];
  const allowed = keys.join(", ") || "nothing";
  if (later.includes(key)) return { path, wrong: "not modelled in this version", allowed };
  return { path, wrong: "unknown key", nearest: nearestName(String(key), keys), allowed };
}

/** The problems behind the issues that valibot found in `input`. Unknown keys come first: a misspelt key causes others. */
export function schemaProblems(
  schema: v.GenericSchema,
  input: unknown,
  issues: readonly v.BaseIssue<unknown>[],
): Problem[] {
  const found = issues.flatMap((issue) => leaves(issue, []));
  const unknown = found.filter(isUnknownKey).map(({ path }) => {
    return unknownKey(schema, input, path.slice(0, -1), path.at(-1)!);
  });
  const others = found.filter((leaf) => !isUnknownKey(leaf));
  const misspelt = new Set(
    unknown.map(({ path, nearest = "" }) => formatPath([...path.slice(0, -1), nearest])),
  );
  const caused = (leaf: Leaf) =>
    misspelt.has(formatPath(leaf.path)) && valueAt(input, leaf.path) === undefined;
  return [
    ...unknown,
    ...others.filter((leaf) => !caused(leaf)).map((leaf) => wrongValue(schema, input, leaf)),
  ];
}

/** An issue without issues inside, at its path from the root. */
interface Leaf {
  issue: v.BaseIssue<unknown>;
  path: Path;
}

function isUnknownKey({ issue }: Leaf): boolean {
  return issue.type === "strict_object" && issue.expected === "never";
}

/** A union fails in all its forms at once; the form meant is the one that was got furthest with. */
function leaves(issue: v.BaseIssue<unknown>, outer: Path): Leaf[] {
  const path = [...outer, ...(issue.path ?? []).map((item) => item.key as string | number)];
  if (issue.type !== "union" || issue.issues === undefined) return [{ issue, path }];
  const inner = issue.issues.flatMap((each) => leaves(each, path));
  const deepest = Math.max(...inner.map((leaf) => leaf.path.length));
  if (deepest > path.length) return inner.filter((leaf) => leaf.path.length === deepest);
  return [inner.find((leaf) => leaf.issue.type === "raw_transform") ?? { issue, path }];
}

function wrongValue(schema: v.GenericSchema, input: unknown, { issue, path }: Leaf): Problem {
  const node = schemaAt(schema, input, path);
  const { allowed = "", later = [] } = node === undefined ? {} : meaningOf(node);
  const given = valueAt(input, path);
  if (issue.type === "raw_transform") return { path, wrong: issue.message, allowed };
  if (given === undefined) return { path, wrong: "missing", allowed };
  if (later.some((value) => value === given)) {
    return { path, wrong: `${show(given)} is not modelled in this version`, allowed };
  }
  const names = node === undefined ? [] : namesOf(node);
  const nearest = typeof given === "string" ? nearestName(given, names) : undefined;
  return { path, wrong: `${show(given)} is not allowed`, nearest, allowed };
}
