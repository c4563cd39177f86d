// At stake: changes of a memory map that lives. Random changes, accesses and advice beside a plain model of the slots: KVM accepts and refuses as
// the documented order of checks says, a frame is reached exactly through the slot that holds it, and a slot that was moved or deleted leaves
// nothing mapped (the debug core walks every entry after each step) and no table, which is printed as a real kernel prints it.

import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { Machine } from "#dist/index.js";
import type { Scenario } from "#dist/scenario.js";
import { parameters } from "../reference/report.js";
import { debugModule, ROOT, type Vm } from "../scenes.js";

const CAPTURE = join(ROOT, "../shared/traces/kvm/dirtylog-tdp");
const HVA = 0x7e0000000000;
const UNIT = 16;
const SLOTS = 4;

interface Slot {
  gfn: number;
  pages: number;
  hva: number;
}

async function machineOf(db: Partial<Vm> = {}, trace?: Scenario["trace"]): Promise<Machine> {
  return Machine.create(
    {
      host: { memory: "4MiB", cpus: 2, swap: [{ kind: "zram-lz4", size: "4MiB" }] },
      check: { integrity: true },
      ...(trace === undefined ? {} : { trace }),
      vms: [
        {
          name: "vm",
          memory: SLOTS * UNIT * 4096,
          vcpus: 2,
          memslots: Array.from({ length: SLOTS }, (_, id) => ({
            gfn: 600 * id,
            pages: UNIT,
            hva: HVA + (id >> 1) * UNIT * 4096,
          })),
          ...db,
        },
      ],
    },
    { module: await debugModule },
  );
}

const change = fc.record({
  kind: fc.constant("set" as const),
  id: fc.nat(SLOTS),
  gfn: fc.constantFrom(0, 8, 16, 512, 600, 608, 1200, 1800, 1816),
  pages: fc.constantFrom(0, 8, UNIT, UNIT, UNIT),
  hva: fc.constantFrom(0, UNIT * 4096, 100),
});
const touch = fc.record({
  kind: fc.constantFrom("read" as const, "write" as const),
  vcpu: fc.nat(1),
  gfn: fc.oneof(
    fc.nat(40),
    fc.integer({ min: 500, max: 640 }),
    fc.integer({ min: 1190, max: 1220 }),
    fc.integer({ min: 1790, max: 1816 }),
  ),
});

/** The documented order: arguments, then what the change is, then overlap. */
function verdict(slots: Map<number, Slot>, id: number, { gfn, pages, hva }: Slot): string {
  const slot = slots.get(id);
  if (hva % 4096 !== 0) return "EINVAL";
  if (pages === 0) return slot === undefined ? "EINVAL" : "delete";
  if (slot !== undefined && (slot.hva !== hva || slot.pages !== pages)) return "EINVAL";
  if (slot !== undefined && slot.gfn === gfn) return "nothing";
  const overlaps = [...slots].some(
    ([other, each]) => other !== id && gfn < each.gfn + each.pages && each.gfn < gfn + pages,
  );
  if (overlaps) return "EEXIST";
  return slot === undefined ? "create" : "move";
}

test("slots come, move and go as KVM decides, and a frame is reached through its slot alone", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.oneof({ weight: 1, arbitrary: change }, { weight: 4, arbitrary: touch }), {
        maxLength: 80,
      }),
      async (steps) => {
        const machine = await machineOf();
        const slots = new Map<number, Slot>(
          Array.from({ length: SLOTS }, (_, id) => [
            id,
            { gfn: 600 * id, pages: UNIT, hva: HVA + (id >> 1) * UNIT * 4096 },
          ]),
        );
        for (const step of steps) {
          if (step.kind === "set") {
            const setting = { gfn: step.gfn, pages: step.pages, hva: HVA + step.hva };
            const expected = verdict(slots, step.id, setting);
            const { change: got, error } = machine.setMemslot(
              "vm",
              step.id,
              step.pages === 0 ? null : setting,
            );
            if (step.pages === 0 && step.hva === 100)
              assert.is(error ?? got, slots.has(step.id) ? "delete" : "EINVAL");
            else assert.is(error ?? got, expected);
            const made = error ?? got;
            if (made === "delete") slots.delete(step.id);
            else if (made === "create" || made === "move") slots.set(step.id, setting);
          } else {
            const { fault } = machine.access("vm", step.vcpu, step.gfn, step.kind);
            const held = [...slots.values()].some(
              ({ gfn, pages }) => step.gfn >= gfn && step.gfn < gfn + pages,
            );
            assert.is(fault === "mmio", !held, `gfn ${step.gfn}`);
          }
          machine.check();
        }
      },
    ),
    parameters(25),
  );
});

