// At stake: that tools which read ftrace's text read ours, and that what it says is what happened: every line in the kernel's format,
// every counter the number of its records, lost records told, and the same story as the result's counters.

import { test } from "uvu";
import * as assert from "uvu/assert";
import { Core, coreModule } from "#dist/core.js";
import type { Machine } from "#dist/machine.js";
import type { Scenario } from "#dist/scenario.js";
import { TRACEPOINTS, traceMask } from "#dist/tracepoints.js";
import { FORMATS } from "./reference/tracepoints.js";
import { create, EXAMPLES, refusal, roomy, small, type Vm, vm, vmOf } from "./scenes.js";

/** ftrace's beginning of a line: comm-pid, CPU, flags, time in seconds. */
const LINE =
  /^ *(?<comm>\S.*)-(?<pid>\d+) +\[(?<cpu>\d{3})\] \.{5} +(?<seconds>-?\d+\.\d{6}): (?<event>\w+): (?<fields>.*)$/;

interface Line {
  comm: string;
  cpu: number;
  seconds: number;
  event: string;
  fields: Record<string, string>;
}

/** The lines of a text, each checked against its event's format. */
function read(text: string): Line[] {
  return text
    .split("\n")
    .filter((line) => line !== "" && !line.startsWith("#"))
    .map((line) => {
      const parts = LINE.exec(line)?.groups;
      assert.ok(parts, line);
      const format = FORMATS[parts!.event!];
      assert.ok(format, line);
      const fields = new RegExp(`^${format}$`).exec(parts!.fields!);
      assert.ok(fields, line);
      const { comm, cpu, seconds, event } = parts as Record<string, string>;
      return {
        comm: comm!,
        cpu: Number(cpu),
        seconds: Number(seconds),
        event: event!,
        fields: { ...fields!.groups },
      };
    });
}

// What a page that was only read maps: none of the host's frames.
const ZERO_PFN = 1;
const ALL = { events: ["*"], capacity: 2 ** 20 };

/** A machine in which every tracepoint is passed: memory is short on the host and at a limit, a slow device makes reclaim wait. */
async function everything(trace: Scenario["trace"] = ALL): Promise<Machine> {
  const [scenario, options] = small(2000, { trace });
  const [sqlite, cache] = scenario.vms;
  const vms = [
    { ...sqlite!, memoryMax: "280KiB" },
    { ...cache!, vcpus: 2 },
  ];
  const host = { ...scenario.host, swap: [{ kind: "sata-ssd" as const, size: "8MiB" }] };
  return create({ ...scenario, host, vms }, { ...options, baseDir: EXAMPLES });
}

/** A machine after a run in which the legacy MMU zaps pages of sptes, for it may have few. */
async function withFewTables(): Promise<Machine> {
  const tasks = [{ workload: { kind: "uniform" as const, pages: 12_000, accesses: 200, writes: 1 } }];
  const others = { memory: "47MiB", mmu: "legacy" as const, mmuPages: 16 };
  const machine = await create({ host: { memory: "16MiB" }, vms: [vm("db", tasks, others)], trace: ALL });
  machine.run();
  assert.ok(machine.migrate("db", { gfn: 0, pages: 12_000 }).moved > 100);
  read(machine.traceText());
  return machine;
}

/** A guest under shadow paging that writes to one of its page tables and loads CR3. */
async function shadowed(): Promise<Machine> {
  const machine = await create(roomy([], { trace: ALL }, { mmu: "shadow" }));
  machine.access("db", 0, 1, "write");
  machine.editPageTable("db", 0, { gfn: 1 }, { clear: 0x61 });
  machine.access("db", 0, 1, "write");
  machine.editPageTable("db", 0, { gfn: 1 }, { clear: 0x60 });
  machine.access("db", 0, 1, "write");
  read(machine.traceText());
  return machine;
}

