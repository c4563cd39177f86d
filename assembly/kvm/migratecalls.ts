import { STEP_AGAIN, STEP_DONE } from "../memory/status";
import {
  compactBegin,
  compactFailed,
  compactFreeScanned,
  compactMigrateScanned,
  compactMoved,
  compactResult,
  compactStep,
} from "../mm/compact";
import { faultBegin, faultPfn, faultStep } from "../mm/fault";
import { lruAddDrainAll } from "../mm/lrubatch";
import { MIGRATE_SYNC } from "../mm/migrate";
import {
  migrateIsolate,
  migrateIsolated,
  migratesBegin,
  migratesLeft,
  migratesMoved,
  migratesOnce,
  migratesPutback,
  migratesStep,
  REASON_SYSCALL,
} from "../mm/migratepages";
import {
  offlineBegin,
  offlineFailed,
  offlineMoved,
  offlinePasses,
  offlineStatus,
  offlineStep,
} from "../mm/offline";
import { pageMaps, pageOf } from "../mm/page";
import { pinKeep, pinsDrop } from "../mm/pin";
import { ptePfn, ptePresent, pteZero, ZERO_PFN } from "../mm/pte";
import { spaceId, spacePte } from "../mm/space";
import { actorClock } from "../sim/actor";
import {
  CALL_COMPACT,
  CALL_OFFLINE,
  CALL_PIN,
  CALL_UNPIN,
  callEnd,
  callFlags,
  callHva,
  callKind,
  callResult,
  callSlot,
  callStart,
  setCallFlags,
  setCallHva,
  setCallResult,
  setCallSlotId,
  setCallStart,
  setCallStatus,
} from "./call";
import { CALL_PC, callGoto, vcpuVm } from "./vcpu";
import { vmMm, vmSpace } from "./vm";
import { vmAt } from "./vmtable";

// Calls that migrate pages, or hinder it: move_pages() on the VM's process, references that are kept, memory of the host that goes
// offline or is compacted. Memory is the host's and not the VM's; the thread that asks for it is the monitor of the VM that is named.

/** As the hva of a CALL_MIGRATE: one pass. */
export const MIGRATE_ONCE: u64 = 1;

const BEGIN: u32 = 1;
const RUN: u32 = 2;
const ENDED: u32 = 3;

/** Goes on with CALL_MIGRATE, CALL_PIN, CALL_UNPIN, CALL_OFFLINE or CALL_COMPACT. Returns STEP_*. */
export function migrateCallStep(monitor: usize, call: usize): i32 {
  const kind = callKind(call);
  if (kind === CALL_OFFLINE) return offline(monitor, call);
  if (kind === CALL_COMPACT) return compact(monitor, call);
  if (kind === CALL_PIN) return pin(monitor, call);
  if (kind === CALL_UNPIN) {
    const vm = vcpuVm(monitor);
    setCallResult(call, pinsDrop(vmMm(vm), spaceId(vmSpace(vm)), monitor));
    return STEP_DONE;
  }
  return movePages(monitor, call);
}

// do_pages_move(): pages in a row migrate together; one that is not there, or cannot be isolated, ends the row. A row of which something
// is left ends the call.
function movePages(monitor: usize, call: usize): i32 {
  const mm = vmMm(vcpuVm(monitor));
  while (true) {
    const pc = load<u32>(monitor, CALL_PC);
    if (pc === BEGIN) {
      lruAddDrainAll(mm, monitor); // lru_cache_disable()
      callGoto(monitor, ENDED);
    } else if (pc === ENDED) {
      if (callFlags(call) !== 0 || !gather(monitor, call)) return STEP_DONE;
      migratesBegin(mm, monitor, MIGRATE_SYNC, REASON_SYSCALL);
      if (callHva(call) === MIGRATE_ONCE) migratesOnce(monitor);
      callGoto(monitor, RUN);
    } else {
      const step = migratesStep(mm, monitor);
      if (step !== STEP_DONE) return step;
      setCallResult(call, callResult(call) + migratesMoved(monitor));
      setCallFlags(call, callFlags(call) + migratesLeft(monitor));
      migratesPutback(mm, monitor);
      callGoto(monitor, ENDED);
    }
  }
}

// The process whose pages move: the monitor's own, or that of the VM which the call names.
function target(monitor: usize, call: usize): usize {
  return callSlot(call) === 0 ? vcpuVm(monitor) : vmAt(callSlot(call) - 1);
}

// Isolates the next row. False: there is none.
function gather(monitor: usize, call: usize): bool {
  const vm = target(monitor, call);
  const mm = vmMm(vm);
  let index = callStart(call);
  for (; index < callEnd(call); index++) {
    const pte = spacePte(vmSpace(vm), index);
    const there = ptePresent(pte) && !pteZero(pte) && pageMaps(pageOf(mm, ptePfn(pte))) === 1;
    if (there && migrateIsolate(mm, monitor, ptePfn(pte))) continue;
    if (migrateIsolated(monitor) !== 0) break;
  }
  setCallStart(call, index);
  return migrateIsolated(monitor) !== 0;
}

// get_user_pages() on each page; the references stay.
function pin(monitor: usize, call: usize): i32 {
  const vm = vcpuVm(monitor);
  const page = callStart(call);
  if (page === callEnd(call)) return STEP_DONE;
  if (load<u32>(monitor, CALL_PC) === BEGIN) {
    faultBegin(monitor, vmSpace(vm), page, false);
    callGoto(monitor, RUN);
  }
  const step = faultStep(vmMm(vm), monitor);
  if (step !== STEP_DONE) return step;
  if (faultPfn(monitor) !== ZERO_PFN) {
    pinKeep(vmMm(vm), faultPfn(monitor), monitor);
    setCallResult(call, callResult(call) + 1);
  }
  setCallStart(call, page + 1);
  callGoto(monitor, BEGIN);
  return STEP_AGAIN;
}

function offline(monitor: usize, call: usize): i32 {
  if (load<u32>(monitor, CALL_PC) === BEGIN) {
    offlineBegin(monitor, callStart(call), callEnd(call), actorClock(monitor) + callHva(call));
    callGoto(monitor, RUN);
  }
  const step = offlineStep(vmMm(vcpuVm(monitor)), monitor);
  if (step !== STEP_DONE) return step;
  setCallStatus(call, offlineStatus(monitor));
  setCallResult(call, offlineMoved(monitor));
  setCallFlags(call, offlineFailed(monitor));
  setCallSlotId(call, offlinePasses(monitor));
  return STEP_DONE;
}

function compact(monitor: usize, call: usize): i32 {
  const mm = vmMm(vcpuVm(monitor));
  if (load<u32>(monitor, CALL_PC) === BEGIN) {
    compactBegin(mm, monitor, callStart(call), callEnd(call));
    callGoto(monitor, RUN);
  }
  const step = compactStep(mm, monitor);
  if (step !== STEP_DONE) return step;
  setCallResult(call, compactMoved(monitor));
  setCallFlags(call, compactFailed(monitor));
  setCallSlotId(call, compactResult(monitor));
  setCallHva(call, <u64>compactMigrateScanned(monitor) | ((<u64>compactFreeScanned(monitor)) << 32));
  return STEP_DONE;
}
