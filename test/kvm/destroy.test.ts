// At stake: the end of a VM. Whatever it is in the middle of, nothing of it stays: no vCPU, no frame, no swap slot, no table, no charge; and the machine goes on
// with the others, as it should. In the design of 2007 what its file's truncation does to others with the same inode comes out of its steps.

import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { type Exploration, explore } from "#dist/explore/index.js";
import { Machine } from "#dist/machine.js";
import type { Scenario } from "#dist/scenario.js";
import { parameters } from "../reference/report.js";
import { create, debugModule, refusal, type Task, type Vm, vmOf } from "../scenes.js";

const module = await debugModule;
const CPUS = 3;
const ZRAM = { kind: "zram-lz4", size: "8MiB" } as const;
const NVME = { kind: "nvme", size: "8MiB" } as const;

function busy(accesses: number | null = null, pages = 400): Task {
  return {
    region: "r",
    count: 2,
    workload: { kind: "uniform", pages, writes: 0.5, ...(accesses !== null && { accesses }) },
  };
}

function two(
  doomed: Partial<Vm>,
  host: Partial<Scenario["host"]> = {},
  changes: Partial<Scenario> = {},
  tasks: Task[] = [busy(20_000, 200)],
): Promise<Machine> {
  const limited = host.reclaim?.policy === "fifo" ? { memoryMax: "1600KiB" } : {};
  return create(
    {
      host: { memory: "6MiB", cpus: CPUS, swap: [ZRAM], ...host },
      check: { integrity: true },
      vms: [
        { name: "doomed", memory: "2MiB", vcpus: 2, guest: { tasks: [busy()] }, ...doomed },
        { name: "other", memory: "2MiB", guest: { tasks }, ...limited },
      ],
      ...changes,
    },
    { module },
  );
}

/** Nothing is left of a VM. */
function gone(machine: Machine, name = "doomed"): void {
  machine.check();
  const { memory } = vmOf(machine.result(), name);
  assert.equal([memory.residentPages, memory.swappedPages], [0, 0]);
  const charged = machine.writeCgroup("other", "memory.max", "max");
  assert.is(charged.status, "done");
  for (const each of machine.vcpus()) if (each.vm === name) assert.is(each.mode, "ended");
}

/** Frames in use, and swap slots. */
function used(machine: Machine): [frames: number, slots: number] {
  const { frames } = machine.inspect();
  return [frames.total - frames.free - frames.perCpu, machine.result().host.swap.slotsUsed];
}

const DESIGNS: Record<string, [vm: Partial<Vm>, host?: Partial<Scenario["host"]>]> = {
  tdp: [{}],
  "tdp, an idle guest": [{ guest: { tasks: [] } }],
  "tdp, nvme, a limit": [
    { memoryMax: "800KiB", memcg: { chargeTables: true, chargeBatch: 64, overheadPages: 20 } },
    { swap: [NVME] },
  ],
  "tdp, mglru": [{ memoryMax: "800KiB" }, { reclaim: { policy: "mglru" } }],
  "tdp, fifo": [{ memoryMax: "800KiB" }, { reclaim: { policy: "fifo" } }],
  "tdp, 2 MiB pages": [
    { memory: "4MiB", hugePages: true, guest: { tasks: [busy(null, 900)] } },
    { memory: "12MiB" },
  ],
  "tdp, asynchronous page faults": [
    { memoryMax: "800KiB", asyncPf: { design: "upstream" } },
    { swap: [NVME] },
  ],
  "tdp, halted for pages": [{ memoryMax: "800KiB", asyncPf: { design: "halt-only" } }, { swap: [NVME] }],
  "tdp, merging": [{}, { ksm: { pagesToScan: 200, sleep: "200us" } }],
  legacy: [{ mmu: "legacy", memoryMax: "800KiB" }],
  "notifier-2008": [{ mmu: "legacy", mmuNotifier: "notifier-2008", memoryMax: "800KiB" }, { swap: [NVME] }],
  shadow: [{ mmu: "shadow", memoryMax: "800KiB" }],
  "shadow, own roots": [{ mmu: "shadow", mmuRoots: "per-vcpu", memoryMax: "800KiB" }],
  "2007": [
    { mmu: "shadow", hostPaging: "writepage-2007", hostPaging2007: { mapping: "per-vm", zapAllVcpus: true } },
    { memory: "4MiB" },
  ],
};

