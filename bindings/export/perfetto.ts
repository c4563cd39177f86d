// Trace records as Perfetto's protobuf, which ui.perfetto.dev opens: a track for each vCPU and each thread of the host, what lasts as slices,
// what does not as instants, an asynchronous page fault as a flow from "not present" to "ready". Any number of whole packets is a valid trace, so
// a run that was interrupted leaves one.
//
// Trace { packet = 1 }   TracePacket { timestamp = 8, sequence = 10, track_event = 11, track_descriptor = 60 }

import { BinaryWriter, WireType } from "@bufbuild/protobuf/wire";
import type { ResolvedScenario } from "../scenario.js";
import type { TraceEvent, TraceEvents } from "../tracepoints.js";

/** A thread of the host, in the order of the actors' numbers. */
export interface ThreadName {
  /** The process that it belongs to: a VM, or the host's own threads. */
  process: string;
  thread: string;
}

/** The threads of a scenario as a trace names them. */
export function threadsOf({ vms }: ResolvedScenario): ThreadName[] {
  return [
    { process: "host", thread: "kswapd0" },
    ...vms.flatMap(({ name, vcpus }) =>
      Array.from({ length: vcpus }, (_, index) => ({ process: name, thread: `CPU ${index}/KVM` })),
    ),
  ];
}

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
/** Tracks of processes and threads have numbers of their own; so have pids and tids, as ftrace's text prints them. */
const PROCESS_TRACK = 1;
const THREAD_TRACK = 1_000_000;
const FIRST_TID = 1000;

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

/** Writes a trace part by part. */
export class PerfettoWriter {
  readonly #threads: readonly ThreadName[];
  readonly #processes: string[];
  /** Slices that are open on each track, as the events that will end them. */
  readonly #open = new Map<number, string[]>();
  /** Numbers of the flows that are open, by process and token. */
  readonly #flows = new Map<string, number>();
  #flowsBegun = 0;

  /** `threads` are the machine's, from {@link threadsOf}. */
  constructor(threads: readonly ThreadName[]) {
    this.#threads = threads;
    this.#processes = [...new Set(threads.map(({ process }) => process))];
  }

  /** What stands first: the tracks. */
  head(): Uint8Array {
    const writer = new BinaryWriter();
    for (const [index, process] of this.#processes.entries()) {
      packet(writer, 0, TRACK_DESCRIPTOR, (descriptor) => {
        descriptor.tag(DESCRIPTOR.uuid, WireType.Varint).uint64(PROCESS_TRACK + index);
        message(descriptor, DESCRIPTOR.process, (one) => {
          one.tag(PROCESS.pid, WireType.Varint).int32(index + 1);
          one.tag(PROCESS.name, WireType.LengthDelimited).string(process);
        });
      });
    }
    for (const [actor, { process, thread }] of this.#threads.entries()) {
      const index = this.#processes.indexOf(process);
      packet(writer, 0, TRACK_DESCRIPTOR, (descriptor) => {
        descriptor.tag(DESCRIPTOR.uuid, WireType.Varint).uint64(THREAD_TRACK + actor);
        descriptor.tag(DESCRIPTOR.parent, WireType.Varint).uint64(PROCESS_TRACK + index);
        message(descriptor, DESCRIPTOR.thread, (one) => {
          one.tag(THREAD.pid, WireType.Varint).int32(index + 1);
          one.tag(THREAD.tid, WireType.Varint).int32(FIRST_TID + actor);
          one.tag(THREAD.name, WireType.LengthDelimited).string(thread);
        });
      });
    }
    return writer.finish();
  }

  /** The packets of some records, which come after those given before. Records that the ring has lost are an instant that says how many. */
  packets({ events, lost }: TraceEvents): Uint8Array {
    const writer = new BinaryWriter();
    const first = events[0];
    if (lost > 0 && first !== undefined) {
      // A slice whose end may be among them is not waited for.
      for (const [actor, open] of this.#open) {
        for (const _ of open) this.#event(writer, first.timeNs, actor, TYPE.end, null, "");
      }
      this.#open.clear();
      this.#event(writer, first.timeNs, 0, TYPE.instant, `${lost} records lost`, "");
    }
    for (const event of events) this.#record(writer, event);
    return writer.finish();
  }

  #record(writer: BinaryWriter, { timeNs, name, actor, text }: TraceEvent): void {
    const open = this.#open.get(actor) ?? [];
    this.#open.set(actor, open);
    const begins = BEGINS.get(name);
    if (begins !== undefined) {
      open.push(begins.end);
      this.#event(writer, timeNs, actor, TYPE.begin, begins.name, text, name);
      return;
    }
    if (ENDS.has(name)) {
      // What began before the trace did has no slice to end; what is open inside ends with it.
      const depth = open.lastIndexOf(name);
      if (depth < 0) return;
      for (const _ of open.splice(depth)) this.#event(writer, timeNs, actor, TYPE.end, null, text);
      return;
    }
    this.#event(writer, timeNs, actor, TYPE.instant, name, text, name);
  }

  #event(
    writer: BinaryWriter,
    timeNs: number,
    actor: number,
    type: number,
    name: string | null,
    text: string,
    tracepoint = "",
  ): void {
    packet(writer, Math.max(0, timeNs), TRACK_EVENT, (event) => {
      event.tag(EVENT.type, WireType.Varint).int32(type);
      event.tag(EVENT.track, WireType.Varint).uint64(THREAD_TRACK + actor);
      if (name !== null) {
        event.tag(EVENT.category, WireType.LengthDelimited).string(tracepoint.replace(/_.*/, ""));
        event.tag(EVENT.name, WireType.LengthDelimited).string(name);
      }
      if (text !== "") {
        message(event, EVENT.annotation, (annotation) => {
          annotation.tag(ANNOTATION.name, WireType.LengthDelimited).string("ftrace");
          annotation.tag(ANNOTATION.string, WireType.LengthDelimited).string(text);
        });
      }
      const flow = this.#flowOf(tracepoint, actor, text);
      if (flow !== null) event.tag(flow.field, WireType.Bit64).fixed64(flow.id);
    });
  }

  #flowOf(tracepoint: string, actor: number, text: string): { field: number; id: number } | null {
    if (tracepoint !== FLOW_BEGINS && tracepoint !== FLOW_ENDS) return null;
    const token = /token (\w+)/.exec(text)?.[1] ?? "";
    const key = `${this.#threads[actor]?.process} ${token}`;
    if (tracepoint === FLOW_BEGINS) {
      this.#flows.set(key, ++this.#flowsBegun);
      return { field: EVENT.flow, id: this.#flowsBegun };
    }
    const id = this.#flows.get(key);
    this.#flows.delete(key);
    return id === undefined ? null : { field: EVENT.lastOfFlow, id };
  }
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
