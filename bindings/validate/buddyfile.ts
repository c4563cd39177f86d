// The files of a capture of format mm-buddy-1, as docs/validate.md describes them, and the check that the state makes sense: the core
// trusts what it is set up with.

import * as v from "valibot";
import { whole, wrongShape } from "./shape.js";

const U32_MAX = 0xffff_ffff;
const I32_MAX = 0x7fff_ffff;
/** Frames of 1 TiB: more than an instance holds. */
const PFN_MAX = 2 ** 28;

/** MAX_ORDER: orders 0..10. */
export const ORDERS = 11;
/** MIGRATE_TYPES without CMA: unmovable, movable, reclaimable, highatomic, isolate. */
export const TYPES = 5;
export const PAGEBLOCK_ORDER = 9;
export const PAGEBLOCK_PAGES = 512;
/** Pages of the largest block. */
export const BLOCK_PAGES_MAX = 1024;
/** NR_PCP_LISTS: three types of orders 0..3, then two lists of pageblocks. */
export const PCP_LISTS = 14;
/** The first of the lists of pageblocks. */
export const PCP_PAGEBLOCKS = 12;
/** The type that stands for a pageblock without a memory map. */
export const NO_MAP = 255;

const ZONES_MAX = 4;
const CPUS_MAX = 256;
const RESERVES_MAX = 5;

const u32 = whole(0, U32_MAX);
const i32 = whole(-I32_MAX, I32_MAX);
const pfn = whole(0, PFN_MAX);
const order = whole(0, ORDERS - 1);
const type = whole(0, TYPES - 1);
const pairs = v.optional(v.array(v.tuple([pfn, type])), []);

const pcp = v.object({
  cpu: whole(0, CPUS_MAX - 1),
  batch: whole(1, I32_MAX),
  high: u32,
  free_factor: u32,
  count: u32,
  stat_threshold: u32,
  free_pages_diff: i32,
  lists: v.pipe(v.array(v.array(pfn)), v.length(PCP_LISTS)),
  mt_exceptions: pairs,
  thp_mt: pairs,
});

/** What a zone's state is in the beginning and in every dump. */
const changing = {
  zone: whole(0, ZONES_MAX - 1),
  name: v.string(),
  watermark: v.object({ min: u32, low: u32, high: u32, promo: v.optional(u32) }),
  watermark_boost: u32,
  nr_free_pages: u32,
  nr_reserved_highatomic: u32,
  flags: u32,
  pcp: v.pipe(v.array(pcp), v.minLength(1), v.maxLength(CPUS_MAX)),
  free_lists: v.pipe(v.array(v.pipe(v.array(v.array(pfn)), v.length(TYPES))), v.length(ORDERS)),
  pageblock_mt: v.array(v.union([type, v.literal(NO_MAP)])),
  pageblock_movable: v.array(whole(0, PAGEBLOCK_PAGES)),
};

export const zoneSchema = v.object({
  ...changing,
  start_pfn: pfn,
  spanned: pfn,
  present: pfn,
  managed: pfn,
  lowmem_reserve: v.pipe(v.array(u32), v.maxLength(RESERVES_MAX)),
  pageblock_first_pfn: pfn,
});

export const zonesSchema = v.pipe(v.array(zoneSchema), v.minLength(1), v.maxLength(ZONES_MAX));

export const caseSchema = v.object({
  step_zone: v.string(),
  initial: zonesSchema,
});

const common = {
  i: whole(0, Number.MAX_SAFE_INTEGER),
  cpu: v.optional(whole(0, CPUS_MAX - 1), 0),
};

/** The counters of `step_zone` after a step. */
const counters = {
  ff: u32,
  pcp: u32,
  diff: i32,
  nr_free: u32,
  boost: v.optional(u32, 0),
};

/** What a step on a block came to: no pfn where there was none, `err` where it did not happen, `zone` if not `step_zone`. */
const outcome = {
  slot: u32,
  pfn: v.nullable(pfn),
  err: v.optional(v.string()),
  zone: v.optional(v.string()),
};

export const stepSchema = v.variant("op", [
  v.object({ ...common, ...counters, ...outcome, op: v.literal("alloc"), order, gfp: u32 }),
  v.object({ ...common, ...counters, ...outcome, op: v.literal("free") }),
  v.object({ ...common, ...counters, ...outcome, op: v.literal("split"), first: u32 }),
  v.object({ ...common, ...counters, op: v.literal("drain") }),
  v.object({ ...common, ...counters, ...outcome, op: v.literal("isolate"), order, mt: type, index: u32 }),
  v.object({ ...common, ...counters, ...outcome, op: v.literal("putback") }),
  v.object({ ...common, op: v.literal("dump"), state: v.array(v.object(changing)) }),
]);

