import { DAEMON_BYTES } from "../kvm/vcpu";
import { gfnToIndex, vmMm, vmSpace } from "../kvm/vm";
import { arenaTake, PART_RECORDS } from "../memory/arena";
import { STEP_AGAIN, STEP_BLOCKED, STEP_DONE } from "../memory/status";
import { ACTOR_MM } from "../mm/context";
import { dontneedBegin, dontneedPages, dontneedStep } from "../mm/dontneed";
import {
  ACTOR_BALLOON,
  actorBlock,
  actorClock,
  actorGoesOn,
  actorInit,
  actorSpend,
  actorWake,
  STAGE_QUEUE,
  STAGE_RECLAIM,
} from "../sim/actor";
import {
  COST_BALLOON_INFLATE_PAGE_NS,
  COST_IRQ_INJECT_IDLE_NS,
  COST_MADVISE_DONTNEED_NS,
  COST_VIRTQ_KICK_NS,
  COST_VM_EXIT_NS,
  cost,
} from "../sim/costs";
import { EVENT_GUEST_WAKE, eventPost } from "../sim/events";
import { noteBlock, noteReleased, noteRequest } from "./books";
import { guestVm, pfnToGfn } from "./guest";
import {
  kthreadAnswer,
  kthreadCount,
  kthreadDeflates,
  kthreadGuest,
  kthreadList,
  kthreadNext,
  kthreadPairs,
  kthreadSent,
  kthreadTask,
  setKthreadNext,
} from "./kthread";

// The host's side of a VM's balloon device: one thread of the VM's process that takes requests off the device's queues, in the order of
// the queues, and drops each range with madvise(MADV_DONTNEED), one call a range (virtio_balloon_handle_report(),
// virtio_balloon_handle_output()). Deflation is announced and costs the host nothing but the request.
//
// The actor's record ends with
//          0       4          8         12      16
//          +-------+----------+---------+-------+-------+
//          | pc    | kthreads | current | index | woken |
//          +-------+----------+---------+-------+-------+

const PC: usize = DAEMON_BYTES;
const KTHREADS: usize = DAEMON_BYTES + 4;
const CURRENT: usize = DAEMON_BYTES + 8;
const INDEX: usize = DAEMON_BYTES + 12;
const WOKEN: usize = DAEMON_BYTES + 16;
const DEVICE_BYTES: usize = DAEMON_BYTES + 24;

const IDLE: u32 = 0;
const ENTRY: u32 = 1;
const DISCARD: u32 = 2;

/** Takes the actor of VM `vm`'s device; 0 when memory is exhausted. */
export function balloonDeviceCreate(vm: usize, actorId: u32): usize {
  const device = arenaTake(PART_RECORDS, DEVICE_BYTES);
  if (device === 0) return 0;
  actorInit(device, ACTOR_BALLOON, actorId);
  store<u32>(device, <u32>vmMm(vm), ACTOR_MM);
  return device;
}

/** First thread of the guest that has a queue of the device; kthreadNext() has the others. */
export function deviceKthreads(device: usize): usize {
  return <usize>load<u32>(device, KTHREADS);
}

/** Adds a queue, after those that are there. */
export function deviceAddKthread(device: usize, kthread: usize): void {
  const first = deviceKthreads(device);
  if (first === 0) {
    store<u32>(device, <u32>kthread, KTHREADS);
    return;
  }
  let last = first;
  while (kthreadNext(last) !== 0) last = kthreadNext(last);
  setKthreadNext(last, kthread);
}

/** A vCPU has kicked a queue; its exit has been paid at `time`. */
export function deviceKick(device: usize, time: u64): void {
  if (load<u32>(device, WOKEN) !== 0) return;
  store<u32>(device, 1, WOKEN);
  const exit = cost(COST_VM_EXIT_NS);
  const kick = cost(COST_VIRTQ_KICK_NS);
  actorWake(device, time + (kick > exit ? kick - exit : 0));
}

/** The thread's next step. Returns STEP_AGAIN or STEP_BLOCKED. */
export function balloonDeviceStep(device: usize): i32 {
  while (true) {
    const pc = load<u32>(device, PC);
    if (pc === IDLE) {
      const kthread = nextRequest(device);
      if (kthread === 0) {
        store<u32>(device, 0, WOKEN);
        actorBlock(device, STAGE_QUEUE);
        return STEP_BLOCKED;
      }
      store<u32>(device, <u32>kthread, CURRENT);
      store<u32>(device, 0, INDEX);
      store<u32>(device, ENTRY, PC);
      noteRequest(kthreadGuest(kthread), kthreadCount(kthread), kthreadPairs(kthread));
    } else if (pc === ENTRY) {
      const kthread = <usize>load<u32>(device, CURRENT);
      if (load<u32>(device, INDEX) === kthreadCount(kthread) || kthreadDeflates(kthread)) {
        answer(device, kthread);
        if (!actorGoesOn(device)) return STEP_AGAIN;
      } else {
        discard(device, kthread);
      }
    } else {
      const kthread = <usize>load<u32>(device, CURRENT);
      const step = dontneedStep(vmMm(guestVm(kthreadGuest(kthread))), device);
      if (step !== STEP_DONE) return step;
      discarded(device, kthread);
      if (!actorGoesOn(device)) return STEP_AGAIN; // yield: between two ranges
    }
  }
}

function nextRequest(device: usize): usize {
  let kthread = deviceKthreads(device);
  while (kthread !== 0 && !kthreadSent(kthread)) kthread = kthreadNext(kthread);
  return kthread;
}

function pfnAt(kthread: usize, index: u32): u32 {
  return load<u32>(kthreadList(kthread) + ((<usize>index) << (kthreadPairs(kthread) ? 3 : 2)));
}

function orderAt(kthread: usize, index: u32): u32 {
  return kthreadPairs(kthread) ? load<u32>(kthreadList(kthread) + ((<usize>index) << 3), 4) : 0;
}

function discard(device: usize, kthread: usize): void {
  const index = load<u32>(device, INDEX);
  const vm = guestVm(kthreadGuest(kthread));
  const first = gfnToIndex(vm, pfnToGfn(pfnAt(kthread, index)));
  const pages: u32 = 1 << orderAt(kthread, index);
  if (!kthreadPairs(kthread)) {
    // What handling one pfn of an inflation takes beside the call that drops the page.
    const rest = cost(COST_BALLOON_INFLATE_PAGE_NS);
    const call = cost(COST_MADVISE_DONTNEED_NS);
    actorSpend(device, STAGE_RECLAIM, rest > call ? rest - call : 0);
  }
  dontneedBegin(device, vmSpace(vm), first, first + pages);
  store<u32>(device, DISCARD, PC);
}

function discarded(device: usize, kthread: usize): void {
  const index = load<u32>(device, INDEX);
  const order = orderAt(kthread, index);
  const guest = kthreadGuest(kthread);
  if (kthreadPairs(kthread)) noteBlock(guest, order);
  noteReleased(guest, pfnAt(kthread, index), order, dontneedPages(device), actorClock(device));
  store<u32>(device, index + 1, INDEX);
  store<u32>(device, ENTRY, PC);
}

// The used ring and the interrupt.
function answer(device: usize, kthread: usize): void {
  store<u32>(device, IDLE, PC);
  store<u32>(device, 0, CURRENT);
  kthreadAnswer(kthread);
  eventPost(actorClock(device) + cost(COST_IRQ_INJECT_IDLE_NS), EVENT_GUEST_WAKE, <u32>kthreadTask(kthread));
}
