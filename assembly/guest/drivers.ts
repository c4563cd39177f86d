import { vcpuIndex } from "../kvm/vcpu";
import { PFN_NONE } from "../memory/layout";
import { actorClock, actorSpend, STAGE_CPU, STAGE_EXIT } from "../sim/actor";
import {
  COST_BUDDY_ALLOC_NS,
  COST_ISOLATE_PAGE_NS,
  COST_MEM_HIT_NS,
  COST_PCP_ALLOC_NS,
  COST_REPORT_DELAY_NS,
  COST_VM_EXIT_NS,
  cost,
} from "../sim/costs";
import {
  BALLOON_ARRAY,
  balloonFill,
  balloonLeak,
  balloonPages,
  balloonRequest,
  balloonSettled,
  balloonTarget,
  setBalloonBusy,
} from "./balloon";
import { deviceAwake } from "./balloondev";
import { STATS_FIGURES, statsCollect } from "./balloonstats";
import { GUEST_INFLATED, GUEST_SCAN_NS, guestCountAdd, noteAlloc, noteFree, noteIsolated } from "./books";
import { guestBalloon, guestDevice, guestHints, guestPay, guestReporting, guestStats } from "./guest";
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
  KTHREAD_BALLOON,
  KTHREAD_FREE_PAGE,
  KTHREAD_HINTING,
  KTHREAD_REPORTING,
  kthreadCount,
  kthreadDeflates,
  kthreadGuest,
  kthreadKind,
  kthreadList,
  kthreadSend,
  kthreadTakeAnswer,
  oomUnderWay,
  schedule,
  setKthreadDeflates,
} from "./kthread";
import { deflated, oomLockFree } from "./oom";
import {
  HINT_ORDER,
  HINT_PAGES,
  HINTS_ADDED,
  HINTS_SLEEP,
  hintsGiven,
  hintsStep,
  hintsTaken,
} from "./pagehints";
import {
  REPORTING_REQUESTED,
  reportingBegin,
  reportingRequest,
  reportingState,
  reportingStep,
} from "./reporting";

// What the threads of kthread.ts do: each a step of its driver, paid with the vCPU's time, up to a request or the end of its work.

// What driverRun() came to.
/** Its time on the vCPU is up. */
export const DRIVER_OVER: u32 = 0;
/** It sleeps. */
export const DRIVER_SLEEPS: u32 = 1;
/** It has handed a request to the host, and sleeps. */
export const DRIVER_KICKS: u32 = 2;
/** hinting.ts HINTING_OVERFLOW. */
export const DRIVER_CORRUPTS: u32 = 3;
/** It has handed something to the host, and goes on. */
export const DRIVER_PINGS: u32 = 4;

/** "Out of puff": the balloon driver tries again after this. */
const PUFF_NS: u64 = 200000000;

/** Runs the thread until the vCPU's clock reaches `until`. Returns DRIVER_*. */
export function driverRun(vcpu: usize, kthread: usize, until: u64): u32 {
  while (actorClock(vcpu) < until) {
    const result = step(vcpu, kthread);
    if (result !== DRIVER_OVER) return result;
  }
  return DRIVER_OVER;
}

function step(vcpu: usize, kthread: usize): u32 {
  const kind = kthreadKind(kthread);
  if (kind === KTHREAD_HINTING) return hint(vcpu, kthread);
  if (kind === KTHREAD_REPORTING) return report(vcpu, kthread);
  if (kind === KTHREAD_BALLOON) return inflate(vcpu, kthread);
  return kind === KTHREAD_FREE_PAGE ? hintBlocks(vcpu, kthread) : sendStats(vcpu, kthread);
}

// virtqueue_kick(): the exit is the vCPU's; the host's thread is woken by who runs the machine.
function send(vcpu: usize, kthread: usize, list: usize, count: u32, pairs: bool): u32 {
  kthreadSend(kthread, list, count, pairs);
  if (kthreadKind(kthread) === KTHREAD_BALLOON) setBalloonBusy(guestBalloon(kthreadGuest(kthread)), true);
  actorSpend(vcpu, STAGE_EXIT, cost(COST_VM_EXIT_NS));
  return DRIVER_KICKS;
}

function hint(vcpu: usize, kthread: usize): u32 {
  const guest = kthreadGuest(kthread);
  const hinting = hintingOf(guest, vcpuIndex(vcpu));
  if (kthreadTakeAnswer(kthread)) {
    actorSpend(vcpu, STAGE_CPU, hintingBlocks(hinting) * cost(COST_BUDDY_ALLOC_NS));
    hintingReturn(hinting);
    return DRIVER_SLEEPS;
  }
  if (!hintingDue(hinting)) return DRIVER_SLEEPS;
  const result = hintingStep(hinting);
  guestPay(guest, vcpu);
  if (result === HINTING_OVERFLOW) return DRIVER_CORRUPTS;
  if (result === HINTING_SLEEPS) return DRIVER_SLEEPS;
  if (result !== HINTING_REQUEST) return DRIVER_OVER;
  return send(vcpu, kthread, hintingRequest(hinting), hintingBlocks(hinting), true);
}

