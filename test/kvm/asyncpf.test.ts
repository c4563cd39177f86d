// At stake: asynchronous page faults end. Every fault that became asynchronous is consumed once, cancelled, or covered by a
// broadcast; tokens outstanding are unique; never more than the limit; no task sleeps for ever and none runs while it waits. The
// histories are read from the tracepoints, and the debug core asserts the rest after each slice.

import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { Machine, Scenario } from "#dist/index.js";
import { parameters } from "../reference/report.js";
import { create, debugModule, type Task, vmOf } from "../scenes.js";
import { ALL, eventsOf, follow } from "./tokens.js";

type AsyncPf = NonNullable<Scenario["vms"][number]["asyncPf"]>;

const EVENTS = ["kvm_async_pf_*", "kvm_try_async_get_page", "kvm_inj_*", "kvm_entry", "kvm_page_fault"];

/** A guest of 2 MiB under a limit of `limit` pages on an NVMe device, which is read ahead. */
function pressed(
  asyncPf: AsyncPf,
  tasks: Task[],
  others: { vcpus?: number; limit?: number; seed?: number } = {},
): Scenario {
  const { vcpus = 1, limit = 128, seed = 1 } = others;
  return {
    seed,
    host: { memory: "8MiB", cpus: vcpus + 1, swap: [{ kind: "nvme", size: "16MiB" }] },
    vms: [
      {
        name: "guest",
        memory: "2MiB",
        vcpus,
        memoryMax: limit * 4096,
        asyncPf,
        guest: { tasks, timeslice: "100us" },
      },
    ],
    check: { integrity: true },
    trace: { events: EVENTS, capacity: 200_000 },
  };
}

const sweep = (passes: number, writes = 1): Task => ({
  name: "sweep",
  workload: { kind: "sequential", pages: 400, writes, passes },
});

test("a guest that is told runs another task while its page is fetched", async () => {
  const compute: Task = { name: "compute", workload: { kind: "compute" } };
  const work = async (design: AsyncPf["design"] & string): Promise<[number, Machine]> => {
    const machine = await create(pressed({ design }, [sweep(3), compute]), { module: await debugModule });
    machine.run({ time: 20e6 });
    machine.check();
    return [vmOf(machine.result()).tasks[1]!.work, machine];
  };
  const [off] = await work("off");
  for (const design of ["2010", "upstream"] as const) {
    const [told, machine] = await work(design);
    assert.ok(told > 1.05 * off, `${design}: ${told} against ${off}`);
    const { told: notPresent, ready } = follow(eventsOf(machine));
    const { asyncPf } = vmOf(machine.result());
    assert.is(asyncPf.notPresent, notPresent);
    assert.is(asyncPf.ready, ready);
    assert.is(asyncPf.halted, 0);
    assert.ok(machine.result().host.asyncPfWorkersPeak >= 1);
  }
});

test("a guest that is not told has its vCPU halted, and the access does not fault again", async () => {
  const machine = await create(pressed({ design: "halt-only" }, [sweep(2)]), { module: await debugModule });
  machine.run();
  machine.check();
  const { asyncPf, faults, notifier, tasks } = vmOf(machine.result());
  assert.ok(asyncPf.notPresent > 10);
  assert.is(asyncPf.halted, asyncPf.notPresent);
  assert.is(asyncPf.ready, asyncPf.notPresent);
  assert.is(tasks[0]!.waitNs, 0);
  const events = eventsOf(machine);
  // Completion maps the page itself: as many exits for faults as faults, but for the guest's ticks in between.
  const exits = events.filter(({ name }) => name === "kvm_page_fault").length;
  const counted = faults.minor.count + faults.major.count + faults.writeProtect.count + faults.spurious.count;
  assert.is(exits - asyncPf.repeated - notifier.retries, counted);
  assert.not.ok(events.some(({ name }) => name === "kvm_inj_exception"));
});

