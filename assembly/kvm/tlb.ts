import { TLB_GENERATION, TLB_PFNS, TLB_SET_MASK, TLB_TAGS, TLB_WAYS } from "./vcpu";

// The TLB of a vCPU: gfn to frame, set = gfn mod sets, within a set the most recently used entry first.
//
// tags   u64 × entries    63          32 31        1  0
//                         +-------------+-----------+---+
//                         | generation  | gfn       | D |      D: the leaf is known to be writable and dirty
//                         +-------------+-----------+---+
// pfns   u32 × entries    the frame that the entry translates to; kept and read only where contents are checked
//
// A flush moves the generation on: every older entry has stopped matching, at the cost of one store.

/** Tag that an entry must have for an access; a set D bit in the entry serves reads too. */
export function tlbKey(vcpu: usize, gfn: u32, write: u32): u64 {
  return ((<u64>load<u32>(vcpu, TLB_GENERATION)) << 32) | ((<u64>gfn) << 1) | write;
}

/** True when `tag` translates an access with `key`. */
export function tlbMatches(tag: u64, key: u64): bool {
  return (tag ^ key) + (key & 1) < 2;
}

/** Drops every translation of the vCPU. */
export function tlbFlush(vcpu: usize): void {
  const generation = load<u32>(vcpu, TLB_GENERATION) + 1;
  store<u32>(vcpu, generation, TLB_GENERATION);
  if (generation >>> 31 === 0) return;
  // Before generations can repeat, or be the complement of an older one, the old tags are forgotten.
  const entries = (load<u32>(vcpu, TLB_SET_MASK) + 1) * load<u32>(vcpu, TLB_WAYS);
  memory.fill(<usize>load<u32>(vcpu, TLB_TAGS), 0, (<usize>entries) << 3);
  store<u32>(vcpu, 1, TLB_GENERATION);
}

/** Index of the entry that translates the access, moved to the front of its set; -1 on a miss. */
export function tlbLookup(vcpu: usize, gfn: u32, write: u32): i32 {
  const key = tlbKey(vcpu, gfn, write);
  const ways = load<u32>(vcpu, TLB_WAYS);
  const first = (gfn & load<u32>(vcpu, TLB_SET_MASK)) * ways;
  const tags = <usize>load<u32>(vcpu, TLB_TAGS);
  for (let way: u32 = 0; way < ways; way++) {
    const tag = load<u64>(tags + ((<usize>(first + way)) << 3));
    if (!tlbMatches(tag, key)) continue;
    if (way !== 0) {
      const pfn = load<u32>(<usize>load<u32>(vcpu, TLB_PFNS) + ((<usize>(first + way)) << 2));
      toFront(vcpu, first, way, tag, pfn);
    }
    return <i32>first;
  }
  return -1;
}

/** Index of the entry that translates reads of `gfn`, which stays where it is; -1 for none. */
export function tlbPeek(vcpu: usize, gfn: u32): i32 {
  const key = tlbKey(vcpu, gfn, 0);
  const ways = load<u32>(vcpu, TLB_WAYS);
  const first = (gfn & load<u32>(vcpu, TLB_SET_MASK)) * ways;
  for (let index = first; index < first + ways; index++) {
    if (tlbMatches(load<u64>(<usize>load<u32>(vcpu, TLB_TAGS) + ((<usize>index) << 3)), key))
      return <i32>index;
  }
  return -1;
}

/** Puts a translation in front of its set, in place of the set's oldest or of an older entry for the same gfn. */
export function tlbFill(vcpu: usize, gfn: u32, dirty: u32, pfn: u32): void {
  const ways = load<u32>(vcpu, TLB_WAYS);
  const first = (gfn & load<u32>(vcpu, TLB_SET_MASK)) * ways;
  const tags = <usize>load<u32>(vcpu, TLB_TAGS);
  const key = tlbKey(vcpu, gfn, dirty);
  let way: u32 = 0;
  while (way < ways - 1) {
    if (((load<u64>(tags + ((<usize>(first + way)) << 3)) ^ key) & ~(<u64>1)) === 0) break;
    way++;
  }
  toFront(vcpu, first, way, key, pfn);
}

// Moves the entries before `way` one place back and puts (tag, pfn) in front.
function toFront(vcpu: usize, first: u32, way: u32, tag: u64, pfn: u32): void {
  const tags = <usize>load<u32>(vcpu, TLB_TAGS);
  const pfns = <usize>load<u32>(vcpu, TLB_PFNS);
  for (let to = first + way; to > first; to--) {
    store<u64>(tags + ((<usize>to) << 3), load<u64>(tags + ((<usize>(to - 1)) << 3)));
    store<u32>(pfns + ((<usize>to) << 2), load<u32>(pfns + ((<usize>(to - 1)) << 2)));
  }
  store<u64>(tags + ((<usize>first) << 3), tag);
  store<u32>(pfns + ((<usize>first) << 2), pfn);
}

/** Frame that entry `index` translates to. */
export function tlbPfn(vcpu: usize, index: u32): u32 {
  return load<u32>(<usize>load<u32>(vcpu, TLB_PFNS) + ((<usize>index) << 2));
}
