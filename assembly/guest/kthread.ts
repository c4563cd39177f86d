import { vcpuIndex } from "../kvm/vcpu";
import { arenaTake, PART_RECORDS } from "../memory/arena";
import { actorClock, actorSpend, STAGE_CPU, STAGE_EXIT } from "../sim/actor";
import {
  COST_BUDDY_ALLOC_NS,
  COST_ISOLATE_PAGE_NS,
  COST_PCP_ALLOC_NS,
  COST_REPORT_DELAY_NS,
  COST_VM_EXIT_NS,
  cost,
} from "../sim/costs";
import { EVENT_GUEST_WAKE, eventPost } from "../sim/events";
import {
  BALLOON_ARRAY,
  balloonFill,
  balloonLeak,
  balloonPages,
  balloonRelease,
  balloonRequest,
  balloonTarget,
  setBalloonBusy,
} from "./balloon";
import { GUEST_DEFLATED, GUEST_INFLATED, guestCountAdd, noteAlloc, noteFree, noteIsolated } from "./books";
import { guestBalloon, guestPay, guestReporting } from "./guest";
import {
  HINTING_OVERFLOW,
  HINTING_REQUEST,
  HINTING_SLEEPS,
  hintingBlocks,
  hintingDue,
  hintingOf,
  hintingRequest,
  hintingReturn,
  hintingStep,
} from "./hinting";
import {
  REPORTING_REQUESTED,
  reportingBegin,
  reportingRequest,
  reportingState,
  reportingStep,
} from "./reporting";
import { guestPreempt, guestWake } from "./sched";
import {
  setTaskOwn,
  setTaskState,
  TASK_KTHREAD,
  TASK_WAITING,
  taskCreate,
  taskState,
  taskVcpu,
} from "./task";

// Kernel threads of a guest that give memory back: one a CPU for hinting, one for free page reporting, one for the balloon. A thread
// runs as a task on its vCPU, so its work takes the guest's time. It hands the host a request, sleeps until the host's interrupt, and
// goes on: each is one virtqueue whose descriptor the thread's record stands for.
//
// record   0      4       8      12   16      20     24      28     32      36        40
//          +------+-------+------+----+-------+------+-------+------+-------+---------+-----------+
//          | kind | guest | task | pc | next  | sent | list  | count| pairs | deflate | scheduled |
//          +------+-------+------+----+-------+------+-------+------+-------+---------+-----------+
//
// sent        the host has the request and has not answered; the list must not change
// list        address of the request: (pfn, order) a block when `pairs`, else one pfn a page
// scheduled   a timer will wake the thread

const KIND: usize = 0;
const GUEST: usize = 4;
const TASK: usize = 8;
const PC: usize = 12;
const NEXT: usize = 16;
const SENT: usize = 20;
const LIST: usize = 24;
const COUNT: usize = 28;
const PAIRS: usize = 32;
const DEFLATE: usize = 36;
const SCHEDULED: usize = 40;
const KTHREAD_BYTES: usize = 48;

export const KTHREAD_HINTING: u32 = 0;
export const KTHREAD_REPORTING: u32 = 1;
export const KTHREAD_BALLOON: u32 = 2;

// What kthreadRun() came to.
/** Its time on the vCPU is up. */
export const KTHREAD_OVER: u32 = 0;
/** It sleeps. */
export const KTHREAD_SLEEPS: u32 = 1;
/** It has handed a request to the host, and sleeps. */
export const KTHREAD_KICKS: u32 = 2;
/** hinting.ts HINTING_OVERFLOW. */
export const KTHREAD_CORRUPTS: u32 = 3;

const WORK: u32 = 0;
const ANSWERED: u32 = 1;

/** "Out of puff": the balloon driver tries again after this. */
const PUFF_NS: u64 = 200000000;

/** Takes a thread with task number `id` on `vcpu`, asleep; 0 when memory is exhausted. */
export function kthreadCreate(kind: u32, guest: usize, vcpu: usize, id: u32): usize {
  const task = taskCreate(id, vcpu, TASK_KTHREAD);
  const kthread = arenaTake(PART_RECORDS, KTHREAD_BYTES);
  if (task === 0 || kthread === 0) return 0;
  store<u32>(kthread, kind, KIND);
  store<u32>(kthread, <u32>guest, GUEST);
  store<u32>(kthread, <u32>task, TASK);
  setTaskOwn(task, kthread);
  setTaskState(task, TASK_WAITING, 0);
  return kthread;
}

