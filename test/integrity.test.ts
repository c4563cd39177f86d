// At stake: that no page's contents are lost on their way through reclaim, swap and back, and that the check which says so would
// see it. First ten million reads under heavy overcommit; then machines whose memory is damaged on purpose, through a snapshot.

import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { main } from "#dist/cli/program.js";
import { Machine } from "#dist/machine.js";
import type { RunResult } from "#dist/result.js";
import type { Scenario } from "#dist/scenario.js";
import { recordingTerminal } from "./cli/made.js";
import { parameters } from "./reference/report.js";
import { create, debugModule, memoryOf, roomy, snapshotOf, type Task, vm, vmOf } from "./scenes.js";

function found(result: RunResult): { checked: number; violations: number } {
  let checked = 0;
  let violations = 0;
  for (const { integrity } of result.vms) {
    checked += integrity.checked;
    violations += integrity.lostWrites + integrity.staleReads + integrity.unreachablePins;
  }
  return { checked, violations };
}

// Heavy overcommit

/** Three VMs with seven vCPUs in 30 MiB, on a host of 12 MiB with two CPUs; one of them has a limit as well. */
function crowded(accesses: number): Scenario {
  const each = Math.ceil(accesses / 9);
  const task = (workload: Partial<Task["workload"]>): Task => ({
    workload: { accesses: each, ...workload } as Task["workload"],
  });
  const zipf = (theta: number, writes: number, count: number): Task => ({
    ...task({ kind: "zipf", pages: 800, theta, writes }),
    count,
  });
  const others = { memory: "10MiB", tlb: { entries: 64, ways: 4 } };
  const host = {
    memory: "12MiB",
    cpus: 2,
    swap: [
      { kind: "zram-lz4" as const, size: "6MiB", priority: 10 },
      { kind: "nvme" as const, size: "32MiB" },
    ],
  };
  const hotcold = task({
    kind: "hotcold",
    pages: 2400,
    hot: 400,
    hotProbability: 0.99,
    writes: 0.2,
    phaseAccesses: 100_000,
  });
  return {
    host,
    vms: [
      vm("db", [zipf(1.05, 0.3, 3)], { ...others, vcpus: 3 }),
      vm(
        "web",
        [
          { ...zipf(0.99, 0.1, 2), region: "shared" },
          { ...zipf(1.2, 0.5, 2), region: "shared" },
        ],
        {
          ...others,
          vcpus: 2,
        },
      ),
      vm("batch", [hotcold, task({ kind: "sequential", pages: 100, passes: 1_000_000, writes: 0.01 })], {
        ...others,
        vcpus: 2,
        memoryMax: "6MiB",
      }),
    ],
    check: { integrity: true },
  };
}

test("ten million reads under heavy overcommit see the last write of their page", async () => {
  const machine = await create(crowded(16_000_000));
  const result = machine.run();
  assert.is(result.status, "done");
  const { checked, violations } = found(result);
  assert.is(violations, 0);
  assert.equal(result.violations, []);
  assert.ok(checked >= 10_000_000, `${checked} reads`);
  // Overcommit it was: pages went out and came back, by both devices, and vCPUs met each other.
  assert.ok(result.host.swap.out > 20_000 && result.host.swap.in > 20_000, JSON.stringify(result.host));
  for (const { reads, writes } of result.host.devices) assert.ok(reads > 1000 && writes > 1000);
  for (const one of result.vms) {
    assert.ok(one.faults.major.count > 1000 && one.faults.writeProtect.count > 100, one.name);
    assert.ok(one.notifier.flushes > 100 && one.notifier.retries > 0, one.name);
  }
});

test("the same in the debug build, which walks every structure as it goes", async () => {
  const machine = await create(crowded(300_000), { module: await debugModule });
  const limit = { accesses: 20_000 };
  while (machine.run(limit).stoppedBy === "accesses") machine.check();
  const { checked, violations } = found(machine.result());
  assert.is(violations, 0);
  assert.ok(checked > 200_000);
});

// Damage

const PAGES = 200;
const ZRAM = { kind: "zram-lz4", size: "1MiB" } as const;

const OPENING = 20_000;

