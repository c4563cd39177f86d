// The host's side of a capture that holds a guest's requests: a machine of its own whose balloon device gets the same requests, and what it drops.

import { bootCore } from "../boot.js";
import { Core } from "../core.js";
import { resolveScenario } from "../scenario.js";
import { traceEvents } from "../tracepoints.js";

const PAGE_BYTES = 4096;
const RECORDS = 4096;
const RANGE = /range: 0x([0-9a-f]+) -- 0x([0-9a-f]+)/;

/** A block of 2^order pages. */
export type Block = [gfn: number, order: number];

/** A host with one guest of `pages` pages, whose requests are reports, or inflations and deflations of the balloon. */
export class HostCase {
  private readonly core: Core;
  private read: number;

  constructor(
    module: WebAssembly.Module,
    pages: number,
    private readonly sort: "reports" | "balloon",
  ) {
    this.core = new Core(module);
    const design = sort === "reports" ? "reporting" : "off";
    const scenario = resolveScenario({
      host: { memory: "64MiB" },
      vms: [
        {
          name: "guest",
          memory: pages * PAGE_BYTES,
          guest: { freePages: { design }, balloon: {}, tasks: [] },
        },
      ],
      trace: { events: ["kvm_unmap_hva_range"], capacity: RECORDS },
    });
    bootCore(this.core, scenario, new Map());
    this.core.call.machineSetTimeLimit(Number.POSITIVE_INFINITY);
    this.read = this.core.call.reportTraceWritten();
  }

  /** What the host drops, in that order, when it gets a report of `blocks`. */
  report(blocks: readonly Block[]): Block[] {
    return this.answer(blocks.flat(), blocks.length, false);
  }

  /** The pages that it drops when it gets an inflation, or a deflation, of `gfns`. */
  pages(gfns: readonly number[], deflates: boolean): number[] {
    return this.answer(gfns, gfns.length, deflates).map(([gfn, order]) => (order === 0 ? gfn : -1));
  }

  private answer(words: readonly number[], count: number, deflates: boolean): Block[] {
    const { call } = this.core;
    this.core.u32(call.deviceCaseRequest(), words.length).set(words);
    call.deviceCaseSend(Number(this.sort === "reports"), Number(deflates), count);
    // Event by event: the guest's own report, due two seconds later, stays out.
    while (call.deviceCaseBusy() !== 0) call.machineRun(1, 1);
    const { events } = traceEvents(this.core, this.read, 0, []);
    this.read = call.reportTraceWritten();
    const base = call.deviceCaseHva();
    return events.map(({ text }) => {
      const [start, end] = RANGE.exec(text)!
        .slice(1)
        .map((hex) => Number.parseInt(hex, 16)) as [number, number];
      return [(start - base) / PAGE_BYTES, Math.log2((end - start) / PAGE_BYTES)];
    });
  }
}

/** Pages of a guest whose zones are these. */
export function pagesOf(zones: readonly { start_pfn: number; spanned: number }[]): number {
  return Math.max(...zones.map(({ start_pfn, spanned }) => start_pfn + spanned));
}
