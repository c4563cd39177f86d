import { vcpuIndex } from "../kvm/vcpu";
import { arenaTake, PART_RECORDS } from "../memory/arena";
import { COST_REPORT_DELAY_NS, cost } from "../sim/costs";
import { EVENT_GUEST_WAKE, eventPost } from "../sim/events";
import { balloonAsked } from "./balloon";
import { guestBalloon, guestHints, guestOom, guestReporting } from "./guest";
import { hintingDue, hintingOf } from "./hinting";
import {
  QUEUE_DEFLATE,
  QUEUE_FREE_PAGE,
  QUEUE_HINTING,
  QUEUE_INFLATE,
  QUEUE_REPORTING,
  QUEUE_STATS,
} from "./negotiation";
import { hintsDue, hintsSent } from "./pagehints";
import { REPORTING_REQUESTED, reportingState } from "./reporting";
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

// Kernel threads of a guest that give memory back: one a CPU for hinting, one each for free page reporting, the balloon, its statistics and
// hints for a migration. A thread runs as a task on its vCPU, so its work takes the guest's time: drivers.ts. It hands the host a request,
// sleeps until the host's interrupt, and goes on: the thread's record stands for the descriptors. Only hints have a ring of their own. A
// record without a thread stands for the descriptors of tasks that find no memory (oom.ts): its task changes.
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
export const KTHREAD_BYTES: usize = 48;

export const KTHREAD_HINTING: u32 = 0;
export const KTHREAD_REPORTING: u32 = 1;
export const KTHREAD_BALLOON: u32 = 2;
export const KTHREAD_STATS: u32 = 3;
export const KTHREAD_FREE_PAGE: u32 = 4;
/** No thread: any task that finds no memory. */
export const KTHREAD_OOM: u32 = 5;

const WORK: u32 = 0;
const ANSWERED: u32 = 1;

/** Takes a thread with task number `id` on `vcpu`, asleep; 0 when memory is exhausted. */
export function kthreadCreate(kind: u32, guest: usize, vcpu: usize, id: u32): usize {
  const task = taskCreate(id, vcpu, TASK_KTHREAD);
  const kthread = arenaTake(PART_RECORDS, KTHREAD_BYTES);
  if (task === 0 || kthread === 0) return 0;
  kthreadInit(kthread, kind, guest);
  setKthreadTask(kthread, task);
  setTaskOwn(task, kthread);
  setTaskState(task, TASK_WAITING, 0);
  return kthread;
}

/** Makes KTHREAD_BYTES the record of a queue of `guest` that no thread has. */
export function kthreadInit(queue: usize, kind: u32, guest: usize): void {
  store<u32>(queue, kind, KIND);
  store<u32>(queue, <u32>guest, GUEST);
}

/** Takes the record for KTHREAD_OOM; 0 when memory is exhausted. */
export function oomCreate(guest: usize): usize {
  const queue = arenaTake(PART_RECORDS, KTHREAD_BYTES);
  if (queue === 0) return 0;
  kthreadInit(queue, KTHREAD_OOM, guest);
  setKthreadDeflates(queue, true);
  return queue;
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

/** Who is woken by the host's answer. */
export function kthreadTask(kthread: usize): usize {
  return <usize>load<u32>(kthread, TASK);
}

export function setKthreadTask(kthread: usize, task: usize): void {
  store<u32>(kthread, <u32>task, TASK);
}

/** Does a task without memory have or want the balloon's lock? Then the balloon's driver stands back. */
export function oomUnderWay(guest: usize): bool {
  return guestOom(guest) !== 0 && kthreadTask(guestOom(guest)) !== 0;
}

export function kthreadKind(kthread: usize): u32 {
  return load<u32>(kthread, KIND);
}

/** The queue that the present request is on, as the driver sees it. */
export function kthreadQueue(kthread: usize): u32 {
  const kind = kthreadKind(kthread);
  if (kind === KTHREAD_HINTING) return QUEUE_HINTING;
  if (kind === KTHREAD_REPORTING) return QUEUE_REPORTING;
  if (kind === KTHREAD_STATS) return QUEUE_STATS;
  if (kind === KTHREAD_FREE_PAGE) return QUEUE_FREE_PAGE;
  return kthreadDeflates(kthread) ? QUEUE_DEFLATE : QUEUE_INFLATE;
}

/** A request is with the host. */
export function kthreadSent(kthread: usize): bool {
  if (kthreadKind(kthread) === KTHREAD_FREE_PAGE) return hintsSent(guestHints(kthreadGuest(kthread))) !== 0;
  return load<u32>(kthread, SENT) !== 0;
}

/** Hands a request to the host: `count` blocks at `list`, or single pages, or figures. */
export function kthreadSend(kthread: usize, list: usize, count: u32, pairs: bool): void {
  store<u32>(kthread, <u32>list, LIST);
  store<u32>(kthread, count, COUNT);
  store<u32>(kthread, pairs ? 1 : 0, PAIRS);
  store<u32>(kthread, 1, SENT);
}

export function setKthreadDeflates(kthread: usize, deflates: bool): void {
  store<u32>(kthread, deflates ? 1 : 0, DEFLATE);
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

/** Has the host answered since the last look? */
export function kthreadTakeAnswer(kthread: usize): bool {
  const answered = load<u32>(kthread, PC) === ANSWERED;
  store<u32>(kthread, WORK, PC);
  return answered;
}

/** Wakes the thread if it sleeps and there is something to do for it at `time`; `vcpu` runs its CPU. */
export function kthreadPoke(kthread: usize, vcpu: usize, time: u64): void {
  const kind = kthreadKind(kthread);
  if (kind === KTHREAD_OOM) return;
  const task = kthreadTask(kthread);
  if (taskVcpu(task) !== vcpu && kind === KTHREAD_HINTING) return;
  if (taskState(task) !== TASK_WAITING || load<u32>(kthread, SENT) !== 0) return;
  if (load<u32>(kthread, PC) === ANSWERED || load<u32>(kthread, SCHEDULED) !== 0) return;
  const guest = kthreadGuest(kthread);
  if (kind === KTHREAD_HINTING) {
    if (!hintingDue(hintingOf(guest, vcpuIndex(vcpu)))) return;
    guestWake(vcpu, task);
    guestPreempt(vcpu);
  } else if (kind === KTHREAD_REPORTING) {
    if (reportingState(guestReporting(guest)) !== REPORTING_REQUESTED) return;
    schedule(kthread, time + cost(COST_REPORT_DELAY_NS));
  } else if (kind === KTHREAD_FREE_PAGE) {
    if (hintsDue(guestHints(guest))) schedule(kthread, time);
  } else if (kind === KTHREAD_STATS) {
    return; // the host asks for them
  } else if (balloonAsked(guestBalloon(guest)) && !oomUnderWay(guest)) {
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
