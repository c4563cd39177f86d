// At stake: a benchmark that measures something else than it says. Every row is run small, untimed, and its counters must show that it does
// what its name promises; the baseline must do exactly the work that the core does on the same stream.

import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { coreModule } from "#dist/core.js";
import { Machine, POLICIES } from "#dist/index.js";
import { accessRows, plainGuest } from "../bench/accesses.bench.js";
import { PlainBuddy } from "../bench/baseline/buddy.js";
import { bootRows, copyScenario } from "../bench/boot.bench.js";
import { CHUNKS, measureBoundary } from "../bench/boundary.bench.js";
import { kernelScript } from "../bench/ceiling/blocks.js";
import { ceilingRows, ceilingScenario, plainPaging } from "../bench/ceiling/ceiling.bench.js";
import { exploreRow } from "../bench/explorer.bench.js";
import { runPath } from "../bench/faultpath.bench.js";
import { PATH_ROWS } from "../bench/faultpath.rows.js";
import { faultRows, perFault } from "../bench/faults.bench.js";
import { measureHints } from "../bench/guest/hinting.bench.js";
import { APF_DESIGNS, measureApf } from "../bench/kvm/apf.bench.js";
import { guest, measureRmap, measureTouches, touches } from "../bench/kvm/mmu.bench.js";
import { median, speedup } from "../bench/measure.js";
import { MEMORY_KINDS, memoryRow } from "../bench/memory.bench.js";
import { buddyRows, buddyScript, limitsOf, MOVABLE, ZONE, zoneWith } from "../bench/mm/buddy.bench.js";
import { MglruContenders } from "../bench/mm/mglru.bench.js";
import { MIGRATE_CASES, migrateRow } from "../bench/mm/migrate.bench.js";
import { CoreSlots, plainWith, slotRows, slotScript } from "../bench/mm/swap.bench.js";
import { TwoListContenders } from "../bench/mm/twolist.bench.js";
import { measureLacking, measureObserving, observeRuns } from "../bench/observe.bench.js";
import { svgOf } from "../bench/plot.js";
import { policyContenders } from "../bench/policy/policies.bench.js";
import { figure, table, whole } from "../bench/report.js";
import { faultCount, Rig } from "../bench/rig.js";
import { sizePlot } from "../bench/size.bench.js";
import { endless, stopMs } from "../bench/stop.bench.js";
import { sequentialStream, uniformStream, zipfStream } from "../bench/streams.js";
import { sweepRow, sweptScenario } from "../bench/sweep.bench.js";
import type { Part } from "../bench/without.js";
import { ROOT } from "./scenes.js";

const MIB = 2 ** 20;
const PAGES = 4096;
const LENGTH = 20_000;
const WRITE = 0x8000_0000;

for (const row of PATH_ROWS) {
  test(`fault path "${row.path}": at least 95 % of what is counted took that path`, async () => {
    const { counted, onPath, latency, stages } = runPath(row, await coreModule(), PAGES);
    assert.ok(counted > PAGES / 8, `only ${counted} counted`);
    assert.ok(onPath <= counted, `${onPath} of ${counted}`);
    assert.ok(onPath >= 0.95 * counted, `${onPath} of ${counted} on the path`);
    assert.ok(latency.p50 > 0 && latency.p99 >= latency.p50);
    const sum = Object.values(stages).reduce((total, ns) => total + ns, 0);
    assert.ok(Math.abs(sum - latency.mean) < 1e-6 * latency.mean, `the stages sum to ${sum}`);
  });
}

test("fault paths: the same path on a copy of the prepared machine is the same run", async () => {
  const row = PATH_ROWS.find(({ path }) => path === "swap-in at the limit, zram")!;
  const rig = Rig.boot(await coreModule(), row.scenario(PAGES), row.stream(PAGES));
  row.prepare(rig, PAGES);
  const twin = rig.twin();
  const changes = [rig, twin].map((one) => {
    const before = one.read();
    one.run(row.accesses(PAGES));
    return one.since(before);
  });
  assert.equal(changes[1], changes[0]);
});

