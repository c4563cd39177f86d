import { GFN_NONE } from "../memory/layout";
import { APF_TABLE, APF_TABLE_BITS, APF_TABLE_NEXT, APF_TABLE_NEXT_BITS } from "./apf";

// The gfns that a vCPU waits for (vcpu->arch.apf.gfns): a hash table with linear probing and deletion by moving back. It has at
// least 64 places and never fewer than faults can be outstanding, so a probe always ends.
//
// invariant: no gfn stands in it twice
// invariant: between an entry's home and its place no place is empty

// GOLDEN_RATIO_32
const GOLDEN_RATIO: u32 = 0x61c88647;

/** hash_32(): the top `bits` bits of the product with the golden ratio. */
export function hash32(value: u32, bits: u32): u32 {
  return (value * GOLDEN_RATIO) >> (32 - bits);
}

function place(apf: usize, index: u32): usize {
  return <usize>load<u32>(apf, APF_TABLE) + ((<usize>index) << 2);
}

function mask(apf: usize): u32 {
  return (1 << load<u32>(apf, APF_TABLE_BITS)) - 1;
}

function home(apf: usize, gfn: u32): u32 {
  return hash32(gfn, load<u32>(apf, APF_TABLE_BITS));
}

/** Empties the table. */
export function apfTableReset(apf: usize): void {
  for (let index: u32 = 0; index <= mask(apf); index++) store<u32>(place(apf, index), GFN_NONE);
}

/** Everything moves to the larger table that apfLayout() has reserved, if it has. */
export function apfTableGrow(apf: usize): void {
  const bits = load<u32>(apf, APF_TABLE_NEXT_BITS);
  if (bits === 0) return;
  const old = <usize>load<u32>(apf, APF_TABLE);
  const oldPlaces: u32 = old === 0 ? 0 : mask(apf) + 1;
  store<u32>(apf, load<u32>(apf, APF_TABLE_NEXT), APF_TABLE);
  store<u32>(apf, bits, APF_TABLE_BITS);
  store<u32>(apf, 0, APF_TABLE_NEXT_BITS);
  apfTableReset(apf);
  for (let index: u32 = 0; index < oldPlaces; index++) {
    const gfn = load<u32>(old + ((<usize>index) << 2));
    if (gfn !== GFN_NONE) apfTableAdd(apf, gfn);
  }
}

/** Place of `gfn`, -1 when it is not in the table. */
export function apfTableFind(apf: usize, gfn: u32): i32 {
  let index = home(apf, gfn);
  for (let probes: u32 = 0; probes <= mask(apf); probes++) {
    const found = load<u32>(place(apf, index));
    if (found === gfn) return <i32>index;
    if (found === GFN_NONE) return -1;
    index = (index + 1) & mask(apf);
  }
  return -1;
}

/** kvm_add_async_pf_gfn() */
export function apfTableAdd(apf: usize, gfn: u32): void {
  assert(gfn !== GFN_NONE && apfTableFind(apf, gfn) < 0);
  let index = home(apf, gfn);
  while (load<u32>(place(apf, index)) !== GFN_NONE) index = (index + 1) & mask(apf);
  store<u32>(place(apf, index), gfn);
}

/** kvm_del_async_pf_gfn(): later entries move back over the gap where their home allows it. */
export function apfTableRemove(apf: usize, gfn: u32): void {
  const found = apfTableFind(apf, gfn);
  assert(found >= 0);
  let gap = <u32>found;
  let next = gap;
  while (true) {
    store<u32>(place(apf, gap), GFN_NONE);
    while (true) {
      next = (next + 1) & mask(apf);
      const moving = load<u32>(place(apf, next));
      if (moving === GFN_NONE) return;
      // It stays where its home lies cyclically within (gap, next].
      const back = (next - home(apf, moving)) & mask(apf);
      if (back >= ((next - gap) & mask(apf))) break;
    }
    store<u32>(place(apf, gap), load<u32>(place(apf, next)));
    gap = next;
  }
}

/** Entries. */
export function apfTableCount(apf: usize): u32 {
  let count: u32 = 0;
  for (let index: u32 = 0; index <= mask(apf); index++) {
    if (load<u32>(place(apf, index)) !== GFN_NONE) count++;
  }
  return count;
}

export function checkApfTable(apf: usize): void {
  for (let index: u32 = 0; index <= mask(apf); index++) {
    const gfn = load<u32>(place(apf, index));
    if (gfn !== GFN_NONE) assert(apfTableFind(apf, gfn) === <i32>index);
  }
}
