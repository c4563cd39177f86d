import { SPARE_COUNT, SPARE_PFNS } from "./vcpu";

// Frames that a vCPU has set aside for page tables before it takes mmu_lock, under which nothing can be allocated
// (mmu_topup_memory_caches()). What a fault does not use is there for the next one.

// One a level, the root too, when all mappings have been dropped: five, with as many levels.
const SPARES_MAX: u32 = 5;

/** Frames set aside. */
export function spareCount(vcpu: usize): u32 {
  return load<u32>(vcpu, SPARE_COUNT);
}

export function addSpare(vcpu: usize, pfn: u32): void {
  const count = load<u32>(vcpu, SPARE_COUNT);
  assert(count < SPARES_MAX);
  store<u32>(vcpu + ((<usize>count) << 2), pfn, SPARE_PFNS);
  store<u32>(vcpu, count + 1, SPARE_COUNT);
}

export function takeSpare(vcpu: usize): u32 {
  const count = load<u32>(vcpu, SPARE_COUNT) - 1;
  assert(count < SPARES_MAX);
  store<u32>(vcpu, count, SPARE_COUNT);
  return load<u32>(vcpu + ((<usize>count) << 2), SPARE_PFNS);
}
