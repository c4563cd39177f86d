import { balloonCreate, checkBalloon, setBalloonTarget } from "../guest/balloon";
import {
  balloonDeviceCreate,
  balloonDeviceStep,
  deviceAddKthread,
  deviceAwake,
  deviceHintCommand,
  deviceKick,
  deviceKthreads,
  deviceLink,
  deviceMisread,
} from "../guest/balloondev";
import { statsCreate } from "../guest/balloonstats";
import { DRIVER_CORRUPTS, DRIVER_OVER, DRIVER_PINGS, DRIVER_SLEEPS, driverRun } from "../guest/drivers";
import {
  FREE_HINTING_2019,
  FREE_HINTING_2019_MIN_ORDER,
  FREE_REPORTING,
  guestBalloon,
  guestDesign,
  guestDevice,
  guestHinting,
  guestHints,
  guestMemory,
  guestMinOrder,
  guestMm,
  guestReporting,
  guestVm,
  pfnToGfn,
  setGuestBalloon,
  setGuestDesign,
  setGuestDevice,
  setGuestHinting,
  setGuestHints,
  setGuestOom,
  setGuestReporting,
  setGuestStats,
} from "../guest/guest";
import { checkHinting, hintingCreate, hintingOf, hintingOverflow } from "../guest/hinting";
import {
  KTHREAD_BALLOON,
  KTHREAD_FREE_PAGE,
  KTHREAD_HINTING,
  KTHREAD_REPORTING,
  KTHREAD_STATS,
  kthreadCreate,
  kthreadGuest,
  kthreadKind,
  kthreadNext,
  kthreadPoke,
  oomCreate,
  schedule,
} from "../guest/kthread";
import { checkGuestMemory, guestMemoryCreate, guestMemoryLayout, guestMemoryStart } from "../guest/memory";
import {
  deviceOffers,
  driverAccepts,
  driverHas,
  FEATURE_BIT_5,
  FEATURE_DEFLATE_ON_OOM,
  FEATURE_FREE_PAGE_HINT,
  FEATURE_MUST_TELL_HOST,
  FEATURE_PAGE_POISON,
  FEATURE_STATS,
  LAYOUT_2019,
  LAYOUT_UPSTREAM,
  negotiated,
  probeFailed,
  QUEUE_FREE_PAGE,
  QUEUE_HINTING,
  QUEUE_REPORTING,
  QUEUE_STATS,
  ringDescriptors,
} from "../guest/negotiation";
import { checkHints, hintsCommand, hintsCreate } from "../guest/pagehints";
import { checkReporting, reportingAsk, reportingCreate } from "../guest/reporting";
import { guestSleep } from "../guest/sched";
import { setTaskOwn, taskFirstGfn, taskOwn, taskVcpu, taskWorkload } from "../guest/task";
import { destroyRegister } from "../kvm/destroy";
import { VIOLATION_ARRAY_OVERFLOW, VIOLATION_MISREAD_QUEUE, violationNote } from "../kvm/integrity";
import { vcpuIndex, vcpuNext, vcpuVm } from "../kvm/vcpu";
import { vmVcpuList, vmVcpus } from "../kvm/vm";
import { threadIdle } from "../kvm/vmend";
import { arenaTake, PART_RECORDS } from "../memory/arena";
import { STEP_BLOCKED } from "../memory/status";
import { actorClock, setActorNext } from "../sim/actor";
import { churnLayout } from "../workload/churn";
import { PAGED_CHURN, pagedCreate } from "../workload/paged";
import { PAGED_KIND, PAGED_REGION, REGION_BYTES } from "../workload/pagedtask";
import { workloadPages } from "../workload/workload";
import {
  actorCount,
  firstActor,
  lastActor,
  STOP_VIOLATION,
  setActorCount,
  setActors,
  setStop,
  taskAt,
  taskCount,
} from "./state";

// Guests that give memory back, in a machine: their set-up, what their kernel threads do to the vCPU that runs one, and their checks.

/** Appends to the machine's list of actors. */
export function addActor(actor: usize): void {
  const last = lastActor();
  if (last !== 0) setActorNext(last, actor);
  setActors(last === 0 ? actor : firstActor(), actor);
  setActorCount(actorCount() + 1);
}

/**
 * Set-up of configBalloonDevice(): the host's side, which takes bit 5 as `layout` has it. Then drivers as the negotiated features have
 * them: givebackDrivers(). False when memory is exhausted.
 */
export function givebackDevice(vm: usize, offered: u32, layout: u32, ring: u32, statsNs: u64): bool {
  const link = deviceOffers(offered, layout, ring);
  const device = link === 0 ? <usize>0 : balloonDeviceCreate(vm, actorCount(), link, statsNs);
  if (device === 0) return false;
  addActor(device);
  setGuestDevice(guestMemory(vm), device);
  return true;
}

/** Set-up of configGuest(). False when memory is exhausted. */
export function givebackCreate(vm: usize, pages: u32, design: u32, minOrder: u32, array: u32): bool {
  const guest = guestMemoryCreate(vm, vmVcpus(vm), pages);
  if (guest === 0) return false;
  setGuestDesign(guest, design, minOrder, array);
  return true;
}

