import { ACCESS_END, ACCESS_FAULT, accessRun, accessStop } from "../kvm/access";
import {
  APF_AREA_FLAGS,
  APF_AREA_GFN,
  APF_AREA_TOKEN,
  APF_EXCEPTION,
  APF_EXCEPTION_TOKEN,
  APF_IRQS_OFF,
  APF_MSR,
  ATTENTION_EXCEPTION,
  ATTENTION_HANDLER,
  ATTENTION_INTERRUPT,
  ATTENTION_MSR,
  ATTENTION_SWITCH,
  ATTENTION_WRITTEN,
  apfAttend,
  apfAttended,
  EXCEPTION_NONE,
  EXCEPTION_NOT_PRESENT,
  TOKEN_ALL,
  vcpuAttention,
} from "../kvm/apf";
import { apfEnabled } from "../kvm/apfcondition";
import { apfAcknowledge, apfRescan } from "../kvm/apfready";
import { apfEnable, apfSwitch } from "../kvm/apfreset";
import { faultSavedGfn, faultSuspend } from "../kvm/faultsave";
import { VIOLATION_TOKEN_REUSE, violationNote } from "../kvm/integrity";
import { vcpuApf, vcpuFaultPending, vcpuIndex, vcpuVm } from "../kvm/vcpu";
import { actorClock, actorSpend, STAGE_ASYNC, STAGE_EXIT } from "../sim/actor";
import { COST_GUEST_EXCEPTION_NS, COST_VM_EXIT_NS, cost } from "../sim/costs";
import { sleeperWait, sleeperWake, sleeperWakeAll } from "./apfsleep";
import { guestCurrent } from "./sched";
import { GUEST_HANDLER, GUEST_HANDLER_TOKEN, taskFault } from "./task";

// What a Linux guest does about asynchronous page faults, with interrupts off: the page fault with a reason
// (kvm_handle_async_pf()) and the interrupt "ready" (sysvec_kvm_asyncpf_interrupt()). Both read and clear the shared area, and
// that page may itself have been taken away by the host: then the handler faults, and waits like any access.
//
//   IDLE → EXCEPTION (read the reason) → WAIT → IDLE
//     └──→ INTERRUPT (read the token, wake, clear it, acknowledge) → IDLE

/** Nothing is left to be handled. */
export const EVENT_HANDLED: u32 = 0;
/** Time has passed in a handler. */
export const EVENT_GOES_ON: u32 = 1;
/** The handler's access has faulted. */
export const EVENT_FAULTED: u32 = 2;
/** The handler's access has seen contents that it should not have seen. */
export const EVENT_VIOLATION: u32 = 3;
/** The guest's memory would be corrupted. */
export const EVENT_CORRUPTS: u32 = 4;

const IDLE: u32 = 0;
const EXCEPTION: u32 = 1;
const WAIT: u32 = 2;
const INTERRUPT: u32 = 3;

const WRITE: u32 = 1 << 31;

// The one access of a handler, where accessRun() reads it.
const STREAM: usize = memory.data(8, 8);

/** The guest takes an event that waits, or goes on handling one. Returns EVENT_*. */
export function guestEvent(vcpu: usize): u32 {
  const apf = vcpuApf(vcpu);
  const pc = load<u32>(vcpu, GUEST_HANDLER);
  if (pc === IDLE) return enter(apf, vcpu);
  if (pc === WAIT) {
    if (!sleeperWait(vcpu, load<u32>(vcpu, GUEST_HANDLER_TOKEN))) {
      const gfn = faultSavedGfn(taskFault(guestCurrent(vcpu)));
      violationNote(VIOLATION_TOKEN_REUSE, vcpuVm(vcpu), gfn, vcpuIndex(vcpu), actorClock(vcpu));
      return EVENT_CORRUPTS;
    }
    leave(apf, vcpu);
    apfRescan(apf);
    return EVENT_GOES_ON;
  }
  store<u32>(STREAM, WRITE | load<u32>(apf, APF_AREA_GFN));
  accessRun(vcpu, STREAM, 1, 0, 0, 0, 0, u64.MAX_VALUE);
  if (accessStop() === ACCESS_FAULT) return EVENT_FAULTED;
  const violation = accessStop() !== ACCESS_END;
  if (pc === EXCEPTION) reason(apf, vcpu);
  else interrupt(apf, vcpu);
  return violation ? EVENT_VIOLATION : EVENT_GOES_ON;
}

