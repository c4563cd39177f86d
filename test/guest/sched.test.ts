// At stake: which task runs when. First in, first out, a task keeps its vCPU until it sleeps or ends; a manual task waits to be started,
// and nothing waits for it before that.

import { test } from "uvu";
import * as assert from "uvu/assert";
import type { Scenario } from "#dist/index.js";
import { create, debugModule, refusal, type Task, vmOf } from "../scenes.js";

const MS = 1_000_000;

function guest(tasks: Task[], scheduler: "fair" | "fifo" = "fifo"): Scenario {
  return {
    host: { memory: "8MiB" },
    vms: [{ name: "vm", memory: "1MiB", guest: { scheduler, tasks } }],
  };
}

const compute = (name: string, others: Partial<Task> = {}): Task => ({
  name,
  workload: { kind: "compute", time: 20 * MS },
  ...others,
});

test("first in, first out: each runs to its end, in the order of becoming ready", async () => {
  const machine = await create(
    guest([compute("a"), compute("b", { start: 5 * MS }), compute("c", { start: 2 * MS })]),
    { module: await debugModule },
  );
  const { tasks } = vmOf(machine.run());
  machine.check();
  const [a, b, c] = tasks as [(typeof tasks)[0], (typeof tasks)[0], (typeof tasks)[0]];
  assert.ok(a.endNs! < c.endNs! && c.endNs! < b.endNs!, "c was ready before b");
  for (const { name, runNs, readyNs, startNs, endNs } of tasks) {
    assert.is(Math.round(runNs / MS), 20, `${name} ran once, without giving way`);
    assert.is(startNs! + readyNs + runNs, endNs, name);
  }
  const fair = vmOf((await create(guest([compute("a"), compute("b")], "fair"))).run()).tasks;
  assert.ok(Math.abs(fair[0]!.endNs! - fair[1]!.endNs!) < 10 * MS, "fair tasks take turns");
});

test("a manual task runs when it is started, and a run ends without it", async () => {
  const tasks = [
    compute("now"),
    compute("later", { manual: true }),
    compute("last", { start: { after: "vm/later" } }),
  ];
  const machine = await create(guest(tasks), { module: await debugModule });
  assert.is(machine.run().stoppedBy, "tasks");
  machine.check();
  assert.equal(
    vmOf(machine.result()).tasks.map(({ endNs }) => endNs === null),
    [false, true, true],
  );
  await refusal(() => machine.run(), "E_ENDLESS");
  machine.startTask("vm", "later");
  assert.is(machine.run().stoppedBy, "tasks");
  machine.check();
  assert.ok(vmOf(machine.result()).tasks.every(({ endNs }) => endNs !== null));
  assert.match(await refusal(() => machine.startTask("vm", "later"), "E_STEP"), "does not wait for this");
  assert.match(await refusal(() => machine.startTask("vm", "lter"), "E_STEP"), '"now", "later", "last"');
});

test("a manual task has no time to start at", async () => {
  const message = await refusal(
    () => create(guest([compute("a", { manual: true, start: 5 })])),
    "E_SCENARIO",
  );
  assert.match(message, "is manual: machine.startTask() starts it");
});

test.run();
