import { GUEST_COUNTS, guestCount } from "../guest/books";
import { guestMemory } from "../guest/guest";
import {
  TASK_READY,
  TASK_RUNNING,
  TASK_WAITING,
  taskAccesses,
  taskEndNs,
  taskOwn,
  taskPrefault,
  taskReadyNs,
  taskRunNs,
  taskSince,
  taskStartNs,
  taskState,
  taskVcpu,
  taskWaitNs,
  taskWork,
} from "../guest/task";
import { apfPeak, apfResetPeak } from "../kvm/apfqueue";
import { workersPeak, workersResetPeak } from "../kvm/apfworker";
import { VIOLATION_BYTES, VIOLATIONS_KEPT, violationAt, violations } from "../kvm/integrity";
import { memslotIndex, memslotUnbacked } from "../kvm/memslot";
import { gfnToMemslot } from "../kvm/memslots";
import { mmuSpte } from "../kvm/mmu";
import { sptePresent } from "../kvm/spte";
import {
  faultCount,
  faultHistogram,
  faultMarkMaxNs,
  faultMaxNs,
  faultStageNs,
  faultSumNs,
  statsMark,
  VM_COUNTS,
  VM_STALL_FULL_NS,
  VM_STALL_SOME_NS,
  vmCount,
} from "../kvm/stats";
import { vcpuMode } from "../kvm/vcpu";
import { gfnToIndex, vmMm, vmSlots, vmSpace, vmStats, vmUnalias } from "../kvm/vm";
import { vmAt, vmTableCount } from "../kvm/vmtable";
import { PFN_NONE, TIME_NEVER } from "../memory/layout";
import { FAULT_KINDS } from "../mm/fault";
import {
  MM_COUNTS,
  mmArea,
  mmAreas,
  mmCount,
  mmFree,
  mmMinFree,
  mmResetMinFree,
  mmSwapFree,
  mmSwapTotal,
} from "../mm/instance";
import { PG_SWAPCACHE, pageList, pageOf, pagePrivate, pageTest } from "../mm/page";
import { psiFullNs, psiSomeNs } from "../mm/psi";
import {
  ENTRY_NONE,
  entryOffset,
  entryType,
  PTE_ACCESSED,
  PTE_DIRTY,
  PTE_WRITE,
  pteEntry,
  ptePfn,
  ptePresent,
  pteSwapped,
  pteZero,
} from "../mm/pte";
import {
  spaceFileRss,
  spaceMapped,
  spacePsi,
  spacePte,
  spaceResetPeak,
  spaceRss,
  spaceRssPeak,
  spaceSwapents,
} from "../mm/space";
import { swapDevice, swapUsed } from "../mm/swaparea";
import { swapCacheLookup } from "../mm/swapmap";
import { ACTOR_BLOCKED, actorBlockedNs, actorClock, actorState, STAGE_COUNT } from "../sim/actor";
import { deviceBusyNs, deviceQueuePeak, deviceReadErrors, deviceReads, deviceWrites } from "../sim/device";
import { digestFold, digestState } from "../sim/digest";
import { HISTOGRAM_COUNTS, histogramHighest } from "../sim/histogram";
import { TRACE_RECORD_BYTES, traceCapacity, traceRing, traceWritten } from "../sim/trace";
import { pagedKilled } from "../workload/paged";
import { vcpuAt } from "./lookup";
import {
  epoch,
  host,
  now,
  oomOverLimit,
  oomVm,
  readErrorDevice,
  readErrorPage,
  taskAt,
  taskCount,
} from "./state";
import { put, table } from "./table";

// What a machine tells of itself: each report writes a row of f64 into one table, which the binding reads through a view.
// The positions in a row are exported constants.

/** Address of the table of f64. */
export function reportTable(): usize {
  return table();
}

// A VM: its counters VM_*, then these.
export const REPORT_VM_RESIDENT: u32 = VM_COUNTS;
export const REPORT_VM_RESIDENT_PEAK: u32 = VM_COUNTS + 1;
export const REPORT_VM_SWAPPED: u32 = VM_COUNTS + 2;
export const REPORT_VM_UNTOUCHED: u32 = VM_COUNTS + 3;
/** The most asynchronous faults that one vCPU had outstanding. */
export const REPORT_VM_APF_PEAK: u32 = VM_COUNTS + 4;
/** Pages that were dropped as a file's. */
export const REPORT_VM_MISCOUNTED: u32 = VM_COUNTS + 5;
/** First kind of fault; each takes REPORT_FAULT_FIELDS: count, sumNs, maxNs, maxNs since the mark, the stages. */
export const REPORT_VM_FAULTS: u32 = VM_COUNTS + 6;
export const REPORT_FAULT_FIELDS: u32 = 4 + STAGE_COUNT;

