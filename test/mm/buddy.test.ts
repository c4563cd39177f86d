// The page allocator over random operations: every page has one owner at any time, lists and counters agree after every step,
// and what is taken and given back leaves the zones as they were. The debug build walks its own structures besides.

import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { parameters } from "../reference/report.js";
import { Held } from "./held.js";
import { ATOMIC, COMPOUND, MOVABLE, RECLAIMABLE, UNMOVABLE, type ZoneShape, Zones } from "./zones.js";

const OPERATIONS = 100_000;
const MOVABLE_TYPE = 1;
const HIGHATOMIC_TYPE = 3;

/** A few pageblocks each, some of them cut off by the zone's ends. */
const SHAPES: readonly (readonly ZoneShape[])[] = [
  [{ index: 1, start: 1024, pages: 2048 }],
  [{ index: 2, start: 1536, pages: 1400 }],
  [
    { index: 0, start: 1, pages: 511 },
    { index: 1, start: 512, pages: 1100 },
  ],
  [
    { index: 0, start: 256, pages: 256 },
    { index: 1, start: 512, pages: 512 },
    { index: 2, start: 1024, pages: 512 },
  ],
];

const kind = <const Op extends string>(op: Op) => fc.constant(op);
const pick = fc.nat(1 << 16);
const page = fc.nat(1023);
const cpu = fc.nat(2);

const operation = fc.oneof(
  {
    weight: 10,
    arbitrary: fc.record({
      op: kind("alloc"),
      cpu,
      order: fc.oneof(fc.constant(0), fc.nat(3), fc.nat(10)),
      gfp: fc.constantFrom(MOVABLE, MOVABLE, UNMOVABLE, RECLAIMABLE, ATOMIC),
      compound: fc.boolean(),
    }),
  },
  { weight: 7, arbitrary: fc.record({ op: kind("free"), cpu, pick }) },
  { weight: 2, arbitrary: fc.record({ op: kind("put"), cpu, pick, page }) },
  { weight: 1, arbitrary: fc.record({ op: kind("get"), pick, page }) },
  { weight: 1, arbitrary: fc.record({ op: kind("split"), pick }) },
  { weight: 1, arbitrary: fc.record({ op: kind("drain"), cpu }) },
  {
    weight: 2,
    arbitrary: fc.record({
      op: kind("isolate"),
      zone: fc.nat(2),
      order: fc.nat(10),
      type: fc.nat(3),
      entry: fc.nat(3),
    }),
  },
  { weight: 2, arbitrary: fc.record({ op: kind("putback"), pick }) },
);
type Operation = typeof operation extends fc.Arbitrary<infer T> ? T : never;

function apply(zones: Zones, held: Held, step: Operation): void {
  const on = "cpu" in step ? step.cpu % zones.cpus : 0;
  if (step.op === "alloc") {
    held.alloc(on, step.order, step.gfp | (step.compound ? COMPOUND : 0), step.compound);
  } else if (step.op === "free") held.free(on, step.pick);
  else if (step.op === "put") held.put(on, step.pick, step.page);
  else if (step.op === "get") held.get(step.pick, step.page);
  else if (step.op === "split") held.split(step.pick);
  else if (step.op === "drain") zones.call.zoneCaseDrain!(on);
  else if (step.op === "putback") held.putback(step.pick);
  else {
    const { index } = zones.zones[step.zone % zones.zones.length]!;
    held.isolate(index, step.order, step.type, step.entry);
  }
}

test("over random operations every page has one owner, and giving all back restores the blocks", () => {
  let operations = 0;
  const property = fc.property(
    fc.constantFrom(...SHAPES),
    fc.integer({ min: 1, max: 3 }),
    fc.array(operation, { minLength: 1, maxLength: 1000, size: "max" }),
    (shape, cpus, steps) => {
      const zones = new Zones(shape, cpus);
      const fresh = zones.freeBlocks();
      const held = new Held(zones);
      for (const step of steps) {
        apply(zones, held, step);
        held.check();
        operations++;
      }
      held.giveAllBack();
      held.check();
      // Pageblocks set aside for atomic requests stay apart from their neighbours; without them all is as it was.
      const reserved = shape.some(({ index }) => zones.call.zoneCaseGet!(index, 2) !== 0);
      if (!reserved) assert.equal(zones.freeBlocks(), fresh);
    },
  );
  let round = 0;
  do fc.assert(property, parameters(20, round++));
  while (operations < OPERATIONS && process.env.REPLAY_SEED === undefined);
});

