// The plain model beside the page allocator: which pages the script holds, with how many references, and the rules by which
// get_page(), put_page(), __free_pages(), split_page() and isolation change that. And the invariants that join it with the lists.

import * as assert from "uvu/assert";
import type { ListedBlock, Zones } from "./zones.js";

const HIGHATOMIC = 3;
const PAGEBLOCK_ORDER = 9;
const ORDER_MAX = 10;
const PCP_COUNT = 0;
const PCP_DIFF = 2;
const ZONE_NR_FREE = 0;

export interface Block {
  pfn: number;
  order: number;
  compound: boolean;
  refs: number;
}

export class Held {
  readonly blocks: Block[] = [];
  readonly isolated: Block[] = [];
  /** 1 where the script holds the page. */
  private readonly pages: Uint8Array;
  private readonly owners: Uint8Array;

  constructor(private readonly zones: Zones) {
    this.pages = new Uint8Array(zones.frames);
    this.owners = new Uint8Array(zones.frames);
  }

  private mark(pfn: number, pages: number, held: boolean): void {
    for (let page = pfn; page < pfn + pages; page++) {
      const wrong = this.pages[page] === (held ? 1 : 0);
      if (wrong) assert.unreachable(`page ${page} is ${held ? "handed out twice" : "not held"}`);
      this.pages[page] = held ? 1 : 0;
    }
  }

  alloc(cpu: number, order: number, gfp: number, compound: boolean): number {
    const pfn = this.zones.call.zoneCaseAlloc!(cpu, order, gfp) >>> 0;
    if (pfn === 0) return 0;
    this.mark(pfn, 2 ** order, true);
    const block = { pfn, order, compound: compound && order > 0, refs: 1 };
    this.blocks.push(block);
    this.checkBlock(block);
    return pfn;
  }

  /** get_page() of page `page` of a block; only the first of a block that is not compound has references. */
  get(pick: number, page: number): void {
    const block = this.blocks[pick % this.blocks.length];
    if (block === undefined) return;
    this.zones.call.zoneCaseGetPage!(block.pfn + (block.compound ? page % 2 ** block.order : 0));
    block.refs++;
    this.checkBlock(block);
  }

  /** put_page() of page `page` of a block; a larger block that is not compound can not be given back so. */
  put(cpu: number, pick: number, page: number): void {
    const block = this.blocks[pick % this.blocks.length];
    if (block === undefined) return;
    if (block.compound || block.order === 0) {
      this.zones.call.zoneCasePutPage!(cpu, block.pfn + (page % 2 ** block.order));
      this.dropped(block, 0);
    } else {
      this.free(cpu, pick);
    }
  }

  /** __free_pages(): with another holder, a block that is not compound shrinks to its first page. */
  free(cpu: number, pick: number): void {
    const block = this.blocks[pick % this.blocks.length];
    if (block === undefined) return;
    this.zones.call.zoneCaseFreePages!(cpu, block.pfn, block.order);
    this.dropped(block, block.compound ? 0 : block.order);
  }

  private dropped(block: Block, shrinks: number): void {
    block.refs--;
    if (block.refs === 0) {
      this.mark(block.pfn, 2 ** block.order, false);
      this.blocks.splice(this.blocks.indexOf(block), 1);
      return;
    }
    if (shrinks > 0) {
      this.mark(block.pfn + 1, 2 ** shrinks - 1, false);
      block.order = 0;
    }
    this.checkBlock(block);
  }

  /** split_page(); not of a compound page. */
  split(pick: number): void {
    const block = this.blocks[pick % this.blocks.length];
    if (block === undefined || block.compound) return;
    this.zones.call.zoneCaseSplit!(block.pfn, block.order);
    const pages = 2 ** block.order;
    block.order = 0;
    for (let page = 1; page < pages; page++) {
      this.blocks.push({ pfn: block.pfn + page, order: 0, compound: false, refs: 1 });
      this.checkBlock(this.blocks.at(-1)!);
    }
    this.checkBlock(block);
  }

  isolate(zone: number, order: number, type: number, entry: number): void {
    const pfn = this.zones.call.zoneCaseIsolate!(zone, order, type, entry);
    if (pfn <= 0) return; // refused, or no such entry
    this.mark(pfn, 2 ** order, true);
    this.isolated.push({ pfn, order, compound: false, refs: 0 });
    this.checkBlock(this.isolated.at(-1)!);
  }

