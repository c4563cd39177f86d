import { arenaTake, PART_RECORDS } from "../memory/arena";
import { ENODEV, STEP_AGAIN, STEP_BLOCKED, STEP_DONE } from "../memory/status";
import { adviseCold, adviseFree, adviseUnmapped, pageoutBegin, pageoutStep } from "../mm/advise";
import { ACTOR_MM } from "../mm/context";
import { FAULT_MAJOR, FAULT_SPURIOUS, faultBegin, faultKind, faultPfn, faultStep } from "../mm/fault";
import { pagePut } from "../mm/free";
import { ksmAdvise, ksmBroken, ksmMerged } from "../mm/ksm";
import { ksmdWake } from "../mm/ksmd";
import { notifyInvalidateEnd, notifyInvalidateStart } from "../mm/notifier";
import { spaceId } from "../mm/space";
import { thpPartial, thpSplitBegin, thpSplitStep } from "../mm/thp";
import { zapRange } from "../mm/zap";
import {
  ACTOR_MONITOR,
  actorBlock,
  actorClearStages,
  actorClock,
  actorGoesOn,
  actorInit,
  actorSpend,
  STAGE_RECLAIM,
} from "../sim/actor";
import { COST_RECLAIM_SCAN_PAGE_NS, cost } from "../sim/costs";
import {
  CALL_COLD,
  CALL_COMPACT,
  CALL_DESTROY_VM,
  CALL_DIRTY_LOG,
  CALL_DONTNEED,
  CALL_FILE,
  CALL_FREE,
  CALL_MEMORY_MAX,
  CALL_MEMORY_RECLAIM,
  CALL_MEMSLOT,
  CALL_MERGEABLE,
  CALL_MIGRATE,
  CALL_OFFLINE,
  CALL_PAGEOUT,
  CALL_UNMERGEABLE,
  CALL_WRITE,
  callEnd,
  callFlags,
  callKind,
  callNext,
  callNoteMajor,
  callResult,
  callStart,
  setCallBegan,
  setCallEnded,
  setCallQueued,
  setCallResult,
  setCallStart,
  setCallStatus,
} from "./call";
import { cgroupCallStep } from "./cgroupcalls";
import { destroyCallStep } from "./destroy";
import { filePageoutStep } from "./filepageout";
import { contentDiscard, contentDiscarded, contentGiveUp, hostTouched } from "./integrity";
import { migrateCallStep } from "./migratecalls";
import { dirtyCallStep, memslotCallStep } from "./slotcalls";
import { CALL_PC, callGoto, DISCARD_END, setVcpuVm, vcpuVm } from "./vcpu";
import { vmGuestFile, vmMm, vmSpace } from "./vm";
import { vmGone } from "./vmend";

// The monitor of a VM: the thread of its process that is no vCPU. It makes the calls of call.ts one after another, in the order in
// which they came, and sleeps when there is none.
//
// record   as a daemon's, then   0                  8      12     16
//                                +------------------+------+------+------+
//                                | discards (u32 2) | head | tail | call |
//                                +------------------+------+------+------+

const HEAD: usize = DISCARD_END + 4;
const TAIL: usize = DISCARD_END + 8;
const CALL: usize = DISCARD_END + 12;
const MONITOR_BYTES: usize = DISCARD_END + 16;

const IDLE: u32 = 0;
const BEGIN: u32 = 1;
const RUN: u32 = 2;
const CLOSE: u32 = 3;
const SPLIT: u32 = 4;

/** Takes the record of the monitor of `vm`; 0 when memory is exhausted. */
export function monitorCreate(vm: usize, actorId: u32): usize {
  const monitor = arenaTake(PART_RECORDS, MONITOR_BYTES);
  if (monitor === 0) return 0;
  actorInit(monitor, ACTOR_MONITOR, actorId);
  store<u32>(monitor, <u32>vmMm(vm), ACTOR_MM);
  setVcpuVm(monitor, vm);
  return monitor;
}