async function compacted(): Promise<Machine> {
  const pages = 3300;
  const host = { memory: "16MiB", cpus: 2, swap: [{ kind: "nvme" as const, size: "8MiB" }] };
  const machine = await create({ host, trace: ALL, vms: [vm("db", [], { memory: pages * 4096 })] });
  machine.advise("db", "write", { gfn: 0, pages }, { cpu: 0 });
  const held = new Map<number, number>();
  for (let gfn = 0; gfn < pages; gfn++) held.set(machine.inspect({ vm: "db", gfn }).frame!.pfn >> 9, gfn);
  for (const gfn of held.values()) machine.pin("db", { gfn }, { cpu: 0 });
  for (let gfn = 2; gfn < pages; gfn += 4) machine.advise("db", "dontneed", { gfn, pages: 2 }, { cpu: 0 });
  machine.traceText();
  for (let time = 0; time < 2; time++) machine.compact({ order: 9, cpu: 0 });
  machine.unpin("db", { cpu: 0 });
  machine.compact({ mode: "sync", cpu: 0 });
  machine.compact({ order: 0, mode: "sync", cpu: 0 });
  read(machine.traceText());
  return machine;
}

interface Story {
  machine: Machine;
  lines: Line[];
  counts: Record<string, number>;
  of: (event: string) => Line[];
  sum: (event: string, field: string) => number;
}

async function record(): Promise<Story> {
  const machine = await everything();
  machine.run();
  const text = machine.traceText();
  assert.equal(text.split("\n").slice(0, 2), ["# tracer: nop", "#"]);
  assert.ok(text.endsWith("\n"));
  const lines = read(text);
  const of = (event: string): Line[] => lines.filter((line) => line.event === event);
  const sum = (event: string, field: string): number =>
    of(event).reduce((total, { fields }) => total + Number(fields[field]), 0);
  return { machine, lines, counts: machine.traceCounts(), of, sum };
}

let recorded: Promise<Story> | undefined;
/** The run that most tests look at; made once, by the first of them. */
function story(): Promise<Story> {
  recorded ??= record();
  return recorded;
}

/** Two tasks read one region that does not fit, under asynchronous page faults. */
async function asynchronous(): Promise<Machine> {
  const workload = { kind: "sequential" as const, pages: 200, writes: 0, passes: 3 };
  const tasks = [
    { region: "one", prefault: true, workload },
    { region: "one", workload },
  ];
  const db = { memoryMax: "400KiB", asyncPf: { design: "upstream" as const } };
  const machine = await create(
    roomy(tasks, { trace: ALL, host: { memory: "8MiB", swap: [{ kind: "nvme", size: "8MiB" }] } }, db),
  );
  machine.run();
  return machine;
}

/** A cgroup whose pages are all being written by a slow disk. */
async function throttled(): Promise<Record<string, number>> {
  const workload = { kind: "sequential" as const, pages: 200, writes: 1 };
  const machine = await create(
    roomy(
      [{ workload }],
      { trace: ALL, host: { memory: "8MiB", swap: [{ kind: "hdd", size: "8MiB" }] } },
      { memoryMax: "80KiB" },
    ),
  );
  machine.run();
  return machine.traceCounts();
}

/** A VM whose 2 MiB page is split by a write under the dirty log, and whose slot goes, comes back and goes again. */
async function split(mmu: "tdp" | "legacy"): Promise<Machine> {
  const db: Partial<Vm> = { memory: "4MiB", hugePages: true, mmu };
  const trace = { events: ["kvm*"], capacity: 2 ** 16 };
  const machine = await create(roomy([], { host: { memory: "16MiB" }, trace }, db));
  const slot = { gfn: 0, pages: 1024 };
  machine.access("db", 0, 520, "write");
  machine.setMemslot("db", 0, { ...slot, flags: ["log-dirty-pages"] });
  machine.access("db", 0, 521, "write");
  machine.setMemslot("db", 0, null);
  for (const gfn of [0, 1, 0]) machine.access("db", 0, gfn, "read");
  machine.setMemslot("db", 0, slot);
  machine.access("db", 0, 0, "read");
  machine.setMemslot("db", 0, null);
  return machine;
}

