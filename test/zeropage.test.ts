// At stake: what a page costs that is read before it is written. The read maps the page of zeroes and takes no memory; the write that
// comes later copies it, between the notifier's start and end, and so the vCPU leaves the guest twice (observed in Linux 6.1: per page
// one fault for the read; two faults, one unmap and two changes of the spte for the write; none for reads after that).

import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { Core } from "#dist/core.js";
import { Machine } from "#dist/machine.js";
import { resolveScenario, type Scenario } from "#dist/scenario.js";
import { boot } from "./reference/agree.js";
import type { Case } from "./reference/cases.js";
import { parameters } from "./reference/report.js";
import { assertSame, create, debugModule, type Task, vm, vmOf } from "./scenes.js";

const PAGES = 160;
const PAGE_BYTES = 4096;
const ZERO_PAGE = 3;

const scan = (writes: 0 | 1): Task["workload"] => ({ kind: "sequential", pages: PAGES, writes });

/** One vCPU that reads every page, writes every page and reads every page again. */
function readThenWritten(changes: Partial<Scenario> = {}): Scenario {
  const after = (name: string): Partial<Task> => ({ region: "r", start: { after: `db/${name}` } });
  const tasks: Task[] = [
    { name: "first", region: "r", workload: scan(0) },
    { name: "writes", workload: scan(1), ...after("first") },
    { name: "again", workload: scan(0), ...after("writes") },
  ];
  return {
    host: { memory: "8MiB" },
    vms: [vm("db", tasks)],
    check: { integrity: true },
    trace: { events: ["*"], capacity: 2 ** 16 },
    ...changes,
  };
}

const EVENTS = ["kvm_page_fault", "kvm_tdp_mmu_spte_changed", "kvm_unmap_hva_range", "mm_page_alloc"];

/** What one pass over the pages makes of the counters. */
function pass(machine: Machine): Record<string, number> {
  const before = machine.traceCounts();
  const { faults, memory, notifier, integrity } = vmOf(machine.run({ accesses: PAGES }));
  const after = machine.traceCounts();
  return {
    ...Object.fromEntries(EVENTS.map((event) => [event, after[event]! - before[event]!])),
    minor: faults.minor.count,
    others: faults.major.count + faults.writeProtect.count + faults.spurious.count,
    retries: notifier.retries,
    residentPages: memory.residentPages,
    lostWrites: integrity.lostWrites + integrity.staleReads,
  };
}

test("read, written, read again: faults, unmaps and frames are those that were observed", async () => {
  const machine = await create(readThenWritten(), { module: await debugModule });
  const none = { minor: 0, others: 0, retries: 0, residentPages: 0, lostWrites: 0 };
  const nothing = { ...Object.fromEntries(EVENTS.map((event) => [event, 0])), ...none };
  // Besides the pages' own frames: the host's page table and KVM's three, each of which an entry links.
  const linked = 3;
  const tables = 1 + linked;
  assert.equal(pass(machine), {
    ...nothing,
    kvm_page_fault: PAGES,
    kvm_tdp_mmu_spte_changed: PAGES + linked,
    mm_page_alloc: tables,
    minor: PAGES,
  });
  machine.check();
  assert.is(vmOf(machine.result()).memory.untouchedPages, 512);
  assert.equal(pass(machine), {
    ...nothing,
    kvm_page_fault: 2 * PAGES,
    kvm_tdp_mmu_spte_changed: 2 * PAGES,
    kvm_unmap_hva_range: PAGES,
    mm_page_alloc: PAGES,
    minor: PAGES,
    retries: PAGES,
    residentPages: PAGES,
  });
  machine.check();
  assert.equal(pass(machine), { ...nothing, residentPages: PAGES });
});

test("the write costs two exits, the copy and what the notifier does around it", async () => {
  const costs = {
    vmExitNs: 10_000_000,
    minorFaultNs: 1_000_000,
    notifierInvalidateNs: 100_000,
    rmapPerSpteNs: 10_000,
    tlbFlushAllNs: 1000,
    eptMapNs: 100,
  };
  const machine = await create(readThenWritten({ costs }));
  const minor = (): number => vmOf(machine.run({ accesses: PAGES })).faults.minor.latency.mean;
  assert.is(minor(), 11_000_100);
  assert.is(minor(), 2 * 10_000_000 + 1_000_000 + 2 * 100_000 + 10_000 + 1000 + 25 + 100);
});

test("reads of what was never written need no memory: a limit of ten pages, no swap", async () => {
  const tasks = [{ workload: { kind: "uniform" as const, pages: 500, accesses: 20_000 } }];
  const machine = await create({ host: { memory: "2MiB" }, vms: [vm("db", tasks, { memoryMax: "40KiB" })] });
  const { status, vms } = machine.run();
  assert.equal([status, vms[0]!.memory.residentPages, vms[0]!.faults.minor.count], ["done", 0, 500]);
});

