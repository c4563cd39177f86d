// Trace records as Perfetto's protobuf, which ui.perfetto.dev opens: a track for each vCPU and each thread of the host, what lasts as slices,
// what does not as instants, an asynchronous page fault as a flow from "not present" to "ready". Swap areas have tracks with what they read and
// write, guest tasks with the time that they sleep until a page is there. A track is described when it is first met. Any number of whole packets
// is a valid trace, so a run that was interrupted leaves one.
//
// Trace { packet = 1 }   TracePacket { timestamp = 8, sequence = 10, track_event = 11, track_descriptor = 60 }

import { BinaryWriter, WireType } from "@bufbuild/protobuf/wire";
import type { ThreadName } from "../threads.js";
import type { TraceEvent, TraceEvents } from "../tracepoints.js";

// The field numbers that Perfetto has published (protos/perfetto/trace).
const PACKET = 1;
const TIMESTAMP = 8;
const SEQUENCE = 10;
const TRACK_EVENT = 11;
const TRACK_DESCRIPTOR = 60;
const DESCRIPTOR = { uuid: 1, name: 2, process: 3, thread: 4, parent: 5 };
const PROCESS = { pid: 1, name: 6 };
const THREAD = { pid: 1, tid: 2, name: 5 };
const EVENT = { annotation: 4, type: 9, track: 11, category: 22, name: 23, flow: 47, lastOfFlow: 48 };
const ANNOTATION = { string: 6, name: 10 };
const TYPE = { begin: 1, end: 2, instant: 3 };

const SEQUENCE_ID = 1;
/** pids and tids as ftrace's text prints them: a thread's number behind this one. */
const FIRST_TID = 1000;
const HOST = "host";

/** What begins and ends: the names of both events, and what it is called. */
const SLICES: readonly [begin: string, end: string, name: string][] = [
  ["kvm_exit", "kvm_entry", "in the host"],
  ["mm_vmscan_direct_reclaim_begin", "mm_vmscan_direct_reclaim_end", "direct reclaim"],
  ["mm_vmscan_memcg_reclaim_begin", "mm_vmscan_memcg_reclaim_end", "memcg reclaim"],
  ["mm_vmscan_kswapd_wake", "mm_vmscan_kswapd_sleep", "kswapd awake"],
];
const BEGINS = new Map(SLICES.map(([begin, end, name]) => [begin, { end, name }]));
const ENDS = new Set(SLICES.map(([, end]) => end));

/** Where an asynchronous page fault begins and ends; both records name its token. */
const FLOW_BEGINS = "kvm_async_pf_not_present";
const FLOW_ENDS = "kvm_async_pf_ready";
/** Where a task of a guest falls asleep for a page and where it is woken; a token of ones wakes every task. */
const TASK_SLEEPS = "kvm_async_pf_task_wait";
const TASK_WAKES = "kvm_async_pf_task_wake";
const EVERY_TOKEN = "0xffffffff";
/** What a swap area does. */
const SWAP_IO = new Map([
  ["swap_readpage", "read"],
  ["swap_writepage", "write"],
]);

/** A slice's end or beginning, or an instant, on a track. */
interface Told {
  timeNs: number;
  track: number;
  type: number;
  /** None for the end of a slice. */
  name?: string;
  tracepoint?: string;
  /** The fields as ftrace prints them. */
  text?: string;
  flow?: { field: number; id: number } | undefined;
}

/** Writes a trace part by part. */
export class PerfettoWriter {
  readonly #threads: readonly ThreadName[];
  /** Numbers of the tracks that have been described, by what they are of. */
  readonly #tracks = new Map<string, number>();
  /** Slices that are open on each thread's track, as the events that will end them. */
  readonly #open = new Map<number, string[]>();
  /** Numbers of the flows that are open, by process and token. */
  readonly #flows = new Map<string, number>();
  #flowsBegun = 0;
  /** Tracks of the tasks that sleep, by process and token. */
  readonly #asleep = new Map<string, number>();

  /** `threads` are the machine's, from {@link threadsOf}. */
  constructor(threads: readonly ThreadName[]) {
    this.#threads = threads;
  }

