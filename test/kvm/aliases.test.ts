// At stake: frames that stand for others are the same memory, found and taken away by way of the frames that they stand for.

import { test } from "uvu";
import * as assert from "uvu/assert";
import { Machine, type Scenario } from "#dist/index.js";
import { generator } from "../../bench/mm/buddy.bench.js";

const MIB = 2 ** 20;
const PAGES = 256;
/** 64 frames behind the memory show its frames from 8 on, 16 more show what lies across the first ones' end. */
const ALIASES = [
  { gfn: 1024, pages: 64, target: 8 },
  { gfn: 2048, pages: 16, target: 64 },
  { gfn: 3001, pages: 9, target: 1026 },
];

function scenario(vm: Partial<Scenario["vms"][number]> = {}, memory = 16 * MIB): Scenario {
  return {
    host: { memory, swap: [{ kind: "zram-lz4", size: 16 * MIB }] },
    vms: [{ name: "old", memory: PAGES * 4096, mmu: "legacy", vcpus: 2, aliases: ALIASES, ...vm }],
    check: { integrity: true },
  };
}

const sptes = (machine: Machine, gfn: number): [number, boolean][] =>
  machine.inspect({ vm: "old", gfn }).sptes.map(({ gfn: frame, spte }) => [frame, BigInt(spte) !== 0n]);

test("an alias shows the memory of the frame that it stands for, one step and the first alias that has it", async () => {
  const machine = await Machine.create(scenario());
  assert.is(machine.access("old", 0, 1026, "write").fault, "minor");
  // The host has the page by now; the frame itself is only to be mapped.
  machine.access("old", 0, 10, "read");
  assert.equal(sptes(machine, 10), [
    [10, true],
    [1026, true],
  ]);
  assert.equal(sptes(machine, 1026), sptes(machine, 10));
  // Frame 3001 stands for 1026, which as such no slot holds: an alias of an alias is none.
  assert.is(machine.access("old", 0, 3001, "write").fault, "mmio");
  assert.is(machine.access("old", 0, 1024 + 64, "write").fault, "mmio");
  // Frame 70 is shown by both.
  for (const gfn of [70, 1024 + 62, 2048 + 6]) machine.access("old", 0, gfn, "write");
  assert.equal(sptes(machine, 70), [
    [70, true],
    [1086, true],
    [2054, true],
  ]);
  machine.advise("old", "dontneed", { gfn: 70 });
  assert.equal(sptes(machine, 70), [
    [70, false],
    [1086, false],
    [2054, false],
  ]);
});

test("a write by an alias is logged for the frame that it stands for", async () => {
  const memslots = [{ gfn: 0, pages: PAGES, flags: ["log-dirty-pages" as const] }];
  const machine = await Machine.create(scenario({ memslots }));
  machine.access("old", 0, 1024, "write");
  machine.access("old", 0, 2048, "write");
  machine.access("old", 0, 5, "read");
  assert.equal(machine.dirtyLog("old", 0).dirty, [8, 64]);
  machine.access("old", 1, 1024, "write");
  assert.equal(machine.dirtyLog("old", 0).dirty, [8]);
});

for (const mmuNotifier of ["seq-retry", "notifier-2008"] as const) {
  test(`${mmuNotifier}: under reclaim every read sees the last write, by whichever frame it came`, async () => {
    const machine = await Machine.create(scenario({ mmuNotifier, memoryMax: 100 * 4096 }));
    const random = generator(11);
    for (let step = 0; step < 4000; step++) {
      const place = random(PAGES + 80);
      const gfn =
        place < PAGES ? place : place < PAGES + 64 ? 1024 + (place - PAGES) : 2048 + (place - PAGES - 64);
      const { status, fault } = machine.access("old", random(2), gfn, random(2) === 0 ? "read" : "write");
      assert.is(status, "done");
      assert.is.not(fault, "mmio");
    }
    const { vms, host } = machine.result();
    assert.ok(host.swap.out > 500 && vms[0]!.integrity.checked > 1000);
    assert.is(vms[0]!.integrity.lostWrites + vms[0]!.integrity.staleReads, 0);
  });
}

test("aliases need a reverse map, and are four at most", async () => {
  const refusal = async (vm: Partial<Scenario["vms"][number]>): Promise<string> => {
    try {
      await Machine.create(scenario(vm));
    } catch (error) {
      return (error as Error).message;
    }
    return "accepted";
  };
  assert.match(
    await refusal({ mmu: "tdp" }),
    'vms[0].aliases: mmu "tdp" has no reverse map that finds what aliases map',
  );
  assert.match(await refusal({ aliases: [...ALIASES, ...ALIASES] }), "vms[0].aliases: 6 are too many");
  assert.match(
    await refusal({ aliases: [{ gfn: 2 ** 31 - 1, pages: 2, target: 0 }] }),
    "vms[0].aliases[0].pages: 2 frames from there on reach beyond the last frame. Allowed: a whole number 1..1",
  );
});

test.run();