/** Writes VM `id`: its counters, memory and faults, in the order of FAULT_* kinds. */
export function reportVm(id: u32): void {
  const vm = vmAt(id);
  const stats = vmStats(vm);
  const space = vmSpace(vm);
  for (let counter: u32 = 0; counter < VM_COUNTS; counter++) put(counter, <f64>vmCount(stats, counter));
  put(VM_STALL_SOME_NS, <f64>psiSomeNs(spacePsi(space)));
  put(VM_STALL_FULL_NS, <f64>psiFullNs(spacePsi(space)));
  put(REPORT_VM_RESIDENT, <f64>spaceRss(space));
  put(REPORT_VM_RESIDENT_PEAK, <f64>spaceRssPeak(space));
  put(REPORT_VM_SWAPPED, <f64>spaceSwapents(space));
  put(REPORT_VM_UNTOUCHED, <f64>(spaceMapped(space) - spaceRss(space) - spaceSwapents(space)));
  put(REPORT_VM_APF_PEAK, apfPeak(vm));
  put(REPORT_VM_MISCOUNTED, <f64>-spaceFileRss(space));
  for (let kind: u32 = 0; kind < FAULT_KINDS; kind++) {
    const at = REPORT_VM_FAULTS + kind * REPORT_FAULT_FIELDS;
    put(at, <f64>faultCount(stats, kind));
    put(at + 1, <f64>faultSumNs(stats, kind));
    put(at + 2, <f64>faultMaxNs(stats, kind));
    put(at + 3, <f64>faultMarkMaxNs(stats, kind));
    for (let stage: u32 = 0; stage < STAGE_COUNT; stage++) {
      put(at + 4 + stage, <f64>faultStageNs(stats, kind, stage));
    }
  }
}

/** Address of the histogram of one kind of fault: reportHistogramCounts() u32. */
export function reportHistogram(id: u32, kind: u32): usize {
  return faultHistogram(vmStats(vmAt(id)), kind);
}

export function reportHistogramCounts(): u32 {
  return HISTOGRAM_COUNTS;
}

/** Largest value counted in bucket `index`, ns. */
export function reportHistogramHighest(index: u32): f64 {
  return <f64>histogramHighest(index);
}

/** Number of the process' page that backs `gfn` of VM `id`; 0xffffffff when no slot holds it. */
export function reportPageNumber(id: u32, gfn: u32): u32 {
  const frame = vmUnalias(vmAt(id), gfn);
  const slot = gfnToMemslot(vmSlots(vmAt(id)), frame);
  return slot === 0 || memslotUnbacked(slot) ? u32.MAX_VALUE : memslotIndex(slot, frame);
}

export const REPORT_PAGE_STATE: u32 = 0;
export const REPORT_PAGE_PFN: u32 = 1;
export const REPORT_PAGE_AREA: u32 = 2;
export const REPORT_PAGE_SLOT: u32 = 3;
export const REPORT_PAGE_LIST: u32 = 4;
export const REPORT_PAGE_WRITABLE: u32 = 5;
export const REPORT_PAGE_ACCESSED: u32 = 6;
export const REPORT_PAGE_DIRTY: u32 = 7;
export const REPORT_PAGE_MAPPED: u32 = 8;

/**
 * Writes where guest page `gfn` of VM `id` is: state 0 untouched, 1 resident, 2 swapped, 3 only read (it maps the page of
 * zeroes); the frame that holds it (also while it is swapped but still in the swap cache, else 0); area and slot of its swap
 * entry or of its copy in the swap cache (slot 0: none); the list its frame is on (page.ts LIST_*); bits of the host's pte; 1
 * when an spte maps it.
 */
export function reportPage(id: u32, gfn: u32): void {
  const vm = vmAt(id);
  const mm = vmMm(vm);
  const pte = spacePte(vmSpace(vm), gfnToIndex(vm, gfn));
  let state: u32 = 0;
  let pfn = PFN_NONE;
  let entry = ENTRY_NONE;
  if (pteZero(pte)) {
    state = 3;
  } else if (ptePresent(pte)) {
    state = 1;
    pfn = ptePfn(pte);
    if (pageTest(pageOf(mm, pfn), PG_SWAPCACHE)) entry = pagePrivate(pageOf(mm, pfn));
  } else if (pteSwapped(pte)) {
    state = 2;
    entry = pteEntry(pte);
    pfn = swapCacheLookup(mm, entry);
  }
  put(REPORT_PAGE_STATE, state);
  put(REPORT_PAGE_PFN, pfn);
  put(REPORT_PAGE_AREA, entryType(entry));
  put(REPORT_PAGE_SLOT, entryOffset(entry));
  put(REPORT_PAGE_LIST, pfn === PFN_NONE ? 0 : pageList(pageOf(mm, pfn)));
  put(REPORT_PAGE_WRITABLE, ptePresent(pte) && pte & PTE_WRITE ? 1 : 0);
  put(REPORT_PAGE_ACCESSED, ptePresent(pte) && pte & PTE_ACCESSED ? 1 : 0);
  put(REPORT_PAGE_DIRTY, ptePresent(pte) && pte & PTE_DIRTY ? 1 : 0);
  put(REPORT_PAGE_MAPPED, sptePresent(mmuSpte(vm, gfn)) ? 1 : 0);
}

