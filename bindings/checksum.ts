// A checksum of bytes, fast enough for the whole memory of a machine: two lanes of 32-bit words, each multiplied and mixed as FNV-1a
// mixes bytes. Finds what changes by accident; keeps nobody from changing things on purpose.

const BASIS = 0x811c9dc5;
const PRIMES = [0x01000193, 0x85ebca6b] as const;

/** 8 bytes, the same on every machine. */
export function checksum(...parts: readonly Uint8Array[]): Uint8Array {
  let low = BASIS;
  let high = BASIS ^ -1;
  for (const part of parts) {
    const words = part.length >>> 2;
    const view = new DataView(part.buffer, part.byteOffset, part.byteLength);
    for (let index = 0; index < words; index++) {
      const word = view.getUint32(index << 2, true);
      low = Math.imul(low ^ word, PRIMES[0]);
      low ^= low >>> 15;
      high = Math.imul(high ^ word, PRIMES[1]);
      high ^= high >>> 13;
    }
    for (let index = words << 2; index < part.length; index++) low = Math.imul(low ^ part[index]!, PRIMES[0]);
    // Where one part ends and the next begins counts.
    high = Math.imul(high ^ part.length, PRIMES[1]);
    low = Math.imul(low ^ high, PRIMES[0]);
  }
  const bytes = new Uint8Array(8);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, low >>> 0, true);
  view.setUint32(4, high >>> 0, true);
  return bytes;
}
