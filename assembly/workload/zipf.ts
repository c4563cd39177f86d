import { PART_WORKLOADS, arenaReserve } from "../memory/arena";
import { permute } from "./permute";
import { workloadOffset, workloadPages, workloadStride } from "./workload";

// Zipf by Walker's alias table: one random index and one comparison a draw, whatever the number of pages. Rank r has weight
// 1 / (r + 1)^theta. The table is indexed by page, so the scattering of the ranks costs nothing at a draw.
//
// entry, 8 bytes   +------------+-------+
//                  | keep (u32) | alias |     a draw of page p stays p with probability keep / 2^32, else it is alias
//                  +------------+-------+
//
// The table is built in its own memory: the weights stand in the entries until they are turned into (keep, alias). Floating
// point is AssemblyScript's own, so every engine builds the same table.

export function zipfLayout(pages: u32): usize {
  return arenaReserve(PART_WORKLOADS, <u64>pages << 3, 64);
}

function at(workload: usize, table: usize, rank: u32): usize {
  const pages = workloadPages(workload);
  const page = permute(rank, workloadStride(workload), workloadOffset(workload), pages);
  return table + ((<usize>page) << 3);
}

function settle(workload: usize, table: usize, rank: u32, keep: f64, alias: u32): void {
  const pages = workloadPages(workload);
  const entry = at(workload, table, rank);
  const bounded = Math.min(Math.max(keep, 0), 1) * 4294967295;
  store<u32>(entry, <u32>bounded);
  store<u32>(entry, permute(alias, workloadStride(workload), workloadOffset(workload), pages), 4);
}

/** Fills `table` for the workload's pages and permutation, and skew `theta` > 0. */
export function zipfBuild(workload: usize, table: usize, theta: f64): void {
  const pages = workloadPages(workload);
  let sum: f64 = 0;
  for (let rank: u32 = 0; rank < pages; rank++) {
    const weight = Math.pow(<f64>(rank + 1), -theta);
    store<f64>(at(workload, table, rank), weight);
    sum += weight;
  }
  // Weights fall with the rank, so the heavy entries (more than an even share) come first. A heavy one gives away what it
  // has too much to the light ones in turn; when it has become light itself, the next heavy one tops it up.
  const scale = <f64>pages / sum;
  let light: u32 = 0;
  while (light < pages && load<f64>(at(workload, table, light)) * scale >= 1) light++;
  const heavies = light;
  let heavy: u32 = 0;
  let rest = heavies > 0 ? load<f64>(at(workload, table, 0)) * scale : 1;
  for (; light < pages; light++) {
    const weight = load<f64>(at(workload, table, light)) * scale;
    settle(workload, table, light, weight, heavy);
    rest -= 1 - weight;
    while (rest < 1 && heavy + 1 < heavies) {
      settle(workload, table, heavy, rest, heavy + 1);
      heavy++;
      rest = load<f64>(at(workload, table, heavy)) * scale - (1 - rest);
    }
  }
  for (; heavy < heavies; heavy++) settle(workload, table, heavy, 1, heavy);
}
