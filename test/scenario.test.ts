// At stake: a scenario that is accepted although it is wrong, or refused with a message that does not help. Every refusal is checked
// as the whole line that the user sees; defaults are checked as the whole resolved scenario.

import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { COST_KEYS } from "#dist/costkeys.js";
import { PagevisorError } from "#dist/errors.js";
import { nearestName } from "#dist/nearest.js";
import type { PolicyName } from "#dist/policynames.js";
import { resolveScenario, type Scenario } from "#dist/scenario.js";
import { SWAP_KINDS, scenarioSchema } from "#dist/schema.js";
import { keysOf, meaningOf, schemaAt } from "#dist/schemapath.js";
import { placeTasks } from "#dist/tasks.js";

type Task = NonNullable<NonNullable<Scenario["vms"][number]["guest"]>["tasks"]>[number];

/** A small valid scenario: one VM of 1024 pages with these tasks. */
function scenarioOf(tasks: Task[], vm: Partial<Scenario["vms"][number]> = {}): Scenario {
  return { host: { memory: "2MiB" }, vms: [{ name: "db", memory: "4MiB", guest: { tasks }, ...vm }] };
}

const uniform = (pages: number): Task["workload"] => ({ kind: "uniform", pages });

/** The message with which `input` is refused. */
function refusal(input: unknown): string {
  try {
    resolveScenario(input);
  } catch (error) {
    assert.instance(error, PagevisorError);
    assert.is((error as PagevisorError).code, "E_SCENARIO");
    assert.not.match((error as PagevisorError).message, "\n");
    return (error as PagevisorError).message;
  }
  return assert.unreachable("the scenario was accepted") as never;
}

const VM_KEYS =
  "name, memory, vcpus, memoryMax, memcg, tlb, mmu, mmuPages, mmuRoots, pageTableLevels, hugePages, mmuNotifier, hostPaging, hostPaging2007, asyncPf, pager, memslots, aliases, balloonDevice, guest";
const SIZE = "a multiple of 4KiB from 4KiB to 8TiB, in bytes or with a unit (B, KiB, MiB, GiB, TiB)";
const SOME_TIME = "a time of at least 1ns, in ns or with a unit (ns, us, ms, s, min)";
const THINK_TIME = SOME_TIME.replace("1ns,", "1ns, at most 400000000ns,");

test("a resolved scenario says everything", () => {
  const resolved = resolveScenario({
    $schema: "schema.json",
    host: { memory: "256MiB", swap: [{ kind: "nvme", size: "1GiB" }] },
    vms: [
      {
        name: "db",
        memory: "384MiB",
        vcpus: 2,
        guest: { tasks: [{ count: 4, workload: { kind: "zipf", pages: 16_384, theta: 0.99, writes: 0.3 } }] },
      },
    ],
  });
  assert.equal(resolved, {
    name: null,
    description: null,
    seed: 1,
    duration: { accesses: null, time: null, warmUp: null },
    host: {
      memory: 268_435_456,
      cpus: 2,
      numaNodes: 1,
      vendor: "intel",
      quantum: 10_000,
      swap: [{ name: "nvme-0", kind: "nvme", size: 1_073_741_824, priority: -2 }],
      reclaim: { policy: "two-list", swappiness: 60, watermarkScaleFactor: 10, pageClusterPages: 8 },
    },
    costs: { preset: "bare-metal" },
    vms: [
      {
        name: "db",
        memory: 402_653_184,
        vcpus: 2,
        memoryMax: null,
        memcg: { chargeTables: false, chargeKvmTables: true, chargeBatch: 1, overheadPages: 0 },
        tlb: { entries: 2048, ways: 1 },
        mmu: "tdp",
        mmuPages: null,
        pageTableLevels: 4,
        hugePages: false,
        mmuNotifier: "seq-retry",
        hostPaging: "mmu-notifier",
        asyncPf: { design: "off" },
        aliases: [],
        guest: {
          tasks: [
            {
              name: "zipf-0",
              count: 4,
              vcpu: null,
              start: 0,
              region: null,
              manual: false,
              prefault: false,
              mode: "user",
              workload: {
                kind: "zipf",
                pages: 16_384,
                theta: 0.99,
                writes: 0.3,
                scatter: true,
                accesses: null,
                thinkTime: 0,
              },
            },
          ],
          timeslice: 4_000_000,
          scheduler: "fair",
          allocator: "direct",
        },
      },
    ],
    events: [],
    trace: null,
    check: { integrity: false, onViolation: "stop" },
  });
});

