import { checkSleepers } from "../guest/apfsleep";
import { checkGuest } from "../guest/sched";
import { GUEST_HANDLER } from "../guest/task";
import { APF_QUEUED, APF_RULES } from "../kvm/apf";
import { checkApfPins } from "../kvm/apfpin";
import { apfExpected, checkApfQueue, checkWorks, worksInUse } from "../kvm/apfqueue";
import { apfTableCount, checkApfTable } from "../kvm/apftable";
import { checkWorkers, workersHeld, workersMade } from "../kvm/apfworker";
import { checkVm } from "../kvm/check";
import { pagesLeaked } from "../kvm/guestfile";
import { mmuHeld } from "../kvm/mmu";
import { VCPU_ENDED, vcpuApf, vcpuMode, vcpuNext } from "../kvm/vcpu";
import { vmSpace, vmVcpuList } from "../kvm/vm";
import { vmAt, vmTableCount } from "../kvm/vmtable";
import { checkMm } from "../mm/check";
import { mmArea, mmAreas } from "../mm/instance";
import { pinsHeld } from "../mm/pin";
import { readaheadHeld } from "../mm/readahead";
import { spaceUserfault } from "../mm/space";
import { swapDevice } from "../mm/swaparea";
import { checkUserfault } from "../mm/userfault";
import { checkDevice } from "../sim/device";
import { checkEvents } from "../sim/events";
import { checkCpus } from "./cpus";
import { checkGiveback } from "./giveback";
import { actorCount, host } from "./state";

// References that one actor can hold in the middle of its steps: a frame being allocated, one got for a fault, one under
// eviction with its isolation reference. The pages of its readahead window come on top, and
// those that sptes hold.
const PINS_PER_ACTOR: u32 = 4;

/** 1 in a build with assertions, 0 in one where checkAll() says nothing. */
export const CHECK_ASSERTS: u32 = ASC_NO_ASSERT ? 0 : 1;

/** Walks every structure of the machine and asserts its invariants. Says nothing in a build without assertions. */
export function checkAll(): void {
  checkEvents();
  checkCpus();
  const mm = host();
  let pins = PINS_PER_ACTOR * (actorCount() + workersMade());
  for (let id: u32 = 0; id < vmTableCount(); id++) {
    for (let vcpu = vmVcpuList(vmAt(id)); vcpu !== 0; vcpu = vcpuNext(vcpu)) {
      pins += readaheadHeld(vcpu) + apfQueued(vcpu);
    }
    pins += workersHeld(vmAt(id));
  }
  for (let id: u32 = 0; id < vmTableCount(); id++) pins += mmuHeld(vmAt(id)) + pagesLeaked(vmAt(id));
  checkMm(mm, pins + pinsHeld(mm));
  checkApfPins(mm);
  for (let type: u32 = 0; type < mmAreas(mm); type++) checkDevice(swapDevice(mmArea(mm, type)));
  let works: u32 = 0;
  for (let id: u32 = 0; id < vmTableCount(); id++) {
    checkVm(vmAt(id));
    checkGiveback(vmAt(id));
    for (let vcpu = vmVcpuList(vmAt(id)); vcpu !== 0; vcpu = vcpuNext(vcpu)) {
      checkGuest(vcpu);
      checkApf(vcpu);
      if (vcpuApf(vcpu) !== 0) works += worksInUse(vcpuApf(vcpu));
    }
    checkWorkers(vmAt(id));
    const userfault = spaceUserfault(vmSpace(vmAt(id)));
    if (userfault !== 0) checkUserfault(userfault);
  }
  checkWorks(works);
}

function apfQueued(vcpu: usize): u32 {
  const apf = vcpuApf(vcpu);
  return apf === 0 ? 0 : load<u32>(apf, APF_QUEUED);
}

// Asynchronous page faults of one vCPU and the tasks that wait for them.
//
// invariant: a gfn stands in the table exactly while a work for it is in the queue
// invariant: every task that waits has a work that will wake it, or an event on its way
function checkApf(vcpu: usize): void {
  const apf = vcpuApf(vcpu);
  if (apf === 0) return;
  checkApfQueue(apf);
  checkApfTable(apf);
  assert(load<u32>(apf, APF_RULES) !== 0);
  assert(apfTableCount(apf) <= load<u32>(apf, APF_QUEUED));
  if (vcpuMode(vcpu) === VCPU_ENDED) return; // its tasks sleep for ever
  const sleeping = checkSleepers(vcpu);
  assert(sleeping <= apfExpected(apf, load<u32>(vcpu, GUEST_HANDLER) !== 0));
}
