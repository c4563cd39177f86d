// At stake: shadow paging of a guest whose tasks have page tables of their own. What a vCPU may do through the pages of sptes must be what the tables
// of the task say that it runs, on whatever vCPU, whenever the architecture demands so: what they allow is never refused, and what they
// refuse never happens after a flush. Beside each machine stands a Map of what every task's tables allow. The reverse map, the protection of tables and
// each page in step with its table are checked after every step (machine.check()).

import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { Machine } from "#dist/machine.js";
import type { Scenario } from "#dist/scenario.js";
import { parameters } from "../reference/report.js";
import { create, debugModule, refusal, type Task, vmOf } from "../scenes.js";

type Vm = Scenario["vms"][number];

const module = await debugModule;
const MEMORY_PAGES = 512;
const [PRESENT, WRITABLE, ACCESSED, DIRTY] = [1, 2, 0x20, 0x40];
const SHARED_PAGES = 24;

const user = (name: string, vcpu: number, region: string | null = null): Task => ({
  name,
  vcpu,
  ...(region !== null && { region }),
  manual: true,
  workload: { kind: "sequential", pages: SHARED_PAGES, writes: 1 },
});

function spaces(tasks: Task[], db: Partial<Vm> = {}, host: Partial<Scenario["host"]> = {}): Promise<Machine> {
  const { guest, ...others } = db;
  const vm: Vm = {
    name: "db",
    memory: MEMORY_PAGES * 4096,
    mmu: "shadow",
    ...others,
    guest: { tasks, ...guest },
  };
  const scenario: Scenario = {
    // One CPU: a page in another CPU's LRU batch is on no list yet, and advice leaves it alone.
    host: { memory: "8MiB", cpus: 1, swap: [{ kind: "nvme", size: "8MiB" }], ...host },
    vms: [vm],
    check: { integrity: true },
    trace: { events: ["*"], capacity: 2 ** 16 },
  };
  return create(scenario, { module });
}

const count = (machine: Machine, event: string): number => machine.traceCounts()[event as "kvm_exit"] ?? 0;
const injected = (machine: Machine): number => count(machine, "kvm_inj_exception");
const cr3Loads = (text: string): number => text.split(" reason write_cr3 ").length - 1;

test("the first touch of a task reaches the guest, which makes a table of each level and the entry", async () => {
  const machine = await spaces([user("a", 0)]);
  machine.access("db", 0, 3, "write", { task: "a" });
  assert.is(injected(machine), 1);
  machine.check();
  assert.is(machine.access("db", 0, 3, "write", { task: "a" }).exits, 0);
  machine.access("db", 0, 4, "read", { task: "a" });
  assert.is(injected(machine), 2, "the table is there, the entry is not");
  machine.check();
});

test("two tasks that share a page map it by entries of their own, and one call of the host takes both away", async () => {
  const machine = await spaces([user("a", 0, "r"), user("b", 1, "r")], { vcpus: 2 });
  machine.access("db", 0, 7, "write", { task: "a" });
  machine.access("db", 1, 7, "write", { task: "b" });
  assert.is(injected(machine), 2);
  machine.check();
  for (const [vcpu, task] of [
    [0, "a"],
    [1, "b"],
  ] as const)
    assert.is(machine.access("db", vcpu, 7, "write", { task }).exits, 0);
  // The first time, the page is found to have been used.
  for (let time = 0; time < 2; time++) machine.advise("db", "pageout", { gfn: 7 });
  machine.check();
  assert.is(machine.access("db", 0, 7, "read", { task: "a" }).exits, 1);
  assert.is(machine.access("db", 1, 7, "read", { task: "b" }).exits, 1);
  assert.is(injected(machine), 2, "the guest's tables have stayed");
});

