import { faultPfn } from "../mm/fault";
import { pagePut } from "../mm/free";
import { PG_REFERENCED, pageOf, pageSet } from "../mm/page";
import { PTE_WRITE, ptePfn, ptePresent, ZERO_PFN } from "../mm/pte";
import { spacePte } from "../mm/space";
import { mmuLevel } from "./mmu";
import { pfnAccessed } from "./release";
import { gfnToIndex, vmGuestFile, vmMm, vmSpace, vmSpteRefs } from "./vm";
import { levelPages } from "./walk";

// The page that the host's page table has for a fault (hva_to_pfn()): how it is found there, and that it has been used.

/** get_user_pages_fast() finds page `index` of the VM's process; in 2008 KVM did not ask that way. */
export function hostMapsWritable(vm: usize, index: u32): bool {
  const pte = spacePte(vmSpace(vm), index);
  return ptePresent(pte) && (pte & PTE_WRITE) !== 0 && !vmSpteRefs(vm);
}

/** The host maps `gfn` to `pfn`. */
export function hostMaps(vm: usize, gfn: u32, pfn: u32): bool {
  const pte = spacePte(vmSpace(vm), gfnToIndex(vm, gfn));
  return ptePresent(pte) && ptePfn(pte) === pfn;
}

// The fault of `vcpu` has used the page that it has found.
function faultUsed(vcpu: usize, vm: usize, gfn: u32): void {
  pfnAccessed(vm, faultPfn(vcpu), mmuLevel(vm, gfn, faultPfn(vcpu)), vcpu);
}

/**
 * What get_user_pages() notes about the page that it has found: the slow form that it was used (FOLL_TOUCH), the fast one that it is referenced,
 * whether it was or not, so that its next use makes it active.
 */
export function faultTouched(vcpu: usize, vm: usize, gfn: u32, slow: bool): void {
  const pfn = faultPfn(vcpu);
  if (slow) {
    faultUsed(vcpu, vm, gfn);
    return;
  }
  if (pfn === ZERO_PFN) return;
  const pages = levelPages(mmuLevel(vm, gfn, pfn));
  const first = pfn & ~(pages - 1);
  for (let each: u32 = 0; each < pages; each++) pageSet(pageOf(vmMm(vm), first + each), PG_REFERENCED);
}

/** kvm_release_pfn_clean(): the page was used, and is let go of. In 2008 its spte tells of use when it goes. */
export function faultLetGo(vcpu: usize, vm: usize, gfn: u32): void {
  if (vmGuestFile(vm) !== 0) return; // gfn_to_page() of 2007 returns a page that nobody holds
  if (!vmSpteRefs(vm)) faultUsed(vcpu, vm, gfn);
  pagePut(vmMm(vm), faultPfn(vcpu), vcpu);
}
