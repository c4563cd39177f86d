// The page allocator under single pages against the reference model's (reference/frames.ts): bursts of requests and returns on
// several CPUs. After each operation the frame handed out, the counters of the zone and of the CPUs agree, and at the end the lists do,
// in order. Deep ground that whole machines seldom reach: batches, doubled flushes, stolen pageblocks, boosted watermarks.

import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { Frames } from "../reference/frames.js";
import { parameters } from "../reference/report.js";
import { MIGRATETYPES, type Migratetype, MOVABLE, UNMOVABLE } from "../reference/zone.js";
import { MOVABLE as GFP_MOVABLE, UNMOVABLE as GFP_UNMOVABLE, Zones } from "./zones.js";

const NORMAL = 2;
const FIRST_PFN = 1024;
const PAGEBLOCK_PAGES = 512;
const BOOSTED = 1;
const RECLAIM_ACTIVE = 2;
const GFP_KSWAPD_RECLAIM = 0x800;

const cpu = fc.nat({ max: 3 });
const length = fc.oneof(fc.integer({ min: 1, max: 20 }), fc.integer({ min: 1, max: 700 }));
const operation = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      op: fc.constant("take" as const),
      cpu,
      type: fc.constantFrom<Migratetype>(MOVABLE, MOVABLE, UNMOVABLE),
      length,
    }),
  },
  {
    weight: 5,
    arbitrary: fc.record({
      op: fc.constant("give" as const),
      cpu,
      first: fc.nat(),
      stride: fc.nat({ max: 9 }),
      length,
    }),
  },
  { weight: 1, arbitrary: fc.record({ op: fc.constant("drain" as const), cpu }) },
  { weight: 1, arbitrary: fc.record({ op: fc.constant("kswapd" as const), active: fc.boolean() }) },
);
type Operation = typeof operation extends fc.Arbitrary<infer T> ? T : never;

const subject = fc.record({
  pages: fc.oneof(
    fc.integer({ min: 40, max: 700 }),
    fc.integer({ min: 2048, max: 6000 }),
    fc.integer({ min: 12_288, max: 20_000 }),
  ),
  cpus: fc.integer({ min: 1, max: 4 }),
  scale: fc.constantFrom(10, 200, 1500),
  /** Movable pages in use count as such where pageblocks are judged. */
  onLru: fc.boolean(),
  operations: fc.array(operation, { minLength: 1, maxLength: 60, size: "max" }),
});
type Subject = typeof subject extends fc.Arbitrary<infer T> ? T : never;

/** The allocator of the core and that of the model, side by side. */
class Pair {
  readonly core: Zones;
  readonly model: Frames;
  readonly held: number[] = [];
  private readonly inUse = new Set<number>();
  private readonly movable = new Map<number, number>();

  constructor(private readonly subject: Subject) {
    const { pages, cpus, scale } = subject;
    this.model = new Frames(pages, cpus, scale, (pfn) => this.inUse.has(pfn));
    const { zone, counter, sizes } = this.model;
    const { watermarks } = zone;
    const marks = [watermarks.of("min"), watermarks.of("low"), watermarks.of("high")] as const;
    this.core = new Zones([{ index: NORMAL, start: FIRST_PFN, pages, marks }], cpus, sizes);
    const { call } = this.core;
    call.zoneCaseZoneState!(NORMAL, 0, counter.seen, 0, 0);
    for (const [each, difference] of counter.differences.entries()) {
      call.zoneCasePcp!(NORMAL, each, sizes.batch, sizes.high, 0, counter.threshold, difference);
    }
  }

  take(on: number, type: Migratetype): void {
    const { model, core } = this;
    const gfp = type === MOVABLE ? GFP_MOVABLE : GFP_UNMOVABLE;
    const pfn = model.take(on, type, "low") ?? model.take(on, type, "min");
    assert.is(core.call.zoneCaseAlloc!(on, 0, gfp | GFP_KSWAPD_RECLAIM), pfn ?? 0);
    if (pfn === null) return;
    this.held.push(pfn);
    if (type === MOVABLE && this.subject.onLru) this.use(pfn, true);
  }

  give(on: number, index: number): void {
    const [pfn] = this.held.splice(index, 1) as [number];
    if (this.inUse.has(pfn)) this.use(pfn, false);
    this.model.giveBack(on, pfn);
    this.core.call.zoneCaseFreePages!(on, pfn, 0);
  }

  private use(pfn: number, used: boolean): void {
    const { call } = this.core;
    if (used) this.inUse.add(pfn);
    else this.inUse.delete(pfn);
    const block = pfn - (pfn % PAGEBLOCK_PAGES);
    const movable = (this.movable.get(block) ?? 0) + (used ? 1 : -1);
    this.movable.set(block, movable);
    call.zoneCaseBlock!(NORMAL, block, call.zoneCaseBlockType!(block), movable);
  }

