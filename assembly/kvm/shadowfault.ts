import { PFN_NONE } from "../memory/layout";
import { STEP_DONE } from "../memory/status";
import { faultBegin, faultPfn, faultStep } from "../mm/fault";
import { pagePut } from "../mm/free";
import { ptePresent } from "../mm/pte";
import { spacePte } from "../mm/space";
import { actorClock, actorSpend, STAGE_EXIT, STAGE_FLUSH, STAGE_MAP } from "../sim/actor";
import {
  COST_SHADOW_FAULT_NS,
  COST_SHADOW_PT_WRITE_NS,
  COST_TLB_FLUSH_ALL_NS,
  COST_VM_EXIT_NS,
  cost,
} from "../sim/costs";
import { emit, TRACE_KVM_EXIT, TRACE_KVM_INJ_EXCEPTION } from "../sim/trace";
import { gfnToPageBegin, gfnToPageStep } from "./gfntopage";
import { GPTE_PRESENT, GUEST_LEVELS, gpteGfn, gpteIsLeaf } from "./gpte";
import { cachedPage } from "./guestfile";
import { guestEntryAt } from "./guesttables";
import {
  CPU_NX,
  CPU_WP,
  guestWalk,
  PFERR_PRESENT,
  PFERR_RSVD,
  PFERR_USER,
  PFERR_WRITE,
  walkCurrent,
  walkError,
  walkGfn,
} from "./guestwalk";
import { memslotIndex } from "./memslot";
import { gfnToMemslot } from "./memslots";
import { mmioForget } from "./mmio";
import { spteIsMmio } from "./mmiospte";
import { setVcpuCr3, setVcpuRoot, shadowLeaf, vcpuCr3, vcpuRoot, vmGuestTables } from "./roots";
import { shadowRootFor } from "./shadow";
import { SPTE_NONE, sptePresent } from "./spte";
import { tlbFlush } from "./tlb";
import { syncRoot, tableWritten, writeTracked } from "./unsync";
import {
  GUEST_WALK,
  MMIO_RESERVED,
  PF_GFN,
  PF_MMIO,
  PF_PREFETCH,
  PF_PRESENT,
  PF_TABLE,
  PF_VA,
  PF_WRITE,
  USER_MODE,
  VCPU_HANDLER,
  vcpuIndex,
  vcpuVm,
} from "./vcpu";
import { vmFormat, vmGuestFile, vmMm, vmSlots, vmSpace } from "./vm";
import { traceWalk } from "./walktrace";

// What a fault under shadow paging does before it asks the host for a page, and what the guest does with its tables beside accesses.

/** The walk goes on when a table has been brought in. */
export const SHADOW_WAITS: u32 = 0;
/** Allowed: PF_GFN is the frame to be mapped. */
export const SHADOW_MAPS: u32 = 1;
/** The guest's tables do not allow it: the guest gets a fault. */
export const SHADOW_INJECTS: u32 = 2;
/** A write to a protected table: it is emulated. */
export const SHADOW_EMULATES: u32 = 3;

/** As the reason of an exit: the guest writes to CR3. */
const EXIT_CR3: u32 = 3;

// The rights of the access whose fault is being handled.
function accessKind(vcpu: usize): u32 {
  const kernel = load<u32>(vcpu, VCPU_HANDLER) | load<u32>(vcpu, PF_PREFETCH);
  const user = load<u32>(vcpu, USER_MODE) !== 0 && kernel === 0;
  return (load<u32>(vcpu, PF_WRITE) !== 0 ? PFERR_WRITE : 0) | (user ? PFERR_USER : 0);
}

/** The error code that the CPU gives for an access to `page`. */
export function shadowError(vcpu: usize): u32 {
  const leaf = shadowLeaf(vcpu, load<u32>(vcpu, PF_VA));
  const spte = leaf === 0 ? SPTE_NONE : load<u64>(leaf);
  const present = sptePresent(spte);
  const mmio = spte !== SPTE_NONE && spteIsMmio(spte, vmFormat(vcpuVm(vcpu)));
  store<u32>(vcpu, present ? 1 : 0, PF_PRESENT);
  store<u32>(vcpu, mmio ? MMIO_RESERVED : 0, PF_MMIO);
  return accessKind(vcpu) | (present ? PFERR_PRESENT : 0) | (mmio ? PFERR_PRESENT | PFERR_RSVD : 0);
}

/** Handling a fault, the exit left out. */
export function shadowMapNs(): u32 {
  return afterExit(COST_SHADOW_FAULT_NS);
}

function afterExit(price: u32): u32 {
  return max<u32>(cost(price), cost(COST_VM_EXIT_NS)) - cost(COST_VM_EXIT_NS);
}