// The host: its counters MM_*, then these.
export const REPORT_HOST_FREE: u32 = MM_COUNTS;
export const REPORT_HOST_MIN_FREE: u32 = MM_COUNTS + 1;
export const REPORT_HOST_SLOTS_USED: u32 = MM_COUNTS + 2;
export const REPORT_HOST_NOW: u32 = MM_COUNTS + 3;
export const REPORT_HOST_EPOCH: u32 = MM_COUNTS + 4;
export const REPORT_HOST_VIOLATIONS: u32 = MM_COUNTS + 5;
export const REPORT_HOST_OOM_VM: u32 = MM_COUNTS + 6;
export const REPORT_HOST_OOM_LIMIT: u32 = MM_COUNTS + 7;
/** The most workers that fetched pages for asynchronous page faults at once. */
export const REPORT_HOST_WORKERS_PEAK: u32 = MM_COUNTS + 8;
export const REPORT_HOST_READ_ERROR_PAGE: u32 = MM_COUNTS + 9;
export const REPORT_HOST_READ_ERROR_DEVICE: u32 = MM_COUNTS + 10;

export function reportHost(): void {
  const mm = host();
  for (let counter: u32 = 0; counter < MM_COUNTS; counter++) put(counter, <f64>mmCount(mm, counter));
  put(REPORT_HOST_FREE, <f64>mmFree(mm));
  put(REPORT_HOST_MIN_FREE, <f64>mmMinFree(mm));
  put(REPORT_HOST_SLOTS_USED, <f64>(mmSwapTotal(mm) - mmSwapFree(mm)));
  put(REPORT_HOST_NOW, <f64>now());
  put(REPORT_HOST_EPOCH, <f64>epoch());
  put(REPORT_HOST_VIOLATIONS, <f64>violations());
  put(REPORT_HOST_OOM_VM, <f64>oomVm());
  put(REPORT_HOST_OOM_LIMIT, oomOverLimit() ? 1 : 0);
  put(REPORT_HOST_WORKERS_PEAK, workersPeak());
  put(REPORT_HOST_READ_ERROR_PAGE, readErrorPage());
  put(REPORT_HOST_READ_ERROR_DEVICE, readErrorDevice());
}

export const REPORT_DEVICE_READS: u32 = 0;
export const REPORT_DEVICE_WRITES: u32 = 1;
export const REPORT_DEVICE_BUSY_NS: u32 = 2;
export const REPORT_DEVICE_QUEUE_PEAK: u32 = 3;
export const REPORT_DEVICE_SLOTS_USED: u32 = 4;
export const REPORT_DEVICE_READ_ERRORS: u32 = 5;

export function reportDevice(type: u32): void {
  const area = mmArea(host(), type);
  const device = swapDevice(area);
  put(REPORT_DEVICE_READS, <f64>deviceReads(device));
  put(REPORT_DEVICE_WRITES, <f64>deviceWrites(device));
  put(REPORT_DEVICE_BUSY_NS, <f64>deviceBusyNs(device));
  put(REPORT_DEVICE_QUEUE_PEAK, <f64>deviceQueuePeak(device));
  put(REPORT_DEVICE_SLOTS_USED, <f64>swapUsed(area));
  put(REPORT_DEVICE_READ_ERRORS, <f64>deviceReadErrors(device));
}

export const REPORT_VCPU_BLOCKED_NS: u32 = 0;
export const REPORT_VCPU_MODE: u32 = 1;

/** Writes a vCPU: the time that it was blocked in the host, the block it is in up to now included, and its mode VCPU_*. */
export function reportVcpu(id: u32, index: u32): void {
  const vcpu = vcpuAt(vmAt(id), index);
  const clock = actorClock(vcpu);
  const since: u64 = actorState(vcpu) === ACTOR_BLOCKED && now() > clock ? now() - clock : 0;
  put(REPORT_VCPU_BLOCKED_NS, <f64>(actorBlockedNs(vcpu) + since));
  put(REPORT_VCPU_MODE, <f64>vcpuMode(vcpu));
}