test("forks and snapshots go on between the read and the write as the machine does", async () => {
  const scenario = readThenWritten({ trace: null });
  const whole = (await create(scenario)).run();
  const machine = await create(scenario);
  for (const accesses of [1, PAGES - 2, 1, 1, PAGES]) {
    machine.run({ accesses });
    const [fork, restored] = [machine.fork(), await Machine.restore(machine.snapshot())];
    assert.is(fork.run().digest, whole.digest);
    assert.is(restored.run().digest, whole.digest);
    assertSame(restored.result(), whole);
  }
});

// Page states, by the core's own report

const WRITE = 0x8000_0000;

interface PageRow {
  state: number;
  pfn: number;
  list: number;
  writable: number;
  mapped: number;
}

function page(core: Core, gfn: number): PageRow {
  core.call.reportPage(0, gfn);
  const row = core.f64(core.call.reportTable(), 128);
  const at = (field: string): number => row[core.constant(`REPORT_PAGE_${field}`)]!;
  const [state, pfn, list, writable, mapped] = ["STATE", "PFN", "LIST", "WRITABLE", "MAPPED"].map(at);
  return { state, pfn, list, writable, mapped } as PageRow;
}

function runCore(core: Core, accesses: number): void {
  const none = core.constant("STOP_NONE");
  let left = accesses;
  let stop = none;
  while (stop === none) {
    stop = core.call.machineRun(left, 1_000_000) >>> 0;
    left -= core.call.machineMade() >>> 0;
  }
  assert.is(stop, core.constant("STOP_ACCESSES"));
}

/** Vms of `pages` pages whose vCPUs replay `streams` on a host with room for all. */
function roomyCase(pages: number, streams: number[][], quantum = 10_000): Case {
  const scenario = resolveScenario({
    host: { memory: (pages + 400) * PAGE_BYTES, cpus: streams.length, quantum },
    vms: [
      {
        name: "vm",
        memory: pages * PAGE_BYTES,
        vcpus: streams.length,
        tlb: { entries: 4, ways: 1 },
        guest: {
          tasks: streams.map((_, vcpu) => ({
            vcpu,
            region: "all",
            workload: { kind: "trace" as const, file: `0.${vcpu}`, loop: true },
          })),
        },
      },
    ],
    check: { integrity: true },
  });
  return { scenario, streams: [streams.map((words) => Uint32Array.from(words))], accesses: 160 };
}

test("a page is untouched, then the page of zeroes, then a frame of its own", async () => {
  const core = boot(await debugModule, roomyCase(8, [[5, 5, WRITE + 5]]));
  const nowhere = { pfn: 0, list: 0, writable: 0 };
  assert.equal(page(core, 5), { state: 0, ...nowhere, mapped: 0 });
  runCore(core, 2);
  assert.equal(page(core, 5), { state: ZERO_PAGE, ...nowhere, mapped: 1 });
  runCore(core, 1);
  const { pfn, ...rest } = page(core, 5);
  assert.ok(pfn >= 1024, String(pfn));
  // On no list yet: it waits in its CPU's batch.
  assert.equal(rest, { state: 1, list: 0, writable: 1, mapped: 1 });
});

/** What the races have met, so that none is left out by accident. */
const met = { copies: 0, zeroes: 0, retries: 0 };

test("vCPUs that read and write the same untouched pages at once lose nothing", async () => {
  const module = await debugModule;
  const access = fc.record({ gfn: fc.nat(5), write: fc.boolean() });
  const stream = fc
    .array(access, { minLength: 1, maxLength: 25 })
    .map((accesses) => accesses.map(({ gfn, write }) => gfn + (write ? WRITE : 0)));
  const races = fc.record({
    streams: fc.array(stream, { minLength: 2, maxLength: 3 }),
    quantum: fc.constantFrom(1, 100, 700, 10_000),
    slice: fc.integer({ min: 1, max: 4 }),
  });
  fc.assert(
    fc.property(races, ({ streams, quantum, slice }) => {
      const core = boot(module, roomyCase(6, streams, quantum));
      for (let made = 0; made < 100; made += slice) {
        runCore(core, slice);
        core.call.checkAll();
      }
      const written = new Set(
        streams.flatMap((words) => words.filter((word) => word >= WRITE).map((word) => word - WRITE)),
      );
      const read = new Set(streams.flat().map((word) => word % WRITE));
      for (let gfn = 0; gfn < 6; gfn++) {
        const { state } = page(core, gfn);
        assert.ok(written.has(gfn) || state !== 1, `page ${gfn} was never written and has a frame`);
        assert.ok(read.has(gfn) || state === 0, `page ${gfn} was never touched and is mapped`);
        met.copies += Number(state === 1);
        met.zeroes += Number(state === ZERO_PAGE);
      }
      core.call.reportVm(0);
      const row = core.f64(core.call.reportTable(), 128);
      assert.is(row[core.constant("VM_LOST_WRITES")], 0);
      assert.is(row[core.constant("VM_STALE_READS")], 0);
      met.retries += row[core.constant("VM_RETRIES")]!;
    }),
    parameters(Number(process.env.PROPERTY_RUNS ?? 200)),
  );
  for (const [what, count] of Object.entries(met)) assert.ok(count > 0, `no ${what}`);
});

test.run();
