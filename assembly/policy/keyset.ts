import { unitsFor } from "../memory/layout";

// A set of whole numbers below a bound, with its greatest member: one bit a number, one bit for each word of 64 that is not
// empty, and so on up to a single word.
//
// record   0       4        8 .. 31                         level 1           +---------+
//          +-------+--------+----------------+              (one word)        | 1 0 1 … |
//          | bound | levels | level 0, 1, …  |              level 0   +---------+---------+---------+
//          +-------+--------+----------------+                        | 0 … 1 0 | 0 … 0 0 | 1 … 0 0 | …
//                                                                     +---------+---------+---------+
//
// invariant: a bit above level 0 is set when its word below is not 0

const BOUND: usize = 0;
const LEVELS: usize = 4;
const LEVEL: usize = 8; // u32 × LEVELS_MAX
const LEVELS_MAX: u32 = 6; // 64^6 is more than 2^32
export const KEYSET_BYTES: usize = LEVEL + 4 * <usize>LEVELS_MAX;

/** No number. */
export const KEY_NONE: u32 = 0xffffffff;

function level(set: usize, number: u32): usize {
  return <usize>load<u32>(set + ((<usize>number) << 2), LEVEL);
}

/** Places the words of a set of numbers below `bound` from address `at` on; returns the end. */
export function keysetLayout(set: usize, bound: u32, at: u64): u64 {
  store<u32>(set, bound, BOUND);
  let words: u64 = bound;
  let levels: u32 = 0;
  let end = at;
  do {
    assert(levels < LEVELS_MAX);
    words = unitsFor(words, 64);
    store<u32>(set + ((<usize>levels) << 2), <u32>end, LEVEL);
    end += words << 3;
    levels++;
  } while (words > 1);
  store<u32>(set, levels, LEVELS);
  return end;
}

export function keysetReset(set: usize): void {
  let words: u64 = load<u32>(set, BOUND);
  for (let number: u32 = 0; number < load<u32>(set, LEVELS); number++) {
    words = unitsFor(words, 64);
    memory.fill(level(set, number), 0, <usize>(words << 3));
  }
}

export function keysetHas(set: usize, key: u32): bool {
  assert(key < load<u32>(set, BOUND));
  return ((load<u64>(level(set, 0) + ((<usize>(key >> 6)) << 3)) >> (key & 63)) & 1) !== 0;
}

export function keysetAdd(set: usize, key: u32): void {
  assert(!keysetHas(set, key));
  let index = key;
  for (let number: u32 = 0; number < load<u32>(set, LEVELS); number++) {
    const word = level(set, number) + ((<usize>(index >> 6)) << 3);
    const old = load<u64>(word);
    store<u64>(word, old | ((<u64>1) << (index & 63)));
    if (old !== 0) return;
    index >>= 6;
  }
}

export function keysetRemove(set: usize, key: u32): void {
  assert(keysetHas(set, key));
  let index = key;
  for (let number: u32 = 0; number < load<u32>(set, LEVELS); number++) {
    const word = level(set, number) + ((<usize>(index >> 6)) << 3);
    const left = load<u64>(word) & ~((<u64>1) << (index & 63));
    store<u64>(word, left);
    if (left !== 0) return;
    index >>= 6;
  }
}

/** The greatest member; KEY_NONE when the set is empty. */
export function keysetGreatest(set: usize): u32 {
  let number = load<u32>(set, LEVELS);
  let index: u32 = 0;
  while (number > 0) {
    number--;
    const word = load<u64>(level(set, number) + ((<usize>index) << 3));
    if (word === 0) return KEY_NONE;
    index = (index << 6) | <u32>(63 - clz<u64>(word));
  }
  return index;
}

/** Asserts the invariant; returns the number of members. */
export function checkKeyset(set: usize): u32 {
  let members: u32 = 0;
  let below: u64 = 0;
  let words: u64 = load<u32>(set, BOUND);
  for (let number: u32 = 0; number < load<u32>(set, LEVELS); number++) {
    words = unitsFor(words, 64);
    let bits: u64 = 0;
    let full: u64 = 0;
    for (let index: u32 = 0; index < words; index++) {
      const word = load<u64>(level(set, number) + ((<usize>index) << 3));
      bits += popcnt<u64>(word);
      full += u64(word !== 0);
    }
    if (number === 0) members = <u32>bits;
    else assert(bits === below);
    below = full;
  }
  return members;
}