/** Gives the monitor another call. True when it sleeps, so that somebody has to wake it. */
export function monitorQueue(monitor: usize, call: usize): bool {
  const tail = <usize>load<u32>(monitor, TAIL);
  setCallQueued(call, 0);
  if (tail === 0) store<u32>(monitor, <u32>call, HEAD);
  else setCallQueued(tail, call);
  store<u32>(monitor, <u32>call, TAIL);
  return tail === 0;
}

/** Goes on with the monitor's calls. STEP_DONE: one has been made, monitorCall() tells which; the monitor goes on. Returns STEP_*. */
export function monitorStep(monitor: usize): i32 {
  while (true) {
    const pc = load<u32>(monitor, CALL_PC);
    const call = <usize>load<u32>(monitor, HEAD);
    if (pc === IDLE) {
      if (call === 0) {
        actorBlock(monitor, STAGE_RECLAIM);
        return STEP_BLOCKED;
      }
      actorClearStages(monitor);
      setCallBegan(call, actorClock(monitor));
      callGoto(monitor, BEGIN);
      continue;
    }
    const step = goOn(monitor, call, pc);
    if (step === STEP_AGAIN && actorGoesOn(monitor)) continue;
    if (step !== STEP_DONE) return step;
    store<u32>(monitor, <u32>callNext(call), HEAD);
    if (callNext(call) === 0) store<u32>(monitor, 0, TAIL);
    store<u32>(monitor, <u32>call, CALL);
    setCallEnded(call, actorClock(monitor));
    callGoto(monitor, IDLE);
    return STEP_DONE;
  }
}

/** The call that ended last. */
export function monitorCall(monitor: usize): usize {
  return <usize>load<u32>(monitor, CALL);
}

// STEP_DONE: the call has been made.
function goOn(monitor: usize, call: usize, pc: u32): i32 {
  const kind = callKind(call);
  // Where its VM has gone, the thread is still one that asks for what is the host's.
  if (vmGone(vcpuVm(monitor)) && kind !== CALL_OFFLINE && kind !== CALL_COMPACT) {
    setCallStatus(call, ENODEV);
    return STEP_DONE;
  }
  if (kind === CALL_DESTROY_VM) return destroyCallStep(monitor, call);
  if (kind === CALL_PAGEOUT) {
    return vmGuestFile(vcpuVm(monitor)) === 0 ? pageout(monitor, call, pc) : filePageoutStep(monitor, call);
  }
  if (kind === CALL_COLD) return cold(monitor, call);
  if (kind === CALL_DONTNEED || kind === CALL_FREE) return drop(monitor, call, pc);
  if (kind === CALL_MEMORY_MAX || kind === CALL_MEMORY_RECLAIM) return cgroupCallStep(monitor, call);
  if (kind >= CALL_MIGRATE) return migrateCallStep(monitor, call);
  if (kind === CALL_MEMSLOT) return memslotCallStep(monitor, call);
  if (kind === CALL_DIRTY_LOG) return dirtyCallStep(monitor, call);
  if (kind === CALL_MERGEABLE) return mergeable(monitor, call);
  if (kind === CALL_UNMERGEABLE) return unmerge(monitor, call, pc);
  return touch(monitor, call, pc);
}

function pageout(monitor: usize, call: usize, pc: u32): i32 {
  const vm = vcpuVm(monitor);
  if (pc === BEGIN) {
    pageoutBegin(vmMm(vm), monitor, vmSpace(vm), callStart(call), callEnd(call));
    callGoto(monitor, RUN);
  }
  return pageoutStep(vmMm(vm), monitor);
}

function cold(monitor: usize, call: usize): i32 {
  const vm = vcpuVm(monitor);
  adviseCold(vmMm(vm), monitor, vmSpace(vm), callStart(call), callEnd(call));
  scanned(monitor, call);
  return STEP_DONE;
}

// A look at each page of the range.
function scanned(monitor: usize, call: usize): void {
  actorSpend(monitor, STAGE_RECLAIM, (callEnd(call) - callStart(call)) * cost(COST_RECLAIM_SCAN_PAGE_NS));
}