for (const row of accessRows(PAGES, LENGTH)) {
  test(`accesses, ${row.name} by ${row.fedBy}: nothing faults`, async () => {
    const rig = Rig.boot(await coreModule(), row.scenario, row.stream);
    const before = rig.read();
    rig.run(LENGTH);
    const change = rig.since(before);
    assert.is(change.accesses, LENGTH);
    assert.is(faultCount(change.faults), 0);
    if (row.name === "all TLB hits") assert.is(change.tlbMisses, 0);
    if (row.name === "sequential") assert.is(change.tlbMisses, LENGTH);
  });
}

for (const row of accessRows(PAGES, LENGTH).filter(({ stream }) => stream !== undefined)) {
  test(`accesses, ${row.name}: the plain TypeScript misses the TLB as often as the core and takes the same virtual time`, async () => {
    const rig = Rig.boot(await coreModule(), row.scenario, row.stream);
    const plain = plainGuest(rig, row.pages);
    // The first access comes after a switch of tasks, which the plain guest does not have.
    rig.run(1);
    plain.run(row.stream!, 0, 1, Number.POSITIVE_INFINITY);
    const before = rig.read();
    const { clock, misses } = plain;
    rig.run(LENGTH - 1);
    assert.is(plain.run(row.stream!, 1, LENGTH, Number.POSITIVE_INFINITY), LENGTH - 1);
    const change = rig.since(before);
    assert.is(plain.misses - misses, change.tlbMisses);
    assert.is(plain.clock - clock, change.runNs);
  });
}

test("sweeps: every run is counted, and has the accesses that its name promises", async () => {
  const row = await sweepRow({ module: await coreModule(), against: undefined }, 1, 3, 2);
  assert.is(row.runs, 3);
  assert.ok(row.mibAfterWarm > 0 && row.mibAfterAll > 0);
  const machine = await Machine.create(sweptScenario());
  const { accesses, footprintBytes } = machine.run();
  assert.is(accesses, 100_000);
  assert.ok(footprintBytes < 16 * MIB);
});

test("the plain TypeScript stops before the first access that would begin too late", async () => {
  const row = accessRows(PAGES, LENGTH).at(-1)!;
  const plain = plainGuest(Rig.boot(await coreModule(), row.scenario, row.stream), row.pages);
  const end = plain.clock + 1000;
  const made = plain.run(row.stream!, 0, LENGTH, end);
  assert.ok(made > 0 && made < 20);
  assert.ok(plain.clock >= end && plain.clock < end + 1000);
});

for (const { name, scenario, pages } of faultRows(16 * MIB, 4 * MIB)) {
  test(`faults, ${name}: pages come from swap for others that go`, async () => {
    const machine = await Machine.create(scenario);
    machine.run({ accesses: 16 * pages });
    const result = machine.run({ accesses: 3 * pages });
    assert.is(result.status, "done");
    const { faultsPerAccess, majorShare, scannedPerFault, kswapdShare } = perFault(result);
    assert.ok(
      faultsPerAccess > (name.startsWith("uniform") ? 0.3 : 0.05),
      `${faultsPerAccess} faults an access`,
    );
    assert.ok(majorShare > 0.8, `${majorShare} of them major`);
    assert.ok(scannedPerFault > 0.5);
    if (name.includes("host limit")) assert.ok(kswapdShare > 0.1, `kswapd made ${kswapdShare} of the room`);
    else assert.is(kswapdShare, 0);
  });
}

for (const row of slotRows(12_000, 40_000)) {
  const kind = row.rotational ? "rotational" : "clusters";
  test(`swap slots, ${kind}, ${row.occupancy}: the plain TypeScript hands out the slots that the core does`, async () => {
    const script = slotScript(row);
    const own = new CoreSlots(await coreModule(), row, script);
    const plain = plainWith(own.core, row);
    const taken = new Uint32Array(script.places);
    for (const words of [script.fill, script.timed, script.timed]) {
      // Cut in two, so that what was taken in the first half is seen before it is given back.
      for (const half of [words.subarray(0, words.length / 2), words.subarray(words.length / 2)]) {
        assert.is(own.run(half), plain.run(half, taken));
        assert.equal(own.places, taken);
        assert.is(own.core.call.swapsnapFree() >>> 0, plain.available);
      }
    }
    const used = taken.filter((slot) => slot !== 0).length;
    assert.ok(Math.abs(used / row.slots - row.occupancy) < 0.01, `${used} of ${row.slots} in use`);
  });
}

