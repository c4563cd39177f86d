// At stake: input that nobody made on purpose. Whatever the bytes of a trace or a snapshot are, and whatever a scenario says, the answer is a
// result or an error with a code: never a trap, never a run without an end. FUZZ_INPUTS says how many inputs each test of bytes makes; scenarios, which
// are run, are a third of that.

import { gzipSync } from "node:zlib";
import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { type ErrorCode, PagevisorError } from "#dist/errors.js";
import { parseTrace } from "#dist/files.js";
import { parseJson } from "#dist/json.js";
import { Machine } from "#dist/machine.js";
import type { Scenario } from "#dist/scenario.js";
import { setPath } from "#dist/setpath.js";
import { parameters } from "./reference/report.js";
import { debugModule } from "./scenes.js";

const INPUTS = Number(process.env.FUZZ_INPUTS ?? 300);
const SCENARIOS = Math.ceil(INPUTS / 3);
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
// biome-ignore format: a list that is read as one
const VALUES: unknown[] = [
  0, 1, 2, 3, 7, 64, 100, 4096, 65_536, 0.5, -1, 2 ** 60, 1e300, null, true, false,
  "", "1MiB", "64KiB", "4KiB", "10us", "3ms", "-1ns", "1EiB", "__proto__", "a", "b/zipf",
  "off", "upstream", "2010", "halt-only", "mglru", "lru", "arc", "fifo", "legacy", "tdp", "shadow", "notifier-2008",
  "buddy", "direct", "reporting", "hinting-2019", "oracle", "process", "churn", "kernel", "pageout", "dirtyLog",
  [], {}, [1], { kind: "hdd", size: "1MiB" }, { after: "a/zipf" }, { target: "64KiB" }, { gfn: 3, pages: 40 },
];
const KEYS =
  "seed host memory cpus numaNodes swap quantum reclaim policy swappiness ksm kind size vms name vcpus mmu mmuPages mmuNotifier asyncPf design pager memoryMax memcg memslots aliases gfn pages hva flags tlb entries ways guest tasks workload theta writes accesses freePages balloon allocator scheduler timeslice start manual count region prefault mode check integrity trace events at do advice duration costs hugePages sweep".split(
    " ",
  );
