import { mmFree, mmSwapFree, mmSwappiness } from "./instance";
import { inactivePages } from "./lrusize";
import { hostHigh } from "./watermark";

// How many anonymous pages a pass looks at: get_scan_count(), inactive_is_low() and the tests of prepare_scan_count(), for
// lists that hold anonymous pages only. The file lists exist as empty ones, because their share of the work counts.

const PAGES_PER_GIB_SHIFT: u32 = 18;

function squareRoot(value: u32): u32 {
  let root: u32 = 0;
  while ((root + 1) * (root + 1) <= value) root++;
  return root;
}

/** inactive_is_low(): 1 to 1 below 1 GiB of pages, then the square root of ten times the GiB. */
export function inactiveIsLow(inactive: u32, active: u32): bool {
  const gib = (inactive + active) >> PAGES_PER_GIB_SHIFT;
  const ratio: u32 = gib === 0 ? 1 : squareRoot(10 * gib);
  return <u64>inactive * ratio < <u64>active;
}

/** file_is_tiny: with next to no file pages and free memory below HIGH, global reclaim takes anonymous pages only. */
export function fileIsTiny(mm: usize, mayDeactivate: bool, priority: u32): bool {
  return mmFree(mm) <= hostHigh(mm) && !mayDeactivate && inactivePages(mm, 0) >> priority !== 0;
}

/**
 * Pages of a list of `size` pages to look at.
 * @param costs what reclaim for this target has cost lately, when the round began: anon, file
 * @param global reclaim for the host, not for a cgroup's limit
 * @param tiny fileIsTiny() at the start of this round
 */
export function scanCount(mm: usize, size: u32, priority: u32, costs: usize, global: bool, tiny: bool): u32 {
  const swappiness = <u64>mmSwappiness(mm);
  if (mmSwapFree(mm) === 0) return 0;
  if (!global && swappiness === 0) return 0;
  const scan = size >> priority;
  if (priority === 0 && swappiness !== 0) return scan;
  if (global && tiny) return scan;

  // Pressure is split in proportion to swappiness and in inverse proportion to what each type has cost lately.
  const anonCost = <u64>load<u32>(costs);
  const fileCost = <u64>load<u32>(costs, 4);
  const total = anonCost + fileCost;
  const anon = total + anonCost;
  const file = total + fileCost;
  const all = anon + file;
  const anonShare = (swappiness * (all + 1)) / (anon + 1);
  const fileShare = ((200 - swappiness) * (all + 1)) / (file + 1);
  return <u32>((<u64>scan * anonShare) / max<u64>(anonShare + fileShare, 1));
}
