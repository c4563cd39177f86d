// At stake: that a block told to the host is free, is told once, and comes back. Random work on an allocator, with passes of free page
// reporting and a balloon in between, beside plain books of who holds what; the debug build walks its structures besides.

import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { type Call, MOVABLE, UNMOVABLE, Zones } from "../mm/zones.js";
import { parameters } from "../reference/report.js";

const REPORTED_ORDER = 9;
const CAPACITY = 32;
const PAGES = 40 * 1024;
const START = 1024;
/** Marks low enough that a pass is not refused while much is taken. */
const MARKS = [64, 80, 96] as const;

interface Block {
  pfn: number;
  order: number;
}

function made(pages = PAGES, marks: readonly [number, number, number] = MARKS): Zones {
  return new Zones(
    [{ index: 1, start: START, pages, marks }],
    1,
    {},
    (call) => call.reportCaseBegin!(REPORTED_ORDER) | call.balloonCaseBegin!(0),
  );
}

/** A whole pass; the host answers at once. `during` is done while it has each request. */
function pass(zones: Zones, during: (request: Block[]) => void = () => {}): Block[][] {
  const { call } = zones;
  const requests: Block[][] = [];
  call.reportCasePass!();
  for (let blocks = call.reportCaseStep!(0); blocks !== 0; blocks = call.reportCaseStep!(0)) {
    const words = zones.words(call.reportCaseRequest!(), 2 * blocks);
    const request = Array.from({ length: blocks }, (_, at) => ({
      pfn: words[2 * at]!,
      order: words[2 * at + 1]!,
    }));
    requests.push(request);
    during(request);
  }
  return requests;
}

function check(call: Call): void {
  call.zoneCaseCheck!();
  call.giveCaseCheck!();
}

test("everything that is free in large blocks is told once, a request of at most 32 at a time", () => {
  const zones = made();
  const told = new Set<number>();
  let passes = 0;
  do {
    for (const request of pass(zones)) {
      assert.ok(request.length <= CAPACITY);
      for (const { pfn, order } of request) {
        assert.is(order, 10);
        assert.not(told.has(pfn));
        told.add(pfn);
      }
    }
    check(zones.call);
    passes++;
  } while (zones.call.reportCaseAsked!() !== 0);
  assert.is(told.size, PAGES / 1024);
  assert.is(passes, 1);
  assert.equal(pass(zones), [], "a second pass without frees in between has nothing to tell");
});

test("a pass reports a part of a long list and asks for the next one", () => {
  const zones = made(200 * 1024);
  const sizes: number[][] = [];
  do sizes.push(pass(zones).map(({ length }) => length));
  while (zones.call.reportCaseAsked!() !== 0);
  // 200 blocks: ceil(200 / 512) = 1, so two full requests a pass.
  assert.equal(sizes, [[32, 32], [32, 32], [32, 32], [8]]);
});

test("a zone without 64 MiB above its low watermark is not reported", () => {
  const low = 80;
  const pages = low + (CAPACITY << REPORTED_ORDER);
  assert.is(pass(made(pages, [64, low, 96])).length, 0);
  assert.is(pass(made(pages + 512, [64, low, 96])).flat().length > 0, true);
});

test("a mark goes with the block's leaving its list, and only large blocks ask for a pass", () => {
  const zones = made();
  const { call } = zones;
  pass(zones);
  const pfn = call.zoneCaseAlloc!(0, 10, UNMOVABLE) >>> 0;
  assert.is(call.reportCaseMarked!(pfn), 0);
  assert.is(call.reportCaseAsked!(), 0);
  call.zoneCaseSplit!(pfn, 10);
  for (let page = pfn; page < pfn + 1023; page++) {
    call.zoneCaseFreePages!(0, page, 0);
    call.zoneCaseDrain!(0);
  }
  assert.is(call.reportCaseAsked!(), 1, "half of it has merged to a pageblock");
  call.zoneCaseFreePages!(0, pfn + 1023, 0);
  call.zoneCaseDrain!(0);
  assert.equal(pass(zones).flat(), [{ pfn, order: 10 }]);
});

