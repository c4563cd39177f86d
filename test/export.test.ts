// At stake: files that other programs read. A histogram must be what HdrHistogram itself writes of the same latencies; a trace must decode by
// Perfetto's published field numbers with another library than the one that wrote it, and be what ftrace's text says.

import { spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import * as fc from "fast-check";
import * as hdr from "hdr-histogram-js";
import protobuf from "protobufjs";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { hgrmFiles, hgrmText, PerfettoWriter, threadsOf } from "#dist/export/index.js";
import type { LatencyHistogram, TraceEvent } from "#dist/index.js";
import { parameters } from "./reference/report.js";
import { create, small } from "./scenes.js";

/** The text that HdrHistogram's port to JavaScript writes of the same counts. */
function theirs({ buckets }: LatencyHistogram): string {
  const histogram = hdr.build({
    bitBucketSize: 64,
    highestTrackableValue: 2 ** 40 - 1,
    numberOfSignificantValueDigits: 3,
  });
  for (const { highestNs, count } of buckets) histogram.recordValueWithCount(highestNs, count);
  return histogram.outputPercentileDistribution();
}

const DEVIATION = /StdDeviation {3}= +([\d.]+)/;

/** Equal but for the deviation, whose sum is rounded in another order. */
function assertSameText(ours: string, expected: string): void {
  assert.is(ours.replace(DEVIATION, ""), expected.replace(DEVIATION, ""));
  const [a, b] = [ours, expected].map((text) => Number(DEVIATION.exec(text)![1]));
  assert.ok(Math.abs(a! - b!) <= 0.001 + 1e-9 * b!, `${a} and ${b}`);
}

test("the histograms of a run are written as HdrHistogram writes them", async () => {
  const machine = await create(...small(3000));
  machine.run();
  const histograms = machine.histograms();
  const files = hgrmFiles(histograms);
  assert.equal(
    files.map(({ name }) => name),
    histograms.filter(({ count }) => count > 0).map(({ vm, kind }) => `${vm}-${kind}.hgrm`),
  );
  assert.ok(files.length >= 4);
  for (const histogram of histograms) {
    if (histogram.count > 0) assertSameText(hgrmText(histogram), theirs(histogram));
  }
});

test("any histogram is written as HdrHistogram writes it", () => {
  const counted = fc.uniqueArray(
    fc.tuple(
      fc.oneof(
        fc.integer({ min: 0, max: 5000 }),
        fc.integer({ min: 0, max: 2 ** 31 - 1 }).map((value) => value * 400),
      ),
      fc.integer({ min: 1, max: 100_000 }),
    ),
    { selector: ([value]) => value, minLength: 1, maxLength: 60 },
  );
  fc.assert(
    fc.property(counted, (values) => {
      const counts = new Map<number, number>();
      for (const [value, count] of values) {
        // The largest latency that shares its bucket, which is what the core tells.
        const unit = value < 2048 ? 1 : 2 ** (Math.floor(Math.log2(value)) - 10);
        const highestNs = value - (value % unit) + unit - 1;
        counts.set(highestNs, (counts.get(highestNs) ?? 0) + count);
      }
      const buckets = [...counts]
        .sort(([a], [b]) => a - b)
        .map(([highestNs, count]) => ({ highestNs, count }));
      const count = buckets.reduce((sum, bucket) => sum + bucket.count, 0);
      const histogram: LatencyHistogram = { vm: "", kind: "major", count, sumNs: 0, maxNs: 0, buckets };
      assertSameText(hgrmText(histogram), theirs(histogram));
    }),
    parameters(100),
  );
});

test("an empty histogram has no lines and a footer", () => {
  const empty: LatencyHistogram = { vm: "db", kind: "major", count: 0, sumNs: 0, maxNs: 0, buckets: [] };
  assert.is(hgrmText(empty), theirs(empty));
  assert.equal(hgrmFiles([empty]), []);
});

// Perfetto's messages, as far as they are written. Numbers and types as published.
const PERFETTO = protobuf
  .parse(`
  syntax = "proto2";
  message Trace { repeated TracePacket packet = 1; }
  message TracePacket {
    optional uint64 timestamp = 8;
    optional uint32 trusted_packet_sequence_id = 10;
    optional TrackEvent track_event = 11;
    optional TrackDescriptor track_descriptor = 60;
  }
  message TrackDescriptor {
    optional uint64 uuid = 1;
    optional string name = 2;
    optional ProcessDescriptor process = 3;
    optional ThreadDescriptor thread = 4;
    optional uint64 parent_uuid = 5;
  }
  message ProcessDescriptor { optional int32 pid = 1; optional string process_name = 6; }
  message ThreadDescriptor { optional int32 pid = 1; optional int32 tid = 2; optional string thread_name = 5; }
  message DebugAnnotation { optional string string_value = 6; optional string name = 10; }
  message TrackEvent {
    enum Type { TYPE_UNSPECIFIED = 0; TYPE_SLICE_BEGIN = 1; TYPE_SLICE_END = 2; TYPE_INSTANT = 3; }
    repeated DebugAnnotation debug_annotations = 4;
    optional Type type = 9;
    optional uint64 track_uuid = 11;
    repeated string categories = 22;
    optional string name = 23;
    repeated fixed64 flow_ids = 47;
    repeated fixed64 terminating_flow_ids = 48;
  }`)
  .root.lookupType("Trace");

interface Decoded {
  timestamp: number;
  trustedPacketSequenceId: number;
  trackDescriptor?: {
    uuid: number;
    name?: string;
    parentUuid?: number;
    process?: { pid: number; processName: string };
    thread?: { pid: number; tid: number; threadName: string };
  };
  trackEvent?: {
    type: "TYPE_SLICE_BEGIN" | "TYPE_SLICE_END" | "TYPE_INSTANT";
    trackUuid: number;
    name?: string;
    categories?: string[];
    debugAnnotations?: { name: string; stringValue: string }[];
    flowIds?: number[];
    terminatingFlowIds?: number[];
  };
}

function decoded(...parts: Uint8Array[]): Decoded[] {
  const message = PERFETTO.decode(Buffer.concat(parts));
  return (PERFETTO.toObject(message, { longs: Number, enums: String }) as { packet: Decoded[] }).packet;
}

/** Asserts that slices on each track are nested, and returns how many there are. */
function slicesOf(packets: readonly Decoded[]): number {
  const depths = new Map<number, number>();
  let slices = 0;
  for (const { trackEvent } of packets) {
    if (trackEvent === undefined || trackEvent.type === "TYPE_INSTANT") continue;
    const depth = (depths.get(trackEvent.trackUuid) ?? 0) + (trackEvent.type === "TYPE_SLICE_BEGIN" ? 1 : -1);
    assert.ok(depth >= 0, "a slice ends that has not begun");
    depths.set(trackEvent.trackUuid, depth);
    slices += Number(trackEvent.type === "TYPE_SLICE_BEGIN");
  }
  return slices;
}

test("a trace has a track for every thread, and on it what ftrace's text says", async () => {
  const [scenario, options] = small(2000, { trace: { events: ["*"], capacity: 200_000 } });
  const machine = await create(scenario, options);
  machine.run();
  const text = machine.fork().traceText();
  const { events, lost } = machine.traceEvents();
  assert.is(lost, 0);
  assert.equal(machine.traceEvents(), { events: [], lost: 0 });
  const lines = text.split("\n").filter((line) => line !== "" && !line.startsWith("#"));
  assert.is(events.length, lines.length);

  const writer = new PerfettoWriter(threadsOf(machine.scenario));
  const half = events.length >> 1;
  const packets = decoded(
    writer.head(),
    writer.packets({ events: events.slice(0, half), lost: 0 }),
    writer.packets({ events: events.slice(half), lost: 0 }),
  );
  const threads = packets.flatMap(({ trackDescriptor }) => trackDescriptor?.thread ?? []);
  assert.equal(
    threads.map(({ threadName, tid }) => `${threadName}-${tid}`),
    ["kswapd0-1000", "CPU 0/KVM-1001", "sqlite-1002", "CPU 0/KVM-1003", "cache-1004"],
  );
  const processes = packets.flatMap(({ trackDescriptor }) => trackDescriptor?.process ?? []);
  assert.equal(
    processes.map(({ processName }) => processName),
    ["host", "sqlite", "cache"],
  );
  const tracks = new Map(
    packets.flatMap(({ trackDescriptor: one }) => (one?.thread ? [[one.uuid, one.thread.tid]] : [])),
  );

  const told = packets.filter(({ trackEvent }) => tracks.has(trackEvent?.trackUuid ?? 0));
  // An entry that no exit came before, and nothing else, is left out.
  assert.ok(
    told.length <= lines.length && told.length >= lines.length - 3,
    `${told.length} of ${lines.length}`,
  );
  const printed = new Set(
    lines.map((line) => {
      const [, tid, seconds, body] = /-(\d+) +\[\d+\] \.{5} +([\d.]+): \w+: (.*)$/.exec(line)!;
      return `${tid} ${seconds} ${body}`;
    }),
  );
  for (const { timestamp, trustedPacketSequenceId, trackEvent } of told) {
    assert.is(trustedPacketSequenceId, 1);
    const seconds = `${Math.floor(timestamp / 1e9)}.${String(Math.floor(timestamp / 1e3) % 1e6).padStart(6, "0")}`;
    const body = trackEvent!.debugAnnotations?.[0]?.stringValue ?? "";
    assert.ok(printed.has(`${tracks.get(trackEvent!.trackUuid)} ${seconds} ${body}`), `${seconds} ${body}`);
  }
  const exits = events.filter(({ name }) => name === "kvm_exit").length;
  assert.ok(exits > 100 && slicesOf(packets) >= exits);
});

const made = (timeNs: number, name: string, actor: number, text = ""): TraceEvent => ({
  timeNs,
  name,
  actor,
  text,
  cpu: 0,
  thread: "kworker",
});

test("an asynchronous page fault is a flow within its VM, and tokens may be used again", () => {
  const writer = new PerfettoWriter([
    { process: "host", thread: "kswapd0" },
    { process: "a", thread: "CPU 0/KVM" },
    { process: "b", thread: "CPU 0/KVM" },
  ]);
  const gone = (actor: number, token: number) =>
    made(1, "kvm_async_pf_not_present", actor, `token 0x${token} gva 0x1`);
  const ready = (actor: number, token: number) =>
    made(2, "kvm_async_pf_ready", actor, `token 0x${token} gva 0x1`);
  const events = [gone(1, 5), gone(2, 5), ready(2, 5), ready(1, 5), gone(1, 5), ready(1, 5), ready(1, 7)];
  const flows = decoded(writer.packets({ events, lost: 0 })).flatMap(({ trackEvent: one }) =>
    one === undefined ? [] : [[one.flowIds ?? [], one.terminatingFlowIds ?? []]],
  );
  assert.equal(flows, [
    [[1], []],
    [[2], []],
    [[], [2]],
    [[], [1]],
    [[3], []],
    [[], [3]],
    [[], []],
  ]);
});

test("swap areas and tasks that wait have tracks of their own, workers one each", () => {
  const writer = new PerfettoWriter([
    { process: "host", thread: "kswapd0" },
    { process: "a", thread: "CPU 0/KVM" },
  ]);
  const sleeps = (token: string, task: number) =>
    made(1, "kvm_async_pf_task_wait", 1, `token ${token} task ${task} sleeps`);
  const wakes = (token: string) => made(2, "kvm_async_pf_task_wake", 1, `token ${token} woken 1`);
  const packets = decoded(
    writer.packets({
      events: [
        made(0, "swap_readpage", 70_000, "(swap_readpage+0x0/0x590) entry=0x400000000000007 sync=0"),
        made(0, "kvm_async_pf_task_wait", 1, "token 0x9 task 3 goes"),
        ...[sleeps("0x1", 3), sleeps("0x2", 4), wakes("0x2"), wakes("0x2"), wakes("0xffffffff")],
      ],
      lost: 0,
    }),
  );
  const names = new Map(
    packets.flatMap(({ trackDescriptor: one }) =>
      one ? [[one.uuid, one.name ?? one.thread?.threadName ?? one.process!.processName]] : [],
    ),
  );
  const told = packets.flatMap(({ trackEvent: one }) =>
    one === undefined ? [] : [`${names.get(one.trackUuid)}: ${one.type.slice(5)} ${one.name ?? ""}`],
  );
  assert.equal(
    told.filter((line) => !line.includes("kvm_async_pf")),
    [
      "kworker: INSTANT swap_readpage",
      "swap area 1: INSTANT read",
      "task 3: SLICE_BEGIN waits for a page",
      "task 4: SLICE_BEGIN waits for a page",
      "task 4: SLICE_END ",
      "task 3: SLICE_END ",
    ],
  );
});

test("slices stay nested whatever is lost, and what happened before time is at 0", () => {
  const writer = new PerfettoWriter([{ process: "host", thread: "kswapd0" }]);
  const packets = decoded(
    writer.packets({
      events: [
        made(-5, "kvm_entry", 0),
        made(-4, "kvm_exit", 0),
        made(2, "mm_vmscan_direct_reclaim_begin", 0),
        made(3, "kvm_entry", 0), // ends the reclaim inside with it
        made(4, "mm_vmscan_direct_reclaim_end", 0),
        made(5, "kvm_exit", 0),
      ],
      lost: 0,
    }),
    writer.packets({ events: [made(9, "kvm_entry", 0), made(10, "kvm_exit", 0)], lost: 3 }),
  );
  assert.is(slicesOf(packets), 4);
  assert.equal(
    packets.flatMap(({ timestamp, trackEvent: one }) =>
      one === undefined ? [] : [[timestamp, one.type.slice(5), one.name ?? ""]],
    ),
    [
      [0, "SLICE_BEGIN", "in the host"],
      [2, "SLICE_BEGIN", "direct reclaim"],
      [3, "SLICE_END", ""],
      [3, "SLICE_END", ""],
      [5, "SLICE_BEGIN", "in the host"],
      [9, "SLICE_END", ""],
      [9, "INSTANT", "3 records lost"],
      [10, "SLICE_BEGIN", "in the host"],
    ],
  );
});

test("the command line writes both", () => {
  const folder = mkdtempSync(join(tmpdir(), "pagevisor-export-"));
  try {
    const cli = fileURLToPath(import.meta.resolve("#dist/cli.js"));
    const args = [
      "run",
      "overcommit",
      "--accesses",
      "100000",
      "--no-rows",
      "--trace",
      "t.perfetto-trace",
      "--hgrm",
      "h-",
    ];
    const { status, stderr } = spawnSync(process.execPath, [cli, ...args], { cwd: folder, encoding: "utf8" });
    assert.is(status, 0, stderr);
    const packets = decoded(readFileSync(join(folder, "t.perfetto-trace")));
    assert.ok(packets.length > 1000 && slicesOf(packets) > 100);
    const files = readdirSync(folder).filter((name) => name.endsWith(".hgrm"));
    assert.ok(files.includes("h-sqlite-minor.hgrm") && files.includes("h-cache-minor.hgrm"), files.join());
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test.run();