test("vCPUs that run one task walk one root; with roots of their own each maps for itself", async () => {
  for (const [mmuRoots, exits] of [
    ["shared", 0],
    ["per-vcpu", 1],
  ] as const) {
    const machine = await spaces([user("a", 0)], { vcpus: 2, mmuRoots });
    for (const page of [3, 4]) machine.access("db", 0, page, "write", { task: "a" });
    machine.access("db", 1, 3, "write", { task: "a" });
    assert.is(injected(machine), 2, "the guest's tables are the same");
    machine.access("db", 0, 5, "write", { task: "a" });
    assert.is(machine.access("db", 1, 5, "write", { task: "a" }).exits, exits, mmuRoots);
    machine.check();
  }
});

test("a switch between tasks loads CR3, and what shadows the other's tables is found again", async () => {
  const workload = { kind: "sequential" as const, pages: 20, passes: 50, writes: 1, thinkTime: "20us" };
  const run = async (pageTables: "per-task" | "shared") => {
    const guest = { pageTables, timeslice: "1ms" };
    const machine = await spaces([{ workload }, { workload }], { guest });
    machine.run();
    machine.check();
    assert.is(vmOf(machine.result()).integrity.staleReads, 0);
    return machine;
  };
  const own = await run("per-task");
  const text = own.traceText();
  const loads = cr3Loads(text);
  assert.ok(loads > 10, `${loads}`);
  const roots = text.split("\n").filter((line) => / kvm_mmu_get_page: .* l4 .* new$/.test(line));
  assert.is(roots.length, 2, "one root a task");
  assert.is(injected(own), 40, "one fault of the guest's a page and task");
  const shared = await run("shared");
  assert.is(cr3Loads(shared.traceText()), 0);
  assert.is(injected(shared), 0);
});

test("a page is outside of a task's, or a table has no other way to it: refused", async () => {
  const machine = await spaces([user("a", 0), user("b", 0)]);
  const wrong = (act: () => unknown) => refusal(async () => act(), "E_STEP");
  assert.match(
    await wrong(() => machine.access("db", 0, SHARED_PAGES, "read", { task: "a" })),
    "are not pages of",
  );
  assert.match(await wrong(() => machine.access("db", 0, 0, "read", { task: "c" })), "there is no task");
  assert.match(
    await wrong(() => machine.editPageTable("db", 0, { gfn: MEMORY_PAGES - 1 }, { clear: PRESENT })),
    "holds a page table",
  );
  assert.match(
    await wrong(() => machine.editPageTable("db", 0, { gfn: 3 }, { clear: PRESENT }, { task: "a" })),
    "has no table for page 3",
  );
});

/** What a task's tables say of one page. */
interface Entry {
  present: boolean;
  writable: boolean;
}

// What every task's tables allow, and where a vCPU may still go by what they said before.
class Model {
  private readonly tables = new Map<string, Map<number, Entry>>();
  private readonly space: string[] = [];
  private readonly stale = [new Set<string>(), new Set<string>()];

  touched(task: string): boolean {
    return this.tables.has(task);
  }

  /** The vCPU runs in that space from now on. A load of CR3 forgets what was. */
  enter(vcpu: number, task: string): void {
    if (this.space[vcpu] !== task) this.stale[vcpu]!.clear();
    this.space[vcpu] = task;
  }

  edit(vcpu: number, task: string, page: number, set: number, clear: number): void {
    const entry = this.entry(task, page);
    if (set & PRESENT) entry.present = true;
    if (set & WRITABLE) entry.writable = true;
    if (clear & PRESENT) entry.present = false;
    if (clear & WRITABLE) entry.writable = false;
    this.enter(vcpu, task);
    this.stale[vcpu]!.clear();
    for (const other of [0, 1]) {
      if (other !== vcpu && this.space[other] === task) this.stale[other]!.add(`${task}/${page}`);
    }
  }

  /** Faults of the guest's that an access may take. */
  faults(vcpu: number, task: string, page: number, write: boolean): readonly number[] {
    const { present, writable } = this.entry(task, page);
    if (present && (writable || !write)) return [0];
    return this.stale[vcpu]!.has(`${task}/${page}`) ? [0, 1] : [1];
  }