test("switching on sends one broadcast, before anything else", async () => {
  const machine = await create(pressed({ design: "upstream" }, [sweep(2)]), { module: await debugModule });
  machine.run();
  const ready = eventsOf(machine).filter(({ name }) => name === "kvm_async_pf_ready");
  assert.is(ready[0]!.text, "token 0xffffffff gva 0x0");
  assert.is(ready.filter(({ token }) => token === ALL).length, 1);
  assert.is(ready[1]!.token, 0x1000);
});

test("without readahead every read is synchronous", async () => {
  const scenario = pressed({ design: "upstream" }, [sweep(2)]);
  const machine = await create({ ...scenario, host: { ...scenario.host, reclaim: { pageClusterPages: 1 } } });
  machine.run();
  const { asyncPf, faults } = vmOf(machine.result());
  assert.is(asyncPf.notPresent, 0);
  assert.is(asyncPf.syncFallback.noReadahead, faults.major.count);
  assert.ok(faults.major.count > 100);
});

test("in kernel mode the patch of 2010 waits, today's host halts, and tells the guest if it may", async () => {
  const kernel: Task = { ...sweep(2), mode: "kernel" };
  const run = async (asyncPf: AsyncPf) => {
    const machine = await create(pressed(asyncPf, [kernel]), { module: await debugModule });
    machine.run();
    machine.check();
    return vmOf(machine.result()).asyncPf;
  };
  const old = await run({ design: "2010" });
  assert.is(old.notPresent, 0);
  assert.ok(old.syncFallback.kernelMode > 40);
  const today = await run({ design: "upstream" });
  assert.ok(today.notPresent > 40);
  assert.is(today.halted, today.notPresent);
  const always = await run({ design: "upstream", sendAlways: true });
  assert.ok(always.notPresent > 40);
  assert.is(always.halted, 0);
});

test("beyond the limit a fault waits itself; fewer workers than that make works wait", async () => {
  const tasks = Array.from(
    { length: 6 },
    (_, index): Task => ({
      name: `t${index}`,
      workload: { kind: "uniform", pages: 60, writes: 1, accesses: 400 },
    }),
  );
  const run = async (asyncPf: AsyncPf) => {
    const machine = await create(pressed(asyncPf, tasks, { limit: 100 }), { module: await debugModule });
    machine.run();
    machine.check();
    const { peak } = follow(eventsOf(machine));
    return { ...machine.result().host, ...vmOf(machine.result()).asyncPf, peak };
  };
  const wide = await run({ design: "2010" });
  assert.ok(wide.outstandingPeak > 3 && wide.asyncPfWorkersPeak > 3);
  const narrow = await run({ design: "2010", perVcpu: 2 });
  assert.is(narrow.outstandingPeak, 2);
  assert.is(narrow.peak, 2);
  assert.ok(narrow.syncFallback.limit > 0);
  const few = await run({ design: "2010", workers: 1 });
  assert.is(few.asyncPfWorkersPeak, 1);
  assert.ok(few.outstandingPeak > 3);
});

test("a page that is on its way for another task of the vCPU halts it today, and is asked for again in 2010", async () => {
  const reader = (name: string): Task => ({
    name,
    region: "one",
    workload: { kind: "sequential", pages: 400, writes: 0, passes: 2 },
  });
  const tasks: Task[] = [{ ...reader("a"), prefault: true }, reader("b")];
  const run = async (design: "2010" | "upstream") => {
    const machine = await create(pressed({ design }, tasks), { module: await debugModule });
    machine.run();
    machine.check();
    follow(eventsOf(machine));
    return vmOf(machine.result()).asyncPf;
  };
  assert.ok((await run("upstream")).repeated > 0);
  assert.is((await run("2010")).repeated, 0);
});

