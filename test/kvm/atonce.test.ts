// At stake: that a plain fault, which the core goes through in one go, is the fault that its machines of steps make, and that looking ahead of faults changes
// nothing. Random machines run in two copies, one that looks ahead however small it is and one by steps alone, and must agree after every slice: in all that they report, in their digest, and in every byte of
// their memory but what the steps have left behind in their locals.

import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { Core } from "#dist/core.js";
import {
  type Candidates,
  EVICT,
  Machine,
  type OutsidePolicy,
  type PolicyScenario,
  type RunResult,
  type Scenario,
} from "#dist/index.js";
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

type Named = (typeof POLICIES)[number];

/** A policy of the program, and what makes a failing one sound again for a while. */
interface Brought {
  policy: OutsidePolicy;
  mend: () => void;
}

/** The rule chooses by nothing but what it is offered: whoever is asked the same answers the same. */
function sound(rule: OutsidePolicy["choose"], batch = 64): () => Brought {
  return () => ({ policy: { name: "sound", batch, choose: rule }, mend: () => {} });
}

/** Lets half of what it is offered go, and fails from the 40th call on after it was mended first. */
function failing(wrong: OutsidePolicy["choose"]): () => Brought {
  return () => {
    let calls = Number.NEGATIVE_INFINITY;
    const choose: OutsidePolicy["choose"] = (candidates, choices) => {
      if (++calls >= 40) return wrong(candidates, choices);
      choices.fill(EVICT, 0, Math.ceil(choices.length / 2));
    };
    const mend = (): void => {
      calls = 0;
    };
    return { policy: { name: "failing", batch: 8, choose }, mend };
  };
}

function drawn({ page, age, uses }: Candidates, choices: Uint8Array): void {
  for (const index of choices.keys()) {
    if ((page[index]! * 7 + age[index]! + uses[index]!) % 3 === 0) choices[index] = EVICT;
  }
  choices[choices.length >> 1] = EVICT;
}

const SOUND = {
  all: sound((_, choices) => void choices.fill(EVICT)),
  "one by one": sound(({ accessed }, choices) => void choices.set([accessed[0] === 0 ? EVICT : 0]), 1),
  unwritten: sound(({ dirty }, choices) => {
    choices.set(dirty.map((bit) => 1 - bit));
    choices[0] = EVICT;
  }, 7),
  drawn: sound(drawn),
  scribbled: sound((candidates, choices) => {
    drawn(candidates, choices);
    const { page, age, uses, accessed, dirty } = candidates;
    for (const column of [page, age, uses, accessed, dirty]) column.fill(0xffff_ffff);
  }),
};

const FAILING = {
  throws: failing(() => {
    throw new RangeError("mine");
  }),
  late: failing((() => Promise.resolve()) as never),
  nonsense: failing((_, choices) => void choices.fill(7)),
  idle: failing(() => {}),
};

const OUTSIDE: Record<string, () => Brought> = { ...SOUND, ...FAILING };

/** Two copies of a machine: the first goes through plain faults in one go, the second by steps. */
interface Pair {
  machines: [Machine, Machine];
  /** Their policies, where the program has brought them along. */
  brought: Brought[];
  /** Events that each had posted before it ran. */
  posted: [number, number];
}

function coreOf(machine: Machine): Core {
  return (machine as unknown as { core: Core }).core;
}

/** `scenario`, under a policy of its own or under one of OUTSIDE for each copy. */
async function pairOf(scenario: Scenario, module: WebAssembly.Module, outside?: string): Promise<Pair> {
  const brought = outside === undefined ? [] : [OUTSIDE[outside]!(), OUTSIDE[outside]!()];
  const { host } = scenario;
  const under: PolicyScenario =
    brought.length === 0
      ? scenario
      : { ...scenario, host: { ...host, reclaim: { policy: brought[0]!.policy } } };
  const machine = await Machine.create(under, { module });
  const other = machine.fork(brought.length === 0 ? {} : { policy: brought[1]!.policy });
  for (const { mend } of brought) mend();
  coreOf(machine).call.atOnceAheadFrom(0);
  coreOf(other).call.atOnceAllow(0);
  const machines: [Machine, Machine] = [machine, other];
  return { machines, brought, posted: machines.map(posted) as [number, number] };
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
    clear(call.atOnceLastSlot(vm), 4);
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

/** What a call of run() came to; a policy that has failed is mended. */
function runOf(machine: Machine, accesses: number, brought: Brought | undefined): RunResult | string {
  try {
    return machine.run({ accesses });
  } catch (error) {
    brought!.mend();
    return String(error);
  }
}

/** Runs both for as many accesses in slices. Returns the events that going through in one go has saved, and the slices that a policy has ended. */
function runBoth(
  pair: Pair,
  slices: readonly number[],
  accesses: number,
  vcpus: readonly number[],
): { saved: number; failed: number } {
  const { machines, brought } = pair;
  let failed = 0;
  for (let slice = 0; slice < SLICES && machines[0].result().accesses < accesses; slice++) {
    const wanted = slices[slice % slices.length]!;
    const [ours, theirs] = machines.map((machine, copy) => runOf(machine, wanted, brought[copy]));
    for (const machine of machines) machine.check();
    if (typeof ours === "string" || typeof theirs === "string") {
      // One stands where the policy was asked, the other where a step has ended: they meet with the next slice.
      assert.is(ours, theirs);
      assert.is(machines[0].result().accesses, machines[1].result().accesses);
      failed++;
      continue;
    }
    assertAgree(pair, vcpus);
    if (ours!.stoppedBy !== "accesses") break;
  }
  const [ours, theirs] = machines.map((machine, index) => posted(machine) - pair.posted[index]!);
  return { saved: theirs! - ours!, failed };
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
  policy: fc.oneof(
    { weight: 3, arbitrary: fc.constantFrom<Named>(...POLICIES) },
    { weight: 1, arbitrary: fc.constantFrom(...Object.keys(OUTSIDE)) },
  ),
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
  // Of exits and entries there are records in one go too; the others have every fault go by steps.
  traced: fc.constantFrom([], [], ["kvm_exit", "kvm_page_fault", "kvm_entry"], ["kvm_exit", "mm_page_free"]),
  slices: fc.array(fc.integer({ min: 1, max: 900 }), { minLength: 1, maxLength: 4 }),
});

