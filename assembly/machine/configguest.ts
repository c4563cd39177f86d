import { taskOwn } from "../guest/task";
import { vmAt } from "../kvm/vmtable";
import { E_NO_MEMORY, OK } from "../memory/status";
import { churnSetup, churnWeight } from "../workload/churn";
import { givebackCreate, pagedAttach } from "./giveback";
import { taskAt } from "./state";

// Set-up of guests with memory management of their own, beside config.ts: what the binding describes, call by call.

/**
 * Gives a VM memory management of its own, for tasks with `pages` pages together; before its tasks.
 * @param design FREE_*; `minOrder` the least order that is told to the host
 * @param balloon it has a balloon, and wants it to hold `target` pages; `deflateOnOom`: it gives way when memory is out
 * @param poison free pages are poisoned
 */
export function configGuest(
  vm: u32,
  pages: u32,
  design: u32,
  minOrder: u32,
  balloon: bool,
  target: u32,
  deflateOnOom: bool,
  poison: bool,
): i32 {
  return givebackCreate(vmAt(vm), pages, design, minOrder, balloon, target, deflateOnOom, poison)
    ? OK
    : E_NO_MEMORY;
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
