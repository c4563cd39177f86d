// At stake: accesses to frames without memory. KVM must know them again by the entry that the first one left, as long as that is true; the entry must never serve an
// access, and never count once a slot may hold the frame. Bits against the documented layout; the tracepoints' story; random slots and accesses beside a plain
// model (a Map of generations), under every MMU; the debug core looks at every entry after each step.

import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { Core, coreModule } from "#dist/core.js";
import { Machine } from "#dist/index.js";
import type { Scenario } from "#dist/scenario.js";
import { parameters } from "../reference/report.js";
import { debugModule, lasting, type Vm } from "../scenes.js";

const core = new Core(await coreModule());
const { call } = core;
const FORMATS = [core.constant("SPTE_EPT"), core.constant("SPTE_NPT")] as const;
const [EPT] = FORMATS;
const GENERATIONS = 2 ** 19;
const [WRITE, USER] = [2, 4];

function bitsAt(address: number): bigint {
  const [low, high] = core.u32(address >>> 0, 2);
  return (BigInt(high!) << 32n) | BigInt(low!);
}

test("a generation stands in bits 3 to 10 and 52 to 62", () => {
  const bits = (generation: number): string => `0x${bitsAt(call.mmioCaseBits(generation)).toString(16)}`;
  assert.equal([1, 0xff, 0x100, 0x7ffff, 0x80000].map(bits), [
    "0x8",
    "0x7f8",
    "0x10000000000000",
    "0x7ff00000000007f8",
    "0x0",
  ]);
});

test("an MMIO spte is broken to the hardware, not present to KVM, and gives back what went into it", () => {
  fc.assert(
    fc.property(
      fc.constantFrom(...FORMATS),
      fc.nat(GENERATIONS - 1),
      fc.nat(2 ** 31 - 1),
      fc.nat(7),
      (format, generation, gfn, access) => {
        const spte = bitsAt(call.mmioCaseSpte(format, generation, gfn, access));
        assert.is(spte & 0x800n, 0n, "MMU-present");
        if (format === EPT) assert.is(spte & 7n, 6n);
        else assert.is(spte & ((1n << 51n) | 1n), (1n << 51n) | 1n);
        assert.is((spte >> 39n) & 31n, 31n, "no line below 2^44 has such an address");
        for (const each of FORMATS) assert.is(call.mmioCaseIs(each) !== 0, each === format);
        assert.is(call.mmioCaseGfn() >>> 0, gfn);
        assert.is(call.mmioCaseGeneration() >>> 0, generation);
        assert.is(call.mmioCaseAccess(format) >>> 0, format === EPT ? 0 : access & (WRITE | USER));
      },
    ),
    parameters(300),
  );
});

const HVA = 0x7e0000000000;
const PAGES = 16;
const HOLE = 100;
const FIRST = { gfn: 0, pages: PAGES, hva: HVA };
const SECOND = { gfn: 600, pages: PAGES, hva: HVA + PAGES * 4096 };

async function machineOf(
  vm: Partial<Vm> = {},
  host: Partial<Scenario["host"]> = {},
  others: Partial<Scenario> = {},
  traced = true,
): Promise<Machine> {
  return Machine.create(
    {
      host: { memory: "8MiB", cpus: 2, swap: [{ kind: "zram-lz4", size: "4MiB" }], ...host },
      vms: [{ name: "vm", memory: 2 * PAGES * 4096, vcpus: 2, memslots: [FIRST, SECOND], ...vm }],
      ...(traced && { trace: { events: ["*mmio*", "kvm_exit", "kvm_page_fault"], capacity: 4096 } }),
      ...others,
    },
    { module: await debugModule },
  );
}

/** What has happened since the last call, of the events that `pattern` matches. */
function told(machine: Machine, pattern: RegExp): string[] {
  return machine
    .traceEvents()
    .events.filter(({ name }) => pattern.test(name))
    .map(({ name, text }) => `${name}: ${text}`.replace(/sptep:[0-9a-f]{16}/, "sptep:*"));
}

const coreOf = (machine: Machine): Core => (machine as unknown as { core: Core }).core;
const ns = (machine: Machine, gfn: number, vcpu = 0): number => machine.access("vm", vcpu, gfn, "read").ns;
const mmioOf = (machine: Machine, gfn: number) =>
  machine.inspect({ vm: "vm", gfn }).sptes.find((each) => each.gfn === gfn)?.mmio;

