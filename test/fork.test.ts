// At stake: what-if by fork. A live key must do in a fork what it does in a machine that was created with it, from the moment of the
// fork on; a wrong value, an unknown key and a key that cannot change must be told apart, each by name.

import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { COST_KEYS } from "#dist/costkeys.js";
import type { Machine } from "#dist/machine.js";
import type { Scenario } from "#dist/scenario.js";
import { setPath } from "#dist/setpath.js";
import { assertSame, create, ROOT, refusal, roomy, type Task, vm, vmOf } from "./scenes.js";

const ms = (n: number): number => n * 1_000_000;

function uniform(pages: number, others: Partial<Task> = {}, accesses?: number): Task {
  const workload = {
    kind: "uniform" as const,
    pages,
    writes: 0.6,
    ...(accesses !== undefined && { accesses }),
  };
  return { workload, ...others };
}

/**
 * A scenario in which everything happens that costs something: four vCPUs share two CPUs, tasks share vCPUs and sleep, memory is
 * short, translations miss the TLB, flushes reach vCPUs that run.
 */
function busy(changes: Partial<Scenario> = {}): Scenario {
  const late = (start: number): Task => uniform(150, { start, vcpu: 1 }, 300);
  return {
    host: { memory: "1664KiB", cpus: 2, swap: [{ kind: "nvme", size: "16MiB" }] },
    vms: [
      vm("db", [uniform(180, {}, 8000), late(ms(3)), uniform(130, { vcpu: 0 }, 8000)], {
        vcpus: 2,
        tlb: { entries: 16, ways: 2 },
      }),
      vm("web", [uniform(150, { count: 2, vcpu: 0 }, 8000), late(ms(9))], {
        vcpus: 2,
        asyncPf: { design: "2010" },
      }),
    ],
    ...changes,
  };
}

/** A fork at time 0 that sets `path` ends as a machine does that was created with it. Returns the digest. */
async function asIfCreated(scenario: Scenario, path: string, value: unknown): Promise<string> {
  const fork = (await create(scenario)).fork({ set: { [path]: value } });
  const created = await create(setPath(scenario, path, value));
  const result = created.run();
  assertSame(fork.run(), result, `${path} = ${String(value)}`);
  return result.digest;
}

let usualDigest: Promise<string> | undefined;
/** The digest of busy() without a change. */
function usual(): Promise<string> {
  usualDigest ??= create(busy()).then((machine) => machine.run().digest);
  return usualDigest;
}

test("seed: what is drawn from the fork on follows the other seed", async () => {
  // Permutations of pages are drawn at boot and stay, so this scenario has none.
  assert.is.not(await asIfCreated(busy(), "seed", 2), await usual());

  const machine = await create(busy());
  machine.run({ accesses: 3000 });
  const same = machine.fork({ set: { seed: 1 } });
  const forks = [2, 3, 2].map((seed) => machine.fork({ set: { seed } }));
  const [two, three, again] = forks.map((fork) => fork.run());
  assert.is(forks[0]!.scenario.seed, 2);
  assert.is(two!.seed, 2);
  assert.is(same.run().digest, await usual());
  assert.is(machine.run().digest, await usual());
  assert.is.not(two!.digest, await usual());
  assert.is.not(three!.digest, two!.digest);
  assert.is(again!.digest, two!.digest);
});

test("costs.preset: the whole table is that of the other preset", async () => {
  for (const preset of ["nested", "nehalem-hdd-2010"]) {
    assert.is.not(await asIfCreated(busy(), "costs.preset", preset), await usual(), preset);
  }
});

test("costs.preset keeps single prices, and a fork of a fork goes back", async () => {
  const scenario = busy({ costs: { eptMapNs: 5000 } });
  const machine = await create(scenario);
  const nested = machine.fork({ set: { "costs.preset": "nested" } });
  assert.equal(nested.scenario.costs, { preset: "nested", eptMapNs: 5000 });
  const back = nested.fork({ set: { "costs.preset": "bare-metal" } });
  const mapNs = (one: Machine): number => {
    const { minor } = vmOf(one.run()).faults;
    return minor.stages.mapNs / minor.count;
  };
  assert.ok(mapNs(nested) >= 5000);
  assert.is(back.run().digest, machine.run().digest);
});

