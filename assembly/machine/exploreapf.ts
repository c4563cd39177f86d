import {
  APF_MSR,
  APF_PEAK,
  APF_QUEUE_HEAD,
  APF_TABLE,
  APF_TABLE_BITS,
  WORK_DONE,
  WORK_GFN,
  WORK_NEXT,
  WORK_PFN,
  WORK_STAGES,
  WORK_STATE,
} from "../kvm/apf";
import { WORKER_BYTES, workerNext, workersFirst, workerVm } from "../kvm/apfworker";
import { DAEMON_BYTES, vcpuApf, vcpuNext } from "../kvm/vcpu";
import { vmMm, vmSpace, vmVcpuList } from "../kvm/vm";
import { vmAt } from "../kvm/vmtable";
import { PFN_NONE } from "../memory/layout";
import { THROTTLED_AT } from "../mm/context";
import { PG_MAPPING_REPLACED, pageOf, pageTest } from "../mm/page";
import { ZERO_PFN } from "../mm/pte";
import { spaceFileRss } from "../mm/space";
import { ACTOR_BYTES, actorState, actorWaitNext } from "../sim/actor";
import { mix, mixWords } from "./statehash";

// Asynchronous page faults as the explorer sees them: what of them makes two states the same, and what can be wrong with the pages that they
// hold.

/** The vCPUs' records, works and tables of VM `vm`, and its workers. */
export function mixApf(vm: usize): void {
  for (let vcpu = vmVcpuList(vm); vcpu !== 0; vcpu = vcpuNext(vcpu)) {
    const apf = vcpuApf(vcpu);
    if (apf === 0) continue;
    mixWords(apf, apf + APF_PEAK);
    mixWords(apf + APF_PEAK + 4, apf + APF_MSR);
    for (let work = next(apf, APF_QUEUE_HEAD); work !== 0; work = next(work, WORK_NEXT)) {
      mixWords(work, work + WORK_STAGES);
    }
    const table = next(apf, APF_TABLE);
    mixWords(table, table + ((<usize>4) << load<u32>(apf, APF_TABLE_BITS)));
  }
  for (let worker = workersFirst(); worker !== 0; worker = workerNext(worker)) {
    if (workerVm(worker) !== vm) continue;
    mix(actorState(worker));
    mix(actorWaitNext(worker));
    mixWords(worker + ACTOR_BYTES, worker + THROTTLED_AT);
    mixWords(worker + THROTTLED_AT + 8, worker + DAEMON_BYTES);
    mixWords(worker + DAEMON_BYTES + 4, worker + WORKER_BYTES);
  }
}

function next(at: usize, field: usize): usize {
  return <usize>load<u32>(at + field);
}

/** A page of VM `vm` was dropped as a file's: the process' counters are wrong. */
export function exploreMiscounted(vm: u32): bool {
  return spaceFileRss(vmSpace(vmAt(vm))) !== 0;
}

/** Plus one, the gfn of a page that a completion holds which is there and not consumed; 0 for none. */
export function exploreHeld(vm: u32): u32 {
  for (let vcpu = vmVcpuList(vmAt(vm)); vcpu !== 0; vcpu = vcpuNext(vcpu)) {
    const apf = vcpuApf(vcpu);
    if (apf === 0) continue;
    for (let work = next(apf, APF_QUEUE_HEAD); work !== 0; work = next(work, WORK_NEXT)) {
      const held = load<u32>(work, WORK_STATE) === WORK_DONE && load<u32>(work, WORK_PFN) !== PFN_NONE;
      if (held) return load<u32>(work, WORK_GFN) + 1;
    }
  }
  return 0;
}

/** The mapping of a page that a work of VM `vm` holds is replaced. */
export function exploreReplaced(vm: u32): bool {
  for (let vcpu = vmVcpuList(vmAt(vm)); vcpu !== 0; vcpu = vcpuNext(vcpu)) {
    const apf = vcpuApf(vcpu);
    if (apf === 0) continue;
    for (let work = next(apf, APF_QUEUE_HEAD); work !== 0; work = next(work, WORK_NEXT)) {
      const pfn = load<u32>(work, WORK_PFN);
      if (pfn === PFN_NONE || pfn === ZERO_PFN) continue;
      if (pageTest(pageOf(vmMm(vmAt(vm)), pfn), PG_MAPPING_REPLACED)) return true;
    }
  }
  return false;
}