for (const mmu of ["tdp", "legacy"] as const) {
  test(`${mmu}: the first access leaves an entry, others are known by it, and a change of the slots makes it stale`, async () => {
    const machine = await machineOf({ mmu });
    const mmio = /mmio/;
    assert.is(machine.access("vm", 0, HOLE, "read").fault, "mmio");
    assert.equal(told(machine, mmio), ["mark_mmio_spte: sptep:* gfn 64 access 0 gen 4"]);
    assert.equal(mmioOf(machine, HOLE), { generation: 4, current: true });
    const { spte } = machine.inspect({ vm: "vm", gfn: HOLE }).sptes[0]!;

    machine.access("vm", 0, HOLE, "write");
    const known = [
      `check_mmio_spte: spte ${spte.slice(2)} kvm_gen 4 spte-gen 4 valid 1`,
      "handle_mmio_page_fault: addr:0 gfn 64 access 0",
    ];
    assert.equal(told(machine, mmio), known);
    machine.access("vm", 0, HOLE, "write");
    assert.equal(told(machine, mmio), [], "the vCPU remembers it");
    machine.access("vm", 1, HOLE, "write");
    assert.equal(told(machine, mmio), known, "another one does not");

    machine.setMemslot("vm", 0, { ...FIRST, flags: ["log-dirty-pages"] });
    assert.equal(mmioOf(machine, HOLE), { generation: 4, current: false });
    machine.access("vm", 0, HOLE, "read");
    assert.equal(told(machine, mmio), [
      `check_mmio_spte: spte ${spte.slice(2)} kvm_gen 6 spte-gen 4 valid 0`,
      "mark_mmio_spte: sptep:* gfn 64 access 0 gen 6",
    ]);
    machine.check();
    assert.equal(machine.result().vms[0]!.mmio, { exits: 5, sptes: 2 });
  });

  test(`${mmu}: a slot that comes over such an entry is memory; EPT does not say what the access was, so a write is a read first`, async () => {
    for (const [vendor, exits] of [
      ["intel", 2],
      ["amd", 1],
    ] as const) {
      const machine = await machineOf({ mmu }, { vendor });
      machine.access("vm", 0, HOLE, "read");
      assert.is(machine.setMemslot("vm", 7, { gfn: HOLE, pages: 4 }).change, "create");
      assert.equal(mmioOf(machine, HOLE), { generation: 4, current: false });
      machine.check();
      const step = machine.access("vm", 0, HOLE, "write");
      assert.equal([step.fault, step.exits], ["minor", exits]);
      assert.is(mmioOf(machine, HOLE), undefined);
      assert.is(machine.access("vm", 0, HOLE, "write").fault, null);
      machine.check();
    }
  });

  test(`${mmu}: slots go and come, and what was MMIO is memory again without a word`, async () => {
    const machine = await machineOf({ mmu }, {}, { check: { integrity: true } });
    machine.access("vm", 0, 601, "write");
    machine.setMemslot("vm", 1, null);
    assert.is(machine.access("vm", 0, 601, "write").fault, "mmio");
    assert.equal(mmioOf(machine, 601), { generation: 8, current: true });
    machine.setMemslot("vm", 1, SECOND);
    assert.is(machine.access("vm", 1, 601, "read").fault, "minor");
    machine.setMemslot("vm", 1, null);
    assert.is(mmioOf(machine, 601), undefined, "deleting drops every entry, such ones too");
    machine.check();
    assert.is(machine.result().vms[0]!.integrity.lostWrites, 0);
  });
}

