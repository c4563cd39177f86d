// What a worker thread runs: points that it is sent, one after the other. The core arrives compiled, traces in shared memory.

import { workerData } from "piscina";
import type { Scenario } from "../scenario.js";
import { runPoint, type Shared } from "./point.js";
import type { Outcome } from "./row.js";

export default function run(scenario: Scenario): Promise<Outcome> {
  return runPoint(scenario, workerData as Shared);
}
