// Miss-ratio curves: how often each idealized policy misses on a page trace, over many sizes of memory. The trace is read once.

import { coreModule } from "./core.js";
import { PagevisorError } from "./errors.js";
import { nextTask } from "./eventloop.js";
import { parseTrace, type Trace } from "./files.js";
import { nearestName } from "./nearest.js";
import { PolicyRuns } from "./policies.js";
import { POLICIES, type PolicyName } from "./policynames.js";
import { show } from "./problems.js";
import { parseSize } from "./units.js";

const PAGE_BYTES = 4096;
const PAGE_MASK = 0x7fff_ffff;
/** Largest size in pages: beyond every trace that an instance can hold. */
const SIZE_MAX = 0xffff_ffff;

/** Sizes when none are named, in percent of the trace's pages. */
export const CURVE_PERCENT: readonly number[] = [1, 2, 5, 10, 15, 20, 25, 30, 40, 50, 60, 70, 80, 90, 100];

/** At least this long between two turns for the rest of the program, in ms. */
const TURN_MS = 16;

/** What {@link curve} computes, and how. */
export interface CurveOptions {
  /** Policies, in the order of the result; all if undefined. */
  policies?: readonly PolicyName[];
  /** Sizes of memory: pages as a number or "4096", bytes as "64MiB", a share of the trace's pages as "10%". */
  sizes?: readonly (number | string)[];
  /** The compiled core; the one that comes with the package if undefined. */
  module?: WebAssembly.Module;
  /** When aborted, the result holds the policies that were done. */
  signal?: AbortSignal;
  /** Told now and then how many references of how many have been made, over all policies and sizes. */
  onProgress?: (done: number, all: number) => void;
}

/** A size of memory. */
export interface CurveSize {
  /** Pages of 4 KiB. */
  pages: number;
  /** The same in bytes. */
  bytes: number;
  /** Of the trace's different pages. */
  percent: number;
}

/** One policy: an entry for each size. */
export interface Curve {
  /** Its name. */
  policy: PolicyName;
  /** Number of references that missed, the first one of each page among them; by size, as in {@link CurveResult.sizes}. */
  misses: number[];
  /** `misses` as a share of all references, 0..1. */
  missRatio: number[];
}

/** The shape of `pagevisor curve --json`. */
export interface CurveResult {
  /** Names this format. */
  schema: "pagevisor.curve/1";
  /** `interrupted`: the signal came, and `curves` has the policies that were done. */
  status: "done" | "interrupted";
  /** The trace: hash of its words, number of references, how many of them write, and number of different pages. */
  trace: { sha256: string; references: number; writes: number; pages: number };
  /** By ascending size, each once. */
  sizes: CurveSize[];
  /** In the order of the options' policies. */
  curves: Curve[];
}

/**
 * Counts the misses of policies on a page trace, in many sizes of memory.
 *
 * @param trace the bytes of a trace file (little-endian u32, bit 31 a write, bits 0..30 the page; plain or gzip)
 * @throws PagevisorError E_FILE for what is no trace, E_USAGE for a policy or a size that is none, E_TOO_BIG for a trace that does not
 *   fit an instance
 */
export async function curve(trace: Uint8Array, options: CurveOptions = {}): Promise<CurveResult> {
  return curveOf(await parseTrace(trace, "trace"), options);
}

