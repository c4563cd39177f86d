import { PFN_NONE } from "../memory/layout";
import { actorClock, actorCpu } from "../sim/actor";
import { emit, TRACE_MM_PAGE_ALLOC } from "../sim/trace";
import { gfpMigratetype } from "./gfp";
import { kswapdWake } from "./kswapd";
import { PG_SLAB, pageOf, setPageFlags } from "./page";
import { fastFlags, pageFromFreelist, slowFlags } from "./pagealloc";

// Objects of one size that the kernel keeps for itself (a kmem_cache): so many to a frame. A request that must not wait (GFP_NOWAIT,
// GFP_ATOMIC) is refused when every object is in use and no frame can be had above its watermark. Left out: giving frames back, lists of
// each CPU.
//
// record   0          4      8
//          +----------+------+--------+
//          | perFrame | used | frames |
//          +----------+------+--------+
//
// invariant: used <= perFrame * frames

const PER_FRAME: usize = 0;
const USED: usize = 4;
const FRAMES: usize = 8;
export const SLAB_BYTES: usize = 12;

export function slabInit(slab: usize, perFrame: u32): void {
  store<u32>(slab, perFrame, PER_FRAME);
  store<u32>(slab, 0, USED);
  store<u32>(slab, 0, FRAMES);
}

/** Takes an object without waiting (kmem_cache_alloc()); `gfp` must not allow reclaim by the caller. False: refused. */
export function slabTake(slab: usize, mm: usize, actor: usize, gfp: u32): bool {
  const used = load<u32>(slab, USED);
  if (used === load<u32>(slab, PER_FRAME) * load<u32>(slab, FRAMES) && !grow(slab, mm, actor, gfp))
    return false;
  store<u32>(slab, used + 1, USED);
  return true;
}

export function slabGive(slab: usize): void {
  assert(load<u32>(slab, USED) > 0);
  store<u32>(slab, load<u32>(slab, USED) - 1, USED);
}

function grow(slab: usize, mm: usize, actor: usize, gfp: u32): bool {
  const cpu = actorCpu(actor);
  let pfn = pageFromFreelist(mm, cpu, 0, gfp, fastFlags(mm, gfp));
  if (pfn === PFN_NONE) {
    kswapdWake(mm, actorClock(actor));
    pfn = pageFromFreelist(mm, cpu, 0, gfp, slowFlags(gfp));
  }
  if (pfn === PFN_NONE) return false;
  setPageFlags(pageOf(mm, pfn), PG_SLAB);
  store<u32>(slab, load<u32>(slab, FRAMES) + 1, FRAMES);
  emit(TRACE_MM_PAGE_ALLOC, actorClock(actor), pfn, 0, gfpMigratetype(gfp), 0);
  return true;
}

/** Asserts that `used` objects are in use, and fit. */
export function checkSlab(slab: usize, used: u32): void {
  assert(used === load<u32>(slab, USED));
  assert(used <= load<u32>(slab, PER_FRAME) * load<u32>(slab, FRAMES));
}
