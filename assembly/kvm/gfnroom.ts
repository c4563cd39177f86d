// For which guest frames a VM has room in its tables: stretches of 512 frames, as one leaf table maps them. What lies outside of them all gets
// room when a slot is made over it (slotroom.ts).
//
// list     head: address of the last stretch, 0 for none
// stretch  0       4      8       12
//          +-------+------+-------+
//          | first | last | older |          numbers of leaf tables, gfn >> 9
//          +-------+------+-------+

const FIRST: usize = 0;
const LAST: usize = 4;
const OLDER: usize = 8;
export const GFN_ROOM_BYTES: usize = 12;

const LEAF_SHIFT: u32 = 9;
const ROOT_SHIFT: u32 = 27;

/** Tables that map frames gfn .. gfn + pages - 1: those of the levels 1 to 3. */
function tablesOf(first: u32, last: u32): u32 {
  let tables = last - first + 1;
  for (let shift = LEAF_SHIFT; shift < ROOT_SHIFT; shift += LEAF_SHIFT) {
    tables += (last >> shift) - (first >> shift) + 1;
  }
  return tables;
}

// The stretch that has leaf table `leaf`, 0 for none.
function holding(list: usize, leaf: u32): usize {
  let stretch = <usize>load<u32>(list);
  while (stretch !== 0 && (leaf < load<u32>(stretch, FIRST) || leaf > load<u32>(stretch, LAST))) {
    stretch = <usize>load<u32>(stretch, OLDER);
  }
  return stretch;
}

// The first leaf table of a stretch behind `leaf`, `end` when there is none before it.
function nextFirst(list: usize, leaf: u32, end: u32): u32 {
  let next = end;
  for (let at = <usize>load<u32>(list); at !== 0; at = <usize>load<u32>(at, OLDER)) {
    const first = load<u32>(at, FIRST);
    if (first > leaf) next = min<u32>(next, first);
  }
  return next;
}

/** Tables for which there is no room among those for gfn .. gfn + pages - 1. */
export function gfnRoomMissing(list: usize, gfn: u32, pages: u32): u32 {
  const end = ((gfn + pages - 1) >> LEAF_SHIFT) + 1;
  let missing: u32 = 0;
  let leaf = gfn >> LEAF_SHIFT;
  while (leaf < end) {
    const stretch = holding(list, leaf);
    if (stretch !== 0) {
      leaf = load<u32>(stretch, LAST) + 1;
      continue;
    }
    const next = nextFirst(list, leaf, end);
    missing += tablesOf(leaf, next - 1);
    leaf = next;
  }
  return missing;
}

/** There is room for frames gfn .. gfn + pages - 1 from now on; `stretch` is a record of GFN_ROOM_BYTES for that. */
export function gfnRoomAdd(list: usize, stretch: usize, gfn: u32, pages: u32): void {
  store<u32>(stretch, gfn >> LEAF_SHIFT, FIRST);
  store<u32>(stretch, (gfn + pages - 1) >> LEAF_SHIFT, LAST);
  store<u32>(stretch, load<u32>(list), OLDER);
  store<u32>(list, <u32>stretch);
}
