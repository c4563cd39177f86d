// At stake: that a plain fault, which the core goes through in one go, is the fault that its machines of steps make. Random machines run in two
// copies, one of them by steps alone, and must agree after every slice: in all that they report, in their digest, and in every byte of
// their memory but what the steps have left behind in their locals.

import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { Core } from "#dist/core.js";
import { Machine, type RunResult, type Scenario } from "#dist/index.js";
import { parameters } from "../reference/report.js";
import { scenarios } from "../reference/scenarios.js";
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
  const copy = new Uint8Array(memory.buffer.slice(call.bootHeapBase() >>> 0));
  const clear = (address: number, bytes: number): void => {
    const from = (address >>> 0) - (call.bootHeapBase() >>> 0);
    copy.fill(0, from, from + bytes);
  };
  clear(call.atOnceEvents(), call.atOnceEventsBytes());
  for (const [vm, count] of vcpus.entries())
    for (let vcpu = 0; vcpu < count; vcpu++) clear(call.atOnceLocals(vm, vcpu), call.atOnceLocalsBytes());
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

test("random machines with compressed swap agree, whatever chooses the pages and however their runs are cut", async () => {
  const module = await debugModule;
  let saved = 0;
  await fc.assert(
    fc.asyncProperty(
      scenarios,
      fc.constantFrom(...POLICIES),
      fc.boolean(),
      fc.double({ min: 0.2, max: 0.9, noNaN: true }),
      async ({ scenario, files, accesses, accessSlices }, policy, alone, share) => {
        const { host, vms } = scenario;
        const changed: Scenario = {
          ...scenario,
          host: {
            ...host,
            memory: Number(host.memory) + (alone ? 4096 * 400 : 0),
            swap: host.swap!.map((area) => ({ ...area, kind: "zram-lz4" as const })),
            reclaim: { ...host.reclaim, policy },
          },
          vms: (alone ? vms.slice(0, 1) : vms).map(({ memcg: _, asyncPf, ...vm }) => ({
            ...vm,
            ...(!alone && { asyncPf: asyncPf! }),
            memoryMax: Math.max(40, Math.floor((Number(vm.memory) / 4096) * share)) * 4096,
          })),
          check: {},
        };
        const vcpus = changed.vms.map((vm) => vm.vcpus!);
        const pair = await pairOf(changed, files, module);
        saved += runBoth(pair, accessSlices, accesses, vcpus);
      },
    ),
    parameters(Number(process.env.PROPERTY_RUNS ?? 120)),
  );
  assert.ok(saved > 2000, `${saved} faults went through in one go`);
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
  const traced = { ...tight("clock", 0), trace: { events: ["kvm_page_fault"], records: 1000 } } as Scenario;
  const machine = await Machine.create(traced);
  const plain = await Machine.create(tight("clock", 0));
  for (const each of [machine, plain]) each.run({ accesses: 5000 });
  assert.is(machine.result().digest, plain.result().digest);
  assert.ok(posted(machine) > posted(plain) + 1000);
});

test.run();
