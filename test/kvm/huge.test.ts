// At stake: 2 MiB pages, on both sides: the host maps a block where a write comes first, KVM maps it by one entry, one fault for 512 pages; what takes
// a part of it away splits it. Reclaim must find every page of it young or old as the whole was, and lose nothing.

import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { Machine } from "#dist/machine.js";
import type { Scenario } from "#dist/scenario.js";
import { parameters } from "../reference/report.js";
import { create, debugModule, refusal, roomy, type Task, vmOf } from "../scenes.js";

const module = await debugModule;
const PAGES = 2048;

type Vm = Scenario["vms"][number];

function huge(tasks: Task[], db: Partial<Vm> = {}, others: Partial<Scenario> = {}): Promise<Machine> {
  const host = { memory: "32MiB", swap: [{ kind: "nvme" as const, size: "32MiB" }] };
  return create(
    roomy(
      tasks,
      { host, trace: { events: ["kvm*"], capacity: 2 ** 17 }, ...others },
      {
        memory: "8MiB",
        hugePages: true,
        ...db,
      },
    ),
    { module },
  );
}

const scan = (writes: 0 | 1, others: Partial<Task> = {}): Task => ({
  region: "r",
  workload: { kind: "sequential", pages: PAGES, writes },
  ...others,
});

for (const mmu of ["tdp", "legacy"] as const) {
  test(`${mmu}: a pass of writes over four blocks faults four times, and their entries map 2 MiB`, async () => {
    const machine = await huge([scan(1)], { mmu });
    const { faults, memory } = vmOf(machine.run());
    machine.check();
    assert.equal([faults.minor.count, memory.residentPages], [4, PAGES]);
    const set = machine
      .traceText()
      .split("\n")
      .filter((line) => line.includes("kvm_mmu_set_spte"));
    assert.is(set.length, 4);
    for (const [block, line] of set.entries()) {
      assert.match(
        line,
        new RegExp(`gfn ${(512 * block).toString(16)} spte 8600000[0-9a-f]+bb7 \\(rwx\\) level 2`),
      );
    }
  });

  test(`${mmu}: pages read first are small, and stay so`, async () => {
    const machine = await huge([scan(0, { name: "read" }), scan(1, { start: { after: "db/read" } })], {
      mmu,
    });
    const { faults } = vmOf(machine.run());
    machine.check();
    assert.is(faults.minor.count, 2 * PAGES);
  });
}

for (const mmu of ["tdp", "legacy"] as const) {
  test(`${mmu}: under the dirty log a write to 2 MiB makes its page alone writable, and the log misses none`, async () => {
    const machine = await huge([], { mmu });
    machine.access("db", 0, 512, "write");
    machine.setMemslot("db", 0, { gfn: 0, pages: PAGES, flags: ["log-dirty-pages"] });
    for (const gfn of [520, 521, 900]) {
      machine.access("db", 0, gfn, "write");
      assert.is(machine.access("db", 0, gfn, "write").exits, 0);
    }
    machine.check();
    assert.equal(machine.dirtyLog("db", 0).dirty, [520, 521, 900]);
  });
}

test("a host without a free block gives small pages", async () => {
  const machine = await huge(
    [scan(1)],
    {},
    { host: { memory: "9MiB", swap: [{ kind: "nvme", size: "32MiB" }] } },
  );
  const { faults, memory } = vmOf(machine.run());
  machine.check();
  assert.ok(faults.minor.count > 512, String(faults.minor.count));
  assert.is(memory.residentPages + memory.swappedPages, PAGES);
});

