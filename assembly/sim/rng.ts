// Random numbers from one 64-bit word of state (splitmix64): every user of randomness owns a word in its record, so no
// draw of one can shift another's sequence. Probabilities are ratios of integers.

const GAMMA: u64 = 0x9e3779b97f4a7c15;

function mix(word: u64): u64 {
  word = (word ^ (word >> 30)) * 0xbf58476d1ce4e5b9;
  word = (word ^ (word >> 27)) * 0x94d049bb133111eb;
  return word ^ (word >> 31);
}

/** State for stream number `stream` of the run's `seed`: different streams are independent. */
export function rngSeed(seed: u32, stream: u32): u64 {
  return mix(((<u64>seed) << 32) | <u64>stream) ^ mix(<u64>stream * GAMMA + 1);
}

/** Moves the state one draw on. */
export function rngAdvance(state: u64): u64 {
  return state + GAMMA;
}

/** The 64 random bits of a state. */
export function rngBits(state: u64): u64 {
  return mix(state);
}

/** A number in 0..bound-1 out of the upper 38 bits of `bits`; bound below 2^26. */
export function rngBelow(bits: u64, bound: u32): u32 {
  assert(bound > 0 && bound <= 1 << 26);
  return <u32>(((bits >> 26) * <u64>bound) >> 38);
}

/** True with probability threshold / 2^26, out of the lower 26 bits of `bits`. */
export function rngBelowThreshold(bits: u64, threshold: u32): bool {
  return (<u32>bits & 0x3ffffff) < threshold;
}
