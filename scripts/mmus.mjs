// Prints the table of docs/paging.md: one workload on each of KVM's MMUs, on a host with room and on one that evicts. Run after `npm run build`:
// node scripts/mmus.mjs

import { Machine } from "../dist/index.js";

const PAGES = 3000;
const MEMORY_PAGES = 4096;
const MMUS = [
  ["tdp", { mmu: "tdp" }, {}],
  ["legacy", { mmu: "legacy" }, {}],
  ["shadow, shared tables", { mmu: "shadow" }, { pageTables: "shared" }],
  ["shadow, tables per task", { mmu: "shadow" }, { pageTables: "per-task" }],
];

// First in, first out, and nothing asynchronous: the order of accesses is the same whatever they cost.
function scenario(vm, guest, limit) {
  const workload = { kind: "zipf", theta: 0.8, pages: PAGES, writes: 0.3, accesses: 100_000, scatter: true };
  const tasks = [0, 1].map((index) => ({ name: `task-${index}`, region: "both", workload }));
  return {
    seed: 1,
    host: { memory: "32MiB", cpus: 1, swap: [{ kind: "nvme", size: "64MiB" }] },
    vms: [
      {
        name: "db",
        memory: MEMORY_PAGES * 4096,
        ...(limit && { memoryMax: 2048 * 4096 }),
        ...vm,
        guest: { scheduler: "fifo", tasks, ...guest },
      },
    ],
    check: { integrity: true },
  };
}

async function measured(vm, guest, limit) {
  const machine = await Machine.create(scenario(vm, guest, limit));
  const { vms, host } = machine.run();
  const { faults, memory, virtualTimeNs } = vms[0];
  const contents = Array.from({ length: PAGES }, (_, gfn) => machine.inspect({ vm: "db", gfn }).stamp.found);
  const counts = machine.traceCounts();
  const row = [
    MEMORY_PAGES - memory.untouchedPages,
    faults.minor.count,
    faults.major.count,
    faults.spurious.count,
    host.swap.out,
    counts.kvm_inj_exception,
    counts.kvm_exit,
    (virtualTimeNs / 1e6).toFixed(1),
  ];
  machine.dispose();
  return { row, contents: contents.join() };
}

const HEAD = [
  "MMU",
  "pages that the host gave",
  "faults: minor",
  "major",
  "spurious",
  "evicted",
  "faults of the guest's",
  "exits",
  "virtual ms",
];

const line = (cells) => console.log(`| ${cells.join(" | ")} |`);

line(HEAD);
line(HEAD.map((_, column) => (column === 0 ? "---" : "---:")));
for (const limit of [false, true]) {
  let first;
  for (const [name, vm, guest] of MMUS) {
    const { row, contents } = await measured(vm, guest, limit);
    first ??= contents;
    if (contents !== first) throw new Error(`${name}: the pages have other contents`);
    line([limit ? `${name}, evicting` : name, ...row]);
  }
}
