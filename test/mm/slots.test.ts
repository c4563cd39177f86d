// Swap slots over random operations: no slot is given out twice, use counts equal the references that are held, clusters, slot caches
// and nr_swap_pages agree after every single operation. The debug build walks its own structures besides (checkSwap()).

import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { parameters } from "../reference/report.js";
import { type AreaShape, Slots } from "./slots.js";

// Sizes around those at which something changes: less than a cluster, whole clusters, enough for the slot caches.
const area: fc.Arbitrary<AreaShape> = fc.record({
  slots: fc.oneof(
    fc.integer({ min: 2, max: 100 }),
    fc.constantFrom(512, 513, 1024, 1025),
    fc.integer({ min: 500, max: 1500 }),
  ),
  priority: fc.integer({ min: -3, max: 1 }),
  rotational: fc.boolean(),
});

const cpu = fc.nat(2);
const times = fc.oneof(
  { weight: 3, arbitrary: fc.constant(1) },
  { weight: 2, arbitrary: fc.integer({ min: 2, max: 400 }) },
);
const pick = fc.nat();
const operation = fc.oneof(
  { weight: 6, arbitrary: fc.record({ op: fc.constant("take" as const), cpu, times }) },
  {
    weight: 5,
    arbitrary: fc.record({ op: fc.constant("free" as const), cpu, times, pick, zap: fc.boolean() }),
  },
  { weight: 2, arbitrary: fc.record({ op: fc.constant("drop" as const), cpu, times, pick }) },
  { weight: 2, arbitrary: fc.record({ op: fc.constant("read" as const), cpu, times, pick }) },
  {
    weight: 1,
    arbitrary: fc.record({
      op: fc.constant("dup" as const),
      pick,
      times: fc.constantFrom(1, 1, 61, 62, 63, 130),
    }),
  },
  { weight: 1, arbitrary: fc.record({ op: fc.constant("lock" as const), pick }) },
);
type Operation = typeof operation extends fc.Arbitrary<infer T> ? T : never;

/** What the operations have met, so that no part is left out by accident. */
const met = { operations: 0, full: 0, cached: 0, uncached: 0, reclaimed: 0, continued: 0, waited: 0 };

// Another place for each repetition, spread over all.
const spread = (start: number, time: number): number => (start + time * 7919) % 0x7fffffff;

function apply(slots: Slots, step: Operation, single: () => void): void {
  if (step.op === "dup") {
    slots.dup(step.pick, step.times);
    met.continued += Number(step.times > 61);
    single();
    return;
  }
  if (step.op === "lock") {
    slots.lock(step.pick);
    single();
    return;
  }
  const on = step.cpu % slots.cpus;
  for (let time = 0; time < step.times; time++) {
    if (step.op === "take") {
      const before = slots.used.size;
      const entry = slots.take(on);
      met.full += Number(entry === undefined);
      met.reclaimed += Number(entry !== undefined && slots.used.size <= before);
    } else if (step.op === "free") {
      slots.free(on, spread(step.pick, time), step.zap);
    } else if (step.op === "drop") {
      slots.drop(on, spread(step.pick, time));
    } else {
      slots.read(on, spread(step.pick, time));
    }
    single();
  }
}

test("over random operations every slot has one owner, and all counts agree after every one", () => {
  fc.assert(
    fc.property(
      fc.array(area, { minLength: 1, maxLength: 4 }),
      fc.integer({ min: 1, max: 3 }),
      fc.array(operation, { minLength: 5, maxLength: 60, size: "max" }),
      (areas, cpus, steps) => {
        const slots = new Slots(areas, cpus);
        for (const step of steps) {
          apply(slots, step, () => {
            slots.check();
            met.operations++;
            met[slots.call.swapsnapActive!() !== 0 ? "cached" : "uncached"]++;
          });
          slots.checkClusters();
        }
        met.waited += slots.call.swapsnapSlots!(0);
      },
    ),
    // A failing case is printed as it is: making it smaller would take many minutes.
    { ...parameters(Number(process.env.PROPERTY_RUNS ?? 75)), endOnFailure: true },
  );
});

test("the random operations have met every part of the allocator", () => {
  const { PROPERTY_RUNS, REPLAY_SEED } = process.env;
  if (PROPERTY_RUNS !== undefined || REPLAY_SEED !== undefined) return;
  assert.ok(met.operations >= 100_000, `${met.operations} operations`);
  for (const [what, count] of Object.entries(met)) assert.ok(count > 0, `no ${what}`);
});

const ssd = (slots: number, priority = 0): AreaShape => ({ slots, priority, rotational: false });

test("areas of one priority take turns, 64 slots at a time; a lower one waits until they are full", () => {
  const slots = new Slots([ssd(1025), ssd(1025), ssd(4096, -1)], 1);
  const types = Array.from({ length: 2048 }, () => slots.take(0)! >>> 27);
  const turns = types.filter((_, index) => index % 64 === 0).slice(0, 16);
  for (const [index, type] of types.slice(0, 64 * 16).entries()) assert.is(type, turns[index >> 6]);
  for (const [turn, type] of turns.entries()) assert.is(type, (turns[0]! + turn) % 2);
  assert.not.ok(types.includes(2));
  assert.is(slots.take(0)! >>> 27, 2);
});

test("filled to the last slot and emptied again, an area is as it was", () => {
  for (const rotational of [false, true]) {
    const slots = new Slots([{ slots: 3000, priority: 0, rotational }], 2);
    const taken = new Set<number>();
    for (let entry = slots.take(0); entry !== undefined; entry = slots.take(taken.size % 2)) taken.add(entry);
    // The slot that a scan without clusters starts from may be left over.
    assert.ok(taken.size >= 2998, `${taken.size} of 2999`);
    assert.is(slots.call.swapsnapActive!(), 0);
    slots.check();
    while (slots.references.length > 0)
      slots.free(slots.references.length % 2, slots.references.length * 7, true);
    slots.check();
    slots.checkClusters();
    assert.is(slots.used.size, 0);
    // Nobody has taken a slot since, so the slot caches are still out of use and hold nothing.
    assert.is(slots.call.swapsnapFree!(), 2999);
    assert.equal([slots.call.swapsnapLowest!(0), slots.call.swapsnapHighest!(0)], [1, 2999]);
  }
});

test("a slot counts 200 users and lets go of them one by one", () => {
  const slots = new Slots([ssd(600)], 1);
  slots.take(0);
  slots.drop(0, 0);
  slots.dup(0, 199);
  for (let users = 200; users > 0; users--) {
    assert.is(slots.call.slotCaseUsers!(slots.references[0]!), users);
    slots.check();
    slots.free(0, users, false);
  }
  assert.is(slots.used.size, 0);
  slots.check();
});

test.run();
