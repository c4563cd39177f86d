// Generation lists over zipf streams in memory of a tenth of the pages: a process that writes its pages under the limit of its cgroup, swap
// that takes no time. Beside the core, which has page tables, a page allocator and swap slots behind it, the same lists in plain
// TypeScript over typed arrays.

import { Core } from "#dist/core.js";
import { PlainGenerations } from "../baseline/generations.js";
import { median, race, speedup } from "../measure.js";
import { POLICY_STREAMS, type PolicyStream } from "../policy/policies.bench.js";
import { figure, percent, ratio, type Setting, type SuiteReport, table } from "../report.js";
import { popularityStream } from "../streams.js";

interface MglruResult {
  stream: string;
  missRatio: number;
  millionsPerSecond: number;
  timesPlain: number;
}

/** Both over one stream: each call runs it once more and goes on from where the last has left the lists. */
export class MglruContenders {
  private readonly words: Uint32Array;
  private readonly core: Core;
  private readonly at: number;
  private readonly lists: PlainGenerations;

  constructor(module: WebAssembly.Module, { pages, theta, references }: PolicyStream) {
    this.words = popularityStream(references, pages, theta);
    const limit = Math.floor(pages / 10);
    this.core = new Core(module);
    const { call } = this.core;
    let failed = call.swapcaseHost(pages, 1, 0, 1);
    failed += call.swapcaseArea(2 * pages + 2000, 0, this.core.constant("DEVICE_SYNCHRONOUS"));
    this.at = call.lrucaseRoom(references);
    failed += call.swapcaseStart() + call.lrucaseGenerations();
    if (failed !== 0) throw new Error(`${pages} pages do not fit`);
    call.lrucaseMax(limit);
    this.core.u32(this.at, references).set(this.words);
    this.lists = new PlainGenerations(pages, limit);
  }

  runCore(): void {
    this.core.call.lrucaseRun(this.at, this.words.length);
  }

  runPlain(): void {
    this.lists.run(this.words);
  }

  /** Pages evicted, and pages that came back, by the core and by the plain lists. */
  get counts(): { core: [number, number]; plain: [number, number] } {
    const { call } = this.core;
    return {
      core: [call.lrucaseMoved(1), call.lrucaseMoved(0)],
      plain: [this.lists.swappedOut, this.lists.swappedIn],
    };
  }
}

export async function mglru({ module }: Setting): Promise<SuiteReport> {
  const rows = POLICY_STREAMS.map((stream): MglruResult => {
    const both = new MglruContenders(module, stream);
    const [own, plain] = race([
      { name: "mglru", run: () => both.runCore() },
      { name: "mglru, plain", run: () => both.runPlain() },
    ]) as [number[], number[]];
    const before = both.counts.core[1];
    both.runCore();
    return {
      stream: stream.name,
      missRatio: (both.counts.core[1] - before) / stream.references,
      millionsPerSecond: stream.references / median(own) / 1e6,
      timesPlain: speedup(own, plain),
    };
  });
  const columns = [
    { head: "stream", align: "left" as const, cell: (row: MglruResult) => row.stream },
    { head: "misses", cell: (row: MglruResult) => percent(row.missRatio) },
    { head: "M references/s", cell: (row: MglruResult) => figure(row.millionsPerSecond) },
    { head: "times plain TypeScript", cell: (row: MglruResult) => ratio(row.timesPlain) },
  ];
  const note =
    "The core walks and fills page tables, allocates frames and swap slots; the plain version has the lists alone.";
  return {
    title: "Generation lists: references a CPU second, a limit of a tenth of the pages",
    rows,
    text: [...table(columns, rows), "", note],
  };
}
