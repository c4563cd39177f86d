import {
  CALL_BYTES,
  callDone,
  callFlags,
  callInit,
  callKind,
  callResult,
  callStart,
  setCallSlot,
} from "../kvm/call";
import { kvmLock } from "../kvm/guestfile";
import {
  VIOLATION_LOST_WRITE,
  VIOLATION_STALE_READ,
  VIOLATION_TOKEN_REUSE,
  VIOLATIONS_KEPT,
  violationAt,
  violations,
} from "../kvm/integrity";
import { MIGRATE_ONCE } from "../kvm/migratecalls";
import { VM_WRITEPAGE_TRYLOCK_FAILED, vmCount } from "../kvm/stats";
import { stepDone, stepPending, stepWanted } from "../kvm/step";
import { vcpuFaultPending, vcpuVm } from "../kvm/vcpu";
import { vmGuestFile, vmMonitor, vmStats } from "../kvm/vm";
import { vmEnding } from "../kvm/vmend";
import { vmAt, vmTableCount } from "../kvm/vmtable";
import { lruAddDrainAll } from "../mm/lrubatch";
import {
  ACTOR_BLOCKED,
  ACTOR_GUEST,
  ACTOR_HALTED,
  ACTOR_SPINNING,
  ACTOR_VCPU,
  actorClock,
  actorCpu,
  actorId,
  actorKind,
  actorNext,
  actorSpinLocks,
  actorState,
  actorWaitUntil,
  STAGE_CPU,
} from "../sim/actor";
import {
  EVENT_ACCESS,
  EVENT_CALL,
  EVENT_STEP,
  eventArg,
  eventArgAt,
  eventCount,
  eventKind,
  eventKindAt,
  eventPost,
  eventTake,
  eventTimeAt,
  setEventHorizon,
} from "../sim/events";
import { mutexOwner } from "../sim/mutex";
import { traceActor } from "../sim/trace";
import { cpuRelease } from "./cpus";
import { actDo, actDue, actsMost, EXPLORE_ACT_BASE, guestGoesOn } from "./exploreguest";
import { vcpuAt } from "./lookup";
import { dispatch, stepOnce } from "./scheduler";
import { firstActor, host, now, STOP_NONE, setNow, setStop, stopReason } from "./state";
import { mix } from "./statehash";
import { TURN_FAULT, TURN_HALT, turn, turnResult } from "./turn";

// The explorer's hands: what could happen next, whatever the time, and one of it made to happen. Whoever is passed over has been
// delayed: its clock moves on to the present when its own turn comes, as that of an actor whose CPU was taken from it. So every
// order that is chosen here is one that the same machine could have come by. The horizon is 0, so that each step ends where it may.
//
// A choice is a pending event, an act of a guest (exploreguest.ts), or a vCPU in the guest with an access to make, a task or an event, or to leave;
// another vCPU in the guest does nothing.

const CHOICES_MOST: u32 = 64;
const CALLS_MOST: u32 = 8;
const CHOICES: usize = memory.data(64 * 8, 8); // event index or TURN, actor
const CALLS: usize = memory.data(8 * 72, 8);

const TURN: u32 = 0xffffffff;
const ACT: u32 = 0xfffffffe;

/** What was done beforehand is over: pages that wait in a batch of some CPU are on their lists (lru_add_drain_all()). */
export function exploreSettle(): void {
  lruAddDrainAll(host(), vmMonitor(vmAt(0)));
}

/** Counts what could happen next. */
export function exploreChoices(): u32 {
  assert(CALL_BYTES === 72);
  let count: u32 = 0;
  for (let index: u32 = 0; index < eventCount() && count < CHOICES_MOST; index++) {
    put(count++, index, eventArgAt(index));
  }
  for (let actor = firstActor(); actor !== 0 && count < CHOICES_MOST; actor = actorNext(actor)) {
    if (actorKind(actor) !== ACTOR_VCPU || actorState(actor) !== ACTOR_GUEST) continue;
    const ends = vmEnding(vcpuVm(actor));
    if (ends || vcpuFaultPending(actor) || stepPending(actor, false) || guestGoesOn(actor))
      put(count++, TURN, <u32>actor);
  }
  for (let index = actDue(0); index < actsMost() && count < CHOICES_MOST; index = actDue(index + 1)) {
    put(count++, ACT, index);
  }
  return count;
}

function put(choice: u32, what: u32, subject: u32): void {
  const at = CHOICES + ((<usize>choice) << 3);
  store<u32>(at, what);
  store<u32>(at, subject, 4);
}

/** Number of the actor of a choice, or EXPLORE_ACT_BASE and the number of an act; 0xffffffff for an event of a device or a timer. */
export function exploreActor(choice: u32): u32 {
  const at = CHOICES + ((<usize>choice) << 3);
  const what = load<u32>(at);
  if (what === ACT) return EXPLORE_ACT_BASE + load<u32>(at, 4);
  if (what !== TURN && eventKindAt(what) > EVENT_STEP + 1) return 0xffffffff;
  return actorId(<usize>load<u32>(at, 4));
}

