// The hash under which the explorer keeps a state: words are mixed in one after another.

const HASH: usize = memory.data(8, 8);

export function hashBegin(): void {
  store<u64>(HASH, 0x243f6a8885a308d3);
}

export function hashValue(): u64 {
  return load<u64>(HASH);
}

export function mix(value: u64): void {
  let hash = (load<u64>(HASH) ^ value) * 0x9e3779b97f4a7c15;
  hash ^= hash >> 29;
  store<u64>(HASH, hash * 0xbf58476d1ce4e5b9);
}

/** Mixes the words from address `from` to before `end`. */
export function mixWords(from: usize, end: usize): void {
  for (let at = from; at < end; at += 4) mix(load<u32>(at));
}
