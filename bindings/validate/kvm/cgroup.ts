// Commands on the monitor's memory cgroup: memcg, memcg_leave; and the waiting between them.

import { type Command, cpuOf } from "./guest.js";

// memcg memory.max|memory.reclaim <bytes>
const memcg: Command = (guest, [file, value], step) => {
  if (file !== "memory.max" && file !== "memory.reclaim") throw new Error(`the file ${file} is not known`);
  if (file === "memory.max") guest.limit(value === "max" ? value : Number(value), cpuOf(step));
  else guest.writeCgroup(file, Number(value), cpuOf(step));
};

// memcg_leave: what the cgroup holds stays charged to it, and the limit does not concern the monitor any more.
const leave: Command = (guest, _, step) => {
  guest.limit("max", cpuOf(step));
};

// sleep <ms>
const sleep: Command = (guest, [ms]) => {
  guest.sleep(Number(ms));
};

export const cgroupCommands: readonly (readonly [string, Command])[] = [
  ["memcg", memcg],
  ["memcg_leave", leave],
  ["sleep", sleep],
];
