// At stake: the moments at which an asynchronous page fault can go wrong. The page is there before the guest sleeps, the tokens wrap around,
// the guest switches its part off while faults are outstanding: each is tried at every moment of a fault's life, and nobody is left asleep.

import { test } from "uvu";
import * as assert from "uvu/assert";
import type { Machine, Scenario } from "#dist/index.js";
import { create, debugModule, type Task, vmOf } from "../scenes.js";
import { eventsOf, follow } from "./tokens.js";

type AsyncPf = NonNullable<Scenario["vms"][number]["asyncPf"]>;

/** Two tasks that take turns on one vCPU, in a third of the memory that they need, on a device that answers after `readNs`. */
function pressed(asyncPf: AsyncPf, readNs: number): Scenario {
  const task = (name: string): Task => ({
    name,
    workload: { kind: "sequential", pages: 60, writes: 1, passes: 2 },
  });
  return {
    host: {
      memory: "8MiB",
      cpus: 2,
      swap: [{ readNs, writeNs: 1000, servers: 4, size: "4MiB" }],
    },
    vms: [
      {
        name: "vm",
        memory: "1MiB",
        memoryMax: 40 * 4096,
        asyncPf,
        guest: { tasks: [task("a"), task("b")] },
      },
    ],
    check: { integrity: true },
    trace: { events: ["kvm_async_pf_*", "kvm_inj_*"], capacity: 20_000 },
  };
}

function ended(machine: Machine): void {
  assert.is(machine.run({ time: "1s" }).stoppedBy, "tasks", "a task sleeps for ever");
  machine.check();
  const { lostWrites, staleReads } = vmOf(machine.result()).integrity;
  assert.equal([lostWrites, staleReads], [0, 0]);
}

test("ready first: whenever the page comes, the task sleeps until then or not at all", async () => {
  const module = await debugModule;
  for (const design of ["2010", "upstream"] as const) {
    let slept = 0;
    let wentOn = 0;
    for (let readNs = 0; readNs <= 4000; readNs += 100) {
      const machine = await create(pressed({ design }, readNs), { module });
      ended(machine);
      const events = eventsOf(machine);
      assert.is(follow(events).outstanding.size, 0);
      const waits = events.filter(({ name }) => name === "kvm_async_pf_task_wait");
      slept += waits.filter(({ text }) => text.endsWith("sleeps")).length;
      wentOn += waits.filter(({ text }) => text.endsWith("goes on")).length;
      machine.dispose();
    }
    assert.ok(slept > 60, `${design}: ${slept}`);
    // Today the guest is told before the work is scheduled, so the page never comes first.
    if (design === "2010") assert.ok(wentOn > 10, `${wentOn}`);
    else assert.is(wentOn, 0);
  }
});

test("reset: switching off at any moment of a fault, and on again, leaves nobody asleep", async () => {
  const module = await debugModule;
  const first = await create(pressed({ design: "upstream" }, 8000), { module });
  first.run({ accesses: 130 }); // a fault is outstanding, and soon another
  let cancelled = 0;
  for (let moment = 0; moment < 160; moment++) {
    const machine = first.fork();
    if (moment > 0) machine.run({ time: 100 * moment });
    assert.is(machine.writeMsr("vm", 0, "async-pf-en", 255 * 4096), "done");
    machine.check();
    cancelled += vmOf(machine.result()).asyncPf.cancelled;
    if (moment % 2 === 0) assert.is(machine.writeMsr("vm", 0, "async-pf-en", 255 * 4096 + 9), "done");
    ended(machine);
    const { notPresent, ready, cancelled: dropped } = vmOf(machine.result()).asyncPf;
    assert.is(notPresent, ready + dropped);
    machine.dispose();
  }
  assert.ok(cancelled > 20, `${cancelled}`);
});

test("token wrap: harmless, unless a task still sleeps under the token of 2^20 faults before", async () => {
  const tokens = async (asyncPf: AsyncPf): Promise<number[]> => {
    const machine = await create(pressed(asyncPf, 4000), { module: await debugModule });
    ended(machine);
    const events = eventsOf(machine);
    follow(events);
    return events.filter(({ name }) => name === "kvm_async_pf_not_present").map(({ token }) => token);
  };
  const attempts = 2 ** 20 - 2;
  const now = await tokens({ design: "upstream", attempts });
  assert.equal(now.slice(0, 4), [0xffffe000, 0xfffff000, 0x1000, 0x2000]);
  const old = await tokens({ design: "2010", attempts });
  assert.equal(old.slice(0, 4), [0xffffe000, 0xfffff000, 0, 0x1000]);

  // The pager keeps the first task's page back; meanwhile the vCPU's other tasks have had 2^20 faults.
  const reader = (name: string): Task => ({
    name,
    manual: true,
    workload: { kind: "sequential", pages: 1, writes: 0 },
  });
  const machine = await create(
    {
      host: { memory: "8MiB", cpus: 2 },
      vms: [
        {
          name: "vm",
          memory: "1MiB",
          pager: { gfn: 0, pages: 2, quiet: "10ms" },
          asyncPf: { design: "upstream" },
          guest: { tasks: [reader("a"), reader("b")] },
        },
      ],
    },
    { module: await debugModule },
  );
  machine.startTask("vm", "a");
  machine.run({ time: "1ms" });
  const later = machine.fork({ set: { "vms.vm.asyncPf.attempts": 2 ** 20 } });
  later.startTask("vm", "b");
  const { status, violations } = later.run({ time: "1ms" });
  assert.is(status, "violation");
  assert.equal(
    violations!.map(({ kind, vm, gfn }) => [kind, vm, gfn]),
    [["tokenReuse", "vm", 1]],
  );
});

test.run();
