import { vcpuIndex } from "../kvm/vcpu";
import { actorClock, actorSpend, STAGE_CPU, STAGE_EXIT } from "../sim/actor";
import { COST_GUEST_TICK_NS, COST_PCP_ALLOC_NS, COST_VM_EXIT_NS, cost } from "../sim/costs";
import { EVENT_GUEST_WAKE, eventPost } from "../sim/events";
import {
  BALLOON_ARRAY,
  balloonBusy,
  balloonLeak,
  balloonRelease,
  balloonRequest,
  setBalloonBusy,
} from "./balloon";
import { deviceKick } from "./balloondev";
import { GUEST_DEFLATED, GUEST_OOM_DEFLATED, guestCountAdd, noteFree } from "./books";
import { guestBalloon, guestDevice, guestOom, guestPay } from "./guest";
import {
  kthreadCount,
  kthreadSend,
  kthreadSent,
  kthreadTakeAnswer,
  kthreadTask,
  setKthreadTask,
} from "./kthread";
import { guestCurrent } from "./sched";

// A guest without a free page, whose balloon gives way (virtio_balloon_oom_notify(), called by out_of_memory()): the task that has found
// none takes up to 256 pages out of the balloon, announces them on the deflate queue and sleeps until the host has answered. Then they
// are free, and the task tries again. In the meantime
//
//   another task without memory   sleeps for a tick and tries again (oom_lock)
//   the balloon's own driver      makes no request (balloon_lock); one that is on its way comes first: the task sleeps until it is over
//
// The balloon keeps the size that it has come to: its driver looks at the target only when the host has set it. The record is that of
// the queue, in kthread.ts; its task is the one that has oom_lock.

/** The vCPU's current task has found no memory. True: the balloon gives way, and the task sleeps until it is woken; then oomSleepsOn(). */
export function oomSleeps(guest: usize, vcpu: usize): bool {
  const queue = guestOom(guest);
  if (queue === 0) return false;
  const task = guestCurrent(vcpu);
  if (kthreadTask(queue) !== 0) {
    assert(kthreadTask(queue) !== task);
    eventPost(actorClock(vcpu) + cost(COST_GUEST_TICK_NS), EVENT_GUEST_WAKE, <u32>task);
    return true;
  }
  setKthreadTask(queue, task);
  return announce(guest, queue, vcpu);
}

/** The task was woken. True: it sleeps again; false: it tries again to get memory. */
export function oomSleepsOn(guest: usize, vcpu: usize): bool {
  const queue = guestOom(guest);
  if (kthreadTask(queue) !== guestCurrent(vcpu)) return false;
  if (!kthreadTakeAnswer(queue)) return announce(guest, queue, vcpu);
  deflated(guest, vcpu, kthreadCount(queue));
  guestCountAdd(guest, GUEST_OOM_DEFLATED, kthreadCount(queue));
  setBalloonBusy(guestBalloon(guest), false);
  setKthreadTask(queue, 0);
  return false;
}

// leak_balloon(), up to the wait for the host. False: the balloon is empty.
function announce(guest: usize, queue: usize, vcpu: usize): bool {
  assert(!kthreadSent(queue));
  const balloon = guestBalloon(guest);
  if (balloonBusy(balloon)) return true;
  const pages = balloonLeak(balloon, BALLOON_ARRAY);
  if (pages === 0) {
    setKthreadTask(queue, 0);
    return false;
  }
  setBalloonBusy(balloon, true);
  kthreadSend(queue, balloonRequest(balloon), pages, false);
  actorSpend(vcpu, STAGE_EXIT, cost(COST_VM_EXIT_NS));
  deviceKick(guestDevice(guest), actorClock(vcpu));
  return true;
}

/** The driver's request is over at `time`: a task that waits for that goes on. */
export function oomLockFree(guest: usize, time: u64): void {
  const queue = guestOom(guest);
  if (queue !== 0 && kthreadTask(queue) !== 0) eventPost(time, EVENT_GUEST_WAKE, <u32>kthreadTask(queue));
}

/** The host has answered a deflation of `pages` pages: they are free, and the vCPU pays for that. */
export function deflated(guest: usize, vcpu: usize, pages: u32): void {
  const balloon = guestBalloon(guest);
  for (let place: u32 = 0; place < pages; place++) {
    noteFree(guest, load<u32>(balloonRequest(balloon) + ((<usize>place) << 2)), 0, actorClock(vcpu));
  }
  balloonRelease(balloon, vcpuIndex(vcpu));
  actorSpend(vcpu, STAGE_CPU, pages * cost(COST_PCP_ALLOC_NS));
  guestPay(guest, vcpu);
  guestCountAdd(guest, GUEST_DEFLATED, pages);
}
