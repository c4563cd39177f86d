import {
  CALL_BALLOON,
  CALL_BYTES,
  CALL_FREE_PAGE_HINT,
  CALL_MEMSLOT,
  CALL_OFFLINE,
  callBegan,
  callDone,
  callEnd,
  callEnded,
  callFlags,
  callHva,
  callInit,
  callKind,
  callResult,
  callSlot,
  callStart,
  callStatus,
  callVm,
  HVA_USUAL,
  setCallBegan,
  setCallEnd,
  setCallEnded,
  setCallFlags,
  setCallHva,
  setCallSlot,
  setCallStart,
  setCallStatus,
} from "../kvm/call";
import { memslotHva, memslotIndex } from "../kvm/memslot";
import { gfnToMemslot, memslotById } from "../kvm/memslots";
import { monitorQueue } from "../kvm/monitor";
import { vmDefaultHva, vmMonitor, vmReserve, vmSlots } from "../kvm/vm";
import { vmEnding } from "../kvm/vmend";
import { vmAt } from "../kvm/vmtable";
import { arenaTake, PART_RECORDS } from "../memory/arena";
import { E_NO_MEMORY, ENODEV } from "../memory/status";
import { mmPfnFirst } from "../mm/page";
import { ACTOR_BLOCKED, actorSleepUntil, actorState, STAGE_RECLAIM } from "../sim/actor";
import { EVENT_CALL, eventPost } from "../sim/events";
import { cpuWake } from "./cpus";
import { givebackHint, givebackTarget } from "./giveback";
import { host } from "./state";

// What a scenario has planned: calls of the VMs' monitors, each at a time of its own after the regions have been written.
//
// record   0    8      12      16
//          +----+------+-------+--------------+
//          | at | next | framed| call (call.ts)
//          +----+------+-------+--------------+
//
// framed   start and end of the call are guest frames, or frames of the host counted from its first: they get their numbers at boot only

const AT: usize = 0; // u64
const NEXT: usize = 8;
const FRAMED: usize = 12;
const CALL: usize = 16;
const PLANNED_BYTES: usize = CALL + CALL_BYTES;

const FIRST: usize = 0;
const LAST: usize = 4;
const COUNT: usize = 8;
const PLANNED: usize = memory.data(12, 8);

export function plannedInit(): void {
  memory.fill(PLANNED, 0, 12);
}

/** Calls that are planned, made or not. */
export function plannedCount(): u32 {
  return load<u32>(PLANNED, COUNT);
}

/**
 * The monitor of VM `vm` makes a call of `kind` (CALL_*) on start..end-1, `at` ns after the regions have been written; before boot.
 * @param framed these are guest frames of one memslot (CALL_OFFLINE: host frames, counted from its first), not what the call itself takes
 * @returns the call's number, or E_NO_MEMORY
 */
export function configEvent(at: f64, vm: u32, kind: u32, start: u32, end: u32, framed: bool): i32 {
  const planned = arenaTake(PART_RECORDS, PLANNED_BYTES);
  if (planned === 0) return E_NO_MEMORY;
  store<u64>(planned, <u64>at, AT);
  store<u32>(planned, framed ? 1 : 0, FRAMED);
  callInit(planned + CALL, vm, kind, start, end);
  const last = <usize>load<u32>(PLANNED, LAST);
  if (last === 0) store<u32>(PLANNED, <u32>planned, FIRST);
  else store<u32>(last, <u32>planned, NEXT);
  store<u32>(PLANNED, <u32>planned, LAST);
  const count = plannedCount();
  store<u32>(PLANNED, count + 1, COUNT);
  return <i32>count;
}

/** The call that was planned last is given up after `ns`. */
export function configEventTimeout(ns: f64): void {
  setCallHva(<usize>load<u32>(PLANNED, LAST) + CALL, <u64>ns);
}

/**
 * The call that was planned last is about memslot `id`. Room is made for what it maps; `hva` below 0 is where the slot is backed by then, or the
 * process' usual place.
 */
