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

test("beyond the number of tasks that fault on a vCPU the limit changes nothing, to the last event", async () => {
  const run = async (perVcpu: number) => {
    const scenario = preset("apf-limit", "2010");
    scenario.vms[0]!.asyncPf!.perVcpu = perVcpu;
    const result = (await create(scenario)).run({ time: "400ms" });
    const { tasks, asyncPf } = vmOf(result);
    return {
      digest: result.digest,
      work: tasks.reduce((sum, { work }) => sum + work, 0),
      waited: asyncPf.syncFallback.limit,
    };
  };
  const [four, eight, hundred] = [await run(4), await run(8), await run(100)];
  assert.equal(eight, hundred);
  assert.is(eight.waited, 0);
  assert.ok(four.waited > 0 && four.work < 0.4 * eight.work, `${four.work} of ${eight.work}`);
});

test("16 vCPUs have 1,600 kernel threads waiting under a limit of 100, and 1,024 at most under one of 64", async () => {
  // A quarter of the preset's memory.
  const peak = async (perVcpu: number): Promise<number> => {
    const scenario = preset("apf-workers", "2010");
    const [vm] = scenario.vms;
    vm!.asyncPf!.perVcpu = perVcpu;
    vm!.memoryMax = "64MiB";
    for (const { workload } of vm!.guest!.tasks!) Object.assign(workload, { pages: 65_536 });
    return (await create(scenario)).run({ time: "100ms" }).host.asyncPfWorkersPeak;
  };
  assert.is(await peak(100), 1600);
  const narrow = await peak(64);
  assert.ok(narrow > 1000 && narrow <= 1024, `${narrow}`);
});

test.run();