/** Every key that has a value other than its default. */
const everything: Scenario = {
  name: "all",
  description: "every key",
  seed: 7,
  duration: { accesses: 1000, time: "2s", warmUp: { accesses: 10, time: "1ms" } },
  host: {
    memory: "64MiB",
    cpus: 3,
    quantum: "5us",
    swap: [
      { kind: "zram-lz4", size: "16MiB", priority: 5 },
      {
        size: "1GiB",
        name: "disk",
        readNs: "4ms",
        writeNs: "3ms",
        servers: 1,
        readBytesPerUs: 113,
        rotational: true,
      },
      { kind: "nvme", size: "1GiB", readNs: "50us", writeBytesPerUs: 700, synchronous: false },
    ],
    reclaim: { policy: "classic", swappiness: 100, watermarkScaleFactor: 50, pageClusterPages: 1 },
  },
  costs: { preset: "nested", vmExitNs: "1us", guestTickNs: 1_000_000 },
  vms: [
    {
      name: "web.1",
      memory: "16MiB",
      vcpus: 2,
      memoryMax: "8MiB",
      memcg: { chargeTables: true, chargeKvmTables: false, chargeBatch: 64, overheadPages: 12 },
      tlb: { entries: 64, ways: 4 },
      mmu: "upstream",
      mmuNotifier: "upstream",
      hostPaging: "upstream",
      guest: {
        timeslice: "3ms",
        allocator: "direct",
        freePages: { design: "off" },
        tasks: [
          {
            workload: { kind: "trace", file: "a.u32.gz", loop: true, writes: "all", accesses: 100 },
            prefault: true,
          },
          {
            name: "scan",
            vcpu: 1,
            start: { after: "web.1/trace-0" },
            workload: { kind: "sequential", pages: 9 },
          },
          {
            count: 2,
            region: "heap",
            start: { after: "web.1/scan", delay: "1us" },
            workload: {
              kind: "hotcold",
              pages: 10,
              hot: 3,
              hotProbability: 0.9,
              phaseAccesses: 50,
              scatter: false,
            },
          },
          {
            start: "1ms",
            workload: { ...uniform(8), thinkTime: { exponential: "2us" } } as Task["workload"],
          },
          { workload: { kind: "compute", time: "1ms" } },
        ],
      },
    },
  ],
  trace: { events: ["kvm_*", "mm_vmscan_write_folio"] },
  check: { integrity: true, onViolation: "count" },
};

test("a resolved scenario is a scenario and resolves to itself", () => {
  const resolved = resolveScenario(everything);
  assert.equal(resolveScenario(JSON.parse(JSON.stringify(resolved))), resolved);
});

test("names are resolved to what they stand for", () => {
  const resolved = resolveScenario(everything);
  const [vm] = resolved.vms;
  assert.is(resolved.host.reclaim.policy, "two-list");
  assert.equal([vm!.mmu, vm!.mmuNotifier, vm!.hostPaging], ["tdp", "seq-retry", "mmu-notifier"]);
  assert.equal(
    vm!.guest.tasks.map((task) => task.name),
    ["trace-0", "scan", "hotcold-2", "uniform-3", "compute-4"],
  );
  assert.equal(resolved.trace, { events: ["kvm_*", "mm_vmscan_write_folio"], capacity: 65_536 });
});