/** Writes every page in some order, then all twice from first to last: page g holds write OPENING + PAGES + g + 1; and reads them. */
function writeThenRead(onViolation: "stop" | "count" = "stop", memoryMax: string | null = null): Scenario {
  const scan = (writes: number, passes: number): Task["workload"] => ({
    kind: "sequential",
    pages: PAGES,
    writes,
    passes,
  });
  return roomy(
    [
      {
        name: "opener",
        region: "r",
        workload: { kind: "uniform", pages: PAGES, writes: 1, accesses: OPENING },
      },
      { name: "writer", region: "r", vcpu: 0, start: { after: "db/opener" }, workload: scan(1, 2) },
      {
        name: "reader",
        region: "r",
        vcpu: 1,
        start: { after: "db/writer", delay: "20ms" },
        workload: scan(0, 1),
      },
    ],
    {
      host: { memory: "8MiB", swap: [{ kind: "nvme", size: "8MiB" }] },
      check: { integrity: true, onViolation },
    },
    { vcpus: 2, memoryMax, tlb: { entries: 8, ways: 1 } },
  );
}

/** The number of the last write to page `gfn`. */
const stampOf = (gfn: number): number => OPENING + PAGES + gfn + 1;

/** A machine that goes on from `machine` with what `damage` does to its memory; `words` are u32. */
async function damaged(
  machine: Machine,
  damage: (words: Uint32Array, bytes: DataView) => void,
): Promise<Machine> {
  const { header, memory } = memoryOf(machine.snapshot());
  damage(new Uint32Array(memory.buffer), new DataView(memory.buffer));
  return Machine.restore(snapshotOf(header, memory));
}

/** Where the core keeps which write each page should hold: the one place where the numbers follow each other. */
function expectedAt(words: Uint32Array): number {
  const places: number[] = [];
  for (let at = words.indexOf(stampOf(0)); at >= 0; at = words.indexOf(stampOf(0), at + 1)) {
    let length = 1;
    while (length < PAGES && words[at + length] === stampOf(length)) length++;
    if (length === PAGES) places.push(at);
  }
  assert.is(places.length, 1, `found in ${places.length} places`);
  return places[0]!;
}

/** Gives page `gfn` other contents: in its frame, and in its swap slot if it has one. */
function overwrite(words: Uint32Array, gfn: number, stamp: number): void {
  const expected = expectedAt(words);
  let places = 0;
  for (let at = words.indexOf(stampOf(gfn)); at >= 0; at = words.indexOf(stampOf(gfn), at + 1)) {
    if (at >= expected && at < expected + PAGES) continue;
    words[at] = stamp;
    places++;
  }
  assert.ok(places >= 1 && places <= 2, `page ${gfn} found in ${places} places`);
}

/** A machine whose writer has written. */
async function written(onViolation?: "stop" | "count", memoryMax?: string): Promise<Machine> {
  const machine = await create(writeThenRead(onViolation, memoryMax));
  machine.run({ accesses: OPENING + 2 * PAGES });
  assert.is(vmOf(machine.result()).integrity.checked, 0);
  return machine;
}

test("undamaged, the reader sees what was written", async () => {
  const result = (await damaged(await written(), () => {})).run();
  assert.equal(
    [result.status, result.violations, found(result)],
    ["done", [], { checked: PAGES, violations: 0 }],
  );
});

test("a frame with other contents is a lost write, told with its whole story, and ends the run", async () => {
  const machine = await damaged(await written(), (words) => {
    overwrite(words, 77, 5);
  });
  const result = machine.run();
  assert.equal([result.status, result.stoppedBy], ["violation", "violation"]);
  assert.equal(vmOf(result).integrity, { checked: 78, lostWrites: 1, staleReads: 0, unreachablePins: 0 });
  const [violation, ...others] = result.violations!;
  assert.is(others.length, 0);
  const { timeNs, writtenAtNs, ...rest } = violation!;
  assert.equal(rest, {
    kind: "lostWrite",
    vm: "db",
    gfn: 77,
    vcpu: 1,
    expected: stampOf(77),
    got: 5,
    writtenBy: 0,
  });
  const [, writer, reader] = vmOf(result).tasks;
  assert.ok(timeNs > reader!.startNs! && timeNs < reader!.startNs! + 100_000, String(timeNs));
  assert.ok(writtenAtNs > writer!.startNs! && writtenAtNs < writer!.endNs!, String(writtenAtNs));
  assert.ok(timeNs > writtenAtNs + 20_000_000);
  // The machine can go on from there.
  const rest2 = machine.run();
  assert.equal([rest2.status, rest2.stoppedBy], ["done", "tasks"]);
  assert.is(vmOf(machine.result()).integrity.checked, PAGES);
});