/** Frames that the same host has in use with the other VM alone, which does nothing. */
async function alone(host: Partial<Scenario["host"]> = {}): Promise<number> {
  const vms: Vm[] = [{ name: "other", memory: "2MiB", memoryMax: "1600KiB" }];
  const scenario = {
    host: { memory: "6MiB", cpus: CPUS, swap: [ZRAM], ...host },
    vms,
    check: { integrity: true },
  };
  return used(await create(scenario, { module }))[0];
}

for (const [name, [vm, host]] of Object.entries(DESIGNS)) {
  test(`${name}: nothing stays of a VM that ends under load, whenever it is`, async () => {
    const frames = await alone(host);
    for (const time of ["100us", "1ms", "3ms", "20ms"]) {
      const machine = await two(vm, host, {}, []);
      if (name.includes("merging")) machine.advise("doomed", "mergeable", { gfn: 0, pages: 400 });
      machine.run({ time });
      const had = vmOf(machine.result(), "doomed").memory;
      const step = machine.destroyVm("doomed");
      assert.is(step.status, "done");
      assert.ok(step.pages >= 0.5 * (had.residentPages + had.swappedPages), `${step.pages} pages`);
      gone(machine);
      // What was being written to swap stays in the swap cache until reclaim comes by, as in Linux.
      const { swapCache } = machine.inspect().frames;
      assert.ok(swapCache === 0 || (host?.swap ?? [ZRAM])[0] === NVME || vm.hostPaging !== undefined);
      const [framesUsed, slotsUsed] = used(machine);
      const slab = vm.asyncPf === undefined ? 0 : 1; // the kernel's cache of works keeps a frame
      assert.ok(framesUsed - swapCache - frames >= 0 && framesUsed - swapCache - frames <= slab, time);
      // What is not in the swap cache are slots that CPUs have in stock, or have got back: check() has counted that no entry uses one.
      assert.ok(slotsUsed >= swapCache && slotsUsed <= swapCache + CPUS * 128, time);
    }
  });
}

test("the other VM goes on as if nothing had been, while and after one ends: random designs, times and seeds", async () => {
  const arbitrary = fc.record({
    design: fc.constantFrom(...Object.keys(DESIGNS)),
    us: fc.integer({ min: 0, max: 30_000 }),
    seed: fc.nat(1000),
  });
  const property = fc.asyncProperty(arbitrary, async ({ design, us, seed }) => {
    const [vm, host] = DESIGNS[design]!;
    const events = [{ at: us * 1000, do: "destroyVm" as const, vm: "doomed" }];
    const machine = await two(vm, host, { seed, events });
    let result = machine.run({ accesses: 2000 });
    for (; result.stoppedBy === "accesses"; result = machine.run({ accesses: 2000 })) machine.check();
    if (machine.result().events![0]!.ns === null) return; // the other VM's tasks were done before
    gone(machine);
    const { integrity, tasks } = vmOf(machine.result(), "other");
    assert.equal([integrity.lostWrites, integrity.staleReads], [0, 0]);
    for (const { endNs } of tasks) assert.ok(endNs !== null);
    assert.equal([result.status, result.stoppedBy], ["done", "tasks"]);
  });
  await fc.assert(property, parameters(40));
});

test("an end at a time of its own: how a run is cut changes nothing, and what the VM is asked for afterwards is ENODEV", async () => {
  const at = ["2ms", "3ms", "4ms", "5ms"] as const;
  const events: Scenario["events"] = [
    { at: at[0], do: "destroyVm", vm: "doomed" },
    { at: at[1], do: "advise", vm: "doomed", advice: "pageout", gfn: 0, pages: 10 },
    { at: at[2], do: "destroyVm", vm: "doomed" },
    { at: at[3], do: "compact" },
  ];
  const [whole, cut] = [await two({}, {}, { events }), await two({}, {}, { events })];
  const result = whole.run();
  while (cut.run({ accesses: 777 }).stoppedBy === "accesses");
  assert.is(cut.result().digest, result.digest);
  assert.equal(
    result.events!.map(({ error }) => error),
    [null, "ENODEV", "ENODEV", null],
  );
  const [end] = result.events!;
  assert.ok(end!.startNs! >= 2e6 && end!.startNs! < 2.1e6);
  assert.ok(end!.pages > 100 && end!.ns! > 0);
  for (const task of vmOf(result, "doomed").tasks) assert.is(task.endNs, null);
});