test("writing to the guest's area marks it in the dirty log today, and did not in 2010", async () => {
  const dirty = async (design: "2010" | "upstream"): Promise<boolean | null> => {
    const scenario = pressed({ design }, [sweep(3)]);
    scenario.vms[0]!.memslots = [{ gfn: 0, pages: 512, flags: ["log-dirty-pages"] }];
    const machine = await create(scenario, { module: await debugModule });
    machine.run({ accesses: 600 });
    machine.dirtyLog("guest", 0);
    machine.traceText();
    // KVM has told the guest, whose handler has not yet touched the area itself.
    for (let slice = 0; slice < 1e5; slice++) {
      machine.run({ time: 20 });
      if (machine.traceText().includes("kvm_inj_exception")) break;
    }
    return machine.inspect({ vm: "guest", gfn: 511 }).dirty;
  };
  assert.is(await dirty("upstream"), true);
  assert.is(await dirty("2010"), false);
});

/** 64 or more tasks on a host that is far too small: its own pages, the guest's areas among them, go as well. */
const thrash = (memory: string, vcpus: number, count: number, accesses: number): Scenario => ({
  host: { memory, cpus: 2 * vcpus, swap: [{ kind: "sata-ssd", size: "64MiB" }] },
  vms: [
    {
      name: "guest",
      memory: "32MiB",
      vcpus,
      asyncPf: { design: "2010" },
      guest: {
        tasks: [{ count, region: "one", workload: { kind: "uniform", pages: 4000, writes: 1, accesses } }],
      },
    },
  ],
});

test("a fault that is told of late, after its completion, does not take the place of what the handler is about to read", async () => {
  const result = (await create(thrash("1536KiB", 4, 64, 300))).run({ time: "2s" });
  assert.is(result.stoppedBy, "tasks", "no task sleeps for ever");
});

test("a fault for which no work can be allocated without waiting waits itself", async () => {
  const result = (await create(thrash("3MiB", 8, 400, 40))).run({ time: "2s" });
  assert.is(result.stoppedBy, "tasks");
  const { asyncPf } = vmOf(result);
  assert.ok(asyncPf.syncFallback.allocation > 0);
  assert.is(asyncPf.notPresent, asyncPf.ready);
});

test("a fork may switch designs at any time, and nobody is left asleep", async () => {
  const tasks: Task[] = [
    sweep(3),
    { name: "other", workload: { kind: "uniform", pages: 100, writes: 1, accesses: 3000 } },
  ];
  const designs = ["off", "2010", "halt-only", "upstream"] as const;
  const change = fc.record({
    design: fc.constantFrom(...designs),
    perVcpu: fc.option(fc.constantFrom(1, 3, 80), { nil: undefined }),
    accesses: fc.integer({ min: 1, max: 900 }),
  });
  const module = await debugModule;
  await fc.assert(
    fc.asyncProperty(
      fc.constantFrom(...designs),
      fc.integer({ min: 1, max: 2 }),
      fc.nat({ max: 1000 }),
      fc.array(change, { minLength: 1, maxLength: 6, size: "max" }),
      async (first, vcpus, seed, changes) => {
        let machine = await create(pressed({ design: first }, tasks, { vcpus, seed }), { module });
        for (const { design, perVcpu, accesses } of changes) {
          machine.run({ accesses });
          machine.check();
          machine = machine.fork({
            set: {
              "vms.guest.asyncPf.design": design,
              ...(perVcpu !== undefined && { "vms.guest.asyncPf.perVcpu": perVcpu }),
            },
          });
          machine.check();
        }
        const result = machine.run();
        machine.check();
        assert.is(result.stoppedBy, "tasks");
        const { lostWrites, staleReads } = vmOf(machine.result()).integrity;
        assert.equal([lostWrites, staleReads], [0, 0]);
        const { notPresent, ready, cancelled } = vmOf(machine.result()).asyncPf;
        assert.is(notPresent, ready + cancelled);
      },
    ),
    parameters(15),
  );
});

