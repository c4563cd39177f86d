// The digest: a running hash of the logical history. It is fed at the points that every design has (fault done, page
// reclaimed, slot written or read, range invalidated) with virtual times and logical numbers only, so it does not depend
// on where things lie in memory, how accesses are batched, or what is observed.

const STATE: usize = memory.data(8, 8);

const PRIME: u64 = 0x9fb21c651e98df25;

export const DIGEST_FAULT: u32 = 1;
export const DIGEST_RECLAIM: u32 = 2;
export const DIGEST_SWAP_OUT: u32 = 3;
export const DIGEST_SWAP_IN: u32 = 4;
export const DIGEST_INVALIDATE: u32 = 5;
export const DIGEST_TASK: u32 = 6;
export const DIGEST_OOM: u32 = 7;
export const DIGEST_DISCARD: u32 = 8;
export const DIGEST_READ_ERROR: u32 = 9;
export const DIGEST_MIGRATE: u32 = 16;

function fold(hash: u64, word: u64): u64 {
  hash = (hash ^ word) * PRIME;
  return hash ^ (hash >> 29);
}

export function digestInit(): void {
  store<u64>(STATE, 0x70616765766973);
}

/** Adds one step of the history: its kind, virtual time, VM, gfn, frame or slot, and outcome. */
export function digestAdd(kind: u32, time: u64, vm: u32, gfn: u32, place: u32, outcome: u32): void {
  let hash = fold(load<u64>(STATE), time);
  hash = fold(hash, ((<u64>kind) << 56) | ((<u64>vm) << 32) | <u64>gfn);
  store<u64>(STATE, fold(hash, ((<u64>place) << 32) | <u64>outcome));
}

/** Folds one number into a copy of the digest; for the final counters. */
export function digestFold(hash: u64, word: u64): u64 {
  return fold(hash, word);
}

export function digestState(): u64 {
  return load<u64>(STATE);
}
