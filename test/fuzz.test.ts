// At stake: input that nobody made on purpose. Whatever the bytes of a trace or a snapshot are, and whatever a scenario says, the answer is a
// result or an error with a code: never a trap, never a run without an end. FUZZ_INPUTS says how many inputs each test makes.

import { gzipSync } from "node:zlib";
import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { type ErrorCode, PagevisorError } from "#dist/errors.js";
import { parseTrace } from "#dist/files.js";
import { Machine } from "#dist/machine.js";
import type { Scenario } from "#dist/scenario.js";
import { setPath } from "#dist/setpath.js";
import { parameters } from "./reference/report.js";
import { debugModule } from "./scenes.js";

const INPUTS = Number(process.env.FUZZ_INPUTS ?? 600);
const module = await debugModule;

/** The code with which `work` is refused, null when it is not. What is no PagevisorError passes through. */
async function codeOf(work: () => unknown): Promise<ErrorCode | null> {
  try {
    await work();
  } catch (error) {
    if (!(error instanceof PagevisorError)) throw error;
    return error.code;
  }
  return null;
}

const bytes = (maxLength: number): fc.Arbitrary<Uint8Array> => fc.uint8Array({ maxLength });

/** `whole` with some bytes changed, or cut short, or both. */
function damaged(whole: Uint8Array): fc.Arbitrary<Uint8Array> {
  const place = fc.nat(whole.length - 1);
  // Most of the meaning stands at the beginning.
  const early = fc.nat(Math.min(whole.length - 1, 40));
  const changes = fc.array(fc.tuple(fc.oneof(place, early), fc.integer({ min: 1, max: 255 })), {
    maxLength: 4,
  });
  return fc.tuple(changes, fc.oneof(fc.constant(whole.length), place)).map(([flips, length]) => {
    const copy = whole.slice();
    for (const [at, bits] of flips) copy[at]! ^= bits;
    return copy.subarray(0, length);
  });
}

test("bytes of a trace", async () => {
  const plain = new Uint8Array(Uint32Array.from({ length: 300 }, (_, index) => index % 97).buffer);
  const inputs = fc.oneof(bytes(64), damaged(plain), damaged(new Uint8Array(gzipSync(plain))));
  let refused = 0;
  await fc.assert(
    fc.asyncProperty(inputs, async (input) => {
      const code = await codeOf(() => parseTrace(input, "t"));
      assert.ok(code === null || code === "E_FILE", String(code));
      refused += Number(code !== null);
    }),
    parameters(INPUTS),
  );
  assert.ok(refused > 0.2 * INPUTS && refused < INPUTS, `${refused} refused`);
});

const base: Scenario = {
  host: { memory: "2MiB", cpus: 2, swap: [{ kind: "nvme", size: "4MiB" }] },
  vms: [
    {
      name: "a",
      memory: "1MiB",
      memoryMax: "512KiB",
      guest: { tasks: [{ workload: { kind: "zipf", pages: 200, theta: 0.9, writes: 0.5, accesses: 300 } }] },
    },
    {
      name: "b",
      memory: "1MiB",
      guest: { tasks: [{ workload: { kind: "uniform", pages: 99, writes: 1 } }] },
    },
  ],
};

test("bytes of a snapshot", async () => {
  const machine = await Machine.create(base);
  machine.run({ accesses: 100 });
  const whole = machine.snapshot();
  const header = whole.subarray(0, 4096);
  const inputs = fc.oneof(
    bytes(64),
    damaged(header),
    damaged(header).map((head) => new Uint8Array([...head, ...whole.subarray(4096, 4096 + head.length)])),
  );
  await fc.assert(
    fc.asyncProperty(inputs, async (input) => {
      assert.is(await codeOf(() => Machine.restore(input)), "E_SNAPSHOT");
    }),
    parameters(INPUTS),
  );
  // A whole one with one bit changed anywhere: the checksum finds it.
  await fc.assert(
    fc.asyncProperty(fc.nat(whole.length - 1), fc.nat(7), async (at, bit) => {
      const copy = whole.slice();
      copy[at]! ^= 1 << bit;
      assert.is(await codeOf(() => Machine.restore(copy)), "E_SNAPSHOT");
    }),
    parameters(Math.ceil(INPUTS / 50)),
  );
  assert.is(await codeOf(() => Machine.restore(whole)), null);
});

