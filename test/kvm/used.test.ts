// At stake: that pages which a fault brings in count as used. get_user_pages() marks a page, KVM marks it again when it lets go of it, and the second
// mark makes it active: at once while it waits in its CPU's batch of new pages, through a batch of its own when it has completed the first. Reclaim of a
// first pass therefore meets every fifteenth page after its neighbours, as Linux does.

import { test } from "uvu";
import * as assert from "uvu/assert";
import { Machine } from "#dist/node.js";

const PAGES = 240;

async function machine(policy: "two-list" | "mglru" = "two-list"): Promise<Machine> {
  return Machine.create({
    host: { memory: "64MiB", swap: [{ kind: "zram-lz4", size: "16MiB" }], reclaim: { policy } },
    vms: [{ name: "vm", memory: PAGES * 4096 }],
    trace: { events: ["kvm_unmap_hva_range", "kvm_age_hva"], capacity: 4096 },
  });
}

function pass(subject: Machine, mode: "read" | "write"): void {
  for (let gfn = 0; gfn < PAGES; gfn++) subject.access("vm", 0, gfn, mode);
}

/** Pages by the number of their frame in the events `name`. */
function pagesIn(text: string, name: string): number[] {
  return [...text.matchAll(new RegExp(`${name}: .*?: 0x([0-9a-f]+) --`, "g"))].map(({ 1: hva }) =>
    Number((BigInt(`0x${hva}`) >> 12n) % BigInt(PAGES * 16)),
  );
}

test("a first pass leaves its pages active, and every fifteenth comes after its neighbours", async () => {
  const subject = await machine();
  pass(subject, "write");
  assert.equal(subject.memoryStat("vm"), { inactiveAnon: 4096, activeAnon: 239 * 4096, inactiveFile: 0 });
  subject.traceText();
  subject.writeCgroup("vm", "memory.reclaim", 220 * 4096);
  const looked = pagesIn(subject.traceText(), "kvm_age_hva");
  const first = looked[0]!;
  const order = looked.slice(0, 28).map((page) => page - first);
  assert.equal(order, [...Array(14).keys(), ...Array.from({ length: 14 }, (_, page) => 15 + page)]);
  assert.ok(looked.map((page) => page - first).includes(14), "the one that completed the batch comes later");
  subject.check();
});

test("a page that is faulted in again and found writable is marked once, and stays where it is", async () => {
  const subject = await machine();
  pass(subject, "write");
  // The second advice evicts: the first finds the pages used through their sptes.
  for (let call = 0; call < 2; call++) subject.advise("vm", "pageout", { gfn: 0, pages: PAGES });
  pass(subject, "read");
  // Read back and mapped read-only, then let go of: twice marked.
  const { activeAnon } = subject.memoryStat("vm");
  assert.ok(activeAnon >= 225 * 4096, `${activeAnon / 4096} active pages`);
  subject.check();
});

test("with generation lists the same marks are counted as uses", async () => {
  const subject = await machine("mglru");
  pass(subject, "write");
  subject.writeCgroup("vm", "memory.reclaim", 64 * 4096);
  subject.check();
  const { memory } = subject.result().vms[0]!;
  assert.is(memory.residentPages + memory.swappedPages, PAGES);
  assert.ok(memory.swappedPages >= 64);
});

test("what the cgroup is charged shows after a write to its files", async () => {
  const subject = await machine();
  pass(subject, "write");
  const { chargedPages } = subject.writeCgroup("vm", "memory.max", "max");
  assert.is(chargedPages, PAGES);
  const { chargedPages: left, reclaimedPages } = subject.writeCgroup("vm", "memory.max", 100 * 4096);
  assert.ok(left <= 100 && reclaimedPages >= 140);
  assert.is(left, PAGES - reclaimedPages);
});

test.run();