export const REPORT_TASK_ACCESSES: u32 = 0;
export const REPORT_TASK_WORK: u32 = 1;
export const REPORT_TASK_START_NS: u32 = 2;
export const REPORT_TASK_END_NS: u32 = 3;
export const REPORT_TASK_RUN_NS: u32 = 4;
export const REPORT_TASK_READY_NS: u32 = 5;
export const REPORT_TASK_WAIT_NS: u32 = 6;
export const REPORT_TASK_KILLED: u32 = 7;

function instant(time: u64): f64 {
  return time === TIME_NEVER ? -1 : <f64>(time - epoch());
}

/** Writes task `index`; instants are virtual ns since time 0, -1 for "not yet". The state it is in counts up to now. */
export function reportTask(index: u32): void {
  const task = taskAt(index);
  const state = taskState(task);
  const since = taskSince(task, max<u64>(now(), actorClock(taskVcpu(task))));
  put(REPORT_TASK_ACCESSES, <f64>taskAccesses(task));
  put(REPORT_TASK_WORK, <f64>taskWork(task));
  put(REPORT_TASK_START_NS, instant(taskStartNs(task)));
  put(REPORT_TASK_END_NS, instant(taskEndNs(task)));
  put(REPORT_TASK_RUN_NS, <f64>(taskRunNs(task) + (state === TASK_RUNNING ? since : 0)));
  put(REPORT_TASK_READY_NS, <f64>(taskReadyNs(task) + (state === TASK_READY ? since : 0)));
  const waiting = state === TASK_WAITING ? since : 0;
  put(REPORT_TASK_WAIT_NS, <f64>(taskWaitNs(task) + waiting));
  put(REPORT_TASK_KILLED, taskOwn(task) !== 0 && pagedKilled(task) ? 1 : 0);
}

/** Starts a new interval for what cannot be subtracted: largest latencies, peaks, least free memory. */
export function reportMark(lasting: bool): void {
  for (let id: u32 = 0; id < vmTableCount(); id++) {
    statsMark(vmStats(vmAt(id)), lasting);
    if (!lasting) continue;
    spaceResetPeak(vmSpace(vmAt(id)));
    apfResetPeak(vmAt(id));
  }
  if (!lasting) return;
  mmResetMinFree(host());
  workersResetPeak();
}

/** The digest of the history so far with the counters folded in; low and high half. */
export function reportDigest(high: bool): u32 {
  let hash = digestFold(digestState(), now());
  const mm = host();
  for (let counter: u32 = 0; counter < MM_COUNTS; counter++) hash = digestFold(hash, mmCount(mm, counter));
  for (let id: u32 = 0; id < vmTableCount(); id++) {
    const stats = vmStats(vmAt(id));
    hash = digestFold(hash, vmCount(stats, 0));
    const guest = guestMemory(vmAt(id));
    for (let counter: u32 = 0; guest !== 0 && counter < GUEST_COUNTS; counter++) {
      hash = digestFold(hash, guestCount(guest, counter));
    }
    for (let kind: u32 = 0; kind < FAULT_KINDS; kind++) {
      hash = digestFold(hash, faultCount(stats, kind));
      hash = digestFold(hash, faultSumNs(stats, kind));
    }
  }
  for (let index: u32 = 0; index < taskCount(); index++) {
    if (!taskPrefault(taskAt(index))) hash = digestFold(hash, taskAccesses(taskAt(index)));
  }
  for (let type: u32 = 0; type < mmAreas(mm); type++) {
    hash = digestFold(hash, deviceReads(swapDevice(mmArea(mm, type))));
  }
  return <u32>(high ? hash >> 32 : hash);
}

/** Address of the noted violation `index`, each reportViolationBytes() long; there are at most reportViolationsKept(). */
export function reportViolation(index: u32): usize {
  return violationAt(index);
}

export function reportViolationsKept(): u32 {
  return VIOLATIONS_KEPT;
}

export function reportViolationBytes(): u32 {
  return <u32>VIOLATION_BYTES;
}

/** The trace ring: its address, records, bytes a record, and how many records have been written since boot. */
export function reportTraceRing(): usize {
  return traceRing();
}

export function reportTraceCapacity(): u32 {
  return traceCapacity();
}

export function reportTraceRecordBytes(): u32 {
  return <u32>TRACE_RECORD_BYTES;
}

export function reportTraceWritten(): f64 {
  return <f64>traceWritten();
}
