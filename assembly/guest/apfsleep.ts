import { hash32 } from "../kvm/apftable";
import { vcpuIndex } from "../kvm/vcpu";
import { arenaReserve, PART_ASYNC_PF } from "../memory/arena";
import { actorClock } from "../sim/actor";
import { emit, TRACE_KVM_ASYNC_PF_TASK_WAIT, TRACE_KVM_ASYNC_PF_TASK_WAKE } from "../sim/trace";
import { guestCurrent, guestSleep, guestWake } from "./sched";
import {
  GUEST_SLEEPERS,
  SLEEPER_BYTES,
  TASK_WAITING,
  taskId,
  taskSleeper,
  taskState,
  taskVcpu,
} from "./task";

// The tasks of a guest that wait for a page, by token: kvm_async_pf_task_wait() and _wake() of a Linux guest. A "ready" whose task
// does not sleep yet leaves a dummy, so that the task goes on at once when it comes to sleep.
//
// table   0        1024      1028
//         +--------+---------+---------+         node   0      4       8      12
//         | bucket × 256     | dummies | …              +------+-------+------+------+
//         +--------+---------+---------+                | next | token | vCPU | task |      task 0: a dummy
//
// invariant: a node of a task stands in the table exactly while that task waits; its bucket is that of its token

const BUCKET_BITS: u32 = 8;
const DUMMIES: usize = 4 << 8;
const TABLE_BYTES: usize = DUMMIES + 8;

const NEXT: usize = 0;
const TOKEN: usize = 4;
const VCPU: usize = 8;
const TASK: usize = 12;

/** Reserves the table of a guest with room for `dummies`; ready after sleepersStart(). */
export function sleepersLayout(dummies: u32): usize {
  return arenaReserve(PART_ASYNC_PF, TABLE_BYTES + SLEEPER_BYTES * <u64>dummies);
}

export function sleepersStart(table: usize, dummies: u32): void {
  memory.fill(table, 0, TABLE_BYTES);
  for (let index: u32 = 0; index < dummies; index++) {
    const node = table + TABLE_BYTES + SLEEPER_BYTES * <usize>index;
    store<u32>(node, load<u32>(table, DUMMIES), NEXT);
    store<u32>(table, <u32>node, DUMMIES);
  }
}

export function setGuestSleepers(vcpu: usize, table: usize): void {
  store<u32>(vcpu, <u32>table, GUEST_SLEEPERS);
}

/** The guest's table, 0 while there is none. */
export function guestSleepers(vcpu: usize): usize {
  return <usize>load<u32>(vcpu, GUEST_SLEEPERS);
}

function bucket(table: usize, token: u32): usize {
  return table + ((<usize>hash32(token, BUCKET_BITS)) << 2);
}

// Takes the node of `token` out of the table, 0 for none.
function unlink(table: usize, token: u32): usize {
  let at = bucket(table, token);
  while (load<u32>(at) !== 0) {
    const node = <usize>load<u32>(at);
    if (load<u32>(node, TOKEN) === token) {
      store<u32>(at, load<u32>(node, NEXT));
      return node;
    }
    at = node + NEXT;
  }
  return 0;
}

function link(table: usize, node: usize, token: u32, vcpu: usize, task: usize): void {
  const at = bucket(table, token);
  store<u32>(node, token, TOKEN);
  store<u32>(node, <u32>vcpu, VCPU);
  store<u32>(node, <u32>task, TASK);
  store<u32>(node, load<u32>(at), NEXT);
  store<u32>(at, <u32>node);
}

function freeDummy(table: usize, node: usize): void {
  store<u32>(node, load<u32>(table, DUMMIES), NEXT);
  store<u32>(table, <u32>node, DUMMIES);
}

/**
 * kvm_async_pf_task_wait(): the current task sleeps until `token` is ready; if that came first it goes on. False: another task sleeps under
 * this token already, because the tokens have wrapped around. The kernel would take its node, which lies on a stack, for a dummy and free it.
 */
export function sleeperWait(vcpu: usize, token: u32): bool {
  const table = guestSleepers(vcpu);
  const task = guestCurrent(vcpu);
  const node = unlink(table, token);
  emit(
    TRACE_KVM_ASYNC_PF_TASK_WAIT,
    actorClock(vcpu),
    token,
    taskId(task),
    node === 0 ? 1 : 0,
    vcpuIndex(vcpu),
  );
  if (node !== 0) {
    const sleeper = <usize>load<u32>(node, TASK);
    if (sleeper !== 0) {
      link(table, node, token, load<u32>(node, VCPU), sleeper);
      return false;
    }
    freeDummy(table, node);
    return true;
  }
  link(table, taskSleeper(task), token, vcpu, task);
  guestSleep(vcpu);
  return true;
}

