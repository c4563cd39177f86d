// Sizes and times as people write them: "256MiB", "80us". Reads them exactly (no floating point) and prints them for the human output.
// Left out: decimal units of bytes (memory is sized in binary units) and calendar units of time.

/** What reading a size or a time gives: the number, or what is wrong with the text, without a final full stop. */
export type Reading = { ok: true; value: number } | { ok: false; problem: string };

/** Sizes a number of bytes can be written in, smallest first. */
const SIZE_UNITS: ReadonlyMap<string, number> = new Map([
  ["B", 1],
  ["KiB", 2 ** 10],
  ["MiB", 2 ** 20],
  ["GiB", 2 ** 30],
  ["TiB", 2 ** 40],
]);

/** Times a number of nanoseconds can be written in, smallest first. */
const TIME_UNITS: ReadonlyMap<string, number> = new Map([
  ["ns", 1],
  ["us", 1e3],
  ["ms", 1e6],
  ["s", 1e9],
  ["min", 60e9],
]);

export const SIZE_UNIT_NAMES = [...SIZE_UNITS.keys()].join(", ");
export const TIME_UNIT_NAMES = [...TIME_UNITS.keys()].join(", ");

/** Units that people write for one of ours, lower case. */
const SIZE_UNIT_MEANT: ReadonlyMap<string, string> = new Map([
  ...["k", "kb", "kib", "ki"].map((unit) => [unit, "KiB"] as const),
  ...["m", "mb", "mib", "mi"].map((unit) => [unit, "MiB"] as const),
  ...["g", "gb", "gib", "gi"].map((unit) => [unit, "GiB"] as const),
  ...["t", "tb", "tib", "ti"].map((unit) => [unit, "TiB"] as const),
  ...["b", "byte", "bytes"].map((unit) => [unit, "B"] as const),
]);

/** Micro is written with either of two characters (U+00B5, U+03BC); both lower-case to themselves. */
const TIME_UNIT_MEANT: ReadonlyMap<string, string> = new Map([
  ...["ns", "nsec", "nsecs"].map((unit) => [unit, "ns"] as const),
  ...["us", "usec", "usecs", "\u00b5s", "\u03bcs"].map((unit) => [unit, "us"] as const),
  ...["ms", "msec", "msecs"].map((unit) => [unit, "ms"] as const),
  ...["s", "sec", "secs", "second", "seconds"].map((unit) => [unit, "s"] as const),
  ...["m", "min", "mins", "minute", "minutes"].map((unit) => [unit, "min"] as const),
]);

const QUANTITY = /^(-?)(\d+)(?:\.(\d+))? ?(\D*)$/;

/**
 * Reads a size.
 *
 * @param value bytes, or a decimal number with one of B, KiB, MiB, GiB, TiB ("1.5GiB")
 * @returns bytes, a whole number 0..2^53 - 1
 */
export function parseSize(value: number | string): Reading {
  return parseQuantity(value, SIZE_UNITS, SIZE_UNIT_MEANT, "bytes");
}

/**
 * Reads a time.
 *
 * @param value nanoseconds, or a decimal number with one of ns, us, ms, s, min ("1.5ms")
 * @returns nanoseconds, a whole number 0..2^53 - 1
 */
export function parseTime(value: number | string): Reading {
  return parseQuantity(value, TIME_UNITS, TIME_UNIT_MEANT, "ns");
}

function parseQuantity(
  value: number | string,
  units: ReadonlyMap<string, number>,
  meant: ReadonlyMap<string, string>,
  base: string,
): Reading {
  if (typeof value === "number") {
    return checkWhole(Number.isSafeInteger(value) ? BigInt(value) : null, value, String(value), base);
  }
  const shown = JSON.stringify(value.length > 60 ? `${value.slice(0, 60)}…` : value);
  const parts = QUANTITY.exec(value.trim());
  if (parts === null) return { ok: false, problem: `${shown} is not a number with a unit` };

  const [, sign = "", whole = "", fraction = "", unit = ""] = parts;
  const digits = `${sign}${whole}${fraction === "" ? "" : `.${fraction}`}`;
  if (unit === "")
    return { ok: false, problem: `${shown} has no unit; did you mean ${digits} without quotes?` };
  const factor = units.get(unit);
  if (factor === undefined) {
    const name = meant.get(unit.toLowerCase());
    const suggestion = name === undefined ? "" : `; did you mean "${digits}${name}"?`;
    return { ok: false, problem: `${shown} has an unknown unit${suggestion}` };
  }
  const scale = 10n ** BigInt(fraction.length);
  const scaled = BigInt(`${sign}${whole}${fraction}`) * BigInt(factor);
  return checkWhole(
    scaled % scale === 0n ? scaled / scale : null,
    Number(scaled) / Number(scale),
    shown,
    base,
  );
}

function checkWhole(exact: bigint | null, about: number, shown: string, base: string): Reading {
  if (about < 0) return { ok: false, problem: `${shown} is negative` };
  if (Number.isNaN(about)) return { ok: false, problem: `${shown} is not a number` };
  if (about > Number.MAX_SAFE_INTEGER) return { ok: false, problem: `${shown} is too large` };
  if (exact === null) return { ok: false, problem: `${shown} is not a whole number of ${base}` };
  return { ok: true, value: Number(exact) };
}

/** A size for people, in the largest unit that leaves at least 1, with at most two decimals: "256MiB", "1.5GiB", "0B". */
export function formatBytes(bytes: number): string {
  const [name, factor] = largestUnit(bytes, SIZE_UNITS);
  return `${Number((bytes / factor).toFixed(2))}${name}`;
}

/** A time for people, with three significant digits below a thousand: "72.4us", "1.5ms", "90ns", "2.5min". */
export function formatNs(ns: number): string {
  const [name, factor] = largestUnit(Number(ns.toPrecision(3)), TIME_UNITS);
  const amount = ns / factor;
  return `${Math.abs(amount) >= 1000 ? Math.round(amount) : Number(amount.toPrecision(3))}${name}`;
}

function largestUnit(amount: number, units: ReadonlyMap<string, number>): [name: string, factor: number] {
  let [chosen = ["", 1] as [string, number]] = units;
  for (const unit of units) {
    if (Math.abs(amount) >= unit[1]) chosen = unit;
  }
  return chosen;
}