/** The same for a trace that has been read. */
export async function curveOf(trace: Trace, options: CurveOptions = {}): Promise<CurveResult> {
  const { signal, onProgress } = options;
  const policies = checkPolicies(options.policies ?? POLICIES);
  const { words, sha256 } = trace;
  const { pages, writes } = contentsOf(trace);
  const sizes = sizesOf(options.sizes ?? CURVE_PERCENT.map((percent) => `${percent}%`), pages);

  const all = words.length * policies.length * sizes.length;
  const references = words.length;
  const result: CurveResult = {
    schema: "pagevisor.curve/1",
    status: "done",
    trace: { sha256, references, writes, pages },
    sizes,
    curves: [],
  };
  const runs = new PolicyRuns(
    options.module ?? (await coreModule()),
    trace,
    policies,
    sizes.map((size) => size.pages),
  );
  let before = 0;
  let turn = performance.now();
  for (const policy of policies) {
    if (signal?.aborted) return { ...result, status: "interrupted" };
    const misses: number[] = [];
    for (const size of sizes) {
      let last = 0;
      for (const { done, misses } of runs.run(policy, size.pages)) {
        last = misses;
        if (performance.now() - turn < TURN_MS) continue;
        onProgress?.(before + done, all);
        await nextTask(); // so that the signal can come
        turn = performance.now();
        if (signal?.aborted) return { ...result, status: "interrupted" };
      }
      before += references;
      misses.push(last);
    }
    result.curves.push({ policy, misses, missRatio: misses.map((count) => count / references) });
  }
  onProgress?.(all, all);
  return result;
}

function contentsOf({ words, pages: end }: Trace): { pages: number; writes: number } {
  const seen = new Uint32Array(Math.ceil(end / 32)); // one bit a page: numbers may be far apart
  let pages = 0;
  let writes = 0;
  for (let index = 0; index < words.length; index++) {
    const page = words[index]! & PAGE_MASK;
    const bit = 1 << (page & 31);
    if ((seen[page >> 5]! & bit) === 0) pages++;
    seen[page >> 5]! |= bit;
    if (page !== words[index]) writes++;
  }
  return { pages, writes };
}

function checkPolicies(names: readonly string[]): PolicyName[] {
  if (names.length === 0) throw new PagevisorError("E_USAGE", `no policy. Allowed: ${POLICIES.join(", ")}`);
  return [...new Set(names)].map((name) => {
    const policy = POLICIES.find((each) => each === name);
    if (policy !== undefined) return policy;
    const nearest = nearestName(name, POLICIES);
    const meant = nearest === undefined ? "." : `; did you mean "${nearest}"?`;
    throw new PagevisorError(
      "E_USAGE",
      `${show(name)} is not a policy${meant} Allowed: ${POLICIES.join(", ")}`,
    );
  });
}

/** The sizes in pages, ascending and each once. A share of the pages is rounded down, to 1 at least. */
function sizesOf(given: readonly (number | string)[], pages: number): CurveSize[] {
  if (given.length === 0) throw sizeError("no size");
  const sizes = new Set(given.map((size) => pagesOf(size, pages)));
  return [...sizes]
    .sort((a, b) => a - b)
    .map((size) => ({ pages: size, bytes: size * PAGE_BYTES, percent: (100 * size) / pages }));
}

function pagesOf(given: number | string, pages: number): number {
  const text = String(given).trim();
  const percent = /^(\d+(?:\.\d+)?) ?%$/.exec(text);
  if (percent !== null) {
    const share = Number(percent[1]);
    if (share <= 0) throw sizeError(`${show(given)} is nothing`);
    return checkSize(Math.max(1, Math.floor((pages * share) / 100)), given);
  }
  if (/^\d+$/.test(text)) return checkSize(Number(text), given);
  const bytes = typeof given === "number" ? ({ ok: false } as const) : parseSize(text);
  if (!bytes.ok) throw sizeError(`${show(given)} is not a size`);
  if (bytes.value % PAGE_BYTES !== 0) throw sizeError(`${show(given)} is not a whole number of 4 KiB pages`);
  return checkSize(bytes.value / PAGE_BYTES, given);
}

function checkSize(pages: number, given: number | string): number {
  if (pages >= 1 && pages <= SIZE_MAX) return pages;
  throw sizeError(`${show(given)} is ${pages < 1 ? "nothing" : "too large"}`);
}

function sizeError(wrong: string): PagevisorError {
  return new PagevisorError(
    "E_USAGE",
    `${wrong}. Allowed sizes: pages as 4096, bytes as 64MiB, a share of the trace's pages as 10%`,
  );
}
