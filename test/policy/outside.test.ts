// At stake: that a policy written outside the core decides exactly what goes, is told the truth about its candidates, and cannot harm the
// machine. The same rule inside and outside must give the same history; what is offered is compared, call by call, with plain lists; a
// policy that throws or writes nonsense must leave a sound machine that goes on.

import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { Core } from "#dist/core.js";
import {
  type Candidates,
  EVICT,
  explore,
  KEEP,
  Machine,
  type OutsidePolicy,
  PagevisorError,
  type PolicyScenario,
  resolveScenario,
  type Scenario,
  sweep,
} from "#dist/index.js";
import { OUTSIDE_BATCH } from "#dist/policynames.js";
import { runInWorker } from "#dist/worker.js";
import { parameters } from "../reference/report.js";
import { Rng } from "../reference/rng.js";
import { scenarios } from "../reference/scenarios.js";
import { debugModule, ROOT } from "../scenes.js";

const MIB = 2 ** 20;

const fifo = (batch = 64): OutsidePolicy => ({
  name: "fifo",
  batch,
  choose: (_, choices) => void choices.fill(EVICT),
});

/** CLOCK looks at one page at a time, for what it decides depends on what was used until then. */
const clock: OutsidePolicy = {
  name: "clock",
  batch: 1,
  choose: ({ accessed }, choices) => void choices.set([accessed[0] === 0 ? EVICT : KEEP]),
};

type Policy = NonNullable<PolicyScenario["host"]["reclaim"]>["policy"] & {};

/** `scenario` with a limit for each VM and pages under `policy`. */
function limited(scenario: Scenario, policy: Policy): PolicyScenario {
  const { vms } = resolveScenario(scenario);
  const { host } = scenario;
  return {
    ...scenario,
    host: { ...host, reclaim: { ...host.reclaim, policy, pageClusterPages: 1 } },
    vms: scenario.vms.map(({ memcg: _, ...vm }, index) => ({
      ...vm,
      memoryMax: Math.max(4096, Math.floor(vms[index]!.memory / 8192) * 4096),
    })),
  };
}

/** One vCPU whose 256 pages do not fit: a hundred do. */
function small(policy: Policy, guest: object = {}): PolicyScenario {
  const workload = { kind: "zipf" as const, pages: 256, theta: 0.7, writes: 0.3 };
  return {
    seed: 7,
    host: { memory: 16 * MIB, swap: [{ kind: "zram-lz4", size: 4 * MIB }], reclaim: { policy } },
    check: { integrity: true },
    vms: [{ name: "a", memory: MIB, memoryMax: 100 * 4096, guest: { tasks: [{ workload, ...guest }] } }],
  };
}

async function bootSmall(policy: OutsidePolicy): Promise<Machine> {
  return await Machine.create(small(policy), { module: await debugModule });
}

/** The error that `action` throws. */
async function thrownBy(action: () => unknown): Promise<unknown> {
  try {
    await action();
  } catch (error) {
    return error;
  }
  assert.unreachable("nothing was thrown");
}

async function refusal(action: () => unknown, code: string, words: string): Promise<void> {
  const error = await thrownBy(action);
  assert.instance(error, PagevisorError);
  const { code: got, message } = error as PagevisorError;
  assert.is(got, code, message);
  assert.ok(message.includes(words), message);
}

test("the same rule inside and outside gives the same history, whatever the guests, while limits move", async () => {
  const module = await debugModule;
  await fc.assert(
    fc.asyncProperty(
      scenarios,
      fc.constantFrom<[string, OutsidePolicy]>(
        ["fifo", fifo(64)],
        ["fifo", fifo(7)],
        ["fifo", fifo(1)],
        ["clock", clock],
      ),
      async ({ scenario, files, accesses }, [name, policy]) => {
        const traced = { ...scenario, trace: { events: ["swap_writepage" as const] } };
        let inside = await Machine.create(limited(traced, name as "fifo"), { files, module });
        let outside = await Machine.create(limited(traced, policy), { files, module });
        for (const share of [4, 2, 3]) {
          for (let part = 0; part < 3; part++) {
            const own = inside.run({ accesses: Math.ceil(accesses / 9) });
            const theirs = outside.run({ accesses: Math.ceil(accesses / 9) });
            outside.check();
            assert.equal([theirs.digest, theirs.status], [own.digest, own.status]);
            assert.is(outside.traceText(), inside.traceText());
            if (own.status === "oom") return;
          }
          const set = Object.fromEntries(
            inside.scenario.vms.map((vm) => {
              const pages = Math.max(1, Math.floor(vm.memory / 4096 / share));
              return [`vms.${vm.name}.memoryMax`, pages * 4096];
            }),
          );
          inside = inside.fork({ set });
          outside = outside.fork({ set, policy });
        }
      },
    ),
    parameters(Number(process.env.PROPERTY_RUNS ?? 20)),
  );
});

