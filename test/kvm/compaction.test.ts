// At stake: pages that move together so that larger blocks become free. Whatever state the host is in, each page keeps contents and bits, what is
// held stays, no frame is lost, and success means that the block is there. Beside the core runs a plain model of the two scanners
// (reference/compact.ts), which must look at the same frames, take the same ones, and move the same pages to the same places. The debug core
// walks all structures after each step.

import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { Core } from "#dist/core.js";
import { Machine } from "#dist/index.js";
import type { Scenario } from "#dist/scenario.js";
import { type Compacted, CompactModel, type Mode, type ZoneSeen } from "../reference/compact.js";
import { parameters } from "../reference/report.js";
import { debugModule } from "../scenes.js";

const PAGES = 3300;
const MOVABLE = 1;

function scenario(pages = PAGES): Scenario {
  return {
    host: { memory: "16MiB", cpus: 2, swap: [{ kind: "nvme", size: "8MiB" }] },
    check: { integrity: true },
    trace: { events: ["mm_compaction_*", "mm_migrate_pages*"], capacity: 4096 },
    vms: [{ name: "db", memory: pages * 4096, vcpus: 1 }],
  };
}

async function machineOf(given = scenario()): Promise<Machine> {
  return Machine.create(given, { module: await debugModule });
}

const cpu = 0;
const coreOf = (machine: Machine): Core => (machine as unknown as { core: Core }).core;
const pageOf = (machine: Machine, gfn: number) => machine.inspect({ vm: "db", gfn });
const fill = (machine: Machine) => machine.advise("db", "write", { gfn: 0, pages: PAGES }, { cpu });

/** Drops every page for which `drops` says so. */
function drop(machine: Machine, drops: (gfn: number) => boolean): void {
  for (let gfn = 0; gfn < PAGES; gfn++) {
    if (drops(gfn)) machine.advise("db", "dontneed", { gfn, pages: 1 }, { cpu });
  }
}

/** Waits for writeback and empties the lists of all CPUs: an offline begins so, even one that a page table stands in the way of. */
function quiet(machine: Machine): void {
  while (machine.inspect().frames.writeback > 0)
    machine.advise("db", "cold", { gfn: 0, pages: PAGES }, { cpu });
  const [zone] = machine.hostZones();
  const { frame, unit } = zone!;
  const table = coreOf(machine).constant("FRAMES_TABLES");
  let pfn = frame;
  while (frameOf(machine, pfn)("STATE") !== table) pfn++;
  const error = machine.offline({ frame: pfn - (pfn % unit), frames: unit }, { cpu }).error;
  assert.is(error, "EBUSY");
}

/** What is told of a frame of the host: FRAME_… */
function frameOf(machine: Machine, pfn: number): (field: string) => number {
  const core = coreOf(machine);
  core.call.surveyFrame(-1, pfn);
  const row = core.f64(core.call.surveyTable(), 16);
  return (field) => row[core.constant(`FRAME_${field}`)]!;
}

/** The zone as the model takes it. */
function seen(machine: Machine): ZoneSeen {
  const core = coreOf(machine);
  const { call } = core;
  const [zone] = machine.inspect().zones;
  const { frame: start, frames, watermarks } = zone!;
  const flag = (name: string): number => core.constant(`PG_${name}`);
  const states = { free: core.constant("FRAMES_FREE") };
  const all: ZoneSeen["frames"] = [];
  for (let pfn = start; pfn < start + frames; pfn++) {
    const of = frameOf(machine, pfn);
    if (of("STATE") === states.free) {
      for (let each = 0; each < 2 ** of("ORDER"); each++)
        all.push({ free: true, isolable: false, moves: false });
      pfn += 2 ** of("ORDER") - 1;
      continue;
    }
    const flags = of("FLAGS");
    const cached = (flags & flag("SWAPCACHE")) !== 0;
    const held = of("REFS") - of("MAPS") - (cached ? 1 : 0) > 0;
    const lru = (flags & flag("LRU")) !== 0;
    all.push({ free: false, isolable: lru && (cached || !held), moves: !held });
  }
  return {
    start,
    frames: all,
    movable: (pfn) => call.surveyBlock(-1, pfn) >>> 0 === MOVABLE,
    watermarks: [watermarks[0], watermarks[1]],
  };
}

/** The scans that the trace tells of. */
function scansIn(trace: string): string[] {
  const line = /isolate_(migrate|free)pages: range=\((0x\w+) ~ (0x\w+)\) nr_scanned=(\d+) nr_taken=(\d+)/g;
  return [...trace.matchAll(line)].map(
    ([, whose, start, end, looks, taken]) => `${whose} ${Number(start)} ${Number(end)} ${looks} ${taken}`,
  );
}

