// The kinds of value that a key of the scenario can hold, as valibot schemas that carry their own documentation. Every builder takes
// the meaning of the key first; what is allowed, and what a later version will allow, stand in the schema's metadata, from where the
// error messages (problems.ts) and the JSON Schema (scripts/emit-schema.mjs) take them. Left out: which keys there are (schema.ts).

import * as v from "valibot";
import {
  formatBytes,
  parseSize,
  parseTime,
  type Reading,
  SIZE_UNIT_NAMES,
  TIME_UNIT_NAMES,
} from "./units.js";

export const PAGE_BYTES = 4096;

/** Largest size: every page number fits the 31 bits that a trace record has for it. */
export const SIZE_MAX = 2 ** 31 * PAGE_BYTES;

export const U32_MAX = 2 ** 32 - 1;

/** What a schema says about itself. */
export interface Meaning {
  /** What the key means, in one or two sentences. */
  description: string;
  /** What the value may be, for the end of an error message. */
  allowed: string;
  /** Values or keys of mechanisms that are not modelled in this version: refused, but not as a mistake of the user. */
  later?: readonly (string | number | boolean)[];
}

/**
 * A schema by what goes in and what comes out. The builders say no more about their type than this: the declarations of the
 * package would otherwise spell every check of every key.
 */
type Value<Input, Output = Input> = v.GenericSchema<Input, Output>;

/** Sizes and times: numbers, or texts with a unit; numbers once they are read. */
type Quantity = Value<number | string, number>;

function meaning<T>(description: string, allowed: string, later: Meaning["later"] = []) {
  return v.metadata<T, { description: string; allowed: string; later: NonNullable<Meaning["later"]> }>({
    description,
    allowed,
    later,
  });
}

/** A number that may also be written with a unit; `check` says what is wrong with the number that was read, or nothing. */
function quantity(
  description: string,
  allowed: string,
  read: (value: number | string) => Reading,
  check: (value: number) => string | undefined,
): Quantity {
  return v.pipe(
    v.union([v.number(), v.string()]),
    meaning(description, allowed),
    v.rawTransform<number | string, number>(({ dataset, addIssue, NEVER }) => {
      const reading = read(dataset.value);
      const problem = reading.ok ? check(reading.value) : reading.problem;
      if (reading.ok && problem === undefined) return reading.value;
      const given = typeof dataset.value === "string" ? JSON.stringify(dataset.value) : dataset.value;
      addIssue({ message: reading.ok ? `${given} is ${problem}` : reading.problem });
      return NEVER;
    }),
  );
}

/** Bytes of memory: a positive multiple of 4 KiB, at least `min` bytes. */
export function size(description: string, { min = PAGE_BYTES } = {}): Quantity {
  const allowed = `a multiple of 4KiB from ${formatBytes(min)} to ${formatBytes(SIZE_MAX)}, in bytes or with a unit (${SIZE_UNIT_NAMES})`;
  return quantity(description, allowed, parseSize, (bytes) => {
    if (bytes === 0) return "not a positive size";
    if (bytes % PAGE_BYTES !== 0) return "not a multiple of 4KiB";
    if (bytes < min) return "too small";
    return bytes > SIZE_MAX ? "too large" : undefined;
  });
}

/** Virtual ns in `min`..`max`. */
export function time(description: string, { min = 0, max = Number.MAX_SAFE_INTEGER } = {}): Quantity {
  const range = min === 0 ? "a time" : "a time of at least 1ns";
  const bound = max === Number.MAX_SAFE_INTEGER ? "" : `, at most ${max}ns`;
  const allowed = `${range}${bound}, in ns or with a unit (${TIME_UNIT_NAMES})`;
  return quantity(description, allowed, parseTime, (ns) => {
    if (ns < min) return "too short";
    return ns > max ? "too long" : undefined;
  });
}

/** A whole number in `min`..`max`. */
export function count(description: string, { min = 1, max = Number.MAX_SAFE_INTEGER } = {}): Value<number> {
  const range = max === Number.MAX_SAFE_INTEGER ? `of at least ${min}` : `${min}..${max}`;
  return v.pipe(
    v.number(),
    v.integer(),
    v.minValue(min),
    v.maxValue(max),
    meaning(description, `a whole number ${range}`),
  );
}

/** An address in the process of a VM's monitor: a multiple of 4 KiB below 2^47. */
export function address(description: string): Quantity {
  const allowed = 'a multiple of 4096 below 2^47, as a number or as a text "0x…"';
  const read = (value: number | string): Reading => {
    const number = typeof value === "number" ? value : /^0x[0-9a-f]+$/i.test(value) ? Number(value) : -1;
    if (Number.isInteger(number) && number >= 0) return { ok: true, value: number };
    return { ok: false, problem: `${JSON.stringify(value)} is not an address` };
  };
  return quantity(description, allowed, read, (at) => {
    if (at % PAGE_BYTES !== 0) return "not a multiple of 4096";
    return at >= 2 ** 47 ? "too large" : undefined;
  });
}