interface Offered {
  page: number[];
  age: number[];
  uses: number[];
  accessed: number[];
  dirty: number[];
}

/** What a policy that chooses by `pick` is offered while `words` are referenced: lists that are searched from end to end. */
function plainly(words: Uint32Array, capacity: number, batch: number, pick: () => number): Offered[] {
  interface Page {
    page: number;
    last: number;
    uses: number;
    accessed: number;
    dirty: number;
  }
  const offered: Offered[] = [];
  let waiting: Page[] = []; // the oldest first
  let chosen: Page[] = [];
  for (const [made, word] of words.entries()) {
    const page = word & 0x7fff_ffff;
    const write = word >>> 31;
    const found = [...waiting, ...chosen].find((each) => each.page === page);
    if (found !== undefined) {
      Object.assign(found, { last: made, uses: found.uses + 1, accessed: 1, dirty: found.dirty | write });
      continue;
    }
    if (waiting.length + chosen.length === capacity) {
      while (chosen.length === 0) {
        const candidates = waiting.slice(0, batch);
        const column = (of: (page: Page) => number): number[] => candidates.map(of);
        offered.push({
          page: column((each) => each.page),
          age: column((each) => made - 1 - each.last),
          uses: column((each) => each.uses),
          accessed: column((each) => each.accessed),
          dirty: column((each) => each.dirty),
        });
        const goes = candidates.map(() => pick() === EVICT);
        const kept = candidates.filter((_, index) => !goes[index]);
        for (const each of kept) each.accessed = 0;
        waiting = [...waiting.slice(candidates.length), ...kept];
        chosen = candidates.filter((_, index) => goes[index]);
      }
      chosen.shift();
    }
    waiting.push({ page, last: made, uses: 1, accessed: 0, dirty: write });
  }
  return offered;
}

test("the candidates are the oldest pages, with their age, uses and bits, as plain lists have them", async () => {
  const module = await debugModule;
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.integer({ min: 0, max: 39 }), { minLength: 50, maxLength: 400 }),
      fc.integer({ min: 0, max: 2 ** 31 }),
      fc.integer({ min: 2, max: 30 }),
      fc.integer({ min: 1, max: 64 }),
      async (pages, seed, capacity, batch) => {
        const random = new Rng(seed, 0);
        // Each page is written once, for a page of zeroes takes no room.
        const words = Uint32Array.of(
          ...Array.from({ length: 40 }, (_, page) => page + 2 ** 31),
          ...pages.map((page) => page + random.below(2) * 2 ** 31),
        );
        const pickOf = (): (() => number) => {
          const own = new Rng(seed, 1);
          return () => (own.below(3) === 0 ? EVICT : KEEP);
        };
        const pick = pickOf();
        const offered: Offered[] = [];
        const policy: OutsidePolicy = {
          name: "random",
          batch,
          choose(candidates, choices) {
            assert.is(candidates.vm, 0);
            assert.is(candidates.length, choices.length);
            const { page, age, uses, accessed, dirty } = candidates;
            const columns = { page, age, uses, accessed, dirty };
            offered.push(
              Object.fromEntries(
                Object.entries(columns).map(([name, column]) => [name, [...column]]),
              ) as never,
            );
            for (const index of choices.keys()) choices[index] = pick();
          },
        };
        const scenario = small(policy);
        scenario.vms[0]!.memoryMax = capacity * 4096;
        scenario.vms[0]!.guest = {
          tasks: [{ workload: { kind: "trace", file: "t", writes: "as-recorded" } }],
        };
        const files = { t: new Uint8Array(words.buffer) };
        const machine = await Machine.create(scenario, { files, module });
        assert.is(machine.run().status, "done");
        machine.check();
        assert.equal(offered, plainly(words, capacity, batch, pickOf()));
      },
    ),
    parameters(Number(process.env.PROPERTY_RUNS ?? 40)),
  );
});

