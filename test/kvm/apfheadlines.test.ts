// At stake: what asynchronous page faults were published to gain follows from the mechanism and the prices. The presets run as they are
// shipped, each design beside `off`.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { Scenario } from "#dist/index.js";
import { create, EXAMPLES, vmOf } from "../scenes.js";

type Design = NonNullable<NonNullable<Scenario["vms"][number]["asyncPf"]>["design"]>;

function preset(name: string, design: Design): Scenario {
  const scenario = JSON.parse(readFileSync(join(EXAMPLES, "headlines", `${name}.json`), "utf8")) as Scenario;
  scenario.vms[0]!.asyncPf!.design = design;
  return scenario;
}

test("a task that writes twice what fits ends in half the time beside one that computes, and in the same time alone", async () => {
  const runNs = async (design: Design, alone: boolean): Promise<number> => {
    const scenario = preset("apf-2021-arm64", design);
    const { tasks } = scenario.vms[0]!.guest!;
    if (alone) tasks!.pop();
    const machine = await create(scenario);
    machine.run();
    const { startNs, endNs } = vmOf(machine.result()).tasks[0]!;
    machine.dispose();
    return endNs! - startNs!;
  };
  const beside = (await runNs("upstream", false)) / (await runNs("off", false));
  assert.ok(beside >= 0.5 && beside <= 0.7, `${beside}`);
  const alone = (await runNs("upstream", true)) / (await runNs("off", true));
  assert.ok(alone >= 0.95 && alone <= 1.05, `${alone}`);
});

test.run();
