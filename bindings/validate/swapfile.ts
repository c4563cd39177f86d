// The files of a capture of format mm-swap-1, as docs/validate.md describes them.

import * as v from "valibot";
import { whole } from "./shape.js";

const U32_MAX = 0xffff_ffff;
/** Pages of the process: the host of a case has memory for two of it. */
const PAGES_MAX = 2 ** 24;
/** Offsets of slots have 27 bits. */
const SLOTS_MAX = 2 ** 27;
const CPUS_MAX = 256;
/** MAX_SWAPFILES. */
const AREAS_MAX = 23;
const PRIORITY_MAX = 32767;
/** page_cluster is an exponent: windows of up to 32 pages are modelled. */
const PAGE_CLUSTER_MAX = 5;

const u32 = whole(0, U32_MAX);
const count = whole(-1, U32_MAX);
const entries = v.array(v.tuple([whole(0, AREAS_MAX), u32]));

const device = v.looseObject({
  type: whole(0, AREAS_MAX - 1),
  rotational: v.boolean(),
  synchronous: v.boolean(),
  slots: whole(2, SLOTS_MAX),
  prio: whole(-PRIORITY_MAX, PRIORITY_MAX),
});

/** case.json: the machine, the process and the areas in the order of swap-on. */
export const swapCaseSchema = v.looseObject({
  format: v.literal("mm-swap-1"),
  pages: whole(1, PAGES_MAX),
  guest: v.looseObject({ cpus: whole(1, CPUS_MAX), page_cluster: whole(0, PAGE_CLUSTER_MAX) }),
  devices: v.pipe(v.array(device), v.minLength(1), v.maxLength(AREAS_MAX)),
});
export type SwapCapture = v.InferOutput<typeof swapCaseSchema>;

const cpuState = v.looseObject({
  cpu: whole(0, CPUS_MAX - 1),
  nr: u32,
  cur: u32,
  slots: entries,
  ret: entries,
});

const percpuState = v.looseObject({
  cpu: whole(0, CPUS_MAX - 1),
  cluster: count,
  next: u32,
  cluster_next_cpu: u32,
});

const typeState = v.looseObject({
  type: whole(0, AREAS_MAX - 1),
  inuse: u32,
  lowest_bit: u32,
  highest_bit: u32,
  cluster_next: u32,
  cluster_nr: u32,
  percpu: v.optional(v.array(percpuState)),
  free_clusters: v.optional(v.array(u32)),
  cluster_counts: v.optional(v.array(count)),
  map: v.array(v.tuple([whole(0, 255), u32])),
});
export type TypeState = v.InferOutput<typeof typeState>;

const state = v.looseObject({
  nr_swap_pages: u32,
  slot_cache_active: whole(0, 1),
  avail: v.array(whole(0, AREAS_MAX - 1)),
  cpus: v.array(cpuState),
  types: v.array(typeState),
});
/** A snapshot of the swap allocator. */
export type SwapState = v.InferOutput<typeof state>;

/** One step. */
export const swapStepSchema = v.looseObject({
  i: u32,
  op: v.picklist([
    "map",
    "write",
    "read",
    "writes",
    "reads",
    "pageout",
    "pageouts",
    "free",
    "frees",
    "cpu",
    "fork",
    "reap",
    "settle",
    "snap",
  ]),
  args: v.optional(v.array(u32), []),
  first_vpn_mod_512: v.optional(whole(0, 511)),
  chg: v.optional(v.array(v.array(whole(-2, U32_MAX)))),
  vm: v.optional(v.record(v.string(), v.number())),
  state: v.optional(state),
});
export type SwapStep = v.InferOutput<typeof swapStepSchema>;
