import { deviceKthreads } from "../guest/balloondev";
import { guestDevice, pfnToGfn } from "../guest/guest";
import { kthreadNext, kthreadPoke } from "../guest/kthread";
import { guestEntry, guestFault, guestUnmap, PFN_LATER } from "../guest/memory";
import { oomSleepsOn } from "../guest/oom";
import { guestSliceEnd } from "../guest/sched";
import {
  taskAccesses,
  taskAddAccesses,
  taskConsume,
  taskFirstGfn,
  taskForce,
  taskLimit,
  taskOwn,
  taskStream,
  taskStreamLeft,
  taskThinkNs,
  taskThinks,
} from "../guest/task";
import { ACCESS_END, ACCESS_TIME, accessRun, accessStop, setAccessStop } from "../kvm/access";
import { vcpuFaultPending, vcpuIndex } from "../kvm/vcpu";
import { arenaTake, PART_RECORDS } from "../memory/arena";
import { PFN_NONE } from "../memory/layout";
import { actorClock, actorSpend, STAGE_CPU } from "../sim/actor";
import { COST_GUEST_EXCEPTION_NS, COST_ZERO4K_NS, cost } from "../sim/costs";
import { churnFree, churnRun } from "./churn";
import { workloadFill } from "./fill";
import {
  CHURN_SLEEPS,
  PAGED_BYTES,
  PAGED_CURSOR,
  PAGED_GUEST,
  PAGED_KILLED,
  PAGED_KIND,
  PAGED_PAGES,
  PAGED_PAUSE,
  PAGED_PHASE,
  PAGED_REGION,
  PAGED_WAITING,
  PAGED_WAITS,
  PAGED_ZEROING,
  PHASE_FREE,
  PHASE_OVER,
  PHASE_RUN,
  pagedEndLife,
  pagedKill,
  pagedResumed,
  pagedWait,
  REGION_PAGES,
  REGION_USERS,
} from "./pagedtask";

// A task in a guest with memory management of its own. Its pages get a frame at their first touch: the guest faults, takes a frame,
// zeroes it, and the touch is repeated; what the host has to do for that frame follows from the zeroing. When the task ends, or a process
// exits, its pages are freed one by one. A task that finds no memory is killed, and frees what it has.
// Left out: copy on write, the guest's page of zeroes (a read takes a frame, too), guest page tables in memory.

/** The accesses of another workload. */
export const PAGED_PLAIN: u32 = 0;
/** Touches its pages once, frees them, and starts over or ends. */
export const PAGED_PROCESS: u32 = 1;
/** Reads a file: its pages stay in the page cache until memory is short. */
export const PAGED_CACHE: u32 = 2;
/** Allocates and frees blocks of several orders: churn.ts. */
export const PAGED_CHURN: u32 = 3;

/** Why pagedRun() stopped, beside ACCESS_* and PAGED_WAITS: the task sleeps for pagedPauseNs(). */
export const PAGED_SLEEP: u32 = 8;

/** Pages freed between two looks at the clock. */
const FREE_BATCH: u32 = 16;

// Words of translated accesses for one accessRun(), and why the last pagedRun() stopped.
const WORDS: u32 = 1024;
const STOP: usize = memory.data(8, 8);
const BUFFER: usize = memory.data(4 * 1024, 8);

/** Takes the record of a task of `pages` pages in `guest`; `region` counts the users of the pages, 0 for a task that only writes them first. */
export function pagedCreate(guest: usize, kind: u32, pages: u32, region: usize, pauseNs: u64): usize {
  const paged = arenaTake(PART_RECORDS, PAGED_BYTES);
  if (paged === 0) return 0;
  store<u32>(paged, <u32>guest, PAGED_GUEST);
  store<u32>(paged, kind, PAGED_KIND);
  store<u32>(paged, pages, PAGED_PAGES);
  store<u32>(paged, <u32>region, PAGED_REGION);
  store<u64>(paged, pauseNs, PAGED_PAUSE);
  if (region !== 0) {
    store<u32>(region, load<u32>(region, REGION_USERS) + 1, REGION_USERS);
    store<u32>(region, max<u32>(load<u32>(region, REGION_PAGES), pages), REGION_PAGES);
  }
  return paged;
}