const change = fc.record({
  steps: fc.array(fc.nat(20), { minLength: 1, maxLength: 7 }),
  value: fc.constantFrom(...VALUES),
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

/** Some paths with what is put there. */
type Setting = [path: string, put: unknown][];
const each = (path: string, ...values: unknown[]): Setting[] => values.map((put) => [[path, put]]);

const EVENTS = [
  { at: "10us", do: "advise", advice: "pageout", gfn: 0, pages: 100 },
  { at: "20us", do: "advise", advice: "free", gfn: 10, pages: 200 },
  { at: "30us", do: "advise", advice: "dontneed", gfn: 0, pages: 256 },
  { at: "35us", do: "advise", advice: "write", gfn: 5, pages: 20 },
  { at: "40us", do: "memoryMax", size: "128KiB" },
  { at: "50us", do: "memoryReclaim", size: "256KiB" },
  { at: "60us", do: "memslot", id: 3, slot: { gfn: 4096, pages: 16, flags: ["log-dirty-pages"] } },
  { at: "70us", do: "memslot", id: 0, slot: null },
  { at: "80us", do: "dirtyLog", id: 0 },
  { at: "150us", do: "destroyVm" },
  { at: "15us", do: "pin", gfn: 0, pages: 30 },
  { at: "25us", do: "migrate", gfn: 0, pages: 60 },
  { at: "55us", do: "unpin" },
].map((event) => ({ vm: "a", ...event }));
const OFFLINE = { at: "45us", do: "offline", size: "4MiB", timeout: "1ms" };

/** Settings that most scenarios may have. */
const SETTINGS: Setting[] = [
  ...each("seed", 0, 7, 2 ** 32 - 1),
  ...each("host.memory", "1MiB", "2MiB", "3MiB", "8MiB", "64MiB"),
  ...each("host.cpus", 1, 2, 3),
  ...each("host.numaNodes", 2),
  ...each("host.quantum", "1us", "10us", "1ms"),
  ...["lru", "clock", "arc", "sieve", "s3fifo", "2q", "lfu", "fifo"].map(
    (policy): Setting => [
      ["host.reclaim", { policy }],
      ["vms.1.memoryMax", "128KiB"],
    ],
  ),
  ...each("host.reclaim", { policy: "mglru" }, { policy: "two-list" }),
  ...each("host.reclaim", { swappiness: 0 }, { swappiness: 200 }, { pageClusterPages: 1 }),
  ...each("host.swap", [], [{ kind: "hdd", size: "1MiB" }], [{ kind: "zram-lz4", size: "64KiB" }]),
  [
    ["host.ksm", { run: true, pagesToScan: 500, sleep: "20us" }],
    ["check", { integrity: true, onViolation: "count" }],
  ],
  ...each("vms.0.memoryMax", "64KiB", "128KiB", "256KiB", "1MiB"),
  ...each("vms.0.memcg", { chargeTables: true, chargeBatch: 64, overheadPages: 3 }),
  ...each("vms.0.vcpus", 1, 2, 4),
  ...each("vms.0.mmu", "tdp", "legacy", "shadow"),
  [
    ["vms.0.mmu", "legacy"],
    ["vms.0.mmuPages", 16],
  ],
  [
    ["vms.0.mmu", "legacy"],
    ["vms.0.mmuNotifier", "notifier-2008"],
  ],
  ...each("vms.0.hugePages", true),
  ...each("vms.0.pageTableLevels", 4, 5),
  ...each("vms.0.pager", {}, { gfn: 3, pages: 20, order: "lifo", quiet: "5us" }),
  ...each("vms.0.memslots", [
    { gfn: 0, pages: 200, flags: ["log-dirty-pages"] },
    { gfn: 512, pages: 56 },
  ]),
  ...each("vms.0.tlb", { entries: 4, ways: 1 }, { entries: 64, ways: 8 }),
  ...["2010", "halt-only", "upstream"].flatMap((design) => each("vms.0.asyncPf", { design })),
  ...["held", "mapping-2013"].flatMap((pin) => each("vms.0.asyncPf", { design: "2010", pin })),
  ...["reporting", "hinting-2019", "oracle", "off"].flatMap((design) =>
    each("vms.1.guest.freePages", { design }),
  ),
  ...each("vms.1.guest.balloon", { target: "64KiB" }, { target: "1MiB", deflateOnOom: true }),
  ...each(
    "vms.1.guest.tasks.0.workload",
    { kind: "process", pages: 100, writes: 1 },
    { kind: "churn", pages: 90 },
    { kind: "pagecache", pages: 90 },
    { kind: "hotcold", pages: 90, hot: 9, hotProbability: 0.9, phaseAccesses: 50 },
  ),
  ...each("vms.1.guest.tasks.0.start", "1ms", { after: "a/zipf" }),
  ...each("vms.1.guest.scheduler", "fifo"),
  ...each("vms.0.guest.tasks.0.count", 1, 2),
  ...each("vms.0.guest.tasks.0.mode", "user", "kernel"),
  ...each("vms.0.guest.tasks.0.prefault", true),
  ...EVENTS.flatMap((event) => each("events", [event])),
  ...each("events", EVENTS),
  [
    ["host.memory", "8MiB"],
    ["events", [...EVENTS, OFFLINE]],
  ],
  ...each("check", { integrity: true }, { integrity: true, onViolation: "count" }),
  ...each("trace", { events: ["*"], capacity: 1 }, { events: ["kvm_*"], capacity: 64 }),
];

const REFUSED: (ErrorCode | null)[] = ["E_SCENARIO", "E_FILE", "E_TOO_BIG", "E_ENDLESS", "E_POLICY"];

/** Builds and runs what may be a scenario. @returns whether it ran */
async function runs(make: () => Scenario): Promise<boolean> {
  const code = await codeOf(async () => {
    const machine = await Machine.create(make(), { module, files: {} });
    machine.run({ accesses: 200, time: "1s" });
    machine.check();
  });
  assert.ok(code === null || REFUSED.includes(code), String(code));
  return code === null;
}

test("scenarios that fuzzing has found", async () => {
  const found: Setting[] = [
    // The shared page of zeroes is unmapped, which an idealized policy was not told.
    [
      ["host.reclaim", { policy: "fifo" }],
      ["vms.1.memoryMax", "128KiB"],
      ["events", [EVENTS[2]]],
    ],
    // An access by an spte whose page the host has unmapped already entered the policy.
    [
      ["host.reclaim", { policy: "s3fifo" }],
      ["vms.1.memoryMax", "128KiB"],
      ["vms.0.mmu", "legacy"],
      ["vms.0.mmuNotifier", "notifier-2008"],
      ["events", EVENTS.slice(0, 9)],
    ],
  ];
  for (const set of found) {
    let scenario = structuredClone(base);
    for (const [path, put] of set) scenario = setPath(scenario, path, structuredClone(put));
    assert.ok(await runs(() => scenario), JSON.stringify(set));
  }
});

test("scenarios", async () => {
  let ran = 0;
  const settings = fc.array(fc.constantFrom(...SETTINGS), { maxLength: 5 });
  const changes = fc.oneof(fc.constant([]), fc.array(change, { minLength: 1, maxLength: 2 }));
  await fc.assert(
    fc.asyncProperty(settings, changes, async (set, changed) => {
      let scenario = structuredClone(base);
      for (const [path, put] of set.flat()) scenario = setPath(scenario, path, structuredClone(put));
      for (const one of changed) mutate(scenario, one);
      ran += Number(await runs(() => scenario));
    }),
    parameters(SCENARIOS),
  );
  assert.ok(ran > 0.2 * SCENARIOS, `${ran} of ${SCENARIOS} ran`);
});

/** `text` with some digits in place of others: most of it is JSON still. */
function otherFigures(text: Uint8Array): fc.Arbitrary<Uint8Array> {
  const digits = [...text.keys()].filter((at) => text[at]! >= 0x30 && text[at]! <= 0x39);
  const changes = fc.array(fc.tuple(fc.constantFrom(...digits), fc.integer({ min: 0x30, max: 0x39 })), {
    maxLength: 4,
  });
  return changes.map((puts) => {
    const copy = text.slice();
    for (const [at, digit] of puts) copy[at] = digit;
    return copy;
  });
}

test("bytes of a scenario's file", async () => {
  let ran = 0;
  const text = new TextEncoder().encode(JSON.stringify({ ...base, events: EVENTS }));
  await fc.assert(
    fc.asyncProperty(
      fc.oneof(bytes(64), damaged(text), otherFigures(text), otherFigures(text)),
      async (input) => {
        ran += Number(await runs(() => parseJson(new TextDecoder().decode(input), "s.json") as Scenario));
      },
    ),
    parameters(SCENARIOS),
  );
  assert.ok(ran > 0.1 * SCENARIOS && ran < SCENARIOS, `${ran} of ${SCENARIOS} ran`);
});

test.run();