test("kvm: rounds walk for every access, and fault once a page, or once a group of eight", async () => {
  const stream = touches(0, PAGES, PAGES);
  for (const [mmu, perFault] of [
    ["tdp", 1],
    ["legacy", 8],
  ] as const) {
    const rig = Rig.boot(await coreModule(), guest(mmu, 16), stream);
    const before = rig.read();
    const { faults, tables, lines } = measureTouches(rig, PAGES, 1);
    assert.is(faults, PAGES / perFault);
    // Each leaf table, the two or three above them, and no fault without a line of its own.
    assert.ok(tables >= PAGES / 512 + 2 && tables <= PAGES / 512 + 3, `${tables} tables`);
    assert.ok(lines >= PAGES / 8, `${lines} lines`);
    const { accesses, tlbMisses, firstTouches } = rig.since(before);
    assert.ok(tlbMisses > 0.95 * accesses, `${tlbMisses} of ${accesses}`);
    assert.is(firstTouches, 0);
  }
  // More lists of several entries than the pool of descriptors begins with.
  const { lists, nsPerEntry } = measureRmap(await coreModule(), 4, 1 << 14);
  assert.is(lists, 1 << 12);
  assert.ok(nsPerEntry > 0);
});

test("boot: every scenario boots, and the one that is copied runs on", async () => {
  const module = await coreModule();
  for (const { scenario } of bootRows(MIB, 2 * MIB)) Rig.boot(module, scenario);
  const machine = await Machine.create(copyScenario(MIB), { module });
  const restored = await Machine.restore(machine.snapshot(), { module });
  assert.is(restored.run({ accesses: 1000 }).digest, machine.fork().run({ accesses: 1000 }).digest);
});

test("streams: pages within the guest, the share of writes that was asked for, the same numbers every time", () => {
  const streams = [
    uniformStream(LENGTH, PAGES, 0.3),
    zipfStream(LENGTH, PAGES, 0.99, 0.3),
    sequentialStream(LENGTH, PAGES, 0.3),
  ];
  for (const stream of streams) {
    const writes = stream.filter((word) => (word & WRITE) !== 0).length;
    assert.ok(Math.abs(writes / LENGTH - 0.3) < 0.02);
    assert.ok(stream.every((word) => (word & ~WRITE) < PAGES));
  }
  assert.equal(uniformStream(100, PAGES, 0.3), uniformStream(100, PAGES, 0.3));
});

test("policies: the plain TypeScript misses as often as the core, under every policy", async () => {
  for (const theta of [0.8, 1]) {
    const stream = { name: "small", pages: 2000, theta, references: 30_000 };
    const contendersOf = policyContenders(await coreModule(), stream);
    for (const policy of POLICIES) {
      const { core, plain } = contendersOf(policy);
      const misses = core();
      assert.is(plain(), misses, `${policy}, zipf ${theta}`);
      assert.ok(misses > 2000 && misses < 30_000);
    }
  }
});

test("generation lists: the plain TypeScript evicts and brings back as many pages as the core", async () => {
  for (const [pages, theta] of [
    [3000, 0.8],
    [10_000, 1],
    [1500, 0.5],
  ] as const) {
    const both = new MglruContenders(await coreModule(), { name: "", pages, theta, references: 20_000 });
    for (let run = 0; run < 3; run++) {
      both.runCore();
      both.runPlain();
      const { core, plain } = both.counts;
      assert.ok(core[1] > 1000);
      assert.equal(plain, core, `run ${run}, ${pages} pages, zipf ${theta}`);
    }
  }
});

test("streams: zipf gives the first rank its share", () => {
  const stream = zipfStream(LENGTH, PAGES, 0.99, 0);
  let zeta = 0;
  for (let rank = 1; rank <= PAGES; rank++) zeta += rank ** -0.99;
  const first = stream.filter((page) => page === 0).length / LENGTH;
  assert.ok(Math.abs(first - 1 / zeta) < 0.02, `${first} instead of ${1 / zeta}`);
});

test("explorer: a row explores its preset", async () => {
  const { states, statesPerS } = await exploreRow("race-2008", await coreModule(), 1);
  assert.ok(states > 100 && statesPerS > 0);
});

