// The five rows with less host memory, and the sentence below them, from results made by hand.

import { test } from "uvu";
import * as assert from "uvu/assert";
import { measureRows, PERCENTS, type Row, rowsText, sentence } from "#dist/cli/rows.js";
import { PLAIN } from "#dist/cli/terminal.js";
import { PagevisorError } from "#dist/errors.js";
import type { RunResult } from "#dist/result.js";
import { MIB, madeFaults, madeResult, madeVm } from "./made.js";

/** A run of 1 M accesses whose faults took `faultNs`, all in `cache`, three quarters of it at the device. */
function runWith(faultNs: number, major: number): RunResult {
  const stages = { deviceNs: 0.75 * faultNs, queueNs: 0.25 * faultNs };
  const result = madeResult({
    accesses: 1_000_000,
    virtualTimeNs: 100_000_000 + faultNs,
    vms: [
      madeVm("sqlite"),
      madeVm("cache", {
        faults: {
          minor: madeFaults(0),
          major: madeFaults(major, stages, 131_000 + major),
          spurious: madeFaults(0),
          writeProtect: madeFaults(0),
        },
      }),
    ],
  });
  result.host.swap.in = major;
  return result;
}

const FAULT_NS: Record<number, number> = { 90: 60e6, 80: 90e6, 70: 160e6, 60: 400e6 };

const GOLDEN = `\
Host memory           throughput  major p99 (cache)  swap-ins
100%           32MiB      100.0%              132us     1,000
 90%         28.8MiB       81.3%              137us     6,000
 80%         25.6MiB       68.4%              140us     9,000
 70%         22.4MiB       50.0%              147us    16,000
 60%         19.2MiB       26.0%              171us    40,000

At 100% of the memory, 75.0% of the 30ms that 1,000 faults took went to device service; throughput
falls to half or less at the 70% row (22.4MiB).
`;

test("five rows and a sentence read as reviewed", async () => {
  const asked: [number, number][] = [];
  const rows = await measureRows(runWith(30e6, 1000), async (memory, percent) => {
    asked.push([memory, percent]);
    return runWith(FAULT_NS[percent]!, FAULT_NS[percent]! / 1e4);
  });
  assert.equal(
    asked.map(([, percent]) => percent),
    PERCENTS.slice(1),
  );
  assert.fixture(rowsText(rows, PLAIN), GOLDEN);
});

test("memory is rounded down to whole pages", async () => {
  const first = runWith(30e6, 1000);
  first.scenario.host.memory = MIB + 4096;
  const rows = await measureRows(first, async () => runWith(30e6, 1000));
  for (const { memory, percent } of rows) {
    assert.is(memory % 4096, 0);
    assert.ok(memory <= ((MIB + 4096) * percent) / 100);
    assert.ok(memory > ((MIB + 4096) * percent) / 100 - 4096);
  }
});

test("a row that runs out of memory says so, in the table and in the sentence", async () => {
  const rows = await measureRows(runWith(0, 0), async (_, percent) =>
    percent > 80 ? runWith(0, 0) : madeResult({ status: "oom", stoppedBy: "oom" }),
  );
  const text = rowsText(rows, PLAIN);
  assert.match(text, /^ 80% +25.6MiB +oom/m);
  assert.match(text, /memory runs out at the 80% row/);
  assert.is(rows.length, 5);
});

test("a host that does not start with so little memory is a row", async () => {
  const rows = await measureRows(runWith(0, 0), async (_, percent) => {
    if (percent < 90) throw new PagevisorError("E_SCENARIO", "host.memory: smaller than its watermarks");
    return runWith(0, 0);
  });
  assert.match(rowsText(rows, PLAIN), /^ 60% .* too small +– +–$/m);
  assert.match(sentence(rows), /the host does not start at the 80% row/);
});

test("any other error of a row is passed on", async () => {
  const failing = measureRows(runWith(0, 0), async () => {
    throw new PagevisorError("E_INTERNAL", "trap");
  });
  await failing.then(
    () => assert.unreachable(),
    (error: PagevisorError) => assert.is(error.code, "E_INTERNAL"),
  );
});

test("an interrupted row ends the rows and is left out", async () => {
  const rows = await measureRows(runWith(0, 0), async (_, percent) =>
    percent > 80 ? runWith(0, 0) : madeResult({ status: "interrupted", stoppedBy: "signal" }),
  );
  assert.equal(
    rows.map(({ percent }) => percent),
    [100, 90],
  );
});

test("exactly half the throughput counts as halved, a little more does not", () => {
  const rows = (second: number): Row[] => [
    { percent: 100, memory: 32 * MIB, result: runWith(0, 0) },
    { percent: 90, memory: 28 * MIB, result: runWith(second, 1) },
  ];
  assert.match(sentence(rows(100e6)), /half or less at the 90% row/);
  assert.match(sentence(rows(99e6)), /stays above half in every row/);
});

test("without a fault, and without an access, the sentence still says what is true", () => {
  const idle: Row[] = PERCENTS.map((percent) => ({ percent, memory: MIB, result: madeResult() }));
  assert.is(sentence(idle), "No access faulted; there is no throughput to compare.");
  assert.not.match(rowsText(idle, PLAIN), /NaN|Infinity/);
});

test.run();