/** Prices of guests that allocate and give back. */
const GUEST_COSTS: readonly string[] = [
  "guestExceptionNs",
  "memHitNs",
  "zero4kNs",
  "pcpAllocNs",
  "buddyAllocNs",
  "buddySlowNs",
  "isolatePageNs",
  "virtqKickNs",
  "irqInjectIdleNs",
  "balloonInflatePageNs",
  "madviseDontneedNs",
  "madvisePerPageNs",
];

/** Three guests that give memory back, each in its way. */
function giving(): Scenario {
  const guest = (name: string, memory: string, task: Task["workload"], others: object) => ({
    name,
    memory,
    guest: { tasks: [{ workload: task }], ...others },
  });
  const churn = { kind: "churn" as const, pages: 3000, orders: [64, 0, 0, 0, 1], accesses: 30_000 };
  const process = { kind: "process" as const, pages: 2500, repeat: 2, pause: "5s" };
  return {
    host: { memory: "256MiB", cpus: 3 },
    vms: [
      guest("hinting", "32MiB", churn, { freePages: { design: "hinting-2019" } }),
      guest("reporting", "96MiB", process, { freePages: { design: "reporting" } }),
      guest("balloon", "32MiB", { ...process, pages: 100 }, { balloon: { target: "1MiB" } }),
    ],
  };
}

let givingDigest: Promise<string> | undefined;

for (const key of GUEST_COSTS) {
  test(`costs.${key}: is charged in a guest, and at its new price`, async () => {
    givingDigest ??= create(giving()).then((machine) => machine.run().digest);
    const digest = await asIfCreated(giving(), `costs.${key}`, "3us");
    assert.is.not(digest, await givingDigest);
  });
}

test("costs.reportDelayNs: a pass comes sooner", async () => {
  givingDigest ??= create(giving()).then((machine) => machine.run().digest);
  const soon = await create({ ...giving(), costs: { reportDelayNs: "1ms" } });
  assert.is.not(soon.run().digest, await givingDigest);
});

test("costs.ageLinearPteNs: is charged with generation lists, and at its new price", async () => {
  const aging = busy({ host: { ...busy().host, reclaim: { policy: "mglru" } } });
  const { digest } = (await create(aging)).run();
  assert.is.not(await asIfCreated(aging, "costs.ageLinearPteNs", "3us"), digest);
});

test("costs.hugeFaultNs: is charged for a huge page, and at its new price", async () => {
  const workload = { kind: "sequential" as const, pages: 512, writes: 1 };
  const huge = (): Scenario => roomy([{ workload }], {}, { hugePages: true });
  const digest = await asIfCreated(huge(), "costs.hugeFaultNs", "3us");
  assert.is.not(digest, (await create(huge())).run().digest);
});

test("costs.ksmScanPageNs: is charged by ksmd, which comes round less often at a higher price", async () => {
  const ksm = { run: true, pagesToScan: 64, sleep: "100us" };
  const vms = [{ name: "a", memory: "1MiB" }];
  const machine = await create({ host: { memory: "16MiB", ksm }, vms, check: { integrity: true } });
  machine.advise("a", "write", { gfn: 0, pages: 64 });
  machine.advise("a", "mergeable", { gfn: 0, pages: 64 });
  const scans = [1000, 100_000].map((price) => {
    const fork = machine.fork({ set: { "costs.ksmScanPageNs": price } });
    fork.run({ time: ms(40) });
    return fork.ksm().scans;
  });
  assert.ok(scans[0]! > 4 * scans[1]! && scans[1]! > 1, `${scans}`);
});