test("the plot has a line for each workload and contender, and a point for each size", () => {
  const rows = [8, 1024].flatMap((guestMiB) =>
    ["zipf", "uniform"].map((workload) => ({ workload, guestMiB, ns: 3 + guestMiB / 1024, plainNs: 9 })),
  );
  const svg = svgOf(sizePlot(rows));
  assert.is(svg.match(/<path /g)?.length, 4);
  assert.is(svg.match(/<circle /g)?.length, 8);
  for (const name of ["zipf, plain TypeScript", "8 MiB", "1 GiB"]) assert.match(svg, name);
  const across = [...svg.matchAll(/<circle cx="([\d.]+)"/g)].map(([, x]) => Number(x));
  assert.is(new Set(across).size, 2, "the same size stands at the same place on every line");
});

test("a speedup is the median of the ratios within the rounds, not the ratio of the medians", () => {
  // The second round ran on a machine that was three times slower for both.
  assert.is(speedup([1, 3, 1], [2, 6, 4]), 2);
  assert.is(median([3, 1, 2, 10]), 2.5);
});

test("a table aligns figures to the right and text to the left", () => {
  const columns = [
    { head: "path", cell: (row: { path: string }) => row.path, align: "left" as const },
    { head: "ns", cell: (row: { ns: number }) => whole(row.ns) },
  ];
  assert.equal(table(columns, [{ path: "nvme", ns: 79_036 }]), ["path      ns", "nvme  79,036"]);
  assert.equal([0.123, 12.34, 1234.5, undefined].map(figure), ["0.12", "12.3", "1,235", "–"]);
});

for (const row of buddyRows(2 ** 14, 2 ** 16, LENGTH)) {
  test(`page allocator, ${row.mix} orders, ${row.pages} pages: the plain one hands out the same pages`, async () => {
    const { script, slots } = buddyScript(row);
    const limits = limitsOf(row.pages);
    const { core, at, start } = zoneWith(await coreModule(), row.pages, script, slots);
    const plain = new PlainBuddy(row.pages, limits);
    const held = new Uint32Array(slots);
    const taken = new Uint32Array(11);
    for (let time = 0; time < 2; time++) {
      for (const [index, word] of script.entries()) {
        const slot = word & 0xffffff;
        const order = (word >>> 24) & 15;
        if (word >>> 31) {
          if (held[slot] !== 0) core.call.zoneCaseFreePages(0, held[slot]!, order);
          if (held[slot] !== 0) plain.release(held[slot]! - start, order);
        } else {
          held[slot] = core.call.zoneCaseAlloc(0, order, MOVABLE);
          taken[order]!++;
          const page = plain.alloc(order);
          const pfn = page === 0xffffffff ? 0 : page + start;
          if (pfn !== held[slot]) assert.unreachable(`step ${index}: ${pfn}, not ${held[slot]}`);
        }
      }
    }
    assert.ok(taken.every((count) => count > 0));
    // Run within one call, the script is refused as little.
    assert.is(core.call.zoneCaseRun(at, script.length, MOVABLE), plain.run(script, new Uint32Array(slots)));
    assert.is(core.call.zoneCaseIsolateRun(ZONE, 10, 1, 100), 0);
    assert.ok(plain.isolate(10));
  });
}

for (const mix of ["uni", "geo"]) {
  test(`kernels' script, ${mix}: between 40 and 80 percent are taken, and core and plain refuse nothing`, async () => {
    const pages = 2 ** 16;
    const { script, filling, slots } = kernelScript(pages, mix, LENGTH);
    const { core, at } = zoneWith(await coreModule(), pages, script, slots);
    const plain = new PlainBuddy(pages, limitsOf(pages));
    assert.is(core.call.zoneCaseRun(at, script.length, MOVABLE), 0);
    assert.is(plain.run(script, new Uint32Array(slots).fill(0xffffffff)), 0);
    let taken = 0;
    for (const [index, word] of script.entries()) {
      taken += (word >>> 31 ? -1 : 1) * 2 ** ((word >>> 24) & 15);
      if (index >= filling) assert.ok(taken > pages * 0.38 && taken < pages * 0.82, `${taken} of ${pages}`);
    }
  });
}

