// At stake: why a fault is not asynchronous, or its guest not told. Each cause is provoked alone and counted as itself; the guest's area is found again after
// the memslots have changed, and not where it was; every tracepoint is written as often as its counter counts.

import { test } from "uvu";
import * as assert from "uvu/assert";
import type { Machine, Scenario } from "#dist/index.js";
import { create, debugModule, type Task, vmOf } from "../scenes.js";

type AsyncPf = NonNullable<Scenario["vms"][number]["asyncPf"]>;

const AREA = 511;

/** A guest of 2 MiB under a limit of half a MiB, whose task begins when `begin` says. */
function pressed(asyncPf: AsyncPf, others: Partial<Scenario["vms"][number]> = {}, task: Partial<Task> = {}) {
  return {
    host: { memory: "8MiB", cpus: 2, swap: [{ kind: "nvme", size: "16MiB" }] },
    vms: [
      {
        name: "guest",
        memory: "2MiB",
        memoryMax: 128 * 4096,
        asyncPf,
        guest: {
          tasks: [
            {
              name: "sweep",
              workload: { kind: "sequential", pages: 400, writes: 1, passes: 4 },
              ...task,
            },
          ],
        },
        ...others,
      },
    ],
    check: { integrity: true },
    trace: { events: ["kvm_async_pf_*", "kvm_try_async_get_page"], capacity: 200_000 },
  } as Scenario;
}

function counters(machine: Machine) {
  return vmOf(machine.result()).asyncPf;
}

/** The causes that have been counted. */
function causes(machine: Machine): string[] {
  return Object.entries(counters(machine).syncFallback)
    .filter(([, count]) => count > 0)
    .map(([cause]) => cause);
}

test("disabled: the patch of 2010 waits as soon as its guest has switched off", async () => {
  const machine = await create(pressed({ design: "2010" }), { module: await debugModule });
  machine.run({ accesses: 700 });
  const { notPresent } = counters(machine);
  assert.ok(notPresent > 10);
  assert.equal(causes(machine), []);
  assert.is(machine.writeMsr("guest", 0, "async-pf-en", AREA * 4096), "done");
  machine.run();
  machine.check();
  assert.equal(causes(machine), ["disabled"]);
  assert.is(counters(machine).notPresent, notPresent);
  assert.ok(counters(machine).syncFallback.disabled > 50);
});

test("disabled: today's host then halts the vCPU instead", async () => {
  const machine = await create(pressed({ design: "upstream" }), { module: await debugModule });
  machine.run({ accesses: 700 });
  const { notPresent } = counters(machine);
  machine.writeMsr("guest", 0, "async-pf-en", AREA * 4096);
  machine.run();
  machine.check();
  assert.not.ok(causes(machine).includes("disabled"));
  const { halted, notPresent: all } = counters(machine);
  assert.ok(halted > 10);
  assert.is(halted, all - notPresent);
});

test("reinjection: an access with interrupts off waits itself, whatever the design", async () => {
  for (const design of ["2010", "halt-only", "upstream"] as const) {
    const machine = await create(pressed({ design }, {}, { manual: true }), { module: await debugModule });
    for (let gfn = 0; gfn < 400; gfn++) machine.access("guest", 0, gfn, "write");
    const { notPresent } = counters(machine);
    const before = counters(machine).syncFallback.reinjection;
    for (let gfn = 0; gfn < 64; gfn++) machine.access("guest", 0, gfn, "write", { interrupts: false });
    machine.check();
    assert.ok(counters(machine).syncFallback.reinjection > before, design);
    assert.is(counters(machine).notPresent, notPresent, design);
  }
});

test("a slot that goes takes the area's cached address along: nobody is told until it is back", async () => {
  const memslots = [
    { gfn: 0, pages: 448 },
    { gfn: 448, pages: 64 },
  ];
  const events = [
    { at: "1ms", vm: "guest", do: "memslot" as const, id: 1, slot: null },
    { at: "8ms", vm: "guest", do: "memslot" as const, id: 1, slot: { gfn: 448, pages: 64 } },
  ];
  const scenario = { ...pressed({ design: "upstream" }, { memslots }, { start: "2ms" }), events } as Scenario;
  const machine = await create(scenario, { module: await debugModule });
  machine.access("guest", 0, AREA, "read"); // the guest runs, and switches its part on
  machine.run({ time: "7500us" });
  machine.check();
  const without = counters(machine);
  assert.ok(without.halted > 10);
  assert.is(without.halted, without.notPresent, "nobody can be told");
  machine.run();
  machine.check();
  const { halted, notPresent, ready } = counters(machine);
  assert.ok(notPresent - halted > 10, "told again");
  assert.is(ready, notPresent);
  assert.is(machine.result().events!.filter(({ error }) => error !== null).length, 0);
});

test("every tracepoint stands for what its counter counts", async () => {
  const reader = (name: string): Task => ({
    name,
    region: "one",
    workload: { kind: "sequential", pages: 400, writes: 0, passes: 2 },
  });
  const guest = { tasks: [{ ...reader("a"), prefault: true }, reader("b")], timeslice: "100us" };
  const machine = await create(pressed({ design: "upstream" }, { guest }), { module: await debugModule });
  machine.run();
  const text = machine.traceText();
  const count = (name: string): number => text.split(` ${name}: `).length - 1;
  const { notPresent, ready, repeated, halted, syncFallback } = counters(machine);
  assert.ok(repeated > 0 && notPresent > 0);
  assert.is(count("kvm_async_pf_not_present"), notPresent);
  assert.is(count("kvm_async_pf_completed"), notPresent);
  assert.is(count("kvm_async_pf_ready"), ready + 1, "and the broadcast");
  assert.is(count("kvm_async_pf_repeated_fault"), repeated);
  assert.is(
    count("kvm_try_async_get_page"),
    notPresent + repeated + syncFallback.limit + syncFallback.allocation,
  );
  assert.is(count("kvm_async_pf_task_wait"), notPresent - halted);
  assert.is(
    count("kvm_async_pf_task_wake"),
    notPresent - halted + 2,
    "the broadcast, and the guest's own wake-all as it switches on",
  );
});

test.run();
