import { pagePut } from "../mm/free";
import { lruMarkAccessed } from "../mm/lrubatch";
import { PG_DIRTY, pageOf, pageSet } from "../mm/page";
import { ZERO_PFN } from "../mm/pte";
import { actorClock } from "../sim/actor";
import { DIGEST_INVALIDATE, digestAdd } from "../sim/digest";
import { cachedPage } from "./guestfile";
import { SPTE_PAGE_SIZE, spteAccessed, spteDirty, sptePfn } from "./spte";
import { VM_STALE_SPTES, vmCountAdd } from "./stats";
import { vmFormat, vmGuestFile, vmId, vmMm, vmSpteRefs, vmStats } from "./vm";
import { LEVEL_2M, LEVEL_4K, levelPages } from "./walk";

// What a page gets back from an spte that goes: what the hardware has noted in it, and, in the design of 2008, its reference. The page of zeroes
// has no record to keep notes in.

/** A present leaf is dropped. */
export function spteReleased(vm: usize, gfn: u32, spte: u64, actor: usize): void {
  const pfn = sptePfn(spte);
  digestAdd(DIGEST_INVALIDATE, actorClock(actor), vmId(vm), gfn, pfn, 0);
  if (pfn === ZERO_PFN) return;
  // In 2007 the page may have gone while a vCPU's entry stayed: rmap_remove() finds a swap entry where its list began.
  if (vmGuestFile(vm) !== 0 && cachedPage(vm, gfn) !== pfn) {
    vmCountAdd(vmStats(vm), VM_STALE_SPTES, 1);
    return;
  }
  const mm = vmMm(vm);
  const level = spte & SPTE_PAGE_SIZE ? LEVEL_2M : LEVEL_4K;
  if (spte & spteDirty(vmFormat(vm))) {
    for (let each: u32 = 0; each < levelPages(level); each++) pageSet(pageOf(mm, pfn + each), PG_DIRTY);
  }
  if (spte & spteAccessed(vmFormat(vm))) pfnAccessed(vm, pfn, level, actor);
  if (vmSpteRefs(vm)) pagePut(mm, pfn, actor);
}

/** kvm_set_pfn_accessed(): what an entry of `level` maps around `pfn` has been used. */
export function pfnAccessed(vm: usize, pfn: u32, level: u32, actor: usize): void {
  if (pfn === ZERO_PFN) return;
  const pages = levelPages(level);
  const first = pfn & ~(pages - 1);
  for (let each: u32 = 0; each < pages; each++) lruMarkAccessed(vmMm(vm), actor, first + each);
}