test("swap devices without priority get the ones that Linux gives, and keep kind and figures", () => {
  assert.equal(resolveScenario(everything).host.swap, [
    { name: "zram-lz4-0", kind: "zram-lz4", size: 16_777_216, priority: 5 },
    {
      name: "disk",
      size: 1_073_741_824,
      readNs: 4_000_000,
      writeNs: 3_000_000,
      servers: 1,
      readBytesPerUs: 113,
      rotational: true,
      priority: -2,
    },
    {
      name: "nvme-2",
      kind: "nvme",
      size: 1_073_741_824,
      readNs: 50_000,
      writeBytesPerUs: 700,
      synchronous: false,
      priority: -3,
    },
  ]);
  for (const kind of SWAP_KINDS) {
    const host = { memory: "2MiB", swap: [{ kind, size: "1MiB" }] };
    assert.is(resolveScenario({ ...scenarioOf([]), host }).host.swap[0]!.name, `${kind}-0`);
  }
});

test("equal tasks are spread over the vCPUs and take pages of their own", () => {
  const tasks: Task[] = [
    { name: "a", count: 3, workload: uniform(10) },
    { name: "b", region: "shared", workload: uniform(5) },
    { name: "c", vcpu: 0, workload: { kind: "compute" } },
    { name: "d", count: 2, region: "shared", workload: uniform(20) },
    { name: "e", workload: { kind: "trace", file: "t" } },
  ];
  const [vm] = resolveScenario(scenarioOf(tasks, { vcpus: 2 })).vms;
  assert.equal(
    placeTasks(vm!, () => 7),
    [
      { name: "a.0", index: 0, vcpu: 0, firstPage: 0, pages: 10 },
      { name: "a.1", index: 0, vcpu: 1, firstPage: 10, pages: 10 },
      { name: "a.2", index: 0, vcpu: 0, firstPage: 20, pages: 10 },
      { name: "b", index: 1, vcpu: 1, firstPage: 30, pages: 5 },
      { name: "c", index: 2, vcpu: 0, firstPage: 50, pages: 0 },
      { name: "d.0", index: 3, vcpu: 1, firstPage: 30, pages: 20 },
      { name: "d.1", index: 3, vcpu: 0, firstPage: 30, pages: 20 },
      { name: "e", index: 4, vcpu: 1, firstPage: 50, pages: 7 },
    ],
  );
});

test("an unknown key is refused with the nearest name and not also as the missing key that it was to be", () => {
  assert.is(
    refusal({ host: { memory: "2MiB" }, vms: [{ name: "db", memry: "4MiB" }] }),
    `vms[0].memry: unknown key; did you mean "memory"? Allowed: ${VM_KEYS}`,
  );
  assert.is(
    refusal({ ...scenarioOf([]), costs: { vmExit: 5 } }).split(" Allowed")[0],
    'costs.vmExit: unknown key; did you mean "vmExitNs"?',
  );
  assert.is(
    refusal({ ...scenarioOf([]), "a b\n": 1 }),
    '["a b\\n"]: unknown key. Allowed: $schema, name, description, seed, duration, host, costs, vms, events, trace, check, sweep',
  );
});

