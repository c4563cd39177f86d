import { actorClock } from "../sim/actor";
import { PSI_FLAGS, PSI_GROUP } from "./context";

// Pressure on memory, after Linux' PSI: a group (the cgroup of a VM) is stalled in part while some of its vCPUs that have work
// wait for memory, and in full while none of them gets work done. A halted vCPU counts as neither.
//
// group   0         4            8       16      24
//         +---------+------------+-------+-------+-------+
//         | stalled | productive | since | someNs| fullNs|
//         +---------+------------+-------+-------+-------+
//
// The accounting moves at the clocks of the vCPUs, which may run ahead of each other by a quantum; time never goes back.

const STALLED: usize = 0;
const PRODUCTIVE: usize = 4;
const SINCE: usize = 8;
const SOME_NS: usize = 16;
const FULL_NS: usize = 24;
export const PSI_BYTES: usize = 32;

/** The actor reclaims memory for itself. */
export const PSI_RECLAIM: u32 = 1;
/** The actor waits for a page to come back from swap. */
export const PSI_SWAP_IN: u32 = 2;

/** Total ns for which some vCPU was stalled. */
export function psiSomeNs(group: usize): u64 {
  return load<u64>(group, SOME_NS);
}

/** Total ns for which a vCPU was stalled and none got work done. */
export function psiFullNs(group: usize): u64 {
  return load<u64>(group, FULL_NS);
}

function settle(group: usize, time: u64): void {
  const since = load<u64>(group, SINCE);
  if (time <= since) return;
  store<u64>(group, time, SINCE);
  if (load<u32>(group, STALLED) === 0) return;
  store<u64>(group, load<u64>(group, SOME_NS) + (time - since), SOME_NS);
  if (load<u32>(group, PRODUCTIVE) !== 0) return;
  store<u64>(group, load<u64>(group, FULL_NS) + (time - since), FULL_NS);
}

function change(group: usize, stalled: i32, productive: i32, time: u64): void {
  settle(group, time);
  store<u32>(group, load<u32>(group, STALLED) + stalled, STALLED);
  store<u32>(group, load<u32>(group, PRODUCTIVE) + productive, PRODUCTIVE);
  assert(<i32>load<u32>(group, STALLED) >= 0 && <i32>load<u32>(group, PRODUCTIVE) >= 0);
}

/** A vCPU begins to get work done: it starts, or wakes from HLT. */
export function psiStart(group: usize, time: u64): void {
  change(group, 0, 1, time);
}

/** A vCPU has nothing to do. */
export function psiStop(group: usize, time: u64): void {
  change(group, 0, -1, time);
}

/** psi_memstall_enter() and _leave(), at the actor's clock: `reason` (PSI_*) begins or ends. An actor without a group counts nowhere. */
export function psiMemstall(actor: usize, reason: u32, on: bool): void {
  const group = <usize>load<u32>(actor, PSI_GROUP);
  const before = load<u32>(actor, PSI_FLAGS);
  const after = on ? before | reason : before & ~reason;
  if (group === 0 || after === before) return;
  store<u32>(actor, after, PSI_FLAGS);
  if (before === 0) change(group, 1, -1, actorClock(actor));
  else if (after === 0) change(group, -1, 1, actorClock(actor));
}

/** psiMemstall() on and off again, for a vCPU that was not stalled and is from one time to another, when nobody else of its group moves. */
export function psiStalled(actor: usize, from: u64, to: u64): void {
  const group = <usize>load<u32>(actor, PSI_GROUP);
  assert(load<u32>(actor, PSI_FLAGS) === 0);
  if (group === 0) return;
  settle(group, from);
  const since = load<u64>(group, SINCE);
  if (to <= since) return;
  store<u64>(group, to, SINCE);
  store<u64>(group, load<u64>(group, SOME_NS) + (to - since), SOME_NS);
  if (load<u32>(group, PRODUCTIVE) === 1)
    store<u64>(group, load<u64>(group, FULL_NS) + (to - since), FULL_NS);
}
