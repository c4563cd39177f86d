// At stake: that a plain fault, which the core goes through in one go, is the fault that its machines of steps make. Random machines run in two
// copies, one of them by steps alone, and must agree after every slice: in all that they report, in their digest, and in every byte of
// their memory but what the steps have left behind in their locals.

import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { Core } from "#dist/core.js";
import { Machine, type RunResult, type Scenario } from "#dist/index.js";
import { parameters } from "../reference/report.js";
import { coreModule, debugModule, differences } from "../scenes.js";

const POLICIES = [
  "two-list",
  "clock",
  "clock",
  "fifo",
  "lru",
  "arc",
  "sieve",
  "s3fifo",
  "2q",
  "lfu",
] as const;
const SLICES = 12;

/** Two copies of a machine: the first goes through plain faults in one go, the second by steps. */
interface Pair {
  machines: [Machine, Machine];
  /** Events that each had posted before it ran. */
  posted: [number, number];
}

function coreOf(machine: Machine): Core {
  return (machine as unknown as { core: Core }).core;
}

async function pairOf(
  scenario: Scenario,
  files: Record<string, Uint8Array>,
  module: WebAssembly.Module,
): Promise<Pair> {
  const machine = await Machine.create(scenario, { files, module });
  const other = machine.fork();
  coreOf(other).call.atOnceAllow(0);
  const machines: [Machine, Machine] = [machine, other];
  return { machines, posted: machines.map(posted) as [number, number] };
}

function posted(machine: Machine): number {
  return coreOf(machine).call.atOncePosted();
}

function lasting({ digest, status, stoppedBy, oom, virtualTimeNs, accesses, vms, host }: RunResult): unknown {
  return { digest, status, stoppedBy, oom, virtualTimeNs, accesses, vms, host };
}

/** The arena of a machine without what may differ. */
function memoryOf(machine: Machine, vcpus: readonly number[]): Uint8Array {
  const { call, memory } = coreOf(machine);
  const localsBytes = coreOf(machine).constant("AT_ONCE_LOCALS_BYTES");
  const copy = new Uint8Array(memory.buffer.slice(call.bootHeapBase() >>> 0));
  const clear = (address: number, bytes: number): void => {
    const from = (address >>> 0) - (call.bootHeapBase() >>> 0);
    copy.fill(0, from, from + bytes);
  };
  clear(call.atOnceEvents(), call.atOnceEventsBytes());
  for (const [vm, count] of vcpus.entries()) {
    for (let vcpu = 0; vcpu < count; vcpu++) {
      clear(call.atOnceLocals(vm, vcpu), localsBytes);
      clear(call.atOnceFrames(vm, vcpu), call.atOnceFramesBytes(vm, vcpu));
    }
  }
  return copy;
}

function assertAgree({ machines: [machine, other] }: Pair, vcpus: readonly number[]): void {
  const result = lasting(machine.result());
  const expected = lasting(other.result());
  assert.equal(differences(result, expected), []);
  assert.equal(result, expected);
  const ours = memoryOf(machine, vcpus);
  const theirs = memoryOf(other, vcpus);
  assert.is(ours.length, theirs.length);
  assert.is(
    Buffer.compare(ours, theirs),
    0,
    `the memories differ from byte ${ours.findIndex((byte, at) => byte !== theirs[at])} on`,
  );
}

/** Runs both for as many accesses in slices. Returns the events that going through in one go has saved. */
function runBoth(pair: Pair, slices: readonly number[], accesses: number, vcpus: readonly number[]): number {
  const { machines } = pair;
  let made = 0;
  for (let slice = 0; slice < SLICES && made < accesses; slice++) {
    const [result] = machines.map((machine) => machine.run({ accesses: slices[slice % slices.length]! }));
    for (const machine of machines) machine.check();
    assertAgree(pair, vcpus);
    made += result!.accesses;
    if (result!.stoppedBy !== "accesses") break;
  }
  const [ours, theirs] = machines.map((machine, index) => posted(machine) - pair.posted[index]!);
  return theirs! - ours!;
}

const task = fc.record({
  kind: fc.constantFrom("uniform" as const, "zipf" as const, "sequential" as const),
  pages: fc.integer({ min: 60, max: 500 }),
  writes: fc.constantFrom(0, 0.3, 1),
  thinkTime: fc.constantFrom(0, 0, 700),
  prefault: fc.boolean(),
});

const guest = fc.record({
  vcpus: fc.constantFrom(1, 1, 1, 2, 3),
  share: fc.double({ min: 0.2, max: 0.8, noNaN: true }),
  memcg: fc.constantFrom(undefined, { chargeTables: true, chargeBatch: 64 }, { chargeBatch: 4 }),
  tlb: fc.constantFrom({ entries: 4, ways: 1 }, { entries: 64, ways: 4 }, { entries: 2048, ways: 1 }),
  tasks: fc.array(task, { minLength: 1, maxLength: 2 }),
});

