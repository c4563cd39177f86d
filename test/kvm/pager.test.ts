// At stake: pages that a thread of the monitor supplies. Whoever misses one waits, asynchronously or not, until it is there; requests are
// answered in the order asked for, after the quiet time; nobody is left waiting when the pager stops; every write is read again.

import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { Machine, Scenario } from "#dist/index.js";
import { parameters } from "../reference/report.js";
import { create, debugModule, refusal, type Task, type Vm, vmOf } from "../scenes.js";
import { ALL, eventsOf, follow } from "./tokens.js";

const PAGES = 64;
const QUIET = 50_000;

function paged(pager: Vm["pager"], tasks: Task[], others: Partial<Vm> = {}): Scenario {
  return {
    host: { memory: "8MiB", cpus: 3, swap: [{ kind: "nvme", size: "8MiB" }] },
    vms: [{ name: "vm", memory: "1MiB", pager, guest: { scheduler: "fifo", tasks }, ...others }],
    check: { integrity: true },
    trace: { events: ["kvm_async_pf_*", "kvm_try_async_get_page", "kvm_inj_*"], capacity: 100_000 },
  };
}

/** `count` tasks that share a region, each of which reads all of it. */
function readers(count: number, pages: number): Task[] {
  return Array.from({ length: count }, (_, index) => ({
    name: `t${index}`,
    workload: { kind: "sequential", pages, writes: 0 },
  }));
}

const gfns = (machine: Machine, event: string): number[] =>
  eventsOf(machine)
    .filter(({ name }) => name === event)
    .map(({ text }) => Number(/(?:gva|gva =) (0x[0-9a-f]+)/.exec(text)![1]) / 4096);

test("a missing page is waited for, for as long as nobody has asked the pager", async () => {
  const scenario = paged({ quiet: QUIET }, readers(1, 8));
  const machine = await create(scenario, { module: await debugModule });
  const { faults } = vmOf(machine.run());
  machine.check();
  assert.is(faults.major.count, 8);
  assert.is(faults.minor.count, 0);
  assert.ok(faults.major.latency.p50 >= QUIET && faults.major.latency.max < QUIET + 20_000);
});

test("a pager of some frames leaves the others to the kernel", async () => {
  const scenario = paged({ gfn: 4, pages: 3, quiet: QUIET }, readers(1, 16));
  const { faults } = vmOf((await create(scenario, { module: await debugModule })).run());
  assert.equal([faults.major.count, faults.minor.count], [3, 13]);
});

test("requests are answered all at once, the oldest or the newest first", async () => {
  for (const order of ["fifo", "lifo"] as const) {
    const tasks = readers(6, 1);
    const scenario = paged({ order, quiet: QUIET }, tasks, { asyncPf: { design: "upstream" } });
    const machine = await create(scenario, { module: await debugModule });
    machine.run();
    machine.check();
    const asked = [0, 1, 2, 3, 4, 5];
    const history = machine.traceText();
    const text = { traceText: () => history } as Machine;
    assert.equal(gfns(text, "kvm_async_pf_not_present").slice(0, 6), asked);
    // The guest's own area comes first: it is missing too.
    const completed = gfns(text, "kvm_async_pf_completed").slice(-6);
    assert.equal(completed, order === "fifo" ? asked : [...asked].reverse());
    follow(eventsOf(text));
  }
});

test("a second task that wants a page on its way halts the vCPU, and nothing else runs on it", async () => {
  const task = (name: string, region: string): Task => ({
    name,
    region,
    workload: { kind: "sequential", pages: 1, writes: 0 },
  });
  const tasks = [task("first", "one"), task("second", "one"), task("third", "two")];
  const scenario = paged({ quiet: QUIET }, tasks, { asyncPf: { design: "upstream" } });
  const machine = await create(scenario, { module: await debugModule });
  const { asyncPf, tasks: ended } = vmOf(machine.run());
  machine.check();
  assert.is(asyncPf.repeated, 1);
  const [first, second, third] = ended as [(typeof ended)[0], (typeof ended)[0], (typeof ended)[0]];
  assert.is(second.waitNs, 0, "the second task was not put to sleep");
  assert.ok(second.endNs! < first.endNs!, "it goes on first: it has the vCPU");
  assert.ok(third.startNs! + third.readyNs >= second.endNs!, "nobody else had it meanwhile");
});

test("when the pager stops, who waits goes on with an empty page", async () => {
  const machine = await create(paged({ quiet: "1s" }, readers(1, 4)), { module: await debugModule });
  machine.run({ time: "10ms" });
  assert.is(vmOf(machine.result()).tasks[0]!.accesses, 0);
  machine.setPager("vm", null);
  assert.is(machine.run().stoppedBy, "tasks");
  machine.check();
  assert.is(vmOf(machine.result()).memory.residentPages, 0, "reads of the kernel's zero page");
});