/** FIFO that fails once, in call `at`, as `wrong` says. */
function failing(at: number, wrong: (candidates: Candidates, choices: Uint8Array) => void): OutsidePolicy {
  let calls = 0;
  return {
    name: "failing",
    batch: 8,
    choose(candidates, choices) {
      if (calls++ === at) wrong(candidates, choices);
      else choices.fill(EVICT);
    },
  };
}

test("what a policy throws reaches the caller as it is, and the machine goes on soundly", async () => {
  const thrown = { not: "even an error" };
  for (const at of [0, 3]) {
    const machine = await bootSmall(
      failing(at, () => {
        throw thrown;
      }),
    );
    assert.is(await thrownBy(() => machine.run({ accesses: 20_000 })), thrown);
    machine.check();
    const { status, stoppedBy, accesses } = machine.result();
    assert.equal([status, stoppedBy], ["interrupted", "policy"]);
    assert.ok(accesses < 20_000);
    assert.is(machine.run({ accesses: 20_000 }).accesses, 20_000);
    machine.check();
    const { checked, lostWrites, staleReads } = machine.result().vms[0]!.integrity;
    assert.ok(checked > 0);
    assert.equal([lostWrites, staleReads], [0, 0]);
  }
});

test("so it is with runAsync, ticks, single accesses, calls of the monitor, and what is written at boot", async () => {
  const thrown = new RangeError("mine");
  const wrong = (): never => {
    throw thrown;
  };
  assert.is(
    await thrownBy(async () => (await bootSmall(failing(2, wrong))).runAsync({ accesses: 9000 })),
    thrown,
  );
  const ticking = await bootSmall(failing(2, wrong));
  assert.is(
    await thrownBy(async () => {
      for await (const _ of ticking.ticks({ every: "1us", limit: { accesses: 9000 } }));
    }),
    thrown,
  );

  const stepped = await bootSmall(failing(0, wrong));
  for (let gfn = 0; gfn < 100; gfn++) stepped.access("a", 0, gfn, "write");
  assert.is(await thrownBy(() => stepped.access("a", 0, 100, "write")), thrown);
  assert.is(stepped.inspect({ vm: "a", gfn: 100 }).pte!.state, "present", "the access has been made");
  assert.is(stepped.access("a", 0, 101, "write").status, "done");
  stepped.check();

  const called = await bootSmall(failing(0, wrong));
  for (let gfn = 0; gfn < 100; gfn++) called.access("a", 0, gfn, "write");
  assert.is(await thrownBy(() => called.advise("a", "write", { gfn: 120, pages: 4 })), thrown);
  called.check();
  assert.is(called.run({ accesses: 5000 }).accesses, 5000);

  const prefaults = small(failing(1, wrong), { prefault: true });
  assert.is(await thrownBy(async () => Machine.create(prefaults, { module: await debugModule })), thrown);
});

test("a choice that is none, and none at all, is an error that names it", async () => {
  const nonsense = await bootSmall(failing(1, (_, choices) => choices.set([7], 5)));
  await refusal(
    () => nonsense.run({ accesses: 9000 }),
    "E_POLICY",
    '"failing" wrote 7 into choices[5]. Allowed: 0 (KEEP), 1 (EVICT)',
  );
  nonsense.check();
  assert.is(nonsense.run({ accesses: 9000 }).accesses, 9000);

  const idle: OutsidePolicy = { name: "idle", choose: () => {} };
  const workload = { kind: "uniform", pages: 256, writes: 1 };
  const machine = await Machine.create(small(idle, { workload }), { module: await debugModule });
  for (let attempt = 0; attempt < 3; attempt++) {
    await refusal(
      () => machine.run({ accesses: 9000 }),
      "E_POLICY",
      '"idle" was offered 1472 pages in a row and let none of them go',
    );
    machine.check();
  }
});

test("a policy may keep every page once, and be asked again", async () => {
  const seen = new Map<number, number>();
  const once: OutsidePolicy = {
    name: "once",
    batch: 10,
    choose({ page }, choices) {
      for (const [index, each] of page.entries()) {
        seen.set(each, (seen.get(each) ?? 0) + 1);
        if (seen.get(each)! > 1) choices[index] = EVICT;
      }
    },
  };
  const machine = await bootSmall(once);
  machine.run({ accesses: 3000 });
  assert.ok(seen.size > 100);
});

