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
  STAGE_CPU,
  STAGE_QUEUE,
  STAGE_RECLAIM,
} from "../sim/actor";
import {
  COST_BALLOON_INFLATE_PAGE_NS,
  COST_IRQ_INJECT_IDLE_NS,
  COST_MADVISE_DONTNEED_NS,
  COST_MEM_HIT_NS,
  COST_VIRTQ_KICK_NS,
  COST_VM_EXIT_NS,
  cost,
} from "../sim/costs";
import { EVENT_GUEST_WAKE, eventPost } from "../sim/events";
import { statsRead } from "./balloonstats";
import {
  GUEST_BALLOON_REQUESTS,
  GUEST_HINTED,
  GUEST_STATS_SENT,
  GUEST_UNHEARD,
  guestCountAdd,
  noteBlock,
  noteReleased,
  noteRequest,
} from "./books";
import { guestHints, guestStats, guestVm, pfnToGfn } from "./guest";
import {
  kthreadAnswer,
  kthreadCount,
  kthreadGuest,
  kthreadList,
  kthreadNext,
  kthreadPairs,
  kthreadQueue,
  kthreadSent,
  kthreadTask,
  setKthreadNext,
} from "./kthread";
import {
  poisonValue,
  QUEUE_DEFLATE,
  QUEUE_FREE_PAGE,
  QUEUE_HINTING,
  QUEUE_INFLATE,
  QUEUE_REPORTING,
  QUEUE_STATS,
  servedAs,
} from "./negotiation";
import {
  HINT_COMMAND,
  HINT_DONE,
  HINT_FIRST_ID,
  HINT_ORDER,
  HINT_PAGES,
  HINT_STOP,
  hintsNext,
  hintsPop,
} from "./pagehints";

// The host's side of a VM's balloon device: one thread of the VM's process that takes requests off the device's queues and does with each
// what it takes the queue for (virtio_balloon_handle_report(), virtio_balloon_handle_output()). What it drops goes range by range, one
// madvise(MADV_DONTNEED) each. It reads descriptors that the driver has made readable (an array of pfns, of (pfn, order), an id, figures),
// and takes writable ones for free memory: the pages of a report, of a hint. A queue of hints of 2019 is read as an array; when the
// driver has sent something else that is readable, the host would drop whatever it finds there, so the run ends (deviceMisread()).
// Deflation is announced and costs the host nothing but the request; statistics are kept until they are due again.
//
// The actor's record ends with
//          0       4          8         12      16      20     24          32           36      40
//          +-------+----------+---------+-------+-------+------+-----------+------------+-------+---------+
//          | pc    | kthreads | current | index | woken | link | stats, ns | command id | hints | misread |
//          +-------+----------+---------+-------+-------+------+-----------+------------+-------+---------+
//
// link         negotiation.ts
// stats        the host asks for statistics so long after it has got them
// hints        the driver has sent the id of the present round of hints, and has not ended them

const PC: usize = DAEMON_BYTES;
const KTHREADS: usize = DAEMON_BYTES + 4;
const CURRENT: usize = DAEMON_BYTES + 8;
const INDEX: usize = DAEMON_BYTES + 12;
const WOKEN: usize = DAEMON_BYTES + 16;
const LINK: usize = DAEMON_BYTES + 20;
const STATS_NS: usize = DAEMON_BYTES + 24; // u64
const COMMAND_ID: usize = DAEMON_BYTES + 32;
const HINTS: usize = DAEMON_BYTES + 36;
const MISREAD: usize = DAEMON_BYTES + 40;
const DEVICE_BYTES: usize = DAEMON_BYTES + 48;

const IDLE: u32 = 0;
const ENTRY: u32 = 1;
const DISCARD: u32 = 2;

// Words of the migration's bitmap that stand for a block of hints.
const BITMAP_WORDS: u32 = HINT_PAGES / 64;

/** Takes the actor of VM `vm`'s device, with what it offers and how often it asks for statistics; 0 when memory is exhausted. */
export function balloonDeviceCreate(vm: usize, actorId: u32, link: usize, statsNs: u64): usize {
  const device = arenaTake(PART_RECORDS, DEVICE_BYTES);
  if (device === 0) return 0;
  actorInit(device, ACTOR_BALLOON, actorId);
  store<u32>(device, <u32>vmMm(vm), ACTOR_MM);
  store<u32>(device, <u32>link, LINK);
  store<u64>(device, statsNs, STATS_NS);
  store<u32>(device, HINT_FIRST_ID - 1, COMMAND_ID);
  return device;
}

/** What it has agreed on with its driver. */
export function deviceLink(device: usize): usize {
  return <usize>load<u32>(device, LINK);
}

/** Does its thread run, or is it about to? */
export function deviceAwake(device: usize): bool {
  return load<u32>(device, WOKEN) !== 0;
}

/** The queue kind that the driver meant where the host has read something that is no array of hints; 0 while all is well. */
export function deviceMisread(device: usize): bool {
  return load<u32>(device, MISREAD) !== 0;
}