/** Walks the guest's tables for the vCPU's access; the host must have them, which may have to wait. Returns SHADOW_*. */
export function shadowWalk(vcpu: usize): u32 {
  const vm = vcpuVm(vcpu);
  if (!tablesThere(vcpu, vm)) return SHADOW_WAITS;
  const walk = vcpu + GUEST_WALK;
  const kind = accessKind(vcpu);
  const tables = vmGuestTables(vm);
  const allowed = guestWalk(walk, tables, vcpuCr3(vcpu), load<u32>(vcpu, PF_VA), kind, CPU_WP | CPU_NX);
  traceWalk(vcpu, walk, kind | (load<u32>(vcpu, PF_PRESENT) !== 0 ? PFERR_PRESENT : 0));
  if (!allowed) {
    if (load<u32>(vcpu, PF_PREFETCH) === 0)
      emit(TRACE_KVM_INJ_EXCEPTION, actorClock(vcpu), vcpuIndex(vcpu), 14, walkError(walk), 0);
    actorSpend(vcpu, STAGE_MAP, shadowMapNs());
    return SHADOW_INJECTS;
  }
  const gfn = walkGfn(walk);
  store<u32>(vcpu, gfn, PF_GFN);
  const protect = kind & PFERR_WRITE && load<u32>(vcpu, PF_PRESENT) !== 0 && writeTracked(vm, gfn);
  if (!protect) return SHADOW_MAPS;
  actorSpend(vcpu, STAGE_MAP, afterExit(COST_SHADOW_PT_WRITE_NS));
  return SHADOW_EMULATES;
}

// The walk reads the tables through the process' own mappings. False: one is not there, and PF_TABLE is its gfn.
function tablesThere(vcpu: usize, vm: usize): bool {
  const tables = vmGuestTables(vm);
  const page = load<u32>(vcpu, PF_VA);
  let gfn = vcpuCr3(vcpu);
  for (let level = GUEST_LEVELS; level > 0; level--) {
    const slot = gfnToMemslot(vmSlots(vm), gfn);
    if (slot !== 0 && !tableThere(vm, slot, gfn)) {
      store<u32>(vcpu, gfn, PF_TABLE);
      if (vmGuestFile(vm) !== 0) gfnToPageBegin(vcpu, gfn);
      else faultBegin(vcpu, vmSpace(vm), memslotIndex(slot, gfn), true);
      return false;
    }
    const entry = guestEntryAt(tables, gfn, page, level);
    const gpte = entry === 0 ? 0 : load<u64>(entry);
    if ((gpte & GPTE_PRESENT) === 0 || gpteIsLeaf(gpte, level)) return true;
    gfn = gpteGfn(gpte);
  }
  return true;
}

function tableThere(vm: usize, slot: usize, gfn: u32): bool {
  if (vmGuestFile(vm) !== 0) return cachedPage(vm, gfn) !== PFN_NONE;
  return ptePresent(spacePte(vmSpace(vm), memslotIndex(slot, gfn)));
}

/** Goes on bringing in the table that the walk waits for. Returns STEP_*. */
export function shadowTableStep(vcpu: usize): i32 {
  if (vmGuestFile(vcpuVm(vcpu)) !== 0) return gfnToPageStep(vcpu);
  const mm = vmMm(vcpuVm(vcpu));
  const step = faultStep(mm, vcpu);
  if (step === STEP_DONE) pagePut(mm, faultPfn(vcpu), vcpu);
  return step;
}

/** Under mmu_lock: the guest's tables still say what the walk has read. */
export function shadowCurrent(vcpu: usize): bool {
  return walkCurrent(vcpu + GUEST_WALK, vmGuestTables(vcpuVm(vcpu)));
}

/** The guest loads CR3: its TLB is flushed, and what it has written to its tables counts from now on. */
export function guestLoadCr3(vcpu: usize, cr3: u32): void {
  const vm = vcpuVm(vcpu);
  emit(TRACE_KVM_EXIT, actorClock(vcpu), vcpuIndex(vcpu), 0, 0, EXIT_CR3);
  actorSpend(vcpu, STAGE_EXIT, cost(COST_VM_EXIT_NS));
  if (cr3 !== vcpuCr3(vcpu) || vcpuRoot(vcpu) === 0) {
    setVcpuCr3(vcpu, cr3);
    setVcpuRoot(vcpu, shadowRootFor(vm, vcpu, cr3));
  }
  mmioForget(vcpu);
  const synced = syncRoot(vm, vcpu);
  if (synced !== 0) actorSpend(vcpu, STAGE_MAP, synced * shadowMapNs());
  tlbFlush(vcpu);
  actorSpend(vcpu, STAGE_FLUSH, cost(COST_TLB_FLUSH_ALL_NS));
}

/**
 * The guest's store of `gpte` to entry `index` of the table in frame `gfn`, after the access that it takes: a page that is in sync has the frame
 * protected, so that the store was emulated.
 */
export function guestStore(vcpu: usize, gfn: u32, index: u32, gpte: u64): void {
  const vm = vcpuVm(vcpu);
  const entry = guestEntryAt(vmGuestTables(vm), gfn, index, 1);
  assert(entry !== 0);
  store<u64>(entry, gpte);
  tableWritten(vm, gfn, index, vcpu);
}

/** Frame of the guest's table of level 1 in which `page` has its entry, below the table in `root`; u32.MAX_VALUE when there is none. */
export function guestLeafTable(vm: usize, root: u32, page: u32): u32 {
  const tables = vmGuestTables(vm);
  let gfn = root;
  for (let level = GUEST_LEVELS; level > 1; level--) {
    const entry = guestEntryAt(tables, gfn, page, level);
    const gpte = entry === 0 ? 0 : load<u64>(entry);
    if ((gpte & GPTE_PRESENT) === 0 || gpteIsLeaf(gpte, level)) return u32.MAX_VALUE;
    gfn = gpteGfn(gpte);
  }
  return gfn;
}