export function configEventSlot(id: u32, hva: f64, flags: u32): void {
  const call = <usize>load<u32>(PLANNED, LAST) + CALL;
  setCallSlot(call, id, hva < 0 ? HVA_USUAL : <u64>hva, flags);
  if (callKind(call) !== CALL_MEMSLOT || callEnd(call) === 0) return;
  const vm = vmAt(callVm(call));
  const slot = memslotById(vmSlots(vm), id);
  let at = hva < 0 ? vmDefaultHva(vm, callStart(call)) : <u64>hva;
  if (hva < 0 && slot !== 0) at = memslotHva(slot);
  vmReserve(vm, callStart(call), callEnd(call), at);
}

/** The call that was planned last writes `content`; 0: something that no page holds yet. */
export function configEventContent(content: u32): void {
  setCallFlags(<usize>load<u32>(PLANNED, LAST) + CALL, content);
}

/** Virtual time begins at `epoch`. */
export function plannedBegin(epoch: u64): void {
  for (
    let planned = <usize>load<u32>(PLANNED, FIRST);
    planned !== 0;
    planned = <usize>load<u32>(planned, NEXT)
  ) {
    if (load<u32>(planned, FRAMED) !== 0) number(planned + CALL);
    eventPost(epoch + load<u64>(planned, AT), EVENT_CALL, <u32>(planned + CALL));
  }
}

// From frames to the pages of the process behind them.
function number(call: usize): void {
  const frame = callStart(call);
  if (callKind(call) === CALL_OFFLINE) {
    setCallStart(call, mmPfnFirst(host()) + frame);
    setCallEnd(call, mmPfnFirst(host()) + callEnd(call));
    return;
  }
  const slot = gfnToMemslot(vmSlots(vmAt(callVm(call))), frame);
  const page = memslotIndex(slot, frame);
  setCallEnd(call, page + (callEnd(call) - frame));
  setCallStart(call, page);
}

/** EVENT_CALL: the monitor has another call to make. What it writes into the balloon's configuration takes no work of its own: the device tells the guest. */
export function callDue(call: usize, time: u64): void {
  const vm = vmAt(callVm(call));
  const target = callKind(call) === CALL_BALLOON;
  if (target || callKind(call) === CALL_FREE_PAGE_HINT) {
    setCallBegan(call, time);
    if (vmEnding(vm)) setCallStatus(call, ENODEV);
    else if (target) givebackTarget(vm, callEnd(call), time);
    else givebackHint(vm, callEnd(call), time);
    setCallEnded(call, time);
    return;
  }
  const monitor = vmMonitor(vm);
  if (monitorQueue(monitor, call) && actorState(monitor) === ACTOR_BLOCKED) {
    actorSleepUntil(monitor, STAGE_RECLAIM, time);
    cpuWake(monitor, time);
  }
}

function callOf(index: u32): usize {
  assert(index < plannedCount());
  let planned = <usize>load<u32>(PLANNED, FIRST);
  for (; index > 0; index--) planned = <usize>load<u32>(planned, NEXT);
  return planned + CALL;
}

export function eventDone(index: u32): bool {
  return callDone(callOf(index));
}

/** What the call returned: 0, or a negative status. */
export function eventStatus(index: u32): i32 {
  return callStatus(callOf(index));
}

export function eventResult(index: u32): u32 {
  return callResult(callOf(index));
}

/** Pages that a call could not migrate, and passes that an offline has made. */
export function eventFailed(index: u32): u32 {
  return callFlags(callOf(index));
}

export function eventPasses(index: u32): u32 {
  return callSlot(callOf(index));
}

/** Of a compaction: COMPACT_*, and frames that the migrate scanner and the free scanner have looked at. */
export function eventCompactResult(index: u32): u32 {
  return callSlot(callOf(index));
}

export function eventCompactScanned(index: u32, free: bool): u32 {
  return <u32>(callHva(callOf(index)) >> (free ? 32 : 0));
}

/** Virtual time at which the call began, and its length. */
export function eventBegan(index: u32): f64 {
  return <f64>callBegan(callOf(index));
}

export function eventNs(index: u32): f64 {
  return <f64>(callEnded(callOf(index)) - callBegan(callOf(index)));
}