test("sizes are positive multiples of 4 KiB with a binary unit", () => {
  const memory = (size: unknown) =>
    refusal({ host: { memory: "2MiB" }, vms: [{ name: "db", memory: size }] });
  assert.is(
    memory("256MB"),
    `vms[0].memory: "256MB" has an unknown unit; did you mean "256MiB"? Allowed: ${SIZE}`,
  );
  assert.is(memory(-4096), `vms[0].memory: -4096 is negative. Allowed: ${SIZE}`);
  assert.is(memory("-1MiB"), `vms[0].memory: "-1MiB" is negative. Allowed: ${SIZE}`);
  assert.is(memory(0), `vms[0].memory: 0 is not a positive size. Allowed: ${SIZE}`);
  assert.is(memory("6KiB"), `vms[0].memory: "6KiB" is not a multiple of 4KiB. Allowed: ${SIZE}`);
  assert.is(memory("16TiB"), `vms[0].memory: "16TiB" is too large. Allowed: ${SIZE}`);
  assert.is(memory(true), `vms[0].memory: true is not allowed. Allowed: ${SIZE}`);
  assert.is(memory(undefined), `vms[0].memory: missing. Allowed: ${SIZE}`);
  assert.is(
    refusal({ host: {}, vms: [{ name: "db", memory: 4096 }] }),
    `host.memory: missing. Allowed: ${SIZE}`,
  );
  assert.is(
    refusal({ host: { memory: "1020B" }, vms: [{ name: "db", memory: 4096 }] }),
    `host.memory: "1020B" is not a multiple of 4KiB. Allowed: ${SIZE}`,
  );
  assert.is(
    refusal({ ...scenarioOf([]), host: { memory: "2MiB", swap: [{ kind: "nvme", size: 0 }] } }),
    `host.swap[0].size: 0 is not a positive size. Allowed: ${SIZE}`,
  );
});

test("there is at least one VM, and no two of one name", () => {
  const vm = { name: "db", memory: "4MiB" };
  assert.is(
    refusal({ host: { memory: "2MiB" }, vms: [] }),
    "vms: an empty list is not allowed. Allowed: a list of at least 1 VM",
  );
  assert.is(refusal({ host: { memory: "2MiB" } }), "vms: missing. Allowed: a list of at least 1 VM");
  assert.is(
    refusal({ host: { memory: "2MiB" }, vms: [vm, vm] }),
    'vms[1].name: "db" is already the name of vms[0]. Allowed: a name of its own',
  );
  assert.is(
    refusal({ host: { memory: "2MiB" }, vms: [{ ...vm, name: "a/b" }] }),
    `vms[0].name: "a/b" is not allowed. Allowed: letters, digits, '.', '_' and '-'`,
  );
});

test("the monitor's own pages leave something of the limit", () => {
  const { host, vms } = scenarioOf([]);
  const of = (overheadPages: number): Scenario => ({
    host,
    vms: [{ ...vms[0]!, memoryMax: "40KiB", memcg: { overheadPages } }],
  });
  assert.is(resolveScenario(of(9)).vms[0]!.memcg.overheadPages, 9);
  assert.is(
    refusal(of(10)),
    "vms[0].memcg.overheadPages: 10 pages leave nothing of the limit of 40KiB. Allowed: a whole number 0..9",
  );
});

test("no two devices and no two tasks have one name", () => {
  const swap = [
    { name: "hdd-1", kind: "nvme", size: "1MiB" },
    { kind: "hdd", size: "1MiB" },
  ] as const;
  assert.is(
    refusal({ ...scenarioOf([]), host: { memory: "2MiB", swap } }),
    'host.swap[1].name: "hdd-1" is already the name of host.swap[0]. Allowed: a name of its own',
  );
  assert.is(
    refusal(
      scenarioOf([
        { name: "a.1", workload: uniform(1) },
        { name: "a", count: 2, workload: uniform(1) },
      ]),
    ),
    'vms[0].guest.tasks[1].name: "a.1" is already the name of vms[0].guest.tasks[0]. Allowed: a name of its own',
  );
});