test("costs.shadowFaultNs: is charged under shadow paging, and at its new price", async () => {
  const workload = { kind: "sequential" as const, pages: 100, writes: 1 };
  const shadow = (): Scenario => roomy([{ workload }], {}, { mmu: "shadow" });
  const digest = await asIfCreated(shadow(), "costs.shadowFaultNs", "9us");
  assert.is.not(digest, (await create(shadow())).run().digest);
});

test("costs.shadowPtWriteNs: is charged for a write to a table that is followed at once, at its new price", async () => {
  const written = async (shadowPtWriteNs: string): Promise<number> => {
    const machine = await create({ ...roomy([], {}, { mmu: "shadow" }), costs: { shadowPtWriteNs } });
    // The table of level 2 is in the frame before the last: it has to be mapped before a write to it is emulated.
    machine.access("db", 0, 510, "read");
    machine.access("db", 0, 510, "write");
    return machine.access("db", 0, 510, "write").ns;
  };
  assert.is((await written("12500ns")) - (await written("2500ns")), 10_000);
});

const ELSEWHERE: readonly string[] = [
  ...GUEST_COSTS,
  "reportDelayNs",
  "ageLinearPteNs",
  "hugeFaultNs",
  "ksmScanPageNs",
  "migratePageNs",
  "scanFrameNs",
  "shadowFaultNs",
  "shadowPtWriteNs",
  "exitUserNs",
];

test("costs.exitUserNs: is charged for an access that the monitor answers, and at its new price", async () => {
  const machine = await create(roomy([], {}, {}));
  const nsOf = (ns: number): number =>
    machine.fork({ set: { "costs.exitUserNs": ns } }).access("db", 0, 10_000, "read").ns;
  assert.is(nsOf(5000) - nsOf(3000), 2000);
  assert.is(nsOf(500), nsOf(100), "the exit itself is in it, and costs what vmExitNs says");
});

test("costs.migratePageNs: is charged for a page that migrates, and at its new price", async () => {
  const nsOf = async (migratePageNs: number): Promise<number> => {
    const machine = await create(roomy([], {}, {}));
    const twin = machine.fork({ set: { "costs.migratePageNs": migratePageNs } });
    twin.access(0, 0, 0, "write");
    return twin.migrate(0, { gfn: 0 }).ns;
  };
  assert.is((await nsOf(5000)) - (await nsOf(3000)), 2000);
});

test("costs.scanFrameNs, costs.isolatePageNs: compaction and an offline pay for each look, and for each free block taken", async () => {
  const machine = await create(roomy([], {}, { memory: "6MiB" }));
  machine.advise(0, "write", { gfn: 0, pages: 1500 });
  for (let gfn = 0; gfn < 1500; gfn += 8) machine.advise(0, "dontneed", { gfn, pages: 4 });
  const twins = (key: string) => [1000, 3000].map((ns) => machine.fork({ set: { [`costs.${key}`]: ns } }));
  const both = (key: string) => twins(key).map((twin) => twin.compact());
  const [cheap, dear] = both("scanFrameNs");
  assert.equal([cheap!.moved, cheap!.scanned], [dear!.moved, dear!.scanned]);
  assert.ok(cheap!.moved >= 100, `${cheap!.moved}`);
  const looks = (dear!.ns - cheap!.ns) / 2000;
  // Of a free block that was taken the scanner has looked at its first frame.
  assert.ok(looks >= 512 && looks <= cheap!.scanned.migrate + cheap!.scanned.free, `${looks}`);
  const [few, many] = both("isolatePageNs");
  const blocks = (many!.ns - few!.ns) / 2000;
  assert.ok(Number.isInteger(blocks) && blocks >= 1, `${blocks}`);
  const [twin] = twins("scanFrameNs");
  twin!.compact();
  const freed = twin!.result().host.compact.isolated - cheap!.moved - cheap!.failed; // what was taken are pages, and free frames
  assert.is(looks, cheap!.scanned.migrate + cheap!.scanned.free - (freed - blocks));

  const empty = await create(roomy([], {}, {}));
  const zone = empty.hostZones()[0]!;
  const range = { frame: zone.frame + zone.frames - zone.unit, frames: zone.unit };
  const [short, long] = [1000, 3000].map((ns) =>
    empty.fork({ set: { "costs.scanFrameNs": ns } }).offline(range),
  );
  // Each frame once for what cannot be moved, and a free block of 1,024 for what is left.
  assert.equal([short!.error, long!.ns - short!.ns], [null, 2000 * (zone.unit + 1)]);
});