  putback(pick: number): void {
    const [block] = this.isolated.splice(pick % this.isolated.length, 1);
    if (block === undefined) return;
    this.mark(block.pfn, 2 ** block.order, false);
    this.zones.call.zoneCasePutback!(block.pfn, block.order);
  }

  giveAllBack(): void {
    for (let pick = 0; this.blocks.length > 0; pick += 7) this.free(pick % this.zones.cpus, pick);
    while (this.isolated.length > 0) this.putback(0);
    this.zones.drain();
  }

  /** The core's records of a block: references in the first page, every page of a compound one knows it. */
  private checkBlock({ pfn, order, compound, refs }: Block): void {
    const { call } = this.zones;
    assert.is(call.zoneCaseRefs!(pfn), refs, `references of page ${pfn}`);
    assert.is(call.zoneCaseCompoundOrder!(pfn), compound ? order : 0, `order of page ${pfn}`);
    for (let page = pfn + 1; page < pfn + 2 ** order; page++) {
      const sound = call.zoneCaseHead!(page) === (compound ? pfn : page) && call.zoneCaseRefs!(page) === 0;
      if (!sound) assert.unreachable(`page ${page} behind ${pfn} of order ${order}`);
    }
  }

  private own({ pfn, order }: ListedBlock): void {
    for (let page = pfn; page < pfn + 2 ** order; page++) {
      if (this.owners[page] !== 0) assert.unreachable(`page ${page} has two owners`);
      this.owners[page] = 1;
    }
  }

  /** Every page has one owner, the counters are those of the lists, and no two free buddies stand unmerged. */
  check(): void {
    const { zones } = this;
    zones.call.zoneCaseCheck!(); // the debug core walks its own structures
    this.owners.set(this.pages);
    const free = zones.free();
    for (const block of free) this.own(block);
    this.checkUnmerged(free);
    const pages = new Map(zones.zones.map(({ index }) => [index, { free: 0, counted: 0 }]));
    for (const { zone, order } of free) pages.get(zone)!.free += 2 ** order;
    for (const { index } of zones.zones) {
      pages.get(index)!.counted = zones.call.zoneCaseGet!(index, ZONE_NR_FREE);
    }
    for (let cpu = 0; cpu < zones.cpus; cpu++) {
      const listed = new Map(zones.zones.map(({ index }) => [index, 0]));
      for (const block of zones.listed(cpu)) {
        this.own(block);
        listed.set(block.zone, listed.get(block.zone)! + 2 ** block.order);
      }
      for (const [zone, count] of listed) {
        assert.is(
          zones.call.zoneCasePcpGet!(zone, cpu, PCP_COUNT),
          count,
          `zone ${zone}: pages of CPU ${cpu}`,
        );
        pages.get(zone)!.counted += zones.call.zoneCasePcpGet!(zone, cpu, PCP_DIFF);
      }
    }
    for (const [zone, { free, counted }] of pages) assert.is(counted, free, `zone ${zone}: free pages`);
    for (const { start, pages } of zones.zones) {
      const lost = this.owners.indexOf(0, start);
      if (lost >= 0 && lost < start + pages) assert.unreachable(`page ${lost} has no owner`);
    }
  }

  /**
   * Free buddies are one block, but where a pageblock set aside for atomic requests keeps them apart: it counts what the pageblock
   * is, also while its pages stand on the list of what it was when they were freed.
   */
  private checkUnmerged(free: readonly ListedBlock[]): void {
    const blocks = new Map(free.map((block) => [block.pfn, block]));
    for (const { zone, pfn, order, list } of free) {
      const buddy = order === ORDER_MAX ? undefined : blocks.get(pfn ^ (2 ** order));
      if (buddy?.order !== order || buddy.zone !== zone) continue;
      const types = [
        list,
        buddy.list,
        ...[pfn, buddy.pfn].map((at) => this.zones.call.zoneCaseBlockType!(at)),
      ];
      const apart = order >= PAGEBLOCK_ORDER && types.includes(HIGHATOMIC);
      assert.ok(apart, `buddies ${pfn} and ${buddy.pfn} of order ${order} stand unmerged`);
    }
  }
}
