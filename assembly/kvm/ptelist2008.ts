import { descGive, descTake, headDesc, headMany, headOf } from "./ptelist";

// Lists of sptes in the form of 2007 to 2010 (rmap_add(), rmap_remove(), rmap_next()): descriptors of four, filled from the front,
// found again from the head at every step of a walk. Heads and the pool are those of ptelist.ts.
//
// descriptor   0      4            20
//              +------+------------+
//              | more | sptes u32×4|      the first unused place is 0
//              +------+------------+
//
// A hole is filled with the last entry of the same descriptor. A walk that removes as it goes therefore passes over the entry
// that has just been moved; the notifier of 2008 has such a walk (legacy.ts).

const MORE: usize = 0;
const SPTES: usize = 4;
/** RMAP_EXT */
const EXT: u32 = 4;

function sptes(desc: usize, place: u32): u32 {
  return load<u32>(desc + ((<usize>place) << 2), SPTES);
}

function setSptes(desc: usize, place: u32, spte: u32): void {
  store<u32>(desc + ((<usize>place) << 2), spte, SPTES);
}

/** rmap_add(): appends `spte` to the list at `at`. */
export function rmapAdd2008(pool: usize, at: usize, spte: usize): void {
  const head = load<u32>(at);
  if (head === 0) {
    store<u32>(at, <u32>spte);
    return;
  }
  if (!headMany(head)) {
    const desc = descTake(pool);
    setSptes(desc, 0, head);
    setSptes(desc, 1, <u32>spte);
    store<u32>(at, headOf(desc));
    return;
  }
  let desc = headDesc(head);
  while (sptes(desc, EXT - 1) !== 0 && load<u32>(desc, MORE) !== 0) desc = <usize>load<u32>(desc, MORE);
  if (sptes(desc, EXT - 1) !== 0) {
    const more = descTake(pool);
    store<u32>(desc, <u32>more, MORE);
    desc = more;
  }
  let place: u32 = 0;
  while (sptes(desc, place) !== 0) place++;
  setSptes(desc, place, <u32>spte);
}

/** rmap_remove(): takes `spte`, which is there, out. A list that once had two entries keeps its descriptor until it is empty. */
export function rmapRemove2008(pool: usize, at: usize, spte: usize): void {
  const head = load<u32>(at);
  assert(head !== 0);
  if (!headMany(head)) {
    assert(head === <u32>spte);
    store<u32>(at, 0);
    return;
  }
  let before: usize = 0;
  for (let desc = headDesc(head); desc !== 0; desc = <usize>load<u32>(desc, MORE)) {
    for (let place: u32 = 0; place < EXT && sptes(desc, place) !== 0; place++) {
      if (sptes(desc, place) !== <u32>spte) continue;
      removeEntry(pool, at, before, desc, place);
      return;
    }
    before = desc;
  }
  assert(false);
}

// rmap_desc_remove_entry()
function removeEntry(pool: usize, at: usize, before: usize, desc: usize, place: u32): void {
  let last = EXT - 1;
  while (sptes(desc, last) === 0) last--;
  setSptes(desc, place, sptes(desc, last));
  setSptes(desc, last, 0);
  if (last !== 0) return;
  const more = load<u32>(desc, MORE);
  if (before !== 0) store<u32>(before, more, MORE);
  else store<u32>(at, more === 0 ? 0 : headOf(<usize>more));
  descGive(pool, desc);
}

/** rmap_next(): the spte after `spte`, the first one after 0; 0 at the end. Looks for `spte` from the head on. */
export function rmapNext2008(at: usize, spte: usize): usize {
  const head = load<u32>(at);
  if (head === 0) return 0;
  if (!headMany(head)) return spte === 0 ? <usize>head : 0;
  let previous: u32 = 0;
  for (let desc = headDesc(head); desc !== 0; desc = <usize>load<u32>(desc, MORE)) {
    for (let place: u32 = 0; place < EXT && sptes(desc, place) !== 0; place++) {
      if (previous === <u32>spte) return <usize>sptes(desc, place);
      previous = sptes(desc, place);
    }
  }
  return 0;
}

/** Entries of the list. */
export function rmapCount2008(at: usize): u32 {
  let count: u32 = 0;
  const head = load<u32>(at);
  if (!headMany(head)) return head === 0 ? 0 : 1;
  for (let desc = headDesc(head); desc !== 0; desc = <usize>load<u32>(desc, MORE)) {
    for (let place: u32 = 0; place < EXT && sptes(desc, place) !== 0; place++) count++;
  }
  return count;
}

/** Asserts the shape of a list: no descriptor is empty, none has a hole. */
export function checkRmap2008(at: usize): void {
  const head = load<u32>(at);
  if (!headMany(head)) return;
  for (let desc = headDesc(head); desc !== 0; desc = <usize>load<u32>(desc, MORE)) {
    assert(sptes(desc, 0) !== 0);
    for (let place: u32 = 1; place < EXT; place++)
      assert(sptes(desc, place) === 0 || sptes(desc, place - 1) !== 0);
  }
}
