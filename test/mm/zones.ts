// A page allocator on its own for the tests of assembly/mm: fresh zones, all free, driven through the core's exports.

import { readFileSync } from "node:fs";
import { Core } from "#dist/core.js";

export type Call = Record<string, (...args: number[]) => number>;

export const UNMOVABLE = 0x82000;
export const MOVABLE = 0x82008;
export const RECLAIMABLE = 0x82010;
export const ATOMIC = 0x2220;
export const NONE = 0xffffffff;
const MAX_ORDER = 11;
const TYPES = 5;

export interface ZoneShape {
  index: number;
  start: number;
  pages: number;
  /** MIN, LOW and HIGH; otherwise a small share of the pages. */
  marks?: readonly [min: number, low: number, high: number];
}

// The debug build, whose assertions are on.
const module = new WebAssembly.Module(readFileSync(new URL("../../../build/debug.wasm", import.meta.url)));

export class Zones {
  readonly call: Call;
  private readonly core = new Core(module);

  constructor(
    readonly zones: readonly ZoneShape[],
    readonly cpus: number,
    batch = 7,
    high = 60,
  ) {
    this.call = this.core.call as unknown as Call;
    const { call } = this;
    const end = Math.max(...zones.map(({ start, pages }) => start + pages));
    call.zoneCaseBegin!(Math.ceil(end / 1024) * 1024, cpus);
    for (const { index, start, pages, marks } of zones) {
      const least = Math.floor(pages / 64);
      const [min, low, high] = marks ?? [least, least + (least >> 2), least + (least >> 1)];
      call.zoneCaseZone!(index, start, pages, pages, pages, min, low, high);
    }
    call.zoneCaseReady!();
    for (const { index, start, pages } of zones) {
      for (let cpu = 0; cpu < cpus; cpu++) call.zoneCasePcp!(index, cpu, batch, high, 0, 4, 0);
      for (let pfn = start & ~511; pfn < start + pages; pfn += 512) call.zoneCaseBlock!(index, pfn, 1, 0);
      call.zoneCaseZoneState!(index, 0, pages, 0, 0);
      for (let pfn = start; pfn < start + pages; ) {
        let order = MAX_ORDER - 1;
        while (pfn % 2 ** order !== 0 || pfn + 2 ** order > start + pages) order--;
        call.zoneCaseFree!(index, order, 1, pfn);
        pfn += 2 ** order;
      }
    }
  }

  constant(name: string): number {
    return this.core.constant(name);
  }

  /** Every free block as "order:pfn", sorted: what the zone looks like whatever the order of its lists. */
  freeBlocks(): string[] {
    const blocks: string[] = [];
    for (const { index } of this.zones) {
      for (let order = 0; order < MAX_ORDER; order++) {
        for (let type = 0; type < TYPES; type++) {
          let pfn = this.call.zoneCaseListHead!(index, order, type) >>> 0;
          for (; pfn !== NONE; pfn = this.call.zoneCaseNext!(pfn) >>> 0) blocks.push(`${order}:${pfn}`);
        }
      }
    }
    return blocks.sort();
  }

  /** Pages on the CPUs' lists. */
  pcpPages(): number {
    const count = 0;
    let pages = 0;
    for (const { index } of this.zones) {
      for (let cpu = 0; cpu < this.cpus; cpu++) pages += this.call.zoneCasePcpGet!(index, cpu, count);
    }
    return pages;
  }

  drain(): void {
    for (let cpu = 0; cpu < this.cpus; cpu++) this.call.zoneCaseDrain!(cpu);
  }
}
