// At stake: which memory backs a guest frame. A guest behaves the same wherever its memory map puts its memory; frames of one
// backing are one memory; what eviction takes away leaves every slot. Random maps and evictions run on the debug core, which
// compares the sptes with the host's page table after each slice.

import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { Machine } from "#dist/machine.js";
import type { Scenario } from "#dist/scenario.js";
import { parameters } from "../reference/report.js";
import { debugModule, refusal } from "../scenes.js";

type Slots = NonNullable<Scenario["vms"][number]["memslots"]>;

function scenario(memslots: Slots | undefined, pages: number, tasks: number[]): Scenario {
  return {
    host: { memory: "4MiB", swap: [{ kind: "zram-lz4", size: "8MiB" }] },
    check: { integrity: true },
    vms: [
      {
        name: "db",
        memory: pages * 4096,
        memoryMax: 64 * 4096,
        ...(memslots !== undefined && { memslots }),
        guest: {
          tasks: tasks.map((taskPages, index) => ({
            name: `t${index}`,
            workload: { kind: "uniform", pages: taskPages, writes: 0.5, accesses: 400 },
          })),
        },
      },
    ],
  };
}

async function run(whole: Scenario) {
  const machine = await Machine.create(whole, { module: await debugModule });
  const result = machine.run();
  machine.check();
  const { faults, memory, integrity, notifier } = result.vms[0]!;
  machine.dispose();
  return { faults, memory, integrity, notifier, time: result.virtualTimeNs };
}

test("a guest runs alike wherever its memory map puts its slots", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(
        fc.record({ pages: fc.integer({ min: 1, max: 90 }), hole: fc.integer({ min: 1, max: 700 }) }),
        {
          minLength: 1,
          maxLength: 4,
        },
      ),
      fc.boolean(),
      async (parts, shuffled) => {
        let gfn = 0;
        const slots = parts.map(({ pages, hole }) => {
          const slot = { gfn: gfn + hole, pages };
          gfn += hole + pages;
          return slot;
        });
        const pages = parts.reduce((sum, part) => sum + part.pages, 0);
        const tasks = parts.map((part) => part.pages);
        const whole = await run(scenario(shuffled ? [...slots].reverse() : slots, pages, tasks));
        const plain = await run(scenario(undefined, pages, tasks));
        // The tables on the way to a frame depend on where it lies, and their frames cost no time; nothing else may differ.
        assert.equal(whole.faults.minor.count, plain.faults.minor.count);
        assert.equal(whole.memory, plain.memory);
        assert.equal(whole.integrity, plain.integrity);
      },
    ),
    parameters(25),
  );
});

test("several slots over one backing are one memory, and eviction takes a page out of all of them", async () => {
  const hva = "0x7e0000000000";
  const shared = scenario(
    [
      { gfn: 0, pages: 96, hva },
      { gfn: 1000, pages: 96, hva },
      { gfn: 5000, pages: 48, hva: Number(hva) + 48 * 4096 },
    ],
    240,
    [96, 96, 48],
  );
  const { memory, notifier } = await run(shared);
  assert.is(memory.residentPages + memory.swappedPages + memory.untouchedPages, 96);
  assert.ok(notifier.unmapped > 0);
});

test("slots that overlap, do not fit or do not come to memory are refused with their place", async () => {
  const refused: [Slots, RegExp][] = [
    [
      [
        { gfn: 0, pages: 64 },
        { gfn: 63, pages: 36 },
      ],
      /vms\[0\]\.memslots\[1\]\.gfn: 63 lies in the slot of gfn 0\.\.63/,
    ],
    [[{ gfn: 0, pages: 64 }], /vms\[0\]\.memslots: the slots have 64 pages, and memory is 100/],
    [
      [{ gfn: 2 ** 31 - 50, pages: 100 }],
      /vms\[0\]\.memslots\[0\]\.pages: 100 frames from gfn 2147483598 on end behind/,
    ],
    [[{ gfn: 0, pages: 100, hva: 4097 }], /vms\[0\]\.memslots\[0\]\.hva: 4097 is not a multiple of 4096/],
    [[{ gfn: 0, pages: 100, hva: "7e00" }], /vms\[0\]\.memslots\[0\]\.hva: "7e00" is not an address/],
    [
      [
        { gfn: 0, pages: 60 },
        { gfn: 512, pages: 40 },
      ],
      /vms\[0\]\.guest\.tasks\[0\]\.workload: the 100 pages .* over a hole/,
    ],
  ];
  for (const [slots, message] of refused) {
    assert.match(await refusal(() => Machine.create(scenario(slots, 100, [100])), "E_SCENARIO"), message);
  }
});

test.run();