test("allocating everything and freeing it in any order gives back the same maximal blocks", () => {
  fc.assert(
    fc.property(
      fc.constantFrom(...SHAPES),
      fc.integer({ min: 1, max: 3 }),
      fc.array(fc.nat(10), { minLength: 1, maxLength: 20 }),
      fc.boolean(),
      fc.infiniteStream(fc.nat(1 << 16)),
      (shape, cpus, orders, compound, picks) => {
        const zones = new Zones(shape, cpus, { watermark: 0, threshold: 0 });
        const fresh = zones.freeBlocks();
        const held = new Held(zones);
        const gfp = MOVABLE | (compound ? COMPOUND : 0);
        // What no CPU can have is on another's lists, or there is no block of that order any more.
        let taken = 0;
        for (let time = 0; taken < zones.pages; time++) {
          for (let order = orders[time % orders.length]!; ; order--) {
            if (held.alloc(time % cpus, order, gfp, compound) !== 0) {
              taken += 2 ** order;
              break;
            }
            zones.drain();
            if (order === 0) break;
          }
          assert.ok(time < 2 * zones.pages, `${taken} of ${zones.pages} pages`);
        }
        assert.equal(zones.freeBlocks(), []);
        while (held.blocks.length > 0) held.free(held.blocks.length % cpus, picks.next().value);
        zones.drain();
        held.check();
        assert.equal(zones.freeBlocks(), fresh);
      },
    ),
    parameters(60),
  );
});

test("a compound page is one page: its tails name the head, and the last reference dropped through any page frees it whole", () => {
  const zones = new Zones(SHAPES[0]!, 1);
  const { call } = zones;
  const pfn = call.zoneCaseAlloc!(0, 5, MOVABLE | COMPOUND);
  for (let page = pfn; page < pfn + 32; page++) assert.is(call.zoneCaseHead!(page), pfn);
  assert.is(call.zoneCaseHead!(pfn + 32), pfn + 32);
  assert.is(call.zoneCaseCompoundOrder!(pfn), 5);

  call.zoneCaseGetPage!(pfn + 17);
  assert.is(call.zoneCaseRefs!(pfn), 2);
  assert.is(call.zoneCaseRefs!(pfn + 17), 0);
  call.zoneCaseFreePages!(0, pfn, 5);
  assert.is(call.zoneCaseRefs!(pfn), 1);
  assert.is(call.zoneCaseHead!(pfn + 31), pfn);
  zones.call.zoneCaseCheck!();
  call.zoneCasePutPage!(0, pfn + 31);
  for (let page = pfn; page < pfn + 32; page++) assert.is(call.zoneCaseHead!(page), page);
  assert.equal(zones.freeBlocks(), new Zones(SHAPES[0]!, 1).freeBlocks());
});

test("a compound page of a pageblock goes to the CPU's list whole, and what is taken from there is not compound by itself", () => {
  const zones = new Zones(SHAPES[0]!, 1, { high: 4096 });
  const { call } = zones;
  const pfn = call.zoneCaseAlloc!(0, 9, MOVABLE | COMPOUND);
  const before = zones.listed(0).length;
  call.zoneCasePutPage!(0, pfn + 100);
  assert.equal(zones.listed(0)[0], { zone: 1, pfn, order: 9, list: 13 });
  assert.is(zones.listed(0).length, before + 1);
  assert.is(call.zoneCaseHead!(pfn + 100), pfn + 100);
  assert.is(call.zoneCaseAlloc!(0, 9, MOVABLE), pfn);
  assert.is(call.zoneCaseCompoundOrder!(pfn), 0);
  call.zoneCaseCheck!();
});