const machines = fc.record({
  seed: fc.nat(),
  guests: fc.oneof(
    { weight: 3, arbitrary: fc.array(guest, { minLength: 1, maxLength: 1 }) },
    { weight: 1, arbitrary: fc.array(guest, { minLength: 2, maxLength: 3 }) },
  ),
  cpus: fc.integer({ min: 1, max: 3 }),
  policy: fc.constantFrom(...POLICIES),
  // Slots: few enough for the slot caches to be given up, enough for them to stay.
  swap: fc.array(
    fc.record({
      kind: fc.constantFrom("zram-lz4", "zram-lz4", "zram-lz4", "nvme"),
      slots: fc.constantFrom(300, 1200, 4000),
      free: fc.boolean(),
    }),
    { minLength: 1, maxLength: 2 },
  ),
  preset: fc.constantFrom("bare-metal" as const, "nested" as const),
  tightHost: fc.constantFrom(false, false, false, true),
  slices: fc.array(fc.integer({ min: 1, max: 900 }), { minLength: 1, maxLength: 4 }),
});

type Recipe = typeof machines extends fc.Arbitrary<infer T> ? T : never;

function scenarioOf({ guests, swap, policy, tightHost, ...recipe }: Recipe): Scenario {
  const idealized = policy !== "two-list";
  const pages = guests.map(({ tasks }) => tasks.reduce((sum, each) => sum + each.pages, 0));
  const limits = guests.map(({ share }, index) => Math.max(40, Math.floor(pages[index]! * share)));
  const wanted = limits.reduce((sum, limit) => sum + limit, 0);
  return {
    seed: recipe.seed,
    host: {
      memory: 4096 * (tightHost ? 300 + Math.floor(wanted * 0.9) : 1000 + 2 * wanted),
      cpus: recipe.cpus,
      swap: swap.map(({ kind, slots, free }) => ({
        kind,
        size: slots * 4096,
        ...(free && kind !== "nvme" && { readNs: 0, writeNs: 0 }),
      })),
      reclaim: { policy },
    },
    costs: { preset: recipe.preset },
    vms: guests.map(({ vcpus, memcg, tlb, tasks }, index) => ({
      name: `vm${index}`,
      memory: (pages[index]! + 10) * 4096,
      memoryMax: limits[index]! * 4096,
      vcpus,
      tlb,
      // Policies know of guest pages only.
      ...(memcg !== undefined && !idealized && { memcg }),
      guest: {
        tasks: tasks.map(({ prefault, kind, ...workload }) => ({
          prefault,
          workload: kind === "zipf" ? { kind, theta: 0.8, ...workload } : { kind, ...workload },
        })),
      },
    })),
  };
}

test("random machines agree after every slice, whatever chooses their pages", async () => {
  const module = await debugModule;
  let saved = 0;
  await fc.assert(
    fc.asyncProperty(machines, async (recipe) => {
      const scenario = scenarioOf(recipe);
      const pair = await pairOf(scenario, {}, module);
      saved += runBoth(
        pair,
        recipe.slices,
        6000,
        scenario.vms.map(({ vcpus }) => vcpus!),
      );
    }),
    parameters(Number(process.env.PROPERTY_RUNS ?? 60)),
  );
  assert.ok(saved > 5000, `${saved} faults went through in one go`);
});

/** A guest with twice the pages that it may keep. */
function tight(policy: "clock" | "two-list", reads: number): Scenario {
  const workload = { kind: "uniform" as const, pages: 512, writes: 0.3 };
  return {
    host: {
      memory: "16MiB",
      swap: [{ kind: "zram-lz4", size: "8MiB", readNs: reads }],
      reclaim: { policy },
    },
    vms: [
      {
        name: "a",
        memory: "2MiB",
        memoryMax: "1MiB",
        vcpus: 1,
        guest: { tasks: [{ prefault: true, workload }] },
      },
    ],
  };
}

for (const policy of ["clock", "two-list"] as const) {
  test(`a guest that faults all the time under ${policy} agrees, and most of its faults go through in one go`, async () => {
    for (const reads of [0, 700]) {
      const pair = await pairOf(tight(policy, reads), {}, await coreModule());
      const saved = runBoth(pair, [20_000, 777, 1], 60_000, [1]);
      const { major, writeProtect } = pair.machines[0].result().vms[0]!.faults;
      const faults = major.count + writeProtect.count;
      assert.ok(faults > 10_000, String(faults));
      assert.ok(saved > (policy === "clock" ? 0.95 : 0.6) * faults, `${saved} of ${faults}`);
    }
  });
}

test("records of tracepoints have every fault go by steps, and leave the history as it is", async () => {
  const traced = { ...tight("clock", 0), trace: { events: ["kvm_page_fault"], capacity: 1000 } };
  const machine = await Machine.create(traced);
  const plain = await Machine.create(tight("clock", 0));
  for (const each of [machine, plain]) each.run({ accesses: 5000 });
  assert.is(machine.result().digest, plain.result().digest);
  assert.ok(posted(machine) > posted(plain) + 1000);
});

test.run();
