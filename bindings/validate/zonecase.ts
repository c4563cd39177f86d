// A page allocator of the core on its own, set up to a captured state, and its state read back in the capture's terms.

import type { Core, CoreFunctions } from "../core.js";
import { PagevisorError } from "../errors.js";
import {
  BLOCK_PAGES_MAX,
  NO_MAP,
  ORDERS,
  PAGEBLOCK_PAGES,
  PCP_LISTS,
  PCP_PAGEBLOCKS,
  type Pcp,
  pcpListType,
  TYPES,
  type Zone,
  type ZoneDump,
} from "./buddyfile.js";

/** What the core says where there is no pfn. */
export const PFN_END = 0xffff_ffff;

export type ZoneCaseCalls = Pick<CoreFunctions, Extract<keyof CoreFunctions, `zoneCase${string}`>>;

/** The part of the core that is used here; tests hand in their own. */
export interface ZoneCaseCore extends Pick<Core, "constant"> {
  readonly call: ZoneCaseCalls;
}

/** Counters of a zone after a step, by the capture's names. */
export interface Counters {
  ff: number;
  pcp: number;
  diff: number;
  nr_free: number;
  boost: number;
}

export class ZoneCase {
  readonly call: ZoneCaseCalls;
  private readonly zones: readonly Zone[];
  /** Frames that have a record: a bound for every list. */
  private readonly frames: number;
  private readonly fields: ReturnType<typeof fieldsOf>;

  /**
   * Sets the core up to the state of `zones`, which checkZones() has found good.
   *
   * @param prepare adds what works on the allocator; a negative status when it does not fit
   * @throws PagevisorError E_TOO_BIG
   */
  constructor(core: ZoneCaseCore, zones: readonly Zone[], prepare: () => number = () => 0) {
    this.call = core.call;
    this.fields = fieldsOf(core);
    this.zones = zones;
    const last = this.zones.at(-1)!;
    this.frames = Math.ceil((last.start_pfn + last.spanned) / BLOCK_PAGES_MAX) * BLOCK_PAGES_MAX;
    this.begin(prepare);
    for (const zone of this.zones) this.fill(zone);
  }

  private begin(prepare: () => number): void {
    const { call } = this;
    const fits = (status: number): void => {
      if (status >= 0) return;
      throw new PagevisorError("E_TOO_BIG", `${this.frames} page frames are more than one instance holds`);
    };
    fits(call.zoneCaseBegin(this.frames, this.zones[0]!.pcp.length));
    for (const { zone, start_pfn, spanned, present, managed, watermark } of this.zones) {
      const { min, low, high } = watermark;
      fits(call.zoneCaseZone(zone, start_pfn, spanned, present, managed, min, low, high));
    }
    fits(prepare());
    fits(call.zoneCaseReady());
  }

  private fill(zone: Zone): void {
    const { call } = this;
    const index = zone.zone;
    for (const [block, type] of zone.pageblock_mt.entries()) {
      if (type === NO_MAP) continue;
      const pfn = zone.pageblock_first_pfn + block * PAGEBLOCK_PAGES;
      call.zoneCaseBlock(index, pfn, type, zone.pageblock_movable[block]!);
    }
    for (const [highest, pages] of zone.lowmem_reserve.entries()) call.zoneCaseReserve(index, highest, pages);
    for (const [order, types] of zone.free_lists.entries()) {
      for (const [type, pfns] of types.entries()) {
        for (const pfn of pfns) call.zoneCaseFree(index, order, type, pfn);
      }
    }
    for (const pcp of zone.pcp) this.fillPcp(index, pcp);
    // Last: adding blocks counts them, and the counters are to be as captured.
    const { watermark_boost, nr_free_pages, nr_reserved_highatomic, flags } = zone;
    call.zoneCaseZoneState(index, watermark_boost, nr_free_pages, nr_reserved_highatomic, flags);
  }

  private fillPcp(index: number, pcp: Pcp): void {
    const { call } = this;
    const { cpu, batch, high, free_factor, stat_threshold, free_pages_diff, lists } = pcp;
    call.zoneCasePcp(index, cpu, batch, high, free_factor, stat_threshold, free_pages_diff);
    const remembered = rememberedTypes(pcp);
    for (const [list, pfns] of lists.entries()) {
      for (const pfn of pfns) {
        call.zoneCasePcpPage(index, cpu, list, pfn, remembered.get(pfn) ?? pcpListType(list));
      }
    }
  }

  /** Name of the zone that a page is in. */
  zoneName(pfn: number): string | null {
    const index = this.call.zoneCaseOf(pfn) >>> 0;
    return this.zones.find(({ zone }) => zone === index)?.name ?? null;
  }

  /** Entry `index` of a free list, or null when the list is shorter. */
  freeListEntry(zone: number, order: number, type: number, index: number): number | null {
    return this.listFrom(this.call.zoneCaseListHead(zone, order, type), index + 1)[index] ?? null;
  }

  counters(zone: number, cpu: number): Counters {
    const { NR_FREE, BOOST, PCP_FREE_FACTOR, PCP_COUNT, PCP_DIFF } = this.fields;
    return {
      ff: this.pcpField(zone, cpu, PCP_FREE_FACTOR),
      pcp: this.pcpField(zone, cpu, PCP_COUNT),
      diff: this.call.zoneCasePcpGet(zone, cpu, PCP_DIFF) | 0,
      nr_free: this.field(zone, NR_FREE),
      boost: this.field(zone, BOOST),
    };
  }

