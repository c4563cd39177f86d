// Dotted paths into a scenario, as `--set` and `fork({ set })` take them: `vms.db.guest.tasks.zipf-0.workload.theta`. Elements of a
// list are called by name or by index. Left out: whether the value is right, which resolveScenario() tells afterwards.

import type * as v from "valibot";
import { nearestName } from "./nearest.js";
import { scenarioError, show, unknownKey } from "./problems.js";
import { type Scenario, scenarioSchema } from "./schema.js";
import { acceptsNull, bare, childSchema, type Path } from "./schemapath.js";
import { defaultName } from "./tasks.js";

/**
 * A copy of `scenario` with `value` at `path`; what is not on the path is shared with the original. Objects that are absent on the
 * way are created. A string is read as the type that the schema has there: number, boolean, null, list or object (JSON); sizes
 * and times with a unit stay strings.
 *
 * @param path keys joined by dots; an element of a list is its name (also a default name such as `zipf-0`) or its index
 * @throws PagevisorError E_SCENARIO when the schema has no such key or the list no such element
 */
export function setPath(scenario: Scenario, path: string, value: unknown): Scenario {
  const cursor = { root: scenario, path: [], schema: scenarioSchema, value: scenario };
  return set(cursor, path.split("."), value) as Scenario;
}

/** Where the walk has come to. */
interface Cursor {
  root: unknown;
  path: Path;
  schema: v.GenericSchema;
  /** The value there; undefined when absent. */
  value: unknown;
}

function set(cursor: Cursor, segments: readonly string[], value: unknown): unknown {
  if (segments.length === 0) return typeof value === "string" ? readAs(cursor.schema, value) : value;
  const node = bare(cursor.schema);
  if (node.type === "array") return setElement(cursor, node.item!, segments, value);

  const [key = "", ...rest] = segments;
  const schema = childSchema(cursor.schema, cursor.value, key);
  if (schema === undefined) throw scenarioError([unknownKey(scenarioSchema, cursor.root, cursor.path, key)]);
  const object = isObject(cursor.value) ? cursor.value : {};
  const inner = Object.hasOwn(object, key) ? object[key] : undefined;
  return {
    ...object,
    [key]: set({ ...cursor, path: [...cursor.path, key], schema, value: inner }, rest, value),
  };
}

function setElement(
  cursor: Cursor,
  item: v.GenericSchema,
  segments: readonly string[],
  value: unknown,
): unknown[] {
  const elements: unknown[] = Array.isArray(cursor.value) ? cursor.value : [];
  const names = elements.map(elementName);
  const { index, used } = findElement(names, segments);
  if (index === undefined) {
    const known = names.filter((name) => name !== undefined);
    const wrong = `there is no element ${show(segments[0])}`;
    const nearest = nearestName(segments[0]!, known);
    const indices = `an index 0..${elements.length - 1}`;
    const allowed = elements.length === 0 ? "nothing, the list is empty" : [...known, indices].join(", ");
    throw scenarioError([{ path: cursor.path, wrong, nearest, allowed }]);
  }
  const element = set(
    { ...cursor, path: [...cursor.path, index], schema: item, value: elements[index] },
    segments.slice(used),
    value,
  );
  const copy = elements.slice();
  copy[index] = element;
  return copy;
}

/** The element that the first segments name: a name may itself hold dots, the longest one that fits wins, names go before indices. */
function findElement(
  names: readonly (string | undefined)[],
  segments: readonly string[],
): { index: number | undefined; used: number } {
  for (let used = segments.length; used > 0; used--) {
    const index = names.indexOf(segments.slice(0, used).join("."));
    if (index >= 0) return { index, used };
  }
  const index = /^\d+$/.test(segments[0]!) ? Number(segments[0]) : Number.NaN;
  return { index: index < names.length ? index : undefined, used: 1 };
}

/** The name of a VM, task or device, or the one that it has by default. */
function elementName(element: unknown, index: number): string | undefined {
  if (!isObject(element)) return undefined;
  if (typeof element.name === "string") return element.name;
  const { kind } = isObject(element.workload) ? element.workload : element;
  return defaultName(typeof kind === "string" ? kind : undefined, index);
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** The text of a command line as a value of `schema`; a text that cannot be one stays a text and is refused later. */
function readAs(schema: v.GenericSchema, text: string): unknown {
  if (text === "null" && acceptsNull(schema)) return null;
  const node = bare(schema);
  if (node.type === "string") return text;
  if (node.type === "array" && !text.startsWith("[")) return text.split(",");
  if (/^[[{]/.test(text)) return parseJson(text);
  if (node.type === "boolean" || node.literal === true || node.literal === false) {
    if (text === "true") return true;
    return text === "false" ? false : text;
  }
  const isText = node.type === "picklist" && node.options!.includes(text);
  const isNumber = /^-?\d+(\.\d+)?([eE][-+]?\d+)?$/.test(text);
  return isNumber && !isText ? Number(text) : text;
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}