test("a split names the block and the leaf that it had", async () => {
  const lines = read((await split("tdp")).traceText());
  const at = lines.findIndex(({ event }) => event === "kvm_mmu_split_huge_page");
  const { gfn, spte, level } = lines[at]!.fields;
  assert.equal([gfn, level], ["200", "2"]);
  const { event, fields } = lines[at - 1]!;
  assert.equal([event, fields.old, fields.level], ["kvm_tdp_mmu_spte_changed", spte, "2"]);
  assert.is(lines.filter(({ event }) => event === "kvm_mmu_split_huge_page").length, 1);
  // The legacy MMU drops the leaf instead.
  assert.is((await split("legacy")).traceCounts().kvm_mmu_split_huge_page, 0);
});

test("dropping all mappings turns the generation over, and counts the tables of the legacy MMU alone", async () => {
  const zaps = (machine: Machine): string[][] =>
    read(machine.traceText())
      .filter(({ event }) => event === "kvm_mmu_zap_all_fast")
      .map(({ fields }) => [fields.generation!, fields.used!]);
  assert.equal(zaps(await split("tdp")), [
    ["0", "0"],
    ["1", "0"],
  ]);
  // The root, two tables below it, and the leaf table of the second block; then others, and that of the first block.
  assert.equal(zaps(await split("legacy")), [
    ["0", "4"],
    ["1", "4"],
  ]);
});

test("every tracepoint has a format here, and is passed", async () => {
  const { counts } = await story();
  const slow = await throttled();
  const machine = await asynchronous();
  assert.equal([...TRACEPOINTS].sort(), Object.keys(FORMATS).sort());
  const legacy = (await withFewTables()).traceCounts();
  const told = machine.traceCounts();
  const whole = (await split("tdp")).traceCounts();
  const shadow = (await shadowed()).traceCounts();
  const compact = (await compacted()).traceCounts();
  const runs = [counts, legacy, told, slow, whole, shadow, compact];
  for (const name of TRACEPOINTS)
    assert.ok(
      runs.some((each) => each[name]! > 0),
      name,
    );
  const events = read(machine.traceText());
  assert.ok(
    events.some(({ event, comm }) => event === "kvm_async_pf_completed" && comm.startsWith("kworker/u:")),
  );
});

test("every counter is the number of its records", async () => {
  const { counts, of } = await story();
  for (const name of TRACEPOINTS) assert.is(of(name).length, counts[name], name);
});

test("counters count without records too", async () => {
  const { counts, machine } = await story();
  const silent = await everything(null);
  silent.run();
  assert.equal(silent.traceCounts(), counts);
  assert.is(silent.traceText(), "");
  assert.is(silent.result().digest, machine.result().digest);
});

test("records and result tell one story", async () => {
  const { counts, machine, of, sum } = await story();
  const { host, vms } = machine.result();
  const total = (of: (vm: (typeof vms)[number]) => number): number =>
    vms.reduce((all, one) => all + of(one), 0);
  assert.is(counts.mm_vmscan_write_folio, host.swap.out);
  assert.is(
    counts.kvm_age_hva,
    total(({ notifier }) => notifier.aged),
  );
  assert.is(sum("mm_vmscan_lru_shrink_inactive", "scanned"), host.reclaim.scanned);
  const attempts = total(({ faults, notifier }) => {
    return notifier.retries + Object.values(faults).reduce((all, { count }) => all + count, 0);
  });
  assert.ok(counts.kvm_page_fault! >= attempts);
  assert.is(counts.kvm_exit, counts.kvm_page_fault);
  const unmapped = of("kvm_tdp_mmu_spte_changed").filter(
    ({ fields }) => fields.level === "1" && fields.new === "0",
  ).length;
  assert.is(
    unmapped,
    total(({ notifier }) => notifier.unmapped),
  );
  assert.ok(counts.kvm_unmap_hva_range! >= unmapped);
  const before = 256 + 64; // frames of the host
  assert.ok(counts.mm_page_alloc! - counts.mm_page_free! <= before - host.memory.freePages);
});

