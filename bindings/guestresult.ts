// What a RunResult says of a guest with memory management of its own.

import type { Core } from "./core.js";
import { FEATURES } from "./giveschema.js";
import type { BalloonDeviceResult, BalloonQueue, VmResult } from "./result.js";

/** Queues by their constants in the core. */
const QUEUES: Record<string, BalloonQueue> = {
  INFLATE: "inflate",
  DEFLATE: "deflate",
  STATS: "stats",
  FREE_PAGE: "freePage",
  REPORTING: "reporting",
  HINTING: "hinting",
};
/** Statistics by their tags. */
const STATS = [
  "swapIn",
  "swapOut",
  "majorFaults",
  "minorFaults",
  "free",
  "total",
  "available",
  "caches",
  "hugeGiven",
  "hugeFailed",
] as const;

/** The fields of a guest with memory management of its own, between two rows of its counters. */
export function guestResult(
  core: Core,
  before: Float64Array,
  after: Float64Array,
): Pick<VmResult, "freePages" | "balloon" | "balloonDevice" | "guestMemory"> {
  const counted = (counter: string): number => {
    const index = core.constant(`GUEST_${counter}`);
    return after[index]! - before[index]!;
  };
  const level = (constant: string): number => after[core.constant(constant)]!;
  const released = counted("RELEASED");
  const orders = core.constant("REPORT_GUEST_ORDERS");
  return {
    freePages: {
      freed: counted("FREED"),
      captured: counted("CAPTURED"),
      dropped: counted("DROPPED"),
      scans: counted("SCANS"),
      scanNs: counted("SCAN_NS"),
      isolated: counted("ISOLATED"),
      isolateFailed: counted("ISOLATE_FAILED"),
      isolatedPeakPages: level("GUEST_ISOLATED_PEAK"),
      requests: counted("REQUESTS"),
      blocks: counted("BLOCKS"),
      pagesReported: counted("REPORTED"),
      pagesByOrder: Array.from(
        { length: 11 },
        (_, order) => after[orders + order]! - before[orders + order]!,
      ),
      neverReported: level("REPORT_GUEST_UNREPORTED"),
      discarded: counted("DISCARDED"),
      released,
      releaseMeanNs: released === 0 ? 0 : counted("RELEASE_NS") / released,
      swappedWhileFree: counted("SWAPPED_FREE"),
      refaults: counted("REFAULTS"),
      unheard: counted("UNHEARD"),
    },
    balloon: {
      pages: level("REPORT_GUEST_BALLOON"),
      requests: counted("BALLOON_REQUESTS"),
      inflated: counted("INFLATED"),
      deflated: counted("DEFLATED"),
      deflatedOnOom: counted("OOM_DEFLATED"),
    },
    balloonDevice: deviceResult(core, counted, after),
    guestMemory: {
      freePages: level("REPORT_GUEST_FREE"),
      cacheDropped: counted("CACHE_DROPPED"),
      killed: counted("KILLED"),
    },
  };
}

/** The balloon device as the guest's driver has found it; null when there is none that works. */
function deviceResult(
  core: Core,
  counted: (counter: string) => number,
  after: Float64Array,
): BalloonDeviceResult | null {
  const at = (constant: string, offset = 0): number => after[core.constant(constant) + offset]!;
  const bits = at("REPORT_GUEST_FEATURES");
  // 0 bits of a guest without a device: its row is empty, and has no queue either.
  if (bits < 0 || at("REPORT_GUEST_QUEUES") === at("REPORT_GUEST_QUEUES", 1)) return null;
  const kinds = new Map(Object.entries(QUEUES).map(([name, kind]) => [core.constant(`QUEUE_${name}`), kind]));
  const numbers = Array.from({ length: core.constant("QUEUES_MOST") }, (_, index) =>
    at("REPORT_GUEST_QUEUES", index),
  );
  const queues = numbers
    .filter((pair) => pair >= 0)
    .map((pair) => ({ driver: kinds.get(pair % 8)!, device: kinds.get(Math.floor(pair / 8))! }));
  const hinting = queues.some(({ driver }) => driver === "hinting");
  const stats = STATS.map((name, tag) => [name, at("REPORT_GUEST_STATS", tag)] as const);
  return {
    features: FEATURES.filter((_, bit) => (bits & (2 ** bit)) !== 0).map((feature) =>
      feature === "reporting" && hinting ? "hinting-2019" : feature,
    ),
    queues,
    hintedPages: counted("HINTED"),
    heldPages: at("REPORT_GUEST_HELD") * 1024,
    statsSent: counted("STATS_SENT"),
    stats:
      at("REPORT_GUEST_STATS") < 0
        ? null
        : (Object.fromEntries(stats) as unknown as NonNullable<BalloonDeviceResult["stats"]>),
  };
}