const free = (machine: Machine): number => {
  const { frames } = machine.inspect();
  return frames.free + frames.perCpu;
};

const largest = (machine: Machine): number => {
  const [zone] = machine.inspect().zones;
  const lists = Object.values(zone!.freeBlocks);
  return Math.max(...lists.flatMap((blocks) => blocks.flatMap((count, order) => (count > 0 ? [order] : []))));
};

/** Compacts, and compares all that comes of it with the model's run. */
function compact(machine: Machine, model: CompactModel, order: number | null, mode: Mode): Compacted {
  quiet(machine);
  const before = seen(machine);
  const pages = Array.from({ length: PAGES }, (_, gfn) => pageOf(machine, gfn));
  const had = free(machine);
  machine.traceText();
  const step = machine.compact({ ...(order !== null && { order }), mode, cpu });
  const trace = machine.traceText();
  const paper = model.run(before, order, mode);
  machine.check();

  assert.equal(scansIn(trace), paper.scans);
  const { result, moved, failed } = step;
  assert.equal({ result, moved, failed }, { result: paper.result, moved: paper.moved, failed: paper.failed });
  const looks = (whose: string): number =>
    paper.scans
      .filter((scan) => scan.startsWith(whose))
      .reduce((sum, scan) => sum + Number(scan.split(" ")[3]), 0);
  assert.equal(step.scanned, { migrate: looks("migrate"), free: looks("free") });

  const went = new Map(paper.moves);
  for (const [gfn, old] of pages.entries()) {
    const now = pageOf(machine, gfn);
    assert.is(now.pte?.state, old.pte?.state); // nor a migration entry
    if (old.frame === null) {
      assert.is(now.frame, null);
      continue;
    }
    assert.is(now.frame!.pfn, went.get(old.frame.pfn) ?? old.frame.pfn);
    assert.equal(now.stamp, old.stamp);
    const bits = (value: string): bigint => BigInt(value) & 0xfffn;
    assert.is(bits(now.pte!.value), bits(old.pte!.value));
    const { refs, maps, flags } = old.frame;
    assert.equal([now.frame!.refs, now.frame!.maps], [refs, maps]);
    if (flags.includes("pinned")) assert.is(now.frame!.pfn, old.frame.pfn);
    for (const flag of ["swapcache", "active"])
      assert.is(now.frame!.flags.includes(flag), flags.includes(flag));
    if (flags.includes("dirty")) assert.ok(now.frame!.flags.includes("dirty"));
  }
  assert.is(free(machine), had);
  if (result === "success") assert.ok(largest(machine) >= order!, `${largest(machine)}`);
  return paper;
}

test("half of the pages are dropped here and there: those that are left move to the zone's end", async () => {
  const machine = await machineOf();
  fill(machine);
  drop(machine, (gfn) => gfn % 4 > 1);
  const model = new CompactModel();
  const { result, moves } = compact(machine, model, null, "sync");
  assert.is(result, "complete");
  assert.ok(moves.length > 500, `${moves.length}`);
  assert.ok(moves.every(([from, to]) => from < to));
});

/** A share of all pages, in tenths, here and there. */
const ragged = (seed: number, share: number) => (gfn: number) =>
  (Math.imul(gfn + seed, 0x9e3779b1) >>> 8) % 10 < share;

const operation = fc.oneof(
  {
    weight: 2,
    arbitrary: fc.record({
      kind: fc.constant("compact" as const),
      order: fc.constantFrom(null, 4, 6, 7, 8, 9),
      mode: fc.constantFrom<Mode>("async", "sync-light", "sync"),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      kind: fc.constantFrom("write" as const, "pageout" as const, "read" as const, "pin" as const),
      gfn: fc.nat(PAGES - 257),
      pages: fc.integer({ min: 1, max: 64 }),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      kind: fc.constant("drop" as const),
      seed: fc.nat(1000),
      share: fc.integer({ min: 1, max: 9 }),
    }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("unpin" as const) }) },
);