export function pagedOver(task: usize): bool {
  return load<u32>(taskOwn(task), PAGED_PHASE) === PHASE_OVER;
}

/** The guest had no memory for it. */
export function pagedKilled(task: usize): bool {
  return load<u32>(taskOwn(task), PAGED_KILLED) !== 0;
}

export function pagedPauseNs(task: usize): u64 {
  return load<u64>(taskOwn(task), PAGED_PAUSE);
}

/** ACCESS_*, PAGED_SLEEP or PAGED_WAITS. */
export function pagedStop(): u32 {
  return load<u32>(STOP);
}

function stop(reason: u32, made: u32): u32 {
  store<u32>(STOP, reason);
  return made;
}

/** Runs the task until the vCPU's clock reaches `until`, for at most `budget` accesses. Returns the accesses made; pagedStop() says why no more. */
export function pagedRun(vcpu: usize, task: usize, until: u64, budget: u32): u32 {
  const paged = taskOwn(task);
  const guest = <usize>load<u32>(paged, PAGED_GUEST);
  let made: u32 = 0;
  while (true) {
    if (!vcpuFaultPending(vcpu)) {
      poke(guest, vcpu);
      if (actorClock(vcpu) >= min<u64>(until, guestSliceEnd(vcpu))) return stop(ACCESS_TIME, made);
    }
    if (load<u32>(paged, PAGED_ZEROING) !== 0) {
      zero(vcpu, paged, until);
      if (accessStop() !== ACCESS_END) return stop(accessStop(), made);
      continue;
    }
    const phase = load<u32>(paged, PAGED_PHASE);
    if (phase === PHASE_OVER) return stop(ACCESS_END, made);
    if (phase === PHASE_FREE) {
      if (!free(vcpu, task, paged, guest)) continue;
      if (!lifeOver(task, paged)) return stop(PAGED_SLEEP, made);
      continue;
    }
    if (made === budget) return stop(ACCESS_END, made);
    if (load<u32>(paged, PAGED_WAITING) !== 0 && oomSleepsOn(guest, vcpu)) return stop(PAGED_WAITS, made);
    if (load<u32>(paged, PAGED_KIND) === PAGED_CHURN) {
      made += churnRun(vcpu, task, paged, guest, BUFFER, until, budget - made);
      if (accessStop() === CHURN_SLEEPS) return stop(PAGED_SLEEP, made);
    } else {
      made += touch(vcpu, task, paged, guest, until, budget - made);
    }
    if (accessStop() !== ACCESS_END) return stop(accessStop(), made);
  }
}

// What a free or an allocation has started: threads of the guest may have work now.
function poke(guest: usize, vcpu: usize): void {
  const device = guestDevice(guest);
  if (device === 0) return;
  for (let kthread = deviceKthreads(device); kthread !== 0; kthread = kthreadNext(kthread)) {
    kthreadPoke(kthread, vcpu, actorClock(vcpu));
  }
}

// clear_user_highpage() of a frame that a page has got: a write of the kernel, not an access of the task.
function zero(vcpu: usize, paged: usize, until: u64): void {
  store<u32>(BUFFER, (load<u32>(paged, PAGED_ZEROING) - 1) | (1 << 31));
  if (accessRun(vcpu, BUFFER, 1, 0, 0, cost(COST_ZERO4K_NS), 0, until) === 1)
    store<u32>(paged, 0, PAGED_ZEROING);
}

