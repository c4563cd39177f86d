// At stake: how much the cgroup of a capture is charged for besides what the model knows of, which decides where a step meets its limit. It has to come
// out of what reclaim freed and what was charged afterwards, and be left alone where that does not tell.

import { test } from "uvu";
import * as assert from "uvu/assert";
import { CapturedCharges } from "#dist/validate/kvm/charges.js";
import type { TraceEvent } from "#dist/validate/kvm/tracetext.js";

const SLOT = { name: "slot1", gfn: 0x10000, pages: 1024, hva: 0x7e0040000000 };

const event = (name: string, fields: string, cpu = 0): TraceEvent => ({ task: "vmm", cpu, name, fields });
const asked = (page: number, cpu = 0) =>
  event("kvm_page_fault", `vcpu 0 rip 0x0 address 0x${((SLOT.gfn + page) * 4096).toString(16)} x`, cpu);
const mapped = (page: number) => event("kvm_mmu_set_spte", `gfn ${(SLOT.gfn + page).toString(16)} spte 0`);
const read = event("swap_readpage", "(f) entry=0x7 sync=1");
const fresh = (page: number, cpu = 0) => [asked(page, cpu), mapped(page)];
const back = (page: number, cpu = 0) => [asked(page, cpu), read, mapped(page)];
/** A fault that reclaims comes again afterwards, because something was unmapped meanwhile. */
const reclaims = (page: number, freed: number[], cpu = 0) => [
  asked(page, cpu),
  event("mm_vmscan_memcg_reclaim_begin", "order=0"),
  ...freed.map((pages) =>
    event("mm_vmscan_lru_shrink_inactive", `nid=0 nr_scanned=9 nr_reclaimed=${pages} x`),
  ),
  event("mm_vmscan_memcg_reclaim_end", `nr_reclaimed=${freed.reduce((a, b) => a + b, 9)}`),
  read,
  ...fresh(page, cpu),
];

const charges = (hugePages = false) => {
  const following = new CapturedCharges([SLOT], hugePages);
  let step = 0;
  return (command: string, ...events: TraceEvent[][]) =>
    following.step({ step: step++, command, vmm_minflt: 0, vmm_majflt: 0 }, events.flat());
};

const WRITE = "access 0 1 seq 0 9 0 w 1";
const READ = "access 0 1 seq 0 9 0 r 1";
const ROUND = [reclaims(2, [1, 2]), back(3), back(4), reclaims(5, [2])];

test("as many pages come after a reclaim as it has freed: nothing else was charged", () => {
  const first = charges();
  assert.equal(first(WRITE, fresh(0), fresh(1), ...ROUND), { room: 3, changes: [] });
});

test("more of them say that others gave something back, fewer that they took it, from the reclaiming fault on", () => {
  const less = charges();
  assert.equal(
    less(
      WRITE,
      fresh(0),
      fresh(1),
      reclaims(2, [1, 2]),
      ...[3, 4, 6].map((page) => back(page)),
      reclaims(5, [2]),
    ).changes,
    [{ fault: 3, pages: -1 }],
  );
  const more = charges();
  assert.equal(more(WRITE, reclaims(2, [4]), back(3), back(4), reclaims(5, [2])).changes, [
    { fault: 1, pages: 1 },
  ]);
});

test("a page that is in memory still, or that is the one of zeroes, is not charged", () => {
  const step = charges();
  step(WRITE, ...[2, 3, 4, 5, 6].map((page) => fresh(page)));
  assert.equal(step(READ, reclaims(2, [1]), fresh(3), fresh(9), reclaims(5, [2])).changes, []);
  // Dropped, it is charged when it is written again.
  step("madvise 1 3 1 dontneed");
  assert.equal(step(WRITE, reclaims(2, [2]), fresh(3), reclaims(5, [2])).changes, []);
  step("hostaccess 1 20 4 w 1");
  assert.equal(step(WRITE, reclaims(2, [1]), fresh(21), reclaims(5, [2])).changes, []);
});

test("where the events do not tell, nothing is concluded", () => {
  const odd = [reclaims(2, [9]), back(3), reclaims(5, [2])];
  assert.is(charges()(WRITE, ...odd).changes.length, 1);
  assert.equal(charges(true)(WRITE, ...odd).changes, [], "huge pages");
  assert.equal(charges()(WRITE, ...odd, fresh(8, 1)).changes, [], "stocks of two CPUs");
  assert.equal(charges()("access2 1 seq 0 9 0 w 1", ...odd).changes, [], "two vCPUs");
  for (const advice of ["free", "mergeable"]) {
    const step = charges();
    step(`madvise 1 0 9 ${advice}`);
    assert.equal(step(WRITE, ...odd).changes, [], advice);
  }
  assert.equal(charges()("memcg memory.reclaim 4096", ...odd), { room: undefined, changes: [] });
});

test.run();
