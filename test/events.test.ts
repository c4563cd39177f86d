// At stake: what a scenario plans for a time happens then, once, as the same call made by hand, and survives cuts, snapshots and forks.

import { test } from "uvu";
import * as assert from "uvu/assert";
import { OFFLINE_UNIT_BYTES } from "#dist/eventschema.js";
import { Machine, PagevisorError, type RunResult, type Scenario } from "#dist/index.js";

const MIB = 2 ** 20;
const MS = 1_000_000;
type Event = NonNullable<Scenario["events"]>[number];

function scenario(events: Event[], vm: Partial<Scenario["vms"][number]> = {}): Scenario {
  return {
    duration: { time: "40ms" },
    host: { memory: 64 * MIB, swap: [{ kind: "nvme", size: 64 * MIB }] },
    vms: [
      {
        name: "guest",
        memory: 8 * MIB,
        guest: { tasks: [{ prefault: true, workload: { kind: "uniform", pages: 512, writes: 0.5 } }] },
        ...vm,
      },
    ],
    events,
  };
}

async function ran(events: Event[], vm: Partial<Scenario["vms"][number]> = {}): Promise<RunResult> {
  const machine = await Machine.create(scenario(events, vm));
  return machine.run();
}

test("advice comes when it is planned, and takes the pages that it names", async () => {
  const workload = { kind: "sequential", pages: 512, passes: 9, thinkTime: "100us" } as const;
  const slow = { guest: { tasks: [{ prefault: true, workload }] } };
  // The first time finds what the guest has used; what it has not used since goes the second time.
  const pageout = { do: "advise", advice: "pageout", gfn: 0, pages: 100 } as const;
  const result = await ran(
    [
      { at: "10ms", ...pageout },
      { at: "11ms", ...pageout },
    ],
    slow,
  );
  const [first, second] = result.events!;
  for (const [event, time] of [
    [first!, 10],
    [second!, 11],
  ] as const) {
    const { startNs, ns, ...others } = event;
    assert.equal(others, { do: "advise", vm: "guest", atNs: time * MS, error: null, pages: 0 });
    // The monitor has to be given a CPU first.
    assert.ok(startNs! >= time * MS && startNs! < (time + 0.1) * MS, `${startNs}`);
    assert.ok(ns! > 0);
  }
  assert.ok(result.host.swap.out >= 80 && result.host.swap.out <= 100, `${result.host.swap.out} pages`);
  assert.is((await ran([], slow)).host.swap.out, 0);
});

test("an event is the call made by hand at its time", async () => {
  const events: Event[] = [{ at: "10ms", do: "advise", advice: "dontneed", gfn: 16, pages: 64 }];
  const planned = await Machine.create(scenario(events, { guest: {} }));
  const byHand = await Machine.create(scenario([], { guest: {} }));
  for (const machine of [planned, byHand]) {
    for (let gfn = 0; gfn < 128; gfn++) machine.access("guest", 0, gfn, "write");
  }
  planned.run({ time: "10ms" });
  byHand.run({ time: "10ms" });
  byHand.advise("guest", "dontneed", { gfn: 16, pages: 64 });
  planned.run({ time: "20ms" });
  for (let gfn = 0; gfn < 128; gfn++) {
    const [left, right] = [planned, byHand].map((machine) => machine.inspect({ vm: "guest", gfn }));
    assert.equal(left, right, `gfn ${gfn}`);
  }
  assert.is(planned.inspect({ vm: "guest", gfn: 20 }).frame, null);
});