function touch(vcpu: usize, task: usize, paged: usize, guest: usize, until: u64, budget: u32): u32 {
  if (taskStreamLeft(task) === 0) workloadFill(task);
  const process = load<u32>(paged, PAGED_KIND) === PAGED_PROCESS;
  const pages = load<u32>(paged, PAGED_PAGES);
  let wanted = min<u64>(
    min<u32>(taskStreamLeft(task), min<u32>(budget, WORDS)),
    taskLimit(task) - taskAccesses(task),
  );
  if (process) wanted = min<u64>(wanted, pages - load<u32>(paged, PAGED_CURSOR));
  const words = translate(guest, task, <u32>wanted);
  const resumed = pagedResumed(paged);
  if (words === 0) {
    fault(vcpu, task, paged, guest, resumed);
    return 0;
  }
  const done = accessRun(vcpu, BUFFER, words, 0, taskForce(task), taskThinkNs(task), taskThinks(task), until);
  taskConsume(task, done);
  taskAddAccesses(task, done);
  const cursor = load<u32>(paged, PAGED_CURSOR) + done;
  if (process) store<u32>(paged, cursor, PAGED_CURSOR);
  if ((process && cursor === pages) || taskAccesses(task) >= taskLimit(task)) pagedEndLife(paged);
  return done;
}

// The next access has no frame. One that has waited for memory has faulted before.
function fault(vcpu: usize, task: usize, paged: usize, guest: usize, resumed: bool): void {
  setAccessStop(ACCESS_END);
  const vpn = taskFirstGfn(task) + (load<u32>(taskStream(task)) & 0x7fffffff);
  if (!resumed) actorSpend(vcpu, STAGE_CPU, cost(COST_GUEST_EXCEPTION_NS));
  const pfn = guestFault(guest, vcpu, vcpuIndex(vcpu), vpn, load<u32>(paged, PAGED_KIND) === PAGED_CACHE);
  if (pfn === PFN_LATER) pagedWait(paged);
  else if (pfn === PFN_NONE) pagedKill(paged, guest);
  else store<u32>(paged, pfnToGfn(pfn) + 1, PAGED_ZEROING);
}

// Puts as many of the next accesses as have a frame, at most `wanted`, into the buffer, by gfn. Returns their number.
function translate(guest: usize, task: usize, wanted: u32): u32 {
  const stream = taskStream(task);
  const table = guestEntry(guest, taskFirstGfn(task));
  for (let word: u32 = 0; word < wanted; word++) {
    const access = load<u32>(stream + ((<usize>word) << 2));
    const pfn = load<u32>(table + ((<usize>(access & 0x7fffffff)) << 2));
    if (pfn === PFN_NONE) return word;
    store<u32>(BUFFER + ((<usize>word) << 2), pfnToGfn(pfn) | (access & 0x80000000));
  }
  return wanted;
}

// Frees a batch of the task's pages. True: nothing is left. The pages of a region are its last user's to free.
function free(vcpu: usize, task: usize, paged: usize, guest: usize): bool {
  const kind = load<u32>(paged, PAGED_KIND);
  if (kind === PAGED_CHURN) return churnFree(vcpu, paged, guest);
  const region = <usize>load<u32>(paged, PAGED_REGION);
  if (region === 0 || (kind !== PAGED_PROCESS && load<u32>(region, REGION_USERS) > 1)) return true;
  const cursor = load<u32>(paged, PAGED_CURSOR);
  const end = min<u32>(cursor + FREE_BATCH, load<u32>(region, REGION_PAGES));
  for (let page = cursor; page < end; page++) {
    guestUnmap(guest, vcpu, vcpuIndex(vcpu), taskFirstGfn(task) + page, kind === PAGED_CACHE);
  }
  store<u32>(paged, end, PAGED_CURSOR);
  return end === load<u32>(region, REGION_PAGES);
}

// All is freed. False: the process starts over after its pause.
function lifeOver(task: usize, paged: usize): bool {
  store<u32>(paged, 0, PAGED_CURSOR);
  const again = load<u32>(paged, PAGED_KILLED) === 0 && taskAccesses(task) < taskLimit(task);
  store<u32>(paged, again ? PHASE_RUN : PHASE_OVER, PAGED_PHASE);
  if (!again) {
    const region = <usize>load<u32>(paged, PAGED_REGION);
    if (region !== 0) store<u32>(region, load<u32>(region, REGION_USERS) - 1, REGION_USERS);
    return true;
  }
  return load<u64>(paged, PAGED_PAUSE) === 0;
}