test("begin and end of reclaim are pairs on each actor, kswapd wakes and sleeps in turn", async () => {
  const { lines } = await story();
  for (const kind of ["direct", "memcg"]) {
    const open = new Set<string>();
    for (const { event, comm } of lines) {
      const edge = event.replace(`mm_vmscan_${kind}_reclaim_`, "");
      if (edge === "begin") assert.not.ok(open.has(comm), comm);
      if (edge === "end") assert.ok(open.has(comm), comm);
      if (edge === "begin") open.add(comm);
      if (edge === "end") open.delete(comm);
    }
  }
  // Without sleep in between, kswapd wakes once more for each run over its priorities.
  const turns = lines.filter(({ event }) => /_kswapd_(wake|sleep)$/.test(event));
  assert.ok(turns.length > 4);
  for (const [index, { event, comm }] of turns.entries()) {
    assert.is(comm, "kswapd0");
    if (event.endsWith("sleep")) assert.is(turns[index - 1]?.event, "mm_vmscan_kswapd_wake");
  }
});

test("a batch of reclaim frees no more than it looked at, and batches sum to what was reclaimed", async () => {
  const { machine, of, sum } = await story();
  for (const { fields } of of("mm_vmscan_lru_shrink_inactive")) {
    assert.ok(Number(fields.scanned) <= 32 && Number(fields.priority) <= 12);
    assert.ok(Number(fields.reclaimed) <= Number(fields.scanned), JSON.stringify(fields));
  }
  const { reclaimedDirect, reclaimedKswapd } = machine.result().host.reclaim;
  assert.is(sum("mm_vmscan_lru_shrink_inactive", "reclaimed"), reclaimedDirect + reclaimedKswapd);
  const byEnds =
    sum("mm_vmscan_direct_reclaim_end", "reclaimed") + sum("mm_vmscan_memcg_reclaim_end", "reclaimed");
  assert.is(byEnds, reclaimedDirect);
  for (const { fields } of of("mm_vmscan_lru_isolate")) {
    assert.ok(Number(fields.taken) <= Number(fields.scanned));
    assert.ok(Number(fields.scanned) <= Number(fields.requested));
  }
});

test("every record names the thread that acted, on the CPU it was on, in the order of its time", async () => {
  const { lines } = await story();
  const last = new Map<string, number>();
  for (const { comm, cpu, seconds, event } of lines) {
    assert.match(comm, /^(kswapd0|CPU [01]\/KVM)$/);
    assert.ok(cpu < 2);
    if (event === "kvm_exit" || event === "kvm_entry" || event === "kvm_page_fault") {
      assert.match(comm, /^CPU \d\/KVM$/, `${event} at ${seconds}`);
    }
    assert.ok(
      seconds >= (last.get(comm) ?? 0) || comm.startsWith("CPU 0"),
      `${comm}: ${event} at ${seconds}`,
    );
    last.set(comm, seconds);
  }
});

test("a vCPU leaves the guest and comes back in turn", async () => {
  const { lines } = await story();
  // Two VMs have a vCPU 0: only the second's vCPU 1 can be told by its number.
  const turns = lines.filter(({ event, fields }) => fields.vcpu === "1" && /^kvm_(exit|entry)$/.test(event));
  for (const [index, { event }] of turns.entries()) {
    if (index > 0 && event === "kvm_exit") assert.is(turns[index - 1]!.event, "kvm_entry");
  }
});

