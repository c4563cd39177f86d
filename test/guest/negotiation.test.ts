// At stake: what a balloon device and its driver come to agree on, and what happens where they agree on a bit and not on its meaning. Every
// set of features on both sides beside a plain model of the negotiation; then each story of one combination.

import { test } from "uvu";
import * as assert from "uvu/assert";
import type { BalloonQueue, VmResult } from "#dist/result.js";
import type { Scenario } from "#dist/scenario.js";
import { create, type Task, type Vm, vmOf } from "../scenes.js";

type Device = NonNullable<Vm["balloonDevice"]>;
type Feature = Device["offers"][number];
type FreePages = NonNullable<NonNullable<Vm["guest"]>["freePages"]>;

const second = 1_000_000_000;
const process = (pages: number, others = {}): Task["workload"] => ({ kind: "process", pages, ...others });

interface Pair {
  offers: Feature[];
  freePages: FreePages;
  device?: Partial<Device>;
  host?: string;
  memory?: string;
  tasks?: Task[];
  events?: Scenario["events"];
  balloon?: NonNullable<Vm["guest"]>["balloon"];
}

function pair({
  offers,
  freePages,
  device,
  host = "256MiB",
  memory = "16MiB",
  tasks = [],
  events = [],
  balloon,
}: Pair): Scenario {
  return {
    host: { memory: host },
    check: { integrity: true },
    vms: [
      {
        name: "db",
        memory,
        balloonDevice: { offers, ...device },
        guest: { freePages, tasks, ...(balloon !== undefined && { balloon }) },
      },
    ],
    events,
  };
}

/** Features and queues, by what the documents of both sides say. */
function agreed(offers: Feature[], { design, pagePoison, initOnFree }: FreePages): unknown {
  const of2019 = design === "hinting-2019";
  const bit5 = offers.includes("reporting") || offers.includes("hinting-2019");
  const clean = !pagePoison && !initOnFree;
  let takesBit5 = bit5 && (of2019 || design === "reporting");
  if (!of2019 && !clean && !offers.includes("page-poison")) takesBit5 = false;
  const poison = offers.includes("page-poison") && !clean && !of2019;
  const features = [
    ...["must-tell-host", "stats"].filter((each) => offers.includes(each as Feature)),
    ...(offers.includes("free-page-hint") ? ["free-page-hint"] : []),
    ...(poison ? ["page-poison"] : []),
    ...(takesBit5 ? [of2019 ? "hinting-2019" : "reporting"] : []),
  ];
  const order = (patched: boolean): BalloonQueue[] => {
    const late: [BalloonQueue, boolean][] = [
      ["freePage", offers.includes("free-page-hint")],
      [patched ? "hinting" : "reporting", takesBit5],
    ];
    if (patched) late.reverse();
    return [
      "inflate",
      "deflate",
      ...(offers.includes("stats") ? (["stats"] as const) : []),
      ...late.filter(([, there]) => there).map(([queue]) => queue),
    ];
  };
  const device = order(offers.includes("hinting-2019"));
  return { features, queues: order(of2019).map((driver, index) => ({ driver, device: device[index] })) };
}

test("every set of features: what both sides have is agreed on, and queues are counted by it", async () => {
  const optional: Feature[] = ["must-tell-host", "stats", "free-page-hint", "page-poison"];
  let crossed = 0;
  for (let set = 0; set < 16; set++) {
    for (const bit5 of [[], ["reporting"], ["hinting-2019"]] as Feature[][]) {
      for (const design of ["off", "hinting-2019", "reporting"] as const) {
        for (const poison of [{}, { pagePoison: true }, { initOnFree: true }]) {
          const offers = [...optional.filter((_, bit) => (set & (1 << bit)) !== 0), ...bit5];
          const freePages = { design, ...poison };
          const { balloonDevice } = vmOf(
            (await create(pair({ offers, freePages, host: "16MiB", memory: "4MiB" }))).result(),
          );
          const { features, queues } = balloonDevice!;
          assert.equal({ features, queues }, agreed(offers, freePages), JSON.stringify([offers, freePages]));
          if (queues.some(({ driver, device }) => driver !== device)) crossed++;
        }
      }
    }
  }
  assert.is(crossed, 16 * 3 + 16 + 8 * 2, "only two meanings of bit 5 cross queues");
});

/** Scattered frees, which fill the arrays of hinting, then frees in order, which make large blocks for reporting. */
const burst: Task[] = [
  {
    name: "churn",
    workload: {
      kind: "churn",
      pages: 16_000,
      freed: 0.5,
      accesses: 70_000,
    },
  },
  { name: "job", start: { after: "db/churn" }, workload: process(16_000) },
  { name: "idle", start: { after: "db/job" }, workload: process(1, { repeat: 2, pause: "6s" }) },
];

