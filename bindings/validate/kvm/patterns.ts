// The orders in which a capture's script touches pages, as lists of page numbers.

/** xorshift32 with the shifts 13, 17, 5. */
function xorshift(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    state >>>= 0;
    return state;
  };
}

/** Names of the patterns. */
export const PATTERNS = ["seq", "rev", "stride", "shuffle", "hot"] as const;

export type Pattern = (typeof PATTERNS)[number];

/** `count` pages from `start` on in the order of `pattern`, with its argument. */
export function patternPages(pattern: Pattern, start: number, count: number, argument: number): number[] {
  const offsets = Array.from({ length: count }, (_, index) => index);
  if (pattern === "rev") offsets.reverse();
  else if (pattern === "stride") return strided(start, count, Math.max(1, argument));
  else if (pattern === "shuffle") {
    const next = xorshift(argument);
    for (let index = count - 1; index > 0; index--) {
      const other = next() % (index + 1);
      [offsets[index], offsets[other]] = [offsets[other]!, offsets[index]!];
    }
  } else if (pattern === "hot") {
    const next = xorshift(argument);
    return offsets.map(
      () => start + ((next() & 7) !== 0 ? next() % Math.max(1, count >>> 3) : next() % count),
    );
  }
  return offsets.map((offset) => start + offset);
}

function strided(start: number, count: number, step: number): number[] {
  const pages: number[] = [];
  for (let first = 0; first < step; first++) {
    for (let offset = first; offset < count; offset += step) pages.push(start + offset);
  }
  return pages;
}