for (const key of COST_KEYS.filter((each) => !ELSEWHERE.includes(each))) {
  test(`costs.${key}: is charged, and at its new price`, async () => {
    const digest = await asIfCreated(busy(), `costs.${key}`, key === "guestTickNs" ? ms(1) : "3us");
    assert.is.not(digest, await usual());
  });
}

test("a price that changes in mid-run counts from there", async () => {
  const machine = await create(roomy([{ workload: { kind: "sequential", pages: 400, writes: 1 } }]));
  machine.run({ accesses: 100 });
  const dear = machine.fork({ set: { "costs.minorFaultNs": "50us" } });
  for (const [one, mean] of [
    [machine, 2200],
    [dear, 51_200],
  ] as const) {
    const minor = vmOf(one.run()).faults.minor;
    assert.ok(minor.count >= 299 && minor.count <= 300);
    assert.is(minor.latency.p50, mean);
    assert.is(vmOf(one.result()).faults.minor.count, 400);
  }
});

/** Runs a VM of 3,000 pages on a host of 2,048 for a while. */
async function pressed(): Promise<Machine> {
  const host = { memory: "8MiB", swap: [{ kind: "nvme" as const, size: "32MiB" }] };
  const machine = await create({ host, vms: [vm("db", [uniform(3000)], { memory: "16MiB" })] });
  machine.run({ accesses: 10_000 });
  return machine;
}

/** Free pages of the host at several moments of a run that goes on. */
function freeMoments(machine: Machine): number[] {
  return Array.from({ length: 8 }, () => {
    machine.run({ accesses: 1000 });
    return machine.result().host.memory.freePages;
  });
}

test("host.reclaim.swappiness: with 0, a VM at its limit has nothing that may be reclaimed", async () => {
  const path = "host.reclaim.swappiness";
  assert.is.not(await asIfCreated(busy(), path, 0), await usual());
  assert.is.not(await asIfCreated(busy(), path, 200), await usual());

  const machine = await filled("800KiB");
  const fork = machine.fork({ set: { [path]: 0 } });
  const { status, oom } = fork.run({ accesses: 3000 });
  assert.is(status, "oom");
  assert.equal(oom, { where: "vms.db.memoryMax" });
  const { host } = machine.run({ accesses: 3000 });
  assert.ok(host.reclaim.reclaimedDirect > 100 && host.swap.out > 100);
});

test("host.reclaim.watermarkScaleFactor: kswapd keeps that much more memory free", async () => {
  const path = "host.reclaim.watermarkScaleFactor";
  assert.is.not(await asIfCreated(busy(), path, 500), await usual());

  const machine = await pressed();
  const fork = machine.fork({ set: { [path]: 1000 } });
  freeMoments(fork); // kswapd gets there
  // MIN is 90 pages. LOW and HIGH lie 22 and 44 above it, with a tenth of the host between the marks 204 and 408. Reclaim works by
  // the 32 pages, and kswapd overshoots.
  const [low, raised] = [machine, fork].map(freeMoments) as [number[], number[]];
  assert.ok(Math.max(...low) < 90 + 2 * 22 + 4 * 32, low.join(" "));
  assert.ok(Math.min(...raised) > 90 + 204 - 32, raised.join(" "));
  assert.ok(Math.max(...raised) < 90 + 2 * 204 + 8 * 32, raised.join(" "));
});

