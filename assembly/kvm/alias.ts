import { arenaTake, PART_RECORDS } from "../memory/arena";

// Aliases of a VM's guest frames, as KVM had them from 2007 to 2.6.35 (struct kvm_mem_alias): frames that stand for others, so that a frame of
// memory shows at several places. What maps an alias stands in the reverse map, and is logged dirty, under the frame that it stands for.
//
// table   0       4      8       12       16
//         +-------+------+-------+--------+------+
//         | count | base | pages | target | base …
//         +-------+------+-------+--------+------+

/** KVM_ALIAS_SLOTS */
export const ALIAS_SLOTS: u32 = 4;

const COUNT: usize = 0;
const FIRST: usize = 4;
const BASE: usize = 0;
const PAGES: usize = 4;
const TARGET: usize = 8;
const ALIAS_BYTES: usize = 12;

/** Takes a table without aliases; 0 when memory is exhausted. */
export function aliasTable(): usize {
  return arenaTake(PART_RECORDS, FIRST + <usize>ALIAS_SLOTS * ALIAS_BYTES);
}

/** Frames base .. base + pages - 1 stand for those from `target` on, beside the aliases that there are. */
export function aliasAdd(table: usize, base: u32, pages: u32, target: u32): void {
  const count = load<u32>(table, COUNT);
  assert(count < ALIAS_SLOTS);
  const alias = table + FIRST + <usize>count * ALIAS_BYTES;
  store<u32>(alias, base, BASE);
  store<u32>(alias, pages, PAGES);
  store<u32>(alias, target, TARGET);
  store<u32>(table, count + 1, COUNT);
}

/** unalias_gfn(): the frame that `gfn` stands for by the first alias that has it, one step; else itself. `table` 0: no aliases. */
export function unaliasGfn(table: usize, gfn: u32): u32 {
  if (table === 0) return gfn;
  const end = table + FIRST + <usize>load<u32>(table, COUNT) * ALIAS_BYTES;
  for (let alias = table + FIRST; alias < end; alias += ALIAS_BYTES) {
    const offset = gfn - load<u32>(alias, BASE);
    if (offset < load<u32>(alias, PAGES)) return load<u32>(alias, TARGET) + offset;
  }
  return gfn;
}

/** The frame by which alias number `index` shows `gfn`; `gfn` itself when it does not, or another alias comes first. */
export function aliasOf(table: usize, index: u32, gfn: u32): u32 {
  if (table === 0 || index >= load<u32>(table, COUNT)) return gfn;
  const alias = table + FIRST + <usize>index * ALIAS_BYTES;
  const offset = gfn - load<u32>(alias, TARGET);
  if (offset >= load<u32>(alias, PAGES)) return gfn;
  const shown = load<u32>(alias, BASE) + offset;
  return unaliasGfn(table, shown) === gfn ? shown : gfn;
}

/** Frames that are aliases. */
export function aliasedPages(table: usize): u32 {
  let pages: u32 = 0;
  if (table === 0) return pages;
  const end = table + FIRST + <usize>load<u32>(table, COUNT) * ALIAS_BYTES;
  for (let alias = table + FIRST; alias < end; alias += ALIAS_BYTES) pages += load<u32>(alias, PAGES);
  return pages;
}