export function kthreadNext(kthread: usize): usize {
  return <usize>load<u32>(kthread, NEXT);
}

export function setKthreadNext(kthread: usize, next: usize): void {
  store<u32>(kthread, <u32>next, NEXT);
}

export function kthreadGuest(kthread: usize): usize {
  return <usize>load<u32>(kthread, GUEST);
}

export function kthreadTask(kthread: usize): usize {
  return <usize>load<u32>(kthread, TASK);
}

/** A request is with the host. */
export function kthreadSent(kthread: usize): bool {
  return load<u32>(kthread, SENT) !== 0;
}

export function kthreadList(kthread: usize): usize {
  return <usize>load<u32>(kthread, LIST);
}

export function kthreadCount(kthread: usize): u32 {
  return load<u32>(kthread, COUNT);
}

/** The list holds blocks, not single pages. */
export function kthreadPairs(kthread: usize): bool {
  return load<u32>(kthread, PAIRS) !== 0;
}

/** The guest takes the pages back: the host has nothing to drop. */
export function kthreadDeflates(kthread: usize): bool {
  return load<u32>(kthread, DEFLATE) !== 0;
}

/** The host has answered: the thread goes on when it is woken. */
export function kthreadAnswer(kthread: usize): void {
  assert(kthreadSent(kthread));
  store<u32>(kthread, 0, SENT);
  store<u32>(kthread, ANSWERED, PC);
}

/** Wakes the thread if it sleeps and there is something to do for it at `time`; `vcpu` runs its CPU. */
export function kthreadPoke(kthread: usize, vcpu: usize, time: u64): void {
  const task = kthreadTask(kthread);
  if (taskVcpu(task) !== vcpu && load<u32>(kthread, KIND) === KTHREAD_HINTING) return;
  if (taskState(task) !== TASK_WAITING || kthreadSent(kthread) || load<u32>(kthread, PC) === ANSWERED) return;
  if (load<u32>(kthread, SCHEDULED) !== 0) return;
  const guest = kthreadGuest(kthread);
  const kind = load<u32>(kthread, KIND);
  if (kind === KTHREAD_HINTING) {
    if (!hintingDue(hintingOf(guest, vcpuIndex(vcpu)))) return;
    guestWake(vcpu, task);
    guestPreempt(vcpu);
  } else if (kind === KTHREAD_REPORTING) {
    if (reportingState(guestReporting(guest)) !== REPORTING_REQUESTED) return;
    schedule(kthread, time + cost(COST_REPORT_DELAY_NS));
  } else if (balloonTarget(guestBalloon(guest)) !== balloonPages(guestBalloon(guest))) {
    schedule(kthread, time);
  }
}

/** The thread is woken by a timer at `time`. */
export function schedule(kthread: usize, time: u64): void {
  store<u32>(kthread, 1, SCHEDULED);
  eventPost(time, EVENT_GUEST_WAKE, load<u32>(kthread, TASK));
}

/** A timer, or the host's interrupt, has come for the thread, whose vCPU is awake. */
export function kthreadWoken(kthread: usize): void {
  store<u32>(kthread, 0, SCHEDULED);
  const task = kthreadTask(kthread);
  guestWake(taskVcpu(task), task);
  guestPreempt(taskVcpu(task));
}

/** Runs the thread until the vCPU's clock reaches `until`. Returns KTHREAD_*. */
export function kthreadRun(vcpu: usize, kthread: usize, until: u64): u32 {
  const kind = load<u32>(kthread, KIND);
  while (actorClock(vcpu) < until) {
    const result =
      kind === KTHREAD_HINTING
        ? hint(vcpu, kthread)
        : kind === KTHREAD_REPORTING
          ? report(vcpu, kthread)
          : inflate(vcpu, kthread);
    if (result !== KTHREAD_OVER) return result;
  }
  return KTHREAD_OVER;
}

// virtqueue_kick(): the exit is the vCPU's; the host's thread is woken by who runs the machine.
function send(vcpu: usize, kthread: usize, list: usize, count: u32, pairs: bool): u32 {
  store<u32>(kthread, <u32>list, LIST);
  store<u32>(kthread, count, COUNT);
  store<u32>(kthread, pairs ? 1 : 0, PAIRS);
  store<u32>(kthread, 1, SENT);
  if (load<u32>(kthread, KIND) === KTHREAD_BALLOON) setBalloonBusy(guestBalloon(kthreadGuest(kthread)), true);
  actorSpend(vcpu, STAGE_EXIT, cost(COST_VM_EXIT_NS));
  return KTHREAD_KICKS;
}