test("host.reclaim.watermarkScaleFactor: a fork is refused what the machine would have been refused", async () => {
  const scenario: Scenario = { host: { memory: "256KiB" }, vms: [vm("db", [uniform(8)])] };
  const path = "host.reclaim.watermarkScaleFactor";
  const said = await refusal(() => create(setPath(scenario, path, 3000)), "E_SCENARIO");
  assert.match(said, /^host\.memory: 256KiB is not larger than the host's own watermarks/);
  const machine = await create(scenario);
  assert.is(await refusal(() => machine.fork({ set: { [path]: 3000 } }), "E_SCENARIO"), said);
  assert.is(machine.run({ accesses: 1000 }).status, "done");
});

/** One VM of 400 pages without a limit but with swap, all touched. */
async function filled(memoryMax: string | null = null): Promise<Machine> {
  const host = { memory: "8MiB", swap: [{ kind: "nvme" as const, size: "16MiB" }] };
  const machine = await create({ host, vms: [vm("db", [uniform(400)], { memoryMax })] });
  machine.run({ accesses: 8000 });
  return machine;
}

const resident = (machine: Machine): number => vmOf(machine.result()).memory.residentPages;

test("vms.NAME.memoryMax lowered: the next charge reclaims down to it", async () => {
  const machine = await filled();
  assert.is(resident(machine), 400);
  const fork = machine.fork({ set: { "vms.db.memoryMax": "800KiB" } });
  assert.is(fork.scenario.vms[0]!.memoryMax, 800 * 1024);
  // Nobody charges a page while all are there: the limit takes effect with the first page that is needed.
  assert.is(vmOf(fork.run({ accesses: 5000 })).faults.major.count, 0);
  assert.is(resident(fork), 400);

  const early = (await create(machine.scenario)).fork({ set: { "vms.db.memoryMax": "800KiB" } });
  early.run({ accesses: 8000 });
  // Pages of the swap cache are charged too.
  assert.ok(resident(early) <= 200 && resident(early) > 100, String(resident(early)));
  assert.ok(vmOf(early.result()).memory.peakResidentPages <= 200);
  assert.is(resident(machine), 400);
});

test("vms.NAME.memoryMax raised or removed: the VM grows to it", async () => {
  const machine = await filled("800KiB");
  assert.ok(resident(machine) <= 200);
  const raised = machine.fork({ set: { "vms.db.memoryMax": "1200KiB" } });
  const removed = machine.fork({ set: { "vms.db.memoryMax": null } });
  const byIndex = machine.fork({ set: { "vms.0.memoryMax": "null" } });
  for (const one of [machine, raised, removed, byIndex]) one.run({ accesses: 8000 });
  assert.ok(resident(machine) <= 200);
  assert.ok(resident(raised) > 200 && resident(raised) <= 300, String(resident(raised)));
  assert.is(resident(removed), 400);
  assertSame(byIndex.result(), removed.result());
});

test("vms.NAME.memoryMax at time 0 is as if created so", async () => {
  for (const value of ["300KiB", "600KiB"]) {
    assert.is.not(await asIfCreated(busy(), "vms.web.memoryMax", value), await usual(), value);
  }
  assert.is(await asIfCreated(busy(), "vms.web.memoryMax", null), await usual());
});

test("check.integrity switched on knows the writes from there on, switched off it knows none", async () => {
  const machine = await create(busy());
  machine.run({ accesses: 3000 });
  const on = machine.fork({ set: { "check.integrity": true } });
  assert.ok(on.footprint().bytes > machine.footprint().bytes);
  const checked = on.run();
  assert.is(checked.digest, await usual());
  assert.is(checked.status, "done");
  assert.equal(checked.violations, []);
  for (const { integrity } of checked.vms) {
    assert.ok(integrity.checked > 500);
    assert.is(integrity.lostWrites + integrity.staleReads + integrity.unreachablePins, 0);
  }

  const checking = await create(busy({ check: { integrity: true } }));
  checking.run({ accesses: 3000 });
  const off = checking.fork({ set: { "check.integrity": false } });
  const unchecked = off.run();
  assert.is(unchecked.digest, await usual());
  assert.is(unchecked.violations, undefined);
  assert.is(vmOf(unchecked).integrity.checked, 0);

  // On again: what was written while it was off is not known, and not missed.
  const again = checking.fork({ set: { "check.integrity": false } });
  again.run({ accesses: 3000 });
  const result = again.fork({ set: { "check.integrity": true } }).run();
  assert.is(result.digest, await usual());
  assert.equal(result.violations, []);
  assert.ok(vmOf(result).integrity.checked > 100);
});

test("trace.events: the fork records these, from there on, and the digest stays", async () => {
  const machine = await create(busy());
  machine.run({ accesses: 3000 });
  assert.is(machine.traceText(), "");
  const fork = machine.fork({ set: { "trace.events": ["kvm_exit", "mm_vmscan_write_*"] } });
  const before = fork.traceCounts();
  assert.is(fork.run().digest, await usual());
  const after = fork.traceCounts();
  const text = fork.traceText();
  for (const [name, count] of Object.entries(after)) {
    const records = text.match(new RegExp(`: ${name}: `, "g"))?.length ?? 0;
    const recorded = name === "kvm_exit" || name === "mm_vmscan_write_folio";
    assert.is(records, recorded ? count - before[name]! : 0, name);
  }
  assert.ok(after.kvm_exit! > before.kvm_exit!);
  machine.run();
  assert.is(machine.traceText(), "");
  assert.equal(machine.traceCounts(), after);

  const silent = fork.fork({ set: { trace: null } });
  silent.traceText();
  silent.run();
  assert.is(silent.traceText(), "");
});

const total = (machine: Machine): number =>
  Object.values(machine.traceCounts()).reduce((sum, count) => sum + count, 0);

test("trace.capacity: the fork has room for at least that many records, and begins with none of its parent's", async () => {
  const machine = await create(busy({ trace: { events: ["*"], capacity: 64 } }));
  machine.run({ accesses: 10 });
  const before = total(machine);
  const [larger, smaller] = [1_000_000, 8].map((capacity) =>
    machine.fork({ set: { "trace.capacity": capacity } }),
  );
  assert.is(larger!.traceText(), "");
  for (const one of [machine, larger!, smaller!]) assert.is(one.run().digest, await usual());
  const lines = (one: Machine): string[] => one.traceText().trimEnd().split("\n");
  assert.is(lines(larger!).length, total(larger!) - before);
  for (const one of [machine, smaller!]) {
    const lost = total(one) - 64;
    assert.equal(lines(one).slice(0, 3), ["# tracer: nop", "#", `# ${lost} records lost: the ring holds 64`]);
  }
});

test("several keys at once, in any order", async () => {
  const machine = await create(busy());
  const set = {
    seed: 4,
    "costs.vmExitNs": "1us",
    "vms.db.memoryMax": "1MiB",
    "host.reclaim.swappiness": 100,
  };
  const other = Object.fromEntries(Object.entries(set).reverse());
  assertSame(machine.fork({ set }).run(), machine.fork({ set: other }).run());
  const costs = { vmExitNs: 1000 };
  assert.equal(machine.fork({ set: { costs } }).scenario.costs, { preset: "bare-metal", vmExitNs: 1000 });
});

for (const [path, value, message] of [
  ["seed", -1, "seed: -1 is not allowed"],
  ["seed", 2 ** 32, "seed: 4294967296 is not allowed"],
  ["costs.preset", "nestd", 'costs.preset: "nestd" is not allowed; did you mean "nested"?'],
  ["costs.vmExitNs", "5 apples", 'costs.vmExitNs: "5 apples" has an unknown unit'],
  ["costs.vmExitNs", -5, "costs.vmExitNs: -5 is negative"],
  ["host.reclaim.swappiness", 201, "host.reclaim.swappiness: 201 is not allowed"],
  ["host.reclaim.watermarkScaleFactor", 0, "host.reclaim.watermarkScaleFactor: 0 is not allowed"],
  ["vms.db.memoryMax", "1000", "vms[0].memoryMax: 1000 is not a multiple of 4KiB"],
  ["vms.db.memoryMax", 0, "vms[0].memoryMax: 0 is not a positive size"],
  ["check.integrity", "perhaps", 'check.integrity: "perhaps" is not allowed'],
  ["check.onViolation", "halt", 'check.onViolation: "halt" is not allowed'],
  ["trace.events", ["KVM"], 'trace.events[0]: "KVM" is not allowed'],
  ["trace.capacity", 10, "trace.events: missing"],
] as const) {
  test(`wrong value: ${path} = ${JSON.stringify(value)}`, async () => {
    const machine = await create(busy());
    const said = await refusal(() => machine.fork({ set: { [path]: value } }), "E_SCENARIO");
    assert.ok(said.startsWith(message), said);
    assert.match(said, /Allowed: ./);
    assert.is(machine.run().digest, await usual());
  });
}

for (const [path, message] of [
  ["sede", 'sede: unknown key; did you mean "seed"?'],
  ["costs.vmExitN", 'costs.vmExitN: unknown key; did you mean "vmExitNs"?'],
  ["costs.copy4kNs", "costs.copy4kNs: not modelled in this version"],
  ["host.reclaim.swapiness", 'host.reclaim.swapiness: unknown key; did you mean "swappiness"?'],
  ["vms.bd.memoryMax", 'vms: there is no element "bd"; did you mean "db"?'],
  ["vms.db.memroyMax", 'vms[0].memroyMax: unknown key; did you mean "memoryMax"?'],
  ["check.integrty", 'check.integrty: unknown key; did you mean "integrity"?'],
  ["trace.event", 'trace.event: unknown key; did you mean "events"?'],
] as const) {
  test(`unknown key: ${path}`, async () => {
    const machine = await create(busy());
    const said = await refusal(() => machine.fork({ set: { [path]: 1 } }), "E_SCENARIO");
    assert.ok(said.startsWith(message), said);
  });
}

const LIVE =
  "seed, costs.*, host.reclaim.swappiness, host.reclaim.watermarkScaleFactor, vms.NAME.memoryMax, vms.NAME.asyncPf.*, vms.NAME.guest.balloon.target, check.*, trace.*";

for (const [path, value] of [
  ["host.memory", "4MiB"],
  ["host.cpus", 3],
  ["host.quantum", "20us"],
  ["host.swap.nvme-0.size", "32MiB"],
  ["host.swap.0.readNs", "50us"],
  ["host.swap", []],
  ["vms.db.vcpus", 3],
  ["vms.db.memory", "4MiB"],
  ["vms.db.name", "cache"],
  ["vms.db.tlb.entries", 64],
  ["vms.db.guest.timeslice", "1ms"],
  ["vms.db.guest.tasks.0.workload.pages", 10],
  ["duration.accesses", 10],
  ["name", "other"],
] as const) {
  test(`fixed key: ${path}`, async () => {
    const machine = await create(busy());
    for (const set of [{ [path]: value }, { seed: 9, [path]: value, "costs.vmExitNs": 1 }]) {
      const said = await refusal(() => machine.fork({ set }), "E_FIXED");
      assert.is(
        said,
        `${path}: fixed when the machine was created; a fork can change ${LIVE}. Create another machine for this.`,
      );
    }
    assert.is(machine.run().digest, await usual());
  });
}

test("the example warms up once, and its forks fault the more the less they may hold", () => {
  const text = execFileSync(process.execPath, [join(ROOT, "examples/warm-up/forks.mjs")], {
    encoding: "utf8",
  });
  const rows = [...text.matchAll(/^(\d+)MiB +(\d+) /gm)].map(([, limit, faults]) => [
    Number(limit),
    Number(faults),
  ]);
  assert.ok(rows.length > 3, text);
  for (const [index, [limit, faults]] of rows.entries()) {
    if (index === 0) continue;
    assert.ok(limit! < rows[index - 1]![0]! && faults! > rows[index - 1]![1]!, text);
  }
  const documented = readFileSync(join(ROOT, "docs/embedding.md"), "utf8");
  assert.ok(documented.includes(text.trim()), "docs/embedding.md shows what it prints");
});

test.run();