  /** What stands first: the tracks of the threads that are there from the beginning, as bytes. Never throws. */
  head(): Uint8Array {
    const writer = new BinaryWriter();
    for (const [actor, { thread }] of this.#threads.entries()) this.#threadTrack(writer, actor, thread);
    return writer.finish();
  }

  /** The packets of some records, which come after those given before. Records that the ring has lost are an instant that says how many. Never throws. */
  packets({ events, lost }: TraceEvents): Uint8Array {
    const writer = new BinaryWriter();
    const first = events[0];
    if (lost > 0 && first !== undefined) this.#lost(writer, lost, first);
    for (const event of events) this.#record(writer, event);
    return writer.finish();
  }

  // A slice whose end may be among the lost records is not waited for.
  #lost(writer: BinaryWriter, lost: number, { timeNs }: TraceEvent): void {
    for (const [track, open] of this.#open) {
      for (const _ of open) tell(writer, { timeNs, track, type: TYPE.end });
    }
    this.#open.clear();
    for (const track of this.#asleep.values()) tell(writer, { timeNs, track, type: TYPE.end });
    this.#asleep.clear();
    const track = this.#threadTrack(writer, 0, this.#threads[0]?.thread ?? "");
    tell(writer, { timeNs, track, type: TYPE.instant, name: `${lost} records lost` });
  }

  #record(writer: BinaryWriter, event: TraceEvent): void {
    const { timeNs, name, actor, text } = event;
    const track = this.#threadTrack(writer, actor, event.thread);
    const open = this.#open.get(track) ?? [];
    this.#open.set(track, open);
    const begins = BEGINS.get(name);
    if (begins !== undefined) {
      open.push(begins.end);
      tell(writer, { timeNs, track, type: TYPE.begin, name: begins.name, tracepoint: name, text });
    } else if (ENDS.has(name)) {
      // What began before the trace did has no slice to end; what is open inside ends with it.
      const depth = open.lastIndexOf(name);
      if (depth < 0) return;
      for (const _ of open.splice(depth)) tell(writer, { timeNs, track, type: TYPE.end, text });
    } else {
      const flow = this.#flowOf(event);
      tell(writer, { timeNs, track, type: TYPE.instant, name, tracepoint: name, text, flow });
      if (SWAP_IO.has(name)) this.#swapped(writer, event);
      if (name === TASK_SLEEPS) this.#fallsAsleep(writer, event);
      if (name === TASK_WAKES) this.#wakes(writer, event);
    }
  }

