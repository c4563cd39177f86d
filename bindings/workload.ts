// What a task of a guest does: the keys of `vms[].guest.tasks[].workload`, one object per kind.
// Left out: how accesses are generated, which is the core's business.

import * as v from "valibot";
import {
  aboveZero,
  byKey,
  choice,
  count,
  either,
  flag,
  list,
  maybe,
  object,
  PAGE_BYTES,
  ratio,
  SIZE_MAX,
  tag,
  text,
  time,
} from "./values.js";

/** 400 ms: ten times the mean, the longest time drawn, still fits the 32 bits that the core keeps. */
const THINK_MAX_NS = 400_000_000;
const PAGES_MAX = SIZE_MAX / PAGE_BYTES;

const pages = count("Pages of 4 KiB that the workload works on.", { max: PAGES_MAX });
const writes = v.optional(
  ratio(
    "Share of the accesses that are writes. Pages that are only read map the zero page and take no memory.",
  ),
  0,
);
const scatter = v.optional(
  flag("Spread the hot pages over the workload's pages by a seeded permutation, instead of side by side."),
  true,
);

/** Keys of every workload that accesses pages. */
const accessing = {
  accesses: maybe(count("The task ends after this many accesses. Absent: no such limit.")),
  thinkTime: v.optional(
    either(
      "CPU time in the guest between two accesses: fixed, or drawn from an exponential distribution with the given mean.",
      'a time, or { "exponential": time }',
      time("CPU time between two accesses.", { max: THINK_MAX_NS }),
      object("CPU time between two accesses, exponentially distributed.", {
        exponential: time("Mean of the distribution.", { min: 1, max: THINK_MAX_NS }),
      }),
    ),
    0,
  ),
};

const trace = object("Accesses recorded from a real program.", {
  kind: tag("Replays a trace file.", "trace"),
  file: text(
    "Name of the trace: little-endian u32 records (bit 31: write; bits 0..30: page), plain or gzip.",
  ),
  loop: v.optional(flag("Start over at the end of the trace instead of ending the task."), false),
  writes: v.optional(
    choice("Which accesses are writes: those recorded as writes, or all.", {
      values: ["as-recorded", "all"],
    }),
    "as-recorded",
  ),
  ...accessing,
});

const zipf = object(
  "Skewed accesses: the page of rank r is chosen with probability proportional to 1 / r^theta.",
  {
    kind: tag("Zipf-distributed accesses. Endless without `accesses`.", "zipf"),
    pages,
    theta: aboveZero("Skew: 0.99 is the usual choice for key-value stores."),
    writes,
    scatter,
    ...accessing,
  },
);

const uniform = object("Accesses without skew.", {
  kind: tag("Uniformly distributed accesses. Endless without `accesses`.", "uniform"),
  pages,
  writes,
  ...accessing,
});

const sequential = object("Accesses page after page.", {
  kind: tag("Sequential scan.", "sequential"),
  pages,
  writes,
  passes: v.optional(count("Times that the pages are scanned before the task ends."), 1),
  ...accessing,
});

const hotcold = object("A hot set and a cold rest, uniform within each.", {
  kind: tag("Hot and cold pages. Endless without `accesses`.", "hotcold"),
  pages,
  hot: count("Pages of the hot set, fewer than `pages`.", { max: PAGES_MAX }),
  hotProbability: ratio("Share of the accesses that go to the hot set."),
  writes,
  phaseAccesses: maybe(
    count("After this many accesses another part of the pages becomes hot. Absent: never."),
  ),
  scatter,
  ...accessing,
});

const compute = object("CPU time without memory accesses.", {
  kind: tag("Computes. Endless without `time`.", "compute"),
  time: maybe(time("CPU time after which the task ends. Absent: never.", { min: 1 })),
});

const pause = (what: string) => v.optional(time(`Time asleep between ${what}.`), 0);

const process = object("A process: starts, touches its pages in order, frees them, exits.", {
  kind: tag("Touches all its pages once, then frees them. Needs allocator buddy.", "process"),
  pages,
  writes: v.optional(ratio("Share of the accesses that are writes."), 1),
  repeat: v.optional(count("How often it is started, one time after the other."), 1),
  pause: pause("an exit and the next start"),
  ...accessing,
});

const churn = object(
  "Blocks are allocated until `pages` pages are held; then a share of them, picked at random, is freed; and so on.",
  {
    kind: tag(
      "Allocates and frees blocks. Endless without `accesses`; each page is written once and read once. Needs allocator buddy.",
      "churn",
    ),
    pages,
    orders: v.optional(
      list(
        "Relative frequency of blocks of order 0, 1, 2, …, at most 10.",
        "weight",
        count("Relative frequency.", { min: 0, max: 1_000_000 }),
        {
          min: 1,
        },
      ),
      [1],
    ),
    freed: v.optional(ratio("Share of the held pages that is freed at a time."), 0.5),
    pause: pause("a round of frees and the next allocation"),
    accesses: accessing.accesses,
    thinkTime: v.optional(time("CPU time between two accesses.", { max: THINK_MAX_NS }), 0),
  },
);

const pagecache = object(
  "Reads of a file, over and over: pages stay in the guest's page cache until memory is short.",
  {
    kind: tag(
      "Fills the guest's page cache. Endless without `accesses`. Needs allocator buddy.",
      "pagecache",
    ),
    pages,
    writes,
    ...accessing,
  },
);

export const workloadSchema = byKey("kind", "What the task does.", [
  trace,
  zipf,
  uniform,
  sequential,
  hotcold,
  compute,
  process,
  churn,
  pagecache,
]);

/** A workload with all defaults filled in. */
export type ResolvedWorkload = v.InferOutput<typeof workloadSchema>;