  drain(on: number): void {
    this.model.pcps[on]!.drain();
    this.core.call.zoneCaseDrain!(on);
  }

  /** kswapd begins, or ends and works the boost off. */
  kswapd(active: boolean): void {
    const { zone } = this.model;
    zone.reclaimActive = active;
    if (!active) zone.watermarks.boost = 0;
    zone.boosted = false;
    this.core.call.zoneCaseZoneState!(
      NORMAL,
      zone.watermarks.boost,
      this.get("NR_FREE"),
      0,
      active ? RECLAIM_ACTIVE : 0,
    );
  }

  private get(field: string): number {
    return this.core.call.zoneCaseGet!(NORMAL, this.core.constant(`ZONE_CASE_${field}`)) >>> 0;
  }

  private getPcp(on: number, field: string): number {
    return this.core.call.zoneCasePcpGet!(NORMAL, on, this.core.constant(`ZONE_CASE_PCP_${field}`));
  }

  compareCounters(): void {
    const { zone, counter, pcps } = this.model;
    assert.is(this.get("NR_FREE"), counter.seen, "free counter");
    assert.is(this.get("BOOST"), zone.watermarks.boost, "boost");
    const flags = (zone.boosted ? BOOSTED : 0) | (zone.reclaimActive ? RECLAIM_ACTIVE : 0);
    assert.is(this.get("FLAGS"), flags, "flags");
    for (const [on, pcp] of pcps.entries()) {
      assert.is(this.getPcp(on, "COUNT"), pcp.count, `pages of CPU ${on}`);
      assert.is(this.getPcp(on, "FREE_FACTOR"), pcp.freeFactor, `free factor of CPU ${on}`);
      assert.is(this.getPcp(on, "DIFF"), counter.differences[on], `difference of CPU ${on}`);
    }
  }

  compareLists(): void {
    const { call } = this.core;
    const { zone, pcps } = this.model;
    const walk = (first: number): number[] => {
      const pfns: number[] = [];
      for (let pfn = first >>> 0; pfn !== 0xffff_ffff; pfn = call.zoneCaseNext!(pfn) >>> 0) pfns.push(pfn);
      return pfns;
    };
    for (const type of MIGRATETYPES) {
      for (const [order, list] of zone.blocks[type]!.entries()) {
        assert.equal(walk(call.zoneCaseListHead!(NORMAL, order, type)), list, `order ${order} type ${type}`);
      }
      for (const [on, { lists }] of pcps.entries()) {
        assert.equal(walk(call.zoneCasePcpHead!(NORMAL, on, type)), lists[type], `CPU ${on} type ${type}`);
      }
    }
    for (let block = FIRST_PFN; block < FIRST_PFN + this.subject.pages; block += PAGEBLOCK_PAGES) {
      assert.is(
        call.zoneCaseBlockType!(block),
        zone.pageblockType(block),
        `type of the pageblock at ${block}`,
      );
    }
    call.zoneCaseCheck!();
  }
}

/** What the random operations have met. */
const met = { refused: 0, stolen: 0, boosts: 0, claimed: 0, factor: 0 };

function apply(pair: Pair, step: Operation, cpus: number): void {
  if (step.op === "drain") pair.drain(step.cpu % cpus);
  else if (step.op === "kswapd") pair.kswapd(step.active);
  else if (step.op === "take") {
    for (let count = 0; count < step.length; count++) pair.take(step.cpu % cpus, step.type);
  } else {
    const { held } = pair;
    for (let count = 0; count < step.length && held.length > 0; count++) {
      pair.give(step.cpu % cpus, (step.first + count * step.stride) % held.length);
    }
  }
}

test("single pages are handed out and taken back as the reference model says, list by list", () => {
  const agrees = fc.property(subject, (each) => {
    const pair = new Pair(each);
    for (const step of each.operations) {
      const before = pair.held.length;
      apply(pair, step, each.cpus);
      pair.compareCounters();
      if (step.op === "take") met.refused += Number(pair.held.length - before < step.length);
      met.factor = Math.max(met.factor, ...pair.model.pcps.map(({ freeFactor }) => freeFactor));
    }
    pair.compareLists();
    const { stolen, boosts, claimed } = pair.model.zone.counts;
    met.stolen += stolen;
    met.boosts += boosts;
    met.claimed += claimed;
  });
  fc.assert(agrees, parameters(Number(process.env.PROPERTY_RUNS ?? 300)));
});

test("the operations have met refusals, stolen blocks, boosts, pageblocks that changed type, and the largest free factor", () => {
  for (const what of ["refused", "stolen", "boosts", "claimed"] as const)
    assert.ok(met[what] > 0, `no ${what}`);
  assert.is(met.factor, 5);
});

test.run();
