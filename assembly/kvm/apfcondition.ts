import {
  APF_AREA_TOKEN,
  APF_CPL,
  APF_ENABLED,
  APF_EXCEPTION,
  APF_IRQS_OFF,
  APF_ON,
  APF_READY_FAULT,
  APF_SEND_ALWAYS,
  APF_TELL_OR_WAIT,
  apfRule,
  EXCEPTION_NONE,
} from "./apf";
import { VM_APF_SYNC_DISABLED, VM_APF_SYNC_KERNEL_MODE, VM_APF_SYNC_REINJECTION } from "./stats";

// When a fault may be tried asynchronously, when the guest may be told of it, and when it may be told that a page is ready. Of what
// KVM asks, paging is always on in a guest here, the interrupt controller is in the kernel, and there are no nested guests.

/** No counter: the fault may be tried. */
export const MAY_TRY: u32 = 0xffffffff;

/** The access is of no task that could be put to sleep. */
export const CPL_NO_TASK: u32 = 0xff;
/** So it is, and the guest's interrupts are off. */
export const CPL_IRQS_OFF: u32 = 0xfe;

/** Bits of MSR_KVM_ASYNC_PF_EN. */
export const EN_ENABLED: u32 = 1;
export const EN_SEND_ALWAYS: u32 = 2;
export const EN_DELIVERY_AS_INT: u32 = 8;

/** The guest has registered its area in the form that the design delivers to. */
export function apfEnabled(apf: usize): bool {
  const wanted = apfRule(apf, APF_READY_FAULT) ? EN_ENABLED : EN_ENABLED | EN_DELIVERY_AS_INT;
  return (load<u32>(apf, APF_ENABLED) & wanted) === wanted;
}

/** True while faults of the vCPU may be asynchronous at all. */
export function apfOn(apf: usize): bool {
  return apfRule(apf, APF_ON);
}

// The guest is where it can put a task to sleep.
function mayInterruptTask(apf: usize): bool {
  const cpl = load<u32>(apf, APF_CPL);
  if (cpl === CPL_NO_TASK || cpl === CPL_IRQS_OFF) return false;
  if (cpl !== 0) return true;
  return apfRule(apf, APF_SEND_ALWAYS) || (load<u32>(apf, APF_ENABLED) & EN_SEND_ALWAYS) !== 0;
}

/** kvm_can_do_async_pf(): may a fault of the vCPU be tried? MAY_TRY, or the counter VM_APF_SYNC_* of why not. */
export function apfMayTry(apf: usize): u32 {
  const irqsOff = load<u32>(apf, APF_IRQS_OFF) !== 0 || load<u32>(apf, APF_CPL) === CPL_IRQS_OFF;
  const eventWaits = load<u32>(apf, APF_EXCEPTION) !== EXCEPTION_NONE || irqsOff;
  if (apfRule(apf, APF_TELL_OR_WAIT)) {
    if (!apfEnabled(apf)) return VM_APF_SYNC_DISABLED;
    if (eventWaits) return VM_APF_SYNC_REINJECTION;
    return mayInterruptTask(apf) ? MAY_TRY : VM_APF_SYNC_KERNEL_MODE;
  }
  return eventWaits ? VM_APF_SYNC_REINJECTION : MAY_TRY;
}

/** kvm_can_deliver_async_pf(): may the guest be told that a page is not present? */
export function apfMayTell(apf: usize): bool {
  return apfEnabled(apf) && mayInterruptTask(apf);
}

/** kvm_arch_can_dequeue_async_page_present(): may the next completion be consumed? */
export function apfMayDequeue(apf: usize): bool {
  if (!apfEnabled(apf)) return true;
  if (apfRule(apf, APF_READY_FAULT)) {
    return load<u32>(apf, APF_EXCEPTION) === EXCEPTION_NONE && load<u32>(apf, APF_IRQS_OFF) === 0;
  }
  return load<u32>(apf, APF_AREA_TOKEN) === 0;
}