/** kvm_async_pf_task_wake(): wakes the task that waits for `token`, or leaves a dummy for it. */
export function sleeperWake(vcpu: usize, token: u32): void {
  const table = guestSleepers(vcpu);
  const node = unlink(table, token);
  let woken: u32 = 0;
  if (node === 0) {
    const dummy = <usize>load<u32>(table, DUMMIES);
    assert(dummy !== 0);
    store<u32>(table, load<u32>(dummy, NEXT), DUMMIES);
    link(table, dummy, token, vcpu, 0);
  } else if (load<u32>(node, TASK) === 0) {
    link(table, node, token, vcpu, 0); // a second "ready" of one token: the dummy stays
  } else {
    guestWake(vcpu, <usize>load<u32>(node, TASK));
    woken = 1;
  }
  emit(TRACE_KVM_ASYNC_PF_TASK_WAKE, actorClock(vcpu), token, woken, vcpuIndex(vcpu), 0);
}

/** apf_task_wake_all(): wakes every task that went to sleep on this vCPU. */
export function sleeperWakeAll(vcpu: usize, token: u32): void {
  const table = guestSleepers(vcpu);
  let woken: u32 = 0;
  for (let index: usize = 0; index < 1 << BUCKET_BITS; index++) {
    let at = table + (index << 2);
    while (load<u32>(at) !== 0) {
      const node = <usize>load<u32>(at);
      const task = <usize>load<u32>(node, TASK);
      if (task === 0 || load<u32>(node, VCPU) !== <u32>vcpu) {
        at = node + NEXT;
        continue;
      }
      store<u32>(at, load<u32>(node, NEXT));
      guestWake(vcpu, task);
      woken++;
    }
  }
  emit(TRACE_KVM_ASYNC_PF_TASK_WAKE, actorClock(vcpu), token, woken, vcpuIndex(vcpu), 0);
}

/** The token that `task` sleeps for, -1 when it does not, or for something else. */
export function sleeperToken(task: usize): f64 {
  const table = guestSleepers(taskVcpu(task));
  if (table === 0) return -1;
  const token = load<u32>(taskSleeper(task), TOKEN);
  let node = <usize>load<u32>(bucket(table, token));
  while (node !== 0 && node !== taskSleeper(task)) node = <usize>load<u32>(node, NEXT);
  return node === 0 ? -1 : <f64>token;
}

/** A dummy stands under `token` in the table of the guest of `vcpu`. */
export function sleeperIsDummy(vcpu: usize, token: u32): bool {
  let node = <usize>load<u32>(bucket(guestSleepers(vcpu), token));
  while (node !== 0 && load<u32>(node, TOKEN) !== token) node = <usize>load<u32>(node, NEXT);
  return node !== 0 && load<u32>(node, TASK) === 0;
}

/** Dummies in the table of the guest of `vcpu`. */
export function sleeperDummies(vcpu: usize): u32 {
  const table = guestSleepers(vcpu);
  let dummies: u32 = 0;
  for (let index: usize = 0; index < 1 << BUCKET_BITS; index++) {
    let node = <usize>load<u32>(table + (index << 2));
    for (; node !== 0; node = <usize>load<u32>(node, NEXT)) {
      if (load<u32>(node, TASK) === 0) dummies++;
    }
  }
  return dummies;
}

/** Takes every dummy of the guest of `vcpu` out of its table. */
export function sleepersForget(vcpu: usize): void {
  const table = guestSleepers(vcpu);
  for (let index: usize = 0; index < 1 << BUCKET_BITS; index++) {
    let at = table + (index << 2);
    while (load<u32>(at) !== 0) {
      const node = <usize>load<u32>(at);
      if (load<u32>(node, TASK) !== 0) {
        at = node + NEXT;
        continue;
      }
      store<u32>(at, load<u32>(node, NEXT));
      freeDummy(table, node);
    }
  }
}

/** Tasks of `vcpu` that sleep; asserts that they are where the table says. */
export function checkSleepers(vcpu: usize): u32 {
  const table = guestSleepers(vcpu);
  let sleeping: u32 = 0;
  if (table === 0) return 0;
  for (let index: u32 = 0; index < 1 << BUCKET_BITS; index++) {
    let node = <usize>load<u32>(table + ((<usize>index) << 2));
    for (; node !== 0; node = <usize>load<u32>(node, NEXT)) {
      assert(hash32(load<u32>(node, TOKEN), BUCKET_BITS) === index);
      if (load<u32>(node, TASK) === 0 || load<u32>(node, VCPU) !== <u32>vcpu) continue;
      assert(taskState(<usize>load<u32>(node, TASK)) === TASK_WAITING);
      sleeping++;
    }
  }
  return sleeping;
}
