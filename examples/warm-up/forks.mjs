// One warm-up, many futures: a machine is brought to a steady state once, and its forks go on from there, each under a limit of its own.
// What differs between them is the limit and nothing else. Run it with: node examples/warm-up/forks.mjs

import { Machine } from "pagevisor";

const LIMITS = ["56MiB", "48MiB", "40MiB", "32MiB", "24MiB", "16MiB"];

const machine = await Machine.create({
  host: { memory: "256MiB", swap: [{ kind: "nvme", size: "256MiB" }] },
  vms: [
    {
      name: "db",
      memory: "64MiB",
      guest: { tasks: [{ workload: { kind: "zipf", pages: 16384, theta: 0.99, writes: 0.3 } }] },
    },
  ],
});
const warmUp = machine.run({ accesses: 2_000_000 });
console.log(
  `warmed up in ${(warmUp.virtualTimeNs / 1e6).toFixed(0)} ms of virtual time: ${warmUp.vms[0].faults.minor.count} minor faults\n`,
);

console.log("limit   major faults  p99 of a fault  swapped out");
for (const limit of LIMITS) {
  const fork = machine.fork({ set: { "vms.db.memoryMax": limit } });
  const { vms, host } = fork.run({ accesses: 500_000 });
  const { major } = vms[0].faults;
  const p99 = `${(major.latency.p99 / 1000).toFixed(0)} us`;
  console.log(
    `${limit}  ${String(major.count).padStart(13)}  ${p99.padStart(14)}  ${String(host.swap.out).padStart(11)}`,
  );
  fork.dispose();
}
machine.dispose();
