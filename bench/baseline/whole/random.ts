// The random numbers of a stream of the machine's (splitmix64) in halves of 32 bits, for baselines that must draw what the core draws.

const GAMMA = [0x9e3779b9, 0x7f4a7c15] as const;
const FIRST = [0xbf58476d, 0x1ce4e5b9] as const;
const SECOND = [0x94d049bb, 0x133111eb] as const;

export class PlainRandom {
  private high: number;
  private low: number;
  /** The upper half of what the last multiplication or mix has brought; the lower half is returned. */
  private carried = 0;

  constructor(seed: number, stream: number) {
    const low = this.mix(seed, stream);
    const high = this.carried;
    const product = this.multiply(0, stream, GAMMA[0], GAMMA[1]);
    const over = product === 0xffffffff ? 1 : 0;
    const other = this.mix((this.carried + over) >>> 0, (product + 1) >>> 0);
    this.low = (low ^ other) >>> 0;
    this.high = (high ^ this.carried) >>> 0;
  }

  /** A number in 0..bound-1; bound up to 2^26. */
  below(bound: number): number {
    const sum = this.low + GAMMA[1];
    this.low = sum >>> 0;
    this.high = (this.high + GAMMA[0] + (sum > 0xffffffff ? 1 : 0)) >>> 0;
    const low = this.mix(this.high, this.low);
    // The upper 38 bits times the bound: in two parts, for the product may have 64 bits.
    const upper = this.carried * 64 + (low >>> 26);
    const part = Math.floor(((upper % 2 ** 19) * bound) / 2 ** 19);
    return Math.floor((Math.floor(upper / 2 ** 19) * bound + part) / 2 ** 19);
  }

  private mix(high: number, low: number): number {
    let lower = (low ^ ((low >>> 30) | (high << 2))) >>> 0;
    lower = this.multiply((high ^ (high >>> 30)) >>> 0, lower, FIRST[0], FIRST[1]);
    let upper = this.carried;
    lower = (lower ^ ((lower >>> 27) | (upper << 5))) >>> 0;
    lower = this.multiply((upper ^ (upper >>> 27)) >>> 0, lower, SECOND[0], SECOND[1]);
    upper = this.carried;
    this.carried = (upper ^ (upper >>> 31)) >>> 0;
    return (lower ^ ((lower >>> 31) | (upper << 1))) >>> 0;
  }

  private multiply(high: number, low: number, otherHigh: number, otherLow: number): number {
    const a = low >>> 16;
    const b = low & 0xffff;
    const c = otherLow >>> 16;
    const d = otherLow & 0xffff;
    const middle = a * d + Math.floor((b * d) / 0x10000);
    const rest = b * c + (middle % 0x10000);
    const over = a * c + Math.floor(middle / 0x10000) + Math.floor(rest / 0x10000);
    this.carried = (over + Math.imul(high, otherLow) + Math.imul(low, otherHigh)) >>> 0;
    return Math.imul(low, otherLow) >>> 0;
  }
}