test("a block that is not compound and has another holder keeps its first page only", () => {
  const zones = new Zones([{ index: 1, start: 1024, pages: 1024 }], 1, { batch: 1, high: 1 });
  const { call } = zones;
  const pfn = call.zoneCaseAlloc!(0, 6, MOVABLE);
  call.zoneCaseGetPage!(pfn);
  call.zoneCaseFreePages!(0, pfn, 6);
  assert.is(call.zoneCaseRefs!(pfn), 1);
  zones.drain();
  assert.equal(
    zones.freeBlocks(),
    [0, 1, 2, 3, 4, 5, 6, 7, 8, 9].map((order) => `${order}:${1024 + 2 ** order}`).sort(),
  );
  call.zoneCasePutPage!(0, pfn);
  zones.drain();
  assert.equal(zones.freeBlocks(), ["10:1024"]);
});

test("the debug build stops where a compound page is freed as something else, or split, or freed through a tail", () => {
  for (const wrong of [
    (zones: Zones, pfn: number) => zones.call.zoneCaseFreePages!(0, pfn, 3),
    (zones: Zones, pfn: number) => zones.call.zoneCaseFreePages!(0, pfn + 1, 0),
    (zones: Zones, pfn: number) => zones.call.zoneCaseSplit!(pfn, 4),
  ]) {
    const zones = new Zones(SHAPES[0]!, 1);
    const pfn = zones.call.zoneCaseAlloc!(0, 4, MOVABLE | COMPOUND);
    assert.throws(() => wrong(zones, pfn));
  }
});

test("eight pages of a fresh block come in ascending order, and freed they leave the lists of the documented example", () => {
  // One free block of 1,024 pages; the CPU's lists pass every page on at once.
  const zones = new Zones([{ index: 1, start: 1024, pages: 1024 }], 1, { batch: 1, high: 1 });
  const taken = Array.from({ length: 8 }, () => zones.call.zoneCaseAlloc!(0, 0, MOVABLE) >>> 0);
  assert.equal(taken, [1024, 1025, 1026, 1027, 1028, 1029, 1030, 1031]);
  assert.equal(
    zones.freeBlocks(),
    [3, 4, 5, 6, 7, 8, 9].map((order) => `${order}:${1024 + 2 ** order}`).sort(),
  );
  for (const pfn of [0, 2, 1, 3, 4, 5, 6, 7]) zones.call.zoneCaseFreePages!(0, 1024 + pfn, 0);
  zones.drain();
  assert.equal(zones.freeBlocks(), ["10:1024"]);
});

test("a pageblock set aside for atomic requests stays apart, though its last page is given back as what it was before", () => {
  const limits = { batch: 1, high: 600, threshold: 0, watermark: 4 };
  const zones = new Zones([{ index: 1, start: 1024, pages: 1024 }], 2, limits);
  const { call } = zones;
  const first = call.zoneCaseAlloc!(0, 9, MOVABLE);
  assert.is(first, 1024);
  const page = call.zoneCaseAlloc!(0, 0, MOVABLE);
  call.zoneCaseFreePages!(0, page, 0);
  assert.is(page >> 9, 3);
  assert.is(call.zoneCasePageType!(page), MOVABLE_TYPE);
  // The second half falls below its LOW watermark, so that an atomic request reaches into the reserves and keeps its pageblock.
  const others = [7, 6].map((order) => [call.zoneCaseAlloc!(0, order, MOVABLE), order] as const);
  const atomic = call.zoneCaseAlloc!(1, 1, ATOMIC);
  assert.is(atomic >> 9, 3);
  assert.is(call.zoneCaseBlockType!(1536), HIGHATOMIC_TYPE);

  for (const [pfn, order] of [...others, [atomic, 1] as const]) call.zoneCaseFreePages!(1, pfn, order);
  call.zoneCaseDrain!(1);
  call.zoneCaseDrain!(0);
  assert.equal(zones.free(), [{ zone: 1, pfn: 1536, order: 9, list: MOVABLE_TYPE }]);
  call.zoneCaseFreePages!(0, first, 9);
  zones.drain();
  assert.equal(zones.freeBlocks(), ["9:1024", "9:1536"]);
  new Held(zones).check();
});

test("a request that no zone can serve is refused and changes nothing", () => {
  const zones = new Zones(SHAPES[0]!, 1);
  while (zones.call.zoneCaseAlloc!(0, 10, MOVABLE) !== 0) {
    // takes every large block
  }
  const before = zones.freeBlocks();
  assert.is(zones.call.zoneCaseAlloc!(0, 10, MOVABLE), 0);
  assert.equal(zones.freeBlocks(), before);
});

test.run();
