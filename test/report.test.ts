// At stake: a picture that somebody believes. What the curves of a report add up to must be the result of the run; looking must not change it;
// the file must stand alone whatever the scenario is called. What a browser makes of it is in browser/report.chromium.ts.

import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { LatencyHistogram, Machine } from "#dist/index.js";
import { newIn, percentile, seriesOf } from "#dist/report/figures.js";
import { recordRun, reportHtml } from "#dist/report/index.js";
import { assertSame, create, roomy, small } from "./scenes.js";

const KINDS = ["minor", "major", "spurious", "writeProtect"] as const;
const sum = (values: readonly number[]): number => values.reduce((total, value) => total + value, 0);

async function machineOf(accesses = 1500): Promise<Machine> {
  return create(...small(accesses));
}

test("recording a run leaves its result and digest as they are, and ends with them", async () => {
  const plain = await machineOf();
  plain.run();
  const machine = await machineOf();
  const { first, moments } = await recordRun(machine);
  assertSame(machine.result(), plain.result());
  assertSame(moments.at(-1)!.result, plain.result());
  assert.is(first.timeNs, 0);
  assert.is(first.result.accesses, 0);
});

test("moments lie equally far apart, never more than allowed, the same every time", async () => {
  for (const most of [2, 30]) {
    const { moments } = await recordRun(await machineOf(), { moments: most });
    assert.ok(moments.length <= most && moments.length >= most / 2 - 1, `${moments.length} of ${most}`);
    const times = moments.map(({ timeNs }) => timeNs);
    assert.equal(
      times,
      (await recordRun(await machineOf(), { moments: most })).moments.map(({ timeNs }) => timeNs),
    );
    const every = times.length > 2 ? times[1]! - times[0]! : 0;
    // A moment is taken when what was under way is done: at most a fault late.
    for (let at = 1; at < times.length - 1; at++) {
      assert.ok(
        Math.abs(times[at]! - times[at - 1]! - every) < every / 2 + 1e5,
        `${times[at - 1]} ${times[at]}`,
      );
    }
  }
});

test("what the curves add up to is the result", async () => {
  const machine = await machineOf();
  const record = await recordRun(machine, { moments: 40 });
  const result = machine.result();
  const { times, vms, host, swap } = seriesOf(record, []);
  assert.is(times.at(-1), result.virtualTimeNs);
  for (const [index, vm] of vms.entries()) {
    const { memory, faults } = result.vms[index]!;
    assert.ok(Math.abs(vm.resident.at(-1)! * 256 - memory.residentPages) < 0.01);
    assert.ok(Math.abs(vm.swapped.at(-1)! * 256 - memory.swappedPages) < 0.01);
    for (const kind of KINDS) {
      const { percentiles, heat } = vm.latency[kind];
      const counted = heat.cells.map((cells) => sum(cells.map(([, count]) => count)));
      assert.is(sum(counted), faults[kind].count, kind);
      for (const [at, count] of counted.entries()) {
        for (const values of percentiles) assert.is(values[at] === null, count === 0);
        const [p50, p90, p99, p999] = percentiles.map((values) => values[at]!);
        if (count > 0) assert.ok(p50! <= p90! && p90! <= p99! && p99! <= p999!);
      }
    }
  }
  for (let at = 0; at < times.length; at++) {
    const whole = host.guests[at]! + host.other[at]! + host.free[at]!;
    assert.ok(Math.abs(whole - 1) < 0.01, `${whole} MiB`);
  }
  const swappedIn = sum(swap.in.map((rate, at) => (rate * (times[at]! - (times[at - 1] ?? 0))) / 1e9));
  assert.ok(Math.abs(swappedIn * 256 - result.host.swap.in) < 0.01 * result.host.swap.in + 1);
});

test("a record of one moment has the percentiles of the result", async () => {
  const machine = await machineOf();
  const { first, moments } = await recordRun(machine, { moments: 400 });
  const { vms } = seriesOf({ first, moments: moments.slice(-1) }, []);
  for (const [index, { faults }] of machine.result().vms.entries()) {
    for (const kind of ["minor", "major"] as const) {
      const { p50, p90, p99, p999, max } = faults[kind].latency;
      const drawn = vms[index]!.latency[kind].percentiles.map(([value]) => Math.min(value!, max));
      assert.equal(drawn, [p50, p90, p99, p999]);
    }
  }
});