test("random guests: every token is answered once and within the limit", async () => {
  const module = await debugModule;
  const task = fc.record({
    pages: fc.integer({ min: 2, max: 120 }),
    writes: fc.constantFrom(0, 0.5, 1),
    accesses: fc.integer({ min: 1, max: 600 }),
    mode: fc.constantFrom("user" as const, "user" as const, "kernel" as const),
    region: fc.constantFrom("a", "b"),
  });
  await fc.assert(
    fc.asyncProperty(
      fc.record({
        design: fc.constantFrom("2010" as const, "halt-only" as const, "upstream" as const),
        perVcpu: fc.integer({ min: 1, max: 6 }),
        workers: fc.integer({ min: 1, max: 8 }),
        sendAlways: fc.boolean(),
      }),
      fc.array(task, { minLength: 1, maxLength: 6, size: "max" }),
      fc.integer({ min: 1, max: 3 }),
      fc.nat({ max: 1000 }),
      async (asyncPf, recipes, vcpus, seed) => {
        const tasks = recipes.map(
          ({ pages, writes, accesses, ...others }, index): Task => ({
            name: `t${index}`,
            ...others,
            workload: { kind: "uniform", pages, writes, accesses },
          }),
        );
        const machine = await create(pressed(asyncPf, tasks, { vcpus, seed, limit: 40 + 20 * vcpus }), {
          module,
        });
        const result = machine.run();
        machine.check();
        assert.is(result.stoppedBy, "tasks");
        const { outstanding, peak } = follow(eventsOf(machine));
        assert.ok(peak <= asyncPf.perVcpu);
        // A work may still be under way for a task of another vCPU when the last task ends.
        const { notPresent, ready, cancelled } = vmOf(result).asyncPf;
        assert.is(notPresent, ready + cancelled + outstanding.size);
        for (const one of vmOf(result).tasks) assert.is.not(one.endNs, null, `${one.name} never ended`);
      },
    ),
    parameters(40),
  );
});

test("random guests on a host that is too small for them: the areas go as well, and nobody is left asleep", async () => {
  const module = await debugModule;
  const asyncPf = fc.record({
    design: fc.constantFrom("2010" as const, "2010" as const, "halt-only" as const, "upstream" as const),
    perVcpu: fc.constantFrom(1, 2, 5, 64),
    workers: fc.constantFrom(1, 3, 100),
    sendAlways: fc.boolean(),
    pin: fc.constantFrom("held" as const, "released" as const),
  });
  await fc.assert(
    fc.asyncProperty(
      asyncPf,
      fc.constantFrom("1MiB", "1280KiB", "1536KiB", "2MiB"),
      fc.constantFrom(1, 2, 4),
      fc.constantFrom("fair" as const, "fifo" as const),
      fc.constantFrom(300, 1500),
      fc.constantFrom(4, 16, 40),
      fc.nat({ max: 1000 }),
      async (rules, memory, vcpus, scheduler, pages, count, seed) => {
        const tasks: Task[] = [
          { name: "s", count, region: "a", workload: { kind: "uniform", pages, writes: 0.5, accesses: 50 } },
          { name: "k", mode: "kernel", workload: { kind: "uniform", pages: 300, writes: 1, accesses: 100 } },
        ];
        const scenario = pressed(rules, tasks, { vcpus, seed });
        Object.assign(scenario.host, { memory, swap: [{ kind: "sata-ssd", size: "16MiB" }] });
        scenario.vms[0] = {
          ...scenario.vms[0]!,
          memory: "8MiB",
          memoryMax: null,
          guest: { tasks, scheduler },
        };
        const machine = await create(scenario, { module });
        for (let part = 0; part < 3; part++) {
          machine.run({ time: "3ms" });
          machine.check();
        }
        assert.is(machine.run({ time: "100s" }).stoppedBy, "tasks", "nobody sleeps for ever");
        machine.check();
        follow(eventsOf(machine));
      },
    ),
    parameters(25),
  );
});

test.run();