test("switching the guest's part on broadcasts, and off halts again; tokens go on counting", async () => {
  const scenario = paged({ quiet: QUIET }, [], { asyncPf: { design: "halt-only" } });
  const tasks = readers(3, 2).map((task) => ({ ...task, manual: true }));
  scenario.vms[0]!.guest!.tasks = tasks;
  const machine = await create(scenario, { module: await debugModule });
  machine.access("vm", 0, 255, "write");
  machine.traceText();
  const phase = (bits: number | undefined, task: string) => {
    if (bits !== undefined) assert.is(machine.writeMsr("vm", 0, "async-pf-en", 255 * 4096 + bits), "done");
    machine.startTask("vm", task);
    machine.run();
    machine.check();
    const events = eventsOf(machine);
    return {
      tokens: events.filter(({ name }) => name === "kvm_async_pf_not_present").map(({ token }) => token),
      told: events.filter(({ name }) => name === "kvm_inj_exception").length,
      broadcasts: events.filter(({ name, token }) => name === "kvm_async_pf_ready" && token === ALL).length,
    };
  };
  assert.equal(phase(undefined, "t0"), { tokens: [0x2000, 0x3000], told: 0, broadcasts: 0 });
  assert.equal(phase(9, "t1"), { tokens: [0x4000, 0x5000], told: 2, broadcasts: 1 });
  assert.equal(phase(0, "t2"), { tokens: [0x6000, 0x7000], told: 0, broadcasts: 0 });
  assert.match(await refusal(() => machine.writeMsr("vm", 0, "async-pf-en", 16), "E_STEP"), "reserved bits");
});

test("an access with interrupts off is never asynchronous", async () => {
  const machine = await create(paged({ quiet: QUIET }, [], { asyncPf: { design: "halt-only" } }), {
    module: await debugModule,
  });
  for (const [gfn, interrupts] of [
    [0, true],
    [1, false],
  ] as const) {
    assert.is(machine.access("vm", 0, gfn, "read", { interrupts }).fault, "major");
    assert.is(vmOf(machine.result()).asyncPf.notPresent, 1, `${gfn}`);
  }
});

test("a scenario says which frames are wrong, and what cannot be asked of a VM without a pager", async () => {
  const wrong = (pager: Vm["pager"]) => refusal(() => create(paged(pager, [])), "E_SCENARIO");
  assert.match(await wrong({ gfn: 256 }), "pager.gfn: 256 is in no memslot");
  assert.match(await wrong({ gfn: 250, pages: 7 }), "pager.pages: 7 frames from gfn 250 on");
  const machine = await create(paged(undefined, []));
  assert.match(await refusal(() => machine.setPager("vm", { gfn: 0 }), "E_STEP"), "has no pager");
  assert.match(await refusal(() => machine.writeMsr("vm", 0, "async-pf-en", 9), "E_STEP"), "no asynchronous");
});

test("a pager is set for frames of slots that are there, and one that is set wrongly goes on as it was", async () => {
  const memslots = [
    { gfn: 0, pages: 128 },
    { gfn: 1000, pages: 128 },
  ];
  const machine = await create(paged({ quiet: QUIET }, [], { memslots }), { module: await debugModule });
  machine.setPager("vm", { gfn: 1000, quiet: 7 });
  machine.setMemslot("vm", 1, null);
  assert.match(await refusal(() => machine.setPager("vm", { gfn: 1000 }), "E_STEP"), "1000 is in no memslot");
  assert.match(await refusal(() => machine.setPager("vm", { gfn: 100, pages: 29 }), "E_STEP"), "1..28");
  machine.setMemslot("vm", 2, { gfn: 1000, pages: 128 });
  assert.is(machine.access("vm", 0, 1000, "read").fault, "major");
  machine.check();
});

test("random guests: every page comes, whoever asks for it, whatever is stopped and started meanwhile", async () => {
  const module = await debugModule;
  const task = fc.record({
    pages: fc.integer({ min: 1, max: PAGES }),
    writes: fc.constantFrom(0, 0.5, 1),
    accesses: fc.integer({ min: 1, max: 150 }),
    mode: fc.constantFrom("user" as const, "user" as const, "kernel" as const),
    region: fc.constantFrom("a", "b"),
  });
  const setting = fc.record({
    gfn: fc.integer({ min: 0, max: PAGES }),
    pages: fc.integer({ min: 1, max: 100 }),
    order: fc.constantFrom("fifo" as const, "lifo" as const),
    quiet: fc.constantFrom(0, 3_000, 100_000),
  });
  await fc.assert(
    fc.asyncProperty(
      fc.constantFrom("off" as const, "2010" as const, "halt-only" as const, "upstream" as const),
      fc.constantFrom("fair" as const, "fifo" as const),
      fc.array(task, { minLength: 1, maxLength: 5, size: "max" }),
      fc.array(fc.option(setting, { nil: null }), { maxLength: 5, size: "max" }),
      fc.integer({ min: 1, max: 3 }),
      fc.nat({ max: 1000 }),
      async (design, scheduler, recipes, settings, vcpus, seed) => {
        const tasks = recipes.map(
          ({ pages, writes, accesses, ...others }, index): Task => ({
            name: `t${index}`,
            ...others,
            workload: { kind: "uniform", pages, writes, accesses },
          }),
        );
        const scenario = paged({ quiet: 10_000 }, tasks, { vcpus, memoryMax: 100 * 4096 });
        scenario.vms[0]!.asyncPf = { design };
        scenario.vms[0]!.guest!.scheduler = scheduler;
        const machine = await create({ ...scenario, seed }, { module });
        for (const one of settings) {
          machine.run({ time: 200_000 });
          machine.check();
          machine.setPager("vm", one);
          machine.check();
        }
        assert.is(machine.run().stoppedBy, "tasks");
        machine.check();
        const result = machine.result();
        const { lostWrites, staleReads } = vmOf(result).integrity;
        assert.equal([lostWrites, staleReads], [0, 0]);
        const { outstanding } = follow(eventsOf(machine));
        const { notPresent, ready, cancelled } = vmOf(result).asyncPf;
        assert.is(notPresent, ready + cancelled + outstanding.size);
        for (const { name, endNs } of vmOf(result).tasks) assert.is.not(endNs, null, `${name} never ended`);
      },
    ),
    parameters(30),
  );
});

test.run();
