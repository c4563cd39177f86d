// At stake: shadow paging. What a vCPU may do through the pages of sptes must be what the guest's own tables allow, whenever the guest has flushed as
// the architecture demands; the reverse map and the protection of the tables must be exact after every step (machine.check()).

import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { Machine } from "#dist/machine.js";
import type { Scenario } from "#dist/scenario.js";
import { parameters } from "../reference/report.js";
import { create, debugModule, refusal, roomy, type Task, vmOf } from "../scenes.js";

const module = await debugModule;
const MEMORY_PAGES = 512;
// One table for 512 pages, and those of levels 2, 3 and 4 above it: the last frames.
const TABLES = 4;
const LEAF_TABLE = MEMORY_PAGES - 1;
const [WRITABLE, ACCESSED, DIRTY] = [2, 0x20, 0x40];

type Vm = Scenario["vms"][number];

function shadow(tasks: Task[], db: Partial<Vm> = {}, others: Partial<Scenario> = {}): Promise<Machine> {
  const scenario = roomy(
    tasks,
    { trace: { events: ["*"], capacity: 2 ** 16 }, ...others },
    { mmu: "shadow", ...db },
  );
  return create(scenario, { module });
}

const events = (machine: Machine, name: string): string[] =>
  machine
    .traceText()
    .split("\n")
    .filter((line) => line.includes(` ${name}: `))
    .map((line) => line.slice(line.indexOf(name) + name.length + 2));

test("a first touch walks the guest's tables and makes a page of sptes for each", async () => {
  const machine = await shadow([]);
  assert.is(machine.access("db", 0, 7, "write").exits, 1);
  machine.check();
  assert.equal(
    events(machine, "kvm_mmu_get_page").map((line) => / gfn (\w+) l(\d)/.exec(line)!.slice(1, 3).join(" ")),
    ["1fc 4", "1fd 3", "1fe 2", "1ff 1"],
  );
  assert.is(machine.access("db", 0, 7, "write").exits, 0);
  assert.is(machine.access("db", 0, 8, "read").exits, 1);
});

test("a write to a table above level 1 is made by KVM, not by the monitor", async () => {
  const machine = await shadow([]);
  machine.access("db", 0, 7, "write");
  const above = [LEAF_TABLE - 1, LEAF_TABLE - 2, LEAF_TABLE - 3];
  assert.equal(
    above.map((gfn) => machine.access("db", 0, gfn, "write").fault),
    ["emulated", "emulated", "emulated"],
  );
  assert.is(machine.result().vms[0]!.mmio.exits, 0);
  machine.check();
});

test("with the bits clear, the first write to a page that was read faults again, for the guest's dirty bit", async () => {
  const machine = await shadow([], { guest: { accessedDirty: "clear" } });
  const exits = (["read", "write", "read", "write"] as const).map((mode) => machine.access("db", 0, 3, mode));
  assert.equal(
    exits.map((step) => step.exits),
    [1, 1, 0, 0],
  );
  machine.check();
});

test("a write to a table of level 1 lets its page go unsync; loading CR3 brings it in step", async () => {
  const machine = await shadow([]);
  for (const gfn of [0, 1, LEAF_TABLE]) machine.access("db", 0, gfn, "write");
  const edit = () => machine.editPageTable("db", 0, { gfn: 0, pages: 2 }, { clear: ACCESSED | DIRTY }).exits;
  assert.is(edit(), 0, "the write above has let the page go unsync");
  assert.is(edit(), 1, "since the load of CR3 the table is protected again");
  machine.check();
  assert.is(machine.traceCounts().kvm_mmu_unsync_page, 2);
  assert.is(machine.traceCounts().kvm_mmu_sync_page, 2);
  assert.is(machine.access("db", 0, 0, "read").exits, 1, "what is not accessed is not mapped");
});

test("a page made read-only is read without a fault, and a write reaches the guest's handler", async () => {
  const machine = await shadow([]);
  machine.access("db", 0, 5, "write");
  machine.editPageTable("db", 0, { gfn: 5 }, { clear: WRITABLE });
  machine.check();
  assert.is(machine.access("db", 0, 5, "read").exits, 0);
  const before = machine.traceCounts().kvm_inj_exception ?? 0;
  machine.access("db", 0, 5, "write");
  assert.is(machine.traceCounts().kvm_inj_exception, before + 1);
  machine.check();
});

test("a page that is not present is given to who touches it", async () => {
  const machine = await shadow([]);
  machine.editPageTable("db", 0, { gfn: 9 }, { clear: 1 });
  machine.access("db", 0, 9, "write");
  assert.is(machine.traceCounts().kvm_inj_exception, 1);
  machine.check();
});

// What the guest allows at a page, kept beside the machine. The guest's handler mends what an access needs.
class Model {
  private readonly writable = new Map<number, boolean>();
  private readonly present = new Map<number, boolean>();

  edit(page: number, set: number, clear: number): void {
    if (clear & WRITABLE) this.writable.set(page, false);
    if (set & WRITABLE) this.writable.set(page, true);
    if (clear & 1) this.present.set(page, false);
    if (set & 1) this.present.set(page, true);
  }

  /** Does the guest get a fault? Afterwards the access is allowed. */
  faults(page: number, write: boolean): boolean {
    const present = this.present.get(page) ?? true;
    const allowed = present && (!write || (this.writable.get(page) ?? true));
    if (!present) this.writable.set(page, true);
    this.present.set(page, true);
    if (write) this.writable.set(page, true);
    return !allowed;
  }
}