test("with count the run goes on to its end, and keeps the first 16 stories", async () => {
  const machine = await damaged(await written("count"), (words) => {
    for (let gfn = 100; gfn < 130; gfn++) overwrite(words, gfn, 9);
  });
  const result = machine.run();
  assert.equal([result.status, result.stoppedBy], ["done", "tasks"]);
  assert.equal(vmOf(result).integrity, { checked: PAGES, lostWrites: 30, staleReads: 0, unreachablePins: 0 });
  assert.equal(
    result.violations!.map(({ gfn }) => gfn),
    Array.from({ length: 16 }, (_, index) => 100 + index),
  );
});

test("a swap slot with other contents is a lost write when its page has come back", async () => {
  const machine = await written("stop", "400KiB");
  assert.ok(vmOf(machine.result()).memory.swappedPages >= 100);
  // The first pages are swapped out: the writer ended with the last ones.
  const result = (
    await damaged(machine, (words) => {
      overwrite(words, 3, 1);
    })
  ).run();
  assert.is(result.status, "violation");
  assert.ok(vmOf(result).faults.major.count >= 1);
  const { kind, gfn, got, expected } = result.violations![0]!;
  assert.equal([kind, gfn, got, expected], ["lostWrite", 3, 1, stampOf(3)]);
});

test("a translation to another frame is a stale read: the page itself is right", async () => {
  const machine = await damaged(await written(), (_, bytes) => {
    // Leaf entries of the TDP: present, readable, writable, executable, write-back, dirty. Page 50's gets page 51's frame.
    const low = 0xa37;
    const leaves: number[] = [];
    for (let at = 0; at + 8 <= bytes.byteLength; at += 8) {
      const entry = bytes.getBigUint64(at, true);
      if (entry >> 52n === 0x860n && Number(entry & 0xa37n) === low) leaves.push(at);
    }
    const table = leaves.filter((at, index) => index > 0 && at - leaves[index - 1]! === 8);
    assert.ok(table.length >= PAGES - 1, `${leaves.length} leaf entries`);
    const first = leaves.find((at, index) => leaves[index + PAGES - 1] === at + 8 * (PAGES - 1))!;
    bytes.setBigUint64(first + 8 * 50, bytes.getBigUint64(first + 8 * 51, true), true);
  });
  const result = machine.run();
  assert.is(result.status, "violation");
  assert.equal(vmOf(result).integrity, { checked: 51, lostWrites: 0, staleReads: 1, unreachablePins: 0 });
  const { kind, gfn, got, expected } = result.violations![0]!;
  assert.equal([kind, gfn, got, expected], ["staleRead", 50, stampOf(51), stampOf(50)]);
});

test("a page that the monitor has given up may be empty, and nothing else, until it is written", async () => {
  const given = await written("count");
  given.advise("db", "free", { gfn: 20, pages: 40 });
  let expected = 0;
  await damaged(given, (words) => {
    expected = expectedAt(words);
  });
  for (const [gfn, stamp] of [
    [10, 0],
    [20, 0],
    [21, 9],
  ] as const) {
    const machine = await damaged(given, (words) => overwrite(words, gfn, stamp));
    const lost = gfn === 20 ? 0 : 1;
    const { integrity } = vmOf(machine.run());
    assert.equal([integrity.lostWrites, integrity.staleReads], [lost, 0], `gfn ${gfn} holds ${stamp}`);
  }
  given.access("db", 0, 20, "write");
  given.access("db", 0, 20, "read");
  assert.is(vmOf(given.result()).integrity.lostWrites, 0);
  const stamp = given.inspect({ vm: "db", gfn: 20 }).stamp!.expected;
  const machine = await damaged(given, (words) => {
    let places = 0;
    for (const [at, word] of words.entries()) {
      if (word !== stamp || at === expected + 20) continue;
      words[at] = 0;
      places++;
    }
    assert.ok(places > 0);
  });
  machine.access("db", 0, 20, "read");
  assert.is(vmOf(machine.result()).integrity.lostWrites, 1, "written since, and lost");
});

