// At stake: what KVM's own test programs check of its MMU, under each MMU: entries are installed once however many vCPUs want them at a time; a dirty log
// is what was written, no more and no less; what several slots show goes from all of them by one call. (Demand paging and idle marks: stepping.test.ts.)

import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { Machine } from "#dist/machine.js";
import type { Scenario } from "#dist/scenario.js";
import { parameters } from "../reference/report.js";
import { create, debugModule, roomy, type Vm, vmOf } from "../scenes.js";

const PAGES = 48;
const MMUS = ["tdp", "legacy"] as const;

async function machineOf(
  mmu: (typeof MMUS)[number],
  db: Partial<Vm>,
  others: Partial<Scenario> = {},
): Promise<Machine> {
  const scenario = roomy([], { check: { integrity: true }, ...others }, { mmu, memory: PAGES * 4096, ...db });
  return create(scenario, { module: await debugModule });
}

for (const mmu of MMUS) {
  test(`${mmu}: vCPUs that touch overlapping regions at the same time install each entry once`, async () => {
    const vcpus = 4;
    const tasks = Array.from({ length: vcpus }, (_, vcpu) => ({
      region: "one",
      vcpu,
      workload: { kind: "sequential" as const, pages: PAGES, writes: 1, passes: 2 },
    }));
    const event = mmu === "tdp" ? "kvm_tdp_mmu_spte_changed" : "kvm_mmu_set_spte";
    const machine = await machineOf(
      mmu,
      { vcpus, guest: { tasks } },
      { host: { memory: "8MiB", cpus: vcpus }, trace: { events: [event, "kvm_page_fault"], capacity: 4096 } },
    );
    const { accesses } = vmOf(machine.run());
    assert.is(accesses, vcpus * 2 * PAGES);
    machine.check();
    const { events } = machine.traceEvents();
    const faulting = new Set(
      events.filter(({ name }) => name === "kvm_page_fault").map(({ actor }) => actor),
    );
    assert.ok(faulting.size > 1, "several faulted");
    const made = new Map<string, number>();
    for (const { name, text } of events) {
      if (name !== event || !/ level 1 /.test(text)) continue;
      if (mmu === "tdp") assert.match(text, / old_spte 0 /);
      const gfn = /gfn ([0-9a-f]+)/.exec(text)![1]!;
      made.set(gfn, (made.get(gfn) ?? 0) + 1);
    }
    assert.is(made.size, PAGES);
    // The legacy MMU's tracepoint tells of an entry that it sets again, which the TDP MMU's does not; its reverse map has each once.
    if (mmu === "tdp") for (const [gfn, times] of made) assert.is(times, 1, gfn);
    const { minor, spurious } = vmOf(machine.result()).faults;
    assert.ok(minor.count <= PAGES && minor.count + spurious.count >= faulting.size);
    assert.is(vmOf(machine.result()).memory.residentPages, PAGES);
  });

  test(`${mmu}: the dirty log of pages that are mapped is the set of those written since it was last taken`, async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(
          fc.oneof(
            {
              weight: 8,
              arbitrary: fc.tuple(
                fc.constantFrom("read" as const, "write" as const),
                fc.nat(PAGES - 1),
                fc.nat(1),
              ),
            },
            { weight: 1, arbitrary: fc.constant(null) },
          ),
          { minLength: 10, maxLength: 150 },
        ),
        async (steps) => {
          const machine = await machineOf(mmu, { vcpus: 2 });
          for (let gfn = 0; gfn < PAGES; gfn++) machine.access("db", 0, gfn, "write");
          const slot = { gfn: 0, pages: PAGES, flags: ["log-dirty-pages" as const] };
          assert.is(machine.setMemslot("db", 0, slot).change, "flags");
          const written = new Set<number>();
          for (const step of [...steps, null]) {
            if (step === null) {
              assert.equal(
                machine.dirtyLog("db", 0).dirty,
                [...written].sort((a, b) => a - b),
              );
              written.clear();
            } else {
              const [mode, gfn, vcpu] = step;
              machine.access("db", vcpu, gfn, mode);
              if (mode === "write") written.add(gfn);
            }
          }
          machine.check();
        },
      ),
      parameters(20),
    );
  });

  test(`${mmu}: of a page that k slots show, k frames are unmapped by one call, each from its own place`, async () => {
    for (const slots of [1, 2, 5, 20]) {
      const each = 8;
      const memslots = Array.from({ length: slots }, (_, place) => ({
        gfn: 1000 * place,
        pages: each,
        hva: 0x7e0000000000 + 2 * (place % 2) * 4096, // half of them begin two pages later
      }));
      const machine = await machineOf(mmu, { memory: slots * each * 4096, memslots });
      const gfnOf = (place: number): number => 1000 * place + (place % 2 === 0 ? 5 : 3);
      for (let place = 0; place < slots; place++) machine.access("db", 0, gfnOf(place), "write");
      const calls = (): number => machine.traceCounts().kvm_unmap_hva_range!;
      const before = calls();
      const { unmapped } = vmOf(machine.result()).notifier;
      machine.advise("db", "dontneed", { gfn: gfnOf(0) });
      assert.is(vmOf(machine.result()).notifier.unmapped - unmapped, slots);
      assert.is(calls() - before, 1);
      for (let place = 0; place < slots; place++)
        assert.is(machine.access("db", 0, gfnOf(place), "read").exits, 1, `slot ${place}`);
      machine.check();
    }
  });
}

test.run();
