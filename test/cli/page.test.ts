// The readable page: its golden text, its width, and what it leaves out.

import { test } from "uvu";
import * as assert from "uvu/assert";
import { page } from "#dist/cli/page.js";
import { PLAIN } from "#dist/cli/terminal.js";
import type { RunResult } from "#dist/result.js";
import type { ResolvedScenario } from "#dist/scenario.js";
import { MIB, madeFaults, madeResult, madeVm } from "./made.js";

function twoGuests(): RunResult {
  const sqlite = madeVm("sqlite", {
    accesses: 2_292_590,
    virtualTimeNs: 1_200_000_000,
    throughput: 1_910_491.7,
    vcpuBlockedNs: 812_345_678,
    memory: { residentPages: 3_100, peakResidentPages: 4_400, swappedPages: 1_379, untouchedPages: 129 },
    stall: { someNs: 800_000_000, fullNs: 800_000_000 },
    faults: {
      minor: madeFaults(4_479, { exitNs: 2_239_500, allocNs: 4_479_000, mapNs: 3_135_300 }, 2_200),
      major: madeFaults(
        10_000,
        { exitNs: 5_000_000, cpuNs: 9_000_000, queueNs: 40_000_000, deviceNs: 768_000_000, mapNs: 7_000_000 },
        131_000,
      ),
      spurious: madeFaults(0),
      writeProtect: madeFaults(1_250, { exitNs: 625_000, mapNs: 875_000 }, 1_200),
    },
  });
  const cache = madeVm("cache", {
    accesses: 2_300_000,
    virtualTimeNs: 1_200_000_000,
    throughput: 1_916_666.7,
    memory: { residentPages: 4_096, peakResidentPages: 4_096, swappedPages: 0, untouchedPages: 512 },
    faults: {
      minor: madeFaults(4_096, { exitNs: 2_048_000, allocNs: 4_096_000, mapNs: 2_867_200 }, 2_200),
      major: madeFaults(0),
      spurious: madeFaults(0),
      writeProtect: madeFaults(0),
    },
  });
  return madeResult({
    scenario: {
      name: "overcommit",
      description: "Two guests whose pages do not fit the host.",
      host: { memory: 32 * MIB },
    } as unknown as ResolvedScenario,
    virtualTimeNs: 1_200_000_000,
    accesses: 4_592_590,
    wall: { ms: 412, accessesPerSecond: 11_147_063 },
    footprintBytes: 6.5 * MIB,
    vms: [sqlite, cache],
    host: {
      memory: { freePages: 96, minFreePages: 12 },
      asyncPfWorkersPeak: 0,
      reclaim: { scanned: 45_000, reclaimedDirect: 0, reclaimedKswapd: 11_379 },
      swap: { out: 11_379, in: 10_000, slotsUsed: 1_379, allocFailed: 0 },
      devices: [{ name: "nvme0", reads: 10_000, writes: 11_379, busyNs: 1_041_096_000, queuePeak: 3 }],
      migrate: { attempted: 0, succeeded: 0, failedPinned: 0 },
      compact: { migrateScanned: 0, freeScanned: 0, isolated: 0, stalls: 0, failed: 0, succeeded: 0 },
    },
  });
}