test("the memory map changes: a slot comes, logs, and goes", async () => {
  const memslots = [
    { gfn: 0, pages: 1024 },
    { gfn: 1024, pages: 1024 },
  ];
  const result = await ran(
    [
      { at: "5ms", do: "memslot", id: 0, slot: { gfn: 0, pages: 1024, flags: ["log-dirty-pages"] } },
      { at: "20ms", do: "dirtyLog", id: 0 },
      { at: "21ms", do: "dirtyLog", id: 0 },
      { at: "22ms", do: "memslot", id: 1, slot: null },
      { at: "23ms", do: "memslot", id: 7, slot: { gfn: 4096, pages: 512 } },
      { at: "24ms", do: "memslot", id: 8, slot: { gfn: 100, pages: 8 } },
      { at: "25ms", do: "dirtyLog", id: 1 },
      { at: "39ms", do: "memslot", id: 7, slot: null },
      { at: "1s", do: "memslot", id: 0, slot: null },
    ],
    { memslots },
  );
  const [log, first, second, gone, come, overlaps, noSlot, goes, late] = result.events!;
  assert.equal(
    [log, gone, come, goes].map((event) => event!.error),
    [null, null, null, null],
  );
  assert.ok(first!.pages > 500 && first!.pages <= 512, `${first!.pages} of 512 written`);
  assert.ok(second!.pages <= 512 && second!.pages > 0);
  assert.is(overlaps!.error, "EEXIST");
  assert.is(noSlot!.error, "EINVAL");
  assert.equal(late, {
    do: "memslot",
    vm: "guest",
    atNs: 1e9,
    startNs: null,
    ns: null,
    error: null,
    pages: 0,
  });
});

test("limits and the balloon move", async () => {
  const machine = await Machine.create(
    scenario(
      [
        { at: "5ms", do: "memoryMax", size: "1MiB" },
        { at: "15ms", do: "memoryMax" },
        { at: "20ms", do: "memoryReclaim", size: "256KiB" },
        { at: "25ms", do: "balloon", size: "2MiB" },
      ],
      {
        guest: {
          balloon: {},
          tasks: [{ prefault: true, workload: { kind: "uniform", pages: 512, writes: 0.5 } }],
        },
      },
    ),
  );
  const steps = ["4ms", "10ms", "5ms", "51ms"].map((time) => machine.run({ time }));
  const resident = steps.map(({ vms }) => vms[0]!.memory.residentPages);
  assert.ok(resident[0]! >= 512 && resident[1]! <= 256 && resident[2]! > resident[1]!, `${resident}`);
  const { events, vms } = machine.result();
  assert.ok(events![0]!.pages >= 256, `${events![0]!.pages} reclaimed`);
  assert.is(events![2]!.pages >= 64, true);
  assert.is(vms[0]!.balloon.pages, 512);
});

test("pages are pinned, and memory goes offline, at a time of their own", async () => {
  const given = scenario([
    { at: "2ms", do: "pin", gfn: 8, pages: 4 },
    { at: "3ms", do: "migrate", gfn: 0, pages: 16 },
    { at: "4ms", do: "offline", size: "16MiB", from: "4MiB", timeout: "1ms" },
    { at: "10ms", do: "unpin" },
    { at: "11ms", do: "migrate", gfn: 8, pages: 4 },
    { at: "12ms", do: "offline", size: "16MiB", from: "4MiB" },
    { at: "20ms", do: "offline", size: "32MiB" },
  ]);
  const machine = await Machine.create(given);
  const { frame, unit } = machine.hostZones()[0]!;
  assert.is(unit * 4096, OFFLINE_UNIT_BYTES);
  const [pin, first, held, unpin, second, gone, top] = machine.run().events!;
  assert.equal([pin!.pages, unpin!.pages, pin!.failed], [4, 4, undefined]);
  assert.equal([first!.error, first!.pages, first!.failed], [null, 12, 4]);
  assert.is(held!.error, "EINTR");
  assert.ok(held!.failed! >= 4 && held!.passes! >= 10 && held!.ns! >= MS);
  assert.equal([second!.pages, second!.failed], [4, 0]);
  assert.equal([gone!.error, gone!.failed], [null, 0]);
  assert.equal([top!.error, top!.pages], [null, 0]);
  for (let gfn = 0; gfn < 512; gfn++) {
    const pfn = machine.inspect({ vm: "guest", gfn }).frame!.pfn - frame;
    assert.ok(pfn < unit || (pfn >= 5 * unit && pfn < 8 * unit), `gfn ${gfn} is in frame ${pfn}`);
  }
});