// page_reporting_process()
function report(vcpu: usize, kthread: usize): u32 {
  const guest = kthreadGuest(kthread);
  const reporting = guestReporting(guest);
  if (kthreadTakeAnswer(kthread)) {
    countIsolated(kthread, -1);
  } else if (reportingState(reporting) !== REPORTING_REQUESTED) {
    return DRIVER_SLEEPS;
  } else {
    reportingBegin(reporting);
  }
  const blocks = reportingStep(reporting, vcpuIndex(vcpu));
  if (blocks !== 0) {
    const ns = blocks * cost(COST_ISOLATE_PAGE_NS);
    actorSpend(vcpu, STAGE_CPU, ns);
    guestCountAdd(guest, GUEST_SCAN_NS, ns);
    send(vcpu, kthread, reportingRequest(reporting), blocks, true);
    countIsolated(kthread, 1);
    return DRIVER_KICKS;
  }
  if (reportingState(reporting) === REPORTING_REQUESTED) {
    schedule(kthread, actorClock(vcpu) + cost(COST_REPORT_DELAY_NS));
  }
  return DRIVER_SLEEPS;
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
  if (kthreadTakeAnswer(kthread)) {
    if (kthreadDeflates(kthread)) deflated(guest, vcpu, kthreadCount(kthread));
    setBalloonBusy(balloon, false);
    oomLockFree(guest, actorClock(vcpu));
  }
  if (oomUnderWay(guest)) return DRIVER_SLEEPS;
  const pages = balloonPages(balloon);
  const target = balloonTarget(balloon);
  if (pages === target) {
    balloonSettled(balloon);
    return DRIVER_SLEEPS;
  }
  setKthreadDeflates(kthread, pages > target);
  if (pages > target)
    return send(vcpu, kthread, balloonRequest(balloon), balloonLeak(balloon, pages - target), false);
  const taken = balloonFill(balloon, vcpuIndex(vcpu), min<u32>(target - pages, BALLOON_ARRAY));
  if (taken === 0) {
    schedule(kthread, actorClock(vcpu) + PUFF_NS);
    return DRIVER_SLEEPS;
  }
  for (let index: u32 = 0; index < taken; index++) {
    noteAlloc(guest, load<u32>(balloonRequest(balloon) + ((<usize>index) << 2)), 0);
  }
  actorSpend(vcpu, STAGE_CPU, taken * cost(COST_PCP_ALLOC_NS));
  guestCountAdd(guest, GUEST_INFLATED, taken);
  return send(vcpu, kthread, balloonRequest(balloon), taken, false);
}

// update_balloon_stats_func(): the host has given the buffer back, so it wants new figures.
function sendStats(vcpu: usize, kthread: usize): u32 {
  const guest = kthreadGuest(kthread);
  kthreadTakeAnswer(kthread);
  statsCollect(guestStats(guest), guest);
  actorSpend(vcpu, STAGE_CPU, STATS_FIGURES * cost(COST_MEM_HIT_NS));
  return send(vcpu, kthread, guestStats(guest), STATS_FIGURES, false);
}

// report_free_page_func(): a kick costs an exit only while the device sleeps, else it has no need of one.
function hintBlocks(vcpu: usize, kthread: usize): u32 {
  const guest = kthreadGuest(kthread);
  const result = hintsStep(guestHints(guest), vcpuIndex(vcpu));
  if (hintsTaken() !== PFN_NONE) {
    noteAlloc(guest, hintsTaken(), HINT_ORDER);
    noteIsolated(guest, <i32>HINT_PAGES);
    actorSpend(vcpu, STAGE_CPU, cost(COST_BUDDY_ALLOC_NS));
  }
  if (hintsGiven() !== PFN_NONE) {
    noteFree(guest, hintsGiven(), HINT_ORDER, actorClock(vcpu));
    noteIsolated(guest, -(<i32>HINT_PAGES));
    actorSpend(vcpu, STAGE_CPU, cost(COST_BUDDY_ALLOC_NS));
  }
  if (result === HINTS_SLEEP) return DRIVER_SLEEPS;
  if (result !== HINTS_ADDED || deviceAwake(guestDevice(guest))) return DRIVER_OVER;
  actorSpend(vcpu, STAGE_EXIT, cost(COST_VM_EXIT_NS));
  return DRIVER_PINGS;
}
