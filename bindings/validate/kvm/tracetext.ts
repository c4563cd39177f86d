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

/** The events of each step of a capture: those between its STEP_BEGIN and STEP_END marks, by the step's number. */
export function eventsByStep(text: string): Map<number, TraceEvent[]> {
  const steps = new Map<number, TraceEvent[]>();
  let current: TraceEvent[] | undefined;
  for (const event of traceEvents(text)) {
    if (event.name !== "tracing_mark_write") {
      current?.push(event);
      continue;
    }
    const begin = /^STEP_BEGIN (\d+)/.exec(event.fields);
    if (begin !== null) {
      current = [];
      steps.set(Number(begin[1]), current);
    } else if (event.fields.startsWith("STEP_END")) {
      current = undefined;
    }
  }
  return steps;
}

/** The number behind `label`, read in `radix`: `address 0x…`, `gfn …`. */
export function fieldOf(event: TraceEvent, label: string, radix = 16): number {
  const at = event.fields.indexOf(label);
  if (at < 0) return Number.NaN;
  const text = event.fields.slice(at + label.length).replace(/^0x/, "");
  return Number.parseInt(text, radix);
}
