// At stake: the legacy MMU beside the TDP MMU. It maps the same pages of the same guests and must keep its reverse map exact through
// reclaim, swap and the zapping of its own tables; what it does differently, it does as captured: neighbours of eight mapped along.

import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { bootCore } from "#dist/boot.js";
import { Core } from "#dist/core.js";
import type { Machine } from "#dist/machine.js";
import { resolveScenario, type Scenario } from "#dist/scenario.js";
import { traceText } from "#dist/tracepoints.js";
import { parameters } from "../reference/report.js";
import { create, debugModule, roomy, type Task, vmOf } from "../scenes.js";

const PAGES = 384;
const module = await debugModule;

type Vm = Scenario["vms"][number];

const scan = (region: string, writes: 0 | 1, after?: string): Task => ({
  name: `${region}-${writes}`,
  region,
  workload: { kind: "sequential", pages: PAGES, writes },
  ...(after === undefined ? {} : { start: { after: `db/${after}` } }),
});

function faults(machine: Machine, accesses: number): number[] {
  const { minor, writeProtect, spurious, major } = vmOf(machine.run({ accesses })).faults;
  return [minor, writeProtect, spurious, major].map(({ count }) => count);
}

function legacy(tasks: Task[], db: Partial<Vm> = {}, others: Partial<Scenario> = {}): Promise<Machine> {
  return create(
    roomy(tasks, { trace: { events: ["*"], capacity: 2 ** 16 }, ...others }, { mmu: "legacy", ...db }),
    {
      module,
    },
  );
}

test("first touches map one page a fault, for the host has no neighbour yet; a second pass does not fault", async () => {
  const machine = await legacy([scan("r", 1), scan("r", 0, "r-1")]);
  assert.equal(faults(machine, PAGES), [PAGES, 0, 0, 0]);
  machine.check();
  assert.is(machine.traceCounts().kvm_mmu_set_spte, PAGES);
  assert.equal(faults(machine, PAGES), [0, 0, 0, 0]);
  machine.check();
});

test("what the host has is mapped along in its group of eight, after the page that faulted, not accessed", () => {
  const scenario = resolveScenario(
    roomy(
      [scan("r", 1), scan("r", 0, "r-1")],
      { trace: { events: ["kvm_mmu_set_spte"], capacity: 4096 } },
      {
        mmu: "legacy",
      },
    ),
  );
  const core = new Core(module);
  bootCore(core, scenario, new Map());
  core.call.machineRun(PAGES, 1_000_000);
  core.call.liveZapAll(0); // as deleting a slot does: the host's page table stays
  const before = core.call.reportTraceWritten();
  core.call.machineRun(PAGES, 1_000_000);
  core.call.checkAll();
  const set = traceText(core, before, 0, [])
    .trim()
    .split("\n")
    .map((line) => /gfn (\w+) spte (\w+) /.exec(line)!)
    .map(([, gfn, spte]) => [Number.parseInt(gfn!, 16), (BigInt(`0x${spte!}`) & 0x100n) !== 0n]);
  assert.equal(
    set,
    Array.from({ length: PAGES }, (_, gfn) => [gfn, gfn % 8 === 0]),
  );
});

test("the page of zeroes and a page that is not there end what is mapped along", async () => {
  // Every third page is written, then all are read: runs of eight begin with pages that the host has not got writable.
  const writes: Task = {
    name: "w",
    region: "r",
    workload: { kind: "sequential", pages: 16, writes: 1, accesses: 3 },
  };
  const machine = await legacy([
    writes,
    { ...scan("r", 0, "w"), workload: { kind: "sequential", pages: 16, writes: 0 } },
  ]);
  machine.run();
  machine.check();
  assert.is(machine.traceCounts().kvm_mmu_set_spte, 16);
});

test("with few pages of sptes allowed the oldest go, and what they mapped faults again", async () => {
  const tasks: Task[] = [{ workload: { kind: "uniform", pages: 12_000, accesses: 3000, writes: 0.5 } }];
  const db = { memory: "47MiB", mmuPages: 16 };
  const machine = await legacy(tasks, db, { host: { memory: "64MiB" }, check: { integrity: true } });
  for (let slice = 0; slice < 30; slice++) {
    machine.run({ accesses: 100 });
    machine.check();
  }
  const { kvm_mmu_prepare_zap_page: zapped, kvm_mmu_get_page: got } = machine.traceCounts();
  assert.ok(zapped! > 100 && got! - zapped! <= 16, `${zapped} zapped, ${got} got`);
});

test("under reclaim, with two vCPUs and any design of tables, each leaf has its place in the reverse map", async () => {
  const machines = fc.record({
    vendor: fc.constantFrom("intel" as const, "amd" as const),
    pageTableLevels: fc.constantFrom(4 as const, 5 as const),
    mmuPages: fc.constantFrom(null, 16),
    seed: fc.nat(1000),
    pages: fc.integer({ min: 50, max: 900 }),
    max: fc.integer({ min: 30, max: 200 }),
    kind: fc.constantFrom("nvme" as const, "zram-lz4" as const),
  });
  await fc.assert(
    fc.asyncProperty(machines, async ({ vendor, pageTableLevels, mmuPages, seed, pages, max, kind }) => {
      const workload = { kind: "zipf" as const, pages, theta: 0.8, writes: 0.4, accesses: 1500 };
      const machine = await legacy(
        [{ count: 3, workload: { ...workload, pages: Math.floor(pages / 3) } }],
        { memory: "4MiB", pageTableLevels, mmuPages, vcpus: 2, memoryMax: max * 4096 },
        {
          seed,
          host: { memory: "8MiB", vendor, swap: [{ kind, size: "16MiB" }] },
          check: { integrity: true },
          trace: null,
        },
      );
      for (let slice = 0; slice < 15; slice++) {
        const { status, vms } = machine.run({ accesses: 300 });
        assert.is.not(status, "violation");
        assert.is(vms[0]!.integrity.unreachablePins, 0);
        machine.check();
      }
    }),
    parameters(25),
  );
});

test.run();