test("with its finite tasks gone a run has nothing to wait for", async () => {
  const machine = await create({
    host: { memory: "6MiB" },
    vms: [
      { name: "doomed", memory: "2MiB", guest: { tasks: [busy(10_000_000)] } },
      {
        name: "other",
        memory: "2MiB",
        guest: { tasks: [{ workload: { kind: "compute" }, start: { after: "doomed/uniform-0.0" } }] },
      },
    ],
    events: [{ at: "2ms", do: "destroyVm", vm: "doomed" }],
  });
  const result = machine.run();
  assert.is(result.stoppedBy, "tasks");
  assert.ok(result.virtualTimeNs < 10e6);
});

test("a copy of a machine from which a VM is gone goes on like it", async () => {
  const machine = await two({});
  machine.run({ time: "2ms" });
  machine.destroyVm("doomed");
  const [fork, restored] = [machine.fork(), await Machine.restore(machine.snapshot(), { module })];
  const { digest } = machine.run();
  assert.equal([fork.run().digest, restored.run().digest], [digest, digest]);
  const other = fork.fork({
    set: { "vms.doomed.asyncPf.design": "upstream", "vms.doomed.memoryMax": "1MiB" },
  });
  other.check();
});

test("a VM that has ended is refused by name, and can be looked at", async () => {
  const machine = await two({});
  machine.run({ time: "1ms" });
  machine.destroyVm("doomed");
  for (const call of [
    () => machine.access("doomed", 0, 5, "read"),
    () => machine.advise("doomed", "pageout", { gfn: 5 }),
    () => machine.setMemslot("doomed", 0, null),
    () => machine.writeCgroup("doomed", "memory.max", "max"),
    () => machine.migrate("doomed", { gfn: 5 }),
    () => machine.pin("doomed", { gfn: 5 }),
    () => machine.dirtyLog("doomed", 0),
    () => machine.destroyVm("doomed"),
  ]) {
    assert.is(await refusal(call, "E_STEP"), 'vm: "doomed" has been destroyed. Allowed: "other"');
  }
  const { slot, frame } = machine.inspect({ vm: "doomed", gfn: 5 });
  assert.equal([slot, frame], [null, null]);
  assert.ok(machine.inspect({ vm: "doomed" }).vcpus.every(({ mode }) => mode === "ended"));
  assert.is(machine.compact().status, "done");
});

test("an access that its VM does not live to make is refused", async () => {
  const machine = await two(
    { guest: { tasks: [] } },
    {},
    { events: [{ at: "1ms", do: "destroyVm", vm: "doomed" }] },
  );
  machine.run({ time: "999999ns" });
  for (let gfn = 0; gfn < 200; gfn++) {
    try {
      machine.access("doomed", 0, gfn, "write");
    } catch (error) {
      assert.match((error as Error).message, /"doomed" has been destroyed/);
      machine.run({ time: "1ms" });
      gone(machine);
      return;
    }
  }
  assert.unreachable("the VM lives on");
});

const ON = { cpu: 0 };
const OLD: Partial<Vm> = { mmu: "legacy", hostPaging: "writepage-2007", guest: { tasks: [] } };

test("2007: with the inode of all VMs the end of one truncates the others' pages, mapped or not; with its own none", async () => {
  for (const mapping of ["shared-inode", "per-vm"] as const) {
    const hostPaging2007 = { mapping };
    const vms: Vm[] = ["doomed", "other"].map((name) => ({ name, memory: "512KiB", ...OLD, hostPaging2007 }));
    const machine = await two({}, {}, { vms, check: { integrity: true, onViolation: "count" } });
    for (let gfn = 0; gfn < 8; gfn++) machine.access("doomed", 0, gfn, "write", ON);
    for (let gfn = 8; gfn < 20; gfn++) machine.access("other", 0, gfn, "write", ON);
    machine.advise("doomed", "pageout", { gfn: 0, pages: 2 }, ON);
    const { pages } = machine.destroyVm("doomed");
    const shared = mapping === "shared-inode";
    assert.is(pages, shared ? 18 : 8, "with one inode the entries of two have gone to the VM created last");
    gone(machine);
    const { hostPaging2007: counts } = vmOf(machine.result(), "doomed");
    assert.is(counts!.truncatedMapped, shared ? 12 : 0);
    assert.is(machine.inspect({ vm: "other", gfn: 8 }).frame === null, shared);
    // Frames of which the other VM's entries do not know that they are someone else's by now.
    for (let gfn = 20; gfn < 60; gfn++) machine.access("other", 0, gfn, "write", ON);
    for (let gfn = 8; gfn < 20; gfn++) machine.access("other", 0, gfn, "read", ON);
    const { lostWrites, staleReads } = vmOf(machine.result(), "other").integrity;
    assert.is(lostWrites + staleReads > 0, shared);
  }
});

