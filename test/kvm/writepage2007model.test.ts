// At stake: the states that the proposal of July 2007 gives a page. Random accesses, and reclaim that meets given pages, beside a plain table of
// states without frames, lists or locks; every page is compared after each step, and the debug core walks its structures.

import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { Machine } from "#dist/machine.js";
import { parameters } from "../reference/report.js";
import { create, debugModule, vmOf } from "../scenes.js";

const module = await debugModule;
const PAGES = 12;
const ON = { cpu: 0 };

type State = "absent" | "resident" | "swap cache" | "on disk";

/** Where each page is, and which vCPUs have an entry for it. */
class Model {
  readonly states: State[] = Array(PAGES).fill("absent");
  readonly mapped: Set<number>[] = this.states.map(() => new Set());
  readonly zaps: number[];
  calls = 0;
  major = 0;

  constructor(vcpus: number) {
    this.zaps = Array(vcpus).fill(0);
  }

  /** gfn_to_page(), when the vCPU has no entry. */
  access(vcpu: number, gfn: number): void {
    if (this.mapped[gfn]!.has(vcpu)) return;
    if (this.states[gfn] === "on disk") this.major++;
    this.states[gfn] = "resident";
    this.mapped[gfn]!.add(vcpu);
  }

  /** writepage moves a resident page to the swap cache; the next reclaim writes and drops it. */
  reclaim(gfn: number): void {
    if (this.states[gfn] === "swap cache") this.states[gfn] = "on disk";
    if (this.states[gfn] !== "resident") return;
    this.calls++;
    for (const vcpu of this.mapped[gfn]!) this.zaps[vcpu]!++;
    this.mapped[gfn]!.clear();
    this.states[gfn] = "swap cache";
  }
}

function compare(machine: Machine, model: Model): void {
  for (const [gfn, expected] of model.states.entries()) {
    const { frame, swap, sptes } = machine.inspect({ vm: "vm", gfn });
    const where =
      frame === null ? (swap === null ? "absent" : "on disk") : swap === null ? "resident" : "swap cache";
    assert.is(where, expected, `gfn ${gfn}`);
    assert.is(sptes.filter(({ spte }) => BigInt(spte) !== 0n).length, model.mapped[gfn]!.size, `gfn ${gfn}`);
    // There is no clean resident page: each is dirty from its insertion on.
    if (where === "resident") assert.ok(frame!.flags.includes("dirty"), `gfn ${gfn} is clean`);
    if (swap !== null) assert.is(swap.users, 1, `gfn ${gfn}`);
  }
  const result = machine.result();
  const { integrity, hostPaging2007, faults } = vmOf(result);
  assert.equal([integrity.lostWrites, integrity.staleReads], [0, 0]);
  const { writepage, zaps, staleSptes, leakedPages, lostSlots } = hostPaging2007!;
  assert.equal(writepage, { calls: model.calls, trylockFailed: 0, swapFull: 0, noSlot: 0, activated: 0 });
  assert.equal(zaps, model.zaps);
  assert.equal([staleSptes, leakedPages, lostSlots], [0, 0, 0]);
  assert.is(faults.major.count, model.major);
  const swapped = model.states.filter((state) => state === "swap cache" || state === "on disk").length;
  assert.is(result.host.swap.slotsUsed, swapped);
}

const step = fc.record({
  kind: fc.constantFrom("read" as const, "write" as const, "reclaim" as const, "reclaim" as const),
  vcpu: fc.nat(1),
  gfn: fc.nat(PAGES - 1),
});

for (const vcpus of [1, 2]) {
  test(`${vcpus} vCPUs, all of them zapped: pages are where the proposal's table has them`, async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 40, maxLength: 80 }), async (steps) => {
        const design = { mmu: "shadow", hostPaging: "writepage-2007", vcpus } as const;
        const machine = await create(
          {
            host: { memory: "4MiB", cpus: 2, swap: [{ kind: "zram-lz4", size: "1MiB" }] },
            check: { integrity: true, onViolation: "count" },
            vms: [{ name: "vm", memory: "128KiB", ...design, hostPaging2007: { zapAllVcpus: true } }],
          },
          { module },
        );
        const model = new Model(vcpus);
        for (const { kind, vcpu, gfn } of steps) {
          if (kind === "reclaim") {
            model.reclaim(gfn);
            machine.advise("vm", "pageout", { gfn }, ON);
          } else {
            model.access(vcpu % vcpus, gfn);
            assert.is(machine.access("vm", vcpu % vcpus, gfn, kind, ON).status, "done");
          }
          machine.check();
          compare(machine, model);
        }
      }),
      parameters(15),
    );
  });
}

test.run();