/** Makes one of the choices of the last exploreChoices() happen. */
export function exploreStep(choice: u32): void {
  const at = CHOICES + ((<usize>choice) << 3);
  const what = load<u32>(at);
  const subject = <usize>load<u32>(at, 4);
  if (stopReason() !== STOP_NONE) setStop(STOP_NONE);
  setEventHorizon(0);
  if (what === TURN) {
    delayed(subject, actorClock(subject));
    traceActor(actorCpu(subject), actorId(subject));
    turn(subject, actorClock(subject) + 1, 1);
    if (turnResult() === TURN_FAULT) eventPost(actorClock(subject), EVENT_STEP, <u32>subject);
    else if (turnResult() === TURN_HALT) cpuRelease(subject);
    return;
  }
  if (what === ACT) {
    actDo(<u32>subject);
    return;
  }
  const time = eventTimeAt(what);
  eventTake(what);
  if (eventKind() !== EVENT_STEP) {
    setNow(max<u64>(now(), time));
    dispatch(eventKind(), <usize>eventArg(), now());
    return;
  }
  delayed(subject, time);
  traceActor(actorCpu(subject), actorId(subject));
  if (stepOnce(actorKind(subject), subject)) eventPost(actorClock(subject), EVENT_STEP, <u32>subject);
}

// The actor acts, not before the present.
function delayed(actor: usize, due: u64): void {
  setNow(max<u64>(now(), due));
  actorWaitUntil(actor, STAGE_CPU, now());
}

/** vCPU `vcpu` of VM `vm` has an access to make. */
export function exploreAccess(vm: u32, vcpu: u32, gfn: u32, write: bool): void {
  const actor = vcpuAt(vmAt(vm), vcpu);
  stepWanted(actor, gfn, write, false);
  dispatch(EVENT_ACCESS, actor, now());
}

export function exploreAccessDone(vm: u32, vcpu: u32): bool {
  return stepDone(vcpuAt(vmAt(vm), vcpu));
}

/** The monitor of VM `vm` has a call to make, number `index` of those under way. */
export function exploreCall(index: u32, vm: u32, kind: u32, start: u32, end: u32): void {
  assert(index < CALLS_MOST);
  const call = CALLS + <usize>index * CALL_BYTES;
  callInit(call, vm, kind, start, end);
  dispatch(EVENT_CALL, call, now());
}

/** The call migrates pages of VM `vm`, in one pass: further ones would only be the same again. */
export function exploreCallOf(index: u32, vm: u32): void {
  setCallSlot(CALLS + <usize>index * CALL_BYTES, vm + 1, MIGRATE_ONCE, 0);
}

/** Pages that a call which has ended could not migrate. */
export function exploreCallFailed(index: u32): u32 {
  return callFlags(CALLS + <usize>index * CALL_BYTES);
}

/** How far the calls have come, for the hash of a state. */
export function mixCalls(): void {
  for (let index: u32 = 0; index < CALLS_MOST; index++) {
    const call = CALLS + <usize>index * CALL_BYTES;
    mix(callStart(call) | ((<u64>callFlags(call)) << 32));
    mix(callResult(call) | ((<u64>callKind(call)) << 32));
  }
}

export function exploreCallDone(index: u32): bool {
  return callDone(CALLS + <usize>index * CALL_BYTES);
}

/** The actor of a program that has not ended sleeps, or is halted; else it spins for a lock. */
export function exploreSleeps(vm: u32, vcpu: i32): bool {
  const owner = vmAt(vm);
  const state = actorState(vcpu < 0 ? vmMonitor(owner) : vcpuAt(owner, <u32>vcpu));
  return state === ACTOR_BLOCKED || state === ACTOR_HALTED;
}

/** Number of the actor of a program; vCPU -1 is the monitor. */
export function exploreActorOf(vm: u32, vcpu: i32): u32 {
  const owner = vmAt(vm);
  return actorId(vcpu < 0 ? vmMonitor(owner) : vcpuAt(owner, <u32>vcpu));
}

/** Bit 0: the actor of a program holds mmu_lock; bit 1: it spins for it; bit 2: it holds kvm->lock, of whatever VM. */
export function exploreLocks(vm: u32, vcpu: i32): u32 {
  const owner = vmAt(vm);
  const actor = vcpu < 0 ? vmMonitor(owner) : vcpuAt(owner, <u32>vcpu);
  let locks: u32 = (actorSpinLocks(actor) !== 0 ? 1 : 0) | (actorState(actor) === ACTOR_SPINNING ? 2 : 0);
  for (let id: u32 = 0; id < vmTableCount(); id++) {
    if (vmGuestFile(vmAt(id)) !== 0 && mutexOwner(kvmLock(vmAt(id))) === actor) locks |= 4;
  }
  return locks;
}

/** How often writepage has met kvm->lock held, in all VMs. */
export function exploreTrylocks(): u32 {
  let failed: u64 = 0;
  for (let id: u32 = 0; id < vmTableCount(); id++) {
    failed += vmCount(vmStats(vmAt(id)), VM_WRITEPAGE_TRYLOCK_FAILED);
  }
  return <u32>failed;
}

/** Address of the first noted read that found another content than the last write, or token that is used twice; 0 for none. */
export function exploreContent(): usize {
  const noted = min<u32>(violations(), VIOLATIONS_KEPT);
  for (let index: u32 = 0; index < noted; index++) {
    const kind = load<u32>(violationAt(index));
    const found = kind === VIOLATION_LOST_WRITE || kind === VIOLATION_STALE_READ;
    if (found || kind === VIOLATION_TOKEN_REUSE) return violationAt(index);
  }
  return 0;
}
