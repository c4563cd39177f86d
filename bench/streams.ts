// Streams of accesses in the form of a trace: one u32 an access, bit 31 a write, bits 0..30 the page. The same stream goes through the
// core, as a `trace` workload, and through the baselines.

const WRITE = 0x8000_0000;

/** A number in 0..2^32 - 1 a call: xorshift, the same numbers in every run. */
function generator(seed: number): () => number {
  let state = seed;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return state >>> 0;
  };
}

function stream(length: number, writes: number, page: (random: () => number) => number): Uint32Array {
  const random = generator(0x9e3779b9);
  const threshold = writes * 2 ** 32;
  return Uint32Array.from({ length }, () => {
    const write = random() < threshold ? WRITE : 0;
    return (page(random) | write) >>> 0;
  });
}

export function uniformStream(length: number, pages: number, writes: number): Uint32Array {
  return stream(length, writes, (random) => Math.floor((random() / 2 ** 32) * pages));
}

export function sequentialStream(length: number, pages: number, writes: number): Uint32Array {
  let next = 0;
  return stream(length, writes, () => {
    const page = next;
    next = (next + 1) % pages;
    return page;
  });
}

/**
 * Zipf by the formula of Gray et al. (1994), which is the right distribution up to rounding.
 *
 * @param pages a power of two: ranks are scattered over the pages by an odd factor
 * @param theta skew, below 1
 */
export function zipfStream(length: number, pages: number, theta: number, writes: number): Uint32Array {
  let zeta = 0;
  for (let rank = 1; rank <= pages; rank++) zeta += rank ** -theta;
  const zeta2 = 1 + 2 ** -theta;
  const alpha = 1 / (1 - theta);
  const eta = (1 - (2 / pages) ** (1 - theta)) / (1 - zeta2 / zeta);
  return stream(length, writes, (random) => {
    const draw = random() / 2 ** 32;
    const share = draw * zeta;
    const rank =
      share < 1
        ? 0
        : share < zeta2
          ? 1
          : Math.min(pages - 1, Math.floor(pages * (eta * draw - eta + 1) ** alpha));
    return Math.imul(rank, 0x9e3779b1) & (pages - 1);
  });
}

/** Exactly zipf, of any skew over any number of pages, drawn from a table of cumulated shares; ranks are dealt to the pages at random. */
export function popularityStream(length: number, pages: number, theta: number): Uint32Array {
  const random = generator(0x2545f491);
  const shares = new Float64Array(pages);
  let sum = 0;
  for (let rank = 0; rank < pages; rank++) {
    sum += (rank + 1) ** -theta;
    shares[rank] = sum;
  }
  const pageOf = Uint32Array.from({ length: pages }, (_, rank) => rank);
  for (let rank = pages - 1; rank > 0; rank--) {
    const other = Math.floor((random() / 2 ** 32) * (rank + 1));
    const page = pageOf[rank]!;
    pageOf[rank] = pageOf[other]!;
    pageOf[other] = page;
  }
  return Uint32Array.from({ length }, () => {
    const share = (random() / 2 ** 32) * sum;
    let low = 0;
    let high = pages - 1;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (shares[middle]! > share) high = middle;
      else low = middle + 1;
    }
    return pageOf[low]!;
  });
}

/** Pages `from`..`to` - 1 in order. */
export function pass(from: number, to: number, write: boolean): Uint32Array {
  return Uint32Array.from({ length: to - from }, (_, index) => ((from + index) | (write ? WRITE : 0)) >>> 0);
}

/** One stream after the other. */
export function concat(...parts: Uint32Array[]): Uint32Array {
  const all = new Uint32Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}
