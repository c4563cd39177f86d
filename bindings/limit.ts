// Limits of a run: how far it goes from where the machine stands.

import { PagevisorError } from "./errors.js";
import { parseTime } from "./units.js";

/** How far a run goes, counted from now; whichever is reached first. Accesses are summed over all guests, time is virtual. */
export interface Limit {
  /** Number of accesses, a whole number from 1. */
  accesses?: number;
  /** ns, or with a unit: "10ms". */
  time?: number | string;
}

/** A limit in numbers, infinite where there is none. */
export interface Bound {
  accesses: number;
  timeNs: number;
}

/** Checks a limit. @throws PagevisorError E_LIMIT */
export function boundOf(limit: Limit): Bound {
  const { accesses, time } = limit;
  if (accesses !== undefined && !(Number.isSafeInteger(accesses) && accesses > 0)) {
    throw new PagevisorError(
      "E_LIMIT",
      `limit.accesses: ${String(accesses)} is not a number of accesses; allowed: a whole number from 1`,
    );
  }
  let timeNs = Number.POSITIVE_INFINITY;
  if (time !== undefined) {
    const reading = parseTime(time);
    if (!reading.ok || reading.value <= 0) {
      throw new PagevisorError(
        "E_LIMIT",
        `limit.time: ${JSON.stringify(time)} is not a virtual time; allowed: ns above 0, or a string such as "10ms"`,
      );
    }
    timeNs = reading.value;
  }
  return { accesses: accesses ?? Number.POSITIVE_INFINITY, timeNs };
}

/** The limit that a scenario's `duration` or `warmUp` names. */
export function limitOf({ accesses, time }: { accesses: number | null; time: number | null }): Limit {
  return { ...(accesses !== null && { accesses }), ...(time !== null && { time }) };
}
