// The name that somebody probably meant: the nearest by edit distance, or none when nothing is near.

/**
 * The candidate nearest to `given`, ignoring case; `undefined` when none is within a third of its length.
 * Of equally near candidates the first one wins.
 */
export function nearestName(given: string, candidates: Iterable<string>): string | undefined {
  let nearest: string | undefined;
  let nearestDistance = Number.POSITIVE_INFINITY;
  const wanted = given.toLowerCase();
  for (const candidate of candidates) {
    const known = candidate.toLowerCase();
    const distance = isAbbreviation(wanted, known) ? 1 : editDistance(wanted, known);
    if (distance < nearestDistance && distance <= Math.max(1, Math.floor(candidate.length / 3))) {
      nearest = candidate;
      nearestDistance = distance;
    }
  }
  return nearest;
}

/** "mem" for "memory", "integrity" for "check.integrity": at least three letters at either end of the name. */
function isAbbreviation(given: string, known: string): boolean {
  return given.length >= 3 && (known.startsWith(given) || known.endsWith(given));
}

/** Insertions, deletions, replacements and swaps of neighbours that turn `a` into `b` (optimal string alignment). */
function editDistance(a: string, b: string): number {
  if (Math.abs(a.length - b.length) > 16) return Number.POSITIVE_INFINITY; // never near; keeps a huge key cheap
  let beforeLast: number[] = [];
  let last = Array.from({ length: b.length + 1 }, (_, column) => column);
  for (let row = 1; row <= a.length; row++) {
    const current = [row];
    for (let column = 1; column <= b.length; column++) {
      const same = a[row - 1] === b[column - 1];
      let distance = Math.min(
        last[column]! + 1,
        current[column - 1]! + 1,
        last[column - 1]! + (same ? 0 : 1),
      );
      if (row > 1 && column > 1 && a[row - 1] === b[column - 2] && a[row - 2] === b[column - 1]) {
        distance = Math.min(distance, beforeLast[column - 2]! + 1);
      }
      current.push(distance);
    }
    beforeLast = last;
    last = current;
  }
  return last[b.length]!;
}
