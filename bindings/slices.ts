// How much of a run one call into the core is: so much that the core stays in its optimized code, and so little that whoever has to be
// answered meanwhile does not wait. What an access costs differs by a factor of a thousand between machines, so the size follows the clock.
// Where a run is cut changes nothing in it.

/** Accesses and events of the largest call. */
const ACCESSES = 65_536;
const EVENTS = 4096;
/** The smallest call is this share of the largest. */
const LEAST = 1 / 256;
/** ms that a call is to take. */
const CALL_MS = 4;

/** The sizes of the calls of one run. */
export class Slices {
  // An engine's first calls run code that is not optimized yet.
  #share = 1 / 16;

  /** Accesses of the next call. */
  get accesses(): number {
    return Math.ceil(ACCESSES * this.#share);
  }

  /** Events of the next call. */
  get events(): number {
    return Math.ceil(EVENTS * this.#share);
  }

  /** The call took `ms` of wall time: the next one is larger by half at most. */
  took(ms: number): void {
    const wanted = this.#share * (CALL_MS / Math.max(ms, 0.001));
    this.#share = Math.min(1, Math.max(LEAST, Math.min(wanted, 1.5 * this.#share)));
  }
}
