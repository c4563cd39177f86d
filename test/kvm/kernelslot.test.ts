// At stake: a slot of 2008 whose memory the kernel maps has no address at first, is memory like any other then, and takes it along when it goes.

import { test } from "uvu";
import * as assert from "uvu/assert";
import { Machine, type Scenario } from "#dist/index.js";

const MIB = 2 ** 20;
type Slot = { gfn: number; pages: number; flags?: ("kernel" | "log-dirty-pages")[]; hva?: number };

function scenario(
  events: NonNullable<Scenario["events"]>,
  vm: Partial<Scenario["vms"][number]> = {},
): Scenario {
  const memory = { name: "old", memory: MIB, mmu: "legacy", mmuNotifier: "notifier-2008" } as const;
  return {
    duration: { time: "20ms" },
    host: { memory: 16 * MIB, swap: [{ kind: "zram-lz4", size: 16 * MIB }] },
    vms: [{ ...memory, guest: { tasks: [{ workload: { kind: "uniform", pages: 200, writes: 1 } }] }, ...vm }],
    events,
    check: { integrity: true },
  };
}

const set = (at: string, slot: Slot | null) => ({ at, do: "memslot" as const, id: 7, slot });
const KERNEL: Slot = { gfn: 4096, pages: 64, flags: ["kernel"] };

function until(machine: Machine, ms: number): void {
  machine.run({ time: ms * 1e6 - machine.result().virtualTimeNs });
}

test("it comes, is paged like any other, goes with its memory, and comes again empty", async () => {
  const machine = await Machine.create(
    scenario([set("1ms", KERNEL), set("50ms", null), set("100ms", KERNEL)], { memoryMax: 600 * 1024 }),
  );
  assert.is(machine.access("old", 0, 4096, "write").fault, "mmio");
  machine.run({ time: "2ms" });
  for (let gfn = 4096; gfn < 4160; gfn++) assert.is.not(machine.access("old", 0, gfn, "write").fault, "mmio");
  assert.equal(machine.inspect({ vm: "old", gfn: 4096 }).slot?.flags, ["kernel"]);
  until(machine, 60);
  assert.is(machine.access("old", 0, 4100, "read").fault, "mmio");
  until(machine, 110);
  const again = machine.inspect({ vm: "old", gfn: 4100 });
  assert.is(again.pte?.state, "none");
  assert.is(machine.access("old", 0, 4100, "read").fault, "minor");
  const { events, vms, host } = machine.result();
  assert.equal(
    events!.map(({ error }) => error),
    [null, null, null],
  );
  assert.ok(host.swap.out > 0);
  assert.is(vms[0]!.integrity.lostWrites + vms[0]!.integrity.staleReads, 0);
});

test("a slot keeps the way in which its memory came", async () => {
  const machine = await Machine.create(scenario([set("1ms", KERNEL)]));
  machine.run({ time: "2ms" });
  assert.is(machine.setMemslot("old", 7, { gfn: 4096, pages: 64 }).error, "EINVAL");
  assert.is(machine.setMemslot("old", 7, { gfn: 5000, pages: 64, flags: ["kernel"] }).change, "move");
  assert.is(machine.setMemslot("old", 7, { ...KERNEL, flags: ["kernel"] }).change, "move");
  assert.is(
    machine.setMemslot("old", 7, { ...KERNEL, flags: ["kernel", "log-dirty-pages"] }).change,
    "flags",
  );
  machine.access("old", 0, 4103, "write");
  assert.equal(machine.dirtyLog("old", 7).dirty, [4103]);
});

test("today's KVM has no such slots, and nobody but the kernel says where they lie", async () => {
  const refusal = async (made: Scenario): Promise<string> => {
    try {
      await Machine.create(made);
    } catch (error) {
      return (error as Error).message;
    }
    return "accepted";
  };
  assert.match(
    await refusal(scenario([set("1ms", KERNEL)], { mmuNotifier: "seq-retry" })),
    'events[0].slot.flags: "kernel" went before mmuNotifier "seq-retry" came',
  );
  assert.match(
    await refusal(scenario([set("1ms", { ...KERNEL, hva: 4096 })])),
    "events[0].slot.hva: the kernel chooses where it maps a slot itself. Allowed: absent",
  );
  assert.match(
    await refusal(
      scenario([], { mmuNotifier: "seq-retry", memslots: [{ gfn: 0, pages: 256, flags: ["kernel"] }] }),
    ),
    'vms[0].memslots[0].flags: "kernel" went before',
  );
  const today = await Machine.create(scenario([], { mmuNotifier: "seq-retry" }));
  assert.is(today.setMemslot("old", 1, KERNEL).error, "EINVAL");
});

test.run();