// Values that keys of scenarios have, and some that none has. Sizes are such that a machine is small.
const value = fc.oneof(
  fc.constantFrom<unknown[]>(
    0,
    1,
    2,
    3,
    7,
    64,
    100,
    4096,
    65_536,
    0.5,
    -1,
    2 ** 60,
    1e300,
    null,
    true,
    false,
  ),
  fc.constantFrom<unknown[]>(
    "",
    "1MiB",
    "64KiB",
    "4KiB",
    "10us",
    "3ms",
    "-1ns",
    "1EiB",
    "__proto__",
    "a",
    "b/zipf",
  ),
  fc.constantFrom<unknown[]>(
    "off",
    "upstream",
    "2010",
    "halt-only",
    "mglru",
    "lru",
    "arc",
    "fifo",
    "legacy",
    "tdp",
  ),
  fc.constantFrom<unknown[]>(
    "buddy",
    "direct",
    "reporting",
    "hinting-2019",
    "oracle",
    "process",
    "churn",
    "kernel",
  ),
  fc.constantFrom<unknown[]>(
    [],
    {},
    [1],
    { kind: "hdd", size: "1MiB" },
    { after: "a/zipf" },
    { target: "64KiB" },
  ),
);
const KEYS =
  "seed host memory cpus swap quantum reclaim policy swappiness kind size vms name vcpus mmu asyncPf design memoryMax memcg tlb entries ways guest tasks workload pages theta writes accesses freePages balloon allocator timeslice start count region prefault mode check integrity trace events duration costs hugePages".split(
    " ",
  );
const change = fc.record({
  steps: fc.array(fc.nat(20), { minLength: 1, maxLength: 7 }),
  value,
  key: fc.constantFrom(...KEYS),
});

/** Changes one place of `scenario`: goes down as `steps` say, then sets or adds a key. */
function mutate(
  scenario: unknown,
  { steps, value: put, key }: { steps: number[]; value: unknown; key: string },
): void {
  let at = scenario as Record<string, unknown>;
  for (const [depth, step] of steps.entries()) {
    const keys = Object.keys(at);
    const next = keys[step % (keys.length + 1)];
    if (
      next === undefined ||
      depth === steps.length - 1 ||
      typeof at[next] !== "object" ||
      at[next] === null
    ) {
      at[next ?? (Array.isArray(at) ? keys.length : key)] = structuredClone(put);
      return;
    }
    at = at[next] as Record<string, unknown>;
  }
}

/** Settings that most scenarios may have. */
const SETTINGS: [path: string, values: unknown[]][] = [
  ["seed", [0, 7, 2 ** 32 - 1]],
  ["host.memory", ["1MiB", "2MiB", "3MiB", "64MiB"]],
  ["host.cpus", [1, 2, 3]],
  ["host.quantum", ["1us", "10us", "1ms"]],
  ["host.reclaim", ["lru", "clock", "mglru", "two-list", "arc", "sieve"].map((policy) => ({ policy }))],
  ["host.reclaim", [{ swappiness: 0 }, { swappiness: 200 }, { pageClusterPages: 1 }]],
  ["host.swap", [[], [{ kind: "hdd", size: "1MiB" }], [{ kind: "zram-lz4", size: "64KiB" }]]],
  ["vms.0.memoryMax", ["64KiB", "128KiB", "256KiB", "1MiB"]],
  ["vms.0.vcpus", [1, 2, 4]],
  ["vms.0.mmu", ["tdp", "legacy"]],
  ["vms.0.pageTableLevels", [4, 5]],
  [
    "vms.0.tlb",
    [
      { entries: 4, ways: 1 },
      { entries: 64, ways: 64 },
    ],
  ],
  ["vms.0.asyncPf", ["2010", "halt-only", "upstream"].map((design) => ({ design }))],
  ["vms.1.guest.freePages", ["reporting", "hinting-2019", "oracle", "off"].map((design) => ({ design }))],
  ["vms.1.guest.balloon", [{ target: "64KiB" }, { target: "1MiB", deflateOnOom: true }]],
  [
    "vms.1.guest.tasks.0.workload",
    [
      { kind: "process", pages: 100, writes: 1 },
      { kind: "churn", pages: 90 },
    ],
  ],
  ["vms.1.guest.tasks.0.start", ["1ms", { after: "a/zipf" }]],
  ["vms.0.guest.tasks.0.count", [1, 2]],
  ["vms.0.guest.tasks.0.mode", ["user", "kernel"]],
  ["check", [{ integrity: true }, { integrity: true, onViolation: "count" }]],
  [
    "trace",
    [
      { events: ["*"], capacity: 1 },
      { events: ["kvm_*"], capacity: 64 },
    ],
  ],
];
const setting = fc
  .constantFrom(...SETTINGS)
  .chain(([path, values]) => fc.constantFrom(...values).map((put) => ({ path, put })));
const settings = fc.array(setting, { maxLength: 5 });
const changes = fc.array(change, { maxLength: 2 });

test("scenarios", async () => {
  let ran = 0;
  await fc.assert(
    fc.asyncProperty(settings, changes, async (set, changed) => {
      let scenario = structuredClone(base);
      for (const { path, put } of set) scenario = setPath(scenario, path, put);
      for (const one of changed) mutate(scenario, one);
      const code = await codeOf(async () => {
        const machine = await Machine.create(scenario, { module, files: {} });
        machine.run({ accesses: 200, time: "1s" });
        machine.check();
        ran++;
      });
      const expected = ["E_SCENARIO", "E_FILE", "E_TOO_BIG", "E_ENDLESS", null];
      assert.ok(expected.includes(code), String(code));
    }),
    parameters(INPUTS),
  );
  assert.ok(ran > 0.2 * INPUTS, `${ran} of ${INPUTS} ran`);
});

test.run();