// madvise_dontneed_free(): between the notifier's start and end the pages go, or may go.
function drop(monitor: usize, call: usize, pc: u32): i32 {
  const vm = vcpuVm(monitor);
  const space = vmSpace(vm);
  const start = callStart(call);
  const end = callEnd(call);
  const discard = callKind(call) === CALL_DONTNEED;
  if (pc === BEGIN) {
    if (discard) contentDiscard(vm, start, end);
    const step = notifyInvalidateStart(monitor, spaceId(space), start, end);
    if (step === STEP_DONE) callGoto(monitor, RUN);
    return step === STEP_DONE ? STEP_AGAIN : step;
  }
  if (pc === SPLIT) {
    const step = thpSplitStep(monitor);
    if (step === STEP_DONE) callGoto(monitor, RUN);
    return step === STEP_DONE ? STEP_AGAIN : step;
  }
  if (pc === RUN) {
    const partial = thpPartial(space, start, end);
    if (partial !== u32.MAX_VALUE) {
      thpSplitBegin(monitor, space, partial, false); // __split_huge_pmd() within the range's own notification
      callGoto(monitor, SPLIT);
      return STEP_AGAIN;
    }
    if (discard) {
      zapRange(vmMm(vm), monitor, space, start, end);
    } else {
      contentGiveUp(vm, start, end);
      adviseFree(vmMm(vm), monitor, space, start, end);
    }
    scanned(monitor, call);
    callGoto(monitor, CLOSE);
    return STEP_AGAIN; // yield: the notifier's range is still open
  }
  const step = notifyInvalidateEnd(monitor, spaceId(space), start, end);
  if (step === STEP_DONE && discard) contentDiscarded(vm, start, end);
  return step;
}

// ksm_madvise(): the pages may be merged.
function mergeable(monitor: usize, call: usize): i32 {
  const vm = vcpuVm(monitor);
  ksmAdvise(vmMm(vm), vmSpace(vm), callStart(call), callEnd(call), true);
  ksmdWake(vmMm(vm), actorClock(monitor));
  return STEP_DONE;
}

// unmerge_ksm_pages(): a fault for writing gives each merged page its own frame back.
function unmerge(monitor: usize, call: usize, pc: u32): i32 {
  const vm = vcpuVm(monitor);
  const mm = vmMm(vm);
  const space = vmSpace(vm);
  let page = callStart(call);
  if (pc === BEGIN) {
    ksmAdvise(mm, space, page, callEnd(call), false);
    while (page < callEnd(call) && !ksmMerged(mm, space, page)) page++;
    setCallStart(call, page);
    if (page === callEnd(call)) return STEP_DONE;
    faultBegin(monitor, space, page, true);
    callGoto(monitor, RUN);
  }
  const step = faultStep(mm, monitor);
  if (step !== STEP_DONE) return step;
  pagePut(mm, faultPfn(monitor), monitor);
  ksmBroken(mm, space, page);
  setCallResult(call, callResult(call) + 1);
  setCallStart(call, page + 1);
  callGoto(monitor, BEGIN);
  return STEP_AGAIN;
}

// The monitor's own accesses, page by page.
function touch(monitor: usize, call: usize, pc: u32): i32 {
  const vm = vcpuVm(monitor);
  const page = callStart(call);
  const file = callKind(call) === CALL_FILE;
  const write = file || callKind(call) === CALL_WRITE;
  if (page === callEnd(call)) return STEP_DONE;
  if (pc === BEGIN) {
    faultBegin(monitor, vmSpace(vm), page, write);
    callGoto(monitor, RUN);
  }
  const step = faultStep(vmMm(vm), monitor);
  if (step !== STEP_DONE) return step;
  if (faultKind(monitor) !== FAULT_SPURIOUS) {
    if (faultKind(monitor) === FAULT_MAJOR) callNoteMajor(call);
    setCallResult(call, callResult(call) + 1);
  }
  hostTouched(vm, page, faultPfn(monitor), write, callFlags(call), actorClock(monitor));
  if (file) adviseUnmapped(vmMm(vm), vmSpace(vm), page);
  pagePut(vmMm(vm), faultPfn(monitor), monitor);
  setCallStart(call, page + 1);
  callGoto(monitor, BEGIN);
  return STEP_AGAIN;
}
