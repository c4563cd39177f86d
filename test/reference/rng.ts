// The random numbers of the machine's streams: splitmix64, one state a stream.

const WORD = (1n << 64n) - 1n;
const GAMMA = 0x9e37_79b9_7f4a_7c15n;

function mix(word: bigint): bigint {
  let mixed = ((word ^ (word >> 30n)) * 0xbf58_476d_1ce4_e5b9n) & WORD;
  mixed = ((mixed ^ (mixed >> 27n)) * 0x94d0_49bb_1331_11ebn) & WORD;
  return mixed ^ (mixed >> 31n);
}

export class Rng {
  private state: bigint;

  constructor(seed: number, stream: number) {
    const word = (BigInt(seed) << 32n) | BigInt(stream);
    this.state = mix(word) ^ mix((BigInt(stream) * GAMMA + 1n) & WORD);
  }

  /** A number in 0..bound-1. */
  below(bound: number): number {
    this.state = (this.state + GAMMA) & WORD;
    return Number(((mix(this.state) >> 26n) * BigInt(bound)) >> 38n);
  }
}
