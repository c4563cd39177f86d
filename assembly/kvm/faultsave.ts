import {
  actorClearStages,
  actorClock,
  actorCredit,
  actorStageNs,
  STAGE_ASYNC,
  STAGE_COUNT,
} from "../sim/actor";
import { APF_SUSPENDED, WORK_GFN, WORK_KIND, WORK_STAGES } from "./apf";
import { PF_GFN, PF_KIND, PF_PENDING, PF_START, VCPU_HANDLER, vcpuApf } from "./vcpu";

// The fault of a task that is not on its vCPU: while the guest runs another task, what belongs to the access that faulted stands
// in the task's record. Its latency goes on: what the worker spent for it is credited stage by stage, and whatever else passes
// until the task is back is the stage `async`.
//
// save   0      4     8      12     16      24            104           184
//        +------+-----+------+------+-------+-------------+-------------+
//        | next | gfn | kind | held | start | stages × 10 | credit × 10 |
//        +------+-----+------+------+-------+-------------+-------------+

const NEXT: usize = 0;
const GFN: usize = 4;
const KIND: usize = 8;
const HELD: usize = 12;
const START: usize = 16; // u64
const STAGES: usize = 24;
const CREDIT: usize = STAGES + 8 * <usize>STAGE_COUNT;
export const FAULT_SAVE_BYTES: usize = CREDIT + 8 * <usize>STAGE_COUNT;

/** True while a fault stands in `save`. */
export function faultSaved(save: usize): bool {
  return load<u32>(save, HELD) !== 0;
}

/** The page of the fault in `save`. */
export function faultSavedGfn(save: usize): u32 {
  return load<u32>(save, GFN);
}

/** The vCPU's pending fault moves into `save`. */
export function faultSuspend(vcpu: usize, save: usize): void {
  const apf = vcpuApf(vcpu);
  assert(load<u32>(vcpu, PF_PENDING) !== 0 && !faultSaved(save) && apf !== 0);
  store<u32>(save, load<u32>(vcpu, PF_GFN), GFN);
  store<u32>(save, load<u32>(vcpu, PF_KIND), KIND);
  store<u64>(save, load<u64>(vcpu, PF_START), START);
  for (let stage: u32 = 0; stage < STAGE_COUNT; stage++) {
    const at = save + ((<usize>stage) << 3);
    store<u64>(at, actorStageNs(vcpu, stage), STAGES);
    store<u64>(at, 0, CREDIT);
  }
  store<u32>(save, 1, HELD);
  store<u32>(save, load<u32>(apf, APF_SUSPENDED), NEXT);
  store<u32>(apf, <u32>save, APF_SUSPENDED);
  store<u32>(vcpu, 0, PF_PENDING);
  store<u32>(vcpu, 0, VCPU_HANDLER); // the access faults again, and so does the guest
}

/** The fault in `save` is the vCPU's again, whose task it belongs to goes on. */
export function faultResume(vcpu: usize, save: usize): void {
  assert(load<u32>(vcpu, PF_PENDING) === 0 && faultSaved(save));
  unlink(vcpuApf(vcpu), save);
  store<u32>(save, 0, HELD);
  store<u32>(vcpu, load<u32>(save, GFN), PF_GFN);
  store<u32>(vcpu, load<u32>(save, KIND), PF_KIND);
  store<u64>(vcpu, load<u64>(save, START), PF_START);
  store<u32>(vcpu, 1, PF_PENDING);
  actorClearStages(vcpu);
  let rest = actorClock(vcpu) - load<u64>(save, START);
  for (let stage: u32 = 0; stage < STAGE_COUNT; stage++) {
    const spent = load<u64>(save + ((<usize>stage) << 3), STAGES);
    assert(spent <= rest);
    actorCredit(vcpu, stage, spent);
    rest -= spent;
  }
  actorCredit(vcpu, STAGE_ASYNC, rest);
  credit(vcpu, save + CREDIT, rest);
}

function unlink(apf: usize, save: usize): void {
  let at = apf + APF_SUSPENDED;
  while (load<u32>(at) !== <u32>save) at = <usize>load<u32>(at) + NEXT;
  store<u32>(at, load<u32>(save, NEXT));
}

// What a worker spent stage by stage, out of `available` ns that the vCPU's fault has booked as `async`. Time that the vCPU spent
// otherwise meanwhile is already booked, so the worker's may not fit in whole.
function credit(vcpu: usize, stages: usize, available: u64): void {
  for (let stage: u32 = 0; stage < STAGE_COUNT; stage++) {
    const ns = min<u64>(load<u64>(stages + ((<usize>stage) << 3)), available);
    if (stage === STAGE_ASYNC) continue;
    actorCredit(vcpu, stage, ns);
    actorCredit(vcpu, STAGE_ASYNC, 0 - ns);
    available -= ns;
  }
}

/** A worker has done `work`: every access that waits for its page is credited with what that took and needed. */
export function faultCredit(apf: usize, vcpu: usize, work: usize): void {
  const gfn = load<u32>(work, WORK_GFN);
  const kind = load<u32>(work, WORK_KIND);
  if (load<u32>(vcpu, PF_PENDING) !== 0 && load<u32>(vcpu, PF_GFN) === gfn) {
    if (kind > load<u32>(vcpu, PF_KIND)) store<u32>(vcpu, kind, PF_KIND);
    credit(vcpu, work + WORK_STAGES, actorStageNs(vcpu, STAGE_ASYNC));
  }
  for (let save = <usize>load<u32>(apf, APF_SUSPENDED); save !== 0; save = <usize>load<u32>(save, NEXT)) {
    if (load<u32>(save, GFN) !== gfn) continue;
    if (kind > load<u32>(save, KIND)) store<u32>(save, kind, KIND);
    for (let stage: u32 = 0; stage < STAGE_COUNT; stage++) {
      const at = save + ((<usize>stage) << 3);
      store<u64>(at, load<u64>(at, CREDIT) + load<u64>(work + ((<usize>stage) << 3), WORK_STAGES), CREDIT);
    }
  }
}