test("a policy that would choose later is refused, and so is an object that is none, in a fork too", async () => {
  const late = { ...fifo(), choose: async () => undefined } as unknown as OutsidePolicy;
  await refusal(
    async () => (await bootSmall(late)).run({ accesses: 20_000 }),
    "E_POLICY",
    "returns a promise",
  );
  const machine = await bootSmall(fifo());
  await refusal(() => machine.fork({ policy: { name: "fifo", batch: 64 } as never }), "E_SCENARIO", "choose");
  await refusal(() => machine.fork({ policy: null as never }), "E_POLICY", "fifo");
});

test("the core has room for as many candidates as the library offers", async () => {
  assert.is(new Core(await debugModule).constant("OUTSIDE_BATCH_MAX"), OUTSIDE_BATCH);
});

test("a policy that scribbles over its columns changes nothing but what it chooses", async () => {
  const scribbling: OutsidePolicy = {
    ...fifo(8),
    choose({ page, age, uses, accessed, dirty }, choices) {
      for (const column of [page, age, uses, accessed, dirty]) column.fill(0xffff_ffff);
      choices.fill(EVICT, 1);
    },
  };
  const plain: OutsidePolicy = { ...fifo(8), choose: (_, choices) => void choices.fill(EVICT, 1) };
  const [left, right] = [await bootSmall(scribbling), await bootSmall(plain)];
  assert.is(left.run({ accesses: 20_000 }).digest, right.run({ accesses: 20_000 }).digest);
  left.check();
});

test("a policy that uses its machine while it chooses is refused; disposing of it then does no harm", async () => {
  for (const use of [
    (machine: Machine) => machine.run({ accesses: 1 }),
    (machine: Machine) => machine.snapshot(),
    (machine: Machine) => machine.access("a", 0, 1, "read"),
  ]) {
    let machine: Machine | undefined;
    machine = await bootSmall(failing(1, () => void use(machine!)));
    await refusal(() => machine!.run({ accesses: 9000 }), "E_POLICY", "cannot use its machine");
    machine.check();
  }
  let machine: Machine | undefined;
  machine = await bootSmall(
    failing(1, (_, choices) => {
      machine!.dispose();
      choices.fill(EVICT);
    }),
  );
  assert.is(machine.run({ accesses: 9000 }).accesses, 9000);
  await refusal(() => machine!.result(), "E_DISPOSED", "disposed");
});

test("pages that go by advice leave no room behind in the queue, however often they come back", async () => {
  const module = await debugModule;
  const digests: string[] = [];
  for (const policy of [fifo(7), "fifo" as const]) {
    const machine = await Machine.create(small(policy), { module });
    for (let round = 0; round < 30; round++) {
      // More entries than twice the pages of the VM, and never one that must go.
      for (let gfn = 0; gfn < 50; gfn++) machine.access("a", 0, (gfn * 7 + round) % 90, "write");
      machine.advise("a", "dontneed", { gfn: round % 40, pages: 50 });
      machine.check();
    }
    digests.push(machine.run({ accesses: 5000 }).digest);
    machine.check();
  }
  assert.is(digests[0], digests[1]);
});

test("the columns are alive after the memory has grown", async () => {
  const buffers = new Set<ArrayBufferLike>();
  const machine = await bootSmall({
    name: "looks",
    choose({ page, uses }, choices) {
      assert.ok(page.length === 64 && uses.every((count) => count > 0));
      buffers.add(page.buffer);
      choices.fill(EVICT);
    },
  });
  machine.run({ accesses: 5000 });
  (machine as unknown as { core: { memory: WebAssembly.Memory } }).core.memory.grow(1);
  machine.run({ accesses: 5000 });
  assert.is(buffers.size, 2);
});

