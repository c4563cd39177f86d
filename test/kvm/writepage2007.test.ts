// At stake: swapping as the proposal of July 2007 has it. A page of the guest goes through the states that the proposal gives it; what it does wrong, with two
// vCPUs, two VMs, a deleted slot or a full device, comes out of its steps, and its switches show what would have mended it.

import { test } from "uvu";
import * as assert from "uvu/assert";
import type { HostPaging2007Result } from "#dist/hostpaging.js";
import type { Machine } from "#dist/machine.js";
import type { Scenario } from "#dist/scenario.js";
import { create, debugModule, refusal, type Vm, vmOf } from "../scenes.js";

const module = await debugModule;
const DESIGN = { hostPaging: "writepage-2007" } as const;

function quiet(vms: Partial<Vm>[] = [{}], others: Partial<Scenario["host"]> = {}): Promise<Machine> {
  const scenario: Scenario = {
    host: { memory: "4MiB", cpus: 4, swap: [{ kind: "nvme", size: "1MiB" }], ...others },
    check: { integrity: true, onViolation: "count" },
    vms: vms.map((vm, index) => ({ name: `vm${index}`, memory: "512KiB", mmu: "shadow", ...DESIGN, ...vm })),
  };
  return create(scenario, { module });
}

const ON = { cpu: 0 };

/** Reclaim meets a page: first writepage moves it to the swap cache, the next time it is written, and dropped. */
function reclaim(machine: Machine, vm: string, gfn: number, times = 1): void {
  for (let time = 0; time < times; time++) {
    machine.advise(vm, "pageout", { gfn }, ON);
    machine.check();
  }
}

/** Where a page is, in the proposal's terms. */
function state(machine: Machine, vm: string, gfn: number): string {
  const { frame, swap, sptes } = machine.inspect({ vm, gfn });
  const mapped = sptes.filter(({ spte }) => BigInt(spte) !== 0n).length;
  const where =
    frame === null ? (swap === null ? "absent" : "on disk") : swap === null ? "resident" : "swap cache";
  const dirty = frame?.flags.includes("dirty") ? ", dirty" : "";
  return `${where}${dirty}${mapped > 0 ? `, ${mapped} sptes` : ""}`;
}

function counts(machine: Machine, vm = "vm0"): HostPaging2007Result {
  return vmOf(machine.result(), vm).hostPaging2007!;
}

test("a page goes round: absent, resident, swap cache, on disk, resident", async () => {
  const machine = await quiet([{}], { swap: [{ kind: "zram-lz4", size: "1MiB" }] });
  assert.is(state(machine, "vm0", 5), "absent");
  assert.is(machine.access("vm0", 0, 5, "write", ON).fault, "minor");
  assert.is(state(machine, "vm0", 5), "resident, dirty, 1 sptes");
  reclaim(machine, "vm0", 5);
  assert.is(state(machine, "vm0", 5), "swap cache, dirty", "nothing is written yet");
  assert.is(machine.access("vm0", 0, 5, "read", ON).fault, "minor");
  assert.is(state(machine, "vm0", 5), "resident, dirty, 1 sptes");
  reclaim(machine, "vm0", 5, 2);
  assert.is(state(machine, "vm0", 5), "on disk");
  assert.is(machine.access("vm0", 0, 5, "read", ON).fault, "major");
  assert.is(state(machine, "vm0", 5), "resident, dirty, 1 sptes");
  assert.is(vmOf(machine.result()).integrity.lostWrites, 0);
  assert.is(machine.result().host.swap.slotsUsed, 0, "a page that came back has given its slot up");
});

test("a page under writeback is waited for, and looked up again", async () => {
  const machine = await quiet([{}], { swap: [{ kind: "hdd", size: "1MiB" }] });
  machine.access("vm0", 0, 5, "write", ON);
  reclaim(machine, "vm0", 5, 2);
  assert.is(counts(machine).writebackWaits, 0);
  const { fault, stages } = machine.access("vm0", 0, 5, "read", ON);
  assert.is(fault, "minor");
  assert.ok(stages.deviceNs > 1e6, `${stages.deviceNs} ns for the disk`);
  assert.is(counts(machine).writebackWaits, 1);
  machine.check();
});