async function bursts(
  offers: Feature[],
  freePages: FreePages,
  others: Partial<Pair> = {},
): Promise<VmResult> {
  const machine = await create(pair({ offers, freePages, memory: "192MiB", tasks: burst, ...others }));
  const result = machine.run();
  assert.is(result.status, "done", JSON.stringify(result.violations));
  machine.check();
  return vmOf(result);
}

test("both sides of one design: all that is told is dropped, with and without the other queues in front", async () => {
  for (const design of ["hinting-2019", "reporting"] as const) {
    for (const others of [[], ["stats"], ["free-page-hint"], ["stats", "free-page-hint"]] as Feature[][]) {
      const { freePages } = await bursts([...others, design], { design });
      assert.ok(freePages.requests > 0 && freePages.released > 1000, `${design} with ${others}`);
      assert.is(freePages.unheard, 0);
    }
  }
});

test("bit 5 without the other's meaning: requests are made and answered, and the host drops nothing", async () => {
  for (const [design, offered] of [
    ["hinting-2019", "reporting"],
    ["reporting", "hinting-2019"],
  ] as const) {
    for (const others of [[], ["stats"], ["free-page-hint"]] as Feature[][]) {
      const { freePages, integrity } = await bursts([...others, offered], { design });
      assert.ok(freePages.requests > 0, design);
      assert.equal([freePages.discarded, freePages.released], [0, 0]);
      assert.is(freePages.unheard, freePages.pagesReported);
      assert.equal([integrity.lostWrites, integrity.staleReads], [0, 0]);
    }
  }
});

test("a host without bit 5, or a driver that does not know it: nothing is told", async () => {
  for (const design of ["hinting-2019", "reporting"] as const) {
    assert.is((await bursts(["stats"], { design })).freePages.requests, 0);
    assert.is((await bursts([design], { design: "off" })).freePages.requests, 0);
  }
});

test("poison: a host that cannot be told of it hears nothing, one that is told of a pattern drops nothing", async () => {
  const reporting = async (offers: Feature[], poison: Partial<FreePages>): Promise<[boolean, boolean]> => {
    const { freePages } = await bursts(["reporting", ...offers], { design: "reporting", ...poison });
    return [freePages.requests > 0, freePages.discarded > 0];
  };
  assert.equal(await reporting([], {}), [true, true]);
  assert.equal(await reporting(["page-poison"], {}), [true, true]);
  for (const poison of [{ pagePoison: true }, { initOnFree: true }]) {
    assert.equal(await reporting([], poison), [false, false]);
  }
  assert.equal(await reporting(["page-poison"], { pagePoison: true }), [true, false]);
  assert.equal(await reporting(["page-poison"], { initOnFree: true }), [true, true]);
  const patched = await bursts(["hinting-2019"], { design: "hinting-2019", pagePoison: true });
  assert.ok(patched.freePages.discarded > 0, "the patch switches poisoning off");
});

test("a ring too small for a report: the driver gives the device up, and the balloon with it", async () => {
  const others = { device: { ring: 16 }, balloon: { target: "8MiB" } };
  const upstream = await bursts(["reporting"], { design: "reporting" }, others);
  assert.is(upstream.balloonDevice, null);
  assert.equal([upstream.freePages.requests, upstream.balloon.pages], [0, 0]);
  const patched = await bursts(["hinting-2019"], { design: "hinting-2019" }, others);
  assert.ok(patched.freePages.requests > 0);
  assert.is(patched.balloon.pages, 2048);
});

test("statistics come when the host asks, and say what the guest's memory management knows", async () => {
  const scenario = pair({
    offers: ["stats"],
    freePages: { design: "off" },
    device: { statsInterval: "100ms" },
    tasks: [
      { name: "cache", workload: { kind: "pagecache", pages: 1000, accesses: 1000 } },
      { name: "idle", workload: process(1, { repeat: 2, pause: "6s" }) },
    ],
  });
  const machine = await create(scenario);
  machine.run({ time: 2_050_000_000 });
  const { balloonDevice, guestMemory } = vmOf(machine.result());
  const { stats, statsSent } = balloonDevice!;
  assert.is(statsSent, 21);
  assert.is(stats!.free, 4096 * guestMemory.freePages);
  assert.is(stats!.total, 16 * 2 ** 20);
  assert.is(stats!.minorFaults, 1001);
  assert.is(stats!.caches, 0, "the task is over, and its file with it");
  assert.ok(stats!.available > 0 && stats!.available < stats!.free);
  assert.equal([stats!.swapIn, stats!.swapOut, stats!.majorFaults], [0, 0, 0]);
  const silent = await create(
    pair({ offers: [], freePages: { design: "off" }, device: { statsInterval: "1ms" } }),
  );
  silent.run({ time: second });
  assert.is(vmOf(silent.result()).balloonDevice!.statsSent, 0, "the queue is not there");
});

