// Where the points of a sweep run: in the caller's thread, one at a time, or in threads of their own (threads.ts).

import type { Scenario } from "../scenario.js";
import { runPoint, type Shared } from "./point.js";
import type { Outcome } from "./row.js";

export interface Lanes {
  /** Points that may be under way or done and not yet taken. */
  window: number;
  /** Never rejects. */
  run(scenario: Scenario): Promise<Outcome>;
  /** Ends what is under way; its outcomes are errors then. May be called twice. */
  close(): Promise<void>;
}

export interface LaneOptions {
  /** Points that are to run. */
  points: number;
  /** How many at once; undefined: as many as the machine runs. */
  workers: number | undefined;
  signal: AbortSignal | undefined;
}

/** Gets lanes ready. */
export type OpenLanes = (shared: Shared, options: LaneOptions) => Promise<Lanes>;

/** One point at a time, in this thread. */
export const ownThread: OpenLanes = async (shared, { signal }) => ({
  window: 1,
  run: (scenario) => runPoint(scenario, shared, signal),
  close: async () => {},
});
