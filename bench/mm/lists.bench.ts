// Reclaim by the two lists and by generation lists over zipf streams, at a limit of a tenth of the pages, beside plain TypeScript over
// typed arrays on the same stream. The core runs the whole of it: the page table, frames, swap slots, the swap cache, steps in time.

import { Core } from "#dist/core.js";
import { SwapCase } from "#dist/validate/swapcase.js";
import { PlainGenerations } from "../baseline/generations.js";
import type { PlainReclaim } from "../baseline/reclaim.js";
import { PlainTwoList } from "../baseline/twolist.js";
import { median, race, speedup } from "../measure.js";
import { POLICY_STREAMS, type PolicyStream } from "../policy/policies.bench.js";
import { figure, percent, ratio, type Setting, type SuiteReport, table } from "../report.js";
import { popularityStream } from "../streams.js";

export const KINDS = ["two-list", "mglru"] as const;
export type Kind = (typeof KINDS)[number];

type Call = Record<string, (...args: number[]) => number>;

interface ListResult {
  kind: Kind;
  stream: string;
  swapIns: number;
  millionsPerSecond: number;
  timesPlain: number;
}

/** A process of the core at its limit. */
export class CoreLists {
  private readonly call: Call;
  private readonly core: Core;
  private readonly process: SwapCase;
  private readonly room: number;

  constructor(module: WebAssembly.Module, kind: Kind, { pages, references }: PolicyStream, limit: number) {
    this.core = new Core(module);
    this.call = this.core.call as unknown as Call;
    const slots = 2 * pages + 4096;
    const device = { type: 0, rotational: false, synchronous: true, usable_pages: slots - 1, slots, prio: 0 };
    const captured = { pages, guest: { cpus: 1, page_cluster: 0 }, devices: [device] };
    this.process = new SwapCase(
      this.core,
      captured as unknown as ConstructorParameters<typeof SwapCase>[1],
      0,
    );
    if (kind === "mglru") this.call.lrucaseGenerations!();
    this.room = this.call.lrucaseRoom!(references) >>> 0;
    this.call.lrucaseMax!(limit);
  }

  /** Puts the stream in place. */
  take(words: Uint32Array): void {
    this.core.u32(this.room, words.length).set(words);
  }

  run(words: number): void {
    this.call.lrucaseRun!(this.room, words);
  }

  check(): void {
    this.process.check();
  }

  counters(): { swappedIn: number; swappedOut: number } {
    return this.process.counters();
  }
}

export function plainLists(kind: Kind, pages: number, limit: number): PlainReclaim {
  return kind === "mglru" ? new PlainGenerations(pages, limit) : new PlainTwoList(pages, limit);
}

function measured(kind: Kind, stream: PolicyStream, { module }: Setting): ListResult {
  const words = popularityStream(stream.references, stream.pages, stream.theta);
  const limit = Math.floor(stream.pages / 10);
  const own = new CoreLists(module, kind, stream, limit);
  const plain = plainLists(kind, stream.pages, limit);
  own.take(words);
  own.run(words.length);
  plain.run(words);
  const before = own.counters().swappedIn;
  own.run(words.length);
  const swapIns = (own.counters().swappedIn - before) / words.length;
  const [ours, theirs] = race([
    { name: kind, run: () => own.run(words.length) },
    { name: `${kind}, plain`, run: () => plain.run(words) },
  ]) as [number[], number[]];
  return {
    kind,
    stream: stream.name,
    swapIns,
    millionsPerSecond: stream.references / median(ours) / 1e6,
    timesPlain: speedup(ours, theirs),
  };
}

export async function lists(setting: Setting): Promise<SuiteReport> {
  const rows = POLICY_STREAMS.flatMap((stream) => KINDS.map((kind) => measured(kind, stream, setting)));
  const columns = [
    { head: "lists", align: "left" as const, cell: (row: ListResult) => row.kind },
    { head: "stream", align: "left" as const, cell: (row: ListResult) => row.stream },
    { head: "swap-ins", cell: (row: ListResult) => percent(row.swapIns) },
    { head: "M references/s", cell: (row: ListResult) => figure(row.millionsPerSecond) },
    { head: "times plain TypeScript", cell: (row: ListResult) => ratio(row.timesPlain) },
  ];
  const note =
    "The plain version decides and does nothing else: no frames, page tables, swap slots, swap cache, lagging counters, steps in time.";
  return {
    title: "Lists of Linux: writes a CPU second, memory for a tenth of the pages",
    rows,
    text: [...table(columns, rows), "", note],
  };
}
