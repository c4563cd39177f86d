import { arenaTake, PART_RECORDS } from "../memory/arena";
import { STEP_AGAIN, STEP_BLOCKED, STEP_DONE } from "../memory/status";
import { ACTOR_MM, FAULT_INDEX } from "../mm/context";
import { faultBegin, faultPfn, faultStep } from "../mm/fault";
import { pagePut } from "../mm/free";
import { PTE_NONE } from "../mm/pte";
import { spacePte, spaceUserfault } from "../mm/space";
import {
  userfaultCreate,
  userfaultDue,
  userfaultQuiet,
  userfaultRegister,
  userfaultTake,
  userfaultUnregister,
} from "../mm/userfault";
import {
  ACTOR_PAGER,
  actorBlock,
  actorClock,
  actorGoesOn,
  actorInit,
  actorWaitNext,
  actorWake,
  STAGE_QUEUE,
  setActorWaitNext,
} from "../sim/actor";
import { DAEMON_BYTES, setVcpuVm, vcpuVm } from "./vcpu";
import { vmMm, vmSpace } from "./vm";
import { threadIdle } from "./vmend";

// The pager of a VM: a thread of its process that supplies missing pages of guest memory (userfaultfd). When nobody has asked for a while
// it answers everything that was asked for, the oldest or the newest request first: a page of the guest's is allocated, put where it
// was missed, and who waits for it is woken.
//
// record   as a daemon's, then   0      4        8
//                                +------+--------+--------+
//                                | pc   | asking | newest |
//                                +------+--------+--------+

const PC: usize = DAEMON_BYTES;
const ASKING: usize = DAEMON_BYTES + 4; // whose requests are being answered, the next one first
const NEWEST: usize = DAEMON_BYTES + 8; // first
const PAGER_BYTES: usize = DAEMON_BYTES + 16;

const NEXT: u32 = 0;
const FILL: u32 = 1;
const IDLE: u32 = 2;

/** Takes the record of the pager of `vm`, which supplies nothing yet; 0 when memory is exhausted. */
export function pagerCreate(vm: usize, actorId: u32): usize {
  const pager = arenaTake(PART_RECORDS, PAGER_BYTES);
  if (pager === 0 || userfaultCreate(vmSpace(vm), pager) === 0) return 0;
  actorInit(pager, ACTOR_PAGER, actorId);
  store<u32>(pager, <u32>vmMm(vm), ACTOR_MM);
  setVcpuVm(pager, vm);
  store<u32>(pager, IDLE, PC);
  return pager;
}

/** The pager supplies pages first..end-1 of the process from now on, after `quiet` ns without a request. */
export function pagerStart(pager: usize, first: u32, end: u32, newestFirst: bool, quiet: u32): void {
  store<u32>(pager, newestFirst ? 1 : 0, NEWEST);
  userfaultRegister(spaceUserfault(vmSpace(vcpuVm(pager))), first, end, quiet);
}

/** It supplies nothing any more from `time` on; who has asked and is not being answered gets an empty page. */
export function pagerStop(pager: usize, time: u64): void {
  userfaultUnregister(spaceUserfault(vmSpace(vcpuVm(pager))), time);
}

/** The timer of a pager's requests has run down at `time`. */
export function pagerTimer(pager: usize, record: usize, time: u64): void {
  if (!userfaultQuiet(record, time) || load<u32>(pager, PC) !== IDLE) return;
  store<u32>(pager, NEXT, PC);
  actorWake(pager, time);
}

/** Goes on with the requests. Returns STEP_*. */
export function pagerStep(pager: usize): i32 {
  const mm = vmMm(vcpuVm(pager));
  const space = vmSpace(vcpuVm(pager));
  while (true) {
    const asker = <usize>load<u32>(pager, ASKING);
    if (load<u32>(pager, PC) === FILL) {
      const step = faultStep(mm, pager);
      if (step !== STEP_DONE) return step;
      pagePut(mm, faultPfn(pager), pager);
      answer(pager, asker);
      if (!actorGoesOn(pager)) return STEP_AGAIN; // yield: between two pages
    } else if (asker !== 0) {
      const index = load<u32>(asker, FAULT_INDEX);
      if (spacePte(space, index) === PTE_NONE) {
        faultBegin(pager, space, index, true);
        store<u32>(pager, FILL, PC);
      } else {
        answer(pager, asker); // another request for the page has been answered (EEXIST)
      }
    } else if (userfaultDue(spaceUserfault(space))) {
      const asking = userfaultTake(spaceUserfault(space));
      store<u32>(pager, <u32>(load<u32>(pager, NEWEST) !== 0 ? reversed(asking) : asking), ASKING);
    } else {
      store<u32>(pager, IDLE, PC);
      actorBlock(pager, STAGE_QUEUE);
      threadIdle(vcpuVm(pager), actorClock(pager));
      return STEP_BLOCKED;
    }
  }
}

function answer(pager: usize, asker: usize): void {
  store<u32>(pager, <u32>actorWaitNext(asker), ASKING);
  store<u32>(pager, NEXT, PC);
  actorWake(asker, actorClock(pager));
}

function reversed(first: usize): usize {
  let newest: usize = 0;
  while (first !== 0) {
    const next = actorWaitNext(first);
    setActorWaitNext(first, newest);
    newest = first;
    first = next;
  }
  return newest;
}