test("the exits are those of the hardware: a misconfiguration of EPT, a reserved bit of NPT", async () => {
  const exits = async (vendor: "intel" | "amd"): Promise<string[]> => {
    const machine = await machineOf({}, { vendor });
    machine.access("vm", 0, HOLE, "write");
    machine.access("vm", 0, HOLE, "write");
    return told(machine, /kvm_exit|page_fault/).map((line) => line.replace(/ intr_info.*/, ""));
  };
  const gpa = "0x0000000000064000";
  assert.equal(await exits("intel"), [
    "kvm_exit: vcpu 0 reason EPT_VIOLATION rip 0x0 info1 0x0000000000000182 info2 0x0000000000000000",
    `kvm_page_fault: vcpu 0 rip 0x0 address ${gpa} error_code 0x100000002`,
    "kvm_exit: vcpu 0 reason EPT_MISCONFIG rip 0x0 info1 0x0000000000000000 info2 0x0000000000000000",
    "handle_mmio_page_fault: addr:0 gfn 64 access 0",
  ]);
  assert.equal(await exits("amd"), [
    `kvm_exit: vcpu 0 reason npf rip 0x0 info1 0x0000000100000006 info2 ${gpa}`,
    `kvm_page_fault: vcpu 0 rip 0x0 address ${gpa} error_code 0x100000006`,
    `kvm_exit: vcpu 0 reason npf rip 0x0 info1 0x000000010000000f info2 ${gpa}`,
    `kvm_page_fault: vcpu 0 rip 0x0 address ${gpa} error_code 0x10000000f`,
    "handle_mmio_page_fault: addr:0 gfn 64 access 6",
  ]);
});

test("an access that the monitor answers costs exitUserNs, and the one that leaves an entry eptMapNs besides", async () => {
  const machine = await machineOf({}, {}, { costs: { exitUserNs: 5000, eptMapNs: 800, memDramNs: 100 } });
  assert.equal([ns(machine, HOLE), ns(machine, HOLE), ns(machine, HOLE, 1)], [5900, 5100, 5100]);
  machine.setMemslot("vm", 0, { ...FIRST, flags: ["log-dirty-pages"] });
  assert.is(ns(machine, HOLE), 5900);
});

test("a write to a read-only slot leaves no entry, and neither do the designs of 2007 and 2008", async () => {
  const readOnly = await machineOf({ memslots: [FIRST, { ...SECOND, flags: ["read-only"] }] });
  for (let time = 0; time < 3; time++) assert.is(readOnly.access("vm", 0, 600, "write").fault, "mmio");
  assert.equal(readOnly.result().vms[0]!.mmio, { exits: 3, sptes: 0 });
  assert.is(readOnly.access("vm", 0, 600, "read").fault, "minor");

  const old: Partial<Vm>[] = [
    { mmu: "legacy", mmuNotifier: "notifier-2008" },
    { mmu: "legacy", hostPaging: "writepage-2007" },
  ];
  for (const vm of old) {
    const machine = await machineOf(vm);
    for (let time = 0; time < 3; time++) assert.is(machine.access("vm", 0, HOLE, "write").fault, "mmio");
    machine.check();
    assert.equal(machine.result().vms[0]!.mmio, { exits: 3, sptes: 0 });
    assert.equal(machine.inspect({ vm: "vm", gfn: HOLE }).sptes, []);
  }
});

test("frames far beyond every slot have entries too, and slots may come over them", async () => {
  const far = [700, 5000, 2 ** 18, 2 ** 27 - 1, 2 ** 27, 2 ** 31 - 1];
  for (const vm of [{}, { pageTableLevels: 5 as const }, { mmu: "legacy" as const }]) {
    const machine = await machineOf(vm);
    for (const gfn of far) {
      for (const vcpu of [0, 1]) assert.is(machine.access("vm", vcpu, gfn, "write").fault, "mmio");
      assert.equal(mmioOf(machine, gfn), { generation: 4, current: true });
      machine.check();
    }
    assert.equal(machine.result().vms[0]!.mmio, { exits: 2 * far.length, sptes: far.length });
    const { bytes } = machine.footprint();
    for (const gfn of far) machine.access("vm", 0, gfn + 1 - 2 * (gfn & 1), "read");
    assert.is(machine.footprint().bytes, bytes, "the tables are there");
    const slots = [700, 5000, 2 ** 18, 2 ** 20 - 8];
    for (const [id, gfn] of slots.entries()) {
      assert.is(machine.setMemslot("vm", 10 + id, { gfn, pages: 16 }).change, "create");
      machine.check();
      for (const vcpu of [0, 1]) assert.is.not(machine.access("vm", vcpu, gfn, "write").fault, "mmio");
      machine.check();
    }
    assert.is(machine.access("vm", 0, 2 ** 31 - 1, "read").fault, "mmio");
    machine.setMemslot("vm", 10, null);
    assert.is(mmioOf(machine, 2 ** 31 - 1), undefined);
    machine.check();
  }
});

