import { arenaReserve, PART_WORKLOADS } from "../memory/arena";

// Zipf by rejection from an envelope of steps: rank r has weight 1 / (r + 1)^theta. The ranks are cut into buckets, single
// ranks first, then 32 buckets to each doubling, within which the weight falls by at most 3 %. A draw picks a bucket (alias
// method, buckets weighted as if all their ranks weighed as much as their first), then a rank in it, and keeps it with the
// probability weight(rank) / weight(first): nearly always without looking at the exact weight. The distribution is exact, and
// the table of a few kilobytes stays in the first-level cache whatever the number of pages.
//
// bucket, 20 bytes   0      4       8       12     16
//                    +------+-------+-------+------+------+
//                    | keep | alias | first | size | low  |
//                    +------+-------+-------+------+------+
//
// keep   a pick of this bucket stays with probability keep / 2^32, else it goes to bucket alias
// low    a rank of this bucket is kept unseen when 32 random bits are below low: weight(last) / weight(first)
//
// Floating point is AssemblyScript's own, so every engine draws the same ranks.

const KEEP: usize = 0;
const ALIAS: usize = 4;
const FIRST: usize = 8;
const SIZE: usize = 12;
const LOW: usize = 16;
const BUCKET_BYTES: usize = 20;

// Record of a table: theta f64, buckets u32, then the buckets, then as many u32 of scratch for the build.
const THETA: usize = 0;
const BUCKETS: usize = 8;
const TABLE: usize = 16;

const SINGLE_RANKS: u32 = 32;
const BUCKETS_PER_DOUBLING: u32 = 32;
const ONE: f64 = 4294967296;

/** Buckets for `pages` ranks: single ones up to 32, then 32 a doubling. */
function bucketCount(pages: u32): u32 {
  let buckets: u32 = 0;
  for (let first: u32 = 0; first < pages; first += bucketSize(first)) buckets++;
  return buckets;
}

function bucketSize(first: u32): u32 {
  return first < SINGLE_RANKS ? 1 : (1 << (31 - clz(first))) / BUCKETS_PER_DOUBLING;
}

export function zipfLayout(pages: u32): usize {
  return arenaReserve(PART_WORKLOADS, TABLE + <u64>bucketCount(pages) * (BUCKET_BYTES + 12));
}

function weight(rank: u32, theta: f64): f64 {
  return Math.pow(<f64>(rank + 1), -theta);
}

function fraction(value: f64): u32 {
  return <u32>Math.min(Math.max(value, 0) * ONE, ONE - 1);
}

/** Fills `table` for `pages` ranks and skew `theta` > 0. */
export function zipfBuild(table: usize, pages: u32, theta: f64): void {
  const buckets = bucketCount(pages);
  store<f64>(table, theta, THETA);
  store<u32>(table, buckets, BUCKETS);
  const masses = table + TABLE + <usize>buckets * BUCKET_BYTES;
  let total: f64 = 0;
  let first: u32 = 0;
  for (let index: u32 = 0; index < buckets; index++) {
    const size = min<u32>(bucketSize(first), pages - first);
    const at = table + TABLE + <usize>index * BUCKET_BYTES;
    const heaviest = weight(first, theta);
    store<u32>(at, first, FIRST);
    store<u32>(at, size, SIZE);
    store<u32>(at, size === 1 ? 0xffffffff : fraction(weight(first + size - 1, theta) / heaviest), LOW);
    store<f64>(masses + ((<usize>index) << 3), heaviest * <f64>size);
    total += heaviest * <f64>size;
    first += size;
  }
  alias(table, masses, buckets, <f64>buckets / total);
}

// Vose's alias method: buckets with less than an even share are filled up by those with more. The light ones stand in a
// stack that grows from the front of the scratch memory, the heavy ones in one that grows from its end.
function alias(table: usize, masses: usize, buckets: u32, scale: f64): void {
  const stack = masses + ((<usize>buckets) << 3);
  let light: u32 = 0;
  let heavy: u32 = buckets;
  for (let index: u32 = 0; index < buckets; index++) {
    const share = load<f64>(masses + ((<usize>index) << 3)) * scale;
    store<f64>(masses + ((<usize>index) << 3), share);
    if (share < 1) {
      store<u32>(stack + ((<usize>light) << 2), index);
      light++;
    } else {
      heavy--;
      store<u32>(stack + ((<usize>heavy) << 2), index);
    }
  }
  while (light > 0 && heavy < buckets) {
    light--;
    const small = load<u32>(stack + ((<usize>light) << 2));
    const large = load<u32>(stack + ((<usize>heavy) << 2));
    const share = load<f64>(masses + ((<usize>small) << 3));
    settle(table, small, share, large);
    const rest = load<f64>(masses + ((<usize>large) << 3)) - (1 - share);
    store<f64>(masses + ((<usize>large) << 3), rest);
    if (rest >= 1) continue;
    heavy++;
    store<u32>(stack + ((<usize>light) << 2), large);
    light++;
  }
  // Shares that rounding has left over are whole ones.
  for (let index: u32 = 0; index < light; index++) {
    settleWhole(table, load<u32>(stack + ((<usize>index) << 2)));
  }
  for (; heavy < buckets; heavy++) settleWhole(table, load<u32>(stack + ((<usize>heavy) << 2)));
}

function settle(table: usize, index: u32, keep: f64, other: u32): void {
  const at = table + TABLE + <usize>index * BUCKET_BYTES;
  store<u32>(at, fraction(keep), KEEP);
  store<u32>(at, other, ALIAS);
}

function settleWhole(table: usize, index: u32): void {
  settle(table, index, 1, index);
}

/** The draw was rejected: draw again. */
export const ZIPF_REJECTED: u32 = 0xffffffff;

/** The rank that 128 random bits draw from `table`, or ZIPF_REJECTED. The low 26 bits of `bits` are not used. */
export function zipfRank(table: usize, bits: u64, more: u64): u32 {
  // The upper 38 bits of `bits` pick a bucket; the fraction that the multiplication leaves is as random as they are, and
  // decides whether the pick stays.
  const product = (bits >> 26) * <u64>load<u32>(table, BUCKETS);
  const picked = <u32>(product >> 38);
  const home = table + TABLE + <usize>picked * BUCKET_BYTES;
  const index = select<u32>(picked, load<u32>(home, ALIAS), <u32>(product >> 6) <= load<u32>(home, KEEP));
  const at = table + TABLE + <usize>index * BUCKET_BYTES;
  const first = load<u32>(at, FIRST);
  const rank = first + <u32>(((more >> 32) * <u64>load<u32>(at, SIZE)) >> 32);
  const verdict = <u32>more;
  if (verdict <= load<u32>(at, LOW)) return rank;
  const theta = load<f64>(table, THETA);
  return <f64>verdict < (weight(rank, theta) / weight(first, theta)) * ONE ? rank : ZIPF_REJECTED;
}