test("shares of vCPUs are shares, and say what the counters say", async () => {
  const machine = await machineOf(3000);
  const record = await recordRun(machine);
  const { vcpus, times } = seriesOf(record, ["cache/0", "sqlite/0"]);
  assert.equal(
    vcpus.map(({ name }) => name),
    ["sqlite/0", "cache/0"],
  );
  for (const [index, { running, blocked }] of vcpus.entries()) {
    for (let at = 0; at < times.length; at++) {
      assert.ok(running[at]! >= 0 && blocked[at]! >= 0 && running[at]! + blocked[at]! <= 1.000_01);
    }
    const blockedNs = sum(blocked.map((share, at) => share * (times[at]! - (times[at - 1] ?? 0))));
    const counted = machine.vcpus()[index]!.blockedNs;
    assert.ok(counted > 0 && Math.abs(blockedNs - counted) < 0.1 * counted, `${blockedNs} of ${counted}`);
    assert.is(machine.result().vms[index]!.vcpuBlockedNs, counted);
  }
  const idle = await create(roomy([{ workload: { kind: "compute", time: "1ms" } }], {}, { vcpus: 2 }));
  idle.run();
  assert.equal(
    idle.vcpus().map(({ vm, vcpu, mode, blockedNs }) => [vm, vcpu, mode, blockedNs]),
    [
      ["db", 0, "guest", 0], // the run is over with its task, before it halts
      ["db", 1, "halted", 0],
    ],
  );
  assert.ok(idle.vcpus()[0]!.busyNs >= 1e6 && idle.vcpus()[1]!.busyNs === 0);
});

test("histograms count every fault in a bucket that holds it", async () => {
  const machine = await machineOf();
  machine.run();
  const { vms } = machine.result();
  for (const { vm, kind, count, sumNs, maxNs, buckets } of machine.histograms()) {
    const { latency, count: faults } = vms.find(({ name }) => name === vm)!.faults[kind];
    assert.is(count, faults);
    assert.is(sum(buckets.map((bucket) => bucket.count)), count);
    assert.is(maxNs, latency.max);
    const most = sum(buckets.map((bucket) => bucket.count * bucket.highestNs));
    assert.ok(sumNs <= most && sumNs >= most * 0.999 - count, `${sumNs} of ${most}`);
    for (let at = 1; at < buckets.length; at++)
      assert.ok(buckets[at]!.highestNs > buckets[at - 1]!.highestNs);
  }
});

test("an interval's histogram is what came in it", () => {
  const of = (counts: [number, number][]): LatencyHistogram => ({
    vm: "db",
    kind: "major",
    count: sum(counts.map(([, count]) => count)),
    sumNs: 0,
    maxNs: 0,
    buckets: counts.map(([highestNs, count]) => ({ highestNs, count })),
  });
  const now = newIn(
    of([
      [10, 5],
      [30, 1],
    ]),
    of([
      [10, 5],
      [20, 2],
      [30, 3],
    ]),
  );
  assert.equal(now, {
    count: 4,
    buckets: [
      { highestNs: 20, count: 2 },
      { highestNs: 30, count: 2 },
    ],
  });
  assert.is(percentile(now, 0.5), 20);
  assert.is(percentile(now, 0.51), 30);
  assert.is(percentile({ count: 0, buckets: [] }, 0.5), null);
});

test("the file stands alone, and names of the scenario are text in it", async () => {
  const [scenario, options] = small(200, {
    name: '</script><img src=x onerror="alert(1)">',
    description: "a & b < c",
  });
  const html = reportHtml(await recordRun(await create(scenario, options)));
  assert.not.match(html, "<img");
  assert.is(html.match(/<\/script>/g)!.length, 2);
  assert.match(html, "a &#38; b &#60; c");
  assert.not.match(html, /\b(?:src|href)="(?!#)/);
  assert.not.match(html, /@import|url\(/);
  assert.match(html, "uPlot");
  assert.match(html, /<html lang="en">/);
  JSON.parse(/<script type="application\/json" id="series">(.*?)<\/script>/s.exec(html)![1]!);
  // Nothing has happened yet.
  assert.match(reportHtml({ ...(await recordRun(await create(scenario, options))), moments: [] }), "<h1>");
});

test("the command writes the file, names its digest, and refuses a vCPU that is not there", async () => {
  const folder = mkdtempSync(join(tmpdir(), "pagevisor-report-"));
  try {
    const cli = fileURLToPath(import.meta.resolve("#dist/cli.js"));
    const run = (...args: string[]) =>
      spawnSync(process.execPath, [cli, "report", "overcommit", "--accesses", "200000", ...args], {
        encoding: "utf8",
        cwd: folder,
      });
    const { stdout, status } = run("-o", "r.html", "--moments", "50");
    const digest = /^r\.html: done, digest ([0-9a-f]{16})\n$/.exec(stdout);
    assert.ok(status === 0 && digest, stdout);
    assert.match(readFileSync(join(folder, "r.html"), "utf8"), digest![1]!);
    const wrong = run("-o", "r.html", "--vcpus", "sqlite/0,sqlite/7");
    assert.is(wrong.status, 2);
    assert.match(
      wrong.stderr,
      /^pagevisor: --vcpus: there is no vCPU "sqlite\/7"\. Allowed: sqlite\/0, cache\/0\n$/,
    );
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test.run();