test("when the generations begin again, every entry goes first", async () => {
  for (const mmu of ["tdp", "legacy"] as const) {
    for (const change of ["create", "delete", "flags"] as const) {
      const machine = await machineOf({ mmu });
      const zaps = (): number => machine.traceCounts().kvm_mmu_zap_all_fast!;
      // Entries of generation 0: the number is a multiple of 2^19 now.
      coreOf(machine).call.mmioCaseMemslots(0, 3 * GENERATIONS);
      machine.access("vm", 0, HOLE, "read");
      machine.access("vm", 0, 0, "write");
      assert.equal(mmioOf(machine, HOLE), { generation: 0, current: true });
      coreOf(machine).call.mmioCaseMemslots(0, 4 * GENERATIONS - (change === "delete" ? 4 : 2));
      assert.equal(mmioOf(machine, HOLE), { generation: 0, current: false });
      if (change === "create") machine.setMemslot("vm", 7, { gfn: HOLE, pages: 4 });
      else if (change === "delete") machine.setMemslot("vm", 1, null);
      else machine.setMemslot("vm", 0, { ...FIRST, flags: ["log-dirty-pages"] });
      machine.check();
      assert.is(zaps(), change === "delete" ? 2 : 1);
      assert.is(mmioOf(machine, HOLE), undefined);
      assert.is(machine.access("vm", 0, 0, "read").exits, 1, "what was mapped goes along");
      assert.is(machine.access("vm", 1, HOLE, "read").fault, change === "create" ? "minor" : "mmio");
    }
  }
});

/** The plain model: the generation in which each frame was last noted, by frame; every delete or move forgets all. */
class Plain {
  readonly noted = new Map<number, number>();
  readonly slots = new Map<number, { gfn: number; pages: number }>();
  private readonly remembered = new Map<number, { gfn: number; generation: number }>();
  generation = 0;
  counts = { exits: 0, sptes: 0, checked: 0, handled: 0 };

  backed(gfn: number): boolean {
    return [...this.slots.values()].some((slot) => gfn >= slot.gfn && gfn < slot.gfn + slot.pages);
  }

  access(vcpu: number, gfn: number): void {
    const made = this.noted.get(gfn);
    const last = this.remembered.get(vcpu);
    const known = last?.gfn === gfn && last.generation === this.generation && made !== undefined;
    if (made !== undefined && !known) this.counts.checked++;
    if (this.backed(gfn)) {
      this.noted.delete(gfn);
      return;
    }
    this.counts.exits++;
    if (known) return;
    if (made === this.generation) {
      this.counts.handled++;
      this.remembered.set(vcpu, { gfn, generation: this.generation });
    } else {
      this.counts.sptes++;
      this.noted.set(gfn, this.generation);
    }
  }

  changed(change: string): void {
    this.generation += change === "delete" || change === "move" ? 4 : 2;
    if (change === "delete" || change === "move") this.noted.clear();
  }
}

const GFNS = [HOLE, HOLE + 1, 600, 603, 1000, 5000, 2 ** 31 - 1];
const step = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      kind: fc.constantFrom("read" as const, "write" as const),
      vcpu: fc.nat(1),
      gfn: fc.constantFrom(...GFNS, 0, 1),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      kind: fc.constant("set" as const),
      id: fc.integer({ min: 1, max: 3 }),
      gfn: fc.constantFrom(HOLE, 596, 600, 999, 5000),
      gone: fc.boolean(),
    }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("log" as const), on: fc.boolean() }) },
);