test("free lists alone: the plain ones hand out the same pages", async () => {
  const pages = 2 ** 16;
  const { script, slots } = kernelScript(pages, "uni", LENGTH);
  const { core, at, start } = zoneWith(await coreModule(), pages, script, slots);
  const plain = new PlainBuddy(pages, limitsOf(pages));
  const held = new Uint32Array(slots).fill(0xffffffff);
  assert.is(core.call.zoneCaseListsRun(at, script.length), 0);
  assert.is(plain.runLists(script, held), 0);
  // The slots stand before the script, which is aligned to 8 bytes.
  const ours = core.u32(at - Math.ceil(slots / 2) * 8, slots);
  assert.equal(
    [...ours],
    [...held].map((page) => (page === 0xffffffff ? 0 : page + start)),
  );
});

for (const row of ceilingRows().filter(({ work }) => work === "accesses" || work === "faults")) {
  test(`ceiling, ${row.path}: what it counts is what it says`, async () => {
    const small = { ...row, pages: PAGES, ...(row.frames !== undefined && { frames: PAGES / 2 }) };
    const rig = Rig.boot(await coreModule(), ceilingScenario(small), uniformStream(LENGTH, PAGES, 0.3));
    const before = rig.read();
    rig.run(LENGTH);
    const { faults, swapIns } = rig.since(before);
    if (row.work === "accesses") assert.is(faultCount(faults), 0);
    else assert.ok(swapIns > LENGTH / 3 && faults.major.count === swapIns, `${swapIns} of ${LENGTH}`);
  });
}

for (const row of ceilingRows().filter(({ work, pages }) => work === "faults" && pages === 4096)) {
  test(`ceiling, ${row.path}: the plain TypeScript faults as often as the core`, async () => {
    const small = { ...row, pages: PAGES, frames: PAGES / 2 };
    const stream = zipfStream(LENGTH, PAGES, 0.6, 0.3);
    const rig = Rig.boot(await coreModule(), ceilingScenario(small), stream);
    const plain = plainPaging(small, { hitNs: 1, missNs: 1, majorNs: 1, writeProtectNs: 1 });
    const before = rig.read();
    rig.run(LENGTH);
    plain.run(stream, 0, LENGTH);
    const { faults, swapIns } = rig.since(before);
    assert.is(plain.major, swapIns);
    assert.is(plain.writeProtect, faults.writeProtect.count);
  });
}

test("observing: each way of looking runs, beside the run without", async () => {
  const module = await coreModule();
  for (const each of observeRuns(PAGES * 4096)) {
    const run = { ...each, accesses: LENGTH };
    assert.equal(
      (await measureLacking(run, [module, module], 1)).map(({ length }) => length),
      [3],
    );
    const rows = await measureObserving(run, module);
    assert.is(rows.length, 5);
    assert.ok(rows.every(({ timesTheTime }) => timesTheTime > 0));
    assert.is(rows[0]!.timesTheTime, 1);
  }
});

/** What the tracepoints of a core without `part` export. */
function tracepointsWithout(part: Part): Record<string, (...args: (number | bigint)[]) => number | bigint> {
  const out = join(ROOT, ".out", `trace-without-${part}.wasm`);
  const asc = join(ROOT, "node_modules/assemblyscript/bin/asc.js");
  const options = [
    "--config",
    "none",
    "--runtime",
    "stub",
    "--transform",
    "./scripts/without.mjs",
    "-o",
    out,
  ];
  execFileSync(process.execPath, [asc, "assembly/sim/trace.ts", ...options], {
    cwd: ROOT,
    env: { ...process.env, WITHOUT: part },
  });
  const module = new WebAssembly.Module(readFileSync(out));
  return new WebAssembly.Instance(module, { env: { abort: () => {} } }).exports as never;
}

test("a core without records counts and keeps none, one without tracepoints does not even count", () => {
  const counted = (["records", "tracepoints"] as const).map((part) => {
    const trace = tracepointsWithout(part);
    trace.traceLayout!(10);
    trace.traceEnable!(0xffffffff, 0, 0, 0);
    trace.emit!(1, 0n, 0n, 0n, 0n, 0n);
    assert.is(trace.traceRecords!(), 0);
    assert.is(trace.traceWritten!(), 0n);
    return trace.traceCount!(1);
  });
  assert.equal(counted, [1n, 0n]);
});

