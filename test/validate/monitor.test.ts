// At stake: what is taken from a capture as an input, because it is not the model's business: which pages the monitor itself has on its cgroup's lists,
// whether it used them, when it read them back, and how much its cgroup is charged besides.

import { test } from "uvu";
import * as assert from "uvu/assert";
import { monitorActivity } from "#dist/validate/kvm/monitor.js";
import { capturedEvents } from "#dist/validate/kvm/tracetext.js";

const SLOT = { name: "slot1", gfn: 0x10000, pages: 1024, hva: 0x7e0040000000 };

let time = 0;
function line(event: string): string {
  time += 1e-6;
  return `vmm-1 [000] ..... ${time.toFixed(6)}: ${event}`;
}
const hex = (value: number) => `0x${value.toString(16)}`;
const mark = (what: string) => line(`tracing_mark_write: STEP_${what}`);
const fault = (page: number) => [
  line(`kvm_page_fault: vcpu 0 rip 0x0 address ${hex((SLOT.gfn + page) * 4096)} error_code 0x100000006`),
  line(`kvm_mmu_set_spte: gfn ${(SLOT.gfn + page).toString(16)} spte 0 (rwxu) level 1 at 0`),
];
const look = (hva: number, young: 0 | 1) => [
  line(`kvm_age_hva: mmu notifier age hva: ${hex(hva)} -- ${hex(hva + 4096)}`),
  line("kr_flush_young: young=0"),
  line(`folio_referenced: (f) ret=${young}`),
];
const add = (slot: number) => line(`swapcache_add: (f) entry=${hex(slot)}`);
const read = (slot: number) => line(`swap_readpage: (f) entry=${hex(slot)} sync=1`);
const begin = line("mm_vmscan_memcg_reclaim_begin: order=0 gfp_flags=GFP");

const OWN = [0x4f3000, 0x4f4000];

function activity(steps: [string, string[], string[]][], minflt = 0) {
  const text = steps.flatMap(([command, within, behind], step) => [
    mark(`BEGIN ${step} ${command}`),
    ...within,
    mark(`END ${step}`),
    ...behind,
  ]);
  return monitorActivity({
    steps: steps.map(([command], step) => ({ step, command, vmm_minflt: minflt, vmm_majflt: 0 })),
    slots: [SLOT],
    events: capturedEvents(text.join("\n")),
    swapIns: () => undefined,
    record: "x".repeat(100),
    fileBytes: () => 8193,
  });
}

const LIMIT: [string, string[], string[]] = ["memcg memory.max 409600", [], []];

test("pages that no slot backs and that reclaim looks at are the monitor's, numbered as they come", () => {
  const { pages, first, steps } = activity([
    LIMIT,
    ["access 0 1 seq 0 2 0 w 1", [...fault(0), ...fault(1)], []],
    ["memcg memory.reclaim 4096", [...look(OWN[1]!, 1), ...look(SLOT.hva, 1), ...look(OWN[0]!, 0)], []],
  ]);
  assert.is(pages, 2);
  assert.is(first, 2);
  // Used until then: the one that was found young.
  assert.equal(steps.get(1)!.used, [0]);
  assert.equal(steps.get(2)!.used, []);
});

test("a read of the slot that a page of the monitor's went to brings it back, in a step or behind it", () => {
  const { steps } = activity([
    LIMIT,
    [
      "access 0 1 seq 0 1 0 w 1",
      [
        ...look(OWN[0]!, 0),
        add(7),
        ...look(SLOT.hva, 0),
        add(8),
        ...look(OWN[1]!, 0),
        add(9),
        read(9),
        read(8),
      ],
      [add(7), read(7)],
    ],
  ]);
  assert.equal(steps.get(1)!.reads, [1]);
  assert.equal(steps.get(1)!.behind, [0]);
});

test("the first reclaim of a step tells how many pages its limit left room for", () => {
  const { steps } = activity([
    LIMIT,
    ["access 0 1 seq 0 3 0 w 1", [...fault(0), ...fault(1), begin, ...fault(2)], []],
    ["access 0 1 seq 0 3 0 r 1", [...fault(0), begin], []],
    ["access 0 1 seq 0 3 0 r 1", [...fault(0)], []],
  ]);
  assert.is(steps.get(1)!.room, 3, "two pages and the table that maps them");
  assert.is(steps.get(2)!.room, 0, "the page was there");
  assert.is(steps.get(3)!.room, undefined);
});

test("a page that has to be read back was not in use before, young though it is found behind that", () => {
  const { steps } = activity([
    LIMIT,
    ["access 0 1 seq 0 1 0 w 1", [...look(OWN[0]!, 0), add(7), ...look(OWN[1]!, 0), add(8)], []],
    ["sleep 1", [read(7)], []],
    ["sleep 1", [...look(OWN[0]!, 1), ...look(OWN[1]!, 1)], []],
  ]);
  assert.equal(
    [1, 2].map((step) => steps.get(step)!.used),
    [[1], [0, 1]],
  );
});

test("pagemap writes a file, and brings the pages that its faults are for", () => {
  const { pages, files, steps } = activity([LIMIT, ["pagemap 1 end", [], []]], 2);
  assert.is(steps.get(1)!.files, 3);
  assert.is(steps.get(1)!.added, 2);
  assert.is(files, 3);
  assert.is(pages, 2);
});

test("without a memory cgroup there is nothing to know", () => {
  const { pages, files, steps } = activity([["access 0 1 seq 0 1 0 w 1", fault(0), []]]);
  assert.equal([pages, files, steps.size], [0, 0, 0]);
});

test.run();
