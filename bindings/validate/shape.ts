// The shape of a capture's parts: what valibot finds wrong becomes one line that says where, what was given, what is allowed.

import * as v from "valibot";
import { PagevisorError } from "../errors.js";
import { formatPath, show } from "../problems.js";

/**
 * Reads `value` as `schema` says.
 *
 * @param where the part of the case that `value` is, as in `case.json` or `step 17`
 * @throws PagevisorError E_FILE with the path of the first thing that is wrong
 */
export function readShape<T extends v.GenericSchema>(
  schema: T,
  value: unknown,
  where: string,
): v.InferOutput<T> {
  const parsed = v.safeParse(schema, value, { abortEarly: true });
  if (parsed.success) return parsed.output;
  const [issue] = parsed.issues;
  const path = formatPath((issue.path ?? []).map(({ key }) => key as string | number));
  const wrong = issue.input === undefined ? "missing" : `${show(issue.input)} is not allowed`;
  throw wrongShape(where, path, wrong, issue.expected ?? issue.requirement);
}

/** The error for the part at `path` of `where`. */
export function wrongShape(where: string, path: string, wrong: string, allowed?: unknown): PagevisorError {
  const place = path === "" ? where : `${where}: ${path}`;
  const hint = allowed === undefined || allowed === null ? "" : `. Allowed: ${String(allowed)}`;
  return new PagevisorError("E_FILE", `${place}: ${wrong}${hint}`);
}

/** A whole number from `least` to `most`. */
export function whole(least: number, most: number) {
  return v.pipe(v.number(), v.integer(), v.minValue(least), v.maxValue(most));
}
