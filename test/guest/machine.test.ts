// At stake: guests that allocate, free and give back, in whole machines: no page with live contents is ever taken from a guest, books
// agree with each other, and a run is one history however it is cut. Random scenarios of every design run on the debug core, which walks
// every structure after each slice.

import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { Machine, type RunResult } from "#dist/index.js";
import type { Scenario } from "#dist/scenario.js";
import { parameters } from "../reference/report.js";
import { debugModule } from "../scenes.js";

const DESIGNS = ["off", "hinting-2019", "hinting-2019-min-order", "reporting", "oracle"] as const;
const OFFERS = ["stats", "deflate-on-oom", "free-page-hint", "page-poison"] as const;
const module = await debugModule;

const pause = fc.constantFrom("0ns", "100us", "3ms");
const workload = fc.oneof(
  fc.record({
    kind: fc.constant("process" as const),
    pages: fc.integer({ min: 1, max: 3000 }),
    writes: fc.constantFrom(0, 0.5, 1),
    repeat: fc.integer({ min: 1, max: 3 }),
    pause,
  }),
  fc.record({
    kind: fc.constant("churn" as const),
    pages: fc.integer({ min: 64, max: 3000 }),
    orders: fc.constantFrom([1], [8, 4, 2, 1], [4, 0, 0, 0, 0, 1]),
    freed: fc.constantFrom(0.1, 0.5, 1),
    pause,
    accesses: fc.integer({ min: 1, max: 9000 }),
  }),
  fc.record({
    kind: fc.constant("pagecache" as const),
    pages: fc.integer({ min: 1, max: 4000 }),
    accesses: fc.integer({ min: 1, max: 6000 }),
  }),
  fc.record({
    kind: fc.constant("uniform" as const),
    pages: fc.integer({ min: 1, max: 1500 }),
    writes: fc.constantFrom(0, 0.5),
    accesses: fc.integer({ min: 1, max: 6000 }),
  }),
);

const guest = fc
  .record({
    design: fc.constantFrom(...DESIGNS),
    // Short arrays are full soon; where a block of one entry has many free ones, the second one is too short, and the run ends.
    entries: fc.constantFrom(undefined, 1, 20, 200),
    vcpus: fc.integer({ min: 1, max: 2 }),
    tasks: fc.array(fc.record({ workload, prefault: fc.boolean() }), { minLength: 1, maxLength: 3 }),
    balloon: fc.option(fc.record({ target: fc.constantFrom("2MiB", "12MiB"), deflateOnOom: fc.boolean() }), {
      nil: undefined,
    }),
    large: fc.boolean(),
    // Mostly what the guest's design can use; else any set of features, two meanings of bit 5 included.
    device: fc.option(
      fc.record({
        offers: fc
          .subarray([...OFFERS, "bit 5"] as const)
          .chain((some) =>
            fc
              .constantFrom("reporting", "hinting-2019")
              .map((bit5) => some.map((each) => (each === "bit 5" ? bit5 : each))),
          ),
        ring: fc.constantFrom(2, 32, 128),
        statsInterval: fc.constantFrom(null, "1ms"),
      }),
      { nil: undefined },
    ),
  })
  .map(({ design, entries, vcpus, tasks, balloon, large, device }) => ({
    // A guest below 64 MiB never reports; most are small, so that memory runs out.
    memory: large ? "96MiB" : "16MiB",
    vcpus,
    ...(device !== undefined && { balloonDevice: device }),
    guest: {
      freePages: {
        design,
        ...(design.startsWith("hinting-2019") && entries !== undefined && { arrayEntries: entries }),
      },
      ...(balloon !== undefined && { balloon }),
      tasks: tasks.map(({ workload: each, prefault }) => ({
        workload: each,
        prefault: each.kind === "uniform" && prefault,
      })),
    },
  }));

const scenarios = fc
  .record({
    seed: fc.nat(1000),
    guests: fc.array(guest, { minLength: 1, maxLength: 2 }),
    host: fc.constantFrom("8MiB", "16MiB", "128MiB"),
    swap: fc.constantFrom("nvme" as const, "zram-lz4" as const),
    cpus: fc.integer({ min: 1, max: 3 }),
    hints: fc.array(
      fc.record({
        at: fc.nat(20).map((ms) => `${ms}ms`),
        command: fc.constantFrom("start" as const, "stop" as const, "done" as const),
      }),
      { maxLength: 4 },
    ),
  })
  .map(
    ({ seed, guests, host, swap, cpus, hints }): Scenario => ({
      seed,
      host: { memory: host, cpus, swap: [{ kind: swap, size: "512MiB" }] },
      costs: { reportDelayNs: "500us" },
      check: { integrity: true },
      vms: guests.map((each, index) => ({ ...each, name: `g${index}` }) as Scenario["vms"][number]),
      events: guests.flatMap(({ balloonDevice }, index) =>
        balloonDevice?.offers.includes("free-page-hint") && !crosses(balloonDevice.offers, guests[index]!)
          ? hints.map((hint) => ({ ...hint, vm: `g${index}`, do: "freePageHint" as const }))
          : [],
      ),
    }),
  );

/** Hints of one meaning on a queue of the other: they may end a run, and do so in negotiation.test.ts. */
function crosses(
  offers: readonly string[],
  { guest: { freePages } }: { guest: { freePages: { design: string } } },
): boolean {
  const patched = freePages.design.startsWith("hinting-2019");
  return patched ? offers.includes("reporting") : offers.includes("hinting-2019");
}

function endOf({ digest, status, stoppedBy, virtualTimeNs, accesses, vms, host }: RunResult): unknown {
  return { digest, status, stoppedBy, virtualTimeNs, accesses, vms, host };
}

test("guests that give memory back keep what they have, and a run is one history however it is cut", async () => {
  await fc.assert(
    fc.asyncProperty(scenarios, fc.integer({ min: 50, max: 4000 }), async (scenario, slice) => {
      const uncut = await Machine.create(scenario, { module });
      const whole = uncut.run({ time: "60s" });
      const overflows = whole.violations?.every(({ kind }) => kind === "arrayOverflow") ?? true;
      assert.ok(overflows, JSON.stringify(whole.violations));
      uncut.check();

      let cut = await Machine.create(scenario, { module });
      let ended = false;
      for (let slices = 0; slices < 40 && !ended; slices++) {
        const { stoppedBy } = cut.run({ accesses: slice, time: "3ms" });
        cut.check();
        ended = stoppedBy !== "accesses" && stoppedBy !== "time";
        if (slices === 2) cut = await Machine.restore(cut.snapshot(), { module });
      }
      if (!ended) cut.run({ time: 60e9 - cut.result().virtualTimeNs });
      assert.equal(endOf(cut.result()), endOf(uncut.result()));
    }),
    parameters(Number(process.env.PROPERTY_RUNS ?? 15)),
  );
});

test.run();
