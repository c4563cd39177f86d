// The page allocator over random operations: every page has one owner at any time, lists and counters agree after every step,
// and what is taken and given back leaves the zones as they were. The debug build walks its own structures besides.

import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { ATOMIC, MOVABLE, NONE, RECLAIMABLE, UNMOVABLE, type ZoneShape, Zones } from "./zones.js";

const SHAPES: readonly (readonly ZoneShape[])[] = [
  [{ index: 1, start: 1024, pages: 2048 }],
  [{ index: 2, start: 1536, pages: 3072 }],
  [
    { index: 0, start: 1, pages: 1023 },
    { index: 1, start: 1024, pages: 2100 },
  ],
];

const operation = fc.oneof(
  {
    weight: 10,
    arbitrary: fc.record({
      op: fc.constant("alloc" as const),
      cpu: fc.nat(1),
      order: fc.oneof(fc.constant(0), fc.nat(3), fc.nat(10)),
      gfp: fc.constantFrom(MOVABLE, MOVABLE, UNMOVABLE, RECLAIMABLE, ATOMIC),
    }),
  },
  { weight: 8, arbitrary: fc.record({ op: fc.constant("free" as const), cpu: fc.nat(1), pick: fc.nat() }) },
  { weight: 1, arbitrary: fc.record({ op: fc.constant("split" as const), pick: fc.nat() }) },
  { weight: 1, arbitrary: fc.record({ op: fc.constant("drain" as const), cpu: fc.nat(1) }) },
  {
    weight: 2,
    arbitrary: fc.record({
      op: fc.constant("isolate" as const),
      zone: fc.nat(1),
      order: fc.nat(10),
      type: fc.nat(3),
      entry: fc.nat(3),
    }),
  },
  { weight: 2, arbitrary: fc.record({ op: fc.constant("putback" as const), pick: fc.nat() }) },
);
type Operation = typeof operation extends fc.Arbitrary<infer T> ? T : never;

interface Block {
  pfn: number;
  order: number;
}

/** What the script holds, page by page: the plain model beside the allocator. */
class Held {
  readonly blocks: Block[] = [];
  readonly isolated: Block[] = [];
  readonly pages = new Set<number>();

  take(list: Block[], pfn: number, order: number): void {
    for (let page = pfn; page < pfn + 2 ** order; page++) {
      assert.not.ok(this.pages.has(page), `page ${page} is handed out twice`);
      this.pages.add(page);
    }
    list.push({ pfn, order });
  }

  give(list: Block[], pick: number): Block | undefined {
    if (list.length === 0) return undefined;
    const [block] = list.splice(pick % list.length, 1) as [Block];
    for (let page = block.pfn; page < block.pfn + 2 ** block.order; page++) this.pages.delete(page);
    return block;
  }
}

function apply(zones: Zones, held: Held, step: Operation): void {
  const { call } = zones;
  if (step.op === "alloc") {
    const pfn = call.zoneCaseAlloc!(step.cpu % zones.cpus, step.order, step.gfp) >>> 0;
    if (pfn !== 0) held.take(held.blocks, pfn, step.order);
  } else if (step.op === "free") {
    const block = held.give(held.blocks, step.pick);
    if (block) call.zoneCaseFreePages!(step.cpu % zones.cpus, block.pfn, block.order);
  } else if (step.op === "split") {
    const block = held.give(held.blocks, step.pick);
    for (let page = 0; block && page < 2 ** block.order; page++) held.take(held.blocks, block.pfn + page, 0);
  } else if (step.op === "drain") {
    call.zoneCaseDrain!(step.cpu % zones.cpus);
  } else if (step.op === "isolate") {
    const { index } = zones.zones[step.zone % zones.zones.length]!;
    const pfn = call.zoneCaseIsolate!(index, step.order, step.type, step.entry) >>> 0;
    if (pfn !== 0 && pfn !== NONE) held.take(held.isolated, pfn, step.order);
  } else {
    const block = held.give(held.isolated, step.pick);
    if (block) call.zoneCasePutback!(block.pfn, block.order);
  }
}

function checkStep(zones: Zones, held: Held, total: number): void {
  zones.call.zoneCaseCheck!();
  let free = 0;
  for (const block of zones.freeBlocks()) {
    const [order, pfn] = block.split(":").map(Number) as [number, number];
    free += 2 ** order;
    assert.not.ok(held.pages.has(pfn), `page ${pfn} is free and in use`);
  }
  assert.is(free + zones.pcpPages() + held.pages.size, total, "every page has one owner");
}

function giveAllBack(zones: Zones, held: Held): void {
  while (held.blocks.length > 0) {
    const { pfn, order } = held.give(held.blocks, held.blocks.length * 7)!;
    zones.call.zoneCaseFreePages!(pfn % zones.cpus, pfn, order);
  }
  while (held.isolated.length > 0) {
    const { pfn, order } = held.give(held.isolated, 0)!;
    zones.call.zoneCasePutback!(pfn, order);
  }
  zones.drain();
}

test("over random operations every page has one owner, and giving all back restores the blocks", () => {
  let operations = 0;
  fc.assert(
    fc.property(
      fc.constantFrom(...SHAPES),
      fc.integer({ min: 1, max: 2 }),
      fc.array(operation, { minLength: 100, maxLength: 900, size: "max" }),
      (shape, cpus, steps) => {
        const zones = new Zones(shape, cpus);
        const total = shape.reduce((sum, { pages }) => sum + pages, 0);
        const fresh = zones.freeBlocks();
        const held = new Held();
        for (const step of steps) {
          apply(zones, held, step);
          checkStep(zones, held, total);
          operations++;
        }
        giveAllBack(zones, held);
        // Pageblocks set aside for atomic requests stay apart from their neighbours; without them all is as it was.
        const reserved = shape.some(({ index }) => zones.call.zoneCaseGet!(index, 2) !== 0);
        if (!reserved) assert.equal(zones.freeBlocks(), fresh);
      },
    ),
    { numRuns: 280 },
  );
  assert.ok(operations >= 100_000, `${operations} operations`);
});

test("allocating everything and freeing it in any order gives back the same maximal blocks", () => {
  fc.assert(
    fc.property(
      fc.constantFrom(...SHAPES),
      fc.nat(4),
      fc.integer({ min: 1, max: 97 }),
      (shape, order, stride) => {
        const zones = new Zones(shape, 2);
        const fresh = zones.freeBlocks();
        const blocks: number[] = [];
        for (;;) {
          const pfn = zones.call.zoneCaseAlloc!(blocks.length % 2, order, MOVABLE) >>> 0;
          if (pfn === 0) break;
          blocks.push(pfn);
        }
        assert.ok(blocks.length > 0);
        while (blocks.length > 0) {
          const [pfn] = blocks.splice((blocks.length * stride) % blocks.length, 1) as [number];
          zones.call.zoneCaseFreePages!(pfn % 2, pfn, order);
        }
        zones.drain();
        zones.call.zoneCaseCheck!();
        assert.equal(zones.freeBlocks(), fresh);
      },
    ),
    { numRuns: 60 },
  );
});

test("eight pages of a fresh block come in ascending order, and freed they leave the lists of the documented example", () => {
  // One free block of 1,024 pages; the CPU's lists pass every page on at once.
  const zones = new Zones([{ index: 1, start: 1024, pages: 1024 }], 1, 1, 1);
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
