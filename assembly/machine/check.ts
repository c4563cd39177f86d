import { checkGuest } from "../guest/sched";
import { checkVm } from "../kvm/check";
import { vcpuNext } from "../kvm/vcpu";
import { vmVcpuList } from "../kvm/vm";
import { vmAt, vmTableCount } from "../kvm/vmtable";
import { checkMm } from "../mm/check";
import { mmArea, mmAreas } from "../mm/instance";
import { swapDevice } from "../mm/swaparea";
import { readaheadMax } from "../mm/swapstate";
import { checkDevice } from "../sim/device";
import { checkEvents } from "../sim/events";
import { checkCpus } from "./cpus";
import { actorCount, host } from "./state";

// References that one actor can hold in the middle of its steps: a frame being allocated, one got for a fault, one under
// eviction with its isolation reference; and the pages of its readahead window whose reads are not submitted yet.
const PINS_PER_ACTOR: u32 = 4;

/** Walks every structure of the machine and asserts its invariants. Says nothing in a build without assertions. */
export function checkAll(): void {
  checkEvents();
  checkCpus();
  const mm = host();
  checkMm(mm, (PINS_PER_ACTOR + readaheadMax(mm)) * actorCount());
  for (let type: u32 = 0; type < mmAreas(mm); type++) checkDevice(swapDevice(mmArea(mm, type)));
  for (let id: u32 = 0; id < vmTableCount(); id++) {
    checkVm(vmAt(id));
    for (let vcpu = vmVcpuList(vmAt(id)); vcpu !== 0; vcpu = vcpuNext(vcpu)) checkGuest(vcpu);
  }
}