test("durations are positive", () => {
  const duration = (value: unknown) => refusal({ ...scenarioOf([]), duration: value });
  const accesses = "a whole number of at least 1";
  assert.is(duration({ time: 0 }), `duration.time: 0 is too short. Allowed: ${SOME_TIME}`);
  assert.is(duration({ time: "0s" }), `duration.time: "0s" is too short. Allowed: ${SOME_TIME}`);
  assert.is(duration({ time: "-1s" }), `duration.time: "-1s" is negative. Allowed: ${SOME_TIME}`);
  assert.is(duration({ accesses: 0 }), `duration.accesses: 0 is not allowed. Allowed: ${accesses}`);
  assert.is(duration({ accesses: 1.5 }), `duration.accesses: 1.5 is not allowed. Allowed: ${accesses}`);
  assert.is(
    duration({ accesses: -1, time: "1d", warmUp: { time: 0 } }),
    `duration.accesses: -1 is not allowed. Allowed: ${accesses} (and 2 more)`,
  );
});

test("numbers of workloads are checked", () => {
  const workload = (value: unknown) => refusal(scenarioOf([{ workload: value as Task["workload"] }]));
  const path = "vms[0].guest.tasks[0].workload";
  const kinds =
    '"trace", "zipf", "uniform", "sequential", "hotcold", "compute", "process", "churn", "pagecache"';
  assert.is(
    workload({ kind: "zipf", pages: 9, theta: 0 }),
    `${path}.theta: 0 is not allowed. Allowed: a number above 0`,
  );
  assert.is(
    workload({ kind: "zipf", pages: 9, theta: -0.5 }),
    `${path}.theta: -0.5 is not allowed. Allowed: a number above 0`,
  );
  assert.is(workload({ kind: "zipf", pages: 9 }), `${path}.theta: missing. Allowed: a number above 0`);
  assert.is(
    workload({ kind: "uniform", pages: 9, writes: 1.1 }),
    `${path}.writes: 1.1 is not allowed. Allowed: a number 0..1`,
  );
  assert.is(
    workload({ kind: "hotcold", pages: 9, hot: 9, hotProbability: 0.5 }),
    `${path}.hot: 9 is not less than the 9 pages. Allowed: a whole number 1..8`,
  );
  assert.is(
    workload({ kind: "zip" }),
    `${path}.kind: "zip" is not allowed; did you mean "zipf"? Allowed: ${kinds}`,
  );
  assert.is(workload({}), `${path}.kind: missing. Allowed: ${kinds}`);
  assert.is(workload("zipf"), `${path}: "zipf" is not allowed. Allowed: an object with a key kind`);
  assert.is(workload({ kind: "compute", accesses: 3 }), `${path}.accesses: unknown key. Allowed: kind, time`);
  assert.is(
    workload({ kind: "uniform", pages: 9, thinkTime: { exponential: 0 } }),
    `${path}.thinkTime.exponential: 0 is too short. Allowed: ${THINK_TIME}`,
  );
  assert.is(
    workload({ kind: "uniform", pages: 9, thinkTime: { exponential: "401ms" } }),
    `${path}.thinkTime.exponential: "401ms" is too long. Allowed: ${THINK_TIME}`,
  );
  assert.is(
    workload({ kind: "uniform", pages: 9, thinkTime: "1sec" }),
    `${path}.thinkTime: "1sec" has an unknown unit; did you mean "1s"? Allowed: a time, or { "exponential": time }`,
  );
});

test("tasks fit their VM's memory and its vCPUs", () => {
  const tasks: Task[] = [{ workload: uniform(1000) }, { count: 3, workload: uniform(20) }];
  assert.is(
    refusal(scenarioOf(tasks)),
    'vms[0].guest.tasks[1].workload.pages: the 20 pages of "uniform-1.1" from page 1020 on do not fit the 1024 pages (4MiB) of "db". ' +
      "Allowed: a whole number 1..4",
  );
  const shared = tasks.map((task) => ({ ...task, region: "r" }));
  assert.is(resolveScenario(scenarioOf(shared)).vms[0]!.guest.tasks.length, 2);
  assert.is(
    refusal(scenarioOf([{ vcpu: 2, workload: uniform(1) }], { vcpus: 2 })),
    'vms[0].guest.tasks[0].vcpu: 2 is not a vCPU of "db", which has 2. Allowed: a whole number 0..1',
  );
});