type Recipe = typeof machines extends fc.Arbitrary<infer T> ? T : never;

function isNamed(policy: string): policy is Named {
  return (POLICIES as readonly string[]).includes(policy);
}

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
      reclaim: { policy: isNamed(policy) ? policy : "clock" },
    },
    costs: { preset: recipe.preset },
    ...(recipe.traced.length > 0 && { trace: { events: [...recipe.traced], capacity: 3000 } }),
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
      const outside = isNamed(recipe.policy) ? undefined : recipe.policy;
      const pair = await pairOf(scenario, module, outside);
      const vcpus = scenario.vms.map(({ vcpus }) => vcpus!);
      saved += runBoth(pair, recipe.slices, 6000, vcpus).saved;
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

for (const policy of ["clock", "two-list", ...Object.keys(SOUND)]) {
  test(`a guest that faults all the time under ${policy} agrees, and most of its faults go through in one go`, async () => {
    const outside = isNamed(policy) ? undefined : policy;
    for (const reads of isNamed(policy) ? [0, 700] : [700]) {
      const named = policy === "two-list" ? policy : "clock";
      const pair = await pairOf(tight(named, reads), await coreModule(), outside);
      const { saved } = runBoth(pair, [20_000, 777, 1], 60_000, [1]);
      const { major, writeProtect } = pair.machines[0].result().vms[0]!.faults;
      const faults = major.count + writeProtect.count;
      assert.ok(faults > 10_000, String(faults));
      assert.ok(saved > (policy === "two-list" ? 0.6 : 0.95) * faults, `${saved} of ${faults}`);
    }
  });
}

for (const policy of Object.keys(FAILING)) {
  test(`a policy that fails (${policy}) ends the run in both, and they meet again when it is mended`, async () => {
    const pair = await pairOf(tight("clock", 700), await debugModule, policy);
    const { saved, failed } = runBoth(pair, [5000, 100, 1], 60_000, [1]);
    assert.is(failed, 4, "every longer slice fails");
    assert.ok(saved > 400, String(saved));
  });
}

test("pages that come back after their slot has agree with those by steps, whatever an access has left meanwhile", async () => {
  const scenario = tight("clock", 0);
  const slots = [0, 256].map((gfn) => ({ gfn, pages: 256, hva: 0x7e0000000000 + gfn * 4096 }));
  scenario.vms[0]!.memslots = slots;
  const pair = await pairOf(scenario, await debugModule);
  let accesses = 0;
  for (let round = 0; round < 3; round++) {
    for (const slot of [null, slots[1]!]) {
      for (const machine of pair.machines) machine.setMemslot("a", 1, slot);
      accesses += 4000;
      runBoth(pair, [700, 300], accesses, [1]);
    }
  }
  const { mmio, faults } = pair.machines[0].result().vms[0]!;
  assert.ok(mmio.sptes > 700 && mmio.exits > 4000, JSON.stringify(mmio));
  assert.ok(faults.major.count > 2000, String(faults.major.count));
});

test("records of exits leave faults in one go, those of what faults only count have all go by steps; the history stays", async () => {
  const plain = await Machine.create(tight("clock", 0));
  plain.run({ accesses: 5000 });
  const exits = ["kvm_exit", "kvm_page_fault", "kvm_entry"] as const;
  for (const [events, steps] of [
    [exits, false],
    [[...exits, "mm_page_free"], true],
  ] as const) {
    const traced = { ...tight("clock", 0), trace: { events: [...events], capacity: 100_000 } };
    const pair = await pairOf(traced as Scenario, await debugModule);
    for (const machine of pair.machines) machine.run({ accesses: 5000 });
    const [machine] = pair.machines;
    assert.is(machine.result().digest, plain.result().digest);
    assert.is(posted(machine) > posted(plain) + 1000, steps, `${events}`);
    const records = pair.machines.map((each) => each.traceText().split("\n"));
    assert.equal(records[0], records[1]);
    const { length } = records[0]!;
    assert.ok(length > 5_000, `${length} records`);
  }
});

test.run();
