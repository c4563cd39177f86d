import { taskOwn } from "../guest/task";
import { vmAt } from "../kvm/vmtable";
import { E_NO_MEMORY, OK } from "../memory/status";
import { churnSetup, churnWeight } from "../workload/churn";
import { givebackCreate, givebackDevice, givebackDrivers, pagedAttach } from "./giveback";
import { taskAt } from "./state";

// Set-up of guests with memory management of their own, beside config.ts: what the binding describes, call by call.

/**
 * Gives a VM memory management of its own, for tasks with `pages` pages together; before its tasks.
 * @param design FREE_*; `minOrder` the least order that is told to the host; `array` places of hinting's arrays
 */
export function configGuest(vm: u32, pages: u32, design: u32, minOrder: u32, array: u32): i32 {
  return givebackCreate(vmAt(vm), pages, design, minOrder, array) ? OK : E_NO_MEMORY;
}

/**
 * Gives a VM whose guest has memory management of its own a balloon device: the host's side.
 * @param offered FEATURE_*; `layout` LAYOUT_* what bit 5 means to it
 * @param ring descriptors of a queue; `statsNs` between two looks at the guest's statistics, 0 for none
 */
export function configBalloonDevice(vm: u32, offered: u32, layout: u32, ring: u32, statsNs: f64): i32 {
  return givebackDevice(vmAt(vm), offered, layout, ring, <u64>statsNs) ? OK : E_NO_MEMORY;
}

/**
 * The guest's drivers of the VM's balloon device; after configBalloonDevice().
 * @param target pages that the balloon shall hold; `deflates`: it knows DEFLATE_ON_OOM
 * @param poisons free pages are poisoned; `zeroes` they are filled with zeroes
 */
export function configBalloonDriver(
  vm: u32,
  target: u32,
  deflates: bool,
  poisons: bool,
  zeroes: bool,
  statsNs: f64,
): i32 {
  return givebackDrivers(vmAt(vm), target, deflates, poisons, zeroes, <u64>statsNs) ? OK : E_NO_MEMORY;
}

/** What a task with pages does in such a guest: PAGED_*. `pauseNs` between two lives of a process, or two rounds of churn. */
export function configPaged(task: u32, kind: u32, pauseNs: f64): i32 {
  return pagedAttach(taskAt(task), kind, pauseNs) ? OK : E_NO_MEMORY;
}

/** Churn frees `share` of its pages at a time, in 2^-26. */
export function configChurn(task: u32, share: u32): void {
  churnSetup(taskOwn(taskAt(task)), share);
}

/** The chance of `order` and all below it, in 2^-26. */
export function configChurnOrder(task: u32, order: u32, cumulated: u32): void {
  churnWeight(taskOwn(taskAt(task)), order, cumulated);
}