const DESIGNS: [string, Partial<Vm>, Partial<Scenario["host"]>][] = [
  ["tdp", {}, {}],
  ["tdp, NPT, 5 levels", { pageTableLevels: 5 }, { vendor: "amd" }],
  ["legacy", { mmu: "legacy" }, {}],
  ["legacy, NPT, few tables", { mmu: "legacy", mmuPages: 16 }, { vendor: "amd" }],
];
for (const [name, vm, host] of DESIGNS) {
  test(`${name}: entries, exits and tracepoints are those of a plain model`, async () => {
    const met = { exits: 0, sptes: 0, checked: 0, handled: 0 };
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 20, maxLength: 90 }), async (steps) => {
        const machine = await machineOf(vm, host, { check: { integrity: true } });
        const plain = new Plain();
        plain.slots.set(0, FIRST).set(1, SECOND);
        plain.generation = 4;
        for (const each of steps) {
          if (each.kind === "set") {
            const slot = each.gone ? null : { gfn: each.gfn, pages: 4, hva: HVA + (64 + 8 * each.id) * 4096 };
            const { change } = machine.setMemslot("vm", each.id, slot);
            if (change !== null && change !== "nothing") plain.changed(change);
            if (change === "delete") plain.slots.delete(each.id);
            if (change === "create" || change === "move") plain.slots.set(each.id, slot!);
          } else if (each.kind === "log") {
            const { change } = machine.setMemslot("vm", 0, {
              ...FIRST,
              flags: each.on ? ["log-dirty-pages"] : [],
            });
            if (change !== "nothing") plain.changed("flags");
          } else {
            const { fault } = machine.access("vm", each.vcpu, each.gfn, each.kind);
            assert.is(fault === "mmio", !plain.backed(each.gfn), `gfn ${each.gfn}`);
            plain.access(each.vcpu, each.gfn);
            // What is mapped along with a neighbour takes the place of a stale entry.
            for (const gfn of plain.noted.keys())
              if (vm.mmu === "legacy" && plain.backed(gfn) && mmioOf(machine, gfn) === undefined)
                plain.noted.delete(gfn);
          }
          machine.check();
          if (vm.mmuPages === undefined) for (const gfn of GFNS) compare(machine, plain, gfn);
        }
        const { exits, sptes } = machine.result().vms[0]!.mmio;
        const { check_mmio_spte: checked, handle_mmio_page_fault: handled } = machine.traceCounts();
        if (vm.mmuPages === undefined) assert.equal({ exits, sptes, checked, handled }, plain.counts);
        else assert.is(exits, plain.counts.exits);
        for (const each of ["exits", "sptes", "checked", "handled"] as const) met[each] += plain.counts[each];
      }),
      parameters(12),
    );
    for (const [each, times] of Object.entries(met)) assert.ok(times > 20, `${each}: ${times}`);
  });
}

function compare(machine: Machine, plain: Plain, gfn: number): void {
  const made = plain.noted.get(gfn);
  const expected = made === undefined ? undefined : { generation: made, current: made === plain.generation };
  assert.equal(mmioOf(machine, gfn), expected, `gfn ${gfn}`);
}

test("tasks whose memory is taken away go on by the monitor, and plain faults in one go agree with those by steps", async () => {
  const runs = await Promise.all(
    [1, 0].map(async (allowed) => {
      const tasks = [{ workload: { kind: "uniform" as const, pages: 2 * PAGES, writes: 0.5 } }];
      const second = { ...SECOND, gfn: PAGES };
      const machine = await machineOf({ guest: { tasks }, memslots: [FIRST, second] }, {}, {}, false);
      coreOf(machine).call.atOnceAllow(allowed);
      machine.run({ accesses: 300 });
      machine.setMemslot("vm", 1, null);
      machine.run({ accesses: 300 });
      machine.setMemslot("vm", 1, second);
      machine.run({ accesses: 300 });
      machine.check();
      return lasting(machine.result());
    }),
  );
  const { exits, sptes } = runs[0]!.vms[0]!.mmio;
  assert.ok(exits > 100 && sptes === PAGES, `${exits} ${sptes}`);
  assert.equal(runs[0], runs[1]);
});

const SHADOW_FIRST = { gfn: 0, pages: 64, hva: HVA };
const SHADOW_SECOND = { gfn: 600, pages: PAGES, hva: HVA + 64 * 4096 };

function shadowed(vm: Partial<Vm> = {}): Promise<Machine> {
  const memory = (64 + PAGES) * 4096;
  return machineOf(
    { mmu: "shadow", memory, memslots: [SHADOW_FIRST, SHADOW_SECOND], ...vm },
    {},
    { check: { integrity: true } },
  );
}