function hint(vcpu: usize, kthread: usize): u32 {
  const guest = kthreadGuest(kthread);
  const hinting = hintingOf(guest, vcpuIndex(vcpu));
  if (load<u32>(kthread, PC) === ANSWERED) {
    actorSpend(vcpu, STAGE_CPU, hintingBlocks(hinting) * cost(COST_BUDDY_ALLOC_NS));
    hintingReturn(hinting);
    store<u32>(kthread, WORK, PC);
    return KTHREAD_SLEEPS;
  }
  if (!hintingDue(hinting)) return KTHREAD_SLEEPS;
  const result = hintingStep(hinting);
  guestPay(guest, vcpu);
  if (result === HINTING_OVERFLOW) return KTHREAD_CORRUPTS;
  if (result === HINTING_SLEEPS) return KTHREAD_SLEEPS;
  if (result !== HINTING_REQUEST) return KTHREAD_OVER;
  return send(vcpu, kthread, hintingRequest(hinting), hintingBlocks(hinting), true);
}

// page_reporting_process()
function report(vcpu: usize, kthread: usize): u32 {
  const guest = kthreadGuest(kthread);
  const reporting = guestReporting(guest);
  if (load<u32>(kthread, PC) === ANSWERED) {
    countIsolated(kthread, -1);
    store<u32>(kthread, WORK, PC);
  } else if (reportingState(reporting) !== REPORTING_REQUESTED) {
    return KTHREAD_SLEEPS;
  } else {
    reportingBegin(reporting);
  }
  const blocks = reportingStep(reporting, vcpuIndex(vcpu));
  if (blocks !== 0) {
    actorSpend(vcpu, STAGE_CPU, blocks * cost(COST_ISOLATE_PAGE_NS));
    send(vcpu, kthread, reportingRequest(reporting), blocks, true);
    countIsolated(kthread, 1);
    return KTHREAD_KICKS;
  }
  if (reportingState(reporting) === REPORTING_REQUESTED) {
    schedule(kthread, actorClock(vcpu) + cost(COST_REPORT_DELAY_NS));
  }
  return KTHREAD_SLEEPS;
}

function countIsolated(kthread: usize, sign: i32): void {
  for (let index: u32 = 0; index < kthreadCount(kthread); index++) {
    noteIsolated(
      kthreadGuest(kthread),
      sign * (1 << load<u32>(kthreadList(kthread) + ((<usize>index) << 3), 4)),
    );
  }
}

// update_balloon_size_func()
function inflate(vcpu: usize, kthread: usize): u32 {
  const guest = kthreadGuest(kthread);
  const balloon = guestBalloon(guest);
  if (load<u32>(kthread, PC) === ANSWERED) {
    store<u32>(kthread, WORK, PC);
    setBalloonBusy(balloon, false);
    if (kthreadDeflates(kthread)) {
      for (let index: u32 = 0; index < kthreadCount(kthread); index++) {
        noteFree(guest, load<u32>(kthreadList(kthread) + ((<usize>index) << 2)), 0, actorClock(vcpu));
      }
      balloonRelease(balloon, vcpuIndex(vcpu));
      actorSpend(vcpu, STAGE_CPU, kthreadCount(kthread) * cost(COST_PCP_ALLOC_NS));
      guestPay(guest, vcpu);
      guestCountAdd(guest, GUEST_DEFLATED, kthreadCount(kthread));
    }
  }
  const pages = balloonPages(balloon);
  const target = balloonTarget(balloon);
  if (pages === target) return KTHREAD_SLEEPS;
  store<u32>(kthread, pages > target ? 1 : 0, DEFLATE);
  if (pages > target)
    return send(vcpu, kthread, balloonRequest(balloon), balloonLeak(balloon, pages - target), false);
  const taken = balloonFill(balloon, vcpuIndex(vcpu), min<u32>(target - pages, BALLOON_ARRAY));
  if (taken === 0) {
    schedule(kthread, actorClock(vcpu) + PUFF_NS);
    return KTHREAD_SLEEPS;
  }
  for (let index: u32 = 0; index < taken; index++) {
    noteAlloc(guest, load<u32>(balloonRequest(balloon) + ((<usize>index) << 2)), 0);
  }
  actorSpend(vcpu, STAGE_CPU, taken * cost(COST_PCP_ALLOC_NS));
  guestCountAdd(guest, GUEST_INFLATED, taken);
  return send(vcpu, kthread, balloonRequest(balloon), taken, false);
}
