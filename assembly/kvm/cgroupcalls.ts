import { EAGAIN, STEP_AGAIN, STEP_DONE } from "../memory/status";
import { lruAddDrainAll } from "../mm/lrubatch";
import { memcgUsage, setMemcgMax } from "../mm/memcg";
import { RECLAIM_RETRIES, reclaimBegin, reclaimProgress, reclaimStep } from "../mm/reclaim";
import { spaceMemcg } from "../mm/space";
import { stocksDrain } from "../mm/stock";
import { swapCpus } from "../mm/swapstate";
import {
  CALL_MEMORY_MAX,
  callEnd,
  callFlags,
  callKind,
  callResult,
  setCallFlags,
  setCallResult,
  setCallStatus,
} from "./call";
import { CALL_PC, callGoto, vcpuVm } from "./vcpu";
import { vmMm, vmSpace } from "./vm";

// The files of the VM's memory cgroup that its monitor writes to: memory.max (memory_max_write()), which reclaims until the cgroup fits, and
// memory.reclaim (memory_reclaim()), which reclaims that many pages. Both give up after as many attempts in a row without a page as
// reclaim itself does. The call's result counts the pages reclaimed, its flags the attempts left.

const BEGIN: u32 = 1;
const NEXT: u32 = 2;
const RECLAIM: u32 = 3;

/** Goes on with CALL_MEMORY_MAX or CALL_MEMORY_RECLAIM. Returns STEP_*. */
export function cgroupCallStep(monitor: usize, call: usize): i32 {
  const vm = vcpuVm(monitor);
  const mm = vmMm(vm);
  const space = vmSpace(vm);
  while (true) {
    const pc = load<u32>(monitor, CALL_PC);
    if (pc === BEGIN) {
      setCallFlags(call, RECLAIM_RETRIES);
      if (callKind(call) === CALL_MEMORY_MAX) {
        setMemcgMax(spaceMemcg(space), callEnd(call));
        stocksDrain(mm, swapCpus(mm), space);
      }
      callGoto(monitor, NEXT);
    } else if (pc === NEXT) {
      const pages = wanted(call, space);
      if (pages === 0) return STEP_DONE;
      if (callFlags(call) === 0) {
        setCallStatus(call, EAGAIN);
        return STEP_DONE;
      }
      if (callFlags(call) === 1) lruAddDrainAll(mm, monitor);
      reclaimBegin(mm, monitor, space, pages);
      callGoto(monitor, RECLAIM);
    } else {
      const step = reclaimStep(mm, monitor);
      if (step !== STEP_DONE) return step;
      const freed = reclaimProgress(monitor);
      setCallResult(call, callResult(call) + freed);
      if (freed === 0) setCallFlags(call, callFlags(call) - 1);
      callGoto(monitor, NEXT);
      return STEP_AGAIN;
    }
  }
}

// Pages that are still to be reclaimed.
function wanted(call: usize, space: usize): u32 {
  if (callKind(call) === CALL_MEMORY_MAX) {
    const usage = memcgUsage(spaceMemcg(space));
    return usage > callEnd(call) ? usage - callEnd(call) : 0;
  }
  return callEnd(call) > callResult(call) ? callEnd(call) - callResult(call) : 0;
}