test("the page of a first read is zeroes, and costs a slot and a write like any other", async () => {
  const machine = await quiet([{}], { swap: [{ kind: "zram-lz4", size: "1MiB" }] });
  machine.access("vm0", 0, 5, "read", ON);
  reclaim(machine, "vm0", 5, 2);
  assert.is(machine.result().host.swap.out, 1);
});

test("with swap full the page was zapped for nothing: it is resident, dirty and active, and faults again", async () => {
  const machine = await quiet([{ memory: "1MiB" }], { swap: [{ kind: "zram-lz4", size: "64KiB" }] });
  for (let gfn = 0; gfn < 24; gfn++) machine.access("vm0", 0, gfn, "write", ON);
  for (let gfn = 0; gfn < 24; gfn++) reclaim(machine, "vm0", gfn);
  const { writepage, zaps } = counts(machine);
  assert.equal(writepage, { calls: 24, trylockFailed: 0, swapFull: 8, noSlot: 0, activated: 8 });
  assert.equal(zaps, [24]);
  assert.is(state(machine, "vm0", 23), "resident, dirty");
  assert.ok(machine.inspect({ vm: "vm0", gfn: 23 }).frame!.flags.includes("active"));
  assert.is(machine.access("vm0", 0, 23, "read", ON).fault, "minor");
});

const SMP: Partial<Vm> = { vcpus: 2 };

for (const mmu of ["shadow", "legacy"] as const) {
  test(`${mmu}: the second vCPU goes on writing to a page that has gone, and its writes are lost`, async () => {
    for (const zapAllVcpus of [false, true]) {
      const machine = await quiet([{ ...SMP, mmu, hostPaging2007: { zapAllVcpus } }], {
        swap: [{ kind: "zram-lz4", size: "1MiB" }],
      });
      for (const vcpu of [0, 1]) machine.access("vm0", vcpu, 5, "write", ON);
      reclaim(machine, "vm0", 5);
      const left = mmu === "shadow" && !zapAllVcpus ? ", 1 sptes" : "";
      assert.is(state(machine, "vm0", 5), `swap cache, dirty${left}`);
      reclaim(machine, "vm0", 5);
      machine.access("vm0", 1, 5, "write", ON); // after the copy
      const step = machine.access("vm0", 0, 5, "read", ON);
      assert.is(step.status, "done");
      const { lostWrites, staleReads } = vmOf(machine.result()).integrity;
      assert.is(lostWrites + staleReads, zapAllVcpus ? 0 : 1, `zapAllVcpus ${zapAllVcpus}`);
      machine.check();
    }
  });
}

test("two VMs with one inode find each other's pages; writepage believes the one created last", async () => {
  for (const mapping of ["shared-inode", "per-vm"] as const) {
    const machine = await quiet([{ hostPaging2007: { mapping } }, { hostPaging2007: { mapping } }], {
      swap: [{ kind: "zram-lz4", size: "1MiB" }],
    });
    const shared = mapping === "shared-inode";
    machine.access("vm0", 0, 5, "write", ON);
    machine.access("vm1", 0, 5, "read", ON);
    assert.is(vmOf(machine.result(), "vm1").integrity.lostWrites, shared ? 1 : 0, "zeroes were to be read");
    reclaim(machine, "vm0", 5);
    assert.is(counts(machine, shared ? "vm1" : "vm0").writepage.calls, 1);
    machine.access("vm0", 0, 5, "read", ON);
    assert.is(vmOf(machine.result(), "vm0").integrity.lostWrites, 0, "vm 0 goes by its own entry");
    machine.check();
  }
});

test("writepage takes a page for that of a VM which has no slot there: nothing is moved, the page is active", async () => {
  const small = { memory: "64KiB", mmu: "legacy" as const };
  const machine = await quiet([{}, small]);
  machine.access("vm0", 0, 5, "write", ON);
  machine.access("vm0", 0, 100, "write", ON);
  for (const gfn of [5, 100]) reclaim(machine, "vm0", gfn);
  const { writepage } = counts(machine, "vm1");
  assert.equal(writepage, { calls: 2, trylockFailed: 0, swapFull: 0, noSlot: 1, activated: 1 });
  assert.equal(
    machine.result().violations!.map(({ kind, vm, gfn }) => [kind, vm, gfn]),
    [["noSlot", "vm1", 100]],
  );
  assert.is(state(machine, "vm0", 100), "resident, dirty, 1 sptes");
  assert.is(state(machine, "vm1", 5), "swap cache, dirty", "the page of vm 0 has its entry with vm 1");
  machine.check();
});