test("in any state the scanners do what they do on paper, and nothing is lost", async () => {
  const module = await debugModule;
  const met = new Map<string, number>();
  type Operation = typeof operation extends fc.Arbitrary<infer T> ? T : never;
  const play = async (seed: number, share: number, pins: boolean, operations: Operation[]): Promise<void> => {
    const machine = await Machine.create(scenario(), { module });
    const model = new CompactModel();
    fill(machine);
    for (let gfn = 0; pins && gfn < PAGES; gfn += 100) machine.pin("db", { gfn, pages: 1 }, { cpu });
    drop(machine, ragged(seed, share));
    for (const each of operations) {
      if (each.kind === "compact") {
        const { result } = compact(machine, model, each.order, each.mode);
        met.set(result, (met.get(result) ?? 0) + 1);
      } else if (each.kind === "drop") {
        drop(machine, ragged(each.seed, each.share));
      } else if (each.kind === "unpin") machine.unpin("db", { cpu });
      else if (each.kind === "pin") machine.pin("db", { gfn: each.gfn, pages: each.pages }, { cpu });
      else machine.advise("db", each.kind, { gfn: each.gfn, pages: each.pages }, { cpu });
    }
    const { integrity } = machine.result().vms[0]!;
    assert.is(integrity.lostWrites + integrity.staleReads, 0);
  };
  const operations = fc.array(operation, { minLength: 8, maxLength: 14 });
  await fc.assert(fc.asyncProperty(fc.nat(1000), fc.nat(7), fc.boolean(), operations, play), parameters(11));
  for (const result of ["success", "complete", "skipped"]) assert.ok(met.has(result), [...met].join(" "));
});

/** A host of which much is free, and no block of 512 frames can become so: in each a page is held. */
async function held(): Promise<Machine> {
  const machine = await machineOf();
  fill(machine);
  const blocks = new Map<number, number>();
  for (let gfn = 0; gfn < PAGES; gfn++) blocks.set(Math.floor(pageOf(machine, gfn).frame!.pfn / 512), gfn);
  const pinned = new Set(blocks.values());
  for (const gfn of pinned) machine.pin("db", { gfn, pages: 1 }, { cpu });
  drop(machine, (gfn) => gfn % 4 > 1 && !pinned.has(gfn));
  return machine;
}

const ask = (machine: Machine, order: number, mode: Mode) => machine.compact({ order, mode, cpu }).result;

test("after a failure the next 1, 3, 7, … 63 requests are refused", async () => {
  const machine = await held();
  for (let time = 0; time < 3; time++) assert.not(ask(machine, 9, "async") === "deferred"); // who does not wait fails for free
  const runs: number[] = [];
  for (let refused = 0; runs.length < 8; refused++) {
    const result = ask(machine, 9, "sync-light");
    if (result === "deferred") continue;
    assert.ok(result === "complete" || result === "partial-skipped", String(result));
    runs.push(refused);
    refused = -1;
  }
  assert.equal(runs, [0, 1, 3, 7, 15, 31, 63, 63]);
  machine.check();
  assert.is(ask(machine, 9, "sync-light"), "deferred");
  assert.is(ask(machine, 10, "sync-light"), "deferred");
  assert.not(ask(machine.fork(), 8, "sync-light") === "deferred");
  assert.not(ask(machine.fork(), 9, "sync") === "deferred");
  const trace = machine.traceText();
  assert.match(
    trace,
    /mm_compaction_defer_compaction: node=0 zone=Normal {3}order=9 order_failed=9 consider=0 limit=64/,
  );
  assert.match(
    trace,
    /mm_compaction_deferred: node=0 zone=Normal {3}order=10 order_failed=9 consider=2 limit=64/,
  );

  machine.unpin("db", { cpu });
  assert.is(ask(machine, 9, "sync"), "success");
  assert.ok(largest(machine) >= 9);
  assert.is(ask(machine, 9, "sync-light"), "success"); // it is there already: nothing is looked at
  assert.match(
    machine.traceText(),
    /mm_compaction_defer_reset: .* order=9 order_failed=10 consider=0 limit=1/,
  );
});

test("one run after another, on paper too: what the zone remembers", async () => {
  const machine = await held();
  const model = new CompactModel();
  const asks = [
    [9, "async"],
    [9, "sync-light"],
    [9, "sync-light"],
    [8, "sync-light"],
    [9, "sync-light"],
    [9, "async"],
    [7, "async"],
    [10, "sync-light"],
    [9, "sync"],
    [null, "sync-light"],
  ] as const;
  const results = asks.map(([order, mode]) => compact(machine, model, order, mode).result);
  assert.ok(results.includes("deferred") && results.includes("complete"), results.join(" "));
});

