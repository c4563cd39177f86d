import { rngAdvance, rngBits } from "../sim/rng";

// A seeded permutation of 0..pages-1 that needs no table: rank r stands for page (r × stride + offset) mod pages, with a
// stride that has no common divisor with pages and is far from 0 and from pages, so that neighbours in rank lie far apart.

function commonDivisor(a: u32, b: u32): u32 {
  while (b !== 0) {
    const rest = a % b;
    a = b;
    b = rest;
  }
  return a;
}

/** A stride for `pages` pages out of a random state. */
export function permuteStride(state: u64, pages: u32): u32 {
  if (pages < 4) return 1;
  let stride = pages / 4 + <u32>(rngBits(state) % <u64>(pages / 2));
  // Bounded: among any pages consecutive numbers there is one prime to pages, and strides wrap at pages.
  while (commonDivisor(stride, pages) !== 1) stride = (stride + 1) % pages;
  return stride;
}

/** An offset for `pages` pages out of a random state. */
export function permuteOffset(state: u64, pages: u32): u32 {
  return <u32>(rngBits(rngAdvance(state)) % <u64>pages);
}

/**
 * Page of rank `rank`. @param inverse 1 / pages: a multiplication and one correction in place of a division. Exact: the
 * product stays below 2^53, so its quotient is off by at most one.
 */
export function permute(rank: u32, stride: u32, offset: u32, pages: u32, inverse: f64): u32 {
  const product = <u64>rank * stride + offset;
  const rest = <i64>(product - <u64>(<f64>product * inverse) * pages);
  const raised = select<i64>(rest + pages, rest, rest < 0);
  return <u32>select<i64>(raised - pages, raised, raised >= <i64>pages);
}