/** The host begins a round of hints, wants no more, or is done: what the driver finds in the configuration then. */
export function deviceHintCommand(device: usize, command: u32): u32 {
  if (command === HINT_STOP || command === HINT_DONE) {
    store<u32>(device, 0, HINTS);
    return command;
  }
  const id = load<u32>(device, COMMAND_ID) + 1;
  store<u32>(device, id, COMMAND_ID);
  return id;
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
      if (kthread === 0 || deviceMisread(device)) {
        store<u32>(device, 0, WOKEN);
        actorBlock(device, STAGE_QUEUE);
        return STEP_BLOCKED;
      }
      begin(device, kthread);
    } else if (pc === ENTRY) {
      const kthread = <usize>load<u32>(device, CURRENT);
      if (load<u32>(device, INDEX) === blocksOf(kthread)) {
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

// Takes a request. What drops nothing is done with at once.
function begin(device: usize, kthread: usize): void {
  const guest = kthreadGuest(kthread);
  const queue = kthreadQueue(kthread);
  const served = servedAs(deviceLink(device), queue);
  store<u32>(device, <u32>kthread, CURRENT);
  store<u32>(device, ENTRY, PC);
  const drops = drop(device, kthread, queue, served);
  store<u32>(device, drops ? 0 : blocksOf(kthread), INDEX);
  if (queue === QUEUE_INFLATE || queue === QUEUE_DEFLATE) guestCountAdd(guest, GUEST_BALLOON_REQUESTS, 1);
  if (queue === QUEUE_HINTING || queue === QUEUE_REPORTING) {
    noteRequest(guest, kthreadCount(kthread));
    for (let index: u32 = 0; index < kthreadCount(kthread); index++) {
      noteBlock(guest, orderAt(kthread, index));
      if (!drops) guestCountAdd(guest, GUEST_UNHEARD, 1 << orderAt(kthread, index));
    }
  }
  if (queue === QUEUE_STATS) {
    statsRead(guestStats(guest));
    guestCountAdd(guest, GUEST_STATS_SENT, 1);
  }
}

// Does the host, which takes the queue for `served`, drop what the driver has put on its `queue`?
function drop(device: usize, kthread: usize, queue: u32, served: u32): bool {
  if (queue === QUEUE_INFLATE) return true;
  if (queue === QUEUE_DEFLATE || queue === QUEUE_STATS) return false;
  const entry = queue === QUEUE_FREE_PAGE ? hintsNext(guestHints(kthreadGuest(kthread))) : 0;
  const command = (entry & HINT_COMMAND) !== 0;
  const readable = queue === QUEUE_HINTING || command;
  if (served === QUEUE_FREE_PAGE) {
    const id = command ? entry & ~HINT_COMMAND : readable ? pfnToGfn(pfnAt(kthread, 0)) : 0;
    takeHint(device, kthreadGuest(kthread), readable, id, kthread);
    return false;
  }
  // What is dropped comes back as zeroes: no use to a guest that expects its poison.
  if (served === QUEUE_REPORTING) return !readable && poisonValue(deviceLink(device)) === 0;
  if (command) store<u32>(device, 1, MISREAD);
  return queue === QUEUE_HINTING;
}

// virtio_balloon_handle_free_page_vq(): an id begins the hints of its round and any other one ends them; a block that comes in between is
// one that the migration need not send.
function takeHint(device: usize, guest: usize, readable: bool, id: u32, kthread: usize): void {
  if (readable) {
    const begins = id >= HINT_FIRST_ID && id === load<u32>(device, COMMAND_ID);
    store<u32>(device, begins ? 1 : 0, HINTS);
  } else if (load<u32>(device, HINTS) !== 0) {
    let pages: u32 = 0;
    for (let index: u32 = 0; index < blocksOf(kthread); index++) pages += 1 << orderAt(kthread, index);
    guestCountAdd(guest, GUEST_HINTED, pages);
    actorSpend(device, STAGE_CPU, BITMAP_WORDS * cost(COST_MEM_HIT_NS));
  }
}

// Ranges of a request; a ring of hints is taken one by one.
function blocksOf(kthread: usize): u32 {
  return kthreadQueue(kthread) === QUEUE_FREE_PAGE ? 1 : kthreadCount(kthread);
}

function pfnAt(kthread: usize, index: u32): u32 {
  if (kthreadQueue(kthread) === QUEUE_FREE_PAGE) return hintsNext(guestHints(kthreadGuest(kthread)));
  return load<u32>(kthreadList(kthread) + ((<usize>index) << (kthreadPairs(kthread) ? 3 : 2)));
}

function orderAt(kthread: usize, index: u32): u32 {
  if (kthreadQueue(kthread) === QUEUE_FREE_PAGE) return HINT_ORDER;
  return kthreadPairs(kthread) ? load<u32>(kthreadList(kthread) + ((<usize>index) << 3), 4) : 0;
}

function discard(device: usize, kthread: usize): void {
  const index = load<u32>(device, INDEX);
  const vm = guestVm(kthreadGuest(kthread));
  const first = gfnToIndex(vm, pfnToGfn(pfnAt(kthread, index)));
  const pages: u32 = 1 << orderAt(kthread, index);
  if (kthreadQueue(kthread) === QUEUE_INFLATE) {
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
  const guest = kthreadGuest(kthread);
  noteReleased(
    guest,
    pfnAt(kthread, index),
    orderAt(kthread, index),
    dontneedPages(device),
    actorClock(device),
  );
  store<u32>(device, index + 1, INDEX);
  store<u32>(device, ENTRY, PC);
}

// The used ring and the interrupt. A buffer of statistics comes back when the host wants the next ones; the ring of hints needs none.
function answer(device: usize, kthread: usize): void {
  store<u32>(device, IDLE, PC);
  store<u32>(device, 0, CURRENT);
  const queue = kthreadQueue(kthread);
  if (queue === QUEUE_FREE_PAGE) {
    hintsPop(guestHints(kthreadGuest(kthread)));
    return;
  }
  kthreadAnswer(kthread);
  const later = queue === QUEUE_STATS ? load<u64>(device, STATS_NS) : 0;
  eventPost(
    actorClock(device) + later + cost(COST_IRQ_INJECT_IDLE_NS),
    EVENT_GUEST_WAKE,
    <u32>kthreadTask(kthread),
  );
}
