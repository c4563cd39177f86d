import { compoundHead } from "../mm/compound";
import { pagePut } from "../mm/free";
import { lruMarkAccessed } from "../mm/lrubatch";
import { PG_DIRTY, pageOf, pageSet } from "../mm/page";
import { ZERO_PFN } from "../mm/pte";
import { actorClock } from "../sim/actor";
import { DIGEST_INVALIDATE, digestAdd } from "../sim/digest";
import { spteAccessed, spteDirty, sptePfn } from "./spte";
import { vmFormat, vmId, vmMm, vmSpteRefs } from "./vm";

// What a page gets back from an spte that goes: what the hardware has noted in it, and, in the design of 2008, its reference.

/** A present leaf is dropped. The page of zeroes has no record to keep notes in (kvm_set_pfn_accessed(), kvm_set_pfn_dirty()). */
export function spteReleased(vm: usize, gfn: u32, spte: u64, actor: usize): void {
  const pfn = sptePfn(spte);
  digestAdd(DIGEST_INVALIDATE, actorClock(actor), vmId(vm), gfn, pfn, 0);
  if (pfn === ZERO_PFN) return;
  const mm = vmMm(vm);
  const page = pageOf(mm, compoundHead(mm, pfn));
  if (spte & spteDirty(vmFormat(vm))) pageSet(page, PG_DIRTY);
  if (spte & spteAccessed(vmFormat(vm))) lruMarkAccessed(mm, actor, compoundHead(mm, pfn));
  if (vmSpteRefs(vm)) pagePut(mm, pfn, actor);
}
