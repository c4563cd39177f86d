import { actorClock } from "../sim/actor";
import { ACCESS_FAULT, accessRun, accessStop } from "./access";
import { guestEnter } from "./guestspace";
import {
  PF_EMULATED,
  PF_KIND,
  STEP_BEGAN,
  STEP_EMULATED,
  STEP_FAULTS,
  STEP_FLAGS,
  STEP_GFN,
  STEP_ROOT,
  STEP_STATE,
  STEP_WORD,
  vcpuVm,
} from "./vcpu";
import { vmIsShadow } from "./vm";

// A single access that somebody outside has a vCPU make, between two accesses of its guest's tasks: machine.access().

const NONE: u32 = 0;
const WANTED: u32 = 1;
const BEGUN: u32 = 2;
const DONE: u32 = 3;

const IRQS_OFF: u32 = 1;
/** The machine has an event that tells the vCPU of its access. */
const TOLD: u32 = 2;

/** Under shadow paging, the vCPU's accesses of this kind are made in the address space of `root` from now on. */
export function setStepRoot(vcpu: usize, root: u32): void {
  store<u32>(vcpu, root, STEP_ROOT);
}

/** The vCPU is to access `gfn` before anything else of its guest, perhaps with the guest's interrupts off. */
export function stepWanted(vcpu: usize, gfn: u32, write: bool, irqsOff: bool): void {
  assert(load<u32>(vcpu, STEP_STATE) === NONE || load<u32>(vcpu, STEP_STATE) === DONE);
  store<u32>(vcpu, write ? 1 << 31 : 0, STEP_WORD);
  store<u32>(vcpu, gfn, STEP_GFN);
  store<u32>(vcpu, (load<u32>(vcpu, STEP_FLAGS) & TOLD) | (irqsOff ? IRQS_OFF : 0), STEP_FLAGS);
  store<u32>(vcpu, 0, STEP_FAULTS);
  store<u32>(vcpu, 0, STEP_EMULATED);
  store<u32>(vcpu, WANTED, STEP_STATE);
}

/** Such an access has to be made, or has begun; one that has begun is the vCPU's pending fault. */
export function stepPending(vcpu: usize, faulting: bool): bool {
  const state = load<u32>(vcpu, STEP_STATE);
  return state === BEGUN || (state === WANTED && !faulting);
}

/** Makes the access, or repeats it after its fault. True when it has been made; accessStop() tells of violations. */
export function stepRun(vcpu: usize): bool {
  if (load<u32>(vcpu, STEP_STATE) === WANTED) {
    store<u64>(vcpu, actorClock(vcpu), STEP_BEGAN);
    store<u32>(vcpu, BEGUN, STEP_STATE);
    if (vmIsShadow(vcpuVm(vcpu))) guestEnter(vcpu, load<u32>(vcpu, STEP_ROOT));
  }
  if (load<u32>(vcpu, PF_EMULATED) !== 0) store<u32>(vcpu, load<u32>(vcpu, PF_EMULATED), STEP_EMULATED);
  const made = accessRun(vcpu, vcpu + STEP_WORD, 1, load<u32>(vcpu, STEP_GFN), 0, 0, 0, u64.MAX_VALUE);
  if (accessStop() === ACCESS_FAULT) {
    store<u32>(vcpu, load<u32>(vcpu, STEP_FAULTS) + 1, STEP_FAULTS);
    return false;
  }
  assert(made === 1);
  store<u32>(vcpu, DONE, STEP_STATE);
  return true;
}

export function stepIrqsOff(vcpu: usize): bool {
  return (load<u32>(vcpu, STEP_FLAGS) & IRQS_OFF) !== 0;
}

/**
 * False when an event that tells the vCPU of an access is on its way already: a vCPU whose clock is behind makes many before that comes. Otherwise
 * one is from now on.
 */
export function stepTell(vcpu: usize): bool {
  const flags = load<u32>(vcpu, STEP_FLAGS);
  store<u32>(vcpu, flags | TOLD, STEP_FLAGS);
  return (flags & TOLD) === 0;
}

/** The event has come. */
export function stepTold(vcpu: usize): void {
  store<u32>(vcpu, load<u32>(vcpu, STEP_FLAGS) & ~TOLD, STEP_FLAGS);
}

export function stepDone(vcpu: usize): bool {
  return load<u32>(vcpu, STEP_STATE) === DONE;
}

/** Faults that the last access took: exits with a page fault, those that started over included. */
export function stepFaults(vcpu: usize): u32 {
  return load<u32>(vcpu, STEP_FAULTS);
}

/** Who has emulated the last access, EMULATED_*; 0: nobody. */
export function stepEmulated(vcpu: usize): u32 {
  return load<u32>(vcpu, STEP_EMULATED);
}

/** FAULT_* of the last access, when it took one. */
export function stepKind(vcpu: usize): u32 {
  return load<u32>(vcpu, PF_KIND);
}

export function stepBegan(vcpu: usize): u64 {
  return load<u64>(vcpu, STEP_BEGAN);
}