test("deleting a slot drops every mapping of the VM, and the contents of its memory stay with the process", async () => {
  const machine = await machineOf();
  for (const gfn of [0, 600, 1200]) machine.access("vm", 0, gfn, "write");
  assert.is(machine.setMemslot("vm", 1, null).change, "delete");
  assert.is(machine.access("vm", 0, 600, "read").fault, "mmio");
  assert.is(machine.access("vm", 0, 0, "read").fault, "minor", "its mapping went with the others");
  assert.is(machine.setMemslot("vm", 1, { gfn: 600, pages: UNIT, hva: HVA }).change, "create");
  assert.is(machine.access("vm", 0, 600, "read").fault, "minor");
  assert.is(machine.result().vms[0]!.integrity.lostWrites, 0);
  machine.check();
});

for (const mmu of ["tdp", "legacy"] as const) {
  for (const pageTableLevels of [4, 5] as const) {
    test(`${mmu}, ${pageTableLevels} levels: a slot that goes or moves takes every table along, and their frames serve again`, async () => {
      const machine = await machineOf({ mmu, pageTableLevels }, { events: ["kvm_mmu*"], capacity: 4096 });
      const made = (): number => (machine.traceCounts().kvm_mmu_get_page ?? 0) + 1; // the first root was there before time began
      const gone = (): number => (machine.traceCounts().kvm_mmu_prepare_zap_page ?? 0) + rootsGone;
      let rootsGone = 0;
      const process: number[] = [];
      for (let round = 0; round < 6; round++) {
        for (let id = 0; id < SLOTS; id++)
          machine.access("vm", id % 2, homeOf(id, round) + (round % 3), "write");
        machine.check();
        const before = tableFrames(machine);
        const tables = made() - gone();
        assert.is(
          tables,
          pageTableLevels - 1 + SLOTS,
          "one a level above the leaves, and a leaf table for each slot",
        );
        const moves = round % 2 === 0;
        const setting = { gfn: homeOf(3, round + 1), pages: UNIT, hva: HVA + UNIT * 4096 };
        assert.is(machine.setMemslot("vm", 3, moves ? setting : null).change, moves ? "move" : "delete");
        if (mmu === "tdp") rootsGone++; // the TDP MMU does not print that a root goes
        assert.is(made() - gone(), 0);
        assert.is(before - tableFrames(machine), tables);
        machine.check();
        if (!moves) machine.setMemslot("vm", 3, setting);
        process.push(tableFrames(machine));
      }
      assert.equal(
        process,
        Array(6).fill(process[0]),
        "those of the process are there from the first round on",
      );
      assert.is(machine.result().vms[0]!.integrity.lostWrites, 0);
    });
  }
}

function homeOf(id: number, round: number): number {
  return id < 3 ? 600 * id : 1800 - 8 * (round % 2);
}

function tableFrames(machine: Machine): number {
  return machine.inspect().frames.tables;
}

test("deleting a slot prints what a real kernel prints", async () => {
  if (!existsSync(CAPTURE)) {
    console.log(`skipped: ${CAPTURE} is not there`);
    return;
  }
  const { memslots, environment } = JSON.parse(readFileSync(join(CAPTURE, "scenario.json"), "utf8")) as {
    memslots: { gpa: string; pages: number; hva: string }[];
    environment: { npt: string };
  };
  assert.is(environment.npt, "Y");
  const slots = memslots.map(({ gpa, pages, hva }) => ({ gfn: Number(gpa) / 4096, pages, hva: Number(hva) }));
  const pages = slots.reduce((sum, slot) => sum + slot.pages, 0);
  const machine = await Machine.create(
    {
      host: { memory: "16MiB", vendor: "amd" },
      vms: [{ name: "vm", memory: pages * 4096, memslots: slots }],
      trace: {
        events: ["kvm_mmu_zap_all_fast", "kvm_mmu_prepare_zap_page", "kvm_tdp_mmu_spte_changed"],
        capacity: 2 ** 14,
      },
    },
    { module: await debugModule },
  );
  for (const slot of slots) {
    for (let page = 0; page < slot.pages; page++) machine.access("vm", 0, slot.gfn + page, "write");
  }
  machine.traceText();
  machine.setMemslot("vm", 1, null);
  const printed = dropped(machine.traceText());
  const captured = dropped(readFileSync(join(CAPTURE, "trace.txt"), "utf8"));
  assert.is(captured.length, 3081);
  assert.equal(printed, captured);
});

/** What the kernel prints from kvm_mmu_zap_all_fast on about entries and tables; frames are its own. */
function dropped(text: string): string[] {
  const lines = text.split("\n");
  return lines
    .slice(lines.findIndex((line) => line.includes("kvm_mmu_zap_all_fast")))
    .map((line) => /kvm_(?:tdp_)?mmu_(?:zap_all|prepare_zap|spte_changed).*/.exec(line)?.[0].trimEnd() ?? "")
    .filter((line) => line !== "")
    .map((line) => line.replace(/old_spte [0-9a-f]+([0-9a-f]{3}) /, "old_spte $1 "));
}

test.run();