/** A guest of 64 MiB that sleeps, then needs memory; the host asks for hints meanwhile. */
function migrated(offers: Feature[], freePages: FreePages, others: Partial<Pair> = {}): Scenario {
  return pair({
    offers: ["free-page-hint", ...offers],
    freePages,
    memory: "64MiB",
    tasks: [
      { name: "idle", workload: process(1, { repeat: 2, pause: "9s" }) },
      { name: "job", start: "3s", workload: process(12_000) },
    ],
    events: [
      { at: "1s", do: "freePageHint", command: "start" },
      { at: "6s", do: "freePageHint", command: "done" },
    ],
    ...others,
  });
}

test("hints for a migration: all free blocks of 4 MiB are held until the host is done; who needs memory gets them back", async () => {
  const machine = await create(migrated([], { design: "off" }));
  machine.run({ time: 2 * second });
  const held = vmOf(machine.result());
  const { heldPages, hintedPages } = held.balloonDevice!;
  assert.ok(heldPages >= 12 * 1024 && heldPages % 1024 === 0, `${heldPages} pages`);
  assert.is(hintedPages, heldPages);
  assert.is(held.freePages.isolatedPeakPages, heldPages);
  assert.is(held.freePages.discarded, 0, "a hint drops nothing");
  machine.check();
  machine.run({ time: 2 * second });
  const pressed = vmOf(machine.result());
  assert.ok(pressed.balloonDevice!.heldPages < heldPages - 4000, "the shrinker has given some back");
  assert.is(pressed.guestMemory.killed, 0);
  machine.run({ time: 3 * second });
  machine.check();
  const after = vmOf(machine.result());
  assert.is(after.balloonDevice!.heldPages, 0);
  assert.ok(after.guestMemory.freePages > 16_000);
  assert.is(vmOf(machine.run()).integrity.lostWrites, 0);
});

test("hints stop when the host says so, and a second round hints again", async () => {
  const events: Scenario["events"] = [
    { at: "1s", do: "freePageHint", command: "start" },
    { at: "1100ms", do: "freePageHint", command: "stop" },
    { at: "1200ms", do: "freePageHint", command: "done" },
    { at: "2s", do: "freePageHint", command: "start" },
  ];
  const hinted: number[] = [];
  for (const ring of [2, 4, 128]) {
    const machine = await create(migrated([], { design: "off" }, { device: { ring }, events }));
    machine.run({ time: 1.5 * second });
    const first = vmOf(machine.result()).balloonDevice!;
    assert.is(first.heldPages, 0);
    machine.run({ time: second });
    const second_ = vmOf(machine.result()).balloonDevice!;
    assert.is(second_.hintedPages, 2 * first.hintedPages);
    hinted.push(first.hintedPages);
    machine.check();
  }
  assert.is(hinted[0]! > 0 && new Set(hinted).size === 1, true, `a short ring only waits: ${hinted}`);
});

test("hints of a driver of 2019 on a host with reporting: the blocks lie on its queue of reports, and are dropped", async () => {
  const machine = await create(
    migrated(
      ["reporting"],
      { design: "hinting-2019" },
      { tasks: [{ workload: process(14_000) }, { workload: process(1, { repeat: 2, pause: "9s" }) }] },
    ),
  );
  machine.run({ time: 2 * second });
  const { balloonDevice, freePages, memory } = vmOf(machine.result());
  assert.equal(balloonDevice!.queues.slice(2), [
    { driver: "hinting", device: "freePage" },
    { driver: "freePage", device: "reporting" },
  ]);
  assert.is(balloonDevice!.hintedPages, 0);
  assert.ok(freePages.discarded > 10_000 && memory.residentPages < 4000, `${freePages.discarded} pages`);
});

test("an id of hints on a queue that the host reads as hints of 2019 would drop what lies there: the run stops", async () => {
  const { status, violations } = (await create(migrated(["hinting-2019"], { design: "reporting" }))).run();
  assert.is(status, "violation");
  assert.equal(
    violations!.map(({ kind, vm, timeNs }) => [kind, vm, Math.floor(timeNs / second)]),
    [["misreadQueue", "db", 1]],
  );
});

test("the balloon gives way only where both sides have deflate-on-oom", async () => {
  for (const [offers, deflateOnOom, killed] of [
    [["deflate-on-oom"], true, 0],
    [[], true, 1],
    [["deflate-on-oom"], false, 1],
  ] as const) {
    const scenario = pair({
      offers: [...offers],
      freePages: { design: "off" },
      balloon: { target: "8MiB", deflateOnOom },
      tasks: [{ start: "500ms", workload: process(3000) }],
    });
    const { guestMemory, balloonDevice } = vmOf((await create(scenario)).run());
    assert.is(guestMemory.killed, killed);
    assert.is(balloonDevice!.features.includes("deflate-on-oom"), killed === 0);
  }
});

test.run();