test("pages that somebody holds are not even isolated, unless their mapping hides it", async () => {
  const machine = await machineOf();
  fill(machine);
  machine.pin("db", { gfn: 0, pages: 64 }, { cpu });
  drop(machine, (gfn) => gfn % 4 > 1);
  const before = Array.from({ length: 64 }, (_, gfn) => pageOf(machine, gfn).frame?.pfn);
  const unmapped = (of: Machine): number => of.traceCounts().set_migration_pte!;
  const step = machine.compact({ mode: "sync", cpu });
  assert.is(step.result, "complete");
  assert.ok(step.moved > 400, `${step.moved}`);
  assert.is(unmapped(machine), step.moved); // what failed had no frame to go to
  for (const [gfn, pfn] of before.entries()) assert.is(pageOf(machine, gfn).frame?.pfn, pfn);
  machine.check();

  // In the swap cache a page's mapping is that of the cache: it is isolated, and fails ten times.
  const twin = await machineOf();
  fill(twin);
  twin.advise("db", "pageout", { gfn: 0, pages: 8 }, { cpu });
  twin.advise("db", "read", { gfn: 0, pages: 8 }, { cpu });
  twin.pin("db", { gfn: 0, pages: 8 }, { cpu });
  quiet(twin);
  assert.ok(pageOf(twin, 0).frame!.flags.includes("swapcache"));
  drop(twin, (gfn) => gfn > 8 && gfn % 4 > 1);
  const low = Array.from({ length: 8 }, (_, gfn) => pageOf(twin, gfn).frame!.pfn);
  const { failed, moved } = twin.compact({ mode: "sync", cpu });
  assert.ok(failed >= 8 && moved > 400, `${failed}, ${moved}`);
  assert.is(unmapped(twin), moved + 8 * 10);
  for (const [gfn, pfn] of low.entries()) assert.is(pageOf(twin, gfn).frame!.pfn, pfn);
  twin.check();
});

test("little is free: nothing is begun", async () => {
  const machine = await machineOf(scenario(4096));
  machine.advise("db", "write", { gfn: 0, pages: 3600 }, { cpu });
  const { result, moved, scanned } = machine.compact({ order: 10, mode: "sync", cpu });
  assert.equal({ result, moved, scanned }, { result: "skipped", moved: 0, scanned: { migrate: 0, free: 0 } });
  assert.equal(machine.result().host.compact.stalls, 0);
});

test("guests that run while memory is compacted lose nothing", async () => {
  const given = scenario();
  given.vms[0]!.guest = {
    tasks: [{ count: 2, workload: { kind: "uniform", pages: 800, writes: 0.5, accesses: 40_000 } }],
  };
  const machine = await machineOf(given);
  machine.run({ accesses: 4000 });
  for (let time = 0; time < 12; time++) {
    for (let gfn = time; gfn < 1600; gfn += 7) machine.advise("db", "pageout", { gfn, pages: 3 });
    machine.run({ accesses: 2000 });
    machine.compact({ mode: time % 2 === 0 ? "sync" : "sync-light" });
    machine.check();
  }
  assert.ok(machine.result().host.migrate.succeeded > 200);
  const { status, vms } = machine.run();
  assert.is(status, "done");
  assert.is(vms[0]!.integrity.lostWrites + vms[0]!.integrity.staleReads, 0);
});

test("the trace tells of a run as the kernel does", async () => {
  const machine = await machineOf();
  fill(machine);
  drop(machine, (gfn) => gfn % 4 > 1);
  machine.traceText();
  const { moved } = machine.compact({ mode: "sync", cpu });
  const trace = machine.traceText();
  const begin =
    /mm_compaction_begin: zone_start=0x400 migrate_pfn=0x400 free_pfn=0x1200 zone_end=0x1400, mode=sync/;
  assert.match(trace, begin);
  assert.match(
    trace,
    /mm_compaction_end: zone_start=0x400 migrate_pfn=0x\w+ free_pfn=0x\w+ zone_end=0x1400, mode=sync status=complete/,
  );
  assert.match(trace, /mm_migrate_pages_start: mode=MIGRATE_SYNC reason=compaction/);
  const batches = [...trace.matchAll(/mm_compaction_migratepages: nr_migrated=(\d+) nr_failed=(\d+)/g)];
  assert.is(
    batches.reduce((sum, [, some]) => sum + Number(some), 0),
    moved,
  );
  const wanted = machine.compact({ order: 9, mode: "async", cpu });
  assert.is(wanted.result, "success");
  const second = machine.traceText();
  assert.match(
    second,
    /mm_compaction_try_to_compact_pages: order=9 gfp_mask=GFP_HIGHUSER_MOVABLE priority=2/,
  );
  assert.match(second, /mm_compaction_suitable: node=0 zone=Normal {3}order=9 ret=success/);
});

test("what is none is refused", async () => {
  const machine = await machineOf();
  const said = (options: object): string => {
    try {
      machine.compact(options);
    } catch (error) {
      return (error as Error).message;
    }
    return "accepted";
  };
  assert.match(said({ order: 11 }), /^order.*0\.\.10/);
  assert.match(said({ mode: "eager" }), /^mode.*async, sync-light, sync/);
  assert.is(said({ order: 0 }), "accepted");
});

test.run();