test("a second page of one VM at the same place of the file takes the entry's word of the other's: its slot is lost", async () => {
  const machine = await quiet([{ vcpus: 2 }, {}], { swap: [{ kind: "zram-lz4", size: "1MiB" }] });
  for (const vcpu of [0, 1]) {
    machine.access("vm0", vcpu, 5, "write", ON); // vcpu 1 has no entry that was left
    reclaim(machine, "vm0", 5);
    assert.is(counts(machine, "vm1").lostSlots, vcpu);
  }
  machine.check();
});

test("a page that another VM has inserted while it was read is leaked, with what was written to it", async () => {
  const reader = {
    ...{ name: "reader", manual: true },
    workload: { kind: "sequential" as const, pages: 6, writes: 0, passes: 1 },
  };
  const machine = await quiet([{ vcpus: 2 }, { guest: { tasks: [reader] } }], {
    swap: [{ kind: "hdd", size: "1MiB" }],
  });
  machine.access("vm0", 0, 5, "write", ON);
  reclaim(machine, "vm0", 5);
  reclaim(machine, "vm1", 5); // whose entry it has become
  machine.run({ time: "100ms" });
  reclaim(machine, "vm1", 5);
  assert.is(state(machine, "vm1", 5), "on disk");
  machine.startTask("vm1", "reader");
  machine.run({ time: "1ms" });
  assert.match(state(machine, "vm1", 5), /^swap cache/, "being read");
  machine.access("vm0", 1, 5, "read", { cpu: 1 });
  assert.is(vmOf(machine.result(), "vm0").integrity.lostWrites, 1);
  machine.check();
  machine.run();
  const { leakedPages, gfnToPageFailed } = counts(machine, "vm1");
  assert.equal([leakedPages, gfnToPageFailed], [1, 1]);
  assert.is(machine.result().host.swap.slotsUsed, 0, "the entry has been given up");
  machine.check();
});

test("a page of a deleted slot stays in the page cache: whoever has that frame next finds it; its writepage finds no slot", async () => {
  const slots = [
    { gfn: 0, pages: 64 },
    { gfn: 512, pages: 8 },
  ];
  const machine = await quiet([{ memory: "288KiB", memslots: slots, mmu: "legacy" }], {
    swap: [{ kind: "zram-lz4", size: "1MiB" }],
  });
  for (const gfn of [512, 513]) machine.access("vm0", 0, gfn, "write", ON);
  reclaim(machine, "vm0", 513, 2);
  assert.is(machine.result().host.swap.slotsUsed, 1);
  machine.setMemslot("vm0", 1, null);
  assert.is(machine.result().host.swap.slotsUsed, 0, "entries go with their slot");
  assert.is(machine.access("vm0", 0, 512, "read", ON).fault, "mmio");
  machine.check();
  machine.setMemslot("vm0", 1, slots[1]!);
  machine.access("vm0", 0, 513, "read", ON);
  assert.is(vmOf(machine.result()).integrity.lostWrites, 0);
  machine.access("vm0", 0, 512, "read", ON);
  assert.is(vmOf(machine.result()).integrity.lostWrites, 1, "the old contents");
});

/** Two vCPUs touch more than fits, kswapd takes pages away. */
function pressed(vm: Partial<Vm>, seed = 1, size = "4MiB", vms = 1): Promise<Machine> {
  const workload = { kind: "uniform" as const, pages: 500, writes: 0.5, accesses: 2500, thinkTime: 20_000 };
  const scenario: Scenario = {
    seed,
    host: {
      memory: "2MiB",
      cpus: 4,
      swap: [{ kind: "nvme", size }],
      reclaim: { watermarkScaleFactor: 1000 },
    },
    check: { integrity: true, onViolation: "count" },
    vms: Array.from({ length: vms }, (_, index) => ({
      ...{ name: `vm${index}`, memory: "3MiB", vcpus: 2, mmu: "shadow" as const, ...DESIGN },
      ...{ guest: { tasks: [{ count: 2, region: "r", workload }] }, ...vm },
    })),
  };
  return create(scenario, { module });
}