test("a task starts after another one that exists and does not wait for it", () => {
  const path = "vms[0].guest.tasks[0].start.after";
  const allowed = 'the name of another task, as "vm/task"';
  const after = (name: string, ...others: Task[]) =>
    refusal(scenarioOf([{ name: "a", count: 2, start: { after: name }, workload: uniform(1) }, ...others]));
  const b = (start: Task["start"]): Task => ({ name: "b", start, workload: uniform(1) });
  assert.is(after("db/b"), `${path}: there is no task "db/b". Allowed: ${allowed}`);
  assert.is(
    after("db/bb", b(0)),
    `${path}: there is no task "db/bb"; did you mean "db/b"? Allowed: ${allowed}`,
  );
  assert.is(after("db/a.1"), `${path}: "db/a.1" is the task itself. Allowed: ${allowed}`);
  assert.is(
    after("db/b", b({ after: "db/a.0" })),
    `${path}: "db/b" itself starts after "a", so neither would start. Allowed: ${allowed} (and 1 more)`,
  );
  assert.is(
    after("db/b", b("1.5")),
    'vms[0].guest.tasks[1].start: "1.5" has no unit; did you mean 1.5 without quotes? Allowed: a time, or { "after": "vm/task", "delay": time }',
  );
});

test("what is not modelled is refused as such, with what is", () => {
  const vm = (key: string, value: unknown) => refusal(scenarioOf([], { [key]: value }));
  assert.is(
    vm("mmu", "ept"),
    'vms[0].mmu: "ept" is not allowed. Allowed: "tdp", "legacy", "shadow", "upstream"',
  );
  assert.is(vm("pageTableLevels", 6), "vms[0].pageTableLevels: 6 is not allowed. Allowed: 4, 5");
  assert.is(
    vm("asyncPf", { design: "upstream", pin: "mapped" }),
    'vms[0].asyncPf.pin: "mapped" is not allowed. Allowed: "released", "held", "mapping-2013"',
  );
  assert.match(
    refusal({ ...scenarioOf([]), costs: { hypercallNs: 1 } }),
    "costs.hypercallNs: not modelled in this version.",
  );
});

test("a guest that allocates has what it needs", () => {
  const process = { kind: "process", pages: 9 } as const;
  const guest = (value: object) => refusal(scenarioOf([], { guest: value } as object));
  const path = "vms[0].guest";
  assert.is(
    guest({ allocator: "direct", freePages: { design: "reporting" } }),
    `${path}.allocator: "direct" cannot serve freePages "reporting". Allowed: "buddy", or absent`,
  );
  assert.is(
    guest({ allocator: "direct", balloon: {} }),
    `${path}.allocator: "direct" cannot serve a balloon. Allowed: "buddy", or absent`,
  );
  const device = (offers: string[], value: object = {}) =>
    refusal(scenarioOf([], { balloonDevice: { offers }, guest: value } as object));
  assert.is(
    device([], { allocator: "direct" }),
    `${path}.allocator: "direct" cannot serve a balloonDevice. Allowed: "buddy", or absent`,
  );
  assert.is(
    device(["reporting", "stats", "hinting-2019"]),
    'vms[0].balloonDevice.offers: "reporting" and "hinting-2019" are one bit. Allowed: one of them',
  );
  assert.is(
    device(["stats", "stats"]),
    'vms[0].balloonDevice.offers[1]: "stats" stands there twice. Allowed: each once',
  );
  assert.is(
    guest({ allocator: "direct", tasks: [{ workload: process }] }),
    `${path}.allocator: "direct" cannot serve the process "process-0". Allowed: "buddy", or absent`,
  );
  assert.is(
    guest({ freePages: { design: "hinting-2019", minOrder: 4 } }),
    `${path}.freePages.minOrder: 4 means nothing to "hinting-2019". Allowed: 0, or absent`,
  );
  assert.is(
    guest({ freePages: { design: "reporting", arrayEntries: 62 } }),
    `${path}.freePages.arrayEntries: 62 means nothing to "reporting". Allowed: absent`,
  );
  assert.is(
    guest({ tasks: [{ count: 2, region: "r", workload: process }] }),
    `${path}.tasks[0].region: the pages of a process are its own. Allowed: a region that no other task has, or absent`,
  );
  assert.is(
    guest({ tasks: [{ prefault: true, workload: process }] }),
    `${path}.tasks[0].prefault: a process allocates what it needs itself. Allowed: false`,
  );
  const churn = (value: object) => guest({ tasks: [{ workload: { kind: "churn", ...value } }] });
  assert.is(
    churn({ pages: 9, orders: [0, 0] }),
    `${path}.tasks[0].workload.orders: no weight above 0. Allowed: weights of the orders 0 to 10`,
  );
  assert.is(
    churn({ pages: 9, orders: [1, 0, 0, 0, 1] }),
    `${path}.tasks[0].workload.pages: 9 pages are less than the largest block. Allowed: a whole number of at least 16`,
  );
});