test("memory is compacted at a time of its own", async () => {
  const given = scenario([
    { at: "2ms", do: "compact", order: 9, mode: "async" },
    { at: "3ms", do: "compact" },
    { at: "50s", do: "compact", mode: "sync" },
  ]);
  const machine = await Machine.create(given);
  const [wanted, all, never] = machine.run().events!;
  // What was never in use is one large block.
  assert.equal([wanted!.result, wanted!.pages, wanted!.failed], ["success", 0, 0]);
  assert.equal([all!.result, all!.error], ["complete", null]);
  assert.ok(all!.pages > 0 && all!.scanned!.migrate >= 512 && all!.scanned!.free >= all!.pages);
  assert.equal([never!.startNs, never!.result], [null, undefined]);
  assert.is(machine.result().host.compact.isolated >= 2 * all!.pages, true);
});

test("cut, copied or resumed, a run with events is the same run", async () => {
  const events: Event[] = [
    { at: "3ms", do: "advise", advice: "pageout", gfn: 0, pages: 512 },
    { at: "6ms", do: "memoryMax", size: "1MiB" },
    { at: "9ms", do: "advise", advice: "read", gfn: 0, pages: 64 },
  ];
  const whole = (await ran(events)).digest;
  const cut = await Machine.create(scenario(events));
  for (let time = 1; time <= 10; time++) cut.run({ time: MS });
  const restored = await Machine.restore(cut.snapshot());
  const fork = cut.fork();
  for (const machine of [cut, restored, fork]) {
    machine.run({ time: 30 * MS });
    assert.is(machine.result().digest, whole);
  }
  assert.is.not((await ran([])).digest, whole);
});

test("mistakes are told", async () => {
  const refusal = async (events: unknown[], vms?: unknown): Promise<string> => {
    try {
      await Machine.create({ ...scenario(events as Event[]), ...(vms !== undefined && { vms }) } as Scenario);
    } catch (error) {
      assert.instance(error, PagevisorError);
      return (error as Error).message;
    }
    return "accepted";
  };
  const [vm] = scenario([]).vms;
  assert.match(
    await refusal([{ at: 1, do: "adivse" }]),
    'events[0].do: "adivse" is not allowed; did you mean "advise"?',
  );
  assert.match(
    await refusal([{ at: 1, do: "balloon" }]),
    'events[0].do: the guest of "guest" has no balloon',
  );
  assert.match(
    await refusal([{ at: 1, do: "freePageHint", command: "start" }]),
    'events[0].do: the device of "guest" does not offer it',
  );
  assert.match(
    await refusal([{ at: 1, do: "advise", advice: "cold", gfn: 2048 }]),
    "events[0].gfn: 2048 is in no memslot",
  );
  assert.match(
    await refusal([{ at: 1, do: "advise", advice: "cold", gfn: 2000, pages: 49 }]),
    "events[0].pages: 49 frames from gfn 2000 on reach beyond their memslot. Allowed: a whole number 1..48",
  );
  assert.match(
    await refusal([{ at: 1, do: "offline", size: "5MiB" }]),
    "events[0].size: 5MiB is not a multiple of 4MiB",
  );
  assert.match(
    await refusal([{ at: 1, do: "offline", size: "32MiB", from: "36MiB" }]),
    "events[0].size: 32MiB reach beyond the host's 64MiB",
  );
  assert.match(
    await refusal([{ at: 1, do: "offline", size: "68MiB" }]),
    "events[0].size: 68MiB reach beyond the host's 64MiB",
  );
  assert.match(await refusal([{ at: 1, do: "pin", gfn: 2048 }]), "events[0].gfn: 2048 is in no memslot");
  assert.match(
    await refusal([{ at: 1, do: "dirtyLog", vm: "guset", id: 0 }]),
    'events[0].vm: there is no VM "guset"',
  );
  assert.match(
    await refusal([{ at: 1, do: "dirtyLog", id: 0 }], [vm, { ...vm, name: "other" }]),
    "events[0].vm: missing, and there are several VMs",
  );
  // Memory of the host is nobody's.
  const two = [vm, { ...vm, name: "other" }];
  assert.is(await refusal([{ at: 1, do: "offline", size: "4MiB" }], two), "accepted");
});

test.run();