/**
 * Set-up of configBalloonDriver(): the guest's side. A balloon wants `target` pages and gives way when memory is out if `deflates`; free
 * pages hold a pattern (`poisons`) or zeroes (`zeroes`). False when memory is exhausted.
 */
export function givebackDrivers(
  vm: usize,
  target: u32,
  deflates: bool,
  poisons: bool,
  zeroes: bool,
  statsNs: u64,
): bool {
  const guest = guestMemory(vm);
  const link = deviceLink(guestDevice(guest));
  const design = guestDesign(guest);
  const of2019 = design === FREE_HINTING_2019 || design === FREE_HINTING_2019_MIN_ORDER;
  let known = FEATURE_MUST_TELL_HOST | FEATURE_STATS | FEATURE_FREE_PAGE_HINT | FEATURE_PAGE_POISON;
  if (deflates) known |= FEATURE_DEFLATE_ON_OOM;
  if (of2019 || design === FREE_REPORTING) known |= FEATURE_BIT_5;
  driverAccepts(link, known, of2019 ? LAYOUT_2019 : LAYOUT_UPSTREAM, poisons, zeroes);
  if (probeFailed(link)) return true;
  if (driverHas(link, QUEUE_HINTING) && !addHinting(vm, guest)) return false;
  if (driverHas(link, QUEUE_REPORTING) && !addReporting(vm, guest)) return false;
  const givesWay = (negotiated(link) & FEATURE_DEFLATE_ON_OOM) !== 0;
  const record = balloonCreate(guestMm(guest), givesWay);
  if (record === 0) return false;
  setGuestBalloon(guest, record);
  setBalloonTarget(record, target);
  const first = vmVcpuList(vm);
  if (!addThread(KTHREAD_BALLOON, guest, first) || (givesWay && !addOom(guest))) return false;
  if (driverHas(link, QUEUE_STATS) && statsNs !== 0) {
    const stats = statsCreate();
    if (stats === 0) return false;
    setGuestStats(guest, stats);
    if (!addThread(KTHREAD_STATS, guest, first)) return false;
  }
  if (!driverHas(link, QUEUE_FREE_PAGE)) return true;
  const hints = hintsCreate(guestMm(guest), ringDescriptors(link));
  if (hints === 0) return false;
  setGuestHints(guest, hints);
  return addThread(KTHREAD_FREE_PAGE, guest, first);
}

function addHinting(vm: usize, guest: usize): bool {
  const minOrder = guestDesign(guest) === FREE_HINTING_2019 ? 0 : guestMinOrder(guest);
  const records = hintingCreate(guest, vmVcpus(vm), minOrder);
  if (records === 0) return false;
  setGuestHinting(guest, records);
  for (let vcpu = vmVcpuList(vm); vcpu !== 0; vcpu = vcpuNext(vcpu)) {
    if (!addThread(KTHREAD_HINTING, guest, vcpu)) return false;
  }
  return true;
}

function addReporting(vm: usize, guest: usize): bool {
  const reporting = reportingCreate(guestMm(guest), guestMinOrder(guest));
  if (reporting === 0) return false;
  setGuestReporting(guest, reporting);
  reportingAsk(reporting);
  return addThread(KTHREAD_REPORTING, guest, vmVcpuList(vm));
}

function addThread(kind: u32, guest: usize, vcpu: usize): bool {
  const kthread = kthreadCreate(kind, guest, vcpu, KTHREAD_IDS + actorCount());
  if (kthread !== 0) deviceAddKthread(guestDevice(guest), kthread);
  return kthread !== 0;
}

function addOom(guest: usize): bool {
  const queue = oomCreate(guest);
  setGuestOom(guest, queue);
  if (queue !== 0) deviceAddKthread(guestDevice(guest), queue);
  return queue !== 0;
}

// Numbers of threads among the tasks of a vCPU: behind all that can be configured.
const KTHREAD_IDS: u32 = 1 << 20;

/** Set-up of configPaged(). Tasks that begin at the same page share their region. False when memory is exhausted. */
export function pagedAttach(task: usize, kind: u32, pauseNs: f64): bool {
  const guest = guestMemory(vcpuVm(taskVcpu(task)));
  let region: usize = 0;
  for (let index: u32 = 0; index < taskCount(); index++) {
    const other = taskAt(index);
    if (other === task || taskOwn(other) === 0 || vcpuVm(taskVcpu(other)) !== vcpuVm(taskVcpu(task)))
      continue;
    if (taskFirstGfn(other) === taskFirstGfn(task)) region = <usize>load<u32>(taskOwn(other), PAGED_REGION);
  }
  if (region === 0) region = arenaTake(PART_RECORDS, REGION_BYTES);
  if (region === 0) return false;
  const paged = pagedCreate(guest, kind, workloadPages(taskWorkload(task)), region, <u64>pauseNs);
  setTaskOwn(task, paged);
  return paged !== 0;
}

export function givebackLayout(vm: usize): void {
  const guest = guestMemory(vm);
  if (guest !== 0) guestMemoryLayout(guest);
}

