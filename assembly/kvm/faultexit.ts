import { actorClock, actorSpend, STAGE_EXIT } from "../sim/actor";
import { COST_VM_EXIT_NS, cost } from "../sim/costs";
import { emit, TRACE_KVM_EXIT, TRACE_KVM_PAGE_FAULT } from "../sim/trace";
import { PFERR_GUEST_FINAL, PFERR_PRESENT, PFERR_USER, PFERR_WRITE } from "./fastfault";
import { PAGE_FAULT_CHECK } from "./faultend";
import { PFERR_RSVD } from "./guestwalk";
import { spteIsMmio } from "./mmiospte";
import { shadowError } from "./shadowfault";
import { SPTE_EPT, SPTE_NONE, SPTE_NPT, sptePresent } from "./spte";
import {
  MMIO_MISCONFIG,
  MMIO_RESERVED,
  PF_GFN,
  PF_MMIO,
  PF_PC,
  PF_PRESENT,
  PF_VA,
  PF_WRITE,
  vcpuIndex,
  vcpuVm,
} from "./vcpu";
import { vmFormat, vmIsShadow } from "./vm";
import { walkSpte } from "./walk";

// A vCPU leaves its guest because the tables do not serve an access: what the CPU says of it, which is all that the handler knows.

// As the reason of an exit, beside SPTE_*: the exception that the guest's access raises, not a fault of a second dimension; a walk of EPT that met
// an MMIO spte.
const EXIT_SHADOW: u32 = 2;
const EXIT_EPT_MISCONFIG: u32 = 4;

/** The exit; the fault's handling begins. */
export function faultExit(vcpu: usize): void {
  const vm = vcpuVm(vcpu);
  if (vmIsShadow(vm)) {
    leave(vcpu, (<u64>load<u32>(vcpu, PF_VA)) << 12, shadowError(vcpu), EXIT_SHADOW);
    return;
  }
  const gfn = load<u32>(vcpu, PF_GFN);
  const format = vmFormat(vm);
  const write = load<u32>(vcpu, PF_WRITE) !== 0;
  const spte = walkSpte(vm, gfn);
  const present = sptePresent(spte);
  let mmio: u32 = 0;
  if (spte !== SPTE_NONE && spteIsMmio(spte, format))
    mmio = format === SPTE_EPT ? MMIO_MISCONFIG : MMIO_RESERVED;
  store<u32>(vcpu, present ? 1 : 0, PF_PRESENT);
  store<u32>(vcpu, mmio, PF_MMIO);
  let error = PFERR_GUEST_FINAL | (present ? PFERR_PRESENT : 0) | (write ? PFERR_WRITE : 0);
  if (!write || format === SPTE_NPT) error |= PFERR_USER;
  if (mmio === MMIO_RESERVED) error |= PFERR_PRESENT | PFERR_RSVD;
  leave(vcpu, (<u64>gfn) << 12, error, mmio === MMIO_MISCONFIG ? EXIT_EPT_MISCONFIG : format);
}

// To KVM a misconfiguration is no page fault.
function leave(vcpu: usize, address: u64, error: u64, reason: u32): void {
  const time = actorClock(vcpu);
  emit(TRACE_KVM_EXIT, time, vcpuIndex(vcpu), error, address, reason);
  if (reason !== EXIT_EPT_MISCONFIG) emit(TRACE_KVM_PAGE_FAULT, time, vcpuIndex(vcpu), address, error, 0);
  actorSpend(vcpu, STAGE_EXIT, cost(COST_VM_EXIT_NS));
  store<u32>(vcpu, PAGE_FAULT_CHECK, PF_PC);
}

/** The access writes, as far as the handler knows: one that met an MMIO spte in EPT is handled as a read. */
export function faultWrites(vcpu: usize): bool {
  return load<u32>(vcpu, PF_WRITE) !== 0 && load<u32>(vcpu, PF_MMIO) !== MMIO_MISCONFIG;
}