test("2007: once the VM is gone to which the inode says that it belongs, no page of the others can be swapped", async () => {
  const vms: Vm[] = ["doomed", "other"].map((name) => ({ name, memory: "512KiB", ...OLD }));
  const machine = await two({}, {}, { vms, check: { integrity: true, onViolation: "count" } });
  machine.access("doomed", 0, 5, "write", ON);
  machine.destroyVm("other");
  machine.access("doomed", 0, 6, "write", ON);
  machine.advise("doomed", "pageout", { gfn: 5, pages: 2 }, ON);
  const { writepage } = vmOf(machine.result(), "other").hostPaging2007!;
  assert.equal([writepage.calls, writepage.noSlot, writepage.activated], [1, 1, 1], "page 5 was truncated");
  machine.check();
});

test("2007: of entries on disk and pages in the swap cache nothing stays, once reclaim has met those", async () => {
  const machine = await two({ ...OLD, memory: "512KiB", hostPaging2007: { mapping: "per-vm" } }, {}, {}, []);
  const frames = await alone();
  for (let gfn = 0; gfn < 30; gfn++) machine.access("doomed", 0, gfn, "write", ON);
  machine.advise("doomed", "pageout", { gfn: 0, pages: 20 }, ON);
  machine.advise("doomed", "pageout", { gfn: 0, pages: 10 }, ON);
  assert.is(machine.destroyVm("doomed", { cpu: 0 }).pages, 30);
  gone(machine);
  assert.is(machine.inspect().frames.swapCache, 10, "swap_free() leaves what the swap cache has");
  assert.is(used(machine)[0], frames + 10);
});

/** Two VMs of 8 pages, for the explorer. */
function tiny(vm: Omit<Partial<Vm>, "memory">, actors: Exploration["actors"]): Exploration {
  const each = { memory: "32KiB", tlb: { entries: 8 }, ...vm };
  return {
    scenario: {
      host: { memory: "1MiB", cpus: 4, swap: [{ kind: "zram-lz4", size: "64KiB" }] },
      vms: [
        { ...each, name: "a" },
        { ...each, name: "b" },
      ],
    },
    before: [{ vm: "a", vcpu: 0, program: [["write", 0]] }],
    actors,
  };
}

test("in every order of a fault, the end of its VM, and someone who migrates its pages: nothing is wrong", async () => {
  for (const vm of [{}, { mmu: "legacy" }, { mmu: "shadow" }] as const) {
    const { violation, complete, states } = await explore(
      tiny(vm, [
        {
          vm: "a",
          vcpu: 0,
          program: [
            ["read", 0],
            ["write", 1],
          ],
        },
        { vm: "a", program: [["destroyVm"]] },
        { vm: "b", of: "a", program: [["migrate", 0]] },
      ]),
      { module },
    );
    assert.is(violation, null);
    assert.ok(complete && states > 100, `${states} states`);
  }
});

test("in every order of the end of a VM of 2007 and an access of another: wrong with one inode, right with two", async () => {
  for (const mapping of ["shared-inode", "per-vm"] as const) {
    const exploration = tiny({ mmu: "shadow", hostPaging: "writepage-2007", hostPaging2007: { mapping } }, [
      { vm: "a", vcpu: 0, program: [["read", 0]] },
      { vm: "a", program: [["pageout", 0]] },
      { vm: "b", program: [["destroyVm"]] },
    ]);
    const { violation, complete } = await explore(exploration, { module });
    if (mapping === "shared-inode") assert.is(violation?.kind, "freedFrame");
    else assert.equal([violation, complete], [null, true]);
  }
});

test.run();
