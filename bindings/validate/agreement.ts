// The count of steps that agree: every compared field of a step has to be equal, and the first one that is not is kept.

import { formatPath } from "../problems.js";
import type { Path } from "../schemapath.js";
import type { CaseResult, Difference } from "./result.js";

/** Agreement with one case while it is replayed: `begin()` each step, then `compare()` its fields. */
export class Agreement {
  private steps = 0;
  private differing = 0;
  private readonly fields = new Set<string>();
  private first: Difference | undefined;
  private step = 0;
  private counted = false;
  private differs = false;

  /** Begins the step with this number. A step in which nothing is compared does not count. */
  begin(step: number): void {
    this.step = step;
    this.counted = false;
    this.differs = false;
  }

  /**
   * Compares a field of the step. Objects and lists of lists are compared part by part, and a difference names the part.
   *
   * @param expected what the capture holds; undefined is the same as null
   * @returns whether they are equal
   */
  compare(field: string, expected: unknown, got: unknown): boolean {
    this.fields.add(field);
    if (!this.counted) this.steps += 1;
    this.counted = true;

    const difference = differenceIn(expected ?? null, got ?? null, [field]);
    if (difference === undefined) return true;
    if (!this.differs) this.differing += 1;
    this.differs = true;
    this.first ??= { step: this.step, ...difference };
    return false;
  }

  /**
   * Compares totals of the whole case, which agree within a share of what the capture holds.
   *
   * @param tolerance 0.03 for 3 %
   */
  compareWithin(field: string, expected: number, got: number, tolerance: number): boolean {
    const same = Math.abs(got - expected) <= tolerance * expected;
    return this.compare(field, expected, same ? expected : got);
  }

  result(name: string, format: string): CaseResult {
    return {
      name,
      format,
      agree: this.steps - this.differing,
      steps: this.steps,
      compared: [...this.fields],
      ...(this.first !== undefined && { first: this.first }),
    };
  }
}

type Found = Omit<Difference, "step">;

/** The first part in which two values of JSON differ, in the capture's order of keys. */
function differenceIn(expected: unknown, got: unknown, path: Path): Found | undefined {
  if (Object.is(expected, got)) return undefined;
  if (isNested(expected) && isNested(got) && expected.length === got.length) {
    return firstOf(expected.keys(), (index) => differenceIn(expected[index], got[index], [...path, index]));
  }
  if (isRecord(expected) && isRecord(got)) {
    const keys = new Set([...Object.keys(expected), ...Object.keys(got)]);
    return firstOf(keys, (key) => differenceIn(expected[key] ?? null, got[key] ?? null, [...path, key]));
  }
  if (isFlat(expected) && isFlat(got) && isSame(expected, got)) return undefined;
  return { field: formatPath(path), expected, got };
}

function firstOf<T>(keys: Iterable<T>, find: (key: T) => Found | undefined): Found | undefined {
  for (const key of keys) {
    const found = find(key);
    if (found !== undefined) return found;
  }
  return undefined;
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** A list that holds objects or lists. */
function isNested(value: unknown): value is unknown[] {
  return Array.isArray(value) && value.some((item) => typeof item === "object" && item !== null);
}

function isFlat(value: unknown): value is unknown[] {
  return Array.isArray(value) && !isNested(value);
}

function isSame(expected: unknown[], got: unknown[]): boolean {
  return expected.length === got.length && expected.every((item, index) => Object.is(item, got[index]));
}
