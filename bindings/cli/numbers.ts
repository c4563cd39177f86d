// Numbers as the page prints them. Sizes and times come from units.ts; this is counts, shares and rates.
// A zero that means "none" is a dash: a column of dashes is read at a glance, a column of zeros is not.

import { formatBytes, formatNs } from "../units.js";

/** What stands where there is nothing to show. */
export const NONE = "–";

const PAGE_BYTES = 4096;

/** A count with thousands separators: `4,292,590`; a dash for 0. */
export function count(value: number): string {
  return value === 0
    ? NONE
    : Math.round(value)
        .toString()
        .replace(/\B(?=(\d{3})+$)/g, ",");
}

/** A memory figure given in 4 KiB pages, printed as bytes; a dash for 0. */
export function pages(value: number): string {
  return value === 0 ? NONE : formatBytes(value * PAGE_BYTES);
}

/** A time in ns; a dash for 0. */
export function time(ns: number): string {
  return ns === 0 ? NONE : formatNs(ns);
}

/** `part` of `whole` in percent with one digit: `71.2%`; a dash when there is no part or no whole. */
export function share(part: number, whole: number): string {
  if (part <= 0 || whole <= 0) return NONE;
  const percent = (100 * part) / whole;
  return percent < 0.05 ? "<0.1%" : `${percent.toFixed(1)}%`;
}

/** A rate with three digits: `10.4M/s`, with a noun `834k accesses/s`; a dash for 0. */
export function rate(perSecond: number, noun = ""): string {
  const per = noun === "" ? "/s" : ` ${noun}/s`;
  if (!(perSecond > 0) || !Number.isFinite(perSecond)) return NONE;
  for (const [limit, unit] of [
    [1e9, "G"],
    [1e6, "M"],
    [1e3, "k"],
  ] as const) {
    // 0.9995: a value that three digits would round up to 1,000 belongs to the next unit.
    if (perSecond >= 0.9995 * limit) return `${digits(perSecond / limit)}${unit}${per}`;
  }
  return `${digits(perSecond)}${per}`;
}

function digits(value: number): string {
  if (value >= 99.95) return value.toFixed(0);
  return value >= 9.995 ? value.toFixed(1) : value.toFixed(2);
}
