// HDR histogram: counts of latencies with 3 significant digits, the layout of HdrHistogram with 2,048 sub-buckets.
//
// counts   u32 × HISTOGRAM_COUNTS
//          +---------------------+-----------------------+-----------------------+--
//          | 0 .. 2047, unit 1   | 2048 .. 4095, unit 2  | 4096 .. 8191, unit 4  | …
//          +---------------------+-----------------------+-----------------------+--
//            2,048 counts          1,024 counts             1,024 counts
//
// invariant: a value and the bucket it is counted in differ by less than 1 in 1,000
// Left out: values of 2^40 ns (18 minutes) and more share the last bucket.

const SUB_BITS: u32 = 10;
const VALUE_BITS: u32 = 40;
export const HISTOGRAM_COUNTS: u32 = (VALUE_BITS - SUB_BITS + 1) << SUB_BITS;
export const HISTOGRAM_BYTES: u32 = HISTOGRAM_COUNTS << 2;

/** Index of the bucket of `value`. */
export function histogramIndex(value: u64): u32 {
  if (value >> VALUE_BITS) return HISTOGRAM_COUNTS - 1;
  if (value < 2 << SUB_BITS) return <u32>value;
  const exponent = 63 - <u32>clz(value) - SUB_BITS;
  return (exponent << SUB_BITS) + <u32>(value >> exponent);
}

/** The largest value that is counted in bucket `index`. */
export function histogramHighest(index: u32): u64 {
  assert(index < HISTOGRAM_COUNTS);
  if (index < 2 << SUB_BITS) return index;
  const exponent = (index >> SUB_BITS) - 1;
  const mantissa = <u64>(index - (exponent << SUB_BITS));
  return ((mantissa + 1) << exponent) - 1;
}

/** Counts one value. */
export function histogramRecord(counts: usize, value: u64): void {
  const at = counts + ((<usize>histogramIndex(value)) << 2);
  store<u32>(at, load<u32>(at) + 1);
}