const GOLDEN = `\
overcommit (examples/overcommit.json)
Two guests whose pages do not fit the host.
  status     done: every task has ended
  simulated  4,592,590 accesses in 1.2s of virtual time
  speed      412ms of wall time, 11.1M accesses/s, 6.5MiB of state
  run        seed 1, digest 0123456789abcdef, pagevisor 0.1.0

Guests       accesses  throughput  resident      peak  swapped  blocked  stalled
sqlite      2,292,590     1.91M/s  12.11MiB  17.19MiB  5.39MiB    812ms    66.7%
cache       2,300,000     1.92M/s     16MiB     16MiB        –        –        –

Faults      kind            count    mean     p50    p99  p99.9    max
sqlite      minor           4,479   2.2us   2.2us  2.2us  2.2us  2.2us
            major          10,000  82.9us  82.9us  131us  131us  131us
            write-protect   1,250   1.2us   1.2us  1.2us  1.2us  1.2us
cache       minor           4,096   2.2us   2.2us  2.2us  2.2us  2.2us
            major               –       –       –      –      –      –

Fault time  stage                            share    time  a fault
sqlite      device service                   91.4%   768ms   48.8us
            waiting for the device or a CPU   4.8%    40ms   2.54us
            mapping the page                  1.3%    11ms    700ns
            swap-in work on the CPU           1.1%     9ms    572ns
            VM exit and entry                 0.9%  7.86ms    500ns
            allocating and zeroing pages      0.5%  4.48ms    285ns
cache       allocating and zeroing pages     45.5%   4.1ms      1us
            mapping the page                 31.8%  2.87ms    700ns
            VM exit and entry                22.7%  2.05ms    500ns

Host
  memory   32MiB, free 384KiB, least free 48KiB
  swap     in 10,000 (39.06MiB), out 11,379 (44.45MiB), slots used 1,379 (5.39MiB)
  reclaim  scanned 45,000, reclaimed by kswapd 11,379, direct –
  nvme0    reads 10,000, writes 11,379, busy 1.04s, longest queue 3
`;

test("the page of two guests reads as reviewed", () => {
  assert.fixture(page(twoGuests(), "examples/overcommit.json", PLAIN), GOLDEN);
});

test("no line is wider than 100 columns, whatever the names and numbers", () => {
  const result = twoGuests();
  const [vm] = result.vms;
  vm!.name = "a-guest-with-a-name-that-nobody-would-give-to-one-".repeat(3);
  vm!.accesses = 2 ** 52;
  vm!.faults.major = madeFaults(2 ** 40, { deviceNs: 2 ** 52, queueNs: 2 ** 51 }, 2 ** 40);
  result.scenario = {
    ...result.scenario,
    description: "what the scenario shows ".repeat(30),
  };
  result.violations = [
    {
      kind: "unreachablePin",
      vm: "guest-with-a-long-name",
      gfn: 0xfffff,
      vcpu: 63,
      timeNs: 123_456_789_012,
      expected: 2 ** 40,
      got: 2 ** 39,
      writtenAtNs: 120_000_000_000,
      writtenBy: 62,
    },
  ];
  for (const line of page(result, "scenario.json", PLAIN).split("\n")) {
    assert.ok(line.length <= 100, `${line.length} columns: ${line}`);
  }
});

test("an empty run shows dashes, not zeros", () => {
  const text = page(madeResult({ vms: [madeVm("idle")] }), "small.json", PLAIN);
  assert.match(text, /^ *idle( +–){7}$/m);
  assert.match(text, /swap +in –, out –, slots used –/);
  assert.not.match(text, /NaN|Infinity|undefined|null/);
});

test("kinds of faults that did not occur are left out, except minor and major", () => {
  const text = page(madeResult({ vms: [madeVm("idle")] }), "small.json", PLAIN);
  assert.match(text, /minor/);
  assert.match(text, /major/);
  assert.not.match(text, /spurious|write-protect/);
});

test("out of memory says where, an interrupted run that it is partial", () => {
  const oom = madeResult({ status: "oom", stoppedBy: "oom", oom: { where: 'limit of vm "db"' } });
  assert.match(page(oom, "x", PLAIN), /status +oom: limit of vm "db"/);
  const interrupted = madeResult({ status: "interrupted", stoppedBy: "signal" });
  assert.match(page(interrupted, "x", PLAIN), /status +interrupted: .*so far/);
});

test("a swap that ran full is told", () => {
  const result = madeResult();
  result.host.swap.allocFailed = 7;
  assert.match(page(result, "x", PLAIN), /no slot left 7/);
});

test("a violation is told with its place and story", () => {
  const result = madeResult({
    status: "violation",
    stoppedBy: "violation",
    violations: [
      {
        kind: "lostWrite",
        vm: "db",
        gfn: 0x1234,
        vcpu: 1,
        timeNs: 5_000_000,
        expected: 12,
        got: 11,
        writtenAtNs: 4_000_000,
        writtenBy: 0,
      },
    ],
  });
  const text = page(result, "x", PLAIN);
  assert.match(text, /lostWrite +db gfn 0x1234, seen by vCPU 1 at 5ms: holds write 11, not write 12/);
});

test.run();
