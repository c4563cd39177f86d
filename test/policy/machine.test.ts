// At stake: that a machine under an idealized policy evicts exactly what the policy says. One vCPU and one trace must fault as often as the
// tables say; any other guest (several vCPUs and tasks, slow devices, a host that is itself too small, a limit that moves) must keep
// every structure sound, the policy's included, and lose nothing.

import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { coreModule } from "#dist/core.js";
import { Machine, PagevisorError, POLICIES, type PolicyName, resolveScenario } from "#dist/index.js";
import type { Scenario } from "#dist/scenario.js";
import { policyOf } from "#dist/validate/table.js";
import { parameters } from "../reference/report.js";
import { scenarios } from "../reference/scenarios.js";
import { debugModule, ROOT } from "../scenes.js";

const OWN = join(ROOT, "test/fixtures/policies/scan_400_6k");
const PROGRAMS = join(ROOT, "../shared/traces/programs");
const NAMES = ["cc1_compile", "py_json", "sort_lines", "sqlite_build_query"];

type Misses = Record<string, Record<string, number>>;

function missesOf(stem: string): Misses {
  return (JSON.parse(readFileSync(`${stem}.json`, "utf8")) as { misses: Misses }).misses;
}

/** One vCPU, one task, one trace: what the tables count. */
function alone(policy: PolicyName, pages: number): Scenario {
  const workload = { kind: "trace" as const, file: "trace", writes: "all" as const };
  return {
    host: {
      memory: "128MiB",
      swap: [{ kind: "zram-lz4", size: "32MiB" }],
      reclaim: { policy, pageClusterPages: 1 },
    },
    vms: [{ name: "a", memory: "20MiB", memoryMax: pages * 4096, guest: { tasks: [{ workload }] } }],
  };
}

async function assertFaults(
  stem: string,
  title: string,
  size: string,
  misses: number,
  module: WebAssembly.Module,
  slice = Number.POSITIVE_INFINITY,
): Promise<void> {
  const files = { trace: new Uint8Array(readFileSync(`${stem}.u32.gz`)) };
  const machine = await Machine.create(alone(policyOf(title)!, Number(size)), { files, module });
  while (
    machine.run({ accesses: slice === Number.POSITIVE_INFINITY ? 1e12 : slice }).stoppedBy === "accesses"
  ) {
    machine.check();
  }
  const { vms, host, status } = machine.result();
  const { minor, major, spurious, writeProtect } = vms[0]!.faults;
  assert.is(status, "done");
  assert.is(minor.count + major.count, misses, `${stem}: ${title}, ${size} pages`);
  assert.equal([spurious.count, writeProtect.count, host.reclaim.reclaimedKswapd], [0, 0, 0]);
  assert.is(host.reclaim.reclaimedDirect, host.swap.out);
}

for (const [title, counts] of Object.entries(missesOf(OWN))) {
  test(`${title}: the machine faults as often as the package's table says, and is sound on the way`, async () => {
    for (const [size, misses] of Object.entries(counts)) {
      await assertFaults(OWN, title, size, misses, await debugModule, 997);
    }
  });
}

for (const name of NAMES) {
  const stem = join(PROGRAMS, name);
  if (!existsSync(`${stem}.u32.gz`)) {
    console.log(`skipped: the machine faults as ${stem}.json says (it is not there)`);
    continue;
  }
  test(`the machine faults on ${name} as often as its table says, under every policy`, async () => {
    const module = await coreModule();
    for (const [title, counts] of Object.entries(missesOf(stem))) {
      for (const [size, misses] of Object.entries(counts)) {
        await assertFaults(stem, title, size, misses, module);
      }
    }
  });
}

const ONLINE = POLICIES.filter((policy) => policy !== "belady");

test("any guest under any policy is sound, and loses nothing, while limits move", async () => {
  const module = await debugModule;
  await fc.assert(
    fc.asyncProperty(
      scenarios,
      fc.constantFrom(...ONLINE),
      fc.array(fc.integer({ min: 5, max: 110 }), { minLength: 3, maxLength: 3 }),
      async ({ scenario, files, accesses }, policy, shares) => {
        const { host, vms } = scenario;
        const memories = resolveScenario(scenario).vms.map(({ memory }) => memory);
        const limitOf = (index: number, share: number): number =>
          Math.max(4096, Math.floor((memories[index]! * share) / 100 / 4096) * 4096);
        const limited: Scenario = {
          ...scenario,
          host: { ...host, reclaim: { ...host.reclaim, policy, pageClusterPages: 1 } },
          // Policies know of guest pages only.
          vms: vms.map(({ memcg: _, ...vm }, index) => ({ ...vm, memoryMax: limitOf(index, 50) })),
        };
        let machine = await Machine.create(limited, { files, module });
        for (const share of shares) {
          for (let part = 0; part < 4; part++) {
            const { status, vms: results } = machine.run({ accesses: Math.ceil(accesses / 12) });
            machine.check();
            for (const { integrity } of results) {
              assert.equal([integrity.lostWrites, integrity.staleReads], [0, 0]);
            }
            if (status === "oom") return;
          }
          const set = vms.map(({ name }, index) => [`vms.${name}.memoryMax`, limitOf(index, share)]);
          machine = machine.fork({ set: Object.fromEntries(set) });
        }
      },
    ),
    parameters(Number(process.env.PROPERTY_RUNS ?? 60)),
  );
});

