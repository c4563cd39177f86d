import { STAGE_QUEUE } from "../sim/actor";
import { waitqueueSleep, waitqueueWakeAll } from "../sim/waitqueue";
import { setVmEnd, vmEnd, vmLeaving } from "./vm";

// How far the end of a VM is (destroy.ts): its process gets SIGKILL, and each of its threads leaves when it comes by; the last to be waited for is whoever
// is in the middle of something.

const LIVES: u32 = 0;
const ENDS: u32 = 1;
const GONE: u32 = 2;

/** The threads of the VM's process leave, or have left. */
export function vmEnding(vm: usize): bool {
  return vmEnd(vm) !== LIVES;
}

/** There is nothing left of the VM. */
export function vmGone(vm: usize): bool {
  return vmEnd(vm) === GONE;
}

/** SIGKILL. */
export function vmEndBegin(vm: usize): void {
  assert(!vmEnding(vm));
  setVmEnd(vm, ENDS);
}

export function vmEndDone(vm: usize): void {
  assert(vmEnd(vm) === ENDS);
  setVmEnd(vm, GONE);
}

/** Whoever ends the VM sleeps until one of its threads has left, or is idle. */
export function threadsWait(vm: usize, actor: usize): void {
  waitqueueSleep(vmLeaving(vm), actor, STAGE_QUEUE);
}

/** A thread that works for the VM has nothing more to do at `time`, or has left. */
export function threadIdle(vm: usize, time: u64): void {
  if (vmEnding(vm)) waitqueueWakeAll(vmLeaving(vm), time);
}