  /** The state in the form of a dump. What is constant during a case is what the core was set up with. */
  dump(): ZoneDump[] {
    return this.zones.map((zone) => this.dumpZone(zone));
  }

  private dumpZone(zone: Zone): ZoneDump {
    const { call } = this;
    const { BOOST, NR_FREE, HIGHATOMIC, FLAGS } = this.fields;
    const index = zone.zone;
    return {
      zone: index,
      name: zone.name,
      watermark: zone.watermark,
      watermark_boost: this.field(index, BOOST),
      nr_free_pages: this.field(index, NR_FREE),
      nr_reserved_highatomic: this.field(index, HIGHATOMIC),
      flags: this.field(index, FLAGS),
      pcp: zone.pcp.map((pcp) => this.dumpPcp(index, pcp)),
      free_lists: times(ORDERS, (order) => times(TYPES, (type) => this.freeList(index, order, type))),
      pageblock_mt: zone.pageblock_mt.map((type, block) => {
        if (type === NO_MAP) return NO_MAP;
        return call.zoneCaseBlockType(zone.pageblock_first_pfn + block * PAGEBLOCK_PAGES) >>> 0;
      }),
      pageblock_movable: zone.pageblock_movable,
    };
  }

  private dumpPcp(index: number, { cpu, stat_threshold }: Pcp): Pcp {
    const { call } = this;
    const { PCP_BATCH, PCP_HIGH, PCP_FREE_FACTOR, PCP_COUNT, PCP_DIFF } = this.fields;
    const lists = times(PCP_LISTS, (list) => this.listFrom(call.zoneCasePcpHead(index, cpu, list)));
    const types = lists.flatMap((pfns, list) =>
      pfns.map((pfn) => ({ list, pair: [pfn, call.zoneCasePageType(pfn) >>> 0] as [number, number] })),
    );
    return {
      cpu,
      batch: this.pcpField(index, cpu, PCP_BATCH),
      high: this.pcpField(index, cpu, PCP_HIGH),
      free_factor: this.pcpField(index, cpu, PCP_FREE_FACTOR),
      count: this.pcpField(index, cpu, PCP_COUNT),
      stat_threshold,
      free_pages_diff: call.zoneCasePcpGet(index, cpu, PCP_DIFF) | 0,
      lists,
      mt_exceptions: types
        .filter(({ list, pair }) => list < PCP_PAGEBLOCKS && pair[1] !== pcpListType(list))
        .map(({ pair }) => pair),
      thp_mt: types.filter(({ list }) => list >= PCP_PAGEBLOCKS).map(({ pair }) => pair),
    };
  }

  private field(zone: number, field: number): number {
    return this.call.zoneCaseGet(zone, field) >>> 0;
  }

  private pcpField(zone: number, cpu: number, field: number): number {
    return this.call.zoneCasePcpGet(zone, cpu, field) >>> 0;
  }

  /** The blocks of a free list, head first. */
  freeList(zone: number, order: number, type: number): number[] {
    return this.listFrom(this.call.zoneCaseListHead(zone, order, type));
  }

  /** The list that begins at `head`, at most its first `most` entries. */
  private listFrom(head: number, most = this.frames): number[] {
    const pfns: number[] = [];
    for (
      let pfn = head >>> 0;
      pfn !== PFN_END && pfns.length < most;
      pfn = this.call.zoneCaseNext(pfn) >>> 0
    ) {
      pfns.push(pfn);
    }
    return pfns;
  }
}

/** A captured per-CPU part in the form of ZoneCase.dump(): a type that the capture leaves out is the one that the list implies. */
export function completePcp(pcp: Pcp): Pcp {
  const remembered = rememberedTypes(pcp);
  const thp_mt = pcp.lists
    .slice(PCP_PAGEBLOCKS)
    .flatMap((pfns, place) =>
      pfns.map((pfn): [number, number] => [pfn, remembered.get(pfn) ?? pcpListType(PCP_PAGEBLOCKS + place)]),
    );
  return { ...pcp, thp_mt };
}

/** Migratetypes that the capture names, by pfn. */
function rememberedTypes({ mt_exceptions, thp_mt }: Pcp): Map<number, number> {
  return new Map([...mt_exceptions, ...thp_mt]);
}

function fieldsOf(core: ZoneCaseCore) {
  const of = (name: string): number => core.constant(`ZONE_CASE_${name}`);
  return {
    NR_FREE: of("NR_FREE"),
    BOOST: of("BOOST"),
    HIGHATOMIC: of("HIGHATOMIC"),
    FLAGS: of("FLAGS"),
    PCP_COUNT: of("PCP_COUNT"),
    PCP_FREE_FACTOR: of("PCP_FREE_FACTOR"),
    PCP_DIFF: of("PCP_DIFF"),
    PCP_HIGH: of("PCP_HIGH"),
    PCP_BATCH: of("PCP_BATCH"),
  };
}

function times<T>(count: number, make: (index: number) => T): T[] {
  return Array.from({ length: count }, (_, index) => make(index));
}