test("a device that takes its time: the limit holds after every access, and what is evicted comes back from it", async () => {
  const scenario = alone("arc", 60);
  scenario.host.swap = [{ kind: "nvme", size: "32MiB" }];
  const files = { trace: new Uint8Array(readFileSync(`${OWN}.u32.gz`)) };
  const machine = await Machine.create(scenario, { files, module: await debugModule });
  let steps = 0;
  while (machine.run({ accesses: 101 }).stoppedBy === "accesses") {
    steps++;
    machine.check();
    assert.ok(machine.result().vms[0]!.memory.peakResidentPages <= 60);
  }
  const { minor, major } = machine.result().vms[0]!.faults;
  assert.ok(steps > 50);
  assert.is(minor.count + major.count, missesOf(OWN).ARC!["60"]);
});

test("a page that another vCPU holds does not keep a reclaimer busy for ever when the limit shrinks", async () => {
  for (const policy of ONLINE) {
    const workload = { kind: "uniform" as const, pages: 24, writes: 0.5, accesses: 400 };
    const scenario: Scenario = {
      host: {
        memory: "2MiB",
        swap: [{ kind: "zram-lz4", size: "4MiB" }],
        reclaim: { policy, pageClusterPages: 1 },
      },
      vms: [
        {
          name: "a",
          memory: "1MiB",
          vcpus: 3,
          memoryMax: "32KiB",
          guest: { tasks: [{ count: 3, region: "r", workload }] },
        },
      ],
    };
    const wide = await Machine.create(scenario, { module: await debugModule });
    wide.run({ accesses: 300 });
    const narrow = wide.fork({ set: { "vms.a.memoryMax": "12KiB" } });
    assert.is(narrow.run().status, "done", policy);
    narrow.check();
  }
});

async function refusal(scenario: unknown): Promise<string> {
  try {
    await Machine.create(scenario as Scenario, { files: { trace: new Uint8Array(4) } });
  } catch (error) {
    assert.instance(error, PagevisorError);
    return (error as PagevisorError).message;
  }
  return assert.unreachable("nothing was refused") as never;
}

test("what an idealized policy cannot do is refused with the key", async () => {
  const { host, vms } = alone("lru", 10);
  const [vm] = vms as [Scenario["vms"][number]];
  const { memoryMax: _, ...unlimited } = vm;
  assert.match(
    await refusal({ host, vms: [unlimited] }),
    'vms[0].memoryMax: missing, and "lru" evicts at this limit',
  );
  const charged = [{ ...vm, memcg: { chargeTables: true } }];
  assert.match(
    await refusal({ host, vms: charged }),
    'vms[0].memcg: charges more than guest pages, and "lru" knows of nothing else. Allowed: the defaults, or absent',
  );
  const wide = { ...host, reclaim: { policy: "lru", pageClusterPages: 8 } };
  assert.match(
    await refusal({ host: wide, vms }),
    /^host\.reclaim\.pageClusterPages: 8 pages cannot be read at once/,
  );

  const belady = { ...host, reclaim: { policy: "belady" } };
  const workload = { kind: "trace", file: "trace" };
  const zipf = { kind: "zipf", pages: 10, theta: 1, accesses: 10 };
  for (const tasks of [
    [],
    [{ workload: zipf }],
    [{ workload: { ...workload, loop: true, accesses: 10 } }],
    [{ workload, prefault: true }],
    [{ workload, count: 2 }],
    [{ workload }, { workload: zipf }],
  ]) {
    const message = await refusal({ host: belady, vms: [{ ...vm, guest: { tasks } }] });
    assert.match(message, 'vms[0].guest.tasks: "belady" knows the future of a single trace only');
  }
});

test("pages are read one by one under an idealized policy, eight by eight under Linux' lists, unless the scenario says", () => {
  const { host, vms } = alone("clock", 10);
  const of = (reclaim: object) =>
    resolveScenario({ host: { ...host, reclaim }, vms }).host.reclaim.pageClusterPages;
  assert.equal([of({ policy: "clock" }), of({}), of({ pageClusterPages: 4 })], [1, 8, 4]);
});

test.run();