test("shadow paging: an entry keeps what the guest's table allows, and stands for a page of the guest's addresses", async () => {
  const machine = await shadowed();
  machine.access("vm", 0, 601, "write");
  machine.setMemslot("vm", 1, null);
  told(machine, /./);
  for (const vcpu of [0, 0, 0, 1]) assert.is(machine.access("vm", vcpu, 601, "write").fault, "mmio");
  machine.check();
  const exit = (vcpu: number, error: number): string =>
    `kvm_page_fault: vcpu ${vcpu} rip 0x0 address 0x0000000000259000 error_code 0x${error.toString(16)}`;
  const lines = told(machine, /mmio|page_fault/);
  const check = lines.find((line) => line.startsWith("check"))!;
  assert.match(check, /^check_mmio_spte: spte [0-9a-f]+ kvm_gen 8 spte-gen 8 valid 1$/);
  const known = [check, "handle_mmio_page_fault: addr:259000 gfn 259 access 6"];
  assert.equal(lines, [
    exit(0, 2),
    "mark_mmio_spte: sptep:* gfn 259 access 6 gen 8",
    exit(0, 11),
    ...known,
    exit(0, 11),
    exit(1, 2), // its root has gone with the others: it walks from none
    "mark_mmio_spte: sptep:* gfn 259 access 6 gen 8",
  ]);
  assert.equal(mmioOf(machine, 601), { generation: 8, current: true });
});

for (const mmuRoots of ["shared", "per-vcpu"] as const) {
  test(`shadow paging, roots ${mmuRoots}: slots go and come under tables that the guest changes, and memory is what it was`, async () => {
    let exits = 0;
    await fc.assert(
      fc.asyncProperty(
        fc.array(
          fc.oneof(
            {
              weight: 6,
              arbitrary: fc.record({
                kind: fc.constantFrom("read" as const, "write" as const),
                vcpu: fc.nat(1),
                gfn: fc.constantFrom(0, 1, 600, 601, 602, 603),
              }),
            },
            { weight: 2, arbitrary: fc.record({ kind: fc.constant("slot" as const) }) },
            {
              weight: 1,
              arbitrary: fc.record({
                kind: fc.constant("edit" as const),
                vcpu: fc.nat(1),
                gfn: fc.constantFrom(0, 600, 602),
                clear: fc.constantFrom(0x20, 0x40, 0x60),
              }),
            },
          ),
          { minLength: 20, maxLength: 80 },
        ),
        async (steps) => {
          const machine = await shadowed({ mmuRoots });
          let there = true;
          for (const each of steps) {
            if (each.kind === "slot") {
              there = !there;
              assert.is(machine.setMemslot("vm", 1, there ? SHADOW_SECOND : null).error, null);
            } else if (each.kind === "edit") {
              if (there || each.gfn < 64)
                machine.editPageTable("vm", each.vcpu, { gfn: each.gfn }, { clear: each.clear });
            } else {
              const { fault } = machine.access("vm", each.vcpu, each.gfn, each.kind);
              assert.is(fault === "mmio", !there && each.gfn >= 64, `gfn ${each.gfn}`);
            }
            machine.check();
          }
          const { integrity, mmio } = machine.result().vms[0]!;
          assert.equal([integrity.lostWrites, integrity.staleReads], [0, 0]);
          exits += mmio.exits;
        },
      ),
      parameters(15),
    );
    assert.ok(exits > 50, `${exits}`);
  });
}

test("forks and snapshots know the entries", async () => {
  const machine = await machineOf();
  for (const gfn of [HOLE, 5000, 2 ** 31 - 1]) machine.access("vm", 0, gfn, "read");
  const others = [machine.fork(), await Machine.restore(machine.snapshot(), { module: await debugModule })];
  for (const each of [machine, ...others]) {
    assert.equal([ns(each, HOLE), ns(each, 2 ** 31 - 1, 1)], [1700, 1700]);
    each.setMemslot("vm", 7, { gfn: 4990, pages: 16 });
    assert.is(each.access("vm", 0, 5000, "read").fault, "minor");
    each.check();
    assert.equal(lasting(each.result()), lasting(machine.result()));
  }
});

test.run();
