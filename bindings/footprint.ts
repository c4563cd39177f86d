// What a machine takes of its core's memory, whole and by part. The core counts while it lays its regions out.

import type { Core } from "./core.js";

/** In the order of the core's numbers for them. */
const REGIONS = [
  "records",
  "frames",
  "primaryPtes",
  "sptes",
  "tlbs",
  "swap",
  "workloads",
  "statistics",
  "events",
  "trace",
  "integrity",
  "policies",
  "asyncPf",
] as const;

/** A part of a machine's state; `tables` is what does not depend on the scenario. */
export type FootprintPart = (typeof REGIONS)[number] | "tables";

/** What a machine takes of its core's memory. */
export interface Footprint {
  /** The whole, in bytes. */
  bytes: number;
  /** Bytes by part; they sum to `bytes`. `tables` is what does not depend on the scenario: the core's own static data. */
  parts: Record<FootprintPart, number>;
}

/** The footprint of a core that has booted. */
export function footprintOf({ call }: Core): Footprint {
  const bytes = call.bootBytes();
  const parts = REGIONS.map((name, part) => [name, call.bootPartBytes(part)] as const);
  const tables = parts.reduce((left, [, taken]) => left - taken, bytes);
  return {
    bytes,
    parts: Object.fromEntries([["tables", tables], ...parts]) as Record<FootprintPart, number>,
  };
}
