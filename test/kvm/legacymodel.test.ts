// At stake: what the legacy MMU maps, and why an access faults. Random accesses, advice, dirty logs and slots that come and go beside a plain
// model without a reverse map (reference/legacy.ts); every entry of every frame is compared after each step, and the debug core walks its lists.

import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { Machine } from "#dist/index.js";
import { LegacyModel, type LegacySlot } from "../reference/legacy.js";
import { parameters } from "../reference/report.js";
import { debugModule } from "../scenes.js";

const HVA = 0x7e0000000000;
const PAGES = 20;
/** Two slots over one backing, whose groups of eight do not fall together; a read-only one over it too; one with memory of its own. */
const SLOTS = [
  { gfn: 0, first: 0, readOnly: false },
  { gfn: 603, first: 0, readOnly: false },
  { gfn: 1200, first: 0, readOnly: true },
  { gfn: PAGES, first: PAGES, readOnly: false },
];

const setting = ({ gfn, first, readOnly, logs = false }: (typeof SLOTS)[number] & { logs?: boolean }) => ({
  gfn,
  pages: PAGES,
  hva: HVA + first * 4096,
  flags: [...(readOnly ? ["read-only" as const] : []), ...(logs ? ["log-dirty-pages" as const] : [])],
});

async function machineOf(): Promise<Machine> {
  const vm = {
    name: "vm",
    memory: SLOTS.length * PAGES * 4096,
    vcpus: 2,
    mmu: "legacy" as const,
    memslots: SLOTS.map(setting),
  };
  return Machine.create({ host: { memory: "4MiB" }, vms: [vm] }, { module: await debugModule });
}

const modelOf = (): LegacyModel =>
  new LegacyModel(
    new Map(SLOTS.map((slot, id) => [id, { ...slot, pages: PAGES, logs: false, dirty: new Set<number>() }])),
  );

const where = { id: fc.nat(SLOTS.length - 1), page: fc.nat(PAGES - 1) };
const step = fc.oneof(
  {
    weight: 12,
    arbitrary: fc.record({
      kind: fc.constantFrom("read" as const, "write" as const),
      vcpu: fc.nat(1),
      ...where,
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      kind: fc.constantFrom("dontneed" as const, "host read" as const, "host write" as const),
      ...where,
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      kind: fc.constantFrom("log" as const, "get" as const, "slot" as const),
      ...where,
    }),
  },
);
type Step = typeof step extends fc.Arbitrary<infer T> ? T : never;

/** One step on both sides; what they say is compared. */
function advance(machine: Machine, model: LegacyModel, step: Step): void {
  const shape = SLOTS[step.id]!;
  const gfn = shape.gfn + step.page;
  const slot = model.slots.get(step.id);
  if (step.kind === "read" || step.kind === "write") {
    const expected = model.access(gfn, step.kind === "write");
    assert.is(machine.access("vm", step.vcpu, gfn, step.kind).fault, expected, `${step.kind} of ${gfn}`);
  } else if (step.kind === "log") {
    if (slot === undefined || slot.readOnly) return;
    model.setLog(slot, !slot.logs);
    assert.is(machine.setMemslot("vm", step.id, setting(slot)).change, "flags");
  } else if (step.kind === "get") {
    if (slot?.logs === true) assert.equal(machine.dirtyLog("vm", step.id).dirty, model.takeDirty(slot));
  } else if (step.kind === "slot") {
    changeSlot(machine, model, step.id, slot);
  } else if (slot !== undefined) {
    const page = shape.first + step.page;
    if (step.kind === "dontneed") model.dontneed(page);
    else model.hostFault(page, step.kind === "host write");
    machine.advise("vm", step.kind.replace("host ", "") as "dontneed" | "read" | "write", { gfn });
  }
}

// A slot that is there goes, one that is gone comes back without a log.
function changeSlot(machine: Machine, model: LegacyModel, id: number, slot: LegacySlot | undefined): void {
  if (slot !== undefined) {
    model.deleteSlot(id);
    assert.is(machine.setMemslot("vm", id, null).change, "delete");
    return;
  }
  model.slots.set(id, { ...SLOTS[id]!, pages: PAGES, logs: false, dirty: new Set() });
  assert.is(machine.setMemslot("vm", id, setting(SLOTS[id]!)).change, "create");
}

/** Every frame's entry: there or not, writable or not, and of the frame that the host maps. */
function compare(machine: Machine, model: LegacyModel): void {
  for (const slot of model.slots.values()) {
    for (let gfn = slot.gfn; gfn < slot.gfn + PAGES; gfn++) {
      const { sptes, pte, frame } = machine.inspect({ vm: "vm", gfn });
      const { spte, mmio } = sptes.find((each) => each.gfn === gfn)!;
      assert.is(mmio !== undefined, model.mmio.has(gfn), `gfn ${gfn}`);
      const got = mmio === undefined ? BigInt(spte) : 0n;
      const expected = model.sptes.get(gfn);
      assert.equal(
        [got !== 0n, (got & 2n) !== 0n],
        [expected !== undefined, expected?.writable === true],
        `gfn ${gfn}`,
      );
      assert.is(pte!.state, model.host.get(slot.first + gfn - slot.gfn) ?? "none", `gfn ${gfn}`);
      if (got !== 0n && pte!.state === "present") assert.is(Number((got >> 12n) & 0xffffffn), frame!.pfn);
    }
  }
}

test("the core maps what the plain model maps, and each access faults as it says", async () => {
  const met = { neighbours: 0, minor: 0, writeProtect: 0 };
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 60, maxLength: 120 }), async (steps) => {
      const machine = await machineOf();
      const model = modelOf();
      for (const each of steps) {
        advance(machine, model, each);
        compare(machine, model);
        machine.check();
      }
      const { faults } = machine.result().vms[0]!;
      met.neighbours += model.neighbours;
      met.minor += faults.minor.count;
      met.writeProtect += faults.writeProtect.count;
    }),
    parameters(15),
  );
  assert.ok(met.neighbours > 40 && met.minor > 150 && met.writeProtect > 3, JSON.stringify(met));
});

for (const flag of ["log-dirty-pages", "read-only"] as const) {
  test(`nothing is mapped along in a slot that is ${flag}: its writes are to be seen, or refused`, async () => {
    const machine = await machineOf();
    for (const page of [0, 1, 3]) machine.access("vm", 0, page, "write");
    const id = flag === "read-only" ? 2 : 1;
    const { gfn } = SLOTS[id]!;
    if (flag === "log-dirty-pages") machine.setMemslot("vm", id, setting({ ...SLOTS[id]!, logs: true }));
    machine.access("vm", 0, gfn + 1, "read");
    const mapped = (at: number): boolean =>
      machine
        .inspect({ vm: "vm", gfn: at })
        .sptes.some((each) => each.gfn === at && BigInt(each.spte) !== 0n);
    assert.equal(
      [0, 1, 3].map((page) => mapped(gfn + page)),
      [false, true, false],
    );
    machine.check();
  });
}

test.run();