test("reclaim splits what it takes from, and every read still sees its page's last write", async () => {
  const machines = fc.record({
    mmu: fc.constantFrom("tdp" as const, "legacy" as const, "shadow" as const),
    policy: fc.constantFrom("two-list" as const, "mglru" as const),
    vendor: fc.constantFrom("intel" as const, "amd" as const),
    kind: fc.constantFrom("nvme" as const, "zram-lz4" as const),
    seed: fc.nat(1000),
    theta: fc.constantFrom(0.6, 0.99),
    max: fc.integer({ min: 600, max: 1900 }),
  });
  await fc.assert(
    fc.asyncProperty(machines, async ({ mmu, policy, vendor, kind, seed, theta, max }) => {
      // Behind them lie the guest's own tables, where they are shadowed.
      const workload = { kind: "zipf" as const, pages: PAGES - 64, theta, writes: 0.5, accesses: 4000 };
      const machine = await huge(
        [{ count: 2, region: "r", workload }],
        { mmu, vcpus: 2, memoryMax: max * 4096 },
        {
          seed,
          host: { memory: "32MiB", vendor, reclaim: { policy }, swap: [{ kind, size: "32MiB" }] },
          check: { integrity: true },
          trace: null,
        },
      );
      for (let slice = 0; slice < 8; slice++) {
        assert.is.not(machine.run({ accesses: 1000 }).status, "violation");
        machine.check();
      }
      assert.ok(vmOf(machine.result()).memory.residentPages <= max);
    }),
    parameters(12),
  );
});

test("a walk that ends at 2 MiB reads fewer tables: 19 of 24", async () => {
  const tlbWalk2dNs = 2400;
  const machine = await huge(
    [scan(1)],
    { tlb: { entries: 1, ways: 1 } },
    {
      costs: { tlbWalk2dNs, memDramNs: 1, hugeFaultNs: 0, vmExitNs: 0, eptMapNs: 0 },
    },
  );
  const { virtualTimeNs } = vmOf(machine.run());
  assert.is(virtualTimeNs, PAGES * (1 + 1900));
});

test("idealized policies and the notifier of 2008 refuse huge pages, and say why", async () => {
  const host = { memory: "32MiB", reclaim: { policy: "lru" as const } };
  assert.match(
    await refusal(() => huge([scan(1)], { memoryMax: "4MiB" }, { host }), "E_SCENARIO"),
    'vms[0].hugePages: "lru" decides page by page, and a huge page comes and goes as a whole. Allowed: false',
  );
  assert.match(
    await refusal(() => huge([scan(1)], { mmu: "legacy", mmuNotifier: "notifier-2008" }), "E_SCENARIO"),
    "in 2008 only hugetlbfs had any, which no host takes away",
  );
});

test("shadow: the host maps blocks whole, KVM page by page as the guest's tables do, with neighbours of eight", async () => {
  const machine = await huge([], { mmu: "shadow" });
  const levels = (text: string): string[] =>
    [...text.matchAll(/kvm_mmu_set_spte: gfn ([0-9a-f]+) .*level (\d)/g)].map(
      ([, gfn, level]) => `${gfn}/${level}`,
    );
  machine.access("db", 0, 517, "write");
  assert.equal(
    levels(machine.traceText()),
    ["205/1"].concat(["200", "201", "202", "203", "204", "206", "207"].map((gfn) => `${gfn}/1`)),
  );
  assert.is(vmOf(machine.result()).memory.residentPages >= 512, true);
  assert.is(machine.access("db", 0, 512, "write").exits, 0);
  assert.is(machine.access("db", 0, 600, "write").fault, "minor");
  machine.check();
});

test("a huge page that KVM maps in pieces is as young as any of its pages", async () => {
  for (const policy of ["two-list", "mglru"] as const) {
    const host = { memory: "32MiB", reclaim: { policy }, swap: [{ kind: "nvme" as const, size: "32MiB" }] };
    const machine = await huge([], { memoryMax: "7MiB", mmu: "legacy" }, { host });
    machine.setMemslot("db", 0, { gfn: 0, pages: PAGES, flags: ["log-dirty-pages"] });
    machine.access("db", 0, 512, "write");
    machine.access("db", 0, 900, "read");
    machine.traceText();
    for (const gfn of [0, 1024]) machine.access("db", 0, gfn, "write");
    for (let gfn = 1536; gfn < 1536 + 400; gfn++) machine.access("db", 0, gfn, "write");
    machine.check();
    const ranges = [...machine.traceText().matchAll(/age hva: 0x([0-9a-f]+) -- 0x([0-9a-f]+)/g)].map(
      ([, start, end]) => (Number(`0x${end}`) - Number(`0x${start}`)) / 4096,
    );
    assert.ok(ranges.includes(512), ranges.join(" "));
  }
});

test.run();