const operation = fc.oneof(
  {
    weight: 8,
    arbitrary: fc.record({
      op: fc.constant("alloc"),
      order: fc.oneof(fc.nat(3), fc.nat(10)),
      gfp: fc.constantFrom(MOVABLE, UNMOVABLE),
    }),
  },
  { weight: 8, arbitrary: fc.record({ op: fc.constant("free"), pick: fc.nat(1 << 16) }) },
  { weight: 1, arbitrary: fc.record({ op: fc.constant("drain") }) },
  { weight: 1, arbitrary: fc.record({ op: fc.constant("fill"), pages: fc.nat(600) }) },
  { weight: 1, arbitrary: fc.record({ op: fc.constant("leak"), pages: fc.nat(600) }) },
  {
    weight: 1,
    arbitrary: fc.record({ op: fc.constant("pass"), order: fc.nat(10), pick: fc.nat(1 << 16) }),
  },
);

class Books {
  /** Who holds each page: a block of the script, the balloon. */
  readonly owner = new Map<number, string>();
  readonly blocks: Block[] = [];
  readonly balloon: number[] = [];

  constructor(private readonly zones: Zones) {}

  take({ pfn, order }: Block, owner: string): void {
    for (let page = pfn; page < pfn + 2 ** order; page++) {
      assert.is(this.owner.get(page), undefined, `${page} is held already`);
      this.owner.set(page, owner);
    }
  }

  drop({ pfn, order }: Block): void {
    for (let page = pfn; page < pfn + 2 ** order; page++) assert.ok(this.owner.delete(page));
  }

  alloc(order: number, gfp: number): void {
    const pfn = this.zones.call.zoneCaseAlloc!(0, order, gfp) >>> 0;
    if (pfn === 0) return;
    this.take({ pfn, order }, "script");
    this.blocks.push({ pfn, order });
  }

  free(pick: number): void {
    if (this.blocks.length === 0) return;
    const [block] = this.blocks.splice(pick % this.blocks.length, 1) as [Block];
    this.drop(block);
    this.zones.call.zoneCaseFreePages!(0, block.pfn, block.order);
  }

  fill(pages: number): void {
    const { call } = this.zones;
    const taken = call.balloonCaseFill!(0, pages);
    assert.ok(taken <= Math.min(pages, 256));
    for (const pfn of this.zones.words(call.balloonCaseRequest!(), taken)) {
      this.take({ pfn, order: 0 }, "balloon");
      this.balloon.push(pfn);
    }
  }

  leak(pages: number): void {
    const { call } = this.zones;
    const left = call.balloonCaseLeak!(pages);
    assert.is(left, Math.min(pages, 256, this.balloon.length));
    for (const pfn of this.zones.words(call.balloonCaseRequest!(), left)) {
      assert.is(pfn, this.balloon.pop(), "the page that came last goes first");
      this.drop({ pfn, order: 0 });
    }
    call.balloonCaseRelease!(0);
  }
}

test("no page in use is told to the host, isolated blocks come back, a leak undoes a fill", () => {
  fc.assert(
    fc.property(fc.array(operation, { minLength: 50, maxLength: 400 }), (steps) => {
      const zones = made(24 * 1024);
      const { call } = zones;
      const books = new Books(zones);
      for (const step of steps) {
        if (step.op === "alloc") books.alloc(step.order, step.gfp);
        else if (step.op === "free") books.free(step.pick);
        else if (step.op === "drain") call.zoneCaseDrain!(0);
        else if (step.op === "fill") books.fill(step.pages);
        else if (step.op === "leak") books.leak(step.pages);
        else {
          pass(zones, (request) => {
            for (const block of request) {
              assert.ok(block.order >= REPORTED_ORDER);
              books.take(block, "host");
            }
            // The zone is used while the host works on the request.
            books.alloc(step.order, MOVABLE);
            books.free(step.pick);
            call.giveCaseCheck!();
            for (const block of request) books.drop(block);
          });
        }
        check(call);
      }
      while (books.blocks.length > 0) books.free(0);
      while (books.balloon.length > 0) books.leak(256);
      call.zoneCaseDrain!(0);
      check(call);
      const free = zones.free().reduce((sum, { order }) => sum + 2 ** order, 0);
      assert.is(free, 24 * 1024);
    }),
    parameters(60),
  );
});

test("a balloon that finds no page takes what there is", () => {
  const zones = made(2048, [0, 0, 0]);
  const { call } = zones;
  let taken = 0;
  for (let pages = call.balloonCaseFill!(0, 256); pages !== 0; pages = call.balloonCaseFill!(0, 256)) {
    taken += pages;
  }
  assert.is(taken, call.balloonCasePages!());
  assert.ok(taken > 2000, `${taken} pages`);
  assert.is(call.zoneCaseAlloc!(0, 0, MOVABLE), 0);
  check(call);
});

test.run();
