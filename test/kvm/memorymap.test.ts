// At stake: changes of a memory map that lives. Random changes, accesses and advice beside a plain model of the slots: KVM accepts and refuses as
// the documented order of checks says, a frame is reached exactly through the slot that holds it, and a slot that was moved or deleted leaves
// nothing mapped (the debug core walks every entry after each step).

import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { Machine } from "#dist/index.js";
import { parameters } from "../reference/report.js";
import { debugModule } from "../scenes.js";

const HVA = 0x7e0000000000;
const UNIT = 16;
const SLOTS = 4;

interface Slot {
  gfn: number;
  pages: number;
  hva: number;
}

async function machineOf(): Promise<Machine> {
  return Machine.create(
    {
      host: { memory: "4MiB", cpus: 2, swap: [{ kind: "zram-lz4", size: "4MiB" }] },
      check: { integrity: true },
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
            else if (error === "ENOMEM") {
              // What no room was made for at boot: frames behind the last slot, a slot too many, memory that is not mapped.
              assert.ok(expected === "create" || expected === "move");
              assert.ok(slots.size === SLOTS || step.gfn + step.pages > 1800 + UNIT || step.id === SLOTS);
              continue;
            } else assert.is(error ?? got, expected);
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

test.run();
