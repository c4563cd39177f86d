// At stake: `--set` and fork({ set }) change the key that was meant, and nothing else. Paths, the reading of text by the schema's
// type, and every refusal are checked by example.

import { test } from "uvu";
import * as assert from "uvu/assert";
import { PagevisorError } from "#dist/errors.js";
import { resolveScenario, type Scenario } from "#dist/scenario.js";
import { setPath } from "#dist/setpath.js";

const scenario: Scenario = {
  host: {
    memory: "2MiB",
    swap: [
      { kind: "nvme", size: "1GiB" },
      { kind: "hdd", size: "2GiB", name: "disk" },
    ],
  },
  vms: [
    {
      name: "db",
      memory: "4MiB",
      guest: {
        tasks: [
          { workload: { kind: "zipf", pages: 10, theta: 0.99 } },
          { name: "scan", workload: { kind: "sequential", pages: 10 } },
        ],
      },
    },
    { name: "web.1", memory: "4MiB" },
    { name: "web", memory: "4MiB" },
  ],
};

/** What stands at `keys` after `path` was set. */
function after(path: string, value: unknown, ...keys: (string | number)[]): unknown {
  const before = JSON.stringify(scenario);
  const changed = setPath(scenario, path, value);
  assert.is(JSON.stringify(scenario), before, "the original changed");
  return keys.reduce<unknown>((at, key) => (at as Record<string | number, unknown>)[key], changed);
}

function refusal(path: string, value: unknown = 1, base = scenario): string {
  try {
    setPath(base, path, value);
  } catch (error) {
    assert.instance(error, PagevisorError);
    assert.is((error as PagevisorError).code, "E_SCENARIO");
    return (error as PagevisorError).message;
  }
  return assert.unreachable(`${path} was accepted`) as never;
}

test("an element is called by name, by default name or by index", () => {
  assert.is(after("vms.db.memory", "8MiB", "vms", 0, "memory"), "8MiB");
  assert.is(after("vms.0.memory", "8MiB", "vms", 0, "memory"), "8MiB");
  assert.is(after("host.swap.disk.size", "1MiB", "host", "swap", 1, "size"), "1MiB");
  assert.is(after("host.swap.nvme-0.size", "1MiB", "host", "swap", 0, "size"), "1MiB");
  assert.is(
    after(
      "vms.db.guest.tasks.zipf-0.workload.theta",
      "1.2",
      "vms",
      0,
      "guest",
      "tasks",
      0,
      "workload",
      "theta",
    ),
    1.2,
  );
  assert.is(after("vms.db.guest.tasks.scan.vcpu", "0", "vms", 0, "guest", "tasks", 1, "vcpu"), 0);
});

test("a name with dots is found, the longest one first", () => {
  assert.is(after("vms.web.1.vcpus", 2, "vms", 1, "vcpus"), 2);
  assert.is(after("vms.web.vcpus", 2, "vms", 2, "vcpus"), 2);
});

test("absent parents are created", () => {
  assert.equal(after("vms.web.tlb.entries", "512", "vms", 2, "tlb"), { entries: 512 });
  assert.equal(after("duration.warmUp.accesses", "10", "duration"), { warmUp: { accesses: 10 } });
  assert.equal(after("trace.events", ["*"], "trace"), { events: ["*"] });
  assert.equal(after("vms.db.guest.tasks.0.start.after", "db/scan", "vms", 0, "guest", "tasks", 0, "start"), {
    after: "db/scan",
  });
});

test("text is read as the type that the schema has there", () => {
  assert.is(after("seed", "42", "seed"), 42);
  assert.is(after("name", "42", "name"), "42");
  assert.is(after("check.integrity", "true", "check", "integrity"), true);
  assert.is(after("vms.db.hugePages", "false", "vms", 0, "hugePages"), false);
  assert.is(after("vms.db.tlb.ways", "4", "vms", 0, "tlb", "ways"), 4);
  assert.is(after("host.memory", "64MiB", "host", "memory"), "64MiB");
  assert.is(after("host.memory", "67108864", "host", "memory"), 67_108_864);
  assert.is(after("costs.vmExitNs", "1us", "costs", "vmExitNs"), "1us");
  assert.is(after("costs.preset", "nested", "costs", "preset"), "nested");
  assert.is(after("vms.db.memoryMax", "null", "vms", 0, "memoryMax"), null);
  assert.is(after("vms.db.asyncPf.design", "2010", "vms", 0, "asyncPf", "design"), "2010");
  assert.equal(after("trace.events", "kvm_*,mm_*", "trace", "events"), ["kvm_*", "mm_*"]);
  assert.equal(after("trace.events", '["kvm_*"]', "trace", "events"), ["kvm_*"]);
  assert.equal(after("vms.db.tlb", '{"entries":64}', "vms", 0, "tlb"), { entries: 64 });
});

test("a value that is no text is taken as it is", () => {
  assert.is(after("seed", 42, "seed"), 42);
  assert.is(after("seed", undefined, "seed"), undefined);
});

test("text that the type cannot be is left for the scenario's own refusal", () => {
  assert.is(after("seed", "abc", "seed"), "abc");
  assert.throws(
    () => resolveScenario(setPath(scenario, "check.integrity", "yes")),
    (error: Error) => error.message === 'check.integrity: "yes" is not allowed. Allowed: true, false',
  );
});

test("an unknown key is refused with the nearest name", () => {
  assert.is(
    refusal("host.memry"),
    'host.memry: unknown key; did you mean "memory"? Allowed: memory, cpus, numaNodes, vendor, quantum, swap, reclaim',
  );
  assert.is(
    refusal("vms.db.tlb.entris"),
    'vms[0].tlb.entris: unknown key; did you mean "entries"? Allowed: entries, ways',
  );
  assert.is(refusal("seed.x"), "seed.x: unknown key. Allowed: nothing");
  assert.match(refusal("__proto__.x"), "__proto__: unknown key. Allowed: $schema, ");
  assert.match(refusal("constructor"), "constructor: unknown key. Allowed: $schema, ");
  assert.match(refusal(""), '[""]: unknown key. Allowed: $schema, ');
  assert.match(
    refusal("vms.db.guest.tasks.scan.workload.theta"),
    "vms[0].guest.tasks[1].workload.theta: unknown key.",
  );
});

test("a key of a later version is refused as such", () => {
  assert.match(
    refusal("costs.hypercallNs"),
    "costs.hypercallNs: not modelled in this version. Allowed: preset, ",
  );
});

test("an element that does not exist is refused with those that do", () => {
  assert.is(
    refusal("vms.dbb.memory"),
    'vms: there is no element "dbb"; did you mean "db"? Allowed: db, web.1, web, an index 0..2',
  );
  assert.is(
    refusal("host.swap.2.size"),
    'host.swap: there is no element "2". Allowed: nvme-0, disk, an index 0..1',
  );
  assert.is(
    refusal("vms.web.guest.tasks.0.vcpu"),
    'vms[2].guest.tasks: there is no element "0". Allowed: nothing, the list is empty',
  );
});

test.run();