test("a swap device has a kind or figures of its own", () => {
  const swap = (device: object) =>
    refusal({ ...scenarioOf([]), host: { memory: "2MiB", swap: [{ size: 4096, ...device }] } });
  const allowed = "a kind, or readNs, writeNs and servers";
  assert.is(swap({}), `host.swap[0]: no kind. Allowed: ${allowed}`);
  assert.is(
    swap({ readNs: 1 }),
    `host.swap[0]: a device without kind needs writeNs and servers. Allowed: ${allowed}`,
  );
  assert.is(
    swap({ kind: "nvme", priority: -1 }),
    "host.swap[0].priority: -1 is not allowed. Allowed: a whole number 0..32767, or absent",
  );
  assert.match(
    swap({ kind: "nvm" }),
    'host.swap[0].kind: "nvm" is not allowed; did you mean "nvme"? Allowed: "nvme", ',
  );
});

test("a list is not an object and an object not a list", () => {
  assert.is(
    refusal(scenarioOf([], { tlb: [] as object })),
    "vms[0].tlb: an empty list is not allowed. Allowed: an object with entries, ways",
  );
  assert.is(
    refusal({ host: { memory: "2MiB" }, vms: {} }),
    "vms: an object is not allowed. Allowed: a list of at least 1 VM",
  );
  assert.match(refusal(null), "scenario: null is not allowed. Allowed: an object with $schema, ");
});

test("other numbers stay in their ranges", () => {
  assert.is(
    refusal({ ...scenarioOf([]), seed: 2 ** 32 }),
    "seed: 4294967296 is not allowed. Allowed: a whole number 0..4294967295",
  );
  assert.is(
    refusal(scenarioOf([], { tlb: { entries: 2, ways: 4 } })),
    "vms[0].tlb.ways: 4 is more than the 2 entries of the TLB. Allowed: a power of two, 1..2",
  );
  assert.is(
    refusal(scenarioOf([], { tlb: { entries: 100 } })),
    "vms[0].tlb.entries: 100 is not allowed. Allowed: a power of two, 1..65536",
  );
  const vms = [0, 1, 2, 3, 4].map((index) => ({ name: `vm${index}`, memory: "4MiB", vcpus: 64 }));
  assert.is(
    refusal({ host: { memory: "2MiB" }, vms }),
    "host.cpus: missing, and its default of one for each vCPU would be 320. Allowed: a whole number 1..256",
  );
  assert.is(resolveScenario({ host: { memory: "2MiB", cpus: 256 }, vms }).host.cpus, 256);
});

