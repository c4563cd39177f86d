// Walks the scenario's schema and a value side by side: which schema stands at a key, and which keys there are.
// The value is needed where the schema depends on it (the kind of a workload). Left out: checking values.

import * as v from "valibot";
import type { Meaning } from "./values.js";

/** A path into a scenario: keys of objects and indices of lists. */
export type Path = readonly (string | number)[];

/** The parts of valibot's schemas that the walk looks at. */
interface Node extends v.GenericSchema {
  entries?: Record<string, v.GenericSchema>;
  item?: v.GenericSchema;
  wrapped?: v.GenericSchema;
  options?: readonly unknown[];
  literal?: unknown;
  value?: v.GenericSchema;
  /** Of a variant: the key that tells its forms apart. */
  key?: string;
}

/** The schema without the layers that make it optional or nullable. */
export function bare(schema: v.GenericSchema): Node {
  let node: Node = schema;
  while (node.wrapped !== undefined) node = node.wrapped;
  return node;
}

/** What the schema says about itself. */
export function meaningOf(schema: v.GenericSchema): Partial<Meaning> {
  return v.getMetadata(bare(schema));
}

/** Whether the key may be null. */
export function acceptsNull(schema: v.GenericSchema): boolean {
  return schema.type === "nullish" || schema.type === "nullable";
}

/** The schema of the object that `value` is or should be: the entries of an object, a variant's kind or the detailed form of a value. */
function objectNode(schema: v.GenericSchema, value: unknown): Node | undefined {
  const node = bare(schema);
  if (node.type === "strict_object") return node;
  const options = (node.options ?? []) as Node[];
  if (node.type === "variant") {
    const form = property(value, node.key!);
    return options.find((option) => bare(option.entries![node.key!]!).literal === form);
  }
  if (node.type === "union") return options.find((option) => option.type === "strict_object");
  return undefined;
}

/** A schema for the key alone that tells the forms of an object apart. */
function keySchema(variant: Node): v.GenericSchema {
  const kinds = (variant.options as Node[]).map((option) =>
    String(bare(option.entries![variant.key!]!).literal),
  );
  const { description = "", later = [] } = meaningOf(variant);
  const allowed = kinds.map((kind) => JSON.stringify(kind)).join(", ");
  return v.pipe(v.picklist(kinds), v.metadata({ description, allowed, later }));
}

/** The schema at `key` of `value`, or `undefined` when the schema has no such key there. */
export function childSchema(
  schema: v.GenericSchema,
  value: unknown,
  key: string | number,
): v.GenericSchema | undefined {
  const node = bare(schema);
  if (node.type === "array") return typeof key === "number" ? node.item : undefined;
  if (node.type === "variant" && key === node.key) return keySchema(node);
  if (node.type === "record") return node.value;
  const entries = objectNode(node, value)?.entries;
  return entries !== undefined && Object.hasOwn(entries, key) ? entries[key] : undefined;
}

/** The keys that an object at `schema` may have, and those that a later version will know. */
export function keysOf(schema: v.GenericSchema, value: unknown): { keys: string[]; later: Meaning["later"] } {
  const node = objectNode(schema, value);
  if (node === undefined) {
    const { type, key } = bare(schema);
    return { keys: type === "variant" ? [key!] : [], later: [] };
  }
  return { keys: Object.keys(node.entries ?? {}), later: meaningOf(node).later };
}

/** The names that a value at `schema` may be, if it is a name out of a list. */
export function namesOf(schema: v.GenericSchema): string[] {
  const node = bare(schema);
  const options = node.type === "picklist" ? (node.options ?? []) : [];
  return options.filter((option): option is string => typeof option === "string");
}

/** The schema at `path` of `value`; `undefined` when the path leaves the schema. */
export function schemaAt(schema: v.GenericSchema, value: unknown, path: Path): v.GenericSchema | undefined {
  let node: v.GenericSchema | undefined = schema;
  let inner = value;
  for (const key of path) {
    if (node === undefined) return undefined;
    node = childSchema(node, inner, key);
    inner = property(inner, key);
  }
  return node;
}

/** The value at `path`; `undefined` when there is none. */
export function valueAt(value: unknown, path: Path): unknown {
  return path.reduce(property, value);
}

function property(value: unknown, key: string | number): unknown {
  const has = typeof value === "object" && value !== null && Object.hasOwn(value, key);
  return has ? (value as Record<string | number, unknown>)[key] : undefined;
}
