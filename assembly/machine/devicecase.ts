import { deviceAddKthread, deviceAwake, deviceKick, deviceKthreads } from "../guest/balloondev";
import { guestDevice, guestMemory } from "../guest/guest";
import {
  KTHREAD_BALLOON,
  KTHREAD_BYTES,
  KTHREAD_OOM,
  KTHREAD_REPORTING,
  kthreadGuest,
  kthreadInit,
  kthreadKind,
  kthreadNext,
  kthreadSend,
  kthreadTask,
  setKthreadDeflates,
  setKthreadTask,
} from "../guest/kthread";
import { vmSpace } from "../kvm/vm";
import { vmAt } from "../kvm/vmtable";
import { PFN_BASE } from "../memory/layout";
import { spaceHva } from "../mm/space";
import { now } from "./state";

// Requests to the balloon device of a machine that was booted, made by whoever drives the case in place of the guest's driver: the host's
// side does with them what it does with any other. One VM, the first.

const VM: u32 = 0;
const REQUEST_MOST: u32 = 256;
const QUEUE: usize = memory.data(48, 8); // KTHREAD_BYTES
const LIST: usize = memory.data(8 * 256, 8);

/** Address of the next request: (gfn, order) a block of a report, one gfn a page of the balloon; u32 each. */
export function deviceCaseRequest(): usize {
  return LIST;
}

/** Hands the request to the device: `count` blocks of a report, or pages of an inflation or a deflation. All requests of a case are of one sort. */
export function deviceCaseSend(reports: bool, deflates: bool, count: u32): void {
  assert(count <= REQUEST_MOST);
  assert(KTHREAD_BYTES === 48);
  const guest = guestMemory(vmAt(VM));
  const device = guestDevice(guest);
  if (kthreadGuest(QUEUE) === 0) {
    kthreadInit(QUEUE, reports ? KTHREAD_REPORTING : KTHREAD_OOM, guest);
    setKthreadTask(QUEUE, kthreadTask(balloonThread(device)));
    deviceAddKthread(device, QUEUE);
  }
  setKthreadDeflates(QUEUE, deflates);
  const words: usize = reports ? 2 : 1;
  for (let index: u32 = 0; index < count; index++) {
    const entry = LIST + ((<usize>index * words) << 2);
    store<u32>(entry, load<u32>(entry) + PFN_BASE);
  }
  kthreadSend(QUEUE, LIST, count, reports);
  deviceKick(device, now());
}

// It sleeps, and finds nothing to do when the host's answer wakes it.
function balloonThread(device: usize): usize {
  let kthread = deviceKthreads(device);
  while (kthreadKind(kthread) !== KTHREAD_BALLOON) kthread = kthreadNext(kthread);
  return kthread;
}

/** Has the device work left? */
export function deviceCaseBusy(): bool {
  return deviceAwake(guestDevice(guestMemory(vmAt(VM))));
}

/** Address of the VM's first page in its process. */
export function deviceCaseHva(): f64 {
  return <f64>spaceHva(vmSpace(vmAt(VM)), 0);
}