export type BuddyCase = v.InferOutput<typeof caseSchema>;
export type Zone = v.InferOutput<typeof zoneSchema>;
export type Pcp = v.InferOutput<typeof pcp>;
export type BuddyStep = v.InferOutput<typeof stepSchema>;
export type ZoneDump = Extract<BuddyStep, { op: "dump" }>["state"][number];

/** Order of the blocks of a per-CPU list. */
export function pcpListOrder(list: number): number {
  return list < PCP_PAGEBLOCKS ? Math.floor(list / 3) : PAGEBLOCK_ORDER;
}

/** The migratetype that a per-CPU list implies for its blocks; of the two of pageblocks the second is the movable one. */
export function pcpListType(list: number): number {
  return list < PCP_PAGEBLOCKS ? list % 3 : list - PCP_PAGEBLOCKS;
}

/**
 * Refuses a state that no kernel can be in: zones out of order, CPUs that are not the same everywhere, blocks outside their zone or
 * not aligned, a page in two free blocks, a count that is not that of its lists.
 *
 * @param where the part of the case that holds the state
 * @param key its path there
 * @throws PagevisorError E_FILE
 */
export function checkZones(zones: readonly Zone[], where: string, key: string): void {
  const cpus = zones[0]!.pcp.length;
  let end = 0;
  for (const [index, zone] of zones.entries()) {
    const refuse = (path: string, wrong: string): never => {
      throw wrongShape(where, `${key}[${index}].${path}`, wrong);
    };
    if (index > 0 && zone.zone <= zones[index - 1]!.zone)
      refuse("zone", "zones come in the order of their numbers");
    if (zone.start_pfn < end) refuse("start_pfn", "inside the zone before");
    end = zone.start_pfn + zone.spanned;

    const first = zone.start_pfn - (zone.start_pfn % PAGEBLOCK_PAGES);
    if (zone.pageblock_first_pfn !== first) refuse("pageblock_first_pfn", `expected ${first}`);
    const blocks = Math.ceil((end - first) / PAGEBLOCK_PAGES);
    for (const key of ["pageblock_mt", "pageblock_movable"] as const) {
      if (zone[key].length !== blocks)
        refuse(key, `expected ${blocks} pageblocks, found ${zone[key].length}`);
    }
    if (zone.pcp.length !== cpus || zone.pcp.some(({ cpu }, place) => cpu !== place)) {
      refuse("pcp", `expected CPUs 0..${cpus - 1} in order, as in the first zone`);
    }
    checkBlocks(zone, refuse);
  }
}

/** checkZones() of a case, whose steps report the counters of a zone that must be there. */
export function checkState({ initial, step_zone }: BuddyCase): void {
  checkZones(initial, "case.json", "initial");
  if (!initial.some(({ name }) => name === step_zone)) {
    throw wrongShape("case.json", "step_zone", `"${step_zone}" is none of the zones in "initial"`);
  }
}

function checkBlocks(zone: Zone, refuse: (path: string, wrong: string) => never): void {
  const free = new Uint8Array(zone.spanned);
  const take = (pfn: number, order: number, path: string): void => {
    const offset = pfn - zone.start_pfn;
    const pages = 2 ** order;
    if (offset < 0 || offset + pages > zone.spanned) refuse(path, `block ${pfn} is outside the zone`);
    if (pfn % pages !== 0) refuse(path, `block ${pfn} is not aligned to its order ${order}`);
    const part = free.subarray(offset, offset + pages);
    if (part.includes(1)) refuse(path, `block ${pfn} overlaps another free block`);
    part.fill(1);
  };
  for (const [order, types] of zone.free_lists.entries()) {
    for (const [type, pfns] of types.entries()) {
      for (const pfn of pfns) take(pfn, order, `free_lists[${order}][${type}]`);
    }
  }
  for (const [cpu, { count, lists }] of zone.pcp.entries()) {
    let pages = 0;
    for (const [list, pfns] of lists.entries()) {
      pages += pfns.length * 2 ** pcpListOrder(list);
      for (const pfn of pfns) take(pfn, pcpListOrder(list), `pcp[${cpu}].lists[${list}]`);
    }
    if (count !== pages) refuse(`pcp[${cpu}].count`, `${count} is not the ${pages} pages on the lists`);
  }
}

/** Does a zone hold the block of `order` at `pfn`? */
export function inZones(zones: readonly Zone[], pfn: number, order = 0): boolean {
  return zones.some(({ start_pfn, spanned }) => pfn >= start_pfn && pfn + 2 ** order <= start_pfn + spanned);
}