for (const design of [
  { mmu: "tdp" },
  { mmu: "legacy", mmuNotifier: "notifier-2008" },
  { mmu: "shadow" },
] as const) {
  test(`${Object.values(design).join(", ")}: random pages written, given up, paged out and read hold what they may`, async () => {
    const operation = fc.record({
      what: fc.constantFrom("write", "read", "free", "pageout", "reclaim"),
      gfn: fc.nat(11),
      pages: fc.integer({ min: 1, max: 4 }),
    });
    let dropped = 0;
    const property = fc.asyncProperty(
      fc.array(operation, { minLength: 40, maxLength: 60 }),
      async (operations) => {
        const machine = await create(
          roomy([], { check: { integrity: true }, host: { memory: "4MiB", swap: [ZRAM] } }, design),
          { module: await debugModule },
        );
        const last = new Map<number, number>();
        const givenUp = new Set<number>();
        for (const { what, gfn, pages } of operations) {
          if (what === "write" || what === "read") machine.access("db", 0, gfn, what, { cpu: 0 });
          else if (what === "reclaim") machine.writeCgroup("db", "memory.reclaim", 4096 * pages, { cpu: 0 });
          else machine.advise("db", what, { gfn, pages }, { cpu: 0 });
          machine.check();
          const { stamp } = machine.inspect({ vm: "db", gfn });
          if (what === "write") {
            last.set(gfn, stamp!.found);
            givenUp.delete(gfn);
          } else if (what === "free") {
            for (let page = gfn; page < gfn + pages; page++) givenUp.add(page);
          } else if (what === "read" && stamp!.found !== (last.get(gfn) ?? 0)) {
            assert.ok(givenUp.delete(gfn) && stamp!.found === 0, `gfn ${gfn} holds ${stamp!.found}`);
            last.set(gfn, 0);
            dropped++;
          }
        }
        const { lostWrites, staleReads } = vmOf(machine.result()).integrity;
        assert.equal([lostWrites, staleReads], [0, 0]);
      },
    );
    await fc.assert(property, parameters(15));
    assert.ok(dropped > 5, `${dropped} pages had been dropped`);
  });
}

test("a fork changes what a violation does", async () => {
  const machine = await damaged(await written("stop"), (words) => {
    for (const gfn of [10, 20]) overwrite(words, gfn, 9);
  });
  const counting = machine.fork({ set: { "check.onViolation": "count" } });
  const unchecked = machine.fork({ set: { "check.integrity": false } });
  const stopping = counting.fork({ set: { "check.onViolation": "stop" } });
  assert.equal([machine.run().status, found(machine.result()).violations], ["violation", 1]);
  assert.equal([counting.run().status, found(counting.result()).violations], ["done", 2]);
  assert.equal([unchecked.run().status, found(unchecked.result()).violations], ["done", 0]);
  assert.equal([stopping.run().status, found(stopping.result()).violations], ["violation", 1]);
  assert.is(counting.result().digest, unchecked.result().digest);
});

test("the command line exits with 3 when a violation stops the run, and tells it; counted ones are told at exit 0", async () => {
  for (const [onViolation, exitCode, lines] of [
    ["stop", 3, 1],
    ["count", 0, 2],
  ] as const) {
    const terminal = recordingTerminal();
    const create = async (): Promise<Machine> =>
      damaged(await written(onViolation), (words) => {
        for (const gfn of [0x1e, 0x55]) overwrite(words, gfn, 9);
      });
    assert.is(await main(["run", "overcommit", "--no-rows"], terminal, create), exitCode);
    const { out, err } = terminal.written;
    assert.is(err, "");
    assert.is(out.match(/lostWrite {2}db gfn 0x/g)?.length, lines);
    assert.match(out, /gfn 0x1e, seen by vCPU 1 at [\d.]+ms: holds write 9, not write 20231 \(by vCPU 0 at/);
    assert.is(out.includes("violation: memory did not hold what was written"), onViolation === "stop");

    const json = recordingTerminal();
    assert.is(await main(["run", "overcommit", "--json"], json, create), exitCode);
    const result = JSON.parse(json.written.out) as RunResult;
    assert.is(result.violations!.length, lines);
  }
});

test.run();
