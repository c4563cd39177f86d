import { checkGuest } from "../guest/sched";
import { checkVm } from "../kvm/check";
import { mmuHeld } from "../kvm/mmu";
import { vcpuNext } from "../kvm/vcpu";
import { vmVcpuList } from "../kvm/vm";
import { vmAt, vmTableCount } from "../kvm/vmtable";
import { checkMm } from "../mm/check";
import { mmArea, mmAreas } from "../mm/instance";
import { readaheadHeld } from "../mm/readahead";
import { swapDevice } from "../mm/swaparea";
import { checkDevice } from "../sim/device";
import { checkEvents } from "../sim/events";
import { checkCpus } from "./cpus";
import { checkGiveback } from "./giveback";
import { actorCount, host } from "./state";

// References that one actor can hold in the middle of its steps: a frame being allocated, one got for a fault, one under
// eviction with its isolation reference. The pages of its readahead window come on top, and
// those that sptes hold.
const PINS_PER_ACTOR: u32 = 4;

/** Walks every structure of the machine and asserts its invariants. Says nothing in a build without assertions. */
export function checkAll(): void {
  checkEvents();
  checkCpus();
  const mm = host();
  let pins = PINS_PER_ACTOR * actorCount();
  for (let id: u32 = 0; id < vmTableCount(); id++) {
    for (let vcpu = vmVcpuList(vmAt(id)); vcpu !== 0; vcpu = vcpuNext(vcpu)) pins += readaheadHeld(vcpu);
  }
  for (let id: u32 = 0; id < vmTableCount(); id++) pins += mmuHeld(vmAt(id));
  checkMm(mm, pins);
  for (let type: u32 = 0; type < mmAreas(mm); type++) checkDevice(swapDevice(mmArea(mm, type)));
  for (let id: u32 = 0; id < vmTableCount(); id++) {
    checkVm(vmAt(id));
    checkGiveback(vmAt(id));
    for (let vcpu = vmVcpuList(vmAt(id)); vcpu !== 0; vcpu = vcpuNext(vcpu)) checkGuest(vcpu);
  }
}