test("forks and snapshots go on with the policy that is handed over, and not without it", async () => {
  const machine = await bootSmall(fifo());
  machine.run({ accesses: 3000 });
  const fork = machine.fork({ policy: fifo() });
  const bytes = machine.snapshot();
  const restored = await Machine.restore(bytes, { policy: fifo(), module: await debugModule });
  const { digest } = machine.run({ accesses: 3000 });
  assert.is(fork.run({ accesses: 3000 }).digest, digest);
  assert.is(restored.run({ accesses: 3000 }).digest, digest);

  const missing = '"fifo" is a policy of the program that made this scenario';
  const module = await debugModule;
  await refusal(() => machine.fork(), "E_POLICY", missing);
  await refusal(() => Machine.restore(bytes, { module }), "E_POLICY", missing);
  await refusal(
    () => machine.fork({ policy: clock }),
    "E_POLICY",
    '"clock" with a batch of 1 is not the machine\'s',
  );
  await refusal(() => Machine.restore(bytes, { module, policy: fifo(3) }), "E_POLICY", "with a batch of 64");
  const builtIn = await Machine.create(small("fifo"), { module });
  await refusal(() => builtIn.fork({ policy: fifo() }), "E_POLICY", 'the machine runs under "fifo"');
});

test("the result names the policy, and its scenario runs again with the object and not without it", async () => {
  const machine = await bootSmall(fifo());
  const { scenario, digest } = machine.run({ accesses: 3000 });
  assert.equal(scenario.host.reclaim.policy, "outside");
  assert.equal(scenario.host.reclaim.outside, { name: "fifo", batch: 64 });
  const written = JSON.parse(JSON.stringify(scenario)) as Scenario;
  await refusal(() => Machine.create(written), "E_POLICY", "Hand its object over");
  const { host } = written;
  const again = { ...written, host: { ...host, reclaim: { ...host.reclaim, policy: fifo() } } };
  assert.is((await Machine.create(again)).run({ accesses: 3000 }).digest, digest);
});

test("what cannot carry an object says so: files, sweeps, workers, explorations", async () => {
  const scenario = small(fifo()) as Scenario;
  const words = "host.reclaim.policy: a policy of your own goes into Machine.create() alone";
  await refusal(() => resolveScenario(scenario), "E_SCENARIO", words);
  await refusal(() => runInWorker(scenario), "E_SCENARIO", words);
  await refusal(
    async () => {
      for await (const _ of sweep(scenario, { vary: { seed: [1, 2] } }));
    },
    "E_SCENARIO",
    words,
  );
  await refusal(() => explore({ ...scenario, actors: [] } as never), "E_SCENARIO", "");
  const text = { policy: "outside" as const };
  await refusal(
    () => Machine.create({ ...scenario, host: { ...scenario.host, reclaim: text } }),
    "E_SCENARIO",
    "host.reclaim.outside: missing",
  );
});

test("an object that is no policy is refused with the key", async () => {
  for (const [policy, words] of [
    [{ name: "a" }, "host.reclaim.policy.choose: undefined is not allowed. Allowed: a function"],
    [{ choose: () => {} }, "host.reclaim.policy.name: undefined is not allowed"],
    [{ name: "a b", choose: () => {} }, 'host.reclaim.outside.name: "a b" is not allowed'],
    [
      { name: "a", batch: 65, choose: () => {} },
      "host.reclaim.policy.batch: 65 is not allowed. Allowed: a whole number 1..64",
    ],
    [[], "host.reclaim.policy.choose"],
  ] as [OutsidePolicy, string][]) {
    await refusal(() => bootSmall(policy), "E_SCENARIO", words);
  }
  await refusal(
    () => {
      const { memoryMax: _, ...vm } = small(fifo()).vms[0]!;
      return Machine.create({ ...small(fifo()), vms: [vm] });
    },
    "E_SCENARIO",
    "missing",
  );
});

test("the example runs, and its policy misses less than first in, first out", () => {
  const text = execFileSync(process.execPath, [join(ROOT, "examples/policies/least-used.mjs")], {
    encoding: "utf8",
  });
  const faults = new Map(
    [...text.matchAll(/^(\S+) +(\d+) faults, [\d.]+ s of virtual time$/gm)].map(([, name, count]) => [
      name!,
      Number(count),
    ]),
  );
  assert.equal([...faults.keys()], ["fifo", "lru", "lfu", "least-used"]);
  assert.ok(faults.get("least-used")! < faults.get("fifo")!, text);
  const documented = readFileSync(join(ROOT, "docs/policies.md"), "utf8");
  assert.ok(documented.includes(text.trim()), "docs/policies.md shows what it prints");
});

test.run();
