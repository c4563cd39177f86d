// A replacement policy of your own, beside three that are built in. Run it with: node examples/policies/least-used.mjs
//
// When a VM at its limit needs room, the simulator offers the oldest pages, 64 at a time. This policy lets the eight go that were
// referenced least often; the others stay, and come again when they are the oldest.

import { EVICT, Machine } from "pagevisor";

const leastUsed = {
  name: "least-used",
  choose({ length, uses }, choices) {
    const order = [...uses.keys()].sort((a, b) => uses[a] - uses[b]);
    for (const index of order.slice(0, Math.ceil(length / 8))) choices[index] = EVICT;
  },
};

for (const policy of ["fifo", "lru", "lfu", leastUsed]) {
  const machine = await Machine.create({
    host: { memory: "64MiB", swap: [{ kind: "nvme", size: "64MiB" }], reclaim: { policy } },
    vms: [
      {
        name: "cache",
        memory: "32MiB",
        memoryMax: "8MiB",
        guest: {
          tasks: [{ workload: { kind: "zipf", pages: 8192, theta: 0.9, writes: 0.5, accesses: 400_000 } }],
        },
      },
    ],
  });
  const { vms, virtualTimeNs } = machine.run();
  const { minor, major } = vms[0].faults;
  const name = typeof policy === "string" ? policy : policy.name;
  console.log(
    `${name.padEnd(10)}  ${minor.count + major.count} faults, ${(virtualTimeNs / 1e9).toFixed(2)} s of virtual time`,
  );
  machine.dispose();
}
