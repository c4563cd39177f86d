import {
  emit,
  happened,
  record,
  TRACE_CHECK_MMIO_SPTE,
  TRACE_HANDLE_MMIO_PAGE_FAULT,
  TRACE_KVM_MMU_GET_PAGE,
  TRACE_KVM_MMU_PREPARE_ZAP_PAGE,
  TRACE_KVM_MMU_SET_SPTE,
  TRACE_KVM_MMU_SPLIT_HUGE_PAGE,
  TRACE_KVM_MMU_SPTE_REQUESTED,
  TRACE_KVM_MMU_SYNC_PAGE,
  TRACE_KVM_MMU_UNSYNC_PAGE,
  TRACE_KVM_MMU_ZAP_ALL_FAST,
  TRACE_KVM_TDP_MMU_SPTE_CHANGED,
  TRACE_MARK_MMIO_SPTE,
} from "../sim/trace";
import { spteMmioAccess, spteMmioGeneration, spteMmioGfn } from "./mmiospte";
import { spFrame, spGfn, spOfTable, spRole, spRootCount, spUnsync, tablesUsed } from "./shadowpage";
import { SPTE_PAGE_SIZE, sptePresent, spteTable, spteTableAddress } from "./spte";
import { vmFormat, vmIsLegacy, vmTablePool, vmZaps } from "./vm";
import { levelPages } from "./walk";

// The tracepoints of the MMUs (system kvmmmu), with addresses as the simulated host has them: a table stands at the frame that it
// costs, not where linear memory keeps it.

/** An entry of `level` with the frame of the table that it links. */
function physical(vm: usize, spte: u64, level: u32): u64 {
  if (!sptePresent(spte) || level === 1 || spte & SPTE_PAGE_SIZE) return spte;
  const sp = spOfTable(vmTablePool(vm), spteTableAddress(spte));
  return spteTable(vmFormat(vm), 0) | ((<u64>spFrame(sp)) << 12);
}

/** kvm_tdp_mmu_spte_changed */
export function traceSpteChanged(vm: usize, gfn: u64, level: u32, old: u64, spte: u64, time: u64): void {
  if (!happened(TRACE_KVM_TDP_MMU_SPTE_CHANGED)) return;
  const shift = <u64>(9 * (level - 1));
  const first = (gfn >> shift) << shift;
  record(
    TRACE_KVM_TDP_MMU_SPTE_CHANGED,
    time,
    level,
    first,
    physical(vm, old, level),
    physical(vm, spte, level),
  );
}

/** kvm_mmu_set_spte of the leaf at address `entry` */
export function traceSetSpte(vm: usize, entry: usize, gfn: u32, level: u32, time: u64): void {
  if (!happened(TRACE_KVM_MMU_SET_SPTE)) return;
  const at = ((<u64>spFrame(spOfTable(vmTablePool(vm), entry))) << 12) | <u64>(entry & 0xfff);
  record(TRACE_KVM_MMU_SET_SPTE, time, gfn, load<u64>(entry), level | (vmFormat(vm) << 8), at);
}

/** kvm_mmu_get_page: a table has been made, or found again */
export function traceGetPage(sp: usize, created: bool, time: u64): void {
  emit(TRACE_KVM_MMU_GET_PAGE, time, spGfn(sp), spRole(sp), spRootCount(sp), created ? 1 : 0);
}

/** kvm_mmu_prepare_zap_page */
export function tracePrepareZap(sp: usize, time: u64): void {
  emit(TRACE_KVM_MMU_PREPARE_ZAP_PAGE, time, spGfn(sp), spRole(sp), spRootCount(sp), 0);
}

/** kvm_mmu_unsync_page: a page of sptes may differ from the guest's table */
export function traceUnsyncPage(sp: usize, time: u64): void {
  emit(TRACE_KVM_MMU_UNSYNC_PAGE, time, spGfn(sp), spRole(sp), spRootCount(sp), spUnsync(sp) ? 1 : 0);
}

/** kvm_mmu_sync_page: it is brought in step */
export function traceSyncPage(sp: usize, time: u64): void {
  emit(TRACE_KVM_MMU_SYNC_PAGE, time, spGfn(sp), spRole(sp), spRootCount(sp), spUnsync(sp) ? 1 : 0);
}

/** kvm_mmu_spte_requested: the host's page is there and is about to be mapped */
export function traceSpteRequested(gfn: u32, pfn: u32, level: u32, time: u64): void {
  const tail = levelPages(level) - 1;
  emit(TRACE_KVM_MMU_SPTE_REQUESTED, time, gfn & ~tail, pfn & ~tail, level, 0);
}

/** kvm_mmu_split_huge_page: a table of small entries has taken the place of the leaf `old` of `level` */
export function traceSplitHugePage(gfn: u32, old: u64, level: u32, time: u64): void {
  emit(TRACE_KVM_MMU_SPLIT_HUGE_PAGE, time, gfn & ~(levelPages(level) - 1), old, level, 0);
}

/** kvm_mmu_zap_all_fast, before it begins. mmu_valid_gen is one bit; tables of the TDP MMU are not among the pages counted. */
export function traceZapAllFast(vm: usize, time: u64): void {
  const used = vmIsLegacy(vm) ? tablesUsed(vmTablePool(vm)) : 0;
  emit(TRACE_KVM_MMU_ZAP_ALL_FAST, time, vmZaps(vm) & 1, used, 0, 0);
}

/** mark_mmio_spte: the entry at address `entry` has become one */
export function traceMarkMmio(vm: usize, entry: usize, time: u64): void {
  if (!happened(TRACE_MARK_MMIO_SPTE)) return;
  const spte = load<u64>(entry);
  const access = spteMmioAccess(spte, vmFormat(vm));
  record(
    TRACE_MARK_MMIO_SPTE,
    time,
    <u64>(entry & 0xfff),
    spteMmioGfn(spte),
    access,
    spteMmioGeneration(spte),
  );
}

/** handle_mmio_page_fault: an access met one that counts */
export function traceHandleMmio(address: u64, gfn: u32, access: u32, time: u64): void {
  emit(TRACE_HANDLE_MMIO_PAGE_FAULT, time, address, gfn, access, 0);
}

/** check_mmio_spte: the generation of the memslots against that of the entry */
export function traceCheckMmio(spte: u64, now: u32, made: u32, valid: bool, time: u64): void {
  emit(TRACE_CHECK_MMIO_SPTE, time, spte, now, made, valid ? 1 : 0);
}
