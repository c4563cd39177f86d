// A page allocator on its own for the tests of assembly/mm: fresh zones, all free, driven through the core's exports.

import { readFileSync } from "node:fs";
import { Core } from "#dist/core.js";

export type Call = Record<string, (...args: number[]) => number>;

export const UNMOVABLE = 0x82000;
export const MOVABLE = 0x82008;
export const RECLAIMABLE = 0x82010;
export const ATOMIC = 0x2220;
/** Added to any of them: __GFP_COMP. */
export const COMPOUND = 0x40000;
export const NONE = 0xffffffff;
const MAX_ORDER = 11;
const TYPES = 5;
const PCP_LISTS = 14;

export interface ZoneShape {
  index: number;
  start: number;
  pages: number;
  /** MIN, LOW and HIGH; otherwise a share of the pages (Limits). */
  marks?: readonly [min: number, low: number, high: number];
}

// The debug build, whose assertions are on.
const module = new WebAssembly.Module(readFileSync(new URL("../../../build/debug.wasm", import.meta.url)));

/** A block on a list of a zone or of a CPU. */
export interface ListedBlock {
  zone: number;
  pfn: number;
  order: number;
  /** Migratetype of the free list, or number of the per-CPU list. */
  list: number;
}

/** How the CPUs' lists are sized, and how much must stay free of a zone. */
export interface Limits {
  batch: number;
  high: number;
  threshold: number;
  /** The share of a zone that MIN is, 1/`watermark`; 0 for no watermarks. */
  watermark: number;
}

const LIMITS: Limits = { batch: 7, high: 60, threshold: 4, watermark: 64 };

export class Zones {
  readonly call: Call;
  private readonly core = new Core(module);

  constructor(
    readonly zones: readonly ZoneShape[],
    readonly cpus: number,
    limits: Partial<Limits> = {},
    prepare: (call: Call) => unknown = () => {},
  ) {
    const { batch, high, threshold, watermark } = { ...LIMITS, ...limits };
    this.call = this.core.call as unknown as Call;
    const { call } = this;
    call.zoneCaseBegin!(this.frames, cpus);
    for (const { index, start, pages, marks } of zones) {
      const least = watermark === 0 ? 0 : Math.floor(pages / watermark);
      const [min, low, high] = marks ?? [least, least + (least >> 2), least + (least >> 1)];
      call.zoneCaseZone!(index, start, pages, pages, pages, min, low, high);
    }
    prepare(call);
    call.zoneCaseReady!();
    for (const { index, start, pages } of zones) {
      for (let cpu = 0; cpu < cpus; cpu++) call.zoneCasePcp!(index, cpu, batch, high, 0, threshold, 0);
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

  /** A copy of `length` words of the core's memory. */
  words(address: number, length: number): Uint32Array {
    return this.core.u32(address, length).slice();
  }

  constant(name: string): number {
    return this.core.constant(name);
  }

  /** Frames that have a record: whole largest blocks. */
  get frames(): number {
    return Math.ceil(Math.max(...this.zones.map(({ start, pages }) => start + pages)) / 1024) * 1024;
  }

  get pages(): number {
    return this.zones.reduce((sum, { pages }) => sum + pages, 0);
  }

  private read(into: ListedBlock[], first: number, zone: number, order: number, list: number): void {
    for (let pfn = first >>> 0; pfn !== NONE; pfn = this.call.zoneCaseNext!(pfn) >>> 0) {
      into.push({ zone, pfn, order, list });
    }
  }

  /** The free blocks of all zones, in the order of their lists. */
  free(): ListedBlock[] {
    const blocks: ListedBlock[] = [];
    for (const { index } of this.zones) {
      for (let order = 0; order < MAX_ORDER; order++) {
        for (let type = 0; type < TYPES; type++) {
          this.read(blocks, this.call.zoneCaseListHead!(index, order, type), index, order, type);
        }
      }
    }
    return blocks;
  }

  /** The blocks on the lists of one CPU, zone by zone. */
  listed(cpu: number): ListedBlock[] {
    const blocks: ListedBlock[] = [];
    for (const { index } of this.zones) {
      for (let list = 0; list < PCP_LISTS; list++) {
        const order = list < 12 ? Math.floor(list / 3) : 9;
        this.read(blocks, this.call.zoneCasePcpHead!(index, cpu, list), index, order, list);
      }
    }
    return blocks;
  }

  /** Every free block as "order:pfn", sorted: what the zone looks like whatever the order of its lists. */
  freeBlocks(): string[] {
    return this.free()
      .map(({ order, pfn }) => `${order}:${pfn}`)
      .sort();
  }

  drain(): void {
    for (let cpu = 0; cpu < this.cpus; cpu++) this.call.zoneCaseDrain!(cpu);
  }
}