test("an spte's history goes on where it ended, and its frame is one that was allocated or the page of zeroes", async () => {
  const { lines } = await story();
  const present = new Map<string, string>();
  const frames = new Set<number>();
  for (const { event, fields } of lines) {
    if (event === "mm_page_alloc") frames.add(Number.parseInt(fields.pfn!, 16));
    if (event === "mm_page_free") assert.ok(frames.delete(Number.parseInt(fields.pfn!, 16)), "freed twice");
    if (event !== "kvm_tdp_mmu_spte_changed" || fields.level !== "1" || fields.new === "0") continue;
    const pfn = Number((BigInt(`0x${fields.new}`) & 0x000ffffffffff000n) >> 12n);
    assert.ok(pfn === ZERO_PFN || frames.has(pfn), `gfn ${fields.gfn} maps frame ${pfn}`);
    present.set(fields.gfn!, fields.new!);
  }
  assert.ok(present.size > 200);
});

test("traceText gives each record out once", async () => {
  const [whole, parts] = [await everything(), await everything()];
  whole.run();
  let text = "";
  while (parts.run({ accesses: 500 }).stoppedBy !== "tasks") text += parts.traceText();
  assert.is(text + parts.traceText(), whole.traceText());
  assert.is(parts.traceText(), "");
});

test("a ring that overflows says how many records are lost, and keeps the last", async () => {
  const { lines } = await story();
  const full = await everything({ events: ["*"], capacity: 1000 });
  full.run({ accesses: 2500 });
  const kept = full.traceText().trimEnd().split("\n");
  const before = Object.values(full.traceCounts()).reduce((all, count) => all + count, 0);
  assert.equal(kept.slice(0, 3), [
    "# tracer: nop",
    "#",
    `# ${before - 1000} records lost: the ring holds 1000`,
  ]);
  assert.is(kept.length, 1003);

  full.run();
  const rest = full.traceText().trimEnd().split("\n");
  const after = Object.values(full.traceCounts()).reduce((all, count) => all + count, 0);
  assert.is(rest[0], `# ${after - before - 1000} records lost: the ring holds 1000`);
  assert.equal(read(rest.join("\n")), lines.slice(-1000));
});

test("patterns choose events, several add up, one that names none records none", async () => {
  const chosen = async (events: string[]): Promise<string[]> => {
    const one = await everything({ events, capacity: 2 ** 20 });
    one.run();
    return [...new Set(read(one.traceText()).map(({ event }) => event))].sort();
  };
  assert.equal(await chosen(["kvm_page_fault"]), ["kvm_page_fault"]);
  assert.equal(await chosen(["kvm_e*", "*_hva*"]), [
    "kvm_age_hva",
    "kvm_entry",
    "kvm_exit",
    "kvm_unmap_hva_range",
  ]);
  const { counts } = await story();
  assert.equal(await chosen(["*"]), TRACEPOINTS.filter((name) => counts[name]! > 0).sort());
  assert.equal(await chosen(["sched_switch"]), []);
  await refusal(() => everything({ events: [] }), "E_SCENARIO");
});

test("each event has a bit of its own", async () => {
  const core = new Core(await coreModule());
  const seen = [0, 0, 0, 0];
  for (const name of TRACEPOINTS) {
    const mask = traceMask(core, [name]);
    const bits = mask.map((word) => (word >>> 0).toString(2).replaceAll("0", "").length);
    assert.is(
      bits.reduce((sum, one) => sum + one),
      1,
      name,
    );
    for (const [word, bit] of mask.entries()) {
      assert.is(seen[word]! & bit, 0, name);
      seen[word]! |= bit;
    }
  }
  assert.equal(seen, [...traceMask(core, ["*"])]);
});

test("what happens before time starts has negative times", async () => {
  const task = { prefault: true, workload: { kind: "sequential" as const, pages: 50 } };
  const one = await create(roomy([task], { trace: ALL }));
  const early = read(one.traceText());
  assert.ok(early.length > 150);
  assert.ok(early.slice(0, -4).every(({ seconds }) => seconds < 0));
  one.run();
  assert.is(vmOf(one.result()).faults.minor.count, 0);
  assert.equal(
    read(one.traceText()).filter(({ event }) => event === "kvm_page_fault"),
    [],
  );
});

test.run();
