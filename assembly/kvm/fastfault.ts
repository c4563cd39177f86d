import { actorClock } from "../sim/actor";
import { emit, TRACE_FAST_PAGE_FAULT } from "../sim/trace";
import { dirtyMark } from "./dirtylog";
import { spteSet } from "./leafbits";
import { mmuMayWrite } from "./mmu";
import { SPTE_NONE, SPTE_NPT, SPTE_WRITE, spteAllows, sptePresent } from "./spte";
import { PF_PRESENT, vcpuIndex, vcpuMemslot } from "./vcpu";
import { vmFormat } from "./vm";
import { walkAny } from "./walk";

// PFERR bits of the error code. EPT has none of the hardware's: a read shows as a user access, a write as a write; NPT's accesses are
// all the user's. The fault is of the page that the guest touches, not of a table of the guest's.
export const PFERR_PRESENT: u64 = 1;
export const PFERR_WRITE: u64 = 2;
export const PFERR_USER: u64 = 4;
export const PFERR_GUEST_FINAL: u64 = (<u64>1) << 32;

/** The entry was repaired by this fault. */
export const FAST_FIXED: u32 = 2;
/** It had been repaired already. */
export const FAST_SPURIOUS: u32 = 1;

/**
 * fast_page_fault(): a write to an entry that was there, and only not writable, is let through without a lock, when the entry may be
 * made writable or another vCPU has done so. `frame` is what `gfn`
 * is an alias of, or itself. Returns FAST_*, 0 when the fault goes the slow way.
 */
export function fastPageFault(vcpu: usize, vm: usize, gfn: u32, frame: u32, write: bool): u32 {
  if (!write || load<u32>(vcpu, PF_PRESENT) === 0) return 0;
  const leaf = walkAny(vm, gfn);
  const old = leaf === 0 ? SPTE_NONE : load<u64>(leaf);
  if (!sptePresent(old)) return 0;
  const spurious = spteAllows(old, true);
  const fixed = !spurious && mmuMayWrite(vm, vcpuMemslot(vcpu, frame), old);
  const spte = fixed ? old | SPTE_WRITE : old;
  if (fixed) {
    spteSet(vm, leaf, spte);
    dirtyMark(vcpuMemslot(vcpu, frame), frame);
  }
  const error = PFERR_PRESENT | PFERR_WRITE | (vmFormat(vm) === SPTE_NPT ? PFERR_USER : 0);
  const outcome = ((<u64>(spurious ? 1 : 0)) << 62) | ((<u64>(fixed ? 1 : 0)) << 63);
  const gpa = ((<u64>gfn) << 12) | <u64>(leaf & 0xfff);
  emit(TRACE_FAST_PAGE_FAULT, actorClock(vcpu), vcpuIndex(vcpu) | (error << 16) | outcome, gpa, old, spte);
  return fixed ? FAST_FIXED : spurious ? FAST_SPURIOUS : 0;
}
