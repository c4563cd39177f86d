// Exponential think times from a table of quantiles of -ln(1 - u), normalized so that the mean is exact. The logarithm is
// AssemblyScript's own, so every engine builds the same table.

const QUANTILES: u32 = 4096;
const FRACTION_BITS: u64 = 16;
const TABLE: usize = memory.data(4 * 4096, 8);

export function exponentialInit(): void {
  let sum: f64 = 0;
  for (let index: u32 = 0; index < QUANTILES; index++) {
    sum += -Math.log(1 - (<f64>index + 0.5) / <f64>QUANTILES);
  }
  const scale = (<f64>QUANTILES * 65536) / sum;
  for (let index: u32 = 0; index < QUANTILES; index++) {
    const quantile = -Math.log(1 - (<f64>index + 0.5) / <f64>QUANTILES) * scale;
    store<u32>(TABLE + ((<usize>index) << 2), <u32>quantile);
  }
}

/** A time with mean `mean` ns out of 64 random bits. */
export function exponentialNs(bits: u64, mean: u32): u32 {
  const quantile = <u64>load<u32>(TABLE + ((<usize>(<u32>bits & (QUANTILES - 1))) << 2));
  return <u32>((quantile * mean) >> FRACTION_BITS);
}