function enter(apf: usize, vcpu: usize): u32 {
  const attention = vcpuAttention(vcpu);
  if (attention & ATTENTION_EXCEPTION) {
    store<u32>(vcpu, load<u32>(apf, APF_EXCEPTION_TOKEN), GUEST_HANDLER_TOKEN);
    store<u32>(apf, EXCEPTION_NONE, APF_EXCEPTION);
    apfAttended(apf, ATTENTION_EXCEPTION);
    store<u32>(vcpu, EXCEPTION, GUEST_HANDLER);
  } else if (attention & ATTENTION_INTERRUPT && load<u32>(apf, APF_IRQS_OFF) === 0) {
    apfAttended(apf, ATTENTION_INTERRUPT);
    store<u32>(vcpu, INTERRUPT, GUEST_HANDLER);
  } else {
    return EVENT_HANDLED;
  }
  if (vcpuFaultPending(vcpu)) faultSuspend(vcpu, taskFault(guestCurrent(vcpu)));
  store<u32>(apf, 1, APF_IRQS_OFF);
  apfAttend(apf, ATTENTION_HANDLER);
  actorSpend(vcpu, STAGE_ASYNC, cost(COST_GUEST_EXCEPTION_NS));
  return EVENT_GOES_ON;
}

function leave(apf: usize, vcpu: usize): void {
  store<u32>(vcpu, IDLE, GUEST_HANDLER);
  store<u32>(apf, 0, APF_IRQS_OFF);
  apfAttended(apf, ATTENTION_HANDLER);
}

function reason(apf: usize, vcpu: usize): void {
  const flags = load<u32>(apf, APF_AREA_FLAGS);
  store<u32>(apf, 0, APF_AREA_FLAGS);
  if (flags === EXCEPTION_NOT_PRESENT) {
    store<u32>(vcpu, WAIT, GUEST_HANDLER);
    return;
  }
  wake(vcpu, load<u32>(vcpu, GUEST_HANDLER_TOKEN));
  leave(apf, vcpu);
  apfRescan(apf);
}

function interrupt(apf: usize, vcpu: usize): void {
  wake(vcpu, load<u32>(apf, APF_AREA_TOKEN));
  store<u32>(apf, 0, APF_AREA_TOKEN);
  leave(apf, vcpu);
  apfAcknowledge(apf);
}

function wake(vcpu: usize, token: u32): void {
  if (token === TOKEN_ALL) sleeperWakeAll(vcpu, token);
  else sleeperWake(vcpu, token);
}

/** The guest, in none of its handlers, writes MSR_KVM_ASYNC_PF_EN. Who sleeps is woken: what is outstanding will not be told. */
export function guestSwitch(vcpu: usize): void {
  const apf = vcpuApf(vcpu);
  assert(load<u32>(vcpu, GUEST_HANDLER) === IDLE);
  apfAttended(apf, ATTENTION_SWITCH);
  if (vcpuFaultPending(vcpu)) faultSuspend(vcpu, taskFault(guestCurrent(vcpu)));
  apfSwitch(apf, actorClock(vcpu));
  sleeperWakeAll(vcpu, TOKEN_ALL);
}

/** Somebody outside has the guest write `value` to MSR_KVM_ASYNC_PF_EN when it next runs. */
export function guestMsrWanted(vcpu: usize, value: u64): void {
  const apf = vcpuApf(vcpu);
  store<u64>(apf, value, APF_MSR);
  apfAttend(apf, ATTENTION_MSR);
}

/** The guest, in none of its handlers, writes it: bits 0 to 5 are EN_*, the others the address of its shared area. */
export function guestWriteMsr(vcpu: usize): void {
  const apf = vcpuApf(vcpu);
  const value = load<u64>(apf, APF_MSR);
  assert(load<u32>(vcpu, GUEST_HANDLER) === IDLE);
  apfAttended(apf, ATTENTION_MSR);
  if (vcpuFaultPending(vcpu)) faultSuspend(vcpu, taskFault(guestCurrent(vcpu)));
  actorSpend(vcpu, STAGE_EXIT, cost(COST_VM_EXIT_NS));
  store<u32>(apf, <u32>(value >> 12), APF_AREA_GFN);
  apfEnable(apf, <u32>value & 0x3f, actorClock(vcpu));
  // Of what was outstanding it will not be told: who switches off wakes his own sleepers (kvm_guest_cpu_offline()).
  if (!apfEnabled(apf)) sleeperWakeAll(vcpu, TOKEN_ALL);
  apfAttend(apf, ATTENTION_WRITTEN);
}

/** Somebody outside waits for guestMsrHandled(). */
export function guestMsrAwaited(vcpu: usize): bool {
  const apf = vcpuApf(vcpu);
  return apf !== 0 && (vcpuAttention(vcpu) & (ATTENTION_MSR | ATTENTION_WRITTEN)) !== 0;
}

/** True once after the guest has written the MSR and has handled everything that came of it. */
export function guestMsrHandled(vcpu: usize): bool {
  if (vcpuAttention(vcpu) !== ATTENTION_WRITTEN) return false;
  apfAttended(vcpuApf(vcpu), ATTENTION_WRITTEN);
  return true;
}
