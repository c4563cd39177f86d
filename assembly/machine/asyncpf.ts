import { guestSleepers, setGuestSleepers, sleepersLayout, sleepersStart } from "../guest/apfsleep";
import {
  APF_ID,
  ATTENTION_SWITCH,
  apfAttend,
  apfCreate,
  apfLayout,
  apfLink,
  apfWorkersWanted,
  RULES_FLAGS,
  RULES_LIMIT,
  RULES_WORKERS,
  vmApfRules,
} from "../kvm/apf";
import { apfDesignRules } from "../kvm/apfdesign";
import { apfTableGrow } from "../kvm/apftable";
import { apfKick, workersCreate } from "../kvm/apfworker";
import { vcpuApf, vcpuNext } from "../kvm/vcpu";
import { vmVcpuList, vmVcpus } from "../kvm/vm";
import { vmEnding } from "../kvm/vmend";
import { vmAt } from "../kvm/vmtable";
import { arenaCommit } from "../memory/arena";
import { E_NO_MEMORY, OK } from "../memory/status";
import { eventsCapacity, eventsGrow, eventsMove } from "../sim/events";
import { now } from "./state";

// Asynchronous page faults of a VM: set up before boot, or changed while the machine lives. What a design needs is made when it is
// first chosen; a vCPU goes over to it when its guest next runs and writes the MSR.

// A vCPU: a kick. A worker: its wake-up or its next step.
const EVENTS_PER_VCPU: u32 = 1;
const EVENTS_PER_WORKER: u32 = 2;

function setRules(rules: usize, flags: u32, limit: u32, workers: u32): void {
  store<u32>(rules, flags, RULES_FLAGS);
  store<u32>(rules, limit, RULES_LIMIT);
  store<u32>(rules, workers, RULES_WORKERS);
}

/**
 * The design of a VM that has just been made, at set-up.
 * @param design APF_DESIGN_*
 * @param limit outstanding faults of a vCPU, at least 1
 * @param workers of the VM that may work at once, at least 1
 * @param pin APF_PIN_*
 */
export function configAsyncPf(
  vm: u32,
  design: u32,
  limit: u32,
  workers: u32,
  sendAlways: bool,
  pin: u32,
  tokenSkipsZero: bool,
): i32 {
  if (!apfCreate(vmAt(vm))) return E_NO_MEMORY;
  setRules(vmApfRules(vmAt(vm)), apfDesignRules(design, sendAlways, pin, tokenSkipsZero), limit, workers);
  return workersCreate(vmAt(vm), apfWorkersWanted(vmAt(vm))) ? OK : E_NO_MEMORY;
}

/** Events that the asynchronous page faults of a VM can have pending at once. */
export function asyncPfEvents(vm: usize): u32 {
  if (vmApfRules(vm) === 0) return 0;
  return EVENTS_PER_VCPU * vmVcpus(vm) + EVENTS_PER_WORKER * apfWorkersWanted(vm);
}

/** Places what the VM's rules ask for, at set-up. */
export function asyncPfLayout(vm: usize): void {
  if (vmApfRules(vm) === 0) return;
  apfLayout(vm);
  const table = sleepersLayout(dummies(vm));
  for (let vcpu = vmVcpuList(vm); vcpu !== 0; vcpu = vcpuNext(vcpu)) setGuestSleepers(vcpu, table);
}

/** Every vCPU of VM `id` has tried so many faults before: its tokens go on from there. */
export function asyncPfAttempts(id: u32, attempts: u32): void {
  for (let vcpu = vmVcpuList(vmAt(id)); vcpu !== 0; vcpu = vcpuNext(vcpu)) {
    if (vcpuApf(vcpu) !== 0) store<u32>(vcpuApf(vcpu), attempts, APF_ID);
  }
}

// A "ready" can come before its task sleeps once a vCPU, and for what was outstanding at a broadcast.
function dummies(vm: usize): u32 {
  return (load<u32>(vmApfRules(vm), RULES_LIMIT) + 2) * vmVcpus(vm);
}

/** The arena has been committed: the guest will go over to its VM's rules with the first thing that it does. */
export function asyncPfBoot(vm: usize): void {
  if (vmApfRules(vm) === 0) return;
  sleepersStart(guestSleepers(vmVcpuList(vm)), dummies(vm));
  link(vm);
  start(vm, 0);
}

function link(vm: usize): void {
  for (let vcpu = vmVcpuList(vm); vcpu !== 0; vcpu = vcpuNext(vcpu)) {
    apfTableGrow(vcpuApf(vcpu));
    apfLink(vcpuApf(vcpu));
  }
}

function start(vm: usize, time: u64): void {
  for (let vcpu = vmVcpuList(vm); vcpu !== 0; vcpu = vcpuNext(vcpu)) {
    const apf = vcpuApf(vcpu);
    apfAttend(apf, ATTENTION_SWITCH);
    apfKick(apf, time);
  }
}

/**
 * Changes the design of a living VM; the arguments are those of configAsyncPf(). What is outstanding is cancelled, unless only the
 * limit or the number of workers has changed. Fails with E_NO_MEMORY.
 */
export function liveAsyncPf(
  id: u32,
  design: u32,
  limit: u32,
  workers: u32,
  sendAlways: bool,
  pin: u32,
  tokenSkipsZero: bool,
): i32 {
  const vm = vmAt(id);
  if (vmEnding(vm)) return OK;
  const fresh = vmApfRules(vm) === 0;
  if (fresh && !apfCreate(vm)) return E_NO_MEMORY;
  const rules = vmApfRules(vm);
  const flags = apfDesignRules(design, sendAlways, pin, tokenSkipsZero);
  const same = load<u32>(rules, RULES_FLAGS) === flags;
  setRules(rules, flags, max<u32>(limit, load<u32>(rules, RULES_LIMIT)), workers);
  if (!workersCreate(vm, apfWorkersWanted(vm))) return E_NO_MEMORY;
  apfLayout(vm);
  const heap = eventsGrow(eventsCapacity() + asyncPfEvents(vm));
  const table: usize = fresh ? sleepersLayout(dummies(vm)) : 0;
  if (arenaCommit() !== OK) return E_NO_MEMORY;
  eventsMove(heap);
  if (fresh) sleepersStart(table, dummies(vm));
  for (let vcpu = vmVcpuList(vm); vcpu !== 0; vcpu = vcpuNext(vcpu)) {
    if (fresh) setGuestSleepers(vcpu, table);
  }
  link(vm);
  setRules(rules, flags, limit, workers);
  if (!same) start(vm, now());
  return OK;
}
