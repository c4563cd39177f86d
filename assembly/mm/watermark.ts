import { mmFree, mmManaged, mmWatermarkScale, setMmWatermarks } from "./instance";

// The zone's watermarks: init_per_zone_wmark_min() and __setup_per_zone_wmarks() for one zone.
// Left out: khugepaged's raised min_free_kbytes, lowmem reserves, boost, reserves for atomic allocations.

function squareRoot(value: u64): u64 {
  let root = <u64>Math.sqrt(<f64>value);
  while (root * root > value) root--;
  while ((root + 1) * (root + 1) <= value) root++;
  return root;
}

/** Computes MIN, LOW and HIGH from the managed pages and watermark_scale_factor. */
export function watermarksSet(mm: usize): void {
  const managed = mmManaged(mm);
  const kilobytes = (<u64>managed) << 2;
  const minFreeKbytes = min<u64>(max<u64>(squareRoot(kilobytes * 16), 128), 262144);
  const low = <u32>(minFreeKbytes >> 2);
  const delta = max<u32>(low >> 2, <u32>((<u64>managed * mmWatermarkScale(mm)) / 10000));
  setMmWatermarks(mm, low, low + delta, low + 2 * delta);
}

/** zone_watermark_ok() for an order-0 request: enough stays free above `mark`. */
export function watermarkOk(mm: usize, mark: u32): bool {
  return mmFree(mm) > mark;
}
