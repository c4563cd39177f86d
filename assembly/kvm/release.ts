import { pagePut } from "../mm/free";
import { PG_DIRTY, PG_REFERENCED, pageOf, pageSet } from "../mm/page";
import { ZERO_PFN } from "../mm/pte";
import { HUGE_PAGES } from "../mm/thp";
import { actorClock } from "../sim/actor";
import { DIGEST_INVALIDATE, digestAdd } from "../sim/digest";
import { SPTE_PAGE_SIZE, spteAccessed, spteDirty, sptePfn } from "./spte";
import { vmFormat, vmId, vmMm, vmSpteRefs } from "./vm";

// What a page gets back from an spte that goes: what the hardware has noted in it, and, in the design of 2008, its reference.

/** A present leaf is dropped. The page of zeroes has no record to keep notes in (kvm_set_pfn_accessed(), kvm_set_pfn_dirty()). */
export function spteReleased(vm: usize, gfn: u32, spte: u64, actor: usize): void {
  const pfn = sptePfn(spte);
  digestAdd(DIGEST_INVALIDATE, actorClock(actor), vmId(vm), gfn, pfn, 0);
  if (pfn === ZERO_PFN) return;
  const mm = vmMm(vm);
  const marks =
    (spte & spteDirty(vmFormat(vm)) ? PG_DIRTY : 0) | (spte & spteAccessed(vmFormat(vm)) ? PG_REFERENCED : 0);
  const pages: u32 = spte & SPTE_PAGE_SIZE ? HUGE_PAGES : 1;
  for (let each: u32 = 0; each < pages; each++) pageSet(pageOf(mm, pfn + each), marks);
  if (vmSpteRefs(vm)) pagePut(mm, pfn, actor);
}