  /** A read or write stands on the area's own track too. */
  #swapped(writer: BinaryWriter, { timeNs, name, text }: TraceEvent): void {
    const area = BigInt(/entry=(0x[0-9a-f]+)/.exec(text)?.[1] ?? 0) >> 58n;
    const track = this.#namedTrack(writer, HOST, `swap area ${area}`);
    tell(writer, { timeNs, track, type: TYPE.instant, name: SWAP_IO.get(name)!, tracepoint: name, text });
  }

  #fallsAsleep(writer: BinaryWriter, { timeNs, name, actor, text }: TraceEvent): void {
    const [, token, task, does] = /token (\w+) task (\d+) (\w+)/.exec(text) ?? [];
    if (does !== "sleeps") return;
    const process = this.#processOf(actor);
    const track = this.#namedTrack(writer, process, `task ${task}`);
    this.#asleep.set(`${process} ${token}`, track);
    tell(writer, { timeNs, track, type: TYPE.begin, name: "waits for a page", tracepoint: name, text });
  }

  #wakes(writer: BinaryWriter, { timeNs, actor, text }: TraceEvent): void {
    const process = this.#processOf(actor);
    const token = tokenOf(text);
    for (const [key, track] of this.#asleep) {
      const wakes = token === EVERY_TOKEN ? key.startsWith(`${process} `) : key === `${process} ${token}`;
      if (!wakes) continue;
      this.#asleep.delete(key);
      tell(writer, { timeNs, track, type: TYPE.end, text });
    }
  }

  #flowOf({ name, actor, text }: TraceEvent): Told["flow"] {
    if (name !== FLOW_BEGINS && name !== FLOW_ENDS) return undefined;
    const key = `${this.#processOf(actor)} ${tokenOf(text)}`;
    if (name === FLOW_BEGINS) {
      this.#flows.set(key, ++this.#flowsBegun);
      return { field: EVENT.flow, id: this.#flowsBegun };
    }
    const id = this.#flows.get(key);
    this.#flows.delete(key);
    return id === undefined ? undefined : { field: EVENT.lastOfFlow, id };
  }

  /** Workers, which are made when they are needed, are threads of the host. */
  #processOf(actor: number): string {
    return this.#threads[actor]?.process ?? HOST;
  }

  #processTrack(writer: BinaryWriter, name: string): number {
    return this.#track(`process ${name}`, (uuid) => {
      describe(writer, uuid, (descriptor) => {
        message(descriptor, DESCRIPTOR.process, (one) => {
          one.tag(PROCESS.pid, WireType.Varint).int32(uuid);
          one.tag(PROCESS.name, WireType.LengthDelimited).string(name);
        });
      });
    });
  }

  #threadTrack(writer: BinaryWriter, actor: number, thread: string): number {
    const pid = this.#processTrack(writer, this.#processOf(actor));
    return this.#track(`thread ${actor}`, (uuid) => {
      describe(writer, uuid, (descriptor) => {
        descriptor.tag(DESCRIPTOR.parent, WireType.Varint).uint64(pid);
        message(descriptor, DESCRIPTOR.thread, (one) => {
          one.tag(THREAD.pid, WireType.Varint).int32(pid);
          one.tag(THREAD.tid, WireType.Varint).int32(FIRST_TID + actor);
          one.tag(THREAD.name, WireType.LengthDelimited).string(thread);
        });
      });
    });
  }

  #namedTrack(writer: BinaryWriter, process: string, name: string): number {
    const parent = this.#processTrack(writer, process);
    return this.#track(`${process}: ${name}`, (uuid) => {
      describe(writer, uuid, (descriptor) => {
        descriptor.tag(DESCRIPTOR.parent, WireType.Varint).uint64(parent);
        descriptor.tag(DESCRIPTOR.name, WireType.LengthDelimited).string(name);
      });
    });
  }

  #track(key: string, describeTrack: (uuid: number) => void): number {
    const known = this.#tracks.get(key);
    if (known !== undefined) return known;
    const uuid = this.#tracks.size + 1;
    this.#tracks.set(key, uuid);
    describeTrack(uuid);
    return uuid;
  }
}

function tokenOf(text: string): string {
  return /token (\w+)/.exec(text)?.[1] ?? "";
}

function tell(writer: BinaryWriter, { timeNs, track, type, name, tracepoint, text, flow }: Told): void {
  packet(writer, Math.max(0, timeNs), TRACK_EVENT, (event) => {
    event.tag(EVENT.type, WireType.Varint).int32(type);
    event.tag(EVENT.track, WireType.Varint).uint64(track);
    if (name !== undefined) {
      const category = (tracepoint ?? "").replace(/_.*/, "");
      event.tag(EVENT.category, WireType.LengthDelimited).string(category);
      event.tag(EVENT.name, WireType.LengthDelimited).string(name);
    }
    if (text !== undefined && text !== "") {
      message(event, EVENT.annotation, (annotation) => {
        annotation.tag(ANNOTATION.name, WireType.LengthDelimited).string("ftrace");
        annotation.tag(ANNOTATION.string, WireType.LengthDelimited).string(text);
      });
    }
    if (flow !== undefined) event.tag(flow.field, WireType.Bit64).fixed64(flow.id);
  });
}

function describe(writer: BinaryWriter, uuid: number, write: (writer: BinaryWriter) => void): void {
  packet(writer, 0, TRACK_DESCRIPTOR, (descriptor) => {
    descriptor.tag(DESCRIPTOR.uuid, WireType.Varint).uint64(uuid);
    write(descriptor);
  });
}

function packet(
  writer: BinaryWriter,
  timeNs: number,
  field: number,
  write: (writer: BinaryWriter) => void,
): void {
  message(writer, PACKET, (one) => {
    one.tag(TIMESTAMP, WireType.Varint).uint64(timeNs);
    one.tag(SEQUENCE, WireType.Varint).uint32(SEQUENCE_ID);
    message(one, field, write);
  });
}

function message(writer: BinaryWriter, field: number, write: (writer: BinaryWriter) => void): void {
  writer.tag(field, WireType.LengthDelimited).fork();
  write(writer);
  writer.join();
}
