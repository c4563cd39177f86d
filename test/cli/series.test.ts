// A line of the time series: one JSON object with the counters of the result, and every field of it documented.

import { test } from "uvu";
import * as assert from "uvu/assert";
import { SERIES_HELP, seriesLine } from "#dist/cli/series.js";
import { madeFaults, madeResult, madeVm } from "./made.js";

const RESULT = madeResult({
  virtualTimeNs: 5_000_000,
  vms: [
    madeVm("db", {
      accesses: 700,
      vcpuBlockedNs: 9000,
      memory: { residentPages: 30, peakResidentPages: 31, swappedPages: 4, untouchedPages: 5 },
      stall: { someNs: 8000, fullNs: 7000 },
      faults: {
        minor: madeFaults(10, { allocNs: 10_000 }, 1200),
        major: madeFaults(2, { deviceNs: 144_000 }, 72_000),
        spurious: madeFaults(1),
        writeProtect: madeFaults(3),
      },
    }),
  ],
  host: {
    memory: { freePages: 40, minFreePages: 1 },
    asyncPfWorkersPeak: 0,
    reclaim: { scanned: 50, reclaimedDirect: 6, reclaimedKswapd: 7 },
    swap: { out: 13, in: 2, slotsUsed: 11, allocFailed: 0 },
    devices: [],
    migrate: { attempted: 0, succeeded: 0, failedPinned: 0 },
    compact: { migrateScanned: 0, freeScanned: 0, isolated: 0, stalls: 0, failed: 0, succeeded: 0 },
  },
});

const LINE =
  '{"t":5000000,"vms":[{"name":"db","accesses":700,"residentPages":30,"swappedPages":4,"minor":10,"major":2,' +
  '"writeProtect":3,"spurious":1,"minorMeanNs":1000,"minorP99Ns":1200,"majorMeanNs":72000,"majorP99Ns":72000,' +
  '"blockedNs":9000,"stallSomeNs":8000,"stallFullNs":7000}],"host":{"freePages":40,"slotsUsed":11,"swapIn":2,' +
  '"swapOut":13,"scanned":50,"reclaimedKswapd":7,"reclaimedDirect":6}}';

test("a line reads as reviewed", () => {
  assert.is(seriesLine(RESULT), LINE);
});

test("the help names every field", () => {
  const { vms, host, ...rest } = JSON.parse(LINE) as { vms: [object]; host: object };
  for (const field of [...Object.keys(rest), ...Object.keys(vms[0]), ...Object.keys(host)]) {
    assert.match(SERIES_HELP, new RegExp(`(^|[ .])${field}\\b`, "m"), field);
  }
});

test.run();