/** A power of two in `min`..`max`, both themselves powers of two. */
export function powerOfTwo(description: string, { min, max }: { min: number; max: number }): Value<number> {
  const powers: number[] = [];
  for (let power = min; power <= max; power *= 2) powers.push(power);
  return v.pipe(v.picklist(powers), meaning(description, `a power of two, ${min}..${max}`));
}

/** A probability or share, 0..1. */
export function ratio(description: string): Value<number> {
  return v.pipe(v.number(), v.minValue(0), v.maxValue(1), meaning(description, "a number 0..1"));
}

/** A finite number above 0. */
export function aboveZero(description: string): Value<number> {
  return v.pipe(v.number(), v.finite(), v.gtValue(0), meaning(description, "a number above 0"));
}

export function flag(description: string): Value<boolean> {
  return v.pipe(v.boolean(), meaning(description, "true, false"));
}

export function text(description: string): Value<string> {
  return v.pipe(v.string(), v.nonEmpty(), meaning(description, "a text of at least one character"));
}

/** A name that paths, `vm/task` references and reports can quote. */
export function name(description: string): Value<string> {
  const allowed = "letters, digits, '.', '_' and '-'";
  return v.pipe(v.string(), v.regex(/^[A-Za-z0-9._-]+$/), meaning(description, allowed));
}

/** One of several named designs. An alias is accepted and resolved to the name it stands for. */
export function choice<const T extends string>(
  description: string,
  options: { values: readonly T[]; later?: readonly string[] },
): Value<T>;
export function choice<const T extends string, const A extends string>(
  description: string,
  options: { values: readonly T[]; aliases: Readonly<Record<A, NoInfer<T>>>; later?: readonly string[] },
): Value<T | A, T>;
export function choice(
  description: string,
  options: {
    values: readonly string[];
    aliases?: Readonly<Record<string, string>>;
    later?: readonly string[];
  },
): Value<string> {
  const aliases = new Map(Object.entries(options.aliases ?? {}));
  const names = [...options.values, ...aliases.keys()];
  return v.pipe(
    v.picklist(names),
    meaning(description, names.map((known) => JSON.stringify(known)).join(", "), options.later),
    v.transform((chosen) => aliases.get(chosen) ?? chosen),
  );
}

/** A key that has a single value in this version; `later` are values of mechanisms to come. */
export function only<const T extends number | boolean>(
  description: string,
  value: T,
  later: Meaning["later"],
): Value<T> {
  return v.pipe(v.literal(value), meaning(description, String(value), later));
}

/** One of a few numbers. */
export function oneOf<const T extends number>(description: string, values: readonly T[]): Value<T> {
  return v.pipe(v.picklist(values), meaning(description, values.join(", ")));
}

/** The key that tells the variants of an object apart. */
export function tag<const T extends string>(description: string, value: T): Value<T> {
  return v.pipe(v.literal(value), meaning(description, JSON.stringify(value)));
}

/** An object with exactly these keys; `later` are keys of mechanisms to come. */
export function object<const E extends v.ObjectEntries>(
  description: string,
  entries: E,
  later: readonly string[] = [],
): v.StrictObjectSchema<E, undefined> {
  return v.pipe(
    refuseLists(v.strictObject(entries)),
    meaning(description, `an object with ${Object.keys(entries).join(", ")}`, later),
  );
}

/** valibot takes a list for an object without keys; here it is not an object. */
function refuseLists<E extends v.ObjectEntries>(
  schema: v.StrictObjectSchema<E, undefined>,
): v.StrictObjectSchema<E, undefined> {
  const run: (typeof schema)["~run"] = (dataset, config) =>
    schema["~run"](Array.isArray(dataset.value) ? { value: null } : dataset, config);
  return { ...schema, "~run": run };
}

/** A list of at least `min` items, each of which is a `noun`. */
export function list<const S extends v.GenericSchema>(
  description: string,
  noun: string,
  item: S,
  { min = 0 } = {},
): v.ArraySchema<S, undefined> {
  const allowed = min === 0 ? `a list of ${noun}s` : `a list of at least ${min} ${noun}`;
  return v.pipe(v.array(item), v.minLength(min), meaning(description, allowed));
}

/** An object whose keys depend on its key `key`; `later` are values of it that stand for mechanisms to come. */
export function byKey<const K extends string, const O extends v.VariantOptions<K>>(
  key: K,
  description: string,
  options: O,
  later: readonly string[] = [],
): v.VariantSchema<K, O, undefined> {
  return v.pipe(v.variant(key, options), meaning(description, `an object with a key ${key}`, later));
}

/** Either a plain value or an object that says more. */
export function either<const A extends v.GenericSchema, const B extends v.GenericSchema>(
  description: string,
  allowed: string,
  plain: A,
  detailed: B,
): v.UnionSchema<[A, B], undefined> {
  return v.pipe(v.union([plain, detailed]), meaning(description, allowed));
}

/** A key that may be absent and then is null: no limit, no end, nothing. */
export function maybe<const S extends v.GenericSchema>(schema: S): v.NullishSchema<S, null> {
  return v.nullish(schema, null);
}