/** Reserves what a task needs beside its workload. */
export function pagedLayout(task: usize): void {
  if (taskOwn(task) !== 0 && load<u32>(taskOwn(task), PAGED_KIND) === PAGED_CHURN) churnLayout(taskOwn(task));
}

export function givebackStart(vm: usize): void {
  const guest = guestMemory(vm);
  if (guest !== 0) guestMemoryStart(guest);
}

/** The host wants the balloon to hold `pages` pages. */
export function givebackTarget(vm: usize, pages: u32, time: u64): void {
  const balloon = guestBalloon(guestMemory(vm));
  if (balloon === 0) return; // the driver has given the device up
  setBalloonTarget(balloon, pages);
  poke(vm, time);
}

/** The host commands a round of hints, its end, or that the blocks go back: HINT_*, any other number for a round. */
export function givebackHint(vm: usize, command: u32, time: u64): void {
  const guest = guestMemory(vm);
  if (guestHints(guest) === 0) return;
  hintsCommand(guestHints(guest), deviceHintCommand(guestDevice(guest), command));
  poke(vm, time);
}

/** Threads that have work at `time` are woken: when virtual time begins, what the drivers' registration has asked for is due. */
export function givebackBegin(vm: usize, time: u64): void {
  const guest = guestMemory(vm);
  if (guest === 0 || guestDevice(guest) === 0) return;
  poke(vm, time);
  // The driver's first buffer of statistics (init_vqs()).
  for (let kthread = deviceKthreads(guestDevice(guest)); kthread !== 0; kthread = kthreadNext(kthread)) {
    if (kthreadKind(kthread) === KTHREAD_STATS) schedule(kthread, time);
  }
}

function poke(vm: usize, time: u64): void {
  const guest = guestMemory(vm);
  const first = vmVcpuList(vm);
  for (let kthread = deviceKthreads(guestDevice(guest)); kthread !== 0; kthread = kthreadNext(kthread)) {
    kthreadPoke(kthread, first, time);
  }
}

export const THREAD_OVER: u32 = 0;
/** It sleeps, another task may run. */
export const THREAD_SLEEPS: u32 = 1;
/** It has woken somebody in the host, and sleeps or goes on. */
export const THREAD_KICKS: u32 = 2;
/** The guest's memory would be overwritten. */
export const THREAD_CORRUPTS: u32 = 3;

/** A step of a VM's balloon device. Returns STEP_*; the run ends when the host has taken something else for an array of hints. */
export function deviceStep(device: usize): i32 {
  const before = deviceMisread(device);
  const step = balloonDeviceStep(device);
  const vm = guestVm(kthreadGuest(deviceKthreads(device)));
  if (step === STEP_BLOCKED && !deviceAwake(device)) threadIdle(vm, actorClock(device));
  if (before || !deviceMisread(device)) return step;
  violationNote(VIOLATION_MISREAD_QUEUE, vm, 0, HOST_THREAD, actorClock(device));
  setStop(STOP_VIOLATION);
  return step;
}

// In place of a vCPU.
const HOST_THREAD: u32 = 0xff;

// The VM's device has nothing to do.
function deviceIdle(vm: usize): bool {
  const guest = guestMemory(vm);
  return guest === 0 || guestDevice(guest) === 0 || !deviceAwake(guestDevice(guest));
}

/** Fills in the hook by which a VM's end knows when its device's thread is through. */
export function givebackInit(): void {
  destroyRegister(deviceIdle);
}

/** Runs the kernel thread that is the vCPU's current task. Returns THREAD_*. */
export function threadRun(vcpu: usize, task: usize, until: u64): u32 {
  const result = driverRun(vcpu, taskOwn(task), until);
  if (result === DRIVER_CORRUPTS) {
    const vm = vcpuVm(vcpu);
    const behind = hintingOverflow(hintingOf(guestMemory(vm), vcpuIndex(vcpu)));
    violationNote(VIOLATION_ARRAY_OVERFLOW, vm, pfnToGfn(behind), vcpuIndex(vcpu), actorClock(vcpu));
    return THREAD_CORRUPTS;
  }
  if (result === DRIVER_OVER) return THREAD_OVER;
  if (result !== DRIVER_PINGS) guestSleep(vcpu);
  if (result === DRIVER_SLEEPS) return THREAD_SLEEPS;
  deviceKick(guestDevice(guestMemory(vcpuVm(vcpu))), actorClock(vcpu));
  return THREAD_KICKS;
}

export function checkGiveback(vm: usize): void {
  const guest = guestMemory(vm);
  if (guest === 0) return;
  checkGuestMemory(guest);
  if (guestReporting(guest) !== 0) checkReporting(guestReporting(guest));
  if (guestBalloon(guest) !== 0) checkBalloon(guestBalloon(guest));
  if (guestHints(guest) !== 0) checkHints(guestHints(guest));
  if (guestHinting(guest) === 0) return;
  assert(guestDesign(guest) === FREE_HINTING_2019 || guestDesign(guest) === FREE_HINTING_2019_MIN_ORDER);
  for (let cpu: u32 = 0; cpu < vmVcpus(vm); cpu++) checkHinting(hintingOf(guest, cpu));
}