const page = fc.nat({ max: 24 });
const action = fc.oneof(
  fc.record({ kind: fc.constant("access" as const), vcpu: fc.nat({ max: 1 }), page, write: fc.boolean() }),
  fc.record({
    kind: fc.constant("edit" as const),
    vcpu: fc.nat({ max: 1 }),
    page,
    set: fc.constantFrom(0, WRITABLE, ACCESSED | DIRTY),
    clear: fc.constantFrom(0, 1, WRITABLE, ACCESSED, DIRTY, ACCESSED | DIRTY),
  }),
  fc.record({
    kind: fc.constant("advise" as const),
    page,
    advice: fc.constantFrom("pageout" as const, "dontneed" as const),
  }),
  fc.record({
    kind: fc.constant("table" as const),
    vcpu: fc.nat({ max: 1 }),
    table: fc.nat({ max: TABLES - 1 }),
  }),
);

test("random edits, accesses and evictions on two vCPUs: the guest faults exactly where its tables say so", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(action, { minLength: 1, maxLength: 40 }), async (actions) => {
      const machine = await shadow(
        [],
        { vcpus: 2, mmuPages: 16 },
        { host: { memory: "8MiB", swap: [{ kind: "nvme", size: "8MiB" }] }, check: { integrity: true } },
      );
      const model = new Model();
      for (const step of actions) {
        const injected = machine.traceCounts().kvm_inj_exception ?? 0;
        let expected = 0;
        if (step.kind === "access") {
          expected = Number(model.faults(step.page, step.write));
          machine.access("db", step.vcpu, step.page, step.write ? "write" : "read");
        } else if (step.kind === "edit") {
          const { set, clear } = step;
          // Another vCPU that has the old translation is told to flush too: an edit on each does that.
          machine.editPageTable("db", step.vcpu, { gfn: step.page }, { set, clear });
          machine.editPageTable("db", 1 - step.vcpu, { gfn: step.page }, {});
          model.edit(step.page, set & ~clear, clear);
        } else if (step.kind === "advise") {
          machine.advise("db", step.advice, { gfn: step.page });
        } else {
          machine.access("db", step.vcpu, MEMORY_PAGES - 1 - step.table, "write");
        }
        machine.check();
        assert.is((machine.traceCounts().kvm_inj_exception ?? 0) - injected, expected);
      }
      assert.is(vmOf(machine.result()).integrity.staleReads, 0);
      machine.dispose();
    }),
    parameters(25),
  );
});

// Pages of sptes as the tracepoints tell of them: by frame and role, in the order of creation.
function shadowPages(text: string, limit: number, ordered: boolean): { zapped: number; most: number } {
  const live: string[] = [];
  const roots = new Set<string>();
  let zapped = 0;
  let most = 0;
  for (const line of text.split("\n")) {
    const found =
      / kvm_mmu_(get_page|prepare_zap_page): sp gen 0 (gfn .*) root (\d+) sync ?(new|existing)?/.exec(line);
    if (found === null) continue;
    const [, event, sp, users, made] = found;
    if (sp!.includes(" l4 ")) roots.add(sp!);
    if (event === "get_page") {
      assert.is(live.includes(sp!), made === "existing", line);
      if (made === "new") live.push(sp!);
      most = Math.max(most, live.length);
      assert.ok(live.length <= limit, `${live.length} pages of sptes`);
    } else {
      assert.is(users, "0", line);
      // Older ones are roots that a vCPU has loaded. A page that the guest has written to three times goes whatever its age.
      for (const older of live.slice(0, live.indexOf(sp!)))
        assert.ok(!ordered || roots.has(older), `${line}, and not ${older}`);
      live.splice(live.indexOf(sp!), 1);
      zapped++;
    }
  }
  return { zapped, most };
}

test("at their limit the oldest pages of sptes go, but for loaded roots; those zapped are never found again", async () => {
  const task: Task = { workload: { kind: "uniform", pages: 12_000, accesses: 600, writes: 0 } };
  for (const pageTables of ["shared", "per-task"] as const) {
    const guest = { pageTables, tasks: [task, task] };
    const db = { memory: "96MiB", mmuPages: 16, vcpus: 2, guest };
    const machine = await shadow([], db, { host: { memory: "128MiB", cpus: 2 } });
    machine.run();
    machine.check();
    const { zapped, most } = shadowPages(machine.traceText(), 16, pageTables === "shared");
    assert.ok(zapped > 50 && most >= 8, `${zapped} zapped, ${most} at most`);
  }
});

test("what shadow paging has not got is refused, and so are pages where the guest's tables lie", async () => {
  const scan = (pages: number): Task => ({ workload: { kind: "sequential", pages, writes: 1 } });
  for (const db of [
    { aliases: [{ gfn: 1024, pages: 8, target: 0 }] },
    { pageTableLevels: 5 },
  ] as Partial<Vm>[]) {
    assert.match(
      await refusal(() => shadow([scan(10)], db), "E_SCENARIO"),
      "is not modelled with shadow paging",
    );
  }
  for (const [pageTables, tables] of [
    ["shared", TABLES],
    ["per-task", 2 * TABLES],
  ] as const) {
    const reach = `reach the guest's page tables from gfn ${MEMORY_PAGES - tables} on`;
    const scanned = (pages: number) => shadow([], { guest: { pageTables, tasks: [scan(pages)] } });
    assert.match(await refusal(() => scanned(MEMORY_PAGES), "E_SCENARIO"), reach);
    const machine = await scanned(MEMORY_PAGES - tables);
    assert.is(vmOf(machine.run()).accesses, MEMORY_PAGES - tables);
    machine.check();
  }
});

test.run();
