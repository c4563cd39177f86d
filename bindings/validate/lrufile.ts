// The files of a capture of format mm-lru-1, as docs/validate.md describes them.

import * as v from "valibot";
import { whole } from "./shape.js";

const U32_MAX = 0xffff_ffff;
const PAGES_MAX = 2 ** 24;
const CPUS_MAX = 256;
const SLOTS_MAX = 2 ** 27;
const SWAPPINESS_MAX = 200;
const u32 = whole(0, U32_MAX);

/** case.json: the machine, the process and its cgroup. */
export const lruCaseSchema = v.looseObject({
  format: v.literal("mm-lru-1"),
  lru: v.string(),
  pages: whole(1, PAGES_MAX),
  guest: v.looseObject({
    cpus: whole(1, CPUS_MAX),
    page_cluster: whole(0, 5),
    swappiness: whole(0, SWAPPINESS_MAX),
  }),
  swap_pages: whole(1, SLOTS_MAX - 1),
});
export type LruCapture = v.InferOutput<typeof lruCaseSchema>;

/** [page, flags]; page −1 belongs to another process. */
const pages = v.array(v.tuple([whole(-1, U32_MAX), u32]));

const state = v.looseObject({
  anon_cost: u32,
  file_cost: u32,
  nonresident_age: u32,
  refaults: v.optional(v.array(u32)),
  batches: v.array(v.looseObject({ cpu: whole(0, CPUS_MAX - 1), lru_add: pages })),
  lists: v.looseObject({ inactive_anon: pages, active_anon: pages }),
});
/** A dump of the cgroup's lists. */
export type LruState = v.InferOutput<typeof state>;

/** One step. Only the dumps of the two lists have a shape that is read; others are passed over. */
export const lruStepSchema = v.looseObject({
  i: u32,
  op: v.picklist(["map", "join", "write", "read", "writes", "reads", "echo", "settle", "lru"]),
  args: v.optional(v.array(u32), []),
  file: v.optional(v.string()),
  value: v.optional(whole(0, Number.MAX_SAFE_INTEGER)),
  chg: v.optional(v.array(v.array(whole(-2, U32_MAX)))),
  vm: v.optional(v.record(v.string(), v.number())),
  state: v.optional(state),
});
export type LruStep = v.InferOutput<typeof lruStepSchema>;