function finish(machine: Machine): void {
  for (let slice = 0; slice < 20; slice++) {
    machine.run({ accesses: 500 });
    machine.check();
  }
}

test("under pressure two vCPUs lose writes; one does not, nor two that are all zapped", async () => {
  const wrong = async (vm: Partial<Vm>): Promise<number> => {
    const machine = await pressed(vm);
    finish(machine);
    const { integrity, hostPaging2007 } = vmOf(machine.result());
    assert.ok(hostPaging2007!.writepage.calls > 100 && machine.result().host.swap.in > 50);
    assert.ok(hostPaging2007!.writepage.trylockFailed > 0, "a fault held kvm->lock");
    assert.is(hostPaging2007!.writepage.activated, hostPaging2007!.writepage.trylockFailed);
    if (hostPaging2007!.zaps.length === 2 && vm.hostPaging2007 === undefined)
      assert.is(hostPaging2007!.zaps[1], 0);
    return integrity.lostWrites + integrity.staleReads;
  };
  assert.ok((await wrong({})) > 10);
  assert.is(await wrong({ hostPaging2007: { zapAllVcpus: true } }), 0);
  assert.is(await wrong({ vcpus: 1 }), 0);
});

test("an entry that outlives its page is dropped where the kernel would have stopped", async () => {
  const slots = [
    { gfn: 0, pages: 64 },
    { gfn: 512, pages: 8 },
  ];
  const machine = await quiet([{ ...SMP, memory: "288KiB", memslots: slots }], {
    swap: [{ kind: "zram-lz4", size: "1MiB" }],
  });
  for (const vcpu of [0, 1]) machine.access("vm0", vcpu, 5, "write", ON);
  reclaim(machine, "vm0", 5, 2);
  assert.is(state(machine, "vm0", 5), "on disk, 1 sptes");
  assert.is(counts(machine).staleSptes, 0);
  machine.setMemslot("vm0", 1, null);
  assert.is(counts(machine).staleSptes, 1);
  assert.is(state(machine, "vm0", 5), "on disk");
  machine.check();
});

test("one busy VM that reclaims for itself gets nowhere: every page is activated, and memory runs out", async () => {
  const machine = await pressed({ memoryMax: "1MiB" });
  const { status, vms } = machine.run();
  assert.is(status, "oom");
  const { writepage } = vms[0]!.hostPaging2007!;
  assert.ok(writepage.calls > 1000 && writepage.trylockFailed === writepage.calls);
});

test("two VMs with one inode under pressure: pages change hands, some are leaked, and every structure holds", async () => {
  let leaked = 0;
  for (const seed of [1, 3, 6]) {
    const machine = await pressed({ mmu: "legacy" }, seed, "4MiB", 2);
    let stopped = "accesses";
    for (; stopped === "accesses"; stopped = machine.run({ accesses: 500 }).stoppedBy) machine.check();
    leaked += counts(machine, "vm1").leakedPages;
  }
  assert.ok(leaked > 0);
});

test("what the design does not know of is refused", async () => {
  const message = (vm: Partial<Vm>, host: Partial<Scenario["host"]> = {}): Promise<string> =>
    refusal(() => quiet([vm], host), "E_SCENARIO");
  assert.match(await message({ mmu: "tdp" }), /^vms\[0\]\.mmu: "tdp" is not possible with hostPaging/);
  assert.match(await message({ asyncPf: { design: "upstream" } }), /^vms\[0\]\.asyncPf\.design/);
  assert.match(await message({}, { reclaim: { policy: "mglru" } }), /^host\.reclaim\.policy/);
  assert.match(
    await message({ hostPaging: "mmu-notifier", hostPaging2007: {} }),
    /^vms\[0\]\.hostPaging2007: only "writepage-2007" has it/,
  );
  const machine = await quiet();
  for (const advice of ["cold", "dontneed", "read"] as const)
    await refusal(() => machine.advise("vm0", advice, { gfn: 5 }), "E_STEP");
  await refusal(() => machine.migrate("vm0", { gfn: 5 }), "E_STEP");
});

test.run();