  /** The guest has handled a fault. */
  handled(task: string, page: number, write: boolean): void {
    const entry = this.entry(task, page);
    if (!entry.present) entry.writable = true;
    entry.present = true;
    if (write) entry.writable = true;
  }

  private entry(task: string, page: number): Entry {
    const table = this.tables.get(task) ?? new Map<number, Entry>();
    this.tables.set(task, table);
    const entry = table.get(page) ?? { present: false, writable: false };
    table.set(page, entry);
    return entry;
  }
}

const vcpu = fc.nat({ max: 1 });
const task = fc.constantFrom("a", "b", "c");
const page = fc.nat({ max: SHARED_PAGES - 1 });
const action = fc.oneof(
  {
    weight: 5,
    arbitrary: fc.record({ kind: fc.constant("access" as const), vcpu, task, page, write: fc.boolean() }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      kind: fc.constant("edit" as const),
      vcpu,
      task,
      page,
      set: fc.constantFrom(0, PRESENT, WRITABLE, PRESENT | WRITABLE, ACCESSED | DIRTY),
      clear: fc.constantFrom(0, PRESENT, WRITABLE, ACCESSED, DIRTY, ACCESSED | DIRTY),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      kind: fc.constant("advise" as const),
      page: fc.nat({ max: MEMORY_PAGES - 1 }),
      pages: fc.constantFrom(1, 8),
      advice: fc.constantFrom("pageout" as const, "cold" as const),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({ kind: fc.constant("kernel" as const), vcpu, table: fc.nat({ max: 15 }) }),
  },
);
const design = fc.record({
  mmuRoots: fc.constantFrom("shared" as const, "per-vcpu" as const),
  mmuPages: fc.constantFrom(null, 16),
  mmuNotifier: fc.constantFrom("seq-retry" as const, "notifier-2008" as const),
  accessedDirty: fc.constantFrom("preset" as const, "clear" as const),
});

test("random edits of the tables of three tasks on two vCPUs: the guest faults where, and only where, they say so", async () => {
  await fc.assert(
    fc.asyncProperty(design, fc.array(action, { minLength: 1, maxLength: 60 }), async (made, actions) => {
      const { accessedDirty, ...db } = made;
      const tasks = [user("a", 0, "r"), user("b", 1, "r"), user("c", 0, "r")];
      const machine = await spaces(tasks, { vcpus: 2, ...db, guest: { accessedDirty } });
      const model = new Model();
      for (const step of actions) {
        const before = injected(machine);
        let expected: readonly number[] = [0];
        if (step.kind === "access") {
          model.enter(step.vcpu, step.task);
          expected = model.faults(step.vcpu, step.task, step.page, step.write);
          const mode = step.write ? "write" : "read";
          machine.access("db", step.vcpu, step.page, mode, { task: step.task });
          if (injected(machine) > before) model.handled(step.task, step.page, step.write);
        } else if (step.kind === "edit") {
          if (!model.touched(step.task)) continue;
          const { set, clear } = step;
          machine.editPageTable("db", step.vcpu, { gfn: step.page }, { set, clear }, { task: step.task });
          model.edit(step.vcpu, step.task, step.page, set & ~clear, clear);
        } else if (step.kind === "advise") {
          const pages = Math.min(step.pages, MEMORY_PAGES - step.page);
          for (let time = 0; time < 2; time++) machine.advise("db", step.advice, { gfn: step.page, pages });
        } else {
          machine.access("db", step.vcpu, MEMORY_PAGES - 1 - step.table, "write");
          model.enter(step.vcpu, "");
        }
        machine.check();
        assert.ok(
          expected.includes(injected(machine) - before),
          `${injected(machine) - before} faults of the guest's, not ${expected}`,
        );
      }
      assert.is(vmOf(machine.result()).integrity.staleReads, 0);
      machine.dispose();
    }),
    parameters(40),
  );
});

test.run();
