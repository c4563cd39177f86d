import { balloonCreate, checkBalloon, setBalloonTarget } from "../guest/balloon";
import { balloonDeviceCreate, deviceAddKthread, deviceKick, deviceKthreads } from "../guest/balloondev";
import {
  FREE_HINTING_2019,
  FREE_HINTING_2019_MIN_ORDER,
  FREE_OFF,
  FREE_ORACLE,
  FREE_REPORTING,
  guestBalloon,
  guestDesign,
  guestDevice,
  guestHinting,
  guestMemory,
  guestMm,
  guestReporting,
  pfnToGfn,
  setGuestBalloon,
  setGuestDesign,
  setGuestDevice,
  setGuestHinting,
  setGuestReporting,
} from "../guest/guest";
import { checkHinting, hintingCreate, hintingOf, hintingOverflow } from "../guest/hinting";
import {
  KTHREAD_BALLOON,
  KTHREAD_CORRUPTS,
  KTHREAD_HINTING,
  KTHREAD_KICKS,
  KTHREAD_REPORTING,
  KTHREAD_SLEEPS,
  kthreadCreate,
  kthreadNext,
  kthreadPoke,
  kthreadRun,
} from "../guest/kthread";
import { checkGuestMemory, guestMemoryCreate, guestMemoryLayout, guestMemoryStart } from "../guest/memory";
import { checkReporting, reportingAsk, reportingCreate } from "../guest/reporting";
import { guestSleep } from "../guest/sched";
import { setTaskOwn, taskFirstGfn, taskOwn, taskVcpu, taskWorkload } from "../guest/task";
import { VIOLATION_ARRAY_OVERFLOW, violationNote } from "../kvm/integrity";
import { vcpuIndex, vcpuNext, vcpuVm } from "../kvm/vcpu";
import { vmVcpuList, vmVcpus } from "../kvm/vm";
import { arenaTake, PART_RECORDS } from "../memory/arena";
import { actorClock, setActorNext } from "../sim/actor";
import { churnLayout } from "../workload/churn";
import { PAGED_CHURN, pagedCreate } from "../workload/paged";
import { PAGED_KIND, PAGED_REGION, REGION_BYTES } from "../workload/pagedtask";
import { workloadPages } from "../workload/workload";
import { actorCount, firstActor, lastActor, setActorCount, setActors, taskAt, taskCount } from "./state";

// Guests that give memory back, in a machine: their set-up, what their kernel threads do to the vCPU that runs one, and their checks.

/** Appends to the machine's list of actors. */
export function addActor(actor: usize): void {
  const last = lastActor();
  if (last !== 0) setActorNext(last, actor);
  setActors(last === 0 ? actor : firstActor(), actor);
  setActorCount(actorCount() + 1);
}

/** Set-up of configGuest(). False when memory is exhausted. */
export function givebackCreate(
  vm: usize,
  pages: u32,
  design: u32,
  minOrder: u32,
  balloon: bool,
  target: u32,
  deflateOnOom: bool,
  poison: bool,
): bool {
  const guest = guestMemoryCreate(vm, vmVcpus(vm), pages);
  if (guest === 0) return false;
  setGuestDesign(guest, design, minOrder);
  if ((design === FREE_OFF || design === FREE_ORACLE) && !balloon) return true;
  const device = balloonDeviceCreate(vm, actorCount());
  if (device === 0) return false;
  addActor(device);
  setGuestDevice(guest, device);
  if (design === FREE_HINTING_2019 || design === FREE_HINTING_2019_MIN_ORDER) {
    const records = hintingCreate(guest, vmVcpus(vm), design === FREE_HINTING_2019 ? 0 : minOrder);
    if (records === 0) return false;
    setGuestHinting(guest, records);
    for (let vcpu = vmVcpuList(vm); vcpu !== 0; vcpu = vcpuNext(vcpu)) {
      if (!addThread(KTHREAD_HINTING, guest, vcpu)) return false;
    }
  } else if (design === FREE_REPORTING && !poison) {
    // A guest that poisons its free pages does not report them: what it finds afterwards would be zeroes (virtballoon_validate()).
    const reporting = reportingCreate(guestMm(guest), minOrder);
    if (reporting === 0) return false;
    setGuestReporting(guest, reporting);
    reportingAsk(reporting);
    if (!addThread(KTHREAD_REPORTING, guest, vmVcpuList(vm))) return false;
  }
  if (!balloon) return true;
  const record = balloonCreate(guestMm(guest), deflateOnOom);
  if (record === 0) return false;
  setGuestBalloon(guest, record);
  setBalloonTarget(record, target);
  return addThread(KTHREAD_BALLOON, guest, vmVcpuList(vm));
}

function addThread(kind: u32, guest: usize, vcpu: usize): bool {
  const kthread = kthreadCreate(kind, guest, vcpu, KTHREAD_IDS + actorCount());
  if (kthread !== 0) deviceAddKthread(guestDevice(guest), kthread);
  return kthread !== 0;
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
  setBalloonTarget(guestBalloon(guestMemory(vm)), pages);
  givebackBegin(vm, time);
}

/** Threads that have work at `time` are woken: when virtual time begins, what the drivers' registration has asked for is due. */
export function givebackBegin(vm: usize, time: u64): void {
  const guest = guestMemory(vm);
  if (guest === 0 || guestDevice(guest) === 0) return;
  const first = vmVcpuList(vm);
  for (let kthread = deviceKthreads(guestDevice(guest)); kthread !== 0; kthread = kthreadNext(kthread)) {
    kthreadPoke(kthread, first, time);
  }
}

export const THREAD_OVER: u32 = 0;
/** It sleeps, another task may run. */
export const THREAD_SLEEPS: u32 = 1;
/** It sleeps, and has woken somebody in the host. */
export const THREAD_KICKS: u32 = 2;
/** The guest's memory would be overwritten. */
export const THREAD_CORRUPTS: u32 = 3;

/** Runs the kernel thread that is the vCPU's current task. Returns THREAD_*. */
export function threadRun(vcpu: usize, task: usize, until: u64): u32 {
  const result = kthreadRun(vcpu, taskOwn(task), until);
  if (result === KTHREAD_CORRUPTS) {
    const vm = vcpuVm(vcpu);
    const behind = hintingOverflow(hintingOf(guestMemory(vm), vcpuIndex(vcpu)));
    violationNote(VIOLATION_ARRAY_OVERFLOW, vm, pfnToGfn(behind), vcpuIndex(vcpu), actorClock(vcpu));
    return THREAD_CORRUPTS;
  }
  if (result !== KTHREAD_SLEEPS && result !== KTHREAD_KICKS) return THREAD_OVER;
  guestSleep(vcpu);
  if (result === KTHREAD_SLEEPS) return THREAD_SLEEPS;
  deviceKick(guestDevice(guestMemory(vcpuVm(vcpu))), actorClock(vcpu));
  return THREAD_KICKS;
}

export function checkGiveback(vm: usize): void {
  const guest = guestMemory(vm);
  if (guest === 0) return;
  checkGuestMemory(guest);
  if (guestReporting(guest) !== 0) checkReporting(guestReporting(guest));
  if (guestBalloon(guest) !== 0) checkBalloon(guestBalloon(guest));
  if (guestHinting(guest) === 0) return;
  assert(guestDesign(guest) === FREE_HINTING_2019 || guestDesign(guest) === FREE_HINTING_2019_MIN_ORDER);
  for (let cpu: u32 = 0; cpu < vmVcpus(vm); cpu++) checkHinting(hintingOf(guest, cpu));
}
