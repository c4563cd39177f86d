import { actorClock, actorSpend, STAGE_EXIT, STAGE_MAP } from "../sim/actor";
import { COST_EXIT_USER_NS, COST_VM_EXIT_NS, cost } from "../sim/costs";
import { walkAccess } from "./guestwalk";
import { memslotsGeneration } from "./memslots";
import { mmioCurrent, vmCachesMmio } from "./mmio";
import {
  mmioGeneration,
  spteIsMmio,
  spteMmio,
  spteMmioAccess,
  spteMmioGeneration,
  spteMmioGfn,
} from "./mmiospte";
import { mmuMapMmio } from "./mmu";
import { traceCheckMmio, traceHandleMmio } from "./mmutrace";
import { slotTables } from "./slotroom";
import { ACC_ALL, SPTE_NONE } from "./spte";
import { VM_MMIO_EXITS, VM_MMIO_SPTES, vmCountAdd } from "./stats";
import {
  EMULATED_BY_MONITOR,
  GUEST_WALK,
  MMIO_GENERATION,
  MMIO_PAGE,
  PF_EMULATED,
  PF_MMIO_GENERATION,
  PF_VA,
  vcpuVm,
} from "./vcpu";
import { vcpuLeaf } from "./vcpuwalk";
import { vmFormat, vmIsShadow, vmSlots, vmStats } from "./vm";

// Accesses to frames that no memslot holds: the monitor answers them. The first one leaves an MMIO spte (mmio.ts), and a later one is known by that, or
// by what its vCPU remembers of its last one, before anything is walked or looked up. What a vCPU remembers is a page of the guest's addresses, and
// goes when the guest may give them another meaning.

/** The entry is no MMIO spte any more: the access is made again. */
export const MMIO_GONE: u32 = 0;
/** It was true for other memslots: the fault goes on as for an empty entry. */
export const MMIO_STALE: u32 = 1;
/** No memory is there. */
export const MMIO_KNOWN: u32 = 2;

/** handle_mmio_page_fault() of an access whose walk met an MMIO spte. Returns MMIO_*. */
export function mmioFault(vcpu: usize): u32 {
  const vm = vcpuVm(vcpu);
  const page = load<u32>(vcpu, PF_VA);
  const generation = memslotsGeneration(vmSlots(vm));
  if (load<u64>(vcpu, MMIO_GENERATION) === generation && load<u32>(vcpu, MMIO_PAGE) === page)
    return MMIO_KNOWN;
  const leaf = vcpuLeaf(vcpu, page);
  const spte = leaf === 0 ? SPTE_NONE : load<u64>(leaf);
  const format = vmFormat(vm);
  if (!spteIsMmio(spte, format)) return MMIO_GONE;
  const current = mmioCurrent(vm, spte);
  traceCheckMmio(spte, mmioGeneration(generation), spteMmioGeneration(spte), current, actorClock(vcpu));
  if (!current) return MMIO_STALE;
  // A direct map knows no address of the guest's own.
  const address = vmIsShadow(vm) ? (<u64>page) << 12 : 0;
  traceHandleMmio(address, spteMmioGfn(spte), spteMmioAccess(spte, format), actorClock(vcpu));
  store<u32>(vcpu, page, MMIO_PAGE);
  store<u64>(vcpu, generation, MMIO_GENERATION);
  return MMIO_KNOWN;
}

/**
 * No slot holds `gfn`: can an MMIO spte be left there? Not in the old designs, nor where the core has no memory for the tables on the way. It will be
 * of the generation in which that was seen, whatever happens until it stands there.
 */
export function mmioKeeps(vcpu: usize, gfn: u32): bool {
  const vm = vcpuVm(vcpu);
  if (!vmCachesMmio(vm) || !slotTables(vm, gfn)) return false;
  store<u32>(vcpu, mmioGeneration(memslotsGeneration(vmSlots(vm))), PF_MMIO_GENERATION);
  return true;
}

/** Under mmu_lock, with tables set aside: the spte, which takes `ns`. */
export function mmioMark(vcpu: usize, gfn: u32, ns: u32): void {
  const vm = vcpuVm(vcpu);
  const access = vmIsShadow(vm) ? walkAccess(vcpu + GUEST_WALK) : ACC_ALL;
  mmuMapMmio(vm, vcpu, gfn, spteMmio(vmFormat(vm), load<u32>(vcpu, PF_MMIO_GENERATION), gfn, access));
  vmCountAdd(vmStats(vm), VM_MMIO_SPTES, 1);
  actorSpend(vcpu, STAGE_MAP, ns);
}

/** RET_PF_EMULATE: no memory is there, or it may not be written: the access goes to the monitor and is over then. exitUserNs has the exit in it. */
export function mmioAnswer(vcpu: usize): void {
  store<u32>(vcpu, EMULATED_BY_MONITOR, PF_EMULATED);
  vmCountAdd(vmStats(vcpuVm(vcpu)), VM_MMIO_EXITS, 1);
  const whole = cost(COST_EXIT_USER_NS);
  actorSpend(vcpu, STAGE_EXIT, max<u32>(whole, cost(COST_VM_EXIT_NS)) - cost(COST_VM_EXIT_NS));
}
