// The explorer: how many states it visits, and whether having it in the core slows a run, which uses the same steps. For the second a core
// is compiled that has all but the explorer.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { type Exploration, explore } from "#dist/explore/index.js";
import { Machine } from "#dist/index.js";
import { faultRows } from "./faults.bench.js";
import { median, race, speedup } from "./measure.js";
import { figure, ratio, type Setting, type SuiteReport, table, whole } from "./report.js";
import { coreWithout } from "./without.js";

const ROOT = fileURLToPath(new URL("../../", import.meta.url));
const EXPLORED = ["race-2008", "smp-2007", "smp-2007-fixed", "apf-migrate-2013"];
const ROUNDS = 3;
const ACCESSES = 400_000;

export interface ExploreRow {
  exploration: string;
  states: number;
  statesPerS: number;
}

interface RunRow {
  run: string;
  /** How many times faster the core without the explorer is. */
  withoutExplorer: number;
}

/** Explores a preset; CPU time counts, the compiled core is there. */
export async function exploreRow(
  name: string,
  module: WebAssembly.Module,
  rounds = ROUNDS,
): Promise<ExploreRow> {
  const exploration = JSON.parse(
    readFileSync(join(ROOT, "examples", "explore", `${name}.json`), "utf8"),
  ) as Exploration;
  let states = 0;
  const seconds: number[] = [];
  for (let round = 0; round < rounds; round++) {
    const before = process.cpuUsage();
    ({ states } = await explore(exploration, { module }));
    const { user, system } = process.cpuUsage(before);
    seconds.push((user + system) / 1e6);
  }
  return { exploration: name, states, statesPerS: states / median(seconds) };
}

async function runRows({ module }: Setting): Promise<RunRow[]> {
  const other = coreWithout("explorer");
  const rows: RunRow[] = [];
  for (const { name, scenario, pages } of faultRows().slice(1, 3)) {
    const machines = await Promise.all(
      [module, other].map(async (core) => {
        const machine = await Machine.create(scenario, { module: core });
        machine.run({ accesses: 4 * pages });
        return machine;
      }),
    );
    const [ours, theirs] = race(
      machines.map((machine, index) => ({
        name: String(index),
        run: () => machine.run({ accesses: ACCESSES }),
      })),
      9,
    );
    rows.push({ run: name, withoutExplorer: speedup(theirs!, ours!) });
  }
  return rows;
}

export async function explorer(setting: Setting): Promise<SuiteReport> {
  const explored: ExploreRow[] = [];
  for (const name of EXPLORED) explored.push(await exploreRow(name, setting.module));
  const runs = await runRows(setting);
  return {
    title: "explorer: states a second, and what having it costs a run",
    rows: [...explored, ...runs],
    text: [
      ...table(
        [
          { head: "exploration", cell: ({ exploration }: ExploreRow) => exploration, align: "left" },
          { head: "states", cell: ({ states }: ExploreRow) => whole(states) },
          { head: "states/s", cell: ({ statesPerS }: ExploreRow) => figure(statesPerS) },
        ],
        explored,
      ),
      "",
      ...table(
        [
          { head: "run", cell: ({ run }: RunRow) => run, align: "left" },
          {
            head: "without the explorer",
            cell: ({ withoutExplorer: times }: RunRow) => `${ratio(times)} as fast`,
          },
        ],
        runs,
      ),
      "A second is a CPU second.",
    ],
  };
}