test("memory: a page and a frame take what is promised", async () => {
  const rows = await Promise.all(MEMORY_KINDS.map(async (kind) => memoryRow(kind, await coreModule())));
  assert.ok(rows.every(({ perGuestPage, perHostFrame }) => perGuestPage > 16 && perHostFrame >= 29));
  const { perGuestPage, perHostFrame, perSwapSlot } = rows[0]!;
  assert.ok(perGuestPage > 16 && perGuestPage <= 24, `${perGuestPage}`);
  // Each further set of tables may take 8 more: a task with its own has the kernel's a second time.
  const shadow = (what: string): number => rows.find((row) => row.what === what)!.perGuestPage;
  assert.ok(
    shadow("shadow paging, one address space") <= 40,
    `${shadow("shadow paging, one address space")}`,
  );
  assert.ok(shadow("shadow paging") <= 48, `${shadow("shadow paging")}`);
  // 20 of the record, 8 of the links, 1 of the block, and what a pageblock of 512 takes.
  assert.ok(perHostFrame >= 29 && perHostFrame < 29.1, `${perHostFrame}`);
  assert.ok(perSwapSlot >= 5 && perSwapSlot < 6, `${perSwapSlot}`);
});

test("two lists: the plain TypeScript evicts and brings back as many pages as the core", async () => {
  for (const [pages, theta] of [
    [3000, 1],
    [8000, 0.6],
    [900, 0.2],
  ] as const) {
    const both = new TwoListContenders(await coreModule(), { name: "", pages, theta, references: 40_000 });
    for (let run = 0; run < 3; run++) {
      both.runCore();
      both.runPlain();
      const { core, plain } = both.counts;
      assert.ok(core[1] > 1000);
      assert.equal(plain, core, `run ${run}, ${pages} pages, zipf ${theta}`);
    }
  }
});

test("async page faults: each design tells the guest of pages, and off of none", async () => {
  const rows = await measureApf(await coreModule(), 8 * MIB, 40_000, 1);
  assert.equal(
    rows.map(({ design }) => design),
    APF_DESIGNS,
  );
  for (const { design, roundTripsPerUs, faultsPerUs, toldPerMajor, timesOff } of rows) {
    assert.ok(faultsPerUs > 0 && timesOff > 0);
    if (design === "off") assert.is(toldPerMajor, 0);
    else assert.ok(toldPerMajor > 0.5, `${design}: ${toldPerMajor}`);
    assert.is(roundTripsPerUs > 0, design !== "off", design);
  }
});

for (const churn of ["single pages", "blocks of all orders"] as const) {
  test(`free pages, ${churn}: each design scans and tells what its columns say`, async () => {
    const bytes = churn === "single pages" ? 32 * MIB : 128 * MIB;
    const rows = await measureHints(churn, await coreModule(), bytes, 200_000, 1);
    for (const { design, freedPerUs, scannedPerUs, blocksPerUs, pagesToldPerUs } of rows) {
      assert.ok(freedPerUs > 0);
      assert.is(scannedPerUs > 0, design.startsWith("hinting"), design);
      const merged = churn === "blocks of all orders";
      assert.is(blocksPerUs > 0, design === "hinting-2019" || (merged && design !== "off"), design);
      assert.is(pagesToldPerUs > 0, blocksPerUs > 0, design);
    }
  });
}

for (const one of MIGRATE_CASES) {
  test(`migration, ${one.what}: pages move`, async () => {
    const { pages, scanned } = await migrateRow(one, await coreModule(), 16 * MIB, 1);
    assert.ok(pages > 200 && pages <= 4096, `${pages} pages`);
    assert.is(scanned > 0, one.halved === true);
  });
}

test("boundary: every chunk makes its accesses, and a call costs something", async () => {
  const [none, ...rows] = measureBoundary(await coreModule(), 65_536, 1);
  assert.ok(none!.nsPerCall > 0);
  assert.equal(
    rows.map(({ chunk }) => chunk),
    CHUNKS,
  );
  assert.ok(rows.every(({ nsPerAccess }) => nsPerAccess! > 0));
});

test("ending a run: every signal ends one", async () => {
  assert.is((await stopMs(await coreModule(), endless(MIB, MIB / 2, 1, true), 2)).length, 2);
});

test.run();
