// Reads ftrace's text: which event, on which CPU, with which fields, and between which marks of the capture's script it stands. The
// kernel's text and the model's own have one form, so that both are read here.

/** One line of a trace. */
export interface TraceEvent {
  task: string;
  cpu: number;
  name: string;
  fields: string;
}

// task-pid [cpu] flags seconds: event: fields. A task's name may contain blanks, '-', ':' and '/'.
const LINE = /^\s*(.+)-\d+\s+\[(\d+)\] \S+\s+-?[\d.]+: (\w+): ?(.*)$/;

export function* traceEvents(text: string): Generator<TraceEvent> {
  let at = 0;
  while (at < text.length) {
    const end = text.indexOf("\n", at);
    const line = text.slice(at, end < 0 ? text.length : end);
    at = end < 0 ? text.length : end + 1;
    if (line.startsWith("#")) continue;
    const parts = LINE.exec(line);
    if (parts === null) continue;
    yield { task: parts[1]!, cpu: Number(parts[2]), name: parts[3]!, fields: parts[4]! };
  }
}

/** The events of a capture by the number of the step: those between its STEP_BEGIN and STEP_END marks, and those before the next step. */
export interface CapturedEvents {
  within: Map<number, TraceEvent[]>;
  behind: Map<number, TraceEvent[]>;
}

/** Sorts the events of a capture by step. */
export function capturedEvents(text: string): CapturedEvents {
  const within = new Map<number, TraceEvent[]>();
  const behind = new Map<number, TraceEvent[]>();
  let current: TraceEvent[] = [];
  for (const event of traceEvents(text)) {
    if (event.name !== "tracing_mark_write") {
      current.push(event);
      continue;
    }
    const mark = /^STEP_(BEGIN|END) (\d+)/.exec(event.fields);
    if (mark === null) continue;
    current = [];
    (mark[1] === "BEGIN" ? within : behind).set(Number(mark[2]), current);
  }
  return { within, behind };
}

/** The events within each step of a capture, by the step's number. */
export function eventsByStep(text: string): Map<number, TraceEvent[]> {
  return capturedEvents(text).within;
}

/** The low bits of a swap entry are its offset in the area. */
const OFFSET_BITS = 58n;

/** Offset in the swap area of the entry that an event names. */
export function swapOffset(event: TraceEvent): number {
  const entry = /entry=0x([0-9a-f]+)/.exec(event.fields)?.[1] ?? "0";
  return Number(BigInt(`0x${entry}`) & ((1n << OFFSET_BITS) - 1n));
}

/** The number behind `label`, read in `radix`: `address 0x…`, `gfn …`. */
export function fieldOf(event: Pick<TraceEvent, "fields">, label: string, radix = 16): number {
  const at = event.fields.indexOf(label);
  if (at < 0) return Number.NaN;
  const text = event.fields.slice(at + label.length).replace(/^0x/, "");
  return Number.parseInt(text, radix);
}