test("every cost key can be overridden, as a time", () => {
  const costs = Object.fromEntries(COST_KEYS.map((key) => [key, "1us"]));
  assert.equal(resolveScenario({ ...scenarioOf([]), costs }).costs, {
    preset: "bare-metal",
    ...Object.fromEntries(COST_KEYS.map((key) => [key, 1000])),
  });
});

test("every key says what it means", () => {
  const kinds = ["trace", "zipf", "uniform", "sequential", "hotcold", "compute"];
  const tasks = kinds.map((kind) => ({ workload: { kind } }));
  const value = { vms: [{ guest: { tasks } }], host: { swap: [{}] } };
  const paths: (string | number)[][] = [
    ["vms", 0],
    ["host", "swap", 0],
    ...kinds.map((_, index) => ["vms", 0, "guest", "tasks", index]),
    [],
  ];
  let seen = 0;
  while (paths.length > 0) {
    const path = paths.pop()!;
    const schema = schemaAt(scenarioSchema, value, path)!;
    assert.ok(meaningOf(schema).description, `no description at ${path.join(".")}`);
    const inner = path.reduce<unknown>(
      (at, key) => (at as Record<string | number, unknown> | undefined)?.[key],
      value,
    );
    for (const key of keysOf(schema, inner).keys) paths.push([...path, key]);
    seen++;
  }
  assert.ok(seen > 100, `${seen} keys`);
});

test("the types know the keys, the designs and what becomes of them", () => {
  const policy: "two-list" | "mglru" | "outside" | PolicyName = resolveScenario(scenarioOf([])).host.reclaim
    .policy;
  const memory: number = resolveScenario(scenarioOf([])).vms[0]!.memory;
  assert.equal([policy, memory], ["two-list", 4 * 2 ** 20]);
  // @ts-expect-error a policy that does not exist
  const reclaim: NonNullable<Scenario["host"]["reclaim"]> = { policy: "no-list" };
  // @ts-expect-error a key that does not exist
  const vm: Scenario["vms"][number] = { name: "db", memory: 4096, memry: 1 };
  // @ts-expect-error a workload without its skew
  const workload: Task["workload"] = { kind: "zipf", pages: 1 };
  assert.ok(reclaim && vm && workload);
});

test("the JSON Schema describes every key and refuses others", () => {
  interface JsonSchema {
    description?: string;
    properties?: Record<string, JsonSchema>;
    additionalProperties?: boolean;
    required?: string[];
    default?: unknown;
    anyOf?: JsonSchema[];
    oneOf?: JsonSchema[];
    items?: JsonSchema;
  }
  const file = fileURLToPath(import.meta.resolve("#dist/schema.json"));
  const schema = JSON.parse(readFileSync(file, "utf8")) as JsonSchema;
  const check = (node: JsonSchema, path: string) => {
    if (node.properties !== undefined) assert.is(node.additionalProperties, false, path);
    for (const [key, value] of Object.entries(node.properties ?? {})) {
      assert.ok(value.description, `${path}.${key} has no description`);
      check(value, `${path}.${key}`);
    }
    const inner = [
      ...(node.anyOf ?? []),
      ...(node.oneOf ?? []),
      ...(node.items === undefined ? [] : [node.items]),
    ];
    for (const value of inner) check(value, `${path}[]`);
  };
  check(schema, "scenario");
  assert.equal(schema.required, ["host", "vms"]);
  assert.is(schema.properties!.host!.properties!.quantum!.default, "10us");
  assert.not.match(JSON.stringify(schema), '"later"');
});

test("the nearest name is near, or there is none", () => {
  const names = ["memory", "memoryMax", "vcpus", "asyncPf"];
  assert.is(nearestName("memroy", names), "memory");
  assert.is(nearestName("MEMORY", names), "memory");
  assert.is(nearestName("vcpu", names), "vcpus");
  assert.is(nearestName("async", names), "asyncPf");
  assert.is(nearestName("balloon", names), undefined);
  assert.is(nearestName("x".repeat(1e6), names), undefined);
});

test.run();
